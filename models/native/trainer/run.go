package trainer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/kernel"
)

// ErrStopped is what Run returns, wrapped or bare, when its context ended: the run is saved and can go on later.
var ErrStopped = errors.New("training was stopped and saved")

// Progress is one line of a run's life, after every step.
type Progress struct {
	Attempt    int     `json:"attempt"`
	Step       int     `json:"step"` // steps done
	Steps      int     `json:"steps"`
	Loss       float64 `json:"loss"` // mean over the step's targets, natural logarithm
	LR         float64 `json:"lr"`
	GradNorm   float64 `json:"grad_norm"`            // before clipping
	Tokens     int64   `json:"tokens"`               // seen since the first step, padding not counted
	TPS        float64 `json:"tps"`                  // tokens a second in this step; 0 without a clock
	Checkpoint string  `json:"checkpoint,omitempty"` // folder of the checkpoint this step made
}

// Hooks are what a run needs from outside. Every one may be nil.
type Hooks struct {
	// Progress is called after every step, on Run's goroutine; after a resume first for the step gone on from, whose
	// line the process before may have died without.
	Progress func(Progress)
	// BeforeCheckpoint is asked whether this process still owns the run, before a checkpoint is written and again
	// before it gets its name; its error ends Run without that checkpoint.
	BeforeCheckpoint func() error
	// Note hears in a sentence what an operator may want to know: a resume, a checkpoint passed over and why.
	Note func(string)
	// Now is the clock of TPS.
	Now func() time.Time
}

// Result is how a run ended. It is filled as far as the run came when there is an error too.
type Result struct {
	Steps      int     // done in all
	Tokens     int64   // seen in all
	Loss       float64 // of the last step
	Resumed    int     // step this Run went on from; 0 for a fresh start
	Checkpoint string  // folder of the newest checkpoint
}

