package dialect

import (
	"bytes"
	"errors"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Assembler joins the events of a stream to the whole answer, for clients that did not ask for a stream. The zero
// value has no room: set Limit.
type Assembler struct {
	Limit int // bytes of text, arguments and proofs together

	answer  Answer
	choices []gathering
	size    int
	over    bool
	err     error
}

// Size is how many bytes it holds, about.
func (a *Assembler) Size() int { return a.size }

// gathering is a choice in the making. The part that grows is the last, or the call that an event names.
type gathering struct {
	parts    []Part
	texts    []*strings.Builder // of parts, by place
	calls    map[int]int        // a tool call's number to its place
	stop     Stop
	sequence string
	logprobs []Logprob
	stopped  bool
}

// Add takes the next event. The error is what the stream failed with, or that the answer is too long; it stays.
func (a *Assembler) Add(e Event) error {
	if a.err == nil && !a.over {
		a.err = a.add(e)
	}
	return a.err
}

func (a *Assembler) add(e Event) error {
	a.size += len(e.Text) + len(e.Name) + len(e.ToolID) + weight(e.Logprobs)
	if a.size > a.Limit {
		return fault.New(fault.Unavailable, "The engine's answer is too long.", fault.Code("engine_failed"))
	}
	switch e.Kind {
	case Started:
		a.answer.ID, a.answer.Model, a.answer.Created = e.ID, e.Model, e.Created
	case Counted:
		a.answer.Usage = e.Usage
	case Ended:
		a.over = true
	case Failed:
		return e.Err
	case Ping:
	default:
		return a.part(&e)
	}
	return nil
}

func (a *Assembler) part(e *Event) error {
	if e.Choice < 0 || e.Choice >= maxAnswers || e.Choice > len(a.choices)+maxChoices {
		return garbled(errors.New("dialect: a choice out of range"))
	}
	for len(a.choices) <= e.Choice {
		a.choices = append(a.choices, gathering{calls: map[int]int{}})
	}
	g := &a.choices[e.Choice]
	switch e.Kind {
	case TextDelta:
		g.logprobs = append(g.logprobs, cloned(e.Logprobs)...)
		g.grow(Text, e.Text)
	case RefusalDelta:
		g.grow(Refusal, e.Text)
	case ThoughtDelta:
		g.grow(Thought, e.Text)
	case Signed:
		if !g.sign(e) {
			return garbled(errors.New("dialect: a proof is too long"))
		}
	case RedactedPart:
		g.push(Part{Kind: Redacted, Signature: e.Text, SignedBy: e.SignedBy})
	case ToolStart:
		g.calls[e.Tool] = len(g.parts)
		g.push(Part{Kind: ToolCall, ToolID: e.ToolID, Name: e.Name, Signature: e.Text, SignedBy: e.SignedBy})
	case ToolDelta:
		i, ok := g.calls[e.Tool]
		if !ok {
			return garbled(errors.New("dialect: arguments of a tool call that did not begin"))
		}
		g.texts[i].WriteString(e.Text)
	case Stopped:
		g.stop, g.sequence, g.stopped = e.Stop, e.Sequence, true
	}
	if len(g.parts) > maxCalls {
		return garbled(errors.New("dialect: too many parts"))
	}
	return nil
}

// weight is how many bytes probabilities take, about.
func weight(list []Logprob) (n int) {
	for i := range list {
		n += 80 + len(list[i].Token) + len(list[i].Bytes) + weight(list[i].Top)
	}
	return n
}

// cloned is a copy that does not keep the events that the texts came in.
func cloned(list []Logprob) []Logprob {
	if len(list) == 0 {
		return nil
	}
	out := make([]Logprob, len(list))
	for i, l := range list {
		l.Token, l.Bytes, l.Top = strings.Clone(l.Token), bytes.Clone(l.Bytes), cloned(l.Top)
		out[i] = l
	}
	return out
}

func (g *gathering) push(p Part) {
	p.ToolID, p.Name, p.Signature = strings.Clone(p.ToolID), strings.Clone(p.Name), strings.Clone(p.Signature)
	g.parts = append(g.parts, p)
	g.texts = append(g.texts, new(strings.Builder))
}

func (g *gathering) grow(k PartKind, text string) {
	n := len(g.parts)
	if text == "" {
		return
	}
	if n == 0 || g.parts[n-1].Kind != k || k == Thought && g.parts[n-1].Signature != "" {
		g.push(Part{Kind: k})
		n++
	}
	g.texts[n-1].WriteString(text)
}

// maxProof bounds a proof, whose pieces are copied with each new one.
const maxProof = 512 << 10

// sign proves the last part if it is a thought or a text; a proof of nothing is a thought without words. It is false for a
// proof that is too long.
func (g *gathering) sign(e *Event) bool {
	n := len(g.parts)
	if n == 0 || g.parts[n-1].Kind != Thought && g.parts[n-1].Kind != Text {
		g.push(Part{Kind: Thought})
		n++
	}
	p := &g.parts[n-1]
	if len(p.Signature)+len(e.Text) > maxProof {
		return false
	}
	p.Signature += e.Text
	p.SignedBy = e.SignedBy
	return true
}

// Answer gives the whole answer once the stream has ended.
func (a *Assembler) Answer() (*Answer, error) {
	if a.err != nil {
		return nil, a.err
	}
	if !a.over {
		return nil, garbled(errors.New("dialect: the stream has not ended"))
	}
	out := a.answer
	for i := range a.choices {
		g := &a.choices[i]
		if !g.stopped {
			return nil, garbled(errors.New("dialect: a choice did not stop"))
		}
		for j := range g.parts {
			g.parts[j].Text = g.texts[j].String()
		}
		out.Choices = append(out.Choices, Choice{Parts: g.parts, Stop: g.stop, Sequence: g.sequence, Logprobs: g.logprobs})
	}
	if len(out.Choices) == 0 {
		return nil, garbled(errors.New("dialect: the stream has no choice"))
	}
	return &out, nil
}

// Events parts a whole answer into the events of a stream, for clients that asked for one and are answered whole.
func (a *Answer) Events() []Event {
	out := []Event{{Kind: Started, ID: a.ID, Model: a.Model, Created: a.Created}}
	for i := range a.Choices {
		c := &a.Choices[i]
		out = append(out, c.events(i)...)
	}
	out = append(out, Event{Kind: Counted, Usage: a.Usage})
	return append(out, Event{Kind: Ended})
}

func (c *Choice) events(i int) (out []Event) {
	logprobs, tool := c.Logprobs, 0
	for j := range c.Parts {
		p := &c.Parts[j]
		switch p.Kind {
		case Text:
			out = append(out, Event{Kind: TextDelta, Choice: i, Text: p.Text, Logprobs: logprobs})
			logprobs = nil
		case Refusal:
			out = append(out, Event{Kind: RefusalDelta, Choice: i, Text: p.Text})
		case Thought:
			out = append(out, Event{Kind: ThoughtDelta, Choice: i, Text: p.Text})
		case Redacted:
			out = append(out, Event{Kind: RedactedPart, Choice: i, Text: p.Signature, SignedBy: p.SignedBy})
		case ToolCall:
			out = append(out, Event{Kind: ToolStart, Choice: i, Tool: tool, ToolID: p.ToolID, Name: p.Name, Text: p.Signature, SignedBy: p.SignedBy},
				Event{Kind: ToolDelta, Choice: i, Tool: tool, Text: p.Text})
			tool++
		}
		if p.Signature != "" && (p.Kind == Thought || p.Kind == Text) {
			out = append(out, Event{Kind: Signed, Choice: i, Text: p.Signature, SignedBy: p.SignedBy})
		}
	}
	if len(logprobs) > 0 {
		out = append(out, Event{Kind: TextDelta, Choice: i, Logprobs: logprobs})
	}
	return append(out, Event{Kind: Stopped, Choice: i, Stop: c.Stop, Sequence: c.Sequence})
}
