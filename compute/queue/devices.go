package queue

import (
	"strconv"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/sched"
)

// Slot is a device of a node, by its number there.
type Slot struct {
	ID      string    // as its vendor's tool calls it
	Name    string    // of its chip, as the tool says it
	Visible string    // what the variable that keeps processes to devices calls it
	Memory  float64   // bytes; 0: unknown
	Out     string    // why it takes no work; empty: it does
	Since   time.Time // of Out
	Faults  []string  // what is wrong with it, for people
	Restart time.Time // work that was placed on it before begins anew; zero: none
	Why     string    // of Restart
}

// SetCapacity replaces what there is to be given out; the next pass plans by it. Work on nodes that are gone goes on beside the schedule.
func (p *Planner) SetCapacity(c Capacity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opt.Capacity = c
	p.changed()
}

// Capacity is what there is to be given out.
func (p *Planner) Capacity() Capacity {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opt.Capacity
}

// slot is a device by its number on a node; nil where it is none that is known by itself.
func (c *Capacity) slot(node string, device int32) *Slot {
	if list := c.Slots[node]; device >= 0 && int(device) < len(list) {
		return &list[device]
	}
	return nil
}

// out are the numbers of a node's devices that take no work.
func (c *Capacity) out(node string) (list []int) {
	for i, s := range c.Slots[node] {
		if s.Out != "" {
			list = append(list, i)
		}
	}
	return list
}

// hides is a variable whose empty value is known to show no device at all, see
// https://docs.nvidia.com/cuda/cuda-programming-guide/05-appendices/environment-variables.html; of the others that is not known.
const hides = "CUDA_VISIBLE_DEVICES"

// isolation keeps the processes of an attempt to its devices; nil where nothing is known that would.
func (c *Capacity) isolation(chip string, held []sched.Held) []string {
	if chip == CPU { // what asked for cores alone is given no devices, so it does not disturb whoever has them
		for class := range c.Variables {
			if c.Variables[class] == hides && class != CPU {
				return []string{hides + "="}
			}
		}
		return nil
	}
	name := c.Variables[chip]
	if name == "" {
		return nil
	}
	var visible []string
	for _, h := range held {
		if h.Share != 0 && h.Share != sched.Whole {
			return nil
		}
		for _, d := range h.Devices {
			switch s := c.slot(h.Node, d); {
			case s != nil && s.Visible != "":
				visible = append(visible, s.Visible)
			case s == nil && c.alone(chip): // declared: its numbers are taken for the machine's
				visible = append(visible, strconv.Itoa(int(d)))
			default:
				return nil
			}
		}
	}
	if len(visible) == 0 {
		return nil
	}
	return []string{name + "=" + strings.Join(visible, ",")}
}

// alone says whether all chips of a class are on one node, so that their numbers can be the machine's.
func (c *Capacity) alone(chip string) bool {
	n := 0
	for _, x := range c.Nodes {
		if x.Chip == chip {
			n++
		}
	}
	return n == 1
}

// Blame says what became of a device that an attempt ran on since it was placed there; empty if nothing did.
func (p *Planner) Blame(j job.Job) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.blame(&j)
}

func (p *Planner) blame(j *job.Job) string {
	if j.Standing.Placement == nil || j.Standing.PlacedAt.IsZero() {
		return ""
	}
	for _, s := range j.Standing.Placement.Seats {
		for _, d := range s.Devices {
			if x := p.opt.Capacity.slot(s.Node, d); x != nil && x.Restart.After(j.Standing.PlacedAt) {
				return sprintf("%s of node %s: %s", x.ID, s.Node, strings.TrimRight(x.Why, "."))
			}
		}
	}
	return ""
}

// fallen are the jobs that begin anew because a device that they hold failed after they were placed on it.
func (p *Planner) fallen(v job.View) (stops []job.Stop) {
	for i := range v.Jobs {
		j := &v.Jobs[i]
		if j.State != job.Starting && j.State != job.Running {
			continue
		}
		if why := p.blame(j); why != "" {
			stops = append(stops, job.Stop{Job: j.ID, Reason: "A device that it ran on failed: " + why + ". It starts again.", Fault: job.FaultNode})
		}
	}
	return stops
}

// outOf says which devices of a node are out, for people; empty if none is.
func (c *Capacity) outOf(node string) string {
	var why []string
	for _, s := range c.Slots[node] {
		if s.Out != "" {
			why = append(why, s.ID+": "+strings.TrimRight(s.Out, "."))
		}
	}
	if len(why) == 0 {
		return ""
	}
	if len(why) > 3 {
		why = append(why[:3], sprintf("and %d more", len(why)-3))
	}
	return sprintf(" Of the %d devices of node %s some take no work: %s.", len(c.Slots[node]), node, strings.Join(why, "; "))
}
