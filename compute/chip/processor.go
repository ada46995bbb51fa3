package chip

import "fmt"

// ProcessorID is the id of processors in the catalogue, and the class of their cores.
const ProcessorID = "cpu"

// shared is how large a set of data is that lies in what all cores share.
const shared = 48 << 20

// Processor is a processor as a chip: so many of its cores together, all of them where cores is 0 or more than there are.
// Base is the catalogue's entry, which has no figures because they are each machine's own; the figures are those that
// were measured there, and what was not measured is unknown. Arithmetic is shared evenly among the cores; of the
// bandwidth some cores get as much as one gets alone for each of them, until all of it is used; the memory is the
// node's and is not divided.
func Processor(base Chip, d *Device, cores int) Chip {
	c := base.clone()
	if cores < 1 || cores > d.Cores {
		cores = max(1, d.Cores)
	}
	if d.Name != "" {
		c.Name = d.Name
	}
	part := float64(cores) / float64(max(1, d.Cores))
	if d.Memory != nil {
		c.Memory = &Figure{Value: *d.Memory, Unit: Bytes, Source: "what this machine may use", Confidence: Measured}
	}
	if f := copied(d.FP32); f != nil {
		f.Value *= part
		f.Note = ofCores(f.Note, cores, d.Cores)
		if c.Flops == nil {
			c.Flops = map[Precision]*Figure{}
		}
		c.Flops[FP32] = f
	}
	if f := copied(d.Bandwidth); f != nil {
		if d.OneCore != nil {
			f.Value = min(f.Value, float64(cores)*d.OneCore.Value)
		} else if cores < d.Cores {
			f.Value *= part
		}
		f.Note = ofCores(f.Note, cores, d.Cores)
		c.Bandwidth = f
	}
	c.Levels = nil
	for _, l := range d.Levels { // cores share what they work on, each with caches of its own, and the memory together
		l.Bytes, l.Bandwidth = l.Bytes*float64(cores), l.Bandwidth*float64(cores)
		if c.Bandwidth != nil && l.Bytes >= shared {
			l.Bandwidth = min(l.Bandwidth, max(c.Bandwidth.Value, l.Bandwidth/float64(cores)))
		}
		c.Levels = append(c.Levels, l)
	}
	return c
}

func ofCores(note string, cores, all int) string {
	if cores == all {
		return note
	}
	return fmt.Sprintf("what %d of %d cores get of: %s", cores, all, note)
}
