// Command sched holds the scheduling core against published and measured figures on real traces, which are not part of the
// repository, and prints a table of what was reached and what was wanted:
//
//	go run ./test/sched -traces DIR [-only protocol,pack,itp,expect,foresight,gavel,speed,million,plan] [-instants N]
//
// DIR holds openb/, itp/ and gavel/ as published. Part speed runs the Go benchmarks of this repository, in whose folder it
// must be called. It exits with 1 when a target is missed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/queue"
	"github.com/triarch-ai/triarch/compute/sched/sim/report"
)

// clusters are the isolated clusters of the ITP setting, in nodes of eight.
var clusters = []int{8, 16, 25, 88, 2, 16, 46}

type rig struct {
	traces   string
	instants int
	jobs     int
	profile  string
	page     string
	replicas int
	out      *tabwriter.Writer
	missed   int
}

func main() {
	r := &rig{out: tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)}
	only := flag.String("only", "protocol,pack,itp,expect,foresight,gavel,speed,million,plan", "parts to run")
	flag.StringVar(&r.page, "page", "", "write the page of part plan to this file")
	flag.IntVar(&r.replicas, "replicas", 8, "demands drawn by part plan")
	flag.StringVar(&r.traces, "traces", "", "folder of the traces")
	flag.IntVar(&r.instants, "instants", 100, "instants at which foresight is tried")
	flag.StringVar(&r.profile, "cpuprofile", "", "write a profile of the processor to this file; of part million that of triarch")
	flag.IntVar(&r.jobs, "jobs", 1_000_000, "jobs of part million")
	alone := flag.String("alone", "", "replay part million under this policy only and print its figures")
	flag.Parse()
	if r.profile != "" && (*alone != "" || *only != "million") {
		f, err := os.Create(r.profile)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		defer pprof.StopCPUProfile()
	}
	if r.traces == "" {
		flag.Usage()
		os.Exit(2)
	}
	if *alone != "" {
		if err := r.replayAlone(context.Background(), *alone); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	fmt.Fprintf(r.out, "%d cores, %s, %s/%s\n", runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	parts := map[string]func(context.Context) error{"protocol": r.protocol, "pack": r.pack, "itp": r.itp, "expect": r.expect, "foresight": r.foresight,
		"gavel": r.gavel, "speed": r.speed, "million": r.million, "plan": r.plan}
	for name := range strings.SplitSeq(*only, ",") {
		part, ok := parts[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "there is no part %q\n", name)
			os.Exit(2)
		}
		fmt.Fprintf(r.out, "\n%s\n", name)
		if err := part(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		_ = r.out.Flush()
	}
	if r.missed > 0 {
		fmt.Printf("\n%d targets missed\n", r.missed)
		pprof.StopCPUProfile()
		os.Exit(1)
	}
}

// row prints a figure; ok says whether it is what was wanted.
func (r *rig) row(what, got, wanted string, ok bool) {
	word := "met"
	if !ok {
		word = "MISSED"
		r.missed++
	}
	fmt.Fprintf(r.out, "%s\t%s\t%s\t%s\n", what, got, wanted, word)
}

// told prints a figure that has no target.
func (r *rig) told(what, format string, args ...any) {
	fmt.Fprintf(r.out, "%s\t%s\t\t\n", what, fmt.Sprintf(format, args...))
}

// itpFleet writes the fleet file of the ITP setting.
func itpFleet() (string, error) {
	var b strings.Builder
	b.WriteString("chips: [{name: gpu}]\nsites:\n")
	for i := range clusters {
		b.WriteString(fmt.Sprintf("  - {name: c%d, clusters: [cluster%02d]}\n", i+1, i+1))
	}
	b.WriteString("nodes:\n")
	for i, n := range clusters {
		b.WriteString(fmt.Sprintf("  - {name: \"c%d-{}\", count: %d, in: c%d, chip: gpu, chips: 8}\n", i+1, n, i+1))
	}
	return temporary("itp-*.yaml", b.String())
}

func temporary(pattern, text string) (string, error) {
	f, err := os.CreateTemp("", pattern)
	if err != nil {
		return "", err
	}
	if _, err := f.WriteString(text); err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

// replay runs policies on the ITP setting and gives their summaries by name.
func (r *rig) replay(ctx context.Context, o queue.Options) (map[string]*report.Summary, *queue.Output, error) {
	o.Clock = time.Now
	out, err := queue.Run(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	by := map[string]*report.Summary{}
	for _, s := range out.Runs {
		by[s.Policy] = s
	}
	return by, out, nil
}

func (r *rig) itpOptions(policies ...string) (queue.Options, error) {
	file, err := itpFleet()
	return queue.Options{Trace: filepath.Join(r.traces, "itp", "itp_jobs.csv.gz"), Fleet: file, Policies: policies, Seed: 1}, err
}

// itp is mean completion against the policies that know the future, and the tail of queueing.
func (r *rig) itp(ctx context.Context) error {
	o, err := r.itpOptions("fifo", "fifo-backfill", "sjf", "sjf-backfill", "srsf", "las", "triarch")
	if err != nil {
		return err
	}
	defer os.Remove(o.Fleet)
	by, _, err := r.replay(ctx, o)
	if err != nil {
		return err
	}
	for _, p := range o.Policies {
		s := by[p]
		var sites strings.Builder
		for _, x := range s.Sites {
			sites.WriteString(fmt.Sprintf(" %.0f", x.MeanCompletionS))
		}
		r.told(p, "mean completion %.0f s, p99 queueing %.0f s, by cluster%s", s.MeanCompletionS, s.P99QueueS, sites.String())
	}
	ours := by["triarch"]
	r.row("mean completion below sjf-backfill", seconds(ours.MeanCompletionS), "< "+seconds(by["sjf-backfill"].MeanCompletionS), ours.MeanCompletionS < by["sjf-backfill"].MeanCompletionS)
	aim := 1.1 * by["srsf"].MeanCompletionS
	r.row("aim: 1.1 times srsf", seconds(ours.MeanCompletionS), "<= "+seconds(aim), ours.MeanCompletionS <= aim)
	r.row("p99 queueing below fifo-backfill", seconds(ours.P99QueueS), "< "+seconds(by["fifo-backfill"].P99QueueS), ours.P99QueueS < by["fifo-backfill"].P99QueueS)
	return nil
}

func seconds(s float64) string { return fmt.Sprintf("%.0f s", s) }

// expect is how often expected starts held.
func (r *rig) expect(ctx context.Context) error {
	o, err := r.itpOptions("triarch")
	if err != nil {
		return err
	}
	defer os.Remove(o.Fleet)
	o.Expect = time.Hour
	by, _, err := r.replay(ctx, o)
	if err != nil {
		return err
	}
	e := by["triarch"].Expected
	if e == nil {
		return fmt.Errorf("no starts were expected")
	}
	r.told("starts expected", "%d", e.Jobs)
	r.row("started by P50", fmt.Sprintf("%.1f %%", e.P50Percent), "45 to 55 %", e.P50Percent >= 45 && e.P50Percent <= 55)
	r.row("started by P90", fmt.Sprintf("%.1f %%", e.P90Percent), "85 to 95 %", e.P90Percent >= 85 && e.P90Percent <= 95)
	return nil
}

// gavel is Gavel's setting: three generations of chips, 36 of each.
func (r *rig) gavel(ctx context.Context) error {
	var b strings.Builder
	b.WriteString("chips:\n  - {name: k80, price: 0.45}\n  - {name: p100, price: 1.46}\n  - {name: v100, price: 2.48}\nsites: [{name: gavel}]\nnodes:\n")
	for _, c := range []string{"k80", "p100", "v100"} {
		b.WriteString(fmt.Sprintf("  - {name: \"%s-{}\", count: 36, in: gavel, chip: %s, chips: 1}\n", c, c))
	}
	file, err := temporary("gavel-*.yaml", b.String())
	if err != nil {
		return err
	}
	defer os.Remove(file)
	for seed := range uint64(3) {
		o := queue.Options{Throughputs: filepath.Join(r.traces, "gavel", "simulation_throughputs.csv.gz"), Fleet: file, Policies: []string{"gavel", "triarch"},
			Seed: seed + 1, Jobs: 5000, MeasureFrom: 4000, MeasureTo: 5000}
		capacity := &queue.Options{}
		*capacity = o
		capacity.Load, capacity.Policies, capacity.Jobs, capacity.MeasureFrom, capacity.MeasureTo = 0.3, []string{"triarch"}, 10, 0, 0
		_, out, err := r.replay(ctx, *capacity)
		if err != nil {
			return err
		}
		agnostic := 0.9 * out.Capacity.Shared / out.Capacity.Best
		for _, load := range []float64{agnostic, 0.95} {
			o.Load = load
			by, _, err := r.replay(ctx, o)
			if err != nil {
				return err
			}
			ours, theirs := by["triarch"], by["gavel"]
			what := fmt.Sprintf("seed %d, load %.3f of %.1f: mean completion", seed+1, load, out.Capacity.Best)
			r.row(what, fmt.Sprintf("%.2f h for %.0f", ours.MeanCompletionS/3600, ours.Cost), fmt.Sprintf("<= %.2f h for %.0f (gavel)", theirs.MeanCompletionS/3600, theirs.Cost),
				ours.MeanCompletionS <= theirs.MeanCompletionS)
		}
		o.Load, o.Jobs, o.MeasureTo, o.Policies = 0.95, 10000, 10000, []string{"triarch"}
		o.MeasureFrom = 9000
		by, _, err := r.replay(ctx, o)
		if err != nil {
			return err
		}
		late := by["triarch"]
		r.row(fmt.Sprintf("seed %d: sustains 0.95, jobs 9,000 to 10,000 wait no longer than a day on average", seed+1), fmt.Sprintf("%.2f h", late.MeanQueueS/3600), "<= 24 h", late.MeanQueueS <= 86400)
	}
	return nil
}

// itpSetting is the ITP fleet in memory.
func itpSetting() (*fleet.Fleet, error) { return itpSized(clusters) }
