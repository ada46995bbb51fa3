package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/health"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/queue"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/tenancy"
)

func clientCompute(t *testing.T, w *world, c *api.Client) {
	ctx := t.Context()
	q := must(c.SetQuota(ctx, w.objects["project"], api.NewQuota{Weight: 2, OrgWeight: 3, Guarantee: map[string]int64{"slot": 4}, Ceiling: map[string]int64{"slot": 6}}))(t)
	if d := cmp.Diff([]api.Quota{q}, must(c.Quotas(ctx))(t)); d != "" || q.Weight != 2 || q.OrgWeight != 3 || q.Guarantee["slot"] != 4 {
		t.Errorf("quota %+v: %s", q, d)
	}
	w.plan(t)
	if all := must(c.Queues(ctx))(t); len(all) != 1 || all[0].Project != w.objects["project"] || all[0].Ceiling["slot"] != 6 {
		t.Errorf("queues %+v", all)
	}
	must(0, c.RemoveQuota(ctx, w.objects["project"]))(t)
	jobs := must(c.Jobs(ctx, api.JobFilter{Open: true}))(t)
	i := slices.IndexFunc(jobs, func(j api.Job) bool { return j.ID == w.objects["job"] })
	if i < 0 || jobs[i].Kind != "train" || jobs[i].Class != "batch" {
		t.Fatalf("jobs %+v", jobs)
	}
	if d := cmp.Diff(jobs[i], must(c.Job(ctx, "", jobs[i].ID))(t)); d != "" {
		t.Error(d)
	}
	if x := must(c.ExplainJob(ctx, "", jobs[i].ID))(t); x.Job != jobs[i].ID || x.State == "" {
		t.Errorf("%+v", x)
	}
	if l := must(c.JobLogs(ctx, "", jobs[i].ID, api.LogQuery{Attempt: 1, Offset: 1, Limit: 3}))(t); l.Offset != 1 || len(l.Data) != 3 {
		t.Errorf("%+v", l)
	}
	arr := must(c.CreateJob(ctx, "", api.NewJob{Command: []string{"a", "b"}, Env: map[string]string{"X": "y"}, Array: "3-4%1", Placing: api.Placing{Fast: true, TimeLimit: 60}}))(t)
	if arr.Array == nil || arr.ID != arr.Array.ID || arr.Array.Elements != 2 || arr.Array.Limit != 1 || arr.Array.Counts["queued"] != 2 || cmp.Diff(arr.Command, []string{"a", "b"}) != "" {
		t.Errorf("%+v", arr)
	}
	for _, act := range []string{"hold", "release", "requeue", "cancel"} {
		must(c.JobAct(ctx, "", jobs[i].ID, act))(t)
	}
	must(0, c.RemoveJob(ctx, "", jobs[i].ID))(t)
	if n := must(c.DeclareNode(ctx, "rack9", api.NewNode{Chip: "nvidia-h100-sxm", Chips: "4+4"}))(t); n.Chips != 8 || !n.Declared {
		t.Errorf("%+v", n)
	}
	must(0, c.RemoveNode(ctx, "rack9"))(t)
	if err := c.RemoveNode(ctx, "here"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a node that was not declared: %v", err)
	}
	if _, err := c.DeclareNode(ctx, "here", api.NewNode{Chip: "x", Chips: "8"}); !fault.Is(err, fault.Conflict) {
		t.Errorf("a node that is there: %v", err)
	}
	if n := must(c.Node(ctx, "here"))(t); n.Name != "here" || n.Chip != "cpu" {
		t.Errorf("%+v", n)
	}
	n := must(c.DrainNode(ctx, "here", "a new fan"))(t)
	if !n.Draining || n.Reason != "a new fan" || n.Since == nil {
		t.Errorf("%+v", n)
	}
	if n = must(c.ResumeNode(ctx, "here"))(t); n.Draining {
		t.Errorf("%+v", n)
	}
	from := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	win := must(c.AddWindow(ctx, api.NewWindow{Name: "course", Nodes: []string{"here-slot"}, From: &from, Until: from.Add(time.Hour), Project: w.objects["project"], Reason: "the course"}))(t)
	want := api.Window{Name: "course", Kind: "reservation", Nodes: []string{"here-slot"}, From: from, Until: from.Add(time.Hour), State: "planned",
		Project: w.objects["project"], ProjectName: win.ProjectName, Reason: "the course"}
	if d := cmp.Diff(want, win); d != "" || win.ProjectName == "" {
		t.Error(win.ProjectName, d)
	}
	if all := must(c.Windows(ctx))(t); len(all) != 2 || cmp.Diff(want, all[0]) != "" || all[1].Kind != "maintenance" {
		t.Errorf("windows %+v", all)
	}
	must(0, c.RemoveWindow(ctx, "course"))(t)
	if err := c.RemoveWindow(ctx, "course"); !fault.Is(err, fault.NotFound) {
		t.Errorf("removed twice: %v", err)
	}
	if all := must(c.Nodes(ctx))(t); len(all) != 2 || all[0].Chip != "cpu" || all[1].Chip != "slot" || all[1].Chips != 8 {
		t.Errorf("%+v", all)
	}
}

