package queue_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/queue"
	"github.com/triarch-ai/triarch/internal/fault"
)

// discovered is a world with a node of four devices that were found.
func discovered() *world {
	w := newWorld(quick, 2)
	w.capacity.Found("here-h100", "h100", devices(4))
	w.capacity.Variables = map[string]string{"h100": "CUDA_VISIBLE_DEVICES"}
	w.restart()
	return w
}

func devices(n int) (list []queue.Slot) {
	for i := range n {
		id := "GPU-" + string(rune('a'+i))
		list = append(list, queue.Slot{ID: id, Visible: id})
	}
	return list
}

// fail has a device of the found node fail now.
func (w *world) fail(i int, out bool) {
	list := slices.Clone(w.capacity.Slots["here-h100"])
	list[i].Restart, list[i].Why = w.clock, "it is lost"
	if out {
		list[i].Out = "it is lost (remove)"
	}
	w.capacity.Slots = map[string][]queue.Slot{"here-h100": list}
	w.planner.SetCapacity(w.capacity)
}

func (w *world) devicesOf(id string) string {
	j := w.get(id)
	return j.Standing.Placement.Devices()
}

// Work that asked for cores alone sees none of the devices that others are given.
func TestWorkWithoutChipsSeesNoDevices(t *testing.T) {
	w := discovered()
	j := must(w.submit("a", "cores", time.Hour, job.Ask{}, func(s *job.Spec) { s.CPUs = 1 }))(t)
	w.run(5*time.Second, time.Second)
	if got := w.get(j.ID); got.State != job.Running || !slices.Equal(got.Standing.Placement.Env, []string{"CUDA_VISIBLE_DEVICES="}) {
		t.Errorf("%s: %+v", got.State, got.Standing.Placement)
	}
}

// A device that fails under a job ends its attempt as a fault of the node, which counts neither as a restart nor as making way; the job
// starts elsewhere, once, whenever the keeper dies on the way.
func TestAFailedDeviceMovesItsJob(t *testing.T) {
	for fuse := range 12 {
		w := discovered()
		a := must(w.submit("a", "a", time.Hour, job.Ask{Chips: 2}))(t)
		b := must(w.submit("a", "b", time.Hour, job.Ask{Chips: 1}))(t)
		w.run(5*time.Second, time.Second)
		first := w.get(a.ID).Standing.Placement
		x, y := first.Seats[0].Devices[0], first.Seats[0].Devices[1]
		if w.get(b.ID).State != job.Running || !slices.Equal(first.Env, []string{"CUDA_VISIBLE_DEVICES=GPU-" + string('a'+x) + ",GPU-" + string('a'+y)}) {
			t.Fatalf("%s on %+v", w.get(a.ID).State, first)
		}
		w.fuse = fuse
		w.run(time.Second, time.Second)
		w.fail(int(x), true)
		w.run(time.Minute, time.Second)
		got, other := w.get(a.ID), w.get(b.ID)
		if got.State != job.Running || got.Attempt != 2 || got.Restarts != 0 || got.Standing.Preempted != 0 || slices.Contains(got.Standing.Placement.Seats[0].Devices, x) {
			t.Errorf("fuse %d: %s on %s, attempt %d, %d restarts, %+v: %s", fuse, got.State, w.devicesOf(a.ID), got.Attempt, got.Restarts, got.Standing, got.Reason)
		}
		if other.Attempt != 1 || other.State != job.Running {
			t.Errorf("the other job is %s, attempt %d: %s", other.State, other.Attempt, other.Reason)
		}
		if len(w.broken) > 0 {
			t.Error(w.broken)
		}
	}
}

// One whose data are not trusted starts again on the same devices, which stay in use.
func TestAFaultOfDataRestartsAlone(t *testing.T) {
	w := discovered()
	a := must(w.submit("a", "a", time.Hour, job.Ask{Chips: 4}))(t)
	w.run(5*time.Second, time.Second)
	w.fail(2, false)
	w.pass()
	if got := w.get(a.ID); got.State != job.Preempting || got.Fault != job.FaultNode || !strings.Contains(got.Reason, "GPU-c of node here-h100: it is lost") {
		t.Errorf("%s: %s (%s)", got.State, got.Reason, got.Fault)
	}
	w.run(time.Minute, time.Second)
	if got := w.get(a.ID); got.State != job.Running || got.Attempt != 2 || w.devicesOf(a.ID) != "0,1,2,3" {
		t.Errorf("%s, attempt %d on %s", got.State, got.Attempt, w.devicesOf(a.ID))
	}
}

