package sim

import (
	"slices"
	"time"

	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
)

// Start runs a waiting job on a placement: as many chips as it asks for (an elastic one from MinChips to MaxChips).
// The parts are copied.
func (w *World) Start(j int32, parts []Part) error {
	js := &w.job[j]
	if js.state != Waiting {
		return w.wrong("start", j, "it is not waiting")
	}
	if err := w.check(j, parts, "start"); err != nil {
		return err
	}
	cost := time.Duration(0)
	if js.ran {
		cost = RestartCost(js.chips)
	} else {
		js.started, js.ran = w.now, true
	}
	js.state = Running
	w.waiting--
	w.running++
	w.hold(j, parts, cost)
	return w.acted(Started, j)
}

// Preempt stops a running job; it waits again and keeps what it has done.
func (w *World) Preempt(j int32) error {
	js := &w.job[j]
	switch {
	case js.state != Running:
		return w.wrong("preempt", j, "it is not running")
	case !w.jobs[j].Preemptible:
		return w.wrong("preempt", j, "it was submitted as not preemptible")
	}
	w.release(j)
	js.preempts++
	w.requeue(j)
	return w.acted(Preempted, j)
}

// Resize moves a running elastic job to a placement of another size, at the cost of a restart. Its present chips count
// as free for the new placement.
func (w *World) Resize(j int32, parts []Part) error {
	js := &w.job[j]
	switch {
	case js.state != Running:
		return w.wrong("resize", j, "it is not running")
	case !w.jobs[j].Elastic():
		return w.wrong("resize", j, "it is not elastic")
	}
	w.release(j)
	if err := w.check(j, parts, "resize"); err != nil {
		return err
	}
	js.resizes++
	w.hold(j, parts, RestartCost(js.chips))
	return w.acted(Resized, j)
}

func (w *World) acted(v Verb, j int32) error {
	w.actions++
	if w.opt.Log != nil {
		w.opt.Log(Action{At: w.now, Verb: v, Job: j, Parts: w.Parts(j)})
	}
	return nil
}

// fail has a job lose its chips and what it did since its last checkpoint.
func (w *World) fail(j int32) {
	js := &w.job[j]
	ran := max(0, w.now-js.from)
	lost := ran % w.opt.Checkpoint
	w.release(j)
	js.done -= min(js.done, progress(lost, js.speed))
	js.wasted += w.chipTime(j, lost)
	js.fails++
	w.requeue(j)
}

func (w *World) requeue(j int32) {
	js := &w.job[j]
	js.state, js.waited = Waiting, w.now
	js.gen++
	w.running--
	w.waiting++
}

// check says whether the placement is one that the job may have now, and sets js.chips to its size.
func (w *World) check(j int32, parts []Part, doing string) error {
	js, spec := &w.job[j], &w.jobs[j].Spec
	if len(parts) == 0 {
		return w.wrong(doing, j, "the placement is empty")
	}
	total, whole, most := int32(0), 0, int32(0)
	kin := w.pools[w.node[max(0, min(int(parts[0].Node), len(w.node)-1))].pool].kin
	for i := range parts {
		p := &parts[i]
		if p.Node < 0 || int(p.Node) >= len(w.node) {
			return w.wrong(doing, j, "there is no node %d", p.Node)
		}
		n := &w.node[p.Node]
		switch {
		case n.down:
			return w.wrong(doing, j, "node %s is down", w.fleet.Nodes[p.Node].Name)
		case p.Chips < 0 || len(parts) > 1 && p.Chips == 0:
			return w.wrong(doing, j, "it is given %d chips of node %s", p.Chips, w.fleet.Nodes[p.Node].Name)
		case !slices.Contains(kin, n.pool):
			return w.wrong(doing, j, "its nodes %s and %s differ in site or chip", w.fleet.Nodes[parts[0].Node].Name, w.fleet.Nodes[p.Node].Name)
		}
		for k := range i {
			if parts[k].Node == p.Node {
				return w.wrong(doing, j, "node %s is named twice", w.fleet.Nodes[p.Node].Name)
			}
		}
		could := w.could(p.Node, spec)
		if most = max(most, could); p.Chips == could {
			whole++
		}
		total += p.Chips
	}
	switch {
	case !w.allowed(js.class, parts, kin):
		return w.wrong(doing, j, "node %s is of a site or chip that it may not use", w.fleet.Nodes[parts[0].Node].Name)
	case total < spec.MinChips || total > spec.MaxChips:
		return w.wrong(doing, j, "it is given %d chips and asks for %d to %d", total, spec.MinChips, spec.MaxChips)
	case len(parts) > 1 && (total <= most || whole < len(parts)-1):
		return w.wrong(doing, j, "%d chips are spread over %d nodes of up to %d", total, len(parts), most)
	}
	js.chips = total
	return w.checkRoom(j, parts, doing)
}

