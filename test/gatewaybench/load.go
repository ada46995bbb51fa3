package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/triarch-ai/triarch/models/engine/upstream"
)

// runLoad sends requests over a number of connections, each as soon as the one before was answered, and fails if an
// answer is not complete.
func runLoad(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	addr := flags.String("addr", "", "address to ask")
	key := flags.String("key", "none", "API key")
	n := flags.Int64("n", 1000, "requests")
	conns := flags.Int("c", 16, "connections")
	stream := flags.Bool("stream", false, "ask for streams")
	prompt := flags.Int("prompt", 1000, "bytes of the prompt")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if _, _, err := net.SplitHostPort(*addr); err != nil {
		return err
	}
	body := fmt.Appendf(nil, `{"model":"bench","messages":[{"role":"user","content":%q}],"max_tokens":64`, strings.Repeat("word ", *prompt/5))
	want := wholeAnswer[len(wholeAnswer)-20:]
	if *stream {
		body, want = append(body, `,"stream":true`...), []byte("data: [DONE]\n\n")
	}
	body = append(body, '}')
	var left atomic.Int64
	left.Store(*n)
	errs := make(chan error, *conns)
	var work sync.WaitGroup
	for range *conns {
		work.Go(func() {
			c := &upstream.Client{}
			for left.Add(-1) >= 0 && ctx.Err() == nil {
				if err := ask(ctx, c, &upstream.Request{Addr: *addr, Path: "/v1/chat/completions", Secret: *key, Body: body}, want); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	work.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return ctx.Err()
	}
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
		if err == io.EOF {
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

// firstLine reads a line that a process prints when it is up.
func firstLine(r *bufio.Reader) (string, error) {
	s, err := r.ReadString('\n')
	return strings.TrimSpace(s), err
}
