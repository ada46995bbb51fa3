package queue

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/api"
)

// The schedule of these tests is a minute of a real one: rounds of a second, and seconds until work may make way.
const config = "compute:\n  capacity: [slot=8]\n  min-run: 3s\n  round: 1s\nlog:\n  level: info\n"

// text is a small data set, the same in every project.
func text() string {
	words := strings.Fields("ledger route replica keeper fence budget token model worker supervisor run recipe data blob")
	var b strings.Builder
	for i := range 300 {
		fmt.Fprintf(&b, "The %s asks the %s, and the %s answers %d times.\n", words[i%len(words)], words[(i*3+1)%len(words)], words[(i*5+i/7)%len(words)], i%9)
	}
	return b.String()
}

// party is a project with its own key.
type party struct {
	*place
	c   *api.Client
	key string
}

func (p *place) party(name string) *party {
	p.t.Helper()
	x := &party{place: p, c: p.owner}
	if name != "default" {
		_, err := p.owner.CreateProject(p.t.Context(), api.NewProject{Name: name})
		p.ok(err)
		k, err := p.owner.CreateKey(p.t.Context(), api.NewKey{Name: name, Project: name, Role: "developer", Scopes: []string{"read", "write"}})
		p.ok(err)
		x.key, x.c = k.Key, api.New(p.url, k.Key)
	}
	_, err := x.c.ImportData(p.t.Context(), api.Import{Name: "notes", Format: "text"}, strings.NewReader(text()))
	p.ok(err)
	return x
}

// again has the party ask the program that follows a killed one.
func (x *party) again() {
	if x.c = x.owner; x.key != "" {
		x.c = api.New(x.url, x.key)
	}
}

// train submits a run by the command line and returns its job.
func (x *party) train(name string, steps, chips int, flags ...string) (api.Run, api.Job) {
	x.t.Helper()
	var r api.Run
	x.cli(&r, x.key, append([]string{"train", "notes", "--model", name, "--name", name, "--preset", "nano", "--steps", fmt.Sprint(steps),
		"--chips", fmt.Sprint(chips), "--detach"}, flags...)...)
	x.eventually("the job of "+name, func() bool {
		got, err := x.c.Run(x.t.Context(), r.ID)
		x.ok(err)
		r = got
		return r.JobID != ""
	})
	return r, x.job(r.JobID)
}

func (x *party) job(id string) api.Job {
	x.t.Helper()
	j, err := x.c.Job(x.t.Context(), "", id)
	x.ok(err)
	return j
}

// reaches waits until a job is in a state.
func (x *party) reaches(j api.Job, state string) (now api.Job) {
	x.t.Helper()
	x.eventually(j.Name+" to be "+state, func() bool {
		now = x.job(j.ID)
		if state != "failed" && (now.State == "failed" || now.State == "cancelled") {
			x.t.Fatalf("%s is %s: %s", now.Name, now.State, now.Reason)
		}
		return now.State == state
	})
	return now
}

func (x *party) explain(j api.Job) (e api.Explanation) {
	x.t.Helper()
	x.cli(&e, x.key, "job", "explain", j.ID)
	return e
}

func devices(j api.Job) (n int) {
	for _, s := range j.Placement {
		n += len(s.Devices)
	}
	return n
}

// outcome is what a run came to.
type outcome struct {
	SHA256 string
	Loss   float64
	Curve  []api.LossPoint
}

func (x *party) outcome(r api.Run) outcome {
	x.t.Helper()
	x.eventually("the model of "+r.Name, func() bool {
		got, err := x.c.Run(x.t.Context(), r.ID)
		x.ok(err)
		r = got
		return r.ModelVersion != ""
	})
	v, err := x.c.ModelVersion(x.t.Context(), r.ModelVersion)
	x.ok(err)
	to := filepath.Join(x.t.TempDir(), "exported")
	x.cli(nil, x.key, "model", "export", r.ModelVersion, "--to", to)
	weights, err := os.ReadFile(filepath.Join(to, "model.safetensors"))
	x.ok(err)
	sum := sha256.Sum256(weights)
	return outcome{hex.EncodeToString(sum[:]), v.Metrics["loss"], v.LossCurve}
}

