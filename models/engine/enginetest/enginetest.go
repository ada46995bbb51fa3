// Package enginetest is what every engine driver passes.
//
// Rules for drivers: give Run a way to start a fake or real program that behaves as asked; the suite speaks to it only
// through the driver.
package enginetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
)

// Behaviour is how a started program is to answer.
type Behaviour struct {
	Tokens int           // of each answer
	Pace   time.Duration // between tokens
	Break  int           // cut the connection after this many tokens of a stream; 0 = never
}

// Program is a started program.
type Program struct {
	Endpoint  engine.Endpoint
	Generated func() int64 // completion tokens so far
	Running   func() int64 // requests being answered
}

// Harness is a driver with a way to start what it drives.
type Harness struct {
	Engine engine.Engine
	Start  func(*testing.T, Behaviour) Program
}

const (
	path       = "/v1/chat/completions"
	streamBody = `{"model":"m","messages":[{"role":"user","content":"hello"}],"stream":true}`
	usageBody  = `{"model":"m","messages":[{"role":"user","content":"hello"}],"stream":true,"stream_options":{"include_usage":true}}`
	plainBody  = `{"model":"m","messages":[{"role":"user","content":"hello"}]}`
	badBody    = `{"model":"m","messages":[{"role":"user","content":"hello"}],"temperature":-1}`
)

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	t.Run("health", func(t *testing.T) { health(t, h) })
	t.Run("stream", func(t *testing.T) { stream(t, h) })
	t.Run("at once", func(t *testing.T) { atOnce(t, h) })
	t.Run("usage", func(t *testing.T) { usage(t, h) })
	t.Run("plain", func(t *testing.T) { plain(t, h) })
	t.Run("refusal", func(t *testing.T) { refusal(t, h) })
	t.Run("broken", func(t *testing.T) { broken(t, h) })
	t.Run("cancel", func(t *testing.T) { cancel(t, h, false) })
	t.Run("close", func(t *testing.T) { cancel(t, h, true) })
	t.Run("nobody there", func(t *testing.T) { nobody(t, h) })
	t.Run("count", func(t *testing.T) { count(t, h) })
}

