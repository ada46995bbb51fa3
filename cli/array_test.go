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
		_ = json.NewEncoder(w).Encode(d.elements(n)[1])
	case parts[0] == "runs":
		var all []api.Run
		for _, n := range d.runs {
			all = append(all, d.elements(n)...)
		}
		_ = json.NewEncoder(w).Encode(api.List[api.Run]{Items: all})
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

// elements are the runs of an array of three, the newest first, and one that is not of it.
func (d *desk) elements(n api.NewRun) (out []api.Run) {
	for _, k := range []int{3, 1, 2} {
		out = append(out, api.Run{ID: fmt.Sprint("run_", k), Name: fmt.Sprint(n.Name, "-", k), State: "queued", Array: &api.JobArray{ID: "arr_" + n.Name, Index: &k, Elements: 3}})
	}
	return append(out, api.Run{ID: "run_other", State: "queued"})
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

// An array of runs is one request; its runs are listed in order.
func TestAnArrayOfRuns(t *testing.T) {
	for flag, want := range map[string]string{"3": "1-3", "3%2": "1-3%2", "0-2": "0-2", "1,5%1": "1,5%1"} {
		d := &desk{most: 100}
		out, err := d.ask(t, "train", "notes@2", "--name", "sweep", "--array", flag, "--steps", "5", "--chips", "2", "--seed", "7")
		one, three := strings.Index(out, "run_1"), strings.Index(out, "run_3")
		if err != nil || strings.Count(out, "queued") != 3 || one < 0 || three < one || !strings.Contains(out, "job ls arr_sweep") {
			t.Error(out, err)
		}
		asked := []api.NewRun{{Name: "sweep", Model: "notes", Data: "notes@2", Array: want, Recipe: api.Recipe{Steps: 5, Seed: 7}, Placing: api.Placing{Chips: 2}}}
		if diff := cmp.Diff(asked, d.runs); diff != "" {
			t.Error(diff)
		}
	}
	d := &desk{}
	if out, err := d.ask(t, "train", "notes", "--array", "4"); !fault.Is(err, fault.Conflict) || fault.As(err).Message != "That is enough." {
		t.Error(out, err)
	}
	for _, n := range []string{"-1", "0", "1001", "x", "3-1"} {
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
