package quota

import (
	"errors"
	"sync"
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

type budgets map[string]int64 // id -> limit

func (b budgets) Budget(_, id string) (int64, bool) { m, ok := b[id]; return m, ok }

func who(l tenancy.Limits) *auth.Principal {
	return &auth.Principal{KeyID: "key", ProjectID: "prj", OrgID: "org",
		Key: id.Raw{1}, Project: id.Raw{2}, Org: id.Raw{3}, Limits: l}
}

// ask is a request of 10 prompt tokens (bound 40) and at most out completion tokens at 1 and 2 micro-units each.
func ask(p *auth.Principal, out int) Ask {
	return Ask{Who: p, Prices: meter.Flat(1_000_000, 2_000_000), Bytes: 40, Prompt: 40, Output: out, Choices: 1,
		Count: func() (int, error) { return 10, nil }}
}

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
	b := NewBook(budgets{"key": 10 * cost}, time.Now)
	p := who(tenancy.Limits{})
	var served sync.Map
	var work sync.WaitGroup
	for n := range 256 {
		work.Go(func() {
			r, err := b.Reserve(ask(p, 5))
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
		r, err := b.Reserve(ask(p, 5))
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
	b := NewBook(budgets{"prj": 10 + 2*7 + 1}, time.Now)
	p := who(tenancy.Limits{})
	first, err := b.Reserve(ask(p, 1000))
	if err != nil {
		t.Fatal(err)
	}
	if !first.Cut || first.Output != 7 {
		t.Errorf("output %d cut %v, want 7 cut", first.Output, first.Cut)
	}
	if pr, c := first.Bounds(); pr != 10 || c != 7 {
		t.Errorf("bounds %d, %d", pr, c)
	}
	if _, err := b.Reserve(ask(p, 1)); kind(err) != fault.NoMoney {
		t.Errorf("a second one ran on the same money: %v", err)
	}
	first.Settle(24, 10, 7)
	if _, err := b.Reserve(ask(p, 1)); kind(err) != fault.NoMoney {
		t.Errorf("one micro-unit paid for 10 tokens: %v", err)
	}
}

func TestChoicesShareTheMoney(t *testing.T) {
	b := NewBook(budgets{"org": 10 + 2*9}, time.Now)
	a := ask(who(tenancy.Limits{}), 1000)
	a.Choices = 4
	r, err := b.Reserve(a)
	if err != nil || r.Output != 2 {
		t.Fatalf("%+v, %v; want 2 tokens for each of 4 choices", r, err)
	}
}

func TestWithoutACounterTheBoundDecides(t *testing.T) {
	b := NewBook(budgets{"key": 50}, time.Now)
	a := ask(who(tenancy.Limits{}), 100)
	a.Count = nil
	if r, err := b.Reserve(a); err != nil || r.Output != 5 {
		t.Fatalf("%+v, %v", r, err)
	} else {
		r.Settle(0, 0, 0)
	}
	a.Count = func() (int, error) { return 0, errors.New("down") }
	if r, err := b.Reserve(a); err != nil || r.Output != 5 {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestNoMoneyDoesNotAskTheEngine(t *testing.T) {
	b := NewBook(budgets{"key": 2}, time.Now)
	a := ask(who(tenancy.Limits{}), 100)
	a.Count = func() (int, error) { t.Error("counted"); return 1, nil }
	if _, err := b.Reserve(a); kind(err) != fault.NoMoney {
		t.Fatal(err)
	}
}

func TestSettleOnlyOnce(t *testing.T) {
	b := NewBook(budgets{}, time.Now)
	p := who(tenancy.Limits{Concurrency: 1})
	r, err := b.Reserve(ask(p, 5))
	if err != nil {
		t.Fatal(err)
	}
	r.Settle(7, 1, 1)
	r.Settle(7, 1, 1)
	if b.Spent(p.Org) != 7 {
		t.Errorf("spent %d", b.Spent(p.Org))
	}
	if _, err := b.Reserve(ask(p, 5)); err != nil {
		t.Error(err)
	}
	if _, err := b.Reserve(ask(p, 5)); kind(err) != fault.RateLimited {
		t.Errorf("two at once on a concurrency of 1: %v", err)
	}
}

// For any sequence of requests, budgets and usages within the reserved bounds, nobody's balance is ever negative, and
// when nothing runs nothing is held.
func TestNeverBelowZero(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := func(name string) int64 { return rapid.Int64Range(0, 500).Draw(t, name) }
		lim := budgets{"key": limit("key"), "prj": limit("prj"), "org": limit("org")}
		b := NewBook(lim, time.Now)
		p := who(tenancy.Limits{})
		var open []*Reservation
		settle := func(i int) {
			r := open[i]
			mp, mc := r.Bounds()
			pr, c := rapid.IntRange(0, mp).Draw(t, "prompt"), rapid.IntRange(0, mc).Draw(t, "completion")
			r.Settle(meter.Cost(meter.Usage{Input: int64(pr), Output: int64(c)}, r.ask.Prices), pr, c)
			open = append(open[:i], open[i+1:]...)
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			if len(open) > 0 && rapid.Bool().Draw(t, "settle") {
				settle(rapid.IntRange(0, len(open)-1).Draw(t, "which"))
			} else {
				a := ask(p, rapid.IntRange(1, 100).Draw(t, "out"))
				a.Prices.Output = rapid.Int64Range(0, 3_000_000).Draw(t, "price")
				a.Choices = rapid.IntRange(1, 3).Draw(t, "n")
				if r, err := b.Reserve(a); err == nil {
					open = append(open, r)
				} else if kind(err) != fault.NoMoney {
					t.Fatal(err)
				}
			}
			for i := range payers(p) {
				k := payer(p, i)
				a := b.account(k.raw)
				if a.left(lim[k.id]) < 0 {
					t.Fatalf("%s: limit %d, spent %d, held %d", k.scope, lim[k.id], a.spent, a.held.value())
				}
			}
		}
		for len(open) > 0 {
			settle(0)
		}
		for i := range payers(p) {
			k := payer(p, i)
			if a := b.account(k.raw); a.held != (sum{}) || a.open != 0 {
				t.Fatalf("%s still holds %d in %d", k.scope, a.held.value(), a.open)
			}
		}
	})
}

// For any tree of keys, any requests of any of them and usages within the reserved bounds, no key and those that it made
// ever hold and spend more than its budget, run more than its concurrency, or begin more than its requests a minute.
func TestNoTreeExceedsAnyBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lim := budgets{}
		b := NewBook(lim, func() time.Time { return time.Unix(1, 0) })
		keys := []*auth.Principal{}
		begun := map[id.Raw]int64{}
		for n := range rapid.IntRange(2, 8).Draw(t, "keys") {
			p := who(tenancy.Limits{Concurrency: rapid.Int64Range(0, 4).Draw(t, "concurrency"), RPM: rapid.Int64Range(0, 9).Draw(t, "rpm")})
			p.KeyID, p.Key = string(rune('a'+n)), id.Raw{9, byte(n)}
			if n > 0 {
				by := keys[rapid.IntRange(0, n-1).Draw(t, "maker")]
				p.Above = append([]auth.Above{{KeyID: by.KeyID, Key: by.Key, Limits: by.Limits}}, by.Above...)
			}
			if rapid.Bool().Draw(t, "bounded") {
				lim[p.KeyID] = rapid.Int64Range(0, 500).Draw(t, "budget")
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
				r, err := b.Reserve(ask(p, rapid.IntRange(1, 90).Draw(t, "out")))
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
				if limit, ok := lim[p.KeyID]; ok && b.account(p.Key).left(limit) < 0 {
					t.Fatalf("%s: %d spent and %d held of %d", p.KeyID, b.account(p.Key).spent, b.account(p.Key).held.value(), limit)
				}
				if l := p.Limits.Concurrency; l > 0 && b.pace(p.Key).running > l {
					t.Fatalf("%s: %d run, at most %d may", p.KeyID, b.pace(p.Key).running, l)
				}
				if l := p.Limits.RPM; l > 0 && begun[p.Key] > l {
					t.Fatalf("%s: %d began in a minute, at most %d may", p.KeyID, begun[p.Key], l)
				}
			}
		}
		for _, r := range open {
			r.Settle(0, 0, 0)
		}
		for _, p := range keys {
			if a := b.account(p.Key); a.held != (sum{}) || a.open != 0 || b.pace(p.Key).running != 0 {
				t.Fatalf("%s still holds %+v", p.KeyID, a)
			}
		}
	})
}

