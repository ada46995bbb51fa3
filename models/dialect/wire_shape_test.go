package dialect

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// shaped is an answer with one of everything that the big dialects have an event for.
var shaped = Answer{ID: "up", Model: "engine", Created: 3, Choices: []Choice{{Stop: StopTools, Parts: []Part{{Kind: Thought, Text: "t"}, {Text: "a"},
	{Kind: Refusal, Text: "no"}, {Kind: ToolCall, ToolID: "c", Name: "f", Text: "{}"}}}}, Usage: Usage{Known: true, Input: 9, CachedInput: 2, CacheWrite: 1, Output: 5, Reasoning: 2}}

// stream gives the events of shaped as a client gets them: names and data.
func stream(t *testing.T, r *Request, h Head) (names []string, data []gjson.Result) {
	t.Helper()
	enc := NewEncoder(r, h)
	var out []byte
	for _, e := range shaped.Events() {
		out = enc.Encode(out, e)
	}
	s := wire.NewSSE(1 << 20)
	emit := func(name string, d []byte) error {
		names, data = append(names, name), append(data, gjson.Parse(string(d)))
		return nil
	}
	if err := s.Feed(out, emit); err != nil {
		t.Fatal(err)
	}
	return names, data
}

var gateways = Head{ID: "own", Model: "public", Created: 8}

// The order of events is that of the OpenAI API's reference on streaming responses.
func TestTheSequenceOfResponses(t *testing.T) {
	names, data := stream(t, clients(true)[Responses], gateways)
	want := `response.created response.in_progress response.output_item.added response.reasoning_summary_part.added response.reasoning_summary_text.delta
 response.reasoning_summary_text.done response.reasoning_summary_part.done response.output_item.done response.output_item.added response.content_part.added
 response.output_text.delta response.output_text.done response.content_part.done response.content_part.added response.refusal.delta response.refusal.done
 response.content_part.done response.output_item.done response.output_item.added response.function_call_arguments.delta response.function_call_arguments.done
 response.output_item.done response.completed`
	if d := cmp.Diff(strings.Fields(want), names); d != "" {
		t.Fatal(d)
	}
	items := map[int64]string{}
	for i, e := range data {
		if e.Get("sequence_number").Int() != int64(i) || e.Get("type").Str != names[i] {
			t.Errorf("event %d: %s", i, e.Raw)
		}
		if id := e.Get("item.id").Str + e.Get("item_id").Str; id != "" {
			at := e.Get("output_index").Int()
			if items[at] == "" {
				items[at] = id
			}
			if items[at] != id {
				t.Errorf("event %d has the item %s at %d", i, id, at)
			}
		}
	}
	last := data[len(data)-1].Get("response")
	if last.Get("id").Str != "resp_own" || last.Get("model").Str != "public" || last.Get("created_at").Int() != 8 || last.Get("status").Str != "completed" ||
		last.Get("output.#").Int() != 3 || last.Get("output.1.content.1.refusal").Str != "no" || last.Get("usage.input_tokens_details.cached_tokens").Int() != 2 {
		t.Error(last.Raw)
	}
	if whole := string(WriteAnswer(clients(false)[Responses], &shaped, gateways)); whole != last.Raw {
		t.Errorf("whole and streamed differ:\n%s\n%s", whole, last.Raw)
	}
}

