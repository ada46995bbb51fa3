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
	"github.com/triarch-ai/triarch/compute/chip/reading"
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
	maxDevices = reading.MaxDevices
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
			return nil, []string{fmt.Sprintf("the output of nvidia-smi has no column %s: it is cut short, translated or of another version; it begins with %q", need, reading.Begin(head[0]))}
		}
	}
	p := parser{at: at, head: len(head), seen: map[string]bool{}, devices: gone}
	for line := 2; ; line++ {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(p.devices) == maxDevices {
			p.log.Add("nothing from line %d of the output of nvidia-smi on was read", line)
			break
		}
		last := !whole && r.InputOffset() >= int64(len(rest))
		p.row(row, line, last)
	}
	if len(p.devices) == 0 && len(p.log.Problems) == 0 {
		p.log.Add("nvidia-smi names no device")
	}
	return p.devices, p.log.Problems
}

type parser struct {
	at      map[string]int
	head    int
	seen    map[string]bool
	devices []chip.Device
	log     reading.Log
}

// idForm is what nvidia-smi calls a device: a whole one or a part of one.
var idForm = regexp.MustCompile(`^(GPU|MIG)-[0-9A-Za-z/-]{8,120}$`)

// row reads a device; cut says that the output ends within it.
func (p *parser) row(row []string, line int, cut bool) {
	if len(row) != p.head || cut {
		p.log.Add("line %d of the output of nvidia-smi is cut short or does not fit its heading", line)
		return
	}
	cell := func(name string) string {
		if i, ok := p.at[name]; ok && len(row[i]) <= maxCell {
			return strings.TrimSpace(row[i])
		}
		return ""
	}
	d := chip.Device{Make: "NVIDIA", Name: cell("name"), ID: cell("uuid"), Bus: reading.Told(cell("pci.bus_id")), Driver: reading.Told(cell("driver_version"))}
	index, err := strconv.Atoi(cell("index"))
	switch {
	case !idForm.MatchString(d.ID):
		p.log.Add("line %d of the output of nvidia-smi has no uuid but %q", line, reading.Begin(d.ID))
		return
	case p.seen[d.ID]:
		p.log.Add("line %d of the output of nvidia-smi names %s again", line, d.ID)
		return
	case d.Name == "" || err != nil || index < 0 || index > 1<<16:
		p.log.Add("line %d of the output of nvidia-smi has no name or no index", line)
		return
	}
	p.seen[d.ID], d.Index = true, index
	d.Memory = reading.Number(&d, "memory.total", cell("memory.total"), "MiB", 1<<20)
	d.Used = reading.Number(&d, "memory.used", cell("memory.used"), "MiB", 1<<20)
	d.Busy = reading.Number(&d, "utilization.gpu", cell("utilization.gpu"), "%", 0.01)
	d.Temperature = reading.Number(&d, "temperature.gpu", cell("temperature.gpu"), "", 1)
	d.Power = reading.Number(&d, "power.draw", cell("power.draw"), "W", 1)
	d.PowerLimit = reading.Number(&d, "power.limit", cell("power.limit"), "W", 1)
	if n := reading.Number(&d, "ecc.errors.uncorrected.volatile.total", cell("ecc.errors.uncorrected.volatile.total"), "", 1); n != nil && *n > 0 {
		reading.Fault(&d, reading.Uncorrected(*n))
	}
	if strings.EqualFold(cell("retired_pages.pending"), "Yes") {
		d.Faults = append(d.Faults, chip.Fault{Level: chip.RestartDevice, Code: "memory_retiring", Says: "pages of its memory are out of use after the next reset, and in use until then"})
	}
	d.Check()
	p.devices = append(p.devices, d)
}
