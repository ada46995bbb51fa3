// Package health keeps what is known of the devices of a machine over time: which there are, each with a place that does not
// change, what is wrong with them, and what follows from that on the ladder of compute/chip.
//
// Rules for callers: a Board is pure: Observe takes a scan and gives what happened; the caller stores the board before it
// acts on it, and may act again after a crash, for everything that follows stands in the board: a device is out or not,
// a node is to be drained or not, and work placed on a device before its Restart begins anew. One goroutine at a time.
// A tool that failed, or told of devices only in part, takes no device away.
package health

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
)

// How damped the board is. Scans are counted, not times: who scans rarely decides slowly.
const (
	goneAfter  = 2              // scans in a row that do not name a device which was there: it is gone
	wellAfter  = 3              // scans in a row without a fault after which a device takes work again
	flaps      = 3              // times out within flapSpan after which a device stays out until somebody resumes it
	flapSpan   = 24 * time.Hour //
	mostHits   = 5              // times within flapSpan that work on a device began anew, after which it stays out likewise
	maxSlots   = 64             // of a node; devices beyond stay unused
	maxEvents  = 200
	maxNodes   = 32
	maxFaults  = 32
	maxLogSays = 300
)

// Slot is a device with its place on its node.
type Slot struct {
	ID     string  `json:"id"`
	Make   string  `json:"make"`
	Name   string  `json:"name"`
	Chip   string  `json:"chip,omitempty"` // id in the catalogue
	Bus    string  `json:"bus,omitempty"`
	Index  int     `json:"index"`            // as the vendor's tool counts it now
	Memory float64 `json:"memory,omitempty"` // bytes; 0: unknown

	Faults []chip.Fault `json:"faults,omitempty"` // as of the last scan that told of it
	Logged []chip.Fault `json:"logged,omitempty"` // of the kernel's log since the machine started, of those that keep it out
	Out    string       `json:"out,omitempty"`    // why it takes no work; empty: it does
	Since  time.Time    `json:"since,omitzero"`   // of Out
	Stays  bool         `json:"stays,omitempty"`  // out until somebody resumes it, because it went out too often
	// Restart is when work on it had to begin anew last, and Why the reason: what was placed before is not trusted.
	Restart time.Time `json:"restart,omitzero"`
	Why     string    `json:"why,omitempty"`

	Missing int               `json:"missing,omitempty"` // scans in a row that did not name it
	Well    int               `json:"well,omitempty"`    // scans in a row without a fault that would keep it out
	Falls   []time.Time       `json:"falls,omitempty"`   // when it went out, within the span that counts
	Hits    []time.Time       `json:"hits,omitempty"`    // when work on it began anew though it stayed in, within the span that counts
	Told    map[string]string `json:"told,omitempty"`    // faults that were told of: code and words
	Acked   map[string]string `json:"acked,omitempty"`   // faults that somebody resumed it in spite of: code and words
}

// Node is the devices of one class on a machine, as they are given out.
type Node struct {
	Name  string `json:"name"`
	Class string `json:"class"` // of its chips
	Slots []Slot `json:"slots"`
	Drain string `json:"drain,omitempty"` // why it shall take no new work
	// Done says that the node was told to, and not yet that it need not any more.
	Done bool `json:"done,omitempty"`
}

// Event is something that happened to a device.
type Event struct {
	At    time.Time  `json:"at"`
	Node  string     `json:"node"`
	ID    string     `json:"id"`
	Slot  int        `json:"slot"`
	Level chip.Level `json:"level"`
	Code  string     `json:"code"`
	Says  string     `json:"says"`
}

// Board is all that is known of a machine's devices.
type Board struct {
	Nodes  []Node         `json:"nodes"`
	Events []Event        `json:"events"` // the newest, in order
	Silent map[string]int `json:"silent"` // tool -> scans in a row in which it told nothing of devices that it told of before
	Boot   string         `json:"boot"`   // of the machine, as of the last line of its log
	Line   uint64         `json:"line"`   // number of the last line of the log that was read, plus one
}

// Line is a line of the kernel's log.
type Line struct {
	Number uint64 // grows
	Text   string
}

// Log is what the kernel's log has, oldest first; the zero Log where it cannot be read.
type Log struct {
	Boot  string // of this start of the machine
	Lines []Line
}

// Scan is one look at a machine.
type Scan struct {
	Began  time.Time // before anything was looked at
	At     time.Time // after everything was
	Host   string    // names of nodes begin with it
	Found  []chip.Found
	Log    Log
	Logged []chip.Logged     // who reads lines of the log
	Hand   func(string) bool // whether a class of chips is declared by hand, and not to be found
}

