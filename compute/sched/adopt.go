package sched

import "fmt"

// Held is what a running job has of a node, by the node's name: how a placement is written down outside of a core.
type Held struct {
	Node    string  `json:"node"`
	Chips   int     `json:"chips"`
	Share   int     `json:"share,omitempty"` // thousandths of the one chip; 0 = whole chips
	Devices []int32 `json:"devices,omitempty"`
}

// Place writes an action's seats down.
func (c *Core) Place(seats []Seat) []Held {
	out := make([]Held, len(seats))
	for i, s := range seats {
		out[i] = Held{Node: c.nodes[s.Node].Name, Chips: int(s.Chips), Devices: s.Devices}
		if s.Share < Whole {
			out[i].Share = int(s.Share)
		}
	}
	return out
}

// Adopt takes a job that runs already on what it holds: how a core that begins anew learns of what the one before it
// started. started is when this attempt began. The error says why the job cannot be there; then nothing has changed, and
// the caller lets it run on and tells of nothing, or requeues it.
func (c *Core) Adopt(now int64, j Job, held []Held, started int64) error {
	if err := c.Submit(now, j); err != nil {
		return err
	}
	w := c.jobs[j.ID]
	o, seats, err := c.recognise(w, held)
	if err != nil {
		c.dequeue(w)
		delete(c.jobs, j.ID)
		c.history.Forget(j.ID, c.now)
		return err
	}
	c.dequeue(w)
	at := c.now
	c.now = min(c.now, max(started, 0))
	w.since = c.now
	c.occupy(w, o, seats)
	c.now, c.follows = at, false // it began before others
	return nil
}

// recognise finds the entry of a job's menu that a placement is, and takes its seats.
func (c *Core) recognise(w *work, held []Held) (*option, []Seat, error) {
	size := 0
	for _, h := range held {
		size += h.Chips
	}
	for i := range w.menu.options {
		o := &w.menu.options[i]
		if o.size != size {
			continue
		}
		if seats := c.sitDown(o, held); seats != nil {
			return o, seats, nil
		}
	}
	return nil, nil, fmt.Errorf("sched: job %s cannot be what holds %v", w.ID, held)
}

func (c *Core) sitDown(o *option, held []Held) []Seat {
	if o.mixed {
		return c.sitOn(o, held)
	}
	var seats []Seat
	pool := o.pool
	k := 0
	for i := range o.parts {
		pt := &o.parts[i]
		for range pt.members {
			if k == len(held) || held[k].Chips != pt.ask.chips {
				c.unplace(o, seats)
				return nil
			}
			n, ok := c.nodeAt[held[k].Node]
			s := Seat{Node: n, Chips: int32(pt.ask.chips), Share: int32(pt.ask.share), Devices: held[k].Devices}
			if !ok || c.room.pool[n] != pool || len(s.Devices) != pt.ask.chips || !c.sit(&s, &pt.ask) {
				c.unplace(o, seats)
				return nil
			}
			seats = append(seats, s)
			k++
		}
	}
	if k != len(held) {
		c.unplace(o, seats)
		return nil
	}
	return seats
}

// sitOn is sitDown for a gang over unlike nodes: any seats of its size are an entry of its menu.
func (c *Core) sitOn(o *option, held []Held) []Seat {
	var seats []Seat
	for _, h := range held {
		n, ok := c.nodeAt[h.Node]
		s := Seat{Node: n, Chips: int32(h.Chips), Share: Whole, Devices: h.Devices}
		a := o.askOf(&s)
		if !ok || c.room.pool[n] != o.pool || h.Chips < 1 || h.Share != 0 || len(s.Devices) != h.Chips || !c.sit(&s, &a) {
			c.unplace(o, seats)
			return nil
		}
		seats = append(seats, s)
	}
	return seats
}

// Used is what the queues used so far beyond their guarantees, in micro-units, decayed to now: what a core that begins
// anew is told by SetUsed, so that shares outlive it.
func (c *Core) Used() map[string]int64 {
	out := make(map[string]int64, len(c.queues))
	for _, q := range c.queues {
		out[q.Name] = q.used
	}
	return out
}

// SetUsed is the reverse of Used.
func (c *Core) SetUsed(used map[string]int64) {
	for _, q := range c.queues {
		q.used = max(0, used[q.Name])
	}
}
