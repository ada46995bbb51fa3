package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/compute/plan"
	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// planFlags are what `plan` is told.
type planFlags struct {
	plan.Options
	trace, project, policy, growth, window, warm, html string
	history, skipBad                                   bool
	fleets, prices, tokens                             []string
	throughputs, reference                             string
	model                                              string
	work                                               perf.Work
}

func (a *app) planCommand() *cobra.Command {
	o := &planFlags{work: perf.Work{Task: perf.Serve, Precision: chip.BF16}}
	c := &cobra.Command{Use: "plan", Short: "Work out what to buy: replay the demand to come on fleets, with prices beside it", Args: cobra.NoArgs,
		Long: `Draws the demand to come from a record of jobs, replays it by the scheduler itself on each fleet, and sets money beside
it: use, waiting, cost of a chip-hour and of a useful one, energy, when a fleet has paid back what it takes more than the
first one or than renting the same, and which node is worth most next. Each figure comes with its range over the demands
drawn (P10 to P90).

The record is a trace in a form of sim queue, or with --history what this Triarch ran. Fleets are fleet files of sim
queue; the first is what the others are compared with. docs/plan.md has the form of a price file.`,
		Example: `  triarch plan --trace jobs.csv.gz --fleet now=now.yaml --fleet more=more.yaml --prices own.yaml --prices rent.yaml
  triarch plan --history --fleet now.yaml --prices own.yaml --growth 10x/2y --wait-price 20 --next 3 --html plan.html
  triarch plan --trace jobs.csv --fleet h100.yaml --prices own.yaml --model llama-3-70b --task serve -o json`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.plan(cmd.Context(), o) }}
	o.add(c.Flags())
	return c
}

func (o *planFlags) add(f *pflag.FlagSet) {
	f.StringVar(&o.trace, "trace", "", "record of jobs, CSV or gzip of it")
	f.BoolVar(&o.history, "history", false, "instead of a trace: the jobs of this Triarch that have ended")
	f.StringVar(&o.project, "project", "", "with --history: the project (default: the key's own)")
	f.BoolVar(&o.skipBad, "skip-bad", false, "leave rows that cannot be true out and count them")
	f.StringArrayVar(&o.fleets, "fleet", nil, "NAME=FILE or FILE of a fleet; repeatable, the first is what the others are compared with")
	f.StringArrayVar(&o.prices, "prices", nil, "price file; repeatable")
	f.StringVar(&o.growth, "growth", "", "demand that grows, such as 10x/2y; now, half of the way and the end are replayed")
	f.StringVar(&o.Forecast, "forecast", "", "how demand is drawn: "+strings.Join(plan.Forecasters(), ", ")+", or auto for the best on the record's second half (default "+plan.Forecasters()[0]+")")
	f.BoolVar(&o.Backtest, "backtest", false, "show how each of them did on the record's second half")
	f.StringVar(&o.window, "window", "", "how much of the time to come is replayed (default: as long as the record, at most 30d)")
	f.StringVar(&o.warm, "warm", "", "replayed before it, so that it begins in the middle of work (default: 14d, or the record where it is shorter)")
	f.IntVar(&o.Replicas, "replicas", 0, "demands drawn (default 8)")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of all that is drawn")
	f.StringVar(&o.policy, "policy", "triarch", "scheduling policy of sim queue")
	f.Float64Var(&o.WaitPrice, "wait-price", 0, "what an hour that a job waits is worth")
	f.IntVar(&o.Next, "next", 0, "look for so many single nodes to buy next, one after the other")
	f.StringVar(&o.throughputs, "throughputs", "", "table of throughputs by chip and job type, in Gavel's form")
	f.StringVar(&o.reference, "reference", "", "chip that the record's durations are of, with --throughputs")
	f.StringArrayVar(&o.tokens, "tokens", nil, "CHIP=RATE: tokens a second of one chip; repeatable")
	f.StringVar(&o.model, "model", "", "instead: predict them for this model")
	f.StringVar((*string)(&o.work.Task), "task", string(perf.Serve), "of the model: serve, prefill, decode, embed, train or post-train")
	f.StringVar(&o.work.Engine, "engine", "", "whose speed is meant, such as vllm (default: the mean of all)")
	f.StringVar((*string)(&o.work.Precision), "precision", string(chip.BF16), "of its matrix products")
	f.IntVar(&o.work.Prompt, "prompt", 1024, "serve: tokens of a prompt")
	f.IntVar(&o.work.Output, "answer", 256, "serve: tokens of an answer")
	f.IntVar(&o.work.Context, "context", 4096, "other tasks: tokens of a sequence")
	f.IntVar(&o.work.Batch, "batch", 0, "sequences at once (default: as many as fit; training: 256 a step)")
	f.StringVar(&o.html, "html", "", "write a page with plots to this file")
}

