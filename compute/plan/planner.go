package plan

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/sched"
	"github.com/triarch-ai/triarch/compute/sched/predict"
	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/baseline"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/compute/sched/sim/triarch"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// PolicyNamed makes a policy for each replay: triarch, the core that runs live fleets, or a baseline of `sim queue`.
func PolicyNamed(name string) (func() (sim.Policy, error), error) {
	if name == "triarch" {
		return func() (sim.Policy, error) {
			return triarch.New(sched.Config{}, sched.Learned(predict.New(predict.Options{}))), nil
		}, nil
	}
	if _, err := baseline.New(name); err != nil {
		return nil, err
	}
	return func() (sim.Policy, error) { return baseline.New(name) }, nil
}

// planner is a plan in the making.
type planner struct {
	ctx       context.Context
	o         Options
	known     *chip.Catalogue
	rec       *record
	by        Forecaster
	out       *Output
	done, all int
	replayed  map[string]*measured
	drawn     map[string]*course
	assumed   map[string]bool
}

func newPlanner(ctx context.Context, o Options) (*planner, error) {
	p := &planner{ctx: ctx, o: o, known: o.Catalogue, out: &Output{PayBacks: []PayBack{}, Next: []Purchase{}, Assumed: []string{}}, replayed: map[string]*measured{},
		drawn: map[string]*course{}, assumed: map[string]bool{}}
	if err := p.check(); err != nil {
		return nil, err
	}
	var err error
	if p.known == nil {
		if p.known, err = chip.Builtin(); err != nil {
			return nil, err
		}
	}
	if err := checkPrices(o.Prices, o.Fleets, p.known); err != nil {
		return nil, err
	}
	p.o.Prices = borrowed(o.Prices, p.assume)
	if p.rec, err = newRecord(o.Jobs, o.From, o.To); err != nil {
		return nil, err
	}
	if p.o.Policy == nil {
		if p.o.Policy, err = PolicyNamed("triarch"); err != nil {
			return nil, err
		}
	}
	p.lengths()
	if o.Forecast != "auto" {
		if p.by, err = forecasterNamed(o.Forecast); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// lengths fills what is left out of window, warming up and replicas.
func (p *planner) lengths() {
	length := p.rec.length()
	if p.o.Window == 0 {
		p.o.Window = min(length, 30*day)
	}
	if p.o.Warm == 0 {
		p.o.Warm = 2 * week // a backlog builds up in weeks, and a replay that begins without it tells of too little waiting
	}
	p.o.Warm = min(p.o.Warm, length)
	if p.o.Replicas == 0 {
		p.o.Replicas = defaultReplicas
	}
	if length < 2*week {
		p.assume(fmt.Sprintf("The record has %.1f days: what changes from week to week is not in it, so the spread is too narrow.", length.Hours()/24))
	}
}

func (p *planner) check() error {
	o := &p.o
	switch {
	case len(o.Fleets) == 0:
		return fault.New(fault.Invalid, "No fleet is given.", fault.Field("fleet"), fault.Fix("Name a fleet file with --fleet NAME=FILE; the first is what the others are compared with"))
	case len(o.Fleets) > MaxFleets:
		return fault.InvalidField("fleet", "%d fleets are given; at most %d are compared", len(o.Fleets), MaxFleets)
	case len(o.Prices) == 0:
		return fault.New(fault.Invalid, "No price set is given.", fault.Field("prices"), fault.Fix("Name a price file with --prices FILE; docs/plan.md has its form"))
	case len(o.Prices) > MaxPrices:
		return fault.InvalidField("prices", "%d price sets are given; at most %d are compared", len(o.Prices), MaxPrices)
	case o.Replicas < 0 || o.Replicas > MaxReplicas:
		return fault.InvalidField("replicas", "replicas is %d; it must be 1 to %d", o.Replicas, MaxReplicas)
	case o.Window != 0 && o.Window < time.Minute || o.Window > 366*day:
		return fault.InvalidField("window", "window is %s; it must be a minute to a year", o.Window)
	case o.Warm < 0 || o.Warm > 366*day:
		return fault.InvalidField("warm", "warm is %s; it must be at most a year", o.Warm)
	case !(o.WaitPrice >= 0 && o.WaitPrice <= MaxWaitPrice):
		return fault.InvalidField("wait-price", "wait-price is %g; it must be 0 to %g for an hour that a job waits", o.WaitPrice, MaxWaitPrice)
	case o.Next < 0 || o.Next > MaxNext:
		return fault.InvalidField("next", "next is %d; it must be at most %d purchases", o.Next, MaxNext)
	}
	for name, rate := range o.Tokens {
		var names []string
		for _, f := range o.Fleets {
			for _, c := range f.Chips {
				names = append(names, c.Name)
			}
		}
		if !slices.Contains(names, name) {
			return fault.New(fault.Invalid, fmt.Sprintf("Tokens a second are given for %q, which no fleet has.", name), fault.Field("tokens"), fault.Fix("The nearest is %q", nearest.Name(name, names)))
		}
		if !(rate > 0 && rate <= 1e9) {
			return fault.InvalidField("tokens", "%s has %g tokens a second; it must be above 0 and at most 1e9", name, rate)
		}
	}
	for i, f := range o.Fleets {
		if slices.ContainsFunc(o.Fleets[:i], func(g Fleet) bool { return g.Name == f.Name }) {
			return fault.InvalidField("fleet", "two fleets are named %q; name them NAME=FILE", f.Name)
		}
	}
	return nil
}

// assume notes a sentence for Output.Assumed once.
func (p *planner) assume(sentence string) {
	if !p.assumed[sentence] {
		p.assumed[sentence] = true
		p.out.Assumed = append(p.out.Assumed, sentence)
	}
}

// choose finds the forecaster, by trying all where that is asked for, and counts the replays to come.
func (p *planner) choose() error {
	keys := map[string]int{}
	for f := range p.o.Fleets {
		for _, s := range p.o.Prices {
			fit, err := s.fit(p.o.Fleets[f].Fleet, p.known, p.assume)
			if err != nil {
				return fmt.Errorf("fleet %s: %w", p.o.Fleets[f].Name, err)
			}
			n := 0
			for _, at := range p.o.Growth.points() {
				if p.load(p.o.Growth.at(at), p.o.Fleets[f].Fleet) <= MaxLoad {
					n += p.o.Replicas
				}
			}
			keys[p.key(strconv.Itoa(f), fit)] = n
		}
	}
	for _, n := range keys {
		p.all += n
	}
	if p.o.Forecast == "auto" || p.o.Backtest {
		if err := p.backtest(); err != nil {
			return err
		}
	}
	p.out.Forecast = p.by.Name
	return nil
}

// key tells replays apart: the fleet, and what the price set's interruptions make of it.
func (p *planner) key(fleet string, fit *priced) string {
	var b strings.Builder
	b.WriteString(fleet)
	for _, c := range fit.chip {
		if c.Spot != nil {
			fmt.Fprintf(&b, "/%g,%g", c.Spot.Interruptions, c.Spot.Back)
		} else {
			b.WriteString("/")
		}
	}
	return b.String()
}

// seed of a replica.
func (p *planner) seed(replica int) uint64 { return p.o.Seed + uint64(replica)*0x9e3779b97f4a7c15 }

// course draws the demand of a time to come. Today's begins with what the record ends with; later there is nothing to
// begin with but what is drawn.
func (p *planner) course(at time.Duration, replica int) (*course, error) {
	key := fmt.Sprint(at, " ", replica)
	if c := p.drawn[key]; c != nil {
		return c, nil
	}
	factor := p.o.Growth.at(at)
	var warm []trace.Job
	span, from := p.o.Window, p.rec.to
	if at == 0 {
		warm = within(p.rec.jobs, p.rec.to-p.o.Warm, p.rec.to)
	} else {
		span, from = span+p.o.Warm, from+p.o.Warm
	}
	jobs, err := p.by.draw(p.rec, span, factor, p.seed(replica))
	if err != nil {
		return nil, err
	}
	c := &course{joined(warm, jobs), from, from + p.o.Window}
	if len(c.jobs)*len(p.o.Growth.points())*p.o.Replicas < MaxDemand/2 { // they are drawn again otherwise
		p.drawn[key] = c
	}
	return c, nil
}

// joined is what was followed by what is drawn; ids of what was are renamed, for nothing may have the same twice.
func joined(was, drawn []trace.Job) []trace.Job {
	out := make([]trace.Job, 0, len(was)+len(drawn))
	for i := range was {
		out = append(out, was[i])
		out[i].ID, out[i].Line = "past"+strconv.Itoa(i), 0
	}
	return append(out, drawn...)
}

// replay is one replica of a fleet at a time to come, kept for the next price set.
func (p *planner) replay(key string, f *fleet.Fleet, at time.Duration, replica int, what string) (*measured, error) {
	key = fmt.Sprint(key, " ", at, " ", replica)
	if m := p.replayed[key]; m != nil {
		return m, nil
	}
	c, err := p.course(at, replica)
	if err != nil {
		return nil, err
	}
	m, err := p.run(c, f, p.seed(replica), what)
	if err != nil {
		return nil, err
	}
	p.replayed[key] = m
	return m, nil
}

// run replays a course and says that one more is through.
func (p *planner) run(c *course, f *fleet.Fleet, seed uint64, what string) (*measured, error) {
	if p.o.Progress != nil {
		p.o.Progress(p.done, p.all, what)
	}
	var speeds *sim.Speeds
	if p.o.Speeds != nil {
		var err error
		if speeds, err = p.o.Speeds(f); err != nil {
			return nil, err
		}
	}
	m, err := c.replay(p.ctx, f, p.o.Policy, speeds, seed)
	if err != nil {
		return nil, err
	}
	p.done++
	p.out.Replays++
	if p.o.Progress != nil {
		p.o.Progress(p.done, p.all, what)
	}
	return m, nil
}

// finish says what the plan is of.
func (p *planner) finish() {
	if p.o.Progress != nil {
		p.o.Progress(p.done, p.all, "done")
	}
	o := p.out
	o.About = fmt.Sprintf("Learnt from %s; %d demands of %.1f days drawn by %s, %d replays", trace.Describe(p.rec.jobs), p.o.Replicas, p.o.Window.Hours()/24, p.by.Name, o.Replays)
	for _, s := range p.o.Prices {
		if s.Currency != "" {
			o.Currency = s.Currency
		}
	}
	o.WindowS, o.WarmS, o.Replicas, o.WaitPrice, o.Growth = p.o.Window.Seconds(), p.o.Warm.Seconds(), p.o.Replicas, p.o.WaitPrice, p.o.Growth.String()
	if p.o.WaitPrice == 0 {
		p.assume("Waiting has no price: a fleet is not better for having less of it.")
	}
	if p.o.Speeds == nil {
		names := map[string]bool{}
		for _, f := range p.o.Fleets {
			for i := range f.Nodes {
				if c := f.Nodes[i].Chip; c >= 0 {
					names[f.Chips[c].Name] = true
				}
			}
		}
		if len(names) > 1 {
			p.assume("Every chip is taken to be as fast as any other: no throughputs are given.")
		}
	}
}
