package native

import (
	"context"
	"math"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	engine "github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/kernel"
	"github.com/triarch-ai/triarch/models/train"
)

// probeKey is what a measured speed depends on.
type probeKey struct {
	shape   engine.Config
	seq     int
	threads int
}

// Bounds of a measurement: shapes above probeParams are measured on a smaller one and scaled by the arithmetic a
// token takes.
const (
	probeParams = 6_000_000
	probeTokens = 512
	probeRounds = 2
)

// speed is the tokens a second this machine trains the shape with.
func (t *Trainer) speed(ctx context.Context, c engine.Config, r train.Recipe, threads int) (float64, error) {
	probe, seq := c, r.SeqLen
	if c.Params() > probeParams {
		probe = shape(train.Recipe{Dim: 256, Layers: 4, Heads: 4, KVHeads: 4, HeadDim: 64, FFN: 704, Context: max(256, r.SeqLen)}, 2048)
		seq = min(256, r.SeqLen)
	}
	key := probeKey{shape: probe, seq: seq, threads: threads}
	t.mu.Lock()
	defer t.mu.Unlock()
	rate, ok := t.speeds[key]
	if !ok {
		var err error
		if rate, err = measure(ctx, probe, seq, threads); err != nil {
			return 0, err
		}
		t.speeds[key] = rate
	}
	return rate * tokenWork(probe, seq) / tokenWork(c, r.SeqLen), nil
}

// tokenWork is the floating-point operations of one trained token: 6 a parameter that is multiplied (forward 2,
// backward 4), and attention to half the row on average.
func tokenWork(c engine.Config, seq int) float64 {
	matrices := c.Params()
	if !c.TieEmbeddings { // the input embedding is looked up, not multiplied
		matrices -= int64(c.VocabSize) * int64(c.Dim)
	}
	return 6*float64(matrices) + 6*float64(c.Layers)*float64(c.QDim())*float64(seq)
}

// measure trains a few hundred tokens and takes the best of its rounds: the others met other work of the machine.
func measure(ctx context.Context, c engine.Config, seq, threads int) (float64, error) {
	rows := max(1, probeTokens/seq)
	pool := kernel.NewPool(min(threads, kernel.DefaultThreads()))
	defer pool.Close()
	step, err := engine.NewStep(engine.NewWeights(c, 1), rows, seq, pool)
	if err != nil {
		return 0, err
	}
	b := engine.NewBatch(rows, seq)
	for i := range b.Tokens {
		b.Tokens[i], b.Targets[i] = int32(i*7%c.VocabSize), int32(i*11%c.VocabSize)
	}
	best := math.Inf(1)
	for range 1 + probeRounds { // the first touches the memory
		if err := ctx.Err(); err != nil {
			return 0, fault.Wrap(err, "measuring the machine")
		}
		start := time.Now()
		if _, _, err := step.Accumulate(b); err != nil {
			return 0, err
		}
		best = min(best, time.Since(start).Seconds())
	}
	return float64(rows*seq) / max(best, 1e-6), nil
}

func seconds(s float64) time.Duration {
	return time.Duration(min(s*float64(time.Second), math.MaxInt64/2))
}

func ceil(x float64) float64 { return math.Ceil(x) }
