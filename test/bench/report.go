//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// result is everything a run found, and where.
type result struct {
	Date    string   `json:"date"`
	CPU     string   `json:"cpu"`
	Cores   int      `json:"cores"`
	System  string   `json:"system"`
	Rounds  int      `json:"rounds"`
	Load    []string `json:"load"` // the machine's load averages when the run began and when it ended
	Figures []figure `json:"figures"`
	Failed  []string `json:"failed,omitempty"` // parts that could not be measured, and why
}

// measure runs the parts and prints the table. A part that fails leaves the others standing and fails the run.
func measure(ctx context.Context, s settings) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := writeInputs(dir); err != nil {
		return err
	}
	r := result{Date: time.Now().Format("2006-01-02"), CPU: processor(), Cores: runtime.NumCPU(),
		System: runtime.GOOS + "/" + runtime.GOARCH, Rounds: s.rounds, Load: []string{load()}}
	var failed []error
	for _, part := range []struct {
		name string
		run  func() ([]figure, error)
	}{
		{"train", func() ([]figure, error) { return measureTraining(ctx, s, dir) }},
		{"serve", func() ([]figure, error) { return measureServing(ctx, s, dir) }},
		{"form", func() ([]figure, error) { return measureForms(ctx, s, dir) }},
		{"gateway", func() ([]figure, error) { return measureGateway(ctx, s) }},
		{"routes", func() ([]figure, error) { return measureRoutes(ctx, s) }},
		{"up", func() ([]figure, error) { return measureUp(ctx, s, dir) }},
	} {
		if !s.only[part.name] || ctx.Err() != nil {
			continue
		}
		figures, err := part.run()
		r.Figures = append(r.Figures, figures...)
		if err != nil {
			r.Failed = append(r.Failed, part.name+": "+err.Error())
			failed = append(failed, fmt.Errorf("%s: %w", part.name, err))
		}
	}
	r.Load = append(r.Load, load())
	r.print()
	if s.json != "" {
		raw, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.json, append(raw, '\n'), 0o644); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

func (r *result) print() {
	fmt.Printf("%s, %s, %d cores, %s, medians of %d rounds, load %s at the start and %s at the end\n\n",
		r.Date, r.CPU, r.Cores, r.System, r.Rounds, r.Load[0], r.Load[1])
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tTriarch\tpeer\t\tratio (quartiles)\ttarget\t")
	for _, f := range r.Figures {
		theirs, ratio, met := "", "", ""
		if f.Theirs > 0 {
			theirs, ratio = amount(f.Theirs), fmt.Sprintf("%.2f", f.Ratio)
		}
		if f.Low > 0 {
			ratio += fmt.Sprintf(" (%.2f to %.2f)", f.Low, f.High)
		}
		if f.Met != nil {
			met = map[bool]string{true: "met", false: "MISSED"}[*f.Met]
		}
		fmt.Fprintf(w, "%s\t%s %s\t%s\t%s\t%s\t%s\t%s\n", f.What, amount(f.Ours), f.Unit, theirs, f.Peer, ratio, f.Target, met)
	}
	_ = w.Flush() // standard output
	for _, f := range r.Failed {
		fmt.Println("not measured:", f)
	}
}

func amount(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func processor() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.SplitSeq(string(raw), "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// load is the machine's load average over one minute.
func load() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(raw), " ")
	return one
}

func splitLines(raw []byte) [][]byte {
	var out [][]byte
	for line := range bytes.SplitSeq(raw, []byte("\n")) {
		if len(line) > 0 {
			out = append(out, line)
		}
	}
	return out
}
