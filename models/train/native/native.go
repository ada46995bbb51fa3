// Package native is the trainer driver of the embedded engine: it renders the process that trains, and holds that
// process's body, Work.
//
// Rules for callers: only system names this package. A worker may be killed at any moment and started again with a
// higher attempt: it goes on from the newest checkpoint in the job's folder and ends with the same bits. What it
// leaves is described at train.Trainer.
package native

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/data"
	engine "github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/train"
	"github.com/triarch-ai/triarch/storage/blob"
)

// PlanFile is the name, in the attempt's folder, of the file that tells the worker what to do.
const PlanFile = "train.json"

// planFormat is the number of the plan's format; a worker of another program version refuses what it does not know.
const planFormat = 1

// plan is the content of PlanFile.
type plan struct {
	Format   int          `json:"format"`
	Run      string       `json:"run"`
	Recipe   train.Recipe `json:"recipe"`
	Data     string       `json:"data"` // path of the records
	Ref      blob.Ref     `json:"ref"`  // their hash
	Kind     data.Format  `json:"kind"`
	BaseDir  string       `json:"base_dir,omitempty"`
	Threads  int          `json:"threads"`
	CodeInfo string       `json:"code_version,omitempty"`
}

// Trainer is the driver.
type Trainer struct {
	mu     sync.Mutex
	speeds map[probeKey]float64 // tokens a second, measured once for each shape
}

var _ train.Trainer = (*Trainer)(nil)

// New makes the driver.
func New() *Trainer { return &Trainer{speeds: map[probeKey]float64{}} }

// Name implements train.Trainer.
func (t *Trainer) Name() string { return "native" }

// Check implements train.Trainer.
func (t *Trainer) Check(task train.Task) error {
	if task.Base.ID != "" {
		if s := task.Base.Shape; s.Foreign != "" {
			return fault.New(fault.Unsupported, s.Foreign, fault.Field("base"), fault.Fix("Train from a plain Llama model, or from fresh weights."))
		} else if s.Arch != "" && s.Arch != "llama" {
			return fault.New(fault.Unsupported, "The embedded engine cannot train the architecture "+s.Arch+".", fault.Field("base"))
		}
		if task.Recipe.Method == train.SFT && !task.Base.Shape.Chat {
			return fault.New(fault.Invalid, "The base version has no chat template, so it cannot learn conversations.", fault.Field("base"),
				fault.Fix("Use a base with a chat template, or pretrain on documents."))
		}
		return nil
	}
	return shape(task.Recipe, task.Recipe.Vocab).Validate()
}

// shape is the configuration of a fresh model with our own tokenizer.
func shape(r train.Recipe, vocab int) engine.Config {
	return engine.Config{
		VocabSize: vocab, Dim: r.Dim, Layers: r.Layers, Heads: r.Heads, KVHeads: r.KVHeads, HeadDim: r.HeadDim, FFN: r.FFN,
		MaxContext: r.Context, RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: !r.Untied,
		PAD: 0, BOS: 1, EOS: 3, Arch: "llama",
	}
}

// Command implements train.Trainer.
func (t *Trainer) Command(task train.Task) (job.Command, error) {
	if task.DataPath == "" {
		return job.Command{}, fault.New(fault.Internal, "The trainer was given no path of the data.")
	}
	text, err := json.Marshal(plan{
		Format: planFormat, Run: task.Run, Recipe: task.Recipe, Data: task.DataPath, Ref: task.Data.Ref, Kind: task.Data.Format,
		BaseDir: task.BaseDir, Threads: task.CPUs, CodeInfo: task.Code,
	})
	if err != nil {
		return job.Command{}, fault.Wrap(err, "writing the trainer's plan")
	}
	return job.Command{
		Argv:  []string{job.Self, "worker", "train", job.AttemptDir},
		Files: map[string][]byte{PlanFile: text},
	}, nil
}

// Estimate implements train.Trainer. It trains a few hundred tokens of the shape, or of a smaller one scaled up, to
// learn this machine's speed; each shape is measured once.
func (t *Trainer) Estimate(ctx context.Context, task train.Task) (train.Estimate, error) {
	r := task.Recipe
	c := shapeOf(task)
	if err := c.Validate(); err != nil {
		return train.Estimate{}, err
	}
	e := train.Estimate{Params: c.Params()}
	if task.Base.ID != "" {
		e.Params = task.Base.Shape.Params
	}
	perStep := int64(r.Batch) * int64(r.SeqLen) * int64(r.Accumulate)
	steps := r.Steps
	if steps == 0 {
		steps = int(max(1, ceil(r.Epochs*float64(dataTokens(task.Data))/float64(perStep))))
	}
	speed, err := t.speed(ctx, c, r, max(1, task.CPUs))
	if err != nil {
		return train.Estimate{}, err
	}
	e.Steps, e.Tokens, e.TokensPerSecond = steps, int64(steps)*perStep, speed
	e.Duration = seconds(float64(e.Tokens) / speed * 1.05) // checkpoints and the optimiser
	e.MemoryBytes = t.Memory(task)
	e.DiskBytes = 3*12*e.Params + 4*e.Params // two checkpoints and one being written, and the result
	return e, nil
}

// Memory is what the process of a task takes, bytes: the step, records as text and as tokens, the program itself, and the
// garbage collector's room.
func (t *Trainer) Memory(task train.Task) int64 {
	r := task.Recipe
	return engine.TrainBytes(shapeOf(task), r.Batch, r.SeqLen) + 3*task.Data.Bytes + 64<<20
}

// shapeOf is the model that a task trains: that of its recipe, or its base's as the base's files told it, or else one of
// about as many parameters.
func shapeOf(task train.Task) engine.Config {
	r, b := task.Recipe, task.Base
	if b.ID == "" {
		return shape(r, max(r.Vocab, 4))
	}
	if x := b.Shape.Transformer; x != nil && x.Parameters() == b.Shape.Params {
		return engine.Config{VocabSize: x.Vocab, Dim: x.Width, Layers: x.Layers, Heads: x.Heads, KVHeads: x.KVHeads, HeadDim: x.Head, FFN: x.Inner,
			MaxContext: r.Context, RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: x.Tied, PAD: -1, BOS: -1, EOS: -1}
	}
	return guessShape(b.Shape.Params, b.Shape.Vocab, r.Context)
}

// dataTokens guesses the tokens of a data version: small vocabularies give about 2.8 bytes of English or Chinese
// text a token, and the stored form adds a frame around each record.
func dataTokens(v data.Version) int64 {
	frame := int64(12)
	if v.Format == data.Chat {
		frame = 80
	}
	return max(v.Records, (v.Bytes-frame*v.Records)*10/28+8*v.Records)
}

// guessShape is a shape of about the given number of parameters, for estimates about a base whose exact shape its
// files alone tell.
func guessShape(params int64, vocab, context int) engine.Config {
	c := engine.Config{VocabSize: max(4, vocab), Dim: 64, Layers: 2, Heads: 1, KVHeads: 1, HeadDim: 64, FFN: 192,
		MaxContext: max(8, context), RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: true, PAD: 0, BOS: 1, EOS: 3}
	for c.Params() < params && c.Dim < 8192 {
		c.Dim += 64
		c.Heads, c.KVHeads = c.Dim/64, c.Dim/64
		c.FFN = c.Dim * 11 / 4
		c.Layers = max(2, c.Dim/64)
	}
	return c
}
