package gateway

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// crowd is a simulation of replicas that batch continuously and remember prompts, before which the gateway's own choice
// deals out requests. Time is virtual, and the seed decides everything.
type crowd struct {
	t     *testing.T
	g     *Gateway
	u     *serve.Upstream
	rng   *rand.Rand
	sims  map[string]*simulated
	order []*simulated

	prompts [][]byte // by prefix
	blocks  int      // of each
	weight  func() int
	done    int
	asked   int
	hits    int
	late    []float64
	deaf    bool // the engine tells nothing of its cache
	over    int  // requests beyond what a replica runs at once while another was free
}

// simulated is a replica. A step computes up to half a block of prompts, one after the other, and a token of each answer.
type simulated struct {
	name    string
	slots   int
	holds   int   // prefixes
	cache   []int // the latest first
	at      float64
	running []*simulatedRequest
	waiting []*simulatedRequest
	busy    float64
	served  int
}

type simulatedRequest struct {
	f      *flight
	to     *simulated
	prefix int
	left   float64 // blocks of its prompt to compute
	tokens int     // to go
	came   float64
	hit    bool
}

const (
	stepBlocks = 0.5
	stepCost   = 0.02 // of a step, and of each token in it; a block costs 1
	simTokens  = 32
)

func newCrowd(t *testing.T, replicas, slots, holds, prefixes, blocks int, tells bool, seed uint64) *crowd {
	r := newRig(t)
	c := &crowd{t: t, g: r.Gateway, rng: rand.New(rand.NewPCG(seed, 1)), sims: map[string]*simulated{}, blocks: blocks}
	c.g.Rand = c.rng.Uint64
	c.u = own("one", 0, 1, 0, &script{})
	for i := range replicas {
		name := fmt.Sprintf("one-%02d", i)
		s := &simulated{name: name, slots: slots, holds: holds}
		c.sims[name], c.order = s, append(c.order, s)
		c.u.Endpoints = append(c.u.Endpoints, engine.Endpoint{Replica: name})
		if tells {
			c.g.replica(name).load.slots.Store(int64(slots))
		}
	}
	r.route(c.u)
	for p := range prefixes {
		c.prompts = append(c.prompts, []byte(prompt(words(uint64(p)+1, blocks), "")))
	}
	c.weight = func() int { return c.rng.IntN(prefixes) }
	return c
}

func (c *crowd) send(at float64, locality string) *replica {
	p := c.weight()
	body := c.prompts[p]
	fields, err := readFields(body)
	if err != nil {
		c.t.Fatal(err)
	}
	f := &flight{Gateway: c.g, call: &Call{Who: simWho, Body: body}, fields: fields, target: &serve.Target{Backends: []*serve.Upstream{c.u}}}
	f.target.Route.Policy.Locality = locality
	free := slices.ContainsFunc(c.order, func(s *simulated) bool { return len(s.running)+len(s.waiting) < s.slots })
	x := f.through(c.u, time.Unix(int64(at), 0))
	if x == nil {
		c.t.Fatal("nothing was chosen")
	}
	x.known.running.Add(1)
	s := c.sims[x.to.Replica]
	if free && len(s.running)+len(s.waiting) >= s.slots {
		c.over++
	}
	c.asked++
	q := &simulatedRequest{f: f, to: s, prefix: p, came: at}
	if len(s.running) == 0 && len(s.waiting) == 0 {
		s.at = max(s.at, at)
	}
	s.waiting = append(s.waiting, q)
	return x.known
}

// step has a replica go through its weights once and gives what has ended.
func (c *crowd) step(s *simulated) (ended []*simulatedRequest) {
	for len(s.waiting) > 0 && len(s.running) < s.slots {
		q := s.waiting[0]
		s.waiting = s.waiting[1:]
		q.left, q.tokens = 0.2, simTokens
		if i := slices.Index(s.cache, q.prefix); i >= 0 {
			s.cache, q.hit = slices.Delete(s.cache, i, i+1), true
		} else {
			q.left = float64(c.blocks)
		}
		s.cache = slices.Insert(s.cache, 0, q.prefix)
		s.cache = s.cache[:min(len(s.cache), s.holds)]
		s.running = append(s.running, q)
	}
	took, room := stepCost, stepBlocks
	kept := s.running[:0:0]
	for _, q := range s.running {
		if q.left > 0 {
			n := min(room, q.left)
			q.left, room, took = q.left-n, room-n, took+n
		} else {
			q.tokens--
			took += stepCost
		}
		if q.tokens == 0 {
			ended = append(ended, q)
		} else {
			kept = append(kept, q)
		}
	}
	s.running, s.at, s.busy = kept, s.at+took, s.busy+took
	return ended
}

// run keeps so many requests at once until n have ended.
func (c *crowd) run(clients, n int, locality string) {
	for range clients {
		c.send(0, locality)
	}
	for c.done < n {
		var s *simulated
		for _, x := range c.order {
			if len(x.running)+len(x.waiting) > 0 && (s == nil || x.at < s.at) {
				s = x
			}
		}
		ended := c.step(s)
		for _, q := range ended {
			c.end(q, s.at)
		}
		for range ended {
			c.send(s.at, locality)
		}
	}
}

