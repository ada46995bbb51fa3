package main

import (
	"math"
	"os"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/compute/perf"
)

// TestTheEmbeddedEngineIsPredicted fits to the six shapes as they were measured and holds how far the twelve others are
// off, the numbers of compute/perf, and that its answers are those of the fit.
func TestTheEmbeddedEngineIsPredicted(t *testing.T) {
	d, err := read("testdata/native.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Rows) != len(cases)*len(tasks) {
		t.Fatalf("%d rows", len(d.Rows))
	}
	var all []float64
	for _, task := range tasks {
		k := fit(task, d.Rows, d.Machine)
		_, others := d.errors(task, k)
		if len(others) != 12 {
			t.Fatalf("%d shapes of %s are predicted", len(others), task)
		}
		all = append(all, others...)
		if m := quantile(others, 0.5); m > 0.15 {
			t.Errorf("%s: the median error is %.0f %%", task, 100*m)
		}
		have, spread := perf.NativeCosts(task)
		inside := 0
		for i, x := range parts(&k) {
			if y := *parts(&have)[i]; math.Abs(math.Log(*x/y)) > 0.03 {
				t.Errorf("%s: number %d of compute/perf is %g and the fit says %g", task, i, y, *x)
			}
		}
		for _, r := range d.Rows {
			if r.Task != task {
				continue
			}
			c := find(r.Case)
			a, refused := perf.Predict(c.question(task, d.Machine))
			if refused != nil {
				t.Fatal(refused)
			}
			if want := rate(c, task, have, d.Machine); math.Abs(a.Rate/want-1) > 1e-6 || a.Known != perf.Prior || math.Abs(a.High/a.Rate-spread) > 1e-9 {
				t.Errorf("%s of %s: %g, not %g", task, c.Name, a.Rate, want)
			}
			if r.Rate >= a.Low && r.Rate <= a.High {
				inside++
			}
		}
		if inside < 15 {
			t.Errorf("%s: %d of 18 are inside of their intervals", task, inside)
		}
	}
	if m, p := quantile(all, 0.5), quantile(all, 0.9); m > 0.15 || p > 0.30 {
		t.Errorf("median %.0f %%, P90 %.0f %%", 100*m, 100*p)
	}
	if text := report(d); strings.Contains(text, "NaN") || strings.Count(text, "\n| ") < 18 {
		t.Error(text)
	}
}

// TestTheDocumentSaysIt holds the tables of docs/perf.md to what was measured.
func TestTheDocumentSaysIt(t *testing.T) {
	d, err := read("testdata/native.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/perf.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(report(d)) {
		if strings.HasPrefix(line, "| ") && !strings.Contains(string(doc), line) {
			t.Errorf("docs/perf.md lacks %q; `go run ./test/calibrate -in test/calibrate/testdata/native.json` prints its tables", line)
		}
	}
}

// TestTheFitFindsWhatIsThere: measurements made by a cost are predicted by the fit.
func TestTheFitFindsWhatIsThere(t *testing.T) {
	d, err := read("testdata/native.json")
	if err != nil {
		t.Fatal(err)
	}
	truth := perf.Cost{Products: 1.4, Attention: 3, Weights: 0.8, Passing: 1.3, Starts: 3e-6, Drawn: 2e-6}
	for i, r := range d.Rows {
		d.Rows[i].Rate = rate(find(r.Case), r.Task, truth, d.Machine)
	}
	for _, task := range tasks {
		if _, others := d.errors(task, fit(task, d.Rows, d.Machine)); quantile(others, 1) > 0.12 {
			t.Errorf("%s: off by %.1f %%", task, 100*quantile(others, 1))
		}
	}
}