// A quota that promises more than there is names both numbers; one for what is not there names the nearest.
func TestQuotasAreChecked(t *testing.T) {
	w := newWorld(t)
	second := must(w.Tenancy.CreateProject(t.Context(), w.who.OrgID, "second"))(t)
	target := v1 + "/quotas/"
	if rec := w.askJSON("PUT", target+"second", w.owner, `{"guarantee":{"slot":7}}`); rec.Code != http.StatusOK || gjson.Get(rec.Body.String(), "project").String() != second.ID {
		t.Fatalf("by name: %d %s", rec.Code, rec.Body)
	}
	for _, c := range []struct{ target, body, field, message string }{
		{"second", `{"guarantee":{"slot":8}}`, "guarantee", "With a guarantee of 8 of slot, 9 would be guaranteed in all, and there are 8."},
		{"second", `{"guarantee":{"slots":1}}`, "guarantee", `There is no chip "slots" here; the nearest is "slot".`},
		{"second", `{"guarantee":{"slot":-1}}`, "guarantee", "guarantee of slot is -1, it must be 0 to 1048576."},
		{"second", `{"guarantee":{"slot":3},"ceiling":{"slot":2}}`, "guarantee", "The guarantee of 3 of slot is above the ceiling of 2."},
		{"second", `{"weight":1000001}`, "weight", "weight is 1000001, it must be 1 to 1000000."},
		{"second", `{"ceiling":{"slot":6}}`, "guarantee", "The guarantee of 7 of slot is above the ceiling of 6."},
		{"third", `{}`, "project", "There is no such project."},
	} {
		p := problemOf(t, w.askJSON("PUT", target+c.target, w.owner, c.body))
		if p.Field != c.field || p.Message != c.message {
			t.Errorf("%s: %s: %s", c.body, p.Field, p.Message)
		}
	}
	for _, c := range []struct{ body, want string }{ // what is not named stays as it is
		{`{"weight":2}`, `{"weight":2,"org_weight":1,"guarantee":{"slot":7},"ceiling":{}}`},
		{`{"ceiling":{"slot":8},"org_weight":3}`, `{"weight":2,"org_weight":3,"guarantee":{"slot":7},"ceiling":{"slot":8}}`},
		{`{"guarantee":{"slot":0}}`, `{"weight":2,"org_weight":3,"guarantee":{},"ceiling":{"slot":8}}`},
		{`{"ceiling":{},"weight":1}`, `{"weight":1,"org_weight":3,"guarantee":{},"ceiling":{}}`},
	} {
		var got, want api.NewQuota
		must(0, json.Unmarshal(w.askJSON("PUT", target+"second", w.owner, c.body).Body.Bytes(), &got))(t)
		must(0, json.Unmarshal([]byte(c.want), &want))(t)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", c.body, d)
		}
	}
	if p := problemOf(t, w.askJSON("PUT", target+"second", w.owner, `{"weight":5,"org_weight":1000001}`)); p.Status != http.StatusUnprocessableEntity && p.Status != http.StatusBadRequest {
		t.Errorf("%+v", p)
	}
	if got := w.askJSON("GET", v1+"/quotas", w.owner, "").Body.String(); gjson.Get(got, "data.#(name==second).weight").Int() == 5 {
		t.Errorf("half of a request was carried out: %s", got)
	}
	if p := problemOf(t, w.askJSON("POST", v1+"/nodes/nowhere/drain", w.owner, `{}`)); p.Status != http.StatusNotFound {
		t.Errorf("%+v", p)
	}
}

