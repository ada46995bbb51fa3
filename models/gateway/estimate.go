package gateway

import (
	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// guessed is the prompt's number of tokens where nobody tells it: what was counted, or else what the key's requests usually
// have for their bytes.
func (f *flight) guessed() int64 {
	if f.guess == 0 {
		if f.guess = int64(f.counted); f.guess == 0 {
			f.guess = int64(f.res.Guess(len(f.call.Body) + len(f.call.Earlier)))
		}
	}
	return f.guess
}

// estimated is the usage of a good answer in one piece that tells none: the prompt by its bytes, what was made by the bytes
// of its text. It is false of what is no answer.
func (f *flight) estimated(body []byte) (u meter.Usage, ok bool) {
	list := gjson.GetBytes(body, answersIn(f.caller(), f.call.Path))
	if !list.IsArray() || !list.Get("0").Exists() || !gjson.ValidBytes(body) {
		return u, false
	}
	u = meter.Usage{Input: f.guessed(), Estimated: true}
	switch {
	case f.conversing():
		u.Output = int64(f.res.Guess(textBytes(list)))
	case f.call.Path == openai.EmbeddingsPath:
		u.Input, u.Embedding = 0, u.Input
	}
	return u, true
}

// answersIn is the member of a whole answer that lists what was made.
func answersIn(kind dialect.Kind, path string) string {
	switch {
	case path == openai.EmbeddingsPath:
		return "data"
	case path == openai.RerankPath:
		return "results"
	case kind == dialect.Anthropic:
		return "content"
	case kind == dialect.Google:
		return "candidates"
	case kind == dialect.Responses:
		return "output"
	}
	return "choices"
}

// textBytes is how many bytes of text and of arguments a part of an answer has.
func textBytes(v gjson.Result) (n int) {
	v.ForEach(func(key, e gjson.Result) bool {
		switch {
		case e.IsArray():
			n += textBytes(e)
		case e.IsObject() && (key.Str == "input" || key.Str == "args"):
			n += len(e.Raw)
		case e.IsObject():
			n += textBytes(e)
		case e.Type == gjson.String && worded[key.Str]:
			n += len(e.Str)
		}
		return true
	})
	return n
}

// worded are the members of answers, in all dialects, that hold what a model made.
var worded = map[string]bool{"content": true, "text": true, "arguments": true, "name": true, "refusal": true, "reasoning": true, "reasoning_content": true,
	"thinking": true, "data": true, "encrypted_content": true}
