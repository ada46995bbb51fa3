package job

import (
	"fmt"
	"strings"
	"time"
)

// verdict is what becomes of a job after an attempt.
type verdict struct {
	state            State
	reason, fault    string
	restarts, streak int
	wait             time.Duration // before the next attempt, if state is Queued
}

// judge decides what becomes of a job whose newest attempt ended with e. It is pure.
func judge(j Job, e Exit, now time.Time) verdict {
	v := verdict{restarts: j.Restarts, streak: j.Streak}
	again := j.Restart.Forever || j.Restart.Max > 0 || j.Restart.Innocent
	switch {
	case j.State == Stopping && j.Standing.Overdue:
		v.state, v.reason, v.fault = Failed, j.Reason, FaultProgram
		return v
	case j.State == Preempting:
		v.state, v.reason, v.fault = Queued, j.Reason, j.Fault
		if e.done() && !j.Restart.Forever && j.Fault == "" { // what a failed device computed is not trusted
			v.state, v.reason = Succeeded, "" // it was through with its work when it was asked to make way
		}
		return v
	case j.State == Stopping:
		v.state, v.reason = Cancelled, j.Reason
		return v
	case e.Stopped && e.StopReason == StopDown && again:
		v.state, v.reason = Queued, "It was taken down with everything else and goes on from its last checkpoint."
		return v
	case e.clean() && !j.Restart.Forever:
		v.state = Succeeded
		return v
	}
	v.fault, v.reason = explain(e, j)
	if !j.AttemptAt.IsZero() && now.Sub(j.AttemptAt) >= j.Restart.Healthy {
		v.streak = 0
	}
	machine := e.Code == ExitMachine && e.Lost == "" && !j.Restart.Innocent           // it may take long to mend, and then goes on
	innocent := e.Lost == LostMachine || e.Lost == LostDevice || e.Stopped || machine // neither the job nor its luck is to blame
	if !again || !j.Restart.Forever && (e.NotStarted != "" || !innocent && v.streak >= j.Restart.Max) {
		v.state = Failed
		if j.Restart.Max > 0 && e.NotStarted == "" {
			v.reason = join(v.reason, sprintf("It was restarted %s in a row and is not tried again.", times(v.streak)))
		}
		return v
	}
	v.state, v.restarts = Queued, v.restarts+1
	switch {
	case machine && !e.Stopped:
		v.wait = j.Restart.backoff(v.restarts)
	case !innocent:
		v.streak++
		v.wait = j.Restart.backoff(v.streak)
	}
	return v
}

// done says whether the program came to the end of its work, asked to end or not: one that did not must not exit with 0.
func (e Exit) done() bool {
	return e.Code == 0 && e.Signal == "" && e.Lost == "" && e.NotStarted == "" && !e.OOM
}

// clean says whether the program ended by itself and was content.
func (e Exit) clean() bool { return e.done() && !e.Stopped }

// explain names who must act on an end that was no success, and why, in a sentence.
func explain(e Exit, j Job) (fault, reason string) {
	switch {
	case e.NotStarted != "":
		return FaultProgram, "Its command could not be started: " + strings.TrimRight(e.NotStarted, ".") + "."
	case e.Lost == LostMachine:
		return FaultNode, "The machine restarted while it ran."
	case e.Lost == LostDevice:
		return FaultNode, "A device that it ran on failed: " + strings.TrimRight(e.Blame, ".") + "."
	case e.Lost != "":
		return FaultPlatform, "Its supervisor died, and its process with it; how the process ended is not known."
	case e.OOM:
		limit := "the machine had no memory left"
		if j.MemoryBytes > 0 {
			limit = sprintf("its limit was %d MiB (%s)", j.MemoryBytes>>20, j.Limits)
		}
		return FaultNode, "It ended for lack of memory: " + limit + ". Give it more memory or less work at a time."
	case e.Stopped && e.StopReason == StopDown:
		return FaultNode, "It was taken down with everything else."
	case e.Stopped, e.Signal == "SIGTERM", e.Signal == "SIGINT", e.Signal == "SIGHUP", e.Code == ExitStopped:
		return FaultNode, "It was asked to end from outside, as a machine does that shuts down."
	case e.Signal == "SIGKILL":
		return FaultNode, "It was killed from outside (SIGKILL)."
	case e.Signal != "":
		return FaultProgram, sprintf("It crashed (%s); the end of its log says where.", e.Signal)
	case e.Code == ExitMachine:
		return FaultNode, "The machine failed it, as a full disk does; the end of its log says how."
	case e.Code == 0:
		return FaultProgram, "It ended by itself though it was to keep running."
	}
	return FaultProgram, sprintf("It ended with exit code %d; the end of its log says why.", e.Code)
}

// backoff is the wait before the n-th restart of a row, n from 1: base, doubled each time, at most max.
func (r Restart) backoff(n int) time.Duration {
	d := r.BackoffBase
	for i := 1; i < n && d < r.BackoffMax; i++ {
		d *= 2
	}
	return min(d, r.BackoffMax)
}

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }

// join puts two sentences together, either of which may be empty; the first may lack its full stop.
func join(a, b string) string {
	a = strings.TrimSpace(a)
	if a == "" || b == "" {
		return a + b
	}
	if !strings.ContainsAny(a[len(a)-1:], ".!?") {
		a += "."
	}
	return a + " " + b
}

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return sprintf("%d times", n)
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return sprintf("%d %ss", n, noun)
}

// be is count with the verb.
func be(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " is"
	}
	return count(n, noun) + " are"
}
