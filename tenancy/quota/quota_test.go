package quota

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// fake is what bounds whom, to be changed while a book looks at it.
type fake struct {
	of map[id.Raw]tenancy.Bound
	n  int64
}

func (f *fake) Generation() int64 { f.n++; return f.n }

func (f *fake) Bound(of id.Raw) tenancy.Bound { return f.of[of] }

func (f *fake) budget(of id.Raw, micros int64) *fake {
	b := f.of[of]
	b.Budget, b.Budgeted = micros, true
	f.of[of] = b
	return f
}

func (f *fake) limit(of id.Raw, l tenancy.Limits) *fake {
	b := f.of[of]
	b.Limits = l
	f.of[of] = b
	return f
}

func unbound() *fake { return &fake{of: map[id.Raw]tenancy.Bound{}} }

// Of who.
var key, prj, org = id.Raw{1}, id.Raw{2}, id.Raw{3}

func who() *auth.Principal {
	return &auth.Principal{KeyID: "key", ProjectID: "prj", OrgID: "org", Key: key, Project: prj, Org: org}
}

// ask is a request of 10 prompt tokens (bound 40) and at most out completion tokens at 1 and 2 micro-units each.
func ask(p *auth.Principal, out int) Ask {
	return Ask{Who: p, Prices: meter.Flat(1_000_000, 2_000_000), Bytes: 40, Prompt: 40, Output: out, Choices: 1,
		Count: func() (int, error) { return 10, nil }}
}

var ctx = context.Background()

func kind(err error) fault.Kind {
	if err == nil {
		return ""
	}
	return fault.KindOf(err)
}

// Money for exactly ten requests: however many ask at once no more than ten run, and afterwards, one by one, exactly
// the rest do.
func TestMoneyForTen(t *testing.T) {
	const cost = 10 + 2*5
	b := NewBook(unbound().budget(key, 10*cost), time.Now)
	p := who()
	var served sync.Map
	var work sync.WaitGroup
	for n := range 256 {
		work.Go(func() {
			r, err := b.Reserve(ctx, ask(p, 5))
			if err != nil {
				return
			}
			served.Store(n, true)
			r.Settle(cost, 10, 5)
		})
	}
	work.Wait()
	total := 0
	served.Range(func(any, any) bool { total++; return true })
	if total < 1 || total > 10 {
		t.Fatalf("%d served at once", total)
	}
	for {
		r, err := b.Reserve(ctx, ask(p, 5))
		if err != nil {
			if kind(err) != fault.NoMoney {
				t.Fatal(err)
			}
			break
		}
		total++
		if r.Cut {
			t.Error("a request that fits exactly was cut")
		}
		r.Settle(cost, 10, 5)
	}
	if total != 10 || b.Spent(p.Key) != 10*cost {
		t.Errorf("%d served for %d, want 10 for %d", total, b.Spent(p.Key), 10*cost)
	}
}

func TestOutputIsCutToTheMoney(t *testing.T) {
	b := NewBook(unbound().budget(prj, 10+2*7+1), time.Now)
	p := who()
	first, err := b.Reserve(ctx, ask(p, 1000))
	if err != nil {
		t.Fatal(err)
	}
	if !first.Cut || first.Output != 7 {
		t.Errorf("output %d cut %v, want 7 cut", first.Output, first.Cut)
	}
	if pr, c := first.Bounds(); pr != 10 || c != 7 {
		t.Errorf("bounds %d, %d", pr, c)
	}
	if _, err := b.Reserve(ctx, ask(p, 1)); kind(err) != fault.NoMoney {
		t.Errorf("a second one ran on the same money: %v", err)
	}
	first.Settle(24, 10, 7)
	if _, err := b.Reserve(ctx, ask(p, 1)); kind(err) != fault.NoMoney {
		t.Errorf("one micro-unit paid for 10 tokens: %v", err)
	}
}

func TestChoicesShareTheMoney(t *testing.T) {
	b := NewBook(unbound().budget(org, 10+2*9), time.Now)
	a := ask(who(), 1000)
	a.Choices = 4
	r, err := b.Reserve(ctx, a)
	if err != nil || r.Output != 2 {
		t.Fatalf("%+v, %v; want 2 tokens for each of 4 choices", r, err)
	}
}

