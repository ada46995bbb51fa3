package dialect

import (
	"errors"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

func itoa(n int) string { return strconv.Itoa(n) }

// failureWords are code, message and field of a failure in the OpenAI dialects.
func failureWords(err error) (code, message, param string) {
	_, e := openai.ErrorOf(err)
	code = "server_error"
	if e.Code != nil {
		code = *e.Code
	}
	if e.Param != nil {
		param = *e.Param
	}
	return code, e.Message, param
}

type responsesDecoder struct {
	decoding
	calls  calls
	pieces map[int64]bool // calls whose arguments came in pieces
}

func newResponsesDecoder(limit int) Decoder {
	d := &responsesDecoder{pieces: map[int64]bool{}}
	d.split, d.take = wire.NewSSE(limit), d.event
	return d
}

func (d *responsesDecoder) event(_ string, data []byte) error {
	if string(data) == "[DONE]" {
		return nil
	}
	doc, o := wire.Parse(data)
	if doc.Err() != nil {
		return doc.Err()
	}
	var err error
	switch o.Text("type") {
	case "response.created", "response.in_progress":
		r, _ := o.Obj("response")
		d.start(r.Text("id"), r.Text("model"), created(r))
	case "response.output_text.delta":
		if t, p := o.Text("delta"), parseLogprobs(o.List("logprobs")); t != "" || p != nil {
			d.give(Event{Kind: TextDelta, Text: t, Logprobs: p})
		}
	case "response.refusal.delta":
		d.give(Event{Kind: RefusalDelta, Text: o.Text("delta")})
	case "response.reasoning_summary_text.delta", "response.reasoning_text.delta":
		d.give(Event{Kind: ThoughtDelta, Text: o.Text("delta")})
	case "response.reasoning_summary_part.added":
		if count(o, "summary_index") > 0 {
			d.give(Event{Kind: ThoughtDelta, Text: "\n\n"})
		}
	case "response.output_item.added":
		err = d.added(o)
	case "response.function_call_arguments.delta":
		err = d.piece(count(o, "output_index"), o.Text("delta"))
	case "response.output_item.done":
		err = d.done(o)
	case "response.completed", "response.incomplete", "response.failed":
		r, _ := o.Obj("response")
		d.end(r)
	case "error":
		d.give(Event{Kind: Failed, Err: responsesFailure(o)})
	}
	if err != nil {
		return err
	}
	return doc.Err()
}

// responsesFailure reads an error event, whose words stand at the top or inside of error.
func responsesFailure(o wire.Object) error {
	if o.Has("error") {
		return openaiFailure(0, o)
	}
	return upstream(0, o.Text("message"), nil)
}

func (d *responsesDecoder) added(o wire.Object) error {
	it, _ := o.Obj("item")
	if it.Text("type") != "function_call" {
		return nil
	}
	n, fresh, err := d.calls.at(count(o, "output_index"))
	if err != nil || !fresh {
		return errors.Join(err, errors.New("dialect: an item begins twice or there are too many"))
	}
	d.give(Event{Kind: ToolStart, Tool: n, ToolID: it.Text("call_id"), Name: it.Text("name")})
	return nil
}

func (d *responsesDecoder) piece(index int64, text string) error {
	n, ok := d.calls.by[index]
	if !ok {
		return errors.New("dialect: arguments of a call that did not begin")
	}
	if text != "" {
		d.pieces[index] = true
		d.give(Event{Kind: ToolDelta, Tool: n, Text: text})
	}
	return nil
}

func (d *responsesDecoder) done(o wire.Object) error {
	it, _ := o.Obj("item")
	index := count(o, "output_index")
	switch it.Text("type") {
	case "function_call":
		if _, begun := d.calls.by[index]; !begun {
			if err := d.added(o); err != nil {
				return err
			}
		}
		if !d.pieces[index] {
			return d.piece(index, it.Text("arguments"))
		}
	case "reasoning":
		if proof := it.Text("encrypted_content"); proof != "" {
			d.give(Event{Kind: Signed, Text: proof, SignedBy: Responses})
		}
	}
	return nil
}

func (d *responsesDecoder) end(r wire.Object) {
	d.start(r.Text("id"), r.Text("model"), created(r))
	if u := countsOf(r, "input_tokens", "output_tokens"); u.Known {
		d.give(Event{Kind: Counted, Usage: u})
	}
	if r.Text("status") == "failed" {
		d.give(Event{Kind: Failed, Err: openaiFailure(0, r)})
		return
	}
	d.give(Event{Kind: Stopped, Stop: responsesStop(r, len(d.calls.by) > 0)})
	d.give(Event{Kind: Ended})
}

// maxHeld bounds what an encoder holds of an answer, whose last event repeats all of it.
const maxHeld = 64 << 20

type responsesEncoder struct {
	r      *Request
	state  respState
	seq    int64
	open   *respItem
	part   int             // the content part of an open message
	text   strings.Builder // of that part, or of the open thought or call
	tool   int
	held   int
	stop   Stop
	broken bool
}

func newResponsesEncoder(r *Request, _ Head) encoder { return &responsesEncoder{r: r} }

// event writes one event with its place in the sequence.
func (s *responsesEncoder) event(dst []byte, name string, f func(*wire.Writer)) []byte {
	return named(dst, name, func(w *wire.Writer) {
		w.FInt("sequence_number", s.seq)
		s.seq++
		f(w)
	})
}

// inItem writes an event of the open item.
func (s *responsesEncoder) inItem(dst []byte, name string, f func(*wire.Writer)) []byte {
	return s.event(dst, name, func(w *wire.Writer) {
		w.FText("item_id", s.open.id)
		w.FInt("output_index", int64(len(s.state.items)-1))
		f(w)
	})
}

func (s *responsesEncoder) encode(dst []byte, e *Event) []byte {
	if e.Choice > 0 || s.broken {
		return dst
	}
	if s.held += len(e.Text) + 64*len(e.Logprobs); s.held > maxHeld {
		s.broken = true
		return s.fail(dst, fault.New(fault.Unavailable, "The engine's answer is too long.", fault.Code("engine_failed")))
	}
	switch e.Kind {
	case Started:
		s.state.id, s.state.model, s.state.created, s.state.status = e.ID, e.Model, e.Created, "in_progress"
		dst = s.whole(dst, "response.created")
		return s.whole(dst, "response.in_progress")
	case TextDelta, RefusalDelta:
		return s.words(dst, e)
	case ThoughtDelta:
		return s.think(dst, e)
	case Signed, RedactedPart:
		return s.proof(dst, e)
	case ToolStart, ToolDelta:
		return s.call(dst, e)
	case Stopped:
		s.stop = e.Stop
		return s.shut(dst)
	case Counted:
		s.state.usage = e.Usage
	case Ended:
		dst = s.shut(dst)
		s.state.settle(s.stop)
		return s.whole(dst, "response."+s.state.status)
	}
	return dst
}

func (s *responsesEncoder) whole(dst []byte, name string) []byte {
	return s.event(dst, name, func(w *wire.Writer) {
		w.Key("response")
		writeResponse(w, s.r, &s.state)
	})
}

// begin opens an item.
func (s *responsesEncoder) begin(dst []byte, p Part) []byte {
	dst = s.shut(dst)
	s.held += 512 // an item without words is not free
	s.text.Reset()
	s.open, s.part = &respItem{id: s.state.itemID(p.Kind), parts: []Part{p}}, 0
	s.state.items = append(s.state.items, s.open)
	return s.itemEvent(dst, "response.output_item.added", "in_progress")
}

func (s *responsesEncoder) itemEvent(dst []byte, name, status string) []byte {
	return s.event(dst, name, func(w *wire.Writer) {
		w.FInt("output_index", int64(len(s.state.items)-1))
		w.Key("item")
		it := *s.open
		if it.kind() == Thought && status == "in_progress" {
			it.parts = []Part{{Kind: Thought}}
		}
		writeItem(w, &it, status)
	})
}

func (s *responsesEncoder) words(dst []byte, e *Event) []byte {
	kind, word := Text, "output_text"
	if e.Kind == RefusalDelta {
		kind, word = Refusal, "refusal"
	}
	if e.Text == "" && len(e.Logprobs) == 0 {
		return dst
	}
	if s.open == nil || s.open.kind() != Text {
		dst = s.begin(dst, Part{Kind: kind})
		dst = s.content(dst, "response.content_part.added")
	} else if s.open.parts[s.part].Kind != kind {
		dst = s.closePart(dst)
		s.text.Reset()
		s.open.parts = append(s.open.parts, Part{Kind: kind})
		s.part++
		dst = s.content(dst, "response.content_part.added")
	}
	s.text.WriteString(e.Text)
	s.open.probs = append(s.open.probs, e.Logprobs...)
	return s.inItem(dst, "response."+word+".delta", func(w *wire.Writer) {
		w.FInt("content_index", int64(s.part))
		w.FText("delta", e.Text)
		if kind == Text {
			w.Key("logprobs")
			writeLogprobs(w, e.Logprobs)
		}
	})
}

func (s *responsesEncoder) content(dst []byte, name string) []byte {
	return s.inItem(dst, name, func(w *wire.Writer) {
		w.FInt("content_index", int64(s.part))
		w.Key("part")
		writeContent(w, &s.open.parts[s.part], s.open.probs)
	})
}

func (s *responsesEncoder) closePart(dst []byte) []byte {
	p := &s.open.parts[s.part]
	p.Text = s.text.String()
	name, word := "response.output_text.done", "text"
	if p.Kind == Refusal {
		name, word = "response.refusal.done", "refusal"
	}
	dst = s.inItem(dst, name, func(w *wire.Writer) {
		w.FInt("content_index", int64(s.part))
		w.FText(word, p.Text)
		if p.Kind == Text {
			w.Key("logprobs")
			writeLogprobs(w, s.open.probs)
		}
	})
	return s.content(dst, "response.content_part.done")
}

func (s *responsesEncoder) think(dst []byte, e *Event) []byte {
	if e.Text == "" {
		return dst
	}
	if s.open == nil || s.open.kind() != Thought {
		dst = s.begin(dst, Part{Kind: Thought})
		dst = s.summary(dst, "response.reasoning_summary_part.added", true)
	}
	s.text.WriteString(e.Text)
	return s.inItem(dst, "response.reasoning_summary_text.delta", func(w *wire.Writer) {
		w.FInt("summary_index", 0)
		w.FText("delta", e.Text)
	})
}

// summary writes an event with the summary as a part or as a text.
func (s *responsesEncoder) summary(dst []byte, name string, part bool) []byte {
	return s.inItem(dst, name, func(w *wire.Writer) {
		w.FInt("summary_index", 0)
		if part {
			w.Key("part")
			w.Open()
			w.FText("type", "summary_text")
		}
		w.FText("text", s.open.parts[0].Text)
		if part {
			w.Close()
		}
	})
}

// proof signs the open thought, or is an item of its own.
func (s *responsesEncoder) proof(dst []byte, e *Event) []byte {
	if s.open != nil && s.open.kind() == Text && e.Kind == Signed {
		return dst // a proof of a text has no place here
	}
	if s.open == nil || s.open.kind() != Thought || e.Kind == RedactedPart {
		dst = s.begin(dst, Part{Kind: Redacted})
	}
	s.open.parts[0].Signature, s.open.parts[0].SignedBy = e.Text, e.SignedBy
	return s.shut(dst)
}

func (s *responsesEncoder) call(dst []byte, e *Event) []byte {
	if e.Kind == ToolStart {
		s.tool = e.Tool
		return s.begin(dst, Part{Kind: ToolCall, ToolID: packID(e.ToolID, e.Text, e.SignedBy), Name: e.Name})
	}
	if s.open == nil || s.open.kind() != ToolCall || s.tool != e.Tool {
		s.broken = true
		return s.fail(dst, garbled(errors.New("dialect: the arguments of two tool calls are mixed")))
	}
	s.text.WriteString(e.Text)
	return s.inItem(dst, "response.function_call_arguments.delta", func(w *wire.Writer) { w.FText("delta", e.Text) })
}

// shut closes the open item.
func (s *responsesEncoder) shut(dst []byte) []byte {
	if s.open == nil {
		return dst
	}
	switch s.open.kind() {
	case Text:
		dst = s.closePart(dst)
	case Thought:
		s.open.parts[0].Text = s.text.String()
		dst = s.summary(dst, "response.reasoning_summary_text.done", false)
		dst = s.summary(dst, "response.reasoning_summary_part.done", true)
	case ToolCall:
		s.open.parts[0].Text = s.text.String()
		dst = s.inItem(dst, "response.function_call_arguments.done", func(w *wire.Writer) {
			w.FText("name", s.open.parts[0].Name)
			w.FText("arguments", s.open.parts[0].Text)
		})
	}
	dst = s.itemEvent(dst, "response.output_item.done", "completed")
	s.open = nil
	return dst
}

func (s *responsesEncoder) fail(dst []byte, err error) []byte {
	code, message, param := failureWords(err)
	dst = s.event(dst, "error", func(w *wire.Writer) {
		w.FText("code", code)
		w.FText("message", message)
		w.FOrNull("param", param)
	})
	s.state.status, s.state.failure, s.open = "failed", err, nil
	return s.whole(dst, "response.failed")
}
