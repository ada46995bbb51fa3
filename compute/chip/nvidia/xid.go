package nvidia

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/compute/chip"
)

// xidForm is how the kernel's log tells of an Xid, as in https://github.com/NVIDIA/open-gpu-kernel-modules/issues/1151.
var xidForm = regexp.MustCompile(`NVRM: Xid \((?:PCI:)?([0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2})(?:\.[0-9A-Fa-f])?\): ([0-9]{1,4})(?:,|$)`)

// xid is what NVIDIA's catalogue of Xids says of one, and what follows from it here.
type xid struct {
	level chip.Level
	code  string
	says  string
}

// xids are those after which something follows here. Codes and actions are from
// https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html as leptonai/gpud mirrors it (2025-10-29, components/accelerator/nvidia/xid/catalog_generated.go).
// Where the catalogue names a workflow instead of an action, the device is reset. An Xid that is the program's own doing, as 13, 31 and 43 mostly
// are, ends the program by itself: it is noted. One that is not in the table is noted with its number.
var xids = map[int]xid{
	13:  {chip.Note, "program_fault", "a program made an engine raise an exception"},
	31:  {chip.Note, "program_fault", "a program touched memory that is not its own"},
	43:  {chip.Note, "program_fault", "a program's channel stopped"},
	45:  {chip.Note, "program_fault", "a program was cleaned up after an earlier error"},
	46:  {chip.RestartDevice, "stopped", "it stopped processing"},
	48:  {chip.RestartDevice, "memory_uncorrected", "an error of two bits in its memory could not be corrected"},
	54:  {chip.Drain, "power_missing", "its auxiliary power is not connected"},
	62:  {chip.RestartDevice, "controller_halted", "its internal controller halted"},
	63:  {chip.Note, "memory_remapped", "rows of its memory were remapped"},
	64:  {chip.RestartDevice, "memory_remap_failed", "rows of its memory could not be remapped"},
	74:  {chip.RestartDevice, "link_error", "a link to its neighbours failed"},
	79:  {chip.Remove, "device_lost", "it has fallen off the bus"},
	92:  {chip.Note, "memory_corrected", "many errors of its memory were corrected"},
	94:  {chip.RestartTask, "memory_contained", "an error of its memory was contained to its program"},
	95:  {chip.RestartDevice, "memory_uncontained", "an error of its memory was not contained"},
	109: {chip.RestartDevice, "stopped", "a switch of contexts took too long"},
	110: {chip.RestartDevice, "security_fault", "it raised a security fault"},
	119: {chip.RestartDevice, "controller_silent", "its system processor does not answer"},
	120: {chip.RestartDevice, "controller_error", "its system processor failed"},
	136: {chip.RestartDevice, "link_error", "a link to its neighbours cannot be trained"},
	140: {chip.RestartDevice, "memory_uncorrected", "an error of its memory could not be corrected"},
	143: {chip.RestartDevice, "start_failed", "it cannot be initialised"},
	155: {chip.RestartDevice, "link_error", "a link to its neighbours failed"},
	156: {chip.RestartDevice, "resource_retired", "a part of it was retired"},
	158: {chip.RestartDevice, "stopped", "it did not answer in time"},
}

// FromLog reads a line of the kernel's log. The place on the bus has no function then.
func (Driver) FromLog(line string) (bus string, f chip.Fault, ok bool) {
	m := xidForm.FindStringSubmatch(line[:min(len(line), 2048)])
	if m == nil {
		return "", chip.Fault{}, false
	}
	n, err := strconv.Atoi(m[2])
	if err != nil {
		return "", chip.Fault{}, false
	}
	x, known := xids[n]
	if !known {
		x = xid{chip.Note, "xid_other", "the kernel's log tells of an Xid without a rule here"}
	}
	return strings.ToLower(m[1]), chip.Fault{Level: x.level, Code: x.code, Says: fmt.Sprintf("%s (Xid %d)", x.says, n)}, true
}

// lostForm is what nvidia-smi prints of a device that it cannot reach, as in https://github.com/NVIDIA/open-gpu-kernel-modules/issues/387 and
// https://github.com/AlexeyAB/darknet/issues/86.
var lostForm = regexp.MustCompile(`^Unable to determine the device handle for GPU ?(?:[0-9]{1,4}: )?([0-9A-Fa-f]{3,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f]): *(.{1,120})$`)

// lost takes the lines of devices that the tool cannot reach out of its output, and gives those devices: with nothing but their place on the bus.
func lost(output string) (rest string, devices []chip.Device) {
	var b strings.Builder
	seen := map[string]bool{}
	for s := range strings.Lines(output) {
		m := lostForm.FindStringSubmatch(strings.TrimRight(s, "\r\n"))
		if m == nil || !strings.HasSuffix(s, "\n") || len(devices) == maxDevices {
			b.WriteString(s)
			continue
		}
		bus := strings.ToLower(m[1])
		if seen[bus] {
			continue
		}
		seen[bus] = true
		f := chip.Fault{Level: chip.Drain, Code: "unreadable", Says: "the tool cannot reach the device: " + strings.TrimRight(m[2], ".")}
		if strings.Contains(m[2], "is lost") {
			f = chip.Fault{Level: chip.Remove, Code: "device_lost", Says: "the tool says that the device is lost"}
		}
		d := chip.Device{Make: "NVIDIA", Name: "NVIDIA device", ID: bus, Bus: bus, Faults: []chip.Fault{f}}
		d.Check()
		devices = append(devices, d)
	}
	return b.String(), devices
}
