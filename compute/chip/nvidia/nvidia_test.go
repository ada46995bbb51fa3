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
