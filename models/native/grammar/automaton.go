package grammar

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/triarch-ai/triarch/internal/fault"
)

const (
	maxTops   = 256     // stacks followed at once; beyond, those furthest from their end are dropped
	keepBytes = 4 << 20 // memory of what an automaton has found out, before it begins anew, beside
	keepMasks = 128     // masks of the vocabulary
	exactText = 1 << 12 // bytes up to which the fewest tokens of a shortest way are sought
)

// Automaton is a grammar over a vocabulary. It is safe for concurrent use, and finds out what it needs as it goes.
type Automaton struct {
	g *Grammar
	v *Vocab

	mu      sync.Mutex
	stacks  map[stackKey]*stack
	configs map[uint64][]*config // by hash
	frames  map[int32]*frame
	rest    []int32 // tokens from each state to the end of its rule; -1 while unknown
	size    int     // of what the maps lead to
	start   *config
	walk    []*config // scratch: where each depth of a walk is
}

// stack is a place in a rule and, below, where its callers go on. Equal ones are one.
type stack struct {
	state, count int32 // count is the rounds begun, of a loop
	up           *stack
	need         int32 // tokens that surely reach the end
	hash         uint64
	mask         *mask // of the tokens that may come; nil while unknown
}

type stackKey struct {
	state, count int32
	up           *stack
}

// config is the stacks that what was written so far leads to: all at states of bytes, in the order of their hashes.
type config struct {
	tops    []*stack
	accepts bool // the document may end here
	need    int32
	next    []*config // by class of bytes; nil while unknown
	mask    *mask
	needs   []uint16 // of each token: what is needed after it, never if it may not come; nil while unknown
}

// mask is a set of tokens.
type mask struct {
	bits []uint64
	most int32 // no allowed token leads to where more is needed, relative to the stack below for a frame and a stack
}

// frame is what tokens do within a rule from one of its states.
type frame struct {
	mask
	ends  bool    // some token ends the rule
	exits []int32 // nodes of the trie with which the rule ends and tokens go on
}

var dead = &config{}

// New joins a grammar and a vocabulary. It is fault.Unsupported if the tokens cannot spell what the grammar wants.
func New(g *Grammar, v *Vocab) (*Automaton, error) {
	for i := range g.states {
		for _, e := range g.states[i].edges {
			for c := int(e.lo); c <= int(e.hi); c++ {
				if !v.single[c] {
					return nil, fault.New(fault.Unsupported, fmt.Sprintf("The model has no token for the byte %#x alone, so it cannot be held to a form.", c),
						fault.Code(CodeGrammar))
				}
			}
		}
	}
	a := &Automaton{g: g, v: v, rest: slices.Repeat([]int32{-1}, len(g.states)), walk: make([]*config, v.longest+1)}
	a.forget()
	a.start = a.close([]*stack{a.push(g.root, 0, nil)})
	return a, nil
}

// Least is a number of tokens in which a whole document fits: the fewest of the text with the fewest bytes.
func (a *Automaton) Least() int { return int(a.start.need) }

// forget begins anew with nothing found out. States in use keep what they have.
func (a *Automaton) forget() {
	a.stacks, a.configs, a.frames, a.size = map[stackKey]*stack{}, map[uint64][]*config{}, map[int32]*frame{}, 0
}

// spend counts memory.
func (a *Automaton) spend(bytes int) { a.size += bytes }

// push gives the stack of a state on another.
func (a *Automaton) push(state, count int32, up *stack) *stack {
	k := stackKey{state, count, up}
	s := a.stacks[k]
	if s == nil {
		s = &stack{state: state, count: count, up: up, need: a.toEnd(state, count), hash: 0x9e3779b97f4a7c15}
		if up != nil {
			s.need, s.hash = min(s.need+up.need, maxLeast*4), up.hash
		}
		s.hash = (s.hash^uint64(uint32(state))<<32^uint64(uint32(count)))*0xff51afd7ed558ccd + 0x2545f4914f6cdd1d
		s.hash ^= s.hash >> 29
		a.stacks[k] = s
		a.spend(160)
	}
	return s
}

// toEnd is the tokens from a state to the end of its rule, after count rounds of it if it is a loop.
func (a *Automaton) toEnd(i, count int32) int32 {
	s := &a.g.states[i]
	if s.kind == kindLoop {
		n := a.toEnd(s.next, 0)
		if left := s.min - count; left > 0 {
			n += left * a.toEnd(s.body, 0)
		}
		return min(n, maxLeast*2)
	}
	if a.rest[i] < 0 {
		a.rest[i] = int32(len(a.spell(i)))
	}
	return a.rest[i]
}

