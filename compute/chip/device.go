package chip

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Level is how much has to happen because of a fault: the one ladder that faults of every make map to. A higher level
// includes what the lower ones do.
type Level int

// The ladder.
const (
	Note          Level = iota // nothing; people should know
	RestartTask                // what computed on the device may be wrong: its task starts again
	RestartDevice              // the device needs a reset before it is used again
	Drain                      // the node gets no new work
	Remove                     // the device is to be replaced
)

var levels = []string{"note", "restart task", "restart device", "drain", "remove"}

// String is the level in words.
func (l Level) String() string {
	if l < 0 || int(l) >= len(levels) {
		return fmt.Sprintf("level %d", int(l))
	}
	return levels[l]
}

// MarshalText writes the level in words.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads a level in words.
func (l *Level) UnmarshalText(text []byte) error {
	i := slices.Index(levels, string(text))
	if i < 0 {
		return fault.Newf(fault.Invalid, "There is no level %q; there are %s.", text, strings.Join(levels, ", "))
	}
	*l = Level(i)
	return nil
}

// Fault is something wrong with a device.
type Fault struct {
	Level Level  `json:"level"`
	Code  string `json:"code"` // a word for programs, the same for every make where it means the same
	Says  string `json:"says"`
}

// Device is one device of a node as its vendor's tool tells of it. What the tool does not tell, or tells impossibly, is nil.
type Device struct {
	Make        string       `json:"make"`
	Chip        string       `json:"chip,omitempty"` // id in the catalogue; empty: the catalogue has no such name
	Name        string       `json:"name"`           // as the tool says it
	ID          string       `json:"id"`             // that does not change over restarts
	Index       int          `json:"index"`
	Bus         string       `json:"bus,omitempty"`
	Driver      string       `json:"driver,omitempty"`
	Cores       int          `json:"cores,omitempty"`            // of a processor: as many as this process may keep busy
	Vector      []string     `json:"vector,omitempty"`           // of a processor: the vector units that programs may use
	Memory      *float64     `json:"memory"`                     // bytes
	Used        *float64     `json:"used"`                       // bytes
	Busy        *float64     `json:"busy"`                       // between 0 and 1
	Temperature *float64     `json:"temperature"`                // degrees Celsius
	Power       *float64     `json:"power"`                      // watts now
	PowerLimit  *float64     `json:"power_limit"`                // watts
	Bandwidth   *Figure      `json:"bandwidth"`                  // of the memory, where it was measured here
	OneCore     *Figure      `json:"one_core,omitempty"`         // of a processor: the bandwidth that one core alone gets
	FP32        *Figure      `json:"fp32,omitempty"`             // of a processor: products in single precision, all cores together
	Levels      []CacheLevel `json:"levels,omitempty"`           // of a processor: what one core gets of sets of data that small
	Load        float64      `json:"measured_at_load,omitempty"` // of a processor: threads that wanted a core when it was measured
	Faults      []Fault      `json:"faults"`
	Notes       []string     `json:"notes"` // figures that were left out, and why
}

// Worst is the highest level among the faults; false where there is none.
func (d *Device) Worst() (Level, bool) {
	worst, any := Note, false
	for _, f := range d.Faults {
		worst, any = max(worst, f.Level), true
	}
	return worst, any
}

// Driver reads what a vendor's own tool prints. It exists only where real output of the tool was found.
type Driver interface {
	// Make is the make as the catalogue writes it.
	Make() string
	// Command is the tool with its arguments; it only looks.
	Command() []string
	// Parse reads the tool's output, which may be anything: cut short, translated, of another version. It never panics,
	// guesses nothing, keeps the devices that it could read, and says of the rest what it could not.
	Parse(output []byte) (devices []Device, problems []string)
	// Tried says what the driver was tried on: hardware, recorded output with its source.
	Tried() string
}

// Logged is a Driver whose make tells of faults in the kernel's log, too.
type Logged interface {
	// FromLog reads a line of the log: where on the bus the device is, perhaps without its function, and the fault.
	FromLog(line string) (bus string, f Fault, ok bool)
}

// maxOutput is what is read of a tool's output.
const maxOutput = 4 << 20

// patience is how long a tool may take; one that hangs in a broken driver must not hang the caller.
const patience = 20 * time.Second

// Found is what a driver's tool told.
type Found struct {
	Make     string   `json:"make"`
	Tool     string   `json:"tool"`
	Missing  bool     `json:"missing"` // the tool is not installed
	Tried    string   `json:"tried"`
	Devices  []Device `json:"devices"`
	Problems []string `json:"problems"`
}

