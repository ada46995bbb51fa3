package pack

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/fault"
)

const nodesCSV = `sn,cpu_milli,memory_mib,gpu,model
b,16000,1000,2,fast
a,64000,4000,8,slow
c,32000,1000,0,
`

const podsCSV = `name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec
one,4000,10,1,1000,
third,2000,10,1,300,fast|slow
pair,8000,10,2,1000,slow
cpu,6000,10,0,0,
`

func lists(t testing.TB) ([]Node, []Pod) {
	nodes, err := ReadNodes(strings.NewReader(nodesCSV), "nodes")
	if err != nil {
		t.Fatal(err)
	}
	pods, err := ReadPods(strings.NewReader(podsCSV), "pods")
	if err != nil {
		t.Fatal(err)
	}
	return nodes, pods
}

func TestRead(t *testing.T) {
	nodes, pods := lists(t)
	want := Node{Name: "b", CPU: 16000, Memory: 1000, Devices: 2, Model: "fast"}
	if d := cmp.Diff(want, nodes[0]); d != "" || len(nodes) != 3 {
		t.Errorf("%d nodes, %s", len(nodes), d)
	}
	pod := Pod{Name: "third", CPU: 2000, Memory: 10, Devices: 1, Share: 300, Models: []string{"fast", "slow"}}
	if d := cmp.Diff(pod, pods[1]); d != "" || len(pods) != 4 {
		t.Errorf("%d pods, %s", len(pods), d)
	}
}

// TestBadRows: a row that cannot be true is an error that names file, line and field.
func TestBadRows(t *testing.T) {
	for _, c := range []struct{ list, text, want string }{
		{"nodes", "sn,cpu_milli,memory_mib\n", `no column "gpu"`},
		{"nodes", "", "header"},
		{"nodes", "sn,cpu_milli,memory_mib,gpu,model\n", "no nodes"},
		{"nodes", nodesCSV + "d,-1,0,0,\n", "list line 5, cpu_milli: -1 is not between"},
		{"nodes", nodesCSV + "d,1,x,0,\n", `list line 5, memory_mib: "x" is not a whole number`},
		{"nodes", nodesCSV + "d,1,1,64,m\n", "list line 5, gpu: 64 is not between 0 and 63"},
		{"nodes", nodesCSV + "d,1,1,1,\n", "list line 5, model"},
		{"nodes", nodesCSV + "a,1,1,1,m\n", `list line 5, sn: node "a" is already on line 3`},
		{"nodes", nodesCSV + "d,1\n", "wrong number of fields"},
		{"nodes", nodesCSV + ",1,1,1,m\n", "list line 5, sn: empty"},
		{"pods", "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n", "no pods"},
		{"pods", podsCSV + "x,1,1,0,5,\n", "list line 6, gpu_milli: a pod without accelerators asks a share of 5"},
		{"pods", podsCSV + "x,1,1,1,0,\n", "list line 6, gpu_milli: a pod with accelerators asks a share of 0"},
		{"pods", podsCSV + "x,1,1,2,500,\n", "list line 6, gpu_milli: a share below 1000 is for one accelerator, not 2"},
		{"pods", podsCSV + "x,1,1,1,1001,\n", "list line 6, gpu_milli: 1001 is not between 0 and 1000"},
		{"pods", podsCSV + "x,9999999999,1,1,1,\n", "list line 6, cpu_milli: 9999999999 is not between"},
		{"pods", podsCSV + "x,1,1,1,1," + strings.Repeat("m", 2000) + "\n", "list line 6, gpu_spec: longer than"},
		{"pods", "\x1f\x8bnot gzip", "broken gzip"},
	} {
		var err error
		if c.list == "nodes" {
			_, err = ReadNodes(strings.NewReader(c.text), "list")
		} else {
			_, err = ReadPods(strings.NewReader(c.text), "list")
		}
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q gives %v, want %q", c.text, err, c.want)
		}
	}
}

// TestArrivals holds the stream to the protocol with a generator that is asked the same by hand.
func TestArrivals(t *testing.T) {
	_, pods := lists(t)
	slices.SortFunc(pods, func(a, b Pod) int { return strings.Compare(a.Name, b.Name) }) // cpu one pair third
	const capacity = 10_000
	got, err := arrivals(rand.New(rand.NewSource(42)), pods, capacity, 1.3)
	if err != nil {
		t.Fatal(err)
	}

	rng := rand.New(rand.NewSource(42))
	rng.Int()
	want := []int32{0, 1, 2, 3}
	rng.Shuffle(4, func(i, j int) { want[i], want[j] = want[j], want[i] })
	share, all := []int64{0, 1000, 1000, 300}, []int64{0, 1000, 2000, 300}
	for asked := int64(3300); ; {
		i := rng.Intn(4)
		if asked+share[i] > 13_000 {
			break
		}
		asked += all[i]
		want = append(want, int32(i))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// A list that asks too much is cut down and not filled up again.
	got, _ = arrivals(rand.New(rand.NewSource(42)), pods, 1000, 1.3)
	var asked int64
	for _, i := range got {
		asked += all[i]
	}
	if asked > 1300 || len(got) == 4 {
		t.Errorf("%v asks %d of 1300", got, asked)
	}
	// A list that asks for nothing comes once.
	if got, _ = arrivals(rand.New(rand.NewSource(1)), pods[:1], 1000, 1.3); len(got) != 1 {
		t.Errorf("a list without accelerators gives %d arrivals", len(got))
	}
	// One that asks next to nothing would come for ever.
	tiny := []Pod{{Name: "p", Devices: 1, Share: 1}}
	if _, err = arrivals(rand.New(rand.NewSource(1)), tiny, 1<<40, 1.3); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a list without end gives %v", err)
	}
}

