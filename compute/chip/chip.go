// Package chip knows what chips are: a catalogue of the makes with memory, bandwidth, throughput, links, power, the
// names that Kubernetes and containers know them by and the engines that run on them, each figure with its source.
//
// Rules for callers: a figure that nobody read anywhere is unknown (a nil pointer, null in JSON) and stays so; never
// put zero or a guess in its place, but name what is missing. Throughput is dense, never with structured sparsity.
// A chip's id is its class wherever jobs, quotas, nodes and prices name one. What Load and Find return belongs to the
// caller; a Catalogue itself does not change and is safe for use by many goroutines.
package chip

import (
	"math"
	"slices"
)

// Precision is the number format of a throughput.
type Precision string

// The precisions a throughput may be known for. FP32 is what the chip does in full single precision, on vector or
// matrix units, whichever its source gives; TF32 the matrix units' short form of it.
const (
	FP32 Precision = "fp32"
	TF32 Precision = "tf32"
	BF16 Precision = "bf16"
	FP16 Precision = "fp16"
	FP8  Precision = "fp8"
	INT8 Precision = "int8"
	FP4  Precision = "fp4"
)

// Precisions lists them from wide to narrow.
func Precisions() []Precision { return []Precision{FP32, TF32, BF16, FP16, FP8, INT8, FP4} }

// Confidence says who vouches for a figure.
type Confidence string

// The confidences.
const (
	Measured Confidence = "measured" // on a machine of this installation
	Vendor   Confidence = "vendor"   // the vendor's own document or page, read
	Third    Confidence = "third"    // somebody else's table, article or tool, read
)

// Unit is what a figure counts.
type Unit string

// The units of the figures.
const (
	Bytes          Unit = "B"
	BytesPerSecond Unit = "B/s"
	OpsPerSecond   Unit = "FLOP/s" // integer operations for INT8
	Watts          Unit = "W"
)

// Figure is a number with its origin.
type Figure struct {
	Value      float64    `json:"value"`
	Unit       Unit       `json:"unit"`
	Source     string     `json:"source"` // a public address, or repository and path
	Confidence Confidence `json:"confidence"`
	Note       string     `json:"note,omitempty"` // what else was read, or how the figure is meant
}

// Direction says what a link's bandwidth counts.
type Direction string

// The directions.
const (
	EachWay  Direction = "each" // out of the chip; as much again comes in at the same time
	BothWays Direction = "both" // in and out added together
)

// Link is the bandwidth of one chip to its neighbours in the node, over all its links together.
type Link struct {
	Figure
	Counts Direction `json:"counts"`
	Name   string    `json:"name,omitempty"` // what the vendor calls the link
	// Joins is how many chips the link joins at the most; 0: those of the node, however many.
	Joins int `json:"joins,omitempty"`
}

// EachWay is the bandwidth in one direction, in bytes a second.
func (l *Link) EachWay() float64 {
	if l.Counts == BothWays {
		return l.Value / 2
	}
	return l.Value
}

// Lack is a precision that the chip's matrix units do not have, as its source says. A precision that is neither lacking nor
// has a figure is unknown.
type Lack struct {
	Precision Precision `json:"precision"`
	Source    string    `json:"source"`
}

// Resource is how Kubernetes names the chip: the whole of it and, where a sharing plugin is named, its memory and cores.
type Resource struct {
	Name   string `json:"name"`
	Memory string `json:"memory,omitempty"`
	Cores  string `json:"cores,omitempty"`
	Source string `json:"source"`
}

// Variable is an environment variable that keeps a process to the chips it names.
type Variable struct {
	Name   string `json:"name"`
	Source string `json:"source"`
}

// Engine serves models on the chip.
type Engine struct {
	Name   string `json:"name"`
	Image  string `json:"image,omitempty"` // repository and tag, or their form; empty: none known
	Source string `json:"source"`
}

// Kind says what sort of device a chip is.
type Kind string

// The kinds.
const (
	GPU Kind = "gpu" // programmed as a general device
	NPU Kind = "npu" // built for tensors alone
	CPU Kind = "cpu"
	SoC Kind = "soc" // processor, accelerator and memory in one
)

