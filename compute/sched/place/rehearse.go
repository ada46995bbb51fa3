package place

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Weighted is a class of requests and how often it comes, in any unit: counts of a history, of a queue, or of
// the list that is to be placed.
type Weighted struct {
	Ask   Ask
	Count int64
}

// The rehearsal. rehearsals streams of streamLength requests each are drawn once from the mix. The figures were
// chosen on six openb workloads: fewer streams are noisier, and 100 requests saturate a node of eight devices.
// Free CPU is rounded down to cpuQuantum, which costs nothing measurable and lets a third more states be
// remembered.
const (
	rehearsals   = 16
	streamLength = 100
	cpuQuantum   = 500
	maxMix       = 4096
	rehearseSeed = 7
)

// step is one request of a stream, and the least CPU and share of those after it: a node with less is done.
type step struct {
	cpu, leastCPU     int32
	share, leastShare int16
	devices           int16
}

// rehearsal values the free room of a node by what is likely to become of it: requests drawn from the mix are
// put on it, each if it fits, shares on the tightest device, until no more come; what is then idle is lost.
// The mean over fixed streams is the expected loss, so the difference of two states is what a placement costs.
// Requests without devices are left out: they can go where no device is stranded, and charging every node for
// those it might host makes all nodes look alike. In every second stream the requests for several devices come
// first: a whole node is worth more than its devices, because they can use nothing else, and in a mere drawing
// it would always be broken up before they come.
//
// It extends the fragment of Weng et al. (USENIX ATC 2023), which asks what the next request cannot use, to
// what all the following ones cannot use.
type rehearsal struct {
	blind   bool         // nothing is expected, so nothing is rehearsed
	streams [][]stream   // by chip
	least   []step       // by chip, the least CPU and share of any request
	cache   []remembered // a power of two
}

// stream is one sequence of requests. Once no device of a node is wholly free only its shares matter, so they
// are also kept alone: from step i of all the next share is shares[next[i]].
type stream struct {
	all    []step
	shares []step
	next   []int32
}

// remembered is one state and its value. The cache is direct mapped: values are a pure function of the state,
// so what is evicted changes nothing but time.
type remembered struct {
	key   stateKey
	value int32
}

// stateKey is a node's state, exactly: chip, CPU and the number of wholly free devices in the first word, with
// its top bit set; the other devices with room in the other two, ten bits each. Devices without room do not
// matter. A state with more divided devices than maxDivided has no key.
type stateKey [3]uint64

const (
	maxDivided = 12
	minCache   = 1 << 10
	maxCache   = 1 << 18 // of 32 bytes
)

// newRehearsal draws the streams. chips numbers the chip names, nodes is about how many nodes there will be.
func newRehearsal(mix []Weighted, chips map[string]int16, nodes int) (*rehearsal, error) {
	mix, total, err := mainClasses(mix)
	if err != nil {
		return nil, err
	}
	r := &rehearsal{
		blind:   total == 0,
		streams: make([][]stream, len(chips)),
		least:   make([]step, len(chips)),
		cache:   make([]remembered, min(max(1<<bits.Len(uint(128*nodes)), minCache), maxCache)),
	}
	draws := make([][]int, rehearsals)
	rng := rand.NewPCG(rehearseSeed, 0) // its numbers are specified: the same everywhere, for ever
	for i := range draws {
		for range streamLength {
			if total > 0 {
				draws[i] = append(draws[i], draw(mix, int64(rng.Uint64()%uint64(total))))
			}
		}
	}
	for i := 1; i < rehearsals; i += 2 {
		slices.SortStableFunc(draws[i], func(a, b int) int {
			return max(1, mix[b].Ask.Devices) - max(1, mix[a].Ask.Devices)
		})
	}
	for name, chip := range chips {
		r.streams[chip] = make([]stream, rehearsals)
		least := &r.least[chip]
		*least = nothingFits
		for i, d := range draws {
			s := streamFor(name, mix, d)
			for _, a := range s.all {
				least.cpu, least.share = min(least.cpu, a.cpu), min(least.share, a.share)
			}
			r.streams[chip][i] = s
		}
	}
	return r, nil
}

// mainClasses is the mix with equal requests put together, most frequent first, and the sum of its counts.
// Requests without devices stay in: they take their draws.
func mainClasses(mix []Weighted) ([]Weighted, int64, error) {
	type key struct {
		cpu, share int64
		devices    int
		chips      string
	}
	at := map[key]int{}
	var out []Weighted
	for _, w := range mix {
		if err := w.Ask.Validate(); err != nil {
			return nil, 0, err
		}
		if w.Count < 0 || w.Count > 1<<40 {
			return nil, 0, fault.InvalidField("count", "a class comes %d times", w.Count)
		}
		w.Ask.Memory, w.Ask.Chips = 0, canonical(w.Ask.Chips)
		k := key{w.Ask.CPU, w.Ask.Share, w.Ask.Devices, strings.Join(w.Ask.Chips, "|")}
		if i, ok := at[k]; ok {
			out[i].Count += w.Count
			continue
		}
		at[k] = len(out)
		out = append(out, w)
	}
	slices.SortFunc(out, compareWeighted)
	out = out[:min(len(out), maxMix)]
	var total int64
	for _, w := range out {
		total += w.Count
	}
	return out, total, nil
}

// compareWeighted puts the frequent first and is total, so that the streams do not depend on the order of the
// mix.
func compareWeighted(a, b Weighted) int {
	for _, d := range []int64{
		b.Count - a.Count, b.Ask.CPU - a.Ask.CPU, b.Ask.Share - a.Ask.Share, int64(b.Ask.Devices - a.Ask.Devices),
	} {
		if d != 0 {
			return int(min(max(d, -1), 1))
		}
	}
	return slices.Compare(b.Ask.Chips, a.Ask.Chips)
}

