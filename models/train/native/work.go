package native

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
	engine "github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/kernel"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
	"github.com/triarch-ai/triarch/models/native/trainer"
	"github.com/triarch-ai/triarch/models/train"
)

// Worker is one attempt at a training run, in its own process.
type Worker struct {
	JobDir     string // state/ and out/ live here
	AttemptDir string // PlanFile is read here, progress is written here
	Attempt    int    // fencing number
	Log        *slog.Logger
	Now        func() time.Time
}

// Work is the body of `triarch worker train`: the attempt whose folder is given and whose job folder and number the
// environment names (job.Here). It returns nil when the result is in place, trainer.ErrStopped when ctx ended and
// the work was saved; ExitCode turns what it returns into the process's exit code.
func Work(ctx context.Context, attemptDir string, log *slog.Logger) error {
	jobDir, here, attempt, err := job.Here()
	if err != nil {
		return err
	}
	if attemptDir == "" {
		attemptDir = here
	}
	return (&Worker{JobDir: jobDir, AttemptDir: attemptDir, Attempt: attempt, Log: log, Now: time.Now}).Run(ctx)
}

// ExitCode is the exit code for what Work returned.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, trainer.ErrStopped):
		return job.ExitStopped
	}
	for _, machine := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO} {
		if errors.Is(err, machine) {
			return job.ExitMachine
		}
	}
	return 1
}

// Run does the attempt. A failure that trying again cannot mend is also written to out/failure.json.
func (w *Worker) Run(ctx context.Context) error {
	err := w.run(ctx)
	switch {
	case err == nil || errors.Is(err, trainer.ErrStopped):
		return err
	case ctx.Err() != nil: // stopped before training began: there is nothing to save
		return errors.Join(trainer.ErrStopped, err)
	case w.fence() != nil:
		return err
	}
	switch fault.KindOf(err) {
	case fault.Invalid, fault.Unsupported, fault.TooLarge:
		f := fault.As(err)
		err = errors.Join(err, writeJSON(filepath.Join(w.out(), train.FailureFile),
			train.Failure{Attempt: w.Attempt, Reason: f.Sentence(), Field: f.Field}))
	}
	return err
}

func (w *Worker) state() string { return filepath.Join(w.JobDir, job.StateDir) }
func (w *Worker) out() string   { return filepath.Join(w.JobDir, job.OutDir) }
func (w *Worker) fence() error  { return job.CheckFence(w.JobDir, w.Attempt) }

func (w *Worker) run(ctx context.Context) error {
	p, err := w.plan()
	if err != nil {
		return err
	}
	for _, dir := range []string{w.state(), w.out()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fault.Wrap(err, "making the run's folders")
		}
	}
	if _, err := os.Stat(filepath.Join(w.out(), train.ResultFile)); err == nil {
		w.Log.Info("the result is in place already") // an attempt before this one died on its way out
		return nil
	}
	threads := min(max(1, p.Threads), kernel.DefaultThreads())
	m, source, err := w.prepare(ctx, p, threads)
	if err != nil {
		return err
	}
	recipe := p.Recipe.WithSteps(source.steps)
	w.Log.Info("training", "run", p.Run, "attempt", w.Attempt, "params", m.Weights.Config.Params(), "vocab", m.Weights.Config.VocabSize,
		"steps", recipe.Steps, "threads", threads, "kernel", kernel.Name())
	progress, err := os.OpenFile(filepath.Join(w.AttemptDir, job.ProgressFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fault.Wrap(err, "opening the progress file")
	}
	defer progress.Close()
	enc := json.NewEncoder(progress)
	start := w.Now()
	res, err := trainer.Run(ctx, m.Weights, source, options(recipe, threads, w.Attempt), trainer.Hooks{
		Progress: func(p trainer.Progress) {
			if p.Checkpoint != "" {
				p.Checkpoint = filepath.Base(p.Checkpoint) // people read this; where it lies on this machine is not theirs
			}
			if err := enc.Encode(p); err != nil {
				w.Log.Warn("a progress line was lost", "step", p.Step, "err", err)
			}
		},
		BeforeCheckpoint: w.fence,
		Note:             func(s string) { w.Log.Info(s) },
		Now:              w.Now,
	}, w.state())
	if err != nil {
		return err
	}
	return w.finish(p, m, source, res, w.Now().Sub(start))
}

