package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
)

func TestFailureLosesWorkSinceTheCheckpoint(t *testing.T) {
	f := uniform(t, 1, 1)
	f.Nodes[0].MTBF, f.Nodes[0].Repair = 24*time.Hour, time.Hour
	var downs, ups []time.Duration
	r := replay(t, []trace.Job{job("a", 0, 4*86400, 1)}, f, script(func(w *World, events []Event) {
		for _, e := range events {
			switch e.Kind {
			case NodeDown:
				downs = append(downs, w.Now())
			case NodeUp:
				ups = append(ups, w.Now())
				w.Start(0, []Part{{Node: 0, Chips: 1}})
			case Submitted:
				w.Start(0, []Part{{Node: 0, Chips: 1}})
			}
		}
	}), Options{Seed: 3, Checkpoint: time.Hour})
	if len(downs) == 0 {
		t.Fatal("the node never failed")
	}
	// What was run is what is kept: full hours of each stretch, counted from when it makes progress.
	var kept, wasted time.Duration
	begin := time.Duration(0)
	for i, d := range downs {
		kept += (d - begin).Truncate(time.Hour)
		wasted += (d - begin) % time.Hour
		begin = ups[i] + 7*time.Second
		wasted += 7 * time.Second
	}
	rec := r.Records[0]
	if want := begin + rec.Duration - kept; rec.Ended != want || int(rec.Fails) != len(downs) || time.Duration(rec.Wasted)*time.Millisecond != wasted {
		t.Fatalf("ended %v, want %v; %d failures of %d; wasted %d ms, want %v", rec.Ended, want, rec.Fails, len(downs), rec.Wasted, wasted)
	}
	if r.NodeFailures != len(downs) || r.Sites[0].UpSeconds >= rec.Ended.Seconds() {
		t.Fatalf("%d node failures, up for %v of %v", r.NodeFailures, r.Sites[0].UpSeconds, rec.Ended)
	}
}

func TestSpeedsAndPrices(t *testing.T) {
	f := &fleet.Fleet{Sites: []fleet.Site{{Name: "s", End: 3}}, Chips: []fleet.Chip{{Name: "slow"}, {Name: "fast"}},
		Nodes: []fleet.Node{{Name: "a", Domain: -1, Chips: 1, Price: 1_000_000}, {Name: "b", Domain: -1, Chip: 1, Chips: 1, Price: 6_000_000}, {Name: "c", Domain: -1, Chip: -1, CPU: 4000, Price: 36_000_000}}}
	jobs := []trace.Job{job("slow", 0, 90, 1), job("fast", 0, 90, 1), job("cpu", 0, 10, 0)}
	jobs[0].Type, jobs[1].Type = "x", "x"
	jobs[2].CPU = 3000
	r := replay(t, jobs, f, &greedy{}, Options{Speeds: &Speeds{Types: []string{"x"}, PPM: [][]int64{{300_000, 3_000_000}}}})
	if diff := cmp.Diff([]int{300, 30, 10}, ends(r)); diff != "" {
		t.Error(diff)
	}
	var costs []int64
	for _, rec := range r.Records {
		costs = append(costs, rec.Cost)
	}
	if diff := cmp.Diff([]int64{83_333, 50_000, 100_000}, costs); diff != "" {
		t.Error(diff)
	}
	jobs[0].Type = "y"
	if _, err := Replay(context.Background(), jobs, f, &greedy{}, Options{Speeds: &Speeds{Types: []string{"x"}, PPM: [][]int64{{1, 1}}}}); err == nil || !strings.Contains(err.Error(), `The nearest is "x"`) {
		t.Error(err)
	}
}

