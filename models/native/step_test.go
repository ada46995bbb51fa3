package native

import (
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/triarch-ai/triarch/models/native/kernel"
	"pgregory.net/rapid"
)

// roughWeights are weights with values large enough that every part of the model matters to the loss.
func roughWeights(c Config, seed uint64) *Weights {
	w := NewWeights(c, seed)
	r := rand.New(rand.NewPCG(seed, 99))
	for _, t := range w.Tensors() {
		for i := range t.Data {
			if t.Matrix() {
				t.Data[i] *= 20
			} else {
				t.Data[i] = 0.5 + r.Float32()
			}
		}
	}
	return w
}

// packed makes a random batch: documents of random length, some targets masked, padding at some row ends.
func packed(r *rand.Rand, c Config, rows, length int) *Batch {
	b := NewBatch(rows, length)
	for i := range b.Tokens {
		b.Tokens[i] = int32(r.IntN(c.VocabSize))
		b.Targets[i] = int32(r.IntN(c.VocabSize))
		if r.IntN(4) == 0 {
			b.Targets[i] = Ignore
		}
	}
	for row := range rows {
		seg, pad := int32(r.IntN(3)), length
		if r.IntN(2) == 0 {
			pad = length - r.IntN(length/2+1)
		}
		for t := range length {
			i := row*length + t
			if r.IntN(6) == 0 {
				seg++
			}
			b.Segments[i] = seg
			if t >= pad {
				b.Segments[i], b.Targets[i] = Padding, Ignore
			}
		}
	}
	return b
}

func newStep(t *testing.T, w *Weights, b, length int, pool *kernel.Pool) *Step {
	t.Helper()
	s, err := NewStep(w, b, length, pool)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The gradients of every kind of parameter agree with finite differences of the float64 model, for grouped heads,
// tied and untied heads, packed documents, masks and padding, and for lengths that do not fill a block.
func TestGradientsAgainstFiniteDifferences(t *testing.T) {
	for _, tc := range []struct {
		name    string
		tied    bool
		kv      int
		plain   bool
		b, t    int
		samples int
	}{
		{"tied grouped packed", true, 2, false, 2, 13, 12},
		{"untied multi-query packed", false, 1, false, 3, 9, 12},
		{"untied full heads, one document a row", false, 4, true, 2, 8, 12},
		{"blocks of queries", true, 2, false, 1, 150, 2},
		{"blocks of queries, one document", false, 2, true, 1, 130, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := tiny(tc.tied)
			c.KVHeads, c.MaxContext = tc.kv, 256
			r := rand.New(rand.NewPCG(1, uint64(tc.t)))
			w := roughWeights(c, 3)
			b := packed(r, c, tc.b, tc.t)
			if tc.plain {
				b.Segments = nil
			}
			checkGradients(t, r, w, b, tc.samples)
		})
	}
}

func checkGradients(t *testing.T, r *rand.Rand, w *Weights, b *Batch, samples int) {
	t.Helper()
	s := newStep(t, w, b.B, b.T, nil)
	loss, _, err := s.Accumulate(b)
	if err != nil {
		t.Fatal(err)
	}
	ref := newRef(w)
	if want := ref.loss(b); math.Abs(loss/want-1) > 2e-6 {
		t.Fatalf("loss %.9g, the float64 model says %.9g", loss, want)
	}
	for _, g := range s.Grads.Tensors() {
		var norm float64
		for _, v := range g.Data {
			norm += float64(v) * float64(v)
		}
		norm = math.Sqrt(norm / float64(len(g.Data)))
		if norm == 0 {
			t.Errorf("%s has no gradient at all", g.Name)
		}
		for range samples {
			i := r.IntN(len(g.Data))
			const h = 1e-5
			x := ref.t[g.Name]
			keep := x[i]
			x[i] = keep + h
			up := ref.loss(b)
			x[i] = keep - h
			down := ref.loss(b)
			x[i] = keep
			want, got := (up-down)/(2*h), float64(g.Data[i])
			if math.Abs(got-want) > 2e-4*math.Abs(want)+1e-4*norm {
				t.Errorf("%s[%d]: gradient %.7g, finite difference %.7g", g.Name, i, got, want)
			}
		}
	}
}

