package cli

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/plan"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
)

// planFiles writes a record of two days, two fleets and prices into a folder.
func planFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var jobs strings.Builder
	jobs.WriteString("job,submit,duration,chips\n")
	for i := range 48 * 4 {
		fmt.Fprintf(&jobs, "j%d,%d,%d,%d\n", i, i*900, 900+i%7*300, 1+i%3)
	}
	fleet := "currency: USD\nchips: [{name: x}]\nsites: [{name: s}]\nnodes: [{name: \"n{}\", count: %d, in: s, chip: x, chips: 4}]\n"
	for name, text := range map[string]string{
		"jobs.csv": jobs.String(), "now.yaml": fmt.Sprintf(fleet, 1), "more.yaml": fmt.Sprintf(fleet, 2),
		"own.yaml":  "currency: USD\nelectricity: {price: 0.2, pue: 1.5}\nstaff: 0\nchips: {x: {buy: {price: 1000, years: 4, residual: 0, financing: 0.05}, power: 500}}\n",
		"rent.yaml": "currency: USD\nchips: {x: {rent: 2}}\n", "euro.yaml": "currency: EUR\nchips: {x: {rent: 2}}\n", "gap.yaml": "currency: USD\nchips: {x: {buy: {price: 1000}}}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPlanKeepsItsPromises(t *testing.T) {
	dir := planFiles(t)
	line := func(s string) string { return strings.ReplaceAll(s, "%", dir+"/") }
	all := line("plan --trace %jobs.csv --fleet %now.yaml --fleet bigger=%more.yaml --prices %own.yaml --prices %rent.yaml --replicas 2 --wait-price 10 --next 1 --tokens x=100")
	out, errs, _, err := simRun(t, all+" -o json")
	if err != nil {
		t.Fatal(err)
	}
	var got plan.Output
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if len(got.Scenarios) != 4 || got.Scenarios[2].Name != "bigger, own" || got.Scenarios[2].Outlay != 8000 || len(got.PayBacks) == 0 || len(got.Next) != 2 || got.Currency != "USD" {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(errs, "replays") || strings.Contains(errs, "\r") {
		t.Errorf("progress: %q", errs)
	}
	out, _, _, err = simRun(t, all)
	for _, want := range []string{"pay-back", "cost of a million tokens", "bigger, rent", "next purchase"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("no %q: %v in\n%s", want, err, out)
		}
	}
	for line, want := range map[string]string{
		strings.Replace(all, "rent.yaml", "euro.yaml", 1):                            "currency: it is EUR",
		strings.Replace(all, "rent.yaml", "gap.yaml", 1):                             "chips.x.buy.years: it is missing",
		strings.Replace(all, "rent.yaml", "none.yaml", 1):                            "none.yaml cannot be opened",
		strings.Replace(all, "--tokens x=100", "--tokens x", 1):                      "CHIP=RATE",
		strings.Replace(all, "--tokens x=100", "--growth 10", 1):                     "10x/2y",
		strings.Replace(all, "--tokens x=100", "--window 5", 1):                      "no length of time",
		strings.Replace(all, "--tokens x=100", "--model llama-3-8b", 1):              "--tokens x=RATE",
		strings.Replace(all, "--tokens x=100", "--model llama-3-8b --engine vlm", 1): "The nearest is vllm",
		strings.Replace(all, "--tokens x=100", "--history", 1):                       "--trace or --history",
		strings.Replace(all, "--tokens x=100", "--policy fifi", 1):                   "nearest",
		strings.Replace(all, "--trace "+dir+"/jobs.csv", "", 1):                      "No record of jobs",
		strings.Replace(all, "--tokens x=100", "--html "+dir+"/no/page.html", 1):     "cannot be written",
		strings.Replace(all, "--tokens x=100", "--throughputs "+dir+"/now.yaml", 1):  "now.yaml",
	} {
		if _, _, _, err := simRun(t, line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", line, err, want)
		}
	}
}

