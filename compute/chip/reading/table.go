package reading

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/compute/chip"
)

// Layout is one form of a table that a tool prints: the lines of its heading and of a device, with cells parted by
// " | ", runs of spaces as one, no border and no empty cells at its ends.
type Layout struct {
	Head []string
	// Rows are patterns of the lines of a device, each of the whole line. Named groups are index, name, bus, id, temp, power,
	// limit, used, total, busy, ecc and health; what is missing is unknown.
	Rows []string

	rows []*regexp.Regexp
}

// Table is what a tool prints of its devices.
type Table struct {
	Tool, Make string
	Layouts    []Layout
	// Ends is in a line after the last device, as in the list of processes; empty where nothing comes after the devices, so that
	// output which ends between two of them is not seen to be cut.
	Ends    string
	Open    bool                     // the end of the real output was not seen: its absence is not told
	Lines   bool                     // each line is a device, and the rule after them ends the list
	Version *regexp.Regexp           // its group is the version of the vendor's driver, before the heading
	Health  map[string]chip.Fault    // by the word for health
	Name    func(told string) string // how the catalogue would call it; nil: as told
	After   func(d *chip.Device)     // last changes; nil: none
}

// New prepares a table; it panics on a bad pattern, as regexp.MustCompile does.
func New(t Table) *Table {
	for i := range t.Layouts {
		l := &t.Layouts[i]
		for _, r := range l.Rows {
			l.rows = append(l.rows, regexp.MustCompile("^(?:"+r+")$"))
		}
	}
	return &t
}

// line is a line of the output: cells, a rule between them, or nothing.
type line struct {
	text string
	rule bool
	n    int // from 1
}

// plain brings a line into the form of layouts.
func plain(s string) line {
	s = strings.NewReplacer("┃", "|", "│", "|", "℃", "C").Replace(s)
	if strings.Trim(s, "+-=| ━┏┳┓┡╇┩└┴┘─╭╮╰╯┬├┤┼\t\r") == "" {
		return line{rule: strings.ContainsAny(s, "-=━─")}
	}
	s = strings.TrimSpace(s)
	s = strings.TrimSuffix(strings.TrimPrefix(s, "|"), "|")
	cells := strings.Split(s, "|")
	for i := range cells {
		cells[i] = strings.Join(strings.Fields(cells[i]), " ")
	}
	return line{text: strings.Trim(strings.Join(cells, " | "), "| ")}
}

// lines splits output into lines in the form of layouts. The last one without an end is left out: a
// cut number still looks like a number.
func lines(output []byte) (out []line, cut bool) {
	text := string(bytes.TrimPrefix(output, []byte("\ufeff")))
	if i := strings.LastIndexByte(text, '\n'); i < len(text)-1 {
		cut, text = true, text[:i+1]
	}
	n := 0
	for s := range strings.Lines(text) {
		n++
		if len(s) > maxLine {
			s = ""
		}
		l := plain(strings.TrimRight(s, "\r\n"))
		l.n = n
		out = append(out, l)
	}
	return out, cut
}

// Parse reads the table.
func (t *Table) Parse(output []byte) ([]chip.Device, []string) {
	p := &tableParser{Table: t, log: Log{Tool: t.Tool}, seen: map[string]bool{}}
	if !p.log.Text(output) {
		return nil, p.log.Problems
	}
	all, cut := lines(output)
	at, layout := p.heading(all)
	if layout == nil {
		p.log.Add("the output of %s has none of the headings that are known: it is cut short, translated or of another version; it begins with %q", t.Tool, Begin(strings.TrimSpace(string(output[:min(len(output), 400)]))))
		return nil, p.log.Problems
	}
	p.body(all[at:], layout, cut)
	if len(p.devices) == 0 && len(p.log.Problems) == 0 {
		p.log.Add("%s names no device", t.Tool)
	}
	return p.devices, p.log.Problems
}

type tableParser struct {
	*Table
	log     Log
	version string
	seen    map[string]bool
	devices []chip.Device
}

// heading finds a known heading and gives what comes after it.
func (p *tableParser) heading(all []line) (at int, l *Layout) {
	for i := range all {
		if p.Version != nil && p.version == "" {
			if m := p.Version.FindStringSubmatch(all[i].text); m != nil {
				p.version = m[1]
			}
		}
		for k := range p.Layouts {
			if begins(all[i:], p.Layouts[k].Head) {
				return i + len(p.Layouts[k].Head), &p.Layouts[k]
			}
		}
	}
	return 0, nil
}

func begins(all []line, head []string) bool {
	if len(all) < len(head) {
		return false
	}
	for i, h := range head {
		if all[i].text != h {
			return false
		}
	}
	return true
}