// Property: packing documents into rows changes neither the loss nor the gradients against each document standing
// alone in a row of its own.
func TestPackedDocumentsDoNotSeeEachOther(t *testing.T) {
	c := tiny(true)
	w := roughWeights(c, 5)
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		length := rapid.IntRange(2, 24).Draw(rt, "length")
		b := packed(r, c, 1, length)
		s, _ := NewStep(w, 1, length, nil)
		loss, tokens, err := s.Accumulate(b)
		if err != nil {
			rt.Fatal(err)
		}
		var sum float64
		var n int
		alone := AllocWeights(c)
		for lo := 0; lo < length; {
			hi := lo + 1
			for hi < length && b.Segments[hi] == b.Segments[lo] {
				hi++
			}
			if b.Segments[lo] != Padding {
				one, _ := NewStep(w, 1, hi-lo, nil)
				l, k, err := one.Accumulate(&Batch{B: 1, T: hi - lo, Tokens: b.Tokens[lo:hi], Targets: b.Targets[lo:hi]})
				if err != nil {
					rt.Fatal(err)
				}
				sum, n = sum+l, n+k
				addWeights(alone, one.Grads)
			}
			lo = hi
		}
		if n != tokens || math.Abs(sum-loss) > 1e-4 {
			rt.Fatalf("packed: loss %g over %d; alone: %g over %d", loss, tokens, sum, n)
		}
		if d := distance(alone, s.Grads); d > 1e-4 {
			rt.Fatalf("gradients differ by %g of their norm", d)
		}
	})
}

func addWeights(to, from *Weights) {
	ft := from.Tensors()
	for i, t := range to.Tensors() {
		for j, v := range ft[i].Data {
			t.Data[j] += v
		}
	}
}

// distance is the norm of a-b over the norm of b; zero when both are zero.
func distance(a, b *Weights) float64 {
	var diff, norm float64
	bt := b.Tensors()
	for i, t := range a.Tensors() {
		for j, v := range t.Data {
			d := float64(v) - float64(bt[i].Data[j])
			diff += d * d
			norm += float64(bt[i].Data[j]) * float64(bt[i].Data[j])
		}
	}
	if diff == 0 {
		return 0
	}
	return math.Sqrt(diff / norm)
}

// Small batches with very different numbers of targets, accumulated, equal one big batch.
func TestAccumulationEqualsOneBigBatch(t *testing.T) {
	c := tiny(false)
	w := roughWeights(c, 6)
	r := rand.New(rand.NewPCG(2, 2))
	big := packed(r, c, 4, 16)
	for i := range 16 {
		if i > 2 {
			big.Targets[i] = Ignore
		}
	}
	whole := newStep(t, w, 4, 16, nil)
	wantLoss, wantTokens, err := whole.Accumulate(big)
	if err != nil {
		t.Fatal(err)
	}
	part := newStep(t, w, 1, 16, nil)
	var loss float64
	var tokens int
	for i := range 4 {
		lo, hi := i*16, (i+1)*16
		l, n, err := part.Accumulate(&Batch{B: 1, T: 16, Tokens: big.Tokens[lo:hi], Targets: big.Targets[lo:hi], Segments: big.Segments[lo:hi]})
		if err != nil {
			t.Fatal(err)
		}
		loss, tokens = loss+l, tokens+n
	}
	if tokens != wantTokens || math.Abs(loss/wantLoss-1) > 1e-6 {
		t.Errorf("accumulated %g over %d, at once %g over %d", loss, tokens, wantLoss, wantTokens)
	}
	if d := distance(part.Grads, whole.Grads); d > 1e-6 {
		t.Errorf("gradients differ by %g of their norm", d)
	}
}

