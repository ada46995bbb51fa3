// Package report turns the result of a replay into figures: a Summary for programs, a table for people and one
// self-contained HTML page with plots.
//
// Rules for callers: the JSON names of Summary are promised (mean_completion_s, mean_queue_s, p99_queue_s, jobs,
// decisions_per_s and the rest). Queueing is completion minus submission minus duration, so it holds restarts and lost
// work too. Figures over jobs count the measured jobs that ended; figures over time count the whole replay.
package report

import (
	"math"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/belief"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
)

// Summary is one replay in figures. Times are in seconds, costs in units of the fleet's currency.
type Summary struct {
	Policy string `json:"policy"`
	Tuned  string `json:"tuned,omitempty"` // what was swept and chosen for this policy

	Jobs    int `json:"jobs"`
	Refused int `json:"refused,omitempty"`
	Figures

	AllocatedPercent float64 `json:"allocated_percent"` // chips held by jobs, of those that were up, over time
	FragmentPercent  float64 `json:"fragment_percent"`  // chips idle that a job drawn from the trace could not use, likewise
	ChipHours        float64 `json:"chip_hours"`
	WastedChipHours  float64 `json:"wasted_chip_hours"` // in restarts and work lost to failures
	Preemptions      int     `json:"preemptions"`
	Failures         int     `json:"failures"` // of jobs, because a node failed
	NodeFailures     int     `json:"node_failures"`
	Resizes          int     `json:"resizes"`
	RestartsPerJob   float64 `json:"restarts_per_job"`
	Cost             float64 `json:"cost"`
	Currency         string  `json:"currency,omitempty"`

	Expected     *Expected        `json:"expected_start,omitempty"`
	Learning     *belief.Learning `json:"learning,omitempty"`     // of speeds
	Explanations int64            `json:"explanations,omitempty"` // of why a job waits, worked out and kept

	SpanS         float64        `json:"span_s"` // first submission to last event
	Decisions     int64          `json:"decisions"`
	DecisionsPerS float64        `json:"decisions_per_s"` // of the machine that ran the replay
	WallS         float64        `json:"wall_s"`
	Sites         []Site         `json:"sites"`
	Refusals      map[string]int `json:"refusals,omitempty"`

	curves curves
}

// Figures are those that are made of the times of jobs.
type Figures struct {
	MeanCompletionS   float64 `json:"mean_completion_s"`
	MedianCompletionS float64 `json:"median_completion_s"`
	P99CompletionS    float64 `json:"p99_completion_s"`
	MeanQueueS        float64 `json:"mean_queue_s"`
	MedianQueueS      float64 `json:"median_queue_s"`
	P99QueueS         float64 `json:"p99_queue_s"`
	MeanSlowdown      float64 `json:"mean_bounded_slowdown"` // completion over duration, of at least 10 s, at least 1
	MedianSlowdown    float64 `json:"median_bounded_slowdown"`
	P99Slowdown       float64 `json:"p99_bounded_slowdown"`
	MaxFairness       float64 `json:"max_finish_time_fairness"`  // above 1: worse than an equal share of the site
	JainFairness      float64 `json:"jain_finish_time_fairness"` // 1: all fared alike
}

// Site is one site's part of a Summary.
type Site struct {
	Name string `json:"name"`
	Jobs int    `json:"jobs"`
	Figures
	AllocatedPercent float64 `json:"allocated_percent"`
	FragmentPercent  float64 `json:"fragment_percent"`
}

// Expected says how well the starts that the policy expected came true.
type Expected struct {
	Jobs         int     `json:"jobs"`
	P50Percent   float64 `json:"p50_percent"` // jobs that started by their P50
	P90Percent   float64 `json:"p90_percent"`
	MeanAbsError float64 `json:"mean_abs_error_s"` // between P50 and the start
	MedianError  float64 `json:"median_error_s"`   // start minus P50
}

// Bound is the shortest duration that a slowdown is counted over (Feitelson and Rudolph, JSSPP 1998).
const Bound = 10 * time.Second