func (c *crowd) end(q *simulatedRequest, at float64) {
	c.done++
	q.to.served++
	told := meter.Usage{Input: int64(c.blocks) * 256}
	if q.hit {
		c.hits++
	}
	if q.hit && !c.deaf {
		told.Cached = told.Input - 60
	}
	c.late = append(c.late, at-q.came)
	q.f.used = told
	q.f.at = q.f.tries[0]
	q.f.leave()
}

// simWho is always the same, as prompts of other projects have other places.
var simWho = &auth.Principal{Project: id.Raw{1}}

// busiest is the most loaded replica's share of the requests.
func (c *crowd) busiest() float64 {
	most := 0
	for _, s := range c.order {
		most = max(most, s.served)
	}
	return float64(most) / float64(c.done)
}

func (c *crowd) rate() float64 {
	sum := 0.0
	for _, s := range c.order {
		sum += s.busy
	}
	return float64(c.done) / sum
}

// A prompt that seven of ten requests have does not stay with one replica, and none is sent more than it runs at once
// while another is free.
func TestAHotPromptSpreads(t *testing.T) {
	for _, x := range []struct {
		clients int
		most    float64 // share of the busiest of eight replicas
	}{{8, 0.5}, {32, 0.25}, {60, 0.2}, {80, 0.2}} {
		for seed := range uint64(2) {
			c := newCrowd(t, 8, 8, 5, 16, 6, true, seed)
			c.weight = func() int { return max(0, c.rng.IntN(50)-34) }
			c.run(x.clients, 1200, serve.Prefix)
			if c.busiest() > x.most || c.over > 0 {
				t.Errorf("%d clients, seed %d: the busiest may have %.2f, none more than it runs: %s", x.clients, seed, x.most, c)
			}
			off := newCrowd(t, 8, 8, 5, 16, 6, true, seed)
			off.weight = func() int { return max(0, off.rng.IntN(50)-34) }
			if off.run(x.clients, 1200, serve.Off); c.rate() < off.rate() {
				t.Errorf("%d clients, seed %d: %s, and in turn %s", x.clients, seed, c, off)
			}
		}
	}
}

// More prompts than caches hold: what engines tell of their caches is learnt, and keeps requests where they find
// something; engines that tell nothing lose no more than that.
func TestWhatCachesDropIsLearnt(t *testing.T) {
	for _, x := range []struct {
		prefixes    int
		tells       bool
		least, deaf float64 // share of requests that find their prompt
	}{{16, true, 0.95, 0.85}, {16, false, 0.5, 0.3}, {24, false, 0.38, 0.2}} {
		for seed := range uint64(2) {
			c := newCrowd(t, 4, 32, 5, x.prefixes, 6, x.tells, seed)
			c.run(16, 1500, serve.Prefix)
			d := newCrowd(t, 4, 32, 5, x.prefixes, 6, x.tells, seed)
			d.deaf = true
			d.run(16, 1500, serve.Prefix)
			if c.share() < x.least || d.share() < x.deaf || c.busiest() > 0.45 {
				t.Errorf("%d prompts, load told %v, seed %d: %s; where nothing is told of caches %s", x.prefixes, x.tells, seed, c, d)
			}
		}
	}
}

// Without anything to go by, the lighter of two has the request: where some requests last a hundred times as long as
// others, the longest queue is shorter than where each replica has its turn.
func TestTheLighterOfTwo(t *testing.T) {
	peak := func(locality string, seed uint64) (most int) {
		c := newCrowd(t, 16, 1000, 0, 1, 0, false, seed)
		c.prompts[0] = []byte(prompt("short", ""))
		ends := map[int][]*replica{}
		for i := range 4000 {
			for _, r := range ends[i] {
				r.running.Add(-1)
			}
			delete(ends, i)
			at, lasts := c.send(float64(i), locality), 8
			if c.rng.IntN(10) == 0 {
				lasts = 800
			}
			ends[i+lasts] = append(ends[i+lasts], at)
			most = max(most, int(at.running.Load()))
		}
		return most
	}
	for seed := range uint64(4) {
		two, turn := peak(serve.Prefix, seed), peak(serve.Off, seed)
		if t.Logf("seed %d: at most %d, each in turn %d; a sixteenth is 5.5", seed, two, turn); two >= turn || two > 11 {
			t.Errorf("seed %d: at most %d at a replica, and %d where each has its turn", seed, two, turn)
		}
	}
}

func (c *crowd) share() float64 { return float64(c.hits) / float64(c.done) }

func (c *crowd) String() string {
	slices.Sort(c.late)
	return fmt.Sprintf("hits %.2f, %.3f answers a unit of work, busiest %.2f, over %d, p50 %.1f p99 %.1f, clock %.1f", float64(c.hits)/float64(c.done), c.rate(), c.busiest(), c.over, c.late[len(c.late)/2], c.late[len(c.late)*99/100], float64(c.done)/c.order[0].at)
}
