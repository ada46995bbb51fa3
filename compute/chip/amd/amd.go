// Package amd reads the JSON form of rocm-smi for AMD's devices.
//
// Rules for callers: it was tried on recorded output alone (Tried says which), on no hardware. A module of two dies is two
// devices. Devices without an id of their own are told by their place on the bus.
package amd

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/reading"
)

// Driver is the driver; its zero value works.
type Driver struct{}

// Make is AMD.
func (Driver) Make() string { return "AMD" }

// Command asks for what the driver reads, of all devices.
func (Driver) Command() []string {
	return []string{"rocm-smi", "--showproductname", "--showuniqueid", "--showbus", "--showdriverversion", "--showmeminfo", "vram", "--showuse", "--showtemp",
		"--showpower", "--showmaxpower", "--json"}
}

// Tried names the recorded output.
func (Driver) Tried() string {
	return "output in the form of rocm-smi --json as printed in https://github.com/wandb/wandb/pull/5449 (MI250X), https://github.com/marimo-team/marimo/issues/9237 (RX 7900 XT) and https://github.com/sebhildebrandt/systeminformation/pull/960 (780M); on no hardware"
}

var cardForm = regexp.MustCompile(`^card([0-9]{1,4})$`)

// Parse reads the object.
func (Driver) Parse(output []byte) ([]chip.Device, []string) {
	log := reading.Log{Tool: "rocm-smi"}
	all := log.Object(output)
	if all == nil {
		return nil, log.Problems
	}
	version := ""
	if system, ok := all["system"].(map[string]any); ok {
		version = reading.First(system, "Driver version")
	}
	var devices []chip.Device
	seen := map[string]bool{}
	for _, index := range cards(all) {
		key := "card" + strconv.Itoa(index)
		card, ok := all[key].(map[string]any)
		if !ok {
			log.Add("rocm-smi tells of %s and not what it is", key)
			continue
		}
		d := device(card, index, version)
		switch {
		case d.Name == "":
			log.Add("rocm-smi gives %s no name", key)
		case seen[d.ID]:
			log.Add("rocm-smi names %s again", reading.Begin(d.ID))
		default:
			seen[d.ID] = true
			devices = append(devices, d)
		}
	}
	if len(devices) == 0 && len(log.Problems) == 0 {
		log.Add("rocm-smi names no card")
	}
	return devices, log.Problems
}

// cards are the numbers of the cards, in order.
func cards(all map[string]any) (list []int) {
	for key := range all {
		m := cardForm.FindStringSubmatch(key)
		if m == nil {
			continue
		}
		if n, err := strconv.Atoi(m[1]); err == nil && m[1] == strconv.Itoa(n) {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list[:min(len(list), reading.MaxDevices)]
}

func device(c map[string]any, index int, version string) chip.Device {
	get := func(keys ...string) string { return reading.First(c, keys...) }
	d := chip.Device{Make: "AMD", Name: get("Card Series", "Card series", "Device Name"), Index: index, Bus: reading.Told(get("PCI Bus")), Driver: version}
	d.ID = cmp.Or(reading.Told(get("Unique ID")), d.Bus, fmt.Sprintf("amd-%d", index))
	d.Memory = reading.Number(&d, "memory", get("VRAM Total Memory (B)"), "", 1)
	d.Used = reading.Number(&d, "used memory", get("VRAM Total Used Memory (B)"), "", 1)
	d.Busy = reading.Number(&d, "utilisation", get("GPU use (%)"), "%", 0.01)
	d.Temperature = reading.Number(&d, "temperature", get("Temperature (Sensor junction) (C)", "Temperature (Sensor edge) (C)"), "C", 1)
	d.Power = reading.Number(&d, "power", get("Average Graphics Package Power (W)", "Current Socket Graphics Package Power (W)"), "W", 1)
	d.PowerLimit = reading.Number(&d, "power limit", get("Max Graphics Package Power (W)"), "W", 1)
	d.Check()
	return d
}
