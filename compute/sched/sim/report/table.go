package report

import (
	"fmt"
	"time"
)

// Table is the summaries side by side: a heading for each policy, a row for each figure.
func Table(runs []*Summary) (headings []string, rows [][]string) {
	headings = []string{"figure"}
	for _, r := range runs {
		headings = append(headings, r.Policy)
	}
	for _, f := range tableRows {
		row := []string{f.name}
		any := false
		for _, r := range runs {
			cell := f.cell(r)
			any = any || cell != ""
			row = append(row, cell)
		}
		if any {
			rows = append(rows, row)
		}
	}
	return headings, rows
}

var tableRows = []struct {
	name string
	cell func(*Summary) string
}{
	{"tuned", func(s *Summary) string { return s.Tuned }},
	{"jobs", func(s *Summary) string { return fmt.Sprint(s.Jobs) }},
	{"refused", func(s *Summary) string { return count(s.Refused) }},
	{"completion, mean", func(s *Summary) string { return span(s.MeanCompletionS) }},
	{"completion, median", func(s *Summary) string { return span(s.MedianCompletionS) }},
	{"completion, p99", func(s *Summary) string { return span(s.P99CompletionS) }},
	{"queueing, mean", func(s *Summary) string { return span(s.MeanQueueS) }},
	{"queueing, median", func(s *Summary) string { return span(s.MedianQueueS) }},
	{"queueing, p99", func(s *Summary) string { return span(s.P99QueueS) }},
	{"bounded slowdown, mean", func(s *Summary) string { return fmt.Sprintf("%.2f", s.MeanSlowdown) }},
	{"bounded slowdown, p99", func(s *Summary) string { return fmt.Sprintf("%.1f", s.P99Slowdown) }},
	{"finish-time fairness, max", func(s *Summary) string { return fmt.Sprintf("%.2f", s.MaxFairness) }},
	{"finish-time fairness, Jain", func(s *Summary) string { return fmt.Sprintf("%.3f", s.JainFairness) }},
	{"chips allocated", func(s *Summary) string { return fmt.Sprintf("%.2f %%", s.AllocatedPercent) }},
	{"chips idle, no use", func(s *Summary) string { return fmt.Sprintf("%.2f %%", s.FragmentPercent) }},
	{"chip-hours", func(s *Summary) string { return fmt.Sprintf("%.0f", s.ChipHours) }},
	{"chip-hours wasted", func(s *Summary) string { return fmt.Sprintf("%.1f", s.WastedChipHours) }},
	{"preemptions", func(s *Summary) string { return count(s.Preemptions) }},
	{"lost to failures", func(s *Summary) string { return count(s.Failures) }},
	{"resizes", func(s *Summary) string { return count(s.Resizes) }},
	{"restarts a job", func(s *Summary) string { return fmt.Sprintf("%.3f", s.RestartsPerJob) }},
	{"cost", func(s *Summary) string {
		if s.Cost == 0 {
			return ""
		}
		return fmt.Sprintf("%.2f %s", s.Cost, s.Currency)
	}},
	{"started by P50", func(s *Summary) string { return covered(s.Expected, func(e *Expected) float64 { return e.P50Percent }) }},
	{"started by P90", func(s *Summary) string { return covered(s.Expected, func(e *Expected) float64 { return e.P90Percent }) }},
	{"decisions a second", func(s *Summary) string { return fmt.Sprintf("%.0f", s.DecisionsPerS) }},
	{"replay took", func(s *Summary) string { return fmt.Sprintf("%.2f s", s.WallS) }},
}

func count(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func covered(e *Expected, of func(*Expected) float64) string {
	if e == nil {
		return ""
	}
	return fmt.Sprintf("%.1f %%", of(e))
}

// span is seconds for people: exact below an hour, else in hours.
func span(s float64) string {
	if d := time.Duration(s * float64(time.Second)); d < time.Hour {
		return fmt.Sprintf("%.0f s", s)
	}
	return fmt.Sprintf("%.2f h", s/3600)
}

// SiteTable is one figure of every site under every policy.
type SiteTable struct {
	Title    string
	Headings []string
	Rows     [][]string
}

var siteFigures = []struct {
	title string
	cell  func(*Site) string
}{
	{"mean completion", func(s *Site) string { return span(s.MeanCompletionS) }},
	{"queueing, p99", func(s *Site) string { return span(s.P99QueueS) }},
	{"chips allocated", func(s *Site) string { return fmt.Sprintf("%.1f %%", s.AllocatedPercent) }},
}

// SiteTables are the figures of the sites; none for a fleet of one site.
func SiteTables(runs []*Summary) []SiteTable {
	if len(runs) == 0 || len(runs[0].Sites) < 2 {
		return nil
	}
	var out []SiteTable
	for _, f := range siteFigures {
		t := SiteTable{Title: f.title, Headings: []string{f.title, "jobs"}}
		for _, r := range runs {
			t.Headings = append(t.Headings, r.Policy)
		}
		for i := range runs[0].Sites {
			row := []string{runs[0].Sites[i].Name, fmt.Sprint(runs[0].Sites[i].Jobs)}
			for _, r := range runs {
				row = append(row, f.cell(&r.Sites[i]))
			}
			t.Rows = append(t.Rows, row)
		}
		out = append(out, t)
	}
	return out
}
