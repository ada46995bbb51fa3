package sched

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// respeed tells of other speeds for one of the jobs.
func (w *world) respeed(t *rapid.T) {
	ids := sortedKeys(w.jobs)
	if len(ids) == 0 {
		return
	}
	id := rapid.SampledFrom(ids).Draw(t, "respeeded")
	to := append([]Choice(nil), w.c.jobs[id].Need.AnyOf...)
	for i := range to {
		to[i].Speed = rapid.Int64Range(0, 10*Micro).Draw(t, "speed")
	}
	x := w.c.jobs[id]
	was, attained, waited := x.status, w.c.attained(x), x.waited+w.c.now-x.since
	before := w.c.now
	if err := w.c.SetSpeeds(w.now, id, to); err != nil {
		t.Fatal(err)
	}
	if x.status != was {
		t.Fatalf("job %s is %d and was %d", id, x.status, was)
	}
	if gained := w.c.attained(x) - attained; before == w.c.now && gained != 0 {
		t.Fatalf("job %s gained %d by being told of speeds", id, gained)
	}
	if was == waiting && x.waited+w.c.now-x.since != waited+w.c.now-before {
		t.Fatalf("job %s lost its time of waiting", id)
	}
	if was == running && x.menu.where(x.opt) != x.opt {
		t.Fatalf("job %s runs on an entry of another menu", id)
	}
}

// pair is a fleet of one chip of each of two classes.
func pair() Fleet {
	f := Fleet{Chips: []Chip{{Name: "a"}, {Name: "b"}}, Queues: []Queue{{Name: "q"}}}
	for _, c := range f.Chips {
		f.Nodes = append(f.Nodes, Node{Name: "n" + c.Name, Site: "here", Chip: c.Name, Chips: 1})
	}
	return f
}

func speeds(a, b int64) []Choice { return []Choice{{Chip: "a", Speed: a}, {Chip: "b", Speed: b}} }

// A job that waits takes the chips that are thought the best when they come free, not when it was submitted.
func TestAWaitingJobIsToldOfOtherSpeeds(t *testing.T) {
	for _, c := range []struct {
		name string
		now  []Choice
		want string
	}{{"as submitted", speeds(4*Micro, Micro), "a"}, {"the other is faster now", speeds(Micro, 4*Micro), "b"}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, Config{}, pair())
			for _, id := range []string{"x", "y"} { // each ends when the other does: both chips come free at once
				if err := w.submit(Job{ID: id, Queue: "q", Objective: Fastest, Need: Need{Chips: 1}}, 60*minute); err != nil {
					t.Fatal(err)
				}
			}
			w.plan()
			w.now = minute
			if err := w.submit(Job{ID: "late", Queue: "q", Objective: Fastest, Need: Need{Chips: 1, AnyOf: speeds(4*Micro, Micro)}}, 50*minute); err != nil {
				t.Fatal(err)
			}
			w.plan()
			w.now = 20 * minute
			if err := w.c.SetSpeeds(w.now, "late", c.now); err != nil {
				t.Fatal(err)
			}
			w.plan()
			w.pass(90 * minute)
			w.plan()
			if got := w.runs["late"].Chip; got != c.want {
				t.Errorf("it runs on %q, not %q", got, c.want)
			}
			if waited := w.c.jobs["late"].waited; waited != 59*minute {
				t.Errorf("it waited %d ms", waited)
			}
		})
	}
}

// A job that runs keeps what it has, and goes on at the speed that is thought right from then on; a clone agrees.
func TestARunningJobIsToldOfAnotherSpeed(t *testing.T) {
	w := newWorld(t, Config{}, pair())
	if err := w.submit(Job{ID: "x", Queue: "q", Objective: Fastest, Need: Need{Chips: 1, AnyOf: speeds(Micro, Micro/2)}}, 60*minute); err != nil {
		t.Fatal(err)
	}
	w.plan()
	if err := w.c.SetSpeeds(10*minute, "x", speeds(3*Micro, Micro/2)); err != nil {
		t.Fatal(err)
	}
	if got := w.c.Attained(20*minute, "x"); got != 40*minute {
		t.Errorf("ten minutes at once and ten at three times the reference are %d ms", got)
	}
	d, _ := w.c.ahead()
	if got := d.Attained(30*minute, "x"); got != 70*minute {
		t.Errorf("the clone thinks that it attained %d ms", got)
	}
	if err := w.c.Requeue(20*minute, "x", w.c.Attained(20*minute, "x")); err != nil {
		t.Fatal(err)
	}
	if got := w.c.Attained(50*minute, "x"); got != 40*minute {
		t.Errorf("while it waits it attained %d ms", got)
	}
	if got := w.c.Attained(50*minute, "nobody"); got != 0 {
		t.Errorf("one that is not known attained %d ms", got)
	}
}

// What is no other speed for the same menu is refused and changes nothing.
func TestSpeedsOfAnotherMenuAreRefused(t *testing.T) {
	w := newWorld(t, Config{}, pair())
	if err := w.submit(Job{ID: "x", Queue: "q", Need: Need{Chips: 1, AnyOf: speeds(Micro, Micro)}}, 60*minute); err != nil {
		t.Fatal(err)
	}
	menu := w.c.jobs["x"].menu
	for i, bad := range [][]Choice{nil, speeds(1, 1)[:1], {{Chip: "b"}, {Chip: "a"}}, {{Chip: "a", Chips: 2}, {Chip: "b"}}, speeds(-1, Micro), speeds(Micro, largest+1)} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			err := w.c.SetSpeeds(0, "x", bad)
			if _, ok := errors.AsType[*Problem](err); !ok {
				t.Errorf("%v: %v", bad, err)
			}
			if w.c.jobs["x"].menu != menu {
				t.Error("the menu changed")
			}
		})
	}
	if err := w.c.SetSpeeds(0, "nobody", speeds(1, 1)); err == nil {
		t.Error("a job that is not known was told of speeds")
	}
}
