package seen

import (
	"cmp"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/triarch-ai/triarch/internal/obs"
	"github.com/triarch-ai/triarch/models/dialect"
)

// line is what was counted of one route in one dialect, added up.
type line struct {
	seriesKey
	parts []*series
}

func (l *line) sum(of func(*series) *atomic.Uint64) float64 {
	var n uint64
	for _, p := range l.parts {
		n += of(p).Load()
	}
	return float64(n)
}

func (l *line) times(of func(*series) *obs.Histogram) *obs.Sum {
	var s obs.Sum
	for _, p := range l.parts {
		s.Add(of(p))
	}
	return &s
}

func (m *Metrics) lines() []line {
	var out []line
	for k, s := range *m.series.Load() {
		out = append(out, line{k, s.Parts()})
	}
	slices.SortFunc(out, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.route, b.route), cmp.Compare(a.dialect, b.dialect))
	})
	return out
}

// routes are lines without their dialects.
func routes(lines []line) []line {
	var out []line
	for _, l := range lines {
		if n := len(out); n > 0 && out[n-1].route == l.route {
			out[n-1].parts = slices.Concat(out[n-1].parts, l.parts)
			continue
		}
		out = append(out, line{seriesKey{l.route, dialect.Kind("")}, l.parts})
	}
	return out
}

// Write writes all counts, and what Also added.
func (m *Metrics) Write(w *obs.Writer) {
	lines := m.lines()
	m.requests(w, lines)
	by := routes(lines)
	m.tokens(w, by)
	judged(w, by)
	for _, h := range []struct {
		name, help string
		buckets    obs.Buckets
		of         func(*series) *obs.Histogram
	}{
		{"triarch_gateway_request_duration_seconds", "Time from the arrival of a request to its end.", wholeBuckets, func(s *series) *obs.Histogram { return &s.whole }},
		{"triarch_gateway_time_to_first_token_seconds", "Time from the arrival of a request to the first byte of its answer.", firstBuckets, func(s *series) *obs.Histogram { return &s.first }},
		{"triarch_gateway_inter_token_latency_seconds", "Mean time between two output tokens of a stream, once for each stream.", tokenBuckets, func(s *series) *obs.Histogram { return &s.each }},
		{"triarch_gateway_queue_wait_seconds", "Time from the arrival of a request until a backend is asked: limits, money and a place.", queueBuckets, func(s *series) *obs.Histogram { return &s.queue }},
		{"triarch_gateway_guard_duration_seconds", "Time that one judgement of a route's guard took.", queueBuckets, func(s *series) *obs.Histogram { return &s.judging }},
	} {
		w.Family(h.name, obs.Gauge, h.help)
		for i := range by {
			w.Times(h.buckets, by[i].times(h.of), "route", by[i].route)
		}
	}
	var running int64
	for _, p := range m.running.Parts() {
		running += p.Load()
	}
	w.One("triarch_gateway_requests_running", obs.Gauge, "Requests under way.", float64(running))
	for _, g := range m.gauges {
		g(w)
	}
}

func (m *Metrics) requests(w *obs.Writer, lines []line) {
	w.Family("triarch_gateway_requests_total", obs.Counter, "Requests that ended, by route, the caller's dialect, how they ended and the status of the answer.")
	for i := range lines {
		l := &lines[i]
		for o := range outcomes {
			for s := range len(statuses) + 1 {
				if n := l.sum(func(x *series) *atomic.Uint64 { return &x.requests[o][s] }); n > 0 {
					w.Value(n, "route", l.route, "dialect", string(l.dialect), "outcome", outcomeNames[o], "status", statusName(s))
				}
			}
		}
	}
	reasons := *m.reasons.Load()
	w.Family("triarch_gateway_refusals_total", obs.Counter, "Requests that the gateway refused or could not serve, by the reason told.")
	for _, r := range slices.Sorted(maps.Keys(reasons)) {
		w.Value(float64(reasons[r].Load()), "reason", r)
	}
}

func judged(w *obs.Writer, by []line) {
	w.Family("triarch_gateway_guard_judgements_total", obs.Counter, "Judgements of routes' guards, of prompts (before) and answers (after), by verdict; none: the guard did not judge.")
	for i := range by {
		for at, when := range moments {
			for v, verdict := range verdicts {
				if n := by[i].sum(func(s *series) *atomic.Uint64 { return &s.judged[at][v] }); n > 0 {
					w.Value(n, "route", by[i].route, "when", string(when), "verdict", verdict)
				}
			}
		}
	}
}

func (m *Metrics) tokens(w *obs.Writer, by []line) {
	w.Family("triarch_gateway_tokens_total", obs.Counter, "Tokens booked, by kind: cached ones are of the input, reasoning ones of the output.")
	for i := range by {
		for _, k := range []struct {
			name string
			of   func(*series) *atomic.Uint64
		}{
			{"input", func(s *series) *atomic.Uint64 { return &s.input }},
			{"cached", func(s *series) *atomic.Uint64 { return &s.cached }},
			{"output", func(s *series) *atomic.Uint64 { return &s.output }},
			{"reasoning", func(s *series) *atomic.Uint64 { return &s.reasoning }},
			{"embedding", func(s *series) *atomic.Uint64 { return &s.embedding }},
		} {
			w.Value(by[i].sum(k.of), "route", by[i].route, "kind", k.name)
		}
	}
	for _, f := range []struct {
		name, help string
		of         func(*series) *atomic.Uint64
	}{
		{"triarch_gateway_goodput_tokens_total", "Tokens, in and out, of requests that were finished.", func(s *series) *atomic.Uint64 { return &s.good }},
		{"triarch_gateway_charged_microunits_total", "What was charged, in micro-units.", func(s *series) *atomic.Uint64 { return &s.charged }},
		{"triarch_gateway_prefix_blocks_total", "Blocks of 1 KiB of prompts by which replicas were compared.", func(s *series) *atomic.Uint64 { return &s.blocks }},
		{"triarch_gateway_prefix_matched_blocks_total", "Of these, the ones that the chosen replica had seen before.", func(s *series) *atomic.Uint64 { return &s.matched }},
		{"triarch_gateway_retries_total", "Times that another backend or replica was asked because one failed.", func(s *series) *atomic.Uint64 { return &s.tries }},
	} {
		w.Family(f.name, obs.Counter, f.help)
		for i := range by {
			w.Value(by[i].sum(f.of), "route", by[i].route)
		}
	}
	w.Family("triarch_gateway_prefix_hit_ratio", obs.Gauge, "Part of the input tokens that engines took from their prefix caches, since the start.")
	for i := range by {
		if n := by[i].sum(func(s *series) *atomic.Uint64 { return &s.input }); n > 0 {
			w.Value(by[i].sum(func(s *series) *atomic.Uint64 { return &s.cached })/n, "route", by[i].route)
		}
	}
}
