package pack

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/compute/sched/place"
	"github.com/triarch-ai/triarch/internal/fault"
)

// Limits of what a trace may hold. They bound memory, not plausibility: a file above them is refused.
const (
	maxRows     = 2_000_000
	maxNodes    = 200_000
	maxDevices  = 63                  // fewer than bits in a word
	maxAmount   = place.MaxAmount - 1 // of CPU milli or MiB on one row
	maxArrivals = 20_000_000          // pods of one run, drawn again and again from the list
	maxSpec     = 1024                // characters in a list of models
)

// Node is one machine of a node list.
type Node struct {
	Name    string
	CPU     int64 // thousandths of a core
	Memory  int64 // MiB
	Devices int   // accelerators, each of 1000 thousandths
	Model   string
}

// Pod is one request of a pod list.
type Pod struct {
	Name    string
	CPU     int64    // thousandths of a core
	Memory  int64    // MiB
	Devices int      // accelerators asked, 0 for a CPU-only pod
	Share   int64    // thousandths of each accelerator; below 1000 only where Devices is 1
	Models  []string // allowed models, none for any
}

// GPU is the accelerator amount the pod asks, in thousandths.
func (p *Pod) GPU() int64 { return int64(p.Devices) * p.Share }

// ReadNodes reads a node list in the openb form, columns sn, cpu_milli, memory_mib, gpu, model, in any
// order, other columns ignored. name is used in errors, which say the line and the field.
func ReadNodes(r io.Reader, name string) ([]Node, error) {
	t, err := openTable(r, name, "sn", "cpu_milli", "memory_mib", "gpu")
	if err != nil {
		return nil, err
	}
	var nodes []Node
	seen := map[string]int{}
	for t.next() {
		n := Node{
			Name:    t.text("sn"),
			CPU:     t.whole("cpu_milli", 0, maxAmount),
			Memory:  t.whole("memory_mib", 0, maxAmount),
			Devices: int(t.whole("gpu", 0, maxDevices)),
			Model:   t.optional("model"),
		}
		if n.Devices > 0 && n.Model == "" {
			t.fail("model", "a node with accelerators needs a model")
		}
		if first, ok := seen[n.Name]; ok {
			t.fail("sn", "node %q is already on line %d", n.Name, first)
		}
		seen[n.Name] = t.line
		if len(nodes) >= maxNodes {
			t.fail("sn", "more than %d nodes", maxNodes)
		}
		nodes = append(nodes, n)
	}
	if t.err == nil && len(nodes) == 0 {
		t.fail("sn", "the list has no nodes")
	}
	return nodes, t.err
}

// ReadPods reads a pod list in the openb form, columns name, cpu_milli, memory_mib, num_gpu, gpu_milli and,
// where there is one, gpu_spec; other columns are ignored. name is used in errors, which say the line and
// the field.
func ReadPods(r io.Reader, name string) ([]Pod, error) {
	t, err := openTable(r, name, "name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
	if err != nil {
		return nil, err
	}
	var pods []Pod
	for t.next() {
		p := Pod{
			Name:    t.text("name"),
			CPU:     t.whole("cpu_milli", 0, maxAmount),
			Memory:  t.whole("memory_mib", 0, maxAmount),
			Devices: int(t.whole("num_gpu", 0, maxDevices)),
			Share:   t.whole("gpu_milli", 0, 1000),
		}
		switch {
		case p.Devices == 0 && p.Share != 0:
			t.fail("gpu_milli", "a pod without accelerators asks a share of %d", p.Share)
		case p.Devices > 0 && p.Share == 0:
			t.fail("gpu_milli", "a pod with accelerators asks a share of 0")
		case p.Devices > 1 && p.Share != 1000:
			t.fail("gpu_milli", "a share below 1000 is for one accelerator, not %d", p.Devices)
		}
		if spec := t.optional("gpu_spec"); spec != "" {
			p.Models = strings.Split(spec, "|")
		}
		if len(pods) >= maxRows {
			t.fail("name", "more than %d pods", maxRows)
		}
		pods = append(pods, p)
	}
	if t.err == nil && len(pods) == 0 {
		t.fail("name", "the list has no pods")
	}
	return pods, t.err
}

// readFile opens path, which a field of the options names, and hands it to read.
func readFile[T any](field, path string, read func(io.Reader, string) ([]T, error)) ([]T, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.New(fault.NotFound, fmt.Sprintf("The file %s cannot be opened.", path), fault.Field(field), fault.Cause(err), fault.Fix("Check the name and whether it may be read"))
	}
	defer func() { _ = f.Close() }()
	return read(f, path)
}

// table walks the rows of a CSV file with a header line and keeps the first error.
type table struct {
	name string
	csv  *csv.Reader
	col  map[string]int
	row  []string
	line int
	err  error
}

func openTable(r io.Reader, name string, need ...string) (*table, error) {
	plain, err := gunzip(r, name)
	if err != nil {
		return nil, err
	}
	t := &table{name: name, csv: csv.NewReader(plain), col: map[string]int{}}
	t.csv.ReuseRecord = true
	head, err := t.csv.Read()
	if err != nil {
		return nil, fault.New(fault.Invalid, fmt.Sprintf("%s: the header line cannot be read", name), fault.Cause(err))
	}
	for i, h := range head {
		t.col[strings.TrimSpace(strings.TrimPrefix(h, "\ufeff"))] = i
	}
	for _, n := range need {
		if _, ok := t.col[n]; !ok {
			return nil, fault.InvalidField(n, "%s: the header has no column %q", name, n)
		}
	}
	return t, nil
}

// gunzip looks at the first two bytes and unpacks what is gzip.
func gunzip(r io.Reader, name string) (io.Reader, error) {
	b := bufio.NewReader(r)
	if magic, err := b.Peek(2); err != nil || magic[0] != 0x1f || magic[1] != 0x8b {
		return b, nil
	}
	z, err := gzip.NewReader(b)
	if err != nil {
		return nil, fault.New(fault.Invalid, fmt.Sprintf("%s: broken gzip", name), fault.Cause(err))
	}
	return z, nil
}

func (t *table) next() bool {
	if t.err != nil {
		return false
	}
	row, err := t.csv.Read()
	if errors.Is(err, io.EOF) {
		return false
	}
	if err != nil {
		t.err = fault.New(fault.Invalid, fmt.Sprintf("%s: a row cannot be read", t.name), fault.Cause(err))
		return false
	}
	t.row = row
	t.line, _ = t.csv.FieldPos(0)
	return true
}

func (t *table) fail(field, format string, args ...any) {
	if t.err == nil {
		t.err = fault.InvalidField(field, "%s line %d, %s: %s", t.name, t.line, field, fmt.Sprintf(format, args...))
	}
}

// text is a field that must not be empty.
func (t *table) text(field string) string {
	s := strings.Clone(strings.TrimSpace(t.row[t.col[field]]))
	if s == "" {
		t.fail(field, "empty")
	}
	return s
}

// optional is a field that may be empty or whose column may be missing.
func (t *table) optional(field string) string {
	i, ok := t.col[field]
	if !ok {
		return ""
	}
	s := strings.Clone(strings.TrimSpace(t.row[i]))
	if len(s) > maxSpec {
		t.fail(field, "longer than %d characters", maxSpec)
	}
	return s
}

// whole is a field that must be a whole number between low and high.
func (t *table) whole(field string, low, high int64) int64 {
	s := strings.TrimSpace(t.row[t.col[field]])
	v, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil:
		t.fail(field, "%q is not a whole number", s)
	case v < low || v > high:
		t.fail(field, "%d is not between %d and %d", v, low, high)
	}
	return v
}
