package sched

import "testing"

// Work without chips goes to nodes without them, wherever it may run, then to where it strands the fewest chips.
func TestCPUWorkLeavesTheChipsTheirCPU(t *testing.T) {
	f := Fleet{Chips: []Chip{{Name: "a", Value: Micro}, {Name: "b", Value: Micro}}, Queues: []Queue{{Name: "q"}}, Nodes: []Node{
		{Name: "few", Site: "here", Chip: "a", Chips: 8, CPUMilli: 16_000, MemoryMiB: 4000},
		{Name: "many", Site: "here", Chip: "b", Chips: 8, CPUMilli: 64_000, MemoryMiB: 1000},
		{Name: "busy", Site: "there", Chip: "a", Chips: 4, CPUMilli: 16_000, MemoryMiB: 1000},
		{Name: "plain", Site: "there", CPUMilli: 8000, MemoryMiB: 1000}}}
	w := newWorld(t, Config{}, f)
	must(0, w.submit(Job{ID: "train", Queue: "q", Need: Need{Chips: 4, CPUMilli: 2000, Sites: []string{"there"}}}, 1000*minute))
	w.plan()
	for _, c := range []struct {
		id, node  string
		cpu, memo int64
		sites     []string
	}{
		{"c1", "plain", 8000, 10, nil}, {"c2", "busy", 8000, 10, nil}, {"c3", "many", 8000, 10, nil}, {"c4", "many", 1000, 10, []string{"here"}}, {"c5", "few", 400, 500, nil},
	} {
		must(0, w.submit(Job{ID: c.id, Queue: "q", Need: Need{CPUMilli: c.cpu, MemoryMiB: c.memo, Sites: c.sites}}, 1000*minute))
		w.plan()
		if got := w.on(c.id); got != c.node+":0" {
			t.Errorf("%s runs on %q, not on %s", c.id, got, c.node)
		}
	}
}