func draw(mix []Weighted, r int64) int {
	for i := range mix {
		if r -= mix[i].Count; r < 0 {
			return i
		}
	}
	return len(mix) - 1
}

// streamFor is the part of a stream that a node with this chip could be given.
func streamFor(chip string, mix []Weighted, draws []int) stream {
	var out stream
	for _, d := range draws {
		a := &mix[d].Ask
		if a.Devices == 0 || len(a.Chips) > 0 && !slices.Contains(a.Chips, chip) {
			continue
		}
		s := step{cpu: int32(a.CPU), share: int16(a.Share), devices: int16(a.Devices)}
		out.next = append(out.next, int32(len(out.shares)))
		out.all = append(out.all, s)
		if a.Share < Whole {
			out.shares = append(out.shares, s)
		}
	}
	markLeast(out.all)
	markLeast(out.shares)
	return out
}

// nothingFits is more than any node has.
var nothingFits = step{cpu: MaxAmount - 1, share: Whole + 1}

func markLeast(steps []step) {
	cpu, share := nothingFits.cpu, nothingFits.share
	for i := len(steps) - 1; i >= 0; i-- {
		s := &steps[i]
		s.leastCPU, s.leastShare = cpu, share
		cpu, share = min(cpu, s.cpu), min(share, s.share)
	}
}

// lost is what the streams leave idle on a node with this chip, this free CPU and these free thousandths,
// ascending: the sum over the streams, in thousandths of a device.
func (r *rehearsal) lost(chip int16, cpu int64, free []int16) int32 {
	n := len(free)
	if n == 0 || free[n-1] == 0 {
		return 0
	}
	cpu -= cpu % cpuQuantum
	least := &r.least[chip]
	if free[n-1] < least.share || cpu < int64(least.cpu) {
		return rehearsals * sum(free)
	}
	key, ok := keyOf(chip, cpu, free)
	if !ok {
		return r.play(chip, int32(cpu), free)
	}
	e := &r.cache[key.hash()&uint64(len(r.cache)-1)]
	if e.key != key {
		*e = remembered{key: key, value: r.play(chip, int32(cpu), free)}
	}
	return e.value
}

func keyOf(chip int16, cpu int64, free []int16) (key stateKey, ok bool) {
	divided, whole := 0, 0
	for i := len(free) - 1; i >= 0 && free[i] > 0; i-- {
		if free[i] == Whole {
			whole++
			continue
		}
		if divided == maxDivided {
			return key, false
		}
		w := &key[1+divided/6]
		*w = *w<<10 | uint64(free[i])
		divided++
	}
	key[0] = 1<<63 | uint64(whole)<<48 | uint64(chip)<<32 | uint64(cpu)
	return key, true
}

func (k *stateKey) hash() uint64 {
	const odd = 0x9e3779b97f4a7c15
	h := k[0] * odd
	h = (h ^ h>>32 ^ k[1]) * odd
	h = (h ^ h>>32 ^ k[2]) * odd
	return h >> 32
}

func sum(free []int16) int32 {
	var s int32
	for _, f := range free {
		s += int32(f)
	}
	return s
}

// play runs the streams.
func (r *rehearsal) play(chip int16, cpu int32, free []int16) int32 {
	var room [MaxDevices]int16
	for len(free) > 0 && free[0] == 0 {
		free = free[1:]
	}
	idle, lost := sum(free), int32(0)
	g := room[:len(free)]
	for i := range r.streams[chip] {
		copy(g, free)
		lost += idle - r.streams[chip][i].fill(g, cpu)
	}
	return lost
}

// fill puts the stream on devices with this room, ascending, and says how much of them it takes. It goes
// through all steps while a device is wholly free, then through the shares alone.
func (s *stream) fill(g []int16, cpu int32) (taken int32) {
	widest, i := len(g)-1, 0
	for ; i < len(s.all) && g[widest] == Whole; i++ {
		a := &s.all[i]
		if cpu < a.cpu {
			continue
		}
		if a.share < Whole {
			fillTightest(g, a.share)
		} else if !fillWhole(g, int(a.devices)) {
			continue
		}
		taken += int32(a.share) * int32(a.devices)
		if cpu -= a.cpu; cpu < a.leastCPU {
			return taken
		}
	}
	if i == len(s.all) {
		return taken
	}
	shares := s.shares[s.next[i]:]
	for i := range shares {
		a := &shares[i]
		if cpu < a.cpu || g[widest] < a.share {
			continue
		}
		fillTightest(g, a.share)
		taken += int32(a.share)
		if cpu -= a.cpu; cpu < a.leastCPU || g[widest] < a.leastShare {
			return taken
		}
	}
	return taken
}

// fillTightest takes a share of the device with the least room that suffices and keeps g ascending. One must
// have it.
func fillTightest(g []int16, share int16) {
	d := 0
	for g[d] < share {
		d++
	}
	v := g[d] - share
	for d > 0 && g[d-1] > v {
		g[d] = g[d-1]
		d--
	}
	g[d] = v
}

// fillWhole takes whole devices if that many are wholly free, and keeps g ascending.
func fillWhole(g []int16, devices int) bool {
	n := len(g)
	if devices > n || g[n-devices] < Whole {
		return false
	}
	copy(g[devices:], g[:n-devices])
	clear(g[:devices])
	return true
}
