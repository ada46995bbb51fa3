package dialect

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

var googleStops = map[string]Stop{"STOP": StopEnd, "MAX_TOKENS": StopLength}

// googleStop reads a finishReason; all but two mean that something cut the answer.
func googleStop(s string, called bool) Stop {
	st, ok := googleStops[s]
	switch {
	case !ok:
		return StopFilter
	case st == StopEnd && called:
		return StopTools
	}
	return st
}

func finishWord(s Stop) string {
	switch s {
	case StopLength:
		return "MAX_TOKENS"
	case StopFilter, StopRefusal:
		return "SAFETY"
	}
	return "STOP"
}

func googleUsage(o wire.Object) (u Usage) {
	m, ok := o.Obj("usageMetadata")
	if !ok {
		return u
	}
	u.Known = true
	u.Reasoning, u.CachedInput = tokensTold(m, "thoughtsTokenCount", &u.Known), tokensTold(m, "cachedContentTokenCount", &u.Known)
	u.Input = tokensTold(m, "promptTokenCount", &u.Known) + tokensTold(m, "toolUsePromptTokenCount", &u.Known)
	u.Output = tokensTold(m, "candidatesTokenCount", &u.Known) + u.Reasoning
	return u
}

func writeGoogleUsage(w *wire.Writer, u Usage) {
	w.Key("usageMetadata")
	w.Open()
	w.FInt("promptTokenCount", u.Input)
	w.FInt("candidatesTokenCount", max(u.Output-u.Reasoning, 0))
	w.FInt("totalTokenCount", u.Input+u.Output)
	if u.Reasoning > 0 {
		w.FInt("thoughtsTokenCount", u.Reasoning)
	}
	if u.CachedInput > 0 {
		w.FInt("cachedContentTokenCount", u.CachedInput)
	}
	w.Close()
}

func parseGoogleAnswer(body []byte) (*Answer, error) {
	asm := Assembler{Limit: 4*len(body) + 1024}
	d := &googleDecoder{choices: map[int64]*googleState{}}
	if err := d.event("", body); err != nil {
		return nil, err
	}
	if !d.over {
		d.give(Event{Kind: Ended})
	}
	for _, e := range d.events {
		if err := asm.Add(e); err != nil {
			return nil, err
		}
	}
	return asm.Answer()
}

type googleDecoder struct {
	decoding
	choices map[int64]*googleState
	open    int
	id      string
}

type googleState struct {
	calls   int
	stopped bool
}

func newGoogleDecoder(limit int) Decoder {
	d := &googleDecoder{choices: map[int64]*googleState{}}
	d.split, d.take = &sniff{limit: limit}, d.event
	return d
}

// sniff tells the two forms of the stream apart by the first byte.
type sniff struct {
	limit int
	to    wire.Splitter
}

func (s *sniff) Feed(p []byte, emit wire.Emit) error {
	if s.to == nil {
		p = bytes.TrimLeft(p, " \t\r\n")
		if len(p) == 0 {
			return nil
		}
		if s.to = wire.NewSSE(s.limit); p[0] == '[' {
			s.to = wire.NewElements(s.limit)
		}
	}
	return s.to.Feed(p, emit)
}

func (s *sniff) End(emit wire.Emit) error {
	if s.to == nil {
		return nil
	}
	return s.to.End(emit)
}

func (d *googleDecoder) event(_ string, data []byte) error {
	doc, o := wire.ParseFolded(data)
	if doc.Err() != nil {
		return doc.Err()
	}
	if o.Has("error") {
		d.give(Event{Kind: Failed, Err: googleFailure(0, o)})
		return nil
	}
	if id := o.Text("responseId"); d.id == "" {
		d.id = id
	}
	d.start(d.id, o.Text("modelVersion"), 0)
	for _, e := range o.List("candidates") {
		if err := d.candidate(e.Obj()); err != nil {
			return err
		}
	}
	if f, ok := o.Obj("promptFeedback"); ok && f.Text("blockReason") != "" && len(d.choices) == 0 {
		d.choices[0] = &googleState{stopped: true}
		d.stopped = true
		d.give(Event{Kind: Stopped, Stop: StopFilter})
	}
	if u := googleUsage(o); u.Known {
		d.give(Event{Kind: Counted, Usage: u})
	}
	return doc.Err()
}

