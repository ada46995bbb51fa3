package meter

import (
	"math"
	"math/bits"
)

// Usage is what a request used, in tokens. Negative counts count as 0, Cached beyond Input as Input and Reasoning
// beyond Output as Output.
type Usage struct {
	Input     int64 // read by the model, those taken from a cache included
	Cached    int64 // of Input: taken from a prompt cache
	Output    int64 // made by the model over all choices, those of its reasoning included
	Reasoning int64 // of Output: not shown to the caller as text
	Embedding int64 // of texts that were embedded; they are not in Input
	Estimated bool  // some of it was estimated, since whoever served told no counts
}

// Tokens is everything that was read and made.
func (u Usage) Tokens() int64 { return u.Input + u.Output + u.Embedding }

// Clamped is the usage with its parts in their bounds: what Cost prices.
func (u Usage) Clamped() Usage {
	u.Input, u.Output, u.Embedding = max(u.Input, 0), max(u.Output, 0), max(u.Embedding, 0)
	u.Cached, u.Reasoning = min(max(u.Cached, 0), u.Input), min(max(u.Reasoning, 0), u.Output)
	return u
}

// Honest is the usage without what cannot be true, each time the reading that costs the caller least: negative counts are
// 0, and a part larger than its whole is all of it or nothing, whichever is cheaper at p. It says whether that changed
// anything.
func (u Usage) Honest(p Prices) (Usage, bool) {
	h := u.Clamped()
	p = p.Resolved()
	if u.Cached > h.Input && p.CachedInput > p.Input {
		h.Cached = 0
	}
	if u.Reasoning > h.Output && p.Reasoning > p.Output {
		h.Reasoning = 0
	}
	return h, h != u
}

// Same in place of a price of cached input, of reasoning or of embedding says that it is that of what it is a part or
// a kind of: of Input, of Output, of Input. Any negative number means it.
const Same = -1

// Prices are what a model costs: micro-units per million tokens, and Request micro-units for each request. The zero
// value is free of charge; Flat makes those of which only two are told.
type Prices struct {
	Input       int64
	CachedInput int64 // Same: as Input
	Output      int64
	Reasoning   int64 // Same: as Output
	Embedding   int64 // Same: as Input
	Request     int64
}

// Flat are prices by tokens in and out alone.
func Flat(input, output int64) Prices {
	return Prices{Input: input, CachedInput: Same, Output: output, Reasoning: Same, Embedding: Same}
}

// Resolved has a number in place of each Same.
func (p Prices) Resolved() Prices {
	if p.CachedInput < 0 {
		p.CachedInput = p.Input
	}
	if p.Reasoning < 0 {
		p.Reasoning = p.Output
	}
	if p.Embedding < 0 {
		p.Embedding = p.Input
	}
	return p
}

// Folded is the reverse of Resolved: Same where a price is that of what it follows.
func (p Prices) Folded() Prices {
	if p.CachedInput == p.Input {
		p.CachedInput = Same
	}
	if p.Reasoning == p.Output {
		p.Reasoning = Same
	}
	if p.Embedding == p.Input {
		p.Embedding = Same
	}
	return p
}

// Percent are the prices times so many hundredths, each rounded up to a whole one.
func (p Prices) Percent(n int) Prices {
	p = p.Resolved()
	for _, x := range []*int64{&p.Input, &p.CachedInput, &p.Output, &p.Reasoning, &p.Embedding, &p.Request} {
		hi, lo := bits.Mul64(natural(*x), natural(int64(n)))
		if hi >= 100 {
			*x = math.MaxInt64
			continue
		}
		q, rest := bits.Div64(hi, lo, 100)
		if rest > 0 {
			q++
		}
		*x = int64(min(q, math.MaxInt64))
	}
	return p.Folded()
}

// For are the prices of one kind of call: those that a call of this kind cannot be charged are Same, so that a bound
// does not count them.
func (p Prices) For(k Kind) Prices {
	p = p.Resolved()
	if k == Embedding {
		p.Input, p.CachedInput = p.Embedding, Same
		return p
	}
	p.Embedding = Same
	return p
}

// Each lists the resolved prices in one order: input, cached input, output, reasoning, embedding, request.
func (p Prices) Each() [6]int64 {
	p = p.Resolved()
	return [6]int64{p.Input, p.CachedInput, p.Output, p.Reasoning, p.Embedding, p.Request}
}

// Below says whether any of the prices is lower than in q.
func (p Prices) Below(q Prices) bool {
	a, b := p.Each(), q.Each()
	for i := range a {
		if a[i] < b[i] {
			return true
		}
	}
	return false
}

