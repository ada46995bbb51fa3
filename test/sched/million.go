package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// withReasons is policy triarch that keeps why each job waits.
const withReasons = "triarch+explanations"

// replayed is what a replay on its own tells of itself, and what the system says it took.
type replayed struct {
	Preemptions    int
	Explanations   int64
	MeanCompletion float64

	cpu float64 // seconds of the processor
	mb  float64 // most memory at a time
}

// million is a million jobs resampled from ITP: first come, first served; our policy; and the same with explanations kept.
// Each is a process of its own on one core, so that processor time and memory are its own.
func (r *rig) million(context.Context) error {
	by := map[string]*replayed{}
	for _, p := range []string{"fifo", "triarch", withReasons} {
		x, err := r.process(p)
		if err != nil {
			return fmt.Errorf("policy %s: %w", p, err)
		}
		by[p] = x
		r.told(fmt.Sprintf("%d jobs, %s", r.jobs, p), "%.1f CPU-seconds with the drawing of the jobs, %.0f MB, %d preemptions", x.cpu, x.mb, x.Preemptions)
		_ = r.out.Flush()
	}
	ours, told := by["triarch"], by[withReasons]
	want := 60 * float64(r.jobs) / 1e6
	r.row(fmt.Sprintf("%d jobs, one core, CPU-seconds", r.jobs), fmt.Sprintf("%.1f", ours.cpu), fmt.Sprintf("<= %.0f", want), ours.cpu <= want)
	r.told("explanations kept", "%d: %+.1f CPU-seconds (%+.0f %%), %.1f microseconds each, %+.0f MB", told.Explanations, told.cpu-ours.cpu,
		100*(told.cpu/ours.cpu-1), 1e6*(told.cpu-ours.cpu)/float64(max(1, told.Explanations)), told.mb-ours.mb)
	same := told.Preemptions == ours.Preemptions && told.MeanCompletion == ours.MeanCompletion
	r.row("explanations change no decision", fmt.Sprint(same), "true", same)
	return nil
}

// process replays under one policy in a process of its own.
func (r *rig) process(policy string) (*replayed, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"-traces", r.traces, "-jobs", strconv.Itoa(r.jobs), "-alone", policy}
	if r.profile != "" && policy == "triarch" {
		args = append(args, "-cpuprofile", r.profile)
	}
	child := exec.Command(self, args...)
	child.Env, child.Stderr = append(os.Environ(), "GOMAXPROCS=1"), os.Stderr
	text, err := child.Output()
	if err != nil {
		return nil, err
	}
	x := &replayed{cpu: (child.ProcessState.UserTime() + child.ProcessState.SystemTime()).Seconds()}
	if u, ok := child.ProcessState.SysUsage().(*syscall.Rusage); ok {
		x.mb = float64(u.Maxrss) * 1024 / 1e6
	}
	return x, json.Unmarshal(text, x)
}

// replayAlone replays part million under one policy and prints its figures as JSON.
func (r *rig) replayAlone(ctx context.Context, policy string) error {
	o, err := r.itpOptions(policy)
	if err != nil {
		return err
	}
	defer os.Remove(o.Fleet)
	o.Jobs, o.Load = r.jobs, 0.85
	if policy == withReasons {
		o.Policies, o.Explain = []string{"triarch"}, time.Hour
	}
	by, _, err := r.replay(ctx, o)
	if err != nil {
		return err
	}
	s := by[o.Policies[0]]
	return json.NewEncoder(os.Stdout).Encode(replayed{Preemptions: s.Preemptions, Explanations: s.Explanations, MeanCompletion: s.MeanCompletionS})
}
