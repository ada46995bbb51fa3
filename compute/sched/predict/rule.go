package predict

import "math/bits"

// Rule turns a rank into the key that jobs are ordered by, lowest first. The zero value orders by rank alone.
type Rule struct {
	// Margin is by how many thousandths of its own key a waiting job must be better than a running one to take its
	// place: running jobs keep theirs against small differences, which cost restarts and gain nothing.
	Margin int64
	// Aging is the wait, in milliseconds, after which a job's key is half of what it would be, after twice as much a
	// third, and so on: nothing is passed for ever. 0 = waiting changes nothing.
	Aging int64
}

// DefaultRule is what the figures in the package's description were measured with.
func DefaultRule() Rule { return Rule{Margin: 300, Aging: 30 * day} }

// Waiting is the key of a job that waits. restart is the service that its next start costs before work goes on, 0 for
// a job that has not run; waited is the time it has spent waiting in all.
func (r Rule) Waiting(e Estimate, chips int, restart, waited int64) int64 {
	key := e.Rank + min(max(restart, 0), longest)*int64(max(chips, 1))
	return r.aged(key, waited)
}

// Running is the key of a job that runs, by which it is compared with those that wait.
func (r Rule) Running(e Estimate, waited int64) int64 {
	key := mulDiv(e.Rank, 1000, 1000+min(max(r.Margin, 0), latest))
	return r.aged(key, waited)
}

func (r Rule) aged(key, waited int64) int64 {
	if r.Aging <= 0 || waited <= 0 {
		return key
	}
	aging := min(r.Aging, latest)
	return mulDiv(key, aging, aging+min(waited, latest))
}

// mulDiv is a*b/c for numbers that are not negative, with b <= c.
func mulDiv(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(max(a, 0)), uint64(b))
	q, _ := bits.Div64(hi, lo, uint64(c))
	return int64(q)
}
