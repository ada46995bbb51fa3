package quota

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/tenancy"
)

// pieces is ask in pieces of ten tokens.
func pieces(out int) Ask {
	a := ask(who(), out)
	a.Piece = 10
	return a
}

// A hundred callers who allow for more than all money pays share it: each is served, since each takes little.
func TestManyShareLittleMoney(t *testing.T) {
	const callers, made = 100, 25
	b := NewBook(unbound().budget(key, callers*(40+2*30)), time.Now)
	var open []*Reservation
	for range callers {
		r, err := b.Reserve(ctx, pieces(32_000))
		if err != nil {
			t.Fatalf("after %d: %v", len(open), err)
		}
		open = append(open, r)
	}
	for n := 1; n <= made; n++ {
		for i, r := range open {
			if !r.Grow(ctx, n) {
				t.Fatalf("caller %d was cut at %d tokens", i, n)
			}
		}
	}
	for _, r := range open {
		r.Settle(40+2*made, 40, made)
	}
	if got := b.Spent(key); got != callers*(40+2*made) {
		t.Errorf("spent %d", got)
	}
	r, err := b.Reserve(ctx, pieces(32_000)) // 1,000 are left
	if err != nil || !r.Cut || r.Output != (callers*10-40)/2 {
		t.Errorf("%+v, %v: the engine is to be asked for what the rest pays", r, err)
	}
}

// What grows takes a piece at once while there is plenty, the need alone when there is little, and never the money of others.
func TestPieces(t *testing.T) {
	b := NewBook(unbound().budget(key, 40+2*10+40+2*10+2*14), time.Now)
	r, err := b.Reserve(ctx, pieces(100))
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.Reserve(ctx, pieces(100))
	if err != nil {
		t.Fatal(err)
	}
	paid := func(want int) {
		t.Helper()
		if _, n := r.Bounds(); n != want {
			t.Errorf("paid for %d, want %d", n, want)
		}
	}
	paid(10)
	if r.Grow(ctx, 10); b.accounts[key].left() != 28 {
		t.Error("it grew without need")
	}
	if !r.Grow(ctx, 11) {
		t.Error("did not grow")
	}
	paid(17) // half of what is left: two run on it
	if !r.Grow(ctx, 24) || r.Grow(ctx, 25) {
		t.Error("24 are paid for, 25 are not")
	}
	paid(24)
	other.Settle(0, 0, 0)
	if !r.Grow(ctx, 25) || r.Grow(ctx, r.Output+1) {
		t.Error("the other's money came back; the bound stays")
	}
	paid(34)
	r.Settle(40+2*25, 40, 25)
	if r.Grow(ctx, 26) || b.accounts[key].held != (sum{}) || b.Spent(key) != 90 {
		t.Errorf("settled: held %d, spent %d", b.accounts[key].held.value(), b.Spent(key))
	}
}

// What grows waits for money that others hold, as long as the book's patience lasts and the caller does; alone it does not.
func TestGrowingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBook(unbound().budget(key, 2*(40+2*10)), time.Now)
		b.Patience = 2 * time.Second
		one, err := b.Reserve(ctx, pieces(100))
		if err != nil {
			t.Fatal(err)
		}
		two, err := b.Reserve(ctx, pieces(100))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		gone, leave := context.WithCancel(ctx)
		time.AfterFunc(time.Second, leave)
		if one.Grow(gone, 11) || time.Since(began) != time.Second {
			t.Errorf("gone after %v", time.Since(began))
		}
		began = time.Now()
		if one.Grow(ctx, 11) || time.Since(began) != b.Patience {
			t.Errorf("after %v", time.Since(began))
		}
		began = time.Now()
		time.AfterFunc(time.Second, func() { two.Settle(45, 40, 3) })
		if !one.Grow(ctx, 11) || time.Since(began) != time.Second {
			t.Errorf("after %v", time.Since(began))
		}
		began = time.Now()
		if one.Grow(ctx, 50) || time.Since(began) != 0 {
			t.Errorf("alone, after %v", time.Since(began))
		}
	})
}

// On leases, what grows asks the authority; three nodes share money that pays for all, and at no moment is more spent and
// leased than there is.
func TestGrowingOnLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers, made = 60, 40
		all, stop := context.WithCancel(t.Context())
		defer stop()
		limit := int64(callers * (10 + 2*made))
		s := newShared(map[string]tenancy.Bound{"key": {Budget: limit, Budgeted: true}})
		nodes := books(all, s, unbound().budget(key, limit), "a", "b", "c")
		time.Sleep(time.Second)
		over := func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			sum := s.spent["key"]
			for _, h := range s.leases["key"] {
				sum += max(0, h.granted-h.shipped)
			}
			if sum > limit {
				t.Errorf("%d spent and leased of %d", sum, limit)
			}
		}
		var work sync.WaitGroup
		var served, refused, cut atomic.Int64
		for i := range callers + 5 {
			name := []string{"a", "b", "c"}[i%3]
			work.Go(func() {
				a := pieces(32_000)
				a.Prompt, a.Count = 10, nil
				r, err := nodes[name].Reserve(all, a)
				if err != nil {
					if fault.Is(err, fault.NoMoney) {
						refused.Add(1)
					} else {
						t.Error(err)
					}
					return
				}
				got := 0
				for got < made && r.Grow(all, got+1) {
					got++
					over()
					time.Sleep(time.Millisecond)
				}
				if served.Add(1); got < made {
					cut.Add(1)
				}
				cost := int64(10 + 2*got)
				r.Settle(cost, 10, got)
				s.ship("key", name, cost)
				over()
			})
		}
		work.Wait()
		stop()
		time.Sleep(time.Second)
		if s.spent["key"] > limit || s.spent["key"] < limit*9/10 || served.Load() < callers*9/10 {
			t.Errorf("%d served, %d of them cut, %d refused; %d of %d spent", served.Load(), cut.Load(), refused.Load(), s.spent["key"], limit)
		}
	})
}
