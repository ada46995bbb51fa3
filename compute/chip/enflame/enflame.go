// Package enflame reads the table of efsmi for Enflame's devices.
//
// Rules for callers: it was tried on recorded output alone (Tried says which), on no hardware. The tool prints nothing after its
// devices, so output that ends between two of them is not seen to be cut. Used memory is not in the table.
package enflame

import (
	"regexp"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/reading"
)

// Driver is the driver; its zero value works.
type Driver struct{}

// Make is Enflame.
func (Driver) Make() string { return "Enflame" }

// Command asks for the table of all devices.
func (Driver) Command() []string { return []string{"efsmi"} }

// Tried names the recorded output.
func (Driver) Tried() string {
	return "output in the form of efsmi 1.2.0 (S60) as printed in PaddlePaddle/docs docs/hardware_support/gcu/install_cn.md, and of 1.6.3 and 1.7.2 (S60G, L300); on no hardware"
}

const (
	first  = `(?P<index>\d+) (?P<name>\S.*) \| \S+ \| (?P<bus>\S+) \S+`
	second = `(?P<temp>\d+(?:C)?)(?: C)? \S+ (?P<power>\S+)(?:(?: ?/ ?| )(?P<limit>\S+))? \| (?P<total>\S+) \S+ \| (?P<busy>\S+) (?P<id>\S+)`
)

var table = reading.New(reading.Table{
	Tool: "efsmi", Make: "Enflame", Version: regexp.MustCompile(`^EFSMI:? \S+ Driver Ver: (\S{1,40})$`),
	Layouts: []reading.Layout{
		{Head: []string{"DEV NAME | FW VER | BUS-ID ECC", "TEMP Dpm Pwr(Usage/Cap) | Mem GCU Virt | DUsed SN"}, Rows: []string{first, second}},
		{Head: []string{"DEV NAME | FW VER | BUS-ID ECC", "TEMP Lpm Pwr(Usage/Cap) | Mem GCU Virt | DUsed SN"}, Rows: []string{first, second}},
		{Head: []string{"DEV NAME | Boot FW VER | BUS-ID ECC", "TEMP Lpm Pwr(Usage/Cap) | Mem GCU Virt | DUsed SN"}, Rows: []string{first, second}},
	},
})

// Parse reads the table.
func (Driver) Parse(output []byte) ([]chip.Device, []string) { return table.Parse(output) }
