package canary

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
)

func TestRulesAreChecked(t *testing.T) {
	if err := (Rule{}).Filled().Check(); err != nil {
		t.Fatal(err)
	}
	for field, bad := range map[string][]Rule{
		"steps":      {{Steps: []int{1, 5}}, {Steps: []int{100}}, {Steps: []int{5, 5, 100}}, {Steps: []int{0, 100}}, {Steps: []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 100}}, {Steps: []int{50, 101}}},
		"after":      {{After: 19}, {After: -1}, {After: maxAfter + 1}},
		"least_s":    {{LeastS: -1}, {LeastS: maxLeast + 1}},
		"max_errors": {{MaxErrors: 1}, {MaxErrors: -0.1}, {MaxErrors: math.NaN()}},
		"max_slower": {{MaxSlower: 0.99}, {MaxSlower: 101}, {MaxSlower: math.Inf(1)}, {MaxSlower: math.NaN()}},
		"quantile":   {{Quantile: 99}},
	} {
		for _, r := range bad {
			if err := r.Filled().Check(); !fault.Is(err, fault.Invalid) || fault.As(err).Field != field {
				t.Errorf("%s: %+v: %v", field, r, err)
			}
		}
	}
}

// The tails are those that adding up the terms gives.
func TestTailsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 400).Draw(t, "n")
		k := rapid.Int64Range(0, n+1).Draw(t, "k")
		p := rapid.Float64Range(0.001, 0.999).Draw(t, "p")
		want := 0.0
		for i := k; i <= n; i++ {
			want += math.Exp(choose(n, i) + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
		}
		if got := binomialAtLeast(k, n, p); math.Abs(got-want) > 1e-10+1e-8*want {
			t.Fatalf("P(Bin(%d, %v) >= %d) is %v, want %v", n, p, k, got, want)
		}
		m := rapid.Int64Range(1, 300).Draw(t, "m")
		a, b := rapid.Int64Range(0, m).Draw(t, "a"), rapid.Int64Range(0, n).Draw(t, "b")
		want = 0
		for x := a; x <= min(m, a+b); x++ {
			if a+b-x <= n {
				want += math.Exp(choose(m, x) + choose(n, a+b-x) - choose(m+n, a+b))
			}
		}
		if got := fisher(a, m, b, n); math.Abs(got-want) > 1e-9+1e-8*want {
			t.Fatalf("Fisher's %d of %d against %d of %d is %v, want %v", a, m, b, n, got, want)
		}
	})
	// Of millions: the median of a binomial, and no difference at all.
	if p := binomialAtLeast(5_000_001, 10_000_000, 0.5); math.Abs(p-0.5) > 0.001 {
		t.Errorf("half of ten million: %v", p)
	}
	if p := fisher(10_000, 1_000_000, 10_000, 1_000_000); p < 0.4 || p > 0.6 {
		t.Errorf("equal millions: %v", p)
	}
	if p := fisher(11_000, 1_000_000, 10_000, 1_000_000); p > 1e-9 {
		t.Errorf("unequal millions: %v", p)
	}
}

// A quantile is found to within a count, and lies within its bounds as often as these say.
func TestQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	outside := 0
	const rounds, level = 2000, 0.02
	for i := range rounds {
		q := []float64{0.5, 0.9}[i%2]
		var times Times
		for range 60 + i%200 {
			times.Note(time.Duration(float64(80*time.Millisecond) * math.Exp(0.7*r.NormFloat64())))
		}
		z := map[float64]float64{0.5: 0, 0.9: 1.2815515655446}[q]
		truth := 0.08 * math.Exp(0.7*z)
		low, high := times.atLeast(q, level), times.atMost(q, level)
		if low > truth || high > 0 && high < truth {
			outside++
		}
		if m := times.Quantile(q); m < low || high > 0 && m > high {
			t.Fatalf("p%v %v is not within %v to %v", q, m, low, high)
		}
	}
	if most := int(2 * level * rounds); outside > most {
		t.Errorf("%d of %d true quantiles are outside of their bounds, at most %d may be", outside, rounds, most)
	}
	var few Times
	few.Note(time.Second)
	few.Note(time.Hour)
	few.Note(-time.Second)
	if few.atLeast(0.5, 0.01) != 0 || few.atMost(0.5, 0.01) != 0 || few.total() != 3 || len(few) != timesMost {
		t.Errorf("of three durations nothing can be said: %v", few)
	}
}

// side is how one side really behaves.
type side struct {
	fails, refuses float64
	first          time.Duration // median
	spread         float64       // of the logarithm
}

func (s side) take(r *rand.Rand, a *Arm, n int) {
	for range n {
		a.Answers++
		switch x := r.Float64(); {
		case x < s.fails:
			a.Failed++
			continue
		case x < s.fails+s.refuses:
			a.Refused++
		}
		a.First.Note(time.Duration(float64(s.first) * math.Exp(s.spread*r.NormFloat64())))
	}
}