// body reads the groups of lines between rules, one a device.
func (p *tableParser) body(all []line, l *Layout, cut bool) {
	var group []line
	ended, repeated := false, false
	for _, x := range all {
		switch {
		case ended && p.Lines:
			repeated = repeated || matches(l, x)
		case x.rule && len(group) > 0:
			for _, g := range p.split(group) {
				p.group(g, l)
			}
			group, ended = nil, p.Lines
		case x.rule:
		case p.Ends != "" && strings.Contains(x.text, p.Ends):
			ended = true
		case ended:
			repeated = repeated || matches(l, x) // the list of devices again, after its end
		case x.text != "":
			group = append(group, x)
		case len(group) > 0:
			p.log.Add("line %d of the output of %s ends a device in the middle", x.n, p.Tool)
			group = nil
		}
		if len(p.devices) == MaxDevices {
			p.log.Add("%s names more than %d devices; those after them are left out", p.Tool, MaxDevices)
			return
		}
	}
	switch {
	case len(group) > 0:
		p.log.Add("the output of %s is cut short within a device", p.Tool)
	case !ended && (p.Lines || p.Ends != "" && !p.Open || cut):
		p.log.Add("the output of %s is cut short: what comes after the devices is missing", p.Tool)
	case repeated:
		p.log.Add("%s names its devices again after their end", p.Tool)
	}
}

// split gives each line for itself where each is a device.
func (p *tableParser) split(group []line) [][]line {
	if !p.Lines {
		return [][]line{group}
	}
	var out [][]line
	for i := range group {
		out = append(out, group[i:i+1])
	}
	return out
}

// matches says whether a line looks like the first of a device.
func matches(l *Layout, x line) bool { return l.rows[0].MatchString(x.text) }

// group reads the lines of a device.
func (p *tableParser) group(group []line, l *Layout) {
	first := group[0].n
	if len(group) != len(l.rows) {
		p.log.Add("the device at line %d of the output of %s has %d lines; %d are known", first, p.Tool, len(group), len(l.rows))
		return
	}
	cells := map[string]string{}
	for i, r := range l.rows {
		m := r.FindStringSubmatch(group[i].text)
		if m == nil {
			p.log.Add("line %d of the output of %s does not fit its heading: %q", group[i].n, p.Tool, Begin(group[i].text))
			return
		}
		for k, name := range r.SubexpNames() {
			if name != "" && m[k] != "" {
				cells[name] = m[k]
			}
		}
	}
	p.device(cells, first)
}

// busForm is where a device is on the PCI bus.
var busForm = regexp.MustCompile(`^(?:[0-9A-Fa-f]{2,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f]$`)

// device makes a device of its cells.
func (p *tableParser) device(c map[string]string, line int) {
	name := c["name"]
	if p.Name != nil {
		name = p.Name(name)
	}
	d := chip.Device{Make: p.Make, Name: name, Driver: p.version}
	index, err := strconv.Atoi(c["index"])
	if err != nil || index < 0 || index > 1<<16 || name == "" {
		p.log.Add("line %d of the output of %s has no number or no name", line, p.Tool)
		return
	}
	d.Index = index
	if busForm.MatchString(c["bus"]) {
		d.Bus = strings.ToLower(c["bus"])
	}
	switch {
	case Told(c["id"]) != "":
		d.ID = c["id"]
	case d.Bus != "":
		d.ID = d.Bus
	case c["bus"] != "":
		p.log.Add("line %d of the output of %s has no place on the bus but %q", line, p.Tool, Begin(c["bus"]))
		return
	default:
		d.ID = p.Make + "-" + strconv.Itoa(index)
	}
	if p.seen[d.ID] {
		p.log.Add("line %d of the output of %s names %s again", line, p.Tool, Begin(d.ID))
		return
	}
	p.seen[d.ID] = true
	p.figures(&d, c)
	if p.After != nil {
		p.After(&d)
	}
	d.Check()
	p.devices = append(p.devices, d)
}

func (p *tableParser) figures(d *chip.Device, c map[string]string) {
	d.Memory = Number(d, "memory", c["total"], "MiB", 1<<20)
	if c["total"] != "" { // else what is used of it means nothing
		d.Used = Number(d, "used memory", c["used"], "MiB", 1<<20)
	}
	d.Busy = Number(d, "utilisation", c["busy"], "%", 0.01)
	d.Temperature = Number(d, "temperature", c["temp"], "C", 1)
	d.Power = Number(d, "power", c["power"], "W", 1)
	d.PowerLimit = Number(d, "power limit", c["limit"], "W", 1)
	if n := Number(d, "memory errors", c["ecc"], "", 1); n != nil && *n > 0 && *n < 1e15 {
		Fault(d, Uncorrected(*n))
	}
	if h := c["health"]; h != "" && p.Health != nil {
		f, known := p.Health[h]
		switch {
		case !known:
			Fault(d, chip.Fault{Level: chip.Note, Code: "health_unknown", Says: "its health is told as " + strconv.Quote(Begin(h)) + ", which is not known"})
		case f.Code != "":
			Fault(d, f)
		}
	}
}
