package pack

import (
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/triarch-ai/triarch/compute/sched/place"
)

// steady is a fleet at 90 % load: before a request comes, random ones that run depart until there is room.
type steady struct {
	index   *place.Index
	rng     *rand.Rand
	running [][]place.Place
	used    int64 // thousandths of devices
	limit   int64
	placed  int
	refused int
}

// fleetOf8 is nodes of 8 devices in racks of 16, with the chips of openb in about their proportion.
func fleetOf8(nodes int) []place.Node {
	out := make([]place.Node, nodes)
	for i := range out {
		n := place.Node{
			Name: fmt.Sprintf("node-%05d", i), CPU: 96_000, Memory: 393_216, Devices: 8, Chip: "G2",
			Path: []string{"site", fmt.Sprintf("block-%02d", i/256), fmt.Sprintf("rack-%03d", i/16)},
		}
		switch i % 20 {
		case 0, 7, 14:
			n.Chip, n.CPU, n.Memory = "T4", 256_000, 1_048_576
		case 4:
			n.Chip, n.CPU, n.Memory = "P100", 64_000, 491_520
		case 11:
			n.Chip, n.CPU, n.Memory = "G3", 128_000, 786_432
		case 18:
			n.Chip, n.CPU, n.Memory = "V100M32", 96_000, 786_432
		}
		out[i] = n
	}
	return out
}

func newSteady(b *testing.B, nodes int, mix []place.Weighted) *steady {
	x, err := place.New(fleetOf8(nodes), mix)
	if err != nil {
		b.Fatal(err)
	}
	return &steady{index: x, rng: rand.New(rand.NewPCG(1, 2)), limit: int64(nodes) * 8 * 1000 * 9 / 10}
}

// find is how a request looks for its places.
type find func(x *place.Index, g place.Gang) ([]place.Place, bool)

func (s *steady) step(b *testing.B, g place.Gang, f find) {
	asked := int64(g.Count) * int64(g.Member.Devices) * g.Member.Share
	for s.used+asked > s.limit && len(s.running) > 0 {
		s.depart(b)
	}
	places, ok := f(s.index, g)
	if !ok {
		s.refused++
		return
	}
	s.placed++
	for _, p := range places {
		if err := s.index.Take(p); err != nil {
			b.Fatal(err)
		}
	}
	s.used += asked
	s.running = append(s.running, places)
}

func (s *steady) depart(b *testing.B) {
	i, last := s.rng.IntN(len(s.running)), len(s.running)-1
	for _, p := range s.running[i] {
		if err := s.index.Release(p); err != nil {
			b.Fatal(err)
		}
		s.used -= int64(p.Devices.Count()) * p.Share
	}
	s.running[i] = s.running[last]
	s.running[last] = nil
	s.running = s.running[:last]
}

func single(x *place.Index, g place.Gang) ([]place.Place, bool) {
	p, ok := x.Find(g.Member, place.Scope{})
	return append([]place.Place(nil), p), ok
}

func gang(x *place.Index, g place.Gang) ([]place.Place, bool) {
	if g.Count == 1 {
		return single(x, g)
	}
	return x.FindGang(g, place.Scope{})
}

// openbRequests are the requests of a list, and the mix of their classes.
func openbRequests(b *testing.B, workload string) ([]place.Gang, []place.Weighted) {
	_, pods := openb(b, workload)
	gangs := make([]place.Gang, len(pods))
	for i := range pods {
		p := &pods[i]
		gangs[i] = place.Gang{Count: 1, Member: place.Ask{
			CPU: p.CPU, Memory: p.Memory, Devices: p.Devices, Share: p.Share, Chips: p.Models,
		}}
	}
	return gangs, mixOf(gangs)
}

func mixOf(gangs []place.Gang) []place.Weighted {
	out := make([]place.Weighted, len(gangs))
	for i := range gangs {
		out[i] = place.Weighted{Ask: gangs[i].Member, Count: 1}
	}
	return out
}

// itpRequests are the jobs of the ITP trace: whole devices of one node up to 8, whole nodes above.
func itpRequests(b *testing.B) ([]place.Gang, []place.Weighted) {
	f, err := os.Open(filepath.Join(tracesDir(b), "itp/itp_jobs.csv.gz"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		b.Fatal(err)
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil {
		b.Fatal(err)
	}
	var gangs []place.Gang
	for _, row := range rows[1:] {
		n, err := strconv.Atoi(row[4])
		if err != nil {
			b.Fatal(err)
		}
		g := place.Gang{Count: 1, Member: place.Ask{Devices: n, Share: place.Whole}}
		if n > 8 {
			g = place.Gang{Count: n / 8, Member: place.Ask{Devices: 8, Share: place.Whole}}
		}
		gangs = append(gangs, g)
	}
	return gangs, mixOf(gangs)
}

func benchSteady(b *testing.B, nodes int, gangs []place.Gang, mix []place.Weighted, f find) {
	s := newSteady(b, nodes, mix)
	next := func() place.Gang { return gangs[s.rng.IntN(len(gangs))] }
	for s.used < s.limit*999/1000 {
		s.step(b, next(), gang)
	}
	for range nodes {
		s.step(b, next(), gang)
	}
	s.placed, s.refused = 0, 0
	b.ReportAllocs()
	start := cpuSeconds(b)
	for b.Loop() {
		s.step(b, next(), f)
	}
	b.ReportMetric(float64(b.N)/(cpuSeconds(b)-start), "decisions/cpu-s")
	b.ReportMetric(100*float64(s.refused)/float64(b.N), "refused_%")
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/1e6, "MB")
	runtime.KeepAlive(s)
}

// BenchmarkDecisions is one job placed or refused, in steady state at 90 % load with departures, on one core.
func BenchmarkDecisions(b *testing.B) {
	for _, list := range []string{"default", "gpuspec25"} {
		gangs, mix := openbRequests(b, list)
		for _, nodes := range []int{1000, 6250} {
			b.Run(fmt.Sprintf("openb-%s/nodes=%d/index", list, nodes), func(b *testing.B) { benchSteady(b, nodes, gangs, mix, single) })
		}
		b.Run(fmt.Sprintf("openb-%s/nodes=6250/rescan", list), func(b *testing.B) { benchSteady(b, 6250, gangs, mix, rescan) })
	}
	gangs, mix := itpRequests(b)
	for _, nodes := range []int{1000, 6250} {
		b.Run(fmt.Sprintf("itp/nodes=%d/index", nodes), func(b *testing.B) { benchSteady(b, nodes, gangs, mix, gang) })
	}
	b.Run("itp/nodes=6250/rescan", func(b *testing.B) { benchSteady(b, 6250, gangs, mix, rescan) })
}

// rescan looks at every node for every request: what the index saves.
func rescan(x *place.Index, g place.Gang) ([]place.Place, bool) {
	x.Forget()
	return gang(x, g)
}

// cpuSeconds is the processor time of this process: what a decision costs on a machine that others use too.
func cpuSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
