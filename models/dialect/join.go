package dialect

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// Joiner puts the whole answer of a dialect together from its own stream, for a caller who asked for no stream. What it knows
// it joins as the dialect does, and every other member is kept: texts and numbers are the upstream's own bytes. Unlike
// Assembler it goes through no inner form.
type Joiner struct {
	kind  Kind
	split wire.Splitter
	limit int

	root   *tree
	blocks map[int64]*tree // of Anthropic's content and of responses' output, by number
	inputs map[int64][]byte
	size   int   // bytes that came
	nodes  nodes // of what they became
	whole  bool
	err    error
}

// NewJoiner joins a stream whose single events have at most event bytes to an answer of about limit bytes.
func NewJoiner(k Kind, event, limit int) *Joiner {
	j := &Joiner{kind: k, split: wire.NewSSE(event), limit: limit, nodes: nodes{most: limit / nodeBytes}, blocks: map[int64]*tree{}, inputs: map[int64][]byte{}}
	j.root = j.counted(&tree{})
	return j
}

// Feed takes the next bytes, which may begin and end anywhere. Its error stays: a fault of kind Unavailable when the stream
// cannot be read, or what the upstream says that it failed with.
func (j *Joiner) Feed(p []byte) error {
	if j.err == nil {
		if err := j.split.Feed(p, j.event); err != nil {
			j.err = err
			if _, ok := errors.AsType[*fault.Error](err); !ok {
				j.err = garbled(err)
			}
		}
	}
	return j.err
}

// Size is how many bytes it holds, about.
func (j *Joiner) Size() int { return j.size + j.nodes.made*nodeBytes }

// counted has the nodes of a value count.
func (j *Joiner) counted(t *tree) *tree {
	t.nodes = &j.nodes
	return t
}

// replace takes a newer value of a member, which counts as far as it is longer.
func (j *Joiner) replace(t *tree, name string, v gjson.Result) {
	if old := t.get(name); old == nil {
		j.size += len(name)
	} else {
		j.size -= len(old.raw)
	}
	t.replace(name, v)
	if now := t.get(name); now != nil {
		j.size += len(now.raw)
	}
}

// Whole says whether the answer is complete.
func (j *Joiner) Whole() bool {
	if j.err != nil {
		return false
	}
	switch j.kind {
	case Anthropic:
		return j.root.get("stop_reason").said()
	case Google:
		list := j.root.get("candidates").items()
		return len(list) > 0 && !slices.ContainsFunc(list, func(c *tree) bool { return !c.get("finishReason").said() }) ||
			len(list) == 0 && j.root.get("promptFeedback").said()
	case Responses:
		return j.whole
	}
	list := j.root.get("choices").items()
	return len(list) > 0 && !slices.ContainsFunc(list, func(c *tree) bool { return !c.get("finish_reason").said() })
}

// Answer is the whole answer as JSON.
func (j *Joiner) Answer() ([]byte, error) {
	if j.err != nil {
		return nil, j.err
	}
	if !j.Whole() {
		return nil, garbled(errors.New("dialect: the stream ends without its end"))
	}
	return j.write(), nil
}

// Cut is the answer as far as it came, ended as the dialect ends what reached its output bound, with the usage of that. It
// fails where nothing of an answer has come.
func (j *Joiner) Cut(u Usage) ([]byte, error) {
	if j.err != nil {
		return nil, j.err
	}
	switch j.kind {
	case Anthropic:
		if j.root.object {
			j.root.set("stop_reason", quoted("max_tokens"))
			j.root.child("usage").put(numbers{{"output_tokens", u.Output}})
		}
	case Google:
		for _, c := range j.root.get("candidates").items() {
			if !c.get("finishReason").said() {
				c.set("finishReason", quoted("MAX_TOKENS"))
			}
		}
		j.root.child("usageMetadata").put(numbers{{"promptTokenCount", u.Input}, {"candidatesTokenCount", u.Output}, {"totalTokenCount", u.Input + u.Output}})
	case Responses:
		if j.root.object {
			j.root.set("status", quoted("incomplete"))
			j.root.set("incomplete_details", raw(`{"reason":"max_output_tokens"}`))
			j.root.child("usage").put(numbers{{"input_tokens", u.Input}, {"output_tokens", u.Output}, {"total_tokens", u.Input + u.Output}})
		}
	default:
		for _, c := range j.root.get("choices").items() {
			if !c.get("finish_reason").said() {
				c.set("finish_reason", quoted("length"))
			}
		}
		j.root.child("usage").put(numbers{{"prompt_tokens", u.Input}, {"completion_tokens", u.Output}, {"total_tokens", u.Input + u.Output}})
	}
	for _, name := range []string{"choices", "content", "candidates", "output"} {
		if len(j.root.get(name).items()) > 0 {
			return j.write(), nil
		}
	}
	return nil, garbled(errors.New("dialect: the stream ends before an answer begins"))
}

