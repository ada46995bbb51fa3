package server

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/server/front"
	"github.com/triarch-ai/triarch/storage/blob"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/webhook"
)

// dial starts the world's server on a socket; wrap may stand in front of it.
func (w *world) dial(t *testing.T, wrap func(http.Handler) http.Handler) *api.Client {
	t.Helper()
	h := w.h
	if wrap != nil {
		h = wrap(h)
	}
	addr, _ := listen(t, HTTP(h, w.Log))
	return api.New("http://"+addr+"/", w.owner)
}

// listen starts a server on a socket of its own; ended gets what its Serve returned.
func listen(t *testing.T, srv *front.Server) (addr string, ended <-chan error) {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() { srv.Close() })
	return l.Addr().String(), done
}

// tarOf packs files as a tar stream.
func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for name, text := range files {
		must(0, tw.WriteHeader(&tar.Header{Name: name, Size: int64(len(text)), Mode: 0o644}))(t)
		must(tw.Write([]byte(text)))(t)
	}
	must(0, tw.Close())(t)
	return b.Bytes()
}

// The client has a method for every operation, and each method reaches the operation it is named for.
func TestClientSpeaksEveryOperation(t *testing.T) {
	sqltest.EachDSN(t, func(t *testing.T, dsn string) { speakEverything(t, newWorldOn(t, dsn)) })
}

func speakEverything(t *testing.T, w *world) {
	reached := map[string]bool{}
	var mu sync.Mutex
	table := http.NewServeMux()
	for _, e := range endpoints {
		table.HandleFunc(e.Method+" "+e.Pattern, func(http.ResponseWriter, *http.Request) {})
	}
	c := w.dial(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			_, pattern := table.Handler(r)
			mu.Lock()
			reached[pattern] = true
			mu.Unlock()
			h.ServeHTTP(rw, r)
		})
	})
	clientTenancy(t, w, c)
	clientData(t, c)
	clientRuns(t, w, c)
	clientModels(t, c)
	clientServing(t, w, c)
	clientCompute(t, w, c)
	clientEstimates(t, c)
	must(0, c.Healthy(t.Context()))(t)
	for _, e := range endpoints {
		if name := e.Method + " " + e.Pattern; e.ID != "" && !reached[name] {
			t.Errorf("no method of the client reached %s", name)
		}
	}
}

func clientTenancy(t *testing.T, w *world, c *api.Client) {
	ctx := t.Context()
	st := must(c.Status(ctx))(t)
	if st.Server.Version != "test" || st.Key.ID != w.who.KeyID || st.Project.ID != w.who.ProjectID || len(st.Runs) != 1 || len(st.Deployments) != 1 || len(st.Routes) != 1 {
		t.Errorf("status %+v", st)
	}
	o := must(c.CreateOrganisation(ctx, api.NewOrganisation{Name: "second"}))(t)
	if all := must(c.Organisations(ctx))(t); len(all) != 2 || all[1] != o.Organisation || !strings.HasPrefix(o.Key.Key, "tri_") {
		t.Errorf("organisations %+v after %+v", all, o)
	}
	p := must(c.CreateProject(ctx, api.NewProject{Name: "other"}))(t)
	if all := must(c.Projects(ctx))(t); len(all) != 2 || all[1] != p {
		t.Errorf("projects %+v after %+v", all, p)
	}
	m := must(c.PutMember(ctx, "other", "zoe@example.org", "developer"))(t)
	if all := must(c.Members(ctx, "other"))(t); len(all) != 1 || all[0] != m || m.ProjectID != p.ID {
		t.Errorf("members %+v after %+v", all, m)
	}
	must(0, c.RemoveMember(ctx, "other", "zoe@example.org", false))(t)
	if all := must(c.Members(ctx, "other"))(t); len(all) != 0 {
		t.Errorf("members %+v after the removal", all)
	}
	budget := int64(1_500_000)
	k := must(c.CreateKey(ctx, api.NewKey{Name: "k", Project: "other", Role: "viewer", Scopes: []string{"inference"}, RPM: 1, TPM: 2, Concurrency: 3, BudgetMicros: &budget}))(t)
	if d := cmp.Diff(k.Object, must(c.Key(ctx, "other", k.Object.ID))(t)); d != "" || k.Object.TPM != 2 || *k.Object.BudgetMicros != budget {
		t.Errorf("key %+v: %s", k, d)
	}
	must(c.SetLimit(ctx, "key", k.Object.ID, api.LimitChange{TPM: new(int64(9)), RPM: new(int64)}))(t)
	if got, want := must(c.Limits(ctx, ""))(t), (api.Limit{Scope: "key", ID: k.Object.ID, TPM: 9, Concurrency: 3, SetFrom: "platform"}); !slices.Contains(got, want) {
		t.Errorf("limits %+v, want %+v", got, want)
	}
	must(0, c.RemoveLimit(ctx, "key", k.Object.ID))(t)
	must(c.SetBudget(ctx, "key", k.Object.ID, 7))(t)
	var mine api.Budget
	for _, b := range must(c.Budgets(ctx, ""))(t) {
		if b.ID == k.Object.ID {
			mine = b
		}
	}
	if want := (api.Budget{Scope: "key", ID: k.Object.ID, LimitMicros: 7, SpentMicros: 5, SetFrom: "platform"}); mine != want {
		t.Errorf("budget %+v, want %+v", mine, want)
	}
	must(0, c.RemoveBudget(ctx, "key", k.Object.ID))(t)
	must(0, c.RevokeKey(ctx, "other", k.Object.ID, false))(t)
	if all := must(c.Keys(ctx, p.ID))(t); len(all) != 1 || all[0].RevokedAt == nil || all[0].BudgetMicros != nil {
		t.Errorf("keys %+v after revoking", all)
	}
}

