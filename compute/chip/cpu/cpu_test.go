package cpu

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
)

func TestThisMachine(t *testing.T) {
	d := Device()
	if d.Cores < 1 || d.Cores > runtime.NumCPU() || d.Name == "" || d.Chip != ID {
		t.Errorf("%+v", d)
	}
	if runtime.GOOS == "linux" && d.Memory == nil {
		t.Error("no memory")
	}
	if got := model("processor\t: 0\nmodel name\t: Acme  CPU   @ 2GHz\nmodel name\t: other\n"); got != "Acme CPU @ 2GHz" {
		t.Errorf("%q", got)
	}
	c, err := chip.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	if x, err := c.Find(ID); err != nil || x.Kind != chip.CPU {
		t.Errorf("%+v %v", x, err)
	}
}

func TestTriadComputesAndCounts(t *testing.T) {
	for _, cores := range []int{1, 3} {
		if v := Triad(cores, 24<<16); v < 1e7 || v > 1e14 {
			t.Errorf("%d cores: %g bytes a second", cores, v)
		}
	}
}

func TestFiguresAreMeasuredOnceAndKeptWithTheirDate(t *testing.T) {
	dir, times := t.TempDir(), 0
	d := chip.Device{Name: "Acme", Cores: 2}
	now := func() time.Time { return time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC) }
	m := Measure{How: "a product", Bandwidth: func(cores int) float64 { return 1e9 * float64(cores) },
		FP32: func(cores int) float64 { times++; return 1e10 * float64(cores) }}
	fill := func(what string, anew bool, bytes float64, want int) {
		t.Helper()
		d.Bandwidth, d.OneCore, d.FP32 = nil, nil, nil
		if err := Fill(dir, &d, anew, now, m); err != nil || d.Bandwidth.Value != bytes || d.OneCore.Value != 1e9 || d.FP32.Value != 10*bytes ||
			d.Bandwidth.Confidence != chip.Measured || !strings.Contains(d.FP32.Source, "a product, measured here on 2026-05-04") || times != want {
			t.Fatalf("%s: %+v %v, measured %d times", what, d, err, times)
		}
	}
	fill("first", false, 2e9, 1)
	fill("kept", false, 2e9, 1)
	d.Cores = 4
	fill("more cores", false, 4e9, 2)
	n := 2
	for _, text := range []string{"", "{", `{"model":"Acme","cores":4,"bytes_per_second":1e10}`, `{"model":"Acme","cores":4,"bytes_per_second":1e300,"one_core_bytes_per_second":1e9,"fp32_ops_per_second":1e10,"fp32_by":"a product"}`} {
		if err := os.WriteFile(filepath.Join(dir, Kept), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		n++
		fill(text, false, 4e9, n)
	}
	fill("anew", true, 4e9, n+1)
	if load("0.52 1.2 3 1/2 3\n") != 0.52 || load("NaN 1") != 0 || load("") != 0 {
		t.Error("the load")
	}
	other := chip.Device{Name: "x", Cores: 1}
	if err := Fill(filepath.Join(dir, "nowhere"), &other, false, now, m); err != nil || other.Bandwidth != nil {
		t.Errorf("no directory: %+v %v", other, err)
	}
	m.FP32 = func(int) float64 { return 0 }
	if err := Fill(dir, &other, false, now, m); err == nil || other.FP32 != nil {
		t.Error("a measurement of nothing was kept")
	}
}
