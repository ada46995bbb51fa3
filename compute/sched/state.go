package sched

import "slices"

// State is what a core knows beside the jobs, the fleet and its history: what it carries from round to round. A core that
// begins anew is told of it by Restore and then decides as the one before it would have. It is small, and has a stored form
// whose tags do not change.
type State struct {
	Round    int64            `json:"round"`  // time of the next round
	Rounds   int64            `json:"rounds"` // so many have been
	Prices   map[string]int64 `json:"prices,omitempty"`
	Holds    []HeldFor        `json:"holds,omitempty"`
	Trust    [][2]int64       `json:"trust,omitempty"`    // correction of expected starts, by band of the wait
	Promises []Promised       `json:"promises,omitempty"` // expected starts whose truth has not shown
	Told     []string         `json:"told,omitempty"`     // waiting jobs whose expected start was noted already
}

// HeldFor is what is held for a blocked gang.
type HeldFor struct {
	Job   string   `json:"job"`
	Nodes []string `json:"nodes"`
	Start int64    `json:"start"`
	Owed  bool     `json:"owed,omitempty"`
}

// Promised is an expected start of a job that is to be held against what comes.
type Promised struct {
	Job      string   `json:"job"`
	Expected int64    `json:"expected"`
	By       [2]int64 `json:"by"`
	Shown    [2]bool  `json:"shown"`
	Gone     bool     `json:"gone,omitempty"`  // it has ended
	First    int64    `json:"first,omitempty"` // its first start; 0: none yet
}

// State tells what Restore takes.
func (c *Core) State() State {
	s := State{Round: c.round, Rounds: c.stats.Rounds, Prices: make(map[string]int64, len(c.chips)), Trust: slices.Clone(c.trust.factor[:])}
	for i, ch := range c.chips {
		s.Prices[ch.Name] = c.price[i]
	}
	for _, h := range c.holds {
		x := HeldFor{Job: h.w.ID, Start: h.start, Owed: h.owed}
		for _, n := range h.nodes {
			x.Nodes = append(x.Nodes, c.nodes[n].Name)
		}
		s.Holds = append(s.Holds, x)
	}
	for _, p := range c.promises {
		x := Promised{Job: p.w.ID, Expected: p.expected, By: p.by, Shown: p.shown, Gone: p.w.status == gone}
		if p.w.ran {
			x.First = max(1, p.w.first)
		}
		s.Promises = append(s.Promises, x)
	}
	for id, w := range c.jobs {
		if w.promised && w.status == waiting {
			s.Told = append(s.Told, id)
		}
	}
	slices.Sort(s.Told)
	return s
}

// Restore has a core that was told of all jobs go on from a state. What the state names and is no longer there is left
// out: chips, nodes, jobs that do not wait any more. Where the next round has passed meanwhile, the next plan begins it.
func (c *Core) Restore(s State) {
	for i, ch := range c.chips {
		if x, ok := s.Prices[ch.Name]; ok {
			c.price[i] = min(priceMost, max(Micro/1000, x))
		}
	}
	if s.Round > 0 && s.Round <= c.now+c.conf.Round {
		c.round, c.stats.Rounds = s.Round, max(0, s.Rounds)
	}
	if len(s.Trust) == waitBands {
		for i, f := range s.Trust {
			for k := range f {
				c.trust.factor[i][k] = min(factorMax, max(factorMin, f[k]))
			}
		}
	}
	c.holds = nil
	for _, x := range s.Holds {
		w := c.jobs[x.Job]
		h := &hold{w: w, start: x.Start, owed: x.Owed}
		for _, name := range x.Nodes {
			if n, ok := c.nodeAt[name]; ok {
				h.nodes = append(h.nodes, n)
			}
		}
		if w != nil && w.heapAt >= 0 && w.status == waiting && len(h.nodes) == len(x.Nodes) && len(h.nodes) > 0 && !c.holding(w) {
			c.holds = append(c.holds, h)
		}
	}
	c.repromise(s)
}

// repromise takes the expected starts over. A job that ended meanwhile and was never seen to start teaches nothing.
func (c *Core) repromise(s State) {
	c.promises = nil
	for _, x := range s.Promises {
		w := c.jobs[x.Job]
		if w == nil {
			w = &work{Job: Job{ID: x.Job}, status: gone}
		}
		w.promised = true
		if x.First > 0 {
			w.ran, w.first = true, x.First
		}
		c.promises = append(c.promises, promise{w: w, expected: max(1000, x.Expected), by: x.By, shown: x.Shown})
	}
	for _, id := range s.Told {
		if w := c.jobs[id]; w != nil {
			w.promised = true
		}
	}
}

// Rounds is how many rounds there have been.
func (c *Core) Rounds() int64 { return c.stats.Rounds }
