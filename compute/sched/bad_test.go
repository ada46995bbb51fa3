package sched

import (
	"errors"
	"strings"
	"testing"
)

// Each thing that cannot be true is refused with its field and the reason, and nothing is kept of it.
func TestBadFleets(t *testing.T) {
	good := func() Fleet {
		return Fleet{Chips: []Chip{{Name: "nvidia-a100", Value: 1}}, Nodes: []Node{{Name: "n1", Site: "s", Rack: "r", Block: "b", Chip: "nvidia-a100", Chips: 8}},
			Queues: []Queue{{Name: "q", Org: "o"}}}
	}
	for name, c := range map[string]struct {
		change      func(*Fleet)
		field, says string
	}{
		"a chip twice":         {func(f *Fleet) { f.Chips = append(f.Chips, f.Chips[0]) }, "chips[1].name", "twice"},
		"negative value":       {func(f *Fleet) { f.Chips[0].Value = -1 }, "chips[0]", "negative"},
		"a node twice":         {func(f *Fleet) { f.Nodes = append(f.Nodes, f.Nodes[0]) }, "nodes[1].name", "twice"},
		"negative chips":       {func(f *Fleet) { f.Nodes[0].Chips = -1 }, "nodes[0]", "negative"},
		"a link group twice":   {func(f *Fleet) { f.Nodes[0].Links = [][]int{{0, 1, 2, 3}, {3, 4, 5, 6, 7}} }, "nodes[0].links", "chip 3 of n1"},
		"chips without links":  {func(f *Fleet) { f.Nodes[0].Links = [][]int{{0, 1, 2, 3}} }, "nodes[0].links", "4 of the 8 chips of n1"},
		"impossible memory":    {func(f *Fleet) { f.Nodes[0].MemoryMiB = 1 << 60 }, "nodes[0]", "impossible"},
		"a chip misspelt":      {func(f *Fleet) { f.Nodes[0].Chip = "nvidia-a10" }, "nodes[0].chip", `did you mean "nvidia-a100"`},
		"a rack in two blocks": {func(f *Fleet) { f.Nodes = append(f.Nodes, Node{Name: "n2", Site: "s", Rack: "r", Block: "c"}) }, "nodes[1].block", `block "b" and in block "c"`},
		"a queue twice":        {func(f *Fleet) { f.Queues = append(f.Queues, f.Queues[0]) }, "queues[1].name", "twice"},
		"guaranteed too much":  {func(f *Fleet) { f.Queues[0].Guarantee = []Count{{"nvidia-a100", 9}} }, "queues[0].guarantee", "9 chips of nvidia-a100 are guaranteed and the fleet has 8"},
		"guaranteed unknown":   {func(f *Fleet) { f.Queues[0].Guarantee = []Count{{"a100", 1}} }, "queues[0]", "did you mean"},
		"negative ceiling":     {func(f *Fleet) { f.Queues[0].Ceiling = []Count{{"nvidia-a100", -1}} }, "queues[0]", "-1 chips"},
		"two weights":          {func(f *Fleet) { f.Queues = append(f.Queues, Queue{Name: "r", Org: "o", OrgWeight: 2}) }, "queues[1].org_weight", "0 and 2"},
	} {
		f := good()
		c.change(&f)
		_, err := New(Config{}, f, known{}, 0)
		var p *Problem
		if !errors.As(err, &p) || p.Field != c.field || !strings.Contains(p.Reason, c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Config{}, good(), known{}, 0); err != nil {
		t.Error(err)
	}
}

func TestBadJobs(t *testing.T) {
	f := fleetOf(2, 8, Queue{Name: "research", Ceiling: []Count{{"a", 12}}})
	f.Nodes[0].CPUMilli, f.Nodes[0].MemoryMiB = 8000, 1000
	for name, c := range map[string]struct {
		job         Job
		field, says string
		fits        int
	}{
		"nothing asked":     {Job{ID: "j", Queue: "research"}, "chips", "nothing is asked", 0},
		"no id":             {Job{Queue: "research", Need: Need{Chips: 1}}, "id", "empty", 0},
		"share of two":      {Job{ID: "j", Queue: "research", Need: Need{Chips: 2, Share: 500}}, "share", "shares are of one", 0},
		"least above most":  {Job{ID: "j", Queue: "research", Need: Need{Chips: 2, Min: 3}}, "min_chips", "at least 3 of 2", 0},
		"queue misspelt":    {Job{ID: "j", Queue: "reserch", Need: Need{Chips: 1}}, "queue", `the nearest is "research"`, 0},
		"chip misspelt":     {Job{ID: "j", Queue: "research", Need: Need{Chips: 1, AnyOf: []Choice{{Chip: "b"}}}}, "any_of[0].chip", `did you mean "a"`, 0},
		"site misspelt":     {Job{ID: "j", Queue: "research", Need: Need{Chips: 1, Sites: []string{"her"}}}, "sites[0]", `did you mean "here"`, 0},
		"negative time":     {Job{ID: "j", Queue: "research", Limit: -1, Need: Need{Chips: 1}}, "limit", "negative", 0},
		"waits for nobody":  {Job{ID: "j", Queue: "research", After: []string{"x"}, Need: Need{Chips: 1}}, "after[0]", "neither waiting nor running", 0},
		"no such deadline":  {Job{ID: "j", Queue: "research", Objective: ByDeadline, Need: Need{Chips: 1}}, "deadline", "there is none", 0},
		"replicas of batch": {Job{ID: "j", Queue: "research", GroupMin: 1, Need: Need{Chips: 1}}, "group", "only a service", 0},
		"too large a node":  {Job{ID: "j", Queue: "research", Need: Need{Chips: 9, Within: SameNode}}, "chips", "no site has room for 9", 8},
		"too large a fleet": {Job{ID: "j", Queue: "research", Need: Need{Chips: 17}}, "chips", "no site has room for 17", 16},
		"above its ceiling": {Job{ID: "j", Queue: "research", Need: Need{Chips: 13}}, "queue", "may never hold", 0},
		"too much CPU":      {Job{ID: "j", Queue: "research", Need: Need{CPUMilli: 9000}}, "", "", 0}, // the other node does not count CPU
	} {
		core := must(New(Config{}, f, known{}, 0))
		err := core.Submit(0, c.job)
		var p *Problem
		var n *Nearby
		switch {
		case c.field == "":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case errors.As(err, &n):
			if n.Field != c.field || !strings.Contains(n.Reason, c.says) || n.Fits != c.fits {
				t.Errorf("%s: %+v", name, n)
			}
		case !errors.As(err, &p) || p.Field != c.field || !strings.Contains(p.Reason, c.says):
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (len(core.jobs) > 0 || len(core.Plan(1).Actions) > 0) {
			t.Errorf("%s: something was kept of it", name)
		}
	}
}
