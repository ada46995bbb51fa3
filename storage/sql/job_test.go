package sql_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

var jobIDs = id.Default()

func aJob(project, owner string, minute int) job.Job {
	return job.Job{
		ID: jobIDs.New("job"),
		Spec: job.Spec{
			Project: project, Kind: "train", Name: "first 第一", Owner: owner, Priority: -3,
			Command: job.Command{Argv: []string{"{self}", "worker"}, Env: []string{"A=b\nc"}, Files: map[string][]byte{"f": {0, 255, 10}}},
			CPUs:    2, MemoryBytes: 1 << 40, Grace: time.Minute,
			Restart: job.Restart{Max: 3, Forever: true, BackoffBase: time.Second, BackoffMax: time.Hour, Healthy: time.Minute},
		},
		State: job.Queued, CreatedAt: time.Date(2026, 1, 2, 3, minute, 5, 6000, time.UTC), Revision: 1,
	}
}

func TestJobsAreKept(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		s, ctx := db.Jobs(), t.Context()
		j := aJob("prj_a", "run_1", 0)
		j.Standing.Held = true
		j.Ask = job.Ask{Class: job.Evaluation, User: "key_1", Chips: 8, MinChips: 4, ChipTypes: []string{"slot"}, Objective: "fastest", TimeLimit: time.Hour,
			Deadline: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), NotBefore: time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC), After: []string{"job_0"}, Hold: true, Saves: true}
		if err := s.Create(ctx, j); err != nil {
			t.Fatal(err)
		}
		got, err := s.Get(ctx, "prj_a", j.ID)
		if diff := cmp.Diff(j, got); diff != "" || err != nil {
			t.Fatal(diff, err)
		}
		j.State, j.Reason, j.Fault, j.Attempt, j.Restarts, j.Streak, j.ExitCode = job.Failed, "why", job.FaultNode, 4, 3, 2, -1
		j.Limits, j.Discarded = "memory by cgroup v2", true
		at := time.Date(2026, 2, 3, 4, 5, 6, 789000, time.UTC)
		j.StartedAt, j.AttemptAt, j.EndedAt, j.NextStartAt = at, at.Add(1000), at.Add(2000), at.Add(3000)
		j.Standing = job.Standing{Placement: &job.Placement{Site: "local", Chip: "slot", Size: 3, Seats: []job.Seat{{Node: "n", Chips: 3, Devices: []int32{0, 2, 3}}}},
			PlacedAt: at, For: "job_9", Preempted: 2, Overdue: true, Ran: time.Hour}
		if err := s.Update(ctx, j); err != nil {
			t.Fatal(err)
		}
		j.Revision = 2
		got, err = s.Get(ctx, "prj_a", j.ID)
		if diff := cmp.Diff(j, got); diff != "" || err != nil {
			t.Error(diff, err)
		}
		j.Revision = 1
		if err := s.Update(ctx, j); !fault.Is(err, fault.Conflict) {
			t.Errorf("a stale update: %v", err)
		}
		j.Revision, j.Project = 2, "prj_b"
		if err := s.Update(ctx, j); !fault.Is(err, fault.NotFound) {
			t.Errorf("an update from another project: %v", err)
		}
		if _, err := s.Get(ctx, "prj_b", j.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("another project's job: %v", err)
		}
		if err := s.Delete(ctx, "prj_b", j.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("deleting another project's job: %v", err)
		}
		if err := s.Delete(ctx, "prj_a", j.ID); err != nil {
			t.Error(err)
		}
		if _, err := s.Get(ctx, "prj_a", j.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("a deleted job: %v", err)
		}
	})
}

func TestJobsOfOneOwner(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		s, ctx := db.Jobs(), t.Context()
		for _, j := range []job.Job{aJob("prj_a", "run_1", 0), aJob("prj_b", "run_1", 0), aJob("prj_a", "", 0), aJob("prj_a", "", 0)} {
			if err := s.Create(ctx, j); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Create(ctx, aJob("prj_a", "run_1", 1)); !fault.Is(err, fault.Conflict) {
			t.Errorf("a second job of an owner: %v", err)
		}
		// Many at once through keepers: one job, and everybody is told the same.
		ids := make([]string, 8)
		var wg sync.WaitGroup
		for i := range ids {
			k := job.New(job.Options{Store: s, CPUs: 2})
			wg.Go(func() {
				spec := aJob("prj_a", "run_2", 0).Spec
				j, err := k.Create(ctx, spec)
				if err != nil {
					t.Error(err)
				}
				ids[i] = j.ID
			})
		}
		wg.Wait()
		for _, id := range ids {
			if id == "" || id != ids[0] {
				t.Fatalf("several jobs of one owner: %v", ids)
			}
		}
	})
}