// event takes one event.
func (j *Joiner) event(_ string, data []byte) error {
	if j.whole || string(data) == "[DONE]" {
		return nil
	}
	if err := wire.Check(data); err != nil {
		return garbled(err)
	}
	e := gjson.ParseBytes(data)
	if !e.IsObject() {
		return garbled(errors.New("dialect: an event that is no object"))
	}
	if x := e.Get("error"); x.IsObject() || x.Type == gjson.String || e.Get("type").Str == "error" {
		return ParseError(j.kind, 0, data)
	}
	var err error
	switch j.kind {
	case Anthropic:
		err = j.message(e)
	case Google:
		err = j.generated(e)
	case Responses:
		err = j.response(e)
	default:
		err = j.completion(e)
	}
	if err == nil && (j.Size() > j.limit || j.nodes.full()) {
		err = fault.New(fault.Unavailable, "The engine's answer is too long.", fault.Code("engine_failed"))
	}
	return err
}

// overhead is what an event adds at least, about.
const overhead = 16

// completion joins chunks of chat and text completions.
func (j *Joiner) completion(e gjson.Result) (err error) {
	e.ForEach(func(k, v gjson.Result) bool {
		switch name := k.Str; name {
		case "choices":
			v.ForEach(func(_, c gjson.Result) bool {
				err = j.choice(c)
				return err == nil
			})
			j.root.child("choices").array = true
		case "object":
			j.root.set(name, quoted(map[Kind]string{Chat: "chat.completion", Completions: "text_completion"}[j.kind]))
		case "obfuscation": // of the stream alone
		case "usage":
			if old := j.root.get(name); v.IsObject() {
				j.size += len(v.Raw)
				if old != nil {
					j.size -= len(old.raw)
				}
				j.root.last(name, from(v))
			}
		default:
			j.replace(j.root, name, v)
		}
		return err == nil
	})
	return err
}

func (j *Joiner) choice(c gjson.Result) error {
	j.size += overhead
	at, err := j.numbered(j.root.child("choices"), c.Get("index"))
	if err != nil {
		return err
	}
	c.ForEach(func(k, v gjson.Result) bool {
		switch name := k.Str; name {
		case "delta":
			j.size += len(v.Raw)
			m := at.child("message")
			m.object = true
			v.ForEach(func(k, v gjson.Result) bool { m.join(k.Str, v, 0); return true })
		case "text", "logprobs":
			j.size += len(v.Raw)
			at.join(name, v, 0)
		default:
			j.replace(at, name, v)
		}
		return true
	})
	return nil
}

// numbered is the element of a list that has a number, made where there is none yet.
func (j *Joiner) numbered(list *tree, index gjson.Result) (*tree, error) {
	list.array = true
	n := index.Int()
	for _, c := range list.list {
		if c.number == n {
			return c, nil
		}
	}
	if n < 0 || n >= maxAnswers || len(list.list) >= maxAnswers {
		return nil, garbled(errors.New("dialect: a choice out of range"))
	}
	if !j.nodes.add() {
		return nil, garbled(errors.New("dialect: too many choices"))
	}
	c := j.counted(&tree{object: true, number: n})
	at, _ := slices.BinarySearchFunc(list.list, n, func(t *tree, n int64) int { return int(t.number - n) })
	list.list = slices.Insert(list.list, at, c)
	return c, nil
}

// message joins the events of Anthropic's messages.
func (j *Joiner) message(e gjson.Result) error {
	n := e.Get("index").Int()
	kind := e.Get("type").Str
	if kind == "content_block_delta" {
		j.size += len(e.Get("delta").Raw)
	} else {
		j.size += len(e.Raw)
	}
	switch kind {
	case "message_start":
		if m := e.Get("message"); m.IsObject() {
			j.root = j.counted(from(m))
			j.root.open()
		}
	case "content_block_start":
		b := j.counted(from(e.Get("content_block")))
		b.open()
		list := j.root.child("content")
		list.openList()
		if _, twice := j.blocks[n]; twice || len(list.list) >= maxCalls {
			return garbled(errors.New("dialect: a block begins twice, or is one too many"))
		}
		if list.push(b) {
			j.blocks[n] = b
		}
	case "content_block_delta":
		b := j.blocks[n]
		if b == nil {
			return garbled(errors.New("dialect: a piece of a block that did not begin"))
		}
		e.Get("delta").ForEach(func(k, v gjson.Result) bool {
			switch name := k.Str; name {
			case "type":
			case "partial_json":
				j.inputs[n] = append(j.inputs[n], v.Str...)
			case "citation":
				list := b.child("citations")
				list.openList()
				list.push(from(v))
			default:
				b.join(name, v, 0)
			}
			return true
		})
	case "message_delta":
		e.ForEach(func(k, v gjson.Result) bool {
			switch name := k.Str; name {
			case "type":
			case "delta":
				v.ForEach(func(k, v gjson.Result) bool { j.root.replace(k.Str, v); return true })
			case "usage":
				u := j.root.child("usage")
				u.open()
				v.ForEach(func(k, v gjson.Result) bool { u.replace(k.Str, v); return true })
			default:
				j.replace(j.root, name, v)
			}
			return true
		})
	}
	return nil
}