func clientData(t *testing.T, c *api.Client) {
	ctx := t.Context()
	v := must(c.ImportData(ctx, api.Import{Name: "set", Format: "jsonl", SkipBad: true}, strings.NewReader("{\"text\":\"a\"}\nnot json\n{\"text\":\"b\"}\n")))(t)
	if v.Number != 1 || v.Records != 2 || v.Bad != 1 || len(v.BadLines) != 1 || v.BadLines[0].Line != 2 || len(v.SHA256) != 64 {
		t.Errorf("imported %+v", v)
	}
	v.CreatedAt = v.CreatedAt.Truncate(time.Microsecond) // as databases keep it
	for _, name := range []string{v.ID, "set", "set@1"} {
		if d := cmp.Diff(v, must(c.DataVersion(ctx, name))(t)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if vs := must(c.DataVersions(ctx, strings.TrimSuffix(name, "@1")))(t); len(vs) != 1 {
			t.Errorf("versions of %s: %+v", name, vs)
		}
	}
	if sets := must(c.DataSets(ctx))(t); len(sets) != 2 || sets[0].Name != "set" || sets[0].Latest.ID != v.ID {
		t.Errorf("sets %+v", sets)
	}
	var b bytes.Buffer
	must(0, c.DataRecords(ctx, "set", &b))(t)
	if b.String() != "{\"text\":\"a\"}\n{\"text\":\"b\"}\n" {
		t.Errorf("records %q", b.String())
	}
	must(0, c.RemoveData(ctx, v.ID))(t)
	if _, err := c.DataVersion(ctx, v.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("after the removal: %v", err)
	}
}

func clientRuns(t *testing.T, w *world, c *api.Client) {
	ctx := t.Context()
	n := api.NewRun{Model: "new", Data: "words", Recipe: api.Recipe{Preset: "nano", Steps: 3, Seed: 18446744073709551615}}
	e := must(c.EstimateRun(ctx, n))(t)
	if e.Estimate.Seconds != 2 || e.Recipe.Layers == 0 || len(must(c.Runs(ctx))(t)) != 1 {
		t.Errorf("estimate %+v", e)
	}
	r := must(c.CreateRun(ctx, n))(t)
	if r.State == "" || r.Recipe.Steps != 3 || r.Recipe.Seed != n.Recipe.Seed || r.Model != "new" {
		t.Errorf("run %+v", r)
	}
	got := must(c.Run(ctx, r.ID))(t)
	if got.ID != r.ID || got.Attempt != 2 || got.Restarts != 1 || got.Limits != "rlimits" || got.Ended() {
		t.Errorf("run with its job %+v", got)
	}
	l := must(c.RunLogs(ctx, r.ID, api.LogQuery{Offset: 6, Limit: 3}))(t)
	if string(l.Data) != "wor" || l.Next != 9 || l.End != 11 || l.Ended {
		t.Errorf("logs %+v", l)
	}
	stopped := must(c.StopRun(ctx, r.ID))(t)
	if stopped.State != "stopping" && stopped.State != "cancelled" {
		t.Errorf("stopped %+v", stopped)
	}
	w.finish(t)
	w.jobs.mu.Lock()
	w.jobs.lines = []job.Line{stepLine(1), stepLine(2), stepLine(3)}
	w.jobs.mu.Unlock()
	var steps []int64
	end := must(c.WatchRun(ctx, w.objects["run"], 0, func(l api.ProgressLine) error { steps = append(steps, l.Step); return nil }))(t)
	if d := cmp.Diff([]int64{1, 2, 3}, steps); d != "" || end.State != "succeeded" || !end.Ended() {
		t.Errorf("watched %v to %+v", steps, end)
	}
}

func stepLine(step int64) job.Line {
	b, _ := json.Marshal(map[string]any{"step": step, "loss": 1.5})
	return job.Line{Attempt: 1, Step: step, Data: b}
}

func clientModels(t *testing.T, c *api.Client) {
	ctx := t.Context()
	v := must(c.ImportModel(ctx, "foreign", bytes.NewBuffer(tarOf(t, map[string]string{"config.json": "{}"}))))(t)
	if v.Model != "foreign" || len(v.Files) != 1 || v.Files[0].Name != "config.json" || v.Bytes != 2 || v.Lineage.Source != "import" {
		t.Errorf("imported %+v", v)
	}
	v.CreatedAt = v.CreatedAt.Truncate(time.Microsecond)
	shown := must(c.ModelVersion(ctx, "foreign@1"))(t)
	if len(shown.Engines) < 3 || shown.Engines[0].Engine != "native" || shown.Engines[0].Runs != "yes" || shown.Engines[0].Why == "" {
		t.Errorf("engines %+v", shown.Engines)
	}
	if fits := must(c.ModelFit(ctx, "foreign"))(t); fits.ID != v.ID || fits.Model != "foreign@1" || len(fits.Places) == 0 || fits.Places[0].Chip != "cpu" || fits.Places[0].Fits || fits.Places[0].Why == "" {
		t.Errorf("%+v", fits)
	}
	shown.Engines = nil
	if d := cmp.Diff(v, shown); d != "" {
		t.Error(d)
	}
	if vs, ms := must(c.ModelVersions(ctx, v.ID))(t), must(c.Models(ctx))(t); len(vs) != 1 || len(ms) != 2 {
		t.Errorf("versions %+v of models %+v", vs, ms)
	}
	var b bytes.Buffer
	must(0, c.ExportModel(ctx, "foreign", "hf", &b))(t)
	names := []string{}
	for tr := tar.NewReader(&b); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		names = append(names, must(h, err)(t).Name)
	}
	if d := cmp.Diff([]string{"config.json", "README.md"}, names); d != "" {
		t.Error(d)
	}
	must(0, c.RemoveModel(ctx, v.ID))(t)
	p := must(c.BeginPull(ctx, api.NewPull{Repo: "org/tiny", Model: "near", Mirrors: []string{"https://mirror.example.org"}, Token: "hf_secret"}))(t)
	if p.State != "running" || p.Model != "near" || p.Revision != "main" || len(p.Mirrors) != 2 || p.Mirrors[1] != "https://huggingface.co" {
		t.Errorf("pull %+v", p)
	}
	if again := must(c.BeginPull(ctx, api.NewPull{Repo: "org/tiny", Model: "near"}))(t); again.ID != p.ID || len(again.Mirrors) != 1 {
		t.Errorf("asked again %+v", again)
	}
	if one, all := must(c.Pull(ctx, p.ID))(t), must(c.Pulls(ctx))(t); one.ID != p.ID || len(all) != 2 || all[0].ID != p.ID {
		t.Errorf("pulls %+v", all)
	}
	must(0, c.RemovePull(ctx, p.ID))(t)
}