// allowed says whether a job may use the pool of its one part, or one of those that a gang may lie over.
func (w *World) allowed(class int32, parts []Part, kin []int32) bool {
	c := &w.classes[class]
	if len(parts) == 1 {
		return c.allows(w.node[parts[0].Node].pool)
	}
	return slices.ContainsFunc(kin, c.allows)
}

// could is how many chips of a job a node could hold if it were empty.
func (w *World) could(node int32, s *trace.Spec) int32 {
	n := &w.fleet.Nodes[node]
	fits := int64(n.Chips)
	if s.Chips == 0 || s.CPU|s.Memory == 0 {
		return int32(fits)
	}
	asked := int64(s.Chips)
	if s.CPU > 0 {
		fits = min(fits, n.CPU/max(1, (s.CPU+asked-1)/asked))
	}
	if s.Memory > 0 {
		fits = min(fits, n.Memory/max(1, (s.Memory+asked-1)/asked))
	}
	return int32(fits)
}

// checkRoom says whether each part fits in what is free on its node.
func (w *World) checkRoom(j int32, parts []Part, doing string) error {
	spec := &w.jobs[j].Spec
	for _, p := range parts {
		n := &w.node[p.Node]
		cpu, memory := w.portion(j, p.Chips)
		switch {
		case cpu > n.cpu || memory > n.memory:
			return w.wrong(doing, j, "node %s has no CPU or memory left for it", w.fleet.Nodes[p.Node].Name)
		case spec.Share < 1000:
			if d := w.device(p.Node, p.Device, int16(spec.Share)); d < 0 {
				return w.wrong(doing, j, "node %s has no chip with a share of %d left", w.fleet.Nodes[p.Node].Name, spec.Share)
			}
		case p.Chips > n.free:
			return w.wrong(doing, j, "node %s has %d chips free, not %d", w.fleet.Nodes[p.Node].Name, n.free, p.Chips)
		}
	}
	return nil
}

// portion is the CPU and memory that a part with so many chips takes, of a job whose js.chips is set: in proportion,
// rounded up.
func (w *World) portion(j int32, chips int32) (cpu, memory int64) {
	spec := &w.jobs[j].Spec
	if spec.CPU|spec.Memory == 0 {
		return 0, 0
	}
	if spec.Chips == 0 {
		return spec.CPU, spec.Memory
	}
	asked := int64(spec.Chips)
	return (spec.CPU*int64(chips) + asked - 1) / asked, (spec.Memory*int64(chips) + asked - 1) / asked
}

// hold gives a job its placement from now on and knows when it will end.
func (w *World) hold(j int32, parts []Part, cost time.Duration) {
	js, spec := &w.job[j], &w.jobs[j].Spec
	js.first, js.more = parts[0], nil
	if len(parts) > 1 {
		js.more = append(make([]Part, 0, len(parts)), parts...)
	}
	for i := range parts {
		p := &js.first
		if js.more != nil {
			p = &js.more[i]
		}
		w.take(j, p)
	}
	js.since, js.from = w.now, w.now+cost
	js.speed = sized(w.speedOf(js.speedRow, w.fleet.Nodes[js.first.Node].Chip), js.chips, spec.Chips)
	js.gen++
	end := lasting(w.jobs[j].Duration-js.done, js.speed)
	if end < never-js.from {
		w.future.push(coming{at: js.from + end, kind: Ended, id: j, gen: js.gen})
	}
	w.watch(j)
	w.occupy(j, w.milli(j))
}

// sized is a speed on n chips where the job asked for asked.
func sized(speed int64, n, asked int32) int64 {
	switch {
	case n == asked:
		return speed
	case n < asked:
		return max(1, speed*int64(n)/int64(asked))
	}
	return speed * (million + ExtraChipPPM*int64(n-asked)/int64(asked)) / million
}

// release takes the placement back and books the stretch that ends now.
func (w *World) release(j int32) {
	js := &w.job[j]
	d := w.now - js.since
	took := w.chipTime(j, d)
	js.held += took
	js.done += progress(w.now-js.from, js.speed)
	js.wasted += w.chipTime(j, min(d, js.from-js.since))
	node := &w.fleet.Nodes[js.first.Node]
	if node.Chips == 0 {
		took = d.Milliseconds()
	}
	price := node.Price
	if len(js.more) > 1 { // of the mean of its chips
		sum := int64(0)
		for _, p := range js.more {
			sum += int64(p.Chips) * w.fleet.Nodes[p.Node].Price
		}
		price = sum / int64(js.chips)
	}
	js.cost += mulDiv(took, price, hourMillis)
	w.occupy(j, -w.milli(j))
	if js.more == nil {
		w.give(j, &js.first)
	}
	for i := range js.more {
		w.give(j, &js.more[i])
	}
}

const hourMillis = 3_600_000
