// Package queue holds the rig of the schedule: the real program with a declared capacity of eight slots, two projects and
// real training runs, replicas and explanations.
package queue