// What a list of jobs is narrowed to is one of the words there are, and a deadline lies after the earliest beginning.
func TestJobsAreAskedForByKnownWords(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ query, field string }{{"state=done", "state"}, {"kind=batch", "kind"}} {
		if p := problemOf(t, w.askJSON("GET", v1+"/jobs?"+c.query, w.owner, "")); !strings.Contains(p.Message, c.field) {
			t.Errorf("%s: %+v", c.query, p)
		}
	}
	for _, query := range []string{"", "?state=running", "?kind=program&state=queued"} {
		if rec := w.askJSON("GET", v1+"/jobs"+query, w.owner, ""); rec.Code != http.StatusOK {
			t.Errorf("%s: %d %s", query, rec.Code, rec.Body)
		}
	}
	for _, placing := range []string{`"deadline":"2020-01-01T00:00:00Z"`, `"begin":"2099-01-02T00:00:00Z","deadline":"2099-01-01T00:00:00Z"`} {
		if p := problemOf(t, w.askJSON("POST", v1+"/jobs", w.owner, `{"command":["true"],`+placing+`}`)); p.Field != "deadline" {
			t.Errorf("%s: %+v", placing, p)
		}
	}
}

// Everybody sees the queue of the own project; an owner of the organisation its queues; an operator all of them, and
// which job sits where.
func TestWhoSeesWhichQueues(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	second := must(w.Tenancy.CreateProject(ctx, w.who.OrgID, "second"))(t)
	_, foreign, _, _, err := w.Tenancy.CreateOrganisation(ctx, w.who.Maker(), "foreign")
	must(0, err)(t)
	for _, p := range []string{second.ID, foreign.ID} {
		must(w.Queue.SetQuota(ctx, queue.Quota{Project: p, Guarantee: map[string]int64{"slot": 1}}))(t)
	}
	running := job.Job{ID: "job_x", Spec: job.Spec{Project: foreign.ID, CPUs: 1}, State: job.Running, Attempt: 1, AttemptAt: time.Now(), CreatedAt: time.Now(),
		Standing: job.Standing{Placement: &job.Placement{Chip: "cpu", Size: 1, Seats: []job.Seat{{Node: "here", Chips: 1, Devices: []int32{0}}}}}}
	none := func([]string) (map[string]job.Job, error) { return nil, nil }
	must(w.Queue.(*queue.Planner).Plan(ctx, job.View{Now: time.Now(), Jobs: []job.Job{running}, Find: none}))(t)
	for _, c := range []struct {
		scopes []tenancy.Scope
		queues int64
		jobs   int64
	}{{[]tenancy.Scope{tenancy.Read}, 1, 0}, {[]tenancy.Scope{tenancy.Read, tenancy.OrgWide}, 2, 0}, {[]tenancy.Scope{tenancy.Read, tenancy.Platform}, 3, 1}} {
		key := w.key(t, tenancy.Key{Role: tenancy.Viewer, Scopes: c.scopes})
		for _, target := range []string{"/queues", "/quotas"} {
			if n := gjson.GetBytes(w.askJSON("GET", v1+target, key, "").Body.Bytes(), "items.#").Int(); n != c.queues {
				t.Errorf("%s with %v: %d", target, c.scopes, n)
			}
		}
		nodes := w.askJSON("GET", v1+"/nodes", key, "").Body.String()
		if gjson.Get(nodes, "items.0.used").Int() != 1 || gjson.Get(nodes, "items.0.jobs.#").Int() != c.jobs {
			t.Errorf("with %v: %s", c.scopes, nodes)
		}
	}
}

