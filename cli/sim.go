package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/triarch-ai/triarch/cli/ui"
	packing "github.com/triarch-ai/triarch/compute/sched/sim/pack"
	"github.com/triarch-ai/triarch/compute/sched/sim/queue"
	figures "github.com/triarch-ai/triarch/compute/sched/sim/report"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
)

func (a *app) simCommand() *cobra.Command {
	return noun("sim", "Replay recorded work on fleets that need not exist", a.simQueueCommand(), a.simPackCommand())
}

func (a *app) simQueueCommand() *cobra.Command {
	o := queue.Options{}
	var html, measure string
	c := &cobra.Command{Use: "queue", Short: "Replay a trace of jobs on a fleet under one policy or several", Args: cobra.NoArgs,
		Long: `Replays a trace of jobs, event by event, on a fleet and reports completion and queueing times, fairness,
allocation, waste and cost for each policy side by side.

The trace is a CSV file, gzip or not: ITP's form (cluster,job_id,submit_time,duration,num_gpu), openb's pods by
creation and deletion time, or the own form (job,submit,duration in seconds, and any of cluster, queue, project, user,
name, type, chips, share, chip_list, cpu, memory_mib, priority, deadline, preemptible, min_chips, max_chips).
Without a trace, --throughputs draws the jobs of Gavel's setting.

With --hide, triarch:learn and gavel:learn do not know a part of the table at first and learn it from what runs, :prior
never learns it, :alike thinks all chips alike. --seeds replays under several seeds and shows median and spread.

Policies: ` + strings.Join(queue.Policies(), ", ") + `.
sjf, srtf and srsf know how long jobs run, which no live scheduler does; las is swept over thresholds and its best is
shown (las:4h names one).`,
		Example: `  triarch sim queue --trace jobs.csv.gz --nodes 88 --chips-per-node 8 --policy fifo,srsf
  triarch sim queue --trace jobs.csv --fleet fleet.yaml --policy triarch -o json
  triarch sim queue --trace jobs.csv --fleet fleet.yaml --policy fifo --jobs 1000000 --load 0.85 --html report.html
  triarch sim queue --throughputs throughputs.csv --load 0.75 --hide 0.9 --seeds 10 --policy gavel,triarch,triarch:learn,triarch:alike`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := measured(measure, &o); err != nil {
				return err
			}
			return a.simQueue(cmd.Context(), o, html)
		}}
	f := c.Flags()
	f.StringVar(&o.Trace, "trace", "", "trace of jobs, CSV or gzip of it")
	f.StringVar(&o.Fleet, "fleet", "", "fleet file (YAML), or openb's list of nodes (CSV)")
	f.IntVar(&o.Nodes, "nodes", 0, "instead of a fleet file: so many equal nodes at one site")
	f.IntVar(&o.Chips, "chips-per-node", 8, "chips of each of them")
	f.StringSliceVar(&o.Policies, "policy", nil, "policy; several for a comparison")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of failures, resampling and drawn jobs")
	f.IntVar(&o.Seeds, "seeds", 0, "replay under so many seeds, from --seed on, and show the median and the spread")
	f.IntVar(&o.Jobs, "jobs", 0, "resample the trace to so many jobs, or draw so many (default for drawn ones: 6000, of which 4000:5000 are measured)")
	f.Float64Var(&o.Load, "load", 0, "load of the resampled jobs, as a part of the chips; of drawn ones, of the capacity by linear programme (default 0.85)")
	f.BoolVar(&o.SkipBad, "skip-bad", false, "leave rows that cannot be true out and count them")
	f.StringVar(&o.Throughputs, "throughputs", "", "table of throughputs by chip and job type, in Gavel's form")
	f.StringVar(&o.Reference, "reference", "", "chip that the trace's durations are of (default: the fastest of the table)")
	f.Float64Var(&o.Hide, "hide", 0, "part of the throughputs that policies such as triarch:learn do not know at first, 0 to 1")
	f.Float64Var(&o.Noise, "noise", 0, "how far what an attempt shows of its speed is off, as a part of it (default 0.05)")
	f.Float64Var(&o.Optimism, "optimism", 0, "standard deviations above what is thought of a speed at which those policies are told of it")
	f.StringVar(&measure, "measure", "", "measure only jobs FROM:TO in the order of submission")
	f.DurationVar(&o.Checkpoint, "checkpoint", 0, "time between checkpoints, lost at a failure (default 30m)")
	f.DurationVar(&o.Expect, "expect", 0, "have triarch say as often as this when waiting jobs will start, and report how it came true")
	f.StringVar(&html, "html", "", "write a page with plots to this file")
	return c
}

