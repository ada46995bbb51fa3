// Package moorethreads reads the table of mthreads-gmi for Moore Threads' devices.
//
// Rules for callers: it was tried on recorded output alone (Tried says which), on no hardware. Power is not in the table.
package moorethreads

import (
	"regexp"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/reading"
)

// Driver is the driver; its zero value works.
type Driver struct{}

// Make is Moore Threads.
func (Driver) Make() string { return "Moore Threads" }

// Command asks for the table of all devices.
func (Driver) Command() []string { return []string{"mthreads-gmi"} }

// Tried names the recorded output.
func (Driver) Tried() string {
	return "output in the form of mthreads-gmi 2.3.2 (MTT S5000) as printed in https://github.com/vllm-project/vllm-omni/pull/2337, without its end; on no hardware"
}

var table = reading.New(reading.Table{
	Tool: "mthreads-gmi", Make: "Moore Threads", Ends: "Process", Open: true, Version: regexp.MustCompile(`^mthreads-gmi:\S+ Driver Version:(\S{1,40})$`),
	Layouts: []reading.Layout{{
		Head: []string{"ID Name | PCIe | %GPU Mem", "Device Type Perf | Pcie Lane Width | Temp MPC Capable", "ECC Mode"},
		Rows: []string{`(?P<index>\d+) (?P<name>\S.*) \| (?P<bus>\S+) \| (?P<busy>\S+) (?P<used>\S+)\((?P<total>\S+)\)`, `.* \| .* \| (?P<temp>\S+) .*`, `.*`},
	}},
})

// Parse reads the table.
func (Driver) Parse(output []byte) ([]chip.Device, []string) { return table.Parse(output) }