// expectExplained holds an explanation against the numbers it must name.
func (x *party) expectExplained(e api.Explanation, stage, bound string, have, want int64, words ...string) {
	x.t.Helper()
	if e.Stage != stage || e.Bound != bound || e.Have != have || e.Want != want {
		x.t.Errorf("explained by %s (%s), has %d, wants %d; want %s (%s), %d, %d: %s", e.Stage, e.Bound, e.Have, e.Want, stage, bound, have, want, e.Reason)
	}
	for _, w := range words {
		if !strings.Contains(e.Reason, w) {
			x.t.Errorf("%q does not say %q", e.Reason, w)
		}
	}
}

// TestTheScheduleLive is two projects on eight slots: replicas that stay, a borrower that gives back, a fast lane, an
// exact resume, a control plane that is killed, and a gang of all eight; each waits for the reason it is told.
func TestTheScheduleLive(t *testing.T) {
	p := newPlace(t, config)
	ctx := t.Context()
	a, b := p.party("default"), p.party("lab")
	var q api.Quota
	p.cli(&q, "", "quota", "set", "default", "--guarantee", "slot=4")
	p.cli(&q, "", "quota", "set", "lab", "--guarantee", "slot=4")
	if q.Name != "lab" || q.Guarantee["slot"] != 4 {
		t.Errorf("%+v", q)
	}

	// A deployment of two replicas, of a slot each. Its model is made by a run without slots, on a core.
	first, _ := a.train("m", 5, 0)
	a.outcome(first)
	p.cli(nil, "", "deploy", "m", "--replicas", "2", "--chips", "1", "--no-route")
	replicas := func() (ids []string) {
		d, err := p.owner.Deployment(ctx, "m")
		p.ok(err)
		for _, c := range d.Copies {
			if !c.Healthy || c.Attempt != 1 {
				t.Errorf("replica %+v", c)
			}
			ids = append(ids, c.JobID)
		}
		return ids
	}
	kept := replicas()

	// The lab borrows: six of the eight, of which four are its own.
	borrowed, borrower := b.train("borrower", 250, 6, "--seed", "7")
	borrower = b.reaches(borrower, "running")
	if devices(borrower) != 6 || borrower.Chip != "slot" {
		t.Errorf("the borrower holds %+v", borrower.Placement)
	}
	env, _ := os.ReadFile(filepath.Join(p.dir, "work", borrower.ID, "attempts", "1", "task.json"))
	if !strings.Contains(string(env), `TRIARCH_DEVICES=`) {
		t.Error("the borrower was not told its devices")
	}
	if e := b.explain(borrower); !strings.Contains(e.Reason, "2 beyond its guarantee of 4") {
		t.Errorf("the borrower: %s", e.Reason)
	}

	// The owner of two more claims them. The borrower has its minimum run, then makes way, its work saved.
	_, owner := a.train("owner", 20, 2)
	a.expectExplained(a.explain(owner), "placed", "room", 0, 2, "0 of chip slot are free", "Its queue is owed the room; 1 job that borrows it has not yet run for 3s")
	owner = a.reaches(owner, "running")
	if devices(owner) != 2 {
		t.Errorf("the owner holds %+v", owner.Placement)
	}
	borrower = b.reaches(borrower, "queued")
	if borrower.Preempted != 1 || borrower.Restarts != 0 || !strings.Contains(borrower.Reason, "whose queue was below its guarantee") {
		t.Errorf("the borrower: %+v", borrower)
	}

	// Short evaluation does not wait behind it.
	_, fast := b.train("eval", 3, 2, "--fast", "--time-limit", "1m")
	b.reaches(fast, "succeeded")
	borrower = b.job(borrower.ID)
	if fast = b.job(fast.ID); fast.Class != "evaluation" || borrower.State == "running" && borrower.AttemptAt.Before(*fast.StartedAt) {
		t.Errorf("the evaluation ran after the borrower: %+v, %+v", fast, borrower)
	}

	// The borrower comes back; the control plane is killed meanwhile, and nothing that runs notices.
	a.reaches(owner, "succeeded")
	borrower = b.reaches(borrower, "running")
	p.kill()
	p.up()
	a.again()
	b.again()
	if now := b.job(borrower.ID); now.Attempt != borrower.Attempt || cmp.Diff(now.Placement, borrower.Placement) != "" || borrower.Attempt != 2 {
		t.Errorf("after the kill: %+v, before: %+v", now, borrower)
	}
	b.reaches(borrower, "succeeded")
	if d := cmp.Diff(kept, replicas()); d != "" {
		t.Errorf("the replicas are others: %s", d)
	}

	// All eight at once. While the replicas are there they can never be had; without them the gang gets its place.
	_, gang := a.train("gang", 5, 8)
	a.expectExplained(a.explain(gang), "placed", "room", 6, 8, "6 of chip slot are free", "the job needs 8")
	p.cli(nil, "", "deployment", "rm", "m")
	if got := a.reaches(gang, "succeeded"); devices(got) != 8 {
		t.Errorf("the gang held %+v", got.Placement)
	}

	// The same run without anybody in its way comes to the same bits.
	calm, _ := b.train("calm", 250, 6, "--seed", "7")
	if d := cmp.Diff(b.outcome(calm), b.outcome(borrowed)); d != "" {
		t.Errorf("the preempted run is another: %s", d)
	}
}

