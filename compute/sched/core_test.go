package sched

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// known is a history that was told how long jobs run, for tests of everything but learning.
type known map[string]int64

func (k known) Arrive(*Job, int, int64)                   {}
func (k known) Start(string, int64, int64, int64)         {}
func (k known) Stop(string, int64, int64)                 {}
func (k known) Finish(string, int64, int64)               {}
func (k known) Forget(string, int64)                      {}
func (k known) Rank(id string, attained, now int64) int64 { return k.Estimate(id, attained, now).Rank }
func (k known) Estimate(id string, attained, _ int64) Estimate {
	left := max(0, k[id]-attained)
	return Estimate{P10: left, P50: left, P90: left, Index: left, Rank: left}
}

const minute = 60_000

// fleetOf is one site with nodes of a class.
func fleetOf(nodes, chips int, queues ...Queue) Fleet {
	f := Fleet{Chips: []Chip{{Name: "a", Value: Micro}}, Queues: queues}
	for i := range nodes {
		f.Nodes = append(f.Nodes, Node{Name: fmt.Sprintf("n%03d", i), Site: "here", Chip: "a", Chips: chips})
	}
	return f
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// world drives a core as a fleet would, and checks every plan by a book of its own.
type world struct {
	t     rapid.TB
	c     *Core
	fleet Fleet
	long  known
	now   int64
	jobs  map[string]*Job
	runs  map[string]Action
	left  map[string]int64 // of the running and waiting
	begun map[string]int64
	claim map[string]int64 // since when a job runs but for moves
	log   []Plan
}

func newWorld(t rapid.TB, conf Config, f Fleet) *world {
	w := &world{t: t, fleet: f, long: known{}, jobs: map[string]*Job{}, runs: map[string]Action{}, left: map[string]int64{}, begun: map[string]int64{}, claim: map[string]int64{}}
	c, err := New(conf, f, w.long, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.c = c
	return w
}

func (w *world) submit(j Job, long int64) error {
	w.long[j.ID] = long
	j.Submitted = w.now
	err := w.c.Submit(w.now, j)
	if err == nil {
		w.jobs[j.ID], w.left[j.ID] = &j, long
	}
	return err
}

// plan asks for a plan and checks it.
func (w *world) plan() Plan {
	p := w.c.Plan(w.now)
	for _, a := range p.Actions {
		w.carryOut(a)
	}
	w.check()
	w.log = append(w.log, p)
	return p
}

func (w *world) carryOut(a Action) {
	j := w.jobs[a.Job]
	if j == nil {
		w.t.Fatalf("%+v names a job that is not there", a)
	}
	_, runs := w.runs[a.Job]
	if runs != (a.Verb == Preempt) {
		w.t.Fatalf("%+v of a job that runs: %v", a, runs)
	}
	if a.Verb == Preempt {
		if ran := w.now - w.claim[a.Job]; ran < w.c.conf.MinRun {
			w.t.Fatalf("job %s is preempted after %d ms", a.Job, ran)
		}
		w.left[a.Job] -= w.now - w.begun[a.Job]
		delete(w.runs, a.Job)
		return
	}
	w.runs[a.Job], w.begun[a.Job] = a, w.now
	if a.Why != Moved {
		w.claim[a.Job] = w.now
	}
	chips := int32(0)
	for _, s := range a.Seats {
		chips += s.Chips
		if n := w.c.nodes[s.Node]; n.State != Up || n.Site != a.Site || a.Chip != "" && n.Chip != a.Chip {
			w.t.Fatalf("%+v on node %+v", a, n)
		}
	}
	if least := j.Need.Min; int(chips) > j.Need.Chips || least == 0 && int(chips) != j.Need.Chips || int(chips) < least {
		w.t.Fatalf("job %+v was given %d chips", j, chips)
	}
	for _, s := range a.Seats {
		if n, first := w.c.nodes[s.Node], w.c.nodes[a.Seats[0].Node]; j.Need.Within == SameRack && n.Rack != first.Rack {
			w.t.Fatalf("job %s lies in two racks: %+v", j.ID, a)
		}
	}
	for _, id := range j.After {
		if w.jobs[id] != nil {
			w.t.Fatalf("job %s starts before %s has ended", j.ID, id)
		}
	}
}

// check adds up who owns what.
func (w *world) check() {
	type device struct{ node, device int32 }
	owned, cpu := map[device]int32{}, map[int32]int64{}
	held := map[string]int64{}
	for id, a := range w.runs {
		for _, s := range a.Seats {
			if len(s.Devices) != int(s.Chips) {
				w.t.Fatalf("%s has %d chips and the devices %v", id, s.Chips, s.Devices)
			}
			for _, d := range s.Devices {
				at := device{s.Node, d}
				if owned[at] += s.Share; owned[at] > Whole || int(d) >= w.c.nodes[s.Node].Chips {
					w.t.Fatalf("device %v has two owners, %s is one", at, id)
				}
			}
			cpu[s.Node] += w.jobs[id].Need.CPUMilli * int64(max(1, s.Chips))
			if n := w.c.nodes[s.Node]; n.CPUMilli > 0 && cpu[s.Node] > n.CPUMilli {
				w.t.Fatalf("node %s has %d CPU and gave %d", n.Name, n.CPUMilli, cpu[s.Node])
			}
		}
		for _, s := range a.Seats {
			held[w.jobs[id].Queue+"/"+a.Chip] += int64(s.Chips) * int64(s.Share)
		}
	}
	for _, q := range w.fleet.Queues {
		for _, c := range q.Ceiling {
			if n := held[q.Name+"/"+c.Chip]; n > c.Chips*Whole {
				w.t.Fatalf("queue %s holds %d thousandths beyond its ceiling %d", q.Name, n, c.Chips)
			}
		}
	}
}

// pass lets time go on to the next end or the given time, whichever is first, and tells the core of what ended.
func (w *world) pass(until int64) {
	next, ids := until, []string(nil)
	for id := range w.runs {
		switch end := w.begun[id] + w.left[id]; {
		case end < next:
			next, ids = end, []string{id}
		case end == next:
			ids = append(ids, id)
		}
	}
	w.now = max(w.now, next)
	slices.Sort(ids)
	for _, id := range ids {
		w.end(id)
	}
}

func (w *world) end(id string) {
	delete(w.runs, id)
	delete(w.jobs, id)
	if err := w.c.End(w.now, id, w.long[id], true); err != nil {
		w.t.Fatal(err)
	}
}

// history draws a fleet and a long course of events.
func history(t *rapid.T) *world {
	f := Fleet{}
	for i := range rapid.IntRange(1, 3).Draw(t, "classes") {
		f.Chips = append(f.Chips, Chip{Name: string(rune('a' + i)), Value: int64(rapid.IntRange(0, 3).Draw(t, "value")) * Micro})
	}
	total := map[string]int64{}
	for i := range rapid.IntRange(1, 8).Draw(t, "nodes") {
		n := Node{Name: fmt.Sprintf("n%d", i), Site: rapid.SampledFrom([]string{"here", "there"}).Draw(t, "site"),
			Chip: rapid.SampledFrom(f.Chips).Draw(t, "chip").Name, Chips: rapid.SampledFrom([]int{1, 2, 4, 8}).Draw(t, "chips")}
		if rapid.Bool().Draw(t, "counted") {
			n.CPUMilli, n.MemoryMiB = int64(n.Chips)*2000, 1<<20
		}
		if n.Chips == 4 && rapid.Bool().Draw(t, "linked") {
			n.Links = [][]int{{0, 3}, {1, 2}}
		}
		n.Rack = rapid.SampledFrom([]string{"", "r1", "r2"}).Draw(t, "rack")
		total[n.Chip] += int64(n.Chips)
		f.Nodes = append(f.Nodes, n)
	}
	for i := range rapid.IntRange(1, 4).Draw(t, "queues") {
		q := Queue{Name: fmt.Sprintf("q%d", i), Org: fmt.Sprintf("o%d", i%2), Weight: int64(1+i) * Micro, OrgWeight: Micro}
		chip := rapid.SampledFrom(f.Chips).Draw(t, "guaranteed").Name
		if g := rapid.Int64Range(0, total[chip]).Draw(t, "guarantee"); g > 0 {
			q.Guarantee = []Count{{chip, g}}
			total[chip] -= g
		}
		if rapid.IntRange(0, 4).Draw(t, "capped") == 0 {
			q.Ceiling = []Count{{chip, rapid.Int64Range(0, 8).Draw(t, "ceiling")}}
		}
		f.Queues = append(f.Queues, q)
	}
	w := newWorld(t, Config{MinRun: 5 * minute}, f)
	w.course(t)
	return w
}

func (w *world) course(t *rapid.T) {
	for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
		switch rapid.IntRange(0, 10).Draw(t, "what") {
		case 0, 1, 2, 3, 4:
			w.draw(t, i)
		case 5:
			n := rapid.SampledFrom(w.c.nodes).Draw(t, "node")
			to := rapid.SampledFrom([]NodeState{Up, Draining, Down}).Draw(t, "to")
			w.node(n.Name, to)
		case 6:
			if ids := sortedKeys(w.jobs); len(ids) > 0 {
				w.end(rapid.SampledFrom(ids).Draw(t, "cancelled"))
			}
		case 7:
			w.respeed(t)
		default:
			w.pass(w.now + rapid.Int64Range(1, 30*minute).Draw(t, "pass"))
		}
		w.plan()
	}
	for range 2000 { // to the end
		if len(w.jobs) == 0 {
			return
		}
		for _, n := range w.c.nodes {
			w.node(n.Name, Up)
		}
		w.pass(max(w.now+1, min(w.plan().Next, w.now+10*minute)))
		w.plan()
	}
	for id, j := range w.jobs {
		if !stuck(w, j) {
			t.Fatalf("job %s waits for ever: %+v", id, *j)
		}
	}
}

// stuck says whether a job waits for one that was cancelled or never came.
func stuck(w *world, j *Job) bool { return len(j.After) > 0 }

func sortedKeys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func (w *world) node(name string, to NodeState) {
	at := w.c.nodeAt[name]
	if w.c.nodes[at].State == to {
		return
	}
	if err := w.c.SetNode(w.now, name, to); err != nil {
		w.t.Fatal(err)
	}
	if to != Down {
		return
	}
	for _, id := range sortedKeys(w.runs) {
		if slices.ContainsFunc(w.runs[id].Seats, func(s Seat) bool { return s.Node == at }) {
			delete(w.runs, id)
			w.left[id] = w.long[id]
			if err := w.c.Requeue(w.now, id, 0); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

func (w *world) draw(t *rapid.T, i int) {
	j := Job{ID: fmt.Sprintf("j%d", i), Queue: rapid.SampledFrom(w.fleet.Queues).Draw(t, "queue").Name,
		Priority: rapid.IntRange(0, 2).Draw(t, "priority"), Fixed: rapid.IntRange(0, 5).Draw(t, "fixed") == 0}
	j.Need.Chips = rapid.SampledFrom([]int{1, 1, 1, 2, 4, 8, 12, 16}).Draw(t, "size")
	switch rapid.IntRange(0, 5).Draw(t, "sort") {
	case 0:
		j.Need.Chips, j.Need.Share = 1, rapid.IntRange(1, 999).Draw(t, "share")
	case 1:
		j.Need.Min = rapid.IntRange(1, j.Need.Chips).Draw(t, "min")
	case 2:
		j.Need.Chips, j.Need.CPUMilli = 0, int64(rapid.IntRange(1, 4000).Draw(t, "cpu"))
	case 3:
		j.Kind, j.Limit = Evaluation, 10*minute
	case 4:
		j.Need.Within = rapid.SampledFrom([]Level{SameNode, SameRack, SameBlock}).Draw(t, "within")
	}
	if ids := sortedKeys(w.jobs); len(ids) > 0 && rapid.IntRange(0, 9).Draw(t, "after") == 0 {
		j.After = []string{rapid.SampledFrom(ids).Draw(t, "before")}
	}
	if err := w.submit(j, rapid.Int64Range(1, 200*minute).Draw(t, "long")); err != nil {
		{
			var errCase0 *Nearby
			var errCase1 *Problem
			switch {
			case errors.As(err, &errCase0), errors.As(err, &errCase1):
			default:
				t.Fatalf("%T %v", err, err)
			}
		}
	}
}

// Over random fleets and histories: never two owners of a device, never a split gang, never beyond a ceiling, never a
// preemption before its time, and everything that can run runs in the end.
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { history(t) })
}

// The same calls give the same bytes.
func TestSameCallsSamePlans(t *testing.T) {
	g := rapid.Custom(func(t *rapid.T) string {
		return string(must(json.Marshal(history(t).log)))
	})
	for seed := range 30 {
		if diff := cmp.Diff(g.Example(seed), g.Example(seed)); diff != "" {
			t.Fatal(diff)
		}
	}
}

// What is remembered of needs does not grow with all the jobs there ever were.
func TestNeedsAreForgotten(t *testing.T) {
	f := fleetOf(3, 8, Queue{Name: "q"})
	for i := range f.Nodes {
		f.Nodes[i].CPUMilli, f.Nodes[i].MemoryMiB = 1<<30, 1<<30
	}
	w := newWorld(t, Config{}, f)
	if err := w.submit(Job{ID: "stays", Queue: "q", Need: Need{Chips: 16}}, 1000*24*60*minute); err != nil {
		t.Fatal(err)
	}
	w.plan()
	for i := range 5000 {
		w.now += minute
		id := fmt.Sprintf("j%d", i)
		if err := w.submit(Job{ID: id, Queue: "q", Need: Need{Chips: 1, CPUMilli: int64(i + 1)}}, minute); err != nil {
			t.Fatal(err)
		}
		w.plan()
		w.end(id)
	}
	if n := len(w.c.menuList); n > 2*menusKept || len(w.c.needs) > 2*menusKept || len(w.c.queues[0].lanes) > 2*menusKept {
		t.Errorf("%d menus, %d needs and %d lanes are remembered of one job", n, len(w.c.needs), len(w.c.queues[0].lanes))
	}
	if e, _ := w.c.Explain("stays"); !e.Running {
		t.Errorf("%+v", e)
	}
}

// How many come before a job is the same whether one is asked for or all, and after the order has changed.
func TestAheadOfAll(t *testing.T) {
	c, err := New(Config{}, fleetOf(1, 8, Queue{Name: "q"}), known{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	submit := func(i int) {
		if err := c.Submit(int64(i), Job{ID: fmt.Sprint(i), Queue: "q", Priority: i * 7 % 5, Need: Need{Chips: 1 + i%8}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 60 {
		submit(i)
		if i%20 != 19 {
			continue
		}
		c.Plan(int64(i))
		for id, w := range c.jobs {
			if w.status == running {
				continue
			}
			want := 0
			for _, x := range c.jobs {
				if x != w && x.status == waiting && c.before(x, w) {
					want++
				}
			}
			if e, _ := c.Explain(id); e.Ahead != want {
				t.Errorf("after %d jobs %d come before %s, it says %d", i+1, want, id, e.Ahead)
			}
		}
	}
}
