package plan

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// Forecaster draws the demand of a time to come from a record. All but repeat put blocks of the record one after the other; a block
// keeps what runs through it: bursts, hours of the day, who submits what together.
type Forecaster struct {
	Name     string
	What     string        // in a sentence
	block    time.Duration // 0: the last stretch of the record as it was
	weekday  bool          // blocks of a day come from the same day of the week
	clusters bool          // each cluster is drawn for itself
	shifts   bool          // each demand has each cluster at a level drawn by as much as levels changed in the record
	level    level
}

// level says by how much the drawn demand of a cluster is more or less than the record's mean.
type level uint8

const (
	levelMean   level = iota
	levelRecent       // later weeks count more
	levelTrend        // half of the line through the logarithms of the weeks goes on
)

// forecasters are all there are; the first is taken where none is named (docs/plan.md has how they did).
var forecasters = []Forecaster{
	{Name: "days-by-cluster", What: "days of the record in place of days of the same weekday, each cluster drawn for itself", block: day, weekday: true, clusters: true},
	{Name: "days", What: "as days-by-cluster, all clusters together", block: day, weekday: true},
	{Name: "repeat", What: "the last stretch of the record again"},
	{Name: "weeks", What: "weeks of the record in any order", block: week},
	{Name: "days-recent", What: "as days, at a level in which each week counts half of the next", block: day, weekday: true, level: levelRecent},
	{Name: "days-trend", What: "as days, at a level that goes on by half of the record's trend", block: day, weekday: true, level: levelTrend},
	{Name: "weeks-shifting", What: "as weeks, each cluster at a level drawn by as much as the halves of the record differ", block: week, shifts: true},
	{Name: "days-shifting", What: "as days, likewise", block: day, weekday: true, shifts: true},
	{Name: "any-days", What: "days of the record in any order", block: day},
}

// Forecasters are the names of the ways to draw demand.
func Forecasters() []string {
	var names []string
	for _, f := range forecasters {
		names = append(names, f.Name)
	}
	return names
}

func forecasterNamed(name string) (Forecaster, error) {
	if name == "" {
		return forecasters[0], nil
	}
	for _, f := range forecasters {
		if f.Name == name {
			return f, nil
		}
	}
	return Forecaster{}, fault.New(fault.Invalid, fmt.Sprintf("There is no way to forecast named %q.", name), fault.Field("forecast"),
		fault.Fix("The nearest is %q; there are %s, and auto", nearest.Name(name, Forecasters()), strings.Join(Forecasters(), ", ")))
}

// record is what was submitted in [from, to).
type record struct {
	jobs     []trace.Job
	from, to time.Duration
}

func newRecord(jobs []trace.Job, from, to time.Duration) (*record, error) {
	if len(jobs) == 0 {
		return nil, fault.New(fault.Invalid, "There is no job to learn from.", fault.Field("trace"))
	}
	if to == 0 {
		to = jobs[len(jobs)-1].Submit + 1
		from = max(from, jobs[0].Submit)
	}
	r := &record{within(jobs, from, to), from, to}
	if len(r.jobs) == 0 {
		return nil, fault.New(fault.Invalid, "No job of the record lies in the time that is learnt from.", fault.Field("trace"))
	}
	if to-from < time.Second {
		return nil, fault.New(fault.Invalid, "The record is shorter than a second, which tells nothing of the time to come.", fault.Field("trace"))
	}
	return r, nil
}

// within are the jobs submitted in [from, to).
func within(jobs []trace.Job, from, to time.Duration) []trace.Job {
	a := sort.Search(len(jobs), func(i int) bool { return jobs[i].Submit >= from })
	b := sort.Search(len(jobs), func(i int) bool { return jobs[i].Submit >= to })
	return jobs[a:max(a, b)]
}

func (r *record) length() time.Duration { return r.to - r.from }

