package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triarch-ai/triarch/models/engine/upstream"
)

// prompts is how many different prompts are sent in turn. They differ from their first word on.
const prompts = 16

// loadSettings are what to send where.
type loadSettings struct {
	addr, key string
	n         int64
	conns     int
	stream    bool
	paced     bool
	idle      bool
	prompt    int
	allowed   int64
}

// loadResult is what the load generator prints: how long answers took from the first byte sent to the last one read.
type loadResult struct {
	Requests  int     `json:"requests"`
	Broken    int64   `json:"broken"`
	P50Millis float64 `json:"p50_ms"`
	P99Millis float64 `json:"p99_ms"`
}

func loadFlags(args []string) (loadSettings, error) {
	var s loadSettings
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.StringVar(&s.addr, "addr", "", "address to ask")
	flags.StringVar(&s.key, "key", "none", "API key")
	flags.Int64Var(&s.n, "n", 1000, "requests")
	flags.IntVar(&s.conns, "c", 16, "connections")
	flags.BoolVar(&s.stream, "stream", false, "ask for streams")
	flags.BoolVar(&s.paced, "paced", false, "ask for streams at a pace")
	flags.BoolVar(&s.idle, "idle", false, "ask for streams that fall silent, on as many connections, and keep them")
	flags.IntVar(&s.prompt, "prompt", 1000, "bytes of the prompt")
	flags.Int64Var(&s.allowed, "broken", 0, "answers that may be incomplete; they are asked for again")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	_, _, err := net.SplitHostPort(s.addr)
	return s, err
}

// bodies are the requests, and what a whole answer ends with.
func (s *loadSettings) bodies() (all [prompts][]byte, want []byte) {
	want = wholeAnswer[len(wholeAnswer)-20:]
	tail := `,"max_tokens":64`
	switch {
	case s.idle:
		tail += `,"idle":true,"stream":true`
	case s.paced:
		tail += `,"paced":true,"stream":true`
	case s.stream:
		tail += `,"stream":true`
	}
	if s.stream || s.paced {
		want = []byte("data: [DONE]\n\n")
	}
	for i := range all {
		text := fmt.Sprintf("prompt %d. ", i)
		text += strings.Repeat("word ", max(0, s.prompt-len(text))/5)
		all[i] = fmt.Appendf(nil, `{"model":"bench","messages":[{"role":"user","content":%q}]%s}`, text, tail)
	}
	return all, want
}

// runLoad sends requests over a number of connections, each as soon as the one before was answered, and fails if more
// answers than allowed are not complete.
func runLoad(ctx context.Context, args []string) error {
	s, err := loadFlags(args)
	if err != nil {
		return err
	}
	if s.idle {
		return s.hold(ctx)
	}
	bodies, want := s.bodies()
	var next, broken atomic.Int64
	took := make([]time.Duration, s.n)
	errs := make(chan error, s.conns)
	var work sync.WaitGroup
	for range s.conns {
		work.Go(func() {
			c := &upstream.Client{}
			for at := next.Add(1) - 1; at < s.n && ctx.Err() == nil; {
				began := time.Now()
				err := ask(ctx, c, &upstream.Request{Addr: s.addr, Path: "/v1/chat/completions", Secret: s.key, Body: bodies[at%prompts]}, want)
				if err != nil && broken.Add(1) <= s.allowed {
					continue
				}
				if err != nil {
					errs <- err
					return
				}
				took[at] = time.Since(began)
				at = next.Add(1) - 1
			}
		})
	}
	work.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	slices.Sort(took)
	at := func(q float64) float64 { return took[int(q*float64(len(took)-1))].Seconds() * 1000 }
	err = json.NewEncoder(os.Stdout).Encode(loadResult{Requests: len(took), Broken: broken.Load(), P50Millis: at(0.5), P99Millis: at(0.99)})
	return errors.Join(err, ctx.Err())
}

func ask(ctx context.Context, c *upstream.Client, q *upstream.Request, want []byte) error {
	r, err := c.Do(ctx, q)
	if err != nil {
		return err
	}
	defer r.Close()
	var tail []byte
	for {
		b, err := r.Chunk()
		if tail = append(tail, b...); len(tail) > 64 {
			tail = append(tail[:0], tail[len(tail)-64:]...)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if r.Status != 200 || !bytes.HasSuffix(tail, want) {
		return fmt.Errorf("status %d, ends in %q", r.Status, tail)
	}
	return nil
}

// hold opens streams that fall silent after their first event, says so when all of them have it, and keeps them until
// ctx ends.
func (s *loadSettings) hold(ctx context.Context) error {
	if err := manyFiles(); err != nil {
		return err
	}
	bodies, _ := s.bodies()
	for i := range s.conns {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			return err
		}
		defer c.Close()
		body := bodies[i%prompts]
		head := fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", s.addr, s.key, len(body))
		if _, err := c.Write(append([]byte(head), body...)); err != nil {
			return err
		}
		if err := firstEvent(c); err != nil {
			return fmt.Errorf("stream %d: %w", i+1, err)
		}
	}
	fmt.Println("held")
	<-ctx.Done()
	return nil
}

// firstEvent reads an answer as far as its first event.
func firstEvent(c net.Conn) error {
	buf := make([]byte, 4096)
	for n := 0; n < len(buf); {
		m, err := c.Read(buf[n:])
		if n += m; bytes.Contains(buf[:n], []byte("data: ")) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w after %q", err, buf[:n])
		}
	}
	return fmt.Errorf("no event in %q", buf)
}

// firstLine reads a line that a process prints when it is up.
func firstLine(r *bufio.Reader) (string, error) {
	s, err := r.ReadString('\n')
	return strings.TrimSpace(s), err
}
