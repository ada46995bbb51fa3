//go:build unix

package main

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func TestFiguresAreMediansOfRatios(t *testing.T) {
	f := against("x", []float64{1, 20, 3}, []float64{2, 4, 3}, "peer", 1)
	if f.Ratio != 1 || f.Low != 0.75 || f.High != 3 || f.Ours != 3 || f.Theirs != 3 || !*f.Met {
		t.Errorf("%+v", f)
	}
	if f := against("x", []float64{1, 1}, []float64{2, 1}, "peer", 0.8); f.Ratio != 0.75 || *f.Met {
		t.Errorf("%+v", f)
	}
	if q := quantile([]float64{4, 1, 2, 3}, 0.25); math.Abs(q-1.75) > 1e-12 {
		t.Errorf("a quarter of the way is %g", q)
	}
}

func TestOtherWorkIsNotCompared(t *testing.T) {
	if err := agree(0, map[string][]float64{"a": {6.31, 5.87}, "b": {6.3101, 5.8699}}, "a"); err != nil {
		t.Error(err)
	}
	if err := agree(0, map[string][]float64{"a": {6.31, 5.87}, "b": {6.31, 5.80}}, "a"); err == nil {
		t.Error("losses that differ by 0.07 passed for the same work")
	}
}

// TestNativeSide serves the inputs as the rig does and counts what was made.
func TestNativeSide(t *testing.T) {
	dir := t.TempDir()
	if err := writeInputs(dir); err != nil {
		t.Fatal(err)
	}
	if s, err := os.Stat(filepath.Join(dir, "model.gguf")); err != nil || s.Size() < 4*shape().Params() {
		t.Fatalf("the GGUF file has %v bytes: %v", s, err)
	}
	tr, err := startTraining(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := tr.round(1)
	if err != nil || r.Tokens != rows*length || len(r.Losses) != 1 || math.Abs(r.Losses[0]-math.Log(512)) > 0.3 || r.Seconds <= 0 {
		t.Fatalf("%+v %v", r, err)
	}
	a, b := prompts(rand.New(rand.NewPCG(1, 1)), 2, 3), prompts(rand.New(rand.NewPCG(1, 2)), 2, 3)
	if len(a) != 2 || len(a[0]) != 3 || a[0][0] == b[0][0] && a[0][1] == b[0][1] {
		t.Errorf("%v %v", a, b)
	}
}

func TestRoutesAreRead(t *testing.T) {
	f, err := readRoutes([]byte(`{"what":"w","prefix":{"goodput_per_cpu_second":8,"hit_share":0.9},"round_robin":{"goodput_per_cpu_second":4,"hit_share":0.3,"refused":1},"ratio":2.1,"control":0.5,"target":1.5,"met":true}`))
	if err != nil || len(f) != 2 || f[0].Ratio != 2.1 || f[0].What != "w (hits 0.90 and 0.30, refused 0 and 1)" || !*f[0].Met || f[1].Ours != 2 || f[1].Met != nil {
		t.Errorf("%+v, %v", f, err)
	}
	for _, bad := range []string{``, `{}`, `{"ratio":3}`} {
		if _, err := readRoutes([]byte(bad)); err == nil {
			t.Errorf("%q was a figure", bad)
		}
	}
}
