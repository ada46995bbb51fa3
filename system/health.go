package system

import (
	"context"
	"os"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/health"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/queue"
)

// devices is this machine's devices as a part of what there is to be given out.
type devices struct {
	s         *System
	base      queue.Capacity // cores, and what the configuration declares
	catalogue *chip.Catalogue
	host      string

	mu    sync.Mutex
	nodes []health.Node
	hand  map[string]bool // classes declared by hand or in the configuration
	last  queue.Capacity
}

// openDevices makes the monitor of this machine's devices and brings up what was known of them before.
func (s *System) openDevices(ctx context.Context, host string, base queue.Capacity) error {
	d := &devices{s: s, base: base, catalogue: s.Chips, host: host}
	s.devices = d
	s.Health = &health.Monitor{Machine: s.node, Look: d.look, Store: s.control.Devices(), Apply: d.apply, Log: s.Log,
		Drain: func(ctx context.Context, node string, draining bool, reason string) error {
			return s.Queue.DrainFor(ctx, health.Reason, node, draining, reason)
		}}
	if err := d.recompose(ctx); err != nil {
		return err
	}
	if s.Config.Compute.Scan <= 0 {
		return nil // devices that were found before are not there then
	}
	return s.Health.Start(ctx)
}

// look scans this machine.
func (d *devices) look(ctx context.Context) (health.Scan, error) {
	began := time.Now().UTC()
	list := chipDrivers()
	found, err := chip.Discover(ctx, d.catalogue, list...)
	if err != nil {
		return health.Scan{}, err
	}
	scan := health.Scan{Began: began, At: time.Now().UTC(), Host: d.host, Found: found, Log: kernelLog(), Hand: d.byHand}
	for _, x := range list {
		if l, ok := x.(chip.Logged); ok {
			scan.Logged = append(scan.Logged, l)
		}
	}
	return scan, nil
}

func (d *devices) byHand(class string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hand[class]
}

// apply takes what is known of the devices.
func (d *devices) apply(nodes []health.Node) {
	d.mu.Lock()
	d.nodes = nodes
	d.mu.Unlock()
	if err := d.recompose(d.s.loops); err != nil && d.s.loops.Err() == nil {
		d.s.Log.Error("what there is to be given out cannot be told anew; the next look tries again", "error", err)
	}
}

// recompose tells the planner what there is now: what the configuration and people declare, and what was found.
func (d *devices) recompose(ctx context.Context) error {
	d.mu.Lock() // before it is read, or an older list could be told after a newer one
	defer d.mu.Unlock()
	declared, err := d.s.control.Devices().Declared(ctx)
	if err != nil {
		return err
	}
	c := d.base.Clone()
	for _, left := range c.Add(declared) {
		d.s.Log.Warn("a node that was declared by hand has the name of another and is left out", "node", left)
	}
	d.hand = map[string]bool{}
	for _, n := range c.Nodes {
		d.hand[n.Chip] = true
		if found, err := d.catalogue.Find(n.Chip); err == nil { // by whichever of its names
			d.hand[found.ID] = true
		}
	}
	for _, n := range d.nodes {
		if !d.hand[n.Class] {
			c.Found(n.Name, n.Class, slots(n))
		}
	}
	c.Variables = d.variables(c)
	if reflect.DeepEqual(c, d.last) {
		return nil
	}
	d.last = c
	given := c.Clone()
	given.Slots, given.Variables, given.Declared = c.Slots, c.Variables, c.Declared
	d.s.Queue.SetCapacity(given)
	return nil
}

// variables are those that keep processes to devices, by class.
func (d *devices) variables(c queue.Capacity) map[string]string {
	out := map[string]string{}
	for _, ch := range c.Chips {
		if found, err := d.catalogue.Find(ch.Name); err == nil && found.Visible() != "" {
			out[ch.Name] = found.Visible()
		}
	}
	makes := map[string]string{} // a class that the catalogue does not know is isolated as its make's chips are
	for _, ch := range d.catalogue.All() {
		if makes[ch.Make] == "" {
			makes[ch.Make] = ch.Visible()
		}
	}
	for _, n := range d.nodes {
		if v := makes[n.Slots[0].Make]; out[n.Class] == "" && v != "" {
			out[n.Class] = v
		}
	}
	return out
}

// slots are the devices of a node as the planner knows them.
func slots(n health.Node) []queue.Slot {
	out := make([]queue.Slot, len(n.Slots))
	for i, s := range n.Slots {
		x := queue.Slot{ID: s.ID, Name: s.Name, Visible: strconv.Itoa(s.Index), Memory: s.Memory, Out: s.Out, Since: s.Since, Restart: s.Restart, Why: s.Why}
		if s.Make == "NVIDIA" && s.ID != s.Bus { // its ids stay when a device goes, and its numbers do not
			x.Visible = s.ID
		}
		said := map[string]bool{}
		for _, f := range append(slices.Clip(s.Faults), s.Logged...) {
			if text := f.Says + " (" + f.Level.String() + ")"; !said[text] {
				said[text] = true
				x.Faults = append(x.Faults, text)
			}
		}
		out[i] = x
	}
	return out
}

// blame looks whether a device failed under an attempt that ended badly.
func (s *System) blame(ctx context.Context, j job.Job, e job.Exit) string {
	if why := s.Queue.Blame(j); why != "" || s.Config.Compute.Scan <= 0 || !s.devices.runs(j) {
		return why
	}
	ctx, cancel := context.WithTimeout(ctx, blameTime)
	defer cancel()
	if err := s.Health.Since(ctx, e.EndedAt); err != nil {
		s.Log.Warn("the devices of an attempt that failed cannot be looked at", "job", j.ID, "error", err)
	}
	return s.Queue.Blame(j)
}

// blameTime is how long a look at devices may take while a job's end waits for it.
const blameTime = 5 * time.Second

// runs says whether an attempt holds devices that were found.
func (d *devices) runs(j job.Job) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if j.Standing.Placement == nil {
		return false
	}
	for _, s := range j.Standing.Placement.Seats {
		if d.last.Slots[s.Node] != nil {
			return true
		}
	}
	return false
}

// resumed has devices of a node work again that were out.
func (s *System) resumed(ctx context.Context, node string) error {
	if s.Config.Compute.Scan <= 0 {
		return nil
	}
	_, err := s.Health.Resume(ctx, node)
	return err
}

// healthLoop looks after the devices of this machine.
func (s *System) healthLoop(ctx context.Context) {
	if s.Config.Compute.Scan <= 0 {
		return
	}
	t := time.NewTicker(s.Config.Compute.Scan)
	defer t.Stop()
	s.Health.Loop(ctx, t.C)
}

// hostName is this machine's name; empty where it has none.
func hostName() string {
	host, err := os.Hostname()
	if err != nil {
		return ""
	}
	return host
}
