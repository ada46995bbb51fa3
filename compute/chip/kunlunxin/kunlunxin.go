// Package kunlunxin reads the table of xpu_smi for Kunlunxin's devices.
//
// Rules for callers: it was tried on recorded output alone (Tried says which), on no hardware. Newer editions also call the tool
// xpu-smi, as Intel does another one; xpu_smi is theirs alone.
package kunlunxin

import (
	"regexp"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/reading"
)

// Driver is the driver; its zero value works.
type Driver struct{}

// Make is Kunlunxin.
func (Driver) Make() string { return "Kunlunxin" }

// Command asks for the table of all devices.
func (Driver) Command() []string { return []string{"xpu_smi"} }

// Tried names the recorded output.
func (Driver) Tried() string {
	return "output in the form of xpu_smi 5.0.21 (P800 OAM) as printed in PaddlePaddle/ERNIE docs/devices/README_XPU.md; on no hardware"
}

var table = reading.New(reading.Table{
	Tool: "xpu_smi", Make: "Kunlunxin", Ends: "Processes:", Version: regexp.MustCompile(`^XPU-SMI Driver Version: (\S{1,40}) XPU-RT Version: .*$`),
	Layouts: []reading.Layout{{
		Head: []string{"XPU Name Persistence-M | Bus-Id Disp.A | Volatile Uncorr. ECC", "Fan Temp Perf Pwr:Usage/Cap | Memory-Usage | XPU-Util Compute M.", "L3-Usage | SR-IOV M."},
		Rows: []string{`(?P<index>\d+) (?P<name>\S.*) \S+ \| (?P<bus>\S+) \S+ \| (?P<ecc>\S+)`,
			`\S+ (?P<temp>\S+) \S+ (?P<power>\S+) ?/ ?(?P<limit>\S+) \| (?P<used>\S+) ?/ ?(?P<total>\S+) \| (?P<busy>\S+) .*`, `.*`},
	}},
})

// Parse reads the table.
func (Driver) Parse(output []byte) ([]chip.Device, []string) { return table.Parse(output) }
