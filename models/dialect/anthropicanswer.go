package dialect

import (
	"errors"

	"github.com/triarch-ai/triarch/models/dialect/wire"
)

var anthropicStops = map[string]Stop{"end_turn": StopEnd, "max_tokens": StopLength, "stop_sequence": StopSequence, "tool_use": StopTools,
	"pause_turn": StopPause, "refusal": StopRefusal, "model_context_window_exceeded": StopLength}

func anthropicStop(s string) Stop {
	if st, ok := anthropicStops[s]; ok {
		return st
	}
	return StopEnd
}

func stopReason(s Stop) string {
	switch s {
	case StopLength:
		return "max_tokens"
	case StopSequence:
		return "stop_sequence"
	case StopTools:
		return "tool_use"
	case StopPause:
		return "pause_turn"
	case StopRefusal, StopFilter:
		return "refusal"
	}
	return "end_turn"
}

// anthropicCounts are the parts of a usage as the dialect has them: input apart from what the cache gave and took.
type anthropicCounts struct{ input, read, written, output, thought int64 }

func (c *anthropicCounts) take(o wire.Object) bool {
	v, ok := o.Get("usage")
	if !ok {
		return false
	}
	u, known := v.Obj(), true
	for _, x := range []struct {
		name string
		into *int64
	}{{"input_tokens", &c.input}, {"cache_read_input_tokens", &c.read}, {"cache_creation_input_tokens", &c.written}, {"output_tokens", &c.output}} {
		if u.Has(x.name) {
			*x.into = tokensTold(u, x.name, &known)
		}
	}
	if d, ok := u.Obj("output_tokens_details"); ok {
		c.thought = max(tokensTold(d, "thinking_tokens", &known), tokensTold(d, "reasoning_tokens", &known))
	}
	return known
}

func (c *anthropicCounts) usage() Usage {
	return Usage{Known: true, Input: c.input + c.read + c.written, CachedInput: c.read, CacheWrite: c.written, Output: c.output, Reasoning: c.thought}
}

func writeAnthropicUsage(w *wire.Writer, u Usage) {
	w.Key("usage")
	w.Open()
	w.FInt("input_tokens", max(u.Input-u.CachedInput-u.CacheWrite, 0))
	w.FInt("cache_creation_input_tokens", u.CacheWrite)
	w.FInt("cache_read_input_tokens", u.CachedInput)
	w.FInt("output_tokens", u.Output)
	if u.Reasoning > 0 {
		w.Key("output_tokens_details")
		w.Open()
		w.FInt("thinking_tokens", u.Reasoning)
		w.Close()
	}
	w.Close()
}

func parseAnthropicAnswer(body []byte) (*Answer, error) {
	doc, o := wire.Parse(body)
	if doc.Err() != nil {
		return nil, doc.Err()
	}
	if o.Has("error") {
		return nil, anthropicFailure(0, o)
	}
	if o.Text("type") != "message" {
		return nil, errors.New("dialect: the answer is no message")
	}
	a := &Answer{ID: o.Text("id"), Model: o.Text("model")}
	c := Choice{Stop: anthropicStop(o.Text("stop_reason")), Sequence: o.Text("stop_sequence")}
	list := o.List("content")
	if len(list) > maxCalls {
		return nil, errors.New("dialect: too many parts")
	}
	for _, e := range list {
		b := e.Obj()
		switch b.Text("type") {
		case "text":
			c.Parts = append(c.Parts, Part{Text: b.Text("text")})
		case "thinking":
			p := Part{Kind: Thought, Text: b.Text("thinking"), Signature: b.Text("signature")}
			if p.Signature != "" {
				p.SignedBy = Anthropic
			}
			c.Parts = append(c.Parts, p)
		case "redacted_thinking":
			c.Parts = append(c.Parts, Part{Kind: Redacted, Signature: b.Text("data"), SignedBy: Anthropic})
		case "tool_use":
			c.Parts = append(c.Parts, Part{Kind: ToolCall, ToolID: b.Text("id"), Name: b.Text("name"), Text: string(b.RawObject("input"))})
		}
	}
	a.Choices = []Choice{c}
	var n anthropicCounts
	if n.take(o) {
		a.Usage = n.usage()
	}
	return a, doc.Err()
}

func printAnthropic(_ *Request, a *Answer) []byte {
	w := &wire.Writer{}
	w.Open()
	w.FText("id", a.ID)
	w.FText("type", "message")
	w.FText("role", "assistant")
	w.FText("model", a.Model)
	w.Key("content")
	w.List()
	var c Choice
	if len(a.Choices) > 0 {
		c = a.Choices[0]
	}
	for _, p := range forClient(c.Parts) {
		if p.Kind == Text && p.Text == "" {
			continue
		}
		if p.Kind == Thought || p.Kind == Redacted {
			p.Signature = seal(p.Signature, p.SignedBy, Anthropic)
		}
		writeBlock(w, &p)
	}
	w.EndList()
	w.FText("stop_reason", stopReason(c.Stop))
	w.FOrNull("stop_sequence", c.Sequence)
	writeAnthropicUsage(w, a.Usage)
	w.Close()
	return w.B
}

