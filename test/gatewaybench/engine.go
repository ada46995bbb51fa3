package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// events is how many events a stream has, besides its end; pace is the time between them where it is paced.
const (
	events = 34
	pace   = 5 * time.Millisecond
)

var (
	wholeAnswer  = makeWhole()
	streamAnswer = makeStream()
	wantsStream  = []byte(`"stream":true`)
	wantsPace    = []byte(`"paced":true`)
)

// makeWhole is an answer of 608 bytes.
func makeWhole() []byte {
	head := `{"id":"chatcmpl-0123456789abcdef","object":"chat.completion","created":1800000000,"model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":"`
	tail := `","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":250,"completion_tokens":64,"total_tokens":314}}`
	return []byte(head + strings.Repeat("x", 608-len(head)-len(tail)) + tail)
}

// makeStream is a stream as the embedded engine's worker sends it, counts in comments included.
func makeStream() []byte {
	var b bytes.Buffer
	for n := range events {
		fmt.Fprintf(&b, ": t 250 %d\ndata: {\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1800000000,\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word%d \"},\"logprobs\":null,\"finish_reason\":null}]}\n\n", n+1, n)
	}
	fmt.Fprintf(&b, ": t 250 %d\ndata: [DONE]\n\n", events)
	return b.Bytes()
}

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// answerEngine reads the request and answers at once.
func answerEngine(w http.ResponseWriter, r *http.Request) {
	b := bodies.Get().(*bytes.Buffer)
	defer bodies.Put(b)
	b.Reset()
	if _, err := io.Copy(b, r.Body); err != nil {
		return
	}
	if !bytes.Contains(b.Bytes(), wantsStream) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(wholeAnswer)))
		_, _ = w.Write(wholeAnswer) // the caller may be gone
		return
	}
	paced := bytes.Contains(b.Bytes(), wantsPace)
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	flush := http.NewResponseController(w)
	for rest := streamAnswer; len(rest) > 0; {
		n := bytes.Index(rest, []byte("\n\n")) + 2
		if _, err := w.Write(rest[:n]); err != nil {
			return
		}
		if err := flush.Flush(); err != nil {
			return
		}
		if paced {
			time.Sleep(pace)
		}
		rest = rest[n:]
	}
}

func runEngine(ctx context.Context, _ []string) error {
	return listenAndServe(ctx, &http.Server{Handler: http.HandlerFunc(answerEngine), IdleTimeout: time.Hour})
}

// listenAndServe prints the address and serves until ctx ends.
func listenAndServe(ctx context.Context, s interface {
	Serve(net.Listener) error
	Close() error
}) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
