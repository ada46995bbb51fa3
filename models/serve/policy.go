package serve

import (
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/guard"
	"github.com/triarch-ai/triarch/models/ref"
)

// Policy is how requests of a route are let through to what it leads to. The zero value lets everything through.
type Policy struct {
	Concurrency int `json:"concurrency,omitempty"`   // requests at once for each replica, or for a provider's model; 0 = no bound
	Queue       int `json:"queue,omitempty"`         // requests of a project that wait where a backend is full; 0 = 64
	QueueWaitMS int `json:"queue_wait_ms,omitempty"` // the longest wait; 0 = 30 s
	SlowMS      int `json:"slow_ms,omitempty"`       // an answer that begins later counts against what gave it; 0 = none does
	WakeMS      int `json:"wake_ms,omitempty"`       // how long a request waits for a deployment without replicas, which it wakes; 0 = not at all
	CacheS      int `json:"cache_s,omitempty"`       // how long answers that are always the same are kept and given again, for nothing, seconds; 0 = not at all

	Locality string       `json:"locality,omitempty"` // how requests are dealt out to the replicas of a deployment: Prefix, which empty means, or Off
	Guard    guard.Policy `json:"guard,omitzero"`     // who judges prompts and answers
	Flex     api.Tier     `json:"flex,omitzero"`      // what these service tiers mean; that of the default is the route's own
	Priority api.Tier     `json:"priority,omitzero"`  // prices, and a weight of 100
}

// Localities of a policy.
const (
	Prefix = "prefix" // to the replica that has seen the prompt's beginning or the session, as far as it is not busy
	Off    = "off"    // to each in turn
)

// Bounds of a policy.
const (
	maxConcurrency = 1 << 16
	maxQueue       = 1 << 12
	maxPolicyWait  = 10 * time.Minute
	maxCache       = 7 * 24 * 3600
	maxTier        = 10_000
)

// QueueWait is the longest wait where a backend is full; 0 = the gateway's own.
func (p Policy) QueueWait() time.Duration { return time.Duration(p.QueueWaitMS) * time.Millisecond }

// Slow is the time after which an answer begins too late; 0 = never.
func (p Policy) Slow() time.Duration { return time.Duration(p.SlowMS) * time.Millisecond }

// Wake is how long a request waits for a deployment without replicas; 0 = not at all.
func (p Policy) Wake() time.Duration { return time.Duration(p.WakeMS) * time.Millisecond }

// Tiered says whether the route offers service tiers beside the default.
func (p *Policy) Tiered() bool { return p.Flex.Percent > 0 || p.Priority.Percent > 0 }

// tiers says whether the change is about service tiers, and whether one of them would cost less than it does in old, or
// than the default where old does not offer it.
func (c PolicyChange) tiers(old Policy) (any, lower bool) {
	for _, x := range []struct {
		to   *api.Tier
		from api.Tier
	}{{c.Flex, old.Flex}, {c.Priority, old.Priority}} {
		if x.to == nil || *x.to == x.from {
			continue
		}
		any = true
		was := x.from.Percent
		if was == 0 {
			was = 100
		}
		lower = lower || x.to.Percent > 0 && (x.to.Percent < was || x.to.Percent < 100 && x.from.Flagged && !x.to.Flagged)
	}
	return any, lower
}

// PolicyChange is what is to change of a policy; what is nil stays.
type PolicyChange struct {
	Concurrency, Queue, QueueWaitMS, SlowMS, WakeMS, CacheS *int
	Locality                                                *string

	Guard          *guard.Change
	Flex, Priority *api.Tier
}

// over is the policy as it is to be.
func (c PolicyChange) over(p Policy) Policy {
	for _, x := range []struct {
		to   *int
		from *int
	}{{&p.Concurrency, c.Concurrency}, {&p.Queue, c.Queue}, {&p.QueueWaitMS, c.QueueWaitMS}, {&p.SlowMS, c.SlowMS}, {&p.WakeMS, c.WakeMS}, {&p.CacheS, c.CacheS}} {
		if x.from != nil {
			*x.to = *x.from
		}
	}
	if c.Locality != nil {
		p.Locality = *c.Locality
	}
	if c.Flex != nil {
		p.Flex = *c.Flex
	}
	if c.Priority != nil {
		p.Priority = *c.Priority
	}
	return p
}

func (p Policy) check() error {
	for _, x := range []struct {
		field string
		n     int
		most  int
	}{
		{"concurrency", p.Concurrency, maxConcurrency}, {"queue", p.Queue, maxQueue}, {"queue_wait_ms", p.QueueWaitMS, int(maxPolicyWait / time.Millisecond)},
		{"slow_ms", p.SlowMS, int(maxPolicyWait / time.Millisecond)}, {"wake_ms", p.WakeMS, int(maxPolicyWait / time.Millisecond)}, {"cache_s", p.CacheS, maxCache},
	} {
		if x.n < 0 || x.n > x.most {
			return fault.InvalidField("route.policy."+x.field, "%s is %d, it must be 0 to %d.", x.field, x.n, x.most)
		}
	}
	for name, t := range map[string]api.Tier{"flex": p.Flex, "priority": p.Priority} {
		if t.Percent < 0 || t.Percent > maxTier || t.Weight < 0 || t.Weight > maxTier || t.Percent == 0 && t != (api.Tier{}) {
			return fault.InvalidField("route.policy."+name, "The service tier %s has a percentage of 1 to %d and a weight of up to %d, or nothing.", name, maxTier, maxTier)
		}
	}
	if p.Locality != "" && p.Locality != Prefix && p.Locality != Off {
		return fault.InvalidField("route.policy.locality", "locality is %s, it must be %s or %s.", ref.Quote(p.Locality), Prefix, Off)
	}
	return nil
}