func TestElasticJobsChangeTheirSize(t *testing.T) {
	j := job("e", 0, 100, 4)
	j.MinChips, j.MaxChips = 2, 8
	r := replay(t, []trace.Job{j}, uniform(t, 1, 8), script(func(w *World, events []Event) {
		for _, e := range events {
			switch e.Kind {
			case Submitted: // half speed
				w.Start(0, []Part{{Node: 0, Chips: 2}})
				w.WakeAt(80 * time.Second)
			case Woken: // 40 s of work done; 8 chips work at 1.85 times the speed after 30 s of restart
				w.Resize(0, []Part{{Node: 0, Chips: 8}})
			}
		}
	}), Options{})
	if got, want := r.Records[0].Ended, 110*time.Second+32_432_432_432; (got - want).Abs() > time.Millisecond {
		t.Errorf("ended %v, want %v", got, want)
	}
	if rec := r.Records[0]; rec.Resizes != 1 || rec.Wasted != 8*30_000 {
		t.Errorf("%+v", rec)
	}
}

func TestSharesPackOnTheFullestChip(t *testing.T) {
	var jobs []trace.Job
	for i, share := range []int32{600, 300, 500, 400, 1000, 200} {
		j := job(fmt.Sprint(i), 0, 10, 1)
		j.Share = share
		jobs = append(jobs, j)
	}
	var devices []int32
	r := replay(t, jobs, uniform(t, 1, 3), &greedy{}, Options{Log: func(a Action) { devices = append(devices, a.Parts[0].Device) }})
	// 600 and 300 share chip 0, 500 and 400 chip 1; the whole chip is the third, and for the last share no chip has room
	// left at first.
	if diff := cmp.Diff([]int{10, 10, 10, 10, 10, 20}, ends(r)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int32{0, 0, 1, 1, -1, 0}, devices); diff != "" {
		t.Error(diff)
	}
}

func TestWhatNoFleetCouldRunIsRefused(t *testing.T) {
	jobs := []trace.Job{job("fits", 0, 1, 8), job("large", 0, 1, 9), job("cpu", 0, 1, 0), job("memory", 0, 1, 2)}
	jobs[2].CPU, jobs[3].Memory = 5000, 5000
	f := uniform(t, 2, 4)
	for i := range f.Nodes {
		f.Nodes[i].CPU, f.Nodes[i].Memory = 4000, 4000
	}
	r := replay(t, jobs, f, &greedy{}, Options{})
	var why []string
	for w, n := range r.Refusals {
		why = append(why, fmt.Sprint(n, " ", w))
	}
	slices.Sort(why)
	want := []string{
		"1 site site could never run 0 chips, 5 cores and 0 MiB; the largest machine there has 4 chips, 4 cores and 4000 MiB",
		"1 site site could never run 2 chips, 0 cores and 5000 MiB; the most such a job can have there is 1 chips",
		"1 site site could never run 9 chips; the most such a job can have there is 8 chips",
	}
	if diff := cmp.Diff(want, why); diff != "" {
		t.Error(diff)
	}
	jobs[0].ChipList = []string{"chop"}
	if _, err := Replay(context.Background(), jobs, f, &greedy{}, Options{}); err == nil || !strings.Contains(err.Error(), `The nearest is "chip"`) {
		t.Error(err)
	}
}

