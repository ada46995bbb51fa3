package sched

import (
	"fmt"
	"slices"

	"github.com/triarch-ai/triarch/internal/nearest"
)

// Window is a time in which nodes take no work but that of one queue: maintenance, if the queue is empty, or an advance
// reservation. Work that would not be gone when it begins, by its P90 or its limit, does not start there before; what runs
// there then is left alone.
type Window struct {
	ID          string
	Nodes       []string
	From, Until int64  // milliseconds
	Queue       string // whose work may run there in that time; empty = nobody's
}

// window is a Window with its nodes by number.
type window struct {
	Window
	at []int32 // ascending
}

// SetWindows replaces the windows. The error is a *Problem; then nothing has changed.
func (c *Core) SetWindows(now int64, list []Window) error {
	var all []window
	for i, w := range list {
		field := fmt.Sprintf("windows[%d]", i)
		if w.ID == "" || w.Until <= w.From || w.From < 0 {
			return problem(field, "window %q lasts from %d to %d", w.ID, w.From, w.Until)
		}
		if w.Queue != "" && c.queueAt[w.Queue] == nil {
			return problem(field+".queue", "queue %q is not known", w.Queue)
		}
		x := window{Window: w}
		for _, name := range w.Nodes {
			n, ok := c.nodeAt[name]
			if !ok {
				return problem(field+".nodes", "node %q is not known; the nearest is %q", name, nearest.Name(name, c.nodeNames()))
			}
			x.at = append(x.at, n)
		}
		slices.Sort(x.at)
		x.at = slices.Compact(x.at)
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b window) int { return int(min(max(a.From-b.From, -1), 1)) })
	c.settle(now)
	c.windows = all
	c.edge = c.nextWindow()
	c.tryAll()
	return nil
}

func (c *Core) nodeNames() []string {
	names := make([]string, len(c.nodes))
	for i := range c.nodes {
		names[i] = c.nodes[i].Name
	}
	return names
}

// tryAll has everything that was refused tried again.
func (c *Core) tryAll() {
	for i := range c.moves {
		c.moves[i]++
		c.room.change[i]++
	}
}

// serviceLead is how long before a window begins replicas are no longer put on its nodes: they have no end, and a window far
// away must not keep them off.
const serviceLead = 3_600_000

// shut is the window that keeps a job off a node, if it would run there from a start until gone; nil if none does.
func (c *Core) shut(w *work, n int32, start, gone int64) *window {
	if w.Kind == Service {
		gone = start + serviceLead
	}
	for i := range c.windows {
		x := &c.windows[i]
		if x.Until <= start || gone <= x.From || x.Queue == w.q.Name && x.Queue != "" {
			continue
		}
		if _, in := slices.BinarySearch(x.at, n); in {
			return x
		}
	}
	return nil
}

// nextWindow is the next time at which a window begins or ends.
func (c *Core) nextWindow() int64 {
	at := int64(maxInt)
	for i := range c.windows {
		for _, t := range []int64{c.windows[i].From, c.windows[i].Until} {
			if t > c.now {
				at = min(at, t)
			}
		}
	}
	return at
}