// Chip is one model of a device.
type Chip struct {
	ID        string                `json:"id"` // maker-model, in lower case
	Make      string                `json:"make"`
	Name      string                `json:"name"`
	Kind      Kind                  `json:"kind"`
	Aliases   []string              `json:"aliases"`
	Memory    *Figure               `json:"memory"`
	Bandwidth *Figure               `json:"bandwidth"`        // of the memory
	Levels    []CacheLevel          `json:"levels,omitempty"` // of a processor: what sets of data that small get, from small to large
	Flops     map[Precision]*Figure `json:"flops"`            // every precision is a key
	Lacks     []Lack                `json:"lacks,omitempty"`
	Link      *Link                 `json:"link"`
	Power     *Figure               `json:"power"` // of the device at full load
	Resources []Resource            `json:"resources"`
	Isolation []Variable            `json:"isolation"`
	Engines   []Engine              `json:"engines"`
	Note      string                `json:"note,omitempty"`
}

// CacheLevel is the bandwidth on a set of data of a size: caches hold what is small.
type CacheLevel struct {
	Bytes     float64 `json:"bytes"`
	Bandwidth float64 `json:"bytes_per_second"`
}

// At is the bandwidth on a set of data of so many bytes that is gone through again and again: between levels in proportion to the
// logarithms, and where none are known that of the memory; 0: unknown.
func (c *Chip) At(bytes float64) float64 {
	n := len(c.Levels)
	switch {
	case n == 0 && c.Bandwidth != nil:
		return c.Bandwidth.Value
	case n == 0:
		return 0
	case bytes <= c.Levels[0].Bytes:
		return c.Levels[0].Bandwidth
	}
	for i := 1; i < n; i++ {
		if a, b := c.Levels[i-1], c.Levels[i]; bytes <= b.Bytes {
			part := math.Log(bytes/a.Bytes) / math.Log(b.Bytes/a.Bytes)
			return a.Bandwidth * math.Pow(b.Bandwidth/a.Bandwidth, part)
		}
	}
	return c.Levels[n-1].Bandwidth
}

// Peak is the dense throughput at a precision; false where it is unknown. BF16 and FP16 do not stand in for each other.
func (c *Chip) Peak(p Precision) (Figure, bool) {
	if f := c.Flops[p]; f != nil {
		return *f, true
	}
	return Figure{}, false
}

// Without says who told that the chip does not have a precision; false where nobody did.
func (c *Chip) Without(p Precision) (source string, told bool) {
	for _, l := range c.Lacks {
		if l.Precision == p {
			return l.Source, true
		}
	}
	return "", false
}

// Offers lists the precisions whose throughput is known, from wide to narrow.
func (c *Chip) Offers() []Precision {
	return slices.DeleteFunc(Precisions(), func(p Precision) bool { return c.Flops[p] == nil })
}

// containers are variables that only the runtimes of containers heed.
var containers = []string{"NVIDIA_VISIBLE_DEVICES", "AMD_VISIBLE_DEVICES", "ASCEND_VISIBLE_DEVICES", "CAMBRICON_VISIBLE_DEVICES", "HYGON_VISIBLE_DEVICES", "ILUVATAR_VISIBLE_DEVICES",
	"METHERDS_VISIBLE_DEVICES", "HABANA_VISIBLE_DEVICES"}

// Visible is the variable that keeps a process, not a container, to the devices that it names; empty where none is known. Of several that filter one
// after the other only the first may be set.
func (c *Chip) Visible() string {
	for _, v := range c.Isolation {
		if !slices.Contains(containers, v.Name) {
			return v.Name
		}
	}
	return ""
}

// Unknown names the figures that are not known, by their field.
func (c *Chip) Unknown() []string {
	var names []string
	add := func(name string, known bool) {
		if !known {
			names = append(names, name)
		}
	}
	add("memory", c.Memory != nil)
	add("bandwidth", c.Bandwidth != nil)
	for _, p := range Precisions() {
		_, lacks := c.Without(p)
		add("flops."+string(p), c.Flops[p] != nil || lacks)
	}
	add("link", c.Link != nil)
	add("power", c.Power != nil)
	return names
}

// clone copies a chip down to its figures.
func (c *Chip) clone() Chip {
	n := *c
	n.Aliases, n.Resources = slices.Clone(c.Aliases), slices.Clone(c.Resources)
	n.Isolation, n.Engines, n.Lacks = slices.Clone(c.Isolation), slices.Clone(c.Engines), slices.Clone(c.Lacks)
	n.Memory, n.Bandwidth, n.Power = copied(c.Memory), copied(c.Bandwidth), copied(c.Power)
	n.Link, n.Levels = copied(c.Link), slices.Clone(c.Levels)
	n.Flops = make(map[Precision]*Figure, len(c.Flops))
	for p, f := range c.Flops {
		n.Flops[p] = copied(f)
	}
	return n
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}
