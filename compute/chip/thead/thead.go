// Package thead reads the table of ppu-smi for T-Head's devices.
//
// Rules for callers: it was tried on recorded output alone (Tried says which), on no hardware. Parts of a divided device are not
// in the table.
package thead

import (
	"regexp"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/reading"
)

// Driver is the driver; its zero value works.
type Driver struct{}

// Make is T-Head.
func (Driver) Make() string { return "T-Head" }

// Command asks for the table of all devices.
func (Driver) Command() []string { return []string{"ppu-smi"} }

// Tried names the recorded output.
func (Driver) Tried() string {
	return "output in the form of ppu-smi 1.28 (PPU-ZW810E) as printed in the vendor's guide to the SAIL SDK 2.1; on no hardware"
}

var table = reading.New(reading.Table{
	Tool: "ppu-smi", Make: "T-Head", Ends: "Process", Version: regexp.MustCompile(`^PPU-SMI \S+ Driver Version: (\S{1,40}) HGGC Version: .*$`),
	Layouts: []reading.Layout{{
		Head: []string{"PPU Name Persistence M. | Bus-Id | Volatile Uncorr. ECC", "Fan Temp Perf Pwr:Usage/Cap | Memory-Usage | PPU-Util Compute M.", "MIG M."},
		Rows: []string{`(?P<index>\d+) (?P<name>\S.*) \S+ \| (?P<bus>\S+) \| (?P<ecc>\S+)`,
			`\S+ (?P<temp>\S+) \S+ (?P<power>\S+) ?/ ?(?P<limit>\S+) \| (?P<used>\S+) ?/ ?(?P<total>\S+) \| (?P<busy>\S+) .*`, `.*`},
	}},
})

// Parse reads the table.
func (Driver) Parse(output []byte) ([]chip.Device, []string) { return table.Parse(output) }