// Run trains w in place for opt.Steps steps on batches from src, with checkpoints in dir, and goes on from dir's
// newest whole checkpoint when there is one (w and src are then set from it). The last step is always saved.
// Errors: a fault with the field for options or data that cannot work, ErrStopped when ctx ended, a fault of code
// "diverged" when the loss is no longer a number, the error of Hooks.BeforeCheckpoint as it is.
func Run(ctx context.Context, w *native.Weights, src Source, opt Options, hooks Hooks, dir string) (Result, error) {
	if err := opt.Validate(); err != nil {
		return Result{}, err
	}
	if need := native.TrainBytes(w.Config, opt.BatchSize, opt.SeqLen); opt.MemoryBytes > 0 && need > opt.MemoryBytes {
		return Result{}, fault.New(fault.TooLarge, fmt.Sprintf("Training needs %d MiB of memory, the run may take %d.", need>>20, opt.MemoryBytes>>20),
			fault.Field("batch_size"), fault.Fix("Lower batch_size (and raise accumulate), lower seq_len, or take a smaller model."))
	}
	threads := opt.Threads
	if threads == 0 {
		threads = kernel.DefaultThreads()
	}
	pool := kernel.NewPool(threads)
	defer pool.Close()
	step, err := native.NewStep(w, opt.BatchSize, opt.SeqLen, pool)
	if err != nil {
		return Result{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Result{}, fault.Wrap(err, "making the run's folder")
	}
	r := &run{opt: opt, hooks: hooks, dir: dir, w: w, src: src, step: step, pool: pool,
		batch: native.NewBatch(opt.BatchSize, opt.SeqLen), optim: newOptimizer(opt, w, step.Grads, pool)}
	err = r.resume()
	if err == nil {
		err = r.loop(ctx)
	}
	return r.result, err
}

// run is the state of one Run.
type run struct {
	opt    Options
	hooks  Hooks
	dir    string
	w      *native.Weights
	src    Source
	step   *native.Step
	pool   *kernel.Pool
	batch  *native.Batch
	optim  *optimizer
	origin []byte  // Source.State before the step in progress
	norm   float64 // the last step's
	saved  int     // step of the newest checkpoint, -1 for none
	torn   []skipped
	result Result
}

func (r *run) note(format string, args ...any) {
	if r.hooks.Note != nil {
		r.hooks.Note(fmt.Sprintf(format, args...))
	}
}

// sets are the tensors of a checkpoint, in file order.
func (r *run) sets() []*native.Weights { return []*native.Weights{r.w, r.optim.m, r.optim.v} }

func (r *run) resume() error {
	r.saved = -1
	size := 3 * 4 * r.w.Config.Params()
	s, path, passed, err := newest(r.dir, r.opt.digest(r.w.Config), size)
	r.torn = passed
	for _, p := range passed {
		r.note("Passed over %s: %s.", p.name, p.reason)
	}
	if err != nil || path == "" {
		return err
	}
	if err := r.src.Restore(s.Source); err != nil {
		return err
	}
	if err := load(path, r.sets()); err != nil {
		return fault.Wrap(err, "reading "+path)
	}
	r.saved, r.norm = s.Step, s.Norm
	r.result = Result{Steps: s.Step, Tokens: s.Tokens, Loss: s.Loss, Resumed: s.Step, Checkpoint: path}
	r.note("Going on from step %d of %d.", s.Step, r.opt.Steps)
	if r.hooks.Progress != nil && s.Step > 0 {
		r.hooks.Progress(Progress{Attempt: r.opt.Attempt, Step: s.Step, Steps: r.opt.Steps, Loss: s.Loss, LR: r.opt.LRAt(s.Step - 1),
			GradNorm: s.Norm, Tokens: s.Tokens, Checkpoint: path})
	}
	return nil
}

func (r *run) loop(ctx context.Context) error {
	for r.result.Steps < r.opt.Steps {
		p, err := r.one(ctx)
		if errors.Is(err, ErrStopped) {
			if err := r.stop(); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		every := r.opt.CheckpointEvery
		if done := r.result.Steps; done == r.opt.Steps || (every > 0 && done%every == 0) {
			if err := r.checkpoint(r.src.State()); err != nil {
				return err
			}
			p.Checkpoint = r.result.Checkpoint
		}
		if r.hooks.Progress != nil {
			r.hooks.Progress(p)
		}
	}
	return nil
}

// stop saves the run as it was before the step in progress, of which only gradients exist.
func (r *run) stop() error {
	if r.saved == r.result.Steps {
		return nil
	}
	return r.checkpoint(r.origin)
}

func (r *run) checkpoint(source []byte) error {
	fence := r.hooks.BeforeCheckpoint
	if fence == nil {
		fence = func() error { return nil }
	}
	s := snapshot{Digest: r.opt.digest(r.w.Config), Step: r.result.Steps, Tokens: r.result.Tokens, Loss: r.result.Loss, Norm: r.norm, Source: source}
	path, err := save(r.dir, s, r.sets(), fence)
	if err != nil {
		return err
	}
	r.saved, r.result.Checkpoint = r.result.Steps, path
	err = prune(r.dir, r.opt.Keep, r.torn, filepath.Base(path))
	r.torn = nil
	return err
}

// one makes one optimiser step. It stops between batches, not within one.
func (r *run) one(ctx context.Context) (Progress, error) {
	r.origin = r.src.State()
	start := r.now()
	loss, targets, tokens, err := r.gradients(ctx)
	if err != nil {
		return Progress{}, err
	}
	if targets == 0 {
		return Progress{}, fault.New(fault.Invalid, fmt.Sprintf("Step %d has nothing to learn: every target is masked.", r.result.Steps+1),
			fault.Field("data"), fault.Fix("Give data with tokens to learn."))
	}
	loss /= float64(targets)
	lr := r.opt.LRAt(r.result.Steps)
	norm := r.optim.norm(targets)
	if err := r.diverged(loss, norm); err != nil {
		return Progress{}, err
	}
	r.optim.update(r.result.Steps+1, lr, norm, targets)
	r.result.Steps++
	r.result.Tokens += tokens
	r.result.Loss, r.norm = loss, norm
	p := Progress{Attempt: r.opt.Attempt, Step: r.result.Steps, Steps: r.opt.Steps, Loss: loss, LR: lr, GradNorm: norm, Tokens: r.result.Tokens}
	if took := r.now().Sub(start).Seconds(); took > 0 {
		p.TPS = float64(tokens) / took
	}
	return p, nil
}

func (r *run) now() time.Time {
	if r.hooks.Now == nil {
		return time.Time{}
	}
	return r.hooks.Now()
}

// gradients adds up one step's batches: the loss sum, the targets it is over, and all tokens that are not padding.
func (r *run) gradients(ctx context.Context) (loss float64, targets int, tokens int64, err error) {
	r.step.ZeroGrads()
	for range r.opt.Accumulate {
		if ctx.Err() != nil {
			return 0, 0, 0, ErrStopped
		}
		if err := r.src.Next(r.batch); err != nil {
			return 0, 0, 0, err
		}
		l, n, err := r.step.Accumulate(r.batch)
		if err != nil {
			return 0, 0, 0, err
		}
		loss, targets = loss+l, targets+n
		for _, s := range r.batch.Segments {
			if s != native.Padding {
				tokens++
			}
		}
	}
	return loss, targets, tokens, nil
}

func (r *run) diverged(loss, norm float64) error {
	if finite(loss) && finite(norm) {
		return nil
	}
	return fault.New(fault.Invalid, fmt.Sprintf("Training diverged at step %d: the loss is %v and the gradient's length %v.", r.result.Steps+1, loss, norm),
		fault.Code("diverged"), fault.Field("lr"),
		fault.Fix("Lower lr (it is %g), lengthen warmup, or set clip_norm to 1, and start in an empty folder.", r.opt.LR))
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