// measured reads FROM:TO.
func measured(s string, o *queue.Options) error {
	if s == "" {
		return nil
	}
	var rest string
	if n, _ := fmt.Sscanf(s+" ", "%d:%d%s", &o.MeasureFrom, &o.MeasureTo, &rest); n != 2 || o.MeasureFrom < 0 || o.MeasureTo <= o.MeasureFrom {
		return fault.InvalidField("measure", "%q is not FROM:TO with FROM below TO", s)
	}
	return nil
}

// simOutput is what -o json prints for one policy: its figures beside what they were made of.
type simOutput struct {
	About string       `json:"about"`
	Trace trace.Report `json:"trace"`
	*figures.Summary
	Capacity any     `json:"capacity,omitempty"`
	MemoryMB float64 `json:"memory_mb"`
}

func (a *app) simQueue(ctx context.Context, o queue.Options, html string) error {
	o.Clock = a.Now
	o.Progress = a.simProgress()
	if html != "" { // what cannot be written is better known before the replay than after it
		if err := writable(html); err != nil {
			return noPage(html, err)
		}
	}
	out, err := queue.Run(ctx, o)
	if err != nil {
		return err
	}
	if html != "" {
		if err := durable.Write(html, 0o644, func(w io.Writer) error {
			return figures.Page(w, "Queue simulation", out.About, out.Runs[:len(o.Policies)])
		}); err != nil {
			return noPage(html, err)
		}
	}
	var v any = out
	if len(out.Runs) == 1 {
		one := simOutput{About: out.About, Trace: out.Trace, Summary: out.Runs[0], MemoryMB: out.MemoryMB}
		if out.Capacity != nil {
			one.Capacity = out.Capacity
		}
		v = one
	}
	return a.Value(v, func() { a.showSim(out, html) })
}

