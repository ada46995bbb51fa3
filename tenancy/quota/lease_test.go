package quota

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/tenancy"
)

// shared is an authority in memory for several nodes, with a clock of its own that is ahead.
type shared struct {
	mu     sync.Mutex
	bounds map[string]tenancy.Bound
	leases map[string]map[string]*held // account, node
	short  map[string]string           // account -> node
	spent  map[string]int64
	seen   map[string]time.Time
	ahead  time.Duration
	down   bool
}

type held struct {
	granted, shipped, minute, requests, tokens, places int64
}

func newShared(bounds map[string]tenancy.Bound) *shared {
	return &shared{bounds: bounds, leases: map[string]map[string]*held{}, short: map[string]string{}, spent: map[string]int64{},
		seen: map[string]time.Time{}, ahead: 13 * time.Second}
}

func (s *shared) now() time.Time { return time.Now().Add(s.ahead) }

// seat is the authority as one node has it.
type seat struct {
	*shared
	node string
}

var errDown = fault.New(fault.Unavailable, "The database is away.")

func (s seat) Renew(_ context.Context, claims []Claim) (a Answer, err error) {
	time.Sleep(2 * time.Millisecond)   // on the way
	defer time.Sleep(time.Millisecond) // and back
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return a, errDown
	}
	a.Now = s.now()
	s.seen[s.node] = a.Now
	nodes := int64(0)
	for _, t := range s.seen {
		if a.Now.Sub(t) < 10*time.Second {
			nodes++
		}
	}
	for i := range claims {
		c, minute := &claims[i], a.Now.Unix()/60
		x := Standing{Bound: s.bounds[c.Account], Spent: s.spent[c.Account]}
		of := s.leases[c.Account]
		if of == nil {
			of = map[string]*held{}
			s.leases[c.Account] = of
		}
		own := of[s.node]
		if own == nil {
			own = &held{}
			of[s.node] = own
		}
		for node, h := range of {
			if node == s.node {
				continue
			}
			x.Others += max(0, h.granted-h.shipped)
			if h.minute == minute {
				x.OthersRequests, x.OthersTokens = x.OthersRequests+h.requests, x.OthersTokens+h.tokens
			}
			if a.Now.Sub(s.seen[node]) < 10*time.Second {
				x.OthersPlaces += h.places
			}
		}
		x.Shipped = own.shipped
		g, lacks := c.Decide(&x, nodes, minute)
		if lacks {
			s.short[c.Account] = s.node
		} else if s.short[c.Account] == s.node {
			delete(s.short, c.Account)
		}
		own.granted, own.minute, own.requests, own.tokens, own.places = g.Granted, g.Minute, g.Requests, g.Tokens, g.Places
		a.Grants = append(a.Grants, g)
	}
	return a, nil
}

func (s seat) Beat(_ context.Context, accounts []string) (p Pulse, err error) {
	time.Sleep(time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return p, errDown
	}
	p.Now = s.now()
	s.seen[s.node] = p.Now
	p.Nodes = int64(len(s.seen))
	for _, account := range accounts {
		if by, ok := s.short[account]; ok && by != s.node {
			p.Short = append(p.Short, account)
		}
	}
	return p, nil
}

// ship is what storing a record does.
func (s *shared) ship(account, node string, cost int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spent[account] += cost
	s.leases[account][node].shipped += cost
}

// books starts nodes that share the bounds of one key.
func books(ctx context.Context, s *shared, lim *fake, names ...string) map[string]*Book {
	out := map[string]*Book{}
	for _, name := range names {
		b := NewLeased(lim, time.Now, seat{s, name}, slog.New(slog.DiscardHandler))
		b.Patience = 2 * time.Second
		go b.Keep(ctx)
		out[name] = b
	}
	return out
}

// Places at once are shared as well, never more in all than there are, and a node that goes silent loses its own.
func TestPlacesOnThreeNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		l := tenancy.Limits{Concurrency: 7}
		s := newShared(map[string]tenancy.Bound{"key": {Limits: l}})
		all := books(ctx, s, unbound().limit(key, l), "a", "b", "c")
		var mu sync.Mutex
		var running, most, served int64
		var work sync.WaitGroup
		for _, b := range all {
			for range 10 {
				work.Go(func() {
					for ctx.Err() == nil {
						if x, err := b.Reserve(ctx, ask(who(), 5)); err == nil {
							mu.Lock()
							running++
							served++
							most = max(most, running)
							mu.Unlock()
							time.Sleep(50 * time.Millisecond)
							mu.Lock()
							running--
							mu.Unlock()
							x.Settle(0, 10, 5)
						}
						time.Sleep(7 * time.Millisecond)
					}
				})
			}
		}
		time.Sleep(20 * time.Second)
		for i, b := range all {
			if n := b.Nodes(); n != 3 {
				t.Errorf("node %v knows of %d nodes", i, n)
			}
		}
		stop()
		work.Wait()
		if most > 7 || served < 20*10*7/2 {
			t.Errorf("%d at once, %d served", most, served)
		}
	})
}

