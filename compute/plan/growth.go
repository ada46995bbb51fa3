package plan

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Growth is demand that becomes Factor times as much in Over, by the same part in equal times. The zero Growth is none.
type Growth struct {
	Factor float64
	Over   time.Duration
}

// units are those of a length of time beyond a day.
var units = map[byte]time.Duration{'d': day, 'w': week, 'm': year / 12, 'y': year}

// ParseGrowth reads 10x/2y: ten times in two years; d, w, m and y are days, weeks, months and years.
func ParseGrowth(s string) (Growth, error) {
	wrong := func() (Growth, error) {
		return Growth{}, fault.New(fault.Invalid, fmt.Sprintf("--growth is %q.", s), fault.Field("growth"),
			fault.Fix("Write for example 10x/2y: ten times as much in two years; at most 1000 times, from a tenth of it on, in a week to 20 years"))
	}
	times, over, ok := strings.Cut(s, "x/")
	factor, err := strconv.ParseFloat(times, 64)
	if !ok || err != nil || !(factor >= 0.1 && factor <= 1000) {
		return wrong()
	}
	span, err := ParseSpan(over)
	if err != nil || span < week || span > 20*year {
		return wrong()
	}
	return Growth{factor, span}, nil
}

// ParseSpan reads a length of time such as 4w or 1.5y; d, w, m and y are days, weeks, months and years.
func ParseSpan(s string) (time.Duration, error) {
	if s != "" {
		if unit, ok := units[s[len(s)-1]]; ok {
			if n, err := strconv.ParseFloat(s[:len(s)-1], 64); err == nil && n > 0 && n <= 100*float64(year)/float64(unit) {
				return time.Duration(n * float64(unit)), nil
			}
		}
	}
	return 0, fault.New(fault.Invalid, fmt.Sprintf("%q is no length of time.", s), fault.Fix("Write for example 30d, 4w, 6m or 2y"))
}

// String is the growth as ParseGrowth reads it; empty for none.
func (g Growth) String() string {
	if g.Over == 0 {
		return ""
	}
	for _, u := range []byte{'y', 'm', 'w'} {
		if g.Over%units[u] == 0 {
			return fmt.Sprintf("%gx/%d%c", g.Factor, g.Over/units[u], u)
		}
	}
	return fmt.Sprintf("%gx/%gd", g.Factor, g.Over.Hours()/24)
}

// at is the multiple of today's demand after a time; after Over it stays.
func (g Growth) at(t time.Duration) float64 {
	if g.Over == 0 {
		return 1
	}
	return math.Pow(g.Factor, min(1, float64(t)/float64(g.Over)))
}

// points are the times that are replayed: now, half of the way and all of it.
func (g Growth) points() []time.Duration {
	if g.Over == 0 {
		return []time.Duration{0}
	}
	return []time.Duration{0, g.Over / 2, g.Over}
}