// Loss and every gradient are the same bits with one thread and with several.
func TestThreadsDoNotChangeABit(t *testing.T) {
	c := Config{VocabSize: 300, Dim: 96, Layers: 2, Heads: 6, KVHeads: 3, HeadDim: 16, FFN: 130, MaxContext: 256,
		RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: true, BOS: -1, EOS: -1, PAD: -1}
	w := roughWeights(c, 8)
	b := packed(rand.New(rand.NewPCG(4, 4)), c, 3, 150)
	one := newStep(t, w, 3, 150, nil)
	wantLoss, _, err := one.Accumulate(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, threads := range []int{1, 2, 3, 5} {
		pool := kernel.NewPool(threads)
		s := newStep(t, w, 3, 150, pool)
		for round := range 2 { // the second round adds to gradients of the first
			loss, _, err := s.Accumulate(b)
			if err != nil {
				t.Fatal(err)
			}
			if loss != wantLoss {
				t.Errorf("%d threads: loss %v, want %v", threads, loss, wantLoss)
			}
			if round == 0 {
				sameBits(t, s.Grads, one.Grads)
				s.ZeroGrads()
			}
		}
		sameBits(t, s.Grads, one.Grads)
		pool.Close()
	}
}

func sameBits(t *testing.T, a, b *Weights) {
	t.Helper()
	bt := b.Tensors()
	for i, x := range a.Tensors() {
		for j, v := range x.Data {
			if math.Float32bits(v) != math.Float32bits(bt[i].Data[j]) {
				t.Fatalf("%s[%d]: %v and %v", x.Name, j, v, bt[i].Data[j])
			}
		}
	}
}

func TestCrossEntropySurvivesExtremeLogits(t *testing.T) {
	x := []float32{-200, 90, 0}
	if got := crossEntropy(x, 0); math.Abs(got-290) > 1e-4 {
		t.Errorf("loss %v, want 290", got)
	}
	if x[0] != -1 || x[1] != 1 {
		t.Errorf("gradient %v, want [-1 1 0]", x)
	}
}

func TestRotateBackUndoesRotate(t *testing.T) {
	c := tiny(true)
	cos, sin := RopeTable(c, 20)
	x := make([]float32, c.QDim())
	for i := range x {
		x[i] = float32(i) - 7
	}
	y := append([]float32(nil), x...)
	half := c.HeadDim / 2
	Rotate(y, cos[19*half:20*half], sin[19*half:20*half])
	if y[0] == x[0] {
		t.Error("position 19 turns nothing")
	}
	rotateBack(y, cos[19*half:20*half], sin[19*half:20*half])
	for i := range x {
		if math.Abs(float64(x[i]-y[i])) > 1e-5 {
			t.Errorf("element %d: %g came back as %g", i, x[i], y[i])
		}
	}
}

func TestBatchesAreChecked(t *testing.T) {
	c := tiny(true)
	s := newStep(t, NewWeights(c, 1), 2, 4, nil)
	for name, spoil := range map[string]func(*Batch){
		"shape":    func(b *Batch) { b.T = 5 },
		"short":    func(b *Batch) { b.Targets = b.Targets[:7] },
		"token":    func(b *Batch) { b.Tokens[3] = int32(c.VocabSize) },
		"negative": func(b *Batch) { b.Tokens[3] = -1 },
		"target":   func(b *Batch) { b.Targets[3] = -2 },
		"segments": func(b *Batch) { b.Segments = b.Segments[:1] },
	} {
		b := NewBatch(2, 4)
		spoil(b)
		if _, _, err := s.Accumulate(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	b := NewBatch(2, 4)
	for i := range b.Targets {
		b.Targets[i] = Ignore
	}
	if sum, n, err := s.Accumulate(b); sum != 0 || n != 0 || err != nil {
		t.Errorf("a batch without targets gives %v, %d, %v", sum, n, err)
	}
	if _, err := NewStep(s.w, 1, c.MaxContext+1, nil); err == nil {
		t.Error("a sequence beyond the context is accepted")
	}
}

// TrainBytes, which plans are made with, is what training really allocates.
func TestTrainBytesIsWhatIsAllocated(t *testing.T) {
	for _, tied := range []bool{true, false} {
		c := Config{VocabSize: 700, Dim: 64, Layers: 3, Heads: 4, KVHeads: 2, HeadDim: 16, FFN: 176, MaxContext: 128,
			RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: tied, BOS: -1, EOS: -1, PAD: -1}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w := AllocWeights(c)
		s := newStep(t, w, 16, 128, nil)
		m, v := AllocWeights(c), AllocWeights(c)
		runtime.ReadMemStats(&after)
		got, want := float64(after.TotalAlloc-before.TotalAlloc), float64(TrainBytes(c, 16, 128))
		if got < 0.97*want || got > 1.05*want {
			t.Errorf("tied %v: %.0f bytes were allocated, TrainBytes says %.0f", tied, got, want)
		}
		runtime.KeepAlive([]any{w, s, m, v})
	}
}
