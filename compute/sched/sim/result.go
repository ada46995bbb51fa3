package sim

import "time"

// Result is what a replay came to.
type Result struct {
	Records []Record // by job, in the order of submission
	Sites   []Books  // by site of the fleet
	Series  []Sample // means over equal stretches of time
	Use     []Use    // by site and chip, those that have nodes, between Options.BookFrom and BookTo

	Began, Ended time.Duration // first submission, last event
	Actions      int64         // starts, preemptions and resizes
	NodeFailures int
	Chips        int64          // of the fleet
	Refusals     map[string]int // why jobs were refused, and how many
}

// Record is what became of one job.
type Record struct {
	State    State
	Measured bool  // counts in the report
	Site     int32 // where it ran last, -1 if it never did
	Chips    int32 // asked for
	Submit   time.Duration
	Started  time.Duration // first start
	Ended    time.Duration
	Duration time.Duration // undisturbed, on the chips it asked for at reference speed
	P50, P90 time.Duration // expected start where P90 is not 0
	Preempts int32
	Fails    int32
	Resizes  int32
	Held     int64   // chip-milliseconds
	Wasted   int64   // chip-milliseconds of Held spent in restarts and lost work
	Cost     int64   // micro-units of the fleet's currency
	Fairness float64 // finish-time fairness: completion over what an equal share of its site would have given
}

// Books is the use of a site over the replay.
type Books struct {
	BusySeconds     float64 // chip-seconds held by jobs
	UpSeconds       float64 // chip-seconds of nodes that were up
	FragmentSeconds float64 // chip-seconds idle that a job drawn from the trace could not use
}

// Sample is a mean over a stretch of time.
type Sample struct {
	At      time.Duration // middle of the stretch
	Busy    float64       // chips
	Waiting float64       // jobs
}

// result closes the books.
func (w *World) result() *Result {
	r := &Result{Records: make([]Record, len(w.jobs)), Began: w.jobs[0].Submit, Ended: w.now, Actions: w.actions,
		NodeFailures: w.failures, Chips: w.capacity / 1000, Refusals: map[string]int{}}
	for j := range w.job {
		js := &w.job[j]
		r.Records[j] = Record{State: js.state, Measured: w.measured(j), Site: -1, Chips: w.jobs[j].Chips, Submit: w.jobs[j].Submit, Started: js.started,
			Ended: js.end, Duration: w.jobs[j].Duration, P50: js.p50, P90: js.p90, Preempts: js.preempts, Fails: js.fails, Resizes: js.resizes,
			Held: js.held, Wasted: js.wasted, Cost: js.cost}
		if js.ran {
			r.Records[j].Site = w.pools[w.node[js.first.Node].pool].Site
		}
		switch js.state {
		case Done:
			r.Records[j].Fairness = fairness(js.end-w.jobs[j].Submit, w.jobs[j].Duration, js.contention)
		case Refused:
			r.Refusals[w.classes[js.class].refusal]++
		}
	}
	for i := range w.fleet.Sites {
		h := &w.homes[i]
		h.settle(w.now)
		r.Sites = append(r.Sites, Books{h.busyTime, h.upTime, h.fragTime})
	}
	r.Use = w.used()
	for i := range w.series.used {
		width := w.series.width
		if end := w.series.from + time.Duration(i+1)*width; end > w.now {
			width -= end - w.now
		}
		if width <= 0 {
			break
		}
		r.Series = append(r.Series, Sample{w.series.from + time.Duration(i)*w.series.width + width/2,
			w.series.busy[i] / width.Seconds(), w.series.wait[i] / width.Seconds()})
	}
	return r
}

// fairness is the finish-time fairness of Themis (Mahajan et al., NSDI 2020) with the equal share of the moment for the
// 1/n of a fixed number of tenants: completion time over the time the job would take if, all its life, it ran at the
// rate that the site's capacity divided by the chips asked for allows (at most 1). Above 1 it fared worse than under
// an equal division. contention is the integral of max(1, demand/capacity) over its life, in seconds.
func fairness(completion, duration time.Duration, contention float64) float64 {
	if completion <= 0 || duration <= 0 || contention <= 0 {
		return 1
	}
	mean := contention / completion.Seconds()
	return completion.Seconds() / (duration.Seconds() * mean)
}
