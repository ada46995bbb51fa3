package triarch

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/compute/sched"
	"github.com/triarch-ai/triarch/compute/sched/predict"
	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/baseline"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
)

// hours is a gap between sweeps that leaves a small fleet room to breathe.
const hours = 130 * time.Minute

// drawn is a trace with sweeps: jobs come in rows of a size and of much the same length.
func drawn(n int, seed uint64, gap time.Duration) []trace.Job {
	r := rand.New(rand.NewPCG(seed, 1))
	var jobs []trace.Job
	at := time.Duration(0)
	for len(jobs) < n {
		at += time.Duration(r.Int64N(int64(2 * gap)))
		size := []int32{1, 1, 1, 2, 4, 8, 8, 16}[r.IntN(8)]
		long := time.Minute << r.IntN(10) // whole numbers: some processors round sums of products otherwise
		for range 1 + r.IntN(6) {
			at += time.Duration(r.IntN(5)) * time.Second
			d := long + time.Duration(r.Int64N(int64(long/4)))
			jobs = append(jobs, trace.Job{Duration: d.Truncate(time.Millisecond), Spec: trace.Spec{ID: fmt.Sprintf("j%d", len(jobs)),
				Submit: at.Truncate(time.Millisecond), Chips: size, MinChips: size, MaxChips: size, Share: 1000, Preemptible: true}})
		}
	}
	return jobs[:n]
}

func policy() *Policy { return New(sched.Config{}, sched.Learned(predict.New(predict.Options{}))) }

func replay(t *testing.T, jobs []trace.Job, f *fleet.Fleet, p sim.Policy, o sim.Options) (*sim.Result, []sim.Action) {
	t.Helper()
	var log []sim.Action
	o.Log = func(a sim.Action) {
		a.Parts = append([]sim.Part(nil), a.Parts...)
		log = append(log, a)
	}
	r, err := sim.Replay(context.Background(), jobs, f, p, o)
	if err != nil {
		t.Fatal(err)
	}
	if own, ok := p.(*Policy); ok && own.Err() != nil {
		t.Fatal(own.Err())
	}
	return r, log
}

func meanCompletion(r *sim.Result) (sum time.Duration) {
	for _, x := range r.Records {
		sum += x.Ended - x.Submit
	}
	return sum / time.Duration(len(r.Records))
}

// The core in a replay ends every job, and sooner on average than first come, first served with backfill.
func TestReplay(t *testing.T) {
	f, err := fleet.Uniform(4, 8)
	if err != nil {
		t.Fatal(err)
	}
	jobs := drawn(1000, 1, hours)
	ours, _ := replay(t, jobs, f, policy(), sim.Options{})
	theirs, _ := replay(t, jobs, f, baseline.FIFO(true), sim.Options{})
	for i, x := range ours.Records {
		if x.State != sim.Done {
			t.Fatalf("job %d is %d", i, x.State)
		}
	}
	if a, b := meanCompletion(ours), meanCompletion(theirs); a >= b {
		t.Errorf("mean completion %s, of fifo-backfill %s", a, b)
	}
}

// The same replay twice is the same to the last action, with failures too.
func TestReplayAgain(t *testing.T) {
	f, err := fleet.Uniform(4, 8)
	if err != nil {
		t.Fatal(err)
	}
	for i := range f.Nodes {
		f.Nodes[i].MTBF, f.Nodes[i].Repair = 200*time.Hour, 3*time.Hour
	}
	jobs := drawn(600, 2, hours)
	_, one := replay(t, jobs, f, policy(), sim.Options{Seed: 7})
	_, two := replay(t, jobs, f, policy(), sim.Options{Seed: 7})
	if diff := cmp.Diff(one, two); diff != "" {
		t.Fatal(diff)
	}
}

// No future is read: changing how long unfinished jobs will run, each beyond its age, changes no decision taken before.
func TestNoFutureIsRead(t *testing.T) {
	f, err := fleet.Uniform(3, 8)
	if err != nil {
		t.Fatal(err)
	}
	jobs := drawn(250, 3, hours)
	result, log := replay(t, jobs, f, policy(), sim.Options{})
	r := rand.New(rand.NewPCG(4, 4))
	for range 20 {
		at := time.Duration(r.Int64N(int64(result.Ended)))
		changed := append([]trace.Job(nil), jobs...)
		for i := range changed {
			if result.Records[i].Ended > at { // no job has had more than its time since submission
				changed[i].Duration = max(jobs[i].Duration, at-jobs[i].Submit) + time.Duration(1+r.Int64N(int64(5*time.Hour)))
			}
		}
		_, again := replay(t, changed, f, policy(), sim.Options{})
		for k := 0; k < len(log) && log[k].At < at; k++ {
			if k >= len(again) || !cmp.Equal(log[k], again[k]) {
				t.Fatalf("with other lengths after %s the decision at %s is another", at, log[k].At)
			}
		}
	}
}

// Expected starts hold about as often as they say.
func TestExpectedStarts(t *testing.T) {
	f, err := fleet.Uniform(4, 8)
	if err != nil {
		t.Fatal(err)
	}
	p := policy()
	p.Expect = 20 * time.Minute
	r, _ := replay(t, drawn(2000, 5, hours/3), f, p, sim.Options{})
	said, half, most := 0, 0, 0
	for _, x := range r.Records {
		if x.P90 == 0 {
			continue
		}
		said++
		if x.Started <= x.P50 {
			half++
		}
		if x.Started <= x.P90 {
			most++
		}
	}
	if said < 200 || half*100 < 35*said || half*100 > 65*said || most*100 < 80*said {
		t.Errorf("of %d expected starts %d came by their P50 and %d by their P90", said, half, most)
	}
}

