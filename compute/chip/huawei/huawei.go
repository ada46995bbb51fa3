// Package huawei reads the table of npu-smi for Huawei's Ascend devices.
//
// Rules for callers: it was tried on recorded output alone (Tried says which), on no hardware. The tool counts memory in
// MB and means MiB.
package huawei

import (
	"regexp"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/reading"
)

// Driver is the driver; its zero value works.
type Driver struct{}

// Make is Huawei.
func (Driver) Make() string { return "Huawei" }

// Command asks for the table of all devices.
func (Driver) Command() []string { return []string{"npu-smi", "info"} }

// Tried names the recorded output.
func (Driver) Tried() string {
	return "output in the form of npu-smi 25.2.0 and 26.0 as printed in https://github.com/Project-HAMi/HAMi-WebUI/issues/47 (910B4), https://github.com/vllm-project/vllm-ascend/issues/2534 and 12980 (two chips a card); on no hardware"
}

// health has the five words of https://hiascend.com/document/detail/zh/Atlas%20200I%20A2/24.1.RC3/re/npu/npusmi_028.html: fine, a common,
// an important and an urgent alarm, and a device that is not there or did not start.
var health = map[string]chip.Fault{
	"OK":       {},
	"Warning":  {Level: chip.Note, Code: "health_warning", Says: "the tool tells of a common alarm"},
	"Alarm":    {Level: chip.RestartDevice, Code: "health_alarm", Says: "the tool tells of an important alarm"},
	"Critical": {Level: chip.Remove, Code: "health_critical", Says: "the tool tells of an urgent alarm"},
	"UNKNOWN":  {Level: chip.Drain, Code: "unreadable", Says: "the tool says that the device is not there or did not start"},
}

const (
	power   = `(?P<power>[^|\s]+) (?P<temp>[^|\s]+) [^|]*`
	figures = ` \| (?P<bus>\S+) \| (?P<busy>\S+) \S+ ?/ ?\S+ (?P<used>\S+) ?/ ?(?P<total>\S+)`
)

var table = reading.New(reading.Table{
	Tool: "npu-smi", Make: "Huawei", Ends: "Process", Health: health, Version: regexp.MustCompile(`^npu-smi \S+ Version: (\S{1,40})$`),
	Layouts: []reading.Layout{
		{
			Head: []string{"NPU Name | Health | Power(W) Temp(C) Hugepages-Usage(page)", "Chip Phy-ID | Bus-Id | AICore(%) Memory-Usage(MB) HBM-Usage(MB)"},
			Rows: []string{`\d+ (?P<name>[^|]+) \| (?P<health>[^|\s]+) \| ` + power, `\d+ (?P<index>\d+)` + figures},
		},
		{
			Head: []string{"NPU Name | Health | Power(W) Temp(C) Hugepages-Usage(page)", "Chip | Bus-Id | AICore(%) Memory-Usage(MB) HBM-Usage(MB)"},
			Rows: []string{`(?P<index>\d+) (?P<name>[^|]+) \| (?P<health>[^|\s]+) \| ` + power, `\d+` + figures},
		},
	},
})

// Parse reads the table.
func (Driver) Parse(output []byte) ([]chip.Device, []string) { return table.Parse(output) }