// Windows that cannot be are refused by their field, and whose a reservation is stays with those who may see the queue.
func TestWindowsAreChecked(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for _, c := range []struct{ body, field string }{
		{`{"name":"x","nodes":["her"],"from":"` + inHours(200_000) + `","until":"` + inHours(200_001) + `"}`, "from"},
		{`{"name":"x","nodes":["her"],"until":"` + inHours(2) + `","from":"` + inHours(1) + `"}`, "nodes"},
		{`{"name":"x","nodes":["here"],"until":"` + inHours(9000) + `"}`, "until"},
		{`{"name":"x","nodes":["here"],"until":"2001-01-01T00:00:00Z"}`, "until"},
		{`{"name":"x y","nodes":["here"],"until":"` + inHours(2) + `","from":"` + inHours(1) + `"}`, "name"},
		{`{"name":"x","nodes":["here"],"until":"` + inHours(2) + `","from":"` + inHours(1) + `","project":"none"}`, "project"},
	} {
		if p := problemOf(t, w.askJSON("POST", v1+"/node-windows", w.owner, c.body)); p.Field != c.field {
			t.Errorf("%s: %s: %s", c.body, p.Field, p.Message)
		}
	}
	if p := problemOf(t, w.askJSON("POST", v1+"/node-windows", w.owner, `{"name":"yearly","nodes":["here"],"until":"`+inHours(2)+`","from":"`+inHours(1)+`"}`)); p.Status != http.StatusConflict {
		t.Errorf("a name that is taken: %+v", p)
	}
	_, foreign, _, _, err := w.Tenancy.CreateOrganisation(ctx, w.who.Maker(), "foreign")
	must(0, err)(t)
	must(w.Queue.AddWindow(ctx, queue.Window{Name: "theirs", Nodes: []string{"here"}, Until: time.Now().Add(time.Hour), Project: foreign.ID, Reason: "secret"}))(t)
	for scope, seen := range map[tenancy.Scope]bool{tenancy.OrgWide: false, tenancy.Platform: true} {
		key := w.key(t, tenancy.Key{Role: tenancy.Viewer, Scopes: []tenancy.Scope{tenancy.Read, scope}})
		body := w.askJSON("GET", v1+"/node-windows", key, "").Body.Bytes()
		x := gjson.GetBytes(body, "items.0")
		if x.Get("name").String() != "theirs" || x.Get("kind").String() != "reservation" || x.Get("state").String() != "open" || (x.Get("project").String() == foreign.ID) != seen || (x.Get("reason").String() == "secret") != seen {
			t.Errorf("with %s: %s", scope, body)
		}
	}
}

