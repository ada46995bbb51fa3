// Package queue runs a whole replay from files to figures: trace and fleet in, a Summary for each policy out.
//
// Rules for callers: Run reads files named by the caller and writes none; it is given the clock that measures its own
// speed and a function that is told how far it is. The same Options give the same figures but for the wall time.
package queue

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/baseline"
	"github.com/triarch-ai/triarch/compute/sched/sim/belief"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/report"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/internal/fault"
)

// Options of a run.
type Options struct {
	Trace       string   // file of jobs; empty with Throughputs: Gavel's setting, drawn
	Fleet       string   // fleet file, or openb's list of nodes; empty: Nodes machines of Chips chips
	Nodes       int      // of a uniform fleet
	Chips       int      // for each of them
	Policies    []string // names as in Policies
	Seed        uint64
	Seeds       int     // replay under so many seeds from Seed on, and sum up; 0: one
	Jobs        int     // resample the trace to so many jobs, or draw so many; 0: the trace as it is
	Load        float64 // of the resampled or drawn jobs, as a part of the fleet's capacity; 0: 0.85
	SkipBad     bool    // count rows of the trace that cannot be true instead of failing
	Throughputs string  // Gavel's table of throughputs
	Reference   string  // the chip that durations are of, with Throughputs; empty: the fastest of the table
	Hide        float64 // part of the table that policies named with a kind of knowledge do not know, as triarch:learn
	Optimism    float64 // standard deviations above what is thought of an entry at which they are told of it
	Noise       float64 // standard deviation of what an attempt shows of its speed, in natural logs; 0: DefaultNoise
	MeasureFrom int     // measure only these jobs in the order of submission; both 0: all
	MeasureTo   int
	Checkpoint  time.Duration // 0: sim.DefaultCheckpoint
	Explain     time.Duration // policy triarch keeps why each job waits, and looks again as often as this; 0: it keeps nothing
	Expect      time.Duration // policy triarch says as often as this when waiting jobs will start; 0: never

	Clock    func() time.Time                                        // measures decisions a second
	Progress func(policy string, ended, jobs int, now time.Duration) // may be nil
}

// Output is what a run came to.
type Output struct {
	About    string             `json:"about"` // trace and fleet in a line
	Trace    trace.Report       `json:"trace"`
	Capacity *baseline.Capacity `json:"capacity,omitempty"` // with throughputs: in reference chips
	Runs     []*report.Summary  `json:"runs"`               // under several seeds: of one after the other
	Spreads  []report.Spread    `json:"spreads,omitempty"`  // of each policy, under several seeds
	MemoryMB float64            `json:"memory_mb"`          // obtained from the operating system by the end
}

// MaxSeeds is how many seeds one run may have.
const MaxSeeds = 1000

// DefaultNoise is how far what an attempt shows is off its speed: a twentieth.
const DefaultNoise = 0.05

// DefaultLoad is the load of resampled and drawn jobs where none is given.
const DefaultLoad = 0.85

// Policies are the names that Run knows.
func Policies() []string { return append(baseline.Names(), ownNames()...) }

