package dialect

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/models/dialect/wire"
)

func parseChatAnswer(body []byte) (*Answer, error) {
	doc, o := wire.Parse(body)
	if doc.Err() != nil {
		return nil, doc.Err()
	}
	if e, ok := o.Obj("error"); ok {
		return nil, upstream(0, e.Text("message"), nil)
	}
	a := &Answer{ID: o.Text("id"), Model: o.Text("model"), Created: count(o, "created"), Usage: parseUsage(o)}
	list := o.List("choices")
	if len(list) == 0 || len(list) > maxChoices {
		return nil, errors.New("dialect: the answer has no choices")
	}
	for _, e := range list {
		c := e.Obj()
		m, _ := c.Obj("message")
		ch := Choice{Stop: openaiStop(c.Text("finish_reason"))}
		ch.Parts = chatAnswerParts(m)
		if l, ok := c.Obj("logprobs"); ok {
			ch.Logprobs = parseLogprobs(l.List("content"))
		}
		a.Choices = append(a.Choices, ch)
	}
	return a, doc.Err()
}

func chatAnswerParts(m wire.Object) (parts []Part) {
	if s := reasoningText(m); s != "" {
		parts = append(parts, Part{Kind: Thought, Text: s})
	}
	if s := contentText(m); s != "" {
		parts = append(parts, Part{Text: s})
	}
	if s := m.Text("refusal"); s != "" {
		parts = append(parts, Part{Kind: Refusal, Text: s})
	}
	for i, e := range m.List("tool_calls") {
		c := e.Obj()
		f, _ := c.Obj("function")
		parts = append(parts, Part{Kind: ToolCall, ToolID: orText(c.Text("id"), "call_"+strconv.Itoa(i)), Name: f.Text("name"),
			Text: f.Text("arguments")})
		if len(parts) > maxCalls {
			m.Fail("tool_calls", "too many")
			return nil
		}
	}
	return parts
}

// reasoningText reads the reasoning under either name that servers give it.
func reasoningText(o wire.Object) string {
	for _, name := range []string{"reasoning_content", "reasoning"} {
		if v, ok := o.Get(name); ok && v.IsText() && v.Text() != "" {
			return v.Text()
		}
	}
	return ""
}

// contentText reads content, a string or a list of text parts.
func contentText(o wire.Object) string {
	v, ok := o.Get("content")
	if !ok || v.IsText() {
		if ok {
			return v.Text()
		}
		return ""
	}
	var s strings.Builder
	for _, e := range v.List() {
		if c := e.Obj(); c.Text("type") == "text" {
			s.WriteString(c.Text("text"))
		}
	}
	return s.String()
}

func printChat(_ *Request, a *Answer) []byte {
	w := &wire.Writer{}
	w.Open()
	w.FText("id", a.ID)
	w.FText("object", "chat.completion")
	w.FInt("created", a.Created)
	w.FText("model", a.Model)
	w.Key("choices")
	w.List()
	for i := range a.Choices {
		c := &a.Choices[i]
		w.Open()
		w.FInt("index", int64(i))
		w.Key("message")
		w.Open()
		w.FText("role", "assistant")
		w.FOrNull("content", join(c.Parts, Text))
		w.FOrNull("refusal", join(c.Parts, Refusal))
		w.FSome("reasoning_content", join(c.Parts, Thought))
		chatCalls(w, forClient(c.Parts))
		w.Close()
		chatLogprobs(w, c.Logprobs)
		w.FText("finish_reason", finishReason(c.Stop))
		w.Close()
	}
	w.EndList()
	writeUsage(w, a.Usage)
	w.Close()
	return w.B
}

// forClient packs proofs into the ids of tool calls.
func forClient(parts []Part) []Part {
	out := append([]Part(nil), parts...)
	for i := range out {
		if p := &out[i]; p.Kind == ToolCall {
			p.ToolID = packID(p.ToolID, p.Signature, p.SignedBy)
		}
	}
	return out
}

