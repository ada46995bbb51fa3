package grammar

import (
	"fmt"
	"math"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Limits on what a source may ask for.
const (
	MaxSource = 256 << 10 // bytes of a schema, grammar or expression
	maxStates = 200_000
	maxRules  = 20_000
	maxLeast  = 1 << 16 // bytes of the shortest way to the end of a rule; longer ones count as none
)

// CodeGrammar is the fault code of a schema or grammar that is refused.
const CodeGrammar = "unsupported_schema"

// Grammar is a language over bytes. It is immutable once made.
type Grammar struct {
	states []state
	rules  []rule
	root   int32
	cost   []int64 // bytes of the shortest way from each state to the end of its rule
	choice []int32 // the edge or branch that begins it
	class  [256]uint8
	sample []byte // one byte of each class
}

type rule struct {
	name  string
	start int32
}

// kind says what a state does.
type kind uint8

const (
	kindEnd   kind = iota // the rule is over; only state 0
	kindBytes             // one of the edges is taken
	kindSplit             // any of the branches
	kindCall              // a rule, then next
	kindLoop              // body, from min to max times, then next
)

type state struct {
	kind     kind
	edges    []edge
	outs     []int32
	next     int32
	rule     int32 // of a call
	body     int32 // of a loop: where it starts; it runs to the end state
	min, max int32 // of a loop; max is -1 for no limit
}

// edge leads on bytes from lo to hi.
type edge struct {
	lo, hi byte
	to     int32
}

// builder makes the states of a grammar from their ends: each method takes the state that follows and returns the one
// that begins.
type builder struct {
	g   *Grammar
	err error
	ws  int32 // the rule of white space, or -1
}

// end is the state at the end of every rule.
const end int32 = 0

func newBuilder() *builder {
	return &builder{g: &Grammar{states: []state{{kind: kindEnd}}}, ws: -1}
}

// refuse makes the fault of a source that is not supported.
func refuse(format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, fmt.Sprintf(format, args...), fault.Code(CodeGrammar))
}

func (b *builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *builder) add(s state) int32 {
	if len(b.g.states) >= maxStates {
		b.fail(refuse("The schema or grammar is too large: it needs more than %d states.", maxStates))
		return end
	}
	b.g.states = append(b.g.states, s)
	return int32(len(b.g.states) - 1)
}

// newRule reserves a rule, whose start is set later.
func (b *builder) newRule(name string) int32 {
	if len(b.g.rules) >= maxRules {
		b.fail(refuse("The schema or grammar is too large: it needs more than %d rules.", maxRules))
		return 0
	}
	b.g.rules = append(b.g.rules, rule{name: name})
	return int32(len(b.g.rules) - 1)
}

func (b *builder) text(s string, next int32) int32 {
	for i := len(s) - 1; i >= 0; i-- {
		next = b.add(state{kind: kindBytes, edges: []edge{{s[i], s[i], next}}})
	}
	return next
}

func (b *builder) split(outs ...int32) int32 {
	if len(outs) == 1 {
		return outs[0]
	}
	return b.add(state{kind: kindSplit, outs: outs})
}

func (b *builder) call(r, next int32) int32 {
	return b.add(state{kind: kindCall, rule: r, next: next})
}

// loop repeats what body makes from min to max times; max is -1 for no limit.
func (b *builder) loop(min, max int, body func(next int32) int32, next int32) int32 {
	switch {
	case max == 0:
		return next
	case min == 1 && max == 1:
		return body(next)
	case min == 0 && max == 1:
		return b.split(body(next), next)
	case min <= 1 && max < 0:
		again := b.add(state{kind: kindSplit})
		first := body(again)
		b.g.states[again].outs = []int32{first, next}
		if min == 1 {
			return first
		}
		return again
	}
	return b.add(state{kind: kindLoop, body: body(end), min: int32(min), max: int32(max), next: next})
}

// finish checks the grammar and works out its shortest ways.
func (b *builder) finish(root int32) (*Grammar, error) {
	if b.err != nil {
		return nil, b.err
	}
	g := b.g
	g.root = g.rules[root].start
	g.shortest()
	if err := g.grounded(); err != nil {
		return nil, err
	}
	if g.cost[g.root] >= unreachable {
		return nil, refuse("No document of at most %d bytes fits the schema or grammar.", maxLeast)
	}
	g.trim()
	g.classes()
	return g, nil
}

