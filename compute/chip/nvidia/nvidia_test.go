package nvidia

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/chiptest"
)

func samples(t testing.TB) []chiptest.Sample {
	recorded, err := os.ReadFile("testdata/rtx2080super-466.63.csv")
	if err != nil {
		t.Fatal(err)
	}
	return []chiptest.Sample{{Name: "RTX 2080 SUPER, driver 466.63", Output: recorded, Devices: 1}}
}

func TestSuite(t *testing.T) { chiptest.Run(t, Driver{}, samples(t)...) }

func FuzzParse(f *testing.F) { chiptest.Fuzz(f, Driver{}, samples(f)...) }

// The columns that the driver asks for, in the form of the recorded ones; the values are made up.
const asked = `index, uuid, name, pci.bus_id, driver_version, memory.total [MiB], memory.used [MiB], utilization.gpu [%], temperature.gpu, power.draw [W], power.limit [W], ecc.errors.uncorrected.volatile.total, retired_pages.pending
0, GPU-00000000-aaaa, NVIDIA H200, 00000000:01:00.0, 580.1, 143771 MiB, 10 MiB, 97 %, 61, 685.00 W, 700.00 W, 0, [N/A]
1, GPU-00000000-bbbb, NVIDIA H200, 00000000:02:00.0, 580.1, 143771 MiB, 200000 MiB, 250 %, 61, [Unknown Error], 700.00 W, 3, Yes
`

func TestWhatIsAskedIsRead(t *testing.T) {
	for c := range strings.SplitSeq(columns, ",") {
		if !strings.Contains(asked, c) {
			t.Errorf("%s is asked for and not in the test", c)
		}
	}
	devices, problems := Driver{}.Parse([]byte(asked))
	if len(devices) != 2 || len(problems) > 0 {
		t.Fatalf("%+v %v", devices, problems)
	}
	a, b := devices[0], devices[1]
	if *a.Memory != 143771<<20 || *a.Used != 10<<20 || *a.Busy != 0.97 || *a.Power != 685 || *a.PowerLimit != 700 || a.Driver != "580.1" || len(a.Faults)+len(a.Notes) > 0 {
		t.Errorf("%+v", a)
	}
	if b.Used != nil || b.Busy != nil || b.Power != nil || len(b.Notes) != 2 {
		t.Errorf("figures that cannot be: %+v", b)
	}
	var levels []chip.Level
	for _, f := range b.Faults {
		levels = append(levels, f.Level)
	}
	if !slices.Equal(levels, []chip.Level{chip.Drain, chip.RestartDevice, chip.RestartTask}) {
		t.Errorf("the ladder from the top: %v", b.Faults)
	}
	if worst, ok := b.Worst(); !ok || worst != chip.Drain || worst.String() != "drain" {
		t.Errorf("%v", worst)
	}
}

// A device that the tool cannot reach is told beside the others, by its place on the bus.
func TestDevicesThatCannotBeReached(t *testing.T) {
	text := "Unable to determine the device handle for GPU 0000:02:00.0: GPU is lost.  Reboot the system to recover this GPU\n" +
		"Unable to determine the device handle for GPU0000:07:00.0: Unknown Error\n" + asked
	devices, problems := Driver{}.Parse([]byte(text))
	if len(devices) != 4 || len(problems) > 0 || devices[0].Bus != "0000:02:00.0" || devices[1].ID != "0000:07:00.0" || devices[2].Name != "NVIDIA H200" {
		t.Fatalf("%+v %v", devices, problems)
	}
	a, _ := devices[0].Worst()
	b, _ := devices[1].Worst()
	if a != chip.Remove || b != chip.Drain {
		t.Errorf("%v %v", a, b)
	}
	if d, p := (Driver{}).Parse([]byte(text[:strings.Index(text, "index,")])); len(d) != 2 || len(p) > 0 {
		t.Errorf("only lost ones: %+v %v", d, p)
	}
}

// Newer editions leave values out, and parts of a divided device have ids of their own.
func TestStatesInPlaceOfValues(t *testing.T) {
	text := strings.SplitAfterN(asked, "\n", 2)[0] +
		"0, GPU-00000000-aaaa, NVIDIA A100-SXM4-80GB, 00000000:01:00.0, 535.1, 81920 MiB, 10 MiB, [N/A], 61, 85.00 W, 400.00 W, 0, [N/A]\n" +
		"1, GPU-00000000-bbbb, NVIDIA A100-SXM4-80GB, 00000000:02:00.0, 535.1, [GPU is lost], [GPU is lost], [GPU is lost], [GPU is lost], [GPU is lost], [GPU is lost], [GPU is lost], [GPU is lost]\n" +
		"2, MIG-41b3359c-e721-56e5-8009-12e5797ed514, NVIDIA A100-SXM4-80GB MIG 3g.40gb, 00000000:03:00.0, 535.1, 40192 MiB, 1 MiB, [N/A], ERR!, [N/A], [N/A], [N/A], [N/A]\n"
	devices, problems := Driver{}.Parse([]byte(text))
	if len(devices) != 3 || len(problems) > 0 || devices[0].Busy != nil || len(devices[0].Notes) > 0 {
		t.Fatalf("%+v %v", devices, problems)
	}
	if w, _ := devices[1].Worst(); w != chip.Remove || devices[1].Memory != nil {
		t.Errorf("%+v", devices[1])
	}
	if w, _ := devices[2].Worst(); w != chip.Drain {
		t.Errorf("%+v", devices[2])
	}
}

func TestXid(t *testing.T) {
	for line, want := range map[string]struct {
		bus   string
		level chip.Level
		code  string
	}{
		"May 18 19:02:39 kernel: NVRM: Xid (PCI:0000:2b:00): 79, GPU has fallen off the bus.":              {"0000:2b:00", chip.Remove, "device_lost"},
		"[ 5107.644336] NVRM: Xid (PCI:0000:03:00): 94, pid=1, name=x, Contained":                          {"0000:03:00", chip.RestartTask, "memory_contained"},
		"NVRM: Xid (0000:01:00): 3, C 00000005 SC 00000007":                                                {"0000:01:00", chip.Note, "xid_other"},
		"NVRM: Xid (PCI:0000:3B:00): 119, pid=2, Timeout waiting for RPC from GSP!":                        {"0000:3b:00", chip.RestartDevice, "controller_silent"},
		"NVRM: Xid (PCI:0000:3B:00): 13, Graphics SM Warp Exception on (GPC 0, TPC 0, SM 0): Out Of Range": {"0000:3b:00", chip.Note, "program_fault"},
		"NVRM: GPU 0000:2b:00.0: GPU has fallen off the bus.":                                              {},
		"NVRM: Xid (PCI:0000:2b:00): 99999999999999999999, overflow":                                       {},
		"somebody writes NVRM: Xid (PCI:nonsense): 79, ":                                                   {},
	} {
		bus, f, ok := Driver{}.FromLog(line)
		if bus != want.bus || ok != (want.bus != "") || ok && (f.Level != want.level || f.Code != want.code) {
			t.Errorf("%q: %q %+v %v", line, bus, f, ok)
		}
	}
}

func FuzzFromLog(f *testing.F) {
	f.Add("NVRM: Xid (PCI:0000:2b:00): 79, GPU has fallen off the bus.")
	f.Fuzz(func(t *testing.T, line string) {
		if bus, fault, ok := (Driver{}).FromLog(line); ok && (bus == "" || fault.Code == "" || fault.Says == "") {
			t.Errorf("%q: %q %+v", line, bus, fault)
		}
	})
}