// ClassOf is the class of a device: its id in the catalogue, or what its make and name give where the catalogue has none.
func ClassOf(d *chip.Device) string {
	if d.Chip != "" {
		return d.Chip
	}
	name := d.Name
	if !strings.HasPrefix(strings.ToLower(name), strings.ToLower(d.Make)) {
		name = d.Make + " " + name
	}
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	s := b.String()
	return strings.Trim(s[:min(len(s), 40)], "-")
}

// Observe takes a scan, and gives what happened, which is also among the board's events. Changed says whether the board has to be stored.
func (b *Board) Observe(s Scan) (happened []Event, changed bool) {
	o := observer{Board: b, Scan: s}
	if b.Silent == nil {
		b.Silent = map[string]int{}
	}
	for i := range s.Found {
		o.tool(&s.Found[i])
	}
	o.log()
	for i := range b.Nodes {
		o.node(&b.Nodes[i])
	}
	b.Events = append(b.Events, o.happened...)
	b.Events = b.Events[max(0, len(b.Events)-maxEvents):]
	return o.happened, o.changed
}

// Resume has the devices of a node take work again in spite of what is wrong with them now; false if there is no such node.
// A fault that changes, or comes back after it had gone, counts again.
func (b *Board) Resume(node string) bool {
	i := slices.IndexFunc(b.Nodes, func(n Node) bool { return n.Name == node })
	if i < 0 {
		return false
	}
	n := &b.Nodes[i]
	n.Drain, n.Done = "", false
	for k := range n.Slots {
		s := &n.Slots[k]
		if s.Missing >= goneAfter { // there is nothing to resume
			continue
		}
		s.Acked = map[string]string{}
		for _, f := range slices.Concat(s.Faults, s.Logged) {
			s.Acked[f.Code] = f.Says
		}
		s.Out, s.Since, s.Stays, s.Falls, s.Hits, s.Well, s.Logged = "", time.Time{}, false, nil, nil, 0, nil
	}
	return true
}

// observer is a scan being taken.
type observer struct {
	*Board
	Scan
	happened []Event
	changed  bool
}

func (o *observer) event(n *Node, slot int, f chip.Fault) {
	o.changed = true
	o.happened = append(o.happened, Event{o.At, n.Name, n.Slots[slot].ID, slot, f.Level, f.Code, f.Says})
}

// tool takes what one tool told.
func (o *observer) tool(f *chip.Found) {
	if len(f.Devices) == 0 {
		o.silent(f)
		return
	}
	if o.Silent[f.Tool] > 0 {
		delete(o.Silent, f.Tool)
		o.changed = true
	}
	ids := map[string]bool{}
	for _, known := range []bool{true, false} { // new ones at last: they may take the places of those that are gone
		for i := range f.Devices {
			if d := &f.Devices[i]; (o.find(d) != nil) == known {
				if s := o.slot(d); s != nil {
					ids[s.ID] = true
				}
			}
		}
	}
	if len(f.Problems) > 0 { // it may have left devices out
		return
	}
	for i := range o.Nodes {
		for k := range o.Nodes[i].Slots {
			s := &o.Nodes[i].Slots[k]
			if s.Make != f.Make || ids[s.ID] || !o.of(s, f) {
				continue
			}
			if s.Missing < goneAfter {
				s.Missing, o.changed = s.Missing+1, true
			}
		}
	}
}

// of says whether a slot's device would be told of by a tool: two tools may be of one make.
func (o *observer) of(s *Slot, f *chip.Found) bool {
	for i := range f.Devices {
		if f.Devices[i].Make == s.Make && (f.Devices[i].Name == s.Name || f.Devices[i].Chip != "" && f.Devices[i].Chip == s.Chip) {
			return true
		}
	}
	others := 0
	for i := range o.Found {
		if o.Found[i].Make == f.Make && !o.Found[i].Missing {
			others++
		}
	}
	return others == 1
}

// silent counts scans in which a tool told of none of its devices.
func (o *observer) silent(f *chip.Found) {
	n := o.Silent[f.Tool] + 1
	if n > 1000 {
		return
	}
	for i := range o.Nodes {
		for k := range o.Nodes[i].Slots {
			if o.Nodes[i].Slots[k].Make != f.Make || !o.only(f) {
				continue
			}
			o.Silent[f.Tool], o.changed = n, o.changed || n <= wellAfter
			if n == wellAfter {
				o.event(&o.Nodes[i], k, chip.Fault{Level: chip.Note, Code: "tool_silent", Says: f.Tool + " tells of no device any more; what is known of them stands"})
			}
		}
	}
}

// only says whether a tool is the only one of its make that is there, or was.
func (o *observer) only(f *chip.Found) bool {
	for i := range o.Found {
		x := &o.Found[i]
		if x.Make == f.Make && x.Tool != f.Tool && (len(x.Devices) > 0 || o.Silent[x.Tool] > 0) {
			return false
		}
	}
	return true
}

