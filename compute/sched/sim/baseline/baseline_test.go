package baseline

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/internal/fault"
)

func job(id string, submit, duration, chips int) trace.Job {
	return trace.Job{Duration: time.Duration(duration) * time.Second, Spec: trace.Spec{ID: id, Submit: time.Duration(submit) * time.Second,
		Chips: int32(chips), MinChips: int32(chips), MaxChips: int32(chips), Share: 1000, Preemptible: true}}
}

func replay(t interface {
	Helper()
	Fatal(args ...any)
}, jobs []trace.Job, f *fleet.Fleet, name string) *sim.Result {
	t.Helper()
	p, err := New(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := sim.Replay(context.Background(), jobs, f, p, sim.Options{})
	if err != nil {
		t.Fatal(name, err)
	}
	return r
}

func uniform(t *testing.T, nodes, chips int) *fleet.Fleet {
	t.Helper()
	f, err := fleet.Uniform(nodes, chips)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Small worlds whose course is worked out by hand: when each job ends under each policy.
func TestCoursesWorkedOutByHand(t *testing.T) {
	for _, c := range []struct {
		name   string
		nodes  int
		chips  int
		jobs   []trace.Job
		course map[string][]int
	}{
		{"a large job holds up small ones", 1, 4,
			[]trace.Job{job("a", 0, 100, 3), job("b", 1, 10, 4), job("c", 2, 50, 1)},
			map[string][]int{
				"fifo":          {100, 110, 160},
				"fifo-backfill": {100, 110, 52},
				// c comes after b by duration too, and waits behind it.
				"sjf":          {100, 110, 160},
				"sjf-backfill": {100, 110, 52},
				// b stops a at 1, ends at 11; a then needs 30 s to start again and 99 s more; c fits beside it.
				"srtf": {11 + 30 + 99, 11, 61},
				// Service: a 300, b 40, c 50. The same here.
				"srsf": {140, 11, 61},
			}},
		{"order by duration", 1, 1,
			[]trace.Job{job("a", 0, 100, 1), job("b", 1, 50, 1), job("c", 2, 10, 1)},
			map[string][]int{
				"fifo": {100, 150, 160},
				"sjf":  {100, 160, 110},
				// a runs 1 s, b 1 s, c 10 s; then b with 7 s of restart and 49 s, then a with 7 s and 99 s.
				"srtf": {12 + 56 + 106, 12 + 56, 12},
			}},
		{"gangs take whole nodes", 2, 2,
			[]trace.Job{job("a", 0, 100, 1), job("b", 1, 20, 4), job("c", 2, 30, 3)},
			map[string][]int{
				"fifo":          {100, 120, 150},
				"fifo-backfill": {100, 120, 32},
				// Service: a 100, b 80, c 90. b stops a; when it ends, c (90) comes before a (99) and both fit.
				"srsf": {21 + 7 + 99, 21, 51},
			}},
	} {
		for policy, want := range c.course {
			var got []int
			for _, rec := range replay(t, c.jobs, uniform(t, c.nodes, c.chips), policy).Records {
				got = append(got, int(rec.Ended/time.Second))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %s: %s", c.name, policy, diff)
			}
		}
	}
}

func TestLASStopsWhoeverHadItsThreshold(t *testing.T) {
	// a runs alone for 60 s and is in the second queue by then; b, new, stops it and runs its 60 s of the first queue,
	// then goes on, because a, of the same queue, stops nobody. c, new again, stops b.
	jobs := []trace.Job{job("a", 0, 200, 1), job("b", 100, 100, 1), job("c", 170, 10, 1)}
	var got []int
	for _, rec := range replay(t, jobs, uniform(t, 1, 1), "las:1m").Records {
		got = append(got, int(rec.Ended/time.Second))
	}
	// b has run 70 s when c stops it; at 180 a, submitted first, comes first: 7 s and 100 s; then b: 7 s and 30 s.
	if diff := cmp.Diff([]int{180 + 107, 287 + 37, 180}, got); diff != "" {
		t.Error(diff)
	}
	// b is still in its first minute here when c comes: c waits for it to pass its threshold.
	jobs[2].Submit = 130 * time.Second
	r := replay(t, jobs, uniform(t, 1, 1), "las:1m")
	if got := r.Records[2].Started; got != 160*time.Second {
		t.Errorf("c started at %v", got)
	}
}

func TestNobodyStopsWhatMayNotBeStopped(t *testing.T) {
	jobs := []trace.Job{job("a", 0, 1000, 2), job("b", 1, 1, 2)}
	jobs[0].Preemptible = false
	for _, p := range []string{"srtf", "srsf", "las:1s"} {
		if r := replay(t, jobs, uniform(t, 1, 2), p); r.Records[0].Preempts != 0 || r.Records[1].Started != 1000*time.Second {
			t.Errorf("%s: %+v", p, r.Records)
		}
	}
}

func TestDRFServesWhoHasLeast(t *testing.T) {
	f := uniform(t, 1, 4)
	f.Queues = []fleet.Queue{{Name: "light", Parent: -1, Weight: 3}}
	var jobs []trace.Job
	for i := range 12 {
		j := job(fmt.Sprint(i), 0, 10, 1)
		j.Queue = "heavy"
		if i >= 6 {
			j.Queue = "light"
		}
		jobs = append(jobs, j)
	}
	var first []int
	for i, rec := range replay(t, jobs, f, "drf").Records {
		if rec.Started == 0 {
			first = append(first, i)
		}
	}
	// With weight 3 light gets three chips for each of heavy's.
	if diff := cmp.Diff([]int{0, 6, 7, 8}, first); diff != "" {
		t.Error(diff)
	}
	// CPU is what one queue asks most of: its share counts by it.
	f = uniform(t, 1, 4)
	f.Nodes[0].CPU = 8000
	jobs = []trace.Job{job("a0", 0, 10, 1), job("a1", 0, 10, 1), job("a2", 0, 10, 1), job("b0", 0, 10, 1), job("b1", 0, 10, 1)}
	for i := range jobs {
		jobs[i].User, jobs[i].CPU = jobs[i].ID[:1], 1000
		if i < 3 {
			jobs[i].CPU = 4000
		}
	}
	var starts []int
	for _, rec := range replay(t, jobs, f, "drf").Records {
		starts = append(starts, int(rec.Started/time.Second))
	}
	// a0 takes half of the CPU; b0 and b1 take a quarter of the chips each, so that b catches up; a1 does not fit any more.
	if diff := cmp.Diff([]int{0, 10, 10, 0, 0}, starts); diff != "" {
		t.Error(diff)
	}
}

// On one chip model with equal jobs Gavel is time sharing: both jobs get half of the time.
func TestGavelSharesTime(t *testing.T) {
	jobs := []trace.Job{job("a", 0, 3600, 1), job("b", 0, 3600, 1)}
	r := replay(t, jobs, uniform(t, 1, 1), "gavel")
	a, b := r.Records[0], r.Records[1]
	if a.Preempts < 3 || b.Preempts < 3 || (a.Ended-b.Ended).Abs() > 2*Round {
		t.Errorf("%+v\n%+v", a, b)
	}
}

// Two types, two chips: each type is ten times as fast on its own chip, and the program finds that out.
func TestGavelSendsTypesWhereTheyAreFast(t *testing.T) {
	f := &fleet.Fleet{Sites: []fleet.Site{{Name: "s", End: 2}}, Chips: []fleet.Chip{{Name: "p"}, {Name: "q"}},
		Nodes: []fleet.Node{{Name: "p", Domain: -1, Chips: 1, CPU: 1, Memory: 1}, {Name: "q", Domain: -1, Chip: 1, Chips: 1, CPU: 1, Memory: 1}}}
	speeds := &sim.Speeds{Types: []string{"x", "y"}, PPM: [][]int64{{1_000_000, 100_000}, {100_000, 1_000_000}}}
	var jobs []trace.Job
	for i := range 8 {
		j := job(fmt.Sprint(i), 0, 3600, 1)
		j.Type = speeds.Types[i%2]
		jobs = append(jobs, j)
	}
	r, err := sim.Replay(context.Background(), jobs, f, Gavel(), sim.Options{Speeds: speeds})
	if err != nil {
		t.Fatal(err)
	}
	// Four jobs of an hour on each chip, where they are fast; restarts and the last round take little.
	if r.Ended > 4*time.Hour+20*time.Minute {
		t.Errorf("all done after %v", r.Ended)
	}
	c, err := CapacityOf(speeds.PPM, []int64{1, 1})
	if diff := cmp.Diff(Capacity{Best: 2, Shared: 1.1, Random: 2 / 5.5}, c, cmp.Comparer(func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 })); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// drawn is a random world of two isolated sites.
func drawn(t *rapid.T) (*fleet.Fleet, []trace.Job) {
	f, err := fleet.Isolated([]string{"a", "b"}, []int{rapid.IntRange(1, 4).Draw(t, "nodes"), rapid.IntRange(1, 4).Draw(t, "nodes")}, 4)
	if err != nil {
		t.Fatal(err)
	}
	var jobs []trace.Job
	at := 0
	for i := range rapid.IntRange(1, 40).Draw(t, "jobs") {
		at += rapid.IntRange(0, 400).Draw(t, "gap")
		j := job(fmt.Sprint(i), at, rapid.IntRange(0, 3000).Draw(t, "duration"), rapid.IntRange(1, 9).Draw(t, "chips"))
		j.Cluster = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "cluster")
		j.User = rapid.SampledFrom([]string{"u", "v"}).Draw(t, "user")
		jobs = append(jobs, j)
	}
	return f, jobs
}

// Under every policy every job that could run ends (the frame refuses wrong placements), and nothing that fits waits
// while it may go: without holding the line nothing idle is of use to any waiting job.
func TestEveryPolicyServesRandomWorlds(t *testing.T) {
	for _, name := range append(Names(), "las:10m") {
		rapid.Check(t, func(t *rapid.T) {
			f, jobs := drawn(t)
			p, _ := New(name)
			w := &watch{Policy: p, t: t, busy: name != "fifo" && name != "sjf"}
			var r *sim.Result
			var err error
			if _, ok := p.(sim.Oracle); ok {
				r, err = sim.Replay(context.Background(), jobs, f, seeing{w}, sim.Options{})
			} else {
				r, err = sim.Replay(context.Background(), jobs, f, w, sim.Options{})
			}
			if err != nil {
				t.Fatal(name, err)
			}
			for i, rec := range r.Records {
				if rec.State != sim.Done && rec.State != sim.Refused || rec.State == sim.Done && rec.Ended < rec.Submit+rec.Duration {
					t.Fatalf("%s: job %d ended as %+v", name, i, rec)
				}
			}
		})
	}
}

// watch looks over a policy's shoulder.
type watch struct {
	sim.Policy
	t    *rapid.T
	busy bool
}

type seeing struct{ *watch }

func (seeing) Oracle() {}

func (x *watch) Begin(w *sim.World) {
	if b, ok := x.Policy.(sim.Beginner); ok {
		b.Begin(w)
	}
}

func (x *watch) Every() time.Duration {
	if e, ok := x.Policy.(sim.Ticker); ok {
		return e.Every()
	}
	return 0
}

func (x *watch) Step(w *sim.World, events []sim.Event) {
	x.Policy.Step(w, events)
	for j := range int32(w.Jobs()) {
		if w.State(j) != sim.Waiting || !x.busy {
			continue
		}
		if parts, ok := w.Fit(j); ok {
			x.t.Fatalf("job %d waits at %v while %v would do", j, w.Now(), parts)
		}
	}
}

// The heaps of lanes give jobs in the order of their keys whatever was pushed and popped.
func TestLanesGiveTheFirst(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	l := &lanes{}
	in := map[ticket]int32{}
	for i := range 5000 {
		if r.IntN(2) == 0 || len(in) == 0 {
			tk := ticket{int64(r.IntN(50)), int32(i)}
			c := int32(r.IntN(3))
			l.push(c, tk)
			in[tk] = c
			continue
		}
		ln := l.first(false)
		got := ln.heap[0]
		for tk := range in {
			if tk.before(got) {
				t.Fatalf("%+v came before %+v", got, tk)
			}
		}
		l.pop(ln)
		delete(in, got)
	}
}

func TestNewNamesTheNearest(t *testing.T) {
	for name, want := range map[string]string{"fifo-backfil": `"fifo-backfill"`, "LAS": `"las"`, "las:soon": "no threshold", "las:-1h": "no threshold", "": "no policy"} {
		if _, err := New(name); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range append(Names(), "las:90m") {
		if _, err := New(name); err != nil {
			t.Error(err)
		}
	}
}
