//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/decode"
	"github.com/triarch-ai/triarch/models/native/grammar"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/kernel"
	"github.com/triarch-ai/triarch/models/native/trainer"
)

// serveNative answers rounds with the embedded engine on one thread: the trainer as runs use it, the serving engine as
// a replica uses it, streams and sampling included.
func serveNative(dir string) error {
	m, err := hf.Read(filepath.Join(dir, "model"))
	if err != nil {
		return err
	}
	e, err := decode.New(m.Weights, decode.Options{Threads: 1, TokenBytes: m.Tokenizer.TokenBytes, EndIDs: m.Stop})
	if err != nil {
		return err
	}
	defer e.Close()
	g, err := grammar.Parse(records)
	if err != nil {
		return err
	}
	form, err := grammar.New(g, e.Vocab())
	if err != nil {
		return err
	}
	seed := uint64(0)
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(reply{Ready: fmt.Sprintf("native (%s, %s)", kernel.Name(), runtime.Version())}); err != nil {
		return err
	}
	var t *training
	for in := json.NewDecoder(os.Stdin); ; {
		var j job
		if err := in.Decode(&j); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var r reply
		switch j.What {
		case "train":
			if t == nil {
				if t, err = startTraining(dir); err != nil {
					return err
				}
			}
			r, err = t.round(j.N)
		case "prefill":
			r, err = serveEach(e, j.Prompts, 1)
			r.Tokens *= len(j.Prompts[0])
		case "decode":
			r, err = serveEach(e, j.Prompts, j.N+1)
		case "together":
			r, err = serveTogether(e, j.Prompts, j.N+1)
		case "form", "free":
			seed++
			var f *grammar.Automaton
			if j.What == "form" {
				f = form
			}
			r, err = serveDrawn(e, j.Prompts, j.N, f, seed)
		default:
			err = fmt.Errorf("no work is called %q", j.What)
		}
		if err != nil {
			return err
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // only a wrong argument fails
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// serveEach generates n tokens after one prompt after the other. Tokens counts the generated ones.
func serveEach(e *decode.Engine, prompts [][]int32, n int) (reply, error) {
	begin, total := cpuSeconds(), 0
	for _, p := range prompts {
		s, err := e.Submit(context.Background(), &decode.Request{Prompts: [][]int32{p}, MaxTokens: n, IgnoreEOS: true})
		if err != nil {
			return reply{}, err
		}
		got, err := drain(s)
		if err != nil || got != n {
			return reply{}, fmt.Errorf("%d of %d tokens: %w", got, n, err)
		}
		total += got
	}
	return reply{Seconds: cpuSeconds() - begin, Tokens: total}, nil
}

// serveTogether generates n tokens after each prompt, all at once, each a request of its own.
func serveTogether(e *decode.Engine, prompts [][]int32, n int) (reply, error) {
	begin := cpuSeconds()
	type end struct {
		got int
		err error
	}
	ends := make(chan end, len(prompts))
	for _, p := range prompts {
		s, err := e.Submit(context.Background(), &decode.Request{Prompts: [][]int32{p}, MaxTokens: n, IgnoreEOS: true})
		if err != nil {
			return reply{}, err
		}
		go func() {
			got, err := drain(s)
			ends <- end{got, err}
		}()
	}
	total := 0
	for range prompts {
		x := <-ends
		if x.err != nil || x.got != n {
			return reply{}, fmt.Errorf("%d of %d tokens: %w", x.got, n, x.err)
		}
		total += x.got
	}
	return reply{Seconds: cpuSeconds() - begin, Tokens: total}, nil
}

// records is a grammar of texts without an end: JSON objects in lines, with strings, numbers, words of a list and objects within
// objects. A text of it is as long as it may be, but for the tokens at its end that another object does not fit into.
const records = `root ::= object ("\n" object)*
object ::= "{\"name\": " string ", \"size\": " number (", \"kind\": " kind)? (", \"in\": " list)? "}"
list   ::= "[" object (", " object)* "]"
kind   ::= "\"red\"" | "\"green\"" | "\"blue\"" | "null" | "true"
number ::= "-"? [0-9]{1,9} ("." [0-9]+)?
string ::= "\"" ([^"\\\x00-\x1f] | "\\" ["\\nrt])* "\""`

// serveDrawn generates n tokens after each prompt at temperature 1, all at once, of a form or of none.
func serveDrawn(e *decode.Engine, prompts [][]int32, n int, form *grammar.Automaton, seed uint64) (reply, error) {
	begin, total := cpuSeconds(), 0
	var streams []*decode.Stream
	for i, p := range prompts {
		own := seed<<8 + uint64(i)
		s, err := e.Submit(context.Background(), &decode.Request{Prompts: [][]int32{p}, MaxTokens: n, IgnoreEOS: true, Form: form,
			Sampling: decode.Sampling{Temperature: 1, Seed: &own}})
		if err != nil {
			return reply{}, err
		}
		streams = append(streams, s)
	}
	type end struct {
		got int
		err error
	}
	ends := make(chan end, len(streams))
	for _, s := range streams { // at once: the engine waits for a reader that is far behind
		go func() {
			got, err := drain(s)
			ends <- end{got, err}
		}()
	}
	for range streams {
		x := <-ends
		if x.err != nil || x.got < n*9/10 {
			return reply{}, fmt.Errorf("%d of %d tokens: %w", x.got, n, x.err)
		}
		total += x.got
	}
	return reply{Seconds: cpuSeconds() - begin, Tokens: total}, nil
}

func drain(s *decode.Stream) (int, error) {
	var ev decode.Event
	for n := 0; ; n++ {
		if err := s.Next(&ev); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}

// training is a run of the trainer that waits between rounds.
type training struct {
	steps  chan int // how many to make
	losses chan float64
	failed chan error
}

// endless gives the batches again and again.
type endless struct {
	batches []trainData
	next    int
}

func (s *endless) Next(b *native.Batch) error {
	x := s.batches[s.next%len(s.batches)]
	s.next++
	copy(b.Tokens, x.Tokens)
	copy(b.Targets, x.Targets)
	clear(b.Segments)
	return nil
}

func (s *endless) State() []byte        { return nil }
func (s *endless) Restore([]byte) error { return errors.New("nothing to restore") }

func startTraining(dir string) (*training, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "inputs.json"))
	if err != nil {
		return nil, err
	}
	var in inputs
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	m, err := hf.Read(filepath.Join(dir, "model"))
	if err != nil {
		return nil, err
	}
	opt := trainer.DefaultOptions()
	opt.BatchSize, opt.SeqLen, opt.Steps, opt.Warmup, opt.CheckpointEvery, opt.Threads = in.Rows, in.Length, 1<<29, 0, 0, 1
	opt.LR, opt.MinLR, opt.Beta1, opt.Beta2, opt.Eps, opt.WeightDecay, opt.ClipNorm = in.LR, in.LR, in.Beta1, in.Beta2, in.Eps, in.WeightDecay, in.Clip
	t := &training{steps: make(chan int), losses: make(chan float64), failed: make(chan error, 1)}
	left := 0
	go func() {
		left = <-t.steps
		_, err := trainer.Run(context.Background(), m.Weights, &endless{batches: in.Batches}, opt, trainer.Hooks{Progress: func(p trainer.Progress) {
			t.losses <- p.Loss
			if left--; left == 0 {
				left = <-t.steps
			}
		}}, filepath.Join(dir, "run"))
		t.failed <- err
	}()
	return t, nil
}

func (t *training) round(steps int) (reply, error) {
	begin := cpuSeconds()
	t.steps <- steps
	r := reply{Tokens: steps * rows * length}
	for range steps {
		select {
		case loss := <-t.losses:
			r.Losses = append(r.Losses, loss)
		case err := <-t.failed:
			return r, err
		}
	}
	r.Seconds = cpuSeconds() - begin
	return r, nil
}