// slot finds or makes the place of a device and takes what was told of it; nil where it has none.
func (o *observer) slot(d *chip.Device) *Slot {
	s := o.find(d)
	if s == nil {
		if d.ID == d.Bus && len(d.Faults) > 0 && d.Memory == nil && d.Make == "NVIDIA" { // known by nothing but its place, and never seen well
			return nil
		}
		if s = o.add(d); s == nil {
			return nil
		}
	}
	if s.Missing > 0 || s.Index != d.Index && d.ID == s.ID {
		s.Missing, o.changed = 0, true
	}
	if d.ID == s.ID { // else it is told by its place on the bus alone
		s.Index = d.Index
	}
	s.Faults = slices.Clone(d.Faults[:min(len(d.Faults), maxFaults)])
	return s
}

// find is the place of a device by its id, or by where it is on the bus if that is all that is told.
func (o *observer) find(d *chip.Device) *Slot {
	for i := range o.Nodes {
		for k := range o.Nodes[i].Slots {
			s := &o.Nodes[i].Slots[k]
			if s.Make == d.Make && (s.ID == d.ID || d.ID == d.Bus && sameBus(s.Bus, d.Bus)) {
				return s
			}
		}
	}
	return nil
}

// sameBus compares places on the bus, whose domain some write with more digits; one may lack its function.
func sameBus(a, b string) bool {
	plain := func(s string) string {
		s = strings.ToLower(s)
		if i := strings.IndexByte(s, '.'); i >= 0 {
			s = s[:i]
		}
		if strings.Count(s, ":") == 1 {
			return s
		}
		return strings.TrimLeft(s, "0")
	}
	return a != "" && b != "" && plain(a) == plain(b)
}

// add gives a device a place on the node of its class: that of one which is gone, or one at the end.
func (o *observer) add(d *chip.Device) *Slot {
	class := ClassOf(d)
	if class == "" || o.Hand != nil && o.Hand(class) {
		return nil
	}
	name := o.Host + "-" + class
	name = strings.Trim(name[max(0, len(name)-63):], "-.")
	i := slices.IndexFunc(o.Nodes, func(n Node) bool { return n.Class == class })
	if i < 0 {
		if len(o.Nodes) == maxNodes {
			return nil
		}
		o.Nodes = append(o.Nodes, Node{Name: name, Class: class})
		i = len(o.Nodes) - 1
	}
	n := &o.Nodes[i]
	k := slices.IndexFunc(n.Slots, func(s Slot) bool { return s.Missing >= goneAfter && s.Out != "" })
	if k < 0 && len(n.Slots) == maxSlots {
		return nil
	}
	s := Slot{ID: d.ID, Make: d.Make, Name: d.Name, Chip: d.Chip, Bus: d.Bus, Index: d.Index}
	if d.Memory != nil {
		s.Memory = *d.Memory
	}
	if k >= 0 { // it was put into the place of one that is gone, whose work has begun anew elsewhere
		s.Restart, s.Why = n.Slots[k].Restart, n.Slots[k].Why
		n.Slots[k] = s
	} else {
		n.Slots = append(n.Slots, s)
		k = len(n.Slots) - 1
	}
	o.event(n, k, chip.Fault{Level: chip.Note, Code: "device_found", Says: d.Name + " was found"})
	return &n.Slots[k]
}

// log takes the lines of the kernel's log that are new. After a start of the machine what the log of the one before had counts no more.
func (o *observer) log() {
	if o.Log.Boot == "" {
		return
	}
	if o.Log.Boot != o.Boot {
		o.Boot, o.Line, o.changed = o.Log.Boot, 0, true
		for i := range o.Nodes {
			for k := range o.Nodes[i].Slots {
				o.Nodes[i].Slots[k].Logged = nil
			}
		}
	}
	for _, l := range o.Log.Lines {
		if l.Number < o.Line {
			continue
		}
		o.Line, o.changed = l.Number+1, true
		for _, who := range o.Logged {
			if bus, f, ok := who.FromLog(l.Text); ok {
				o.logged(who, bus, f)
			}
		}
	}
}

func (o *observer) logged(who chip.Logged, bus string, f chip.Fault) {
	maker := ""
	if d, ok := who.(chip.Driver); ok {
		maker = d.Make()
	}
	f.Says = f.Says[:min(len(f.Says), maxLogSays)]
	for i := range o.Nodes {
		n := &o.Nodes[i]
		for k := range n.Slots {
			s := &n.Slots[k]
			if maker != "" && s.Make != maker || !sameBus(s.Bus, bus) {
				continue
			}
			switch {
			case f.Level >= chip.RestartDevice:
				if !slices.ContainsFunc(s.Logged, func(x chip.Fault) bool { return x.Code == f.Code }) && len(s.Logged) < maxFaults {
					s.Logged = append(s.Logged, f)
				}
			case f.Level == chip.RestartTask:
				o.event(n, k, f)
				o.restart(s, f)
			default:
				o.event(n, k, f)
			}
		}
	}
}

