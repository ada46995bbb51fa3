package grammar

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// maxDFA bounds the states of one expression made deterministic.
const maxDFA = 20_000

// dfa is a deterministic automaton over characters; it begins in state 0.
type dfa struct{ states []dstate }

type dstate struct {
	accepts bool
	edges   []redge // disjoint, ascending
}

// redge leads on characters from lo to hi.
type redge struct {
	lo, hi rune
	to     int
}

// anyRune is all characters; surrogates are left out when they are spelt.
const lastRune = utf8.MaxRune

// both is the language of the texts that are in a and in b.
func both(a, b *dfa) (*dfa, error) {
	type pair struct{ x, y int }
	number := map[pair]int{{0, 0}: 0}
	todo, out := []pair{{0, 0}}, &dfa{}
	for i := 0; i < len(todo); i++ {
		p, q := &a.states[todo[i].x], &b.states[todo[i].y]
		s := dstate{accepts: p.accepts && q.accepts}
		for x, y := 0, 0; x < len(p.edges) && y < len(q.edges); {
			e, f := p.edges[x], q.edges[y]
			if lo, hi := max(e.lo, f.lo), min(e.hi, f.hi); lo <= hi {
				to := pair{e.to, f.to}
				if _, ok := number[to]; !ok {
					number[to] = len(todo)
					todo = append(todo, to)
				}
				s.edges = append(s.edges, redge{lo, hi, number[to]})
			}
			if e.hi < f.hi {
				x++
			} else {
				y++
			}
		}
		out.states = append(out.states, s)
		if len(todo) > maxDFA {
			return nil, fmt.Errorf("it needs more than %d states", maxDFA)
		}
	}
	return out, nil
}

// lengths is the texts of min to max characters; max is -1 for no limit.
func lengths(least, most int) (*dfa, error) {
	if least > maxDFA || most > maxDFA {
		return nil, fmt.Errorf("it needs more than %d states", maxDFA)
	}
	d := &dfa{}
	for n := 0; ; n++ {
		s := dstate{accepts: n >= least}
		switch {
		case most < 0 && n == least:
			s.edges = []redge{{0, lastRune, n}}
		case n < most || n < least:
			s.edges = []redge{{0, lastRune, n + 1}}
		}
		d.states = append(d.states, s)
		if len(s.edges) == 0 || s.edges[0].to == n {
			return d, nil
		}
	}
}

// multiples is the decimal spellings of whole multiples of m.
func multiples(m int) *dfa {
	d := &dfa{states: make([]dstate, m+2)}
	digits := func(rest int) []redge {
		var edges []redge
		for c := range 10 {
			edges = append(edges, redge{'0' + rune(c), '0' + rune(c), 2 + (rest*10+c)%m})
		}
		return edges
	}
	d.states[0].edges = append([]redge{{'-', '-', 1}}, digits(0)...)
	d.states[1].edges = digits(0)
	for rest := range m {
		d.states[2+rest] = dstate{accepts: rest == 0, edges: digits(rest)}
	}
	return d
}

// except is all texts but the given ones.
func except(names []string) *dfa {
	d := &dfa{states: []dstate{{accepts: true}, {accepts: true, edges: []redge{{0, lastRune, 1}}}}}
	children := []map[rune]int{{}, nil}
	for _, name := range names {
		at := 0
		for _, r := range name {
			to, ok := children[at][r]
			if !ok {
				to = len(d.states)
				d.states, children = append(d.states, dstate{accepts: true}), append(children, map[rune]int{})
				children[at][r] = to
			}
			at = to
		}
		d.states[at].accepts = false
	}
	for i, next := range children {
		if next == nil {
			continue
		}
		keys := make([]rune, 0, len(next))
		for r := range next {
			keys = append(keys, r)
		}
		slices.Sort(keys)
		from, edges := rune(0), []redge{}
		for _, r := range keys {
			if from < r {
				edges = append(edges, redge{from, r - 1, 1})
			}
			edges, from = append(edges, redge{r, r, next[r]}), r+1
		}
		if from <= lastRune {
			edges = append(edges, redge{from, lastRune, 1})
		}
		d.states[i].edges = edges
	}
	return d
}

