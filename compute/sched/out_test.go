package sched

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Chips that are out are given to nobody, with and without an index of nodes; a job that needs them all waits and is not
// refused, for they may come back.
func TestChipsThatAreOut(t *testing.T) {
	for _, seated := range []bool{true, false} {
		f := fleetOf(1, 4, Queue{Name: "q"})
		f.Nodes[0].Out = []int{1, 3}
		w := newWorld(t, Config{}, f)
		if !seated {
			w.c.seating = nil
		}
		for i := range 3 {
			must(0, w.submit(Job{ID: fmt.Sprint("j", i), Queue: "q", Need: Need{Chips: 1}}, 1000*minute))
		}
		must(0, w.submit(Job{ID: "all", Queue: "q", Need: Need{Chips: 4}}, 1000*minute))
		w.plan()
		var used []int32
		for _, a := range w.runs {
			used = append(used, a.Seats[0].Devices...)
		}
		slices.Sort(used)
		if !slices.Equal(used, []int32{0, 2}) {
			t.Errorf("seated %v: %v are given out", seated, used)
		}
	}
}

func TestChipsThatCannotBeOut(t *testing.T) {
	for _, out := range [][]int{{4}, {-1}, {1, 1}} {
		f := fleetOf(1, 4, Queue{Name: "q"})
		f.Nodes[0].Out = out
		if _, err := New(Config{}, f, nil, 0); err == nil || !strings.Contains(err.Error(), "out") {
			t.Errorf("%v: %v", out, err)
		}
	}
}
