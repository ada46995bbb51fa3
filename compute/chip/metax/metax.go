// Package metax reads the table of mx-smi for MetaX's devices.
//
// Rules for callers: it was tried on recorded output alone (Tried says which), on no hardware. Moffett's tool has the same
// name; its table has another heading and is refused.
package metax

import (
	"regexp"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/reading"
)

// Driver is the driver; its zero value works.
type Driver struct{}

// Make is MetaX.
func (Driver) Make() string { return "MetaX" }

// Command asks for the table of all devices.
func (Driver) Command() []string { return []string{"mx-smi"} }

// Tried names the recorded output.
func (Driver) Tried() string {
	return "output in the form of mx-smi 2.1.12 (C500) as printed in https://github.com/gpustack/gpustack/issues/4832, and of 2.1.6 and 2.3.1; on no hardware"
}

const (
	first  = `(?P<index>\d+) (?P<name>\S.*) \| (?P<bus>\S+) \| (?P<busy>\S+)`
	memory = `(?P<used>\S+) ?/ ?(?P<total>\S+(?: MiB)?)`
)

var table = reading.New(reading.Table{
	Tool: "mx-smi", Make: "MetaX", Ends: "Process", Version: regexp.MustCompile(`^MX-SMI \S+ Kernel Mode Driver Version: (\S{1,40})$`),
	Health: map[string]chip.Fault{"Available": {}},
	Layouts: []reading.Layout{
		{
			Head: []string{"GPU NAME | Bus-id | GPU-Util", "Temp Pwr:Usage/Cap | Memory-Usage"},
			Rows: []string{first, `(?P<temp>\S+) (?P<power>\S+) ?/ ?(?P<limit>\S+) \| ` + memory},
		},
		{
			Head: []string{"GPU NAME | Bus-id | GPU-Util", "Temp Power | Memory-Usage"},
			Rows: []string{first, `(?P<temp>\S+) (?P<power>\S+) \| ` + memory},
		},
		{
			Head: []string{"Board Name | GPU Persist-M | Bus-id | GPU-Util sGPU-M", "Pwr:Usage/Cap | Temp Perf | Memory-Usage | GPU-State"},
			Rows: []string{`\d+ (?P<name>\S.*) \| (?P<index>\d+) \S+ \| (?P<bus>\S+) \| (?P<busy>\S+) \S+`,
				`(?P<power>\S+) ?/ ?(?P<limit>\S+) \| (?P<temp>\S+) \S+ \| ` + memory + ` \| (?P<health>\S.*)`},
		},
	},
})

// Parse reads the table.
func (Driver) Parse(output []byte) ([]chip.Device, []string) { return table.Parse(output) }
