package gateway

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/triarch-ai/triarch/models/engine"
)

// load is what a replica said of its work when it was last asked.
type load struct {
	due    atomic.Int64 // when to ask again, nanoseconds since 1970
	until  atomic.Int64 // until when beside holds
	slots  atomic.Int64 // sequences at once; 0 = it does not say
	beside atomic.Int64 // sequences there that are not from here
}

// How often a replica is asked that others could be asked for; what it said of other gateways' requests is forgotten
// after a while without word of it.
const (
	loadEvery   = time.Second
	loadRest    = 30 * time.Second // after it had nothing to say
	loadHolds   = 3 * time.Second
	loadTimeout = 2 * time.Second
)

// ahead is how many requests the replica has, from here and, as far as it said, from elsewhere.
func (r *replica) ahead(now int64) int64 {
	n := r.running.Load()
	if b := r.load.beside.Load(); b > 0 && now < r.load.until.Load() {
		n += b
	}
	return n
}

// heed asks a replica for its load, beside the request at hand, if it is time to.
func (f *flight) heed(by engine.Reporter, to engine.Endpoint, r *replica, now int64) {
	due := r.load.due.Load()
	if now < due || !r.load.due.CompareAndSwap(due, now+int64(loadEvery)) {
		return
	}
	g := f.Gateway
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
		defer cancel()
		before := r.running.Load()
		l, err := by.Load(ctx, to)
		at := g.Now().UnixNano()
		if err != nil || l.Slots <= 0 {
			r.load.slots.Store(0)
			r.load.beside.Store(0)
			r.load.due.Store(at + int64(loadRest))
			return
		}
		r.load.slots.Store(int64(l.Slots))
		r.load.beside.Store(max(0, int64(l.Running+l.Waiting)-max(before, r.running.Load())))
		r.load.until.Store(at + int64(loadHolds))
	}()
}