// restart has work on a device begin anew.
func (o *observer) restart(s *Slot, f chip.Fault) {
	s.Restart, s.Why = o.At, f.Says
	if n := len(s.Hits); f.Level == chip.RestartTask && s.Out == "" && (n == 0 || !s.Hits[n-1].Equal(o.At)) {
		s.Hits = slices.DeleteFunc(append(s.Hits, o.At), func(t time.Time) bool { return o.At.Sub(t) > flapSpan })
	}
}

// node draws the conclusions for a node's devices.
func (o *observer) node(n *Node) {
	drain := ""
	for k := range n.Slots {
		s := &n.Slots[k]
		o.fresh(n, k)
		worst, any := o.worst(s)
		switch {
		case any && worst.Level >= chip.RestartDevice:
			o.out(n, k, worst)
			if worst.Level == chip.Drain {
				drain = cmp.Or(drain, s.ID+": "+worst.Says)
			}
		case s.Out != "":
			o.well(n, k)
		}
	}
	switch {
	case drain != "" && n.Drain == "":
		n.Drain, n.Done, o.changed = drain, false, true
	case drain == "" && n.Drain != "" && !slices.ContainsFunc(n.Slots, func(s Slot) bool { return s.Out != "" }):
		n.Drain, o.changed = "", true
	}
}

// worst is the worst of what is wrong with a device and was not resumed in spite of it.
func (o *observer) worst(s *Slot) (worst chip.Fault, any bool) {
	if s.Missing >= goneAfter {
		return chip.Fault{Level: chip.Remove, Code: "device_gone", Says: "the device is not there any more"}, true
	}
	for _, f := range slices.Concat(s.Faults, s.Logged) {
		if says, ok := s.Acked[f.Code]; ok && says == f.Says {
			continue
		}
		if !any || f.Level > worst.Level {
			worst, any = f, true
		}
	}
	if len(s.Hits) >= mostHits && (!any || worst.Level < chip.RestartDevice) { // or what ran on it would begin anew for ever
		return chip.Fault{Level: chip.RestartDevice, Code: failing, Says: "work on it had to begin anew too often; it stays out until its node is resumed"}, true
	}
	return worst, any
}

// failing is the fault of a device that stayed in and on which work began anew too often.
const failing = "failing"

// fresh tells of faults that are new, or new in their words, and has work begin anew for those that ask for it. What went
// away may come back and is new then.
func (o *observer) fresh(n *Node, k int) {
	s := &n.Slots[k]
	now := map[string]string{}
	for _, f := range s.Faults {
		now[f.Code] = f.Says
		if s.Acked[f.Code] == f.Says || s.Told[f.Code] == f.Says {
			continue
		}
		o.event(n, k, f)
		if f.Level >= chip.RestartTask {
			o.restart(s, f)
		}
	}
	for code := range s.Acked {
		if _, there := now[code]; !there {
			delete(s.Acked, code)
			o.changed = true
		}
	}
	if len(s.Told)+len(now) > 0 && !maps.Equal(s.Told, now) {
		s.Told, o.changed = now, true
	}
}

// out takes a device out.
func (o *observer) out(n *Node, k int, f chip.Fault) {
	s := &n.Slots[k]
	s.Well = 0
	if s.Out == "" {
		s.Since, o.changed = o.At, true
		s.Falls = slices.DeleteFunc(append(s.Falls, o.At), func(t time.Time) bool { return o.At.Sub(t) > flapSpan })
		o.restart(s, f)
		if f.Code == "device_gone" || f.Code == failing || slices.ContainsFunc(s.Logged, func(x chip.Fault) bool { return x.Code == f.Code }) { // fresh tells of the others
			o.event(n, k, f)
		}
		if len(s.Falls) >= flaps && !s.Stays {
			s.Stays = true
			o.event(n, k, chip.Fault{Level: chip.RestartDevice, Code: "flapping", Says: "it went out too often and stays out until its node is resumed"})
		}
	}
	why := f.Says + " (" + f.Level.String() + ")"
	if s.Stays {
		why += "; it went out too often and stays out until its node is resumed"
	}
	if s.Out != why {
		s.Out, o.changed = why, true
	}
}

// well lets a device take work again when it was well for long enough.
func (o *observer) well(n *Node, k int) {
	s := &n.Slots[k]
	if s.Stays {
		return
	}
	s.Well++
	o.changed = true
	if s.Well < wellAfter {
		return
	}
	s.Out, s.Since, s.Well = "", time.Time{}, 0
	o.event(n, k, chip.Fault{Level: chip.Note, Code: "device_well", Says: "it is well again and takes work"})
}
