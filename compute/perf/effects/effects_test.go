package effects

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// crossed is work on chips: the chip, the work, and the two together.
func crossed() *Book { return New(Level{"chip", 0.5}, Level{"work", 0.5}, Level{"cell", 0.3}) }

var today = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// told is one measurement, of a source of its own.
func told(y float64) Single {
	source++
	return Single{Ratio: y, Count: 1, At: today, By: fmt.Sprint(source)}
}

var source int

func at(work, chip string) []string { return []string{chip, work, work + "|" + chip} }

func near(a, b, off float64) bool { return math.Abs(a-b) <= off }

// Nothing measured: the prior stands, as unsure as all levels together.
func TestNothingIsMeasured(t *testing.T) {
	b := crossed()
	mean, sd := b.Predict(at("w", "c"))
	if want := math.Sqrt(0.25 + 0.25 + 0.09); mean != 0 || !near(sd, want, 1e-12) {
		t.Errorf("%g with a deviation of %g, not 0 with %g", mean, sd, want)
	}
}

// By hand: one measurement y of (w, c). The cell itself takes var/(var+noise) of it, another chip with the same work
// 0.25/(0.59+0.0025), work and chip that share nothing none.
func TestOneMeasurementByHand(t *testing.T) {
	b := crossed()
	if v := b.Add(at("w", "c"), told(0.7)); v != Taken {
		t.Fatal(v)
	}
	const all, noise = 0.59, Noise * Noise * 4 / 5 // one measurement, and what stands for four until it knows better
	for _, c := range []struct {
		work, chip string
		shared     float64
	}{{"w", "c", all}, {"w", "other", 0.25}, {"other", "c", 0.25}, {"other", "other", 0}} {
		mean, sd := b.Predict(at(c.work, c.chip))
		if want := 0.7 * c.shared / (all + noise); !near(mean, want, 1e-12) {
			t.Errorf("%s on %s: %g, not %g", c.work, c.chip, mean, want)
		}
		if want := math.Sqrt(all - c.shared*c.shared/(all+noise)); !near(sd, want, 1e-12) {
			t.Errorf("%s on %s: deviation %g, not %g", c.work, c.chip, sd, want)
		}
	}
}

// Work that is at half its prior wherever it was measured is expected there on the chip where it was not: what the two chips
// are to each other does not move by measuring on one of them as it would if the cell alone learnt.
func TestWorkIsSlowEverywhere(t *testing.T) {
	b := crossed()
	for _, chip := range []string{"k", "p"} {
		b.Add(at("w", chip), told(math.Log(0.5)))
	}
	if mean, _ := b.Predict(at("w", "v")); mean > math.Log(0.7) {
		t.Errorf("on the chip without a measurement it is expected at %.2f of its prior", math.Exp(mean))
	}
}

// What cells are to each other is surer than what each is.
func TestJointIsSurer(t *testing.T) {
	b := crossed()
	b.Add(at("x", "k"), told(0.1))
	_, cov := b.Joint([][]string{at("w", "k"), at("w", "v")})
	if diff := cov[0][0] + cov[1][1] - 2*cov[0][1]; diff >= cov[0][0]+cov[1][1]-0.4 {
		t.Errorf("the difference of two cells of one work has the variance %g, and they have %g and %g", diff, cov[0][0], cov[1][1])
	}
}

// With more and more measurements each cell comes to its truth, whatever it is.
func TestConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := crossed()
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		truth := map[string]float64{}
		for w := range rapid.IntRange(1, 4).Draw(t, "works") {
			for c := range rapid.IntRange(1, 3).Draw(t, "chips") {
				work, chip := fmt.Sprint("w", w), fmt.Sprint("c", c)
				y := rapid.Float64Range(-1.5, 1.5).Draw(t, "truth")
				truth[work+" "+chip] = y
				for range 100 {
					b.Add(at(work, chip), told(y+0.05*r.NormFloat64()))
				}
			}
		}
		for name, y := range truth {
			var work, chip string
			_, _ = fmt.Sscan(name, &work, &chip)
			mean, sd := b.Predict(at(work, chip))
			if !near(mean, y, 0.06) || sd > 0.06 {
				t.Fatalf("%s is expected at %g with a deviation of %g, and is %g", name, mean, sd, y)
			}
		}
	})
}

