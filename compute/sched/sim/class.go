package sim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// class is what jobs with the same needs have in common.
type class struct {
	pools   []int32 // those that could run it, in the fleet's order; machines without chips first for CPU only work
	site    int32
	jobs    int64
	refusal string // why no empty fleet could run it, naming the nearest thing that fits; empty if one could
}

func (c *class) allows(pool int32) bool { return slices.Contains(c.pools, pool) }

func sharing(j trace.Job) bool { return j.Chips == 1 && j.Share < 1000 }

// makeClasses numbers the different needs of the trace and finds out where each could run.
func (w *World) makeClasses() error {
	type key struct {
		site, chips, share, low, high, row int32
		cpu, memory                        int64
		list                               string
	}
	at := map[key]int32{}
	sites := map[string]int32{}
	rows := map[string]int32{}
	for j := range w.jobs {
		job, js := &w.jobs[j], &w.job[j]
		site, known := sites[job.Cluster]
		if !known {
			var err error
			if site, err = w.fleet.SiteOf(job.Cluster); err != nil {
				return fmt.Errorf("job %s: %w", job.ID, err)
			}
			sites[job.Cluster] = site
		}
		row, err := w.rowOf(job, rows)
		if err != nil {
			return err
		}
		k := key{site, job.Chips, job.Share, job.MinChips, job.MaxChips, row, job.CPU, job.Memory, strings.Join(job.ChipList, "|")}
		c, known := at[k]
		if !known {
			made, err := w.makeClass(site, row, &job.Spec)
			if err != nil {
				return err
			}
			c = int32(len(w.classes))
			at[k] = c
			w.classes = append(w.classes, made)
		}
		w.classes[c].jobs++
		js.class, js.speedRow, js.home = c, row, site
		if site < 0 {
			js.home, w.unbound = int32(len(w.fleet.Sites)), true
		}
		js.waited = job.Submit
	}
	return nil
}

// rowOf is the row of the throughput table for the job's type, -1 where there is no table or no type.
func (w *World) rowOf(job *trace.Job, rows map[string]int32) (int32, error) {
	if w.opt.Speeds == nil || job.Type == "" {
		return -1, nil
	}
	row, known := rows[job.Type]
	if !known {
		i := slices.Index(w.opt.Speeds.Types, job.Type)
		if i < 0 {
			return 0, fault.New(fault.Invalid, fmt.Sprintf("Job %s (line %d) is of type %q, which the throughput table does not have.", job.ID, job.Line, job.Type),
				fault.Field("type"), fault.Fix("The nearest is %q", nearest.Name(job.Type, w.opt.Speeds.Types)))
		}
		row = int32(i)
		rows[job.Type] = row
	}
	return row, nil
}

// makeClass finds the pools for a need, or why there is none.
func (w *World) makeClass(site, row int32, s *trace.Spec) (class, error) {
	chips, err := w.chipsOf(s)
	if err != nil {
		return class{}, err
	}
	c := class{site: site}
	most := int64(0)
	for p := range w.pools {
		pl := &w.pools[p]
		if site >= 0 && pl.Site != site || s.Chips > 0 && (pl.Chip < 0 || pl.Size == 0) {
			continue
		}
		if s.Chips > 0 && (len(chips) > 0 && !slices.Contains(chips, pl.Chip) || w.speedOf(row, pl.Chip) == 0) {
			continue
		}
		holds, together := w.holds(pl, s), int64(0)
		for _, k := range pl.kin {
			if len(pl.kin) > 1 && s.Chips > 0 && s.Share == 1000 {
				whole, _ := w.wholes(&w.pools[k], s)
				together += whole
			}
		}
		most = max(most, holds, together)
		if together >= int64(max(1, s.MinChips)) && s.MinChips > w.pools[pl.kin[0]].Size { // a gang over unlike nodes
			holds = together
		}
		if holds >= int64(max(1, s.MinChips)) {
			c.pools = append(c.pools, int32(p))
		}
	}
	if s.Chips == 0 {
		slices.SortStableFunc(c.pools, func(a, b int32) int { return min(1, int(w.pools[a].Size)) - min(1, int(w.pools[b].Size)) })
	}
	if len(c.pools) == 0 {
		c.refusal = w.refusal(site, s, most)
	}
	return c, nil
}

// holds is the largest number of chips that a job with these needs could have on the empty pool; 1 or 0 for CPU only.
func (w *World) holds(pl *pool, s *trace.Spec) int64 {
	if s.Chips == 0 {
		for _, i := range pl.Nodes {
			if n := &w.fleet.Nodes[i]; s.CPU <= n.CPU && s.Memory <= n.Memory {
				return 1
			}
		}
		return 0
	}
	total, best := w.wholes(pl, s)
	if s.Share < 1000 {
		return min(1, best)
	}
	return max(total, best)
}

// wholes is how many chips the nodes have that a job could use as a whole, and the most that it could use of one.
func (w *World) wholes(pl *pool, s *trace.Spec) (total, best int64) {
	for _, i := range pl.Nodes {
		fits := int64(w.could(i, s))
		if best = max(best, fits); fits == int64(w.fleet.Nodes[i].Chips) {
			total += fits
		}
	}
	return total, best
}

// refusal says why no empty fleet could run the job and what is the nearest thing that would fit.
func (w *World) refusal(site int32, s *trace.Spec, most int64) string {
	where := "the fleet"
	if site >= 0 {
		where = "site " + w.fleet.Sites[site].Name
	}
	what := fmt.Sprintf("%d chips", s.Chips)
	if s.Share < 1000 {
		what = fmt.Sprintf("a chip's share of %d thousandths", s.Share)
	}
	if len(s.ChipList) > 0 {
		what += " of " + strings.Join(s.ChipList, " or ")
	}
	if s.CPU > 0 || s.Memory > 0 {
		what += fmt.Sprintf(", %.3g cores and %d MiB", float64(s.CPU)/1000, s.Memory)
	}
	if most > 0 {
		return fmt.Sprintf("%s could never run %s; the most such a job can have there is %d chips", where, what, most)
	}
	return fmt.Sprintf("%s could never run %s; the largest machine there has %s", where, what, w.largest(site))
}

func (w *World) largest(site int32) string {
	var chips int32
	var cpu, memory int64
	for i := range w.fleet.Nodes {
		if n := &w.fleet.Nodes[i]; site < 0 || n.Site == site {
			chips, cpu, memory = max(chips, n.Chips), max(cpu, n.CPU), max(memory, n.Memory)
		}
	}
	return fmt.Sprintf("%d chips, %.3g cores and %d MiB", chips, float64(cpu)/1000, memory)
}

// chipsOf is the job's chip list as numbers; a name the fleet does not know is an error naming the nearest.
func (w *World) chipsOf(s *trace.Spec) ([]int32, error) {
	var out []int32
	for _, name := range s.ChipList {
		found := false
		var names []string
		for c := range w.fleet.Chips {
			if w.fleet.Chips[c].Name == name {
				out, found = append(out, int32(c)), true
			}
			names = append(names, w.fleet.Chips[c].Name)
		}
		if !found {
			return nil, fault.New(fault.Invalid, fmt.Sprintf("Job %s (line %d) names the chip %q, which the fleet does not have.", s.ID, s.Line, name),
				fault.Field("chip_list"), fault.Fix("The nearest is %q", nearest.Name(name, names)))
		}
	}
	return out, nil
}
