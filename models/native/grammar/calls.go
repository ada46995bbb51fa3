package grammar

import (
	"slices"
	"unicode/utf8"
)

// Tool is a function that a model may call.
type Tool struct {
	Name   string
	Schema []byte // of its arguments, an object; none for any object
	Strict bool   // a schema that is not supported is refused; otherwise the arguments are then any object
}

// CallForm is how a model writes its calls: Open, {"name": NAME, KEY: ARGUMENTS}, Close, with Between between two.
type CallForm struct {
	Open, Close string
	Between     string
	Key         string // of the arguments
	Mark        string // text before calls ends where this begins; empty if an answer is either text or calls

	// Instead is a JSON schema of what an answer without calls is; none for any text.
	Instead []byte
}

// Calls is answers of least to most calls (most -1 for no limit), with any text before them, or instead of them, if least is 0.
func Calls(form CallForm, tools []Tool, least, most int) (*Grammar, error) {
	b := newBuilder()
	call := b.newRule("call")
	var outs []int32
	for _, t := range tools {
		if t.Name == "" || !utf8.ValidString(t.Name) {
			return nil, refuse("A tool's name is empty or no valid UTF-8.")
		}
		arguments, err := b.arguments(t)
		if err != nil {
			return nil, err
		}
		outs = append(outs, b.text(quote(t.Name)+`, "`+form.Key+`": `, b.call(arguments, b.text("}"+form.Close, end))))
	}
	if len(outs) == 0 {
		return nil, refuse("There is no tool to call.")
	}
	start := b.text(form.Open+`{"name": `, b.split(outs...))
	b.g.rules[call].start = start

	root := b.newRule("answer")
	rest := most
	if most > 0 {
		rest = most - 1
	}
	calls := b.call(call, b.loop(max(0, least-1), rest, func(next int32) int32 { return b.text(form.Between, b.call(call, next)) }, end))
	switch {
	case least == 0 && form.Instead != nil:
		document, err := b.schema(form.Instead)
		if err != nil {
			return nil, err
		}
		calls = b.split(calls, b.call(document, end))
	case least == 0:
		calls = b.before(form, calls)
	}
	b.g.rules[root].start = calls
	return b.finish(root)
}

// arguments is the rule of a tool's arguments.
func (b *builder) arguments(t Tool) (int32, error) {
	saved, space := *b.g, b.ws
	r, err := b.argumentsBy(t.Schema)
	if err == nil || t.Strict {
		return r, err
	}
	*b.g, b.err, b.ws = saved, nil, space // what was half made is left out
	return b.argumentsBy(nil)
}

func (b *builder) argumentsBy(schema []byte) (int32, error) {
	if len(schema) == 0 {
		schema = []byte(`{"type":"object"}`)
	}
	r, err := b.schema(schema, part{v: &value{kind: 'o', names: []string{"type"}, fields: map[string]*value{"type": {kind: 's', text: "object"}}}})
	if err != nil {
		return 0, err
	}
	if b.err != nil {
		return 0, b.err
	}
	// Whether any arguments fit is known only once costs are.
	b.g.shortest()
	if b.g.cost[b.g.rules[r].start] >= unreachable {
		return 0, refuse("No arguments of at most %d bytes fit the schema of a tool.", maxLeast)
	}
	return r, nil
}

// before is text that may go over into calls.
func (b *builder) before(form CallForm, calls int32) int32 {
	if form.Mark == "" { // the first character tells which of the two it is
		first := complement([]redge{{lo: 0, hi: ' '}, {lo: '{', hi: '{'}})
		d := &dfa{states: []dstate{{accepts: true}, {accepts: true, edges: []redge{{0, lastRune, 1}}}}}
		for _, e := range first {
			d.states[0].edges = append(d.states[0].edges, redge{e.lo, e.hi, 1})
		}
		return b.split(calls, b.put(d, false, end))
	}
	return b.split(calls, b.put(without(form.Mark), false, b.split(end, calls)))
}

// without is texts in which mark does not stand, by the automaton of Knuth, Morris and Pratt.
func without(mark string) *dfa {
	text := []rune(mark)
	d := &dfa{}
	longest := func(seen []rune) int { // the longest beginning of mark that ends seen
		for n := min(len(seen), len(text)); n > 0; n-- {
			if slices.Equal(seen[len(seen)-n:], text[:n]) {
				return n
			}
		}
		return 0
	}
	for i := range text {
		s := dstate{accepts: true}
		var special []rune
		for _, r := range text {
			if !slices.Contains(special, r) {
				special = append(special, r)
			}
		}
		slices.Sort(special)
		from := rune(0)
		for _, r := range special {
			if from < r {
				s.edges = append(s.edges, redge{from, r - 1, 0})
			}
			if n := longest(append(slices.Clone(text[:i]), r)); n < len(text) {
				s.edges = append(s.edges, redge{r, r, n})
			}
			from = r + 1
		}
		s.edges = append(s.edges, redge{from, lastRune, 0})
		d.states = append(d.states, s)
	}
	return d
}
