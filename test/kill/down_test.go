package kill

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Everything is taken down in the middle of training and of streams, and comes up again: nothing lives in between, the
// run goes on from what it saved and ends with the bits of an undisturbed one, and what was streamed is booked.
func TestDownAndUpAgain(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	p := newPlace(t, binaries.rig, "TRIARCH_LIMITS_DRAIN=200ms")
	p.furnish()
	key, version := p.paid(), p.slow()
	p.deploy(version, "native", 1)
	r, downs, sum := p.train(), killCount(t, 2), tally{}
	downs = min(downs, 4) // what is left of the run must be enough
	for n := 1; n <= downs; n++ {
		p.worker(r.JobID, n)
		p.eventually("steps of the attempt", func() bool { return len(p.progress(r.JobID, n)) > 5 })
		s := p.open(16, "native", key)
		p.down()
		for file, pid := range p.processes() {
			if alive(pid) {
				t.Errorf("process %d of %s lives after down", pid, file)
			}
		}
		streams := s.wait()
		p.up()
		sum = sum.plus(p.settle(streams, p.oneWrite))
		p.serving("native")
	}
	r = p.ended(r.ID)
	if r.Attempt != downs+1 || r.Restarts != 0 || len(p.versions()) != 1 {
		t.Errorf("after %d times down: attempt %d, %d restarts, versions %v", downs, r.Attempt, r.Restarts, p.versions())
	}
	for n := 2; n <= downs+1; n++ {
		p.saved(r.JobID, n)
	}
	if diff := cmp.Diff(want, p.outcome(r)); diff != "" {
		t.Errorf("the run ended otherwise (-undisturbed +down):\n%s", diff)
	}
	t.Logf("%d times down and up: %s; attempt %d, loss %v, slowest first answer %s", downs, sum, r.Attempt, want.Loss, p.slowest.Round(time.Millisecond))
}

// saved checks that an attempt went on exactly where the one before it was asked to end: it tells that step's line again.
func (p *place) saved(job string, attempt int) {
	p.t.Helper()
	before, after := p.progress(job, attempt-1), p.progress(job, attempt)
	if len(before) == 0 || len(after) < 2 || after[0] != before[len(before)-1] || after[1] != after[0]+1 {
		p.t.Errorf("attempt %d did the steps %v, the one before %v", attempt, after, before)
	}
}