// generated joins the pieces of Google's generateContent.
func (j *Joiner) generated(e gjson.Result) (err error) {
	e.ForEach(func(k, v gjson.Result) bool {
		if k.Str != "candidates" {
			j.replace(j.root, k.Str, v)
			return true
		}
		v.ForEach(func(_, c gjson.Result) bool {
			err = j.candidate(c)
			return err == nil
		})
		return err == nil
	})
	return err
}

func (j *Joiner) candidate(c gjson.Result) error {
	at, err := j.numbered(j.root.child("candidates"), c.Get("index"))
	if err != nil {
		return err
	}
	c.ForEach(func(k, v gjson.Result) bool {
		switch name := k.Str; name {
		case "content":
			j.size += len(v.Raw)
			content := at.child("content")
			content.object = true
			v.ForEach(func(k, v gjson.Result) bool {
				if k.Str != "parts" {
					j.replace(content, k.Str, v)
					return true
				}
				parts := content.child("parts")
				parts.array = true
				v.ForEach(func(_, p gjson.Result) bool { parts.part(p); return true })
				return true
			})
		case "logprobsResult", "citationMetadata":
			j.size += len(v.Raw)
			at.join(name, v, 0)
		default:
			j.replace(at, name, v)
		}
		return true
	})
	return nil
}

// part adds one of Google's parts: text goes on where the last one is text of the same sort that no signature closed.
func (t *tree) part(p gjson.Result) {
	next := from(p)
	next.nodes = t.nodes
	next.open()
	if n := len(t.list); n > 0 {
		last := t.list[n-1]
		if last.plain() && next.plain() && last.get("thoughtSignature") == nil && last.get("thought").String() == next.get("thought").String() {
			last.join("text", p.Get("text"), 0)
			if s := next.get("thoughtSignature"); s != nil {
				last.set("thoughtSignature", s)
			}
			return
		}
	}
	t.push(next)
}

// plain says whether a part is nothing but text.
func (t *tree) plain() bool {
	text := false
	for _, m := range t.members {
		switch m.name {
		case "text":
			text = true
		case "thought", "thoughtSignature":
		default:
			return false
		}
	}
	return text
}

// response joins the events of responses, of which the last has all of it.
func (j *Joiner) response(e gjson.Result) error {
	kind := e.Get("type").Str
	at := e.Get("output_index").Int()
	if strings.HasSuffix(kind, ".delta") {
		j.size += len(e.Get("delta").Raw)
	} else {
		j.size += len(e.Raw)
	}
	switch kind {
	case "response.created", "response.in_progress":
		j.root = j.counted(from(e.Get("response")))
		j.root.open()
	case "response.completed", "response.incomplete":
		clear(j.blocks) // what came before is not needed any more
		j.root, j.whole, j.size, j.nodes.made = j.counted(from(e.Get("response"))), true, len(e.Raw), 0
	case "response.failed":
		return ParseError(j.kind, 0, []byte(e.Get("response").Raw))
	case "response.output_item.added", "response.output_item.done":
		list := j.root.child("output")
		list.openList()
		item := j.counted(from(e.Get("item")))
		item.open()
		if old := j.blocks[at]; old != nil {
			*old = *item
			return nil
		}
		if len(list.list) >= maxCalls {
			return garbled(errors.New("dialect: too many items"))
		}
		if list.push(item) {
			j.blocks[at] = item
		}
	case "response.content_part.added":
		if item := j.blocks[at]; item != nil {
			parts := item.child("content")
			parts.openList()
			p := j.counted(from(e.Get("part")))
			p.open()
			parts.push(p)
		}
	case "response.output_text.delta", "response.refusal.delta":
		name := map[bool]string{true: "refusal", false: "text"}[kind == "response.refusal.delta"]
		if item := j.blocks[at]; item != nil {
			if parts := item.get("content").items(); len(parts) > 0 {
				parts[len(parts)-1].join(name, e.Get("delta"), 0)
			}
		}
	case "response.function_call_arguments.delta":
		if item := j.blocks[at]; item != nil {
			item.join("arguments", e.Get("delta"), 0)
		}
	}
	return nil
}

// write is the answer as JSON.
func (j *Joiner) write() []byte {
	if j.kind == Chat {
		for _, c := range j.root.get("choices").items() {
			m := c.child("message")
			m.object = true
			if m.get("role") == nil {
				m.set("role", quoted("assistant"))
			}
			if m.get("content") == nil {
				m.set("content", raw("null"))
			}
			for _, call := range m.get("tool_calls").items() {
				call.drop("index")
			}
		}
	}
	for n, text := range j.inputs { // one that was cut is no JSON: what the block began with stays
		if len(text) > 0 && wire.Check(text) == nil {
			j.blocks[n].set("input", raw(string(text)))
		}
	}
	return j.root.append(make([]byte, 0, j.size+512))
}

type numbers []struct {
	name string
	n    int64
}

// put sets counts in an object.
func (t *tree) put(all numbers) {
	t.open()
	t.object = true
	for _, x := range all {
		t.set(x.name, raw(strconv.FormatInt(max(x.n, 0), 10)))
	}
}
