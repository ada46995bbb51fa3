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

func TestBandwidthIsMeasuredOnceAndKeptWithItsDate(t *testing.T) {
	dir, times := t.TempDir(), 0
	d := chip.Device{Name: "Acme", Cores: 2}
	now := func() time.Time { return time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC) }
	measure := func(cores int) float64 { times++; return 1e9 * float64(cores) }
	for range 2 {
		f, err := Bandwidth(dir, d, false, now, measure)
		if err != nil || f.Value != 2e9 || f.Confidence != chip.Measured || !strings.Contains(f.Source, "2026-05-04") || times != 1 {
			t.Fatalf("%+v %v, measured %d times", f, err, times)
		}
	}
	d.Cores = 4
	if f, err := Bandwidth(dir, d, false, now, measure); err != nil || f.Value != 4e9 || times != 2 {
		t.Errorf("more cores: %+v %v", f, err)
	}
	for _, text := range []string{"", "{", `{"model":"Acme","cores":4,"bytes_per_second":-1}`, `{"model":"Acme","cores":4,"bytes_per_second":1e300}`} {
		if err := os.WriteFile(filepath.Join(dir, Kept), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if f, err := Bandwidth(dir, d, false, now, measure); err != nil || f.Value != 4e9 {
			t.Errorf("%q: %+v %v", text, f, err)
		}
	}
	before := times
	if f, err := Bandwidth(dir, d, true, now, measure); err != nil || f.Value != 4e9 || times != before+1 {
		t.Errorf("anew: %+v %v", f, err)
	}
	if load("0.52 1.2 3 1/2 3\n") != 0.52 || load("NaN 1") != 0 || load("") != 0 {
		t.Error("the load")
	}
	if f, err := Bandwidth(filepath.Join(dir, "nowhere"), d, false, now, measure); f != nil || err != nil {
		t.Errorf("no directory: %+v %v", f, err)
	}
	if _, err := Bandwidth(dir, chip.Device{Name: "x"}, false, now, func(int) float64 { return 0 }); err == nil {
		t.Error("a measurement of nothing was kept")
	}
}