func TestTheSequenceOfMessages(t *testing.T) {
	names, data := stream(t, clients(true)[Anthropic], gateways)
	want := `message_start content_block_start content_block_delta content_block_stop content_block_start content_block_delta content_block_delta content_block_stop
 content_block_start content_block_delta content_block_stop message_delta message_stop`
	if d := cmp.Diff(strings.Fields(want), names); d != "" {
		t.Fatal(d)
	}
	index := []int64{-1, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, -1, -1}
	for i, e := range data {
		if v := e.Get("index"); e.Get("type").Str != names[i] || v.Exists() != (index[i] >= 0) || v.Exists() && v.Int() != index[i] {
			t.Errorf("event %d: %s", i, e.Raw)
		}
	}
	if m := data[0].Get("message"); m.Get("id").Str != "msg_own" || m.Get("model").Str != "public" || m.Get("content.#").Int() != 0 {
		t.Error(m.Raw)
	}
	if d := data[len(data)-2]; d.Get("delta.stop_reason").Str != "tool_use" || d.Get("usage.input_tokens").Int() != 6 || d.Get("usage.cache_read_input_tokens").Int() != 2 ||
		d.Get("usage.cache_creation_input_tokens").Int() != 1 || d.Get("usage.output_tokens").Int() != 5 {
		t.Error(d.Raw)
	}
}

func TestUsageIsForThoseWhoAskedForIt(t *testing.T) {
	for _, d := range []Kind{Chat, Completions} {
		for _, asked := range []bool{true, false} {
			r := clients(true)[d]
			r.Usage = asked
			_, data := stream(t, r, gateways)
			last := data[len(data)-2] // before [DONE]
			if got := last.Get("usage.prompt_tokens").Int() == 9 && last.Get("choices.#").Int() == 0; got != asked {
				t.Errorf("%s asked %v: %s", d, asked, last.Raw)
			}
			for _, e := range data[:len(data)-2] {
				if e.Get("usage").Exists() != asked {
					t.Errorf("%s asked %v: %s", d, asked, e.Raw)
				}
			}
		}
	}
}

func TestThoughtsAreForThoseWhoAskedForThem(t *testing.T) {
	for _, c := range []struct {
		d     Kind
		body  string
		shown bool
	}{
		{Chat, base[Chat], true}, {Responses, base[Responses], false}, {Anthropic, base[Anthropic], false}, {Google, base[Google], false},
		{Responses, `{"model":"m","input":"x","reasoning":{"summary":"auto"}}`, true},
		{Responses, `{"model":"m","input":"x","include":["reasoning.encrypted_content"]}`, true},
		{Anthropic, `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"thinking":{"type":"adaptive"}}`, true},
		{Anthropic, `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"thinking":{"type":"disabled"}}`, false},
		{Google, `{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"thinkingConfig":{"includeThoughts":true}}}`, true},
	} {
		r, err := ParseRequest(c.d, []byte(c.body), Call{Model: "m"})
		if err != nil {
			t.Fatal(err)
		}
		a := shaped
		a.Choices = []Choice{{Stop: StopEnd, Parts: []Part{{Kind: Thought, Text: "PONDER"}, {Text: "a"}}}}
		enc := NewEncoder(r, gateways)
		var out []byte
		for _, e := range a.Events() {
			out = enc.Encode(out, e)
		}
		whole := string(WriteAnswer(r, &a, gateways))
		if strings.Contains(string(out), "PONDER") != c.shown || strings.Contains(whole, "PONDER") != c.shown {
			t.Errorf("%s: %s: %s\n%s", c.d, c.body, out, whole)
		}
	}
}

func TestADecoderItselfSaysThatAStreamBrokeOff(t *testing.T) {
	for _, d := range Kinds {
		dec := NewDecoder(d, 1<<10)
		if _, err := dec.End(); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: nothing at all passes for an answer: %v", d, err)
		}
	}
	dec := NewDecoder(Chat, 1<<10)
	if _, err := dec.Feed([]byte(`data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}` + "\n\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := dec.End(); !fault.Is(err, fault.Unavailable) {
		t.Errorf("half an answer passes for whole: %v", err)
	}
}