// digest is of all actions of a replay. It is the same on every architecture and with any number of processors;
// a change of what the core decides changes it, and is to be meant.
const digest = "2939185ff1d4fd8247ca6ce53a94465d3806fcd67a1bac9e0a57fa191cbb86a8"

func TestPlansAreTheSameEverywhere(t *testing.T) {
	f, err := fleet.Uniform(4, 8)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	_, log := replay(t, drawn(600, 2, hours), f, policy(), sim.Options{Seed: 7})
	for _, a := range log {
		fmt.Fprintln(h, a.At, a.Verb, a.Job, a.Parts)
	}
	if got := fmt.Sprintf("%x", h.Sum(nil)); got != digest {
		t.Errorf("the digest of %d actions is %s", len(log), got)
	}
}

// Keeping why each job waits changes no decision, and what is kept names a stage and is true: the job waits.
func TestExplainingChangesNothing(t *testing.T) {
	f, err := fleet.Uniform(4, 8)
	if err != nil {
		t.Fatal(err)
	}
	jobs := drawn(600, 2, hours/3)
	_, plain := replay(t, jobs, f, policy(), sim.Options{})
	p, most := policy(), 0
	p.Explain = time.Minute
	o := sim.Options{Progress: func(int, int, time.Duration) {
		for id, e := range p.reasons {
			if p.number[id] == 0 && id != "j0" || e.Stage == 0 || e.Reason == "" || e.Running {
				t.Errorf("of %s is kept %+v", id, e)
			}
		}
		most = max(most, len(p.reasons))
	}}
	_, told := replay(t, jobs, f, p, o)
	if diff := cmp.Diff(plain, told); diff != "" {
		t.Fatal(diff)
	}
	if p.Explained() < 600 || len(p.reasons) != 0 || most == 0 {
		t.Errorf("%d explanations were worked out, at most %d were seen at once, and %d are left of jobs that ended", p.Explained(), most, len(p.reasons))
	}
}

// In a replay as in life a guarantee is taken back in the second in which the minimum run of what borrows it is over, and
// not at the next round.
func TestAGuaranteeWaitsForNoRound(t *testing.T) {
	const file = "chips: [{name: gpu}]\nsites: [{name: s}]\nnodes: [{name: n, in: s, chip: gpu, chips: 8}]\n" +
		"queues: [{name: owner, guarantee: {gpu: 8}}, {name: guest}]\n"
	f, err := fleet.Read(strings.NewReader(file), "fleet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	job := func(id string, at time.Duration) trace.Job {
		return trace.Job{Duration: 10 * time.Hour, Spec: trace.Spec{ID: id, Queue: id, Submit: at, Chips: 8, MinChips: 8, MaxChips: 8, Share: 1000, Preemptible: true}}
	}
	p := New(sched.Config{Round: 3_600_000}, sched.Learned(predict.New(predict.Options{})))
	r, _ := replay(t, []trace.Job{job("guest", 7*time.Second), job("owner", time.Minute)}, f, p, sim.Options{})
	if got := r.Records[1].Started; got != 10*time.Minute+7*time.Second {
		t.Errorf("the owner of all chips has them after %s", got)
	}
}

// A gang lies in as few racks as can be: the fleet file's topology reaches the core.
func TestGangsKnowTheRacks(t *testing.T) {
	const file = "chips: [{name: gpu}]\nsites: [{name: s}]\n" +
		"topology: [{name: hall, kind: block, in: s}, {name: r1, kind: rack, in: hall}, {name: r2, kind: rack, in: hall}]\n" +
		"nodes:\n  - {name: \"a-{}\", count: 3, in: r1, chip: gpu, chips: 8}\n  - {name: \"b-{}\", count: 3, in: r2, chip: gpu, chips: 8}\n"
	f, err := fleet.Read(strings.NewReader(file), "fleet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	job := func(id string, chips int32) trace.Job {
		return trace.Job{Duration: time.Hour, Spec: trace.Spec{ID: id, Chips: chips, MinChips: chips, MaxChips: chips, Share: 1000, Preemptible: true}}
	}
	_, log := replay(t, []trace.Job{job("one", 8), job("gang", 24)}, f, policy(), sim.Options{})
	for _, a := range log {
		racks := map[int32]bool{}
		for _, p := range a.Parts {
			racks[f.Nodes[p.Node].Domain] = true
		}
		if len(racks) != 1 {
			t.Errorf("job %d lies in %d racks: %+v", a.Job, len(racks), a.Parts)
		}
	}
}

// A gang that only nodes of unlike size together can hold runs, under the core and under the baselines.
func TestGangsOverUnlikeNodes(t *testing.T) {
	const file = "chips: [{name: gpu}]\nsites: [{name: s}]\nnodes:\n" +
		"  - {name: big, in: s, chip: gpu, chips: 8, price: 2}\n  - {name: \"small-{}\", count: 2, in: s, chip: gpu, chips: 4, price: 1}\n"
	f, err := fleet.Read(strings.NewReader(file), "fleet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	job := func(id string, chips int32) trace.Job {
		return trace.Job{Duration: time.Hour, Spec: trace.Spec{ID: id, Chips: chips, MinChips: chips, MaxChips: chips, Share: 1000, Preemptible: true}}
	}
	for _, p := range []sim.Policy{policy(), baseline.FIFO(true), baseline.FIFO(false)} {
		r, log := replay(t, []trace.Job{job("gang", 16), job("rest", 13)}, f, p, sim.Options{})
		for i, x := range r.Records {
			if x.State != sim.Done {
				t.Errorf("%T: job %d is %d: %v", p, i, x.State, r.Refusals)
			}
		}
		if len(log) == 0 || len(log[0].Parts) != 3 {
			t.Errorf("%T: %+v", p, log)
		}
	}
}