func TestWithoutACounterTheBoundDecides(t *testing.T) {
	b := NewBook(unbound().budget(key, 50), time.Now)
	a := ask(who(), 100)
	a.Count = nil
	if r, err := b.Reserve(ctx, a); err != nil || r.Output != 5 {
		t.Fatalf("%+v, %v", r, err)
	} else {
		r.Settle(0, 0, 0)
	}
	a.Count = func() (int, error) { return 0, errors.New("down") }
	if r, err := b.Reserve(ctx, a); err != nil || r.Output != 5 {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestNoMoneyDoesNotAskTheEngine(t *testing.T) {
	b := NewBook(unbound().budget(key, 2), time.Now)
	a := ask(who(), 100)
	a.Count = func() (int, error) { t.Error("counted"); return 1, nil }
	if _, err := b.Reserve(ctx, a); kind(err) != fault.NoMoney {
		t.Fatal(err)
	}
}

func TestSettleOnlyOnce(t *testing.T) {
	b := NewBook(unbound().limit(key, tenancy.Limits{Concurrency: 1}), time.Now)
	p := who()
	r, err := b.Reserve(ctx, ask(p, 5))
	if err != nil {
		t.Fatal(err)
	}
	r.Settle(7, 1, 1)
	r.Settle(7, 1, 1)
	if b.Spent(p.Org) != 7 {
		t.Errorf("spent %d", b.Spent(p.Org))
	}
	if _, err := b.Reserve(ctx, ask(p, 5)); err != nil {
		t.Error(err)
	}
	if _, err := b.Reserve(ctx, ask(p, 5)); kind(err) != fault.RateLimited {
		t.Errorf("two at once on a concurrency of 1: %v", err)
	}
}

// For any sequence of requests, budgets and usages within the reserved bounds, nobody's balance is ever negative, and
// when nothing runs nothing is held.
func TestNeverBelowZero(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := func(name string) int64 { return rapid.Int64Range(0, 500).Draw(t, name) }
		lim := unbound().budget(key, limit("key")).budget(prj, limit("prj")).budget(org, limit("org"))
		b := NewBook(lim, time.Now)
		p := who()
		var open []*Reservation
		settle := func(i int) {
			r := open[i]
			mp, mc := r.Bounds()
			pr, c := rapid.IntRange(0, mp).Draw(t, "prompt"), rapid.IntRange(0, mc).Draw(t, "completion")
			r.Settle(meter.Cost(meter.Usage{Input: int64(pr), Output: int64(c)}, r.ask.Prices), pr, c)
			open = append(open[:i], open[i+1:]...)
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			if len(open) > 0 && rapid.Bool().Draw(t, "grow") {
				r := open[rapid.IntRange(0, len(open)-1).Draw(t, "grows")]
				n := rapid.IntRange(0, 300).Draw(t, "to")
				_, before := r.Bounds()
				grew := r.Grow(ctx, n)
				_, after := r.Bounds()
				if grew != (after >= n) || !grew && after != before || r.bound && after > r.Output*r.ask.Choices {
					t.Fatalf("grown to %d from %d: %v, and pays for %d of %d", n, before, grew, after, r.Output*r.ask.Choices)
				}
			} else if len(open) > 0 && rapid.Bool().Draw(t, "settle") {
				settle(rapid.IntRange(0, len(open)-1).Draw(t, "which"))
			} else {
				a := ask(p, rapid.IntRange(1, 100).Draw(t, "out"))
				a.Prices.Output = rapid.Int64Range(0, 3_000_000).Draw(t, "price")
				a.Choices = rapid.IntRange(1, 3).Draw(t, "n")
				a.Piece = rapid.IntRange(0, 120).Draw(t, "piece")
				if r, err := b.Reserve(ctx, a); err == nil {
					open = append(open, r)
				} else if kind(err) != fault.NoMoney {
					t.Fatal(err)
				}
			}
			for raw, a := range b.accounts {
				if a.left() < 0 {
					t.Fatalf("%v: limit %d, spent %d, held %d", raw, lim.of[raw].Budget, a.spent, a.held.value())
				}
			}
		}
		for len(open) > 0 {
			settle(0)
		}
		for raw, a := range b.accounts {
			if a.held != (sum{}) || a.open != 0 {
				t.Fatalf("%v still holds %d in %d", raw, a.held.value(), a.open)
			}
		}
	})
}