// What a run asks of the scheduler comes back with the run and its job.
func TestARunsPlacingIsKept(t *testing.T) {
	w := newWorld(t)
	body := `{"model":"m3","data":"` + w.objects["data"] + `","recipe":{"steps":2},"chips":8,"min_chips":2,"chip_types":["slot"],"time_limit_s":60}`
	rec := w.askJSON("POST", v1+"/runs", w.owner, body)
	r := gjson.ParseBytes(rec.Body.Bytes())
	if rec.Code != http.StatusCreated || r.Get("placing.chips").Int() != 8 || r.Get("placing.min_chips").Int() != 2 {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	again := w.askJSON("GET", v1+"/runs/"+r.Get("id").String(), w.owner, "").Body.String()
	if gjson.Get(again, "placing").Raw != r.Get("placing").Raw {
		t.Error(again)
	}
	for _, j := range must(w.jobs.List(t.Context(), w.who.ProjectID, job.Filter{}))(t) {
		if j.Owner == r.Get("id").String() && (j.Ask.MinChips != 2 || j.Ask.Chips != 8) {
			t.Errorf("%+v", j.Ask)
		}
	}
	if p := problemOf(t, w.askJSON("POST", v1+"/runs", w.owner, strings.Replace(body, `"min_chips":2`, `"min_chips":9`, 1))); p.Field != "min_chips" {
		t.Errorf("%+v", p)
	}
}

// What a program computes is read as an estimate's question is: a known shape or a model of its own project, with its sizes filled in.
func TestWorkOfPrograms(t *testing.T) {
	w := newWorld(t)
	secret := w.key(t, tenancy.Key{Role: tenancy.Developer, Scopes: []tenancy.Scope{tenancy.Write}})
	ask := func(work string) (int, string) {
		rec := w.askJSON("POST", "/api/v1/jobs", secret, `{"command":["true"],"chips":2,"work":`+work+`}`)
		return rec.Code, rec.Body.String()
	}
	code, body := ask(`{"model":"llama-3-8b","task":"train","batch":64,"precision":"fp16","engine":"nemo"}`)
	j := w.jobs.all[gjson.Get(body, "id").Str]
	if code != http.StatusCreated || j.Ask.Work == nil {
		t.Fatalf("%d %s", code, body)
	}
	want := perf.Work{Task: perf.Train, Engine: "nemo", Precision: chip.FP16, Batch: 64, Context: 8192}
	if d := cmp.Diff(want, j.Ask.Work.Work); d != "" || j.Ask.Work.Shape.Layers != 32 {
		t.Error(d)
	}
	for work, field := range map[string]string{
		`{"model":"llama-3-8x","task":"train"}`:                               "llama-3-8b",
		`{"model":"m","task":"train"}`:                                        "model", // its shape is not known
		`{"model":"llama-3-8b","task":"sing"}`:                                "task",
		`{"model":"llama-3-8b","task":"train","engine":"nobody"}`:             "engine",
		`{"model":"llama-3-8b","task":"train","precision":"fp3"}`:             "precision",
		`{"model":"llama-3-8b","task":"train","lora":8}`:                      "lora",
		`{"model":"llama-3-8b","task":"train","batch":-1}`:                    "batch",
		`{"model":"llama-3-8b","task":"decode","context":16777216,"batch":1}`: "",
		`{"model":"llama-3-8b","task":"decode","context":16777217,"batch":1}`: "context",
		`{"model":"` + strings.Repeat("x", 300) + `","task":"decode"}`:        "model",
		`{"task":"decode"}`: "model",
	} {
		if code, body := ask(work); field != "" && (code < 400 || code > 422 || !strings.Contains(body, field)) || field == "" && code != http.StatusCreated {
			t.Errorf("%s: %d %s", work, code, body)
		}
	}
	rec := w.askJSON("POST", "/api/v1/jobs", secret, `{"command":["true"],"work":{"model":"llama-3-8b","task":"train"}}`)
	if rec.Code != http.StatusUnprocessableEntity && rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "none are asked for") {
		t.Errorf("without chips: %d %s", rec.Code, rec.Body)
	}
}

// A node is everybody's to see, what happened to its devices the operator's; one that is not there is named.
func TestNodeEvents(t *testing.T) {
	at := time.Unix(1_800_000_000, 0).UTC()
	var asked []string
	w := newWorld(t, func(d *Deps) {
		d.Happened = func(node string) []health.Event {
			asked = append(asked, node)
			return []health.Event{{At: at, Node: node, ID: "GPU-1", Slot: 3, Level: chip.RestartDevice, Code: "memory_retiring", Says: "pages wait"}, {At: at.Add(-time.Hour), Node: node, ID: "GPU-0"}}
		}
	})
	see := func(role tenancy.Role, scopes ...tenancy.Scope) string {
		rec := w.askJSON("GET", "/api/v1/nodes/here", w.key(t, tenancy.Key{Role: role, Scopes: scopes}), "")
		if rec.Code != http.StatusOK || gjson.Get(rec.Body.String(), "name").Str != "here" {
			t.Errorf("%s %v: %d %s", role, scopes, rec.Code, rec.Body)
		}
		return gjson.Get(rec.Body.String(), "events").Raw
	}
	if got := see(tenancy.Owner, tenancy.Read, tenancy.Write, tenancy.OrgWide); got != "" || len(asked) > 0 {
		t.Errorf("an owner sees %s", got)
	}
	got := see(tenancy.Viewer, tenancy.Read, tenancy.Platform)
	want := `{"at":"2027-01-15T08:00:00Z","number":3,"id":"GPU-1","level":"restart device","code":"memory_retiring","says":"pages wait"}`
	if gjson.Get(got, "0").Raw != want || gjson.Get(got, "#").Int() != 2 || !slices.Equal(asked, []string{"here"}) {
		t.Errorf("the operator sees %s of %v", got, asked)
	}
	rec := w.askJSON("GET", "/api/v1/nodes/nowhere", w.owner, "")
	if rec.Code != http.StatusNotFound || !strings.Contains(rec.Body.String(), "nowhere") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}
