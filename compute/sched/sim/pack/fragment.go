package pack

import (
	"cmp"
	"slices"
	"strings"
)

// typical is one class of the workload and how often it comes.
type typical struct {
	cpu, share int64
	devices    int
	spec       string
	models     []bool // by model number; nil for any
	p          float64
}

// typicals are the most frequent classes of the list, taken until they cover 95 % of its pods, with
// frequencies that sum to 1.
func typicals(pods []Pod, models map[string]int) []typical {
	type key struct {
		cpu, share int64
		devices    int
		spec       string
	}
	count := map[key]int{}
	for i := range pods {
		p := &pods[i]
		count[key{p.CPU, p.Share, p.Devices, strings.Join(p.Models, "|")}]++
	}
	keys := make([]key, 0, len(count))
	for k := range count {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(b.cpu, a.cpu), cmp.Compare(b.share, a.share),
			cmp.Compare(b.devices, a.devices), strings.Compare(b.spec, a.spec))
	})
	var out []typical
	covered, all := 0, float64(len(pods))
	for _, k := range keys {
		t := typical{cpu: k.cpu, share: k.share, devices: k.devices, spec: k.spec, p: float64(count[k]) / all}
		if k.spec != "" {
			t.models = allowed(strings.Split(k.spec, "|"), models)
		}
		out = append(out, t)
		if covered += count[k]; float64(covered) >= 0.95*all {
			break
		}
	}
	for i := range out {
		out[i].p /= float64(covered) / all // in this order: the last bit decides ties
	}
	return out
}

// allowed turns model names into a table by model number; names no node has are dropped.
func allowed(names []string, models map[string]int) []bool {
	out := make([]bool, len(models))
	for _, n := range names {
		if i, ok := models[n]; ok {
			out[i] = true
		}
	}
	return out
}

// The kinds in which the published implementation sums, in this order. Its scores are cut to whole numbers,
// so the last bit of a sum decides ties.
const (
	lacksBoth = iota
	lacksGPU
	lacksCPU
	cpuOnlyFits
	cpuOnlyLacks
	excluded
	kinds
)

// fragment is the idle accelerator amount of a machine that the next pod, drawn from the typical classes,
// cannot use, in the mean: Weng et al., USENIX ATC 2023, section 4. cpu is the machine's free CPU and free
// the free thousandths of each of its devices.
func fragment(classes []typical, model int, cpu int64, free []int64) float64 {
	var idle int64
	for _, f := range free {
		idle += f
	}
	if idle == 0 { // also a machine without devices, which has no model
		return 0
	}
	var sum [kinds]float64
	for i := range classes {
		c := &classes[i]
		kind, lost := classify(c, model, cpu, free, idle)
		if kind >= 0 {
			sum[kind] += float64(c.p * float64(lost)) // not fused, so the same on every architecture
		}
	}
	total := 0.0
	for _, s := range sum {
		total += s
	}
	return total
}

// classify says in which kind a class loses how much of the idle amount; kind is negative if it loses none.
func classify(c *typical, model int, cpu int64, free []int64, idle int64) (kind int, lost int64) {
	cpuFits := cpu >= c.cpu
	switch {
	case c.devices == 0 && cpuFits:
		return cpuOnlyFits, idle
	case c.devices == 0:
		return cpuOnlyLacks, idle
	case c.models != nil && !c.models[model]:
		return excluded, idle
	}
	room, small := 0, int64(0)
	for _, f := range free {
		if f >= c.share {
			room++
		} else {
			small += f
		}
	}
	switch gpuFits := room >= c.devices; {
	case gpuFits && cpuFits:
		return lacksGPU, small
	case gpuFits:
		return lacksCPU, idle
	case cpuFits:
		return lacksGPU, idle
	default:
		return lacksBoth, idle
	}
}