func (a *app) plan(ctx context.Context, o *planFlags) error {
	if o.html != "" { // what cannot be written is better known before the replays than after them
		if err := writable(o.html); err != nil {
			return noPage(o.html, err)
		}
	}
	if err := a.fillPlan(ctx, o); err != nil {
		return err
	}
	skipped, err := a.planJobs(ctx, o)
	if err != nil {
		return err
	}
	said, err := a.tokenRates(ctx, o)
	if err != nil {
		return err
	}
	o.Progress = a.planProgress()
	out, err := plan.Run(ctx, o.Options)
	if err != nil {
		return err
	}
	out.Assumed = append(out.Assumed, said...)
	if skipped != "" {
		out.Assumed = append(out.Assumed, skipped)
	}
	if o.html != "" {
		if err := durable.Write(o.html, 0o644, func(w io.Writer) error { return out.Page(w, "Plan") }); err != nil {
			return noPage(o.html, err)
		}
	}
	return a.Value(out, func() { a.showPlan(out, o.html) })
}

// fillPlan reads files and flags but for the record.
func (a *app) fillPlan(_ context.Context, o *planFlags) (err error) {
	if o.Policy, err = plan.PolicyNamed(o.policy); err != nil {
		return err
	}
	if o.growth != "" {
		if o.Growth, err = plan.ParseGrowth(o.growth); err != nil {
			return err
		}
	}
	for _, x := range []struct {
		flag, text string
		to         *time.Duration
	}{{"window", o.window, &o.Window}, {"warm", o.warm, &o.Warm}} {
		if x.text == "" {
			continue
		}
		if *x.to, err = plan.ParseSpan(x.text); err != nil {
			return fault.New(fault.Invalid, fault.As(err).Message, fault.Field(x.flag), fault.Fix("Write for example --%s 30d, 4w or 6m", x.flag))
		}
	}
	if o.Catalogue, err = chip.Load(filepath.Join(a.data, chip.OverlayName)); err != nil {
		return err
	}
	for _, text := range o.fleets {
		if err := o.addFleet(text); err != nil {
			return err
		}
	}
	for _, name := range o.prices {
		if err := o.addPrices(name); err != nil {
			return err
		}
	}
	return o.speeds()
}

func openFile(name, field string) (*os.File, error) {
	in, err := os.Open(name)
	if err != nil {
		return nil, fault.New(fault.NotFound, fmt.Sprintf("The file %s cannot be opened.", name), fault.Field(field), fault.Cause(err), fault.Fix("Check the name and whether it may be read"))
	}
	return in, nil
}

// stem is a file's name without folder and ending.
func stem(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return name
}

func (o *planFlags) addFleet(text string) error {
	name, file, named := strings.Cut(text, "=")
	if !named {
		name, file = stem(text), text
	}
	in, err := openFile(file, "fleet")
	if err != nil {
		return err
	}
	defer in.Close()
	read := fleet.Read
	if strings.HasSuffix(strings.TrimSuffix(file, ".gz"), ".csv") { // openb's list of nodes
		read = fleet.ReadOpenb
	}
	f, err := read(in, file)
	if err != nil {
		return err
	}
	o.Fleets = append(o.Fleets, plan.Fleet{Name: name, Fleet: f})
	return nil
}

func (o *planFlags) addPrices(file string) error {
	in, err := openFile(file, "prices")
	if err != nil {
		return err
	}
	defer in.Close()
	p, err := plan.ReadPrices(in, file)
	if err != nil {
		return err
	}
	if p.Name == "" {
		p.Name = stem(file)
	}
	o.Prices = append(o.Prices, p)
	return nil
}