// A job that waits for a device that is out says so.
func TestWaitingForADeviceThatIsOut(t *testing.T) {
	w := discovered()
	w.fail(1, true)
	a := must(w.submit("a", "a", time.Hour, job.Ask{Chips: 4}))(t)
	w.run(5*time.Second, time.Second)
	if x := w.planner.Explain(w.get(a.ID)); !strings.Contains(x.Reason, "GPU-b: it is lost (remove)") {
		t.Errorf("%+v", x)
	}
	nodes, err := w.planner.Nodes(context.Background())
	if i := slices.IndexFunc(nodes, func(n queue.NodeView) bool { return n.Name == "here-h100" }); err != nil || i < 0 || nodes[i].Devices[1].Out == "" {
		t.Errorf("%+v %v", nodes, err)
	}
	list := devices(4)
	w.capacity.Slots = map[string][]queue.Slot{"here-h100": list}
	w.planner.SetCapacity(w.capacity)
	if w.run(5*time.Second, time.Second); w.get(a.ID).State != job.Running {
		t.Errorf("it is well and the job %s", w.get(a.ID).State)
	}
}

// A program that dies of its device before anybody looked is not to blame.
func TestAProgramThatItsDeviceKilled(t *testing.T) {
	w := discovered()
	a := must(w.submit("a", "a", time.Hour, job.Ask{Chips: 1}))(t)
	w.run(5*time.Second, time.Second)
	for _, p := range w.works {
		w.over(p, job.Exit{Code: 1})
	}
	w.clock = w.clock.Add(time.Second)
	w.fail(0, true)
	w.pass()
	if got := w.get(a.ID); got.State == job.Failed || got.Fault != job.FaultNode || got.Streak != 0 {
		t.Errorf("%s: %s (%s), streak %d", got.State, got.Reason, got.Fault, got.Streak)
	}
	if w.run(time.Minute, time.Second); w.get(a.ID).State != job.Running || w.devicesOf(a.ID) == "0" {
		t.Errorf("%s on %s", w.get(a.ID).State, w.devicesOf(a.ID))
	}
}

// Who drains for failed devices touches no drain of a person, and its own only once.
func TestDrainsOfProgramsAndPeople(t *testing.T) {
	w := discovered()
	ctx := context.Background()
	at := func() queue.NodeMark { return w.marks["here-h100"] }
	health := func(draining bool) error {
		return w.planner.DrainFor(ctx, "a device failed: ", "here-h100", draining, "a device failed: GPU-a")
	}
	must(0, health(true))(t)
	first := at()
	w.clock = w.clock.Add(time.Hour)
	must(0, health(true))(t)
	if !first.Draining || !at().Since.Equal(first.Since) {
		t.Errorf("drained twice: %+v", at())
	}
	must(0, health(false))(t)
	if at().Draining {
		t.Error("it stays drained")
	}
	must(0, w.planner.Drain(ctx, "here-h100", true, "a new fan"))(t)
	must(0, health(true))(t)
	must(0, health(false))(t)
	if got := at(); !got.Draining || got.Reason != "a new fan" {
		t.Errorf("%+v", got)
	}
	if err := w.planner.DrainFor(ctx, "", "nowhere", true, ""); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func TestDeclarations(t *testing.T) {
	for _, x := range []struct{ node, chip, count, field string }{
		{"rack1", "nvidia-a100-sxm", "8", ""}, {"rack1", "mine", "4+4", ""}, {"", "mine", "8", "node"}, {"a b", "mine", "8", "node"}, {"rack1", "cpu", "8", "chip"}, {"rack1", "", "8", "chip"},
		{"rack1", "mine", "0", "chips"}, {"rack1", "mine", "-1", "chips"}, {"rack1", "mine", "", "chips"}, {"rack1", "mine", "4+", "chips"}, {"rack1", "mine", "99999", "chips"}, {"rack1", "mine", strings.Repeat("1+", 3000) + "1", "chips"},
	} {
		_, err := queue.ReadDeclaration(x.node, x.chip, x.count)
		if (err == nil) != (x.field == "") || err != nil && fault.As(err).Field != x.field {
			t.Errorf("%.60v: %v", x, err)
		}
	}
	c := must(queue.Local("here", 2, []string{"slot=4"}))(t)
	d := must(queue.ReadDeclaration("rack1", "h100", "4+4"))(t)
	if left := c.Add([]queue.Declaration{d, d}); len(left) != 1 || len(c.Nodes) != 3 || len(c.Nodes[2].Links) != 2 {
		t.Errorf("%v %+v", left, c.Nodes)
	}
	if c.Found("here-h100", "h100", devices(2)); len(c.Nodes) != 3 {
		t.Error("what was found is given out beside what was declared")
	}
}
