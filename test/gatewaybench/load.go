package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/triarch-ai/triarch/models/engine/upstream"
)

// runLoad sends requests over a number of connections, each as soon as the one before was answered, and fails if more
// answers than allowed are not complete.
func runLoad(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	addr := flags.String("addr", "", "address to ask")
	key := flags.String("key", "none", "API key")
	n := flags.Int64("n", 1000, "requests")
	conns := flags.Int("c", 16, "connections")
	stream := flags.Bool("stream", false, "ask for streams")
	allowed := flags.Int64("broken", 0, "answers that may be incomplete; they are asked for again")
	paced := flags.Bool("paced", false, "ask for streams at a pace")
	prompt := flags.Int("prompt", 1000, "bytes of the prompt")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if _, _, err := net.SplitHostPort(*addr); err != nil {
		return err
	}
	body := fmt.Appendf(nil, `{"model":"bench","messages":[{"role":"user","content":%q}],"max_tokens":64`, strings.Repeat("word ", *prompt/5))
	want := wholeAnswer[len(wholeAnswer)-20:]
	if *paced {
		body = append(body, `,"paced":true`...)
	}
	if *stream || *paced {
		body, want = append(body, `,"stream":true`...), []byte("data: [DONE]\n\n")
	}
	body = append(body, '}')
	var left, broken atomic.Int64
	left.Store(*n)
	errs := make(chan error, *conns)
	var work sync.WaitGroup
	for range *conns {
		work.Go(func() {
			c := &upstream.Client{}
			for left.Add(-1) >= 0 && ctx.Err() == nil {
				err := ask(ctx, c, &upstream.Request{Addr: *addr, Path: "/v1/chat/completions", Secret: *key, Body: body}, want)
				if err != nil && broken.Add(1) <= *allowed {
					left.Add(1)
					continue
				}
				if err != nil {
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

// firstLine reads a line that a process prints when it is up.
func firstLine(r *bufio.Reader) (string, error) {
	s, err := r.ReadString('\n')
	return strings.TrimSpace(s), err
}
