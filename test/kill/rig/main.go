// Command rig is the whole of Triarch with one engine more, "paced": the engine of test/pacedengine as a replica, read
// event by event; and with the engine "native" writing down what it hands out. With it the kill tests know what a chunk
// is, to the token.
//
//	rig pacedengine -attempt DIR ...   is a replica's process
//	rig ...                            is triarch
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/triarch-ai/triarch/cli"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/engine/native"
	"github.com/triarch-ai/triarch/system"
	"github.com/triarch-ai/triarch/test/pacedengine"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "pacedengine" {
		os.Exit(replica(os.Args[2:]))
	}
	os.Exit(cli.Main(os.Args[1:], system.Extra{Engines: []engine.Engine{&paced{}, &recorded{dir: os.Getenv("KILL_CHUNKS")}}}))
}

func replica(args []string) int {
	signal.Ignore(os.Interrupt, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := pacedengine.Main(ctx, args, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "pacedengine:", err)
		return 1
	}
	return 0
}

// paced drives replicas of the paced engine. They speak the wire of the embedded engine's worker, so its driver reads
// them.
type paced struct{ native.Driver }

// Name is "paced".
func (p *paced) Name() string { return "paced" }

// Command renders a replica that says 50 tokens a second, as many as a request asks for. It needs no model.
func (p *paced) Command(s engine.Spec) (job.Command, error) {
	argv := []string{job.Self, "pacedengine", "-attempt", job.AttemptDir, "-tokens", "1000000", "-pace", "20ms"}
	if s.Listen != "" {
		argv = append(argv, "-listen", net.JoinHostPort(s.Listen, "0"))
	}
	return job.Command{Argv: argv}, nil
}

// Open gives a stream that hands events out one at a time, as if the gateway were never behind: a chunk is one token,
// and the promise "at most one chunk too many" can be held to the token.
func (p *paced) Open(ctx context.Context, to engine.Endpoint, q engine.Request) (engine.Stream, error) {
	s, err := p.Driver.Open(ctx, to, q)
	if err != nil || !q.Stream {
		return s, err
	}
	return &single{Stream: s}, nil
}

// single is a stream, one event at a time.
type single struct {
	engine.Stream
	rest engine.Chunk // of the last chunk, with the counts at its end
}

// Next is the next event with the counts at its end.
func (s *single) Next() (engine.Chunk, error) {
	if len(s.rest.Data) == 0 {
		var err error
		if s.rest, err = s.Stream.Next(); err != nil {
			return s.rest, err
		}
	}
	c := s.rest
	end := bytes.Index(c.Data, []byte("\n\n")) + 2
	c.Data, s.rest.Data = c.Data[:end], c.Data[end:]
	c.Completion -= bytes.Count(s.rest.Data, []byte(`"content":"t`))
	c.Done = c.Done && len(s.rest.Data) == 0
	return c, nil
}

// recorded drives the embedded engine and writes down, in a file for each streamed request, the completion tokens before
// and after the last chunk that the gateway was given: two numbers of 8 bytes, on their way before the chunk is. They
// outlive the process, however it ends.
type recorded struct {
	native.Driver
	dir string
}

// Open gives a stream that is written down.
func (r *recorded) Open(ctx context.Context, to engine.Endpoint, q engine.Request) (engine.Stream, error) {
	s, err := r.Driver.Open(ctx, to, q)
	if err != nil || !q.Stream || r.dir == "" {
		return s, err
	}
	file, err := os.Create(filepath.Join(r.dir, filepath.Base(q.RequestID)))
	if err != nil {
		s.Close()
		return nil, err
	}
	return &heard{Stream: s, file: file}, nil
}

// heard is a stream that is written down.
type heard struct {
	engine.Stream
	file   *os.File
	before int // tokens up to the last chunk that had bytes
}

// Next is the next chunk, written down.
func (h *heard) Next() (engine.Chunk, error) {
	c, err := h.Stream.Next()
	if err != nil {
		return c, err
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(h.before))
	if _, err := h.file.WriteAt(binary.BigEndian.AppendUint64(b, uint64(c.Completion)), 0); err != nil {
		return c, err
	}
	if len(c.Data) > 0 {
		h.before = c.Completion
	}
	return c, nil
}

// Close ends the stream and its record.
func (h *heard) Close() error {
	return errors.Join(h.Stream.Close(), h.file.Close())
}