// Run replays the trace under every policy.
func Run(ctx context.Context, o Options) (*Output, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	f, err := o.fleet()
	if err != nil {
		return nil, err
	}
	s := &setting{o: o, fleet: f, out: &Output{}}
	for seed := range uint64(max(1, o.Seeds)) {
		s.o.Seed = o.Seed + seed
		if err := s.jobsAndSpeeds(); err != nil {
			return nil, err
		}
		if seed == 0 {
			s.out.About = fmt.Sprintf("%s; fleet of %d nodes with %d chips at %d sites", trace.Describe(s.jobs), len(f.Nodes), f.TotalChips(), len(f.Sites))
		}
		for _, name := range o.Policies {
			sum, err := s.best(ctx, name)
			if err != nil {
				return nil, err
			}
			s.out.Runs = append(s.out.Runs, sum)
		}
	}
	if o.Seeds > 1 {
		s.out.Spreads = report.Spreads(s.out.Runs, len(o.Policies))
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	s.out.MemoryMB = float64(mem.Sys) / 1e6
	return s.out, nil
}

// complete fills defaults and refuses what cannot be.
func (o *Options) complete() error {
	switch {
	case o.Explain < 0:
		return fault.InvalidField("explain", "explain is %s; it must not be negative", o.Explain)
	case o.Checkpoint < 0:
		return fault.InvalidField("checkpoint", "checkpoint is %s; it must be above 0", o.Checkpoint)
	case o.Seeds < 0 || o.Seeds > MaxSeeds:
		return fault.InvalidField("seeds", "seeds is %d; it must be 1 to %d", o.Seeds, MaxSeeds)
	case !(o.Hide >= 0 && o.Hide <= 1):
		return fault.InvalidField("hide", "hide is %g; it is a part of the table, 0 to 1", o.Hide)
	case !(o.Noise >= 0 && o.Noise <= 1):
		return fault.InvalidField("noise", "noise is %g; it is a part of the speed, 0 to 1", o.Noise)
	case !(o.Optimism >= 0 && o.Optimism <= 10):
		return fault.InvalidField("optimism", "optimism is %g; it must be 0 to 10 standard deviations", o.Optimism)
	case o.Expect < 0:
		return fault.InvalidField("expect", "expect is %s; it must not be negative", o.Expect)
	case o.Trace == "" && o.Throughputs == "":
		return fault.New(fault.Invalid, "No trace is given.", fault.Field("trace"), fault.Fix("Name a file of jobs with --trace"))
	case o.Fleet == "" && o.Nodes == 0 && (o.Trace != "" || o.Throughputs == ""):
		return fault.New(fault.Invalid, "No fleet is given.", fault.Field("fleet"), fault.Fix("Name a fleet file with --fleet, or give --nodes and --chips-per-node"))
	case o.Fleet != "" && o.Nodes != 0:
		return fault.New(fault.Invalid, "A fleet file and a uniform fleet are given.", fault.Field("nodes"), fault.Fix("Give --fleet or --nodes, not both"))
	case o.Load < 0 || o.Load > 10:
		return fault.InvalidField("load", "load is %g; it must be above 0 and at most 10, 0.85 for 85 %% of the chips", o.Load)
	case o.Load > 0 && o.Jobs == 0 && o.Trace != "":
		return fault.New(fault.Invalid, "A load is given, but not how many jobs to draw.", fault.Field("jobs"), fault.Fix("Give --jobs too"))
	case o.Jobs < 0 || o.Jobs > trace.MaxRows:
		return fault.InvalidField("jobs", "jobs is %d; it must be 1 to %d", o.Jobs, trace.MaxRows)
	case len(o.Policies) == 0:
		return fault.New(fault.Invalid, "No policy is given.", fault.Field("policy"), fault.Fix("Give --policy; there are %s", strings.Join(Policies(), ", ")))
	}
	for _, name := range o.Policies {
		base, kind, has := strings.Cut(name, ":")
		switch {
		case !slices.Contains(Policies(), base):
			return baseline.Unknown(name, Policies())
		case has && slices.Contains(learners, base) && !slices.Contains(belief.Kinds(), belief.Kind(kind)):
			return fault.New(fault.Invalid, fmt.Sprintf("There is no knowledge of the kind %q.", kind), fault.Field("policy"), fault.Fix("Write %s:learn, %s:prior or %s:alike", base, base, base))
		case has && slices.Contains(learners, base) && o.Throughputs == "":
			return fault.New(fault.Invalid, fmt.Sprintf("%s is to learn speeds, and no table of throughputs is given.", base), fault.Field("policy"), fault.Fix("Give --throughputs"))
		case has && base != "las" && !slices.Contains(learners, base):
			return fault.New(fault.Invalid, fmt.Sprintf("The policy %s has nothing to set behind a colon.", base), fault.Field("policy"), fault.Fix("Write %s; las alone has a threshold, as in las:4h", base))
		}
	}
	if o.Load == 0 {
		o.Load = DefaultLoad
	}
	if o.Clock == nil {
		return fault.New(fault.Internal, "queue.Run needs a clock")
	}
	return nil
}

// fleet reads the fleet, or makes the uniform one, or Gavel's three times 36 chips.
func (o *Options) fleet() (*fleet.Fleet, error) {
	switch {
	case o.Fleet != "":
		in, err := open(o.Fleet, "fleet")
		if err != nil {
			return nil, err
		}
		defer in.Close()
		if name := strings.TrimSuffix(o.Fleet, ".gz"); strings.HasSuffix(name, ".csv") {
			return fleet.ReadOpenb(in, o.Fleet)
		}
		return fleet.Read(in, o.Fleet)
	case o.Nodes != 0:
		return fleet.Uniform(o.Nodes, o.Chips)
	}
	return gavelFleet(), nil
}

func open(name, field string) (*os.File, error) {
	in, err := os.Open(name)
	if err != nil {
		return nil, fault.New(fault.NotFound, fmt.Sprintf("The file %s cannot be opened.", name), fault.Field(field), fault.Cause(err), fault.Fix("Check the name and whether it may be read"))
	}
	return in, nil
}

// setting is what all policies of a run have in common.
type setting struct {
	o      Options
	fleet  *fleet.Fleet
	jobs   []trace.Job
	speeds *sim.Speeds
	table  *trace.Throughputs
	ref    string // chip of the table
	out    *Output
}

// best replays one policy, or, for one that is swept, each of its variants, and keeps the best by mean completion.
func (s *setting) best(ctx context.Context, name string) (*report.Summary, error) {
	variants := []string{name}
	if name == "las" {
		variants = nil
		for _, t := range baseline.Thresholds {
			variants = append(variants, "las:"+t.String())
		}
	}
	var sums []*report.Summary
	for _, v := range variants {
		sum, err := s.replay(ctx, v)
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", v, err)
		}
		sums = append(sums, sum)
	}
	best := slices.MinFunc(sums, func(a, b *report.Summary) int { return cmp.Compare(a.MeanCompletionS, b.MeanCompletionS) })
	if len(sums) > 1 {
		best.Tuned = "threshold " + strings.TrimSuffix(strings.TrimPrefix(best.Policy, "las:"), "0m0s")
		best.Policy = name
	}
	return best, nil
}

