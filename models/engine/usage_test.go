package engine_test

import (
	"testing"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

func TestReadUsage(t *testing.T) {
	for text, want := range map[string]meter.Usage{
		`{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}`: {Input: 7, Output: 3},
		`{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":5},"completion_tokens_details":{"reasoning_tokens":2}}`: {
			Input: 7, Cached: 5, Output: 3, Reasoning: 2},
		`{"input_tokens":7,"output_tokens":3,"input_tokens_details":{"cached_tokens":5},"output_tokens_details":{"reasoning_tokens":2}}`: {
			Input: 7, Cached: 5, Output: 3, Reasoning: 2},
		`{"prompt_tokens":7,"total_tokens":7}`:                                                              {Input: 7},
		`{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":null}`:                            {Input: 7, Output: 3},
		`{"prompt_tokens":-7,"completion_tokens":1e300,"prompt_tokens_details":{"cached_tokens":"many"}}`:   {Input: -1, Output: -1, Cached: -1},
		`{"prompt_tokens":1.5,"completion_tokens":true,"completion_tokens_details":{"reasoning_tokens":9}}`: {Input: -1, Output: -1, Reasoning: 9},
	} {
		if got, ok := engine.ReadUsage(gjson.Parse(text)); !ok || got != want {
			t.Errorf("%s: %+v, %v", text, got, ok)
		}
	}
	for _, text := range []string{`{}`, `null`, `{"completion_tokens":3}`, `{"prompt_tokens":"7"}`, `[]`, ``} {
		if got, ok := engine.ReadUsage(gjson.Parse(text)); ok {
			t.Errorf("%s: %+v", text, got)
		}
	}
}
