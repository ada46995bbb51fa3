package plan

import (
	"context"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
)

type twice struct{}

func (twice) Correct(_ perf.Question, a perf.Answer) perf.Answer { a.Rate *= 2; return a }

// Tokens are predicted for every class of the fleets, bettered by what was measured, and what cannot be predicted is named.
func TestTokensArePredictedOrRefused(t *testing.T) {
	known, err := chip.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	fl := func(name string) []Fleet {
		f := sizedFleet(t, "f", 1, 1)
		f.Chips[0].Name = name
		return []Fleet{f}
	}
	serve := perf.Work{Task: perf.Serve, Precision: chip.BF16, Prompt: 512, Output: 128}
	rates, said, err := Tokens(known, fl("nvidia-h100-sxm"), "llama-3-8b", serve, nil)
	if err != nil || rates["nvidia-h100-sxm"] <= 0 || len(said) != 1 || !strings.Contains(said[0], "prior") {
		t.Fatalf("%v %q %v", rates, said, err)
	}
	better, _, err := Tokens(known, fl("nvidia-h100-sxm"), "llama-3-8b", serve, twice{})
	if err != nil || better["nvidia-h100-sxm"] < 1.99*rates["nvidia-h100-sxm"] {
		t.Errorf("corrected: %v after %v, %v", better, rates, err)
	}
	// A model too large for a chip lies on several of the node.
	if large, said, err := Tokens(known, fl("nvidia-h100-sxm"), "llama-3-70b", serve, nil); err != nil || large["nvidia-h100-sxm"] >= rates["nvidia-h100-sxm"] || strings.Contains(said[0], "on 1 of") {
		t.Errorf("%v %q %v", large, said, err)
	}
	for want, c := range map[string]struct{ chip, model string }{
		"does not know the chip":     {"x", "llama-3-8b"},
		`The nearest is "llama-3-8b`: {"nvidia-h100-sxm", "llama-3-8"},
		"It does not fit":            {"nvidia-l4", "llama-3-405b"},
		"does not have bf16":         {"nvidia-t4", "llama-3-8b"},
	} {
		if _, _, err := Tokens(known, fl(c.chip), c.model, serve, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s: %v", want, err)
		}
	}
}

// What followed the record is forecast without being looked at: the forecasts are the same whatever came, and what came is told.
func TestHindsightLearnsFromTheRecordAlone(t *testing.T) {
	all := record4()
	o := Options{Jobs: within(all, 0, 14*day), To: 14 * day, Fleets: []Fleet{sizedFleet(t, "now", 2, 2)}, Prices: []*Prices{prices(t, rentText)}, Replicas: 2, Forecast: "weeks"}
	really, err := Hindsight(context.Background(), o, all, 28*day)
	if err != nil {
		t.Fatal(err)
	}
	more, err := Hindsight(context.Background(), o, heavier(all), 28*day)
	if err != nil {
		t.Fatal(err)
	}
	if len(really) != 1 || really[0].Wait != more[0].Wait || really[0].Use != more[0].Use || more[0].RealWait <= really[0].RealWait || more[0].Score <= really[0].Score {
		t.Errorf("%+v\n%+v", really, more)
	}
}
