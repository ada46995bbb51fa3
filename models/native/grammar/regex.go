package grammar

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The expressions are those of the standard library (RE2) read as JSON Schema means them: a pattern may match anywhere in
// the text unless ^ and $ tie it. Look-around, back-references and word borders are refused.

// nfa is an expression with states that may be in several places at once.
type nfa struct{ nodes []node }

// node leads to next on a character of ranges; without ranges to next and more on nothing, if the assertion holds.
type node struct {
	ranges []rune // pairs of bounds
	next   []int
	tie    syntax.EmptyOp // holds at the beginning or the end of the text; 0 always
	accept bool
}

// maxPattern bounds an expression, in bytes; those made here of the bounds of numbers are the longest in use.
const maxPattern = 32 << 10

var unicodeEscape = regexp.MustCompile(`\\u([0-9a-fA-F]{4})`)

// compileRegex makes an expression deterministic. whole says that it must match the whole text.
func compileRegex(pattern string, whole bool) (*dfa, error) {
	if len(pattern) > maxPattern {
		return nil, fmt.Errorf("it is longer than %d bytes", maxPattern)
	}
	re, err := syntax.Parse(unicodeEscape.ReplaceAllString(pattern, `\x{$1}`), syntax.Perl)
	if err != nil {
		return nil, err
	}
	n := &nfa{}
	last := n.add(node{accept: true})
	if !whole {
		last = n.anything(last)
	}
	first, err := n.make(re, last)
	if err != nil {
		return nil, err
	}
	if !whole {
		first = n.anything(first)
	}
	return n.determine(first)
}

func (n *nfa) add(x node) int {
	n.nodes = append(n.nodes, x)
	return len(n.nodes) - 1
}

func (n *nfa) anything(next int) int {
	loop := n.add(node{next: []int{next}})
	n.nodes[loop].next = append(n.nodes[loop].next, n.add(node{ranges: []rune{0, lastRune}, next: []int{loop}}))
	return loop
}

var errWide = errors.New("it is too large")

// make gives the state in which re begins that goes on at next.
func (n *nfa) make(re *syntax.Regexp, next int) (first int, err error) {
	if len(n.nodes) > maxDFA {
		return 0, errWide
	}
	switch re.Op {
	case syntax.OpEmptyMatch:
		return next, nil
	case syntax.OpNoMatch:
		return n.add(node{}), nil
	case syntax.OpLiteral:
		for _, r := range slices.Backward(re.Rune) {
			next = n.add(node{ranges: folds(r, re.Flags&syntax.FoldCase != 0), next: []int{next}})
		}
		return next, nil
	case syntax.OpCharClass:
		return n.add(node{ranges: re.Rune, next: []int{next}}), nil
	case syntax.OpAnyChar:
		return n.add(node{ranges: []rune{0, lastRune}, next: []int{next}}), nil
	case syntax.OpAnyCharNotNL:
		return n.add(node{ranges: []rune{0, '\n' - 1, '\n' + 1, '\r' - 1, '\r' + 1, 0x2027, 0x202a, lastRune}, next: []int{next}}), nil
	case syntax.OpBeginText:
		return n.add(node{tie: syntax.EmptyBeginText, next: []int{next}}), nil
	case syntax.OpEndText:
		return n.add(node{tie: syntax.EmptyEndText, next: []int{next}}), nil
	case syntax.OpCapture:
		return n.make(re.Sub[0], next)
	case syntax.OpConcat:
		for _, s := range slices.Backward(re.Sub) {
			if next, err = n.make(s, next); err != nil {
				return 0, err
			}
		}
		return next, nil
	case syntax.OpAlternate:
		all := node{}
		for _, s := range re.Sub {
			if first, err = n.make(s, next); err != nil {
				return 0, err
			}
			all.next = append(all.next, first)
		}
		return n.add(all), nil
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		return n.repeat(re, next)
	}
	return 0, fmt.Errorf("it uses %s, which is not supported", re.Op)
}

