package gateway

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/internal/fault"
)

func TestReadFields(t *testing.T) {
	for body, want := range map[string]fields{
		`{"model":"m"}`: {model: "m", choices: 1, prompts: 1},
		` { "model" : "m\u00e9" , "stream" : true, "n": 3 } `:                      {model: "mé", stream: true, choices: 3, prompts: 1},
		`{"m\u006fdel":"m","stream":null,"n":null,"max_tokens":null}`:              {model: "m", choices: 1, prompts: 1},
		`{"model":"m","max_tokens":7}`:                                             {model: "m", choices: 1, prompts: 1, output: 7, maxTokens: true},
		`{"model":"m","max_completion_tokens":9,"max_tokens":7}`:                   {model: "m", choices: 1, prompts: 1, output: 9, maxTokens: true, maxCompl: true},
		`{"model":"m","max_tokens":99999999999999999999}`:                          {model: "m", choices: 1, prompts: 1, output: maxOutput, maxTokens: true},
		`{"model":"m","stream_options":{"x":"}","include_usage":true}}`:            {model: "m", usage: true, choices: 1, prompts: 1},
		`{"model":"m","stream_options":{"include_usage":null}}`:                    {model: "m", choices: 1, prompts: 1},
		`{"model":"m","prompt":"a]"}`:                                              {model: "m", choices: 1, prompts: 1},
		`{"model":"m","prompt":["a","b]\"","c"]}`:                                  {model: "m", choices: 1, prompts: 3},
		`{"model":"m","prompt":[1,2,3]}`:                                           {model: "m", choices: 1, prompts: 1},
		`{"model":"m","prompt":[[1,2],[3]]}`:                                       {model: "m", choices: 1, prompts: 2},
		`{"model":"m","prompt":[]}`:                                                {model: "m", choices: 1, prompts: 1},
		`{"messages":[{"content":"\"model\":\"x\" \\"},{"n":5}],"model":"m"}`:      {model: "m", choices: 1, prompts: 1},
		`{"x":-1.5e3,"y":false,"z":{"a":[{"b":"]}"}]},"model":"m","stream":false}`: {model: "m", choices: 1, prompts: 1},
	} {
		got, err := readFields([]byte(body))
		if value := body[got.modelAt:got.modelEnd]; err == nil && value != `"m"` && value != `"m\u00e9"` {
			t.Errorf("%s: the model is taken to be %s", body, value)
		}
		got.modelAt, got.modelEnd, got.text = 0, 0, text{}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n got %+v, %v\nwant %+v", body, got, err, want)
		}
	}
	for _, body := range []string{``, `null`, `5`, `{`, `{"model"`, `{"model":`, `{"model":"m"`, `{"model":"m"}}`, `{"model":"m",}`,
		`{,"model":"m"}`, `{"model":"m" "n":1}`, `{model:"m"}`, `{"model":"m","x":}`, `{"model":"m","x":[1,2}`, `{"model":"m","x":"`, `{"a":1:2,"model":"m"}`,
		`{"model":"m","x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`, `{"model":""}`, `{"\ud800":1,"model"}`} {
		if f, err := readFields([]byte(body)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%.60s was read: %+v, %v", body, f, err)
		}
	}
	long := `{"model":"` + strings.Repeat("m", 300) + `"}`
	if _, err := readFields([]byte(long)); !fault.Is(err, fault.NotFound) {
		t.Errorf("an endless model name: %v", err)
	}
}

// FuzzFields compares with encoding/json: whatever that reads as an object, the gateway reads to the same values or
// refuses. Otherwise an engine could be made to do more than was reserved.
func FuzzFields(f *testing.F) {
	f.Add([]byte(`{"model":"m","stream":true,"n":2,"max_tokens":5,"stream_options":{"include_usage":true},"prompt":["a"]}`))
	f.Add([]byte(`{"model":"m","N":7,"n":1,"m\u006fdel":"x"}`))
	f.Add([]byte(`{"model":"m","max_tokens":1e1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := readFields(body)
		if err != nil {
			return
		}
		var all map[string]json.RawMessage
		if !utf8.Valid(body) || json.Unmarshal(body, &all) != nil {
			return // malformed where the gateway does not look: the engine refuses it
		}
		var want struct {
			model  string
			stream bool
			n, out int
		}
		want.n = 1
		read := func(key string, to any) {
			if raw, ok := all[key]; ok && json.Unmarshal(raw, to) != nil {
				t.Fatalf("%s was accepted with %s", key, raw)
			}
		}
		read("model", &want.model)
		read("stream", &want.stream)
		read("n", &want.n)
		if got.model != want.model || got.stream != want.stream || got.choices != want.n {
			t.Fatalf("%s\nread as %+v, means %+v", body, got, want)
		}
		if raw, ok := all["max_completion_tokens"]; ok && string(raw) != "null" != got.maxCompl {
			t.Fatalf("max_completion_tokens %s read as %v", raw, got.maxCompl)
		}
		if raw, ok := all["max_tokens"]; ok && string(raw) != "null" && !got.maxCompl {
			var out json.Number
			if json.Unmarshal(raw, &out) != nil || got.output < 1 {
				t.Fatalf("max_tokens %s read as %d", raw, got.output)
			}
		}
	})
}

func BenchmarkReadFields(b *testing.B) {
	body := []byte(`{"model":"bench","messages":[{"role":"user","content":"` + strings.Repeat("some words\\n ", 2500) + `"}],"max_tokens":64,"stream":true}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := readFields(body); err != nil {
			b.Fatal(err)
		}
	}
}
