package fit_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/compute/queue"
	"github.com/triarch-ai/triarch/models/fit"
	"github.com/triarch-ai/triarch/models/registry"
)

func model(name, arch, class string, per float64) registry.Shape {
	s, _ := perf.Named(name)
	n := s.Parameters()
	return registry.Shape{Arch: arch, Class: class, Form: "safetensors", Params: n, WeightBytes: int64(float64(n) * per), Context: 8192, Transformer: &s, Foreign: "It is not for here."}
}

func TestPlaces(t *testing.T) {
	s := service(t, estimate.Stock{Class: "cpu", Chips: 2, Node: 1}, estimate.Stock{Class: "nvidia-l4", Chips: 2, Node: 2},
		estimate.Stock{Class: "nvidia-h100-sxm", Chips: 8, Node: 8}, estimate.Stock{Class: "slot", Chips: 8, Node: 8}, estimate.Stock{Class: "huawei-310p", Chips: 2, Node: 2})
	at := func(m registry.Shape) map[string]fit.Place {
		t.Helper()
		all, err := s.Places(t.Context(), m)
		if err != nil || len(all) != 5 {
			t.Fatalf("%+v, %v", all, err)
		}
		out := map[string]fit.Place{}
		for _, p := range all {
			out[p.Class] = p
			if (p.Count > 0) == (p.Why != "") || p.Count > p.Has {
				t.Errorf("%+v", p)
			}
		}
		return out
	}
	large := at(model("llama-3-70b", "llama", "LlamaForCausalLM", 2))
	if p := large["nvidia-h100-sxm"]; p.Count != 2 || p.Engine != "vllm" || p.Longest != 8192 || !p.Whole || p.Known != perf.Prior || !(p.Rate.Low < p.Rate.Is && p.Rate.Is < p.Rate.High) || p.Rate.Is < 10 || p.Rate.Is > 60 {
		t.Errorf("70B in 16 bits on H100: %+v", p)
	}
	if p := large["nvidia-l4"]; !strings.Contains(p.Why, "does not fit") || !strings.Contains(p.Why, "8 chips") && !strings.Contains(p.Why, "takes") {
		t.Errorf("on L4: %+v", p)
	}
	if p := large["slot"]; !strings.Contains(p.Why, "figures of slot") {
		t.Errorf("on what nobody knows: %+v", p)
	}
	if p := large["cpu"]; !strings.Contains(p.Why, "llama.cpp") && !strings.Contains(p.Why, "native") {
		t.Errorf("on processors: %+v", p)
	}
	small := at(model("llama-3-8b", "llama", "LlamaForCausalLM", 0.6))
	if p := small["nvidia-l4"]; p.Count != 1 || p.Context != 2048 || p.Task != perf.Decode {
		t.Errorf("8B in 4 bits on L4: %+v", p)
	}
	full := model("llama-3-8b", "llama", "LlamaForCausalLM", 2)
	full.Context = 1 << 17
	if p := at(full)["nvidia-l4"]; p.Count != 1 || p.Whole || p.Longest < 10_000 || p.Longest > 60_000 {
		t.Errorf("the longest sequence on L4: %+v", p)
	}
	for class, p := range at(registry.Shape{Unknown: "Nobody knows."}) {
		if p.Why != "Nobody knows." {
			t.Errorf("%s of an unknown shape: %+v", class, p)
		}
	}
	odd := at(model("llama-3-8b", "llama", "OddForCausalLM", 2))
	if p := odd["nvidia-l4"]; p.Count != 1 || p.Engine != "sglang" {
		t.Errorf("a class that vLLM does not list: %+v", p)
	}
}

