package job

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/internal/fault"
)

// Class says what sort of work a job is to the scheduler.
type Class string

// The classes.
const (
	Batch       Class = "batch"       // ends by itself; the default
	Evaluation  Class = "evaluation"  // short, for the fast lane: it also needs a time limit
	Interactive Class = "interactive" // somebody sits before it
	Service     Class = "service"     // a replica: no end, never queued behind the others
)

var (
	classes    = []Class{"", Batch, Evaluation, Interactive, Service}
	objectives = []string{"", "cheapest", "fastest", "greenest"}
)

// Ask is what a job asks of the scheduler beside its CPUs and its priority. The tags are the stored form: they do not
// change.
type Ask struct {
	Class     Class         `json:"class,omitempty"`         // empty: Service for what restarts for ever, else Batch
	User      string        `json:"user,omitempty"`          // who submitted it; durations are learnt by it
	Chips     int           `json:"chips,omitempty"`         // accelerators, all of them at once; 0: the job's CPUs alone
	MinChips  int           `json:"min_chips,omitempty"`     // it runs on as few as these too; 0: Chips
	ChipTypes []string      `json:"chip_types,omitempty"`    // classes it can use; empty: any
	Objective string        `json:"objective,omitempty"`     // cheapest (default), fastest or greenest
	TimeLimit time.Duration `json:"time_limit_ns,omitempty"` // longest time of one attempt; 0: none
	Deadline  time.Time     `json:"deadline,omitzero"`       // it should have ended by then
	NotBefore time.Time     `json:"not_before,omitzero"`     // it does not start earlier
	After     []string      `json:"after,omitempty"`         // ids of jobs and arrays of its project that must have succeeded first
	Hold      bool          `json:"hold,omitempty"`          // it waits until it is released
	Saves     bool          `json:"saves,omitempty"`         // it saves its work on SIGTERM and loses nothing by a preemption

	Work *Work `json:"work,omitempty"` // what it computes, where it tells: its speed on each class is predicted by it

	Member *Member `json:"member,omitempty"` // which element of an array it is; nil: of none

	Group      string `json:"group,omitempty"`      // of a Service: the deployment it is a replica of
	GroupMin   int    `json:"group_min,omitempty"`  // of a Service: never fewer replicas of the group for others' sake
	Disruption int    `json:"disruption,omitempty"` // of a Service: how many may be missing at once for others' sake
}

// Work is what a job computes, as package perf asks of it.
type Work struct {
	Shape perf.Shape `json:"shape"`
	Work  perf.Work  `json:"work"` // an empty precision: the best that a chip has
}

// Check says what is wrong with the work: a fault.Invalid.
func (w *Work) Check() error {
	q := perf.Question{Shape: w.Shape, Work: w.Work}
	if q.Work.Precision == "" {
		q.Work.Precision = chip.FP32
	}
	if _, r := perf.Hold(q); r != nil {
		return fault.InvalidField("work", "The work cannot be: %s: %s.", r.Field, r.Detail)
	}
	if len(w.Shape.Name) > 256 || len(w.Work.Engine) > 64 {
		return fault.InvalidField("work", "A name of the work is too long.")
	}
	return nil
}

// Bounds of what may be asked.
const (
	MaxChips = 1 << 20
	MaxAfter = 64
	maxTypes = 64
	maxSpan  = 10 * 365 * 24 * time.Hour
)

