package queue_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/queue"
	"github.com/triarch-ai/triarch/compute/sched"
	"github.com/triarch-ai/triarch/internal/fault"
)

// Maintenance keeps work off that would reach into it, also past a restart; what is short goes before. When it is taken
// away, or over, the work starts.
func TestMaintenanceKeepsWorkOff(t *testing.T) {
	for _, removed := range []bool{true, false} {
		w := newWorld(quick, 2, "slot=8")
		ctx := t.Context()
		from := w.clock.Add(time.Hour)
		v := must(w.planner.AddWindow(ctx, queue.Window{Name: "fan", Nodes: []string{"here-slot", "here-slot"}, From: from, Until: from.Add(time.Hour), Reason: "a new fan"}))(t)
		if v.State != "planned" || len(v.Nodes) != 1 || v.Row.Set {
			t.Errorf("%+v", v)
		}
		ask := func(limit time.Duration) job.Ask { return job.Ask{Chips: 4, TimeLimit: limit} }
		long := must(w.submit("a", "long", 30*time.Minute, ask(2*time.Hour)))(t)
		short := must(w.submit("a", "short", 10*time.Minute, ask(30*time.Minute)))(t)
		w.run(2*time.Second, time.Second)
		w.restart()
		w.run(12*time.Second, time.Second)
		if a, b := w.get(long.ID), w.get(short.ID); a.State != job.Queued || b.State != job.Running {
			t.Fatalf("long is %s (%s), short is %s (%s)", a.State, a.Reason, b.State, b.Reason)
		}
		if x := w.planner.Explain(w.get(long.ID)); x.Stage != "reserved" || x.Bound != "window" || !strings.Contains(x.Reason, "kept for maintenance window fan, which begins in 59m") {
			t.Errorf("%+v", x)
		}
		if removed {
			if err := w.planner.RemoveWindow(ctx, "fan"); err != nil {
				t.Fatal(err)
			}
			w.run(5*time.Second, time.Second)
		} else {
			w.run(2*time.Hour-20*time.Second, 10*time.Second)
			if got := w.get(long.ID); got.State != job.Queued {
				t.Errorf("it is %s before the window ends", got.State)
			}
			w.run(30*time.Second, time.Second)
			if all := must(w.planner.Windows(ctx))(t); len(all) != 1 || all[0].State != "over" {
				t.Errorf("%+v", all)
			}
		}
		if got := w.get(long.ID); got.State != job.Running {
			t.Errorf("removed %v: it is %s: %s", removed, got.State, w.planner.Explain(got).Reason)
		}
	}
}

// A reservation lets its own project in, one without quota or jobs so far, and nobody else.
func TestAReservationLetsItsProjectIn(t *testing.T) {
	w := newWorld(quick, 2, "slot=8")
	ctx := t.Context()
	first := must(w.submit("a", "first", time.Minute, slots(8)))(t)
	w.run(2*time.Second, time.Second)
	v := must(w.planner.AddWindow(ctx, queue.Window{Name: "course", Nodes: []string{"here-slot"}, Until: w.clock.Add(time.Hour), Project: "b"}))(t)
	if v.State != "open" || v.Row.Name != "project b" {
		t.Errorf("%+v", v)
	}
	guest := must(w.submit("a", "guest", time.Minute, slots(2)))(t)
	w.run(2*time.Second, time.Second)
	if got := w.get(first.ID); got.State != job.Running {
		t.Errorf("what ran when it began is %s: %s", got.State, got.Reason)
	}
	w.run(3*time.Minute, time.Second)
	pupil := must(w.submit("b", "pupil", time.Minute, slots(2)))(t)
	w.run(12*time.Second, time.Second)
	if a, b := w.get(guest.ID), w.get(pupil.ID); a.State != job.Queued || b.State != job.Running {
		t.Fatalf("guest is %s (%s), pupil is %s (%s)", a.State, a.Reason, b.State, b.Reason)
	}
	if x := w.planner.Explain(w.get(guest.ID)); x.Bound != "window" || !strings.Contains(x.Reason, "reservation course") {
		t.Errorf("%+v", x)
	}
	w.run(time.Hour, 10*time.Second)
	if got := w.get(guest.ID); got.State != job.Succeeded {
		t.Errorf("after it the guest is %s: %s", got.State, got.Reason)
	}
}

