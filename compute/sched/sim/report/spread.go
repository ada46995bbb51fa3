package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/compute/sched/sim/belief"
)

// Spread is one policy over several seeds. Times are in seconds.
type Spread struct {
	Policy     string `json:"policy"`
	Seeds      int    `json:"seeds"`
	Completion Range  `json:"mean_completion_s"`
	P99        Range  `json:"p99_completion_s"`
	Span       Range  `json:"span_s"` // first submission to last event
	// Recovered is, of a policy that learns speeds, the part of the advantage in mean completion that perfect knowledge has
	// over all chips thought alike; nil unless both were replayed, and of seeds in which there was an advantage.
	Recovered *Range `json:"recovered,omitempty"`
	Start     *Range `json:"error_at_start,omitempty"` // of beliefs, mean absolute natural logs
	Late      *Range `json:"error_at_end,omitempty"`
	Half      *Range `json:"error_halved_s,omitempty"` // when it was first at most half of that at the start; of the seeds in which it was
	Tenth     *Range `json:"error_tenth_s,omitempty"`
}

// Range is the median of a figure over seeds, its least and its greatest value.
type Range struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

// rangeOf is nil for no values; of an even number the median is the mean of the middle two.
func rangeOf(v []float64) *Range {
	if len(v) == 0 {
		return nil
	}
	s := slices.Sorted(slices.Values(v))
	n := len(s)
	return &Range{(s[(n-1)/2] + s[n/2]) / 2, s[0], s[n-1]}
}

// Spreads sums up replays of the same policies under several seeds: in runs the seeds follow one another, and in each
// of them the policies in one order.
func Spreads(runs []*Summary, policies int) []Spread {
	var out []Spread
	for p := range min(policies, len(runs)) {
		var same []*Summary
		for i := p; i < len(runs); i += policies {
			same = append(same, runs[i])
		}
		s := Spread{Policy: same[0].Policy, Seeds: len(same),
			Completion: *over(same, func(r *Summary) float64 { return r.MeanCompletionS }),
			P99:        *over(same, func(r *Summary) float64 { return r.P99CompletionS }),
			Span:       *over(same, func(r *Summary) float64 { return r.SpanS }),
			Recovered:  recovered(runs, policies, same)}
		s.learnt(same)
		out = append(out, s)
	}
	return out
}

func over(runs []*Summary, of func(*Summary) float64) *Range {
	var v []float64
	for _, r := range runs {
		v = append(v, of(r))
	}
	return rangeOf(v)
}

// recovered compares a policy with perfect knowledge and with none, seed by seed.
func recovered(runs []*Summary, policies int, same []*Summary) *Range {
	base, kind, has := strings.Cut(same[0].Policy, ":")
	if !has || kind == "alike" || same[0].Learning == nil {
		return nil
	}
	var parts []float64
	for seed, r := range same {
		var perfect, none *Summary
		for _, x := range runs[seed*policies : (seed+1)*policies] {
			switch x.Policy {
			case base:
				perfect = x
			case base + ":alike":
				none = x
			}
		}
		if perfect != nil && none != nil && none.MeanCompletionS > perfect.MeanCompletionS {
			parts = append(parts, (none.MeanCompletionS-r.MeanCompletionS)/(none.MeanCompletionS-perfect.MeanCompletionS))
		}
	}
	return rangeOf(parts)
}

// learnt sums up how the error of beliefs fell.
func (s *Spread) learnt(same []*Summary) {
	var start, late, half, tenth []float64
	for _, r := range same {
		if r.Learning == nil || len(r.Learning.Error) == 0 {
			return
		}
		e := r.Learning.Error
		start, late = append(start, e[0].Mean), append(late, e[len(e)-1].Mean)
		for _, x := range []struct {
			to   *[]float64
			part float64
		}{{&half, 0.5}, {&tenth, 0.1}} {
			if i := slices.IndexFunc(e, func(y belief.Error) bool { return y.Mean <= x.part*e[0].Mean }); i > 0 {
				*x.to = append(*x.to, e[i].AtS)
			}
		}
	}
	s.Start, s.Late, s.Half, s.Tenth = rangeOf(start), rangeOf(late), rangeOf(half), rangeOf(tenth)
}

// SpreadTable is the spreads side by side: the median and, in brackets, the least and the greatest.
func SpreadTable(all []Spread) (headings []string, rows [][]string) {
	headings = []string{"median (least to greatest)"}
	for _, s := range all {
		headings = append(headings, s.Policy)
	}
	part := func(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }
	logs := func(v float64) string { return fmt.Sprintf("%.3f", v) }
	for _, f := range []struct {
		name string
		of   func(*Spread) *Range
		show func(float64) string
	}{
		{"completion, mean", func(s *Spread) *Range { return &s.Completion }, span},
		{"completion, p99", func(s *Spread) *Range { return &s.P99 }, span},
		{"first submission to last end", func(s *Spread) *Range { return &s.Span }, span},
		{"recovered by learning", func(s *Spread) *Range { return s.Recovered }, part},
		{"error of speeds, at first", func(s *Spread) *Range { return s.Start }, logs},
		{"error of speeds, at last", func(s *Spread) *Range { return s.Late }, logs},
		{"error halved after", func(s *Spread) *Range { return s.Half }, span},
		{"error a tenth after", func(s *Spread) *Range { return s.Tenth }, span},
	} {
		row, any := []string{f.name}, false
		for i := range all {
			cell := ""
			if r := f.of(&all[i]); r != nil {
				any = true
				cell = f.show(r.Median)
				if all[i].Seeds > 1 {
					cell += fmt.Sprintf(" (%s to %s)", f.show(r.Least), f.show(r.Most))
				}
			}
			row = append(row, cmp.Or(cell, "-"))
		}
		if any {
			rows = append(rows, row)
		}
	}
	return headings, rows
}