func TestCompletionsKeepAllTheyHave(t *testing.T) {
	body := `{"model":"m","prompt":["a",[1,2]],"suffix":"z","echo":true,"best_of":3,"max_tokens":5,"temperature":0.5,"top_p":0.5,"top_k":4,"frequency_penalty":1,"presence_penalty":-1,` +
		`"seed":7,"stop":["x"],"n":2,"logprobs":3,"user":"u","stream":true,"stream_options":{"include_usage":true},"logit_bias":{"5":1},"made_up":1}`
	r, err := ParseRequest(Completions, []byte(body), Call{})
	if err != nil {
		t.Fatal(err)
	}
	out, dropped, err := WriteRequest(Completions, r)
	if err != nil || len(dropped) > 0 || canonical(out) != canonical([]byte(body)) {
		t.Fatalf("%v %v\n%s", err, dropped, out)
	}
}

func TestBudgetsAsEfforts(t *testing.T) {
	for budget, want := range map[int64]string{-1: "", 0: "none", 1: "low", 2048: "low", 2049: "medium", 8192: "medium", 8193: "high"} {
		if got := (Reasoning{Budget: &budget}).effortWord(); got != want {
			t.Errorf("%d: %q", budget, got)
		}
	}
	for bound, want := range map[int64]string{8000: `{"type":"enabled","budget_tokens":4000}`, 2000: `{"type":"enabled","budget_tokens":1999}`, 900: ""} {
		body := fmt.Sprintf(`{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"maxOutputTokens":%d,"thinkingConfig":{"thinkingBudget":4000}}}`, bound)
		r, err := ParseRequest(Google, []byte(body), Call{Model: "m"})
		if err != nil {
			t.Fatal(err)
		}
		out, _, err := WriteRequest(Anthropic, r)
		if got := gjson.GetBytes(out, "thinking").Raw; err != nil || got != want {
			t.Errorf("%d: %s %v", bound, got, err)
		}
	}
}

// Statuses and words are those of each API's own page on errors.
func TestStatusesAndWords(t *testing.T) {
	for _, c := range []struct {
		k      fault.Kind
		d      Kind
		status int
		word   string
	}{
		{fault.Invalid, Chat, 400, "invalid_request_error"}, {fault.RateLimited, Responses, 429, "rate_limit_exceeded"}, {fault.NoMoney, Chat, 429, "insufficient_quota"},
		{fault.Invalid, Anthropic, 400, "invalid_request_error"}, {fault.Unauthenticated, Anthropic, 401, "authentication_error"}, {fault.NoMoney, Anthropic, 402, "billing_error"},
		{fault.Forbidden, Anthropic, 403, "permission_error"}, {fault.NotFound, Anthropic, 404, "not_found_error"}, {fault.TooLarge, Anthropic, 413, "request_too_large"},
		{fault.RateLimited, Anthropic, 429, "rate_limit_error"}, {fault.Internal, Anthropic, 500, "api_error"}, {fault.Timeout, Anthropic, 504, "timeout_error"},
		{fault.Unavailable, Anthropic, 529, "overloaded_error"},
		{fault.Invalid, Google, 400, "INVALID_ARGUMENT"}, {fault.Unauthenticated, Google, 401, "UNAUTHENTICATED"}, {fault.Forbidden, Google, 403, "PERMISSION_DENIED"},
		{fault.NotFound, Google, 404, "NOT_FOUND"}, {fault.RateLimited, Google, 429, "RESOURCE_EXHAUSTED"}, {fault.NoMoney, Google, 429, "RESOURCE_EXHAUSTED"},
		{fault.Canceled, Google, 499, "CANCELLED"}, {fault.Internal, Google, 500, "INTERNAL"}, {fault.Unavailable, Google, 503, "UNAVAILABLE"}, {fault.Timeout, Google, 504, "DEADLINE_EXCEEDED"},
	} {
		if status, body := WriteError(c.d, fault.New(c.k, "S.")); status != c.status || !strings.Contains(string(body), `"`+c.word+`"`) {
			t.Errorf("%s %s: %d %s", c.d, c.k, status, body)
		}
	}
	if got := string(CountAnswer(7)); got != `{"input_tokens":7}` {
		t.Error(got)
	}
}
