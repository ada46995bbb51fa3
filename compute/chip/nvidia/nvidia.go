// Package nvidia reads nvidia-smi's list of values for NVIDIA's devices.
//
// Rules for callers: it was tried on recorded output alone (Tried says which), on no hardware here. Columns are found by
// the names in the first line, so their order may change and further ones may come. A device that the tool cannot reach
// has its place on the bus for an id. Errors that only the kernel's log knows are read from its lines (FromLog).
package nvidia

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/compute/chip"
)

// Driver is the driver; its zero value works.
type Driver struct{}

// Make is NVIDIA.
func (Driver) Make() string { return "NVIDIA" }

// columns are asked for; all of them are known since driver 465.
const columns = "index,uuid,name,pci.bus_id,driver_version,memory.total,memory.used,utilization.gpu,temperature.gpu,power.draw,power.limit,ecc.errors.uncorrected.volatile.total,retired_pages.pending"

// Command asks nvidia-smi for values with a heading and units.
func (Driver) Command() []string {
	return []string{"nvidia-smi", "--query-gpu=" + columns, "--format=csv"}
}

// Tried names the recorded output.
func (Driver) Tried() string {
	return "recorded output of nvidia-smi 466.63 (GeForce RTX 2080 SUPER), printed in utkuozdemir/nvidia_gpu_exporter internal/exporter/testdata/query.txt; on no hardware"
}

const (
	maxDevices = 1024
	maxCell    = 256
)

// Parse reads the list. A line that is cut or does not fit the heading is left out and told.
func (Driver) Parse(output []byte) ([]chip.Device, []string) {
	text := bytes.TrimPrefix(output, []byte("\ufeff"))
	if !utf8.Valid(text) {
		return nil, []string{"the output of nvidia-smi is not text"}
	}
	rest, gone := lost(string(text))
	if len(gone) > 0 && strings.TrimSpace(rest) == "" {
		return gone, nil
	}
	whole := strings.HasSuffix(rest, "\n")
	r := csv.NewReader(strings.NewReader(rest))
	r.FieldsPerRecord, r.TrimLeadingSpace, r.LazyQuotes = -1, true, true
	head, err := r.Read()
	if err != nil {
		return nil, []string{"nvidia-smi printed nothing that could be read"}
	}
	at := map[string]int{}
	for i, h := range head {
		name, _, _ := strings.Cut(strings.TrimSpace(h), " ")
		at[name] = i
	}
	for _, need := range []string{"uuid", "name", "index"} {
		if _, ok := at[need]; !ok {
			return nil, []string{fmt.Sprintf("the output of nvidia-smi has no column %s: it is cut short, translated or of another version; it begins with %q", need, begin(head[0]))}
		}
	}
	p := parser{at: at, head: len(head), seen: map[string]bool{}, devices: gone}
	for line := 2; ; line++ {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(p.devices) == maxDevices {
			p.problem("nothing from line %d of the output of nvidia-smi on was read", line)
			break
		}
		last := !whole && r.InputOffset() >= int64(len(rest))
		p.row(row, line, last)
	}
	if len(p.devices) == 0 && len(p.problems) == 0 {
		p.problem("nvidia-smi names no device")
	}
	return p.devices, p.problems
}

func begin(s string) string {
	r := []rune(s)
	return string(r[:min(len(r), 40)])
}

type parser struct {
	at       map[string]int
	head     int
	seen     map[string]bool
	devices  []chip.Device
	problems []string
}

func (p *parser) problem(format string, args ...any) {
	if len(p.problems) < 20 {
		p.problems = append(p.problems, fmt.Sprintf(format, args...))
	}
}

// idForm is what nvidia-smi calls a device: a whole one or a part of one.
var idForm = regexp.MustCompile(`^(GPU|MIG)-[0-9A-Za-z/-]{8,120}$`)

