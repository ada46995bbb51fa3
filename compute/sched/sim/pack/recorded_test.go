package pack

import (
	"context"
	"fmt"
	"math/rand"
	"testing"
)

// smallWorld is a fleet and a list of the kind of openb, made up.
func smallWorld() ([]Node, []Pod) {
	rng := rand.New(rand.NewSource(11))
	var nodes []Node
	for i := range 80 {
		n := Node{Name: fmt.Sprintf("node-%02d", i), CPU: 96_000, Memory: 400_000, Devices: 8, Model: "big"}
		if i%3 == 0 {
			n = Node{Name: n.Name, CPU: 32_000, Memory: 120_000, Devices: 2, Model: "small"}
		}
		nodes = append(nodes, n)
	}
	var pods []Pod
	for i := range 400 {
		p := Pod{Name: fmt.Sprintf("pod-%03d", i), CPU: int64(1+rng.Intn(16)) * 1000, Memory: int64(1+rng.Intn(40)) * 1000}
		switch rng.Intn(10) {
		case 0, 1:
		case 2, 3, 4, 5:
			p.Devices, p.Share = 1, int64(1+rng.Intn(9))*100
		case 6:
			p.Devices, p.Share = 1<<rng.Intn(4), 1000
			p.CPU *= int64(p.Devices)
		default:
			p.Devices, p.Share = 1, 1000
		}
		if p.Devices > 0 && rng.Intn(10) == 0 {
			p.Models = []string{"small"}
		}
		pods = append(pods, p)
	}
	return nodes, pods
}

// TestRecorded holds every policy to what it gave when the published runs were reproduced, on a small world
// that needs no trace.
func TestRecorded(t *testing.T) {
	nodes, pods := smallWorld()
	recorded := map[string]float64{
		"random": 86.55, "dotprod": 92.5, "clustering": 88.52, "packing": 91.62, "bestfit": 92.7, "fgd": 93.39, "triarch": 93.28,
	}
	for _, policy := range Policies() {
		mean := 0.0
		for seed := range int64(5) {
			r, err := Pack(context.Background(), nodes, pods, Options{Policy: policy, Seed: seed})
			if err != nil {
				t.Fatal(err)
			}
			mean += r.AllocatedPercent / 5
		}
		if want := recorded[policy]; round2(mean) != want {
			t.Errorf("%s allocates %.2f %%, recorded is %.2f", policy, mean, want)
		}
	}
}
