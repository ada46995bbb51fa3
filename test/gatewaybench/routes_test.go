package main

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

// Times are scaled by what the replicas had of the machine, so that other work on it makes nobody late.
func TestLateness(t *testing.T) {
	cores := 2.0 // at most, of this machine's
	if half := (&trial{cpu: 1, clock: 1}); true {
		half.took = []time.Duration{time.Second, 3 * time.Second, 9 * time.Second}
		half.judge(2 * time.Second)
		if half.good+half.late != 3 || half.late < 1 {
			t.Errorf("%d in time, %d late", half.good, half.late)
		}
	}
	alone, crowded := trial{cpu: 1, clock: 1 / cores}, trial{cpu: 1, clock: 10 / cores}
	for i := range 40 {
		took := time.Duration(i) * 100 * time.Millisecond
		alone.took, crowded.took = append(alone.took, took), append(crowded.took, 10*took)
	}
	alone.judge(2 * time.Second)
	crowded.judge(2 * time.Second)
	if d := alone.late - crowded.late; d < -1 || d > 1 || alone.late == 0 || alone.good == 0 {
		t.Errorf("%d late alone, %d on a machine ten times as slow", alone.late, crowded.late)
	}
}

// All ways of routing are asked the same, each round something else; questions differ, system prompts come again.
func TestRequestsOfARound(t *testing.T) {
	c, err := makeCorpus(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.requests(1, 64)
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.requests(1, 64)
	if err != nil || !slices.EqualFunc(a, b, bytes.Equal) {
		t.Errorf("the same round asks other things: %v", err)
	}
	other, err := c.requests(2, 64)
	if err != nil || bytes.Equal(a[0], other[0]) {
		t.Errorf("two rounds ask the same: %v", err)
	}
	whole, systems := map[string]bool{}, map[string]bool{}
	for _, r := range a {
		whole[string(r)] = true
		systems[string(r[:1000])] = true
	}
	if len(whole) != 64 || len(systems) < prefixes/2 || len(systems) > prefixes {
		t.Errorf("%d requests, %d system prompts", len(whole), len(systems))
	}
}

func TestSummaryOfRounds(t *testing.T) {
	r := summary([]trial{{cpu: 1, clock: 2, good: 10, prompt: 100, cached: 50, first: []float64{1, 2, 3}},
		{cpu: 2, clock: 2, good: 9, late: 1, refused: 2, prompt: 100, cached: 70, first: []float64{5}}})
	if r.Answers != 20 || r.Late != 1 || r.Refused != 2 || r.HitShare != 0.6 || r.PerThousand != 150 || r.Goodput != 7.25 || r.FirstMillis != 3.5 {
		t.Errorf("%+v", r)
	}
}
