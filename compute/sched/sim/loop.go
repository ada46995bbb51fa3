package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// never is a time after every other.
const never = time.Duration(1<<63 - 1)

// futile is how many instants may pass without an action while jobs wait, nothing runs and nothing else is to come:
// after that they wait for ever.
const futile = 10_000

// run takes instant after instant until the last job has ended.
func (w *World) run(ctx context.Context, p Policy) error {
	quantum := time.Duration(0)
	if t, ok := p.(Ticker); ok {
		quantum = t.Every()
	}
	w.breakNodes()
	idle, actions := 0, w.actions
	for steps := 0; w.ended < w.target; steps++ {
		if steps&4095 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if w.opt.Progress != nil {
				w.opt.Progress(w.ended, w.target, w.now)
			}
		}
		at := w.nextInstant(quantum)
		if at == never {
			return w.stuck()
		}
		if w.opt.moment != nil {
			w.opt.moment(w, at)
		}
		if w.opt.Until > 0 && at >= w.opt.Until {
			w.advance(w.opt.Until)
			return nil
		}
		w.advance(at)
		if w.gather(at, quantum); len(w.events) > 0 {
			p.Step(w, w.events)
		}
		if w.err != nil {
			return w.err
		}
		if w.running > 0 || w.arrived < len(w.jobs) || w.actions != actions {
			idle, actions = 0, w.actions
		} else if idle++; idle > futile && w.downNodes == 0 {
			return w.stuck()
		}
	}
	if w.opt.Progress != nil {
		w.opt.Progress(w.ended, w.target, w.now)
	}
	return nil
}

// nextInstant is when something happens next.
func (w *World) nextInstant(quantum time.Duration) time.Duration {
	at := never
	if w.arrived < len(w.jobs) {
		at = w.jobs[w.arrived].Submit
	}
	for len(w.future.heap) > 0 && w.stale(&w.future.heap[0]) {
		w.future.pop()
	}
	if len(w.future.heap) > 0 {
		at = min(at, w.future.heap[0].at)
	}
	if quantum > 0 && w.running+w.waiting > 0 {
		at = min(at, (w.now/quantum+1)*quantum)
	}
	return max(at, w.now)
}

// stale says whether c is the end, or a look at an attempt, of a job that was stopped since.
func (w *World) stale(c *coming) bool {
	return c.kind == Ended && w.job[c.id].gen != c.gen || c.kind == Seen && (w.job[c.id].gen != c.gen || w.job[c.id].state != Running)
}

// gather collects what happens at the instant, having it happen.
func (w *World) gather(at, quantum time.Duration) {
	w.events = w.events[:0]
	for len(w.future.heap) > 0 && w.future.heap[0].at == at {
		c := w.future.pop()
		switch c.kind {
		case Ended:
			if !w.stale(&c) {
				w.finish(c.id)
			}
		case NodeDown:
			w.breakDown(c.id)
		case NodeUp:
			w.repaired(c.id)
		case Seen:
			if !w.stale(&c) {
				w.see(c.id, c.gen)
			}
		case Woken:
			w.events = append(w.events, Event{Kind: Woken, Job: -1, Node: -1})
		}
	}
	for w.arrived < len(w.jobs) && w.jobs[w.arrived].Submit <= at {
		w.submit(int32(w.arrived))
		w.arrived++
	}
	if quantum > 0 && at%quantum == 0 && w.ticked != at {
		w.ticked = at
		w.events = append(w.events, Event{Kind: Tick, Job: -1, Node: -1})
	}
}

// submit has a job wait, or refuses it when it could not run on the empty fleet.
func (w *World) submit(j int32) {
	js := &w.job[j]
	if c := &w.classes[js.class]; c.refusal != "" {
		js.state = Refused
		w.refused++
		w.countEnd(j)
		return
	}
	js.state = Waiting
	w.waiting++
	h := &w.homes[js.home]
	h.settle(w.now)
	h.demand += int64(w.jobs[j].Chips)
	js.contention = h.contention
	w.events = append(w.events, Event{Kind: Submitted, Job: j, Node: -1})
}

// finish ends a job that has done its work.
func (w *World) finish(j int32) {
	js := &w.job[j]
	w.release(j)
	js.done = w.jobs[j].Duration
	js.state, js.end = Done, w.now
	w.running--
	h := &w.homes[js.home]
	h.settle(w.now)
	h.demand -= int64(w.jobs[j].Chips)
	js.contention = h.contention - js.contention
	w.countEnd(j)
	w.events = append(w.events, Event{Kind: Ended, Job: j, Node: -1})
}

// countEnd counts a job among those that the replay has to see end.
func (w *World) countEnd(j int32) {
	if w.measured(int(j)) {
		w.ended++
	}
}

func (w *World) measured(j int) bool {
	return w.opt.MeasureTo == 0 || j >= w.opt.MeasureFrom && j < w.opt.MeasureTo
}

// breakNodes draws the first failure of each node that can fail.
func (w *World) breakNodes() {
	for i := range w.fleet.Nodes {
		if n := &w.fleet.Nodes[i]; n.MTBF > 0 {
			if w.luck == nil {
				w.luck = make([]*rand.Rand, len(w.fleet.Nodes))
			}
			w.luck[i] = rand.New(rand.NewPCG(w.opt.Seed, uint64(i)))
			w.future.push(coming{at: w.after(int32(i), n.MTBF), kind: NodeDown, id: int32(i)})
		}
	}
}

// after is a time from now, exponential with the mean, in whole seconds and at least one.
func (w *World) after(node int32, mean time.Duration) time.Duration {
	s := w.luck[node].ExpFloat64() * mean.Seconds()
	return w.now + time.Second + time.Duration(min(s, 3e9))*time.Second
}

// breakDown takes a node away: its jobs lose what they did since their last checkpoint.
func (w *World) breakDown(node int32) {
	n := &w.node[node]
	w.events = append(w.events, Event{Kind: NodeDown, Job: -1, Node: node})
	for len(n.jobs) > 0 {
		j := n.jobs[0]
		w.fail(j)
		w.events = append(w.events, Event{Kind: Failed, Job: j, Node: node})
	}
	w.unlist(node)
	n.down = true
	w.downNodes++
	w.failures++
	w.future.push(coming{at: w.after(node, max(w.fleet.Nodes[node].Repair, time.Second)), kind: NodeUp, id: node})
}

func (w *World) repaired(node int32) {
	w.node[node].down = false
	w.downNodes--
	w.list(node)
	w.events = append(w.events, Event{Kind: NodeUp, Job: -1, Node: node})
	w.future.push(coming{at: w.after(node, w.fleet.Nodes[node].MTBF), kind: NodeDown, id: node})
}

// stuck says which job waits for ever.
func (w *World) stuck() error {
	for j := range w.job {
		if w.job[j].state == Waiting {
			return fault.New(fault.Conflict, fmt.Sprintf("%d jobs wait for ever under this policy; the first is %s (%d chips), %s after its submission.",
				w.waiting, w.jobs[j].ID, w.jobs[j].Chips, w.now-w.jobs[j].Submit))
		}
	}
	return fault.New(fault.Internal, "the replay ran out of events before its jobs had ended")
}
