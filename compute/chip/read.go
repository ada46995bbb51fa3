package chip

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// What a file may hold.
const (
	maxFile  = 1 << 20
	maxChips = 2000
	maxList  = 64
	maxText  = 600
)

var (
	idForm   = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9.]+)*$`)
	nameForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$`)
)

// reader walks one file and keeps the first thing wrong with it.
type reader struct {
	file    string
	sources map[string]source
	err     error
}

// source is a document that figures of a file come from.
type source struct {
	at         string
	confidence Confidence
}

// bad notes what is wrong, where: the file with the line, the chip, the field.
func (r *reader) bad(n *yaml.Node, chip, field, format string, args ...any) {
	if r.err != nil {
		return
	}
	where := []string{r.file}
	if n != nil && n.Line > 0 {
		where[0] += fmt.Sprintf(" line %d", n.Line)
	}
	for _, part := range []string{chip, field} {
		if part != "" {
			where = append(where, part)
		}
	}
	r.err = fault.New(fault.Invalid, strings.Join(where, ", ")+": "+fmt.Sprintf(format, args...)+".", fault.Field(strings.Trim(chip+"."+field, ".")))
}

// document parses a file into its top mapping. Anchors, tags of other languages and second documents are refused.
func document(file string, text []byte) (*yaml.Node, error) {
	if len(text) > maxFile {
		return nil, fault.Newf(fault.TooLarge, "%s has %d bytes; at most %d are read.", file, len(text), maxFile)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fault.Newf(fault.Invalid, "%s is empty.", file)
		}
		return nil, fault.Newf(fault.Invalid, "%s is not YAML: %s.", file, strings.TrimSuffix(err.Error(), "."))
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fault.Newf(fault.Invalid, "%s has more than one document; one is read.", file)
	}
	return doc.Content[0], nil
}

// entry is a mapping whose fields are read one by one.
type entry struct {
	r      *reader
	node   *yaml.Node
	chip   string
	path   string
	fields map[string]*yaml.Node
}

