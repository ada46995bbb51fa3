package system

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/triarch-ai/triarch/compute/chip"
)

func TestOnTheBus(t *testing.T) {
	bus := fstest.MapFS{}
	add := func(at, vendor, class string) {
		bus[at+"/vendor"], bus[at+"/class"] = &fstest.MapFile{Data: []byte(vendor + "\n")}, &fstest.MapFile{Data: []byte(class + "\n")}
	}
	add("0000:00:01.0", "0x10de", "0x030200")
	add("0000:00:02.0", "0x10de", "0x030200")
	add("0000:00:03.0", "0x19e5", "0x120000")
	add("0000:00:04.0", "0x1002", "0x060400") // a bridge
	add("0000:00:05.0", "0x8086", "0x030000") // a processor's own display
	add("0000:00:06.0", "0x1da3", "0x120000")
	add("0000:00:07.0", "0x1ded", "0x020000") // a network card
	bus["broken/vendor"] = &fstest.MapFile{Data: []byte("0x1002\n")}
	if got := onTheBus(bus); !slices.Equal(got, []string{"Huawei", "Intel Gaudi", "NVIDIA"}) {
		t.Errorf("%v", got)
	}
	if got := onTheBus(fstest.MapFS{}); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestTheDoctorNamesChipsToolsAndFaults(t *testing.T) {
	processor := chip.Device{Chip: "cpu", Cores: 4}
	gpu := chip.Device{Make: "NVIDIA", Chip: "nvidia-t4", Index: 1}
	tools := []ChipTool{{Make: "NVIDIA", Tool: "nvidia-smi", Missing: true}}
	for name, x := range map[string]struct {
		scan  ChipScan
		state CheckState
		words string
	}{
		"none":    {ChipScan{Devices: []chip.Device{processor}, Tools: tools}, Fine, "4 cpu"},
		"some":    {ChipScan{Devices: []chip.Device{processor, gpu, gpu}, Tools: tools}, Fine, "4 cpu, 2 nvidia-t4"},
		"missing": {ChipScan{Devices: []chip.Device{processor}, Tools: tools, Unread: []string{"Huawei", "NVIDIA"}}, Note, "there is no driver for Huawei yet; declare its chips with `triarch node declare`; install nvidia-smi for NVIDIA"},
		"silent":  {ChipScan{Devices: []chip.Device{processor}, Tools: []ChipTool{{Make: "NVIDIA", Tool: "nvidia-smi"}}, Unread: []string{"NVIDIA"}}, Note, "see why nvidia-smi tells of no device"},
		"problem": {ChipScan{Devices: []chip.Device{processor}, Tools: []ChipTool{{Problems: []string{"it is translated"}}}}, Note, "it is translated"},
		"fault": {ChipScan{Devices: []chip.Device{processor, {Chip: "nvidia-t4", Index: 3, Faults: []chip.Fault{{Level: chip.Remove, Says: "it is lost"}}}}}, Bad,
			"nvidia-t4 3: it is lost (remove)"},
	} {
		c := x.scan.check()
		if c.State != x.state || !strings.Contains(c.Says+c.Fix, x.words) {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestChipsOfThisMachine(t *testing.T) {
	c, err := chip.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Chips(t.Context(), c, "", false)
	if err != nil || len(s.Devices) == 0 || s.Devices[0].Chip != "cpu" || s.Devices[0].Bandwidth != nil || len(s.Tools) != len(chipDrivers()) || !slices.Equal(s.Undriven, []string{"Biren"}) {
		t.Errorf("%+v %v", s, err)
	}
}