// TestHandsOn is what people do to jobs and nodes: hold, release, requeue, cancel, dependencies, time limits, draining.
func TestHandsOn(t *testing.T) {
	p := newPlace(t, config)
	a := p.party("default")
	var nodes []api.Node
	p.cli(&nodes, "", "node", "ls")
	slots := nodes[len(nodes)-1]
	if slots.Chip != "slot" || slots.Chips != 8 {
		t.Fatalf("%+v", nodes)
	}
	p.cli(nil, "", "node", "drain", slots.Name, "--reason", "a new fan")
	_, held := a.train("held", 100000, 4, "--hold")
	_, after := a.train("after", 3, 1, "--after", held.ID)
	_, late := a.train("late", 3, 1, "--begin", "1h")
	_, limited := a.train("limited", 100000, 1, "--time-limit", "2s")
	p.eventually("the queue to look", func() bool { return a.job(limited.ID).Reason != "" })
	for _, c := range []struct {
		j     api.Job
		bound string
		words string
	}{{held, "hold", "held until somebody releases it"}, {after, "after", "waits for job " + held.ID}, {late, "begin", "at the earliest"},
		{limited, "room", "Node " + slots.Name + " takes no new work: a new fan."}} {
		if e := a.explain(c.j); e.Bound != c.bound || !strings.Contains(e.Reason, c.words) {
			t.Errorf("%s: %+v", c.j.Name, e)
		}
	}
	p.cli(nil, "", "node", "resume", slots.Name)
	a.reaches(limited, "failed")
	if got := a.job(limited.ID); got.Reason != "It reached its time limit of 2s." || got.Fault != "program" {
		t.Errorf("%+v", got)
	}
	p.cli(nil, "", "job", "release", held.ID)
	a.reaches(held, "running")
	p.cli(nil, "", "job", "requeue", "held")
	p.eventually("its second attempt", func() bool { return a.job(held.ID).Attempt == 2 })
	if got := a.reaches(held, "running"); got.Preempted != 0 || got.Restarts != 0 {
		t.Errorf("%+v", got)
	}
	var queues []api.Queue
	p.cli(&queues, "", "queue")
	if len(queues) != 1 || queues[0].Held["slot"] != 4 || queues[0].Running != 1 || queues[0].Parked != 2 {
		t.Errorf("%+v", queues)
	}
	var read string
	p.cli(&read, "", "job", "ls")
	for _, w := range []string{"held", "after", "late", slots.Name + ":0,1,2,3"} {
		if !strings.Contains(read, w) {
			t.Errorf("job ls does not show %q:\n%s", w, read)
		}
	}
	p.cli(nil, "", "job", "cancel", held.ID)
	p.eventually("its end", func() bool { return a.job(held.ID).State == "cancelled" })
	p.eventually("the word that nothing comes after it", func() bool { return strings.Contains(a.job(after.ID).Reason, "it will never start") })
	_, err := p.owner.CreateRun(t.Context(), api.NewRun{Model: "x", Data: "notes", Recipe: api.Recipe{Preset: "nano", Steps: 1}, Placing: api.Placing{Chips: 9}})
	if err == nil || !strings.Contains(err.Error(), "no site has room for 9 chips") {
		t.Errorf("nine of eight: %v", err)
	}
}

