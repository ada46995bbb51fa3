package queue

import (
	"fmt"

	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/baseline"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/internal/fault"
)

// jobsAndSpeeds reads the trace and the throughputs, and draws or resamples jobs.
func (s *setting) jobsAndSpeeds() error {
	var table *trace.Throughputs
	if s.o.Throughputs != "" {
		var err error
		if table, err = s.throughputs(); err != nil {
			return err
		}
	}
	if s.o.Trace == "" {
		return s.gavelJobs(table)
	}
	in, err := open(s.o.Trace, "trace")
	if err != nil {
		return err
	}
	defer in.Close()
	if s.jobs, s.out.Trace, err = trace.Read(in, trace.Options{File: s.o.Trace, SkipBad: s.o.SkipBad}); err != nil {
		return err
	}
	if s.o.Jobs > 0 {
		return s.resample()
	}
	return nil
}

// resample draws jobs so that every site has the load.
func (s *setting) resample() error {
	capacity := make([]int64, len(s.fleet.Sites)+1)
	for _, n := range s.fleet.Nodes {
		capacity[n.Site] += int64(n.Chips)
	}
	sites := map[string]int{}
	open := false
	for i := range s.jobs {
		cluster := s.jobs[i].Cluster
		if _, known := sites[cluster]; known {
			continue
		}
		site, err := s.fleet.SiteOf(cluster)
		if err != nil {
			return fmt.Errorf("job %s: %w", s.jobs[i].ID, err)
		}
		if sites[cluster] = int(site); site < 0 {
			sites[cluster], open = len(s.fleet.Sites), true
		}
	}
	if open { // jobs that may go anywhere: one load for the whole fleet
		for c := range sites {
			sites[c] = len(s.fleet.Sites)
		}
		capacity[len(s.fleet.Sites)] = s.fleet.TotalChips()
	}
	var err error
	s.jobs, err = trace.Resample(s.jobs, s.o.Jobs, s.o.Load, s.o.Seed, func(j *trace.Job) int { return sites[j.Cluster] }, capacity)
	return err
}

// throughputs reads the table and states the capacity of the fleet for its types.
func (s *setting) throughputs() (*trace.Throughputs, error) {
	in, err := open(s.o.Throughputs, "throughputs")
	if err != nil {
		return nil, err
	}
	defer in.Close()
	table, err := trace.ReadThroughputs(in, trace.Options{File: s.o.Throughputs})
	if err != nil {
		return nil, err
	}
	var names []string
	count := make([]int64, len(s.fleet.Chips))
	for _, c := range s.fleet.Chips {
		names = append(names, c.Name)
	}
	for _, n := range s.fleet.Nodes {
		if n.Chip >= 0 {
			count[n.Chip] += int64(n.Chips)
		}
	}
	reference := s.o.Reference
	if reference == "" {
		reference = fastest(table)
	}
	ppm, err := table.PPM(reference, names)
	if err != nil {
		return nil, err
	}
	capacity, err := baseline.CapacityOf(ppm, count)
	if err != nil {
		return nil, err
	}
	s.out.Capacity, s.table, s.ref = &capacity, table, reference
	s.speeds = &sim.Speeds{Types: table.Types, PPM: ppm}
	return table, nil
}

// fastest is the chip of the table that runs every type and has the highest sum of rates relative to the first chip
// that runs it; a table of few rows has one that is fastest for nearly all types.
func fastest(t *trace.Throughputs) string {
	best, name := -1.0, t.Chips[0]
	for c := range t.Chips {
		sum := 0.0
		for i := range t.Types {
			most := 0.0
			for _, r := range t.Rate[i] {
				most = max(most, r)
			}
			if most > 0 {
				sum += t.Rate[i][c] / most
			}
		}
		if sum > best {
			best, name = sum, t.Chips[c]
		}
	}
	return name
}

// gavelJobs draws Gavel's setting: load is a part of the capacity that the linear programme finds.
func (s *setting) gavelJobs(table *trace.Throughputs) error {
	n := s.o.Jobs
	if n == 0 {
		n, s.o.MeasureFrom, s.o.MeasureTo = 6000, 4000, 5000
	}
	if s.out.Capacity.Best <= 0 {
		return fault.New(fault.Invalid, "The fleet can run none of the types of the throughput table.", fault.Field("throughputs"))
	}
	s.out.Trace.Form, s.out.Trace.Rows = "gavel", n
	var err error
	s.jobs, err = trace.GavelJobs(table.Types, n, s.o.Load*s.out.Capacity.Best/trace.MeanGavelDuration.Hours(), s.o.Seed)
	return err
}

// gavelFleet is the fleet of Gavel's simulations: 36 each of K80, P100 and V100, four on a machine.
func gavelFleet() *fleet.Fleet {
	f := &fleet.Fleet{Sites: []fleet.Site{{Name: "site", End: 27}}}
	for c, name := range []string{"k80", "p100", "v100"} {
		f.Chips = append(f.Chips, fleet.Chip{Name: name})
		for i := range 9 {
			f.Nodes = append(f.Nodes, fleet.Node{Name: fmt.Sprintf("%s-%d", name, i+1), Domain: -1, Chip: int32(c), Chips: 4, CPU: fleet.Unlimited, Memory: fleet.Unlimited})
		}
	}
	return f
}