type anthropicDecoder struct {
	decoding
	counts anthropicCounts
	calls  calls
	begun  map[int64]*anthropicCall // blocks that are tool calls
	halted bool
}

type anthropicCall struct {
	n     int
	input string // what the block began with, used if no piece follows
	piece bool
}

func newAnthropicDecoder(limit int) Decoder {
	d := &anthropicDecoder{begun: map[int64]*anthropicCall{}}
	d.split, d.take = wire.NewSSE(limit), d.event
	return d
}

func (d *anthropicDecoder) event(_ string, data []byte) error {
	doc, o := wire.Parse(data)
	if doc.Err() != nil {
		return doc.Err()
	}
	var err error
	switch o.Text("type") {
	case "message_start":
		m, _ := o.Obj("message")
		d.start(m.Text("id"), m.Text("model"), 0)
		d.count(m)
	case "content_block_start":
		err = d.block(o)
	case "content_block_delta":
		err = d.delta(o)
	case "content_block_stop":
		d.close(count(o, "index"))
	case "message_delta":
		d.count(o)
		m, _ := o.Obj("delta")
		if s := m.Text("stop_reason"); s != "" && !d.halted {
			d.halted, d.stopped = true, true
			d.give(Event{Kind: Stopped, Stop: anthropicStop(s), Sequence: m.Text("stop_sequence")})
		}
	case "message_stop":
		if !d.halted {
			d.halted = true
			d.give(Event{Kind: Stopped, Stop: StopEnd})
		}
		d.give(Event{Kind: Ended})
	case "ping":
		d.give(Event{Kind: Ping})
	case "error":
		d.give(Event{Kind: Failed, Err: anthropicFailure(0, o)})
	}
	if err != nil {
		return err
	}
	return doc.Err()
}

func (d *anthropicDecoder) count(o wire.Object) {
	if d.counts.take(o) {
		d.give(Event{Kind: Counted, Usage: d.counts.usage()})
	}
}

func (d *anthropicDecoder) block(o wire.Object) error {
	d.start("", "", 0)
	b, _ := o.Obj("content_block")
	switch b.Text("type") {
	case "text":
		if t := b.Text("text"); t != "" {
			d.give(Event{Kind: TextDelta, Text: t})
		}
	case "thinking":
		if t := b.Text("thinking"); t != "" {
			d.give(Event{Kind: ThoughtDelta, Text: t})
		}
	case "redacted_thinking":
		d.give(Event{Kind: RedactedPart, Text: b.Text("data"), SignedBy: Anthropic})
	case "tool_use":
		index := count(o, "index")
		n, fresh, err := d.calls.at(index)
		if err != nil || !fresh {
			return errors.Join(err, errors.New("dialect: a block begins twice or there are too many"))
		}
		d.begun[index] = &anthropicCall{n: n, input: string(b.RawObject("input"))}
		d.give(Event{Kind: ToolStart, Tool: n, ToolID: b.Text("id"), Name: b.Text("name")})
	}
	return nil
}

func (d *anthropicDecoder) delta(o wire.Object) error {
	p, _ := o.Obj("delta")
	switch p.Text("type") {
	case "text_delta":
		d.give(Event{Kind: TextDelta, Text: p.Text("text")})
	case "thinking_delta":
		d.give(Event{Kind: ThoughtDelta, Text: p.Text("thinking")})
	case "signature_delta":
		d.give(Event{Kind: Signed, Text: p.Text("signature"), SignedBy: Anthropic})
	case "input_json_delta":
		c := d.begun[count(o, "index")]
		if c == nil {
			return nil // of a block that is not carried
		}
		if t := p.Text("partial_json"); t != "" {
			c.piece = true
			d.give(Event{Kind: ToolDelta, Tool: c.n, Text: t})
		}
	}
	return nil
}

func (d *anthropicDecoder) close(index int64) {
	if c := d.begun[index]; c != nil && !c.piece && c.input != "" && c.input != "{}" {
		c.piece = true
		d.give(Event{Kind: ToolDelta, Tool: c.n, Text: c.input})
	}
}

type anthropicEncoder struct {
	open   EventKind // of the block that is open: TextDelta, ThoughtDelta, ToolStart
	some   bool      // a block is open
	index  int64
	tool   int
	stop   Event
	usage  Usage
	broken bool // pieces came for a call whose block is closed
}

func newAnthropicEncoder(*Request, Head) encoder { return &anthropicEncoder{} }

// named writes one event: its name, and its data as f writes it.
func named(dst []byte, name string, f func(*wire.Writer)) []byte {
	dst = append(append(append(dst, "event: "...), name...), "\ndata: "...)
	w := &wire.Writer{B: dst}
	w.Open()
	w.FText("type", name)
	f(w)
	w.Close()
	return append(w.B, "\n\n"...)
}

// AnthropicBlockStop is the event that ends a block of a stream in Anthropic's dialect.
func AnthropicBlockStop(index int64) []byte {
	return named(nil, "content_block_stop", func(w *wire.Writer) { w.FInt("index", index) })
}