func (n *nfa) repeat(re *syntax.Regexp, next int) (first int, err error) {
	least, most := re.Min, re.Max
	switch re.Op {
	case syntax.OpStar:
		least, most = 0, -1
	case syntax.OpPlus:
		least, most = 1, -1
	case syntax.OpQuest:
		least, most = 0, 1
	}
	if most < 0 {
		loop := n.add(node{next: []int{next}})
		if first, err = n.make(re.Sub[0], loop); err != nil {
			return 0, err
		}
		n.nodes[loop].next = append(n.nodes[loop].next, first)
		next = loop
	}
	after := next
	for i := least; i < most; i++ {
		if first, err = n.make(re.Sub[0], next); err != nil {
			return 0, err
		}
		next = n.add(node{next: []int{first, after}})
	}
	for range least {
		if next, err = n.make(re.Sub[0], next); err != nil {
			return 0, err
		}
	}
	return next, nil
}

// folds is a character, with those that differ from it by case alone if fold.
func folds(r rune, fold bool) []rune {
	ranges := []rune{r, r}
	if fold {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			ranges = append(ranges, f, f)
		}
	}
	return ranges
}

// reach follows what needs no character from nodes and gives all places, in order.
func (n *nfa) reach(from []int, begin, atEnd bool) []int {
	seen := make(map[int]bool, len(from))
	todo := slices.Clone(from)
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[i] {
			continue
		}
		seen[i] = true
		x := &n.nodes[i]
		if x.ranges != nil || x.tie == syntax.EmptyBeginText && !begin || x.tie == syntax.EmptyEndText && !atEnd {
			continue
		}
		todo = append(todo, x.next...)
	}
	out := make([]int, 0, len(seen))
	for i := range seen {
		out = append(out, i)
	}
	slices.Sort(out)
	return out
}

// determine makes the automaton deterministic by sets of places.
func (n *nfa) determine(first int) (*dfa, error) {
	cuts := []rune{0, lastRune + 1}
	for _, x := range n.nodes {
		for i := 0; i < len(x.ranges); i += 2 {
			cuts = append(cuts, x.ranges[i], x.ranges[i+1]+1)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	d, number, sets := &dfa{}, map[string]int{}, [][]int{}
	place := func(set []int) int {
		var key strings.Builder
		for _, i := range set {
			fmt.Fprintf(&key, "%x,", i)
		}
		i, ok := number[key.String()]
		if !ok {
			i = len(sets)
			number[key.String()] = i
			sets = append(sets, set)
		}
		return i
	}
	work := 0
	place(n.reach([]int{first}, true, false))
	for i := 0; i < len(sets); i++ {
		var s dstate
		for _, j := range n.reach(sets[i], i == 0, true) {
			s.accepts = s.accepts || n.nodes[j].accept
		}
		for c := 0; c+1 < len(cuts); c++ {
			var to []int
			for _, j := range sets[i] {
				if n.nodes[j].takes(cuts[c]) {
					to = append(to, n.nodes[j].next...)
				}
			}
			if work += len(sets[i]) + 1; work > 1<<24 || len(sets) > maxDFA/4 {
				return nil, errWide
			}
			if len(to) == 0 {
				continue
			}
			next := place(n.reach(to, false, false))
			if k := len(s.edges) - 1; k >= 0 && s.edges[k].to == next && s.edges[k].hi == cuts[c]-1 {
				s.edges[k].hi = cuts[c+1] - 1
			} else {
				s.edges = append(s.edges, redge{cuts[c], cuts[c+1] - 1, next})
			}
		}
		d.states = append(d.states, s)
	}
	return d, nil
}

func (x *node) takes(r rune) bool {
	for i := 0; i < len(x.ranges); i += 2 {
		if x.ranges[i] <= r && r <= x.ranges[i+1] {
			return true
		}
	}
	return false
}

// Regex is the texts that a regular expression matches whole.
func Regex(pattern string) (*Grammar, error) {
	d, err := compileRegex(pattern, true)
	if err != nil {
		return nil, refuse("The regular expression is not supported: %v.", err)
	}
	b := newBuilder()
	r := b.newRule("expression")
	first := b.put(d, false, end)
	b.g.rules[r].start = first
	return b.finish(r)
}

// Choice is the given texts.
func Choice(texts []string) (*Grammar, error) {
	b := newBuilder()
	r := b.newRule("choice")
	var outs []int32
	for _, t := range texts {
		if t == "" || !utf8.ValidString(t) {
			return nil, refuse("A choice is empty or no valid UTF-8.")
		}
		outs = append(outs, b.text(t, end))
	}
	if len(outs) == 0 {
		return nil, refuse("There is no choice.")
	}
	first := b.split(outs...)
	b.g.rules[r].start = first
	return b.finish(r)
}