// What a child used, its maker used, in tokens a minute and after a restart in money.
func TestMakersCarryTheirChildren(t *testing.T) {
	maker := who(tenancy.Limits{TPM: 600})
	child := who(tenancy.Limits{})
	child.KeyID, child.Key, child.Above = "child", id.Raw{7}, []auth.Above{{KeyID: maker.KeyID, Key: maker.Key, Limits: maker.Limits}}
	lim := budgets{"key": 50}
	b := NewBook(lim, time.Now)
	b.Load(map[id.Raw]int64{child.Key: 20, maker.Key: 5}, func(k id.Raw) []auth.Above {
		if k == child.Key {
			return child.Above
		}
		return nil
	})
	if b.Spent(maker.Key) != 25 || b.Spent(child.Key) != 20 {
		t.Errorf("after the start %d and %d are spent", b.Spent(maker.Key), b.Spent(child.Key))
	}
	r, err := b.Reserve(ask(child, 5))
	if err != nil || r.Rate.LimitTokens != 600 || r.Rate.RemainingTokens != 585 {
		t.Fatalf("%+v, %v", r, err)
	}
	r.Settle(20, 10, 700)
	if _, err := b.Reserve(ask(maker, 1)); kind(err) != fault.RateLimited {
		t.Errorf("the maker's minute was used up by its child: %v", err)
	}
	child.Above[0].Limits = tenancy.Limits{}
	if _, err := b.Reserve(ask(child, 5)); kind(err) != fault.NoMoney {
		t.Errorf("the maker's money was used up: %v", err)
	}
}