// Discover runs each driver's tool and names the devices by the catalogue. It fails only by its context; what a tool
// did wrong is in its Problems.
func Discover(ctx context.Context, c *Catalogue, drivers ...Driver) ([]Found, error) {
	var all []Found
	for _, d := range drivers {
		cmd := d.Command()
		f := Found{Make: d.Make(), Tool: cmd[0], Tried: d.Tried(), Devices: []Device{}, Problems: []string{}}
		out, err := output(ctx, cmd)
		if ctx.Err() != nil {
			return nil, fault.Wrap(ctx.Err(), "looking for chips")
		}
		switch {
		case errors.Is(err, exec.ErrNotFound):
			f.Missing = true
		case err != nil:
			f.Problems = append(f.Problems, fmt.Sprintf("%s failed: %s", cmd[0], err))
			fallthrough // what it printed before may still tell of devices
		default:
			devices, problems := d.Parse(out)
			f.Devices, f.Problems = append(f.Devices, devices...), append(f.Problems, problems...)
		}
		c.nameAll(f.Devices)
		all = append(all, f)
	}
	return all, nil
}

// nameAll gives devices the ids of the catalogue and notes those it does not have.
func (c *Catalogue) nameAll(devices []Device) {
	for i := range devices {
		d := &devices[i]
		if chip, err := c.Find(d.Name); err == nil && chip.Make == d.Make {
			d.Chip = chip.ID
		} else {
			d.Notes = append(d.Notes, "the catalogue has no chip of this name")
		}
	}
}

// hanging are the tools whose process cannot be ended, because it waits in the kernel for a driver that hangs. Starting them again would add
// another such process at each look.
var hanging struct {
	sync.Mutex
	tools map[string]bool
}

// output runs a tool and keeps the beginning of what it prints, in plain English and UTF-8 where it can. It ends all
// processes of a tool that takes too long.
func output(ctx context.Context, command []string) ([]byte, error) {
	hanging.Lock()
	hangs := hanging.tools[command[0]]
	hanging.Unlock()
	if hangs {
		return nil, errHangs
	}
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(patient, command[0], command[1:]...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8", "LANG=C.UTF-8")
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // many tools are scripts
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out limited
	cmd.Stdout = &out
	err := finish(patient, cmd, command[0], grace)
	switch {
	case errors.Is(err, errHangs): // it may still write
		return nil, err
	case err == nil && out.over:
		err = fmt.Errorf("it printed more than %d MiB", maxOutput>>20)
	case err != nil && patient.Err() != nil && ctx.Err() == nil:
		err = fmt.Errorf("it took more than %s and was ended", patience)
	}
	return out.kept, err
}

// grace is how long the end of a process may take that was told to end.
const grace = 3 * time.Second

var errHangs = errors.New("it does not end and cannot be ended, as where its driver hangs in the kernel; it is not started again until it has ended")

// finish runs a command, and leaves it alone where it cannot be ended.
func finish(ctx context.Context, cmd *exec.Cmd, tool string, grace time.Duration) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		hanging.Lock()
		delete(hanging.tools, tool)
		hanging.Unlock()
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
	}
	hanging.Lock()
	defer hanging.Unlock()
	select {
	case err := <-done:
		return err
	default:
	}
	if hanging.tools == nil {
		hanging.tools = map[string]bool{}
	}
	hanging.tools[tool] = true
	return errHangs
}

// limited keeps the first bytes that are written to it.
type limited struct {
	kept []byte
	over bool
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), maxOutput-len(l.kept))
	l.kept, l.over = append(l.kept, p[:n]...), l.over || n < len(p)
	return len(p), nil
}

// maxWord bounds a name that a tool tells.
const maxWord = 128

// word is a text of a tool as it may be kept and shown: of one line, without what would steer a terminal.
func word(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s[:min(len(s), 4*maxWord)])
	return strings.ToValidUTF8(s[:min(len(s), maxWord)], "")
}

// Check leaves out the figures of a device that cannot be, with a note for each, and of its names what cannot be shown. Drivers call it last.
func (d *Device) Check() {
	for _, s := range []*string{&d.Name, &d.ID, &d.Bus, &d.Driver} {
		*s = word(*s)
	}
	leave := func(p **float64, what string, low, high float64) {
		if *p != nil && !(**p >= low && **p <= high) { // so that what is no number fails too
			d.Notes = append(d.Notes, fmt.Sprintf("%s of %g was left out: it cannot be", what, **p))
			*p = nil
		}
	}
	leave(&d.Memory, "memory", bounds[Bytes][0], bounds[Bytes][1])
	most := bounds[Bytes][1]
	if d.Memory != nil {
		most = *d.Memory
	}
	leave(&d.Used, "used memory", 0, most)
	leave(&d.Busy, "utilisation", 0, 1)
	leave(&d.Temperature, "temperature", -60, 250)
	leave(&d.Power, "power", 0, bounds[Watts][1])
	leave(&d.PowerLimit, "power limit", bounds[Watts][0], bounds[Watts][1])
	if d.Faults == nil {
		d.Faults = []Fault{}
	}
	if d.Notes == nil {
		d.Notes = []string{}
	}
	slices.SortStableFunc(d.Faults, func(a, b Fault) int { return int(b.Level - a.Level) })
}
