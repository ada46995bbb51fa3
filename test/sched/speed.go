package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// figures are what benchmarks reported, by name and unit.
type figures map[string]map[string]float64

// speed runs the Go benchmarks of the core on one core and holds them against what was wanted.
func (r *rig) speed(ctx context.Context) error {
	traces, err := filepath.Abs(r.traces)
	if err != nil {
		return err
	}
	all := figures{}
	for _, x := range []struct{ folder, pattern, time string }{
		{"./compute/sched/sim/pack", "Decisions", "2s"},
		{"./compute/sched", "Steady|Explain", "20000x"},
		{"./compute/sched", "Reclaim|Expect", "5x"},
	} {
		if err := all.measure(ctx, traces, x.folder, x.pattern, x.time); err != nil {
			return err
		}
	}
	r.decisions(all, "openb-default", 20_000)
	r.decisions(all, "openb-gpuspec25", 20_000)
	r.decisions(all, "itp", 100_000)
	r.plans(all)
	return nil
}

// measure runs the benchmarks of a folder and adds what they report.
func (f figures) measure(ctx context.Context, traces, folder, pattern, time string) error {
	c := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", pattern, "-benchtime", time, "-cpu", "1", folder)
	c.Env, c.Stderr = append(os.Environ(), "TRIARCH_TRACES="+traces), os.Stderr
	text, err := c.Output()
	if err != nil {
		return fmt.Errorf("the benchmarks of %s: %w\n%s", folder, err, text)
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		units := map[string]float64{}
		for i := 2; i+1 < len(words); i += 2 {
			if units[words[i+1]], err = strconv.ParseFloat(words[i], 64); err != nil {
				return fmt.Errorf("the line %q of the benchmarks of %s: %w", lines.Text(), folder, err)
			}
		}
		f[strings.TrimPrefix(words[0], "Benchmark")] = units
	}
	return nil
}

// of is a figure; one that no benchmark reported is 0, which misses every target.
func (f figures) of(name, unit string) float64 { return f[name][unit] }

// decisions are placements by the index in steady state at 90 % load.
func (r *rig) decisions(f figures, classes string, wanted float64) {
	const unit = "decisions/cpu-s"
	big, small := "Decisions/"+classes+"/nodes=6250/index", "Decisions/"+classes+"/nodes=1000/index"
	at := f.of(big, unit)
	r.row(classes+": decisions a CPU-second, 6,250 nodes", fmt.Sprintf("%.0f", at), fmt.Sprintf(">= %.0f", wanted), at >= wanted)
	times := f.of(small, unit) / max(1, at)
	r.row(classes+": 1,000 nodes", fmt.Sprintf("%.0f, %.2f times", f.of(small, unit), times), "<= 2 times", times > 0 && times <= 2)
	r.told(classes+": a plain rescan, 6,250 nodes", "%.0f", f.of("Decisions/"+classes+"/nodes=6250/rescan", unit))
	r.told(classes+": memory", "%.0f MB (1,000 nodes: %.0f)", f.of(big, "MB"), f.of(small, "MB"))
}

// plans are whole plans of the core.
func (r *rig) plans(f figures) {
	const unit = "decisions/cpu-s"
	r.told("whole core, an end, a submission and a plan for each: decisions a CPU-second", "%.0f (1,000 nodes: %.0f), %.0f MB",
		f.of("Steady/6250", unit), f.of("Steady/1000", unit), f.of("Steady/6250", "MB"))
	for _, x := range []struct{ what, name string }{
		{"a queue takes back 5,000 of 50,000 chips, 6,250 nodes", "Reclaim/6250"},
		{"expected starts of 10,000 jobs that wait, 50,000 chips", "Expect"},
	} {
		s := f.of(x.name, "cpu-s")
		r.row(x.what, fmt.Sprintf("%.2f CPU-seconds, %.0f MB", s, f.of(x.name, "MB")), "< 1 s", s > 0 && s < 1)
	}
	r.told("why each of 10,000 jobs waits", "%.1f CPU-microseconds a job", f.of("Explain", "cpu-us"))
}
