package reading_test

import (
	"os"
	"testing"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/amd"
	"github.com/triarch-ai/triarch/compute/chip/apple"
	"github.com/triarch-ai/triarch/compute/chip/cambricon"
	"github.com/triarch-ai/triarch/compute/chip/enflame"
	"github.com/triarch-ai/triarch/compute/chip/gaudi"
	"github.com/triarch-ai/triarch/compute/chip/huawei"
	"github.com/triarch-ai/triarch/compute/chip/hygon"
	"github.com/triarch-ai/triarch/compute/chip/iluvatar"
	"github.com/triarch-ai/triarch/compute/chip/kunlunxin"
	"github.com/triarch-ai/triarch/compute/chip/metax"
	"github.com/triarch-ai/triarch/compute/chip/moorethreads"
	"github.com/triarch-ai/triarch/compute/chip/reading"
	"github.com/triarch-ai/triarch/compute/chip/thead"
	"github.com/triarch-ai/triarch/compute/chip/tpu"
	"github.com/triarch-ai/triarch/compute/chip/xpu"
)

const unknown = -1

// want is what one device of a sample must say; figures are unknown (-1), memory in MiB.
type want struct {
	driver                          chip.Driver
	file                            string
	at                              int // which of the devices
	name, id, bus, version          string
	index                           int
	memory, used, busy, temp, power float64
	limit                           float64
	code                            string // of its worst fault
	level                           chip.Level
}

