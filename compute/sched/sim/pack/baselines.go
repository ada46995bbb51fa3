package pack

import (
	"math"
	"math/rand"
	"slices"
)

// unfit marks a machine that cannot host the request.
const unfit = math.MinInt64

// score is the worth of a machine for a request that fits it, higher is better, as whole numbers cut towards
// zero, and the device on which a share then goes, -1 for the one with the least room.
type score func(f *fleet, m *machine, w *want) (worth int64, device int)

// The published policies. Amounts are free before placing, summed over the machine; 128 cores and 8 devices
// are the largest machine of the published fleet and part of the formulas.
const (
	fullCPU = 128_000.0
	fullGPU = 8_000.0
)

func dotProd(_ *fleet, m *machine, w *want) (int64, int) {
	dot := float64(m.cpu)/fullCPU*(float64(w.cpu)/fullCPU) + float64(m.idle)/fullGPU*(float64(w.gpu())/fullGPU)
	return int64(100 * (1 - dot/2)), -1
}

func clustering(_ *fleet, m *machine, w *want) (int64, int) {
	if w.devices == 0 {
		return 0, -1
	}
	worth := int64(25 * (fullGPU - float64(m.idle)) / fullGPU)
	switch others := m.hosts &^ w.kind; {
	case m.hosts == 0:
		worth += 25
	case m.hosts&w.kind == 0:
	case others == 0:
		worth += 75
	default:
		worth += 50
	}
	return worth, -1
}

func packing(_ *fleet, m *machine, w *want) (int64, int) {
	if w.devices == 0 {
		return 0, -1
	}
	number := int64(len(m.free))
	if m.idle == number*1000 {
		return max(33-number, number), -1
	}
	sum, whole := fullest(m.free, w)
	if whole > 0 {
		return max(50-whole, 33), -1
	}
	return max(100-sum*100/1000/10, 50), -1
}

// fullest takes the devices with room, fullest first, as many as asked, and gives their free amount and how
// many of them are wholly free.
func fullest(free []int64, w *want) (sum, whole int64) {
	var taken uint64
	for range w.devices {
		best := -1
		for d, f := range free {
			if taken>>d&1 == 0 && f >= w.share && (best < 0 || f < free[best]) {
				best = d
			}
		}
		taken |= 1 << best
		sum += free[best]
		if free[best] == 1000 {
			whole++
		}
	}
	return sum, whole
}

// bestFit leaves out the stretching over the machines that fit: it keeps the order and the ties.
func bestFit(_ *fleet, m *machine, w *want) (int64, int) {
	rest := 0.5*float64(m.cpu-w.cpu)/fullCPU + 0.5*float64(m.idle-w.gpu())/fullGPU
	return int64(100 * (1 - rest)), -1
}

// fgd is fragmentation gradient descent: how much less fragment there is after placing.
func fgd(f *fleet, m *machine, w *want) (int64, int) {
	var free [maxDevices]int64
	after := free[:len(m.free)]
	copy(after, m.free)
	cpu := m.cpu - w.cpu
	if w.devices != 1 || w.share == 1000 {
		for d, left := 0, w.devices; left > 0; d++ {
			if after[d] >= w.share {
				after[d] -= w.share
				left--
			}
		}
		return descent(m.fragment - fragment(f.classes, m.model, cpu, after)), -1
	}
	best, device := int64(unfit), -1
	for d := range after {
		if m.free[d] < w.share || seenBefore(m.free, d) {
			continue
		}
		after[d] -= w.share
		if s := descent(m.fragment - fragment(f.classes, m.model, cpu, after)); s > best {
			best, device = s, d
		}
		after[d] += w.share
	}
	return best, device
}

// seenBefore says that an earlier device has the same room, so that trying d again gives nothing new.
func seenBefore(free []int64, d int) bool {
	return slices.Contains(free[:d], free[d])
}

func descent(less float64) int64 { return int64(100 * (1 / (1 + math.Exp(-less/1000)))) }

// remembered is the worth of one machine for one request at one version of the machine.
type remembered struct {
	worth   int64
	version uint32
	device  int32
}

// scored is a policy that takes the machine of the highest score. Scores are remembered per distinct request
// and version of the machine: a placement changes one machine.
type scored struct {
	score score
	ties  *rand.Rand // nil: ties go to the smallest rank; else drawn afresh for each pod
	memo  [][]remembered
}

func newScored(f *fleet, s score, ties *rand.Rand) *scored {
	return &scored{score: s, ties: ties, memo: make([][]remembered, len(f.wants))}
}

// pick gives the machine and the devices, or -1 if the request fits nowhere.
func (s *scored) pick(f *fleet, request int32, out []int) (int, []int) {
	w := &f.wants[request]
	if s.memo[request] == nil {
		s.memo[request] = make([]remembered, len(f.machines))
	}
	row := s.memo[request]
	best, worth, equals := -1, int64(unfit), 0
	for i := range f.machines {
		m, e := &f.machines[i], &row[i]
		if e.version != m.version+1 { // 0 is never computed
			*e = remembered{worth: unfit, version: m.version + 1}
			if m.fits(w) {
				v, d := s.score(f, m, w)
				e.worth, e.device = v, int32(d)
			}
		}
		switch {
		case e.worth == unfit || e.worth < worth:
		case e.worth > worth:
			best, worth, equals = i, e.worth, 1
		case s.ties != nil:
			if equals++; s.ties.Intn(equals) == 0 {
				best = i
			}
		case m.rank < f.machines[best].rank:
			best = i
		}
	}
	if best < 0 {
		return -1, nil
	}
	m := &f.machines[best]
	switch d := int(row[best].device); {
	case w.devices != 1 || w.share == 1000:
		return best, m.firstFree(w, out)
	case d >= 0:
		return best, append(out[:0], d)
	default:
		return best, m.tightest(w, out)
	}
}

// random takes any machine that fits and any device that suffices.
type random struct {
	rng *rand.Rand
	fit []int
}

func (r *random) pick(f *fleet, request int32, out []int) (int, []int) {
	w := &f.wants[request]
	r.fit = r.fit[:0]
	for i := range f.machines {
		if f.machines[i].fits(w) {
			r.fit = append(r.fit, i)
		}
	}
	if len(r.fit) == 0 {
		return -1, nil
	}
	i := r.fit[r.rng.Intn(len(r.fit))]
	m := &f.machines[i]
	out = m.firstFree(w, out)
	if w.devices != 1 || w.share == 1000 {
		return i, out
	}
	out = out[:0]
	for d, free := range m.free {
		if free >= w.share {
			out = append(out, d)
		}
	}
	return i, append(out[:0], out[r.rng.Intn(len(out))])
}
