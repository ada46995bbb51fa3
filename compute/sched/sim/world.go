package sim

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/internal/fault"
)

// State of a job.
type State uint8

// The states.
const (
	Future  State = iota // not yet submitted
	Waiting              // submitted, holds nothing
	Running
	Done
	Refused // no empty fleet could run it
)

// World is the simulated fleet and its jobs at one instant: what a policy reads and acts on. Jobs are numbered in the
// order of submission, nodes as in the fleet.
type World struct {
	now   time.Duration
	fleet *fleet.Fleet
	jobs  []trace.Job
	opt   Options
	err   error // the first wrong action; ends the replay

	job     []jobState
	node    []nodeState
	pools   []pool
	classes []class
	homes   []home
	uses    []use // by site, then chip
	series  series
	future  future
	events  []Event
	luck    []*rand.Rand
	scratch []Part
	devices []int16 // room on each chip in thousandths; only where shares are asked for

	oracle, unbound           bool
	arrived, waiting, running int
	ended, target, refused    int
	downNodes, failures       int
	actions                   int64
	busy, capacity            int64 // thousandths of chips
	ticked                    time.Duration
}

// jobState is what became of a job so far.
type jobState struct {
	first      Part // of its placement
	more       []Part
	done       time.Duration // work done up to from, at reference speed
	since      time.Duration // start of the present stretch
	from       time.Duration // when it makes progress again
	started    time.Duration // first start
	end        time.Duration
	waited     time.Duration // last time it began to wait
	p50, p90   time.Duration // expected start, 0 for none
	speed      int64
	held       int64 // chip-milliseconds, up to the present stretch
	wasted     int64 // chip-milliseconds of held in restarts and lost work
	cost       int64 // micro-units
	contention float64
	gen        uint32
	class      int32
	chips      int32 // held now
	preempts   int32
	fails      int32
	resizes    int32
	home       int32
	speedRow   int32
	state      State
	ran        bool // has been started before
}

func newWorld(jobs []trace.Job, f *fleet.Fleet, p Policy, o Options) (*World, error) {
	if len(jobs) == 0 || len(f.Nodes) == 0 {
		return nil, fault.New(fault.Invalid, "A replay needs at least one job and one node.")
	}
	if o.Checkpoint <= 0 {
		o.Checkpoint = DefaultCheckpoint
	}
	w := &World{fleet: f, jobs: jobs, opt: o, job: make([]jobState, len(jobs)), target: len(jobs), ticked: -1}
	if o.MeasureTo > 0 {
		if o.MeasureFrom < 0 || o.MeasureFrom >= o.MeasureTo || o.MeasureTo > len(jobs) {
			return nil, fault.New(fault.Invalid, fmt.Sprintf("The measured jobs %d to %d are not a part of the %d jobs.", o.MeasureFrom, o.MeasureTo, len(jobs)))
		}
		w.target = o.MeasureTo - o.MeasureFrom
	}
	for i := 1; i < len(jobs); i++ {
		if jobs[i].Submit < jobs[i-1].Submit {
			return nil, fault.New(fault.Invalid, fmt.Sprintf("Job %s is not in the order of submission.", jobs[i].ID))
		}
	}
	_, w.oracle = p.(Oracle)
	w.now = jobs[0].Submit
	w.makePools()
	if err := w.makeClasses(); err != nil {
		return nil, err
	}
	w.makeHomes()
	return w, nil
}

// Now is the simulated time since the start of the trace.
func (w *World) Now() time.Duration { return w.now }

// Fleet is what the jobs run on; it does not change.
func (w *World) Fleet() *fleet.Fleet { return w.fleet }

// Jobs is how many jobs the trace has; those not yet submitted are Future.
func (w *World) Jobs() int { return len(w.jobs) }

// Spec is what is known of a job that was submitted; nil for one of the future.
func (w *World) Spec(j int32) *trace.Spec {
	if w.job[j].state == Future {
		return nil
	}
	return &w.jobs[j].Spec
}

// State of a job.
func (w *World) State(j int32) State { return w.job[j].state }

// Home is the site that the job is bound to, -1 where any will do.
func (w *World) Home(j int32) int32 {
	if h := w.job[j].home; int(h) < len(w.fleet.Sites) {
		return h
	}
	return -1
}

// Bound says whether every job is bound to a site, so that each site can be scheduled by itself.
func (w *World) Bound() bool { return !w.unbound }

// Class is a number that jobs with the same needs share: if one of them fits nowhere, none of them does. Classes are
// numbered from 0 to Classes()-1.
func (w *World) Class(j int32) int32 { return w.job[j].class }

// Classes is how many different needs the trace has.
func (w *World) Classes() int { return len(w.classes) }