// TestElasticWorkAndMaintenance is a run on as many slots as there are: it gives up half of what it borrowed, is asked to
// end before maintenance of its node and told so beforehand, waits for the end of that though the control plane is killed,
// and does all its steps.
func TestElasticWorkAndMaintenance(t *testing.T) {
	p := newPlace(t, config)
	a, b := p.party("default"), p.party("lab")
	p.cli(nil, "", "quota", "set", "default", "--guarantee", "slot=4")
	var nodes []api.Node
	p.cli(&nodes, "", "node", "ls")
	slots := nodes[len(nodes)-1].Name
	stretched, elastic := b.train("stretched", 800, 8, "--min-chips", "2")
	if elastic = b.reaches(elastic, "running"); devices(elastic) != 8 {
		t.Errorf("alone it holds %+v", elastic.Placement)
	}
	_, owner := a.train("owner", 100000, 4)
	owner = a.reaches(owner, "running")
	p.eventually("its second attempt", func() bool { return b.job(elastic.ID).Attempt == 2 })
	if elastic = b.reaches(elastic, "running"); devices(elastic) != 4 || elastic.Preempted != 1 || elastic.Restarts != 0 {
		t.Errorf("beside the owner it is %+v", elastic)
	}

	p.cli(nil, "", "node", "window", "add", "later", "--nodes", slots, "--from", "+30m", "--until", "+40m")
	p.eventually("the word of maintenance", func() bool {
		return strings.Contains(b.explain(elastic).Reason, "is kept for maintenance window later from")
	})
	p.cli(nil, "", "node", "window", "rm", "later")
	var w api.Window
	p.cli(&w, "", "node", "window", "add", "fan", "--nodes", slots, "--from", "+2s", "--until", "+4s")
	p.eventually("the node to be cleared", func() bool { return a.job(owner.ID).State != "running" && b.job(elastic.ID).State != "running" })
	p.kill()
	p.up()
	a.again()
	b.again()
	if got := a.job(owner.ID); got.State == "queued" && (got.Preempted != 1 || got.Attempt != 1 || !strings.Contains(got.Reason, "It made way for maintenance window fan on "+slots)) {
		t.Errorf("the owner is %+v", got)
	}
	p.eventually("work after the maintenance", func() bool { return a.job(owner.ID).Attempt == 2 })
	if got := a.reaches(owner, "running"); got.AttemptAt.Before(w.Until) {
		t.Errorf("the owner runs again at %s, before the window ends at %s", got.AttemptAt, w.Until)
	}
	p.cli(nil, "", "job", "cancel", owner.ID)
	if got := b.reaches(elastic, "succeeded"); got.Restarts != 0 {
		t.Errorf("in the end it is %+v", got)
	}
	got, err := b.c.Run(t.Context(), stretched.ID)
	if p.ok(err); got.Progress.Step != 800 || got.Restarts != 0 {
		t.Errorf("it has done %+v", got.Progress)
	}
}
