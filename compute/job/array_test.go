package job_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
)

func TestParseArray(t *testing.T) {
	for text, want := range map[string]struct {
		indices []int
		limit   int
	}{
		"0-4": {[]int{0, 1, 2, 3, 4}, 0}, "0-9%4": {[]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 4}, "7": {[]int{7}, 0}, "1,3,5-7": {[]int{1, 3, 5, 6, 7}, 0},
		"5,1": {[]int{1, 5}, 0}, "0-100:25%1": {[]int{0, 25, 50, 75, 100}, 1}, "0-9:20": {[]int{0}, 0},
	} {
		got, limit, err := job.ParseArray(text)
		if d := cmp.Diff(want.indices, got); d != "" || limit != want.limit || err != nil {
			t.Errorf("%q: %s, limit %d, %v", text, d, limit, err)
		}
	}
	for _, bad := range []string{"", "a", "-1", "1-", "-", "5-1", "1,1", "1-3,2", "0-1000", "0-9%0", "0-9%", "0-9%x", "1:2", "0-9:0", "0-9999999999", "1 2", "1,,2", "1048577", "0-4%%3", strings.Repeat("9", 200)} {
		if got, _, err := job.ParseArray(bad); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "array" {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}

func FuzzParseArray(f *testing.F) {
	f.Add("0-9%4")
	f.Add("1,3,5-7:2")
	f.Fuzz(func(t *testing.T, text string) {
		got, limit, err := job.ParseArray(text)
		if err == nil && (len(got) < 1 || len(got) > job.MaxArray || limit < 0 || !slices.IsSorted(got) || got[0] < 0) {
			t.Errorf("%q is %v, %d", text, got, limit)
		}
	})
}

// An array is made whole or not at all, wherever the keeper dies.
func TestAnArrayIsMadeWhole(t *testing.T) {
	for fuse := 1; fuse < 8; fuse++ {
		s := newShell(4)
		s.w.armed, s.w.fuse = true, fuse
		var arr job.Job
		told := s.do(func(k *job.Keeper) {
			var err error
			if arr, err = k.CreateArray(t.Context(), spec(1), []int{0, 1, 2, 7}, 2); err != nil {
				t.Error(err)
			}
		})
		s.w.armed = false
		if n := len(s.w.rows); n != 0 && n != 4 || told && n != 4 {
			t.Fatalf("fuse %d: told %v, and there are %d elements", fuse, told, n)
		}
		if !told {
			continue
		}
		if arr.State != job.Queued || arr.Tally.States[job.Queued] != 4 || arr.Reason != "4 queued; at most 2 at once." {
			t.Errorf("%+v", arr)
		}
	}
}

// What people do to an array they do to all its elements that allow it, in one change; elements can be named alone.
func TestActsOnArrays(t *testing.T) {
	s := newShell(2)
	ctx := t.Context()
	arr, err := s.k.CreateArray(ctx, spec(1), []int{0, 1, 2, 3, 4}, 0)
	if err != nil {
		t.Fatal(err)
	}
	get := func(name string) job.Job {
		j, err := s.k.Get(ctx, project, name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return j
	}
	act := func(f func(string) (job.Job, error), name string, words string) {
		t.Helper()
		got, err := f(name)
		if err != nil || got.Reason != words {
			t.Errorf("%s: %q, %v; want %q", name, got.Reason, err, words)
		}
	}
	hold := func(name string) (job.Job, error) { return s.k.Hold(ctx, project, name) }
	release := func(name string) (job.Job, error) { return s.k.Release(ctx, project, name) }
	requeue := func(name string) (job.Job, error) { return s.k.Requeue(ctx, project, name) }
	end := func(name string) (job.Job, error) { return s.k.End(ctx, project, name, "It was cancelled on request.") }
	refused := func(f func(string) (job.Job, error), name, words string) {
		t.Helper()
		if got, err := f(name); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %+v, %v; want %q", name, got, err, words)
		}
	}
	refused(release, arr.ID, "No element of the array "+arr.ID+" allows it (5 queued)")
	act(hold, arr.ID, "5 queued.")
	refused(hold, arr.ID, "held already")
	if err := s.k.Reconcile(ctx); err != nil || get(arr.ID).State != job.Queued {
		t.Errorf("a held array is %+v, %v", get(arr.ID), err)
	}
	act(release, arr.ID, "5 queued.")
	if err := s.k.Reconcile(ctx); err != nil {
		t.Fatal(err)
	}
	if got := get(arr.ID); got.Reason != "2 starting, 3 queued." || got.State != job.Running {
		t.Errorf("it is %s: %s", got.State, got.Reason)
	}
	act(requeue, arr.ID, "2 preempting, 3 queued.")
	if got := get(arr.ID + "_4"); got.Ask.Member.Index != 4 || got.State != job.Queued {
		t.Errorf("%+v", got)
	}
	if _, err := s.k.Get(ctx, project, arr.ID+"_9"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an element that is not there: %v", err)
	}
	if _, err := s.k.Get(ctx, "prj_other", arr.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("another project's array: %v", err)
	}
	if _, err := s.k.End(ctx, "prj_other", arr.ID+"_4", ""); !fault.Is(err, fault.NotFound) {
		t.Errorf("another project's element: %v", err)
	}
	if _, err := end(arr.ID + "_4"); err != nil {
		t.Fatal(err)
	}
	refused(end, arr.ID+"_4", "is cancelled")
	refused(hold, arr.ID+"_4", "is cancelled")
	act(end, arr.ID, "2 stopping, 3 cancelled.")
	if env := s.w.rows[get(arr.ID+"_3").ID]; env.Standing.Held {
		t.Error("it is held")
	}
	if _, err := s.k.Logs(ctx, project, arr.ID, 0, 0, 0); !fault.Is(err, fault.Invalid) {
		t.Errorf("the output of an array: %v", err)
	}
	folded, err := s.k.List(ctx, project, job.Filter{Fold: true})
	if err != nil || len(folded) != 1 || folded[0].ID != arr.ID {
		t.Errorf("folded it is %+v, %v", folded, err)
	}
}

// What has ended is forgotten with all it left, an array as a whole, however often the keeper dies over it; what a run or
// replica owns is theirs.
func TestForget(t *testing.T) {
	for fuse := range 12 {
		s := newShell(4)
		ctx := t.Context()
		arr, err := s.k.CreateArray(ctx, spec(1), []int{2, 5, 9}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.k.Forget(ctx, project, arr.ID); !fault.Is(err, fault.Conflict) {
			t.Fatalf("an open array: %v", err)
		}
		if _, err := s.k.End(ctx, project, arr.ID, "enough"); err != nil {
			t.Fatal(err)
		}
		if err := s.k.Forget(ctx, project, arr.ID+"_5"); !fault.Is(err, fault.Conflict) {
			t.Fatalf("an element: %v", err)
		}
		if err := s.k.Forget(ctx, "prj_other", arr.ID); !fault.Is(err, fault.NotFound) {
			t.Fatalf("another project's: %v", err)
		}
		s.w.armed, s.w.fuse = true, fuse
		s.do(func(k *job.Keeper) { _ = k.Forget(ctx, project, arr.ID) })
		s.w.armed = false
		if n := len(s.w.rows); n > 0 {
			if err := s.k.Forget(ctx, project, arr.ID); err != nil {
				t.Errorf("fuse %d: again, with %d left: %v", fuse, n, err)
			}
		}
		if len(s.w.rows) > 0 {
			t.Errorf("fuse %d: %d are left", fuse, len(s.w.rows))
		}
		owned := spec(1)
		owned.Owner = "run_1"
		j, err := s.k.Create(ctx, owned)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.k.End(ctx, project, j.ID, "enough"); err != nil {
			t.Fatal(err)
		}
		if err := s.k.Forget(ctx, project, j.ID); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "run_1") {
			t.Errorf("the job of a run: %v", err)
		}
	}
}

// A job to wait for is named by an id or a name; a name of several is refused with their ids.
func TestRefer(t *testing.T) {
	s := newShell(4)
	ctx := t.Context()
	make := func(name string) job.Job {
		x := spec(1)
		x.Name = name
		j, err := s.k.Create(ctx, x)
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	one, two, three := make("one"), make("two"), make("two")
	x := spec(1)
	x.Name = "sweep"
	arr, err := s.k.CreateArray(ctx, x, []int{3, 4}, 0)
	if err != nil {
		t.Fatal(err)
	}
	element, err := s.k.Get(ctx, project, arr.ID+"_4")
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.k.Refer(ctx, project, []string{"one", one.ID, "sweep", arr.ID + "_4"})
	if d := cmp.Diff([]string{one.ID, arr.ID, element.ID}, got); d != "" || err != nil {
		t.Error(d, err)
	}
	_, err = s.k.Refer(ctx, project, []string{"two"})
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), two.ID) || !strings.Contains(err.Error(), three.ID) || fault.As(err).Field != "after" {
		t.Errorf("an ambiguous name: %v", err)
	}
	if _, err := s.k.End(ctx, project, three.ID, "enough"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.k.Refer(ctx, project, []string{"two"}); err != nil || len(got) != 1 || got[0] != two.ID {
		t.Errorf("the one that has not ended: %v, %v", got, err)
	}
	for _, name := range []string{"nobody", "", "a\x00b", arr.ID + "_77"} {
		if _, err := s.k.Refer(ctx, project, []string{name}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	other := spec(1)
	other.Project, other.Ask.After = "prj_other", []string{arr.ID}
	if _, err := s.k.Create(ctx, other); !fault.Is(err, fault.Invalid) {
		t.Errorf("another project's array is waited for: %v", err)
	}
}

// A program of somebody's is queued again for what befell the machine, and for nothing that it did itself: its exit codes
// mean what they mean to it.
func TestAnInnocentProgramIsTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		exit job.Exit
		want job.State
	}{
		"the machine restarted": {job.Exit{Code: -1, Lost: job.LostMachine}, job.Queued},
		"exit code 1":           {job.Exit{Code: 1}, job.Failed},
		"exit code 75":          {job.Exit{Code: job.ExitMachine}, job.Failed},
		"exit code 143":         {job.Exit{Code: job.ExitStopped}, job.Failed},
		"a crash":               {job.Exit{Code: -1, Signal: "SIGSEGV"}, job.Failed},
		"no such program":       {job.Exit{Code: -1, NotStarted: "no such file"}, job.Failed},
		"success":               {job.Exit{}, job.Succeeded},
	} {
		s := newShell(1)
		x := spec(1)
		x.Restart = job.Restart{Innocent: true}
		j, err := s.k.Create(t.Context(), x)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []func(){func() {}, func() { s.w.begin(j.ID, 1) }, func() { s.w.end(j.ID, 1, c.exit) }} {
			step()
			if err := s.k.Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.w.rows[j.ID]; got.State != c.want && (c.want != job.Queued || got.Attempt != 2) || got.State.Final() && got.ExitCode != c.exit.Code {
			t.Errorf("%s: it is %s with exit code %d: %s", name, got.State, got.ExitCode, got.Reason)
		}
	}
}
