// Package trainer runs training of the embedded engine from weights and a stream of batches to trained weights:
// AdamW, warm-up and cosine, clipping, accumulation, checkpoints and exact resumption.
//
// Rules for callers: one Run owns its folder at a time (fence it with Hooks.BeforeCheckpoint); a run with the same
// weights, source, options and folder goes on where the newest whole checkpoint stands and ends in the same bits as
// one never disturbed, at any number of threads on processors of one kind. Cancel the context to stop: Run saves a
// checkpoint and returns ErrStopped.
package trainer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
)

// Options are the hyper-parameters of a run. DefaultOptions has the defaults named here; zero is a value, not a
// wish for the default.
type Options struct {
	BatchSize       int     `json:"batch_size"`       // sequences a batch; default 8
	SeqLen          int     `json:"seq_len"`          // tokens a sequence, at most the model's context; default 256
	Accumulate      int     `json:"accumulate"`       // batches added up for one step; default 1
	Steps           int     `json:"steps"`            // optimiser steps in all; no default
	LR              float64 `json:"lr"`               // highest learning rate; default 1e-3
	MinLR           float64 `json:"min_lr"`           // learning rate at the end of the cosine; default 1e-4; LR for a constant rate
	Warmup          int     `json:"warmup"`           // steps of linear warm-up; default 20, cut to Steps
	Beta1           float64 `json:"beta1"`            // decay of the first moment; default 0.9
	Beta2           float64 `json:"beta2"`            // decay of the second moment; default 0.95
	Eps             float64 `json:"eps"`              // AdamW epsilon; default 1e-8
	WeightDecay     float64 `json:"weight_decay"`     // decoupled decay, on matrices (embeddings too), never on norms; default 0.1
	ClipNorm        float64 `json:"clip_norm"`        // longest gradient, 0 for no limit; default 1
	Seed            uint64  `json:"seed"`             // part of the run's name: Run draws nothing, the caller gives it to NewWeights and the source; default 0
	CheckpointEvery int     `json:"checkpoint_every"` // steps between checkpoints, 0 for none but the last; default 100
	Keep            int     `json:"keep"`             // checkpoints kept; default 2
	Threads         int     `json:"threads"`          // 0 for what the process may use (kernel.DefaultThreads); default 0
	MemoryBytes     int64   `json:"memory_bytes"`     // most memory the tensors may take (native.TrainBytes), 0 for no limit; default 0
	Attempt         int     `json:"attempt"`          // which start of the same run this is, copied into Progress; default 0
}

// DefaultOptions is a good start for models of a few million parameters; Steps is left for the caller.
func DefaultOptions() Options {
	return Options{
		BatchSize: 8, SeqLen: 256, Accumulate: 1, LR: 1e-3, MinLR: 1e-4, Warmup: 20, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8,
		WeightDecay: 0.1, ClipNorm: 1, CheckpointEvery: 100, Keep: 2,
	}
}

// Validate says whether the options make sense; the error is a fault.Invalid naming the field.
func (o Options) Validate() error {
	for _, b := range []struct {
		field         string
		value, lo, hi int
	}{
		{"batch_size", o.BatchSize, 1, 1 << 16}, {"seq_len", o.SeqLen, 2, 1 << 22}, {"accumulate", o.Accumulate, 1, 1 << 16},
		{"steps", o.Steps, 1, 1 << 30}, {"warmup", o.Warmup, 0, 1 << 30}, {"checkpoint_every", o.CheckpointEvery, 0, 1 << 30},
		{"keep", o.Keep, 1, 1000}, {"threads", o.Threads, 0, 1024}, {"attempt", o.Attempt, 0, math.MaxInt},
	} {
		if b.value < b.lo || b.value > b.hi {
			return fault.InvalidField(b.field, "%s is %d, it must be %d to %d", b.field, b.value, b.lo, b.hi)
		}
	}
	if int64(o.BatchSize)*int64(o.SeqLen) > maxTokens {
		return fault.InvalidField("batch_size", "a batch of %d tokens is too large, at most %d", o.BatchSize*o.SeqLen, maxTokens)
	}
	return o.validateRates()
}

// maxTokens bounds batch_size times seq_len; accumulate makes larger steps.
const maxTokens = 1 << 24

func (o Options) validateRates() error {
	for _, b := range []struct {
		field         string
		value, lo, hi float64
	}{
		{"lr", o.LR, 1e-12, 10}, {"min_lr", o.MinLR, 0, o.LR}, {"beta1", o.Beta1, 0, 0.9999}, {"beta2", o.Beta2, 0, 0.999999},
		{"eps", o.Eps, 1e-30, 1}, {"weight_decay", o.WeightDecay, 0, 10}, {"clip_norm", o.ClipNorm, 0, 1e9},
	} {
		if !(b.value >= b.lo && b.value <= b.hi) { // catches NaN too
			return fault.InvalidField(b.field, "%s is %g, it must be %g to %g", b.field, b.value, b.lo, b.hi)
		}
	}
	return nil
}

// LRAt is the learning rate of a step counted from 0: linear from LR/Warmup to LR over the warm-up, then half a
// cosine down to MinLR, which the step after the last would have (Loshchilov and Hutter, SGDR).
func (o Options) LRAt(step int) float64 {
	warmup := min(o.Warmup, o.Steps)
	if step < warmup {
		return o.LR * float64(step+1) / float64(warmup)
	}
	done := float64(step-warmup) / float64(max(o.Steps-warmup, 1))
	return o.MinLR + (o.LR-o.MinLR)*(1+math.Cos(math.Pi*min(done, 1)))/2
}

// digest names the run: model shape and every option that steers its course. A checkpoint of another digest is not
// gone on from. How often to save, how many to keep, threads, memory and attempt may change between attempts.
func (o Options) digest(c native.Config) string {
	o.CheckpointEvery, o.Keep, o.Threads, o.MemoryBytes, o.Attempt = 0, 0, 0, 0, 0
	text, err := json.Marshal(struct {
		Model   native.Config
		Options Options
	}{c, o})
	if err != nil {
		panic("trainer: options do not marshal: " + err.Error()) // validated numbers always do
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}