func clientServing(t *testing.T, w *world, c *api.Client) {
	ctx := t.Context()
	d := must(c.Deploy(ctx, api.NewDeployment{Model: "m", Name: "dd", Replicas: 2, Route: &api.NewRoute{PriceIn: new(int64(3))}}))(t)
	if d.Name != "dd" || d.Replicas != 2 || d.Route == nil || d.Route.Name != "dd" || d.Route.PriceIn != 3 {
		t.Errorf("deployed %+v", d)
	}
	if all := must(c.Deployments(ctx))(t); len(all) != 2 {
		t.Errorf("deployments %+v", all)
	}
	if one := must(c.Deployment(ctx, "dd"))(t); one.ID != d.ID || one.Model != "m@1" {
		t.Errorf("deployment %+v", one)
	}
	if s := must(c.ScaleDeployment(ctx, "dd", 0))(t); s.Replicas != 0 {
		t.Errorf("scaled %+v", s)
	}
	must(c.DeploymentLogs(ctx, "dd", api.LogQuery{}))(t)
	r := must(c.CreateRoute(ctx, api.NewRoute{Name: "rr", Deployment: "dd", PriceOut: new(int64(4)), Shared: true}))(t)
	if d := cmp.Diff(r, must(c.Route(ctx, "rr"))(t)); d != "" {
		t.Error(d)
	}
	clientProviders(t, c)
	if x := must(c.Request(ctx, w.objects["request"]))(t); x.Outcome != "refused" || x.Code != "model_not_found" || x.Status != 404 {
		t.Errorf("in the log %+v", x)
	}
	q := api.RequestQuery{Status: 404, Since: time.Now().Add(-time.Hour)}
	if all := must(c.Requests(ctx, q, 0))(t); len(all) == 0 || cmp.Diff(all, must(c.Requests(ctx, q, 1000))(t)) != "" {
		t.Errorf("%d requests in the log", len(all))
	}
	clientBodies(t, c, w.objects["request"])
	if x := must(c.ExplainRequest(ctx, w.objects["request"]))(t); x.Model != "pub" || x.Outcome != "refused" || x.Code != "model_not_found" {
		t.Errorf("explained %+v", x)
	}
	if s := must(c.SetRoute(ctx, "rr", api.RouteChange{Deployment: "dd", PriceOut: new(int64(9))}))(t); s.PriceOut != 9 || s.ID != r.ID {
		t.Errorf("set %+v", s)
	}
	if all := must(c.Routes(ctx))(t); len(all) != 3 {
		t.Errorf("routes %+v", all)
	}
	versions := must(c.Prices(ctx, "rr"))(t)
	if len(versions) != 2 || versions[0].Prices.Output != 9 || versions[1].ID != r.PriceVersion || versions[1].Prices != r.Prices {
		t.Errorf("versions of prices %+v", versions)
	}
	if v := must(c.PriceVersion(ctx, r.PriceVersion))(t); v != versions[1] {
		t.Errorf("version %+v", v)
	}
	must(0, c.RemoveRoute(ctx, "rr"))(t)
	if gone := must(c.RemoveDeployment(ctx, "dd"))(t); gone.State != "removing" {
		t.Errorf("removed %+v", gone)
	}
	clientUsage(t, w, c)
}