// For any tree of keys, any requests of any of them and usages within the reserved bounds, no key and those that it made
// ever hold and spend more than its budget, run more than its concurrency, or begin more than its requests a minute.
func TestNoTreeExceedsAnyBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lim := unbound()
		b := NewBook(lim, func() time.Time { return time.Unix(1, 0) })
		keys := []*auth.Principal{}
		begun := map[id.Raw]int64{}
		for n := range rapid.IntRange(2, 8).Draw(t, "keys") {
			p := who()
			p.KeyID, p.Key = string(rune('a'+n)), id.Raw{9, byte(n)}
			lim.limit(p.Key, tenancy.Limits{Concurrency: rapid.Int64Range(0, 4).Draw(t, "concurrency"), RPM: rapid.Int64Range(0, 9).Draw(t, "rpm")})
			if n > 0 {
				by := keys[rapid.IntRange(0, n-1).Draw(t, "maker")]
				p.Above = append([]auth.Above{{KeyID: by.KeyID, Key: by.Key}}, by.Above...)
			}
			if rapid.Bool().Draw(t, "bounded") {
				lim.budget(p.Key, rapid.Int64Range(0, 500).Draw(t, "budget"))
			}
			keys = append(keys, p)
		}
		var open []*Reservation
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if len(open) > 0 && rapid.Bool().Draw(t, "settle") {
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				mp, mc := open[i].Bounds()
				pr, c := rapid.IntRange(0, min(mp, 40)).Draw(t, "prompt"), rapid.IntRange(0, min(mc, 90)).Draw(t, "completion")
				open[i].Settle(meter.Cost(meter.Usage{Input: int64(pr), Output: int64(c)}, meter.Flat(1_000_000, 2_000_000)), pr, c)
				open = append(open[:i], open[i+1:]...)
			} else if p := rapid.SampledFrom(keys).Draw(t, "who"); true {
				r, err := b.Reserve(ctx, ask(p, rapid.IntRange(1, 90).Draw(t, "out")))
				if err != nil && kind(err) != fault.NoMoney && kind(err) != fault.RateLimited {
					t.Fatal(err)
				}
				if kind(err) != fault.RateLimited { // what no budget pays has used up its place in the minute
					begun[p.Key]++
					for _, a := range p.Above {
						begun[a.Key]++
					}
				}
				if err == nil {
					open = append(open, r)
				}
			}
			for _, p := range keys {
				a, l := b.accounts[p.Key], lim.of[p.Key]
				if a == nil {
					continue
				}
				if l.Budgeted && l.Budget-a.spent-a.held.value() < 0 {
					t.Fatalf("%s: %d spent and %d held of %d", p.KeyID, a.spent, a.held.value(), l.Budget)
				}
				if l := l.Concurrency; l > 0 && a.running > l {
					t.Fatalf("%s: %d run, at most %d may", p.KeyID, a.running, l)
				}
				if l := l.RPM; l > 0 && begun[p.Key] > l {
					t.Fatalf("%s: %d began in a minute, at most %d may", p.KeyID, begun[p.Key], l)
				}
			}
		}
		for _, r := range open {
			r.Settle(0, 0, 0)
		}
		for _, p := range keys {
			if a := b.accounts[p.Key]; a != nil && (a.held != (sum{}) || a.open != 0 || a.running != 0) {
				t.Fatalf("%s still holds %+v", p.KeyID, a)
			}
		}
	})
}

// What a child used, its maker used, in tokens a minute and after a restart in money.
func TestMakersCarryTheirChildren(t *testing.T) {
	maker, child := who(), who()
	child.KeyID, child.Key, child.Above = "child", id.Raw{7}, []auth.Above{{KeyID: maker.KeyID, Key: maker.Key}}
	lim := unbound().budget(key, 50).limit(key, tenancy.Limits{TPM: 600})
	b := NewBook(lim, time.Now)
	b.Load(map[id.Raw]int64{child.Key: 20, maker.Key: 5}, func(k id.Raw) []id.Raw {
		if k == child.Key {
			return []id.Raw{maker.Key}
		}
		return nil
	})
	if b.Spent(maker.Key) != 25 || b.Spent(child.Key) != 20 {
		t.Errorf("after the start %d and %d are spent", b.Spent(maker.Key), b.Spent(child.Key))
	}
	r, err := b.Reserve(ctx, ask(child, 5))
	if err != nil || r.Rate.LimitTokens != 600 || r.Rate.RemainingTokens != 585 {
		t.Fatalf("%+v, %v", r, err)
	}
	r.Settle(20, 10, 700)
	if _, err := b.Reserve(ctx, ask(maker, 1)); kind(err) != fault.RateLimited {
		t.Errorf("the maker's minute was used up by its child: %v", err)
	}
	lim.limit(key, tenancy.Limits{})
	if _, err := b.Reserve(ctx, ask(child, 5)); kind(err) != fault.NoMoney {
		t.Errorf("the maker's money was used up: %v", err)
	}
}