// TestFragment is the published measure worked out by hand: four classes of a quarter each.
func TestFragment(t *testing.T) {
	_, pods := lists(t)
	classes := typicals(pods, map[string]int{"fast": 0, "slow": 1})
	if len(classes) != 4 || classes[0].p != 0.25 || classes[0].cpu != 8000 || classes[3].cpu != 2000 {
		t.Fatalf("classes %+v", classes)
	}
	for _, c := range []struct {
		name  string
		model int
		cpu   int64
		free  []int64
		want  float64
	}{
		{"the CPU-only class can use none", 1, 64000, []int64{1000, 1000}, 0.25 * 2000},
		{"pair is excluded", 0, 64000, []int64{1000, 1000}, 0.25*2000 + 0.25*2000},
		{"one cannot use the divided", 1, 64000, []int64{1000, 500}, 0.25*1500 + 0.25*500 + 0.25*1500},
		{"third alone has CPU", 1, 3000, []int64{1000, 200}, 0.25*1200*3 + 0.25*200},
		{"nothing is idle", 1, 0, []int64{0, 0}, 0},
	} {
		if got := fragment(classes, c.model, c.cpu, c.free); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestScores are the published formulas worked out by hand.
func TestScores(t *testing.T) {
	m := &machine{cpu: 64000, memory: 1, free: []int64{1000, 1000, 400, 0}, idle: 2400, hosts: 1 | 1<<2}
	empty := &machine{cpu: 64000, memory: 1, free: []int64{1000, 1000, 1000, 1000}, idle: 4000}
	share := &want{cpu: 32000, devices: 1, share: 300, kind: 1}
	one := &want{cpu: 32000, devices: 1, share: 1000, kind: 1 << 1}
	two := &want{cpu: 32000, devices: 2, share: 1000, kind: 1 << 2}
	cpu := &want{cpu: 32000}
	for _, c := range []struct {
		name  string
		score score
		m     *machine
		w     *want
		want  int64
	}{
		{"dotprod share", dotProd, m, share, 93},         // 1 - (0.5*0.25 + 0.3*0.0375)/2
		{"dotprod two", dotProd, empty, two, 87},         // 1 - (0.125 + 0.5*0.25)/2
		{"dotprod cpu", dotProd, m, cpu, 93},             // 1 - 0.125/2
		{"clustering share", clustering, m, share, 67},   // 25*0.7 cut + 50: others too
		{"clustering one", clustering, m, one, 17},       // only others
		{"clustering empty", clustering, empty, one, 37}, // 12 + 25
		{"clustering cpu", clustering, m, cpu, 0},
		{"packing share", packing, m, share, 96},     // 100 - 40/10
		{"packing one", packing, m, one, 49},         // breaks one
		{"packing two", packing, m, two, 48},         // breaks two
		{"packing empty", packing, empty, share, 29}, // 33 - 4
		{"packing cpu", packing, m, cpu, 0},
		{"bestfit share", bestFit, m, share, 74}, // 1 - (0.5*0.25 + 0.5*0.2625)
		{"bestfit two", bestFit, m, two, 85},     // 1 - (0.125 + 0.5*0.05)
	} {
		if got, _ := c.score(nil, c.m, c.w); got != c.want {
			t.Errorf("%s = %d, want %d", c.name, got, c.want)
		}
	}
}

// TestFGD: of two devices the share goes to the one where less is stranded.
func TestFGD(t *testing.T) {
	f := &fleet{classes: []typical{{cpu: 1, share: 1000, devices: 1, p: 0.5}, {cpu: 1, share: 500, devices: 1, p: 0.5}}}
	m := &machine{cpu: 100, free: []int64{1000, 500}, idle: 1500}
	m.fragment = fragment(f.classes, 0, m.cpu, m.free) // 500 for the first class
	worth, device := fgd(f, m, &want{cpu: 1, devices: 1, share: 500})
	// On device 1: 0 after, 250 less: 100*sigmoid(0.25) = 56.2. On device 0: 0.5*1000 after, 250 more.
	if worth != 56 || device != 1 {
		t.Errorf("worth %d on device %d, want 56 on 1", worth, device)
	}
}

// TestPolicies: every policy fills a small fleet to what can be filled, the same each time.
func TestPolicies(t *testing.T) {
	nodes, pods := lists(t)
	for _, policy := range Policies() {
		for _, ties := range []string{"rank", "random"} {
			o := Options{Policy: policy, Ties: ties, Seed: 7, Stop: 3}
			first, err := Pack(context.Background(), nodes, pods, o)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Pack(context.Background(), nodes, pods, o)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(first, again); d != "" {
				t.Errorf("%s %s differs from itself: %s", policy, ties, d)
			}
			if first.AllocatedPercent < 70 || first.AllocatedPercent > 100 || first.Placed > first.Arrived {
				t.Errorf("%s %s: %+v", policy, ties, first)
			}
			if n := len(first.Allocated); n < 290 || n != len(first.Fragment) || !slices.IsSorted(first.Allocated) {
				t.Errorf("%s %s: %d columns", policy, ties, n)
			}
			if first.Nodes != 3 || first.Devices != 10 {
				t.Errorf("%d nodes, %d devices", first.Nodes, first.Devices)
			}
		}
	}
}

// TestColumns are means over the arrivals that round to the column.
func TestColumns(t *testing.T) {
	c := newColumns(1000)
	c.add(5, 5, 995, 100)  // 0.5 % rounds half to even: column 0
	c.add(6, 6, 994, 100)  // column 1
	c.add(14, 10, 990, 99) // column 1
	c.add(30, 10, 990, 99) // column 3
	c.add(40, 1000, 0, 0)  // column 4, nothing idle
	var r Result
	c.finish(&r)
	if d := cmp.Diff([]float64{0.5, 0.8, 0.8, 1, 100}, r.Allocated); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]float64{10, 9.95, 9.95, 9.9, 0}, r.Fragment); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]float64{10.05, 10.03, 10.03, 10, 0}, r.FragmentOfIdle); d != "" {
		t.Error(d)
	}
	if r.AllocatedPercent != 100 {
		t.Errorf("allocated %v", r.AllocatedPercent)
	}
}