// entry reads a mapping with only the known fields; nil known lets every name pass.
func (r *reader) entry(n *yaml.Node, chip, path string, known ...string) entry {
	e := entry{r, n, chip, path, map[string]*yaml.Node{}}
	if n == nil || n.Kind != yaml.MappingNode {
		r.bad(n, chip, path, "it must be a mapping of fields")
		return e
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		name := join(path, key.Value)
		switch {
		case key.Kind != yaml.ScalarNode:
			r.bad(key, chip, path, "a field's name must be a word")
		case known != nil && !slices.Contains(known, key.Value):
			r.bad(key, chip, name, "there is no such field; the nearest is %q", nearest.Name(key.Value, known))
		case e.fields[key.Value] != nil:
			r.bad(key, chip, name, "it is given twice")
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

// peek is a field's word in a mapping that is not checked yet.
func peek(n *yaml.Node, field string) string {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == field {
			return n.Content[i+1].Value
		}
	}
	return ""
}

// null says whether a field is there and says nothing on purpose.
func null(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// text reads a word or sentence that is there; "" for one that is not.
func (e *entry) text(field string) string {
	n := e.fields[field]
	if n == nil {
		return ""
	}
	s := strings.TrimSpace(n.Value)
	switch {
	case n.Kind != yaml.ScalarNode || null(n) || s == "":
		e.r.bad(n, e.chip, join(e.path, field), "it must be a text")
	case len(s) > maxText:
		e.r.bad(n, e.chip, join(e.path, field), "it has %d letters; at most %d", len(s), maxText)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }):
		e.r.bad(n, e.chip, join(e.path, field), "it has letters that cannot be printed")
	}
	return s
}

// word reads a text that must be one of a few.
func (e *entry) word(field string, of ...string) string {
	s := e.text(field)
	if s != "" && !slices.Contains(of, s) {
		e.r.bad(e.fields[field], e.chip, join(e.path, field), "it is %q; it must be %s", s, strings.Join(of, ", "))
	}
	return s
}

// list calls each for every element of a sequence field; false where the field is not there.
func (e *entry) list(field string, most int, each func(n *yaml.Node, path string)) bool {
	n := e.fields[field]
	if n == nil {
		return false
	}
	path := join(e.path, field)
	switch {
	case null(n):
	case n.Kind != yaml.SequenceNode:
		e.r.bad(n, e.chip, path, "it must be a list")
	case len(n.Content) > most:
		e.r.bad(n, e.chip, path, "it has %d elements; at most %d", len(n.Content), most)
	default:
		for i, c := range n.Content {
			each(c, fmt.Sprintf("%s.%d", path, i+1))
		}
	}
	return true
}

// readSources reads the documents that a file names.
func (r *reader) readSources(n *yaml.Node) {
	r.sources = map[string]source{}
	if n == nil {
		return
	}
	for key, at := range r.entry(n, "", "sources").fields {
		e := r.entry(at, "", "sources."+key, "at", "confidence")
		s := source{e.text("at"), Confidence(e.word("confidence", string(Measured), string(Vendor), string(Third)))}
		if s.at == "" || s.confidence == "" {
			r.bad(at, "", "sources."+key, "a source needs at (its address, or repository and path) and confidence")
		}
		r.sources[key] = s
	}
}

// cited reads the source field of an entry.
func (e *entry) cited() source {
	key := e.text("source")
	s, ok := e.r.sources[key]
	switch {
	case key == "":
		e.r.bad(e.node, e.chip, e.path, "it has no source; a figure without one is unknown, which is written null")
	case !ok:
		e.r.bad(e.node, e.chip, join(e.path, "source"), "%q is not among the file's sources", key)
	}
	return s
}

// figure reads a figure over the one there was: null takes it away.
func (r *reader) figure(n *yaml.Node, chip, path string, unit Unit, more ...string) (*Figure, entry) {
	if null(n) {
		return nil, entry{}
	}
	e := r.entry(n, chip, path, append([]string{"is", "source", "confidence", "note"}, more...)...)
	if r.err != nil {
		return nil, e
	}
	s := e.cited()
	f := &Figure{Unit: unit, Source: s.at, Confidence: s.confidence, Note: e.text("note")}
	if c := e.word("confidence", string(Measured), string(Vendor), string(Third)); c != "" {
		f.Confidence = Confidence(c)
	}
	is := e.text("is")
	if is == "" {
		r.bad(n, chip, path, "it has no is: the number with its unit, such as %q", example(unit))
		return nil, e
	}
	v, err := ParseQuantity(is, unit)
	if err != nil {
		r.bad(e.fields["is"], chip, path, "%s", err)
	}
	f.Value = v
	return f, e
}

// chipFields are the fields of a chip in a file.
var chipFields = []string{"id", "make", "name", "kind", "aliases", "memory", "bandwidth", "flops", "lacks", "link", "power", "resources", "isolation", "engines", "note"}

// over reads the fields of a chip that are there over what it was.
func (r *reader) over(c *Chip, e entry) {
	for field, to := range map[string]*string{"make": &c.Make, "name": &c.Name, "note": &c.Note} {
		if e.fields[field] != nil {
			*to = e.text(field)
		}
	}
	if k := e.word("kind", string(GPU), string(NPU), string(CPU), string(SoC)); k != "" {
		c.Kind = Kind(k)
	}
	if aliases := []string{}; e.list("aliases", maxList, func(n *yaml.Node, path string) {
		one := entry{r, n, e.chip, "", map[string]*yaml.Node{path: n}}
		aliases = append(aliases, one.text(path))
	}) {
		c.Aliases = aliases
	}
	if n := e.fields["memory"]; n != nil {
		c.Memory, _ = r.figure(n, e.chip, "memory", Bytes)
	}
	if n := e.fields["bandwidth"]; n != nil {
		c.Bandwidth, _ = r.figure(n, e.chip, "bandwidth", BytesPerSecond)
	}
	if n := e.fields["power"]; n != nil {
		c.Power, _ = r.figure(n, e.chip, "power", Watts)
	}
	if n := e.fields["link"]; n != nil {
		c.Link = r.link(n, e.chip)
	}
	r.flops(c, e)
	r.lacks(c, e)
	r.names(c, e)
}

// lacks reads the precisions that the chip does not have; what is there cannot lack.
func (r *reader) lacks(c *Chip, e entry) {
	if all := []Lack{}; e.list("lacks", maxList, func(n *yaml.Node, path string) {
		one := r.entry(n, e.chip, path, "precision", "source")
		source := one.cited()
		for p := range strings.SplitSeq(one.text("precision"), "/") {
			if !slices.Contains(Precisions(), Precision(p)) {
				r.bad(n, e.chip, path+".precision", "%q is no precision", p)
			}
			all = append(all, Lack{Precision(p), source.at})
		}
	}) {
		c.Lacks = all
	}
	for _, l := range c.Lacks {
		if c.Flops[l.Precision] != nil {
			r.bad(e.node, e.chip, "lacks", "it has a figure for %s; an operator's file that gives one takes the precision from lacks", l.Precision)
		}
	}
}

func (r *reader) link(n *yaml.Node, chip string) *Link {
	f, e := r.figure(n, chip, "link", BytesPerSecond, "counts", "name", "joins")
	if f == nil || r.err != nil {
		return nil
	}
	l := &Link{Figure: *f, Counts: Direction(e.word("counts", string(EachWay), string(BothWays))), Name: e.text("name")}
	if text := e.text("joins"); text != "" {
		var err error
		if l.Joins, err = strconv.Atoi(text); err != nil || l.Joins < 2 || l.Joins > 1<<20 {
			r.bad(e.fields["joins"], chip, "link.joins", "%q is no number of chips, two at the least", text)
		}
	}
	if l.Counts == "" {
		r.bad(n, chip, "link", "it does not say whether it counts each direction or both: counts: each, or both")
	}
	return l
}

// flops reads throughputs; one figure may be that of several precisions, as in bf16/fp16.
func (r *reader) flops(c *Chip, e entry) {
	n := e.fields["flops"]
	if n == nil {
		return
	}
	var known []string
	for _, p := range Precisions() {
		known = append(known, string(p))
	}
	seen := map[string]bool{}
	for key, value := range r.entry(n, e.chip, "flops").fields {
		f, _ := r.figure(value, e.chip, "flops."+key, OpsPerSecond)
		for p := range strings.SplitSeq(key, "/") {
			switch {
			case !slices.Contains(known, p):
				r.bad(value, e.chip, "flops."+key, "%q is no precision; the nearest is %q", p, nearest.Name(p, known))
			case seen[p]:
				r.bad(value, e.chip, "flops."+key, "%s is given twice", p)
			default:
				c.Flops[Precision(p)] = copied(f)
			}
			seen[p] = true
		}
	}
}

// names reads what Kubernetes, containers and engines call the chip.
func (r *reader) names(c *Chip, e entry) {
	if all := []Resource{}; e.list("resources", maxList, func(n *yaml.Node, path string) {
		one := r.entry(n, e.chip, path, "name", "memory", "cores", "source")
		all = append(all, Resource{one.formed("name"), one.formed("memory"), one.formed("cores"), one.cited().at})
	}) {
		c.Resources = all
	}
	if all := []Variable{}; e.list("isolation", maxList, func(n *yaml.Node, path string) {
		one := r.entry(n, e.chip, path, "name", "source")
		all = append(all, Variable{one.formed("name"), one.cited().at})
	}) {
		c.Isolation = all
	}
	if all := []Engine{}; e.list("engines", maxList, func(n *yaml.Node, path string) {
		one := r.entry(n, e.chip, path, "name", "image", "source")
		all = append(all, Engine{one.text("name"), one.text("image"), one.cited().at})
		if one.fields["name"] == nil {
			r.bad(n, e.chip, path, "an engine needs a name")
		}
	}) {
		c.Engines = all
	}
}

// formed reads a name that Kubernetes or a shell must understand; an entry's own name must be there.
func (e *entry) formed(field string) string {
	s := e.text(field)
	if (s == "" && field == "name") || (s != "" && !nameForm.MatchString(s)) {
		e.r.bad(e.node, e.chip, join(e.path, field), "%q is not a name of letters, digits, dots, dashes and slashes", s)
	}
	return s
}
