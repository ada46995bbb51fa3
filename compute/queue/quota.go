package queue

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/sched"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// maxWeight bounds weights.
const maxWeight = 1_000_000

// Quotas are the quotas of all projects that have one, by project.
func (p *Planner) Quotas(ctx context.Context) ([]Row, error) {
	rows, err := p.opt.Store.Queues(ctx)
	var out []Row
	for _, r := range rows {
		if r.Set {
			out = append(out, r)
		}
	}
	return out, err
}

// SetQuota sets what a project's queue is promised and bounded by; the next pass plans by it. Faults: Invalid for chips
// that are not there, for a guarantee above its own ceiling or, together with all others, above the fleet; NotFound
// without the project.
func (p *Planner) SetQuota(ctx context.Context, q Quota) (Row, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q.Weight == 0 {
		q.Weight = 1
	}
	rows, err := p.opt.Store.Queues(ctx)
	if err != nil {
		return Row{}, err
	}
	if err := p.checkQuota(q, rows); err != nil {
		return Row{}, err
	}
	if err := p.opt.Store.SetQuota(ctx, q); err != nil {
		return Row{}, err
	}
	p.changed()
	for _, r := range rows {
		if r.Project == q.Project {
			r.Quota, r.Set = q, true
			return r, nil
		}
	}
	return Row{Quota: q, Set: true}, nil
}

func (p *Planner) checkQuota(q Quota, rows []Row) error {
	if q.Weight < 1 || q.Weight > maxWeight {
		return fault.InvalidField("weight", "weight is %d, it must be 1 to %d.", q.Weight, maxWeight)
	}
	for field, list := range map[string]map[string]int64{"guarantee": q.Guarantee, "ceiling": q.Ceiling} {
		for chip, n := range list {
			if p.opt.Capacity.total(chip) == 0 {
				return fault.InvalidField(field, "There is no chip %q here; the nearest is %q.", chip, p.nearest(chip))
			}
			if n < 0 || n > job.MaxChips {
				return fault.InvalidField(field, "%s of %s is %d, it must be 0 to %d.", field, chip, n, job.MaxChips)
			}
		}
	}
	for _, ch := range p.opt.Capacity.Chips {
		n := q.Guarantee[ch.Name]
		if most, bounded := q.Ceiling[ch.Name]; bounded && n > most {
			return fault.InvalidField("guarantee", "The guarantee of %d of %s is above the ceiling of %d.", n, ch.Name, most)
		}
		sum := n
		for _, r := range rows {
			if r.Project != q.Project {
				sum += r.Guarantee[ch.Name]
			}
		}
		if there := p.opt.Capacity.total(ch.Name); n > 0 && sum > there {
			return fault.New(fault.Invalid, sprintf("With a guarantee of %d of %s, %d would be guaranteed in all, and there are %d.", n, ch.Name, sum, there),
				fault.Field("guarantee"), fault.Fix("Guarantee at most %d, or take from another project.", max(0, there-sum+n)))
		}
	}
	return nil
}

func (p *Planner) nearest(chip string) string {
	var names []string
	for _, c := range p.opt.Capacity.Chips {
		names = append(names, c.Name)
	}
	return nearest.Name(chip, slices.Sorted(slices.Values(names)))
}

// RemoveQuota takes the quota of a project away: it has weight 1, no guarantee and no ceiling then.
func (p *Planner) RemoveQuota(ctx context.Context, project string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.opt.Store.RemoveQuota(ctx, project); err != nil {
		return err
	}
	p.changed()
	return nil
}

