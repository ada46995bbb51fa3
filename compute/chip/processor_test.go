package chip

import "testing"

func TestProcessorAsAChip(t *testing.T) {
	c, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	base, err := c.Find(ProcessorID)
	if err != nil {
		t.Fatal(err)
	}
	memory := 8e9
	fig := func(v float64) *Figure { return &Figure{Value: v, Confidence: Measured} }
	d := &Device{Name: "Acme", Cores: 4, Memory: &memory, Bandwidth: fig(30e9), OneCore: fig(12e9), FP32: fig(400e9)}
	for _, x := range []struct {
		cores      int
		fp32, band float64
	}{{1, 100e9, 12e9}, {2, 200e9, 24e9}, {3, 300e9, 30e9}, {4, 400e9, 30e9}, {0, 400e9, 30e9}, {9, 400e9, 30e9}} {
		p := Processor(base, d, x.cores)
		if f, ok := p.Peak(FP32); !ok || f.Value != x.fp32 || p.Bandwidth.Value != x.band || p.Memory.Value != 8e9 || p.ID != ProcessorID || p.Kind != CPU {
			t.Errorf("%d cores: %+v", x.cores, p)
		}
		if _, ok := p.Peak(BF16); ok {
			t.Error("what was not measured is known")
		}
	}
	if d.FP32.Value != 400e9 || base.Flops[FP32] != nil {
		t.Error("what was given was changed")
	}
	p := Processor(base, &Device{Cores: 2}, 0)
	if _, ok := p.Peak(FP32); ok || p.Bandwidth != nil || p.Memory != nil {
		t.Errorf("nothing measured: %+v", p)
	}
}
