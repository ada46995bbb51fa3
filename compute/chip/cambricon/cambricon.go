// Package cambricon reads the table of cnmon for Cambricon's devices.
//
// Rules for callers: it was tried on recorded output alone (Tried says which), on no hardware. What the tool counts as errors of
// the memory does not say whether they were corrected, so no fault follows from it.
package cambricon

import (
	"regexp"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/reading"
)

// Driver is the driver; its zero value works.
type Driver struct{}

// Make is Cambricon.
func (Driver) Make() string { return "Cambricon" }

// Command asks for the table of all devices.
func (Driver) Command() []string { return []string{"cnmon"} }

// Tried names the recorded output.
func (Driver) Tried() string {
	return "output in the form of cnmon 5.10.13 (MLU370-X8) and 4.20.11 (MLU370-X4) as printed in PaddlePaddle/docs docs/hardware_support/mlu/install_cn.md and an earlier edition of it; on no hardware"
}

const figures = `\S+ (?P<temp>\S+) (?P<power>\S+(?: W)?) ?/ ?(?P<limit>\S+(?: W)?) \| (?P<used>\S+(?: MiB)?) ?/ ?(?P<total>\S+(?: MiB)?) \| .*`

var table = reading.New(reading.Table{
	Tool: "cnmon", Make: "Cambricon", Ends: "Processes:", Version: regexp.MustCompile(`^CNMON \S+ Driver v?(\S{1,40})$`),
	Layouts: []reading.Layout{
		{
			Head: []string{"Card VF Name Firmware | Bus-Id | Util Ecc-Error", "Fan Temp Pwr:Usage/Cap | Memory-Usage | SR-IOV Compute-Mode"},
			Rows: []string{withBus, figures},
		},
		{
			Head: []string{"Card VF Name Firmware | Bus-Id | Util Ecc-Error", "Fan Temp Pwr:Usage/Cap | Memory-Usage | Mode Compute-Mode"},
			Rows: []string{withBus, figures},
		},
		{
			Head: []string{"Card VF Name Firmware | Inited Driver | Util Ecc-Error", "Fan Temp Pwr:Usage/Cap | Memory-Usage | vMemory-Usage"},
			Rows: []string{`(?P<index>\d+) \S+ (?P<name>\S+) \S+ \| \S+ \S+ \| (?P<busy>\S+) \S+`, figures},
		},
	},
})

const withBus = `(?P<index>\d+) \S+ (?P<name>\S+) \S+ \| (?P<bus>\S+) \| (?P<busy>\S+) \S+`

// Parse reads the table.
func (Driver) Parse(output []byte) ([]chip.Device, []string) { return table.Parse(output) }