// SetOrgWeight sets how many parts of what is left an organisation gets beside the others.
func (p *Planner) SetOrgWeight(ctx context.Context, org string, weight int64) error {
	if weight < 1 || weight > maxWeight {
		return fault.InvalidField("org_weight", "org_weight is %d, it must be 1 to %d.", weight, maxWeight)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.opt.Store.SetOrgWeight(ctx, org, weight); err != nil {
		return err
	}
	p.changed()
	return nil
}

// NodeView is a node as it stands.
type NodeView struct {
	Name, Site string
	Chip       string
	Chips      int
	Used       int // chips that attempts hold
	Draining   bool
	Reason     string // of the draining
	Since      time.Time
	Jobs       []Occupant // what runs there, in order of creation
	Devices    []Slot     // by number, where they are known one by one
	Declared   bool       // by hand, and not in the configuration
}

// Occupant is a job on a node.
type Occupant struct {
	Job, Project string
	Chips        int
}

// Nodes tells of all nodes.
func (p *Planner) Nodes(ctx context.Context) ([]NodeView, error) {
	marks, err := p.opt.Store.Marks(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]NodeView, len(p.opt.Capacity.Nodes))
	for i, n := range p.opt.Capacity.Nodes {
		v := NodeView{Name: n.Name, Site: n.Site, Chip: n.Chip, Chips: n.Chips, Devices: p.opt.Capacity.Slots[n.Name], Declared: slices.Contains(p.opt.Capacity.Declared, n.Name)}
		for _, m := range marks {
			if m.Node == n.Name {
				v.Draining, v.Reason, v.Since = m.Draining, m.Reason, m.Since
			}
		}
		for k := range p.view.Jobs {
			j := &p.view.Jobs[k]
			if j.State.Final() || j.State == job.Queued || j.Standing.Placement == nil {
				continue
			}
			for _, s := range j.Standing.Placement.Seats {
				if s.Node == n.Name {
					v.Used += s.Chips
					v.Jobs = append(v.Jobs, Occupant{j.ID, j.Project, s.Chips})
				}
			}
		}
		out[i] = v
	}
	return out, nil
}

// Drain has a node take no new work, or take it again. What runs there goes on. fault.NotFound without the node.
func (p *Planner) Drain(ctx context.Context, node string, draining bool, reason string) error {
	const longest = 500
	if len(reason) > longest {
		return fault.InvalidField("reason", "A reason has at most %d bytes.", longest)
	}
	if err := p.mark(ctx, node, draining, reason, func(NodeMark) bool { return true }); err != nil {
		return err
	}
	if !draining && p.opt.Resumed != nil {
		return p.opt.Resumed(ctx, node)
	}
	return nil
}

// DrainFor is Drain for a program whose reasons all begin with the same words: a node that is drained already stays as it is, and only
// one that it drained itself takes work again.
func (p *Planner) DrainFor(ctx context.Context, words, node string, draining bool, reason string) error {
	reason = strings.ToValidUTF8(reason[:min(len(reason), 500)], "")
	return p.mark(ctx, node, draining, reason, func(now NodeMark) bool {
		return draining && !now.Draining || !draining && now.Draining && strings.HasPrefix(now.Reason, words)
	})
}

// mark replaces what is said of a node, if it may be by what is said now.
func (p *Planner) mark(ctx context.Context, node string, draining bool, reason string, may func(now NodeMark) bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.ContainsFunc(p.opt.Capacity.Nodes, func(n sched.Node) bool { return n.Name == node }) {
		return fault.New(fault.NotFound, "There is no node "+node+".", fault.Fix("See `triarch node ls`"))
	}
	marks, err := p.opt.Store.Marks(ctx)
	if err != nil {
		return err
	}
	now := NodeMark{Node: node}
	for _, m := range marks {
		if m.Node == node {
			now = m
		}
	}
	if !may(now) {
		return nil
	}
	if !draining {
		reason = ""
	}
	if err := p.opt.Store.SetMark(ctx, NodeMark{Node: node, Draining: draining, Reason: reason, Since: p.opt.Now().UTC().Truncate(time.Microsecond)}); err != nil {
		return err
	}
	p.changed()
	return nil
}

// Project finds a project by its id, or by its name in an organisation; fault.NotFound.
func (p *Planner) Project(ctx context.Context, org, name string) (Row, error) {
	rows, err := p.opt.Store.Queues(ctx)
	if err != nil {
		return Row{}, err
	}
	for _, r := range rows {
		if r.Project == name || r.Org == org && r.Name == name {
			return r, nil
		}
	}
	return Row{}, fault.New(fault.NotFound, "There is no such project.", fault.Field("project"), fault.Fix("Name it by its id, or by its name in your organisation."))
}
