package trainer

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/triarch-ai/triarch/models/native"
)

var dump = flag.String("dump", "", "write the inputs of the PyTorch trajectories to this folder")

// course is one case of the golden file: what test/parity/trajectory.py got from the same inputs.
type course struct {
	Inputs     string             `json:"inputs"`
	Losses     []float64          `json:"losses"`
	GradNorms  []float64          `json:"grad_norms"`
	FinalNorms map[string]float64 `json:"final_norms"`
}

// trajectories are the cases: plain pre-training with tied embeddings, and packed masked conversations with grouped
// heads, a head of its own, accumulation and clipping that bites.
func trajectories(t *testing.T) map[string]func() (native.Config, Options, Source) {
	base := native.Config{VocabSize: 256, Dim: 64, Layers: 2, Heads: 4, KVHeads: 4, HeadDim: 16, FFN: 176, MaxContext: 64,
		RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: true, BOS: -1, EOS: -1, PAD: -1, Arch: "llama"}
	o := DefaultOptions()
	o.BatchSize, o.SeqLen, o.Steps, o.LR, o.MinLR, o.Warmup, o.Threads = 4, 64, 20, 3e-3, 3e-4, 5, 1
	return map[string]func() (native.Config, Options, Source){
		"plain": func() (native.Config, Options, Source) {
			src, err := NewPretrainSource(noisyRule(256, 40, 90), 3, true)
			if err != nil {
				t.Fatal(err)
			}
			whole := wholeRows{src}
			return base, o, whole
		},
		"packed": func() (native.Config, Options, Source) {
			c, o := base, o
			c.KVHeads, c.TieEmbeddings = 2, false
			o.Accumulate, o.ClipNorm, o.BatchSize = 2, 0.5, 3
			src, err := NewChatSource(conversations(), o.SeqLen, 3)
			if err != nil {
				t.Fatal(err)
			}
			return c, o, src
		},
	}
}

// wholeRows drops the documents' borders from inputs, as plain training scripts do: each row is one text.
type wholeRows struct{ Source }

func (w wholeRows) Next(b *native.Batch) error {
	err := w.Source.Next(b)
	clear(b.Segments)
	return err
}

func conversations() []Example {
	r := rand.New(rand.NewPCG(21, 22))
	var out []Example
	for _, ids := range noisyRule(256, 60, 12) {
		mask := make([]bool, len(ids))
		for i := len(ids) - 1; i >= r.IntN(6)+2; i-- {
			mask[i] = true
		}
		out = append(out, Example{IDs: ids, Mask: mask})
	}
	return out
}

func TestTrajectoryAgainstPyTorch(t *testing.T) {
	var golden struct {
		Cases map[string]course `json:"cases"`
	}
	if *dump == "" {
		text, err := os.ReadFile("testdata/trajectory.json")
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &golden); err != nil {
			t.Fatal(err)
		}
	}
	for name, open := range trajectories(t) {
		t.Run(name, func(t *testing.T) {
			c, o, src := open()
			w := native.NewWeights(c, 42)
			inputs := describe(t, w, o, src)
			if *dump != "" {
				inputs.write(t, filepath.Join(*dump, name), w)
				return
			}
			want := golden.Cases[name]
			if inputs.Inputs != want.Inputs {
				t.Fatalf("the inputs have changed (%s, golden of %s): run test/parity/trajectory.py again", inputs.Inputs, want.Inputs)
			}
			_, _, src = open()
			follow(t, w, o, src, want)
		})
	}
}

// follow runs the trainer and compares its course with the golden one at every step.
func follow(t *testing.T, w *native.Weights, o Options, src Source, want course) {
	step := 0
	_, err := Run(t.Context(), w, src, o, Hooks{Progress: func(p Progress) {
		if d := math.Abs(p.Loss - want.Losses[step]); d > 5e-5 {
			t.Errorf("step %d: loss %.6f, PyTorch has %.6f", p.Step, p.Loss, want.Losses[step])
		}
		if d := math.Abs(p.GradNorm/want.GradNorms[step] - 1); d > 2e-4 {
			t.Errorf("step %d: gradient of length %.6f, PyTorch has %.6f", p.Step, p.GradNorm, want.GradNorms[step])
		}
		step++
	}}, t.TempDir())
	if err != nil || step != len(want.Losses) || step != 20 {
		t.Fatalf("%d steps of %d: %v", step, len(want.Losses), err)
	}
	for _, x := range w.Tensors() {
		var sum float64
		for _, v := range x.Data {
			sum += float64(v) * float64(v)
		}
		if got, want := math.Sqrt(sum), want.FinalNorms[x.Name]; math.Abs(got/want-1) > 1e-4 {
			t.Errorf("%s ends with length %.6f, PyTorch's with %.6f", x.Name, got, want)
		}
	}
}

// inputs are what trajectory.py needs besides the weights.
type inputs struct {
	Inputs  string        `json:"inputs"` // checksum of batches and initial weights
	Model   native.Config `json:"model"`
	Options Options       `json:"options"`
	Batches []batch       `json:"batches"`
}

type batch struct {
	B        int     `json:"b"`
	T        int     `json:"t"`
	Tokens   []int32 `json:"tokens"`
	Targets  []int32 `json:"targets"`
	Segments []int32 `json:"segments"`
}

func describe(t *testing.T, w *native.Weights, o Options, src Source) inputs {
	t.Helper()
	in := inputs{Model: w.Config, Options: o}
	for range o.Steps * o.Accumulate {
		b := native.NewBatch(o.BatchSize, o.SeqLen)
		if err := src.Next(b); err != nil {
			t.Fatal(err)
		}
		in.Batches = append(in.Batches, batch{b.B, b.T, b.Tokens, b.Targets, b.Segments})
	}
	text, err := json.Marshal(in.Batches)
	if err != nil {
		t.Fatal(err)
	}
	sum := crc32.New(castagnoli)
	sum.Write(text)
	if err := writeTensors(sum, []*native.Weights{w}); err != nil {
		t.Fatal(err)
	}
	in.Inputs = crcText(sum.Sum32())
	return in
}

func (in inputs) write(t *testing.T, path string, w *native.Weights) {
	t.Helper()
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".json", text, 0o644); err != nil {
		t.Fatal(err)
	}
	header, at := map[string]any{}, 0
	for _, x := range w.Tensors() {
		header[x.Name] = map[string]any{"dtype": "F32", "shape": x.Shape, "data_offsets": []int{at, at + 4*len(x.Data)}}
		at += 4 * len(x.Data)
	}
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path + ".safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(h))), h...)); err != nil {
		t.Fatal(err)
	}
	if err := writeTensors(f, []*native.Weights{w}); err != nil {
		t.Fatal(err)
	}
}
