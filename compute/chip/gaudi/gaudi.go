// Package gaudi reads the table of hl-smi for Intel's Gaudi devices.
//
// Rules for callers: it was tried on recorded output alone (Tried says which), on no hardware. Newer editions count events that
// were not corrected, which healthy devices have too: no fault follows from them.
package gaudi

import (
	"regexp"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/reading"
)

// Driver is the driver; its zero value works.
type Driver struct{}

// Make is Intel.
func (Driver) Make() string { return "Intel" }

// Command asks for the table of all devices.
func (Driver) Command() []string { return []string{"hl-smi"} }

// Tried names the recorded output.
func (Driver) Tried() string {
	return "output in the form of hl-smi 1.22.1 (HL-225) as printed in ray-project/ray doc/source/serve/tutorials/intel-gaudi-inference.md, and of 1.18.0 as in https://github.com/HabanaAI/vllm-fork/issues/484; on no hardware"
}

const figures = `\S+ (?P<temp>\S+) \S+ (?P<power>\S+) ?/ ?(?P<limit>\S+) \| (?P<used>\S+) ?/ ?(?P<total>\S+) \| (?P<busy>\S+) .*`

var table = reading.New(reading.Table{
	Tool: "hl-smi", Make: "Intel", Ends: "Processes:", Version: regexp.MustCompile(`^Driver Version: (\S{1,40})$`),
	Layouts: []reading.Layout{
		{
			Head: []string{"AIP Name Persistence-M | Bus-Id Disp.A | Volatile Uncorr. ECC", "Fan Temp Perf Pwr:Usage/Cap | Memory-Usage | AIP-Util Compute M."},
			Rows: []string{`(?P<index>\d+) (?P<name>\S+) \S+ \| (?P<bus>\S+) \S+ \| (?P<ecc>\S+)`, figures},
		},
		{
			Head: []string{"AIP Name Persistence-M | Bus-Id Disp.A | Volatile Uncor-Events", "Fan Temp Perf Pwr:Usage/Cap | Memory-Usage | AIP-Util Compute M."},
			Rows: []string{`(?P<index>\d+) (?P<name>\S+) \S+ \| (?P<bus>\S+) \S+ \| \S+`, figures},
		},
	},
})

// Parse reads the table.
func (Driver) Parse(output []byte) ([]chip.Device, []string) { return table.Parse(output) }
