package engine

import (
	"math"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/tenancy/meter"
)

// ReadUsage reads the usage object of an OpenAI answer or stream event, under the names of chat completions or of
// responses; false when it does not count what was read. The numbers are as the engine tells them, lies included:
// meter.Usage.Honest is for those. Numbers that no count can be are -1.
func ReadUsage(u gjson.Result) (meter.Usage, bool) {
	in := either(u, "prompt_tokens", "input_tokens")
	if in.Type != gjson.Number {
		return meter.Usage{}, false
	}
	return meter.Usage{
		Input:     number(in),
		Cached:    number(either(u, "prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens")),
		Output:    number(either(u, "completion_tokens", "output_tokens")),
		Reasoning: number(either(u, "completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens")),
	}, true
}

func either(u gjson.Result, names ...string) gjson.Result {
	var r gjson.Result
	for _, n := range names {
		if r = u.Get(n); r.Exists() {
			break
		}
	}
	return r
}

// number is a whole number, 0 where there is none.
func number(r gjson.Result) int64 {
	switch {
	case r.Type == gjson.Null: // absent as well
		return 0
	case r.Type != gjson.Number || r.Num < 0 || r.Num > math.MaxInt64/2 || r.Num != math.Trunc(r.Num):
		return -1
	}
	return int64(r.Num)
}