// The order of measurements that nobody doubts does not matter.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type one struct {
			keys []string
			x    Single
		}
		var all []one
		for i := range rapid.IntRange(1, 40).Draw(t, "n") {
			w, c := rapid.IntRange(0, 4).Draw(t, "work"), rapid.IntRange(0, 2).Draw(t, "chip")
			x := Single{Ratio: rapid.Float64Range(-1, 1).Draw(t, "y"), Count: float64(rapid.IntRange(1, 5).Draw(t, "count")), By: fmt.Sprint(i),
				At: today.Add(-time.Duration(rapid.IntRange(0, 100).Draw(t, "days")) * 24 * time.Hour)}
			all = append(all, one{at(fmt.Sprint(w), fmt.Sprint(c)), x})
		}
		a, b := crossed(), crossed()
		for _, x := range all {
			if a.Add(x.keys, x.x) != Taken {
				t.Fatal("a figure within the range was doubted")
			}
		}
		for _, i := range rapid.Permutation(all).Draw(t, "order") {
			b.Add(i.keys, i.x)
		}
		for w := range 6 {
			m, s := a.Predict(at(fmt.Sprint(w), "1"))
			if n, u := b.Predict(at(fmt.Sprint(w), "1")); !near(m, n, 1e-9) || !near(s, u, 1e-9) {
				t.Fatalf("%g (%g) and %g (%g)", m, s, n, u)
			}
		}
	})
}

// Of cells that are measured, those predicted lie within what was measured and the prior: nothing is made of nothing.
func TestPredictionsStayAmongWhatIsKnown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := New(Level{"chip", 0.5}, Level{"cell", 0.3}) // nested, where no weight is negative
		low, high := 0.0, 0.0
		for range rapid.IntRange(1, 20).Draw(t, "n") {
			c := fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "chip"))
			y := rapid.Float64Range(-0.5, 0.5).Draw(t, "y") // so near that none is strange
			low, high = min(low, y), max(high, y)
			b.Add([]string{c, c + fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "work"))}, told(y))
		}
		for _, keys := range [][]string{{"0", "00"}, {"1", "19"}, {"7", "70"}} {
			if mean, _ := b.Predict(keys); mean < low-1e-9 || mean > high+1e-9 {
				t.Fatalf("%v is predicted at %g, outside of %g to %g", keys, mean, low, high)
			}
		}
	})
}

// One that lies by more than ten times corrects nothing, one that lies by less moves little, and many are believed.
func TestALiarCannotRunAway(t *testing.T) {
	b := crossed()
	for range 10 {
		b.Add(at("w", "c"), told(0))
		b.Add(at("x", "c"), told(0))
		b.Add(at("w", "p"), told(0))
	}
	was, _ := b.Predict(at("w", "v"))
	if v := b.Add(at("w", "c"), told(math.Log(1000))); v != Doubted {
		t.Fatalf("a thousand times the prior is %s", v)
	}
	if v := b.Add(at("w", "v"), told(math.Log(1e-6))); v != Doubted { // never measured there
		t.Fatalf("a millionth of the prior is %s", v)
	}
	if now, _ := b.Predict(at("w", "v")); now != was {
		t.Errorf("what is doubted moved the prediction from %g to %g", was, now)
	}
	b.Add(at("w", "c"), told(math.Log(8)))
	if mean, _ := b.Predict(at("w", "c")); !near(mean, 0, 0.25) {
		t.Errorf("one of eleven that is off by eight times moved the cell to %g", mean)
	}
	b.Add(at("x", "p"), told(math.Log(9))) // alone in its cell, and all around it say otherwise
	if mean, _ := b.Predict(at("x", "p")); mean > math.Log(2.5) {
		t.Errorf("one alone that is off by nine times moved the cell to %g", mean)
	}
	for range 30 {
		b.Add(at("x", "p"), told(math.Log(9)))
	}
	if mean, _ := b.Predict(at("x", "p")); mean < math.Log(7) {
		t.Errorf("thirty that agree moved the cell to %g", mean)
	}
	// Two sources that say the same are believed: the world may have changed, or the prior been wrong. One source is not, however
	// often it says so.
	again := told(math.Log(1.2e-6))
	again.By = b.Of(at("w", "v")).Apart[0].By
	if v := b.Add(at("w", "v"), again); v != Doubted {
		t.Fatalf("the same source again is %s", v)
	}
	if v := b.Add(at("w", "v"), told(math.Log(1.2e-6))); v != Taken {
		t.Fatalf("the second is %s", v)
	}
	if one := b.Of(at("w", "c")); one.Waiting() != 1 || one.Count != 11 {
		t.Errorf("%+v", one)
	}
}

