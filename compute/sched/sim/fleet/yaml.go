package fleet

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// reader walks a YAML document and keeps the first thing wrong with it, naming line and field.
type reader struct {
	file string
	err  error
}

func (r *reader) bad(n *yaml.Node, field, format string, args ...any) {
	if r.err != nil {
		return
	}
	where := r.file
	if n != nil {
		where += fmt.Sprintf(" line %d", n.Line)
	}
	if field != "" {
		where += ", " + field
	}
	r.err = fault.New(fault.Invalid, where+": "+fmt.Sprintf(format, args...)+".", fault.Field(field))
}

// entry is a mapping whose fields are read one by one.
type entry struct {
	*reader
	node   *yaml.Node
	path   string
	fields map[string]*yaml.Node
}

// entry reads a mapping with only the known fields.
func (r *reader) entry(n *yaml.Node, path string, known ...string) entry {
	e := entry{r, n, path, map[string]*yaml.Node{}}
	if n == nil || n.Kind != yaml.MappingNode {
		r.bad(n, path, "it must be a mapping of fields")
		return e
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode:
			r.bad(key, path, "a field's name must be a word")
		case known != nil && !slices.Contains(known, key.Value):
			r.bad(key, join(path, key.Value), "there is no such field; the nearest is %q", nearest.Name(key.Value, known))
		case e.fields[key.Value] != nil:
			r.bad(key, join(path, key.Value), "it is given twice")
		}
		e.fields[key.Value] = n.Content[i+1]
	}
	return e
}

func join(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}

// list calls each for every element of a sequence field that is there.
func (e *entry) list(field string, most int, each func(n *yaml.Node, path string)) {
	n := e.fields[field]
	if n == nil {
		return
	}
	switch {
	case n.Kind != yaml.SequenceNode:
		e.bad(n, join(e.path, field), "it must be a list")
	case len(n.Content) > most:
		e.bad(n, join(e.path, field), "it has %d elements; at most %d are allowed", len(n.Content), most)
	default:
		for i, c := range n.Content {
			each(c, fmt.Sprintf("%s[%d]", join(e.path, field), i))
		}
	}
}

// text is a scalar field; empty where it is missing.
func (e *entry) text(field string) string {
	n := e.fields[field]
	if n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode {
		e.bad(n, join(e.path, field), "it must be a single value")
		return ""
	}
	if len(n.Value) > 200 {
		e.bad(n, join(e.path, field), "it is longer than 200 bytes")
		return ""
	}
	return n.Value
}

// name is a text field that must be there.
func (e *entry) name(field string) string {
	s := e.text(field)
	if s == "" {
		e.bad(e.node, join(e.path, field), "it is missing or empty")
	}
	return s
}

// number is a figure above 0 and at most most; def where it is missing. Zero is refused: what is unknown is left out.
func (e *entry) number(field string, most, def float64) float64 {
	s := e.text(field)
	if s == "" {
		return def
	}
	v, err := strconv.ParseFloat(s, 64)
	n := e.fields[field]
	switch {
	case err != nil || math.IsNaN(v):
		e.bad(n, join(e.path, field), "%q is not a number", s)
	case v <= 0:
		e.bad(n, join(e.path, field), "%s is not above 0; leave the field out where there is no figure", s)
	case v > most:
		e.bad(n, join(e.path, field), "%s is above %g", s, most)
	default:
		return v
	}
	return def
}

func (e *entry) whole(field string, most, def float64) int64 {
	v := e.number(field, most, def)
	if v != math.Trunc(v) {
		e.bad(e.fields[field], join(e.path, field), "%s is not a whole number", e.text(field))
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
	s := e.text(field)
	if s == "" {
		return def
	}
	n := e.fields[field]
	for _, z := range sizes {
		if figure, ok := strings.CutSuffix(s, z.unit); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(figure), 64)
			if err != nil || math.IsNaN(v) || v <= 0 || v*z.mib > 1<<40 {
				e.bad(n, join(e.path, field), "%q is not a size above 0", s)
				return def
			}
			return int64(math.Ceil(v * z.mib))
		}
	}
	e.bad(n, join(e.path, field), "%q has no unit; write MiB, GiB or TiB", s)
	return def
}