func chatLogprobs(w *wire.Writer, list []Logprob) {
	w.Key("logprobs")
	if list == nil {
		w.Raw(nil)
		return
	}
	w.Open()
	w.Key("content")
	writeLogprobs(w, list)
	w.Close()
}

type chatDecoder struct {
	decoding
	choices map[int64]*chatState
	open    int // choices that began and have not stopped
}

type chatState struct {
	calls
	stopped bool
}

func newChatDecoder(limit int) Decoder {
	d := &chatDecoder{choices: map[int64]*chatState{}}
	d.split, d.take = wire.NewSSE(limit), d.event
	return d
}

var doneWord = []byte("[DONE]")

func (d *chatDecoder) event(_ string, data []byte) error {
	if bytes.Equal(bytes.TrimSpace(data), doneWord) {
		d.give(Event{Kind: Ended})
		return nil
	}
	doc, o := wire.Parse(data)
	if doc.Err() != nil {
		return doc.Err()
	}
	if o.Has("error") {
		d.give(Event{Kind: Failed, Err: openaiFailure(0, o)})
		return nil
	}
	d.start(o.Text("id"), o.Text("model"), count(o, "created"))
	for _, e := range o.List("choices") {
		c := e.Obj()
		if err := d.choice(c, count(c, "index")); err != nil {
			return err
		}
	}
	if u := parseUsage(o); u.Known {
		d.give(Event{Kind: Counted, Usage: u})
	}
	return doc.Err()
}

func (d *chatDecoder) choice(c wire.Object, index int64) error {
	if index >= maxChoices {
		return errors.New("dialect: too many choices")
	}
	s := d.choices[index]
	if s == nil {
		s = &chatState{}
		d.choices[index] = s
		d.open++
	}
	var logprobs []Logprob
	if l, ok := c.Obj("logprobs"); ok {
		logprobs = parseLogprobs(l.List("content"))
	}
	n := int(index)
	delta, _ := c.Obj("delta")
	if t := reasoningText(delta); t != "" {
		d.give(Event{Kind: ThoughtDelta, Choice: n, Text: t})
	}
	if t := contentText(delta); t != "" || len(logprobs) > 0 {
		d.give(Event{Kind: TextDelta, Choice: n, Text: t, Logprobs: logprobs})
	}
	if t := delta.Text("refusal"); t != "" {
		d.give(Event{Kind: RefusalDelta, Choice: n, Text: t})
	}
	for _, e := range delta.List("tool_calls") {
		if err := d.call(e.Obj(), s, n); err != nil {
			return err
		}
	}
	if reason := c.Text("finish_reason"); reason != "" && !s.stopped {
		s.stopped = true
		d.open--
		d.give(Event{Kind: Stopped, Choice: n, Stop: openaiStop(reason)})
	}
	d.stopped = d.open == 0
	return nil
}

// call reads a piece of a tool call. Servers that leave the index out mean a new call where there is a new id.
func (d *chatDecoder) call(c wire.Object, s *chatState, choice int) error {
	id := c.Text("id")
	index := s.last
	if v := c.Int("index", 0, 1<<31); v != nil {
		index = *v
	} else if id != "" {
		index = int64(len(s.by))
	}
	n, fresh, err := s.at(index)
	if err != nil {
		return err
	}
	f, _ := c.Obj("function")
	if fresh {
		d.give(Event{Kind: ToolStart, Choice: choice, Tool: n, ToolID: orText(id, "call_"+strconv.Itoa(choice)+"_"+strconv.Itoa(n)), Name: f.Text("name")})
	}
	if args := f.Text("arguments"); args != "" {
		d.give(Event{Kind: ToolDelta, Choice: choice, Tool: n, Text: args})
	}
	return nil
}

type chatEncoder struct {
	id, model string
	created   int64
	usage     Usage
	asked     bool // for usage
	begun     map[int]bool
}