func TestJobsThatNobodyStartsEndTheReplay(t *testing.T) {
	for name, p := range map[string]Policy{"idle": script(func(*World, []Event) {}), "ticking": ticking{}} {
		_, err := Replay(context.Background(), []trace.Job{job("a", 0, 1, 1), job("b", 3600, 1, 1)}, uniform(t, 1, 1), p, Options{})
		if err == nil || !strings.Contains(err.Error(), "2 jobs wait for ever under this policy; the first is a") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type ticking struct{}

func (ticking) Step(*World, []Event) {}
func (ticking) Every() time.Duration { return time.Minute }

func TestFragmentsAreWhatADrawnJobCannotUse(t *testing.T) {
	// Half of the jobs ask for one chip, half for four. While one chip of the node of four is taken, the three others
	// are of no use to every second job.
	jobs := []trace.Job{job("one", 0, 10, 1), job("four", 0, 10, 4)}
	r := replay(t, jobs, uniform(t, 1, 4), &greedy{}, Options{})
	if got := r.Sites[0].FragmentSeconds; got != 15 {
		t.Errorf("%v chip-seconds", got)
	}
}

func TestFairnessIsOneUnderAnEqualDivision(t *testing.T) {
	// Two jobs of 100 s ask for the one chip. An equal division would end both at 200 s: the one that goes first fares
	// better, the other the same.
	r := replay(t, []trace.Job{job("a", 0, 100, 1), job("b", 0, 100, 1)}, uniform(t, 1, 1), &greedy{}, Options{})
	if a, b := r.Records[0].Fairness, r.Records[1].Fairness; a != 0.5 || b < 1.333 || b > 1.334 {
		t.Errorf("%v, %v", a, b)
	}
}

func TestTheFirstExpectationCounts(t *testing.T) {
	r := replay(t, []trace.Job{job("a", 0, 100, 1), job("b", 1, 10, 1)}, uniform(t, 1, 1), script(func(w *World, events []Event) {
		for _, e := range events {
			switch {
			case e.Kind == Submitted && e.Job == 0:
				w.Start(0, []Part{{Node: 0, Chips: 1}})
				w.Expect(0, 5*time.Second, 6*time.Second) // it runs already
			case e.Kind == Submitted:
				w.Expect(1, 90*time.Second, 120*time.Second)
				w.Expect(1, time.Second, time.Second)
			case e.Kind == Ended && e.Job == 0:
				w.Start(1, []Part{{Node: 0, Chips: 1}})
			}
		}
	}), Options{})
	if a, b := r.Records[0], r.Records[1]; a.P90 != 0 || b.P50 != 90*time.Second || b.P90 != 120*time.Second {
		t.Errorf("%+v\n%+v", a, b)
	}
}

func TestMeasuredJobsEndTheReplay(t *testing.T) {
	jobs := []trace.Job{job("a", 0, 1000, 1), job("b", 1, 10, 1), job("c", 2, 500, 1)}
	r := replay(t, jobs, uniform(t, 1, 3), &greedy{}, Options{MeasureFrom: 1, MeasureTo: 2})
	if r.Ended != 11*time.Second || r.Records[0].Measured || !r.Records[1].Measured || r.Records[2].State != Running {
		t.Errorf("%+v", r.Records)
	}
}

func TestSeriesKeepsItsIntegralsWhenItDoubles(t *testing.T) {
	var s series
	s.start(time.Hour)
	at, total := time.Hour, 0.0
	for i := range 3000 {
		next := at + time.Duration(i%7)*17*time.Second
		s.add(at, next, int64(i%5)*1000, 1)
		total += (next - at).Seconds() * float64(i%5)
		at = next
	}
	busy, wait := 0.0, 0.0
	for i := range s.used {
		busy += s.busy[i]
		wait += s.wait[i]
	}
	if (busy-total)/total > 1e-9 || (wait-(at-time.Hour).Seconds()) > 1e-6 || s.width < 2*time.Minute || s.from+time.Duration(s.used)*s.width < at {
		t.Errorf("busy %v of %v, waited %v, width %v", busy, total, wait, s.width)
	}
}

func TestSetFindsTheNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 9000).Draw(t, "n")
		s, in := newSet(n), map[int32]bool{}
		for _, i := range rapid.SliceOfN(rapid.Int32Range(0, int32(n-1)), 0, 40).Draw(t, "flips") {
			if in[i] {
				s.remove(i)
			} else {
				s.add(i)
			}
			in[i] = !in[i]
		}
		from := rapid.Int32Range(0, int32(n+70)).Draw(t, "from")
		want := int32(-1)
		for i := from; i < int32(n); i++ {
			if in[i] {
				want = i
				break
			}
		}
		if got := s.next(from); got != want {
			t.Fatalf("next(%d) is %d, want %d", from, got, want)
		}
	})
}

func TestFutureComesInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f future
		var all []coming
		for i, at := range rapid.SliceOf(rapid.Int64Range(0, 20)).Draw(t, "times") {
			c := coming{at: time.Duration(at), kind: Kind(i%3 + 1), id: int32(i)}
			f.push(c)
			c.seq = uint32(i)
			all = append(all, c)
		}
		slices.SortFunc(all, func(a, b coming) int {
			if a.before(&b) {
				return -1
			}
			return 1
		})
		for i := range all {
			if got := f.pop(); got != all[i] {
				t.Fatalf("%d comes %+v, want %+v", i, got, all[i])
			}
		}
	})
}

// chaos starts, stops and resizes at random, and checks the world's books after each step.
type chaos struct {
	t    *rapid.T
	r    *rand.Rand
	wait []int32
	runs []int32
}

func (c *chaos) Every() time.Duration { return 5 * time.Minute }

func (c *chaos) Step(w *World, events []Event) {
	for _, e := range events {
		switch e.Kind {
		case Submitted:
			c.wait = append(c.wait, e.Job)
		case Failed:
			c.wait = append(c.wait, e.Job)
			fallthrough
		case Ended:
			c.runs = slices.DeleteFunc(c.runs, func(j int32) bool { return j == e.Job })
		}
	}
	c.wait = slices.DeleteFunc(c.wait, func(j int32) bool {
		parts, ok := w.Fit(j)
		if !ok {
			return false
		}
		if err := w.Start(j, parts); err != nil {
			c.t.Fatal(err)
		}
		c.runs = append(c.runs, j)
		return true
	})
	if len(c.runs) > 0 && c.r.IntN(3) == 0 {
		i := c.r.IntN(len(c.runs))
		if j := c.runs[i]; w.Spec(j).Preemptible && w.Restarts(j) < 5 {
			if err := w.Preempt(j); err != nil {
				c.t.Fatal(err)
			}
			c.wait = append(c.wait, j)
			c.runs = slices.Delete(c.runs, i, i+1)
		}
	}
	c.check(w)
}

// check adds up who holds what from the jobs' own placements and compares it with every node's books.
func (c *chaos) check(w *World) {
	held := make([]int64, len(w.node))
	cpu := make([]int64, len(w.node))
	for _, j := range c.runs {
		total := int32(0)
		for _, p := range w.Parts(j) {
			held[p.Node] += int64(p.Chips) * int64(w.Spec(j).Share)
			used, _ := w.portion(j, p.Chips)
			cpu[p.Node] += used
			total += p.Chips
			if w.Down(p.Node) {
				c.t.Fatalf("job %d runs on node %d, which is down", j, p.Node)
			}
			if !slices.Contains(w.On(p.Node), j) {
				c.t.Fatalf("node %d does not know of job %d", p.Node, j)
			}
		}
		if total != w.Spec(j).Chips {
			c.t.Fatalf("job %d has %d chips of %d", j, total, w.Spec(j).Chips)
		}
	}
	busy := int64(0)
	for i := range w.node {
		n := &w.node[i]
		room := int64(0)
		for d := range w.fleet.Nodes[i].Chips {
			if r := w.devices[n.dev+d]; r > 0 {
				room += int64(r)
			}
		}
		if size := int64(w.fleet.Nodes[i].Chips) * 1000; held[i] != size-room || n.free < 0 || cpu[i] != w.fleet.Nodes[i].CPU-n.cpu || n.cpu < 0 {
			c.t.Fatalf("node %d: jobs hold %d and %d of CPU, books say %d and %d", i, held[i], cpu[i], size-room, w.fleet.Nodes[i].CPU-n.cpu)
		}
		if listed := w.pools[n.pool].level[n.free].next(n.slot) == n.slot; listed == n.down {
			c.t.Fatalf("node %d: listed %v, down %v", i, listed, n.down)
		}
		busy += held[i]
	}
	if busy != w.busy || w.running != len(c.runs) || w.waiting != len(c.wait) {
		c.t.Fatalf("busy %d of %d, running %d of %d, waiting %d of %d", w.busy, busy, w.running, len(c.runs), w.waiting, len(c.wait))
	}
}