// A count that fails is no want of money: the caller is told to come again. What the count says against the request
// reaches it.
func TestCountThatFails(t *testing.T) {
	b := NewBook(unbound().budget(key, 30).limit(key, tenancy.Limits{TPM: 1000}), time.Now)
	a := ask(who(), 5) // the bound of the prompt does not fit, its tokens would
	a.Count = func() (int, error) { return 0, errors.New("down") }
	var refused *Refusal
	if _, err := b.Reserve(ctx, a); !errors.As(err, &refused) || kind(err) != fault.Unavailable || refused.After <= 0 || refused.Rate.LimitTokens != 1000 {
		t.Errorf("refused with %+v", err)
	}
	a.Count = func() (int, error) { return 0, fault.InvalidField("messages", "wrong") }
	if _, err := b.Reserve(ctx, a); kind(err) != fault.Invalid {
		t.Errorf("a wrong request: %v", err)
	}
	a.Count = func() (int, error) { return 10, nil }
	if r, err := b.Reserve(ctx, a); err != nil || r.Cut {
		t.Errorf("%+v, %v", r, err)
	}
}

// A budget that is set while requests run without one counts what they may still cost.
func TestBudgetSetWhileRequestsRun(t *testing.T) {
	lim := unbound()
	b := NewBook(lim, time.Now)
	p := who()
	first, err := b.Reserve(ctx, ask(p, 30)) // up to 100
	if err != nil {
		t.Fatal(err)
	}
	lim.budget(org, 150)
	if r, err := b.Reserve(ctx, ask(p, 35)); err == nil {
		t.Errorf("%+v was let in on money that is held", r)
	}
	second, err := b.Reserve(ctx, ask(p, 5))
	if err != nil {
		t.Fatal(err)
	}
	first.Settle(100, 40, 30)
	second.Settle(50, 40, 5)
	if a := b.accounts[p.Org]; a.left() != 0 || a.held != (sum{}) {
		t.Errorf("%+v", a)
	}
}

// Prices and counts as large as they come: nothing overflows, and what is let in never costs more than the money.
func TestNothingOverflows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64Range(0, 1_000_000_000_000), rapid.Int64Min(0))
		lim := unbound()
		if rapid.Bool().Draw(t, "limited") {
			lim.budget(prj, amount.Draw(t, "limit"))
		}
		b := NewBook(lim, time.Now)
		p := who()
		var open []*Reservation
		for range 4 {
			a := Ask{Who: p, Prices: meter.Flat(amount.Draw(t, "in"), amount.Draw(t, "out")), Bytes: 40,
				Prompt: rapid.IntRange(0, 1<<28).Draw(t, "prompt"), Output: rapid.IntRange(1, 1<<30).Draw(t, "output"),
				Choices: rapid.IntRange(1, 1<<18).Draw(t, "choices")}
			if r, err := b.Reserve(ctx, a); err == nil {
				open = append(open, r)
			}
		}
		if a := b.accounts[p.Project]; lim.of[prj].Budgeted && a.left() < 0 {
			t.Fatalf("limit %d, held %+v", lim.of[prj].Budget, a.held)
		}
		for _, r := range open {
			r.Settle(r.held, 1, 1)
		}
		if a := b.accounts[p.Project]; a.held != (sum{}) || a.spent < 0 {
			t.Fatalf("%+v", a)
		}
	})
}

// A caller that leaves without an answer keeps the charge against its tokens a minute.
func TestForfeitKeepsTheTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBook(unbound().limit(key, tenancy.Limits{TPM: 600, Concurrency: 1}), time.Now)
		p := who()
		remaining := func() int64 {
			r, err := b.Reserve(ctx, ask(p, 1))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Settle(0, 0, 0)
			return r.Rate.RemainingTokens
		}
		before := remaining()
		r, err := b.Reserve(ctx, ask(p, 5)) // guess: 10 + 5
		if err != nil {
			t.Fatal(err)
		}
		r.Forfeit(7, 7, 0)
		if after := remaining(); before-after != 15 || b.Spent(p.Key) != 7 {
			t.Errorf("%d tokens stayed charged, %d spent", before-after, b.Spent(p.Key))
		}
	})
}

func TestRequestsAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBook(unbound().limit(key, tenancy.Limits{RPM: 6}), time.Now)
		p := who()
		take := func() error {
			r, err := b.Reserve(ctx, ask(p, 5))
			r.Settle(0, 0, 0)
			return err
		}
		for n := range 6 {
			if err := take(); err != nil {
				t.Fatalf("request %d: %v", n, err)
			}
		}
		var refused *Refusal
		if err := take(); !errors.As(err, &refused) || refused.After != time.Minute {
			t.Fatalf("the seventh: %v", err)
		}
		if r := refused.Rate; r.LimitRequests != 6 || r.RemainingRequests != 0 || r.ResetRequests != time.Minute {
			t.Errorf("rate %+v", r)
		}
		time.Sleep(refused.After - time.Nanosecond)
		if take() == nil {
			t.Error("a nanosecond early it ran")
		}
		time.Sleep(time.Nanosecond)
		if err := take(); err != nil {
			t.Errorf("after the wait: %v", err)
		}
		time.Sleep(time.Hour)
		served := 0
		for take() == nil {
			served++
		}
		if served != 6 {
			t.Errorf("an hour's rest saved up %d requests, want 6", served)
		}
	})
}

func TestTokensAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBook(unbound().limit(key, tenancy.Limits{TPM: 600}), time.Now)
		p := who()
		r, err := b.Reserve(ctx, ask(p, 5)) // guess: 10 + 5
		if err != nil || r.Rate.RemainingTokens != 585 || r.Rate.LimitTokens != 600 {
			t.Fatalf("%+v, %v", r, err)
		}
		r.Settle(0, 10, 590) // used more than a minute's worth
		_, err = b.Reserve(ctx, ask(p, 5))
		var refused *Refusal
		if !errors.As(err, &refused) || refused.Fault.Kind != fault.RateLimited {
			t.Fatalf("ran on an empty bucket: %v", err)
		}
		time.Sleep(refused.After)
		if r, err = b.Reserve(ctx, ask(p, 5)); err != nil {
			t.Fatalf("after the wait: %v", err)
		}
		r.Settle(0, 0, 0)
		time.Sleep(time.Minute)
		if _, err := b.Reserve(ctx, Ask{Who: p, Bytes: 1 << 20, Prompt: 1 << 20, Output: 9}); err != nil {
			t.Errorf("a request larger than the bucket never runs: %v", err)
		}
	})
}

// still is a fake that does not change.
type still struct{ *fake }

func (still) Generation() int64 { return 1 }

func BenchmarkReserve(b *testing.B) {
	book := NewBook(still{unbound().budget(key, 1<<60).budget(org, 1<<60).limit(key, tenancy.Limits{RPM: 1 << 40, TPM: 1 << 50, Concurrency: 100})}, time.Now)
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

// A request that is refused before a reservation is one of the minute's, for the key and for those above it.
func TestRefusedRequestsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBook(unbound().limit(key, tenancy.Limits{RPM: 2}).limit(id.Raw{9}, tenancy.Limits{RPM: 3}), time.Now)
		p := who()
		above := auth.Above{KeyID: "above", Key: id.Raw{9}}
		p.Above = []auth.Above{above}
		for range 2 {
			if err := b.Count(ctx, p); err != nil {
				t.Fatal(err)
			}
		}
		err := b.Count(ctx, p)
		refused, ok := errors.AsType[*Refusal](err)
		if !ok || refused.Fault.Code != "requests_per_minute" || refused.After <= 0 || refused.Rate.RemainingRequests != 0 || refused.Rate.LimitRequests != 2 {
			t.Errorf("the third: %+v", err)
		}
		if _, err := b.Reserve(ctx, ask(p, 1)); kind(err) != fault.RateLimited {
			t.Errorf("a reservation beside them: %v", err)
		}
		other := &auth.Principal{Key: id.Raw{8}, Above: p.Above}
		if err := b.Count(ctx, other); err != nil { // the refused one took nothing from the key above
			t.Error(err)
		}
		if err := b.Count(ctx, other); kind(err) != fault.RateLimited {
			t.Errorf("more than the key above may have: %v", err)
		}
		time.Sleep(time.Minute)
		if err := b.Count(ctx, p); err != nil {
			t.Error(err)
		}
	})
}

