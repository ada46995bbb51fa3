package belief_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/compute/sched"
	"github.com/triarch-ai/triarch/compute/sched/predict"
	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/baseline"
	"github.com/triarch-ai/triarch/compute/sched/sim/belief"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/compute/sched/sim/triarch"
	"github.com/triarch-ai/triarch/internal/fault"
)

// table is two families on two chips: half of the types are eight times as fast on new, the others are as fast on old.
// Steps are of any size.
func table() *trace.Throughputs {
	return &trace.Throughputs{Chips: []string{"old", "new"},
		Types: []string{"dense (small)", "dense (large)", "sparse (small)", "sparse (large)"},
		Rate:  [][]float64{{5, 40}, {0.5, 4}, {12, 10}, {250, 200}}}
}

const reference = "new"

// mixed is eight chips of each.
func mixed() *fleet.Fleet {
	f := &fleet.Fleet{Sites: []fleet.Site{{Name: "site", End: 4}}}
	for c, name := range []string{"old", "new"} {
		f.Chips = append(f.Chips, fleet.Chip{Name: name})
		for i := range 2 {
			f.Nodes = append(f.Nodes, fleet.Node{Name: fmt.Sprintf("%s-%d", name, i), Domain: -1, Chip: int32(c), Chips: 4, CPU: fleet.Unlimited, Memory: fleet.Unlimited})
		}
	}
	return f
}

// jobs keep the fleet at nine tenths of what it can do if each type runs where it should: dense on new, sparse on old.
func jobs(n int, seed uint64) []trace.Job {
	r := rand.New(rand.NewPCG(seed, 1))
	types := table().Types
	var out []trace.Job
	at := 0.0
	for i := range n {
		at += r.ExpFloat64() * 240 // of two hours each on the chip that suits them: 16 chips x 0.94
		out = append(out, trace.Job{Duration: time.Duration(1800+r.IntN(9000)) * time.Second, Spec: trace.Spec{ID: fmt.Sprint("j", i), Type: types[r.IntN(4)],
			Submit: time.Duration(at*1000) * time.Millisecond, Chips: 1, MinChips: 1, MaxChips: 1, Share: 1000, Preemptible: true}})
	}
	return out
}

