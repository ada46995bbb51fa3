// Package canary decides when a new backend of a route has proven itself: it counts how requests end on the new backend
// and on those it is to replace, and says of two such counts whether the new one goes on to a larger share, is taken back,
// or needs more answers.
//
// Rules for callers: a Book counts in memory and tells absolute counts under the name of one life of one process, so that
// whoever adds them up counts nothing twice, whatever died in between. Judge is pure; whoever carries a Verdict out stores
// it, with Verdict.Looks, before anybody can act on it, for the stated rates hold only if no look is forgotten.
package canary

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Rule says how a canary grows. What is zero has its default, see Filled.
type Rule struct {
	Steps     []int   `json:"steps"`      // percent of the route's requests, rising, the last is 100; default 1, 5, 25, 50, 100
	After     int64   `json:"after"`      // answers on each side that a step is judged by; default 200
	LeastS    int     `json:"least_s"`    // a step takes at least so long, seconds
	MaxErrors float64 `json:"max_errors"` // the share of answers that may fail; default 0.02
	MaxSlower float64 `json:"max_slower"` // how many times as long the first byte may take as on the stable backends; default 1.25
	Quantile  int     `json:"quantile"`   // of the time to the first byte that is compared: 50 or 90; default 50
}

// Bounds of a rule.
const (
	MaxSteps = 10
	minAfter = 20
	maxAfter = 1_000_000
	maxLeast = 30 * 24 * 3600
	maxTimes = 100
)

// Filled is the rule with its defaults.
func (r Rule) Filled() Rule {
	if len(r.Steps) == 0 {
		r.Steps = []int{1, 5, 25, 50, 100}
	}
	if r.After == 0 {
		r.After = 200
	}
	if r.MaxErrors == 0 {
		r.MaxErrors = 0.02
	}
	if r.MaxSlower == 0 {
		r.MaxSlower = 1.25
	}
	if r.Quantile == 0 {
		r.Quantile = 50
	}
	return r
}

// Check says what is wrong with a filled rule: a fault of kind Invalid with the field.
func (r Rule) Check() error {
	rising := len(r.Steps) >= 2 && len(r.Steps) <= MaxSteps && r.Steps[0] >= 1 && r.Steps[len(r.Steps)-1] == 100
	for i := 1; i < len(r.Steps); i++ {
		rising = rising && r.Steps[i] > r.Steps[i-1]
	}
	switch {
	case !rising:
		return fault.InvalidField("steps", "The steps of a canary are 2 to %d rising percentages, the last of which is 100.", MaxSteps)
	case r.After < minAfter || r.After > maxAfter:
		return fault.InvalidField("after", "A step of a canary is judged after %d to %d answers.", minAfter, maxAfter)
	case r.LeastS < 0 || r.LeastS > maxLeast:
		return fault.InvalidField("least_s", "A step of a canary takes at least 0 to %d seconds.", maxLeast)
	case !(r.MaxErrors > 0 && r.MaxErrors < 1):
		return fault.InvalidField("max_errors", "The share of answers of a canary that may fail is above 0 and below 1.")
	case !(r.MaxSlower >= 1 && r.MaxSlower <= maxTimes):
		return fault.InvalidField("max_slower", "A canary may be 1 to %d times as slow.", maxTimes)
	case r.Quantile != 50 && r.Quantile != 90:
		return fault.InvalidField("quantile", "The quantile that is compared is 50 or 90.")
	}
	return nil
}

// Equal says whether two rules are the same.
func (r Rule) Equal(o Rule) bool {
	return slices.Equal(r.Steps, o.Steps) && r.After == o.After && r.LeastS == o.LeastS && r.MaxErrors == o.MaxErrors && r.MaxSlower == o.MaxSlower && r.Quantile == o.Quantile
}

// Percent is the share of a step.
func (r Rule) Percent(step int) int { return r.Steps[min(max(step, 0), len(r.Steps)-1)] }

