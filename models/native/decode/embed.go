package decode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/triarch-ai/triarch/internal/fault"
)

// MaxInputs bounds the inputs of one embedding request.
const MaxInputs = 2048

// Embedding asks for one vector for each input.
type Embedding struct {
	Inputs [][]int32 // token ids, at least one each
	Last   bool      // the last position's hidden state instead of the mean over all
	Scope  string    // as of a Request; only Last uses the cache
}

// pooled gathers the last hidden states of one sequence.
type pooled struct {
	mean  bool
	sum   []float64
	count int
}

// take adds a hidden state, behind the model's last norm.
func (p *pooled) take(row []float32) {
	if p.sum == nil {
		p.sum = make([]float64, len(row))
	}
	for i, v := range row {
		p.sum[i] += float64(v)
	}
	p.count++
}

// vector is what was gathered, its length made 1. It is nil if that is not a finite number.
func (p *pooled) vector() []float32 {
	square := 0.0
	for _, v := range p.sum {
		square += v * v
	}
	norm := math.Sqrt(square)
	if !(norm > 0) || math.IsInf(norm, 0) {
		return nil
	}
	out := make([]float32, len(p.sum))
	for i, v := range p.sum {
		out[i] = float32(v / norm)
	}
	return out
}

// Embed gives a vector of length 1 for each input, [Dim], in their order, and how many of the tokens the cache knew. It
// waits its turn like other requests and shares their steps. What an input gives depends on it alone. Errors are those of Submit.
func (e *Engine) Embed(ctx context.Context, r *Embedding) (vectors [][]float32, cached int, err error) {
	if len(r.Inputs) == 0 || len(r.Inputs) > MaxInputs {
		return nil, 0, fault.InvalidField("input", "There are %d inputs, a request may have 1 to %d.", len(r.Inputs), MaxInputs)
	}
	for i, p := range r.Inputs {
		if len(p) == 0 {
			return nil, 0, fault.InvalidField("input", "Input %d is empty.", i)
		}
	}
	// A part of the inputs at a time, so that a long list is not refused for the length of the queue.
	for begin := 0; begin < len(r.Inputs); begin += e.opt.MaxSeqs {
		part := r.Inputs[begin:min(begin+e.opt.MaxSeqs, len(r.Inputs), begin+MaxChoices)]
		q := &Request{Prompts: part, MaxTokens: 1, Scope: r.Scope, PromptsField: "input", pools: make([]*pooled, len(part))}
		for i := range part {
			q.pools[i] = &pooled{mean: !r.Last}
		}
		n, err := e.embed(ctx, q)
		if err != nil {
			return nil, 0, err
		}
		cached += n
		for i, p := range q.pools {
			v := p.vector()
			if v == nil {
				return nil, 0, fault.New(fault.Internal, "The model computed a value that is not a number.", fault.Code("not_a_number"),
					fault.Cause(fmt.Errorf("input %d", begin+i)))
			}
			vectors = append(vectors, v)
		}
	}
	return vectors, cached, nil
}

// embed runs one part to its end.
func (e *Engine) embed(ctx context.Context, q *Request) (cached int, err error) {
	st, err := e.Submit(ctx, q)
	if err != nil {
		return 0, err
	}
	defer st.Close()
	var ev Event
	if err := st.Next(&ev); !errors.Is(err, io.EOF) { // there are no events: nothing is generated
		return 0, err
	}
	return st.CachedTokens(), nil
}

// planPooled adds rows of an input that is to be embedded, up to position end.
func (e *Engine) planPooled(s *sequence, end int) {
	for first := s.pos; s.pos < end; s.pos++ {
		pool := s.pool
		if !pool.mean && s.pos < len(s.input)-1 {
			pool = nil
		}
		e.batch.add(s.tokens[s.pos], s.pos, s.blocks, s.pos > first, false, pool)
	}
}

// finishPooled retires inputs that have been read to their end.
func (e *Engine) finishPooled() {
	for _, s := range e.running {
		if s.pool == nil || s.finished || s.pos < len(s.input) {
			continue
		}
		e.retire(s)
		if s.stream.live--; s.stream.live == 0 {
			e.ended = append(e.ended, s.stream)
		}
	}
}
