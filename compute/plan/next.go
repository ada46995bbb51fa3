package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/internal/fault"
)

// Purchase is one more node, tried on the first fleet after those chosen before it.
type Purchase struct {
	Prices string  `json:"prices"`
	Step   int     `json:"step"` // from 1
	Site   string  `json:"site"`
	Chip   string  `json:"chip"`
	Chips  int     `json:"chips"`
	Chosen bool    `json:"chosen"`
	Saved  Spread  `json:"wait_hours_saved_year"`
	Runs   float64 `json:"more_jobs_run_year"` // that the fleet could never run before
	Cost   float64 `json:"cost_year"`          // more, in the mean
	Gain   Spread  `json:"gain_year"`          // waiting saved at its price, less the cost
	// Even is the price of an hour of waiting at which the node is worth its cost in the mean; null: it saves none.
	Even *float64 `json:"even_wait_price"`

	node fleet.Node
}

// Name is the purchase in a few words.
func (b *Purchase) Name() string { return fmt.Sprintf("%d x %s at %s", b.Chips, b.Chip, b.Site) }

// offers are the kinds of nodes that any fleet has, at every site of the first.
func (p *planner) offers() ([]fleet.Node, error) {
	base := p.o.Fleets[0].Fleet
	type kind struct {
		chip        string
		chips       int32
		cpu, memory int64
	}
	var kinds []kind
	var nodes []fleet.Node
	for _, f := range p.o.Fleets {
		for _, n := range f.Nodes {
			if n.Chip < 0 {
				continue
			}
			k := kind{f.Chips[n.Chip].Name, n.Chips, n.CPU, n.Memory}
			if slices.Contains(kinds, k) {
				continue
			}
			kinds = append(kinds, k)
			if n.Chip = int32(slices.IndexFunc(base.Chips, func(c fleet.Chip) bool { return c.Name == k.chip })); n.Chip < 0 {
				return nil, fault.New(fault.Invalid, fmt.Sprintf("The fleet %s has chips %q, which are not in the list of chips of %s, so one more node cannot be tried there.", f.Name, k.chip, p.o.Fleets[0].Name),
					fault.Field("next"), fault.Fix("List the chip under `chips` of the first fleet, too"))
			}
			for s := range base.Sites {
				n.Site, n.Domain = int32(s), -1
				nodes = append(nodes, n)
			}
		}
	}
	if len(nodes) > MaxOffers {
		return nil, fault.New(fault.Invalid, fmt.Sprintf("There are %d kinds of nodes and sites to try; at most %d are tried.", len(nodes), MaxOffers), fault.Field("next"), fault.Fix("Name fewer fleets"))
	}
	return nodes, nil
}

// next looks for the purchases that are worth most, one after the other, under each price set.
func (p *planner) next() error {
	if p.o.Next == 0 {
		return nil
	}
	if p.out.Scenarios[0].Points[0].Overload {
		return fault.New(fault.Invalid, fmt.Sprintf("The fleet %s is asked for %.1f times its chips, so one node more changes nothing that could be told.", p.o.Fleets[0].Name, p.out.Scenarios[0].Points[0].Load),
			fault.Field("next"), fault.Fix("Begin with a larger fleet"))
	}
	offers, err := p.offers()
	if err != nil {
		return err
	}
	p.all += len(p.o.Prices) * p.o.Next * len(offers) * p.o.Replicas
	for s := range p.o.Prices {
		if err := p.greedy(s, offers); err != nil {
			return err
		}
	}
	return nil
}

// greedy tries each offer, keeps the best and goes on from there; it ends where none is worth its cost.
func (p *planner) greedy(s int, offers []fleet.Node) error {
	f := p.o.Fleets[0].Fleet
	key, before := "0", p.scenarioOf(0, s).Points[0].runs
	for step := range p.o.Next {
		var tried []Purchase
		var after [][]*measured
		for i, n := range offers {
			wide := with(f, n, step)
			runs, b, err := p.try(s, f, wide, fmt.Sprintf("%s+%d", key, i), before)
			if err != nil {
				return err
			}
			b.Step, b.node, b.Site, b.Chip, b.Chips = step+1, n, f.Sites[n.Site].Name, f.Chips[n.Chip].Name, int(n.Chips)
			tried, after = append(tried, b), append(after, runs)
		}
		best := p.best(tried)
		if best >= 0 {
			tried[best].Chosen = true
			f, key, before = with(f, tried[best].node, step), fmt.Sprintf("%s+%d", key, best), after[best]
		}
		slices.SortStableFunc(tried, func(a, b Purchase) int { return p.worth(&b, &a) })
		p.out.Next = append(p.out.Next, tried...)
		if best < 0 {
			p.all -= (p.o.Next - step - 1) * len(offers) * p.o.Replicas
			break
		}
	}
	return nil
}

