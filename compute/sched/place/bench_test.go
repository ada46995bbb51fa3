package place

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// halfFull is a fleet of nodes of 8 devices in racks of 16, about half of it taken by jobs of 1 to 8 devices.
func halfFull(b *testing.B, nodes int) (*Index, []Place) {
	list := make([]Node, nodes)
	for i := range list {
		list[i] = Node{
			Name: fmt.Sprintf("n%05d", i), CPU: 96000, Memory: 1 << 20, Devices: 8, Chip: "c",
			Path: []string{fmt.Sprintf("block-%02d", i/256), fmt.Sprintf("rack-%03d", i/16)},
		}
	}
	var mix []Weighted
	for _, n := range []int{1, 2, 4, 8} {
		mix = append(mix, Weighted{Ask: Ask{CPU: 8000 * int64(n), Devices: n, Share: Whole}, Count: int64(16 / n)})
	}
	x := mustNew(b, list, mix...)
	rng := rand.New(rand.NewPCG(5, 6))
	var running []Place
	for used := 0; used < nodes*4; {
		p, ok := x.Find(mix[rng.IntN(4)].Ask, Scope{})
		if !ok {
			b.Fatal("half a fleet is not to be filled")
		}
		if err := x.Take(p); err != nil {
			b.Fatal(err)
		}
		used += p.Devices.Count()
		running = append(running, p)
	}
	return x, running
}

// BenchmarkGang places a gang of whole nodes, takes it and gives it back.
func BenchmarkGang(b *testing.B) {
	for _, size := range []int{2, 8, 64, 512} {
		b.Run(fmt.Sprintf("nodes=6250/size=%d", size), func(b *testing.B) {
			x, _ := halfFull(b, 6250)
			g := Gang{Member: Ask{CPU: 64000, Devices: 8, Share: Whole}, Count: size}
			b.ReportAllocs()
			for b.Loop() {
				places, ok := x.FindGang(g, Scope{})
				if !ok {
					b.Fatal("no room")
				}
				for _, p := range places {
					if err := x.Take(p); err != nil {
						b.Fatal(err)
					}
				}
				for _, p := range places {
					if err := x.Release(p); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkTrial tries what 16 victims would make room for: release them, look for a gang, undo it all.
func BenchmarkTrial(b *testing.B) {
	x, running := halfFull(b, 6250)
	rng := rand.New(rand.NewPCG(7, 8))
	g := Gang{Member: Ask{CPU: 64000, Devices: 8, Share: Whole}, Count: 4}
	b.ReportAllocs()
	for b.Loop() {
		t := x.Try()
		first := rng.IntN(len(running) - 16)
		for _, p := range running[first : first+16] {
			if err := x.Release(p); err != nil {
				b.Fatal(err)
			}
		}
		if _, ok := x.FindGang(g, Scope{}); !ok {
			b.Fatal("no room")
		}
		x.Rollback(t)
	}
}
