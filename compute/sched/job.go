package sched

import (
	"fmt"
	"math/bits"
)

// Kind says what sort of work a job is; it decides its lane and what preemption may do to it.
type Kind uint8

// The kinds.
const (
	Batch       Kind = iota // training and the like: it ends by itself
	Evaluation              // short evaluation and debug work: the fast lane, within its bounds
	Interactive             // somebody sits before it: never preempted by rank
	Service                 // a replica set: no end, never queued behind the others
)

var kinds = []string{"batch", "evaluation", "interactive", "service"}

func (k Kind) String() string { return kinds[k] }

// Objective says by what a job chooses among the entries of its menu.
type Objective uint8

// The objectives.
const (
	Cheapest   Objective = iota // least money for the work
	Fastest                     // earliest end at the speeds of the menu
	Greenest                    // least energy for the work
	ByDeadline                  // least money among what ends by the deadline, else the earliest end
)

var objectives = []string{"cheapest", "fastest", "greenest", "by deadline"}

func (o Objective) String() string { return objectives[o] }

// Choice is a class of chips a job can run on.
type Choice struct {
	Chip  string
	Speed int64 // work per chip and time, in Micro of the reference; 0 = Micro
	Chips int   // how many of this class it takes; 0 = Need.Chips
}

// Level is a level of the topology tree, from the inside out.
type Level uint8

// The levels.
const (
	AnyLevel Level = iota
	SameNode
	SameRack
	SameBlock
	SameSite
)

var levels = []string{"any", "node", "rack", "block", "site"}

func (l Level) String() string { return levels[l] }

// Need is what a job asks of the fleet.
type Need struct {
	Chips     int      // whole chips in all, or 1 with a Share; 0 = CPU only
	Share     int      // thousandths of the one chip; 0 or Whole = all of it
	Min       int      // an elastic job runs on as few whole chips as this; 0 = Chips
	AnyOf     []Choice // classes it can use; empty = any class, at the reference speed
	Sites     []string // where it may run (residency); empty = anywhere
	Within    Level    // all of it inside one node, rack, block or site
	CPUMilli  int64    // thousandths of a core for each chip, or of the whole where Chips is 0
	MemoryMiB int64    // likewise
}

// Job is a workload as its submitter declares it, and what is known of it so far. Times are milliseconds of the
// snapshot's clock; 0 = not told.
type Job struct {
	ID        string
	Queue     string
	User      string
	Name      string
	Kind      Kind
	Submitted int64
	Need      Need
	Priority  int // higher first, inside its queue
	Objective Objective
	Fixed     bool  // it may not be preempted for another job of its own queue
	Limit     int64 // it is ended after so much running time
	Deadline  int64 // it should have ended by then

	Group      string // of a Service: the deployment whose replica it is
	GroupMin   int    // of a Service: fewer replicas of the group than so many is an outage
	Disruption int    // of a Service: how many of the group may be missing at once when others need the room

	Hold      bool     // somebody wants it to wait
	After     []string // ids of jobs, waiting or running when it is submitted, that must succeed first
	NotBefore int64    // back-off or begin time

	Attained  int64 // running time so far over all attempts, at the reference speed
	Preempted int   // how often others took its place
}

// most bounds what one job may ask for.
const most = 1 << 20

// Check says what is wrong with a job as declared, or nil: a *Problem with the field. It knows nothing of the fleet.
func (j *Job) Check() error {
	n := &j.Need
	switch {
	case j.ID == "":
		return problem("id", "it is empty")
	case int(j.Kind) >= len(kinds):
		return problem("kind", "%d is no kind of work", j.Kind)
	case int(j.Objective) >= len(objectives):
		return problem("objective", "%d is no objective", j.Objective)
	case n.Chips < 0 || n.Chips > most:
		return problem("chips", "%d chips are asked for", n.Chips)
	case n.Share < 0 || n.Share > Whole:
		return problem("share", "a share of %d thousandths of a chip", n.Share)
	case n.Share > 0 && n.Share < Whole && n.Chips != 1:
		return problem("share", "a share of a chip is asked for together with %d chips; shares are of one", n.Chips)
	case n.Min < 0 || n.Min > n.Chips:
		return problem("min_chips", "at least %d of %d chips", n.Min, n.Chips)
	case n.Min > 0 && n.Share > 0 && n.Share < Whole:
		return problem("min_chips", "a share of a chip cannot be elastic")
	case int(n.Within) >= len(levels):
		return problem("within", "%d is no level", n.Within)
	case n.CPUMilli < 0 || n.CPUMilli > largest || n.MemoryMiB < 0 || n.MemoryMiB > largest:
		return problem("cpu_milli", "%d thousandths of a core and %d MiB of memory", n.CPUMilli, n.MemoryMiB)
	case n.Chips == 0 && n.CPUMilli == 0 && n.MemoryMiB == 0:
		return problem("chips", "nothing is asked for: neither chips nor CPU nor memory")
	case j.Limit < 0 || j.Deadline < 0 || j.NotBefore < 0 || j.Submitted < 0 || j.Attained < 0:
		return problem("limit", "a negative time")
	case j.GroupMin < 0 || j.GroupMin > most || j.Disruption < 0:
		return problem("group_min", "at least %d replicas, of which %d may be missing", j.GroupMin, j.Disruption)
	case j.Kind != Service && (j.Group != "" || j.GroupMin > 0 || j.Disruption > 0):
		return problem("group", "only a service has replicas, and this is %s work", j.Kind)
	case j.Kind == Service && j.Group == "":
		return problem("group", "a replica says of which service it is one")
	}
	if j.Objective == ByDeadline && j.Deadline == 0 {
		return problem("deadline", "the objective is to end by the deadline, and there is none")
	}
	seen := map[string]bool{}
	for i, c := range n.AnyOf {
		if seen[c.Chip] || c.Chip == "" {
			return problem(fmt.Sprintf("any_of[%d].chip", i), "%q is empty or there twice", c.Chip)
		}
		seen[c.Chip] = true
		if n.Share > 0 && n.Share < Whole && c.Chips > 1 {
			return problem(fmt.Sprintf("any_of[%d].chips", i), "a share of a chip is asked for together with %d chips; shares are of one", c.Chips)
		}
		if c.Speed < 0 || c.Speed > largest || c.Chips < 0 || c.Chips > most {
			return problem(fmt.Sprintf("any_of[%d]", i), "%s has a negative or impossible figure", c.Chip)
		}
	}
	return nil
}

// muldiv is a*b/c without overflow in between, for numbers that are not negative; the largest int64 where the result has
// no room.
func muldiv(a, b, c int64) int64 {
	if a <= 0 || b <= 0 {
		return 0
	}
	if c <= 0 {
		return maxInt
	}
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi >= uint64(c) {
		return maxInt
	}
	q, _ := bits.Div64(hi, lo, uint64(c))
	if q > maxInt {
		return maxInt
	}
	return int64(q)
}

const maxInt = 1<<63 - 1
