package trainer

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
	"pgregory.net/rapid"
)

func config() native.Config {
	return native.Config{VocabSize: 24, Dim: 32, Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 8, FFN: 48, MaxContext: 32,
		RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: true, BOS: -1, EOS: -1, PAD: -1, Arch: "llama"}
}

// noisyRule makes documents in which token t is followed by 5t+3 (mod vocab) nine times in ten, by chance otherwise.
func noisyRule(vocab, docs, length int) [][]int32 {
	r := rand.New(rand.NewPCG(11, 12))
	out := make([][]int32, docs)
	for i := range out {
		doc := make([]int32, length+i%7)
		doc[0] = int32(r.IntN(vocab))
		for j := 1; j < len(doc); j++ {
			doc[j] = (5*doc[j-1] + 3) % int32(vocab)
			if r.IntN(10) == 0 {
				doc[j] = int32(r.IntN(vocab))
			}
		}
		out[i] = doc
	}
	return out
}

func options(steps int) Options {
	o := DefaultOptions()
	o.BatchSize, o.SeqLen, o.Steps, o.Threads, o.CheckpointEvery, o.Warmup, o.LR = 4, 16, steps, 1, 0, 5, 3e-3
	return o
}

func source(t testing.TB) *PretrainSource {
	t.Helper()
	s, err := NewPretrainSource(noisyRule(24, 30, 20), 5, false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLearnsANoisyRule(t *testing.T) {
	docs := noisyRule(24, 200, 40)
	src, err := NewPretrainSource(docs, 5, false)
	if err != nil {
		t.Fatal(err)
	}
	o := options(150)
	o.BatchSize, o.SeqLen = 8, 32
	o.LR = 1e-2
	w := native.NewWeights(config(), 1)
	var last []float64
	_, err = Run(t.Context(), w, src, o, Hooks{Progress: func(p Progress) { last = append(last, p.Loss) }}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// Entropy of the rule: the right token has probability 0.9+0.1/24, each other 0.1/24.
	hit, miss := 0.9+0.1/24, 0.1/24
	entropy := -hit*math.Log(hit) - 23*miss*math.Log(miss)
	var mean float64
	for _, l := range last[len(last)-20:] {
		mean += l / 20
	}
	if last[0] < 3 || mean > entropy+0.12 || mean < entropy-0.12 {
		t.Errorf("loss went from %.3f to %.3f, the rule's entropy is %.3f", last[0], mean, entropy)
	}
	if acc := accuracy(t, w); acc != 1 {
		t.Errorf("after training %.2f of the tokens are followed by the rule's next", acc)
	}
}

// accuracy is the share of tokens after which the rule's token is likelier than every other, by their losses.
func accuracy(t *testing.T, w *native.Weights) float64 {
	t.Helper()
	v := w.Config.VocabSize
	s, err := native.NewStep(w, 1, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	right := 0
	for tok := range v {
		best, top := math.Inf(1), -1
		for next := range v {
			b := &native.Batch{B: 1, T: 1, Tokens: []int32{int32(tok)}, Targets: []int32{int32(next)}}
			l, _, err := s.Evaluate(b)
			if err != nil {
				t.Fatal(err)
			}
			if l < best {
				best, top = l, next
			}
		}
		if top == (5*tok+3)%v {
			right++
		}
	}
	return float64(right) / float64(v)
}

type trace struct {
	losses []float64
	norms  []float64
	final  *native.Weights
	result Result
}

func undisturbed(t testing.TB, o Options, src Source) trace {
	t.Helper()
	var tr trace
	tr.final = native.NewWeights(config(), 3)
	res, err := Run(context.Background(), tr.final, src, o, Hooks{Progress: tr.add}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tr.result = res
	return tr
}

func (tr *trace) add(p Progress) {
	tr.losses = append(tr.losses[:min(p.Step-1, len(tr.losses))], p.Loss)
	tr.norms = append(tr.norms[:min(p.Step-1, len(tr.norms))], p.GradNorm)
}

func sameWeights(a, b *native.Weights) bool {
	bt := b.Tensors()
	for i, x := range a.Tensors() {
		for j, v := range x.Data {
			if math.Float32bits(v) != math.Float32bits(bt[i].Data[j]) {
				return false
			}
		}
	}
	return true
}

// Property: however often a run is stopped or killed, and with whatever number of threads each attempt works, losses,
// gradient lengths and final weights are those of the undisturbed run, bit for bit.
func TestResumeIsExact(t *testing.T) {
	const steps = 9
	base := options(steps)
	base.Accumulate = 2
	want := undisturbed(t, base, source(t))
	if len(want.losses) != steps {
		t.Fatalf("%d losses for %d steps", len(want.losses), steps)
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "run")
		if err != nil {
			rt.Fatal(err)
		}
		var got trace
		for attempt := 0; ; attempt++ {
			o := base
			o.Attempt = attempt
			o.Threads = rapid.IntRange(1, 4).Draw(rt, "threads")
			o.CheckpointEvery = rapid.IntRange(1, 4).Draw(rt, "every")
			seed := uint64(3)
			if there, _ := list(dir); len(there) > 0 {
				seed = 99 // a resumed run takes everything from the checkpoint
			}
			w := native.NewWeights(config(), seed)
			if done := disturbed(rt, w, source(t), o, dir, &got); done {
				got.final = w
				break
			}
			if attempt > 40 {
				rt.Fatal("the run does not come forward")
			}
		}
		if d := cmp.Diff(want.losses, got.losses); d != "" {
			rt.Errorf("losses (-undisturbed +resumed):\n%s", d)
		}
		if d := cmp.Diff(want.norms, got.norms); d != "" {
			rt.Errorf("gradient lengths:\n%s", d)
		}
		if !sameWeights(want.final, got.final) {
			rt.Error("the final weights differ")
		}
	})
}

// disturbed runs one attempt that may be stopped cleanly, stopped between the batches of a step, or killed (no
// checkpoint at the end); it reports whether the run was finished.
func disturbed(rt *rapid.T, w *native.Weights, src Source, o Options, dir string, tr *trace) bool {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	how := rapid.SampledFrom([]string{"run on", "stop after a step", "stop in a step", "kill"}).Draw(rt, "how")
	at := rapid.IntRange(1, 4).Draw(rt, "at")
	killed := errors.New("killed")
	var dead bool
	h := Hooks{
		Progress: func(p Progress) {
			tr.add(p)
			if at--; at == 0 {
				switch how {
				case "stop after a step":
					cancel()
				case "kill":
					dead = true
					cancel()
				}
			}
		},
		BeforeCheckpoint: func() error {
			if dead {
				return killed
			}
			return nil
		},
	}
	if how == "stop in a step" {
		src = &cancelling{Source: src, at: 2*at - 1, cancel: cancel}
	}
	_, err := Run(ctx, w, src, o, h, dir)
	switch {
	case err == nil:
		return true
	case errors.Is(err, ErrStopped), errors.Is(err, killed):
		return false
	}
	rt.Fatal(err)
	return false
}

// cancelling cancels a run's context while a batch is being read.
type cancelling struct {
	Source
	at     int
	cancel func()
}

func (c *cancelling) Next(b *native.Batch) error {
	if c.at--; c.at == 0 {
		c.cancel()
	}
	return c.Source.Next(b)
}

// A damaged newest checkpoint is passed over with a reason, the one before it is gone on from, and the end is exact.
func TestTornCheckpointsArePassedOver(t *testing.T) {
	want := undisturbed(t, options(8), source(t))
	damage := map[string]func(dir string) error{
		"tensors cut":     func(d string) error { return os.Truncate(filepath.Join(d, tensorsName), 100) },
		"tensors missing": func(d string) error { return os.Remove(filepath.Join(d, tensorsName)) },
		"bit flipped":     func(d string) error { return flip(filepath.Join(d, tensorsName), 4321) },
		"manifest cut":    func(d string) error { return os.Truncate(filepath.Join(d, manifestName), 50) },
		"manifest gone":   func(d string) error { return os.Remove(filepath.Join(d, manifestName)) },
		"manifest changed": func(d string) error {
			return edit(filepath.Join(d, manifestName), `"tokens":`, `"tokens":1`)
		},
		"another step": func(d string) error { // a copy under a wrong name
			return errors.Join(os.RemoveAll(d), os.CopyFS(d, os.DirFS(filepath.Join(filepath.Dir(d), "checkpoint-3"))))
		},
	}
	for name, spoil := range damage {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o := options(8)
			o.CheckpointEvery = 3
			stopAt := func(p Progress) {
				if p.Step == 6 {
					cancel()
				}
			}
			if _, err := Run(ctx, native.NewWeights(config(), 3), source(t), o, Hooks{Progress: stopAt}, dir); !errors.Is(err, ErrStopped) {
				t.Fatal(err)
			}
			if err := spoil(filepath.Join(dir, "checkpoint-6")); err != nil {
				t.Fatal(err)
			}
			var notes []string
			w := native.NewWeights(config(), 4)
			res, err := Run(t.Context(), w, source(t), o, Hooks{Note: func(s string) { notes = append(notes, s) }}, dir)
			if err != nil {
				t.Fatal(err)
			}
			if res.Resumed != 3 || len(notes) != 2 || !strings.Contains(notes[0], "checkpoint-6") {
				t.Errorf("resumed from %d, notes %q", res.Resumed, notes)
			}
			if !sameWeights(w, want.final) {
				t.Error("the final weights differ from the undisturbed run's")
			}
			if left, _ := list(dir); !cmp.Equal(left, []int{6, 8}) {
				t.Errorf("checkpoints %v are left, want the newest two", left)
			}
		})
	}
}

func flip(path string, at int) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[at] ^= 4
	return os.WriteFile(path, b, 0o644)
}

