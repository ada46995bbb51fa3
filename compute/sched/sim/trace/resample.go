package trace

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// stretch is how many jobs in a row are drawn at once, so that runs of arrivals stay runs.
const stretch = 64

// Resample draws n jobs from a trace, which is in the order of submission, so that every group of sites is asked for load of
// its chips on average. Group and capacity say, for a job and for a group, which group it belongs to and how many chips
// that has. Stretches of 64 jobs in a row are drawn with the gaps between their arrivals; the gaps of a group are then
// multiplied by one number that makes the load true. Jobs bound to a group without chips are left out.
func Resample(jobs []Job, n int, load float64, seed uint64, group func(*Job) int, capacity []int64) ([]Job, error) {
	switch {
	case n <= 0 || n > MaxRows:
		return nil, fault.InvalidField("jobs", "jobs is %d; it must be 1 to %d", n, MaxRows)
	case !(load > 0 && load <= 10):
		return nil, fault.InvalidField("load", "load is %g; it must be above 0 and at most 10, 0.85 for 85 %% of the chips", load)
	}
	members := make([][]int32, len(capacity))
	service := make([]float64, len(capacity))
	for i := range jobs {
		if g := group(&jobs[i]); capacity[g] > 0 {
			members[g] = append(members[g], int32(i))
			service[g] += float64(jobs[i].Service())
		}
	}
	rates := make([]float64, len(capacity)) // jobs a millisecond that bring the load
	var all float64
	for g, m := range members {
		if service[g] > 0 {
			rates[g] = load * float64(capacity[g]) * float64(len(m)) / service[g]
			all += rates[g]
		}
	}
	if all == 0 {
		return nil, fault.New(fault.Invalid, "No job of the trace asks for chips of the fleet, so no load can be made of it.", fault.Field("load"))
	}
	r := rand.New(rand.NewPCG(seed, 0x7265736d))
	drawn := make([]Job, 0, n+len(capacity))
	starts := []int{0}
	for g, m := range members {
		if want := int(float64(n)*rates[g]/all + 0.5); want > 0 && len(m) > 0 {
			drawn = draw(drawn, jobs, m, want, load*float64(capacity[g]), r)
			starts = append(starts, len(drawn))
		}
	}
	return merge(drawn, starts, n), nil
}

// merge puts the jobs of the groups, each of them in the order of submission, into one order and keeps the first n: of
// equals those of the earlier group. It moves each job once and in place: there are millions.
func merge(jobs []Job, starts []int, n int) []Job {
	at := slices.Clone(starts[:len(starts)-1])
	from := make([]int32, len(jobs)) // the place that the job of a place comes from
	for k := range from {
		best := -1
		for g, i := range at {
			if i < starts[g+1] && (best < 0 || jobs[i].Submit < jobs[at[best]].Submit) {
				best = g
			}
		}
		from[k] = int32(at[best])
		at[best]++
	}
	for k := range from { // round each ring of places once; -1 is a place that has its job
		if from[k] < 0 {
			continue
		}
		first, to := jobs[k], int32(k)
		for next := from[to]; next != int32(k); next = from[to] {
			jobs[to], from[to] = jobs[next], -1
			to = next
		}
		jobs[to], from[to] = first, -1
	}
	return jobs[:min(n, len(jobs))]
}

// draw appends want jobs of one group whose chip-time over their span is chips on average.
func draw(out, jobs []Job, members []int32, want int, chips float64, r *rand.Rand) []Job {
	first := len(out)
	mean := (jobs[members[len(members)-1]].Submit - jobs[members[0]].Submit) / time.Duration(max(1, len(members)-1))
	var at time.Duration
	var service float64
	for left := want; left > 0; {
		start := r.IntN(len(members))
		for i := start; i < min(start+stretch, len(members)) && left > 0; i++ {
			gap := mean
			if i > 0 {
				gap = jobs[members[i]].Submit - jobs[members[i-1]].Submit
			}
			at += gap
			j := jobs[members[i]]
			if j.Deadline > 0 {
				j.Deadline -= j.Submit // from its submission, until that is known
			}
			j.Submit, j.Line = at, 0
			j.ID = j.ID[:min(8, len(j.ID))] + "." + strconv.Itoa(len(out))
			service += float64(j.Service())
			out = append(out, j)
			left--
		}
	}
	// The drawn span becomes the one in which chips work off the service; a trace that arrives at one instant is spread.
	span := time.Duration(service / chips * float64(time.Millisecond))
	for i := first; i < len(out); i++ {
		was := out[i].Submit
		if at > 0 {
			out[i].Submit = time.Duration(float64(span) * (float64(was) / float64(at)))
		} else {
			out[i].Submit = span / time.Duration(want) * time.Duration(i-first)
		}
		out[i].Submit = out[i].Submit.Truncate(time.Millisecond)
		if out[i].Deadline > 0 {
			out[i].Deadline += out[i].Submit
		}
	}
	return out
}

// Describe is a trace in a line: jobs, span and chip-hours.
func Describe(jobs []Job) string {
	var chipHours float64
	for i := range jobs {
		chipHours += float64(jobs[i].Service()) / 3.6e6
	}
	span := jobs[len(jobs)-1].Submit - jobs[0].Submit
	return fmt.Sprintf("%d jobs over %.1f days, %.0f chip-hours", len(jobs), span.Hours()/24, chipHours)
}
