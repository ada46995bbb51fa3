package fleet

import (
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/triarch-ai/triarch/internal/fields"
)

// entry is a mapping of a fleet file.
type entry struct{ *fields.Entry }

func (b *builder) entry(n *yaml.Node, path string, known ...string) entry {
	return entry{b.Entry(n, path, known...)}
}

// name is a text field that must be there.
func (e *entry) name(field string) string {
	s := e.Text(field)
	if s == "" {
		e.Bad(e.Node, e.At(field), "it is missing or empty")
	}
	return s
}

// number is a figure above 0 and at most most; def where it is missing. Zero is refused: what is unknown is left out.
func (e *entry) number(field string, most, def float64) float64 {
	s := e.Text(field)
	if s == "" {
		return def
	}
	v, err := strconv.ParseFloat(s, 64)
	n := e.Fields[field]
	switch {
	case err != nil || math.IsNaN(v):
		e.Bad(n, e.At(field), "%q is not a number", s)
	case v <= 0:
		e.Bad(n, e.At(field), "%s is not above 0; leave the field out where there is no figure", s)
	case v > most:
		e.Bad(n, e.At(field), "%s is above %g", s, most)
	default:
		return v
	}
	return def
}

func (e *entry) whole(field string, most, def float64) int64 {
	v := e.number(field, most, def)
	if v != math.Trunc(v) {
		e.Bad(e.Fields[field], e.At(field), "%s is not a whole number", e.Text(field))
	}
	return int64(v)
}

func (e *entry) hours(field string, def time.Duration) time.Duration {
	v := e.number(field, 1e6, 0)
	if v == 0 {
		return def
	}
	return time.Duration(v * float64(time.Hour))
}

// price is an amount in units of the currency, kept in micro-units.
func (e *entry) price(field string, def int64) int64 {
	v := e.number(field, 1e9, 0)
	if v == 0 {
		return def
	}
	return int64(math.Round(v * 1e6))
}

var sizes = []struct {
	unit string
	mib  float64
}{{"TiB", 1 << 20}, {"GiB", 1 << 10}, {"MiB", 1}}

// memory is a size such as 512GiB, in MiB.
func (e *entry) memory(field string, def int64) int64 {
	s := e.Text(field)
	if s == "" {
		return def
	}
	n := e.Fields[field]
	for _, z := range sizes {
		if figure, ok := strings.CutSuffix(s, z.unit); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(figure), 64)
			if err != nil || math.IsNaN(v) || v <= 0 || v*z.mib > 1<<40 {
				e.Bad(n, e.At(field), "%q is not a size above 0", s)
				return def
			}
			return int64(math.Ceil(v * z.mib))
		}
	}
	e.Bad(n, e.At(field), "%q has no unit; write MiB, GiB or TiB", s)
	return def
}
