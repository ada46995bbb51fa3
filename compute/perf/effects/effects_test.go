package effects

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// crossed is work on chips: the chip, the work, and the two together.
func crossed() Model {
	return Model{Levels: []Level{{"chip", 0.5}, {"work", 0.5}, {"cell", 0.3}}, Noise: 0.05}
}

func at(work, chip string) []string { return []string{chip, work, work + "|" + chip} }

func near(a, b, off float64) bool { return math.Abs(a-b) <= off }

// Nothing measured: the prior stands, as unsure as all levels together.
func TestNothingIsMeasured(t *testing.T) {
	b := New(crossed())
	mean, sd := b.Predict(at("w", "c"))
	if want := math.Sqrt(0.25 + 0.25 + 0.09); mean != 0 || !near(sd, want, 1e-12) {
		t.Errorf("%g with a deviation of %g, not 0 with %g", mean, sd, want)
	}
}

// By hand: one measurement y of (w, c). The cell itself takes var/(var+noise) of it, another chip with the same work
// 0.25/(0.59+0.0025), work and chip that share nothing none.
func TestOneMeasurementByHand(t *testing.T) {
	b := New(crossed())
	if v := b.Add(at("w", "c"), 0.7); v != Taken {
		t.Fatal(v)
	}
	const all, noise = 0.59, 0.0025
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
	b := New(crossed())
	for _, chip := range []string{"k", "p"} {
		b.Add(at("w", chip), math.Log(0.5))
	}
	if mean, _ := b.Predict(at("w", "v")); mean > math.Log(0.7) {
		t.Errorf("on the chip without a measurement it is expected at %.2f of its prior", math.Exp(mean))
	}
}

// What cells are to each other is surer than what each is.
func TestJointIsSurer(t *testing.T) {
	b := New(crossed())
	b.Add(at("x", "k"), 0.1)
	_, cov := b.Joint([][]string{at("w", "k"), at("w", "v")})
	if diff := cov[0][0] + cov[1][1] - 2*cov[0][1]; diff >= cov[0][0]+cov[1][1]-0.4 {
		t.Errorf("the difference of two cells of one work has the variance %g, and they have %g and %g", diff, cov[0][0], cov[1][1])
	}
}

// With more and more measurements each cell comes to its truth, whatever it is.
func TestConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := New(crossed())
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		truth := map[string]float64{}
		for w := range rapid.IntRange(1, 4).Draw(t, "works") {
			for c := range rapid.IntRange(1, 3).Draw(t, "chips") {
				work, chip := fmt.Sprint("w", w), fmt.Sprint("c", c)
				y := rapid.Float64Range(-1.5, 1.5).Draw(t, "truth")
				truth[work+" "+chip] = y
				for range 30 {
					b.Add(at(work, chip), y+0.05*r.NormFloat64())
				}
			}
		}
		for name, y := range truth {
			var work, chip string
			_, _ = fmt.Sscan(name, &work, &chip)
			mean, sd := b.Predict(at(work, chip))
			if !near(mean, y, 0.06) || sd > 0.03 {
				t.Fatalf("%s is expected at %g with a deviation of %g, and is %g", name, mean, sd, y)
			}
		}
	})
}

// The order of measurements that nobody doubts does not matter, to the last bit.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type one struct {
			keys []string
			y    float64
		}
		var all []one
		for range rapid.IntRange(1, 40).Draw(t, "n") {
			w, c := rapid.IntRange(0, 4).Draw(t, "work"), rapid.IntRange(0, 2).Draw(t, "chip")
			all = append(all, one{at(fmt.Sprint(w), fmt.Sprint(c)), rapid.Float64Range(-1, 1).Draw(t, "y")})
		}
		count := map[string]int{}
		for _, x := range all {
			if count[x.keys[2]]++; count[x.keys[2]] > kept {
				t.Skip("more than a cell keeps")
			}
		}
		a, b := New(crossed()), New(crossed())
		for _, x := range all {
			if a.Add(x.keys, x.y) != Taken {
				t.Fatal("a figure within the range was doubted")
			}
		}
		for _, i := range rapid.Permutation(all).Draw(t, "order") {
			b.Add(i.keys, i.y)
		}
		for w := range 6 {
			m, s := a.Predict(at(fmt.Sprint(w), "1"))
			if n, u := b.Predict(at(fmt.Sprint(w), "1")); m != n || s != u {
				t.Fatalf("%g (%g) and %g (%g)", m, s, n, u)
			}
		}
	})
}

// One that lies by more than ten times corrects nothing, and one that lies by less moves a cell that has two others by little.
func TestALiarCannotRunAway(t *testing.T) {
	b := New(crossed())
	for range 3 {
		b.Add(at("w", "c"), 0)
		b.Add(at("x", "c"), 0)
	}
	was, _ := b.Predict(at("w", "v"))
	if v := b.Add(at("w", "c"), math.Log(1000)); v != Doubted {
		t.Fatalf("a thousand times the prior is %s", v)
	}
	if v := b.Add(at("w", "v"), math.Log(1e-6)); v != Doubted { // never measured there
		t.Fatalf("a millionth of the prior is %s", v)
	}
	if now, _ := b.Predict(at("w", "v")); now != was {
		t.Errorf("what is doubted moved the prediction from %g to %g", was, now)
	}
	b.Add(at("w", "c"), math.Log(8))
	if mean, _ := b.Predict(at("w", "c")); !near(mean, 0, 0.03) {
		t.Errorf("one of four that is off by eight times moved the cell to %g", mean)
	}
	if taken, doubted := b.Count(at("w", "c")); taken != 4 || doubted != 1 {
		t.Errorf("%d are taken and %d doubted", taken, doubted)
	}
	// Two that say the same are believed: the world may have changed, or the prior been wrong.
	if v := b.Add(at("w", "v"), math.Log(1.2e-6)); v != Taken {
		t.Fatalf("the second is %s", v)
	}
	if mean, _ := b.Predict(at("w", "v")); mean > math.Log(1e-4) {
		t.Errorf("two that agree are predicted at %g", math.Exp(mean))
	}
}

// What is no figure is refused, and the number of cells stays bounded.
func TestBounds(t *testing.T) {
	b := New(crossed())
	for _, y := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if v := b.Add(at("w", "c"), y); v != Refused {
			t.Errorf("%g is %s", y, v)
		}
	}
	if v := b.Add([]string{"c"}, 0); v != Refused {
		t.Errorf("one key for three levels is %s", v)
	}
	small := New(Model{Levels: []Level{{"cell", 0.5}}, Noise: 0.1})
	for i := range MaxCells + 3 {
		small.tick++ // as if each had been measured, without solving for each
		c := small.open([]string{fmt.Sprint(i)})
		c.take(0.5)
		c.at = small.tick
	}
	if len(small.cells) != MaxCells {
		t.Errorf("%d cells", len(small.cells))
	}
	if n, _ := small.Count([]string{"2"}); n != 0 {
		t.Error("one of the oldest is still there")
	}
	if mean, _ := small.Predict([]string{"7"}); mean < 0.4 {
		t.Errorf("a cell that is there is predicted at %g", mean)
	}
}
