package health

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/compute/chip"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// world is a machine whose tool tells what the test says, with a board that goes through its stored form between scans, as after a kill.
type world struct {
	t     *testing.T
	board Board
	scans int
	log   Log
}

func gpu(i int, faults ...chip.Fault) chip.Device {
	d := chip.Device{Make: "NVIDIA", Chip: "nvidia-h100-sxm", Name: "NVIDIA H100 80GB HBM3", ID: fmt.Sprintf("GPU-0000000%d", i), Index: i, Bus: fmt.Sprintf("00000000:0%d:00.0", i), Faults: faults}
	return d
}

var (
	note    = chip.Fault{Level: chip.Note, Code: "n", Says: "a note"}
	errs    = chip.Fault{Level: chip.RestartTask, Code: "memory_uncorrected", Says: "1 error"}
	reset   = chip.Fault{Level: chip.RestartDevice, Code: "reset_needed", Says: "it needs a reset"}
	drain   = chip.Fault{Level: chip.Drain, Code: "unreadable", Says: "it cannot be read"}
	gone    = chip.Fault{Level: chip.Remove, Code: "device_lost", Says: "it is lost"}
	xidLine = "NVRM: Xid (PCI:0000:01:00): %d, x"
)

// logger reads lines of the log as the driver of the make does.
type logger struct{}

func (logger) Make() string                           { return "NVIDIA" }
func (logger) Command() []string                      { return nil }
func (logger) Tried() string                          { return "" }
func (logger) Parse([]byte) ([]chip.Device, []string) { return nil, nil }
func (logger) FromLog(line string) (string, chip.Fault, bool) {
	switch line {
	case fmt.Sprintf(xidLine, 79):
		return "0000:01:00", gone, true
	case fmt.Sprintf(xidLine, 94):
		return "0000:01:00", errs, true
	}
	return "", chip.Fault{}, false
}

func (w *world) scan(devices ...chip.Device) []Event {
	return w.found(chip.Found{Make: "NVIDIA", Tool: "nvidia-smi", Devices: devices})
}

func (w *world) found(f ...chip.Found) []Event {
	w.scans++
	text, err := json.Marshal(w.board)
	if err != nil {
		w.t.Fatal(err)
	}
	w.board = Board{}
	if err := json.Unmarshal(text, &w.board); err != nil {
		w.t.Fatal(err)
	}
	events, _ := w.board.Observe(Scan{At: w.now(), Host: "here", Found: f, Log: w.log, Logged: []chip.Logged{logger{}}})
	return events
}

func (w *world) now() time.Time { return noon.Add(time.Duration(w.scans) * time.Minute) }

func (w *world) slot(i int) *Slot { return &w.board.Nodes[0].Slots[i] }

func codes(events []Event) (list []string) {
	for _, e := range events {
		list = append(list, fmt.Sprintf("%d:%s", e.Slot, e.Code))
	}
	return list
}

func TestDevicesAreFoundOnceAndKeepTheirPlaces(t *testing.T) {
	w := &world{t: t}
	if got := codes(w.scan(gpu(1), gpu(2))); !slices.Equal(got, []string{"0:device_found", "1:device_found"}) {
		t.Fatal(got)
	}
	if n := w.board.Nodes[0]; n.Name != "here-nvidia-h100-sxm" || n.Class != "nvidia-h100-sxm" {
		t.Errorf("%+v", n)
	}
	moved := gpu(2)
	moved.Index = 0
	if got := w.scan(moved, gpu(3)); w.slot(0).ID != "GPU-00000001" || w.slot(1).Index != 0 || w.slot(2).ID != "GPU-00000003" || len(got) != 1 {
		t.Errorf("%+v %v", w.board.Nodes[0], got)
	}
}

// What each rung of the ladder does, and that it does it once.
func TestLadder(t *testing.T) {
	for _, x := range []struct {
		fault            chip.Fault
		restart, out, dr bool
	}{{note, false, false, false}, {errs, true, false, false}, {reset, true, true, false}, {drain, true, true, true}, {gone, true, true, false}} {
		w := &world{t: t}
		w.scan(gpu(1), gpu(2))
		events := w.scan(gpu(1, x.fault), gpu(2))
		s := *w.slot(0)
		if got := codes(events); !slices.Equal(got, []string{"0:" + x.fault.Code}) {
			t.Errorf("%s: %v", x.fault.Level, got)
		}
		if s.Restart.Equal(w.now()) != x.restart || s.Out != "" != x.out || w.board.Nodes[0].Drain != "" != x.dr || w.slot(1).Out != "" || !w.slot(1).Restart.IsZero() {
			t.Errorf("%s: %+v", x.fault.Level, w.board.Nodes[0])
		}
		w.board.Nodes[0].Done = x.dr
		at := s.Restart
		for range 5 {
			if got := w.scan(gpu(1, x.fault), gpu(2)); len(got) > 0 || !w.slot(0).Restart.Equal(at) {
				t.Errorf("%s: again: %v", x.fault.Level, codes(got))
			}
		}
		if x.dr && !w.board.Nodes[0].Done {
			t.Error("it would drain twice")
		}
	}
}

