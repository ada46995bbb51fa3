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

// events is how many events a stream has, besides its end, and pacedEvents how many one has that comes at a pace; pace
// is the time between those. An idle stream has one and then silence until its reader leaves.
const (
	events      = 34
	pacedEvents = 64
	pace        = 5 * time.Millisecond
)

var (
	wholeAnswer  = makeWhole()
	streamAnswer = makeStream(events)
	pacedAnswer  = makeStream(pacedEvents)
	wantsStream  = []byte(`"stream":true`)
	wantsPace    = []byte(`"paced":true`)
	wantsSilence = []byte(`"idle":true`)
)

// makeWhole is an answer of 608 bytes.
func makeWhole() []byte {
	head := `{"id":"chatcmpl-0123456789abcdef","object":"chat.completion","created":1800000000,"model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":"`
	tail := `","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":250,"completion_tokens":64,"total_tokens":314}}`
	return []byte(head + strings.Repeat("x", 608-len(head)-len(tail)) + tail)
}

// makeStream is a stream of n events as the embedded engine's worker sends it, counts in comments included.
func makeStream(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, ": t 250 %d\ndata: {\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1800000000,\"model\":\"bench\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word%d \"},\"logprobs\":null,\"finish_reason\":null}]}\n\n", i+1, i)
	}
	fmt.Fprintf(&b, ": t 250 %d\ndata: [DONE]\n\n", n)
	return b.Bytes()
}

var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// answerEngine reads the request and answers at once.
func answerEngine(w http.ResponseWriter, r *http.Request) {
	b := bodies.Get().(*bytes.Buffer)
	b.Reset()
	_, err := io.Copy(b, r.Body)
	end := b.Bytes()[max(0, b.Len()-128):] // where the load generator says what it wants
	stream, paced, idle := bytes.Contains(end, wantsStream), bytes.Contains(end, wantsPace), bytes.Contains(end, wantsSilence)
	bodies.Put(b)
	if err != nil {
		return
	}
	if !stream {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(wholeAnswer)))
		_, _ = w.Write(wholeAnswer) // the caller may be gone
		return
	}
	rest, pause := streamAnswer, time.Duration(0)
	if paced {
		rest, pause = pacedAnswer, pace
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	flush := http.NewResponseController(w)
	for due := time.Now(); len(rest) > 0; {
		n := bytes.Index(rest, []byte("\n\n")) + 2
		if _, err := w.Write(rest[:n]); err != nil {
			return
		}
		if err := flush.Flush(); err != nil {
			return
		}
		if idle {
			<-r.Context().Done()
			return
		}
		if rest = rest[n:]; pause > 0 && len(rest) > 0 {
			due = due.Add(pause)
			time.Sleep(time.Until(due))
		}
	}
}

// runEngine serves on as many addresses as it is told, one line each: to the gateway they are as many replicas.
func runEngine(ctx context.Context, args []string) error {
	n := 1
	if len(args) > 0 {
		var err error
		if n, err = strconv.Atoi(args[0]); err != nil || n < 1 || n > 64 {
			return errors.New("how many addresses? From 1 to 64")
		}
	}
	if err := manyFiles(); err != nil {
		return err
	}
	errs := make(chan error, n)
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		fmt.Println(l.Addr())
		go func() {
			errs <- serveOn(ctx, l, &http.Server{Handler: http.HandlerFunc(answerEngine), IdleTimeout: time.Hour})
		}()
	}
	var all []error
	for range n {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

type httpServer interface {
	Serve(net.Listener) error
	Close() error
}

// listenAndServe prints the address and serves until ctx ends.
func listenAndServe(ctx context.Context, s httpServer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return serveOn(ctx, l, s)
}

func serveOn(ctx context.Context, l net.Listener, s httpServer) error {
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
