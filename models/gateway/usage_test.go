package gateway

import (
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

func TestPlainUsage(t *testing.T) {
	for body, want := range map[string]meter.Usage{
		`{"usage":{"prompt_tokens":250,"completion_tokens":64,"total_tokens":314}}`:                                                                                           {Input: 250, Output: 64},
		`{"choices":[{"message":{"content":"\"usage\":{\"prompt_tokens\":1}"}}],"usage": {"prompt_tokens" : 0 , "completion_tokens":999999999999999}} `:                       {Output: 999999999999999},
		`{"usage":{"prompt_tokens":9,"prompt_tokens_details":{"audio_tokens":0,"cached_tokens":4},"completion_tokens":3,"completion_tokens_details":{"reasoning_tokens":2}}}`: {Input: 9, Cached: 4, Output: 3, Reasoning: 2},
		`{"usage":{"prompt_tokens":9,"prompt_tokens_details":null,"completion_tokens_details":{}}}`:                                                                           {Input: 9},
	} {
		if got, ok := plainUsage([]byte(body)); !ok || got != want {
			t.Errorf("%s: %+v, %t", body, got, ok)
		}
	}
	for _, body := range []string{``, `{}`, `{"usage":null}`, `{"usage":{}}`, `{"usage":{"completion_tokens":1}}`, `{"usage":{"prompt_tokens":-1}}`,
		`{"usage":{"prompt_tokens":1e3}}`, `{"usage":{"prompt_tokens":"1"}}`, `{"usage":{"prompt_tokens":1,"prompt_tokens":2}}`,
		`{"usage":{"input_tokens":1}}`, `{"usage":{"prompt_tokens":1}`, `{"usage":{"prompt_tokens":1000000000000000}}`} {
		if got, ok := plainUsage([]byte(body)); ok {
			t.Errorf("%s: %+v", body, got)
		}
	}
}

// The quick way never says anything else than the one that reads everything.
func FuzzPlainUsage(f *testing.F) {
	for _, s := range []string{`{"usage":{"prompt_tokens":250,"completion_tokens":64}}`, `{"usage":{"prompt_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}}`,
		`{"a":"usage","usage":{"prompt_tokens":2,"completion_tokens_details":{"reasoning_tokens":1}}}`, `{"usa\u0067e":{"prompt_tokens":2}}`,
		`{"usage":{"prompt_tokens_details":{"cached_tokens":1},"prompt_tokens":2}}`, `{"usage":{"prompt_tokens":2},"x":{}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, ok := plainUsage(body)
		if !ok || !gjson.ValidBytes(body) {
			return
		}
		if want, has := engine.ReadUsage(gjson.GetBytes(body, "usage")); !has || got != want {
			t.Errorf("%q: %+v, not %+v, %t", body, got, want, has)
		}
	})
}

func TestAppendSpan(t *testing.T) {
	for _, d := range []time.Duration{0, 1, time.Microsecond, time.Millisecond, 999 * time.Millisecond, time.Second, 1100 * time.Millisecond, 1010 * time.Millisecond,
		1001 * time.Millisecond, 12340 * time.Millisecond, 59999 * time.Millisecond, time.Minute, 61 * time.Second, time.Hour, time.Second + 1, -time.Second} {
		if got := string(appendSpan(nil, d)); got != d.String() {
			t.Errorf("%s, not %s", got, d)
		}
	}
}