func TestMoreErrorsRestartAgain(t *testing.T) {
	w := &world{t: t}
	w.scan(gpu(1, errs))
	more := errs
	more.Says = "2 errors"
	if got := w.scan(gpu(1, more)); len(got) != 1 || !w.slot(0).Restart.Equal(w.now()) {
		t.Errorf("%v", got)
	}
	w.scan(gpu(1))
	if got := w.scan(gpu(1, more)); len(got) != 1 {
		t.Errorf("it went and came back: %v", got)
	}
}

func TestADeviceIsGoneOnlyAfterTwoScans(t *testing.T) {
	w := &world{t: t}
	w.scan(gpu(1), gpu(2))
	if w.scan(gpu(1)); w.slot(1).Out != "" {
		t.Error("one scan that does not name it took it away")
	}
	if got := codes(w.scan(gpu(1))); w.slot(1).Out == "" || !slices.Equal(got, []string{"1:device_gone"}) {
		t.Errorf("%v %+v", got, w.slot(1))
	}
	at := w.slot(1).Restart
	for range 3 {
		if got := w.scan(gpu(1)); len(got) > 0 {
			t.Error(codes(got))
		}
	}
	for i := range wellAfter {
		if w.slot(1).Out == "" {
			t.Errorf("it takes work again after %d scans", i)
		}
		w.scan(gpu(1), gpu(2))
	}
	if w.slot(1).Out != "" || !w.slot(1).Restart.Equal(at) {
		t.Errorf("%+v", w.slot(1))
	}
}

// A device that is put in for one that is gone takes its number, on which nothing of the old one is held against it.
func TestAReplacedDevice(t *testing.T) {
	w := &world{t: t}
	w.scan(gpu(1), gpu(2), gpu(3))
	w.scan(gpu(1), gpu(3))
	if w.scan(gpu(1), gpu(3), gpu(4)); w.slot(1).ID != "GPU-00000002" { // it may still come back
		t.Fatalf("%+v", w.board.Nodes[0].Slots)
	}
	if len(w.board.Nodes[0].Slots) != 4 || w.slot(3).ID != "GPU-00000004" {
		t.Errorf("%+v", w.board.Nodes[0].Slots)
	}
	fell := w.slot(1).Restart
	if w.scan(gpu(1), gpu(3), gpu(4), gpu(5)); w.slot(1).ID != "GPU-00000005" || w.slot(1).Out != "" || !w.slot(1).Restart.Equal(fell) || len(w.board.Nodes[0].Slots) != 4 {
		t.Errorf("%+v", w.board.Nodes[0].Slots)
	}
	if w.scan(gpu(1), gpu(2), gpu(3), gpu(4), gpu(5)); w.slot(4).ID != "GPU-00000002" {
		t.Errorf("the old one comes back: %+v", w.board.Nodes[0].Slots)
	}
}

// A tool that fails, is gone, or says that it could not read everything takes no device away.
func TestAToolThatFailsTakesNothingAway(t *testing.T) {
	w := &world{t: t}
	w.scan(gpu(1), gpu(2))
	var all []string
	for range 10 {
		all = append(all, codes(w.found(chip.Found{Make: "NVIDIA", Tool: "nvidia-smi", Missing: true}))...)
		w.found(chip.Found{Make: "NVIDIA", Tool: "nvidia-smi", Problems: []string{"it hung"}})
		w.found()
		w.found(chip.Found{Make: "NVIDIA", Tool: "nvidia-smi", Devices: []chip.Device{gpu(1)}, Problems: []string{"line 3 is cut short"}})
	}
	if w.slot(0).Out+w.slot(1).Out != "" || w.slot(1).Missing > 0 {
		t.Errorf("%+v", w.board.Nodes[0])
	}
	for range 4 {
		all = append(all, codes(w.found(chip.Found{Make: "NVIDIA", Tool: "nvidia-smi", Missing: true}))...)
	}
	if !slices.Equal(all, []string{"0:tool_silent", "1:tool_silent"}) {
		t.Errorf("%v", all)
	}
}

