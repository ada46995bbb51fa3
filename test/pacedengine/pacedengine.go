// Package pacedengine is an engine that thinks nothing and speaks at a set pace, over the same wire as the embedded
// engine's worker: for tests that kill what is in front of an engine, and for measurements of it.
//
// Rules for callers: it answers with the tokens "t1 ", "t2 ", ... so that a reader can tell which ones arrived. A
// prompt costs a quarter of its bytes. It is no model and checks little of what it is sent.
package pacedengine

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// Options say how it speaks. The zero value answers at once with 16 tokens.
type Options struct {
	Tokens int           // tokens of an answer when the request sets no lower limit; 0 = 16
	First  time.Duration // before the first token
	Pace   time.Duration // between tokens
	Secret string        // bearer secret it demands; empty = none
	Break  int           // cut the connection after this many tokens; 0 = never
	Size   int           // bytes of an answer that is no stream, at least; filler is added
}

// Engine is an http.Handler with counters.
type Engine struct {
	Options
	Generated atomic.Int64 // completion tokens, delivered or not
	Running   atomic.Int64 // requests being answered
	Opened    atomic.Int64 // completion requests received
	Counted   atomic.Int64 // requests to count tokens
}

// request is what it reads of a completion request.
type request struct {
	Model         string `json:"model"`
	Stream        bool   `json:"stream"`
	MaxTokens     int    `json:"max_tokens"`
	MaxCompletion int    `json:"max_completion_tokens"`
	N             int    `json:"n"`
	Options       struct {
		Usage bool `json:"include_usage"`
	} `json:"stream_options"`
	Temperature float64         `json:"temperature"`
	Messages    json.RawMessage `json:"messages"`
	Prompt      json.RawMessage `json:"prompt"`
}

// ServeHTTP answers the paths of the worker wire.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if e.Secret != "" && r.Header.Get("Authorization") != "Bearer "+e.Secret {
		fail(w, http.StatusUnauthorized, "wrong secret", "")
		return
	}
	switch r.URL.Path {
	case "/health":
		fmt.Fprint(w, `{"status":"ok"}`)
		return
	case "/v1/chat/completions", "/v1/completions", "/tokenize":
	default:
		fail(w, http.StatusNotFound, "no such path", "")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<20))
	if err != nil {
		fail(w, http.StatusRequestEntityTooLarge, "the body is too large", "")
		return
	}
	var q request
	if err := json.Unmarshal(body, &q); err != nil {
		fail(w, http.StatusBadRequest, "the body is not the JSON it should be: "+err.Error(), "")
		return
	}
	prompt := max(1, (len(q.Messages)+len(q.Prompt))/4)
	if r.URL.Path == "/tokenize" {
		e.Counted.Add(1)
		fmt.Fprintf(w, `{"count":%d,"max_model_len":100000}`, prompt)
		return
	}
	if q.Temperature < 0 || q.Temperature > 2 {
		fail(w, http.StatusBadRequest, "temperature must be between 0 and 2", "temperature")
		return
	}
	e.Opened.Add(1)
	e.Running.Add(1)
	defer e.Running.Add(-1)
	a := answer{Engine: e, w: w, r: r, q: &q, prompt: prompt, chat: r.URL.Path == "/v1/chat/completions"}
	a.plan()
	if q.Stream {
		a.stream()
	} else {
		a.whole()
	}
}

func fail(w http.ResponseWriter, status int, message, param string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":{"message":%q,"type":"invalid_request_error","param":%q,"code":null}}`, message, param)
}

// answer is one completion on its way.
type answer struct {
	*Engine
	w      http.ResponseWriter
	r      *http.Request
	q      *request
	chat   bool
	prompt int
	tokens int    // of each choice
	finish string // why it ends
	sent   int
	buf    []byte
}

func (a *answer) plan() {
	a.q.N = max(a.q.N, 1)
	a.tokens, a.finish = a.Tokens, "stop"
	if a.tokens <= 0 {
		a.tokens = 16
	}
	limit := a.q.MaxTokens
	if a.q.MaxCompletion > 0 {
		limit = a.q.MaxCompletion
	}
	if limit > 0 && limit < a.tokens {
		a.tokens, a.finish = limit, "length"
	}
}

// wait sleeps; false when the caller has gone.
func (a *answer) wait(d time.Duration) bool {
	if d <= 0 {
		return a.r.Context().Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-a.r.Context().Done():
		return false
	}
}

func (a *answer) whole() {
	for range a.tokens {
		if !a.wait(a.Pace) {
			return
		}
		a.Generated.Add(int64(a.q.N))
	}
	b := fmt.Appendf(a.buf, `{"id":"cmpl-1","object":"chat.completion","created":1,"model":%q,"choices":[`, a.q.Model)
	for n := range a.q.N {
		if n > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"index":%d,"message":{"role":"assistant","content":"`, n)
		for t := range a.tokens {
			b = append(strconv.AppendInt(append(b, 't'), int64(t+1), 10), ' ')
		}
		for len(b) < a.Size {
			b = append(b, "and so on "...)
		}
		b = fmt.Appendf(b, `"},"logprobs":null,"finish_reason":%q}`, a.finish)
	}
	b = fmt.Appendf(b, `],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`,
		a.prompt, a.tokens*a.q.N, a.prompt+a.tokens*a.q.N)
	a.w.Header().Set("Content-Type", "application/json")
	a.w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = a.w.Write(b) // the caller may have gone
}

func (a *answer) stream() {
	if !a.wait(a.First) {
		return
	}
	a.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	a.count()
	for t := 1; t <= a.tokens; t++ {
		if t > 1 && !a.wait(a.Pace) {
			return
		}
		for n := range a.q.N {
			a.Generated.Add(1)
			a.sent++
			if a.Break > 0 && a.sent > a.Break {
				panic(http.ErrAbortHandler)
			}
			a.count()
			a.token(n, t)
		}
		if a.Pace > 0 && !a.flush() {
			return
		}
	}
	if a.q.Options.Usage {
		a.count()
		a.buf = fmt.Appendf(a.buf, `data: {"id":"cmpl-1","model":%q,"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`+"\n\n",
			a.q.Model, a.prompt, a.sent, a.prompt+a.sent)
	}
	a.count()
	a.buf = append(a.buf, "data: [DONE]\n\n"...)
	a.flush()
}

func (a *answer) token(choice, t int) {
	a.buf = append(strconv.AppendQuote(append(a.buf, `data: {"id":"cmpl-1","model":`...), a.q.Model), `,"choices":[{"index":`...)
	a.buf = strconv.AppendInt(a.buf, int64(choice), 10)
	if a.chat {
		a.buf = append(a.buf, `,"delta":{"content":"t`...)
	} else {
		a.buf = append(a.buf, `,"text":"t`...)
	}
	a.buf = append(strconv.AppendInt(a.buf, int64(t), 10), ` "`...)
	if a.chat {
		a.buf = append(a.buf, '}')
	}
	if t == a.tokens {
		a.buf = append(append(append(a.buf, `,"finish_reason":"`...), a.finish...), "\"}]}\n\n"...)
	} else {
		a.buf = append(a.buf, ",\"finish_reason\":null}]}\n\n"...)
	}
}

func (a *answer) count() {
	a.buf = strconv.AppendInt(append(a.buf, ": t "...), int64(a.prompt), 10)
	a.buf = append(strconv.AppendInt(append(a.buf, ' '), int64(a.sent), 10), '\n')
}

func (a *answer) flush() bool {
	_, err := a.w.Write(a.buf)
	a.buf = a.buf[:0]
	return err == nil && http.NewResponseController(a.w).Flush() == nil
}