func known(t *testing.T, tab *trace.Throughputs, o belief.Options) *belief.Beliefs {
	t.Helper()
	b, err := belief.New(tab, reference, []string{"old", "new"}, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// replay runs a policy on a table's truth with what is known of it; nil: all.
func replay(t *testing.T, tab *trace.Throughputs, js []trace.Job, k sim.Knowledge, p sim.Policy) (mean time.Duration, log []string) {
	t.Helper()
	ppm, err := tab.PPM(reference, []string{"old", "new"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := sim.Replay(context.Background(), js, mixed(), p, sim.Options{Seed: 1, Speeds: &sim.Speeds{Types: tab.Types, PPM: ppm}, Knowledge: k, Noise: 0.05,
		Log: func(a sim.Action) { log = append(log, a.String()) }})
	if own, ok := p.(*triarch.Policy); ok && own.Err() != nil {
		err = own.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range r.Records {
		mean += (x.Ended - x.Submit) / time.Duration(len(r.Records))
	}
	return mean, log
}

func core() *triarch.Policy {
	return triarch.New(sched.Config{}, sched.Learned(predict.New(predict.Options{})))
}

// With everything hidden, learning comes near to perfect knowledge, and is far better than taking all chips for alike.
func TestLearningRecoversPerfectKnowledge(t *testing.T) {
	for _, p := range []struct {
		name  string
		seeds uint64
		mk    func() sim.Policy
	}{{"triarch", 2, func() sim.Policy { return core() }}, {"gavel", 1, baseline.Gavel}} {
		for seed := range p.seeds {
			js := jobs(500, seed)
			perfect, _ := replay(t, table(), js, nil, p.mk())
			learnt := known(t, table(), belief.Options{Kind: belief.Learn, Hide: 1, Seed: seed})
			learning, _ := replay(t, table(), js, learnt, p.mk())
			alike, _ := replay(t, table(), js, known(t, table(), belief.Options{Kind: belief.Alike}), p.mk())
			t.Logf("%s, seed %d: perfect %s, learning %s, alike %s; %+v", p.name, seed, perfect, learning, alike, learnt.Report(0))
			if gain, part := alike-perfect, alike-learning; gain < perfect/2 || float64(part) < 0.8*float64(gain) {
				t.Errorf("%s, seed %d: perfect %s, learning %s, alike %s", p.name, seed, perfect, learning, alike)
			}
			if e := learnt.Report(0).Error; e[len(e)-1].Mean > 0.05 {
				t.Errorf("%s, seed %d: the error is still %+v", p.name, seed, e)
			}
		}
	}
}

// The same replay twice decides the same to the last action.
func TestLearningIsDeterministic(t *testing.T) {
	js := jobs(300, 4)
	o := belief.Options{Kind: belief.Learn, Hide: 0.5, Seed: 4}
	_, one := replay(t, table(), js, known(t, table(), o), core())
	_, two := replay(t, table(), js, known(t, table(), o), core())
	if diff := cmp.Diff(one, two); diff != "" {
		t.Fatal(diff)
	}
}

// What is hidden is not read: with another truth of an entry, every decision is the same until an attempt of that type
// began on that chip.
func TestWhatIsHiddenIsNotRead(t *testing.T) {
	js := jobs(300, 5)
	o := belief.Options{Kind: belief.Learn, Hide: 1}
	_, log := replay(t, table(), js, known(t, table(), o), core())
	other := table()
	other.Rate[2][0] *= 7 // sparse (small) on old
	_, again := replay(t, other, js, known(t, other, o), core())
	first := -1
	for i, line := range log {
		var job, node int
		if n, _ := fmt.Sscanf(line[len(line)-len(after(line, "start job ")):], "%d on [{%d", &job, &node); n == 2 && js[job].Type == other.Types[2] && node < 2 {
			first = i
			break
		}
	}
	if first < 1 || len(again) <= first {
		t.Fatalf("no attempt of the type on the chip in %d actions", len(log))
	}
	if diff := cmp.Diff(log[:first+1], again[:first+1]); diff != "" {
		t.Fatal(diff)
	}
	if cmp.Equal(log, again) {
		t.Fatal("the other truth changed nothing at all")
	}
}

func after(s, what string) string {
	for i := range s {
		if len(s)-i >= len(what) && s[i:i+len(what)] == what {
			return s[i+len(what):]
		}
	}
	return ""
}

// liar has some jobs lie, each by a factor of its own from a thousandth to a thousand times.
type liar struct {
	*belief.Beliefs
	every, lies int
}

func (l *liar) Observe(job, row, chip int32, speed int64, at time.Duration) {
	if int(job)%l.every == 0 { // the very first is one
		l.lies++
		speed = max(1, int64(float64(speed)*math.Exp(math.Log(1000)*(2*rand.New(rand.NewPCG(uint64(job), 3)).Float64()-1))))
	}
	l.Beliefs.Observe(job, row, chip, speed, at)
}

// Jobs that lie, the first among them, keep beliefs from the truth for a while and not for ever.
func TestLiesDoNotRunAway(t *testing.T) {
	js := jobs(500, 6)
	perfect, _ := replay(t, table(), js, nil, core())
	alike, _ := replay(t, table(), js, known(t, table(), belief.Options{Kind: belief.Alike}), core())
	for _, every := range []int{10, 30} {
		l := &liar{known(t, table(), belief.Options{Kind: belief.Learn, Hide: 1}), every, 0}
		mean, _ := replay(t, table(), js, l, core())
		e := l.Report(0)
		t.Logf("%d lies: %s; perfect %s, alike %s; %+v", l.lies, mean, perfect, alike, e)
		if last := e.Error[len(e.Error)-1]; last.Mean > 0.15 || l.lies < 10 || e.Doubted == 0 {
			t.Errorf("one job in %d lies, and beliefs are off by %g: %+v", every, last.Mean, e)
		}
		if float64(alike-mean) < 0.8*float64(alike-perfect) {
			t.Errorf("one job in %d lies: mean completion is %s, of perfect knowledge %s, of none %s", every, mean, perfect, alike)
		}
	}
}

// By hand: of two families one entry is hidden, and what is told of it is what its neighbours are.
func TestNeighboursTellOfWhatIsHidden(t *testing.T) {
	tab := table()
	for seed := range uint64(200) { // until it is the one that is hidden
		b := known(t, tab, belief.Options{Kind: belief.Prior, Hide: 1. / 8, Seed: seed})
		if off := math.Abs(math.Log(float64(b.Speed(1, 0)) / 125_000)); off < 0.02 {
			continue // dense (large) on old is known
		}
		got := float64(b.Speed(1, 0)) / 1e6
		if got < 0.1 || got > 0.5 {
			t.Errorf("its sister is at an eighth on old, the other family at five quarters: it is thought to be at %.2f", got)
		}
		return
	}
	t.Fatal("no seed hides the entry alone")
}

func TestWhatIsRefused(t *testing.T) {
	for _, o := range []belief.Options{{Kind: "all"}, {Kind: belief.Learn, Hide: 1.1}, {Kind: belief.Learn, Hide: math.NaN()}, {Kind: belief.Learn, Optimism: -1}} {
		if _, err := belief.New(table(), reference, nil, o); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := belief.New(table(), "none", nil, belief.Options{Kind: belief.Learn}); err == nil {
		t.Error("a reference that is not there was taken")
	}
}