func edit(path, old, new string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(strings.Replace(string(b), old, new, 1)), 0o644)
}

func TestFenceStopsTheRunWithoutACheckpoint(t *testing.T) {
	lost := errors.New("another attempt owns the run")
	o := options(6)
	o.CheckpointEvery = 2
	asked := 0
	fence := func() error { // the lease is lost while the second checkpoint is being written
		if asked++; asked >= 4 {
			return lost
		}
		return nil
	}
	dir := t.TempDir()
	res, err := Run(t.Context(), native.NewWeights(config(), 3), source(t), o, Hooks{BeforeCheckpoint: fence}, dir)
	if !errors.Is(err, lost) || res.Steps != 4 {
		t.Errorf("step %d, error %v", res.Steps, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "checkpoint-2" {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestAnotherRunsFolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	run := func(o Options, c native.Config, src Source) error {
		_, err := Run(t.Context(), native.NewWeights(c, 3), src, o, Hooks{}, dir)
		return err
	}
	if err := run(options(2), config(), source(t)); err != nil {
		t.Fatal(err)
	}
	if err := run(options(3), config(), source(t)); !fault.Is(err, fault.Conflict) {
		t.Errorf("other options: %v", err)
	}
	wider := config()
	wider.FFN = 64
	if err := run(options(2), wider, source(t)); !fault.Is(err, fault.Conflict) {
		t.Errorf("another model: %v", err)
	}
	other, _ := NewPretrainSource(noisyRule(24, 31, 20), 5, false)
	if err := run(options(2), config(), other); !fault.Is(err, fault.Conflict) {
		t.Errorf("other data: %v", err)
	}
	o := options(2)
	o.Threads, o.Keep, o.Attempt, o.CheckpointEvery = 2, 5, 7, 1
	if err := run(o, config(), source(t)); err != nil {
		t.Errorf("options that do not steer the course: %v", err)
	}
}

func TestDivergenceNamesTheFix(t *testing.T) {
	w := native.NewWeights(config(), 3)
	w.Layers[1].Up[5] = float32(math.Inf(1))
	dir := t.TempDir()
	_, err := Run(t.Context(), w, source(t), options(3), Hooks{}, dir)
	f := fault.As(err)
	if f.Code != "diverged" || f.Field != "lr" || !strings.Contains(f.Sentence(), "Lower lr") {
		t.Errorf("error %+v", f)
	}
	if left, _ := list(dir); len(left) != 0 {
		t.Errorf("a diverged run left checkpoints %v", left)
	}
}

func TestProgressTellsRateAndCheckpoint(t *testing.T) {
	clock := time.Unix(0, 0)
	now := func() time.Time { clock = clock.Add(time.Second / 2); return clock }
	var got []Progress
	o := options(3)
	o.CheckpointEvery, o.Attempt = 2, 4
	dir := t.TempDir()
	_, err := Run(t.Context(), native.NewWeights(config(), 3), source(t), o, Hooks{Now: now, Progress: func(p Progress) { got = append(got, p) }}, dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range got {
		want := ""
		if i > 0 {
			want = filepath.Join(dir, "checkpoint-"+string(rune('1'+i)))
		}
		if p.Step != i+1 || p.Steps != 3 || p.Attempt != 4 || p.TPS != 128 || p.Tokens != int64(64*(i+1)) || p.Checkpoint != want || p.LR != o.LRAt(i) {
			t.Errorf("step %d: %+v", i+1, p)
		}
	}
}

// TestAKilledStepsLineIsToldAgain has a process die between a checkpoint and the line of its step.
func TestAKilledStepsLineIsToldAgain(t *testing.T) {
	dir, o := t.TempDir(), options(4)
	o.CheckpointEvery = 2
	var want, got []Progress
	func() {
		defer func() { _ = recover() }()
		_, _ = Run(t.Context(), native.NewWeights(config(), 3), source(t), o, Hooks{Progress: func(p Progress) {
			want = append(want, p)
			if p.Step == 2 {
				panic("killed before the line was written")
			}
		}}, dir)
	}()
	o.Attempt = 2
	res, err := Run(t.Context(), native.NewWeights(config(), 3), source(t), o, Hooks{Progress: func(p Progress) { got = append(got, p) }}, dir)
	if err != nil || res.Resumed != 2 {
		t.Fatalf("resumed at %d: %v", res.Resumed, err)
	}
	want[1].Attempt = 2
	if len(got) != 3 || got[0] != want[1] || got[1].Step != 3 {
		t.Errorf("told %+v, the lost line was %+v", got, want[1])
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for field, spoil := range map[string]func(*Options){
		"batch_size":    func(o *Options) { o.BatchSize = 0 },
		"seq_len":       func(o *Options) { o.SeqLen = 1 },
		"accumulate":    func(o *Options) { o.Accumulate = -1 },
		"steps":         func(o *Options) { o.Steps = 0 },
		"lr":            func(o *Options) { o.LR = math.NaN() },
		"min_lr":        func(o *Options) { o.MinLR = 1 },
		"warmup":        func(o *Options) { o.Warmup = -1 },
		"beta1":         func(o *Options) { o.Beta1 = 1 },
		"beta2":         func(o *Options) { o.Beta2 = 1 },
		"eps":           func(o *Options) { o.Eps = 0 },
		"weight_decay":  func(o *Options) { o.WeightDecay = -1 },
		"clip_norm":     func(o *Options) { o.ClipNorm = math.Inf(1) },
		"keep":          func(o *Options) { o.Keep = 0 },
		"threads":       func(o *Options) { o.Threads = -1 },
		"seq_len ":      func(o *Options) { o.SeqLen = 33 },                       // beyond the model's context
		"batch_size   ": func(o *Options) { o.BatchSize, o.SeqLen = 1<<16, 1<<9 }, // each within bounds, not together
	} {
		o := options(2)
		spoil(&o)
		c := config()
		if o.SeqLen > 100 {
			c.MaxContext = 1 << 10
		}
		_, err := Run(t.Context(), native.NewWeights(c, 1), source(t), o, Hooks{}, t.TempDir())
		if !fault.Is(err, fault.Invalid) || fault.As(err).Field != strings.TrimSpace(field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestLearningRateSchedule(t *testing.T) {
	o := Options{Steps: 110, Warmup: 10, LR: 1, MinLR: 0.1}
	for step, want := range map[int]float64{0: 0.1, 4: 0.5, 9: 1, 10: 1, 60: 0.55, 110: 0.1} {
		if got := o.LRAt(step); math.Abs(got-want) > 1e-12 {
			t.Errorf("step %d: %g, want %g", step, got, want)
		}
	}
	o.MinLR, o.Warmup = 1, 0
	for step := range 110 {
		if o.LRAt(step) != 1 {
			t.Fatalf("a constant rate is %g at step %d", o.LRAt(step), step)
		}
	}
}

func TestMemoryLimitIsKept(t *testing.T) {
	o := options(1)
	o.MemoryBytes = native.TrainBytes(config(), o.BatchSize, o.SeqLen) - 1
	_, err := Run(t.Context(), native.NewWeights(config(), 1), source(t), o, Hooks{}, t.TempDir())
	if !fault.Is(err, fault.TooLarge) {
		t.Errorf("one byte too little: %v", err)
	}
	o.MemoryBytes++
	if _, err := Run(t.Context(), native.NewWeights(config(), 1), source(t), o, Hooks{}, t.TempDir()); err != nil {
		t.Errorf("just enough: %v", err)
	}
}

// A process that died while writing leaves a folder of another name: it is no checkpoint and goes with the next one.
func TestUnfinishedWritesAreIgnored(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{tempPrefix + "checkpoint-7", "checkpoint-07", "checkpoint-x", "notes"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, tensorsName), []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	res, err := Run(t.Context(), native.NewWeights(config(), 1), source(t), options(2), Hooks{}, dir)
	if err != nil || res.Resumed != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	var left []string
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if d := cmp.Diff([]string{"checkpoint-07", "checkpoint-2", "checkpoint-x", "notes"}, left); d != "" || err != nil {
		t.Errorf("left behind (%v):\n%s", err, d)
	}
}

// A finished run is not run again: the weights come from its last checkpoint.
func TestFinishedRunIsLoaded(t *testing.T) {
	dir, o := t.TempDir(), options(3)
	w := native.NewWeights(config(), 3)
	first, err := Run(t.Context(), w, source(t), o, Hooks{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	again := native.NewWeights(config(), 8)
	second, err := Run(t.Context(), again, source(t), o, Hooks{Progress: func(p Progress) {
		if p.Step != 3 || p.Loss != first.Loss { // the line of the step that is loaded is told again
			t.Errorf("a step was made: %+v", p)
		}
	}}, dir)
	if err != nil || !sameWeights(w, again) {
		t.Errorf("weights loaded: %v, %v", sameWeights(w, again), err)
	}
	first.Resumed = 3
	if d := cmp.Diff(first, second); d != "" {
		t.Error(d)
	}
}

// Whatever stands in a manifest, it is read or refused; damage is never taken for a checkpoint.
func FuzzManifest(f *testing.F) {
	dir := f.TempDir()
	w := native.NewWeights(config(), 1)
	sets := []*native.Weights{w, w, w}
	path, err := save(dir, snapshot{Digest: "d", Step: 3, Source: []byte("{}")}, sets, func() error { return nil })
	if err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(path, manifestName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"body":{"format":1},"crc32c":"00000000"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(filepath.Join(path, manifestName), text, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := inspect(path, 12*w.Config.Params())
		if err == nil && s.Format != format {
			t.Errorf("accepted %+v", s)
		}
	})
}