// Make sums up a replay that took wall time on this machine.
func Make(policy string, r *sim.Result, f *fleet.Fleet, wall time.Duration) *Summary {
	s := &Summary{Policy: policy, Currency: f.Currency, Decisions: r.Actions, NodeFailures: r.NodeFailures, SpanS: (r.Ended - r.Began).Seconds(),
		WallS: wall.Seconds(), DecisionsPerS: float64(r.Actions) / max(wall.Seconds(), 1e-9), Refusals: r.Refusals}
	all := &sample{}
	bySite := make([]sample, len(f.Sites))
	for i := range r.Records {
		rec := &r.Records[i]
		if !rec.Measured {
			continue
		}
		if rec.State == sim.Refused {
			s.Refused++
		}
		if rec.State != sim.Done {
			continue
		}
		s.Jobs++
		s.ChipHours += float64(rec.Held) / 3.6e6
		s.WastedChipHours += float64(rec.Wasted) / 3.6e6
		s.Cost += float64(rec.Cost) / 1e6
		s.Preemptions += int(rec.Preempts)
		s.Failures += int(rec.Fails)
		s.Resizes += int(rec.Resizes)
		all.add(rec)
		bySite[rec.Site].add(rec)
	}
	s.RestartsPerJob = float64(s.Preemptions+s.Failures+s.Resizes) / float64(max(1, s.Jobs))
	s.Figures = all.figures()
	s.Expected = expected(r.Records)
	s.curves = all.curves(r)
	s.use(r, f, bySite)
	return s
}

// use fills the figures over time and those of each site.
func (s *Summary) use(r *sim.Result, f *fleet.Fleet, bySite []sample) {
	var total sim.Books
	for i := range f.Sites {
		b := r.Sites[i]
		total.BusySeconds += b.BusySeconds
		total.UpSeconds += b.UpSeconds
		total.FragmentSeconds += b.FragmentSeconds
		s.Sites = append(s.Sites, Site{Name: f.Sites[i].Name, Jobs: len(bySite[i].completion), Figures: bySite[i].figures(),
			AllocatedPercent: percent(b.BusySeconds, b.UpSeconds), FragmentPercent: percent(b.FragmentSeconds, b.UpSeconds)})
	}
	s.AllocatedPercent = percent(total.BusySeconds, total.UpSeconds)
	s.FragmentPercent = percent(total.FragmentSeconds, total.UpSeconds)
}

func percent(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return 100 * part / whole
}

// sample is the times of a set of jobs, in seconds.
type sample struct {
	completion, queue, slowdown, fairness []float64
}

func (s *sample) add(r *sim.Record) {
	completion := r.Ended - r.Submit
	s.completion = append(s.completion, completion.Seconds())
	s.queue = append(s.queue, (completion - r.Duration).Seconds())
	s.slowdown = append(s.slowdown, max(1, completion.Seconds()/max(r.Duration, Bound).Seconds()))
	s.fairness = append(s.fairness, r.Fairness)
}

func (s *sample) figures() Figures {
	if len(s.completion) == 0 {
		return Figures{}
	}
	for _, v := range [][]float64{s.completion, s.queue, s.slowdown} {
		slices.Sort(v)
	}
	return Figures{
		MeanCompletionS: mean(s.completion), MedianCompletionS: quantile(s.completion, 0.5), P99CompletionS: quantile(s.completion, 0.99),
		MeanQueueS: mean(s.queue), MedianQueueS: quantile(s.queue, 0.5), P99QueueS: quantile(s.queue, 0.99),
		MeanSlowdown: mean(s.slowdown), MedianSlowdown: quantile(s.slowdown, 0.5), P99Slowdown: quantile(s.slowdown, 0.99),
		MaxFairness: slices.Max(s.fairness), JainFairness: jain(s.fairness),
	}
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// quantile is the nearest rank: the least value that at least a part q of the sorted ones do not exceed.
func quantile(sorted []float64, q float64) float64 {
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))-1e-9))-1)]
}

// jain is the index of Jain, Chiu and Hawe (1984): 1 when all are equal, 1/n when one has everything.
func jain(v []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, x := range v {
		sum += x
		squares += x * x
	}
	if squares == 0 {
		return 1
	}
	return sum * sum / (float64(len(v)) * squares)
}

// expected compares the starts that the policy expected with those that came; nil where it expected none.
func expected(records []sim.Record) *Expected {
	e := &Expected{}
	var errs []float64
	abs := 0.0
	for i := range records {
		r := &records[i]
		if r.P90 == 0 || !r.Measured || r.State != sim.Done {
			continue
		}
		e.Jobs++
		if r.Started <= r.P50 {
			e.P50Percent++
		}
		if r.Started <= r.P90 {
			e.P90Percent++
		}
		errs = append(errs, (r.Started - r.P50).Seconds())
		abs += math.Abs((r.Started - r.P50).Seconds())
	}
	if e.Jobs == 0 {
		return nil
	}
	n := float64(e.Jobs)
	e.P50Percent, e.P90Percent, e.MeanAbsError = 100*e.P50Percent/n, 100*e.P90Percent/n, abs/n
	slices.Sort(errs)
	e.MedianError = quantile(errs, 0.5)
	return e
}