func (p *planner) scenarioOf(f, s int) *Scenario {
	i := slices.IndexFunc(p.out.Scenarios, func(x Scenario) bool { return x.fleet == f && x.prices == s })
	return &p.out.Scenarios[i]
}

// try replays a fleet with one node more and holds it against the fleet before.
func (p *planner) try(s int, f, wide *fleet.Fleet, key string, before []*measured) ([]*measured, Purchase, error) {
	set := p.o.Prices[s]
	b := Purchase{Prices: set.Name}
	old, err := set.fit(f, p.known, p.assume)
	if err != nil {
		return nil, b, err
	}
	fit, err := set.fit(wide, p.known, p.assume)
	if err != nil {
		return nil, b, err
	}
	runs := fit.interrupted(wide)
	var out []*measured
	var saved, gain []float64
	for r := range p.o.Replicas {
		done := p.done
		m, err := p.replay(p.key(key, fit), runs, 0, r, "next purchase")
		if err != nil {
			return nil, b, err
		}
		p.all -= 1 - (p.done - done) // one that was replayed for another price set is not replayed again
		out = append(out, m)
		part := m.window.Hours() / hoursOfYear
		hours := (before[r].waited - m.waited) / part
		x, _ := old.bill(before[r])
		y, _ := fit.bill(m)
		more := y.Total() - x.Total()
		b.Cost += more / float64(p.o.Replicas)
		b.Runs += float64(before[r].refused-m.refused) / part / float64(p.o.Replicas)
		saved, gain = append(saved, hours), append(gain, hours*p.o.WaitPrice-more)
	}
	b.Saved, b.Gain = spread(saved), spread(gain)
	if b.Saved.Mean > 0 {
		even := max(0, b.Cost) / b.Saved.Mean
		b.Even = &even
	}
	return out, b, nil
}

// worth orders purchases, the better one as the larger: by what they gain, or, where waiting has no price, by the price at
// which they would.
func (p *planner) worth(a, b *Purchase) int {
	if p.o.WaitPrice > 0 {
		return cmp.Compare(a.Gain.Mean, b.Gain.Mean)
	}
	even := func(x *Purchase) float64 {
		if x.Even == nil {
			return math.Inf(1)
		}
		return *x.Even
	}
	return cmp.Compare(even(b), even(a))
}

// best is the purchase worth most, -1 where none is worth its cost or, where waiting has no price, none saves any.
func (p *planner) best(tried []Purchase) int {
	best := -1
	for i := range tried {
		b := &tried[i]
		if b.Even == nil || p.o.WaitPrice > 0 && b.Gain.Mean <= 0 {
			continue
		}
		if best < 0 || p.worth(b, &tried[best]) > 0 {
			best = i
		}
	}
	return best
}

// with is the fleet with one node more at the end of its site.
func with(f *fleet.Fleet, n fleet.Node, step int) *fleet.Fleet {
	out := *f
	n.Name = fmt.Sprintf("next-%d", step+1)
	for slices.ContainsFunc(f.Nodes, func(o fleet.Node) bool { return o.Name == n.Name }) {
		n.Name += "'"
	}
	at := int(f.Sites[n.Site].End)
	out.Nodes = slices.Insert(slices.Clone(f.Nodes), at, n)
	out.Sites = slices.Clone(f.Sites)
	for s := range out.Sites {
		if s == int(n.Site) {
			out.Sites[s].End++
		} else if out.Sites[s].First >= int32(at) {
			out.Sites[s].First++
			out.Sites[s].End++
		}
	}
	return &out
}