// While the authority is away, what is at hand is spent, what is not bounded goes on, and the rest is Unavailable: no want
// of money. When it is back, so is everything.
func TestAuthorityAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer func() { stop(); synctest.Wait() }()
		bound := tenancy.Bound{Budget: 1_000_000, Budgeted: true}
		s := newShared(map[string]tenancy.Bound{"key": bound})
		b := books(ctx, s, unbound().budget(key, bound.Budget), "a")["a"]
		serve := func() error {
			r, err := b.Reserve(ctx, ask(who(), 5))
			if err == nil {
				r.Settle(20, 10, 5)
			}
			return err
		}
		if err := serve(); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.down = true
		s.mu.Unlock()
		if err := serve(); err != nil {
			t.Errorf("with a lease in hand: %v", err)
		}
		var err error
		for range 100_000 {
			if err = serve(); err != nil {
				break
			}
		}
		refused, ok := errors.AsType[*Refusal](err)
		if !ok || kind(err) != fault.Unavailable || refused.After <= 0 {
			t.Errorf("without: %v", err)
		}
		free := who()
		free.Key = prj
		if _, err := b.Reserve(ctx, ask(free, 5)); err != nil {
			t.Errorf("who is not bounded: %v", err)
		}
		s.mu.Lock()
		s.down = false
		s.mu.Unlock()
		time.Sleep(time.Second)
		if err := serve(); err != nil {
			t.Errorf("when it is back: %v", err)
		}
	})
}

// Money that lies idle on one node goes to another that needs it, to the last request.
func TestIdleMoneyGoesWhereItIsNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer func() { stop(); synctest.Wait() }()
		bound := tenancy.Bound{Budget: 200, Budgeted: true}
		s := newShared(map[string]tenancy.Bound{"key": bound})
		nodes := books(ctx, s, unbound().budget(key, bound.Budget), "a", "b", "c")
		for _, name := range []string{"a", "b", "c", "a"} {
			r, err := nodes[name].Reserve(ctx, ask(who(), 5))
			if err != nil {
				t.Fatal(name, err)
			}
			r.Settle(20, 10, 5)
			s.ship("key", name, 20)
		}
		for n := range 6 { // all the rest on one node
			r, err := nodes["b"].Reserve(ctx, ask(who(), 5))
			if err != nil {
				t.Fatal(n, err)
			}
			r.Settle(20, 10, 5)
			s.ship("key", "b", 20)
		}
		began := time.Now()
		if _, err := nodes["a"].Reserve(ctx, ask(who(), 5)); kind(err) != fault.NoMoney {
			t.Errorf("after the last: %v", err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("to say no took %s", took)
		}
	})
}

func BenchmarkReserveLeased(b *testing.B) {
	bound := tenancy.Bound{Budget: 1 << 58, Budgeted: true, Limits: tenancy.Limits{RPM: 1 << 40, TPM: 1 << 50, Concurrency: 100}}
	s := newShared(map[string]tenancy.Bound{"key": bound, "org": {Budget: 1 << 58, Budgeted: true}})
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	lim := still{unbound().budget(key, bound.Budget).budget(org, bound.Budget).limit(key, bound.Limits)}
	book := NewLeased(lim, time.Now, seat{s, "a"}, slog.New(slog.DiscardHandler))
	go book.Keep(ctx)
	p := who()
	b.ReportAllocs()
	for b.Loop() {
		r, err := book.Reserve(ctx, ask(p, 5))
		if err != nil {
			b.Fatal(err)
		}
		r.Settle(20, 10, 5)
	}
}

// A prompt that proves longer than was reserved for is paid for by a new lease, as what is made is; while the authority is
// away that is no want of money.
func TestLongerThanTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		defer func() { stop(); synctest.Wait() }()
		bound := tenancy.Bound{Budget: 1_000_000_000, Budgeted: true}
		s := newShared(map[string]tenancy.Bound{"key": bound})
		b := books(ctx, s, unbound().budget(key, bound.Budget), "a")["a"]
		r, err := b.Reserve(ctx, pieces(100_000_000))
		if err != nil {
			t.Fatal(err)
		}
		if !r.Extend(ctx, 200_000) || !r.Grow(ctx, 50_000) {
			t.Error("there is money for both")
		}
		s.mu.Lock()
		s.down = true
		s.mu.Unlock()
		for _, more := range []bool{r.Extend(ctx, 700_000_000), r.Grow(ctx, 99_000_000)} {
			if more || r.Denied() == nil || kind(r.Denied()) != fault.Unavailable {
				t.Errorf("while nobody can tell: %v, %v", more, r.Denied())
			}
		}
		if p, c := r.Bounds(); p != 200_000 || c < 50_000 || c > 99_000_000 {
			t.Errorf("bounds %d, %d", p, c)
		}
		s.mu.Lock()
		s.down = false
		s.mu.Unlock()
		time.Sleep(time.Second)
		if r.Extend(ctx, 1_000_000_000) || r.Denied() != nil {
			t.Errorf("extended beyond the budget, or %v", r.Denied())
		}
		r.Settle(1, 1, 0)
	})
}

// Who is alone on an account, and has nothing to make, does not wait for money that only it holds.
func TestExtendDoesNotWaitForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBook(unbound().budget(key, 100), time.Now)
		b.Patience = time.Minute
		r, err := b.Reserve(t.Context(), ask(who(), 0))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if r.Extend(t.Context(), 101) || time.Since(began) > 0 {
			t.Errorf("waited %s", time.Since(began))
		}
	})
}
