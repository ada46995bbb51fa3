package queue

import (
	"context"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/compute/sched"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// Window is a time in which nodes take no work but that of one project: maintenance, if there is none, or an advance
// reservation. Work that would not be gone when it begins, by its P90 or its limit, does not start there before. What runs
// there when a reservation begins is left alone; before maintenance it is asked to end in time, with its grace, and waits
// again.
type Window struct {
	Name        string // unique; letters, digits, dots, dashes and underscores
	Nodes       []string
	From, Until time.Time
	Project     string // whose work may run there; empty: nobody's
	Reason      string // for people
	CreatedAt   time.Time
}

// WindowView is a window as it stands.
type WindowView struct {
	Window
	Row   Row    // of its project; the zero Row for maintenance, and for a project that is gone
	State string // planned, open or over
}

// Bounds of windows.
const (
	maxWindows    = 256
	longestWindow = 366 * 24 * time.Hour
	furthest      = 10 * 366 * 24 * time.Hour
	longestReason = 500
	// forgetAfter is how long a window that is over is still listed, at least until the next one is added.
	forgetAfter = 7 * 24 * time.Hour
)

// Windows tells of all windows, by name; those that are over for a while among them.
func (p *Planner) Windows(ctx context.Context) ([]WindowView, error) {
	list, err := p.opt.Store.Windows(ctx)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	rows, err := p.opt.Store.Queues(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]WindowView, len(list))
	for i, w := range list {
		out[i] = p.windowView(w, rows)
	}
	return out, nil
}

func (p *Planner) windowView(w Window, rows []Row) WindowView {
	v := WindowView{Window: w, State: "planned"}
	switch now := p.opt.Now(); {
	case !w.Until.After(now):
		v.State = "over"
	case !w.From.After(now):
		v.State = "open"
	}
	if i := slices.IndexFunc(rows, func(r Row) bool { return r.Project == w.Project && w.Project != "" }); i >= 0 {
		v.Row = rows[i]
	}
	return v
}

// AddWindow adds a window; the next pass plans by it. A zero From is now. A window of the same name that is over makes
// way. Faults: Invalid with the field, for nodes that are not there too; Conflict where the name is taken; NotFound
// without the project.
func (p *Planner) AddWindow(ctx context.Context, w Window) (WindowView, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.opt.Now().UTC().Truncate(time.Microsecond)
	w.CreatedAt, w.Until = now, w.Until.UTC().Truncate(time.Microsecond)
	if w.From = w.From.UTC().Truncate(time.Microsecond); w.From.IsZero() {
		w.From = now
	}
	w.Nodes = slices.Compact(slices.Sorted(slices.Values(w.Nodes)))
	if err := p.checkWindow(w, now); err != nil {
		return WindowView{}, err
	}
	rows, err := p.opt.Store.Queues(ctx)
	if err != nil {
		return WindowView{}, err
	}
	if w.Project != "" && !slices.ContainsFunc(rows, func(r Row) bool { return r.Project == w.Project }) {
		return WindowView{}, fault.New(fault.NotFound, "There is no such project.", fault.Field("project"))
	}
	if err := p.makePlace(ctx, w.Name, now); err != nil {
		return WindowView{}, err
	}
	if err := p.opt.Store.AddWindow(ctx, w); err != nil {
		return WindowView{}, err
	}
	p.changed()
	return p.windowView(w, rows), nil
}

// checkWindow says which field is wrong.
func (p *Planner) checkWindow(w Window, now time.Time) error {
	switch {
	case w.Name == "" || plainName(w.Name) != w.Name:
		return fault.InvalidField("name", "A window is named by 1 to %d letters, digits, dots, dashes and underscores.", maxNameLong)
	case len(w.Nodes) == 0:
		return fault.New(fault.Invalid, "A window is of at least one node.", fault.Field("nodes"), fault.Fix("See `triarch node ls`"))
	case len(w.Nodes) > maxNodes:
		return fault.InvalidField("nodes", "A window is of at most %d nodes.", maxNodes)
	case !w.Until.After(w.From):
		return fault.InvalidField("until", "The window ends at %s, which is not after its beginning at %s.", w.Until.Format(time.RFC3339), w.From.Format(time.RFC3339))
	case w.Until.Sub(w.From) < time.Second:
		return fault.InvalidField("until", "A window lasts at least a second.")
	case !w.Until.After(now):
		return fault.InvalidField("until", "The window would have ended at %s already.", w.Until.Format(time.RFC3339))
	case w.From.Before(now.Add(-longestWindow)) || w.From.After(now.Add(furthest)):
		return fault.InvalidField("from", "A window begins within ten years.")
	case w.Until.Sub(w.From) > longestWindow:
		return fault.New(fault.Invalid, "A window lasts at most 366 days.", fault.Field("until"), fault.Fix("To keep work off a node for good, drain it: `triarch node drain`"))
	case len(w.Reason) > longestReason:
		return fault.InvalidField("reason", "A reason has at most %d bytes.", longestReason)
	}
	names := p.opt.Capacity.names()
	for _, n := range w.Nodes {
		if !slices.Contains(names, n) {
			return fault.InvalidField("nodes", "There is no node %q; the nearest is %q.", n, nearest.Name(n, slices.Sorted(slices.Values(names))))
		}
	}
	return nil
}

// makePlace forgets windows that are over: one of the same name at once, the others after a while.
func (p *Planner) makePlace(ctx context.Context, name string, now time.Time) error {
	list, err := p.opt.Store.Windows(ctx)
	if err != nil {
		return err
	}
	left := 0
	for _, w := range list {
		if w.Until.After(now) || w.Name != name && w.Until.After(now.Add(-forgetAfter)) {
			left++
		} else if err := p.opt.Store.RemoveWindow(ctx, w.Name); err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	if left >= maxWindows {
		return fault.New(fault.Conflict, sprintf("There are %d windows, and there can be no more.", left), fault.Fix("Remove some that are over with `triarch node window rm NAME`"))
	}
	return nil
}

// RemoveWindow takes a window away; fault.NotFound without it.
func (p *Planner) RemoveWindow(ctx context.Context, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.opt.Store.RemoveWindow(ctx, name); err != nil {
		return err
	}
	p.changed()
	return nil
}

// ahead are the windows that are not over, as far as they can still be: a node that is no longer there is left out, and
// so is a reservation for a project that is gone.
func (p *Planner) ahead(list []Window, rows map[string]Row, now time.Time) (out []sched.Window) {
	names := p.opt.Capacity.names()
	for _, w := range list {
		if !w.Until.After(now) || ms(w.Until) <= ms(w.From) || w.Project != "" && rows[w.Project].Name == "" {
			continue
		}
		x := sched.Window{ID: windowID(&w), From: ms(w.From), Until: ms(w.Until), Queue: w.Project}
		for _, n := range w.Nodes {
			if slices.Contains(names, n) {
				x.Nodes = append(x.Nodes, n)
			}
		}
		out = append(out, x)
	}
	return out
}

// names of the nodes.
func (c *Capacity) names() []string {
	out := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		out[i] = n.Name
	}
	return out
}
