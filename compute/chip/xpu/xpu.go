// Package xpu reads the JSON form of xpu-smi's discovery for Intel's GPUs.
//
// Rules for callers: it was tried on recorded output alone (Tried says which), on no hardware. Discovery names devices and their
// state; use, temperature and power are not in it, and memory is only where an edition adds it.
package xpu

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/reading"
)

// Driver is the driver; its zero value works.
type Driver struct{}

// Make is Intel.
func (Driver) Make() string { return "Intel" }

// Command asks for the devices.
func (Driver) Command() []string { return []string{"xpu-smi", "discovery", "-j"} }

// Tried names the recorded output.
func (Driver) Tried() string {
	return "output in the form of xpu-smi discovery -j as printed in intel/xpumanager doc/smi_user_guide.md and https://github.com/intel/xpumanager/issues/127; on no hardware"
}

// Parse reads the object.
func (Driver) Parse(output []byte) ([]chip.Device, []string) {
	log := reading.Log{Tool: "xpu-smi"}
	all := log.Object(output)
	if all == nil {
		return nil, log.Problems
	}
	list, ok := all["device_list"].([]any)
	if !ok {
		log.Add("xpu-smi gives no device_list but %q", reading.Begin(reading.First(all, "error", "errno")))
		return nil, log.Problems
	}
	var devices []chip.Device
	seen := map[string]bool{}
	for i, v := range list {
		o, _ := v.(map[string]any)
		d, known := device(o)
		switch {
		case !known:
			log.Add("entry %d of xpu-smi's device_list has no device_id or no device_name", i)
		case seen[d.ID]:
			log.Add("xpu-smi names %s again", reading.Begin(d.ID))
		case len(devices) == reading.MaxDevices:
			log.Add("xpu-smi names more than %d devices; those after them are left out", reading.MaxDevices)
			return devices, log.Problems
		default:
			seen[d.ID] = true
			devices = append(devices, d)
		}
	}
	if len(devices) == 0 && len(log.Problems) == 0 {
		log.Add("xpu-smi names no device")
	}
	return devices, log.Problems
}

func device(o map[string]any) (chip.Device, bool) {
	get := func(keys ...string) string { return reading.First(o, keys...) }
	index, err := strconv.Atoi(get("device_id"))
	name := strings.Join(strings.Fields(strings.NewReplacer("(R)", "", "(TM)", "").Replace(get("device_name"))), " ")
	if err != nil || index < 0 || index > 1<<16 || name == "" {
		return chip.Device{}, false
	}
	d := chip.Device{Make: "Intel", Name: name, Index: index, Bus: strings.ToLower(reading.Told(get("pci_bdf_address"))), Driver: reading.Told(get("driver_version"))}
	d.ID = cmp.Or(reading.Told(get("uuid")), d.Bus, "intel-"+strconv.Itoa(index))
	d.Memory = reading.Number(&d, "memory", get("memory_physical_size_byte"), "", 1)
	if s := get("device_state"); s != "" && !strings.EqualFold(s, "normal") {
		f := chip.Fault{Level: chip.Note, Code: "state_unknown", Says: "its state is told as " + strconv.Quote(reading.Begin(s))}
		if strings.Contains(strings.ToLower(s), "survivability") { // it waits for a firmware update and takes no work
			f = chip.Fault{Level: chip.Remove, Code: "firmware_update_needed", Says: "it is in survivability mode and needs a firmware update"}
		}
		reading.Fault(&d, f)
	}
	d.Check()
	return d, true
}
