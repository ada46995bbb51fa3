package sched

// Stage is a stage of a plan, in order: an earlier one is never overruled by a later one.
type Stage uint8

// The stages.
const (
	Feasible Stage = iota + 1
	Entitled
	Ordered
	Matched
	Reserved
	Preempted
	Placed
)

var stages = []string{"", "feasible", "entitled", "ordered", "matched", "reserved", "preempted", "placed"}

func (s Stage) String() string { return stages[s] }

// Refusal is what kept a job from starting: the stage, and the constraint that binds in numbers.
type Refusal struct {
	Stage      Stage
	Have, Want int64
	Option     *option
}
