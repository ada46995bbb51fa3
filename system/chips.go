package system

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/cpu"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/models/fit"
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
	// Undriven are the makes of the catalogue that have no driver: no real output of their tools was found. Their chips are declared by hand.
	Undriven []string `json:"undriven"`
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
	told := map[string]bool{}
	for _, f := range found {
		s.Devices = append(s.Devices, f.Devices...)
		s.Tools = append(s.Tools, ChipTool{f.Make, f.Tool, f.Missing, f.Tried, f.Problems})
		told[f.Tool] = told[f.Tool] || len(f.Devices) > 0
	}
	s.Unread = slices.DeleteFunc(onTheBus(os.DirFS("/sys/bus/pci/devices")), func(m string) bool { return told[busTool(m)] })
	s.Undriven = slices.DeleteFunc(c.Makes(), func(m string) bool {
		return m == processor.Make || slices.ContainsFunc(s.Tools, func(t ChipTool) bool { return t.Make == m })
	})
	return s, nil
}

// Processor is this machine's processor. Where data is a directory, what its memory and its arithmetic reach is measured the
// first time, or anew, and kept there; else they are unknown.
func Processor(data string, anew bool) chip.Device { return processor(data, anew, true) }

// processor measures only where it may; else what is kept counts.
func processor(data string, anew, may bool) chip.Device {
	d := cpu.Device()
	small := int64(0)
	if d.Memory != nil {
		small = int64(*d.Memory / 8)
	}
	m := cpu.Measure{How: "products of matrices by the embedded engine (" + kernel.Name() + ")"}
	if may {
		m.Bandwidth = func(cores int) float64 { return cpu.Triad(cores, small) }
		m.FP32 = func(cores int) float64 { return kernel.Speed(cores, time.Now) }
		m.Levels = func() []chip.CacheLevel { return cpu.Levels(small) }
	}
	if err := cpu.Fill(data, &d, anew, time.Now, m); err != nil {
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

// Market is what estimates are made of on a data directory: the catalogue with the operator's file, read anew each time, and
// this machine's processor with what was measured of it; see Processor.
func Market(data string) (estimate.Market, error) {
	c, err := chip.Load(filepath.Join(data, chip.OverlayName))
	if err != nil {
		return estimate.Market{}, err
	}
	p, err := ProcessorChip(c, data, false)
	return estimate.Market{Catalogue: c, Processor: &p}, err
}

// fleet answers what fits on the chips of this installation.
func (s *System) fleet() *fit.Service {
	return &fit.Service{
		Market: func() (estimate.Market, error) { return Market(s.Config.Data) },
		Stock: func(ctx context.Context) ([]estimate.Stock, error) {
			nodes, err := s.Queue.Nodes(ctx)
			return fit.Stock(nodes), err
		},
	}
}

// busVendor is a make that is known by its number on the PCI bus.
type busVendor struct {
	says    string // the make, as it is told
	tool    string // that tells of its devices
	classes []string
}

// The classes are what the kernel's class of a device begins with where it is one. Intel's processors have displays of their own
// that are of class 0x0300, so only those of class 0x0380 count.
var (
	anyChip    = []string{"0x03", "0x12", "0x0b40"}
	busVendors = map[string]busVendor{ // by https://pci-ids.ucw.cz, version of 2023-04-10
		"0x10de": {"NVIDIA", "nvidia-smi", anyChip}, "0x1002": {"AMD", "rocm-smi", anyChip}, "0x19e5": {"Huawei", "npu-smi", []string{"0x12"}},
		"0x8086": {"Intel", "xpu-smi", []string{"0x0380", "0x12"}}, "0x1da3": {"Intel Gaudi", "hl-smi", anyChip}, "0x1ed5": {"Moore Threads", "mthreads-gmi", anyChip},
		"0x1e36": {"Enflame", "efsmi", anyChip}, "0x1d22": {"Kunlunxin", "xpu_smi", anyChip}, "0x1ded": {"T-Head", "ppu-smi", anyChip},
		"0x1d94": {"Hygon", "hy-smi", anyChip}, "0x1ae0": {"Google", "tpu-info", []string{"0x12"}},
		"0xcabc": {"Cambricon", "cnmon", anyChip}, // by the vendor's manual of the MLU270
	}
)

// busTool is the tool that would tell of a make on the bus.
func busTool(says string) string {
	for _, v := range busVendors {
		if v.says == says {
			return v.tool
		}
	}
	return ""
}

// onTheBus lists the makes that have a display controller or an accelerator on the PCI bus, by the numbers that the
// kernel tells.
func onTheBus(devices fs.FS) []string {
	makes := []string{}
	entries, err := fs.ReadDir(devices, ".")
	if err != nil {
		return makes
	}
	for _, e := range entries {
		vendor, err1 := fs.ReadFile(devices, e.Name()+"/vendor")
		class, err2 := fs.ReadFile(devices, e.Name()+"/class")
		v, known := busVendors[strings.TrimSpace(string(vendor))]
		if err1 != nil || err2 != nil || !known || slices.Contains(makes, v.says) {
			continue
		}
		if slices.ContainsFunc(v.classes, func(c string) bool { return strings.HasPrefix(string(class), c) }) {
			makes = append(makes, v.says)
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
		check.State, check.Says, check.Fix = Bad, check.Says+"; "+strings.Join(faults, "; "), "do what is in brackets; a control plane that runs here takes the device out by itself, as `triarch node show` tells"
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
		i := slices.IndexFunc(s.Tools, func(t ChipTool) bool { return t.Tool == busTool(m) })
		switch {
		case i < 0:
			fixes = append(fixes, "there is no driver for "+m+" yet; declare its chips with `triarch node declare`")
		case s.Tools[i].Missing:
			fixes = append(fixes, "install "+s.Tools[i].Tool+" for "+m)
		default:
			fixes = append(fixes, "see why "+s.Tools[i].Tool+" tells of no device of "+m+", or declare its chips with `triarch node declare`")
		}
	}
	return strings.Join(fixes, "; ")
}