// spell is the tokens of the shortest way from a state to the end of its rule.
func (a *Automaton) spell(i int32) []int32 {
	text := a.g.appendShortest(nil, i)
	if len(text) <= exactText {
		tokens, _ := a.v.fewest(text)
		return tokens
	}
	var tokens []int32
	for len(text) > 0 {
		n := min(len(text), exactText)
		t, _ := a.v.fewest(text[:n])
		tokens, text = append(tokens, t...), text[n:]
	}
	return tokens
}

// appendShortest appends the shortest text from a state to the end of its rule.
func (g *Grammar) appendShortest(dst []byte, i int32) []byte {
	for i != end {
		s := &g.states[i]
		switch s.kind {
		case kindBytes:
			e := s.edges[g.choice[i]]
			dst, i = append(dst, e.lo), e.to
		case kindSplit:
			i = s.outs[g.choice[i]]
		case kindCall:
			dst, i = g.appendShortest(dst, g.rules[s.rule].start), s.next
		case kindLoop:
			if s.min > 0 {
				once := g.appendShortest(nil, s.body)
				for range s.min {
					dst = append(dst, once...)
				}
			}
			i = s.next
		}
	}
	return dst
}

// close follows what needs no byte and gives the config of all that is reached.
func (a *Automaton) close(from []*stack) *config {
	c := config{}
	seen := map[*stack]bool{}
	todo := append([]*stack(nil), from...)
	visit := func(s *stack) {
		if !seen[s] {
			seen[s] = true
			todo = append(todo, s)
		}
	}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		st := &a.g.states[s.state]
		switch st.kind {
		case kindEnd:
			if s.up == nil {
				c.accepts = true
			} else {
				visit(s.up)
			}
		case kindBytes:
			c.tops = append(c.tops, s)
		case kindSplit:
			for _, o := range st.outs {
				visit(a.push(o, 0, s.up))
			}
		case kindCall:
			up := s.up
			if st.next != end { // else the callee's end is the caller's
				up = a.push(st.next, 0, s.up)
			}
			visit(a.push(a.g.rules[st.rule].start, 0, up))
		case kindLoop:
			if st.max < 0 || s.count < st.max {
				n := s.count + 1
				if st.max < 0 {
					n = min(n, st.min)
				}
				visit(a.push(st.body, 0, a.push(s.state, n, s.up)))
			}
			if s.count >= st.min {
				visit(a.push(st.next, 0, s.up))
			}
		}
	}
	return a.intern(&c)
}

// intern gives the one config that equals c.
func (a *Automaton) intern(c *config) *config {
	if len(c.tops) == 0 && !c.accepts {
		return dead
	}
	slices.SortFunc(c.tops, compareStacks)
	c.tops = slices.Compact(c.tops)
	if len(c.tops) > maxTops {
		slices.SortStableFunc(c.tops, func(x, y *stack) int { return int(x.need) - int(y.need) })
		c.tops = slices.Clone(c.tops[:maxTops])
		slices.SortFunc(c.tops, compareStacks)
	}
	hash := uint64(len(c.tops))
	for _, s := range c.tops {
		hash = (hash ^ s.hash) * 0xff51afd7ed558ccd
	}
	for _, o := range a.configs[hash] {
		if o.accepts == c.accepts && slices.Equal(o.tops, c.tops) {
			return o
		}
	}
	if !c.accepts {
		c.need = c.tops[0].need
		for _, s := range c.tops {
			c.need = min(c.need, s.need)
		}
	}
	c.next = make([]*config, len(a.g.sample))
	a.configs[hash] = append(a.configs[hash], c)
	a.spend(200 + 8*len(c.next) + 8*len(c.tops))
	return c
}

// compareStacks orders by contents, so that the order is the same whatever was met before.
func compareStacks(x, y *stack) int {
	switch {
	case x == y:
		return 0
	case x.hash != y.hash:
		if x.hash < y.hash {
			return -1
		}
		return 1
	case x.state != y.state:
		return int(x.state) - int(y.state)
	}
	return int(x.count) - int(y.count)
}

// step is where a byte leads.
func (a *Automaton) step(c *config, b byte) *config {
	class := a.g.class[b]
	if c == dead {
		return dead
	}
	if n := c.next[class]; n != nil {
		return n
	}
	var to []*stack
	for _, s := range c.tops {
		for _, e := range a.g.states[s.state].edges {
			if e.lo <= b && b <= e.hi {
				to = append(to, a.push(e.to, 0, s.up))
			}
		}
	}
	n := dead
	if len(to) > 0 {
		n = a.close(to)
	}
	c.next[class] = n
	return n
}

