package worker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
	"pgregory.net/rapid"
)

const secret = "the secret of this test"

// folder writes a model with random weights and a tokenizer trained on a few lines of several scripts. Its weights are
// scaled up, so that what it says varies, invalid UTF-8 included.
func folder(t testing.TB, context int) string {
	t.Helper()
	texts := []string{"the quick brown fox jumps over the lazy dog", "水能载舟 亦能覆舟", "naïve café, déjà vu", "🙂🙃🙂 emoji 🚀", "0123456789 +-*/"}
	tok, err := tokenizer.Train(slices.Values(texts), 320, tokenizer.Specials(), nil)
	if err != nil {
		t.Fatal(err)
	}
	chat, err := tokenizer.NewChat(tok)
	if err != nil {
		t.Fatal(err)
	}
	w := native.NewWeights(native.Config{VocabSize: max(320, tok.VocabSize()), Dim: 32, Layers: 2, Heads: 2, KVHeads: 1, HeadDim: 16, FFN: 48, MaxContext: context,
		RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: true, BOS: 1, EOS: 3, PAD: 0}, 5)
	for _, x := range w.Tensors() {
		for i := range x.Data {
			if len(x.Shape) == 2 {
				x.Data[i] *= 8
			}
		}
	}
	dir := t.TempDir() + "/toy"
	if err := hf.Write(dir, &hf.Model{Weights: w, Tokenizer: tok, Chat: chat}, "f32"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// running is a worker being served.
type running struct {
	t    testing.TB
	url  string
	stop context.CancelFunc
	done chan error

	header map[string]string // sent with every request
}

func start(t testing.TB, opt Options) *running {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = folder(t, 128)
	}
	opt.Secret, opt.Threads = secret, 1
	ready := make(chan string, 1)
	opt.OnReady = func(addr string) { ready <- addr }
	ctx, stop := context.WithCancel(context.Background())
	r := &running{t: t, stop: stop, done: make(chan error, 1)}
	go func() { r.done <- Serve(ctx, opt) }()
	select {
	case addr := <-ready:
		r.url = "http://" + addr
	case err := <-r.done:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := <-r.done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// do sends a request and returns the answer, its body unread.
func (r *running) do(ctx context.Context, method, path, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	return http.DefaultClient.Do(req)
}

// call sends a request and returns status and body.
func (r *running) call(method, path, body string) (int, string) {
	res, err := r.do(context.Background(), method, path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// answer is a completion of either kind, whole or one chunk of a stream.
type answer struct {
	ID, Object, Model string
	Choices           []struct {
		Index          int
		Text           string
		Message, Delta struct{ Role, Content string }
		Finish         *string `json:"finish_reason"`
		Logprobs       *struct {
			Content []struct {
				Token   string
				Logprob float64
				Bytes   []byte2
				Top     []struct{ Token string } `json:"top_logprobs"`
			}
			Tokens []string
		}
	}
	Usage *usage
	Error *struct{ Message, Type, Code string }
}

type byte2 int // []byte would be read as base64

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

// streamed is what a stream said in sum.
type streamed struct {
	texts    map[int]string
	finish   map[int]string
	usage    *usage
	prompt   int // from the comments
	done     int
	complete bool
}

// readStream checks the form of a stream line by line: every data line is right after a comment with its counts, the
// counts never fall, the first is 0, and nothing follows [DONE].
func readStream(body io.Reader) (s streamed, err error) {
	s.texts, s.finish = map[int]string{}, map[int]string{}
	lines, first, counted := bufio.NewScanner(body), true, false
	for lines.Scan() {
		line := lines.Text()
		if s.complete && line != "" {
			return s, fmt.Errorf("after the end: %q", line)
		}
		switch {
		case strings.HasPrefix(line, ": t "):
			was := s.done
			if n, err := fmt.Sscanf(line, ": t %d %d", &s.prompt, &s.done); n != 2 || err != nil {
				return s, fmt.Errorf("comment %q", line)
			}
			if s.done < was || (first && s.done != 0) {
				return s, fmt.Errorf("count %d after %d", s.done, was)
			}
			first, counted = false, true
		case strings.HasPrefix(line, "data: "):
			if !counted {
				return s, fmt.Errorf("no counts before %q", line)
			}
			counted = false
			if err := s.data(strings.TrimPrefix(line, "data: ")); err != nil {
				return s, err
			}
		case line != "":
			return s, fmt.Errorf("line %q", line)
		}
	}
	return s, lines.Err()
}

func (s *streamed) data(data string) error {
	if data == "[DONE]" {
		s.complete = true
		return nil
	}
	var a answer
	if err := json.Unmarshal([]byte(data), &a); err != nil {
		return fmt.Errorf("%w in %s", err, data)
	}
	if a.Error != nil {
		return fmt.Errorf("error event: %s", a.Error.Message)
	}
	for _, c := range a.Choices {
		if s.finish[c.Index] != "" {
			return fmt.Errorf("choice %d goes on after its end", c.Index)
		}
		s.texts[c.Index] += c.Text + c.Delta.Content
		if c.Finish != nil {
			s.finish[c.Index] = *c.Finish
		}
	}
	if a.Usage != nil {
		s.usage = a.Usage
	}
	return nil
}

func TestChatStreamedAndWholeAgree(t *testing.T) {
	r := start(t, Options{ModelName: "toy"})
	rapid.Check(t, func(rt *rapid.T) {
		req := map[string]any{"model": "m", "n": rapid.IntRange(1, 4).Draw(rt, "n"), "seed": rapid.Int64().Draw(rt, "seed"),
			"temperature": rapid.SampledFrom([]float64{0, 0.7, 1, 2}).Draw(rt, "temperature"),
			"max_tokens":  rapid.IntRange(1, 40).Draw(rt, "max"), "ignore_eos": rapid.Bool().Draw(rt, "eos"),
			"stop": rapid.SliceOfN(rapid.SampledFrom([]string{"a", "e", "能", " t", "\uFFFD", "🙂", "qu", "é"}), 0, 4).Draw(rt, "stop")}
		content := rapid.SampledFrom([]string{"hello", "水能载舟", "🙂", strings.Repeat("dog ", 30)}).Draw(rt, "content")
		path := "/v1/completions"
		if rapid.Bool().Draw(rt, "chat") {
			path = "/v1/chat/completions"
			req["messages"] = []map[string]any{{"role": "user", "content": content}}
		} else {
			req["prompt"] = []string{content, "fox"}
		}
		whole, _ := json.Marshal(req)
		req["stream"], req["stream_options"] = true, map[string]any{"include_usage": true}
		if rapid.Bool().Draw(rt, "logprobs") && path == "/v1/completions" {
			req["logprobs"] = 2
		}
		inParts, _ := json.Marshal(req)

		status, body := r.call("POST", path, string(whole))
		var want answer
		if err := json.Unmarshal([]byte(body), &want); err != nil || status != 200 {
			rt.Fatalf("%d %s: %v", status, body, err)
		}
		res, err := r.do(context.Background(), "POST", path, string(inParts))
		if err != nil {
			rt.Fatal(err)
		}
		defer res.Body.Close()
		got, err := readStream(res.Body)
		if err != nil {
			rt.Fatal(err)
		}
		for _, c := range want.Choices {
			if text := c.Text + c.Message.Content; got.texts[c.Index] != text || got.finish[c.Index] != *c.Finish {
				rt.Fatalf("choice %d: streamed %q %q, whole %q %q", c.Index, got.texts[c.Index], got.finish[c.Index], text, *c.Finish)
			}
		}
		if d := cmp.Diff(want.Usage, got.usage); d != "" || !got.complete {
			rt.Fatalf("usage, whole and streamed: %s (complete %v)", d, got.complete)
		}
		if got.prompt != got.usage.Prompt || got.done != got.usage.Completion || got.usage.Total != got.prompt+got.done {
			rt.Fatalf("comments say %d and %d, usage %+v", got.prompt, got.done, *got.usage)
		}
	})
}

func TestRefusals(t *testing.T) {
	r := start(t, Options{})
	msg := `"messages":[{"role":"user","content":"hi"}]`
	chat, text := "/v1/chat/completions", "/v1/completions"
	for _, c := range []struct {
		path, body, param, code string
		status                  int
	}{
		{chat, `{`, "", "invalid_json", 400},
		{chat, `[]`, "", "invalid_json", 400},
		{chat, `null`, "", "invalid_json", 400},
		{chat, "{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}", "", "invalid_utf8", 400},
		{chat, `{}`, "messages", "", 400},
		{chat, `{"messages":[]}`, "messages", "", 400},
		{chat, `{"messages":{}}`, "messages", "", 400},
		{chat, `{"messages":["hi"]}`, "messages[0]", "", 400},
		{chat, `{"messages":[null]}`, "messages[0]", "", 400},
		{chat, `{"messages":[{"content":"hi"}]}`, "messages[0].role", "", 400},
		{chat, `{"messages":[{"role":"king","content":"hi"}]}`, "messages[0].role", "", 400},
		{chat, `{"messages":[{"role":"function","content":"hi"}]}`, "messages[0].role", "unsupported_value", 400},
		{chat, `{"messages":[{"role":"assistant","content":"","function_call":{}}]}`, "messages[0].function_call", "unsupported_parameter", 400},
		{chat, `{"messages":[{"role":"user","content":"","tool_calls":[{}]}]}`, "messages[0].tool_calls", "", 400},
		{chat, `{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{"}}]}]}`, "messages[0].tool_calls[0].function.arguments", "", 400},
		{chat, `{"messages":[{"role":"user"}]}`, "messages[0].content", "", 400},
		{chat, `{"messages":[{"role":"user","content":7}]}`, "messages[0].content", "", 400},
		{chat, `{"messages":[{"role":"user","content":[{"type":"text"}]}]}`, "messages[0].content[0].text", "", 400},
		{chat, `{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]}]}`, "messages[0].content[1].type", "unsupported_value", 400},
		{chat, `{"messages":[{"role":"assistant","content":"","tool_calls":[{}]}]}`, "messages[0].tool_calls[0].function", "", 400},
		{chat, `{"messages":[{"role":"user","content":"` + strings.Repeat("\u6c34", 200) + `"}]}`, "messages", "context_length_exceeded", 400},
		{chat, `{"messages":[{"role":"user","content":"` + strings.Repeat("x", 1<<20) + `"}]}`, "messages", "context_length_exceeded", 400},
		{chat, `{"x":"` + strings.Repeat("x", 5<<20) + `"}`, "messages", "", 400}, // how large a body may be is for the gateway to say
		{chat, `{"x":"` + strings.Repeat("x", maxBody) + `"}`, "", "", 413},
		{chat, `{` + msg + `,"model":7}`, "model", "", 400},
		{chat, `{` + msg + `,"model":"` + strings.Repeat("x", 300) + `"}`, "model", "", 400},
		{chat, `{` + msg + `,"temperature":"hot"}`, "temperature", "", 400},
		{chat, `{` + msg + `,"temperature":-0.1}`, "temperature", "", 400},
		{chat, `{` + msg + `,"temperature":2.1}`, "temperature", "", 400},
		{chat, `{` + msg + `,"temperature":1e999}`, "temperature", "", 400},
		{chat, `{` + msg + `,"top_p":1.1}`, "top_p", "", 400},
		{chat, `{` + msg + `,"min_p":-1}`, "min_p", "", 400},
		{chat, `{` + msg + `,"top_k":-2}`, "top_k", "", 400},
		{chat, `{` + msg + `,"top_k":1.5}`, "top_k", "", 400},
		{chat, `{` + msg + `,"presence_penalty":3}`, "presence_penalty", "", 400},
		{chat, `{` + msg + `,"frequency_penalty":-3}`, "frequency_penalty", "", 400},
		{chat, `{` + msg + `,"repetition_penalty":0}`, "repetition_penalty", "", 400},
		{chat, `{` + msg + `,"n":0}`, "n", "", 400},
		{chat, `{` + msg + `,"n":17}`, "n", "", 400},
		{chat, `{` + msg + `,"max_tokens":0}`, "max_tokens", "", 400},
		{chat, `{` + msg + `,"max_tokens":1e30}`, "max_tokens", "", 400},
		{chat, `{` + msg + `,"max_completion_tokens":-1}`, "max_completion_tokens", "", 400},
		{chat, `{` + msg + `,"stop":["a","b","c","d","e"]}`, "stop", "", 400},
		{chat, `{` + msg + `,"stop":""}`, "stop", "", 400},
		{chat, `{` + msg + `,"stop":["a",null]}`, "stop", "", 400},
		{chat, `{` + msg + `,"stop":7}`, "stop", "", 400},
		{chat, `{` + msg + `,"stop_token_ids":[9999]}`, "stop_token_ids", "", 400},
		{chat, `{` + msg + `,"stream":"yes"}`, "stream", "", 400},
		{chat, `{` + msg + `,"stream_options":{"include_usage":true}}`, "stream_options", "", 400},
		{chat, `{` + msg + `,"stream":true,"stream_options":{"include_usage":1}}`, "stream_options.include_usage", "", 400},
		{chat, `{` + msg + `,"seed":1.5}`, "seed", "", 400},
		{chat, `{` + msg + `,"logit_bias":{"x":1}}`, "logit_bias", "", 400},
		{chat, `{` + msg + `,"logit_bias":{"99999":1}}`, "logit_bias", "", 400},
		{chat, `{` + msg + `,"logit_bias":{"5":101}}`, "logit_bias", "", 400},
		{chat, `{` + msg + `,"logprobs":3}`, "logprobs", "", 400},
		{chat, `{` + msg + `,"top_logprobs":3}`, "top_logprobs", "", 400},
		{chat, `{` + msg + `,"logprobs":true,"top_logprobs":21}`, "top_logprobs", "", 400},
		{chat, `{` + msg + `,"tools":[{"type":"function"}]}`, "tools[0]", "", 400},
		{chat, `{` + msg + `,"tools":[{"type":"web_search","function":{"name":"f"}}]}`, "tools[0].type", "unsupported_value", 400},
		{chat, `{` + msg + `,"tools":[{"type":"function","function":{"name":"a b"}}]}`, "tools[0].function.name", "", 400},
		{chat, `{` + msg + `,"tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"f"}}]}`, "tools[1].function.name", "", 400},
		{chat, `{` + msg + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"name":"g"}}}`, "tool_choice", "", 400},
		{chat, `{` + msg + `,"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"allowed_tools"}}`, "tool_choice", "unsupported_value", 400},
		{chat, `{` + msg + `,"tool_choice":"required"}`, "tool_choice", "", 400},
		{chat, `{` + msg + `,"functions":[{"name":"f"}]}`, "functions", "unsupported_parameter", 400},
		{chat, `{` + msg + `,"functions":[{}]}`, "functions", "unsupported_parameter", 400},
		{chat, `{` + msg + `,"response_format":{"type":"xml"}}`, "response_format", "unsupported_value", 400},
		{chat, `{` + msg + `,"modalities":["audio"]}`, "modalities", "unsupported_value", 400},
		{text, `{}`, "prompt", "", 400},
		{text, `{"prompt":[]}`, "prompt", "", 400},
		{text, `{"prompt":[1,null]}`, "prompt", "", 400},
		{text, `{"prompt":[[]]}`, "prompt", "", 400},
		{text, `{"prompt":[[1],[null]]}`, "prompt", "", 400},
		{text, `{"prompt":["a",null]}`, "prompt", "", 400},
		{text, `{"prompt":["a",1]}`, "prompt", "", 400},
		{text, `{"prompt":[99999]}`, "prompt", "", 400},
		{text, `{"prompt":[-1]}`, "prompt", "", 400},
		{text, `{"prompt":["` + strings.Repeat(`a","`, 20) + `a"],"n":10}`, "prompt", "", 400},
		{text, `{"prompt":"a","echo":true}`, "echo", "unsupported_parameter", 400},
		{text, `{"prompt":"a","best_of":3}`, "best_of", "unsupported_value", 400},
		{text, `{"prompt":"a","logprobs":6}`, "logprobs", "", 400},
		{text, `{"prompt":"` + strings.Repeat("x", 1<<20) + `"}`, "prompt", "context_length_exceeded", 400},
		{"/tokenize", `{}`, "prompt", "", 400},
		{"/tokenize", `{"messages":[{"role":"user","content":"` + strings.Repeat("x", 1<<20) + `"}]}`, "messages", "context_length_exceeded", 400},
		{"/tokenize", `{"messages":7}`, "messages", "", 400},
		{"/v1/moderations", `{}`, "", "unknown_url", 404},
		{"/v1/models", `{}`, "", "", 405},
	} {
		status, body := r.call("POST", c.path, c.body)
		var got struct {
			Error struct {
				Message, Type string
				Param, Code   *string
			}
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%s %.80s: %q", c.path, c.body, body)
		}
		str := func(s *string) string {
			if s == nil {
				return ""
			}
			return *s
		}
		e := got.Error
		if status != c.status || str(e.Param) != c.param || str(e.Code) != c.code || e.Type != "invalid_request_error" || e.Message == "" {
			t.Errorf("%s %.120s: %d %s", c.path, c.body, status, body)
		}
	}
	if s, _ := r.call("GET", "/v1/completions", ""); s != 405 {
		t.Errorf("GET of a POST path: %d", s)
	}
}

func TestAcceptedSpellings(t *testing.T) {
	r := start(t, Options{})
	for _, body := range []string{
		`{"messages":[{"role":"user","content":"hi"}],"max_tokens":2}`,
		`{"messages":[{"role":"developer","content":"be brief"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"name":"x"},{"role":"assistant","content":null},{"role":"user","content":""}],"max_completion_tokens":2}`,
		`{"messages":[{"role":"user","content":"hi"}],"tools":[],"functions":null,"tool_choice":"none","response_format":{"type": "text"},"user":"u","metadata":{},"store":false,"max_tokens":2}`,
		`{"messages":[{"role":"user","content":"hi"}],"temperature":null,"top_p":0,"top_k":-1,"min_p":0.1,"repetition_penalty":1.1,"seed":-1,"logit_bias":{"5":-100},"stop":null,"n":1,"max_tokens":2}`,
		`{"messages":[{"role":"user","content":"hi"}],"max_tokens":2000000000,"stop_token_ids":[7]}`,
	} {
		if status, got := r.call("POST", "/v1/chat/completions", body); status != 200 {
			t.Errorf("%s: %d %s", body, status, got)
		}
	}
	for _, body := range []string{`{"prompt":"hi"}`, `{"prompt":""}`, `{"prompt":["a","null","b"]}`, `{"prompt":[1,5]}`, `{"prompt":[[1],[5,6]],"n":2,"best_of":2}`,
		`{"prompt":"a","echo":false,"suffix":null,"logprobs":0}`} {
		if status, got := r.call("POST", "/v1/completions", body); status != 200 {
			t.Errorf("%s: %d %s", body, status, got)
		}
	}
}

func TestEveryPathWantsTheSecret(t *testing.T) {
	r := start(t, Options{})
	for _, path := range []string{"/health", "/metrics", "/status", "/v1/models", "/v1/chat/completions", "/nothing"} {
		for _, auth := range []string{"", "Bearer ", "Bearer wrong", secret, "Basic " + secret, "bearer " + secret} {
			req, _ := http.NewRequest("GET", r.url+path, nil)
			if auth != "" {
				req.Header.Set("Authorization", auth)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != 401 || !bytes.Contains(body, []byte("invalid_api_key")) || bytes.Contains(body, []byte(secret)) {
				t.Errorf("%s with %q: %d %s", path, auth, res.StatusCode, body)
			}
		}
	}
	if s, b := r.call("GET", "/health", ""); s != 200 {
		t.Errorf("with the secret: %d %s", s, b)
	}
	if s, b := r.call("GET", "/v1/models", ""); s != 200 || !strings.Contains(b, `"id":"toy"`) || !strings.Contains(b, `"max_model_len":128`) {
		t.Errorf("models: %d %s", s, b)
	}
}

func TestTokenizeCountsWhatIsCharged(t *testing.T) {
	r := start(t, Options{})
	for path, bodies := range map[string][]string{
		"/v1/chat/completions": {`{"messages":[{"role":"system","content":"水能载舟"},{"role":"user","content":"hi <|im_end|> 🙂"}],"max_tokens":1}`},
		"/v1/completions":      {`{"prompt":"水能载舟 fox","max_tokens":1}`, `{"prompt":["a","bb"],"max_tokens":1}`, `{"prompt":[5,6,7],"max_tokens":1}`, `{"prompt":"","max_tokens":1}`},
	} {
		for _, body := range bodies {
			_, counted := r.call("POST", "/tokenize", body)
			_, answered := r.call("POST", path, body)
			var c struct {
				Count int
				Max   int `json:"max_model_len"`
			}
			var a answer
			if json.Unmarshal([]byte(counted), &c) != nil || json.Unmarshal([]byte(answered), &a) != nil || a.Usage == nil || c.Count != a.Usage.Prompt || c.Max != 128 {
				t.Errorf("%s: %s, %s", body, counted, answered)
			}
		}
	}
}

func TestHangUpStopsTheGeneration(t *testing.T) {
	r := start(t, Options{Dir: folder(t, 1<<16)}) // so long that no test would see its end
	for _, stream := range []bool{true, false} {
		ctx, hangUp := context.WithCancel(context.Background())
		defer hangUp()
		go func() {
			r.until("triarch_native_requests_running 4\n")
			hangUp()
		}()
		res, err := r.do(ctx, "POST", "/v1/chat/completions",
			fmt.Sprintf(`{"messages":[{"role":"user","content":"hi"}],"n":4,"stream":%v,"ignore_eos":true}`, stream))
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("stream %v: %v", stream, err)
		}
		m := r.until("triarch_native_requests_running 0\n")
		if _, again := r.call("GET", "/metrics", ""); !strings.Contains(again, grep(m, "triarch_native_generation_tokens_total ")) ||
			!strings.Contains(m, "triarch_native_kv_cache_used_ratio 0\n") {
			t.Errorf("idle, and yet: %s", again)
		}
	}
}

// until asks for the metrics until they hold a line, and returns them.
func (r *running) until(line string) string {
	for {
		if _, m := r.call("GET", "/metrics", ""); strings.Contains(m, line) {
			return m
		}
		time.Sleep(time.Millisecond) // the operating system tells of a closed connection in its own time
	}
}

func grep(text, prefix string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return "no " + prefix
}

func TestLogprobs(t *testing.T) {
	r := start(t, Options{})
	_, body := r.call("POST", "/v1/chat/completions",
		`{"messages":[{"role":"user","content":"hi"}],"logprobs":true,"top_logprobs":3,"temperature":0,"max_tokens":20,"ignore_eos":true}`)
	var a answer
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	var raw []byte
	for _, tok := range a.Choices[0].Logprobs.Content {
		if tok.Logprob > 0 || len(tok.Top) != 3 || tok.Top[0].Token != tok.Token {
			t.Errorf("greedy token %+v", tok)
		}
		for _, b := range tok.Bytes {
			raw = append(raw, byte(b))
		}
	}
	if want := strings.ToValidUTF8(string(raw), ""); strings.ReplaceAll(a.Choices[0].Message.Content, "\uFFFD", "") != want {
		t.Errorf("the tokens spell %q, the text is %q", raw, a.Choices[0].Message.Content)
	}
}

func TestStoppingLetsLiveAnswersEnd(t *testing.T) {
	r := start(t, Options{})
	res, err := r.do(context.Background(), "POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"hi"}],"stream":true,"ignore_eos":true,"n":8}`)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r.stop()
	got, err := readStream(res.Body)
	if err != nil || !got.complete || len(got.finish) != 8 {
		t.Errorf("stream cut while draining: %v, complete %v, %v", err, got.complete, got.finish)
	}
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	r.done <- nil // for the clean-up
	if _, err := r.do(context.Background(), "GET", "/health", ""); err == nil {
		t.Error("still listening")
	}
}

func TestGraceEnds(t *testing.T) {
	r := start(t, Options{Grace: time.Millisecond, Dir: folder(t, 1<<16)})
	res, err := r.do(context.Background(), "POST", "/v1/chat/completions", `{"messages":[{"role":"user","content":"hi"}],"stream":true,"ignore_eos":true}`)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	r.done <- nil
	if got, err := readStream(res.Body); err == nil && got.complete {
		t.Error("a stream that was cut looks complete")
	}
}

func TestServeRefuses(t *testing.T) {
	for name, opt := range map[string]Options{
		"no folder":   {Secret: "x"},
		"no secret":   {Dir: "x"},
		"open to all": {Dir: "x", Secret: "x", ListenAddr: "0.0.0.0:0"},
		"any host":    {Dir: "x", Secret: "x", ListenAddr: ":0"},
		"a name":      {Dir: "x", Secret: "x", ListenAddr: "example.com:80"},
		"to many":     {Dir: "x", Secret: "x", ListenAddr: "224.0.0.1:0"},
		"not here":    {Dir: "x", Secret: "x", ListenAddr: "192.0.2.1:0"},
		"no model":    {Dir: t.TempDir(), Secret: "x"},
	} {
		if err := Serve(t.Context(), opt); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestStringsAreJSON(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(rt, "s")
		var out string
		if err := json.Unmarshal(appendString(nil, in), &out); err != nil {
			rt.Fatal(err)
		}
		if want := string([]rune(in)); out != want {
			rt.Fatalf("%q became %q", in, out)
		}
		if !utf8.Valid(appendString(nil, []byte(in))) {
			rt.Fatal("not UTF-8")
		}
	})
}

// FuzzBody holds the reading of bodies to two promises: no crash, and no answer but success and the caller's own fault.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"messages":[{"role":"user","content":"hi"}],"max_tokens":2,"stream":true}`,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"max_tokens":1,"logprobs":true,"top_logprobs":2}`,
		`{"prompt":[[1,2],[3]],"max_tokens":1,"logit_bias":{"5":1},"stop":["a"],"seed":-1,"n":2}`,
		`{"prompt":["a","null"],"max_tokens":1,"stream":true,"stream_options":{"include_usage":true},"stop_token_ids":[1]}`,
		`{"prompt":[null]}`, `{"messages":[[[]]]}`, `[]`, "{\"prompt\":\"\xff\"}", `{"prompt":"\ud800","max_tokens":1}`,
	} {
		f.Add(seed)
	}
	opt := Options{Dir: folder(f, 32), Secret: secret, Threads: 1}
	if err := opt.complete(); err != nil {
		f.Fatal(err)
	}
	s := newServer(opt)
	if err := s.load(opt); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.model.Load().engine.Close)
	f.Fuzz(func(t *testing.T, body string) {
		for _, path := range []string{"/v1/chat/completions", "/v1/completions", "/tokenize"} {
			w, r := httptest.NewRecorder(), httptest.NewRequest("POST", path, strings.NewReader(body))
			r.Header.Set("Authorization", "Bearer "+secret)
			s.ServeHTTP(w, r)
			if w.Code != 200 && w.Code != 400 && w.Code != 413 {
				t.Fatalf("%s: %d %s", path, w.Code, w.Body)
			}
			if w.Header().Get("Content-Type") == "application/json" && !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%s: not JSON: %s", path, w.Body)
			}
			if strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
				if got, err := readStream(w.Body); err != nil || !got.complete {
					t.Fatalf("%s: %v, complete %v", path, err, got.complete)
				}
			}
		}
	})
}