func newChatEncoder(r *Request, _ Head) encoder {
	return &chatEncoder{asked: r.Usage, begun: map[int]bool{}}
}

// chunk writes one chunk with one choice, whose delta is written by delta.
func (c *chatEncoder) chunk(dst []byte, choice int, stop string, logprobs []Logprob, delta func(*wire.Writer)) []byte {
	w := &wire.Writer{B: append(dst, "data: "...)}
	c.open(w)
	w.Open()
	w.FInt("index", int64(choice))
	w.Key("delta")
	w.Open()
	delta(w)
	w.Close()
	if logprobs != nil {
		chatLogprobs(w, logprobs)
	}
	w.FOrNull("finish_reason", stop)
	w.Close()
	w.EndList()
	if c.asked {
		w.FRaw("usage", nil)
	}
	w.Close()
	return append(w.B, "\n\n"...)
}

func (c *chatEncoder) open(w *wire.Writer) {
	openChunk(w, c.id, "chat.completion.chunk", c.created, c.model)
}

// openChunk begins an event of either kind of completion, up to its list of choices.
func openChunk(w *wire.Writer, id, object string, created int64, model string) {
	w.Open()
	w.FText("id", id)
	w.FText("object", object)
	w.FInt("created", created)
	w.FText("model", model)
	w.Key("choices")
	w.List()
}

func (c *chatEncoder) encode(dst []byte, e *Event) []byte {
	if e.Kind >= TextDelta && e.Kind <= Stopped && !c.begun[e.Choice] && e.Choice > 0 {
		dst = c.begin(dst, e.Choice)
	}
	text := func(name string) []byte {
		return c.chunk(dst, e.Choice, "", e.Logprobs, func(w *wire.Writer) { w.FText(name, e.Text) })
	}
	switch e.Kind {
	case Started:
		c.id, c.model, c.created = e.ID, e.Model, e.Created
		return c.begin(dst, 0)
	case TextDelta:
		return text("content")
	case RefusalDelta:
		return text("refusal")
	case ThoughtDelta:
		return text("reasoning_content")
	case ToolStart, ToolDelta:
		return c.chunk(dst, e.Choice, "", nil, func(w *wire.Writer) { chatCallDelta(w, e) })
	case Stopped:
		return c.chunk(dst, e.Choice, finishReason(e.Stop), nil, func(*wire.Writer) {})
	case Counted:
		c.usage = e.Usage
	case Ended:
		return append(c.counts(dst), "data: [DONE]\n\n"...)
	}
	return dst
}

func chatCallDelta(w *wire.Writer, e *Event) {
	w.Key("tool_calls")
	w.List()
	w.Open()
	w.FInt("index", int64(e.Tool))
	args := e.Text
	if e.Kind == ToolStart {
		w.FText("id", packID(e.ToolID, e.Text, e.SignedBy))
		w.FText("type", "function")
		args = ""
	}
	w.Key("function")
	w.Open()
	if e.Kind == ToolStart {
		w.FText("name", e.Name)
	}
	w.FText("arguments", args)
	w.Close()
	w.Close()
	w.EndList()
}

func (c *chatEncoder) begin(dst []byte, choice int) []byte {
	c.begun[choice] = true
	return c.chunk(dst, choice, "", nil, func(w *wire.Writer) {
		w.FText("role", "assistant")
		w.FText("content", "")
	})
}

// counts is the chunk with the usage, if the client asked for it.
func (c *chatEncoder) counts(dst []byte) []byte {
	if !c.asked {
		return dst
	}
	w := &wire.Writer{B: append(dst, "data: "...)}
	c.open(w)
	w.EndList()
	writeUsage(w, c.usage)
	w.Close()
	return append(w.B, "\n\n"...)
}

func (c *chatEncoder) fail(dst []byte, err error) []byte { return openaiEvent(dst, err) }
