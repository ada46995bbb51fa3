package sched

import (
	"fmt"
	"strings"
	"testing"
)

// Jobs of several chips, and what a gang takes of its last node, lie inside link groups where those have the room, with
// and without an index of nodes; where none are declared nothing changes.
func TestJobsInsideLinkGroups(t *testing.T) {
	for _, seated := range []bool{true, false} {
		f := fleetOf(2, 8, Queue{Name: "q"})
		for i := range f.Nodes {
			f.Nodes[i].Links = [][]int{{0, 1, 2, 3}, {4, 5, 6, 7}}
		}
		w := newWorld(t, Config{}, f)
		if !seated {
			w.c.seating = nil
		}
		for i, c := range []struct {
			chips int
			want  string
		}{{3, "0:[0 1 2]"}, {4, "0:[4 5 6 7]"}, {1, "0:[3]"}, {2, "1:[0 1]"}, {4, "1:[4 5 6 7]"}, {2, "1:[2 3]"}} {
			id := fmt.Sprint("j", i)
			must(0, w.submit(Job{ID: id, Queue: "q", Need: Need{Chips: c.chips}}, 1000*minute))
			w.plan()
			s := w.runs[id].Seats
			if len(s) != 1 || fmt.Sprintf("%d:%v", s[0].Node, s[0].Devices) != c.want {
				t.Fatalf("seated %v: %s has %+v, not %s", seated, id, s, c.want)
			}
			if e, _ := w.c.Explain(id); c.chips > 1 && !strings.Contains(e.Reason, "inside one link group") {
				t.Errorf("%+v", e)
			}
		}
		for _, id := range []string{"j0", "j1", "j2", "j3"} {
			w.end(id)
		}
		must(0, w.submit(Job{ID: "gang", Queue: "q", Need: Need{Chips: 10}}, 1000*minute))
		if w.plan(); fmt.Sprint(w.runs["gang"].Seats[1].Devices) != "[0 1]" {
			t.Errorf("seated %v: %+v", seated, w.runs["gang"])
		}
	}
}

// A gang over unlike nodes takes a link group of the node that it breaks.
func TestUnlikeGangsInsideLinkGroups(t *testing.T) {
	f := unlike([]int{8, 8, 4}, "", Queue{Name: "q"})
	f.Nodes[1].Links = [][]int{{0, 2, 4, 6}, {1, 3, 5, 7}}
	w := newWorld(t, Config{}, f)
	must(0, w.submit(Job{ID: "small", Queue: "q", Need: Need{Chips: 4}}, 1000*minute))
	w.plan()
	must(0, w.submit(Job{ID: "gang", Queue: "q", Need: Need{Chips: 11}}, 1000*minute))
	if w.plan(); w.on("gang") != "n0:8 n1:3" || fmt.Sprint(w.runs["gang"].Seats[1].Devices) != "[0 2 4]" {
		t.Errorf("%+v", w.runs["gang"])
	}
}
