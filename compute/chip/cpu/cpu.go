// Package cpu tells of the processor of this machine as of a chip: the cores that this process may keep busy, the vector
// units, the memory, and how fast memory and arithmetic are, which is measured once and kept.
//
// Rules for callers: cores are counted under the control group's quota (version 2 and 1) and the affinity, rounded up to
// whole ones. Measuring takes a second or two of every core and up to 384 MiB; it wants a machine that is otherwise idle, or
// it tells what was left over. Device and Fill together give what chip.Processor takes. Tried on Linux on x86-64; elsewhere
// what the system does not tell is left out.
package cpu

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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
const ID = chip.ProcessorID

// Kept is the file in the data directory that keeps the measured figures.
const Kept = "cpu-bandwidth.json"

// Device is the processor without what is measured.
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

// Measure finds the figures of so many cores together. Where Bandwidth is nil nothing is measured: what is kept counts.
type Measure struct {
	Bandwidth func(cores int) float64  // of the memory, bytes a second; see Triad
	FP32      func(cores int) float64  // of products in single precision, operations a second
	How       string                   // what FP32 runs, for its source
	Levels    func() []chip.CacheLevel // of one core; nil: unknown
}

// kept is the form of the file.
type kept struct {
	Model          string            `json:"model"`
	Cores          int               `json:"cores"`
	BytesPerSecond float64           `json:"bytes_per_second"`
	OneCore        float64           `json:"one_core_bytes_per_second"`
	FP32           float64           `json:"fp32_ops_per_second"`
	How            string            `json:"fp32_by"`
	Levels         []chip.CacheLevel `json:"levels,omitempty"`
	Load           float64           `json:"load"` // of the machine before: what waited for its cores
	At             time.Time         `json:"at"`
}

// Fill gives the device its measured figures: those that dir keeps, or else what m finds, which dir keeps then. Kept
// ones of another processor, another number of cores or another way of measuring are measured anew. A dir that is not
// there, or "", keeps nothing and nothing is measured. Anew measures even where figures are kept.
func Fill(dir string, d *chip.Device, anew bool, now func() time.Time, m Measure) error {
	if info, err := os.Stat(dir); dir == "" || err != nil || !info.IsDir() {
		return nil
	}
	file := filepath.Join(dir, Kept)
	var k kept
	b, err := durable.ReadSmall(file, 1<<12)
	if anew || err != nil || json.Unmarshal(b, &k) != nil || !k.of(d, m.How) {
		if m.Bandwidth == nil {
			return nil
		}
		k = kept{Model: d.Name, Cores: d.Cores, How: m.How, Load: Load(), At: now().UTC().Truncate(time.Second)}
		k.BytesPerSecond, k.OneCore, k.FP32 = m.Bandwidth(d.Cores), m.Bandwidth(1), m.FP32(d.Cores)
		if m.Levels != nil {
			k.Levels = m.Levels()
		}
		if !k.of(d, m.How) {
			return fault.Newf(fault.Internal, "The processor was measured at %g bytes and %g operations a second, which cannot be.", k.BytesPerSecond, k.FP32)
		}
		if b, err = json.Marshal(k); err != nil {
			return err
		}
		if err := durable.WriteFile(file, append(b, '\n'), 0o600); err != nil {
			return fault.Wrap(err, "keeping the measured figures")
		}
	}
	k.fill(d)
	return nil
}

// of says whether the figures are whole, possible, and this device's.
func (k *kept) of(d *chip.Device, how string) bool {
	for _, l := range k.Levels {
		if !sound(l.Bandwidth) || !(l.Bytes >= 1 && l.Bytes < 1e15) {
			return false
		}
	}
	return k.Model == d.Name && k.Cores == d.Cores && k.How == how && sound(k.BytesPerSecond) && sound(k.OneCore) && sound(k.FP32) && len(k.Levels) <= 16
}

func (k *kept) fill(d *chip.Device) {
	figure := func(v float64, u chip.Unit, how string, cores int) *chip.Figure {
		return &chip.Figure{Value: v, Unit: u, Source: how + ", measured here on " + k.At.Format(time.DateOnly),
			Confidence: chip.Measured, Note: fmt.Sprintf("%d cores, with a load of %.1f before", cores, k.Load)}
	}
	const triad = "a triad over arrays larger than the caches"
	d.Bandwidth, d.OneCore = figure(k.BytesPerSecond, chip.BytesPerSecond, triad, k.Cores), figure(k.OneCore, chip.BytesPerSecond, triad, 1)
	d.Levels, d.Load = slices.Clone(k.Levels), k.Load
	d.FP32 = figure(k.FP32, chip.OpsPerSecond, k.How, k.Cores)
}

// Load is how many threads wanted a core of this machine in the mean of the last minute; 0: unknown.
func Load() float64 { return load(readFile("/proc/loadavg")) }

// load is the mean of the last minute in the text of /proc/loadavg; 0: unknown.
func load(text string) float64 {
	first, _, _ := strings.Cut(text, " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil || !(v >= 0 && v < 1e6) {
		return 0
	}
	return v
}

func sound(v float64) bool { return v >= 1e8 && v <= 1e15 }
