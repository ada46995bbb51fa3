// Package hygon reads the list of hy-smi for Hygon's DCUs.
//
// Rules for callers: it was tried on recorded output alone (Tried says which), on no hardware. The list names neither the chip nor
// its memory, only its number: such a device is of no known class until somebody declares it.
package hygon

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/reading"
)

// Driver is the driver; its zero value works.
type Driver struct{}

// Make is Hygon.
func (Driver) Make() string { return "Hygon" }

// Command asks for the list of all devices.
func (Driver) Command() []string { return []string{"hy-smi"} }

// Tried names the recorded output.
func (Driver) Tried() string {
	return "output in the form that the vendor's tool prints in PaddlePaddle/docs docs/hardware_support/dcu/install_cn.md (DTK 23.10), and of DTK 24 to 26 with HCU for DCU; on no hardware"
}

// columns are those that are read, by the heading.
type columns map[string]int

// Parse reads the list.
func (Driver) Parse(output []byte) ([]chip.Device, []string) {
	log := reading.Log{Tool: "hy-smi"}
	if !log.Text(output) {
		return nil, log.Problems
	}
	var devices []chip.Device
	var at columns
	seen, ended, cut := map[string]bool{}, false, !bytes.HasSuffix(output, []byte("\n"))
	for s := range strings.Lines(string(output)) {
		whole := strings.HasSuffix(s, "\n")
		words := strings.Fields(s)
		switch {
		case len(words) == 0 || strings.Trim(s, "= \r\n") == "":
		case strings.Contains(s, "End of SMI Log"):
			ended = true
		case at == nil:
			at = heading(words)
		case !whole && !ended, len(words) != len(at):
			log.Add("a line of hy-smi is cut short or does not fit its heading: %q", reading.Begin(s))
		case len(devices) == reading.MaxDevices:
			log.Add("hy-smi lists more than %d devices; those after them are left out", reading.MaxDevices)
			return devices, log.Problems
		default:
			devices = add(devices, &log, seen, at, words)
		}
	}
	switch {
	case at == nil:
		log.Add("the output of hy-smi has no heading that is known: it is cut short, translated or of another version; it begins with %q", reading.Begin(strings.TrimSpace(string(output[:min(len(output), 400)]))))
	case !ended || cut && len(devices) == 0:
		log.Add("the output of hy-smi is cut short: its end is missing")
	case len(devices) == 0 && len(log.Problems) == 0:
		log.Add("hy-smi lists no device")
	}
	return devices, log.Problems
}

// heading finds the columns; nil if the line is no heading.
func heading(words []string) columns {
	if words[0] != "HCU" && words[0] != "DCU" || !slices.Contains(words, "Temp") || !slices.Contains(words, "AvgPwr") {
		return nil
	}
	at := columns{}
	for i, w := range words {
		at[w] = i
	}
	if len(at) != len(words) {
		return nil
	}
	return at
}

func add(devices []chip.Device, log *reading.Log, seen map[string]bool, at columns, words []string) []chip.Device {
	cell := func(names ...string) string {
		for _, n := range names {
			if i, ok := at[n]; ok {
				return words[i]
			}
		}
		return ""
	}
	index, err := strconv.Atoi(words[0])
	d := chip.Device{Make: "Hygon", Name: "Hygon DCU", ID: "hygon-" + words[0], Index: index}
	switch {
	case err != nil || index < 0 || index > 1<<16 || words[0] != strconv.Itoa(index):
		log.Add("a line of hy-smi does not begin with the number of a device: %q", reading.Begin(words[0]))
		return devices
	case seen[d.ID]:
		log.Add("hy-smi lists %s again", d.ID)
		return devices
	}
	seen[d.ID] = true
	d.Temperature = reading.Number(&d, "temperature", cell("Temp"), "C", 1)
	d.Power = reading.Number(&d, "power", cell("AvgPwr"), "W", 1)
	d.PowerLimit = reading.Number(&d, "power limit", cell("PwrCap"), "W", 1)
	d.Busy = reading.Number(&d, "utilisation", cell("HCU%", "DCU%"), "%", 0.01)
	if m := cell("Mode"); m != "" && m != "Normal" {
		reading.Fault(&d, chip.Fault{Level: chip.Note, Code: "mode_unknown", Says: "its mode is told as " + strconv.Quote(reading.Begin(m))})
	}
	d.Check()
	return append(devices, d)
}
