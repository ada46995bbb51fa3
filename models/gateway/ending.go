package gateway

import (
	"bytes"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/models/dialect"
)

// track follows what left of a guarded stream, so that it can be ended in its dialect at any event.
type track struct {
	f       *flight
	kind    dialect.Kind
	dec     dialect.Decoder // of the caller's dialect; nil when it could not go on
	shadow  *dialect.Encoder
	started *dialect.Event
	open    map[int]bool // choices that have begun; false: and stopped
	block   int64        // of Anthropic: the block that is open; -1
}

func newTrack(f *flight) track {
	t := track{f: f, kind: f.caller(), open: map[int]bool{}, block: -1}
	if f.fields.stream {
		t.dec = dialect.NewDecoder(t.kind, maxEvent)
		t.shadow = dialect.NewEncoder(t.request(), f.head())
	}
	return t
}

// request is what the ending is written for.
func (t *track) request() *dialect.Request {
	r := &dialect.Request{From: t.kind, Stream: t.f.fields.stream, Usage: t.f.fields.usage}
	if t.f.far != nil && t.f.far.request != nil {
		c := *t.f.far.request
		r = &c
	}
	r.Reasoning.Show = true // what left is as it was shown
	return r
}

// follow reads what is about to leave.
func (t *track) follow(w *heldBack) {
	for _, data := range w.datas(w.held) {
		t.blocks(data)
	}
	if t.dec == nil {
		return
	}
	text := w.held
	if t.f.call.Array {
		text = nil
		for _, data := range w.datas(w.held) {
			gjson.ParseBytes(data).ForEach(func(_, v gjson.Result) bool {
				text = append(append(append(text, "data: "...), v.Raw...), "\n\n"...)
				return true
			})
		}
	}
	events, err := t.dec.Feed(text)
	for i := range events {
		t.event(&events[i])
	}
	if err != nil {
		t.dec = nil // it ends as well as is known
	}
}

func (t *track) event(e *dialect.Event) {
	switch e.Kind {
	case dialect.Started:
		if t.started == nil {
			c := *e
			t.started = &c
		}
	case dialect.Stopped:
		t.open[e.Choice] = false
	case dialect.Counted, dialect.Ping, dialect.Ended, dialect.Failed:
		return
	default:
		t.open[e.Choice] = true
	}
	if t.kind == dialect.Responses { // whose ending repeats all that left
		t.shadow.Encode(nil, *e)
	}
}

// blocks notes which of Anthropic's blocks is open.
func (t *track) blocks(data []byte) {
	if t.kind != dialect.Anthropic {
		return
	}
	switch gjson.GetBytes(data, "type").Str {
	case "content_block_start":
		t.block = gjson.GetBytes(data, "index").Int()
	case "content_block_stop":
		t.block = -1
	}
}

// encoder is one that goes on from what left, and what it would begin with if nothing did.
func (t *track) encoder() (enc *dialect.Encoder, begin []byte) {
	if t.started == nil {
		enc = t.shadow
		return enc, enc.Encode(nil, dialect.Event{Kind: dialect.Started})
	}
	if t.kind == dialect.Responses {
		return t.shadow, nil
	}
	enc = dialect.NewEncoder(t.request(), dialect.Head{Array: t.f.call.Array})
	enc.Encode(nil, *t.started)
	return enc, nil
}

// ending is the rest of a stream that a filter cut.
func (t *track) ending() []byte {
	enc, out := t.encoder()
	if t.block >= 0 {
		out = append(out, dialect.AnthropicBlockStop(t.block)...)
	}
	some := false
	var rest []byte
	for choice, open := range t.open {
		if open {
			some = true
			rest = enc.Encode(rest, dialect.Event{Kind: dialect.Stopped, Choice: choice, Stop: dialect.StopFilter})
		}
	}
	if !some {
		rest = enc.Encode(rest, dialect.Event{Kind: dialect.Stopped, Stop: dialect.StopFilter})
	}
	rest = enc.Encode(rest, dialect.Event{Kind: dialect.Counted, Usage: t.used()})
	return t.joined(append(out, enc.Encode(rest, dialect.Event{Kind: dialect.Ended})...))
}

// failure is the rest of a stream that nobody could judge.
func (t *track) failure(err error) []byte {
	enc, out := t.encoder()
	return t.joined(enc.Encode(out, dialect.Event{Kind: dialect.Failed, Err: err}))
}

// joined goes on with an array that has begun.
func (t *track) joined(out []byte) []byte {
	if t.f.call.Array && t.started != nil {
		return append([]byte(","), bytes.TrimPrefix(out, []byte("["))...)
	}
	return out
}

// used is what the caller pays for.
func (t *track) used() dialect.Usage {
	u := t.f.used
	return dialect.Usage{Known: true, Input: u.Input, CachedInput: u.Cached, Output: u.Output, Reasoning: u.Reasoning}
}

// filtered is a whole answer of which a filter left nothing but its counts.
func (t *track) filtered(body []byte) []byte {
	a, err := dialect.ParseAnswer(t.kind, body)
	head := dialect.Head{}
	if err != nil {
		a, head = &dialect.Answer{Choices: make([]dialect.Choice, 1)}, t.f.head()
	}
	for i := range a.Choices {
		a.Choices[i] = dialect.Choice{Stop: dialect.StopFilter}
	}
	a.Usage = t.used()
	return dialect.WriteAnswer(t.request(), a, head)
}