func open(t *testing.T, h Harness, p Program, body string) engine.Stream {
	t.Helper()
	s, err := h.Engine.Open(t.Context(), p.Endpoint, engine.Request{Path: path, Body: []byte(body), RequestID: "req_1",
		Stream: strings.Contains(body, `"stream":true`), Usage: strings.Contains(body, "include_usage")})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// drain reads a stream to its end, checking the rules of chunks on the way.
func drain(t *testing.T, s engine.Stream, events bool) (text []byte, last engine.Chunk, err error) {
	t.Helper()
	defer s.Close()
	for {
		c, err := s.Next()
		if err != nil {
			return text, last, err
		}
		if c.Prompt < last.Prompt || c.Completion < last.Completion {
			t.Errorf("counts fell from %d/%d to %d/%d", last.Prompt, last.Completion, c.Prompt, c.Completion)
		}
		if events && len(c.Data) > 0 && !bytes.HasSuffix(c.Data, []byte("\n\n")) {
			t.Errorf("a chunk is not whole events: %q", c.Data)
		}
		text, last = append(text, c.Data...), c
		if events && bytes.Count(text, []byte(`"content":"t`)) > c.Completion {
			t.Errorf("%d tokens were handed out and %d counted", bytes.Count(text, []byte(`"content":"t`)), c.Completion)
		}
	}
}

func health(t *testing.T, h Harness) {
	p := h.Start(t, Behaviour{})
	if err := h.Engine.Health(t.Context(), p.Endpoint); err != nil {
		t.Error(err)
	}
	wrong := p.Endpoint
	wrong.Secret = "another"
	if err := h.Engine.Health(t.Context(), wrong); !fault.Is(err, fault.Unavailable) {
		t.Errorf("with a wrong secret: %v", err)
	}
}

func stream(t *testing.T, h Harness) {
	for _, pace := range []time.Duration{0, 2 * time.Millisecond} {
		p := h.Start(t, Behaviour{Tokens: 20, Pace: pace})
		for range 3 { // connections are used again
			s := open(t, h, p, streamBody)
			if s.Status() != 200 || !strings.HasPrefix(s.Header("content-type"), "text/event-stream") {
				t.Errorf("status %d, content type %q", s.Status(), s.Header("content-type"))
			}
			text, last, err := drain(t, s, true)
			if err != io.EOF || last.Completion != 20 || last.Prompt == 0 || !last.Done {
				t.Errorf("ended with %v, %+v", err, last)
			}
			if !bytes.HasSuffix(text, []byte("data: [DONE]\n\n")) || bytes.Contains(text, []byte(`"usage":{`)) || bytes.Contains(text, []byte("\n:")) {
				t.Errorf("stream:\n%s", text)
			}
		}
	}
}

// atOnce takes the first token from an engine that makes the second one much later.
func atOnce(t *testing.T, h Harness) {
	p := h.Start(t, Behaviour{Tokens: 2, Pace: 24 * time.Hour})
	s := open(t, h, p, streamBody)
	defer s.Close()
	c, err := s.Next()
	if err != nil || c.Completion != 1 || !bytes.Contains(c.Data, []byte(`"content":"t1 "`)) {
		t.Errorf("%+v, %v", c, err)
	}
}

func usage(t *testing.T, h Harness) {
	p := h.Start(t, Behaviour{Tokens: 5})
	text, last, _ := drain(t, open(t, h, p, usageBody), true)
	want := fmt.Sprintf(`"usage":{"prompt_tokens":%d,"completion_tokens":%d,`, last.Prompt, last.Completion)
	if !bytes.Contains(text, []byte(want)) {
		t.Errorf("no %s in\n%s", want, text)
	}
}

func plain(t *testing.T, h Harness) {
	p := h.Start(t, Behaviour{Tokens: 5})
	text, _, err := drain(t, open(t, h, p, plainBody), false)
	if err != io.EOF || !bytes.Contains(text, []byte(`"completion_tokens":5`)) {
		t.Errorf("%v\n%s", err, text)
	}
}

func refusal(t *testing.T, h Harness) {
	p := h.Start(t, Behaviour{})
	s := open(t, h, p, badBody)
	text, _, err := drain(t, s, false)
	if s.Status() != 400 || err != io.EOF || !bytes.Contains(text, []byte(`"param":"temperature"`)) {
		t.Errorf("status %d, %v\n%s", s.Status(), err, text)
	}
}

func broken(t *testing.T, h Harness) {
	p := h.Start(t, Behaviour{Tokens: 50, Pace: time.Millisecond, Break: 7})
	_, last, err := drain(t, open(t, h, p, streamBody), true)
	if err == nil || err == io.EOF || last.Done || last.Completion > 7 {
		t.Errorf("a broken stream ended with %v, %+v", err, last)
	}
}

// cancel ends a request in mid-stream, by its context or by Close: the engine must stop generating.
func cancel(t *testing.T, h Harness, byClose bool) {
	p := h.Start(t, Behaviour{Tokens: 1 << 20, Pace: time.Millisecond})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s, err := h.Engine.Open(ctx, p.Endpoint, engine.Request{Path: path, Body: []byte(streamBody), Stream: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Next(); err != nil {
		t.Fatal(err)
	}
	if byClose {
		s.Close()
	} else {
		context.AfterFunc(ctx, func() {})
		go stop()
		for err == nil {
			_, err = s.Next()
		}
		if !fault.Is(err, fault.Canceled) {
			t.Errorf("Next of a cancelled request: %v", err)
		}
	}
	for p.Running() > 0 { // the test's own time limit ends a loop that does not
		time.Sleep(time.Millisecond)
	}
	if n := p.Generated(); n > 10_000 {
		t.Errorf("%d tokens were generated for nobody", n)
	}
}

func nobody(t *testing.T, h Harness) {
	to := engine.Endpoint{Addr: "127.0.0.1:1", Secret: "s"}
	if _, err := h.Engine.Open(t.Context(), to, engine.Request{Path: path, Body: []byte(plainBody)}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Open: %v", err)
	}
	if err := h.Engine.Health(t.Context(), to); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Health: %v", err)
	}
}

func count(t *testing.T, h Harness) {
	counter, ok := h.Engine.(engine.Counter)
	if !ok {
		return
	}
	p := h.Start(t, Behaviour{Tokens: 1})
	n, err := counter.Count(t.Context(), p.Endpoint, path, []byte(streamBody))
	if err != nil {
		t.Fatal(err)
	}
	if _, last, _ := drain(t, open(t, h, p, streamBody), true); n != last.Prompt {
		t.Errorf("counted %d, charged %d", n, last.Prompt)
	}
	if _, err := counter.Count(t.Context(), p.Endpoint, path, []byte("no JSON")); err == nil {
		t.Error("no JSON was counted")
	}
}
