// Package cpu tells of the processor of this machine as of a chip: the cores that this process may keep busy, the vector
// units, the memory, and how fast the memory is, which is measured once and kept.
//
// Rules for callers: cores are counted under the control group's quota (version 2 and 1) and the affinity, rounded up to
// whole ones. Measuring takes a second of every core and up to 384 MiB; it wants a machine that is otherwise idle, or it
// tells what was left over. Tried on Linux on x86-64; elsewhere what the system does not tell is left out.
package cpu

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	xcpu "golang.org/x/sys/cpu"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/internal/confine"
	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
)

// ID is the processor's id in the catalogue, and the class of its cores.
const ID = "cpu"

// Kept is the file in the data directory that keeps the measured bandwidth.
const Kept = "cpu-bandwidth.json"

// Device is the processor without its bandwidth.
func Device() chip.Device {
	name := model(readFile("/proc/cpuinfo"))
	if name == "" {
		name = runtime.GOARCH + " processor"
	}
	d := chip.Device{Make: "CPU", Chip: ID, Name: name, ID: ID, Cores: confine.Cores(), Vector: vector()}
	if m := confine.Memory(); m > 0 {
		v := float64(m)
		d.Memory = &v
	}
	d.Check()
	return d
}

func readFile(path string) string {
	b, err := durable.ReadSmall(path, 1<<20)
	if err != nil {
		return ""
	}
	return string(b)
}

// model is the processor's name in the text of /proc/cpuinfo.
func model(text string) string {
	for s := bufio.NewScanner(strings.NewReader(text)); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	return ""
}

// vector lists the vector units from narrow to wide.
func vector() []string {
	var units []string
	for _, u := range []struct {
		name string
		has  bool
	}{
		{"sse4.2", xcpu.X86.HasSSE42}, {"avx", xcpu.X86.HasAVX}, {"fma", xcpu.X86.HasFMA}, {"avx2", xcpu.X86.HasAVX2}, {"avx512f", xcpu.X86.HasAVX512F},
		{"avx512-vnni", xcpu.X86.HasAVX512VNNI}, {"avx512-bf16", xcpu.X86.HasAVX512BF16}, {"amx-int8", xcpu.X86.HasAMXInt8}, {"amx-bf16", xcpu.X86.HasAMXBF16},
		{"neon", xcpu.ARM64.HasASIMD}, {"dotprod", xcpu.ARM64.HasASIMDDP}, {"sve", xcpu.ARM64.HasSVE}, {"sve2", xcpu.ARM64.HasSVE2},
	} {
		if u.has {
			units = append(units, u.name)
		}
	}
	return units
}

// kept is the form of the file.
type kept struct {
	Model          string    `json:"model"`
	Cores          int       `json:"cores"`
	BytesPerSecond float64   `json:"bytes_per_second"`
	Load           float64   `json:"load"` // of the machine before: what waited for its cores
	At             time.Time `json:"at"`
}

// Bandwidth is the bandwidth of the memory as a figure: the one that dir keeps, or else what measure finds, which dir
// keeps then. A kept one of another processor or another number of cores is measured anew. A dir that is not there, or "",
// keeps nothing and nothing is measured: nil. Anew measures even where one is kept.
func Bandwidth(dir string, d chip.Device, anew bool, now func() time.Time, measure func(cores int) float64) (*chip.Figure, error) {
	if info, err := os.Stat(dir); dir == "" || err != nil || !info.IsDir() {
		return nil, nil
	}
	file := filepath.Join(dir, Kept)
	var k kept
	if b, err := durable.ReadSmall(file, 1<<12); !anew && err == nil && json.Unmarshal(b, &k) == nil && k.Model == d.Name && k.Cores == d.Cores && sound(k.BytesPerSecond) {
		return k.figure(), nil
	}
	before := load(readFile("/proc/loadavg"))
	k = kept{d.Name, d.Cores, measure(d.Cores), before, now().UTC().Truncate(time.Second)}
	if !sound(k.BytesPerSecond) {
		return nil, fault.Newf(fault.Internal, "The memory's bandwidth was measured as %g bytes a second, which cannot be.", k.BytesPerSecond)
	}
	b, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	if err := durable.WriteFile(file, append(b, '\n'), 0o600); err != nil {
		return nil, fault.Wrap(err, "keeping the measured bandwidth")
	}
	return k.figure(), nil
}

// load is the mean of the last minute in the text of /proc/loadavg; 0: unknown.
func load(text string) float64 {
	first, _, _ := strings.Cut(text, " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil || !(v >= 0 && v < 1e6) {
		return 0
	}
	return v
}

func sound(v float64) bool { return v >= 1e8 && v <= 1e14 }

func (k *kept) figure() *chip.Figure {
	return &chip.Figure{Value: k.BytesPerSecond, Unit: chip.BytesPerSecond, Source: "a triad over arrays larger than the caches, measured here on " + k.At.Format(time.DateOnly),
		Confidence: chip.Measured, Note: fmt.Sprintf("%d cores, with a load of %.1f before", k.Cores, k.Load)}
}