var wants = []want{
	{huawei.Driver{}, "huawei/testdata/910b4-25.2.0.txt", 1, "910B4-1", "0000:c2:00.0", "0000:c2:00.0", "25.2.0", 1, 65536, 40112, 0.17, 32, 88.1, unknown, "", 0},
	{huawei.Driver{}, "huawei/testdata/two-chips-26.0.txt", 2, "Ascend910", "0000:99:00.0", "0000:99:00.0", "26.0.rc2", 2, 65536, 3415, 0, 36, 170, unknown, "health_warning", chip.Note},
	{huawei.Driver{}, "huawei/testdata/two-chips-26.0.txt", 3, "Ascend910", "0000:9b:00.0", "0000:9b:00.0", "26.0.rc2", 3, 65536, 2874, 0, 36, unknown, unknown, "health_critical", chip.Remove},
	{cambricon.Driver{}, "cambricon/testdata/mlu370-x8-5.10.13.txt", 1, "MLU370-X8", "0000:3d:00.0", "0000:3d:00.0", "5.10.13", 1, 23374, 20111, 0.97, 39, 211, 250, "", 0},
	{cambricon.Driver{}, "cambricon/testdata/mlu370-x4-4.20.11.txt", 1, "MLU370-X4", "Cambricon-1", "", "", 1, 23308, 0, 0, 33, 25, 150, "", 0},
	{iluvatar.Driver{}, "iluvatar/testdata/bi-v100-3.1.1.txt", 0, "Iluvatar BI-V100", "00000000:98:00.0", "00000000:98:00.0", "3.1.0", 0, 32768, 257, 0, 30, 40, 250, "", 0},
	{metax.Driver{}, "metax/testdata/c500-2.1.12.txt", 1, "MetaX C500", "0000:0f:00.0", "0000:0f:00.0", "2.12.13", 1, 65536, 826, 0, 36, 45, 350, "", 0},
	{metax.Driver{}, "metax/testdata/c550-2.1.6.txt", 0, "MXC550", "0000:2a:00.0", "0000:2a:00.0", "2.5.014", 0, 65536, 810, 0, 31, 44, unknown, "", 0},
	{metax.Driver{}, "metax/testdata/c500-2.3.1.txt", 0, "MetaX C500", "0000:12:00.0", "0000:12:00.0", "3.8.30", 0, 65536, 826, 0, 32, 37, 350, "", 0},
	{kunlunxin.Driver{}, "kunlunxin/testdata/p800-5.0.21.txt", 1, "P800 OAM", "00000000:05:00.0", "00000000:05:00.0", "5.0.21.21", 1, 98304, 70123, 0.88, 41, 90, 400, "memory_uncorrected", chip.RestartTask},
	{thead.Driver{}, "thead/testdata/zw810e-1.28.txt", 0, "PPU-ZW810E", "00000000:08:00.0", "00000000:08:00.0", "2.1.0-dbda51", 0, 98304, 49, 0.04, 24, 74, 400, "", 0},
	{enflame.Driver{}, "enflame/testdata/s60-1.2.0.txt", 1, "S60", "C807J40510285", "00:09:00.0", "1.2.0.301", 1, 42976, unknown, 0, 46, 128, 300, "", 0},
	{enflame.Driver{}, "enflame/testdata/l300-1.7.2.txt", 1, "Enflame S60G", "A018K30520031", "00:2e:00.0", "1.7.2.14", 1, 23552, unknown, 0, 34, unknown, unknown, "", 0},
	{gaudi.Driver{}, "gaudi/testdata/hl-225-1.22.1.txt", 1, "HL-225", "0000:9a:00.0", "0000:9a:00.0", "1.22.1-97ec1a4", 1, 98304, 768, 0, 22, 83, 600, "", 0},
	{gaudi.Driver{}, "gaudi/testdata/hl-225-1.18.0.txt", 1, "HL-225", "0000:9a:00.0", "0000:9a:00.0", "1.18.0-ee698fb", 1, 98304, 768, 0, 37, 90, 600, "memory_uncorrected", chip.RestartTask},
	{moorethreads.Driver{}, "moorethreads/testdata/s5000-2.3.2.txt", 0, "MTT S5000", "00000000:2a:00.0", "00000000:2a:00.0", "3.3.5-server", 0, 81920, 66641, 0, 52, unknown, unknown, "", 0},
	{hygon.Driver{}, "hygon/testdata/z100-dtk23.10.txt", 2, "Hygon DCU", "hygon-2", "", "", 2, unknown, unknown, 0.81, 29, 38, 280, "", 0},
	{hygon.Driver{}, "hygon/testdata/bw1000-dtk26.04.txt", 1, "Hygon DCU", "hygon-1", "", "", 1, unknown, unknown, 0, 52, 89, 1000, "", 0},
	{tpu.Driver{}, "tpu/testdata/v6e-idle.txt", 3, "TPU v6e", "/dev/vfio/3", "", "", 3, unknown, unknown, unknown, unknown, unknown, unknown, "", 0},
	{amd.Driver{}, "amd/testdata/mi250x.json", 1, "AMD INSTINCT MI200 (MCM) OAM LC MBA HPE C2", "0x1ef9a67a0d4ca0d1", "0000:C6:00.0", "5.16.9.22.20", 1, 65520, 10960896. / (1 << 20), 0, 52, unknown, unknown, "", 0},
	{amd.Driver{}, "amd/testdata/rx7900xt.json", 0, "Radeon RX 7900 XT", "amd-0", "", "", 0, 21458059264. / (1 << 20), 27856896. / (1 << 20), 0, unknown, unknown, unknown, "", 0},
	{xpu.Driver{}, "xpu/testdata/max1550.json", 0, "Intel Data Center GPU Max 1550", "00000000-0000-0029-0000-002f0bd58086", "0000:29:00.0", "", 0, unknown, unknown, unknown, unknown, unknown, unknown, "", 0},
	{xpu.Driver{}, "xpu/testdata/max1550.json", 1, "Intel Arc Pro B60 Graphics", "00000000-0000-0097-0000-0000e2118086", "0000:97:00.0", "", 1, 24480, unknown, unknown, unknown, unknown, unknown, "", 0},
	{apple.Driver{}, "apple/testdata/m3pro.json", 0, "Apple M3 Pro", "apple-gpu", "", "", 0, 36864, unknown, unknown, unknown, unknown, unknown, "", 0},
}

