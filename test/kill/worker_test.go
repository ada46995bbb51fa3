package kill

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/api"
)

// shown is what `triarch run show -o json` prints.
func (p *place) shown(run string) (r api.Run) {
	p.t.Helper()
	p.run(&r, "run", "show", run)
	return r
}

// progress are the steps that an attempt did.
func (p *place) progress(job string, attempt int) (did []int) {
	f, err := os.Open(filepath.Join(p.attempt(job, attempt), "progress.jsonl"))
	if err != nil {
		return nil
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var line struct{ Step int }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Step > 0 {
			did = append(did, line.Step)
		}
	}
	return did
}

// newest is the step of the newest checkpoint of a job.
func (p *place) newest(job string) (step int) {
	found, _ := filepath.Glob(filepath.Join(p.dir, "work", job, "state", "checkpoint-*"))
	for _, f := range found {
		if n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(f), "checkpoint-")); err == nil {
			step = max(step, n)
		}
	}
	return step
}

// checkpointed waits until an attempt has done some steps beyond a checkpoint of its own.
func (p *place) checkpointed(run, job string, attempt int) {
	p.t.Helper()
	p.eventually("a checkpoint", func() bool {
		did := p.progress(job, attempt)
		return len(did) > 3 && did[0] < p.newest(job) && p.newest(job) < did[len(did)-1]
	})
	p.eventually("the run to tell of its checkpoint", func() bool {
		r := p.show(run)
		if r.Ended() {
			p.t.Fatal("the run ended before it could be killed")
		}
		return r.Progress.Attempt == attempt && r.Progress.Checkpoint != ""
	})
}

// resumed checks that an attempt went on from a checkpoint of the one before: later than from the beginning, not later
// than where that one stood.
func (p *place) resumed(job string, attempt int) {
	p.t.Helper()
	before, after := p.progress(job, attempt-1), p.progress(job, attempt)
	if len(before) == 0 || len(after) == 0 || after[0] <= before[0] || after[0] > before[len(before)-1]+1 {
		p.t.Errorf("attempt %d did the steps %v, the one before %v", attempt, after, before)
	}
}

// named waits until the run tells how often and why it was restarted, and, until its next attempt runs, who must act.
func (p *place) named(run string, restarts int, fault, reason string) {
	p.t.Helper()
	var r api.Run
	p.eventually("the reason: "+reason, func() bool {
		r = p.shown(run)
		return strings.Contains(r.Reason, reason) || r.Ended()
	})
	if r.Restarts != restarts || r.State == "queued" && r.Fault != fault || r.State == "running" && !strings.Contains(r.Reason, "restarted") {
		p.t.Errorf("after %d deaths the run says: %s, %d restarts, fault %q, %q", restarts, r.State, r.Restarts, r.Fault, r.Reason)
	}
}

// The training worker is killed, then its successor's supervisor, then a worker whose control plane is dead: each time the reason is named and counted, the next
// attempt goes on from the last checkpoint, and the result is that of an undisturbed run.
func TestWorkerAndSupervisorKilled(t *testing.T) {
	t.Parallel()
	want := undisturbed(t)
	p := newPlace(t, binaries.triarch)
	p.furnish()
	r := p.train()

	worker := p.worker(r.JobID, 1)
	p.checkpointed(r.ID, r.JobID, 1)
	p.ok(syscall.Kill(worker, syscall.SIGKILL))
	p.named(r.ID, 1, "node", "SIGKILL")

	worker = p.worker(r.JobID, 2)
	p.checkpointed(r.ID, r.JobID, 2)
	p.resumed(r.JobID, 2)
	p.ok(syscall.Kill(pidOf(filepath.Join(p.attempt(r.JobID, 2), "supervisor.json")), syscall.SIGKILL))
	p.eventually("the worker to die with its supervisor", func() bool { return !alive(worker) })
	p.named(r.ID, 2, "platform", "supervisor died")

	worker = p.worker(r.JobID, 3)
	p.checkpointed(r.ID, r.JobID, 3)
	p.resumed(r.JobID, 3)
	p.kill() // nobody is there to see it
	p.ok(syscall.Kill(worker, syscall.SIGKILL))
	p.up()
	p.named(r.ID, 3, "node", "SIGKILL")

	r = p.ended(r.ID)
	p.resumed(r.JobID, 4)
	if r.Attempt != 4 || r.Restarts != 3 || p.attempts(r.JobID) != 4 || len(p.versions()) != 1 {
		t.Errorf("attempt %d, %d restarts, %d folders, versions %v", r.Attempt, r.Restarts, p.attempts(r.JobID), p.versions())
	}
	if diff := cmp.Diff(want, p.outcome(r)); diff != "" {
		t.Errorf("the run ended otherwise (-undisturbed +killed):\n%s", diff)
	}
	t.Logf("2 kills of a worker, one of them without a control plane, 1 of a supervisor: %d attempts, %d restarts, loss %v, weights %.12s",
		r.Attempt, r.Restarts, want.Loss, want.SHA256)
}

// A replica is killed under its streams: they end, each is billed what it got, to the token, the route is taken up again
// by the next attempt, and the reason is named and counted.
func TestReplicaKilledUnderStreams(t *testing.T) {
	t.Parallel()
	p := newPlace(t, binaries.triarch)
	p.furnish()
	key, version := p.paid(), p.slow()
	p.deploy(version, "native", 1)
	kills, sum := killCount(t, 2), tally{}
	kills = min(kills, 4) // the back-off of a replica doubles
	job := p.serving("native").Copies[0].JobID
	for n := 1; n <= kills; n++ {
		s := p.open(16, "native", key)
		p.ok(syscall.Kill(p.worker(job, n), syscall.SIGKILL))
		streams := s.wait()
		for _, s := range streams {
			if s.done || !s.broke {
				t.Errorf("a stream of the killed replica: %+v", s)
			}
		}
		sum = sum.plus(p.settle(streams, func(stream) int { return 0 })) // the gateway lives and knows what it wrote
		p.eventually("the reason of the replica's death", func() bool {
			var d api.DeploymentDetail
			p.run(&d, "deployment", "show", "native")
			c := d.Copies[0]
			return c.Restarts == n && (strings.Contains(c.Reason, "SIGKILL") || c.Healthy)
		})
		p.eventually("the replica to answer again", func() bool {
			c := p.serving("native").Copies[0]
			return c.Healthy && c.Attempt == n+1
		})
		again := p.open(1, "native", key)
		again.wait()
	}
	d := p.serving("native")
	if len(d.Copies) != 1 || d.Copies[0].Restarts != kills || p.attempts(job) != kills+1 {
		t.Errorf("after %d kills: %+v, %d attempts", kills, d.Copies, p.attempts(job))
	}
	t.Logf("%d kills of a replica: %s, %d restarts", kills, sum, d.Copies[0].Restarts)
}