// A device that only its place on the bus is told of is the one that was there.
func TestADeviceThatTheToolCannotReach(t *testing.T) {
	w := &world{t: t}
	w.scan(gpu(1), gpu(2))
	lost := chip.Device{Make: "NVIDIA", Name: "NVIDIA device", ID: "0000:01:00.0", Bus: "0000:01:00.0", Faults: []chip.Fault{gone}}
	unknown := chip.Device{Make: "NVIDIA", Name: "NVIDIA device", ID: "0000:09:00.0", Bus: "0000:09:00.0", Faults: []chip.Fault{gone}}
	w.scan(lost, unknown, gpu(2))
	if len(w.board.Nodes) != 1 || len(w.board.Nodes[0].Slots) != 2 || w.slot(0).Out == "" || w.slot(0).ID != "GPU-00000001" || w.slot(1).Out != "" {
		t.Errorf("%+v", w.board.Nodes)
	}
}

// One that goes out again and again stays out until somebody resumes it.
func TestFlappingIsDamped(t *testing.T) {
	w := &world{t: t}
	w.scan(gpu(1))
	for i := range flaps {
		w.scan(gpu(1, reset))
		if w.slot(0).Stays != (i == flaps-1) {
			t.Errorf("fall %d: %+v", i, w.slot(0))
		}
		for range wellAfter + 2 {
			w.scan(gpu(1))
		}
	}
	if w.slot(0).Out == "" {
		t.Error("it takes work")
	}
	if !w.board.Resume("here-nvidia-h100-sxm") || w.board.Resume("elsewhere") {
		t.Error("resumed")
	}
	if w.scan(gpu(1)); w.slot(0).Out != "" || w.slot(0).Stays {
		t.Errorf("%+v", w.slot(0))
	}
}

// A device whose errors grow would have work begin anew for ever: it goes out, and stays out until somebody resumes it.
func TestADeviceThatKeepsFailingGoesOut(t *testing.T) {
	w := &world{t: t}
	more := errs
	for i := range mostHits {
		if s := more.Says; w.scan(gpu(1)) != nil && i > 0 && w.slot(0).Out != "" {
			t.Fatalf("out after %d of %s", i, s)
		}
		more.Says = fmt.Sprintf("%d errors", i+1)
		w.scan(gpu(1, more))
	}
	if s := w.slot(0); s.Out == "" || w.board.Events[len(w.board.Events)-1].Code != failing {
		t.Fatalf("%+v", s)
	}
	for range wellAfter + 2 {
		w.scan(gpu(1))
	}
	if w.slot(0).Out == "" {
		t.Error("it takes work again by itself")
	}
	if w.board.Resume("here-nvidia-h100-sxm"); w.slot(0).Out != "" {
		t.Errorf("%+v", w.slot(0))
	}
	if w.scan(gpu(1)); w.slot(0).Out != "" {
		t.Errorf("%+v", w.slot(0))
	}
}

// A fault in spite of which somebody resumed the device keeps it out no more, until it changes.
func TestResumedInSpiteOfAFault(t *testing.T) {
	w := &world{t: t}
	w.scan(gpu(1, drain))
	w.board.Nodes[0].Done = true
	w.board.Resume(w.board.Nodes[0].Name)
	for range 3 {
		if got := w.scan(gpu(1, drain)); len(got) > 0 || w.slot(0).Out != "" || w.board.Nodes[0].Drain != "" {
			t.Fatalf("%v %+v", codes(got), w.board.Nodes[0])
		}
	}
	other := drain
	other.Says = "it cannot be read at all"
	if w.scan(gpu(1, other)); w.slot(0).Out == "" || w.board.Nodes[0].Drain == "" {
		t.Errorf("%+v", w.board.Nodes[0])
	}
}

// Lines of the kernel's log count once; what they say of a device holds until the machine starts anew.
func TestTheLogOfTheKernel(t *testing.T) {
	w := &world{t: t}
	w.scan(gpu(1), gpu(2))
	w.log = Log{"boot-1", []Line{{5, "noise"}, {6, fmt.Sprintf(xidLine, 94)}}}
	if got := codes(w.scan(gpu(1), gpu(2))); !slices.Equal(got, []string{"0:memory_uncorrected"}) || w.slot(0).Restart.IsZero() || w.slot(0).Out != "" {
		t.Errorf("%v %+v", got, w.slot(0))
	}
	at := w.slot(0).Restart
	if got := w.scan(gpu(1), gpu(2)); len(got) > 0 || !w.slot(0).Restart.Equal(at) {
		t.Errorf("read again: %v", got)
	}
	w.log.Lines = append(w.log.Lines, Line{7, fmt.Sprintf(xidLine, 79)})
	if got := codes(w.scan(gpu(1), gpu(2))); !slices.Equal(got, []string{"0:device_lost"}) {
		t.Errorf("%v", got)
	}
	for range 10 {
		if w.scan(gpu(1), gpu(2)); w.slot(0).Out == "" {
			t.Fatal("it takes work though the log says that it was lost")
		}
	}
	w.log = Log{"boot-2", nil}
	for range wellAfter + 1 {
		w.scan(gpu(1), gpu(2))
	}
	if w.slot(0).Out != "" {
		t.Errorf("%+v", w.slot(0))
	}
}

