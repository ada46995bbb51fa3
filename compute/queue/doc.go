// Package queue decides, for the jobs of the keeper, which start, which make way and why the others wait: the live side of
// compute/sched.
//
// A Planner keeps one scheduling core in step with the keeper's jobs. At each pass it compares what the store says with
// what the core believes, tells the core the differences, has it plan, and turns its actions into starts and stops. The
// store is the truth: a start that was not carried out is ordered again, a job that runs is adopted where it is, and a
// planner that begins anew (after a crash, a changed quota, a changed fleet) comes to the same state from the jobs alone.
// Nothing is started on devices that an attempt still holds, whatever the core believes: a job that makes way holds its
// place until it has ended.
//
// What is learnt of durations and what the queues used is kept in a Memory. It is only worth: without it the planner
// plans as on its first day, and all its promises hold.
//
// Rules for callers: Plan, Admit and Why belong to the keeper. Everything may be called from any goroutine.
package queue