// each walks the part of the trie below a node (-1 for all of it) from c and calls f for every node that is reached.
func (a *Automaton) each(c *config, node int32, f func(node int32, c *config)) {
	v := a.v
	from, to, base := int32(0), int32(len(v.label)), int32(0)
	if node >= 0 {
		from, to, base = node+1, v.skip[node], v.depth[node]
	}
	at := a.walk
	at[base] = c
	for i := from; i < to; {
		d := v.depth[i]
		n := a.step(at[d-1], v.label[i])
		if n == dead {
			i = v.skip[i]
			continue
		}
		f(i, n)
		at[d] = n
		i++
	}
}

func (a *Automaton) newBits() []uint64 {
	a.spend(8 * (a.v.size/64 + 1))
	return make([]uint64, (a.v.size+63)/64)
}

func set(bits []uint64, ids []int32) {
	for _, id := range ids {
		bits[id>>6] |= 1 << (id & 63)
	}
}

// frameOf is what tokens do from a state of bytes within its rule.
func (a *Automaton) frameOf(state int32) *frame {
	f := a.frames[state]
	if f == nil {
		f = &frame{mask: mask{bits: a.newBits()}}
		a.each(a.close([]*stack{a.push(state, 0, nil)}), -1, func(node int32, c *config) {
			if ids := a.v.at(node); len(ids) > 0 {
				set(f.bits, ids)
				f.most = max(f.most, c.need)
				f.ends = f.ends || c.accepts
			}
			if c.accepts && a.v.skip[node] > node+1 {
				f.exits = append(f.exits, node)
			}
		})
		a.frames[state] = f
		a.spend(4*len(f.exits) + 100)
	}
	return f
}

// maskOf is the tokens that may come on a stack.
func (a *Automaton) maskOf(s *stack) *mask {
	if s.mask != nil {
		return s.mask
	}
	f := a.frameOf(s.state)
	if s.up == nil || len(f.exits) == 0 && !f.ends {
		s.mask = &f.mask
		return s.mask
	}
	if twin := a.twin(s); twin != s {
		s.mask = a.maskOf(twin)
		return s.mask
	}
	up := a.close([]*stack{s.up})
	m := &mask{bits: f.bits, most: f.most}
	if f.ends { // what is needed after a rule, cut where the next begins, may be more than it was as one text
		m.most = max(m.most, up.need-s.up.need)
	}
	if len(f.exits) > 0 {
		m.bits = a.newBits()
		copy(m.bits, f.bits)
	}
	for _, node := range f.exits {
		a.each(up, node, func(node int32, c *config) {
			if ids := a.v.at(node); len(ids) > 0 {
				set(m.bits, ids)
				m.most = max(m.most, c.need-s.up.need)
			}
		})
	}
	s.mask = m
	return m
}

// twin is the stack whose mask is the same because the loop it is in is as far from its bounds as a token cannot reach;
// s itself if there is no other.
func (a *Automaton) twin(s *stack) *stack {
	loop := &a.g.states[s.up.state]
	reach := int32(a.v.longest) + 1
	if loop.kind != kindLoop {
		return s
	}
	n := s.up.count
	switch {
	case n < loop.min-reach:
		n = loop.min - reach - 1
	case n >= loop.min && (loop.max < 0 || n < loop.max-reach):
		n = max(loop.min, 1)
	}
	if n < 1 || n == s.up.count {
		return s
	}
	return a.push(s.state, s.count, a.push(s.up.state, n, s.up.up))
}

// masks is the tokens that may come; of a config most is not relative.
func (a *Automaton) masks(c *config) *mask {
	if c.mask != nil {
		return c.mask
	}
	m := &mask{}
	for i, s := range c.tops {
		t := a.maskOf(s)
		most := t.most
		if s.up != nil {
			most += s.up.need
		}
		m.most = max(m.most, most)
		switch i {
		case 0:
			m.bits = t.bits
		case 1:
			m.bits = append([]uint64(nil), m.bits...)
			a.spend(8 * len(m.bits))
			fallthrough
		default:
			for j, w := range t.bits {
				m.bits[j] |= w
			}
		}
	}
	if m.bits == nil {
		m.bits = a.newBits()
	}
	c.mask = m
	return m
}

// needsOf is what is needed after each token.
func (a *Automaton) needsOf(c *config) []uint16 {
	if c.needs == nil {
		c.needs = slices.Repeat([]uint16{never}, a.v.size)
		a.spend(2 * a.v.size)
		a.each(c, -1, func(node int32, n *config) {
			for _, id := range a.v.at(node) {
				c.needs[id] = uint16(min(n.need, never))
			}
		})
	}
	return c.needs
}

// never is a need that no budget covers: contexts are shorter, or what needs as much is too long in any case.
const never = math.MaxUint16

// full says that enough has been found out.
func (a *Automaton) full() bool { return a.size > keepBytes+keepMasks*a.v.size/8 }
