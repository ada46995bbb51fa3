package gateways

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

// pace is the time between two tokens, of the provider as of the paced engine.
const pace = 20 * time.Millisecond

// provider is the model API of somebody else, which speaks the dialects of OpenAI and Anthropic at a pace and remembers
// how many tokens it sent for each mark that a prompt has.
type provider struct {
	url  string
	mu   sync.Mutex
	sent map[string]int
}

func newProvider(t *testing.T) *provider {
	p := &provider{sent: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", p.chat)
	mux.HandleFunc("POST /v1/messages", p.messages)
	mux.HandleFunc("POST /v1/embeddings", p.embeddings)
	web := httptest.NewServer(mux)
	t.Cleanup(web.CloseClientConnections)
	t.Cleanup(web.Close)
	p.url = web.URL
	return p
}

var lengthIn = regexp.MustCompile(`mark[0-9x]+ of ([0-9]+)`)

var markIn = regexp.MustCompile(`mark[0-9]+x[0-9]+x[0-9]+`)

// of is how many tokens were sent for a mark, and that it was asked for at all.
func (p *provider) of(mark string) (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, asked := p.sent[mark]
	return n, asked
}

// speak says tokens at the pace, each in an event where a stream was asked for, else all at once at the end.
func (p *provider) speak(w http.ResponseWriter, r *http.Request, begin, event, end, whole string) {
	text, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	stream := gjson.GetBytes(text, "stream").Bool()
	w.Header().Set("Content-Type", map[bool]string{true: "text/event-stream", false: "application/json"}[stream])
	if !stream {
		begin, event, end = "", "", whole
	}
	if _, err := io.WriteString(w, begin); err != nil {
		return
	}
	mark := markIn.FindString(string(text))
	n := briefTokens
	if m := lengthIn.FindSubmatch(text); m != nil && !strings.Contains(string(text), "be brief") {
		n, _ = strconv.Atoi(string(m[1]))
	}
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for range n {
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
		p.mu.Lock()
		p.sent[mark]++
		p.mu.Unlock()
		if !stream {
			continue
		}
		if _, err := io.WriteString(w, event); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
	}
	_, _ = io.WriteString(w, strings.NewReplacer("COUNT", strconv.Itoa(n), "TEXT", strings.Repeat("tok ", n)).Replace(end))
}

// briefTokens is the length of an answer to who asks to be brief.
const briefTokens = 12

func (p *provider) chat(w http.ResponseWriter, r *http.Request) {
	event := func(delta, finish string) string {
		return `data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"far","choices":[{"index":0,"delta":{` + delta + `},"finish_reason":` + finish + "}]}\n\n"
	}
	const usage = `"usage":{"prompt_tokens":7,"completion_tokens":COUNT,"total_tokens":0}}`
	p.speak(w, r, "", event(`"role":"assistant","content":"tok "`, "null"),
		event("", `"stop"`)+`data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"far","choices":[],`+usage+"\n\ndata: [DONE]\n\n",
		`{"id":"x","object":"chat.completion","created":1,"model":"far","choices":[{"index":0,"message":{"role":"assistant","content":"TEXT"},"finish_reason":"stop"}],`+usage)
}

func (p *provider) messages(w http.ResponseWriter, r *http.Request) {
	event := func(kind, rest string) string {
		return "event: " + kind + "\ndata: {\"type\":\"" + kind + "\"" + rest + "}\n\n"
	}
	const head = `{"id":"m","type":"message","role":"assistant","model":"far","stop_sequence":null,"content":[`
	p.speak(w, r,
		event("message_start", `,"message":`+head+`],"stop_reason":null,"usage":{"input_tokens":7,"output_tokens":1}}`)+
			event("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`),
		event("content_block_delta", `,"index":0,"delta":{"type":"text_delta","text":"tok "}`),
		event("content_block_stop", `,"index":0`)+
			event("message_delta", `,"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":COUNT}`)+
			event("message_stop", ""),
		head+`{"type":"text","text":"TEXT"}],"stop_reason":"end_turn","usage":{"input_tokens":7,"output_tokens":COUNT}}`)
}

func (p *provider) embeddings(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	p.mu.Lock()
	p.sent[markIn.FindString(string(text))] += 0 // it was asked
	p.mu.Unlock()
	select {
	case <-time.After(10 * pace):
	case <-r.Context().Done():
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"object":"list","model":"far","data":[{"object":"embedding","index":0,"embedding":[0.6,0.8]}],"usage":{"prompt_tokens":7,"total_tokens":7}}`)
}
