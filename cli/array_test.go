package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
)

// desk is a control API that knows runs and jobs.
type desk struct {
	runs  []api.NewRun
	most  int // runs it takes
	jobs  []api.Job
	acts  []string
	stuck string // job that refuses
}

// ServeHTTP implements http.Handler.
func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, kind, message string) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"status":%d,"kind":%q,"message":%q}`, status, kind, message)
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/v1/"), "/")
	at := func() int { return slices.IndexFunc(d.jobs, func(j api.Job) bool { return j.ID == parts[1] }) }
	switch {
	case r.Method == http.MethodPost && parts[0] == "runs":
		var n api.NewRun
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			panic(err)
		}
		if len(d.runs) == d.most {
			refuse(http.StatusConflict, "conflict", "That is enough.")
			return
		}
		d.runs = append(d.runs, n)
		_ = json.NewEncoder(w).Encode(api.Run{ID: fmt.Sprint("run_", len(d.runs)), Name: n.Name, State: "queued"})
	case len(parts) == 1:
		list := slices.DeleteFunc(slices.Clone(d.jobs), func(j api.Job) bool { return r.URL.Query().Get("open") != "" && j.EndedAt != nil })
		_ = json.NewEncoder(w).Encode(api.List[api.Job]{Items: list})
	case len(parts) == 2:
		_ = json.NewEncoder(w).Encode(d.jobs[at()])
	case parts[1] == d.stuck:
		refuse(http.StatusConflict, "conflict", "It has ended.")
	default:
		d.acts = append(d.acts, parts[2]+" "+d.jobs[at()].Name)
		_ = json.NewEncoder(w).Encode(api.Job{ID: parts[1], State: "cancelled"})
	}
}

func (d *desk) ask(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	srv := httptest.NewServer(d)
	defer srv.Close()
	var b, e bytes.Buffer
	root := newRoot(&ui.Screen{Out: &b, Err: &e, In: strings.NewReader(""), Now: time.Now})
	root.SetArgs(append(args, "--url", srv.URL, "--key", "k", "--data", t.TempDir()))
	err = root.ExecuteContext(t.Context())
	return b.String(), err
}

// The runs of an array differ in name and seed and in nothing else; where one is refused the others are told of.
func TestAnArrayOfRuns(t *testing.T) {
	d := &desk{most: 100}
	out, err := d.ask(t, "train", "notes@2", "--array", "3", "--steps", "5", "--chips", "2", "--seed", "7")
	if err != nil || strings.Count(out, "queued") != 3 || !strings.Contains(out, "run ls notes") {
		t.Error(out, err)
	}
	want := make([]api.NewRun, 3)
	for i := range want {
		want[i] = api.NewRun{Name: fmt.Sprint("notes-", i+1), Model: "notes", Data: "notes@2", Recipe: api.Recipe{Steps: 5, Seed: uint64(7 + i)}, Placing: api.Placing{Chips: 2}}
	}
	if diff := cmp.Diff(want, d.runs); diff != "" {
		t.Error(diff)
	}
	d = &desk{most: 2}
	out, err = d.ask(t, "train", "notes", "--array", "4", "--name", "sweep")
	if !fault.Is(err, fault.Conflict) || fault.As(err).Message != "That is enough. Of the 4 runs 2 were submitted." || strings.Count(out, "queued") != 2 {
		t.Error(out, err)
	}
	if d.runs[0].Recipe.Seed != 1 || d.runs[1].Recipe.Seed != 2 || d.runs[1].Name != "sweep-2" {
		t.Errorf("%+v", d.runs)
	}
	for _, n := range []string{"-1", "1001"} {
		if _, err := d.ask(t, "train", "notes", "--array", n); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "array" {
			t.Error(n, err)
		}
	}
}

// Several jobs are cancelled at once: by name, by id and by the name of their array. One that refuses does not keep the
// others from it.
func TestSeveralJobsAtOnce(t *testing.T) {
	past := time.Now()
	ids := id.Default()
	job := func(name string, ended bool) api.Job {
		j := api.Job{ID: ids.New("job"), Name: name, State: "running"}
		if ended {
			j.State, j.EndedAt = "succeeded", &past
		}
		return j
	}
	jobs := []api.Job{job("other", false), job("sweep-2x", false), job("sweep-10", false), job("sweep-2", true), job("sweep-1", false), job("sweep", true), job("last", false)}
	d := &desk{jobs: jobs}
	out, err := d.ask(t, "job", "cancel", "last", "sweep", jobs[0].ID)
	if diff := cmp.Diff([]string{"cancel last", "cancel sweep-1", "cancel sweep-10", "cancel other"}, d.acts); diff != "" || err != nil || strings.Count(out, "is cancelled") != 4 {
		t.Error(out, err, diff)
	}
	d = &desk{jobs: jobs, stuck: jobs[4].ID}
	out, err = d.ask(t, "job", "cancel", "sweep")
	if !fault.Is(err, fault.Conflict) || fault.As(err).Message != jobs[4].ID+": It has ended." || strings.Count(out, "is cancelled") != 1 {
		t.Error(out, err)
	}
	if _, err := d.ask(t, "job", "cancel", "none"); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	out, err = d.ask(t, "job", "hold", "last", "-o", "json")
	if err != nil || !strings.HasPrefix(out, "{") {
		t.Error(out, err)
	}
	out, err = d.ask(t, "job", "hold", "last", "other", "-o", "json")
	if err != nil || !strings.HasPrefix(out, "[") {
		t.Error(out, err)
	}
}

func TestNamesOfAnArray(t *testing.T) {
	for name, in := range map[string]bool{"a-1": true, "a-10": true, "a-0": false, "a-01": false, "a--1": false, "a-+1": false, "a": false, "a-b-1": false, "b-1": false, "a-1x": false} {
		if inArray(name, "a") != in {
			t.Errorf("%s: %v", name, !in)
		}
	}
}
