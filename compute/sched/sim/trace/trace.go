// Package trace reads recorded job traces into one form that a replay understands.
//
// Four forms are told apart by their header line: the project's own (Own lists its columns), Microsoft's ITP form
// (cluster, job_id, submit_time, duration, num_gpu, and the same with deadlines), Alibaba's openb pod lists (replayed
// by creation and deletion time), and, by a function of its own, the throughput table of Gavel. Gzip is read as it is.
//
// Rules for callers: a row that cannot be true is an error naming file, line and column, unless Options.SkipBad
// counts it instead; what is returned is sorted by submission, equal ones in the order of the file. A policy is
// shown a Spec, never a Job: how long a job runs is the one thing the future holds.
package trace

import "time"

// Bounds on what a trace may hold, so that a hostile file ends in an error and not in a full memory.
const (
	MaxRows     = 5_000_000
	MaxLine     = 64 << 10 // bytes
	MaxText     = 4 << 30  // bytes after decompression
	MaxChips    = 1_000_000
	MaxSpan     = 10 * 365 * 24 * time.Hour // of a time or a duration
	maxMilliCPU = 1_000_000_000
	maxMemory   = 1 << 40 // MiB
)

// Spec is what is known of a job when it is submitted.
type Spec struct {
	ID      string
	Cluster string // the isolated cluster it was submitted to; binds it to the site that takes this cluster
	Queue   string
	Project string
	User    string
	Name    string // what the user called it
	Type    string // job type of a throughput table; empty: equally fast on every chip

	ChipList []string // allowed chips, any of them; empty for all

	Submit   time.Duration // since the start of the record
	Deadline time.Duration // since the start of the record; 0 for none

	CPU    int64 // thousandths of a core, over all its chips together
	Memory int64 // MiB, over all its chips together

	Chips    int32 // whole chips, or 1 with Share below 1000; 0 for CPU only
	Share    int32 // thousandths of the chip: 1000, or 1 to 999 where Chips is 1
	MinChips int32 // an elastic job runs on MinChips to MaxChips; both equal Chips for a rigid one
	MaxChips int32
	Priority int32 // higher first
	Line     int32 // of the file, 0 where it was drawn

	Preemptible bool
}

// Elastic says whether the job may run on other numbers of chips than it asked for.
func (s *Spec) Elastic() bool { return s.MinChips != s.MaxChips }

// Job is a Spec and how long the job runs once started, undisturbed, on the chips it asked for.
type Job struct {
	Spec
	Duration time.Duration
}

// Service is the chip-time of the job in chip-milliseconds: duration times chips; a share counts as its fraction,
// CPU only as nothing.
func (j *Job) Service() int64 { return j.Spec.ChipTime(j.Duration) }

// ChipTime is what the job takes in d on the chips it asked for, in chip-milliseconds.
func (s *Spec) ChipTime(d time.Duration) int64 {
	return d.Milliseconds() * int64(s.Chips) * int64(s.Share) / 1000
}
