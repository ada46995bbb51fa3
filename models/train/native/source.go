package native

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"math"
	"os"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/data"
	engine "github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/kernel"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
	"github.com/triarch-ai/triarch/models/native/trainer"
	"github.com/triarch-ai/triarch/models/train"
	"github.com/triarch-ai/triarch/storage/blob"
)

// tokenizerBytes bounds the text that a tokenizer is trained on: a vocabulary of a few thousand tokens is settled
// long before.
const tokenizerBytes = 64 << 20

// records reads the plan's data from its start and checks, at the end, that it is what the plan pinned.
func records(ctx context.Context, p plan) iter.Seq2[data.Record, error] {
	return func(yield func(data.Record, error) bool) {
		f, err := os.Open(p.Data)
		if err != nil {
			yield(data.Record{}, fault.Wrap(err, "opening the training data"))
			return
		}
		defer f.Close()
		h := sha256.New()
		for r, err := range data.Records(io.TeeReader(f, h)) {
			if err == nil {
				err = ctx.Err()
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
		if got := blob.RefOf([32]byte(h.Sum(nil))); got != p.Ref {
			yield(data.Record{}, fault.New(fault.Internal, "The training data is damaged: it is not what the run pinned.",
				fault.Fix("Restore %s from a backup, or import the data again and start a new run.", p.Ref)))
		}
	}
}

// texts is what the tokenizer learns from: documents, or the turns of conversations as they will be rendered. The
// error, if there is one, is known when the sequence has ended.
func texts(ctx context.Context, p plan) (iter.Seq[string], *error) {
	failed := new(error)
	return func(yield func(string) bool) {
		left := tokenizerBytes
		give := func(s string) bool {
			left -= len(s)
			return yield(s) && left > 0
		}
		for r, err := range records(ctx, p) {
			if err != nil {
				*failed = err
				return
			}
			if r.Text != "" && !give(r.Text) {
				return
			}
			for _, m := range r.Messages {
				if !give(m.Role + "\n" + m.Content) {
					return
				}
			}
		}
	}, failed
}

// stream is the source of batches with what is to be known of it.
type stream struct {
	trainer.Source
	steps    int // optimiser steps of the whole run
	examples int // documents or conversations
	dropped  int // of them, with nothing to learn
}

// newStream tokenises the data, in parallel and in order.
func newStream(ctx context.Context, p plan, m *hf.Model, threads int) (*stream, error) {
	pool := kernel.NewPool(threads)
	defer pool.Close()
	if p.Recipe.Method == train.SFT {
		return newChatStream(ctx, p, m, pool)
	}
	return newTextStream(ctx, p, m, pool)
}

func newTextStream(ctx context.Context, p plan, m *hf.Model, pool *kernel.Pool) (*stream, error) {
	c := m.Weights.Config
	docs, err := encodeAll(ctx, p, pool, func(r data.Record) ([]int32, error) { return document(c, m.Tokenizer, r.Text), nil })
	if err != nil {
		return nil, err
	}
	kept := docs[:0]
	for _, d := range docs {
		if len(d) >= 2 {
			kept = append(kept, d)
		}
	}
	src, err := trainer.NewPretrainSource(kept, p.Recipe.Seed, false)
	if err != nil {
		return nil, err
	}
	return &stream{Source: src, steps: steps(p.Recipe, src.EpochBatches(p.Recipe.Batch, p.Recipe.SeqLen)),
		examples: len(docs), dropped: len(docs) - len(kept)}, nil
}

// document is a document's tokens between the model's begin and end marks, where it has them.
func document(c engine.Config, t *tokenizer.Tokenizer, text string) []int32 {
	ids := t.Encode(text)
	out := make([]int32, 0, len(ids)+2)
	if c.BOS >= 0 {
		out = append(out, int32(c.BOS))
	}
	out = append(out, ids...)
	if c.EOS >= 0 {
		out = append(out, int32(c.EOS))
	}
	return out
}

func newChatStream(ctx context.Context, p plan, m *hf.Model, pool *kernel.Pool) (*stream, error) {
	examples, err := encodeAll(ctx, p, pool, func(r data.Record) (trainer.Example, error) {
		msgs := make([]tokenizer.Message, len(r.Messages))
		for i, x := range r.Messages {
			msgs[i] = tokenizer.Message{Role: x.Role, Content: x.Content}
		}
		ids, mask, err := m.Chat.Render(msgs, false)
		return trainer.Example{IDs: ids, Mask: mask}, err
	})
	if err != nil {
		return nil, err
	}
	src, err := trainer.NewChatSource(examples, p.Recipe.SeqLen, p.Recipe.Seed)
	if err != nil {
		return nil, err
	}
	return &stream{Source: src, steps: steps(p.Recipe, src.EpochBatches(p.Recipe.Batch)), examples: len(examples), dropped: src.Dropped()}, nil
}

// steps is the number of optimiser steps of a run whose data gives so many batches a pass.
func steps(r train.Recipe, batches int) int {
	if r.Steps > 0 {
		return r.Steps
	}
	n := math.Ceil(r.Epochs * float64(batches) / float64(r.Accumulate))
	return int(min(max(1, n), 1<<30))
}

// encodeAll applies f to every record, many at a time, and keeps the order.
func encodeAll[T any](ctx context.Context, p plan, pool *kernel.Pool, f func(data.Record) (T, error)) ([]T, error) {
	const chunk = 512
	var out []T
	batch := make([]data.Record, 0, chunk)
	flush := func() error {
		from := len(out)
		out = append(out, make([]T, len(batch))...)
		errs := make([]error, len(batch))
		pool.Run(len(batch), func(i int) { out[from+i], errs[i] = f(batch[i]) })
		for i, err := range errs {
			if err != nil {
				return fmt.Errorf("record %d: %w", from+i+1, err)
			}
		}
		batch = batch[:0]
		return nil
	}
	for r, err := range records(ctx, p) {
		if err != nil {
			return nil, err
		}
		if batch = append(batch, r); len(batch) == chunk {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	return out, flush()
}