// Since is when the job began to wait, or started its present stretch of running.
func (w *World) Since(j int32) time.Duration {
	js := &w.job[j]
	if js.state == Running {
		return js.since
	}
	return js.waited
}

// Parts is where a running job lies. Valid until the next action.
func (w *World) Parts(j int32) []Part {
	js := &w.job[j]
	if js.state != Running {
		return nil
	}
	if js.more != nil {
		return js.more
	}
	w.scratch = append(w.scratch[:0], js.first)
	return w.scratch
}

// Chips is how many chips a running job holds now.
func (w *World) Chips(j int32) int32 { return w.job[j].chips }

// Attained is the chip-time a job has held so far, in chip-milliseconds: what a least-attained-service policy goes by.
func (w *World) Attained(j int32) int64 {
	js := &w.job[j]
	if js.state != Running {
		return js.held
	}
	return js.held + w.chipTime(j, w.now-js.since)
}

// Work is how much of its work a job has done, in time at reference speed on the chips it asked for. Where speeds are
// learnt (Knowing), a policy that divides it by the time it took reads what it is not told: it has to count by Speed.
func (w *World) Work(j int32) time.Duration {
	js := &w.job[j]
	if js.state != Running {
		return js.done
	}
	return js.done + progress(w.now-js.from, js.speed)
}

// Restarts is how often the job was preempted, failed or resized so far.
func (w *World) Restarts(j int32) int32 {
	js := &w.job[j]
	return js.preempts + js.fails + js.resizes
}

// Remaining is the work a job still has, in time at reference speed. Only an Oracle may ask: for any other policy the
// replay ends with an error.
func (w *World) Remaining(j int32) time.Duration {
	if !w.oracle {
		w.Abort(w.wrong("ask for the remaining time of", j, "only a policy that declares itself an Oracle may ask for it"))
		return 0
	}
	return w.jobs[j].Duration - w.Work(j)
}

// Speed is how fast a job is on a chip of the fleet, in millionths of the reference speed, as far as that is known; 0 if it
// cannot run there.
func (w *World) Speed(j, chip int32) int64 { return w.thought(w.job[j].speedRow, chip) }

func (w *World) speedOf(row, chip int32) int64 {
	if row < 0 || chip < 0 {
		return million
	}
	return w.opt.Speeds.PPM[row][chip]
}

// WakeAt asks for a Woken event at a time to come.
func (w *World) WakeAt(at time.Duration) {
	w.future.push(coming{at: max(at, w.now+1), kind: Woken, id: -1})
}

// Expect records when the policy expects a waiting job to start: by p50 in half of the cases, by p90 in nine of ten.
// The first call for a job counts, if it has not run yet; the report compares it with its first start.
func (w *World) Expect(j int32, p50, p90 time.Duration) {
	if js := &w.job[j]; js.p90 == 0 && js.state == Waiting && !js.ran {
		js.p50, js.p90 = p50, max(p90, 1)
	}
}

// Abort ends the replay with the policy's own error; the first one counts.
func (w *World) Abort(err error) {
	if w.err == nil {
		w.err = err
	}
}

const million = 1_000_000

// progress is the work done in d at a speed; none before d begins.
func progress(d time.Duration, speed int64) time.Duration {
	switch {
	case d <= 0:
		return 0
	case speed == million:
		return d
	}
	hi, lo := bits.Mul64(uint64(d), uint64(speed))
	q, _ := bits.Div64(hi, lo, million)
	return time.Duration(q)
}

// lasting is how long work takes at a speed, rounded up.
func lasting(work time.Duration, speed int64) time.Duration {
	if speed == million {
		return work
	}
	hi, lo := bits.Mul64(uint64(work), million)
	lo, carry := bits.Add64(lo, uint64(speed)-1, 0)
	hi += carry
	if hi >= uint64(speed) {
		return never
	}
	q, _ := bits.Div64(hi, lo, uint64(speed))
	return time.Duration(min(q, uint64(never)))
}

// chipTime is what the job takes in d on the chips it holds, in chip-milliseconds.
func (w *World) chipTime(j int32, d time.Duration) int64 {
	return d.Milliseconds() * w.milli(j) / 1000
}

// milli is what a running job holds, in thousandths of chips.
func (w *World) milli(j int32) int64 {
	return int64(w.job[j].chips) * int64(w.jobs[j].Share)
}

// wrong keeps the first wrong action as the end of the replay.
func (w *World) wrong(doing string, j int32, format string, args ...any) error {
	err := fault.New(fault.Conflict, fmt.Sprintf("The policy was wrong to %s job %s at %s: %s.", doing, w.jobs[j].ID, w.now, fmt.Sprintf(format, args...)))
	if w.err == nil {
		w.err = err
	}
	return err
}
