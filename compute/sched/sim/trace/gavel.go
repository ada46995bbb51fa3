package trace

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// Throughputs says how many steps a second each type of job makes on each chip, alone on one of it.
type Throughputs struct {
	Chips []string    // in the order of the file
	Types []string    // in the order of the file
	Rate  [][]float64 // by type, then chip; steps a second, 0 where it was not measured or does not fit
}

// ReadThroughputs reads the table of Gavel (Narayanan et al., OSDI 2020), plain or gzip: worker_type, job_type,
// scale_factor, other_job, other_sf, iters_per_s, other_iters_per_s. Of its rows those count that have one chip, no
// other job beside them and are not spread over nodes.
func ReadThroughputs(r io.Reader, o Options) (*Throughputs, error) {
	t, err := open(r, o)
	if err != nil {
		return nil, err
	}
	for _, c := range []string{"worker_type", "job_type", "scale_factor", "iters_per_s"} {
		if !t.has(c) {
			return nil, fault.New(fault.Invalid, fmt.Sprintf("%s has no column %s.", t.file, c), fault.Field(c),
				fault.Fix("A throughput table has worker_type, job_type, scale_factor, other_job and iters_per_s"))
		}
	}
	out := &Throughputs{}
	seen := map[[2]int]bool{}
	for t.next() {
		worker, job := t.name("worker_type"), t.name("job_type")
		rate := t.number("iters_per_s", 0, 1e12, must)
		scale := t.whole("scale_factor", 1, MaxChips, must)
		if worker == "" || job == "" {
			t.bad("job_type", "worker_type or job_type is empty")
		}
		if t.err == nil && scale == 1 && t.cell("other_job") == "" && !strings.HasSuffix(worker, "_unconsolidated") {
			at := [2]int{out.typeAt(job), out.chipAt(worker)}
			if seen[at] {
				t.bad("job_type", "the pair %s on %s is there twice", job, worker)
			}
			seen[at] = true
			out.Rate[at[0]][at[1]] = rate
		}
		if t.err != nil {
			return nil, t.err
		}
		if len(out.Types)*len(out.Chips) > 100_000 {
			return nil, fault.New(fault.TooLarge, t.file+" has more than 100000 pairs of type and chip.")
		}
	}
	if t.fatal != nil {
		return nil, t.fatal
	}
	if len(out.Types) == 0 {
		return nil, fault.New(fault.Invalid, t.file+" measures no type of job alone on one chip.")
	}
	return out, nil
}

func (t *Throughputs) typeAt(name string) int {
	if i := slices.Index(t.Types, name); i >= 0 {
		return i
	}
	t.Types = append(t.Types, name)
	t.Rate = append(t.Rate, make([]float64, len(t.Chips)))
	return len(t.Types) - 1
}

func (t *Throughputs) chipAt(name string) int {
	if i := slices.Index(t.Chips, name); i >= 0 {
		return i
	}
	t.Chips = append(t.Chips, name)
	for i := range t.Rate {
		t.Rate[i] = append(t.Rate[i], 0)
	}
	return len(t.Chips) - 1
}

// PPM is the table as speeds relative to a reference chip, in millionths, for the named chips of a fleet. A type that
// the reference chip cannot run, and a chip that the table does not have, are errors.
func (t *Throughputs) PPM(reference string, chips []string) ([][]int64, error) {
	ref, err := t.find("reference", reference)
	if err != nil {
		return nil, err
	}
	out := make([][]int64, len(t.Types))
	for i := range out {
		if t.Rate[i][ref] == 0 {
			return nil, fault.New(fault.Invalid, fmt.Sprintf("The reference chip %s cannot run %q.", reference, t.Types[i]), fault.Field("reference"))
		}
		for _, name := range chips {
			c, err := t.find("chip", name)
			if err != nil {
				return nil, err
			}
			out[i] = append(out[i], min(1_000_000_000, int64(math.Round(t.Rate[i][c]/t.Rate[i][ref]*1e6))))
		}
	}
	return out, nil
}

func (t *Throughputs) find(field, name string) (int, error) {
	c := slices.Index(t.Chips, name)
	if c < 0 {
		return 0, fault.New(fault.Invalid, fmt.Sprintf("The throughput table has no chip %q.", name), fault.Field(field),
			fault.Fix("The nearest is %q", nearest.Name(name, t.Chips)))
	}
	return c, nil
}

// MeanGavelDuration is the mean of the durations that GavelJobs draws.
const MeanGavelDuration = time.Duration(60_361 * float64(time.Second))

// GavelJobs draws n jobs in Gavel's continuous setting: one chip each, types uniform, Poisson arrivals at rate jobs an
// hour, durations on the reference chip of 10^x minutes with x uniform in 1.5 to 3 for four jobs in five and in 3 to 4
// for the fifth (the job generator of the published artifact).
func GavelJobs(types []string, n int, rate float64, seed uint64) ([]Job, error) {
	if n <= 0 || n > MaxRows || len(types) == 0 || !(rate > 0 && rate < 1e9) {
		return nil, fault.New(fault.Invalid, fmt.Sprintf("Cannot draw %d jobs of %d types at %g an hour.", n, len(types), rate), fault.Field("jobs"))
	}
	r := rand.New(rand.NewPCG(seed, 0x6761766c))
	jobs := make([]Job, n)
	var at float64
	for i := range jobs {
		at += r.ExpFloat64() * 3600 / rate
		x := 1.5 + 1.5*r.Float64()
		if r.Float64() >= 0.8 {
			x = 3 + (x-1.5)/1.5
		}
		d := time.Duration(math.Pow(10, x)*60) * time.Second
		jobs[i] = Job{Duration: d, Spec: Spec{ID: "g" + strconv.Itoa(i), Type: types[r.IntN(len(types))], Submit: time.Duration(at*1000) * time.Millisecond,
			Chips: 1, MinChips: 1, MaxChips: 1, Share: 1000, Preemptible: true}}
	}
	return jobs, nil
}
