package system

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/cpu"
	"github.com/triarch-ai/triarch/models/native/kernel"
)

// ChipTool is how the look for the chips of one make came out.
type ChipTool struct {
	Make     string   `json:"make"`
	Tool     string   `json:"tool"`
	Missing  bool     `json:"missing"` // the tool is not installed
	Tried    string   `json:"tried"`   // what its driver was tried on
	Problems []string `json:"problems"`
}

// ChipScan is what is known of the chips of this machine.
type ChipScan struct {
	Devices []chip.Device `json:"devices"` // the processor first
	Tools   []ChipTool    `json:"tools"`
	Unread  []string      `json:"unread"` // makes that the bus has devices of and no tool told of
}

// Chips looks for the chips of this machine: the processor, and what the vendors' tools tell. Where data is a directory,
// what the processor's memory and arithmetic reach is measured the first time, or anew, and kept there.
func Chips(ctx context.Context, c *chip.Catalogue, data string, anew bool) (*ChipScan, error) {
	processor := Processor(data, anew)
	found, err := chip.Discover(ctx, c, chipDrivers()...)
	if err != nil {
		return nil, err
	}
	s := &ChipScan{Devices: []chip.Device{processor}, Tools: []ChipTool{}}
	var told []string
	for _, f := range found {
		s.Devices = append(s.Devices, f.Devices...)
		s.Tools = append(s.Tools, ChipTool{f.Make, f.Tool, f.Missing, f.Tried, f.Problems})
		if len(f.Devices) > 0 {
			told = append(told, f.Make)
		}
	}
	s.Unread = slices.DeleteFunc(onTheBus(os.DirFS("/sys/bus/pci/devices")), func(m string) bool { return slices.Contains(told, m) })
	return s, nil
}

// Processor is this machine's processor. Where data is a directory, what its memory and its arithmetic reach is measured the
// first time, or anew, and kept there; else they are unknown.
func Processor(data string, anew bool) chip.Device {
	d := cpu.Device()
	small := int64(0)
	if d.Memory != nil {
		small = int64(*d.Memory / 8)
	}
	err := cpu.Fill(data, &d, anew, time.Now, cpu.Measure{
		Bandwidth: func(cores int) float64 { return cpu.Triad(cores, small) },
		FP32:      func(cores int) float64 { return kernel.Speed(cores, time.Now) },
		How:       "products of matrices by the embedded engine (" + kernel.Name() + ")",
	})
	if err != nil {
		d.Notes = append(d.Notes, "what its memory and arithmetic reach is not known: "+err.Error())
	}
	return d
}

// ProcessorChip is this machine's processor as a chip, see Processor and chip.Processor.
func ProcessorChip(c *chip.Catalogue, data string, anew bool) (chip.Chip, error) {
	base, err := c.Find(chip.ProcessorID)
	if err != nil {
		return chip.Chip{}, err
	}
	d := Processor(data, anew)
	return chip.Processor(base, &d, 0), nil
}

// busVendors are the makes whose number on the PCI bus is known here.
var busVendors = map[string]string{"0x10de": "NVIDIA", "0x1002": "AMD", "0x19e5": "Huawei"}

// onTheBus lists the makes that have a display controller or an accelerator on the PCI bus, by the numbers that the
// kernel tells: a class of 0x03 or 0x12 is one.
func onTheBus(devices fs.FS) []string {
	makes := []string{}
	entries, err := fs.ReadDir(devices, ".")
	if err != nil {
		return makes
	}
	for _, e := range entries {
		vendor, err1 := fs.ReadFile(devices, e.Name()+"/vendor")
		class, err2 := fs.ReadFile(devices, e.Name()+"/class")
		m := busVendors[strings.TrimSpace(string(vendor))]
		if err1 != nil || err2 != nil || m == "" || slices.Contains(makes, m) {
			continue
		}
		if s := string(class); strings.HasPrefix(s, "0x03") || strings.HasPrefix(s, "0x12") {
			makes = append(makes, m)
		}
	}
	slices.Sort(makes)
	return makes
}

// chipCheck names the chips of this machine, and the tools that would be needed to see more.
func chipCheck(ctx context.Context) Check {
	c, err := chip.Builtin()
	if err != nil {
		return fromError("chips", "", err)
	}
	s, err := Chips(ctx, c, "", false) // without a directory, so that nothing is measured
	if err != nil {
		return fromError("chips", "", err)
	}
	return s.check()
}

func (s *ChipScan) check() Check {
	count, order := map[string]int{}, []string{}
	var faults, problems []string
	for _, d := range s.Devices {
		name, n := d.Chip, 1
		if name == "" {
			name = d.Name
		}
		if d.Chip == cpu.ID {
			n = d.Cores
		}
		if count[name] == 0 {
			order = append(order, name)
		}
		count[name] += n
		for _, f := range d.Faults {
			faults = append(faults, fmt.Sprintf("%s %d: %s (%s)", name, d.Index, f.Says, f.Level))
		}
	}
	var says []string
	for _, name := range order {
		says = append(says, fmt.Sprintf("%d %s", count[name], name))
	}
	for _, t := range s.Tools {
		problems = append(problems, t.Problems...)
	}
	check := Check{"chips", Fine, strings.Join(says, ", "), ""}
	switch {
	case len(faults) > 0:
		check.State, check.Says, check.Fix = Bad, check.Says+"; "+strings.Join(faults, "; "), "drain the node with `triarch node drain`, then do what is in brackets"
	case len(problems) > 0:
		check.State, check.Says, check.Fix = Note, check.Says+"; "+problems[0], "`triarch chip scan` tells all of it"
	case len(s.Unread) > 0:
		check.State, check.Says = Note, check.Says+"; devices of "+strings.Join(s.Unread, ", ")+" are on the bus and nothing tells of them"
		check.Fix = s.unreadFix()
	}
	return check
}

// unreadFix names the tool that a make needs, or that there is no driver for it.
func (s *ChipScan) unreadFix() string {
	var fixes []string
	for _, m := range s.Unread {
		i := slices.IndexFunc(s.Tools, func(t ChipTool) bool { return t.Make == m })
		if i < 0 {
			fixes = append(fixes, "there is no driver for "+m+" yet")
		} else {
			fixes = append(fixes, "install "+s.Tools[i].Tool+" for "+m)
		}
	}
	return strings.Join(fixes, "; ")
}
