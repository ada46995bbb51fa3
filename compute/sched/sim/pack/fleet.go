package pack

import "strings"

// machine is the state of one node while a list is packed.
type machine struct {
	cpu, memory int64   // free
	free        []int64 // free thousandths of each device
	idle        int64   // sum of free
	model       int     // number of the model, -1 without devices
	rank        int32
	hosts       uint64 // which kinds of accelerator pods it hosts: bit 0 shared, bit n n devices
	version     uint32 // counts the pods placed here
	fragment    float64
}

// want is one distinct request.
type want struct {
	cpu, memory, share int64
	devices            int
	models             []bool // by model number; nil for any
	kind               uint64 // the bit of machine.hosts; 0 for a CPU-only pod
}

// gpu is the accelerator amount asked, in thousandths.
func (w *want) gpu() int64 { return int64(w.devices) * w.share }

// fits says whether the machine can host the request now.
func (m *machine) fits(w *want) bool {
	if m.cpu < w.cpu || m.memory < w.memory {
		return false
	}
	if w.devices == 0 {
		return true
	}
	if m.model < 0 || w.models != nil && !w.models[m.model] {
		return false
	}
	room := 0
	for _, f := range m.free {
		if f >= w.share {
			room++
		}
	}
	return room >= w.devices
}

// take puts the request on the machine, on the devices given.
func (m *machine) take(w *want, devices []int) {
	m.cpu -= w.cpu
	m.memory -= w.memory
	for _, d := range devices {
		m.free[d] -= w.share
		m.idle -= w.share
	}
	m.hosts |= w.kind
	m.version++
}

// firstFree are the first devices with room for the request: where pods of whole devices go.
func (m *machine) firstFree(w *want, out []int) []int {
	out = out[:0]
	for d, f := range m.free {
		if len(out) < w.devices && f >= w.share {
			out = append(out, d)
		}
	}
	return out
}

// tightest is the device with the least room that suffices, the first of equals: where shares go.
func (m *machine) tightest(w *want, out []int) []int {
	best := -1
	for d, f := range m.free {
		if f >= w.share && (best < 0 || f < m.free[best]) {
			best = d
		}
	}
	return append(out[:0], best)
}

// fleet is what a policy sees: the machines, the distinct requests, and the classes of the workload.
type fleet struct {
	machines []machine
	wants    []want
	wantOf   []int32 // by pod
	classes  []typical
	capacity int64 // thousandths of accelerators
}

func newFleet(nodes []Node, rank []int32, pods []Pod) *fleet {
	models := map[string]int{}
	f := &fleet{machines: make([]machine, len(nodes))}
	for i := range nodes {
		n := &nodes[i]
		m := &f.machines[i]
		*m = machine{cpu: n.CPU, memory: n.Memory, model: -1, rank: rank[i]}
		if n.Devices == 0 {
			continue
		}
		if _, ok := models[n.Model]; !ok {
			models[n.Model] = len(models)
		}
		m.model = models[n.Model]
		m.free = make([]int64, n.Devices)
		for d := range m.free {
			m.free[d] = 1000
		}
		m.idle = int64(n.Devices) * 1000
		f.capacity += m.idle
	}
	f.addWants(pods, models)
	f.classes = typicals(pods, models)
	for i := range f.machines {
		m := &f.machines[i]
		m.fragment = fragment(f.classes, m.model, m.cpu, m.free)
	}
	return f
}

// addWants numbers the distinct requests of the list.
func (f *fleet) addWants(pods []Pod, models map[string]int) {
	type key struct {
		cpu, memory, share int64
		devices            int
		spec               string
	}
	known := map[key]int32{}
	f.wantOf = make([]int32, len(pods))
	for i := range pods {
		p := &pods[i]
		k := key{p.CPU, p.Memory, p.Share, p.Devices, strings.Join(p.Models, "|")}
		n, ok := known[k]
		if !ok {
			n = int32(len(f.wants))
			known[k] = n
			f.wants = append(f.wants, newWant(p, models))
		}
		f.wantOf[i] = n
	}
}

func newWant(p *Pod, models map[string]int) want {
	w := want{cpu: p.CPU, memory: p.Memory, share: p.Share, devices: p.Devices}
	if len(p.Models) > 0 {
		w.models = allowed(p.Models, models)
	}
	switch {
	case p.Devices > 0 && p.Share < 1000:
		w.kind = 1
	case p.Devices > 0:
		w.kind = 1 << p.Devices
	}
	return w
}