// All that a request is charged to must allow it: organisation, project, key, those above it, members and model.
func TestEveryAccountBinds(t *testing.T) {
	member, above, route := id.Raw{5}, id.Raw{6}, id.Raw{7}
	for name, of := range map[string]id.Raw{"This key": key, "The project": prj, "The organisation": org, "The member": member, "A key that made": above, "The model": route} {
		for code, l := range map[string]tenancy.Limits{"requests_per_minute": {RPM: 1}, "tokens_per_minute": {TPM: 15}, "concurrency": {Concurrency: 1}} {
			b := NewBook(unbound().limit(of, l), func() time.Time { return time.Unix(61, 0) })
			p := who()
			p.Members, p.Above = []auth.Member{{Raw: member}}, []auth.Above{{Key: above}}
			a := ask(p, 5)
			a.Route = route
			r, err := b.Reserve(ctx, a)
			if err != nil {
				t.Fatalf("%s %s: %v", name, code, err)
			}
			_, err = b.Reserve(ctx, a)
			refused, ok := errors.AsType[*Refusal](err)
			if !ok || refused.Fault.Code != code || !strings.HasPrefix(refused.Fault.Message, name) {
				t.Errorf("%s with %+v: %v", name, l, err)
			}
			r.Settle(0, 0, 0)
		}
		b := NewBook(unbound().budget(of, 25), time.Now)
		p := who()
		p.Members, p.Above = []auth.Member{{Raw: member}}, []auth.Above{{Key: above}}
		a := ask(p, 5)
		a.Route = route
		r, err := b.Reserve(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Reserve(ctx, a); kind(err) != fault.NoMoney {
			t.Errorf("the budget of %s let a second one in: %v", name, err)
		}
		if r.Settle(20, 10, 5); b.Spent(of) != 20 {
			t.Errorf("%s spent %d", name, b.Spent(of))
		}
	}
}

// A request that finds money merely held waits for it, as long as the book's patience lasts, and no more than so many do.
func TestWaitingForHeldMoney(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBook(unbound().budget(key, 20), time.Now)
		b.Patience = 2 * time.Second
		p := who()
		first, err := b.Reserve(ctx, ask(p, 5))
		if err != nil {
			t.Fatal(err)
		}
		var served, refused atomic.Int64
		began := time.Now()
		for range 100 {
			go func() {
				r, err := b.Reserve(ctx, ask(p, 5))
				if err != nil {
					refused.Add(1)
					return
				}
				served.Add(1)
				time.Sleep(time.Minute)
				r.Settle(20, 10, 5)
			}()
		}
		synctest.Wait()
		if refused.Load() != 100-maxWaiting || served.Load() != 0 {
			t.Errorf("%d refused and %d served at once", refused.Load(), served.Load())
		}
		time.Sleep(time.Second)
		first.Settle(0, 0, 0)
		synctest.Wait()
		if served.Load() != 1 {
			t.Errorf("%d served when the money came back", served.Load())
		}
		gone, leave := context.WithCancel(ctx)
		leave()
		if _, err := b.Reserve(gone, ask(p, 5)); !errors.Is(err, context.Canceled) {
			t.Errorf("one who is gone: %v", err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if refused.Load() != 99 || time.Since(began) != 2*time.Second {
			t.Errorf("%d refused after %s", refused.Load(), time.Since(began))
		}
		time.Sleep(time.Hour)
	})
}

func TestExtend(t *testing.T) {
	b := NewBook(unbound().budget(prj, 100), time.Now)
	p := who()
	r, err := b.Reserve(t.Context(), ask(p, 5)) // 40 + 2*5
	if err != nil {
		t.Fatal(err)
	}
	if r.Extend(t.Context(), 91) {
		t.Error("extended beyond the budget")
	}
	if pr, _ := r.Bounds(); pr != 40 || !r.Extend(t.Context(), 3) || !r.Extend(t.Context(), 90) {
		t.Errorf("the bound is %d", pr)
	}
	if pr, c := r.Bounds(); pr != 90 || c != 5 {
		t.Errorf("bounds %d, %d", pr, c)
	}
	if _, err := b.Reserve(t.Context(), ask(p, 1)); kind(err) != fault.NoMoney {
		t.Errorf("another ran on the same money: %v", err)
	}
	r.Settle(60, 50, 5)
	if again, err := b.Reserve(t.Context(), ask(p, 5)); err != nil || b.Spent(p.Key) != 60 {
		t.Errorf("%v, spent %d", err, b.Spent(p.Key))
	} else {
		again.Settle(0, 0, 0)
	}
	if r.Extend(t.Context(), 95) {
		t.Error("a settled reservation was extended")
	}
}
