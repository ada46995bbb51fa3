package main

import (
	"compress/gzip"
	"context"
	"encoding/csv"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/sched"
	"github.com/triarch-ai/triarch/compute/sched/predict"
	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/pack"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/compute/sched/sim/triarch"
)

// foresight tries at many instants whether a decision depended on what came later.
func (r *rig) foresight(ctx context.Context) error {
	in, err := os.Open(filepath.Join(r.traces, "itp", "itp_jobs.csv.gz"))
	if err != nil {
		return err
	}
	defer in.Close()
	jobs, _, err := trace.Read(in, trace.Options{})
	if err != nil {
		return err
	}
	f, err := itpSetting()
	if err != nil {
		return err
	}
	span := jobs[len(jobs)-1].Submit - jobs[0].Submit
	d := rand.New(rand.NewPCG(1, 1))
	var at []time.Duration
	for range r.instants {
		at = append(at, jobs[0].Submit+time.Duration(d.Int64N(int64(span))))
	}
	mk := func() sim.Policy { return triarch.New(sched.Config{}, sched.Learned(predict.New(predict.Options{}))) }
	diff, err := sim.Foresight(ctx, jobs, f, mk, sim.Options{}, at, 1)
	if err != nil {
		return err
	}
	r.row(fmt.Sprintf("decisions before %d instants that what came later changed", r.instants), "none "+diff, "none", diff == "")
	return nil
}

// tuned are the lists on which the constants of the score were chosen.
var tuned = map[string]bool{"default": true, "cpu200": true, "gpushare40": true, "gpushare80": true, "gpuspec20": true, "multigpu30": true}

var lists = []string{"default", "cpu050", "cpu100", "cpu200", "gpushare40", "gpushare60", "gpushare80", "gpuspec10", "gpuspec20", "gpuspec25",
	"multigpu20", "multigpu30", "multigpu40"}

// pack is the static saturation of openb: gain over the published FGD at the last column.
func (r *rig) pack(ctx context.Context) error {
	published, err := r.published("allo.csv.gz")
	if err != nil {
		return err
	}
	for _, ties := range []string{"rank", "random"} {
		var all, rest float64
		for _, list := range lists {
			var gain float64
			for seed := int64(42); seed <= 46; seed++ {
				res, err := r.packed(ctx, list, "triarch", ties, seed)
				if err != nil {
					return err
				}
				ref := published[name(list, "fgd", seed)]
				gain += (res.AllocatedPercent - ref[len(ref)-1]) / 5
			}
			what := list + ", ties by " + ties
			if tuned[list] {
				what += " (tuned on)"
			} else {
				rest += gain / float64(len(lists)-len(tuned))
			}
			all += gain / float64(len(lists))
			r.row(what, fmt.Sprintf("%+.3f", gain), ">= -0.100", gain >= -0.1)
			_ = r.out.Flush()
		}
		r.row("mean, ties by "+ties, fmt.Sprintf("%+.3f", all), ">= +0.300", all >= 0.3)
		r.told("mean of the lists not tuned on", "%+.3f", rest)
	}
	return nil
}

// curves are the columns of published runs, by list, policy and seed.
type curves map[string][]float64

func name(list, policy string, seed int64) string { return fmt.Sprint(list, "/", policy, "/", seed) }

// published reads a file of published results.
func (r *rig) published(file string) (curves, error) {
	f, err := os.Open(filepath.Join(r.traces, "openb", "fgd_expected", file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil {
		return nil, err
	}
	first := slices.Index(rows[0], "0")
	out := curves{}
	for _, row := range rows[1:] {
		seed, err := strconv.ParseInt(row[3], 10, 64)
		if err != nil {
			return nil, err
		}
		policy := strings.ToLower(strings.TrimPrefix(row[1][3:], "Gpu")) // "06-FGD", "03-GpuClustering"
		n := name(strings.TrimPrefix(row[0], "openb_pod_list_"), policy, seed)
		for _, s := range row[first:] {
			v, err := strconv.ParseFloat(s, 64)
			if err != nil {
				return nil, err
			}
			out[n] = append(out[n], v)
		}
	}
	return out, nil
}

// protocol reproduces the published runs, column by column; random, whose original numbers its candidates in the order in
// which parallel checks end, in the mean.
func (r *rig) protocol(ctx context.Context) error {
	allo, err := r.published("allo.csv.gz")
	if err != nil {
		return err
	}
	frag, err := r.published("frag.csv.gz")
	if err != nil {
		return err
	}
	for _, policy := range pack.Policies()[:6] {
		var worst, gap float64
		runs := 0
		for _, list := range lists {
			for seed := int64(42); seed <= 46; seed++ {
				res, err := r.packed(ctx, list, policy, "rank", seed)
				if err != nil {
					return err
				}
				n := name(list, policy, seed)
				a, f := allo[n], frag[n]
				if len(a) != len(res.Allocated) || len(f) != len(res.Fragment) {
					return fmt.Errorf("%s has %d columns, %d are published", n, len(res.Allocated), len(a))
				}
				for c := range a {
					worst = max(worst, math.Abs(a[c]-res.Allocated[c]), math.Abs(f[c]-res.Fragment[c]))
				}
				gap += res.AllocatedPercent - a[len(a)-1]
				runs++
			}
		}
		if policy == "random" {
			gap /= float64(runs)
			r.row(fmt.Sprintf("%s, %d runs: mean difference at the end", policy, runs), fmt.Sprintf("%+.3f", gap), "0.3 at most", math.Abs(gap) <= 0.3)
			continue
		}
		r.row(fmt.Sprintf("%s, %d runs: largest difference of any column", policy, runs), fmt.Sprintf("%.3f", worst), "0.01 at most", worst < 0.0101)
	}
	return nil
}

func (r *rig) packed(ctx context.Context, list, policy, ties string, seed int64) (*pack.Result, error) {
	return pack.Run(ctx, pack.Options{NodesFile: filepath.Join(r.traces, "openb", "openb_node_list_gpu_node.csv.gz"),
		PodsFile: filepath.Join(r.traces, "openb", "pods", "openb_pod_list_"+list+".csv.gz"), Policy: policy, Ties: ties, Seed: seed})
}
