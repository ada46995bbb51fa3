//go:build unix

package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/decode"
	"github.com/triarch-ai/triarch/models/native/trainer"
)

// spent is the processor time of this process so far: on a shared machine it says more than the wall clock.
func spent() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// least and most bound the repetitions of a measurement; enough is the processor time after which they may end.
const (
	least  = 4
	most   = 60
	enough = 700 * time.Millisecond
)

// typical is the rate a quarter from the best: what others do on the machine only ever slows, and the best may be luck.
func typical(rates []float64) float64 {
	slices.Sort(rates)
	return rates[len(rates)-1-len(rates)/4]
}

// measure is a case's tokens per processor second in a task, on one thread.
func measure(c Case, t perf.Task) (float64, error) {
	w := native.NewWeights(c.config(), 1)
	if t == perf.Train {
		return train(c, w)
	}
	e, err := decode.New(w, decode.Options{Threads: 1, TokenBytes: func(int32) []byte { return []byte("a") }, MaxSeqs: 32})
	if err != nil {
		return 0, err
	}
	defer e.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	var rates []float64
	tries := 0
	for begin := spent(); (len(rates) < least || spent()-begin < enough) && tries < most; tries++ {
		r, err := 0.0, error(nil)
		if t == perf.Prefill {
			r, err = prefill(e, c, rng)
		} else {
			r, err = generate(e, c, rng)
		}
		if err != nil {
			return 0, err
		}
		if r > 0 {
			rates = append(rates, r)
		}
	}
	if len(rates) < least {
		return 0, errors.New("the machine is too busy: nothing could be measured")
	}
	return typical(rates[1:]), nil
}

// noise is a source of random tokens.
type noise struct {
	rng   *rand.Rand
	vocab int
}

func (n *noise) Next(b *native.Batch) error {
	for i := range b.Tokens {
		b.Tokens[i], b.Targets[i], b.Segments[i] = int32(n.rng.IntN(n.vocab)), int32(n.rng.IntN(n.vocab)), 0
	}
	return nil
}
func (n *noise) State() []byte        { return []byte("noise") }
func (n *noise) Restore([]byte) error { return nil }

// train runs the trainer itself, with the processor's time for its clock; checkpoints are not in its steps.
func train(c Case, w *native.Weights) (float64, error) {
	dir, err := os.MkdirTemp("", "calibrate")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	o := trainer.DefaultOptions()
	o.BatchSize, o.SeqLen, o.Steps, o.Threads, o.CheckpointEvery = c.Batch, c.Context, most, 1, 0
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var rates []float64
	begin := spent()
	_, err = trainer.Run(ctx, w, &noise{rand.New(rand.NewPCG(1, 1)), c.Vocab}, o, trainer.Hooks{
		Now: func() time.Time { return time.Unix(0, int64(spent())) },
		Progress: func(p trainer.Progress) {
			rates = append(rates, p.TPS)
			if len(rates) > least && spent()-begin > enough {
				stop()
			}
		},
	}, dir)
	if err != nil && !errors.Is(err, trainer.ErrStopped) {
		return 0, err
	}
	return typical(rates[1:]), nil
}

func submit(e *decode.Engine, c Case, rng *rand.Rand, tokens, answer int) ([]*decode.Stream, error) {
	var all []*decode.Stream
	for range c.Batch {
		p := make([]int32, tokens)
		for i := range p {
			p[i] = int32(rng.IntN(c.Vocab))
		}
		s, err := e.Submit(context.Background(), &decode.Request{Prompts: [][]int32{p}, MaxTokens: answer, IgnoreEOS: true})
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// prefill reads a batch of prompts; one token of each is made.
func prefill(e *decode.Engine, c Case, rng *rand.Rand) (float64, error) {
	begin := spent()
	all, err := submit(e, c, rng, c.Context, 1)
	if err != nil {
		return 0, err
	}
	var ev decode.Event
	for _, s := range all {
		for err = nil; err == nil; {
			err = s.Next(&ev)
		}
		if !errors.Is(err, io.EOF) {
			return 0, err
		}
	}
	return float64(c.Batch*c.Context) / (spent() - begin).Seconds(), nil
}

// generate makes tokens of a batch of sequences, and counts from where all have begun to where the first ends.
func generate(e *decode.Engine, c Case, rng *rand.Rand) (float64, error) {
	all, err := submit(e, c, rng, max(1, c.Context-answered/2), answered)
	if err != nil {
		return 0, err
	}
	var ev decode.Event
	var begin, end time.Duration
	var from, to uint64
	for i := range answered {
		for _, s := range all {
			if err := s.Next(&ev); err != nil {
				return 0, err
			}
		}
		switch st := e.Stats(); {
		case i == 0:
			begin, from = spent(), st.GeneratedTokens
		case st.Running == c.Batch:
			end, to = spent(), st.GeneratedTokens
		}
	}
	for _, s := range all {
		if err := s.Next(&ev); !errors.Is(err, io.EOF) {
			return 0, err
		}
	}
	if to < from+uint64(c.Batch*answered)/3 {
		return 0, nil // this process was put aside meanwhile, so that it saw only the end
	}
	return float64(to-from) / (end - begin).Seconds(), nil
}
