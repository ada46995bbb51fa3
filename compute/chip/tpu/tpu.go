// Package tpu reads the list of chips of tpu-info for Google's TPUs.
//
// Rules for callers: it was tried on recorded output alone (Tried says which), on no hardware. What the tool tells of use goes by other
// numbers than the list of chips, and only while a program runs: it is not read. The list tells of no faults.
package tpu

import (
	"strings"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/reading"
)

// Driver is the driver; its zero value works.
type Driver struct{}

// Make is Google.
func (Driver) Make() string { return "Google" }

// Command asks for the tables.
func (Driver) Command() []string { return []string{"tpu-info"} }

// Tried names the recorded output.
func (Driver) Tried() string {
	return "output in the form of tpu-info as printed in jimangel/tpu-info-debugger README.md (v6e); on no hardware"
}

var table = reading.New(reading.Table{
	Tool: "tpu-info", Make: "Google", Lines: true,
	Name: func(told string) string { return strings.TrimSuffix(told, " chip") },
	Layouts: []reading.Layout{{
		Head: []string{"Chip | Type | Devices | PID"},
		Rows: []string{`(?P<id>/dev/\S*?(?P<index>\d+)) \| (?P<name>\S.*) \| \d+ \| \S+`},
	}},
})

// Parse reads the list.
func (Driver) Parse(output []byte) ([]chip.Device, []string) { return table.Parse(output) }