func (d *googleDecoder) candidate(c wire.Object) error {
	index := count(c, "index")
	if index >= maxChoices {
		return errors.New("dialect: too many choices")
	}
	s := d.choices[index]
	if s == nil {
		s = &googleState{}
		d.choices[index] = s
		d.open++
	}
	n := int(index)
	var logprobs []Logprob
	if l, ok := c.Obj("logprobsResult"); ok {
		logprobs = googleLogprobs(l)
	}
	content, _ := c.Obj("content")
	for _, e := range content.List("parts") {
		lp := logprobs
		if err := d.part(e.Obj(), n, s, &lp); err != nil {
			return err
		}
		logprobs = lp
	}
	if len(logprobs) > 0 {
		d.give(Event{Kind: TextDelta, Choice: n, Logprobs: logprobs})
	}
	if reason := c.Text("finishReason"); reason != "" && reason != "FINISH_REASON_UNSPECIFIED" && !s.stopped {
		s.stopped = true
		d.open--
		d.give(Event{Kind: Stopped, Choice: n, Stop: googleStop(reason, s.calls > 0)})
	}
	d.stopped = d.open == 0
	return nil
}

func (d *googleDecoder) part(o wire.Object, n int, s *googleState, logprobs *[]Logprob) error {
	proof := o.Text("thoughtSignature")
	by := Kind("")
	if proof != "" {
		by = Google
	}
	if f, ok := o.Obj("functionCall"); ok {
		if s.calls >= maxCalls {
			return errors.New("dialect: too many tool calls")
		}
		id := f.Text("id")
		if id == "" {
			id = "call_" + d.id + "_" + strconv.Itoa(n) + "_" + strconv.Itoa(s.calls)
		}
		d.give(Event{Kind: ToolStart, Choice: n, Tool: s.calls, ToolID: id, Name: f.Text("name"), Text: proof, SignedBy: by})
		if args := string(f.RawObject("args")); args != "" {
			d.give(Event{Kind: ToolDelta, Choice: n, Tool: s.calls, Text: args})
		}
		s.calls++
		return nil
	}
	text := o.Text("text")
	switch thought := o.True("thought"); {
	case text == "":
	case thought:
		d.give(Event{Kind: ThoughtDelta, Choice: n, Text: text})
	default:
		d.give(Event{Kind: TextDelta, Choice: n, Text: text, Logprobs: *logprobs})
		*logprobs = nil
	}
	if proof != "" {
		d.give(Event{Kind: Signed, Choice: n, Text: proof, SignedBy: Google})
	}
	return nil
}

func googleLogprobs(l wire.Object) []Logprob {
	var out []Logprob
	tops := l.List("topCandidates")
	one := func(o wire.Object) Logprob {
		p := Logprob{Token: o.Text("token")}
		if n := o.Num("logProbability", -1e9, 1e9); n != nil {
			p.Logprob = *n
		}
		return p
	}
	for i, e := range l.List("chosenCandidates") {
		p := one(e.Obj())
		if i < len(tops) {
			for _, t := range tops[i].Obj().List("candidates") {
				p.Top = append(p.Top, one(t.Obj()))
			}
		}
		out = append(out, p)
	}
	return out
}

func writeGoogleLogprobs(w *wire.Writer, list []Logprob) {
	if list == nil {
		return
	}
	one := func(l *Logprob) {
		w.Open()
		w.FText("token", l.Token)
		w.Key("logProbability")
		w.Num(l.Logprob)
		w.Close()
	}
	w.Key("logprobsResult")
	w.Open()
	w.Key("chosenCandidates")
	w.List()
	for i := range list {
		one(&list[i])
	}
	w.EndList()
	w.Key("topCandidates")
	w.List()
	for i := range list {
		w.Open()
		w.Key("candidates")
		w.List()
		for j := range list[i].Top {
			one(&list[i].Top[j])
		}
		w.EndList()
		w.Close()
	}
	w.EndList()
	w.Close()
}

func printGoogle(_ *Request, a *Answer) []byte {
	w := &wire.Writer{}
	w.Open()
	w.Key("candidates")
	w.List()
	for i := range a.Choices {
		c := &a.Choices[i]
		w.Open()
		w.Key("content")
		w.Open()
		w.Key("parts")
		w.List()
		for j := range c.Parts {
			if p := &c.Parts[j]; googleSays(p) {
				googlePiece(w, p, nil)
			}
		}
		w.EndList()
		w.FText("role", "model")
		w.Close()
		w.FText("finishReason", finishWord(c.Stop))
		w.FInt("index", int64(i))
		writeGoogleLogprobs(w, c.Logprobs)
		w.Close()
	}
	w.EndList()
	writeGoogleUsage(w, a.Usage)
	w.FText("modelVersion", a.Model)
	w.FSome("responseId", a.ID)
	w.Close()
	return w.B
}

type googleEncoder struct {
	array, some bool
	id, model   string
	usage       Usage
	calls       []*googlePending
	stops       []Event
	held        int
	broken      bool
}

