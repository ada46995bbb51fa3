// Package apple reads the JSON form of macOS's system_profiler for Apple's own chips.
//
// Rules for callers: it was tried on recorded output alone (Tried says which), on no hardware here. The memory is the machine's, which the
// processor shares; use, temperature, power and faults are not told.
package apple

import (
	"strings"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/reading"
)

// Driver is the driver; its zero value works.
type Driver struct{}

// Make is Apple.
func (Driver) Make() string { return "Apple" }

// Command asks for displays, which name the chip, and memory.
func (Driver) Command() []string {
	return []string{"system_profiler", "SPDisplaysDataType", "SPMemoryDataType", "-json"}
}

// Tried names the recorded output.
func (Driver) Tried() string {
	return "output in the form of system_profiler -json as printed in https://github.com/timmo001/system-bridge/pull/3408 (M3 Pro), https://github.com/exelban/stats/issues/394 (M1) and https://github.com/open-uem/openuem-agent/issues/55; on no hardware"
}

// Parse reads the object.
func (Driver) Parse(output []byte) ([]chip.Device, []string) {
	log := reading.Log{Tool: "system_profiler"}
	all := log.Object(output)
	if all == nil {
		return nil, log.Problems
	}
	list, ok := all["SPDisplaysDataType"].([]any)
	if !ok {
		log.Add("system_profiler gives no SPDisplaysDataType")
		return nil, log.Problems
	}
	var devices []chip.Device
	for _, v := range list {
		o, _ := v.(map[string]any)
		if reading.First(o, "spdisplays_vendor") != "sppci_vendor_Apple" {
			continue
		}
		name := reading.First(o, "sppci_model", "_name")
		switch {
		case name == "":
			log.Add("system_profiler gives Apple's chip no name")
		case len(devices) > 0:
			log.Add("system_profiler names a second chip of Apple's, %q, which was left out", reading.Begin(name))
		default:
			devices = append(devices, device(name, memory(all)))
		}
	}
	if len(devices) == 0 && len(log.Problems) == 0 {
		log.Add("system_profiler names no chip of Apple's")
	}
	return devices, log.Problems
}

// memory is how much memory the machine has, as told.
func memory(all map[string]any) string {
	list, _ := all["SPMemoryDataType"].([]any)
	if len(list) != 1 {
		return ""
	}
	o, _ := list[0].(map[string]any)
	return reading.First(o, "SPMemoryDataType")
}

func device(name, memory string) chip.Device {
	d := chip.Device{Make: "Apple", Name: name, ID: "apple-gpu"}
	d.Memory = reading.Number(&d, "memory", strings.TrimSpace(memory), "GB", 1<<30)
	d.Notes = append(d.Notes, "its memory is the machine's, shared with the processor")
	d.Check()
	return d
}