func (a *anthropicEncoder) encode(dst []byte, e *Event) []byte {
	if e.Choice > 0 || a.broken {
		return dst
	}
	switch e.Kind {
	case Started:
		return a.begin(dst, e)
	case TextDelta, RefusalDelta:
		if e.Text == "" {
			return dst
		}
		dst = a.want(dst, TextDelta, func(w *wire.Writer) { w.FText("type", "text"); w.FText("text", "") })
		return a.delta(dst, "text_delta", "text", e.Text)
	case ThoughtDelta:
		dst = a.thinking(dst)
		return a.delta(dst, "thinking_delta", "thinking", e.Text)
	case Signed:
		if a.some && a.open == TextDelta {
			return dst // a proof of a text has no place here
		}
		dst = a.thinking(dst)
		dst = a.delta(dst, "signature_delta", "signature", seal(e.Text, e.SignedBy, Anthropic))
		return a.shut(dst)
	case RedactedPart:
		dst = a.shut(dst)
		dst = a.want(dst, RedactedPart, func(w *wire.Writer) {
			w.FText("type", "redacted_thinking")
			w.FText("data", seal(e.Text, e.SignedBy, Anthropic))
		})
		return a.shut(dst)
	case ToolStart, ToolDelta:
		return a.call(dst, e)
	case Stopped:
		a.stop = *e
		return a.shut(dst)
	case Counted:
		a.usage = e.Usage
	case Ping:
		return named(dst, "ping", func(*wire.Writer) {})
	case Ended:
		return a.end(dst)
	}
	return dst
}

func (a *anthropicEncoder) begin(dst []byte, e *Event) []byte {
	return named(dst, "message_start", func(w *wire.Writer) {
		w.Key("message")
		w.Open()
		w.FText("id", e.ID)
		w.FText("type", "message")
		w.FText("role", "assistant")
		w.FText("model", e.Model)
		w.Key("content")
		w.List()
		w.EndList()
		w.FRaw("stop_reason", nil)
		w.FRaw("stop_sequence", nil)
		u := a.usage
		if !u.Known { // what stands at the end is what counts
			u.Input = e.Usage.Input
		}
		writeAnthropicUsage(w, u)
		w.Close()
	})
}

func (a *anthropicEncoder) end(dst []byte) []byte {
	dst = named(a.shut(dst), "message_delta", func(w *wire.Writer) {
		w.Key("delta")
		w.Open()
		w.FText("stop_reason", stopReason(a.stop.Stop))
		w.FOrNull("stop_sequence", a.stop.Sequence)
		w.Close()
		writeAnthropicUsage(w, a.usage)
	})
	return named(dst, "message_stop", func(*wire.Writer) {})
}

func (a *anthropicEncoder) call(dst []byte, e *Event) []byte {
	if e.Kind == ToolStart {
		dst = a.shut(dst)
		a.tool = e.Tool
		return a.want(dst, ToolStart, func(w *wire.Writer) {
			w.FText("type", "tool_use")
			w.FText("id", packID(e.ToolID, e.Text, e.SignedBy))
			w.FText("name", e.Name)
			w.FRaw("input", []byte("{}"))
		})
	}
	if !a.some || a.open != ToolStart || a.tool != e.Tool {
		a.broken = true // blocks come one after the other: a piece out of place would spoil another, or be lost
		return a.fail(dst, garbled(errors.New("dialect: the arguments of two tool calls are mixed")))
	}
	return a.delta(dst, "input_json_delta", "partial_json", e.Text)
}

func (a *anthropicEncoder) thinking(dst []byte) []byte {
	return a.want(dst, ThoughtDelta, func(w *wire.Writer) {
		w.FText("type", "thinking")
		w.FText("thinking", "")
		w.FText("signature", "")
	})
}

// want opens a block of a kind unless one is open.
func (a *anthropicEncoder) want(dst []byte, k EventKind, block func(*wire.Writer)) []byte {
	if a.some && a.open == k && k != ToolStart {
		return dst
	}
	dst = a.shut(dst)
	a.some, a.open = true, k
	return named(dst, "content_block_start", func(w *wire.Writer) {
		w.FInt("index", a.index)
		w.Key("content_block")
		w.Open()
		block(w)
		w.Close()
	})
}

func (a *anthropicEncoder) delta(dst []byte, kind, name, text string) []byte {
	return named(dst, "content_block_delta", func(w *wire.Writer) {
		w.FInt("index", a.index)
		w.Key("delta")
		w.Open()
		w.FText("type", kind)
		w.FText(name, text)
		w.Close()
	})
}

func (a *anthropicEncoder) shut(dst []byte) []byte {
	if !a.some {
		return dst
	}
	a.some = false
	dst = named(dst, "content_block_stop", func(w *wire.Writer) { w.FInt("index", a.index) })
	a.index++
	return dst
}

func (a *anthropicEncoder) fail(dst []byte, err error) []byte {
	_, body := anthropicError(err)
	return append(append(append(dst, "event: error\ndata: "...), body...), "\n\n"...)
}
