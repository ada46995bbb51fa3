package meter

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func drawPrices(t *rapid.T) Prices {
	price := rapid.OneOf(rapid.Int64Range(-1, 5000), rapid.Int64Range(0, 1<<40), rapid.Int64Min(0))
	some := rapid.Int64Range(0, 1<<40)
	return Prices{Input: max(price.Draw(t, "in"), 0), CachedInput: price.Draw(t, "cached"), Output: max(price.Draw(t, "out"), 0),
		Reasoning: price.Draw(t, "reasoning"), Embedding: price.Draw(t, "embedding"), Request: some.Draw(t, "request")}
}

// drawUsage draws lies as well: parts larger than their wholes, and negative counts.
func drawUsage(t *rapid.T) Usage {
	n := rapid.OneOf(rapid.Int64Range(-5, 100), rapid.Int64Range(0, math.MaxUint32))
	return Usage{Input: n.Draw(t, "input"), Cached: n.Draw(t, "cached"), Output: n.Draw(t, "output"), Reasoning: n.Draw(t, "reasoning"),
		Embedding: n.Draw(t, "embedding")}
}

func TestCostRoundsUpOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u, p := drawUsage(t), drawPrices(t)
		orElse := func(n, or int64) int64 {
			if n < 0 {
				return or
			}
			return n
		}
		sum := new(big.Int)
		add := func(n, price int64) { sum.Add(sum, new(big.Int).Mul(big.NewInt(n), big.NewInt(price))) }
		in, out := max(u.Input, 0), max(u.Output, 0)
		cached, reasoning := min(max(u.Cached, 0), in), min(max(u.Reasoning, 0), out)
		add(in-cached, p.Input)
		add(cached, orElse(p.CachedInput, p.Input))
		add(out-reasoning, p.Output)
		add(reasoning, orElse(p.Reasoning, p.Output))
		add(max(u.Embedding, 0), orElse(p.Embedding, p.Input))
		add(p.Request, 1_000_000)
		want := sum.Add(sum, big.NewInt(999_999))
		want.Div(want, big.NewInt(1_000_000))
		if most := big.NewInt(math.MaxInt64); want.Cmp(most) > 0 {
			want = most
		}
		if got := Cost(u, p); big.NewInt(got).Cmp(want) != 0 {
			t.Fatalf("Cost(%+v, %+v) = %d, want %s", u, p, got, want)
		}
	})
	if got := Cost(Usage{Input: 1}, Prices{Input: 1}); got != 1 {
		t.Errorf("the smallest cost is %d, want 1", got)
	}
	if got := Cost(Usage{Input: -5}, Prices{Input: 10}); got != 0 {
		t.Errorf("negative tokens cost %d", got)
	}
}

// What is reserved pays for whatever the tokens turn out to be, at the prices of any kind of call that has such tokens.
func TestBoundIsAboveEveryCost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u, p := drawUsage(t).Clamped(), drawPrices(t)
		kind := rapid.SampledFrom([]Kind{Chat, Embedding}).Draw(t, "kind")
		if kind == Embedding {
			u.Input, u.Cached = 0, 0
		} else {
			u.Embedding = 0
		}
		in := u.Input + u.Embedding + rapid.Int64Range(0, 9).Draw(t, "spare in")
		out := u.Output + rapid.Int64Range(0, 9).Draw(t, "spare out")
		bound := Bound(in, out, p.For(kind))
		if cost := Cost(u, p); cost > bound {
			t.Fatalf("%+v costs %d at %+v, the bound is %d", u, cost, p, bound)
		}
		for _, o := range []Outcome{Finished, HungUp, Broke, OutOfMoney, Cut, voided} {
			if bill := Bill(o, u, p); bill > bound || bill < 0 {
				t.Fatalf("%s is billed %d of %d", o, bill, bound)
			}
		}
	})
}

// What is affordable is paid for, and one token more is not.
func TestAffordable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		money := rapid.OneOf(rapid.Int64Range(0, 5000), rapid.Int64Range(0, 1<<40), rapid.Int64Min(0)).Draw(t, "money")
		p := drawPrices(t)
		in := rapid.Int64Range(0, 1<<32).Draw(t, "prompt")
		n := Affordable(money, in, p)
		if n > 0 && Bound(in, n, p) > money {
			t.Fatalf("%d tokens cost %d, there is %d", n, Bound(in, n, p), money)
		}
		if n < math.MaxInt64 {
			if more := Bound(in, n+1, p); more <= money && more < math.MaxInt64 {
				t.Fatalf("%d tokens are affordable, and %d cost %d of %d", n, n+1, more, money)
			}
		}
	})
	if got := Affordable(-1, 0, Flat(1, 1)); got != 0 {
		t.Errorf("no money buys %d", got)
	}
}

// Whatever an engine tells, nothing that it could have meant costs less than what is booked.
func TestHonestIsTheCheapestReading(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u, p := drawUsage(t), drawPrices(t)
		h, changed := u.Honest(p)
		if h.Clamped() != h || changed != (h != u) {
			t.Fatalf("%+v became %+v, %v", u, h, changed)
		}
		if got, _ := h.Honest(p); got != h {
			t.Fatalf("%+v is not honest yet", h)
		}
		readings := []Usage{u.Clamped()}
		if u.Cached > u.Input {
			readings = append(readings, Usage{Input: h.Input, Output: h.Output, Reasoning: h.Reasoning, Embedding: h.Embedding})
		}
		if u.Reasoning > u.Output {
			readings = append(readings, Usage{Input: h.Input, Cached: h.Cached, Output: h.Output, Embedding: h.Embedding})
		}
		for _, r := range readings {
			if Cost(h, p) > Cost(r, p) {
				t.Fatalf("%+v costs %d, read as %+v %d", h, Cost(h, p), r, Cost(r, p))
			}
		}
	})
}

func TestNothingUsedCostsNothingUnlessItIsComplete(t *testing.T) {
	p := Prices{Request: 7}
	if got := Bill(Finished, Usage{}, p); got != 7 {
		t.Errorf("a complete answer without counts costs %d", got)
	}
	for _, o := range []Outcome{HungUp, Broke, Cut, voided} {
		if got := Bill(o, Usage{}, p); got != 0 {
			t.Errorf("%s: nothing used costs %d", o, got)
		}
	}
	if got := Bill(Cut, Usage{Input: 1}, p); got != 7 {
		t.Errorf("a cut answer costs %d", got)
	}
}

func TestACardLeavesAloneWhatItDoesNotName(t *testing.T) {
	p := Card{Input: new(int64(5))}.Over(Prices{Input: 3, CachedInput: Same, Output: 4, Reasoning: 9, Embedding: Same, Request: 1})
	if want := (Prices{Input: 5, CachedInput: 5, Output: 4, Reasoning: 9, Embedding: 5, Request: 1}); p.Resolved() != want {
		t.Errorf("%+v", p.Resolved())
	}
	if p.Resolved().Folded() != p || !(Card{}).Empty() || (Card{Request: new(int64(0))}).Empty() {
		t.Error("folding or emptiness")
	}
	if q := Flat(6, 3); !q.Below(p) || q.Below(Flat(6, 3)) || q.Highest(p).Below(q) || q.Highest(p).Below(p) {
		t.Error("comparing")
	}
}