// googlePending is a tool call whose arguments are not whole: the dialect gives them whole.
type googlePending struct {
	start Event
	args  []byte
}

func newGoogleEncoder(_ *Request, h Head) encoder { return &googleEncoder{array: h.Array} }

func (g *googleEncoder) encode(dst []byte, e *Event) []byte {
	part := func(p Part, logprobs []Logprob) []byte {
		return g.chunk(dst, func(w *wire.Writer) { g.candidate(w, e.Choice, &p, "", logprobs) }, false)
	}
	if g.broken {
		return dst
	}
	if e.Kind == ToolStart || e.Kind == ToolDelta {
		if g.held += len(e.Text); g.held > maxHeld || len(g.calls) > maxCalls {
			g.broken = true
			return g.fail(dst, fault.New(fault.Unavailable, "The engine's answer is too long.", fault.Code("engine_failed")))
		}
	}
	switch e.Kind {
	case Started:
		g.id, g.model = e.ID, e.Model
	case TextDelta, RefusalDelta:
		if e.Text != "" || len(e.Logprobs) > 0 {
			return part(Part{Text: e.Text}, e.Logprobs)
		}
	case ThoughtDelta:
		return part(Part{Kind: Thought, Text: e.Text}, nil)
	case Signed:
		if e.SignedBy == Google {
			return part(Part{Signature: e.Text, SignedBy: Google}, nil)
		}
	case ToolStart:
		g.calls = append(g.calls, &googlePending{start: *e})
	case ToolDelta:
		for _, c := range g.calls {
			if c.start.Choice == e.Choice && c.start.Tool == e.Tool {
				c.args = append(c.args, e.Text...)
			}
		}
	case Stopped:
		dst = g.flush(dst, e.Choice)
		g.stops = append(g.stops, *e)
	case Counted:
		g.usage = e.Usage
	case Ended:
		return g.end(dst)
	}
	return dst
}

// flush gives the calls of a choice, whole now.
func (g *googleEncoder) flush(dst []byte, choice int) []byte {
	var rest []*googlePending
	for _, c := range g.calls {
		if c.start.Choice != choice {
			rest = append(rest, c)
			continue
		}
		p := Part{Kind: ToolCall, ToolID: c.start.ToolID, Name: c.start.Name, Text: string(c.args), Signature: c.start.Text, SignedBy: c.start.SignedBy}
		dst = g.chunk(dst, func(w *wire.Writer) { g.candidate(w, choice, &p, "", nil) }, false)
	}
	g.calls = rest
	return dst
}

func (g *googleEncoder) end(dst []byte) []byte {
	dst = g.chunk(dst, func(w *wire.Writer) {
		for _, s := range g.stops {
			g.candidate(w, s.Choice, nil, finishWord(s.Stop), nil)
		}
	}, true)
	return g.shut(dst)
}

func (g *googleEncoder) shut(dst []byte) []byte {
	if !g.array {
		return dst
	}
	if !g.some {
		dst = append(dst, '[')
	}
	return append(dst, "\n]\n"...)
}

func (g *googleEncoder) candidate(w *wire.Writer, choice int, p *Part, stop string, logprobs []Logprob) {
	w.Open()
	w.Key("content")
	w.Open()
	w.Key("parts")
	w.List()
	if p != nil {
		googlePiece(w, p, nil)
	} else {
		w.Open()
		w.FText("text", "")
		w.Close()
	}
	w.EndList()
	w.FText("role", "model")
	w.Close()
	w.FSome("finishReason", stop)
	w.FInt("index", int64(choice))
	writeGoogleLogprobs(w, logprobs)
	w.Close()
}

func (g *googleEncoder) chunk(dst []byte, candidates func(*wire.Writer), last bool) []byte {
	w := &wire.Writer{B: g.before(dst)}
	w.Open()
	w.Key("candidates")
	w.List()
	candidates(w)
	w.EndList()
	if last {
		writeGoogleUsage(w, g.usage)
	}
	w.FText("modelVersion", g.model)
	w.FSome("responseId", g.id)
	w.Close()
	return g.after(w.B)
}

func (g *googleEncoder) before(dst []byte) []byte {
	first := !g.some
	g.some = true
	switch {
	case !g.array:
		return append(dst, "data: "...)
	case first:
		return append(dst, "[\n"...)
	}
	return append(dst, ",\n"...)
}

func (g *googleEncoder) after(dst []byte) []byte {
	if g.array {
		return dst
	}
	return append(dst, "\r\n\r\n"...)
}

func (g *googleEncoder) fail(dst []byte, err error) []byte {
	_, body := googleError(err)
	return g.shut(g.after(append(g.before(dst), body...)))
}
