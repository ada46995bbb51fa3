package canary

import (
	"context"
	"math"
	"sync"
	"time"
)

// Arm is how requests of one side ended.
type Arm struct {
	Answers int64 `json:"answers"` // requests that were put to it, or could not be
	Failed  int64 `json:"failed"`  // it could not be asked, did not answer, said that it fails, or broke off
	Refused int64 `json:"refused"` // it refused the request
	First   Times `json:"first"`   // until the first byte for the caller; of who left before, how long they waited
}

// Add adds what another counted.
func (a *Arm) Add(b Arm) {
	a.Answers += b.Answers
	a.Failed += b.Failed
	a.Refused += b.Refused
	a.First.add(b.First)
}

// clone shares nothing with a.
func (a Arm) clone() Arm {
	a.First = append(Times(nil), a.First...)
	return a
}

// Times counts durations in steps of an eighth of a doubling, from 0.1 ms on: the i-th number counts those below
// 0.1 ms times 2^(i/8). It is as long as it has to be.
type Times []int64

const (
	timesLeast = 100 * time.Microsecond
	timesEach  = 8
	timesMost  = 192 // 0.1 ms times 2^24: 28 minutes and more
)

// Note counts one duration.
func (t *Times) Note(d time.Duration) {
	i := 0
	if d >= timesLeast {
		i = min(1+int(timesEach*math.Log2(float64(d)/float64(timesLeast))), timesMost-1)
	}
	t.grow(i + 1)
	(*t)[i]++
}

func (t *Times) grow(n int) {
	for len(*t) < n {
		*t = append(*t, 0)
	}
}

// add adds what another counted; what is not one of these counts is left out.
func (t *Times) add(o Times) {
	o = o[:min(len(o), timesMost)]
	t.grow(len(o))
	for i, n := range o {
		(*t)[i] += max(n, 0)
	}
}

func (t Times) total() (n int64) {
	for _, x := range t {
		n += x
	}
	return n
}

// edge is the upper bound of the i-th count, seconds; of -1 it is 0.
func edge(i int) float64 {
	if i < 0 {
		return 0
	}
	return timesLeast.Seconds() * math.Exp2(float64(i)/timesEach)
}

// at is which count the k-th smallest duration is in, from 1.
func (t Times) at(k int64) (i int, before int64) {
	for i, n := range t {
		if before+n >= k {
			return i, before
		}
		before += n
	}
	return len(t), before
}

// Quantile is where a share of the durations lies below, seconds, to within an eighth of a doubling; 0 without any.
func (t Times) Quantile(q float64) float64 {
	n := t.total()
	if n == 0 {
		return 0
	}
	k := min(max(int64(math.Ceil(q*float64(n))), 1), n)
	i, before := t.at(k)
	within := (float64(k-before) - 0.5) / float64(t[i])
	low, high := edge(i-1), edge(i)
	if low == 0 {
		return high * within
	}
	return low * math.Pow(high/low, within)
}

// atLeast is what the true quantile is not below but for a probability of level: an order statistic, or rather the lower
// end of the count it is in; 0 when there are too few durations to say.
func (t Times) atLeast(q, level float64) float64 {
	n := t.total()
	// P(quantile < k-th smallest) = P(fewer than k of n are below it) = 1 - P(Bin(n, q) >= k)
	k := last(n, func(k int64) bool { return 1-binomialAtLeast(k, n, q) <= level })
	if k < 1 {
		return 0
	}
	i, _ := t.at(k)
	return edge(i - 1)
}

// atMost is what the true quantile is not above but for a probability of level; 0 when there are too few to say.
func (t Times) atMost(q, level float64) float64 {
	n := t.total()
	// P(quantile > k-th smallest) = P(Bin(n, q) >= k)
	k := last(n, func(k int64) bool { return binomialAtLeast(k, n, q) > level }) + 1
	if n == 0 || k > n {
		return 0
	}
	i, _ := t.at(k)
	return edge(i)
}

// last is the largest k of 1 to n that is true, where all below it are; 0 when none is.
func last(n int64, is func(int64) bool) int64 {
	lo, hi := int64(0), n
	for lo < hi {
		if mid := lo + (hi-lo+1)/2; is(mid) {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

// Key names what is counted: one step of one canary.
type Key struct {
	Canary string // can_...
	Step   int
}

// Count is what one life of one gateway has counted of a step, from its beginning.
type Count struct {
	Key
	Trial  Arm // on the canary
	Stable Arm // on what was asked first of the others
}

// End is how one request ended on what was asked first for it.
type End struct {
	Failed  bool
	Refused bool
	First   time.Duration // until its first byte, or until its caller left; 0: it had none
}

// Book counts. The zero value is ready, and safe for concurrent use.
type Book struct {
	mu     sync.Mutex
	counts map[Key]*counted
}

type counted struct {
	arms    [2]Arm // of the stable backends, of the canary
	changed bool   // since it was told
}

// Add counts one request.
func (b *Book) Add(k Key, canary bool, e End) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.counts[k]
	if c == nil {
		if b.counts == nil {
			b.counts = map[Key]*counted{}
		}
		c = &counted{}
		b.counts[k] = c
	}
	c.changed = true
	a := &c.arms[0]
	if canary {
		a = &c.arms[1]
	}
	a.Answers++
	switch {
	case e.Failed:
		a.Failed++
	case e.Refused:
		a.Refused++
	}
	if e.First > 0 {
		a.First.Note(e.First)
	}
}

// Teller stores what a life of a process has counted, in place of what it told before.
type Teller interface {
	// TellCounts stores counts. gone are those of steps that are over, which nobody needs to be told again.
	TellCounts(ctx context.Context, life string, list []Count) (gone []Key, err error)
}

// Tell tells what has changed since the last time. life is a name that no other start of any process has.
func (b *Book) Tell(ctx context.Context, to Teller, life string) error {
	var list []Count
	b.mu.Lock()
	for k, c := range b.counts {
		if c.changed {
			c.changed = false
			list = append(list, Count{Key: k, Stable: c.arms[0].clone(), Trial: c.arms[1].clone()})
		}
	}
	b.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	gone, err := to.TellCounts(ctx, life, list)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		for _, c := range list {
			if x := b.counts[c.Key]; x != nil {
				x.changed = true
			}
		}
		return err
	}
	for _, k := range gone {
		delete(b.counts, k)
	}
	return nil
}
