package pack

import (
	"os"
	"path/filepath"
	"testing"
)

// tracesDir is where the traces lie whose classes the benchmarks use. They are not part of the repository: TRIARCH_TRACES names the
// folder that holds openb/ and itp/. Command test/sched holds the policies against the published runs.
func tracesDir(b *testing.B) string {
	dir := os.Getenv("TRIARCH_TRACES")
	if dir == "" {
		b.Skip("no traces: set TRIARCH_TRACES to a folder that holds openb/ and itp/")
	}
	return dir
}

func openb(b *testing.B, workload string) ([]Node, []Pod) {
	dir := filepath.Join(tracesDir(b), "openb")
	nodes, err := readFile("nodes", filepath.Join(dir, "openb_node_list_gpu_node.csv.gz"), ReadNodes)
	if err != nil {
		b.Fatal(err)
	}
	pods, err := readFile("pods", filepath.Join(dir, "pods", "openb_pod_list_"+workload+".csv.gz"), ReadPods)
	if err != nil {
		b.Fatal(err)
	}
	return nodes, pods
}
