package grammar

import "github.com/triarch-ai/triarch/internal/fault"

// State is one document being written. It is not safe for concurrent use.
type State struct {
	a       *Automaton
	at      *config
	left    int     // tokens that may still come
	plan    []int32 // tokens that surely end the document, when there is no room for anything else
	scratch []uint64
}

// Allowed is the tokens that may come next.
type Allowed struct {
	Bits []uint64 // by id, 64 to a word; valid until the next call
	End  bool     // the document is whole: the end of the text may come as well
}

// Begin starts a document of at most budget tokens; Fits must have agreed.
func (a *Automaton) Begin(budget int) *State {
	return &State{a: a, at: a.start, left: budget}
}

// Fits says whether the shortest document fits into so many tokens: if not, it is fault.Invalid with the field max_tokens
// and names how many are needed.
func (a *Automaton) Fits(budget int) error {
	if budget >= a.Least() {
		return nil
	}
	return fault.New(fault.Invalid, "The answer has no room for a document of the required form.", fault.Field("max_tokens"),
		fault.Code("max_tokens_too_small"), fault.Fix("Allow at least %d tokens; %d are left for the answer.", a.Least(), budget))
}

// Allowed gives the tokens that may come. At least one may, or the document is whole.
func (s *State) Allowed() Allowed {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	m := s.a.masks(s.at)
	if s.left-1 >= int(m.most) {
		return Allowed{Bits: m.bits, End: s.at.accepts}
	}
	// 1. Only what leaves room for an end.
	if s.scratch == nil {
		s.scratch = make([]uint64, len(m.bits))
	}
	clear(s.scratch)
	for id, need := range s.a.needsOf(s.at) {
		if need < never && int(need) < s.left {
			s.scratch[id>>6] |= 1 << (id & 63)
		}
	}
	// 2. And the one that the shortest way goes on with.
	if s.plan == nil && !s.at.accepts {
		s.plan = s.a.planOf(s.at)
	}
	if len(s.plan) > 0 {
		set(s.scratch, s.plan[:1])
	}
	return Allowed{Bits: s.scratch, End: s.at.accepts}
}

// planOf is tokens that end the document from c, as many as it needs.
func (a *Automaton) planOf(c *config) []int32 {
	var plan []int32
	for _, s := range c.tops {
		if s.need != c.need {
			continue
		}
		for ; s != nil; s = s.up {
			plan = append(plan, a.spellFrom(s)...)
		}
		return plan
	}
	return nil
}

// spellFrom is the tokens that toEnd counts for the first frame of a stack.
func (a *Automaton) spellFrom(s *stack) []int32 {
	st := &a.g.states[s.state]
	if st.kind != kindLoop {
		return a.spell(s.state)
	}
	var tokens []int32
	if left := st.min - s.count; left > 0 {
		once := a.spellFrom(&stack{state: st.body})
		for range left {
			tokens = append(tokens, once...)
		}
	}
	return append(tokens, a.spellFrom(&stack{state: st.next})...)
}

// Accept takes the token that was drawn; whole says that the document is complete and nothing more can or may come. It is
// fault.Internal for a token that Allowed did not allow.
func (s *State) Accept(token int32, text []byte) (whole bool, err error) {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	c := s.at
	for _, b := range text {
		c = s.a.step(c, b)
	}
	if c == dead || len(text) == 0 {
		return false, fault.Newf(fault.Internal, "The token %d does not fit the grammar.", token)
	}
	s.at = c
	s.left--
	switch {
	case int(c.need) <= s.left:
		s.plan = nil
	case len(s.plan) > 0 && s.plan[0] == token:
		s.plan = s.plan[1:]
	}
	if s.a.full() {
		s.a.forget()
	}
	return c.accepts && !s.room(), nil
}

// room says whether anything may come, the end apart.
func (s *State) room() bool {
	if len(s.at.tops) == 0 || s.left == 0 {
		return false
	}
	if s.left-1 >= int(s.a.masks(s.at).most) {
		return true
	}
	for _, need := range s.a.needsOf(s.at) {
		if need < never && int(need) < s.left {
			return true
		}
	}
	return false
}
