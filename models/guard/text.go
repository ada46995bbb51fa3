package guard

import (
	"strings"

	"github.com/tidwall/gjson"
)

// maxDepth bounds how deep a text is looked for; what is deeper is as good as unreadable.
const maxDepth = 512

func names(list string) map[string]bool {
	m := map[string]bool{}
	for s := range strings.FieldsSeq(list) {
		m[s] = true
	}
	return m
}

var (
	// unsaid are members of requests whose texts say nothing to a model.
	unsaid = names(`model role type id tool_call_id tool_use_id call_id user session prompt_cache_key prompt_cache_retention safety_identifier
		service_tier previous_response_id truncation encoding_format mimeType mime_type media_type detail format file_id signature thoughtSignature
		encrypted_content reasoning_effort status`)
	// unspoken are members of answers whose texts are not the model's words.
	unspoken = names(`id object model created_at role type finish_reason finishReason stop_reason system_fingerprint service_tier modelVersion
		responseId item_id call_id status signature thoughtSignature encrypted_content native_finish_reason provider`)
	// aside are members that hold no words however deep.
	aside = names(`usage usageMetadata logprobs logprobsResult safetyRatings metadata stream_options cache_control include`)
	// echoed are members of a response that repeat its request.
	echoed = names(`instructions tools tool_choice metadata text reasoning previous_response_id user truncation prompt_cache_key
		safety_identifier error incomplete_details prompt`)
	// opaque are members whose values can be data: that is not judged.
	opaque = names(`data file_data image_url`)
	// open are members that are the model's or the caller's own from there on: any name in them may hold words.
	open = names(`args input arguments parameters input_schema schema`)
)

// Prompt is all the text of a request that a model may be shown, in any of the dialects, in the order of its body:
// messages, instructions, tools with their descriptions, forms of the answer, documents. Images, audio and files in the
// request are not in it. It is false where the prompt is of token numbers, or nested too deep: nobody can judge that.
func Prompt(bodies ...[]byte) (text string, readable bool) {
	c := collector{skip: unsaid, gap: "\n", readable: true}
	for _, b := range bodies {
		if len(b) > 0 {
			c.walk(gjson.ParseBytes(b), 0, false)
		}
	}
	return c.b.String(), c.readable
}

// Answer is all that a model says in a whole answer in any of the dialects: text, thoughts, refusals, names and arguments
// of tool calls, and what extensions add.
func Answer(body []byte) (text string, readable bool) {
	c := collector{skip: unspoken, gap: "\n", readable: true}
	c.top(gjson.ParseBytes(body))
	return c.b.String(), c.readable
}

// Delta gives what one event of a stream says, by choice.
func Delta(data []byte, each func(choice int, text string)) (readable bool) {
	x := gjson.ParseBytes(data)
	c := collector{skip: unspoken, readable: true}
	for _, name := range [...]string{"choices", "candidates"} {
		list := x.Get(name)
		if !list.IsArray() {
			continue
		}
		list.ForEach(func(_, e gjson.Result) bool {
			c.b.Reset()
			c.walk(e, 1, false)
			if c.b.Len() > 0 {
				each(int(e.Get("index").Int()), c.b.String())
			}
			return true
		})
	}
	c.b.Reset()
	c.rest = true
	c.walk(x, 0, false)
	if c.b.Len() > 0 {
		each(0, c.b.String())
	}
	return c.readable
}

// Pieces are the texts of an event or an answer one by one, of a dialect whose streams say everything more than once.
func Pieces(data []byte) (list []string, readable bool) {
	c := collector{skip: unspoken, readable: true, each: func(s string) { list = append(list, s) }}
	c.top(gjson.ParseBytes(data))
	return list, c.readable
}

// collector walks over a JSON value and keeps its texts.
type collector struct {
	skip     map[string]bool
	gap      string       // between two texts
	rest     bool         // without choices, which were walked over
	each     func(string) // is given the texts instead
	readable bool
	b        strings.Builder
}

func (c *collector) say(s string) {
	switch {
	case s == "":
	case c.each != nil:
		c.each(s)
	default:
		if c.b.Len() > 0 {
			c.b.WriteString(c.gap)
		}
		c.b.WriteString(s)
	}
}

// top is walk of an answer, which can be a response that repeats its request.
func (c *collector) top(v gjson.Result) {
	if r := v.Get("response"); r.Get("object").Str == "response" {
		v = r
	}
	if v.Get("object").Str != "response" {
		c.walk(v, 0, false)
		return
	}
	v.ForEach(func(k, x gjson.Result) bool {
		if !echoed[k.Str] {
			c.member(k.Str, x, 1, false)
		}
		return true
	})
}

// walk visits a value; free are those in which every name counts.
func (c *collector) walk(v gjson.Result, depth int, free bool) {
	if depth > maxDepth {
		c.readable = false
		return
	}
	switch {
	case v.Type == gjson.String:
		c.say(v.Str)
	case v.IsObject():
		v.ForEach(func(k, x gjson.Result) bool {
			if free {
				c.say(k.Str)
			}
			c.member(k.Str, x, depth+1, free)
			return c.readable
		})
	case v.IsArray():
		v.ForEach(func(_, x gjson.Result) bool {
			c.walk(x, depth+1, free)
			return c.readable
		})
	}
}

func (c *collector) member(name string, x gjson.Result, depth int, free bool) {
	switch {
	case free:
		c.walk(x, depth, true)
	case c.rest && depth == 1 && (name == "choices" || name == "candidates"), aside[name]:
	case c.skip[name] && x.Type == gjson.String:
	case opaque[name] && blob(x):
	case tokens(name, x):
		c.readable = false
	default:
		c.walk(x, depth, open[name] && depth > 1)
	}
}

// blob says whether a value is data in base64 or an address rather than words.
func blob(v gjson.Result) bool {
	if v.IsObject() {
		v = v.Get("url")
	}
	if v.Type != gjson.String {
		return false
	}
	return strings.HasPrefix(v.Str, "data:") || strings.HasPrefix(v.Str, "https://") || strings.HasPrefix(v.Str, "http://") ||
		len(v.Str) > 64 && !strings.ContainsAny(v.Str, " \n.,:;")
}

// tokens says whether a prompt is, or has, a list of token numbers.
func tokens(name string, v gjson.Result) bool {
	if name != "prompt" && name != "input" || !v.IsArray() {
		return false
	}
	found := false
	v.ForEach(func(_, x gjson.Result) bool {
		if x.IsArray() {
			x = x.Get("0")
		}
		found = x.Type == gjson.Number
		return !found
	})
	return found
}