// What is old counts less, and in the end nothing.
func TestMeasurementsFade(t *testing.T) {
	b := crossed()
	old := told(math.Log(2))
	old.At = today.Add(-6 * HalfLife)
	b.Add(at("w", "c"), old)
	if mean, _ := b.Predict(at("w", "c")); mean < math.Log(1.9) {
		t.Errorf("the newest there is counts: %g", mean)
	}
	for range 4 {
		b.Add(at("w", "c"), told(0))
	}
	if mean, _ := b.Predict(at("w", "c")); mean > 0.02 {
		t.Errorf("what is old moves it to %g", mean)
	}
	b.now = today.Add(20 * HalfLife)
	b.fit = nil
	if mean, _ := b.Predict(at("w", "c")); mean != 0 {
		t.Errorf("what has faded still tells %g", mean)
	}
}

// What is no figure is refused, and the number of cells stays bounded.
func TestBounds(t *testing.T) {
	b := crossed()
	for _, y := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if v := b.Add(at("w", "c"), told(y)); v != Refused {
			t.Errorf("%g is %s", y, v)
		}
	}
	if v := b.Add([]string{"c"}, told(0)); v != Refused {
		t.Errorf("one key for three levels is %s", v)
	}
	if v := b.Add(at("w", "c"), Single{}); v != Refused {
		t.Errorf("a count of nothing is %s", v)
	}
	small := New(Level{"cell", 0.5})
	for i := range MaxCells + 3 { // without solving for each
		x := told(0.5)
		x.At = today.Add(time.Duration(i) * time.Second)
		small.open(fmt.Sprint(i), []string{fmt.Sprint(i)}).Add(x, false)
	}
	if len(small.cells) != MaxCells {
		t.Errorf("%d cells", len(small.cells))
	}
	if small.Of([]string{"2"}).Count != 0 || small.Of([]string{"7"}).Count != 1 {
		t.Error("it was not the oldest that made room")
	}
}

// What far-off words of several sources come to does not depend on their order, whoever repeats himself: a word counts where another
// source tells nearly the same.
func TestOrderOfWordsKeptApart(t *testing.T) {
	word := func(by string, ratio float64, days int) Single {
		return Single{Ratio: ratio, Count: 2, At: today.Add(-time.Duration(days) * 24 * time.Hour), By: by}
	}
	for name, all := range map[string][]Single{
		"two sources":               {word("a", -3.4, 0), word("b", -3.4, 1)},
		"one of them says it twice": {word("a", -3.4, 0), word("a", -3.3, 2), word("b", -3.4, 1)},
		"one agrees with both":      {word("a", -3.4, 0), word("a", -2.8, 2), word("b", -3.1, 1), word("c", -2.5, 3)},
	} {
		var first *Tally
		orders(all, func(list []Single) {
			var got Tally
			for _, x := range list {
				got.Add(x, true)
			}
			if first == nil {
				first = &got
			}
			if got.Count == 0 || !near(got.Count, first.Count, 1e-12) || !near(got.Mean, first.Mean, 1e-12) || !near(got.Squares, first.Squares, 1e-12) || got.Waiting() != first.Waiting() {
				t.Errorf("%s: %+v, in another order %+v", name, got, *first)
			}
		})
	}
	var flooded Tally
	flooded.Add(word("a", -3.4, 90), true)
	for i := range 100 {
		flooded.Add(word("liar", 5, i%50), true)
	}
	if flooded.Add(word("b", -3.4, 0), true); flooded.Count == 0 || len(flooded.Apart) > KeptApart {
		t.Errorf("the words of others are pushed out: %+v", flooded)
	}
}

// orders gives every order of a list.
func orders(list []Single, f func([]Single)) {
	var rest func(head, tail []Single)
	rest = func(head, tail []Single) {
		if len(tail) == 0 {
			f(head)
		}
		for i := range tail {
			rest(append(slices.Clip(head), tail[i]), slices.Concat(tail[:i], tail[i+1:]))
		}
	}
	rest(nil, list)
}
