package chip

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestQuantities(t *testing.T) {
	for text, want := range map[string]struct {
		v float64
		u Unit
	}{
		"80 GB": {80e9, Bytes}, "65520 MiB": {65520 << 20, Bytes}, "3.35 TB/s": {3.35e12, BytesPerSecond}, "989 TFLOP/s": {989e12, OpsPerSecond},
		"1.979 PFLOP/s": {1.979e15, OpsPerSecond}, "624 TOP/s": {624e12, OpsPerSecond}, "700 W": {700, Watts}, "1.4 kW": {1400, Watts}, "  8e1   GB ": {80e9, Bytes},
	} {
		if got, err := ParseQuantity(text, want.u); err != nil || math.Abs(got-want.v) > want.v*1e-12 {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
	for text, u := range map[string]Unit{"1 TiFLOP/s": OpsPerSecond, "80GB": Bytes, "1 GW": Watts, "80 gb": Bytes, "1_0 GB": Bytes, "": Bytes, " ": Watts, "1 G B": Bytes} {
		if v, err := ParseQuantity(text, u); err == nil {
			t.Errorf("%q is %v", text, v)
		}
	}
}

// What is written is read again as it was, to the four digits that are shown.
func TestQuantitiesAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]Unit{Bytes, BytesPerSecond, OpsPerSecond, Watts}).Draw(t, "unit")
		b := bounds[unit]
		v := math.Exp(rapid.Float64Range(math.Log(b[0]*1.001), math.Log(b[1]*0.999)).Draw(t, "log"))
		text := FormatQuantity(v, unit)
		if got, err := ParseQuantity(text, unit); err != nil || math.Abs(got-v) > v*6e-4 {
			t.Fatalf("%v is written %s and read %v, %v", v, text, got, err)
		}
	})
}
