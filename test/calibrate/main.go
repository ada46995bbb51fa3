//go:build unix

// Command calibrate measures the embedded engine on this machine in training, prefill and decode, fits what it reaches to six shapes
// and predicts twelve others. It prints both tables and takes some minutes of one core; -out keeps what was measured.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/triarch-ai/triarch/compute/chip/cpu"
	"github.com/triarch-ai/triarch/models/native/kernel"
)

func main() {
	rounds := flag.Int("rounds", 3, "how often all is measured; of each the best counts, for others on the machine only slow")
	out := flag.String("out", "", "file to keep the measurements in")
	in := flag.String("in", "", "file of measurements to use instead of measuring")
	flag.Parse()
	if err := run(*rounds, *in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "calibrate:", err)
		os.Exit(1)
	}
}

func run(rounds int, in, out string) error {
	var d Data
	var err error
	if in != "" {
		d, err = read(in)
	} else {
		d, err = gather(rounds)
	}
	if err != nil {
		return err
	}
	if out != "" {
		b, err := json.MarshalIndent(d, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(out, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	fmt.Print(report(d))
	return nil
}

// gather measures everything, round by round, so that what a busy minute spoils another mends.
func gather(rounds int) (Data, error) {
	var d Data
	start := time.Now()
	best := map[Row]float64{}
	for round := range rounds {
		d.Machine.FP32 = max(d.Machine.FP32, kernel.Speed(1, func() time.Time { return time.Unix(0, int64(spent())) }))
		for i, l := range cpu.Levels(0) {
			if round == 0 {
				d.Machine.Levels = append(d.Machine.Levels, l)
			}
			d.Machine.Levels[i].Bandwidth = max(d.Machine.Levels[i].Bandwidth, l.Bandwidth)
		}
		for _, c := range cases {
			for _, t := range tasks {
				r, err := measure(c, t)
				if err != nil {
					return d, fmt.Errorf("%s of %s: %w", t, c.Name, err)
				}
				key := Row{Case: c.Name, Task: t}
				best[key] = max(best[key], r)
			}
		}
		fmt.Fprintf(os.Stderr, "round %d of %d, %s\n", round+1, rounds, time.Since(start).Round(time.Second))
	}
	for _, c := range cases {
		for _, t := range tasks {
			d.Rows = append(d.Rows, Row{c.Name, t, best[Row{Case: c.Name, Task: t}]})
		}
	}
	return d, nil
}