func TestJobLists(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		s, ctx := db.Jobs(), t.Context()
		var all []job.Job
		for i := range 6 {
			j := aJob(fmt.Sprintf("prj_%d", i%2), fmt.Sprintf("run_%d", i), i)
			if i == 4 {
				j.State, j.Kind = job.Succeeded, "replica"
			}
			if err := s.Create(ctx, j); err != nil {
				t.Fatal(err)
			}
			all = append(all, j)
		}
		for name, c := range map[string]struct {
			filter job.Filter
			want   []int
		}{
			"all":    {job.Filter{}, []int{4, 2, 0}},
			"open":   {job.Filter{Open: true}, []int{2, 0}},
			"kind":   {job.Filter{Kind: "replica"}, []int{4}},
			"state":  {job.Filter{State: job.Queued}, []int{2, 0}},
			"owner":  {job.Filter{Kind: "train", Owner: "run_2"}, []int{2}},
			"limit":  {job.Filter{Limit: 2}, []int{4, 2}},
			"others": {job.Filter{Owner: "run_1"}, nil},
		} {
			got, err := s.List(ctx, "prj_0", c.filter)
			if diff := cmp.Diff(pick(all, c.want), got); diff != "" || err != nil {
				t.Error(name, diff, err)
			}
		}
		open, err := s.Open(ctx)
		if diff := cmp.Diff(pick(all, []int{0, 1, 2, 3, 5}), open); diff != "" || err != nil {
			t.Error(diff, err)
		}
		ids := []string{all[1].ID, all[4].ID, "job_unknown"}
		for range 1200 {
			ids = append(ids, jobIDs.New("job"))
		}
		found, err := s.Find(ctx, ids)
		want := map[string]job.Job{all[1].ID: all[1], all[4].ID: all[4]}
		if diff := cmp.Diff(want, found); diff != "" || err != nil {
			t.Error(diff, err)
		}
		if none, err := s.Find(ctx, nil); len(none) > 0 || err != nil {
			t.Errorf("nothing is found as %v, %v", none, err)
		}
	})
}

func pick(all []job.Job, which []int) (out []job.Job) {
	for _, i := range which {
		out = append(out, all[i])
	}
	return out
}

// TestJobUpdatesDoNotOverlap has many change one row; each change that is reported as made must have been made.
func TestJobUpdatesDoNotOverlap(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		s, ctx := db.Jobs(), t.Context()
		j := aJob("prj_a", "", 0)
		if err := s.Create(ctx, j); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for made := 0; made < 5; {
					j, err := s.Get(ctx, "prj_a", j.ID)
					if err != nil {
						t.Error(err)
						return
					}
					j.Restarts++
					err = s.Update(ctx, j)
					if err != nil && !fault.Is(err, fault.Conflict) {
						t.Error(err)
						return
					}
					if err == nil {
						made++
					}
				}
			})
		}
		wg.Wait()
		if got, err := s.Get(ctx, "prj_a", j.ID); err != nil || got.Restarts != 40 || got.Revision != 41 {
			t.Errorf("%d restarts at revision %d, %v; want 40 at 41", got.Restarts, got.Revision, err)
		}
	})
}

// Arrays are made and changed whole, listed as one line, and counted.
func TestArrays(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		s, ctx := db.Jobs(), t.Context()
		make := func(project string, minute, first, n int) (all []job.Job) {
			arr := jobIDs.New(job.ArrayNoun)
			indices := []int{}
			for i := range n {
				indices = append(indices, first+i)
			}
			for _, m := range job.Members(arr, indices, 2) {
				j := aJob(project, "", minute)
				j.Ask.Member = m
				all = append(all, j)
			}
			return all
		}
		single := aJob("prj_a", "", 3)
		a, b := make("prj_a", 1, 5, 4), make("prj_a", 2, 0, 2)
		for _, all := range [][]job.Job{a, b, {single}, make("prj_b", 1, 0, 3)} {
			if err := s.CreateAll(ctx, all); err != nil {
				t.Fatal(err)
			}
		}
		twice := make("prj_a", 1, 0, 3)
		twice[2].ID = a[0].ID
		if err := s.CreateAll(ctx, twice); err == nil {
			t.Error("a job is there twice")
		}
		list := func(f job.Filter) (ids []string) {
			got, err := s.List(ctx, "prj_a", f)
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range got {
				ids = append(ids, j.ID)
			}
			return ids
		}
		six := 6
		if d := cmp.Diff([]string{a[1].ID}, list(job.Filter{Array: a[0].Ask.Member.Array, Element: &six})); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{single.ID, b[0].ID, a[0].ID}, list(job.Filter{Fold: true})); d != "" {
			t.Error("folded:", d)
		}
		at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
		for i, state := range []job.State{job.Succeeded, job.Succeeded, job.Failed, job.Succeeded} {
			a[i].State, a[i].StartedAt, a[i].EndedAt = state, at.Add(time.Duration(i)*time.Minute), at.Add(time.Duration(10-i)*time.Minute)
		}
		b[0].State = job.Succeeded
		if err := s.UpdateAll(ctx, append(b[:1:1], a...)); err != nil {
			t.Fatal(err)
		}
		if err := s.UpdateAll(ctx, []job.Job{b[1], a[0]}); !fault.Is(err, fault.Conflict) {
			t.Errorf("a stale one among several: %v", err)
		}
		if got, err := s.Get(ctx, "prj_a", b[1].ID); err != nil || got.Revision != 1 {
			t.Errorf("the other was changed: %+v, %v", got, err)
		}
		if d := cmp.Diff([]string{single.ID, b[0].ID}, list(job.Filter{Fold: true, Open: true})); d != "" {
			t.Error("open and folded:", d)
		}
		arrs := []string{a[0].Ask.Member.Array, b[0].Ask.Member.Array, "arr_unknown"}
		got, err := s.Tally(ctx, arrs)
		want := map[string]job.Tally{
			arrs[0]: {States: map[job.State]int{job.Succeeded: 3, job.Failed: 1}, StartedAt: at, EndedAt: at.Add(10 * time.Minute)},
			arrs[1]: {States: map[job.State]int{job.Succeeded: 1, job.Queued: 1}},
		}
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Error(d, err)
		}
		found, err := s.Find(ctx, []string{arrs[0], arrs[1], arrs[2], single.ID})
		if err != nil || len(found) != 3 || found[arrs[0]].State != job.Failed || found[arrs[1]].State != job.Running || found[arrs[1]].Project != "prj_a" {
			t.Errorf("%+v, %v", found, err)
		}
	})
}
