//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
)

// measureRoutes runs the gateway's rig for prefix routing against round robin. Its rounds are long, so there are fewer.
func measureRoutes(ctx context.Context, s settings) ([]figure, error) {
	cmd := exec.CommandContext(ctx, s.gateway, "routes", "-json", "-rounds", fmt.Sprint(max(5, s.rounds/2)))
	cmd.Stderr = os.Stderr
	raw, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("the gateway's rig: %w", err)
	}
	return readRoutes(raw)
}

// readRoutes reads what the rig printed.
func readRoutes(raw []byte) ([]figure, error) {
	type side struct {
		Goodput  float64 `json:"goodput_per_cpu_second"`
		HitShare float64 `json:"hit_share"`
		Refused  int     `json:"refused"`
	}
	var g struct {
		What     string
		Prefix   side
		Turn     side `json:"round_robin"`
		Ratio    float64
		Low      float64 `json:"ratio_low"`
		High     float64 `json:"ratio_high"`
		Control  float64
		CtrlLow  float64 `json:"control_low"`
		CtrlHigh float64 `json:"control_high"`
		Target   float64
		Met      bool
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		return nil, err
	}
	if g.Prefix.Goodput <= 0 || g.Turn.Goodput <= 0 {
		return nil, fmt.Errorf("the gateway's rig measured nothing: %.200s", raw)
	}
	what := fmt.Sprintf("%s (hits %.2f and %.2f, refused %d and %d)", g.What, g.Prefix.HitShare, g.Turn.HitShare, g.Prefix.Refused, g.Turn.Refused)
	return []figure{
		{What: what, Unit: "answers/CPU-s", Ours: g.Prefix.Goodput, Peer: "round robin", Theirs: g.Turn.Goodput, Ratio: g.Ratio, Low: g.Low, High: g.High,
			Target: fmt.Sprintf(">= %.1f", g.Target), Met: &g.Met},
		{What: "the same, round robin twice", Unit: "answers/CPU-s", Ours: g.Turn.Goodput * g.Control, Peer: "round robin", Theirs: g.Turn.Goodput, Ratio: g.Control, Low: g.CtrlLow, High: g.CtrlHigh, Target: "control"},
	}, nil
}