// The embedded engine runs what it knows on the processor, in four bytes a weight.
func TestPlacesOnTheProcessor(t *testing.T) {
	c, err := chip.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	base, err := c.Find("cpu")
	if err != nil {
		t.Fatal(err)
	}
	figure := func(v float64, u chip.Unit) *chip.Figure {
		return &chip.Figure{Value: v, Unit: u, Source: "here", Confidence: chip.Measured}
	}
	memory := 8e9
	p := chip.Processor(base, &chip.Device{Cores: 2, Memory: &memory, Bandwidth: figure(2e10, chip.BytesPerSecond), FP32: figure(1e11, chip.OpsPerSecond)}, 0)
	s := service(t, estimate.Stock{Class: "cpu", Chips: 1, Node: 1})
	s.Market = func() (estimate.Market, error) { return estimate.Market{Catalogue: c, Processor: &p}, nil }
	shape := perf.Shape{Layers: 16, Width: 2048, Heads: 32, KVHeads: 8, Head: 64, Inner: 8192, Vocab: 128256, Tied: true}
	m := registry.Shape{Arch: "llama", Class: "LlamaForCausalLM", Form: "safetensors", Params: shape.Parameters(), WeightBytes: 2 * shape.Parameters(), Context: 4096, Transformer: &shape}
	all, err := s.Places(t.Context(), m)
	if err != nil || len(all) != 1 || all[0].Engine != fit.Native || all[0].Count != 1 || all[0].Rate.Is < 0.5 || all[0].Rate.Is > 8 {
		t.Errorf("%+v, %v", all, err)
	}
	if n := fit.NativeBytes(m); n != 4*(shape.Parameters()+128256*2048) {
		t.Errorf("%d bytes in the embedded engine", n)
	}
	m.Form, m.Foreign = "gguf", "It is a file."
	if all, err := s.Places(t.Context(), m); err != nil || all[0].Engine != "llama.cpp" {
		t.Errorf("%+v, %v", all, err)
	}
	memory = 4e9
	p = chip.Processor(base, &chip.Device{Cores: 2, Memory: &memory, Bandwidth: figure(2e10, chip.BytesPerSecond), FP32: figure(1e11, chip.OpsPerSecond)}, 0)
	m.Form, m.Foreign = "safetensors", ""
	if all, err := s.Places(t.Context(), m); err != nil || all[0].Count != 0 || !strings.Contains(all[0].Why, "does not fit") {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestEngines(t *testing.T) {
	c, err := chip.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	verdicts := func(s registry.Shape) map[string]fit.Verdict {
		out := map[string]fit.Verdict{}
		for _, e := range fit.Engines(c, s) {
			if e.Why == "" || e.Name != fit.Native && len(e.Makes) == 0 {
				t.Errorf("%+v", e)
			}
			out[e.Name] = e.Runs
		}
		return out
	}
	for name, x := range map[string]struct {
		shape registry.Shape
		want  map[string]fit.Verdict
	}{
		"our own":   {registry.Shape{Arch: "llama"}, map[string]fit.Verdict{"native": fit.Yes, "llama.cpp": fit.Yes, "vllm": fit.Yes, "mindie": fit.Perhaps}},
		"qwen2":     {registry.Shape{Arch: "qwen2", Class: "Qwen2ForCausalLM", Form: "safetensors", Foreign: "No."}, map[string]fit.Verdict{"native": fit.No, "llama.cpp": fit.No, "vllm": fit.Yes, "sglang": fit.Yes}},
		"gguf":      {registry.Shape{Arch: "qwen3moe", Form: "gguf", Foreign: "No."}, map[string]fit.Verdict{"native": fit.No, "llama.cpp": fit.Yes, "vllm": fit.Perhaps}},
		"a strange": {registry.Shape{Arch: "odd", Class: "Odd", Form: "safetensors", Foreign: "No."}, map[string]fit.Verdict{"vllm": fit.Perhaps, "sglang": fit.Perhaps, "llama.cpp": fit.No}},
	} {
		got := verdicts(x.shape)
		for engine, want := range x.want {
			if got[engine] != want {
				t.Errorf("%s with %s: %q, want %q", name, engine, got[engine], want)
			}
		}
	}
}

func TestStock(t *testing.T) {
	got := fit.Stock([]queue.NodeView{{Chip: "cpu", Chips: 4}, {Chip: "a", Chips: 2}, {Chip: "a", Chips: 6}, {Chip: "cpu", Chips: 8}})
	want := []estimate.Stock{{Class: "cpu", Chips: 2, Node: 1}, {Class: "a", Chips: 8, Node: 6}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestFootprint(t *testing.T) {
	m := model("llama-3-8b", "llama", "LlamaForCausalLM", 2)
	f, ok := fit.FootprintOf(m)
	if !ok || f.Weights != m.WeightBytes || f.Cache != 2*32*8*128*2*1000 {
		t.Errorf("%+v, %t", f, ok)
	}
	if f, ok := fit.FootprintOf(registry.Shape{WeightBytes: 7, Unknown: "No."}); ok || f.Weights != 7 {
		t.Errorf("%+v, %t", f, ok)
	}
}