// TestFigures holds what the drivers read of their samples against what stands there.
func TestFigures(t *testing.T) {
	for _, w := range wants {
		text, err := os.ReadFile("../" + w.file)
		if err != nil {
			t.Fatal(err)
		}
		devices, problems := w.driver.Parse(text)
		if len(devices) <= w.at || len(problems) > 0 {
			t.Errorf("%s: %d devices, %v", w.file, len(devices), problems)
			continue
		}
		d := devices[w.at]
		if d.Make != w.driver.Make() || d.Name != w.name || d.ID != w.id || d.Bus != w.bus || d.Driver != w.version || d.Index != w.index {
			t.Errorf("%s: %+v", w.file, d)
		}
		figure := func(what string, got *float64, factor, want float64) {
			if got == nil && want != unknown || got != nil && (want == unknown || *got/factor-want > 1e-9 || want-*got/factor > 1e-9) {
				t.Errorf("%s: %s is %v, want %g", w.file, what, got, want)
			}
		}
		figure("memory", d.Memory, 1<<20, w.memory)
		figure("used memory", d.Used, 1<<20, w.used)
		figure("use", d.Busy, 1, w.busy)
		figure("temperature", d.Temperature, 1, w.temp)
		figure("power", d.Power, 1, w.power)
		figure("power limit", d.PowerLimit, 1, w.limit)
		switch {
		case w.code == "" && len(d.Faults) > 0:
			t.Errorf("%s: faults %v", w.file, d.Faults)
		case w.code != "" && (len(d.Faults) != 1 || d.Faults[0].Code != w.code || d.Faults[0].Level != w.level):
			t.Errorf("%s: faults %v, want %s", w.file, d.Faults, w.code)
		}
	}
}

// TestTheCatalogueKnowsThem holds the names that tools print against the catalogue: those that it has must be found.
func TestTheCatalogueKnowsThem(t *testing.T) {
	c, err := chip.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{
		"MLU370-X8": "cambricon-mlu370-x8", "Iluvatar BI-V100": "iluvatar-bi-v100", "MetaX C500": "metax-c500", "MXC550": "metax-c550", "PPU-ZW810E": "thead-ppu-zw810e",
		"P800 OAM": "kunlunxin-p800", "HL-225": "intel-gaudi2", "MTT S5000": "moorethreads-mtt-s5000", "TPU v6e": "google-tpu-v6e", "910B4-1": "",
		"Intel Data Center GPU Max 1550": "intel-max-1550", "Apple M3 Pro": "", "Hygon DCU": "", "Ascend910": "", "AMD INSTINCT MI200 (MCM) OAM LC MBA HPE C2": "",
	} {
		got, err := c.Find(name)
		if got.ID != id {
			t.Errorf("%s is %q (%v), want %q", name, got.ID, err, id)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, x := range []struct {
		text, unit string
		want       float64
		fault      string
		notes      int
	}{
		{"35C", "C", 35, "", 0}, {"30.0c", "C", 30, "", 0}, {"400 W", "W", 400, "", 0}, {"0", "W", 0, "", 0}, {"512Mib", "MiB", 512, "", 0},
		{"N/A", "C", unknown, "", 0}, {"-", "W", unknown, "", 0}, {"ERR!", "C", unknown, "unreadable", 0}, {"[GPU is lost]", "C", unknown, "device_lost", 0},
		{"0x7f", "", unknown, "", 1}, {"warm", "C", unknown, "", 1}, {"C", "C", unknown, "", 1},
	} {
		var d chip.Device
		got := reading.Number(&d, "it", x.text, x.unit, 1)
		if (got == nil) != (x.want == unknown) || got != nil && *got != x.want || len(d.Notes) != x.notes || len(d.Faults) > 0 != (x.fault != "") {
			t.Errorf("%q: %v %+v", x.text, got, d)
		}
	}
}
