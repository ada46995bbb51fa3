package chip

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// prefixes multiply a unit; the two-letter ones are powers of 1024 and belong to bytes alone.
var prefixes = []struct {
	name   string
	factor float64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40},
	{"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"P", 1e15}, {"", 1},
}

// spellings of a unit in files. Integer throughput is usually written as operations.
var spellings = map[Unit][]string{Bytes: {"B"}, BytesPerSecond: {"B/s"}, OpsPerSecond: {"FLOP/s", "OP/s"}, Watts: {"W"}}

// bounds are what no device of today or soon is outside of; a figure beyond them is a slip of the pen.
var bounds = map[Unit][2]float64{
	Bytes:          {64 << 20, 64 << 40},
	BytesPerSecond: {1e8, 1e15},
	OpsPerSecond:   {1e9, 1e19},
	Watts:          {1, 100_000},
}

// ParseQuantity reads a number with its unit, such as "80 GB", "989 TFLOP/s" or "900 GB/s", in the unit asked for, and
// refuses what no device has. The unit must be written: a bare number is refused, for it says nothing of its scale.
func ParseQuantity(text string, unit Unit) (float64, error) {
	number, rest, found := strings.Cut(strings.TrimSpace(text), " ")
	if !found {
		return 0, fmt.Errorf("%q has no unit; write it as in %q", text, example(unit))
	}
	if strings.ContainsAny(number, "xX_pP") {
		return 0, fmt.Errorf("%q is not a number", number)
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%q is not a number", number)
	}
	factor, ok := scale(strings.TrimSpace(rest), unit)
	if !ok {
		return 0, fmt.Errorf("the unit of %q is not %s; write it as in %q", text, unit, example(unit))
	}
	v *= factor
	switch b := bounds[unit]; {
	case v < 0:
		return 0, fmt.Errorf("%q is negative", text)
	case v == 0:
		return 0, fmt.Errorf("%q is nothing; an unknown figure is null", text)
	case v < b[0] || v > b[1]:
		return 0, fmt.Errorf("%q is absurd: between %s and %s was expected", text, FormatQuantity(b[0], unit), FormatQuantity(b[1], unit))
	}
	return v, nil
}

func scale(text string, unit Unit) (float64, bool) {
	for _, s := range spellings[unit] {
		p, ok := strings.CutSuffix(text, s)
		if !ok {
			continue
		}
		for _, x := range prefixes {
			binary := len(x.name) == 2
			if p == x.name && (!binary || unit == Bytes || unit == BytesPerSecond) {
				return x.factor, true
			}
		}
	}
	return 0, false
}

func example(unit Unit) string {
	switch unit {
	case Bytes:
		return "80 GB"
	case BytesPerSecond:
		return "3.35 TB/s"
	case Watts:
		return "700 W"
	}
	return "989 TFLOP/s"
}

// FormatQuantity writes a value with the largest prefix below it and at most four digits: "141 GB", "3.35 TB/s".
func FormatQuantity(v float64, unit Unit) string {
	symbol, factor := "", 1.0
	for _, p := range prefixes {
		if len(p.name) == 1 && v >= p.factor && p.factor > factor {
			symbol, factor = p.name, p.factor
		}
	}
	if unit == Watts || (symbol == "P" && v < 10e15 && unit == OpsPerSecond) { // chips are compared in teraflops
		symbol, factor = map[Unit]string{OpsPerSecond: "T"}[unit], map[Unit]float64{OpsPerSecond: 1e12, Watts: 1}[unit]
	}
	return strconv.FormatFloat(roundTo(v/factor, 4), 'f', -1, 64) + " " + symbol + string(unit)
}

// roundTo keeps so many digits that matter.
func roundTo(v float64, digits int) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', digits, 64), 64)
	if err != nil {
		return v
	}
	return r
}