// Highest takes the higher of each price.
func (p Prices) Highest(q Prices) Prices {
	p, q = p.Resolved(), q.Resolved()
	return Prices{Input: max(p.Input, q.Input), CachedInput: max(p.CachedInput, q.CachedInput), Output: max(p.Output, q.Output),
		Reasoning: max(p.Reasoning, q.Reasoning), Embedding: max(p.Embedding, q.Embedding), Request: max(p.Request, q.Request)}.Folded()
}

// dearest are the highest prices that a token in and a token out can be charged.
func (p Prices) dearest() (in, out int64) {
	p = p.Resolved()
	return max(p.Input, p.CachedInput, p.Embedding), max(p.Output, p.Reasoning)
}

// Card names prices one by one; nil is one that is not named. It is the form of price files and of changes.
type Card struct {
	Input       *int64 `json:"input,omitempty" yaml:"input"`
	CachedInput *int64 `json:"cached_input,omitempty" yaml:"cached_input"`
	Output      *int64 `json:"output,omitempty" yaml:"output"`
	Reasoning   *int64 `json:"reasoning,omitempty" yaml:"reasoning"`
	Embedding   *int64 `json:"embedding,omitempty" yaml:"embedding"`
	Request     *int64 `json:"request,omitempty" yaml:"request"`
}

// Empty says whether the card names nothing.
func (c Card) Empty() bool { return c == Card{} }

// Over is p with the prices that the card names. What followed another price goes on to follow it.
func (c Card) Over(p Prices) Prices {
	for _, x := range []struct {
		to   *int64
		from *int64
	}{
		{&p.Input, c.Input}, {&p.CachedInput, c.CachedInput}, {&p.Output, c.Output},
		{&p.Reasoning, c.Reasoning}, {&p.Embedding, c.Embedding}, {&p.Request, c.Request},
	} {
		if x.from != nil {
			*x.to = *x.from
		}
	}
	return p
}

// Cost is the price of a request in micro-units: each kind of token at its price per million and the price of a
// request, rounded up once. It is exact wherever the result fits; beyond, it is the largest int64.
func Cost(u Usage, p Prices) int64 {
	u, p = u.Clamped(), p.Resolved()
	var w wide
	w.mul(u.Input-u.Cached, p.Input)
	w.mul(u.Cached, p.CachedInput)
	w.mul(u.Output-u.Reasoning, p.Output)
	w.mul(u.Reasoning, p.Reasoning)
	w.mul(u.Embedding, p.Embedding)
	w.mul(p.Request, million)
	return w.micros()
}

// Bill is what a request that ended so is charged: its Cost, or nothing when nothing of it is known to have been used
// and its answer was not complete.
func Bill(o Outcome, u Usage, p Prices) int64 {
	if o == voided || o != Finished && u.Clamped().Tokens() == 0 {
		return 0
	}
	return Cost(u, p)
}

// Bound is the most that a request can cost which reads no more than input tokens, embedded ones included, and makes no
// more than output tokens, whichever kind each of them is.
func Bound(input, output int64, p Prices) int64 {
	in, out := p.dearest()
	var w wide
	w.mul(input, in)
	w.mul(output, out)
	w.mul(p.Request, million)
	return w.micros()
}

// Affordable is how many output tokens money pays for, whichever kind they are, once the input and the request are
// paid: the largest n for which Bound(input, n, p) <= money. It is 0 when not even those are paid, and the largest
// int64 when output costs nothing.
func Affordable(money, input int64, p Prices) int64 {
	if money < 0 {
		return 0
	}
	in, out := p.dearest()
	var w, paid wide
	w.mul(money, million)
	paid.mul(input, in)
	paid.mul(p.Request, million)
	lo, borrow := bits.Sub64(w.lo, paid.lo, 0)
	hi, borrow := bits.Sub64(w.hi, paid.hi, borrow)
	switch {
	case borrow != 0:
		return 0
	case out <= 0 || hi >= uint64(out):
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, uint64(out))
	return int64(min(q, math.MaxInt64))
}

const million = 1_000_000

// wide is an amount in millionths of micro-units, 128 bits wide. The tokens in, the tokens out, the embedded ones and
// the request are three products below 2^126 and one below 2^83: their sum cannot overflow it.
type wide struct{ hi, lo uint64 }

// mul adds a product; a negative factor counts as 0.
func (w *wide) mul(n, price int64) {
	h, l := bits.Mul64(natural(n), natural(price))
	var carry uint64
	w.lo, carry = bits.Add64(w.lo, l, 0)
	w.hi, _ = bits.Add64(w.hi, h, carry)
}

// micros is the amount in micro-units, rounded up.
func (w *wide) micros() int64 {
	lo, carry := bits.Add64(w.lo, million-1, 0)
	hi := w.hi + carry
	if hi >= million {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, million)
	return int64(min(q, math.MaxInt64))
}

func natural(n int64) uint64 { return uint64(max(n, 0)) }