// shrink is the forecaster's block where the record has at least two of them, else a day or an hour or a quarter of the record; a weekday is kept
// only where every day of the week is in the record.
func (f Forecaster) shrink(r *record) Forecaster {
	for _, b := range []time.Duration{week, day, time.Hour} {
		if f.block >= b && r.length() >= 2*b {
			f.block = b
			f.weekday = f.weekday && b == day && r.length() >= week
			return f
		}
	}
	if f.block > 0 {
		f.block, f.weekday = r.length()/4, false
	}
	return f
}

// draw is the demand of [r.to, r.to+span), times factor, for a seed. Whole multiples are drawn for themselves and laid one
// over the other, as if so many users more came; the rest is thinned out.
func (f Forecaster) draw(r *record, span time.Duration, factor float64, seed uint64) ([]trace.Job, error) {
	f = f.shrink(r)
	names, groups := r.groups()
	most := 0.0
	times := make([]float64, len(names))
	shift := shifts(r, groups, seed)
	for g := range names {
		times[g] = factor * f.levelOf(r, groups[g], span)
		if f.shifts {
			times[g] *= shift[g]
		}
		most = max(most, times[g])
	}
	expected := most * float64(len(r.jobs)) * float64(span) / float64(r.length())
	if expected > MaxDemand {
		return nil, fault.New(fault.TooLarge, fmt.Sprintf("The demand to come has about %.0f jobs in a replay; at most %d are replayed.", expected, MaxDemand), fault.Field("growth"),
			fault.Fix("Give a shorter --window"))
	}
	of := map[string]int{}
	for g, name := range names {
		of[name] = g
	}
	var out []trace.Job
	for layer := 0; float64(layer) < most; layer++ {
		l := &layerDraw{f: f, r: r, span: span, layer: layer, seed: seed, of: of, times: times, groups: groups}
		out = l.add(out)
	}
	slices.SortStableFunc(out, func(a, b trace.Job) int { return int(min(1, max(-1, a.Submit-b.Submit))) })
	for i := range out {
		out[i].Line = 0
		out[i].ID = "f" + strconv.Itoa(i) // learners know jobs by name, not by id
	}
	return out, nil
}

