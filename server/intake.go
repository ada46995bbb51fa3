package server

import (
	"sync"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// Intake bounds what requests of the model API take from the process: how many bodies that have not arrived yet a key
// may have open, how many bytes the bodies in memory have together, and how many requests run once their body is here.
// A body on its way counts for its key alone, so no key keeps others out by sending slowly. Bodies that arrive together
// with their head cost no wait and no memory of their own; they only count as requests. It is safe for concurrent use.
type Intake struct {
	requests int
	bytes    int64

	mu      sync.Mutex
	running int
	held    int64
	open    map[id.Raw]int // bodies on their way, by key
}

// Bodies on their way that a key may have open, whatever its limit of requests at once, and without such a limit.
const (
	fewBodies  = 8
	manyBodies = 512
)

// NewIntake makes an Intake for at most so many running requests and so many bytes of bodies, both positive.
func NewIntake(requests int, bytes int64) *Intake {
	return &Intake{requests: requests, bytes: bytes, open: map[id.Raw]int{}}
}

var (
	errTooBusy = fault.New(fault.Unavailable, "Too many requests are in flight.", fault.Code("overloaded"), fault.Fix("Try again in a moment."))
	errTooFull = fault.New(fault.Unavailable, "The bodies of the requests in flight take all the memory set aside for them.", fault.Code("overloaded"),
		fault.Fix("Try again in a moment."))
	errTooManyBodies = fault.New(fault.RateLimited, "This key, or one that made it, has as many requests open whose bodies have not arrived as it may have.",
		fault.Code("concurrency"), fault.Fix("Send bodies faster or fewer of them at once."))
)

// bodiesOf is how many bodies on their way a key with these limits may have open.
func bodiesOf(l tenancy.Limits) int {
	if l.Concurrency <= 0 {
		return manyBodies
	}
	return int(max(fewBodies, min(l.Concurrency, manyBodies)))
}

// expect takes a place for a body on its way from the key and from those above it that have a limit of requests at
// once; a *quota.Refusal when one of them has none left. Each success needs one arrived.
func (in *Intake) expect(who *auth.Principal) error {
	if in == nil {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	full := in.open[who.Key] >= bodiesOf(who.Limits)
	for i := range who.Above {
		a := &who.Above[i]
		full = full || a.Limits.Concurrency > 0 && in.open[a.Key] >= bodiesOf(a.Limits)
	}
	if full {
		return &quota.Refusal{Fault: errTooManyBodies, After: time.Second}
	}
	in.count(who, 1)
	return nil
}

// arrived gives back what expect took.
func (in *Intake) arrived(who *auth.Principal) {
	if in == nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.count(who, -1)
}

func (in *Intake) count(who *auth.Principal, n int) {
	in.add(who.Key, n)
	for i := range who.Above {
		if a := &who.Above[i]; a.Limits.Concurrency > 0 {
			in.add(a.Key, n)
		}
	}
}

func (in *Intake) add(key id.Raw, n int) {
	if n += in.open[key]; n > 0 {
		in.open[key] = n
		return
	}
	delete(in.open, key)
}

// hold takes n bytes, or gives -n back, which always works.
func (in *Intake) hold(n int) error {
	if in == nil {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if n > 0 && in.held+int64(n) > in.bytes {
		return errTooFull
	}
	in.held += int64(n)
	return nil
}

// enter lets a request run; each success needs one leave.
func (in *Intake) enter() error {
	if in == nil {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.running >= in.requests {
		return errTooBusy
	}
	in.running++
	return nil
}

func (in *Intake) leave() {
	if in == nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.running--
}
