package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// sizes are the units of memory that people write.
var sizes = map[string]float64{"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

// size is a flag of bytes: 8GiB, 512MiB, or a plain number.
type size int64

func (s *size) String() string {
	if *s == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Type implements pflag.Value.
func (s *size) Type() string { return "size" }

// Set implements pflag.Value.
func (s *size) Set(text string) error {
	text = strings.TrimSpace(text)
	digits := strings.TrimRightFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	unit, known := sizes[strings.ToUpper(strings.TrimSpace(text[len(digits):]))]
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || !known || !(n >= 0) || n*unit > math.MaxInt64/2 {
		return fault.InvalidField("memory", "%q is no size; write for example 8GiB or 512MiB", text[:min(len(text), 40)])
	}
	*s = size(math.Round(n * unit))
	return nil
}

var _ fmt.Stringer = (*size)(nil)
