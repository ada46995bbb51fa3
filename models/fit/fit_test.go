package fit_test

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/fit"
)

func TestMemory(t *testing.T) {
	looked := 0
	need := fit.Need{What: "The run", Bytes: 3 << 30, Has: 2 << 30, Field: "recipe.batch", Detail: "a batch of 8 rows", Nearest: func() string { looked++; return "a batch of 4 would take 1.5 GiB" }}
	err := fit.Memory(need)
	f := fault.As(err)
	if !fault.Is(err, fault.Invalid) || f.Code != "memory" || f.Field != "recipe.batch" || looked != 1 ||
		f.Sentence() != "The run needs at least 3.0 GiB for a batch of 8 rows and this machine has 2.0 GiB to give. A batch of 4 would take 1.5 GiB; --force goes on all the same." {
		t.Errorf("%v", err)
	}
	for _, n := range []fit.Need{{Bytes: 5}, {Has: 5}, {Bytes: 5, Has: 5}, {Bytes: -1, Has: 1}} {
		if err := fit.Memory(n); err != nil {
			t.Errorf("%+v: %v", n, err)
		}
	}
	kept, rest := fit.Force(err, true, true)
	if rest != nil || !strings.Contains(kept, "3.0 GiB") || strings.Contains(kept, "--force") {
		t.Errorf("%q, %v", kept, rest)
	}
	if kept, rest := fit.Force(err, false, true); rest == nil || kept != "" {
		t.Errorf("not forced: %q, %v", kept, rest)
	}
	other := fault.New(fault.Invalid, "Something else.", fault.Field("name"))
	if kept, rest := fit.Force(other, true, true); rest == nil || kept != "" {
		t.Errorf("another fault was overridden: %q", kept)
	}
	if kept, rest := fit.Force(err, true, false); !fault.Is(rest, fault.Forbidden) || kept != "" || !strings.Contains(fault.As(rest).Fix, "scope platform") {
		t.Errorf("a tenant fills the machine that others work on: %q, %v", kept, rest)
	}
	if n := fit.Times(1<<62, 4); n != math.MaxInt64 {
		t.Errorf("%d", n)
	}
	if kept, rest := fit.Force(nil, true, true); rest != nil || kept != "" {
		t.Errorf("nothing: %q, %v", kept, rest)
	}
}

func service(t *testing.T, stock ...estimate.Stock) *fit.Service {
	t.Helper()
	c, err := chip.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return &fit.Service{Market: func() (estimate.Market, error) { return estimate.Market{Catalogue: c}, nil },
		Stock: func(context.Context) ([]estimate.Stock, error) { return stock, nil }}
}

func TestChips(t *testing.T) {
	large, _ := perf.Named("llama-3-70b")
	small, _ := perf.Named("llama-3-8b")
	s := service(t, estimate.Stock{Class: "cpu", Chips: 1, Node: 1}, estimate.Stock{Class: "nvidia-l4", Chips: 4, Node: 4}, estimate.Stock{Class: "slot", Chips: 8, Node: 8})
	decode := perf.Work{Task: perf.Decode, Batch: 1, Context: 2048}
	work := func(shape *perf.Shape, chips int, classes ...string) fit.Work {
		return fit.Work{What: "A replica", Field: "chips", Shape: shape, Work: decode, Chips: chips, Classes: classes}
	}
	err := s.Chips(t.Context(), work(&large, 1, "nvidia-l4"))
	f := fault.As(err)
	if !fault.Is(err, fault.Invalid) || f.Code != "memory" || f.Field != "chips" || !strings.Contains(f.Message, "1 nvidia-l4") || !strings.Contains(f.Message, "141") ||
		!strings.Contains(f.Fix, "8 nvidia-l4 would hold it and there are 4") || !strings.Contains(f.Fix, "which the fleet does not have") {
		t.Errorf("%v", err)
	}
	for name, w := range map[string]fit.Work{
		"what fits":               work(&small, 1, "nvidia-l4"),
		"one of two classes":      work(&large, 1, "nvidia-l4", "amd-mi300x"),
		"a class nobody knows":    work(&large, 1, "slot"),
		"all, one of them is not": work(&large, 1),
		"no chips":                work(&large, 0, "nvidia-l4"),
		"no shape":                work(nil, 1, "nvidia-l4"),
		"a strange question":      {Shape: &large, Chips: 3, Classes: []string{"nvidia-l4"}, Work: perf.Work{Task: "?"}},
	} {
		if err := s.Chips(t.Context(), w); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	quantised := work(&large, 2, "nvidia-l4")
	quantised.Work.WeightBytes = 0.56
	if err := s.Chips(t.Context(), quantised); err != nil {
		t.Errorf("of four bits a weight: %v", err)
	}
	if err := (*fit.Service)(nil).Chips(t.Context(), work(&large, 1)); err != nil {
		t.Error(err)
	}
}