// run carries a canary through its steps, batch by batch, and says how it ended and after how many of its answers.
func run(r *rand.Rand, rule Rule, canary, stable side) (Move, int) {
	rule = rule.Filled()
	now := time.Unix(0, 0)
	asked := 0
	for s := (Stand{Since: now}); ; {
		var mine, theirs Arm
		for v := (Verdict{}); v.Move == Wait || v.Move == Hold; {
			now = now.Add(time.Second)
			canary.take(r, &mine, 10)
			stable.take(r, &theirs, 20)
			asked += 10
			v = rule.Judge(s, mine, theirs, now)
			s.Looks = v.Looks
			if v.Move == RollBack {
				return RollBack, asked
			}
		}
		if s = (Stand{Step: s.Step + 1, Since: now}); rule.Percent(s.Step) == 100 {
			return Promote, asked
		}
	}
}

// TestRates holds the rates that Judge states, and what it finds, with the default rule.
func TestRates(t *testing.T) {
	usual := side{fails: 0.005, refuses: 0.03, first: 200 * time.Millisecond, spread: 0.6}
	with := func(change func(*side)) side { s := usual; change(&s); return s }
	for name, x := range map[string]struct {
		canary side
		rule   Rule
		ends   Move
		least  float64 // share of the courses that end so
	}{
		"equal":              {canary: usual, ends: Promote, least: 0.99},
		"equal, p90":         {canary: usual, rule: Rule{Quantile: 90, After: 400}, ends: Promote, least: 0.99},
		"faster":             {canary: with(func(s *side) { s.first /= 2 }), ends: Promote, least: 0.99},
		"fails in ten":       {canary: with(func(s *side) { s.fails = 0.1 }), ends: RollBack, least: 0.999},
		"fails in twenty":    {canary: with(func(s *side) { s.fails = 0.05 }), ends: RollBack, least: 0.99},
		"refuses more":       {canary: with(func(s *side) { s.refuses = 0.15 }), ends: RollBack, least: 0.99},
		"slower by a half":   {canary: with(func(s *side) { s.first = s.first * 3 / 2 }), ends: RollBack, least: 0.99},
		"twice as slow, p90": {canary: with(func(s *side) { s.first *= 2 }), rule: Rule{Quantile: 90}, ends: RollBack, least: 0.99},
	} {
		r := rand.New(rand.NewPCG(7, uint64(len(name))))
		const courses = 400
		hit, asked := 0, 0
		for range courses {
			move, n := run(r, x.rule, x.canary, usual)
			asked += n
			if move == x.ends {
				hit++
			}
		}
		t.Logf("%s: %d of %d %s, after %d answers on average", name, hit, courses, x.ends, asked/courses)
		if float64(hit) < x.least*courses-2*math.Sqrt(courses*x.least*(1-x.least)) {
			t.Errorf("%s: only %d of %d were %s", name, hit, courses, x.ends)
		}
	}
	// What fails altogether is taken back after an eighth of the answers that the rule asks for.
	if move, n := run(rand.New(rand.NewPCG(1, 1)), Rule{}, side{fails: 1}, usual); move != RollBack || n > 30 {
		t.Errorf("a dead canary was %s after %d answers", move, n)
	}
}

// The tests alone take an equal canary back no more often than Alpha, however often they look, at the very limit.
func TestLookingOftenCostsNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	rule := Rule{Steps: []int{50, 100}, After: 100, MaxErrors: 0.05}.Filled()
	at := side{fails: 0.05, refuses: 0.05, first: 50 * time.Millisecond, spread: 1}
	level := Alpha / float64(looks*tests)
	const courses = 3000
	wrong := 0
	for range courses {
		var mine, theirs Arm
		looked := 0
		for looked < looks-1 {
			at.take(r, &mine, 5)
			at.take(r, &theirs, 5)
			if due := rule.reached(mine.Answers); due > looked {
				looked = due
				if rule.worse(mine, theirs, level) != "" {
					wrong++
					break
				}
			}
		}
	}
	if most := int(Alpha*courses + 3*math.Sqrt(Alpha*courses)); wrong > most {
		t.Errorf("%d of %d equal canaries were taken back by the tests, at most %d may be", wrong, courses, most)
	}
}