// Point is where a session lies on the circle of all sessions, the same in every process. Whoever is on the canary at one
// share is so at every larger one.
func Point(canary, project string, session []byte) uint64 {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s ", canary, project)
	h.Write(session)
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// On says whether a point, or any evenly drawn number, is within a percentage.
func On(point uint64, percent int) bool {
	of, _ := bits.Mul64(point, 100)
	return of < uint64(percent)
}

// Move is what becomes of a canary.
type Move string

// The moves.
const (
	Wait     Move = ""         // it needs more answers, or time
	Hold     Move = "held"     // it was looked at and stays where it is
	Promote  Move = "promoted" // it goes on to the next step; at the last one it is the route's backend
	RollBack Move = "rolled_back"
)

// Stand is where a canary stands.
type Stand struct {
	Step  int
	Looks int       // how often it was looked at in this step
	Since time.Time // when the step began
}

// Verdict is what was found.
type Verdict struct {
	Move  Move
	Looks int    // as Stand has it from now on
	Why   string // a sentence with the numbers
}

// Alpha is how often, at most, a canary that fails as often as is allowed and is no slower than the stable backends is
// taken back by one of the tests, over all its steps and looks together.
const Alpha = 0.01

// looks is how often a step is looked at, at most: after an eighth, a quarter, a half of the answers that the rule asks
// for, after all of them, and after 2, 4 and 8 times as many; and once more where only time was wanting.
const looks = 8

// tests are those of one look.
const tests = 3

// reached is how many looks so many answers on each side are good for.
func (r Rule) reached(n int64) int {
	k := 0
	for k < looks-1 && n*8 >= r.After<<k {
		k++
	}
	return k
}

// Judge looks at what was counted since the step began.
//
// It takes the canary back as soon as one of three tests says that it is worse: that it fails more often than the rule
// allows (exact binomial test); that of its answers more fail or are refused than of the stable ones (Fisher's exact test,
// one-sided: R. A. Fisher, Statistical Methods for Research Workers, 1934, section 21.02, the conditional two-proportion test);
// that the quantile of its time to the first byte is more than the allowed multiple of the stable one, where the bounds of both
// quantiles are distribution-free (H. A. David and H. N. Nagaraja, Order Statistics, 2003, section 7.1). Alpha is divided
// evenly over tests, looks and steps (Bonferroni), so that looking early and often costs nothing of it.
//
// It promotes at a look with enough answers and time where none of the tests speaks and what was seen is within the rule:
// the share that failed, and the ratio of the quantiles. Where it is not, more answers are waited for, up to eight times as
// many; then the canary is taken back. Answers of one session are taken to be independent, which is nearly true of many
// sessions and wrong of one.
func (r Rule) Judge(s Stand, canary, stable Arm, now time.Time) Verdict {
	n := min(canary.Answers, stable.Answers)
	due, ripe := r.reached(n), n >= r.After && now.Sub(s.Since) >= time.Duration(r.LeastS)*time.Second
	if ripe {
		due++
	}
	if due <= s.Looks {
		return Verdict{Move: Wait, Looks: s.Looks}
	}
	v := Verdict{Move: Hold, Looks: due}
	level := Alpha / float64(looks*tests*(len(r.Steps)-1))
	if why := r.worse(canary, stable, level); why != "" {
		v.Move, v.Why = RollBack, why
		return v
	}
	good, why := r.within(canary, stable)
	v.Why = why
	switch {
	case ripe && good:
		v.Move = Promote
	case ripe && n >= 8*r.After:
		v.Move = RollBack
		v.Why += fmt.Sprintf(" It was not good enough after %d times as many answers as the rule asks for.", 8)
	}
	return v
}

// worse says why the canary is worse, for certain but for level; empty when it cannot be said.
func (r Rule) worse(canary, stable Arm, level float64) string {
	if p := binomialAtLeast(canary.Failed, canary.Answers, r.MaxErrors); p <= level {
		return fmt.Sprintf("%d of its %d answers failed (%s), and the rule allows %s (p = %.1g).", canary.Failed, canary.Answers,
			percent(canary.Failed, canary.Answers), share(r.MaxErrors), p)
	}
	bad, other := canary.Failed+canary.Refused, stable.Failed+stable.Refused
	if p := fisher(bad, canary.Answers, other, stable.Answers); p <= level {
		return fmt.Sprintf("%d of its %d answers failed or were refused (%s), of the stable ones %d of %d (%s; p = %.1g).", bad, canary.Answers,
			percent(bad, canary.Answers), other, stable.Answers, percent(other, stable.Answers), p)
	}
	q := float64(r.Quantile) / 100
	least, most := canary.First.atLeast(q, level/2), stable.First.atMost(q, level/2)
	if most > 0 && least > most*r.MaxSlower {
		return fmt.Sprintf("Its first byte takes %s (p%d) and at least %s, that of the stable ones %s and at most %s: more than %.4g times as long.",
			told(canary.First.Quantile(q)), r.Quantile, told(least), told(stable.First.Quantile(q)), told(most), r.MaxSlower)
	}
	return ""
}

// within says whether what was seen is within the rule, and what that was.
func (r Rule) within(canary, stable Arm) (bool, string) {
	q := float64(r.Quantile) / 100
	mine, theirs := canary.First.Quantile(q), stable.First.Quantile(q)
	text := fmt.Sprintf("%d of its %d answers failed (%s; the rule allows %s; of the stable ones %d of %d)", canary.Failed, canary.Answers,
		percent(canary.Failed, canary.Answers), share(r.MaxErrors), stable.Failed, stable.Answers)
	good := canary.Answers > 0 && float64(canary.Failed) <= r.MaxErrors*float64(canary.Answers)
	switch {
	case mine == 0:
		return false, text + "; none of its answers began."
	case theirs == 0:
		return good, text + "; none of the stable ones began."
	}
	text += fmt.Sprintf("; its first byte takes %s (p%d), %.2f times that of the stable ones, where %.4g is allowed.", told(mine), r.Quantile, mine/theirs, r.MaxSlower)
	return good && mine <= theirs*r.MaxSlower, text
}

func percent(n, of int64) string { return share(float64(n) / float64(max(of, 1))) }

func share(x float64) string { return fmt.Sprintf("%.3g %%", 100*x) }

// told is a time in seconds for people.
func told(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(10 * time.Microsecond).String()
}