// Validate says which field is wrong, or nil.
func (a Ask) Validate() error {
	switch {
	case !slices.Contains(classes, a.Class):
		return fault.InvalidField("class", "The class is %q; it is batch, evaluation, interactive or service.", a.Class)
	case !slices.Contains(objectives, a.Objective):
		return fault.InvalidField("objective", "The objective is %q; it is cheapest, fastest or greenest.", a.Objective)
	case a.Chips < 0 || a.Chips > MaxChips:
		return fault.InvalidField("chips", "chips is %d, it must be 0 to %d.", a.Chips, MaxChips)
	case a.MinChips < 0 || a.MinChips > a.Chips:
		return fault.InvalidField("min_chips", "min_chips is %d, it must be 0 to the %d chips asked for.", a.MinChips, a.Chips)
	case len(a.ChipTypes) > 0 && a.Chips == 0:
		return fault.InvalidField("chips", "Chips are named and none are asked for.")
	case len(a.ChipTypes) > maxTypes || len(a.After) > MaxAfter:
		return fault.InvalidField("after", "A job names at most %d chips and waits for at most %d jobs.", maxTypes, MaxAfter)
	case a.TimeLimit < 0 || a.TimeLimit > maxSpan:
		return fault.InvalidField("time_limit", "A time limit is 0s (none) to ten years.")
	case a.Class == Evaluation && a.TimeLimit == 0:
		return fault.New(fault.Invalid, "Work for the fast lane needs a time limit.", fault.Field("time_limit"), fault.Fix("Give one, such as --time-limit 10m"))
	case a.GroupMin < 0 || a.GroupMin > MaxChips || a.Disruption < 0 || a.Disruption > MaxChips:
		return fault.InvalidField("group_min", "Numbers of replicas cannot be negative.")
	case a.Member != nil && (!IsArray(a.Member.Array) || a.Member.Count < 1 || a.Member.Count > MaxArray || a.Member.Limit < 0):
		return fault.InvalidField("array", "An array has 1 to %d elements.", MaxArray)
	case a.Work != nil && a.Work.Check() != nil:
		return a.Work.Check()
	case !plain(a.User + a.Group + strings.Join(a.ChipTypes, "") + strings.Join(a.After, "")):
		return fault.InvalidField("chip_types", "Names are UTF-8 text without NUL.")
	}
	for _, s := range slices.Concat([]string{a.User, a.Group}, a.ChipTypes, a.After) {
		if len(s) > maxName {
			return fault.InvalidField("chip_types", "A name has at most %d bytes.", maxName)
		}
	}
	return nil
}

// ClassOf is the class of a job, with what an empty one stands for.
func (s Spec) ClassOf() Class {
	switch {
	case s.Ask.Class != "":
		return s.Ask.Class
	case s.Restart.Forever:
		return Service
	}
	return Batch
}

// Seat is what an attempt holds of one node.
type Seat struct {
	Node    string  `json:"node"`
	Chips   int     `json:"chips"`
	Share   int     `json:"share,omitempty"` // thousandths of its one chip; 0: whole chips
	Devices []int32 `json:"devices,omitempty"`
}

// Placement is what an attempt holds, written down together with its number. The tags are the stored form.
type Placement struct {
	Site  string `json:"site,omitempty"`
	Chip  string `json:"chip,omitempty"` // class of the chips; empty: no chips
	Size  int    `json:"size"`           // chips in all
	Seats []Seat `json:"seats,omitempty"`
	// Env keeps the attempt's processes to its devices, in the words of their make: "NAME=value" each.
	Env []string `json:"env,omitempty"`
}

// EnvDevices names the devices that an attempt may use: their numbers with commas, "0,1,2", or "node:number" where they
// are of several nodes. It is not set for an attempt without chips.
const EnvDevices = "TRIARCH_DEVICES"

// Devices is the value of EnvDevices for a placement; empty without chips.
func (p *Placement) Devices() string {
	if p == nil {
		return ""
	}
	var out []string
	for _, s := range p.Seats {
		for _, d := range s.Devices {
			if len(p.Seats) > 1 {
				out = append(out, fmt.Sprintf("%s:%d", s.Node, d))
			} else {
				out = append(out, fmt.Sprint(d))
			}
		}
	}
	return strings.Join(out, ",")
}

// Standing is what scheduling has made of a job. The tags are the stored form.
type Standing struct {
	Held      bool          `json:"held,omitempty"`      // somebody wants it to wait
	Placement *Placement    `json:"placement,omitempty"` // of the newest attempt; nil while it is queued
	PlacedAt  time.Time     `json:"placed_at,omitzero"`  // when that was decided
	For       string        `json:"for,omitempty"`       // while Preempting: the job or maintenance it makes way for; empty: it was asked to begin anew
	Preempted int           `json:"preempted,omitempty"` // how often it made way
	Overdue   bool          `json:"overdue,omitempty"`   // it is ended, or ended, because it reached its time limit
	Ran       time.Duration `json:"ran_ns,omitempty"`    // running time of the attempts that have ended
}
