package gateway

import (
	"time"

	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
)

// inTurn is each replica after the other.
func (f *flight) inTurn(u *serve.Upstream, now time.Time) (*engine.Endpoint, *replica) {
	ends := u.Endpoints
	first := int(f.turn.Add(1) % uint32(len(ends)))
	for i := range ends {
		to := &ends[(first+i)%len(ends)]
		if f.tried(to.Replica) {
			continue
		}
		if r := f.replica(to.Replica); r.breaker.ready(now) && r.breaker.enter(now) {
			return to, r
		}
	}
	return nil, nil
}
