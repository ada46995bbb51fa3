// Package sched decides which job runs where and when, and why not: one core for the live fleet and for replays.
//
// It is pure. A Core is told what happened and at what time, and Plan answers what to do; there is no clock, no input or
// output, no goroutine and no dependence on the order of a map, and all its own numbers are fixed point in 64 bits, so
// that the same calls give the same bytes on every machine. What a Core remembers between plans is only what saves work.
//
// The stages of a plan, each of which can refuse, an earlier one never overruled by a later:
//
//  1. Feasible: Submit makes the job's menu, every way in which the empty fleet could run it; a job without any is
//     refused there and then, with the nearest that would fit.
//  2. Entitled: the next queue is one that stays within its guarantee, else the one furthest below its weighted,
//     time-decayed share, over organisations and inside them over projects. Guarantees count chips, shares count value.
//  3. Ordered, inside one queue: replicas, priority, what has starved, the fast lane, deadlines that press, then rank by
//     what is left to run.
//  4. Matched: each class of chips has a price that clears demand, moved once a round; a job takes the entry of its menu
//     that is best for its objective at the prices.
//  5. Reserved: the first blocked jobs hold the nodes on which they can start first; others may use those only if they
//     will be gone by then.
//  6. Preempted: for a guarantee or a priority, and only where the victims, whole gangs, complete a placement.
//  7. Placed: all of a gang or none, in the lowest part of the topology that has the room (link group, node, rack, block,
//     site), on the tightest nodes; whole nodes of a gang may differ in size.
//
// Flow: Submit, End, Requeue, Checkpoint and SetNode tell; Plan decides, takes its own decisions for done, and names
// when it wants to be asked again. Failure: an action that could not be carried out is told by Requeue, a job that died
// by Requeue or End; a plan never depends on the one before having been carried out in time, for every start is made
// safe by its attempt's number outside of this package.
//
// Times are milliseconds of the caller's clock; money is in micro-units.
package sched
