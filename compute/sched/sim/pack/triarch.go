package pack

import (
	"math/rand"

	"github.com/triarch-ai/triarch/compute/sched/place"
)

// triarch packs with the index that runs live. It knows the classes of the list and how often each comes, as
// fgd does, and nothing of their order.
type triarch struct {
	index *place.Index
	asks  []place.Ask
	scope place.Scope
}

func newTriarch(nodes []Node, rank []int32, pods []Pod, f *fleet, ties *rand.Rand) (*triarch, error) {
	t := &triarch{asks: make([]place.Ask, len(f.wants))}
	mix := make([]place.Weighted, len(f.wants))
	for i := range pods {
		p, w := &pods[i], f.wantOf[i]
		t.asks[w] = place.Ask{CPU: p.CPU, Memory: p.Memory, Devices: p.Devices, Share: p.Share, Chips: p.Models}
		mix[w].Ask = t.asks[w]
		mix[w].Count++
	}
	machines := make([]place.Node, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		machines[i] = place.Node{
			Name: n.Name, CPU: n.CPU, Memory: n.Memory, Devices: n.Devices, Chip: n.Model, Rank: int(rank[i]),
		}
	}
	if ties != nil {
		t.scope.Ties = ties.Intn
	}
	var err error
	t.index, err = place.New(machines, mix)
	return t, err
}

// pick also takes the place in the index. Machines have the same numbers there as in the fleet.
func (t *triarch) pick(_ *fleet, request int32, out []int) (int, []int) {
	p, ok := t.index.Find(t.asks[request], t.scope)
	if !ok {
		return -1, nil
	}
	if err := t.index.Take(p); err != nil {
		panic("pack: the index proposed a place that is not free: " + err.Error())
	}
	for d := range maxDevices {
		if p.Devices>>d&1 == 1 {
			out = append(out, d)
		}
	}
	return int(p.Node), out
}