// groups are the clusters of the record, in the order of their names, with their jobs.
func (r *record) groups() (names []string, jobs [][]trace.Job) {
	by := map[string][]trace.Job{}
	for i := range r.jobs {
		by[r.jobs[i].Cluster] = append(by[r.jobs[i].Cluster], r.jobs[i])
	}
	for name := range by {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, n := range names {
		jobs = append(jobs, by[n])
	}
	return names, jobs
}

// layerDraw is one of the demands that lie over one another.
type layerDraw struct {
	f      Forecaster
	r      *record
	span   time.Duration
	layer  int
	seed   uint64
	of     map[string]int
	times  []float64
	groups [][]trace.Job
}

func (l *layerDraw) add(out []trace.Job) []trace.Job {
	if l.f.block == 0 { // repeat: the last stretch, again and again; further layers are moved by hours
		length := l.r.length()
		for _, whole := range []time.Duration{week, day} {
			if length >= whole {
				length = min(length, (l.span+whole-1)/whole*whole) / whole * whole
				break
			}
		}
		for at := -time.Duration(l.layer) * 5 * time.Hour % length; at < l.span; at += length {
			out = l.take(out, l.r.jobs, l.r.to-length, length, at, uint64(at)) //nolint:gosec // any number will do
		}
		return out
	}
	if !l.f.clusters {
		return l.blocks(out, l.r.jobs, 0)
	}
	for g := range l.groups {
		out = l.blocks(out, l.groups[g], uint64(g)+1)
	}
	return out
}

// blocks lays drawn blocks one after the other. Block k of the record, counted from its end, has the weekday of the day
// -1-k; day i to come has that of -1-k where i+1+k is a multiple of seven.
func (l *layerDraw) blocks(out, jobs []trace.Job, group uint64) []trace.Job {
	rng := rand.New(rand.NewPCG(l.seed, 0x706c616e00+group<<8+uint64(l.layer)))
	have := int(l.r.length() / l.f.block)
	for i := 0; time.Duration(i)*l.f.block < l.span; i++ {
		var k int
		if l.f.weekday {
			first := 6 - i%7 // the latest day of the record with this weekday
			k = first + 7*rng.IntN((have-first+6)/7)
		} else {
			k = rng.IntN(have)
		}
		source := l.r.to - time.Duration(k+1)*l.f.block
		out = l.take(out, jobs, source, l.f.block, time.Duration(i)*l.f.block, rng.Uint64())
	}
	return out
}

// take appends the jobs of a stretch of the record, moved to begin at so long after its end; those of a thinned cluster by lot.
func (l *layerDraw) take(out, jobs []trace.Job, source, length, at time.Duration, lot uint64) []trace.Job {
	rng := rand.New(rand.NewPCG(l.seed^lot, uint64(l.layer)))
	for _, j := range within(jobs, source, source+length) {
		keep := min(1, l.times[l.of[j.Cluster]]-float64(l.layer))
		if keep < 1 && rng.Float64() >= keep {
			continue
		}
		submit := at + j.Submit - source
		if submit < 0 || submit >= l.span {
			continue
		}
		submit += l.r.to
		if j.Deadline > 0 {
			j.Deadline += submit - j.Submit
		}
		j.Submit = submit
		out = append(out, j)
	}
	return out
}

// shifts draws for each cluster by how much its level of a time to come differs from that of the record: as much, in the root
// of the mean square of logarithms, as the second half of the record differed from the first, clusters together, at most by a
// factor of four each. In the mean it is one.
func shifts(r *record, groups [][]trace.Job, seed uint64) []float64 {
	middle := r.from + r.length()/2
	var halves [2]float64
	var squares, all float64
	for _, jobs := range groups {
		halves = [2]float64{}
		for i := range jobs {
			k := 0
			if jobs[i].Submit >= middle {
				k = 1
			}
			halves[k] += float64(jobs[i].Service())
		}
		if sum := halves[0] + halves[1]; sum > 0 {
			d := math.Log(max(halves[1], sum/1e6) / max(halves[0], sum/1e6))
			d = min(math.Log(4), max(-math.Log(4), d))
			squares, all = squares+d*d, all+1
		}
	}
	width := math.Sqrt(per(squares, all))
	rng := rand.New(rand.NewPCG(seed, 0x7368696674))
	out := make([]float64, len(groups))
	for g := range out {
		out[g] = min(4, math.Exp(width*rng.NormFloat64()-width*width/2))
	}
	return out
}

// levelOf is the multiple of a cluster's mean demand of the record that the time to come is expected to have.
func (f Forecaster) levelOf(r *record, jobs []trace.Job, span time.Duration) float64 {
	n := int(r.length() / week)
	if f.level == levelMean || n < 2 {
		return 1
	}
	loads := make([]float64, n) // of weeks, the latest last
	mean := 0.0
	for i := range jobs {
		if k := int((r.to - 1 - jobs[i].Submit) / week); k < n {
			s := float64(jobs[i].Service())
			loads[n-1-k] += s
			mean += s / float64(n)
		}
	}
	if mean == 0 {
		return 1
	}
	if f.level == levelRecent {
		sum, weights := 0.0, 0.0
		for k, load := range loads {
			w := math.Pow(2, float64(k))
			sum, weights = sum+w*load, weights+w
		}
		return min(4, max(0.25, sum/weights/mean))
	}
	return trend(loads, mean, float64(span)/float64(week))
}

// trend is the mean over the weeks to come of a line through the logarithms, with half of its slope, relative to the mean.
func trend(loads []float64, mean, ahead float64) float64 {
	n := float64(len(loads))
	var sx, sy, sxx, sxy float64
	for k, load := range loads {
		x, y := float64(k), math.Log(max(load, mean/20)/mean)
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	slope := (n*sxy - sx*sy) / (n*sxx - sx*sx)
	middle := (n - 1) / 2
	return min(4, max(0.25, math.Exp(0.5*slope*(n-1+(1+ahead)/2-middle))))
}
