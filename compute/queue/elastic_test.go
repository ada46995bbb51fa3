package queue_test

import (
	"testing"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/queue"
)

// Elastic work starts on what there is, and gives up part of what it borrowed instead of all: it makes way, keeps its
// work, and goes on with fewer chips, which are the ones it is told of.
func TestElasticWorkShrinks(t *testing.T) {
	w := newWorld(quick, 2, "slot=8")
	w.quotas["a"] = queue.Quota{Project: "a", Guarantee: map[string]int64{"slot": 4}}
	w.quotas["b"] = queue.Quota{Project: "b"}
	w.restart()
	elastic := must(w.submit("b", "elastic", 20*time.Minute, job.Ask{Chips: 8, MinChips: 2}))(t)
	w.run(2*time.Minute, time.Second)
	if got := w.get(elastic.ID); got.State != job.Running || got.Standing.Placement.Size != 8 || got.Standing.Placement.Devices() != "0,1,2,3,4,5,6,7" {
		t.Fatalf("it is %s: %s: %+v", got.State, got.Reason, got.Standing.Placement)
	}
	owner := must(w.submit("a", "owner", 10*time.Minute, slots(4)))(t)
	w.run(30*time.Second, time.Second)
	got, own := w.get(elastic.ID), w.get(owner.ID)
	if own.State != job.Running {
		t.Errorf("the owner is %s: %s", own.State, own.Reason)
	}
	if got.State != job.Running || got.Attempt != 2 || got.Restarts != 0 || got.Standing.Preempted != 1 || got.Standing.Placement.Size != 4 || got.Standing.Ran < 2*time.Minute {
		t.Fatalf("it is %s: %s: %+v", got.State, got.Reason, got.Standing)
	}
	if d := got.Standing.Placement.Devices(); len(d) != len("0,1,2,3") || d == own.Standing.Placement.Devices() {
		t.Errorf("it has %s beside %s", d, own.Standing.Placement.Devices())
	}
	w.restart()
	w.run(time.Hour, 10*time.Second)
	if got := w.get(elastic.ID); got.State != job.Succeeded || len(w.broken) > 0 {
		t.Errorf("it is %s: %s; %v", got.State, got.Reason, w.broken)
	}
}

// Where there is room for its smallest size alone it starts with that.
func TestElasticWorkStartsSmall(t *testing.T) {
	w := newWorld(quick, 2, "slot=8")
	must(w.submit("a", "rigid", 10*time.Minute, slots(6)))(t)
	w.run(2*time.Second, time.Second)
	small := must(w.submit("a", "small", time.Minute, job.Ask{Chips: 8, MinChips: 2}))(t)
	w.run(15*time.Second, time.Second)
	if got := w.get(small.ID); got.State != job.Running || got.Standing.Placement.Size != 2 {
		t.Errorf("it is %s: %s", got.State, w.planner.Explain(got).Reason)
	}
}