// speeds reads the table of throughputs.
func (o *planFlags) speeds() error {
	if o.throughputs == "" {
		return nil
	}
	in, err := openFile(o.throughputs, "throughputs")
	if err != nil {
		return err
	}
	defer in.Close()
	table, err := trace.ReadThroughputs(in, trace.Options{File: o.throughputs})
	if err != nil {
		return err
	}
	if o.reference == "" {
		return fault.New(fault.Invalid, "A table of throughputs is given, but not which chip the record's durations are of.", fault.Field("reference"), fault.Fix("Give --reference, one of %s", strings.Join(table.Chips, ", ")))
	}
	o.Speeds = func(f *fleet.Fleet) (*sim.Speeds, error) {
		var names []string
		for _, c := range f.Chips {
			names = append(names, c.Name)
		}
		ppm, err := table.PPM(o.reference, names)
		return &sim.Speeds{Types: table.Types, PPM: ppm}, err
	}
	return nil
}

// planJobs reads the record, and says what was left out of it.
func (a *app) planJobs(ctx context.Context, o *planFlags) (string, error) {
	switch {
	case o.history && o.trace != "":
		return "", fault.New(fault.Invalid, "A trace and the history are given.", fault.Field("history"), fault.Fix("Give --trace or --history, not both"))
	case o.history:
		c, err := a.client()
		if err != nil {
			return "", err
		}
		jobs, err := c.Jobs(ctx, api.JobFilter{Project: o.project})
		if err != nil {
			return "", a.reachable(err)
		}
		var left string
		o.Jobs, left = historyOf(jobs, o.Fleets)
		if len(o.Jobs) == 0 {
			return "", fault.New(fault.NotFound, "No job of this project has run and ended.", fault.Field("history"), fault.Fix("Name another with --project, or give a --trace"))
		}
		return left, nil
	case o.trace == "":
		return "", fault.New(fault.Invalid, "No record of jobs is given.", fault.Field("trace"), fault.Fix("Name a file of jobs with --trace, or take this Triarch's own with --history"))
	}
	in, err := openFile(o.trace, "trace")
	if err != nil {
		return "", err
	}
	defer in.Close()
	jobs, report, err := trace.Read(in, trace.Options{File: o.trace, SkipBad: o.skipBad})
	if err != nil {
		return "", err
	}
	o.Jobs = jobs
	if report.Skipped > 0 {
		return fmt.Sprintf("%d of %d rows of the trace were left out; the first: %s", report.Skipped, report.Rows, report.First), nil
	}
	return "", nil
}

// historyOf makes a record of jobs that ran and ended; it tells how many others there are. Chips that a job names and a fleet
// does not have are left out of what it names.
func historyOf(list []api.Job, fleets []plan.Fleet) (jobs []trace.Job, left string) {
	has := func(name string) bool {
		return !slices.ContainsFunc(fleets, func(f plan.Fleet) bool {
			return !slices.ContainsFunc(f.Chips, func(c fleet.Chip) bool { return c.Name == name })
		})
	}
	slices.SortStableFunc(list, func(x, y api.Job) int { return x.CreatedAt.Compare(y.CreatedAt) })
	out := 0
	for i := range list {
		j := &list[i]
		if j.EndedAt == nil || j.Ran <= 0 {
			out++
			continue
		}
		s := trace.Spec{ID: j.ID, Name: j.Name, Priority: int32(min(1e6, max(-1e6, j.Priority))), Share: 1000, Preemptible: true, //nolint:gosec // bounded
			Chips: int32(min(trace.MaxChips, j.Placing.Chips)), Submit: j.CreatedAt.Sub(list[0].CreatedAt)} //nolint:gosec // bounded
		s.MinChips, s.MaxChips = s.Chips, s.Chips
		if m := int32(j.Placing.MinChips); m > 0 && m < s.Chips { //nolint:gosec // below Chips
			s.MinChips = m
		}
		if s.Chips == 0 {
			s.CPU = int64(max(1, j.CPUs)) * 1000
		}
		for _, name := range j.Placing.ChipTypes {
			if has(name) {
				s.ChipList = append(s.ChipList, name)
			}
		}
		jobs = append(jobs, trace.Job{Spec: s, Duration: time.Duration(j.Ran * float64(time.Second))})
	}
	if out > 0 {
		left = fmt.Sprintf("%d jobs of the history are left out: they have not run, or have not ended.", out)
	}
	return jobs, left
}