// What is asked of a step holds: enough answers on both sides, enough time, no more looks than there are.
func TestJudgeAsksForEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := Rule{After: rapid.Int64Range(minAfter, 500).Draw(t, "after"), LeastS: rapid.IntRange(0, 100).Draw(t, "least")}.Filled()
		arm := func(name string) (a Arm) {
			a.Answers = rapid.Int64Range(0, 6000).Draw(t, name)
			a.Failed = rapid.Int64Range(0, a.Answers).Draw(t, name+" failed") / rapid.SampledFrom([]int64{1, 10, 100, 10_000}).Draw(t, name+" of")
			for range rapid.IntRange(0, 50).Draw(t, name+" began") {
				a.First.Note(time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "first")))
			}
			return a
		}
		canary, stable := arm("canary"), arm("stable")
		s := Stand{Looks: rapid.IntRange(0, looks).Draw(t, "looks")}
		past := time.Duration(rapid.IntRange(0, 200).Draw(t, "past")) * time.Second
		v := rule.Judge(s, canary, stable, s.Since.Add(past))
		enough := min(canary.Answers, stable.Answers) >= rule.After && past >= time.Duration(rule.LeastS)*time.Second
		switch {
		case v.Looks < s.Looks || v.Looks > looks:
			t.Fatalf("%d looks after %d", v.Looks, s.Looks)
		case v.Move == Wait && v.Looks != s.Looks, v.Move != Wait && v.Looks == s.Looks:
			t.Fatalf("%q at %d looks after %d", v.Move, v.Looks, s.Looks)
		case v.Move == Promote && (!enough || float64(canary.Failed) > rule.MaxErrors*float64(canary.Answers) || canary.First.total() == 0):
			t.Fatalf("promoted: %+v", v)
		case v.Move != Wait && v.Why == "":
			t.Fatalf("%s without a reason", v.Move)
		}
		if v.Move == Promote { // what fails more is not promoted the sooner
			canary.Failed = canary.Answers
			if w := rule.Judge(s, canary, stable, s.Since.Add(past)); w.Move != RollBack || !strings.Contains(w.Why, "failed") {
				t.Fatalf("all failed: %+v", w)
			}
		}
	})
}

// Sessions stay where they are as the share grows, and spread evenly.
func TestSessionsStick(t *testing.T) {
	const sessions = 20_000
	on := map[int]int{}
	for i := range sessions {
		p := Point("can_1", "prj_1", []byte{byte(i), byte(i >> 8)})
		if p != Point("can_1", "prj_1", []byte{byte(i), byte(i >> 8)}) {
			t.Fatal("a session moved")
		}
		was := false
		for _, share := range []int{0, 1, 5, 25, 50, 100} {
			is := On(p, share)
			if was && !is {
				t.Fatalf("a session left the canary at %d %%", share)
			}
			if was = is; is {
				on[share]++
			}
		}
	}
	for _, share := range []int{0, 1, 5, 25, 50, 100} {
		mean := float64(sessions*share) / 100
		if off := math.Abs(float64(on[share]) - mean); off > 4*math.Sqrt(mean) {
			t.Errorf("%d of %d sessions are on the canary at %d %%", on[share], sessions, share)
		}
	}
}

// shelf keeps what lives told.
type shelf struct {
	of   map[string]map[Key]Count
	gone Key
	err  error
}

func (s *shelf) TellCounts(_ context.Context, life string, list []Count) (gone []Key, err error) {
	if s.err != nil {
		return nil, s.err
	}
	if s.of[life] == nil {
		s.of[life] = map[Key]Count{}
	}
	for _, c := range list {
		if c.Key == s.gone {
			gone = append(gone, c.Key)
			continue
		}
		s.of[life][c.Key] = c
	}
	return gone, nil
}

func (s *shelf) sum(k Key) (trial, stable Arm) {
	for _, counts := range s.of {
		c := counts[k]
		trial.Add(c.Trial)
		stable.Add(c.Stable)
	}
	return trial, stable
}

// Whatever is told twice, not at all or by a life that ended, what is summed is what was counted and told.
func TestCountsAreSummedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &shelf{of: map[string]map[Key]Count{}}
		k := Key{"can_1", 2}
		life, b := 0, &Book{}
		var told, here [2]Arm // by those that ended or told all, and by this life since
		t.Repeat(map[string]func(*rapid.T){
			"end": func(t *rapid.T) {
				on := rapid.Bool().Draw(t, "on")
				e := End{Failed: rapid.Bool().Draw(t, "failed"), First: time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "first"))}
				b.Add(k, on, e)
				i := 0
				if on {
					i = 1
				}
				one := Arm{Answers: 1}
				if e.Failed {
					one.Failed = 1
				}
				if e.First > 0 {
					one.First.Note(e.First)
				}
				here[i].Add(one)
			},
			"tell": func(t *rapid.T) {
				s.err = nil
				if rapid.Bool().Draw(t, "fails") {
					s.err = errors.New("away")
				}
				if err := b.Tell(context.Background(), s, string(rune('a'+life))); err == nil {
					for i := range told {
						told[i].Add(here[i])
						here[i] = Arm{}
					}
				}
			},
			"die": func(*rapid.T) { // what it had not told is lost
				life, b, here = life+1, &Book{}, [2]Arm{}
			},
			"": func(t *rapid.T) {
				trial, stable := s.sum(k)
				if d := cmp.Diff([2]Arm{stable, trial}, told, cmp.Transformer("trim", func(x Times) []int64 {
					for len(x) > 0 && x[len(x)-1] == 0 {
						x = x[:len(x)-1]
					}
					return append([]int64{}, x...)
				})); d != "" {
					t.Fatal(d)
				}
			},
		})
	})
	b, s := &Book{}, &shelf{of: map[string]map[Key]Count{}, gone: Key{"can_1", 1}}
	b.Add(s.gone, true, End{})
	if err := b.Tell(t.Context(), s, "a"); err != nil || len(b.counts) != 0 {
		t.Errorf("%v; it still counts %v", err, b.counts)
	}
}