func clientProviders(t *testing.T, c *api.Client) {
	ctx := t.Context()
	p := must(c.AddProvider(ctx, api.NewProvider{Name: "far", URL: "https://api.example.org/v1", Key: "sk-abcdefghijklmnop"}))(t)
	k := must(c.AddProviderKey(ctx, "far", "another"))(t)
	if got := must(c.Provider(ctx, p.ID))(t); len(got.Keys) != 2 || got.Keys[0].Hint != "mnop" || got.Keys[1].ID != k.ID || got.Keys[1].Hint != "" || got.Dialect != "openai" {
		t.Errorf("provider %+v", got)
	}
	r := must(c.CreateRoute(ctx, api.NewRoute{Name: "both", Aliases: []string{"zwei"}, Backends: []api.NewBackend{
		{Provider: "far", Model: "large", Weight: new(3)}, {Deployment: "dd", Tier: 4}}}))(t)
	want := []api.Backend{{Weight: 3, Provider: p.ID, Model: "large", Name: "far/large"}, {Tier: 1, Weight: 1, Deployment: r.DeploymentID, Name: "local/dd"}}
	if d := cmp.Diff(want, must(c.Route(ctx, "zwei"))(t).Backends); d != "" {
		t.Error(d)
	}
	x := must(c.StartCanary(ctx, "both", api.NewCanary{Provider: "far", Model: "small", Steps: []int{5, 100}, After: new(int64(50)), LeastS: new(3), MaxErrors: new(0.5), MaxSlower: new(2.0), Quantile: new(90)}))(t).Canary
	if x == nil || x.State != "running" || x.Percent != 5 || x.After != 50 || x.LeastS != 3 || x.MaxErrors != 0.5 || x.MaxSlower != 2 || x.Quantile != 90 || x.Backend.Name != "far/small" || len(x.Events) != 1 || x.Trial == nil {
		t.Errorf("%+v", x)
	}
	if x = must(c.SteerCanary(ctx, "zwei", "pause"))(t).Canary; x.State != "paused" || len(x.Events) != 2 || x.Events[1].By == "" {
		t.Errorf("%+v", x)
	}
	must(c.SteerCanary(ctx, "both", "abort"))(t)
	if x = must(c.Route(ctx, "both"))(t).Canary; x.State != "aborted" || x.Percent != 0 || len(x.Events) != 3 {
		t.Errorf("%+v", x)
	}
	if _, err := c.SteerCanary(ctx, "both", "dance"); !fault.Is(err, fault.Invalid) {
		t.Errorf("danced: %v", err)
	}
	if err := c.RemoveProvider(ctx, "far"); !fault.Is(err, fault.Conflict) {
		t.Errorf("a provider that a route leads to was removed: %v", err)
	}
	must(0, c.RemoveRoute(ctx, "both"))(t)
	must(0, c.RemoveProviderKey(ctx, "far", k.ID))(t)
	if x := must(c.TestProvider(ctx, "far"))(t); !x.OK {
		t.Errorf("%+v", x)
	}
	if all := must(c.Providers(ctx))(t); len(all) != 2 {
		t.Errorf("providers %+v", all)
	}
	must(0, c.RemoveProvider(ctx, "far"))(t)
}

