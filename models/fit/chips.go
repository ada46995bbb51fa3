package fit

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/compute/queue"
)

// Service answers for one fleet. A nil one knows nothing, and so refuses nothing.
type Service struct {
	// Market is the catalogue, this machine's processor and what was measured.
	Market func() (estimate.Market, error)
	// Stock is what the fleet has.
	Stock func(ctx context.Context) ([]estimate.Stock, error)
}

// Work is work that asks for chips.
type Work struct {
	What    string // "A replica", "The run"
	Field   string // of the request
	Shape   *perf.Shape
	Work    perf.Work
	Chips   int
	Classes []string // that it can use; none: all of the fleet but processors
}

// products are the precisions of products in the order of preference, where the work names none.
var products = []chip.Precision{chip.BF16, chip.FP16, chip.FP32}

// Chips refuses work that fits on none of the classes that it can use, in the number that it asks for. Classes without
// figures refuse nothing.
func (s *Service) Chips(ctx context.Context, w Work) error {
	if s == nil || w.Shape == nil || w.Chips < 1 {
		return nil
	}
	m, err := s.Market()
	if err != nil {
		return err
	}
	if m.Fleet, err = s.Stock(ctx); err != nil {
		return err
	}
	classes := w.Classes
	if len(classes) == 0 {
		for _, x := range m.Fleet {
			if x.Class != chip.ProcessorID {
				classes = append(classes, x.Class)
			}
		}
	}
	var best *estimate.Row
	for _, class := range classes {
		c, ok := candidate(&m, class)
		if !ok {
			return nil
		}
		row := ranked(w, c, w.Chips, nil)
		if row == nil || row.Refused == nil || row.Refused.Reason != string(perf.NoFit) {
			return nil
		}
		if best == nil || row.Refused.Needs/row.Refused.Has < best.Refused.Needs/best.Refused.Has {
			best = row
		}
	}
	if best == nil {
		return nil
	}
	says := fmt.Sprintf("%s does not fit on %d %s: the fullest chip needs %s, and %s of it can be filled.", w.What, w.Chips, best.Chip, figure(best.Refused.Needs), figure(best.Refused.Has))
	return refuse(says, w.Field, func() string { return nearest(w, &m, best) })
}

// Stock counts the chips of the fleet by class. The cores of a machine are one chip of the class of processors.
func Stock(nodes []queue.NodeView) []estimate.Stock {
	all, at := []estimate.Stock{}, map[string]int{}
	for _, n := range nodes {
		i, ok := at[n.Chip]
		if !ok {
			i = len(all)
			at[n.Chip] = i
			all = append(all, estimate.Stock{Class: n.Chip})
		}
		chips := n.Chips
		if n.Chip == chip.ProcessorID {
			chips = 1
		}
		all[i].Chips += chips
		all[i].Node = max(all[i].Node, chips)
	}
	return all
}

// candidate is a class with its figures and with the chips of a node of the fleet; false where nobody told any.
func candidate(m *estimate.Market, class string) (estimate.Candidate, bool) {
	var x estimate.Candidate
	if class == chip.ProcessorID && m.Processor != nil {
		x.Chip = *m.Processor
	} else {
		c, err := m.Catalogue.Find(class)
		if err != nil {
			return x, false
		}
		x.Chip = c
	}
	if i := slices.IndexFunc(m.Fleet, func(f estimate.Stock) bool { return f.Class == class }); i >= 0 {
		x.Node = m.Fleet[i].Node
	}
	return x, true
}

// ranked is the row of the work on so many chips, the smallest number that does it where chips is 0; nil where the question
// itself is wrong, which is said where it was asked.
func ranked(w Work, c estimate.Candidate, chips int, correct estimate.Corrector) *estimate.Row {
	ask := estimate.Ask{Shape: *w.Shape, Work: w.Work, Precisions: products, By: estimate.ByTime}
	if w.Work.Precision != "" {
		ask.Precisions = []chip.Precision{w.Work.Precision}
	}
	if chips > 0 {
		ask.Counts = []int{chips}
	}
	r, bad := estimate.Rank(ask, []estimate.Candidate{c}, correct)
	if bad != nil || len(r.Rows) == 0 {
		return nil
	}
	return &r.Rows[0]
}

// nearest is more chips of the class, or as many of another class: of the fleet if it has one, else of the catalogue.
func nearest(w Work, m *estimate.Market, best *estimate.Row) string {
	var ways []string
	has := func(class string) int {
		for _, x := range m.Fleet {
			if x.Class == class {
				return x.Chips
			}
		}
		return 0
	}
	if n := best.Refused.Smallest; n > 0 {
		ways = append(ways, fmt.Sprintf("%d %s would hold it and there are %d", n, best.Chip, has(best.Chip)))
	}
	var other *chip.Chip
	inFleet := false
	for _, c := range m.Catalogue.All() {
		mine := has(c.ID) >= w.Chips
		if c.Memory == nil || c.ID == best.Chip || c.Kind == chip.CPU || inFleet && !mine || other != nil && mine == inFleet && c.Memory.Value >= other.Memory.Value {
			continue
		}
		x, _ := candidate(m, c.ID)
		if row := ranked(w, x, w.Chips, nil); row != nil && row.Refused == nil {
			other, inFleet = &c, mine
		}
	}
	if other != nil {
		there := ""
		if !inFleet {
			there = ", which the fleet does not have,"
		}
		ways = append(ways, fmt.Sprintf("%d %s%s would hold it", w.Chips, other.ID, there))
	}
	return strings.Join(ways, "; ")
}
