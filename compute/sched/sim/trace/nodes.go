package trace

import (
	"fmt"
	"io"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Machine is a row of openb's list of nodes.
type Machine struct {
	Name   string
	Model  string // of its GPUs, empty without
	GPUs   int32
	CPU    int64 // thousandths of a core
	Memory int64 // MiB
}

// ReadMachines reads openb's list of nodes, plain or gzip: sn, cpu_milli, memory_mib, gpu, model.
func ReadMachines(r io.Reader, o Options) ([]Machine, error) {
	t, err := open(r, o)
	if err != nil {
		return nil, err
	}
	for _, c := range []string{"sn", "cpu_milli", "memory_mib", "gpu", "model"} {
		if !t.has(c) {
			return nil, fault.New(fault.Invalid, fmt.Sprintf("%s has no column %s.", t.file, c), fault.Field(c))
		}
	}
	var out []Machine
	seen := map[string]bool{}
	for t.next() && len(out) < MaxRows {
		m := Machine{Name: strings.Clone(t.cell("sn")), Model: t.name("model"), GPUs: int32(t.whole("gpu", 0, 1024, must)),
			CPU: t.whole("cpu_milli", 1, maxMilliCPU, must), Memory: t.whole("memory_mib", 1, maxMemory, must)}
		switch {
		case m.Name == "" || seen[m.Name]:
			t.bad("sn", "the name %s is empty or there twice", quoted(m.Name))
		case (m.GPUs == 0) != (m.Model == ""):
			t.bad("model", "GPUs and their model go together, not %d and %s", m.GPUs, quoted(m.Model))
		}
		if t.err != nil {
			return nil, t.err
		}
		seen[m.Name] = true
		out = append(out, m)
	}
	if t.fatal != nil {
		return nil, t.fatal
	}
	if len(out) == 0 {
		return nil, fault.New(fault.Invalid, t.file+" has no node.")
	}
	return out, nil
}