// A count that fails is no want of money: the caller is told to come again. What the count says against the request
// reaches it.
func TestCountThatFails(t *testing.T) {
	b := NewBook(budgets{"key": 30}, time.Now)
	a := ask(who(tenancy.Limits{TPM: 1000}), 5) // the bound of the prompt does not fit, its tokens would
	a.Count = func() (int, error) { return 0, errors.New("down") }
	var refused *Refusal
	if _, err := b.Reserve(a); !errors.As(err, &refused) || kind(err) != fault.Unavailable || refused.After <= 0 || refused.Rate.LimitTokens != 1000 {
		t.Errorf("refused with %+v", err)
	}
	a.Count = func() (int, error) { return 0, fault.InvalidField("messages", "wrong") }
	if _, err := b.Reserve(a); kind(err) != fault.Invalid {
		t.Errorf("a wrong request: %v", err)
	}
	a.Count = func() (int, error) { return 10, nil }
	if r, err := b.Reserve(a); err != nil || r.Cut {
		t.Errorf("%+v, %v", r, err)
	}
}

// A budget that is set while requests run without one counts what they may still cost.
func TestBudgetSetWhileRequestsRun(t *testing.T) {
	lim := budgets{}
	b := NewBook(lim, time.Now)
	p := who(tenancy.Limits{})
	first, err := b.Reserve(ask(p, 30)) // up to 100
	if err != nil {
		t.Fatal(err)
	}
	lim["org"] = 150
	if r, err := b.Reserve(ask(p, 35)); err == nil {
		t.Errorf("%+v was let in on money that is held", r)
	}
	second, err := b.Reserve(ask(p, 5))
	if err != nil {
		t.Fatal(err)
	}
	first.Settle(100, 40, 30)
	second.Settle(50, 40, 5)
	if a := b.account(p.Org); a.left(150) != 0 || a.held != (sum{}) {
		t.Errorf("%+v", a)
	}
}

// Prices and counts as large as they come: nothing overflows, and what is let in never costs more than the money.
func TestNothingOverflows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64Range(0, 1_000_000_000_000), rapid.Int64Min(0))
		lim := budgets{}
		if rapid.Bool().Draw(t, "limited") {
			lim["prj"] = amount.Draw(t, "limit")
		}
		b := NewBook(lim, time.Now)
		p := who(tenancy.Limits{})
		var open []*Reservation
		for range 4 {
			a := Ask{Who: p, Prices: meter.Flat(amount.Draw(t, "in"), amount.Draw(t, "out")), Bytes: 40,
				Prompt: rapid.IntRange(0, 1<<28).Draw(t, "prompt"), Output: rapid.IntRange(1, 1<<30).Draw(t, "output"),
				Choices: rapid.IntRange(1, 1<<18).Draw(t, "choices")}
			if r, err := b.Reserve(a); err == nil {
				open = append(open, r)
			}
		}
		if limit, ok := lim["prj"]; ok && b.account(p.Project).left(limit) < 0 {
			t.Fatalf("limit %d, held %+v", limit, b.account(p.Project).held)
		}
		for _, r := range open {
			r.Settle(r.held, 1, 1)
		}
		if a := b.account(p.Project); a.held != (sum{}) || a.spent < 0 {
			t.Fatalf("%+v", a)
		}
	})
}