// grounded refuses rules that may come back to themselves, and repetitions that may go round, without a byte in between.
func (g *Grammar) grounded() error {
	const open, done = 1, 2
	marks := make([]uint8, len(g.rules))
	var visit func(r int32) error
	visit = func(r int32) error {
		marks[r] = open
		seen := map[int32]bool{}
		for todo := []int32{g.rules[r].start}; len(todo) > 0; {
			i := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if seen[i] {
				continue
			}
			seen[i] = true
			s := &g.states[i]
			switch s.kind {
			case kindSplit:
				todo = append(todo, s.outs...)
			case kindCall:
				if marks[s.rule] == open {
					return refuse("The rule %.80q begins with itself, which this engine does not follow.", g.rules[s.rule].name)
				}
				if marks[s.rule] == 0 {
					if err := visit(s.rule); err != nil {
						return err
					}
				}
				if g.cost[g.rules[s.rule].start] == 0 {
					todo = append(todo, s.next)
				}
			case kindLoop:
				if g.cost[s.body] == 0 {
					return refuse("The rule %.80q counts repetitions of something that may be empty.", g.rules[r].name)
				}
				todo = append(todo, s.body)
				if s.min == 0 {
					todo = append(todo, s.next)
				}
			}
		}
		marks[r] = done
		return nil
	}
	for r := range g.rules {
		if marks[r] == 0 {
			if err := visit(int32(r)); err != nil {
				return err
			}
		}
	}
	return nil
}

const unreachable = int64(math.MaxInt64 / 4)

// shortest finds the cost of every state.
func (g *Grammar) shortest() {
	g.cost, g.choice = make([]int64, len(g.states)), make([]int32, len(g.states))
	for i := range g.cost {
		g.cost[i] = unreachable
	}
	g.cost[end] = 0
	for changed := true; changed; {
		changed = false
		// States come after what they lead to, but for loops and recursion.
		for i := 1; i < len(g.states); i++ {
			if c, by := g.price(int32(i)); c < g.cost[i] {
				g.cost[i], g.choice[i], changed = c, by, true
			}
		}
	}
}

// price is a state's cost by what is known of others, and the edge or branch it comes from.
func (g *Grammar) price(i int32) (int64, int32) {
	s, best, by := &g.states[i], unreachable, int32(0)
	switch s.kind {
	case kindEnd:
		return 0, 0
	case kindBytes:
		for j, e := range s.edges {
			if c := g.cost[e.to] + 1; c < best {
				best, by = c, int32(j)
			}
		}
	case kindSplit:
		for j, o := range s.outs {
			if c := g.cost[o]; c < best {
				best, by = c, int32(j)
			}
		}
	case kindCall:
		best = g.cost[g.rules[s.rule].start] + g.cost[s.next]
	case kindLoop:
		if best = g.cost[s.next]; s.min > 0 {
			best += int64(s.min) * min(g.cost[s.body], maxLeast+1)
		}
	}
	if best > maxLeast {
		return unreachable, 0
	}
	return best, by
}

// trim takes away what leads nowhere, so that every state that is reached has an end.
func (g *Grammar) trim() {
	alive := func(i int32) bool { return g.cost[i] < unreachable }
	for i := range g.states {
		s := &g.states[i]
		chosen, edges, outs := g.choice[i], s.edges[:0], s.outs[:0]
		for j, e := range s.edges {
			if int32(j) == chosen {
				g.choice[i] = int32(len(edges))
			}
			if alive(e.to) {
				edges = append(edges, e)
			}
		}
		for j, o := range s.outs {
			if int32(j) == chosen {
				g.choice[i] = int32(len(outs))
			}
			if alive(o) {
				outs = append(outs, o)
			}
		}
		s.edges, s.outs = edges, outs
		if s.kind == kindLoop && !alive(s.body) {
			s.max = 0
		}
		if s.kind == kindCall && !alive(int32(i)) {
			*s = state{kind: kindSplit} // nobody comes here
		}
	}
}

// classes finds the bytes that no edge tells apart.
func (g *Grammar) classes() {
	var cut [257]bool
	cut[0] = true
	for i := range g.states {
		for _, e := range g.states[i].edges {
			cut[e.lo], cut[int(e.hi)+1] = true, true
		}
	}
	n := -1
	for c := range 256 {
		if cut[c] {
			n++
			g.sample = append(g.sample, byte(c))
		}
		g.class[c] = uint8(n)
	}
}