// Usage is complete the moment it is asked for: what the ledger holds is shipped first.
func clientUsage(t *testing.T, w *world, c *api.Client) {
	ctx := t.Context()
	for i := range 3 {
		e := must(w.ledger.Begin(&meter.Identity{Request: w.IDs.Raw(), Org: w.who.Org, Project: w.who.Project, Key: w.who.Key, Model: "pub", Tag: "team-a",
			Prices: meter.Flat(1_000_000, 2_000_000), Start: time.Now(), Kind: meter.Chat}))(t)
		e.Settle(meter.Finished, meter.Usage{Input: 10, Output: int64(i)}, meter.Work{Chip: "cpu", ChipMillis: 1000, ChipNanos: 2001})
	}
	u := must(c.Usage(ctx, api.UsageQuery{Group: "model"}))(t)
	want := api.Totals{Requests: 3, PromptTokens: 30, CompletionTokens: 3, CostMicros: 36}
	if d := cmp.Diff(api.Usage{Totals: want, Rows: []api.UsageRow{{Name: "pub", Totals: want}}}, u); d != "" {
		t.Error(d)
	}
	if u := must(c.Usage(ctx, api.UsageQuery{Project: "other"}))(t); u.Totals.Requests != 0 || u.Rows == nil {
		t.Errorf("the other project used %+v", u)
	}
	if u := must(c.Usage(ctx, api.UsageQuery{Organisation: true, From: "2001-01-01", To: "2001-01-02"}))(t); u.Totals.Requests != 0 {
		t.Errorf("long ago %+v", u)
	}
	taken := ""
	taker := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if taken = string(body); err != nil || r.Header.Get(webhook.SignatureHeader) == "" {
			t.Errorf("%v, %v", r.Header, err)
		}
	}))
	defer taker.Close()
	h := must(c.AddWebhook(ctx, api.NewWebhook{URL: taker.URL, AllowPrivate: true, Organisation: true, Thresholds: []int{90}}))(t)
	must(0, c.TestWebhook(ctx, h.Webhook.ID))(t)
	if !strings.HasPrefix(h.Secret, "whsec_") || !strings.Contains(taken, "webhook.test") {
		t.Errorf("webhook %+v took %q", h, taken)
	}
	if all := must(c.Webhooks(ctx))(t); len(all) != 2 || !slices.Equal(all[1].Thresholds, []int{90}) || all[1].ProjectID != "" {
		t.Errorf("webhooks %+v", all)
	}
	must(0, c.RemoveWebhook(ctx, h.Webhook.ID))(t)
	clientMeasured(t, c, w.objects["measurement"])
	must(c.SetChipPrice(ctx, "cpu", 5))(t)
	if p := must(c.SetChipPrice(ctx, "cpu", 7))(t); p != (api.ChipPrice{Chip: "cpu", HourMicros: 7}) {
		t.Errorf("price of a chip %+v", p)
	}
	if ps := must(c.ChipPrices(ctx))(t); len(ps) != 1 || ps[0].HourMicros != 7 {
		t.Errorf("prices of chips %+v", ps)
	}
	must(0, c.RemoveChipPrice(ctx, "cpu"))(t)
	m := must(c.Margin(ctx, api.MarginQuery{By: "project"}))(t)
	if want := (api.MarginTotals{Requests: 3, ChargedMicros: 36, ChipMillis: 3000, ChipCostMicros: 7, MarginMicros: 29}); m.Totals != want ||
		len(m.Rows) != 1 || m.Rows[0].MarginTotals != want || m.Rows[0].Name != w.who.ProjectID {
		t.Errorf("margin %+v", m)
	}
	if m := must(c.Margin(ctx, api.MarginQuery{Org: "org_other"}))(t); m.Totals.Requests != 0 {
		t.Errorf("margin of strangers %+v", m)
	}
	var sheet bytes.Buffer
	must(0, c.UsageCSV(ctx, api.UsageQuery{Group: "tag"}, &sheet))(t)
	if want := "tag,requests,prompt_tokens,cached_tokens,completion_tokens,reasoning_tokens,embedding_tokens,cost_micros,estimated_requests\nteam-a,3,30,0,3,0,0,36,0\n"; sheet.String() != want {
		t.Errorf("got %s", sheet.String())
	}
	if b := must(c.VerifyUsage(ctx))(t); len(b.Faults) != 0 || b.Records != 3 {
		t.Errorf("books %+v", b)
	}
}