// tokenRates fills the tokens a second of chips, as told or as predicted.
func (a *app) tokenRates(ctx context.Context, o *planFlags) (said []string, err error) {
	if o.model != "" {
		if len(o.tokens) > 0 {
			return nil, fault.New(fault.Invalid, "Tokens a second are given and are to be predicted.", fault.Field("tokens"), fault.Fix("Give --tokens or --model, not both"))
		}
		if o.work.Batch == 0 && (o.work.Task == perf.Train || o.work.Task == perf.PostTrain) {
			o.work.Batch = 256
		}
		var all []estimate.Candidate
		for _, c := range o.Catalogue.All() {
			all = append(all, estimate.Candidate{Chip: c})
		}
		if known := estimate.Engines(all); o.work.Engine != "" && !slices.Contains(known, o.work.Engine) {
			return nil, fault.New(fault.Invalid, fmt.Sprintf("There is no engine %q.", o.work.Engine), fault.Field("engine"), fault.Fix("The nearest is %s", nearest.Name(o.work.Engine, known)))
		}
		if !o.history && first(a.url, os.Getenv("TRIARCH_URL")) == "" {
			o.Tokens, said, err = plan.Tokens(o.Catalogue, o.Fleets, o.model, o.work, nil)
			return said, err
		}
		c, err := a.client()
		if err != nil {
			return nil, err
		}
		m := &measurements{ask: func(q api.ChipQuestion) (api.ChipRanking, error) { return c.EstimateChips(ctx, q) }}
		o.Tokens, said, err = plan.Tokens(o.Catalogue, o.Fleets, o.model, o.work, m)
		return said, cmp.Or(a.reachable(m.err), err)
	}
	for _, text := range o.tokens {
		name, rate, ok := strings.Cut(text, "=")
		v, err := strconv.ParseFloat(rate, 64)
		if !ok || err != nil {
			return nil, fault.New(fault.Invalid, fmt.Sprintf("--tokens is %q.", text), fault.Field("tokens"), fault.Fix("Write CHIP=RATE, such as nvidia-h100-sxm=2400"))
		}
		if o.Tokens == nil {
			o.Tokens = map[string]float64{}
		}
		o.Tokens[name] = v
	}
	return nil, nil
}

// measurements corrects predictions by what the server that is asked has measured.
type measurements struct {
	ask func(api.ChipQuestion) (api.ChipRanking, error)
	err error // the first; what follows stays as it was predicted
}

// Correct implements plan.Corrector.
func (m *measurements) Correct(q perf.Question, a perf.Answer) perf.Answer {
	if m.err != nil {
		return a
	}
	w := q.Work
	r, err := m.ask(api.ChipQuestion{Model: q.Shape.Name, Task: string(w.Task), Engine: w.Engine, Precision: []string{string(w.Precision)}, Batch: w.Batch, Context: w.Context,
		Prompt: w.Prompt, Output: w.Output, Chips: []string{q.Chip.ID}, Count: []int{q.Layout.Chips()}, Node: q.Node})
	if err != nil {
		m.err = err
		return a
	}
	for i := range r.Rows {
		if x := &r.Rows[i]; x.Refused == nil && x.Rate != nil && x.Known != string(perf.Prior) {
			a.Rate, a.Low, a.High, a.Known = x.Rate.Is, x.Rate.Low, x.Rate.High, perf.Known(x.Known)
		}
	}
	return a
}

func (a *app) showPlan(out *plan.Output, html string) {
	a.Printf("%s\n", out.About)
	for _, t := range out.Tables() {
		a.Printf("\n%s\n\n", t.Title)
		a.Table(t.Heads, t.Rows)
	}
	if len(out.Assumed) > 0 {
		a.Printf("\n")
	}
	for _, s := range out.Assumed {
		a.Printf("- %s\n", s)
	}
	if html != "" {
		a.Printf("\nplots in %s\n", html)
	}
}

// planProgress draws on the error stream, so that figures alone go to the output.
func (a *app) planProgress() func(done, all int, what string) {
	screen := *a.Screen
	screen.Out, screen.JSON, screen.Terminal = a.Err, false, false
	if file, ok := a.Err.(*os.File); ok {
		screen.Terminal = term.IsTerminal(int(file.Fd()))
	}
	var bar *ui.Bar
	var drawn time.Time
	began := a.Now()
	return func(done, all int, what string) {
		at := a.Now()
		if at.Sub(began) < time.Second || at.Sub(drawn) < 200*time.Millisecond && done < all {
			return
		}
		drawn = at
		if bar == nil {
			bar = screen.Bar("plan")
		}
		bar.Set(int64(done), int64(all), fmt.Sprintf("%d of %d replays, %s", done, all, what))
		if done == all {
			bar.Done(fmt.Sprintf("%d replays in %s", all, at.Sub(began).Round(100*time.Millisecond)))
			bar = nil
		}
	}
}