// A caller that leaves without an answer keeps the charge against its tokens a minute.
func TestForfeitKeepsTheTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBook(budgets{}, time.Now)
		p := who(tenancy.Limits{TPM: 600, Concurrency: 1})
		remaining := func() int64 {
			r, err := b.Reserve(ask(p, 1))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Settle(0, 0, 0)
			return r.Rate.RemainingTokens
		}
		before := remaining()
		r, err := b.Reserve(ask(p, 5)) // guess: 10 + 5
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
		b := NewBook(budgets{}, time.Now)
		p := who(tenancy.Limits{RPM: 6})
		take := func() error {
			r, err := b.Reserve(ask(p, 5))
			r.Settle(0, 0, 0)
			return err
		}
		for n := range 6 {
			if err := take(); err != nil {
				t.Fatalf("request %d: %v", n, err)
			}
		}
		var refused *Refusal
		if err := take(); !errors.As(err, &refused) || refused.After != 10*time.Second {
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
		b := NewBook(budgets{}, time.Now)
		p := who(tenancy.Limits{TPM: 600})
		r, err := b.Reserve(ask(p, 5)) // guess: 10 + 5
		if err != nil || r.Rate.RemainingTokens != 585 || r.Rate.LimitTokens != 600 {
			t.Fatalf("%+v, %v", r, err)
		}
		r.Settle(0, 10, 590) // used more than a minute's worth
		_, err = b.Reserve(ask(p, 5))
		var refused *Refusal
		if !errors.As(err, &refused) || refused.Fault.Kind != fault.RateLimited {
			t.Fatalf("ran on an empty bucket: %v", err)
		}
		time.Sleep(refused.After)
		if r, err = b.Reserve(ask(p, 5)); err != nil {
			t.Fatalf("after the wait: %v", err)
		}
		r.Settle(0, 0, 0)
		time.Sleep(time.Minute)
		if _, err := b.Reserve(Ask{Who: p, Bytes: 1 << 20, Prompt: 1 << 20, Output: 9}); err != nil {
			t.Errorf("a request larger than the bucket never runs: %v", err)
		}
	})
}

func BenchmarkReserve(b *testing.B) {
	book := NewBook(budgets{"key": 1 << 60, "org": 1 << 60}, time.Now)
	p := who(tenancy.Limits{RPM: 1 << 40, TPM: 1 << 50, Concurrency: 100})
	b.ReportAllocs()
	for b.Loop() {
		r, err := book.Reserve(ask(p, 5))
		if err != nil {
			b.Fatal(err)
		}
		r.Settle(20, 10, 5)
	}
}

// A request that is refused before a reservation is one of the minute's, for the key and for those above it.
func TestRefusedRequestsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBook(budgets{}, time.Now)
		p := who(tenancy.Limits{RPM: 2})
		above := auth.Above{KeyID: "above", Key: id.Raw{9}, Limits: tenancy.Limits{RPM: 3}}
		p.Above = []auth.Above{above}
		for range 2 {
			if err := b.Count(p); err != nil {
				t.Fatal(err)
			}
		}
		err := b.Count(p)
		refused, ok := errors.AsType[*Refusal](err)
		if !ok || refused.Fault.Code != "requests_per_minute" || refused.After <= 0 || refused.Rate.RemainingRequests != 0 || refused.Rate.LimitRequests != 2 {
			t.Errorf("the third: %+v", err)
		}
		if _, err := b.Reserve(ask(p, 1)); kind(err) != fault.RateLimited {
			t.Errorf("a reservation beside them: %v", err)
		}
		other := &auth.Principal{Key: id.Raw{8}, Above: p.Above}
		if err := b.Count(other); err != nil { // the refused one took nothing from the key above
			t.Error(err)
		}
		if err := b.Count(other); kind(err) != fault.RateLimited {
			t.Errorf("more than the key above may have: %v", err)
		}
		time.Sleep(time.Minute)
		if err := b.Count(p); err != nil {
			t.Error(err)
		}
	})
}