func TestUsageBodyIsExact(t *testing.T) {
	w := newWorld(t)
	rec := w.askJSON("GET", v1+"/usage", w.owner, "")
	const want = `{"totals":{"requests":0,"prompt_tokens":0,"completion_tokens":0,"cost_micros":0},"rows":[]}`
	if got := strings.TrimSpace(rec.Body.String()); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// A stream of progress that breaks is taken up where it was.
func TestWatchingGoesOnAfterABreak(t *testing.T) {
	w := newWorld(t)
	w.finish(t)
	for i := range 9 {
		w.jobs.lines = append(w.jobs.lines, stepLine(int64(i)))
	}
	breaks := 0
	c := w.dial(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if breaks++; breaks <= 2 {
				rw = &breaking{rw, 3}
			}
			h.ServeHTTP(rw, r)
		})
	})
	seen := map[int64]bool{}
	end, err := c.WatchRun(t.Context(), w.objects["run"], time.Minute, func(l api.ProgressLine) error { seen[l.Step] = true; return nil })
	if err != nil || len(seen) != 9 || end.State != "succeeded" || breaks != 3 {
		t.Fatalf("saw %d steps in %d streams, then %+v, %v", len(seen), breaks, end, err)
	}
	stop := errors.New("enough")
	if _, err := c.WatchRun(t.Context(), w.objects["run"], time.Minute, func(api.ProgressLine) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the function's own error became %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := c.WatchRun(ctx, w.objects["run"], time.Minute, func(api.ProgressLine) error { cancel(); return nil }); err != nil && !fault.Is(err, fault.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A server that shuts down does not wait for those who watch.
func TestShutdownEndsWatching(t *testing.T) {
	w := newWorld(t) // its run does not end
	srv := HTTP(w.h, w.Log)
	addr, served := listen(t, srv)
	w.jobs.lines = []job.Line{stepLine(1)}
	seen, ended := make(chan struct{}), make(chan error)
	go func() {
		_, err := api.New("http://"+addr, w.owner).WatchRun(t.Context(), w.objects["run"], 0, func(api.ProgressLine) error { close(seen); return nil })
		ended <- err
	}()
	<-seen
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		t.Errorf("shutting down waited for a watcher: %v", err)
	}
	if err := <-ended; !fault.Is(err, fault.Unavailable) {
		t.Errorf("the watcher got %v", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve returned %v", err)
	}
}

// breaking cuts the connection after some writes.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.left--; b.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return b.ResponseWriter.Write(p)
}