// row reads a device; cut says that the output ends within it.
func (p *parser) row(row []string, line int, cut bool) {
	if len(row) != p.head || cut {
		p.problem("line %d of the output of nvidia-smi is cut short or does not fit its heading", line)
		return
	}
	cell := func(name string) string {
		if i, ok := p.at[name]; ok && len(row[i]) <= maxCell {
			return strings.TrimSpace(row[i])
		}
		return ""
	}
	d := chip.Device{Make: "NVIDIA", Name: cell("name"), ID: cell("uuid"), Bus: told(cell("pci.bus_id")), Driver: told(cell("driver_version"))}
	index, err := strconv.Atoi(cell("index"))
	switch {
	case !idForm.MatchString(d.ID):
		p.problem("line %d of the output of nvidia-smi has no uuid but %q", line, begin(d.ID))
		return
	case p.seen[d.ID]:
		p.problem("line %d of the output of nvidia-smi names %s again", line, d.ID)
		return
	case d.Name == "" || err != nil || index < 0 || index > 1<<16:
		p.problem("line %d of the output of nvidia-smi has no name or no index", line)
		return
	}
	p.seen[d.ID], d.Index = true, index
	d.Memory = number(&d, "memory.total", cell("memory.total"), "MiB", 1<<20)
	d.Used = number(&d, "memory.used", cell("memory.used"), "MiB", 1<<20)
	d.Busy = number(&d, "utilization.gpu", cell("utilization.gpu"), "%", 0.01)
	d.Temperature = number(&d, "temperature.gpu", cell("temperature.gpu"), "", 1)
	d.Power = number(&d, "power.draw", cell("power.draw"), "W", 1)
	d.PowerLimit = number(&d, "power.limit", cell("power.limit"), "W", 1)
	if n := number(&d, "ecc.errors.uncorrected.volatile.total", cell("ecc.errors.uncorrected.volatile.total"), "", 1); n != nil && *n > 0 {
		d.Faults = append(d.Faults, chip.Fault{Level: chip.RestartTask, Code: "memory_uncorrected", Says: fmt.Sprintf("%g memory errors since its driver was loaded could not be corrected", *n)})
	}
	if strings.EqualFold(cell("retired_pages.pending"), "Yes") {
		d.Faults = append(d.Faults, chip.Fault{Level: chip.RestartDevice, Code: "memory_retiring", Says: "pages of its memory are out of use after the next reset, and in use until then"})
	}
	d.Check()
	p.devices = append(p.devices, d)
}

// states are what nvidia-smi prints instead of a value, and what follows from them; the empty ones say that there is none.
var states = map[string]chip.Fault{
	"[N/A]": {}, "N/A": {}, "[Not Supported]": {}, "[Not Found]": {}, "[Insufficient Permissions]": {},
	"[GPU requires reset]": {Level: chip.RestartDevice, Code: "reset_needed", Says: "the tool says that the device needs a reset"},
	"[GPU is lost]":        {Level: chip.Remove, Code: "device_lost", Says: "the tool says that the device is lost"},
	"[Unknown Error]":      {Level: chip.Drain, Code: "unreadable", Says: "the tool cannot read the device"},
	"ERR!":                 {Level: chip.Drain, Code: "unreadable", Says: "the tool cannot read the device"},
}

// told is a text, or nothing where the tool prints a state.
func told(s string) string {
	if _, ok := states[s]; ok {
		return ""
	}
	return s
}

// number reads a value with its unit, nil where there is none.
func number(d *chip.Device, column, s, unit string, factor float64) *float64 {
	if s == "" {
		return nil
	}
	if f, ok := states[s]; ok {
		if f.Code != "" && !has(d.Faults, f.Code) {
			d.Faults = append(d.Faults, f)
		}
		return nil
	}
	digits, suffix, _ := strings.Cut(s, " ")
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || suffix != unit || strings.ContainsAny(digits, "xX_") {
		d.Notes = append(d.Notes, fmt.Sprintf("%s was left out: it is %q", column, begin(s)))
		return nil
	}
	v *= factor
	return &v
}

func has(faults []chip.Fault, code string) bool {
	for _, f := range faults {
		if f.Code == code {
			return true
		}
	}
	return false
}
