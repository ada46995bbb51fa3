package remote

import (
	"bytes"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// tally counts the tokens of an event stream: what the provider says, and until it says so the events that carry text,
// each of which holds a token at least.
type tally struct {
	dialect engine.Dialect
	hide    bool // an event with nothing but usage is left out

	told   meter.Usage
	spoken int  // events with text since it told
	ended  bool // by an event of the dialect that says so
	closed bool // a choice has ended, or the provider told its failure: what may end without more
}

const maxTokens = 1 << 30 // of one answer, whatever a provider says

// chunk is a piece of the answer with the counts so far.
func (t *tally) chunk(data []byte) engine.Chunk {
	return engine.Chunk{Data: data, Prompt: int(t.told.Input), Completion: min(int(t.told.Output)+t.spoken, maxTokens),
		Cached: int(t.told.Cached), Reasoning: int(t.told.Reasoning), Guessed: t.spoken > 0}
}

// event takes one event into account and says whether it is handed on.
func (t *tally) event(one []byte) bool {
	data := dataOf(one)
	if len(data) == 0 {
		return true
	}
	t.closed = t.closed || closes(data)
	switch t.dialect {
	case engine.Anthropic:
		t.anthropic(data)
	case engine.Google:
		t.google(data)
	default:
		return t.openAI(data)
	}
	return true
}

// closes says whether an event has a reason to end, or an error. Some providers leave out the event that ends a stream.
func closes(data []byte) bool {
	if bytes.Contains(data, []byte(`"error"`)) && (gjson.GetBytes(data, "error").IsObject() || gjson.GetBytes(data, "type").String() == "error") {
		return true
	}
	return bytes.Contains(data, []byte(`"finish_reason"`)) && gjson.GetBytes(data, "choices.0.finish_reason").Type == gjson.String
}

// dataOf is the first data line of an event; the dialects have one each.
func dataOf(one []byte) []byte {
	for len(one) > 0 {
		line, rest, _ := bytes.Cut(one, []byte("\n"))
		if d, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			return bytes.TrimSpace(d)
		}
		one = rest
	}
	return nil
}

// openAI reads chunks of completions, and events of responses, which end with one of their own.
func (t *tally) openAI(data []byte) bool {
	if bytes.Contains(data, []byte(`"usage"`)) {
		u := gjson.GetBytes(data, "usage")
		if !u.IsObject() {
			u = gjson.GetBytes(data, "response.usage")
		}
		if u.IsObject() {
			if told, ok := engine.ReadUsage(u); ok {
				t.tell(told)
			}
			if c := gjson.GetBytes(data, "choices"); t.hide && c.IsArray() && !c.Get("0").Exists() {
				return false
			}
		}
	}
	if bytes.Contains(data, []byte(`"response.`)) {
		switch gjson.GetBytes(data, "type").String() {
		case "response.completed", "response.incomplete", "response.failed":
			t.ended = true
		}
	}
	if t.told.Output == 0 && speaks(data) {
		t.spoken++
	}
	return true
}

// anthropic reads the events of messages.
func (t *tally) anthropic(data []byte) {
	switch gjson.GetBytes(data, "type").String() {
	case "message_start":
		u := gjson.GetBytes(data, "message.usage")
		cached := u.Get("cache_read_input_tokens").Int()
		t.tell(meter.Usage{Input: u.Get("input_tokens").Int() + u.Get("cache_creation_input_tokens").Int() + cached, Cached: cached})
	case "content_block_delta":
		if speaks(data) {
			t.spoken++
		}
	case "message_delta":
		if n := gjson.GetBytes(data, "usage.output_tokens"); n.Exists() {
			told := t.told
			told.Output = n.Int()
			t.tell(told)
		}
	case "message_stop":
		t.ended = true
	}
}

// google reads the pieces of generateContent, of which the last one has a reason to end.
func (t *tally) google(data []byte) {
	if u := gjson.GetBytes(data, "usageMetadata"); u.IsObject() {
		thoughts := u.Get("thoughtsTokenCount").Int()
		t.tell(meter.Usage{Input: u.Get("promptTokenCount").Int(), Cached: u.Get("cachedContentTokenCount").Int(),
			Output: u.Get("candidatesTokenCount").Int() + thoughts, Reasoning: thoughts})
	} else if speaks(data) {
		t.spoken++
	}
	t.ended = t.ended || gjson.GetBytes(data, "candidates.0.finishReason").Exists()
}

// tell takes what the provider says for exact, within bounds that no answer passes. Lies within them are the caller's of
// the driver to judge.
func (t *tally) tell(u meter.Usage) {
	if u.Output <= 0 && int(t.told.Output)+t.spoken > 0 { // text was seen: an answer of none is no truth
		u.Output, u.Reasoning = t.told.Output+int64(t.spoken), t.told.Reasoning
	}
	for _, n := range []*int64{&u.Input, &u.Cached, &u.Output, &u.Reasoning} {
		*n = min(max(*n, 0), maxTokens)
	}
	t.told, t.spoken = u, 0
}

var spoken = [][]byte{[]byte(`"content"`), []byte(`"text"`), []byte(`"delta"`), []byte(`"arguments"`), []byte(`"reasoning_content"`),
	[]byte(`"reasoning"`), []byte(`"thinking"`), []byte(`"partial_json"`)}

// speaks says whether an event carries text: one of the members that hold it, and a string in it that is not empty.
func speaks(data []byte) bool {
	for _, name := range spoken {
		for rest := data; ; {
			i := bytes.Index(rest, name)
			if i < 0 {
				break
			}
			rest = bytes.TrimLeft(rest[i+len(name):], " \t")
			if v, ok := bytes.CutPrefix(rest, []byte(":")); ok {
				if v = bytes.TrimLeft(v, " \t"); len(v) > 1 && v[0] == '"' && v[1] != '"' {
					return true
				}
			}
		}
	}
	return false
}