// matches says whether text is in the language.
func (d *dfa) matches(text string) bool {
	at := 0
	for _, r := range text {
		i := slices.IndexFunc(d.states[at].edges, func(e redge) bool { return e.lo <= r && r <= e.hi })
		if i < 0 {
			return false
		}
		at = d.states[at].edges[i].to
	}
	return d.states[at].accepts
}

// put makes the states of d. With quoted, characters are spelt as within a JSON string: each in one way.
func (b *builder) put(d *dfa, quoted bool, next int32) int32 {
	if b.err != nil {
		return end
	}
	p := speller{b: b, quoted: quoted, memo: map[suffix]int32{}}
	at := make([]int32, len(d.states))
	for i := range at {
		at[i] = b.add(state{kind: kindBytes})
	}
	enter := slices.Clone(at)
	for i, s := range d.states {
		if s.accepts {
			enter[i] = b.split(at[i], next)
		}
	}
	for i, s := range d.states {
		var edges []edge
		for _, e := range s.edges {
			edges = p.spell(edges, e.lo, e.hi, enter[e.to])
		}
		if b.err != nil {
			return end
		}
		b.g.states[at[i]].edges = edges
	}
	return enter[0]
}

// speller turns characters into bytes.
type speller struct {
	b      *builder
	quoted bool
	memo   map[suffix]int32
}

// suffix is the bytes that remain of a character, as pairs of bounds, and where they lead.
type suffix struct {
	bounds string
	to     int32
}

func (p *speller) spell(edges []edge, lo, hi rune, to int32) []edge {
	if !p.quoted {
		return p.plain(edges, lo, hi, to)
	}
	var escapes []edge
	for c := lo; c <= min(hi, 0x1f); c++ {
		switch c {
		case '\b', '\f', '\n', '\r', '\t':
			letter := map[rune]byte{'\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}[c]
			escapes = append(escapes, edge{letter, letter, to})
		default:
			first := p.b.text(fmt.Sprintf("00%02x", c), to)
			escapes = append(escapes, edge{'u', 'u', first})
		}
	}
	from := max(lo, 0x20)
	for _, c := range []rune{'"', '\\'} {
		if from <= c && c <= hi {
			escapes = append(escapes, edge{byte(c), byte(c), to})
			edges = p.plain(edges, from, c-1, to)
			from = c + 1
		}
	}
	if len(escapes) > 0 {
		edges = append(edges, edge{'\\', '\\', p.b.add(state{kind: kindBytes, edges: escapes})})
	}
	return p.plain(edges, from, hi, to)
}

// plain appends the UTF-8 spellings of the characters from lo to hi: ranges are cut until every byte of a spelling runs
// over its own range, whatever the others are (as the regular expression engines do that work on bytes).
func (p *speller) plain(edges []edge, lo, hi rune, to int32) []edge {
	if lo > hi {
		return edges
	}
	for _, border := range []rune{0x7f, 0x7ff, 0xd7ff, 0xffff} {
		if lo <= border && border < hi {
			return p.plain(p.plain(edges, lo, border, to), border+1, hi, to)
		}
	}
	if lo >= 0xd800 && lo <= 0xdfff {
		return p.plain(edges, 0xe000, hi, to)
	}
	for bits := 6; bits <= 18 && lo >= 0x80; bits += 6 {
		m := rune(1)<<bits - 1
		if lo|m == hi|m {
			break // all above these bits is the same
		}
		if lo&m != 0 {
			return p.plain(p.plain(edges, lo, lo|m, to), lo|m+1, hi, to)
		}
		if hi&m != m {
			return p.plain(p.plain(edges, lo, hi&^m-1, to), hi&^m, hi, to)
		}
	}
	x, y := utf8.AppendRune(nil, lo), utf8.AppendRune(nil, hi)
	var bounds []byte
	for i := 1; i < len(x); i++ {
		bounds = append(bounds, x[i], y[i])
	}
	return append(edges, edge{x[0], y[0], p.rest(string(bounds), to)})
}

func (p *speller) rest(bounds string, to int32) int32 {
	if bounds == "" {
		return to
	}
	k := suffix{bounds, to}
	s, ok := p.memo[k]
	if !ok {
		s = p.b.add(state{kind: kindBytes, edges: []edge{{bounds[0], bounds[1], p.rest(bounds[2:], to)}}})
		p.memo[k] = s
	}
	return s
}
