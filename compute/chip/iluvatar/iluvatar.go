// Package iluvatar reads the table of ixsmi for Iluvatar CoreX's devices.
//
// Rules for callers: it was tried on recorded output alone (Tried says which), on no hardware. The table tells of no faults.
package iluvatar

import (
	"regexp"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/reading"
)

// Driver is the driver; its zero value works.
type Driver struct{}

// Make is Iluvatar.
func (Driver) Make() string { return "Iluvatar" }

// Command asks for the table of all devices.
func (Driver) Command() []string { return []string{"ixsmi"} }

// Tried names the recorded output.
func (Driver) Tried() string {
	return "output in the form of ixsmi 3.1.1 (BI-V100) as printed in https://github.com/gpustack/gpustack/issues/3256; on no hardware"
}

var table = reading.New(reading.Table{
	Tool: "ixsmi", Make: "Iluvatar", Ends: "Processes:", Version: regexp.MustCompile(`^IX-ML: \S+ Driver Version: (\S{1,40}) .*$`),
	Layouts: []reading.Layout{{
		Head: []string{"GPU Name | Bus-Id | Clock-SM Clock-Mem", "Fan Temp Perf Pwr:Usage/Cap | Memory-Usage | GPU-Util Compute M."},
		Rows: []string{`(?P<index>\d+) (?P<name>\S.*) \| (?P<bus>\S+) \| \S+ \S+`,
			`\S+ (?P<temp>\S+) \S+ (?P<power>\S+) ?/ ?(?P<limit>\S+) \| (?P<used>\S+) ?/ ?(?P<total>\S+) \| (?P<busy>\S+) .*`},
	}},
})

// Parse reads the table.
func (Driver) Parse(output []byte) ([]chip.Device, []string) { return table.Parse(output) }