// writable says why no file can be made beside a name, or that the name is a folder's; nil if it can be written.
func writable(name string) error {
	if st, err := os.Stat(name); err == nil && st.IsDir() {
		return fmt.Errorf("%s is a folder", name)
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".triarch-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func noPage(name string, err error) error {
	return fault.New(fault.Invalid, fmt.Sprintf("The page cannot be written to %s.", name), fault.Field("html"), fault.Cause(err), fault.Fix("Name a file in a folder that you may write to"))
}

func (a *app) showSim(out *queue.Output, html string) {
	a.Printf("%s\n", out.About)
	if out.Trace.Skipped > 0 {
		a.Printf("%d of %d rows were left out; the first: %s\n", out.Trace.Skipped, out.Trace.Rows, out.Trace.First)
	}
	if c := out.Capacity; c != nil {
		a.Printf("capacity %.1f reference chips, %.1f shared blindly, %.1f by lot\n", c.Best, c.Shared, c.Random)
	}
	a.Printf("\n")
	if len(out.Spreads) > 0 {
		a.Printf("%d seeds; the jobs above are of the first\n\n", out.Spreads[0].Seeds)
		a.Table(figures.SpreadTable(out.Spreads))
	} else {
		a.showRuns(out)
	}
	if html != "" {
		a.Printf("\nplots in %s\n", html)
	}
}

// showRuns shows the policies of one seed side by side.
func (a *app) showRuns(out *queue.Output) {
	a.Table(figures.Table(out.Runs))
	for _, t := range figures.SiteTables(out.Runs) {
		a.Printf("\n")
		a.Table(t.Headings, t.Rows)
	}
	for _, why := range slices.Sorted(maps.Keys(out.Runs[0].Refusals)) {
		n, noun := out.Runs[0].Refusals[why], "jobs"
		if n == 1 {
			noun = "job"
		}
		a.Printf("\nrefused %d %s: %s\n", n, noun, why)
	}
}

// simProgress draws on the error stream, so that figures alone go to the output: a bar on a terminal, lines in a pipe.
func (a *app) simProgress() func(policy string, ended, jobs int, now time.Duration) {
	screen := *a.Screen
	screen.Out, screen.JSON, screen.Terminal = a.Err, false, false
	if file, ok := a.Err.(*os.File); ok {
		screen.Terminal = term.IsTerminal(int(file.Fd()))
	}
	var bar *ui.Bar
	var of string
	var drawn, began time.Time
	return func(policy string, ended, jobs int, now time.Duration) {
		at := a.Now()
		if policy != of {
			bar, of, began = screen.Bar(policy), policy, at
		}
		// A short replay is over before a line about it could be read.
		if at.Sub(began) < time.Second || at.Sub(drawn) < 200*time.Millisecond && ended < jobs {
			return
		}
		drawn = at
		bar.Set(int64(ended), int64(jobs), fmt.Sprintf("%d of %d jobs, day %.1f", ended, jobs, now.Hours()/24))
		if ended == jobs {
			bar.Done(fmt.Sprintf("%d jobs replayed in %s", jobs, at.Sub(began).Round(100*time.Millisecond)))
		}
	}
}

func (a *app) simPackCommand() *cobra.Command {
	var o packing.Options
	var policies []string
	c := &cobra.Command{Use: "pack", Short: "Fill a fleet with pods until it is full, by the protocol of the FGD experiment", Args: cobra.NoArgs,
		Long: `Fills the nodes from empty with one pod after another until the requests reach --stop times the accelerators, and
reports how much of them is allocated. Policies: ` + strings.Join(packing.Policies(), ", ") + `.`,
		Example: "  triarch sim pack --nodes nodes.csv.gz --pods pods.csv.gz --policy fgd --seed 42 -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.simPack(cmd.Context(), o, policies)
		}}
	f := c.Flags()
	f.StringVar(&o.NodesFile, "nodes", "", "list of nodes, CSV or gzip of it")
	f.StringVar(&o.PodsFile, "pods", "", "list of pods, likewise")
	f.StringSliceVar(&policies, "policy", nil, "policy; several for a comparison")
	f.StringVar(&o.Ties, "ties", "rank", "rank: ties go to ranks dealt once; random: drawn for each pod")
	f.Int64Var(&o.Seed, "seed", 42, "seed of the arrivals, the ranks and the draws")
	f.Float64Var(&o.Stop, "stop", 1.3, "stop when the requests reach this multiple of the accelerators")
	for _, name := range []string{"nodes", "pods", "policy"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // the flag was named two lines above
		}
	}
	return c
}

func (a *app) simPack(ctx context.Context, o packing.Options, policies []string) error {
	var runs []*packing.Result
	for _, p := range policies {
		o.Policy = p
		r, err := packing.Run(ctx, o)
		if err != nil {
			return err
		}
		runs = append(runs, r)
	}
	var v any = map[string]any{"runs": runs}
	if len(runs) == 1 {
		v = runs[0]
	}
	return a.Value(v, func() {
		a.Table([]string{"policy", "ties", "seed", "arrived", "placed", "allocated %", "fragment %"}, rows(runs, func(r *packing.Result) []string {
			return []string{r.Policy, r.Ties, fmt.Sprint(r.Seed), fmt.Sprint(r.Arrived), fmt.Sprint(r.Placed), fmt.Sprintf("%.2f", r.AllocatedPercent), fmt.Sprintf("%.2f", r.FragmentPercent)}
		}))
	})
}