func TestClassesDeclaredByHandAreNotFound(t *testing.T) {
	var b Board
	b.Observe(Scan{At: noon, Host: "here", Found: []chip.Found{{Make: "NVIDIA", Tool: "nvidia-smi", Devices: []chip.Device{gpu(1)}}}, Hand: func(c string) bool { return c == "nvidia-h100-sxm" }})
	if len(b.Nodes) > 0 {
		t.Errorf("%+v", b.Nodes)
	}
}

func TestClassesOfUnknownNames(t *testing.T) {
	for _, x := range [][3]string{{"Hygon", "Hygon DCU", "hygon-dcu"}, {"Huawei", "Ascend910", "huawei-ascend910"}, {"AMD", "AMD INSTINCT MI200 (MCM) OAM", "amd-instinct-mi200-mcm-oam"}, {"Enflame", "云燧", "enflame"},
		{"NVIDIA", strings.Repeat("x", 99), "nvidia-" + strings.Repeat("x", 33)}} {
		if got := ClassOf(&chip.Device{Make: x[0], Name: x[1]}); got != x[2] {
			t.Errorf("%v: %q", x, got)
		}
	}
}

// Whatever a tool tells, in whatever order: the board stays within its bounds, places never move, the same scan again tells nothing
// new, and its stored form is the same board.
func TestAnyScans(t *testing.T) {
	faults := []chip.Fault{note, errs, reset, drain, gone}
	rapid.Check(t, func(r *rapid.T) {
		var b Board
		places := map[string]int{}
		for i := range rapid.IntRange(1, 12).Draw(r, "scans") {
			var f chip.Found
			f.Make, f.Tool = "NVIDIA", "nvidia-smi"
			for _, k := range rapid.SliceOfNDistinct(rapid.IntRange(0, 9), 0, 6, rapid.ID[int]).Draw(r, "devices") {
				f.Devices = append(f.Devices, gpu(k, rapid.SliceOfN(rapid.SampledFrom(faults), 0, 2).Draw(r, "faults")...))
			}
			if rapid.IntRange(0, 5).Draw(r, "broken") == 0 {
				f.Problems = []string{"something"}
			}
			at := noon.Add(time.Duration(i) * time.Hour)
			s := Scan{At: at, Host: "here", Found: []chip.Found{f}}
			b.Observe(s)
			now := map[string]int{}
			for _, n := range b.Nodes {
				for k, x := range n.Slots {
					if was, ok := places[x.ID]; ok && was != k {
						r.Fatalf("%s moved from %d to %d", x.ID, was, k)
					}
					now[x.ID] = k
					if x.Out == "" && x.Missing >= goneAfter || len(x.Falls) > 30 {
						r.Fatalf("%+v", x)
					}
				}
			}
			places = now // one whose place another took begins anew
			var again Board
			text, _ := json.Marshal(b)
			if err := json.Unmarshal(text, &again); err != nil {
				r.Fatal(err)
			}
			if len(f.Devices) > 0 { // the same once more
				before := len(b.Events)
				events, _ := again.Observe(s)
				for _, e := range events {
					if e.Code != "device_gone" && e.Code != "device_well" && e.Code != "flapping" { // what counts scans may fall due
						r.Fatalf("scan %d tells %+v again (%d events before)", i, e, before)
					}
				}
			}
		}
	})
}

func TestSameBus(t *testing.T) {
	for _, x := range []struct {
		a, b string
		same bool
	}{{"00000000:2B:00.0", "0000:2b:00", true}, {"0000:2b:00.0", "0000:2b:00.0", true}, {"0000:2b:00.0", "0000:2c:00.0", false}, {"", "", false}, {"0001:2b:00.0", "0000:2b:00.0", false}} {
		if sameBus(x.a, x.b) != x.same {
			t.Errorf("%v", x)
		}
	}
}