func (s *setting) replay(ctx context.Context, name string) (*report.Summary, error) {
	p, known, err := s.policy(name)
	if err != nil {
		return nil, err
	}
	o := sim.Options{Seed: s.o.Seed, Checkpoint: s.o.Checkpoint, Speeds: s.speeds, MeasureFrom: s.o.MeasureFrom, MeasureTo: s.o.MeasureTo}
	if s.o.Progress != nil {
		o.Progress = func(ended, jobs int, now time.Duration) { s.o.Progress(name, ended, jobs, now) }
	}
	if known != nil { // a nil pointer in the interface would be knowledge
		o.Knowledge, o.Noise = known, cmp.Or(s.o.Noise, DefaultNoise)
	}
	began := s.o.Clock()
	r, err := sim.Replay(ctx, s.jobs, s.fleet, p, o)
	if own, ok := p.(interface{ Err() error }); ok && own.Err() != nil {
		err = own.Err() // why it did nothing more, and so the cause of what the frame says
	}
	if err != nil {
		return nil, err
	}
	sum := report.Make(name, r, s.fleet, s.o.Clock().Sub(began))
	if known != nil {
		l := known.Report(r.Ended)
		sum.Learning = &l
	}
	if own, ok := p.(interface{ Explained() int64 }); ok {
		sum.Explanations = own.Explained()
	}
	return sum, nil
}
