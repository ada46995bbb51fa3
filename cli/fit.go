package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
)

// showNeeds tells what a model takes and which engines run it.
func (a *app) showNeeds(v api.ModelVersion) {
	if m := v.Memory; m != nil {
		a.Printf("  needs    %s for weights, %s for each 1,000 tokens of a sequence\n", ui.Bytes(m.Weights), ui.Bytes(m.CachePer1K))
		if m.NativeBytes > 0 {
			a.Printf("           %s for weights in the embedded engine\n", ui.Bytes(m.NativeBytes))
		}
		if m.Active > 0 {
			a.Printf("           a token uses %.2f M parameters\n", float64(m.Active)/1e6)
		}
	}
	for _, e := range v.Engines {
		on := ""
		if len(e.Makes) > 0 {
			on = " (" + strings.Join(e.Makes, ", ") + ")"
		}
		a.Printf("  engine   %-10s %-10s %s%s\n", e.Engine, e.Runs, e.Why, on)
	}
}

// modelFits tells for each model on which chips of the fleet it fits.
func (a *app) modelFits(ctx context.Context, c *api.Client, models []api.Model) error {
	fits := []api.ModelFit{}
	for _, m := range models {
		f, err := c.ModelFit(ctx, m.Name)
		if err != nil {
			return err
		}
		fits = append(fits, f)
	}
	return a.Value(fits, func() {
		var cells [][]string
		for _, f := range fits {
			for _, p := range f.Places {
				cells = append(cells, append([]string{f.Model, parameters(f.Params)}, fitCells(p)...))
			}
		}
		a.Table([]string{"model", "parameters", "chip", "fits", "longest", "tokens/s", "known", "engine", "why"}, cells)
	})
}

func parameters(n int64) string {
	switch {
	case n == 0:
		return "-"
	case n < 1e9:
		return fmt.Sprintf("%.1f M", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f B", float64(n)/1e9)
}

func fitCells(p api.ModelFitPlace) []string {
	if !p.Fits {
		return []string{p.Chip, "no", "-", "-", "-", first(p.Engine, "-"), p.Why}
	}
	rate := "-"
	if r := p.Rate; r != nil {
		rate = fmt.Sprintf("%s (%s to %s)", thousands(r.Is), thousands(r.Low), thousands(r.High))
	}
	return []string{p.Chip, fmt.Sprintf("on %d of %d", p.Count, p.Has), fmt.Sprint(p.Longest), rate, p.Known, p.Engine, ""}
}