// TestRun reads plain and gzipped files, and names what is wrong with the options.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	nodes, pods := filepath.Join(dir, "nodes.csv.gz"), filepath.Join(dir, "pods.csv")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, werr := z.Write([]byte(nodesCSV))
	if err := errors.Join(werr, z.Close(), os.WriteFile(nodes, packed.Bytes(), 0o600), os.WriteFile(pods, []byte(podsCSV), 0o600)); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	r, err := Run(ctx, Options{NodesFile: nodes, PodsFile: pods, Policy: "triarch"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil || !bytes.Contains(text, []byte(`"allocated_percent":`)) || r.Ties != "rank" || len(r.Allocated) < 120 {
		t.Errorf("%s %v", text, err)
	}
	for want, o := range map[string]Options{
		"policy": {NodesFile: nodes, PodsFile: pods, Policy: "best"},
		"ties":   {NodesFile: nodes, PodsFile: pods, Policy: "fgd", Ties: "none"},
		"stop":   {NodesFile: nodes, PodsFile: pods, Policy: "fgd", Stop: -1},
	} {
		if _, err := Run(ctx, o); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v gives %v, want %q", o, err, want)
		}
	}
	if _, err := Run(ctx, Options{NodesFile: nodes, PodsFile: dir + "/no", Policy: "fgd"}); fault.KindOf(err) != fault.NotFound || fault.As(err).Field != "pods" {
		t.Errorf("a file that is not there gives %v", err)
	}
	if _, err := Pack(ctx, []Node{{Name: "n", CPU: 1}}, []Pod{{Name: "p"}}, Options{Policy: "fgd"}); err == nil {
		t.Error("a fleet without accelerators is filled")
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Run(gone, Options{NodesFile: nodes, PodsFile: pods, Policy: "fgd"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled run gives %v", err)
	}
}

// FuzzPack: no text makes the readers or a packing crash.
func FuzzPack(f *testing.F) {
	f.Add(nodesCSV, podsCSV)
	f.Add("sn,cpu_milli,memory_mib,gpu\nn,1,1,1\n", "name,cpu_milli,memory_mib,num_gpu,gpu_milli\np,1,1,1,1\n")
	f.Fuzz(func(t *testing.T, n, p string) {
		nodes, err := ReadNodes(strings.NewReader(n), "nodes")
		if err != nil {
			return
		}
		pods, err := ReadPods(strings.NewReader(p), "pods")
		if err != nil || len(nodes) > 20 || len(pods) > 50 {
			return
		}
		for i := range pods {
			pods[i].Share = max(pods[i].Share, int64(min(pods[i].Devices, 1))*100) // keeps the run short
		}
		for _, policy := range Policies() {
			r, err := Pack(context.Background(), nodes, pods, Options{Policy: policy, Stop: 1.1})
			if err == nil && (r.AllocatedPercent < 0 || r.AllocatedPercent > 100) {
				t.Errorf("%s allocates %v %%", policy, r.AllocatedPercent)
			}
		}
	})
}
