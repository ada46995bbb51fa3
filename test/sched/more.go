package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"encoding/csv"

	"compress/gzip"

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
	published, err := r.published()
	if err != nil {
		return err
	}
	for _, ties := range []string{"rank", "random"} {
		var all, rest float64
		for _, list := range lists {
			var gain float64
			for seed := int64(42); seed <= 46; seed++ {
				res, err := pack.Run(ctx, pack.Options{NodesFile: filepath.Join(r.traces, "openb", "openb_node_list_gpu_node.csv.gz"),
					PodsFile: filepath.Join(r.traces, "openb", "pods", "openb_pod_list_"+list+".csv.gz"), Policy: "triarch", Ties: ties, Seed: seed})
				if err != nil {
					return err
				}
				gain += (res.AllocatedPercent - published[list+strconv.FormatInt(seed, 10)]) / 5
			}
			what := list + ", ties by " + ties
			if tuned[list] {
				what += " (tuned on)"
			} else {
				rest += gain / float64(len(lists)-len(tuned))
			}
			all += gain / float64(len(lists))
			r.row(what, fmt.Sprintf("%+.3f", gain), ">= -0.100", gain >= -0.1)
			r.out.Flush()
		}
		r.row("mean, ties by "+ties, fmt.Sprintf("%+.3f", all), ">= +0.300", all >= 0.3)
		r.told("mean of the lists not tuned on", "%+.3f", rest)
	}
	return nil
}

// published is the last column of the published FGD runs, by list and seed.
func (r *rig) published() (map[string]float64, error) {
	f, err := os.Open(filepath.Join(r.traces, "openb", "fgd_expected", "allo.csv.gz"))
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
	at := map[string]int{}
	for i, h := range rows[0] {
		at[h] = i
	}
	out := map[string]float64{}
	for _, row := range rows[1:] {
		if row[at["sc_policy"]] != "06-FGD" {
			continue
		}
		v, err := strconv.ParseFloat(row[at["130"]], 64)
		if err != nil {
			return nil, err
		}
		out[row[at["workload"]][len("openb_pod_list_"):]+row[at["seed"]]] = v
	}
	return out, nil
}
