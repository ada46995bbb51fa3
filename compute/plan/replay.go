package plan

import (
	"context"
	"slices"
	"sort"
	"time"

	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
)

// measured is what one replay came to in its window.
type measured struct {
	window                    time.Duration
	jobs, refused, unfinished int
	mean, p50, p90, p99       float64 // seconds waited
	waited                    float64 // hours, of all jobs together
	useful                    float64 // part of the held chip-hours that was neither restart nor lost work
	chips                     []used  // by chip of the fleet
	sites                     []Site
}

// used is chip-hours in the window.
type used struct {
	busy, up, total float64
}

func (m *measured) sum() (u used) {
	for _, c := range m.chips {
		u.busy += c.busy
		u.up += c.up
		u.total += c.total
	}
	return u
}

// patience is how long after the window a replay goes on for the jobs of the window that have not ended, in windows.
const patience = 2

// course is what a replay runs through: jobs, of which those submitted in [from, to) are measured, and the use of chips
// in that time.
type course struct {
	jobs     []trace.Job
	from, to time.Duration
}

// replay runs a course on a fleet.
func (c *course) replay(ctx context.Context, f *fleet.Fleet, policy func() (sim.Policy, error), speeds *sim.Speeds, seed uint64) (*measured, error) {
	jobs, from, to := c.jobs, c.from, c.to
	first := sort.Search(len(jobs), func(i int) bool { return jobs[i].Submit >= from })
	end := sort.Search(len(jobs), func(i int) bool { return jobs[i].Submit >= to })
	if first == end { // a draw in which nobody came
		return standing(f, to-from, 0), nil
	}
	p, err := policy()
	if err != nil {
		return nil, err
	}
	until := to + patience*(to-from)
	o := sim.Options{Seed: seed, MeasureFrom: first, MeasureTo: end, BookFrom: from, BookTo: to, Until: until, Speeds: speeds}
	r, err := sim.Replay(ctx, jobs, f, p, o)
	if own, ok := p.(interface{ Err() error }); ok && own.Err() != nil {
		err = own.Err() // why it did nothing more, and so the cause of what the frame says
	}
	if err != nil {
		return nil, err
	}
	return measure(r, f, from, to), nil
}

// standing is a fleet that was up all the time, with a part of its chips in use.
func standing(f *fleet.Fleet, window time.Duration, part float64) *measured {
	m := &measured{window: window, useful: 1, chips: make([]used, len(f.Chips))}
	for _, s := range f.Sites {
		m.sites = append(m.sites, Site{Name: s.Name, UsePercent: 100 * part})
	}
	for i := range f.Nodes {
		if n := &f.Nodes[i]; n.Chip >= 0 {
			h := window.Hours() * float64(n.Chips)
			u := &m.chips[n.Chip]
			u.busy, u.up, u.total = u.busy+h*part, u.up+h, u.total+h
			m.sites[n.Site].Chips += int64(n.Chips)
		}
	}
	return m
}

// waits are the seconds that jobs waited.
type waits []float64

func (w waits) mean() float64 {
	sum := 0.0
	for _, x := range w {
		sum += x
	}
	return sum / float64(max(1, len(w)))
}

func measure(r *sim.Result, f *fleet.Fleet, from, to time.Duration) *measured {
	m := &measured{window: to - from, chips: make([]used, len(f.Chips))}
	var all waits
	bySite := make([]waits, len(f.Sites))
	var held, wasted float64
	for i := range r.Records {
		rec := &r.Records[i]
		if !rec.Measured {
			continue
		}
		m.jobs++
		wait := (rec.Ended - rec.Submit - rec.Duration).Seconds()
		switch rec.State {
		case sim.Refused:
			m.refused++
			continue
		case sim.Done:
		default: // it waited at least until the replay ended
			m.unfinished++
			wait = max(0, (r.Ended - rec.Submit - rec.Duration).Seconds())
		}
		held += float64(rec.Held)
		wasted += float64(rec.Wasted)
		all = append(all, wait)
		if rec.Site >= 0 {
			bySite[rec.Site] = append(bySite[rec.Site], wait)
		}
	}
	slices.Sort(all)
	m.mean, m.p50, m.p90, m.p99 = all.mean(), rank(all, 0.5), rank(all, 0.9), rank(all, 0.99)
	m.waited = all.mean() * float64(len(all)) / 3600
	m.useful = 1
	if held > 0 {
		m.useful = 1 - wasted/held
	}
	m.use(r, f, bySite)
	return m
}

// use fills the chip-hours, and the sites.
func (m *measured) use(r *sim.Result, f *fleet.Fleet, bySite []waits) {
	busy, up := make([]float64, len(f.Sites)), make([]float64, len(f.Sites))
	for s := range f.Sites {
		slices.Sort(bySite[s])
		m.sites = append(m.sites, Site{Name: f.Sites[s].Name, Jobs: float64(len(bySite[s])), MeanWaitS: bySite[s].mean(), P90WaitS: rank(bySite[s], 0.9)})
	}
	for _, u := range r.Use {
		c := &m.chips[u.Chip]
		c.busy += u.BusySeconds / 3600
		c.up += u.UpSeconds / 3600
		c.total += u.TotalSeconds / 3600
		m.sites[u.Site].Chips += u.Chips
		busy[u.Site] += u.BusySeconds
		up[u.Site] += u.UpSeconds
	}
	for s := range m.sites {
		if up[s] > 0 {
			m.sites[s].UsePercent = 100 * busy[s] / up[s]
		}
	}
}