// What cannot be is refused by its field; names come free when a window is over, and the number of windows is bounded.
func TestWindowsAreBounded(t *testing.T) {
	w := newWorld(quick, 2, "slot=8")
	ctx, hour := t.Context(), time.Hour
	good := func() queue.Window {
		return queue.Window{Name: "w", Nodes: []string{"here"}, From: w.clock.Add(hour), Until: w.clock.Add(2 * hour)}
	}
	for field, change := range map[string]func(*queue.Window){
		"name":    func(x *queue.Window) { x.Name = "a/b" },
		"nodes":   func(x *queue.Window) { x.Nodes = []string{"hare"} },
		"until":   func(x *queue.Window) { x.Until = x.From },
		"from":    func(x *queue.Window) { x.From = w.clock.Add(11 * 366 * 24 * hour); x.Until = x.From.Add(hour) },
		"reason":  func(x *queue.Window) { x.Reason = strings.Repeat("x", 501) },
		"project": func(x *queue.Window) { x.Project = "z" },
	} {
		x := good()
		change(&x)
		if _, err := w.planner.AddWindow(ctx, x); err == nil || fault.As(err).Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	x := good()
	x.Until = x.From.Add(time.Microsecond)
	if _, err := w.planner.AddWindow(ctx, x); err == nil || fault.As(err).Field != "until" {
		t.Error("a window of a microsecond:", err)
	}
	x = good()
	x.Until = x.From.Add(367 * 24 * hour)
	if _, err := w.planner.AddWindow(ctx, x); err == nil || fault.As(err).Field != "until" || fault.As(err).Fix == "" {
		t.Error(err)
	}
	if len(w.windows) != 0 {
		t.Fatalf("%v", w.windows)
	}
	must(w.planner.AddWindow(ctx, good()))(t)
	if _, err := w.planner.AddWindow(ctx, good()); !fault.Is(err, fault.Conflict) {
		t.Errorf("twice: %v", err)
	}
	w.clock = w.clock.Add(2 * hour)
	must(w.planner.AddWindow(ctx, good()))(t)
	for i := range 255 {
		x := good()
		x.Name = fmt.Sprint("w", i)
		must(w.planner.AddWindow(ctx, x))(t)
	}
	x = good()
	x.Name = "more"
	if _, err := w.planner.AddWindow(ctx, x); !fault.Is(err, fault.Conflict) {
		t.Errorf("more than there can be: %v", err)
	}
	w.clock = w.clock.Add(9 * 24 * hour)
	x = good()
	x.Name = "later"
	must(w.planner.AddWindow(ctx, x))(t)
	if all := must(w.planner.Windows(ctx))(t); len(all) != 1 || all[0].Name != "later" {
		t.Errorf("%d windows are left", len(all))
	}
}

// A fleet that became smaller, or a project that is gone, takes nothing but its own from what was planned.
func TestWindowsOutliveWhatTheyName(t *testing.T) {
	w := newWorld(quick, 2, "slot=8")
	at := w.clock.Add(-time.Minute)
	w.windows["gone"] = queue.Window{Name: "gone", Nodes: []string{"rack9"}, From: at, Until: at.Add(time.Hour)}
	w.windows["whose"] = queue.Window{Name: "whose", Nodes: []string{"here-slot"}, From: at, Until: at.Add(time.Hour), Project: "z"}
	w.windows["short"] = queue.Window{Name: "short", Nodes: []string{"here-slot"}, From: w.clock.Add(time.Minute), Until: w.clock.Add(time.Minute + time.Microsecond)}
	j := must(w.submit("a", "work", time.Minute, slots(8)))(t)
	w.run(2*time.Second, time.Second)
	if d := cmp.Diff(job.Running, w.get(j.ID).State); d != "" {
		t.Error(d, w.get(j.ID).Reason)
	}
}

// Before maintenance begins what runs there is asked to end in time, keeps its work and waits again; nothing else takes
// its place. It says so beforehand, a killed keeper asks as the living one would have, and nodes beside go on.
func TestMaintenanceClearsItsNodes(t *testing.T) {
	for _, kill := range []bool{false, true} {
		w := newWorld(sched.Config{Round: 10_000, MinRun: 3_600_000}, 2, "slot=4@one", "slot=4@two") // nobody else makes them leave
		ctx := t.Context()
		grace := func(s *job.Spec) { s.Grace = 20 * time.Second }
		first := must(w.submit("a", "first", 30*time.Minute, slots(4), grace))(t)
		second := must(w.submit("a", "second", 30*time.Minute, slots(4), grace))(t)
		w.run(2*time.Minute, time.Second)
		busy := map[string]job.Job{}
		for _, j := range []job.Job{first, second} {
			busy[w.get(j.ID).Standing.Placement.Seats[0].Node] = j
		}
		from := w.clock.Add(10 * time.Minute)
		must(w.planner.AddWindow(ctx, queue.Window{Name: "fan", Nodes: []string{"one"}, From: from, Until: from.Add(time.Hour)}))(t)
		w.run(2*time.Second, time.Second)
		on := busy["one"]
		want := "Node one is kept for maintenance window fan from " + from.Format(time.RFC3339) + " on: if it still runs, it is asked to end at " + from.Add(-25*time.Second).Format(time.RFC3339)
		if x := w.planner.Explain(w.get(on.ID)); !strings.Contains(x.Reason, want) {
			t.Errorf("beforehand it is told %q", x.Reason)
		}
		short := must(w.submit("a", "short", time.Second, job.Ask{Chips: 1, TimeLimit: 5 * time.Second}))(t)
		w.run(10*time.Minute-29*time.Second, time.Second)
		if got := w.get(on.ID); got.State != job.Running {
			t.Fatalf("27 s before, it is %s: %s", got.State, got.Reason)
		}
		if kill {
			w.restart()
		}
		w.run(3*time.Second, time.Second)
		if got := w.get(on.ID); got.State != job.Preempting || !strings.Contains(got.Reason, "It made way for maintenance window fan on one, which begins at "+from.Format(time.RFC3339)) {
			t.Fatalf("24 s before, it is %s: %s", got.State, got.Reason)
		}
		if kill {
			w.restart()
		}
		w.run(10*time.Second, time.Second)
		got := w.get(on.ID)
		if got.State != job.Queued || got.Standing.Preempted != 1 || got.Restarts != 0 || got.Standing.Ran < 11*time.Minute {
			t.Fatalf("when it begins, it is %s: %+v", got.State, got.Standing)
		}
		if x := w.planner.Explain(got); x.Bound != "window" && x.Bound != "room" || !w.clock.Before(from) {
			t.Errorf("at %s it waits because %+v", w.clock, x)
		}
		if got := w.get(short.ID); got.Attempt != 0 {
			t.Errorf("what would have fitted before began on nodes that are being cleared: %+v", got)
		}
		if got := w.get(busy["two"].ID); got.State != job.Running || got.Attempt != 1 {
			t.Errorf("the other is %s, attempt %d", got.State, got.Attempt)
		}
		w.run(2*time.Hour, 10*time.Second)
		if got := w.get(on.ID); got.State != job.Succeeded || got.Attempt != 2 || len(w.broken) > 0 {
			t.Errorf("in the end it is %s: %s; %v", got.State, got.Reason, w.broken)
		}
	}
}

// Maintenance that begins at once clears its nodes at once; a reservation leaves what runs alone.
func TestMaintenanceAtOnce(t *testing.T) {
	w := newWorld(quick, 2, "slot=8")
	j := must(w.submit("a", "work", 10*time.Minute, slots(8)))(t)
	w.run(5*time.Second, time.Second)
	must(w.planner.AddWindow(t.Context(), queue.Window{Name: "now", Nodes: []string{"here-slot"}, Until: w.clock.Add(time.Hour)}))(t)
	w.run(time.Second, time.Second)
	if got := w.get(j.ID); got.State != job.Preempting {
		t.Errorf("it is %s: %s", got.State, got.Reason)
	}
	w.run(30*time.Minute, time.Second)
	if got := w.get(j.ID); got.State != job.Queued || got.Attempt != 1 {
		t.Errorf("it is %s, attempt %d", got.State, got.Attempt)
	}
	if err := w.planner.RemoveWindow(t.Context(), "now"); err != nil {
		t.Fatal(err)
	}
	w.run(15*time.Minute, time.Second)
	if got := w.get(j.ID); got.State != job.Succeeded {
		t.Errorf("it is %s: %s", got.State, got.Reason)
	}
}