// In random worlds with failures, shares, gangs and preemptions no chip ever has two owners, no gang is split, all jobs
// end with their work done, the chip-time adds up, and the same input gives the same replay.
func TestRandomWorldsKeepTheirBooks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, jobs := drawWorld(t)
		seed := rapid.Uint64().Draw(t, "seed")
		run := func() (*Result, []string) {
			var log []string
			r, err := Replay(context.Background(), jobs, f, &chaos{t: t, r: rand.New(rand.NewPCG(seed, 1))}, Options{Seed: seed, Log: func(a Action) {
				log = append(log, fmt.Sprint(a.At, a.Verb, a.Job, a.Parts))
			}})
			if err != nil {
				t.Fatal(err)
			}
			return r, log
		}
		r, log := run()
		var held float64
		for i, rec := range r.Records {
			if rec.State != Done && rec.State != Refused {
				t.Fatalf("job %d ended as %d", i, rec.State)
			}
			if rec.State == Done {
				// What it held is its work, what was wasted, and nothing else; milliseconds are cut at each stretch.
				work := jobs[i].ChipTime(rec.Duration)
				if slack := int64(rec.Preempts+rec.Fails+1) * 3 * int64(max(1, rec.Chips)); rec.Held < work+rec.Wasted-slack || rec.Held > work+rec.Wasted+slack {
					t.Fatalf("job %d held %d, worked %d, wasted %d", i, rec.Held, work, rec.Wasted)
				}
				held += float64(rec.Held) / 1000
			}
		}
		if busy := r.Sites[0].BusySeconds + r.Sites[1].BusySeconds; busy < held-1 || busy > held+1 {
			t.Fatalf("sites were busy for %v chip-seconds, jobs held %v", busy, held)
		}
		again, log2 := run()
		if !cmp.Equal(log, log2) || !cmp.Equal(r.Records, again.Records) {
			t.Fatal("the same input gave another replay")
		}
	})
}

func drawWorld(t *rapid.T) (*fleet.Fleet, []trace.Job) {
	f := &fleet.Fleet{Chips: []fleet.Chip{{Name: "x"}, {Name: "y"}}, Sites: []fleet.Site{{Name: "a", Clusters: []string{"a"}}, {Name: "b"}}}
	for s := range f.Sites {
		for range rapid.IntRange(1, 4).Draw(t, "nodes") {
			n := fleet.Node{Site: int32(s), Domain: -1, Chip: rapid.Int32Range(0, 1).Draw(t, "chip"), Chips: rapid.SampledFrom([]int32{2, 4, 8}).Draw(t, "chips"),
				CPU: rapid.Int64Range(2, 12).Draw(t, "cpu") * 1000, Memory: 1000, MTBF: rapid.SampledFrom([]time.Duration{0, 20 * time.Hour}).Draw(t, "mtbf"), Repair: time.Hour}
			n.Name = fmt.Sprint("n", len(f.Nodes))
			f.Nodes = append(f.Nodes, n)
		}
	}
	var jobs []trace.Job
	at := 0
	for i := range rapid.IntRange(1, 25).Draw(t, "jobs") {
		at += rapid.IntRange(0, 3000).Draw(t, "gap")
		j := job(fmt.Sprint(i), at, rapid.IntRange(0, 9000).Draw(t, "duration"), rapid.IntRange(0, 12).Draw(t, "size"))
		j.CPU = rapid.Int64Range(0, 6000).Draw(t, "jobcpu")
		j.Cluster = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "cluster")
		j.Preemptible = rapid.Bool().Draw(t, "preemptible")
		if j.Chips == 0 {
			j.CPU++
		}
		if rapid.Bool().Draw(t, "tied") {
			j.ChipList = []string{"y"}
		}
		if j.Chips == 1 {
			j.Share = rapid.Int32Range(1, 1000).Draw(t, "share")
		}
		jobs = append(jobs, j)
	}
	// One share at least, so that room is kept by chip.
	last := job("last", at, 1, 1)
	last.Share = 500
	return f, append(jobs, last)
}