// A history becomes a record: what ran and ended, from the oldest on, on the chips it may use.
func TestHistoryBecomesARecord(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	end := at.Add(time.Hour)
	job := func(id string, created time.Duration, ran float64, chips int, types ...string) api.Job {
		return api.Job{ID: id, Name: "n", CPUs: 2, CreatedAt: at.Add(created), EndedAt: &end, Ran: ran, Placing: api.Placing{Chips: chips, ChipTypes: types}}
	}
	open := job("open", 0, 5, 1)
	open.EndedAt = nil
	list := []api.Job{job("late", time.Hour, 60.5, 4, "x", "gone"), open, job("never", 0, 0, 1), job("first", time.Minute, 30, 0)}
	fleets := []plan.Fleet{{Name: "f", Fleet: &fleet.Fleet{Chips: []fleet.Chip{{Name: "x"}}}}}
	jobs, left := historyOf(list, fleets)
	want := []trace.Job{
		{Spec: trace.Spec{ID: "first", Name: "n", CPU: 2000, Share: 1000, Preemptible: true, Submit: time.Minute}, Duration: 30 * time.Second},
		{Spec: trace.Spec{ID: "late", Name: "n", Share: 1000, Preemptible: true, Submit: time.Hour, Chips: 4, MinChips: 4, MaxChips: 4, ChipList: []string{"x"}}, Duration: 60500 * time.Millisecond}}
	if diff := cmp.Diff(want, jobs); diff != "" || !strings.HasPrefix(left, "2 jobs") {
		t.Errorf("%s %q", diff, left)
	}
	list[3].Placing.Chips = math.MaxInt // it was sorted
	if jobs, _ := historyOf(list, nil); jobs[1].Chips != trace.MaxChips {
		t.Errorf("%+v", jobs[1])
	}
}

// A plan that a server is asked for corrects its predictions by what the server measured, and one that cannot ask says so.
func TestPlanIsCorrectedByMeasurements(t *testing.T) {
	dir := planFiles(t)
	for name, text := range map[string]string{
		"h100.yaml":  "currency: USD\nchips: [{name: nvidia-h100-sxm}]\nsites: [{name: s}]\nnodes: [{name: n, in: s, chip: nvidia-h100-sxm, chips: 4}]\n",
		"price.yaml": "currency: USD\nchips: {nvidia-h100-sxm: {rent: 2}}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fail := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q api.ChipQuestion
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Model != "llama-3-8b" || len(q.Count) != 1 || q.Node != 4 || len(q.Chips) != 1 || q.Prompt != 1024 || fail {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		rate := 1e6 * float64(q.Count[0])
		known := "measured"
		if q.Count[0] == 2 {
			rate, known = 9e9, "prior" // no measurement: what is predicted here stays
		}
		json.NewEncoder(w).Encode(api.ChipRanking{Rows: []api.ChipRow{{Chip: q.Chips[0], Count: q.Count[0], Rate: &api.Span{Low: rate / 2, Is: rate, High: rate * 2}, Known: known}}})
	}))
	defer server.Close()
	line := strings.ReplaceAll("plan --trace %jobs.csv --fleet %h100.yaml --prices %price.yaml --replicas 2 --model llama-3-8b -o json", "%", dir+"/")
	told := func(line string) (string, error) {
		out, _, _, err := simRun(t, line)
		return out, err
	}
	asked := " --key k --url " + server.URL
	here, err := told(line)
	if err != nil || !strings.Contains(here, ": prior.") {
		t.Fatalf("%v %s", err, here)
	}
	there, err := told(line + asked)
	if err != nil || !strings.Contains(there, "gives 1000000 tokens a second (500000 to 2000000) with llama-3-8b") || !strings.Contains(there, ": measured.") {
		t.Errorf("%v %s", err, there)
	}
	m := &measurements{ask: func(api.ChipQuestion) (api.ChipRanking, error) {
		return api.ChipRanking{Rows: []api.ChipRow{{Rate: &api.Span{Low: 1, Is: 2, High: 3}, Known: "corrected"}}}, nil
	}}
	if a := m.Correct(perf.Question{}, perf.Answer{Rate: 7, Known: perf.Prior}); a.Rate != 2 || a.Low != 1 || a.High != 3 || a.Known != perf.Corrected {
		t.Errorf("%+v", a)
	}
	fail = true
	if out, err := told(line + asked); err == nil {
		t.Errorf("a server that refuses is passed over: %s", out)
	}
}