func (b *breaking) Unwrap() http.ResponseWriter { return b.ResponseWriter }

func TestUploadsAreBoundedAndExplained(t *testing.T) {
	w := newWorld(t, func(d *Deps) { d.MaxUpload = 1 << 20 })
	c := w.dial(t, nil)
	ctx := t.Context()
	endless := strings.Repeat(strings.Repeat("word ", 100)+"\n\n", 1<<14) // 8 MiB
	for name, r := range map[string]io.Reader{"known length": strings.NewReader(endless), "chunked": io.MultiReader(strings.NewReader(endless))} {
		if _, err := c.ImportData(ctx, api.Import{Name: "big", Format: "text"}, r); !fault.Is(err, fault.TooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := "{\"text\":\"a\"}\n{\n" + strings.Repeat("{\"text\":\"a\"}\n", 60000) // the answer comes before the body's end
	_, err := c.ImportData(ctx, api.Import{Name: "bad", Format: "jsonl"}, strings.NewReader(broken))
	var told *api.Refusal
	if !fault.Is(err, fault.Invalid) || !errors.As(err, &told) || len(told.Problem.BadLines) != 1 || told.Problem.BadLines[0].Line != 2 {
		t.Errorf("a broken line: %v", err)
	}
	if _, err := c.DataVersions(ctx, "bad"); !fault.Is(err, fault.NotFound) {
		t.Errorf("half an import stayed: %v", err)
	}
	read := false
	spy := readerFunc(func([]byte) (int, error) { read = true; return 0, io.EOF })
	if _, err := api.New(c.URL(), "tri_wrong").ImportData(ctx, api.Import{Name: "x", Format: "text"}, spy); !fault.Is(err, fault.Unauthenticated) || read {
		t.Errorf("a refused upload: read %v, %v", read, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestUploadAsForm(t *testing.T) {
	w := newWorld(t)
	const form = "--b\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhi\r\n--b\r\n" +
		"Content-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nhello\r\n--b--\r\n"
	rec := w.ask("POST", v1+"/data?name=formed&format=text", w.owner, "multipart/form-data; boundary=b", strings.NewReader(form))
	var v api.DataVersion
	if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil || rec.Code != http.StatusCreated || v.Records != 1 || v.Chars != 5 {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	for _, bad := range []string{"", "--b--\r\n", "--b\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nhi\r\n--b--\r\n"} {
		rec := w.ask("POST", v1+"/data?name=formed&format=text", w.owner, "multipart/form-data; boundary=b", strings.NewReader(bad))
		if p := problemOf(t, rec); p.Status != http.StatusBadRequest || p.Field != "file" {
			t.Errorf("%q: %+v", bad, p)
		}
	}
}

// A download that meets a damaged file breaks; it does not look complete.
func TestDamagedDownloadBreaks(t *testing.T) {
	w := newWorld(t)
	c := w.dial(t, nil)
	v := must(c.DataVersion(t.Context(), "words"))(t)
	path := must(w.Data.Blobs.(blob.Pather).Path(blob.Ref("sha256:" + v.SHA256)))(t)
	text := must(os.ReadFile(path))(t)
	must(0, os.Remove(path))(t)
	must(0, os.WriteFile(path, bytes.ToUpper(text), 0o600))(t)
	if err := c.DataRecords(t.Context(), "words", io.Discard); err == nil {
		t.Fatal("a damaged download looked whole")
	}
	must(0, os.RemoveAll(filepath.Dir(path)))(t)
	if err := c.DataRecords(t.Context(), "words", io.Discard); !fault.Is(err, fault.NotFound) {
		t.Fatalf("a lost file: %v", err)
	}
}

func clientBodies(t *testing.T, c *api.Client, request string) {
	t.Helper()
	ctx := t.Context()
	if b := must(c.RequestBody(ctx, request))(t); b.Model != "pub" || b.Outcome != "refused" || string(b.Prompt) != `{"model":"pub","messages":[]}` || b.Answer != nil {
		t.Errorf("kept %+v", b)
	}
	if all := must(c.RequestBodies(ctx, time.Now().Add(-time.Hour), time.Time{}, 0))(t); len(all) == 0 || cmp.Diff(all, must(c.RequestBodies(ctx, time.Time{}, time.Time{}, 1000))(t)) != "" {
		t.Errorf("%d bodies", len(all))
	}
	set := must(c.GiveConsent(ctx, api.NewConsent{Share: 0.5, Hours: 2, Redact: []string{"email", "card"}}))(t)
	if d := cmp.Diff(set, must(c.Consent(ctx))(t)); d != "" || set.Share != 0.5 || set.Hours != 2 || set.Most != 64<<10 || cmp.Diff(set.Redact, []string{"card", "email"}) != "" {
		t.Errorf("consent %+v\n%s", set, d)
	}
	if set = must(c.GiveConsent(ctx, api.NewConsent{}))(t); set.Share != 1 || set.Hours != 720 || len(set.Redact) != 8 {
		t.Errorf("consent %+v", set)
	}
	if set = must(c.GiveConsent(ctx, api.NewConsent{Plain: true}))(t); len(set.Redact) != 0 {
		t.Errorf("consent %+v", set)
	}
	if _, err := c.GiveConsent(ctx, api.NewConsent{Redact: []string{"names"}}); fault.As(err).Field != "redact" {
		t.Error(err)
	}
	must(0, c.WithdrawConsent(ctx, true))(t)
	if _, err := c.RequestBody(ctx, request); !fault.Is(err, fault.NotFound) {
		t.Error("forgotten is forgotten:", err)
	}
}

func clientMeasured(t *testing.T, c *api.Client, have string) {
	t.Helper()
	ctx := t.Context()
	if x := must(c.MeasuredOf(ctx, have))(t); x.Model != "llama-3-8b" || x.Rate != 1000 || !x.Own || x.Chips != 1 || x.Ratio <= 0 {
		t.Errorf("measured %+v", x)
	}
	m := api.NewMeasurement{Report: "mine", Shape: json.RawMessage(`{"layers":2,"width":64,"heads":2,"kv_heads":2,"head":32,"inner":192,"vocab":512}`), Model: "mine", Task: "prefill", Engine: "own",
		Chip: "h100", Precision: "bf16", Batch: 4, Context: 100, Rate: 5000}
	for i, want := range []bool{true, false} {
		if first := must(c.Report(ctx, m))(t); first != want {
			t.Errorf("report %d: first %v", i, first)
		}
	}
	if all := must(c.Measured(ctx))(t); len(all) != 2 {
		t.Errorf("measured %+v", all)
	}
	for field, spoil := range map[string]func(*api.NewMeasurement){
		"shape": func(m *api.NewMeasurement) { m.Shape = json.RawMessage(`{"layers":2,"depth":3}`) }, "model": func(m *api.NewMeasurement) { m.Shape, m.Model = nil, "lama-3-8b" },
		"chip": func(m *api.NewMeasurement) { m.Chip = "h1000" }, "rate": func(m *api.NewMeasurement) { m.Rate = -1 }, "work.engine": func(m *api.NewMeasurement) { m.Engine = "native" },
		"shape.layers": func(m *api.NewMeasurement) {
			m.Shape = json.RawMessage(`{"layers":-2,"width":64,"heads":2,"kv_heads":2,"head":32,"inner":192,"vocab":512}`)
		},
	} {
		bad := m
		bad.Report = "bad-" + field
		spoil(&bad)
		if _, err := c.Report(ctx, bad); fault.As(err).Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}
