package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/dialect"
)

// lane is the way to a backend that takes so many requests at once. Those beyond wait, and leave the queue as start-time
// fair queueing has it (Goyal, Vin and Cheng, 1996): each project in turn, whatever the others send, and a project that
// was away gains nothing by it. A request's length is not known before it ran, so each counts for one.
type lane struct {
	mu      sync.Mutex
	room    int // requests at once
	running int
	clock   uint64 // virtual time: the start of what was served last
	tenants map[flow]*tenant
	waiting int
}

// flow is what waits in one line: the requests of a project in a service tier.
type flow struct {
	project id.Raw
	tier    dialect.Tier
}

// tenant is a flow with requests that wait.
type tenant struct {
	finish uint64 // virtual time at which its last request ends
	queue  []*waiter
}

type waiter struct {
	start uint64
	part  uint64        // virtual time that it takes
	turn  chan struct{} // closed when it may run
	ran   bool          // under the lane's lock: its turn came
}

// Bounds of a lane. A project's own bound is the route's.
const (
	laneTotal    = 4096 // requests that wait in all
	defaultQueue = 64
	defaultWait  = 30 * time.Second
	lanePart     = 1 << 20 // virtual time of one request
)

var errFull = fault.New(fault.Unavailable, "Too many requests wait for this model already.", fault.Code("queue_full"), fault.Fix("Try again in a moment."))

var errWaited = fault.New(fault.Unavailable, "The model had no room for the request in time.", fault.Code("queue_timeout"), fault.Fix("Try again in a moment."))

// enter waits for a place, at most as long as wait and behind at most queue others of the flow; part is the virtual time of
// the request, which is the shorter the more it weighs, and room is how many
// places there are now. Whoever entered must leave.
func (l *lane) enter(ctx context.Context, of flow, part uint64, room, queue int, wait time.Duration) error {
	l.mu.Lock()
	l.room = room
	l.next() // there may be more room than before
	if l.waiting == 0 && l.running < l.room {
		l.running++
		l.mu.Unlock()
		return nil
	}
	w, err := l.join(of, part, queue)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-w.turn:
		return nil
	case <-timer.C:
		err = errWaited
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.ran { // its turn came as it gave up
		l.running--
		l.next()
	} else {
		l.drop(of, w)
	}
	return err
}

// join puts a request of a flow at the end of its queue.
func (l *lane) join(of flow, part uint64, queue int) (*waiter, error) {
	t := l.tenants[of]
	if t == nil {
		if l.tenants == nil {
			l.tenants = map[flow]*tenant{}
		}
		t = &tenant{}
	}
	if len(t.queue) >= queue || l.waiting >= laneTotal {
		return nil, errFull
	}
	l.tenants[of] = t
	w := &waiter{start: max(l.clock, t.finish), part: part, turn: make(chan struct{})}
	t.finish = w.start + part
	t.queue = append(t.queue, w)
	l.waiting++
	return w, nil
}

// drop takes a request out of the queue. What its flow asked later moves up.
func (l *lane) drop(of flow, w *waiter) {
	t := l.tenants[of]
	for i, x := range t.queue {
		if x == w {
			t.queue = append(t.queue[:i], t.queue[i+1:]...)
			for _, later := range t.queue[i:] {
				later.start -= w.part
			}
			t.finish -= w.part
			l.waiting--
			break
		}
	}
	l.forget(of, t)
}

// forget leaves nothing behind of a flow that waits for nothing. Its finish is not ahead of the clock by more than
// the places there are, so that coming back gains it little.
func (l *lane) forget(of flow, t *tenant) {
	if len(t.queue) == 0 && t.finish <= l.clock+lanePart {
		delete(l.tenants, of)
	}
}

// next gives free places to those whose start is the earliest. The caller holds mu.
func (l *lane) next() {
	for l.running < l.room && l.waiting > 0 {
		var first *tenant
		var of flow
		for p, t := range l.tenants {
			if len(t.queue) > 0 && (first == nil || t.queue[0].start < first.queue[0].start) {
				first, of = t, p
			}
		}
		w := first.queue[0]
		first.queue[0] = nil
		first.queue = first.queue[1:]
		l.waiting--
		l.running++
		l.clock = max(l.clock, w.start)
		w.ran = true
		close(w.turn)
		l.forget(of, first)
	}
	if l.waiting == 0 && l.running == 0 {
		clear(l.tenants)
	}
}

// leave gives a place back.
func (l *lane) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
	l.next()
}

// length is how many wait.
func (l *lane) length() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting
}
