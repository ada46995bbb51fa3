package fit

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
)

// Stock is a class of chips of the fleet.
type Stock struct {
	Class string
	Chips int
	Node  int        // chips of its largest node
	Chip  *chip.Chip // its figures; nil: nobody told any
}

// Corrector changes an answer by what was measured.
type Corrector interface {
	Correct(perf.Question, perf.Answer) perf.Answer
}

// Service answers for one fleet. A nil one knows nothing, and so refuses nothing.
type Service struct {
	Fleet     func(ctx context.Context) ([]Stock, error)
	Catalogue *chip.Catalogue // of what could be had beside; nil: nothing
	Correct   Corrector       // nil: predictions stay as they are
}

// Work is work that asks for chips.
type Work struct {
	What    string // "A replica", "The run"
	Field   string // of the request
	Shape   *perf.Shape
	Work    perf.Work
	Chips   int
	Classes []string // that it can use; none: all of the fleet but the processor
}

// most is the largest number of chips that the nearest is looked for among.
const most = 1 << 12

// Chips refuses work that fits on none of the classes that it can use, in the number that it asks for. Classes without
// figures refuse nothing.
func (s *Service) Chips(ctx context.Context, w Work) error {
	if s == nil || w.Shape == nil || w.Chips < 1 {
		return nil
	}
	fleet, err := s.Fleet(ctx)
	if err != nil {
		return err
	}
	classes := w.Classes
	if len(classes) == 0 {
		for _, x := range fleet {
			if x.Chip == nil || x.Chip.Kind != chip.CPU {
				classes = append(classes, x.Class)
			}
		}
	}
	var best *perf.Refusal
	var of Stock
	for _, class := range classes {
		x := s.stock(fleet, class)
		if x.Chip == nil {
			return nil
		}
		r := holds(w, x, w.Chips)
		if r == nil {
			return nil
		}
		if best == nil || r.Needs/r.Has < best.Needs/best.Has {
			best, of = r, x
		}
	}
	if best == nil {
		return nil
	}
	says := fmt.Sprintf("%s does not fit on %d %s: the fullest chip needs %s, and %s of it can be filled.", w.What, w.Chips, of.Class, figure(best.Needs), figure(best.Has))
	return refuse(says, w.Field, func() string { return s.nearest(w, fleet, of) })
}

// stock is a class of the fleet, or one that the fleet does not have with the catalogue's figures.
func (s *Service) stock(fleet []Stock, class string) Stock {
	if i := slices.IndexFunc(fleet, func(x Stock) bool { return x.Class == class }); i >= 0 {
		return fleet[i]
	}
	x := Stock{Class: class}
	if s.Catalogue != nil {
		if c, err := s.Catalogue.Find(class); err == nil {
			x.Chip = &c
		}
	}
	return x
}

// holds is why so many chips of a class do not hold the work: nil where they do in some layout, or where a figure is
// missing.
func holds(w Work, x Stock, count int) *perf.Refusal {
	q := question(w.Shape, w.Work, x)
	options, bad := perf.Layouts(q, count)
	if bad != nil {
		return nil // what is wrong with the question is said where it was asked
	}
	var best *perf.Refusal
	for _, o := range options {
		if o.Refused == nil || o.Refused.Reason != perf.NoFit {
			return nil
		}
		if best == nil || o.Refused.Needs < best.Needs {
			best = o.Refused
		}
	}
	return best
}

func question(s *perf.Shape, w perf.Work, x Stock) perf.Question {
	if w.Precision == "" {
		w.Precision = precision(x.Chip)
	}
	return perf.Question{Shape: *s, Work: w, Chip: *x.Chip, Node: x.Node}
}

// precision is that of the products on a chip: the first of the usual ones that it is known for.
func precision(c *chip.Chip) chip.Precision {
	for _, p := range []chip.Precision{chip.BF16, chip.FP16, chip.FP32} {
		if _, ok := c.Peak(p); ok {
			return p
		}
	}
	return chip.BF16
}

// nearest is more chips of the class, or as many of another class.
func (s *Service) nearest(w Work, fleet []Stock, of Stock) string {
	var ways []string
	for n := w.Chips + 1; n <= most; n++ {
		if n > 16 && n&(n-1) != 0 {
			continue
		}
		if holds(w, of, n) == nil {
			there := ""
			if of.Chips > 0 && of.Chips < n {
				there = fmt.Sprintf(" (there are %d)", of.Chips)
			}
			ways = append(ways, fmt.Sprintf("%d %s would hold it%s", n, of.Class, there))
			break
		}
	}
	others := slices.Clone(fleet)
	if s.Catalogue != nil {
		for _, c := range s.Catalogue.All() {
			if !slices.ContainsFunc(fleet, func(x Stock) bool { return x.Class == c.ID }) {
				others = append(others, Stock{Class: c.ID, Chip: &c})
			}
		}
	}
	if x, ok := smallest(w, others, len(fleet)); ok {
		there := ""
		if x.Chips == 0 {
			there = ", of which the fleet has none,"
		}
		ways = append(ways, fmt.Sprintf("%d %s%s would hold it", w.Chips, x.Class, there))
	}
	return strings.Join(ways, ", ")
}

// smallest is the class with the least memory that holds the work in the number asked for; those of the fleet, which are the
// first, go before others.
func smallest(w Work, all []Stock, fleet int) (best Stock, found bool) {
	inFleet := false
	for i, x := range all {
		mine := i < fleet
		if x.Chip == nil || x.Chip.Memory == nil || x.Chip.Kind == chip.CPU || mine && x.Chips < w.Chips || inFleet && !mine {
			continue
		}
		if found && mine == inFleet && x.Chip.Memory.Value >= best.Chip.Memory.Value {
			continue
		}
		if holds(w, x, w.Chips) == nil {
			best, found, inFleet = x, true, mine
		}
	}
	return best, found
}