func (w *Worker) plan() (plan, error) {
	f, err := os.Open(filepath.Join(w.AttemptDir, PlanFile))
	if err != nil {
		return plan{}, fault.Wrap(err, "reading the trainer's plan")
	}
	defer f.Close()
	var p plan
	if err := json.NewDecoder(io.LimitReader(f, 1<<20)).Decode(&p); err != nil {
		return plan{}, fault.Wrap(err, "reading the trainer's plan")
	}
	if p.Format != planFormat {
		return plan{}, fault.New(fault.Unsupported, fmt.Sprintf("The run was planned by another version of Triarch (plan format %d, this one has %d).", p.Format, planFormat),
			fault.Fix("Start the run again."))
	}
	return p, nil
}

func options(r train.Recipe, threads, attempt int) trainer.Options {
	o := trainer.Options{
		BatchSize: r.Batch, SeqLen: r.SeqLen, Accumulate: r.Accumulate, Steps: r.Steps, LR: r.LR, MinLR: r.MinLR, Warmup: r.Warmup,
		Beta1: r.Beta1, Beta2: r.Beta2, Eps: r.Eps, ClipNorm: r.ClipNorm, Seed: r.Seed,
		CheckpointEvery: r.CheckpointEvery, Keep: 2, Threads: threads, Attempt: attempt,
	}
	if r.WeightDecay != nil {
		o.WeightDecay = *r.WeightDecay
	}
	return o
}

// prepare makes or reads tokenizer and weights and turns the data into a source of batches. All of it depends on the
// plan alone, so that every attempt gets the same.
func (w *Worker) prepare(ctx context.Context, p plan, threads int) (*hf.Model, *stream, error) {
	m := &hf.Model{}
	if p.BaseDir != "" {
		base, err := hf.Read(p.BaseDir)
		if err != nil {
			return nil, nil, err
		}
		m = base
	} else {
		tok, err := w.tokenizer(ctx, p)
		if err != nil {
			return nil, nil, err
		}
		c := shape(p.Recipe, tok.VocabSize())
		if err := c.Validate(); err != nil {
			return nil, nil, err
		}
		m.Tokenizer = tok
		if m.Chat, err = tokenizer.NewChat(tok); err != nil {
			return nil, nil, err
		}
		m.Stop = []int32{int32(c.EOS)}
		m.Weights = engine.NewWeights(c, p.Recipe.Seed)
	}
	s, err := newStream(ctx, p, m, threads)
	return m, s, err
}

// tokenizer reads the run's tokenizer, or trains it and keeps it, once for all attempts.
func (w *Worker) tokenizer(ctx context.Context, p plan) (*tokenizer.Tokenizer, error) {
	path := filepath.Join(w.state(), "tokenizer.json")
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		return tokenizer.Load(f)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fault.Wrap(err, "reading the tokenizer")
	}
	w.Log.Info("training the tokenizer", "vocab", p.Recipe.Vocab)
	texts, failed := texts(ctx, p)
	tok, err := tokenizer.Train(texts, p.Recipe.Vocab, tokenizer.Specials(), nil)
	if *failed != nil {
		return nil, *failed
	}
	if err != nil {
		return nil, err
	}
	if err := w.fence(); err != nil {
		return nil, err
	}
	return tok, writeFile(path, tok.WriteJSON)
}

// finish writes the result: the model first, whole or not at all, then the word that it is there.
func (w *Worker) finish(p plan, m *hf.Model, s *stream, res trainer.Result, took time.Duration) error {
	if err := w.fence(); err != nil {
		return err
	}
	dir := filepath.Join(w.out(), train.ModelDir)
	if err := os.RemoveAll(dir); err != nil { // of an attempt that died before its word
		return fault.Wrap(err, "clearing the result")
	}
	m.Suggest.Temperature = p.Recipe.Temperature
	if err := hf.Write(dir, m, p.Recipe.DType); err != nil {
		return err
	}
	if err := w.fence(); err != nil {
		return err
	}
	w.Log.Info("training is done", "steps", res.Steps, "loss", res.Loss, "seconds", took.Seconds())
	return writeJSON(filepath.Join(w.out(), train.ResultFile), train.Result{
		CodeVersion: p.CodeInfo, Tokens: res.Tokens, Steps: res.Steps, FinalLoss: res.Loss,
		Metrics: map[string]float64{
			"loss": res.Loss, "tokens": float64(res.Tokens), "steps": float64(res.Steps),
			"params": float64(m.Weights.Config.Params()), "examples": float64(s.examples), "dropped": float64(s.dropped),
		},
	})
}

func writeJSON(path string, v any) error {
	return writeFile(path, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	})
}

// writeFile writes a file whole or not at all, durably.
func writeFile(path string, write func(io.Writer) error) error {
	return fault.Wrap(durable.Write(path, 0o600, write), "writing "+filepath.Base(path))
}
