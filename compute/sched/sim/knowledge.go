package sim

import (
	"math"
	"math/rand/v2"
	"time"
)

// Knowledge is what is known of Options.Speeds while a replay goes on, and all that a policy is told of them. Rows are
// types, columns the fleet's chips, speeds millionths of the reference speed, as there. That a chip cannot run a type at
// all is known without it.
type Knowledge interface {
	// Speed is what a type is thought to do on a chip; above 0.
	Speed(row, chip int32) int64
	// Observe tells what one attempt of a job showed of its type on a chip.
	Observe(job, row, chip int32, speed int64, at time.Duration)
	// Version moves on whenever what Speed answers has changed.
	Version() int64
}

// SeenAfter is how long an attempt makes progress before its speed is seen, once: what disturbs the measurement disturbs all
// of the attempt, so looking twice would tell no more.
const SeenAfter = time.Minute

// Knowing says whether speeds are learnt in this replay; then Version tells when they changed.
func (w *World) Knowing() bool { return w.opt.Knowledge != nil }

// Version moves on whenever what Speed answers has changed.
func (w *World) Version() int64 {
	if w.opt.Knowledge == nil {
		return 0
	}
	return w.opt.Knowledge.Version()
}

// thought is the speed of a row as the policy knows it.
func (w *World) thought(row, chip int32) int64 {
	truth := w.speedOf(row, chip)
	if w.opt.Knowledge == nil || truth == 0 || row < 0 || chip < 0 {
		return truth
	}
	return max(1, w.opt.Knowledge.Speed(row, chip))
}

// watch has the attempt that begins be seen when it has run for a while.
func (w *World) watch(j int32) {
	js := &w.job[j]
	if w.opt.Knowledge != nil && js.speedRow >= 0 && w.fleet.Nodes[js.first.Node].Chip >= 0 {
		w.future.push(coming{at: js.from + SeenAfter, kind: Seen, id: j, gen: js.gen})
	}
}

// see tells what an attempt shows: its speed, off by noise that is drawn for it alone.
func (w *World) see(j int32, gen uint32) {
	js := &w.job[j]
	chip := w.fleet.Nodes[js.first.Node].Chip
	speed := float64(w.speedOf(js.speedRow, chip))
	if w.opt.Noise > 0 {
		r := rand.New(rand.NewPCG(w.opt.Seed^0x7365656e, uint64(j)<<32|uint64(gen)))
		speed *= math.Exp(w.opt.Noise * r.NormFloat64())
	}
	w.opt.Knowledge.Observe(j, js.speedRow, chip, max(1, int64(math.Round(speed))), w.now)
	w.events = append(w.events, Event{Kind: Seen, Job: j, Node: -1})
}
