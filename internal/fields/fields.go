// Package fields reads YAML documents field by field and names line and field of the first thing wrong with one, so that
// a slip in a file that people write is found where it stands.
//
// Rules for callers: read everything, then look at Err once: what is read after a fault is made up of defaults. A
// mapping names the fields it knows; what is unknown, given twice or empty is refused, as are anchors, aliases and a
// second document.
package fields

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// MaxText is how long a value and a field's name may be, in bytes.
const MaxText = 200

// Reader keeps the first thing wrong with a file.
type Reader struct {
	File string
	Err  error
}

// Read parses the one document of a file of at most so many bytes into its top node. Errors: Invalid, TooLarge.
func Read(in io.Reader, file string, most int64) (*Reader, *yaml.Node, error) {
	text, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, nil, fault.New(fault.Invalid, file+" cannot be read.", fault.Cause(err))
	}
	if int64(len(text)) > most {
		return nil, nil, fault.New(fault.TooLarge, fmt.Sprintf("%s is longer than %d MiB.", file, most>>20))
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		return nil, nil, fault.New(fault.Invalid, file+" is not YAML: "+strings.TrimPrefix(err.Error(), "yaml: ")+".")
	}
	r := &Reader{File: file}
	if !errors.Is(decoder.Decode(&more), io.EOF) {
		r.Bad(nil, "", "it has more than one document")
	}
	if doc.Kind != yaml.DocumentNode || hasAlias(&doc) {
		r.Bad(&doc, "", "it must be one mapping, without anchors and aliases")
	}
	if r.Err != nil {
		return nil, nil, r.Err
	}
	return r, doc.Content[0], nil
}

func hasAlias(n *yaml.Node) bool {
	return n.Kind == yaml.AliasNode || n.Anchor != "" || slices.ContainsFunc(n.Content, hasAlias)
}

// Bad notes what is wrong with a node's field, unless something was wrong before. The format has no full stop.
func (r *Reader) Bad(n *yaml.Node, field, format string, args ...any) {
	if r.Err != nil {
		return
	}
	where := r.File
	if n != nil {
		where += fmt.Sprintf(" line %d", n.Line)
	}
	if field != "" {
		where += ", " + field
	}
	r.Err = fault.New(fault.Invalid, where+": "+fmt.Sprintf(format, args...)+".", fault.Field(field))
}

// Entry is a mapping whose fields are read one by one.
type Entry struct {
	*Reader
	Node   *yaml.Node
	Path   string
	Fields map[string]*yaml.Node
	Order  []string // names of the fields as they stand in the file
}

// Entry reads a mapping with only the known fields; any where none are named.
func (r *Reader) Entry(n *yaml.Node, path string, known ...string) *Entry {
	e := &Entry{Reader: r, Node: n, Path: path, Fields: map[string]*yaml.Node{}}
	if n == nil || n.Kind != yaml.MappingNode {
		r.Bad(n, path, "it must be a mapping of fields")
		return e
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode || key.Value == "" || len(key.Value) > MaxText:
			r.Bad(key, path, "a field's name must be a word")
		case known != nil && !slices.Contains(known, key.Value):
			r.Bad(key, e.At(key.Value), "there is no such field; the nearest is %q", nearest.Name(key.Value, known))
		case e.Fields[key.Value] != nil:
			r.Bad(key, e.At(key.Value), "it is given twice")
		default:
			e.Order = append(e.Order, key.Value)
		}
		e.Fields[key.Value] = n.Content[i+1]
	}
	return e
}

// At is the path of a field.
func (e *Entry) At(field string) string {
	if e.Path == "" {
		return field
	}
	return e.Path + "." + field
}

// List calls each for every element of a sequence field that is there.
func (e *Entry) List(field string, most int, each func(n *yaml.Node, path string)) {
	n := e.Fields[field]
	if n == nil {
		return
	}
	switch {
	case n.Kind != yaml.SequenceNode:
		e.Bad(n, e.At(field), "it must be a list")
	case len(n.Content) > most:
		e.Bad(n, e.At(field), "it has %d elements; at most %d are allowed", len(n.Content), most)
	default:
		for i, c := range n.Content {
			each(c, fmt.Sprintf("%s[%d]", e.At(field), i))
		}
	}
}

// Text is a scalar field; empty where it is missing.
func (e *Entry) Text(field string) string {
	n := e.Fields[field]
	switch {
	case n == nil:
	case n.Kind != yaml.ScalarNode:
		e.Bad(n, e.At(field), "it must be a single value")
	case n.Value == "" || n.Tag == "!!null":
		e.Bad(n, e.At(field), "it is missing or empty")
	case len(n.Value) > MaxText:
		e.Bad(n, e.At(field), "it is longer than %d bytes", MaxText)
	default:
		return n.Value
	}
	return ""
}
