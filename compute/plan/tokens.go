package plan

import (
	"fmt"
	"slices"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// Corrector betters a prediction by what was measured.
type Corrector interface {
	Correct(perf.Question, perf.Answer) perf.Answer
}

// Tokens predicts the tokens a second of one chip of each class that the fleets have, in the layout inside one of their nodes that gives
// most for a chip, and says in a sentence each where the figures are from. Work that a class cannot do, or of which a figure is
// unknown, is an error. The corrector may be nil.
func Tokens(known *chip.Catalogue, fleets []Fleet, model string, w perf.Work, better Corrector) (map[string]float64, []string, error) {
	shape, ok := perf.Named(model)
	if !ok {
		var names []string
		for _, s := range perf.Shapes() {
			names = append(names, s.Name)
		}
		return nil, nil, fault.New(fault.NotFound, fmt.Sprintf("The shape of a model %q is not known.", model), fault.Field("model"), fault.Fix("The nearest is %q; or give --tokens CHIP=RATE", nearest.Name(model, names)))
	}
	rates, said := map[string]float64{}, []string{}
	for _, f := range fleets {
		for i := range f.Nodes {
			n := &f.Nodes[i]
			if n.Chip < 0 || rates[f.Chips[n.Chip].Name] > 0 {
				continue
			}
			name := f.Chips[n.Chip].Name
			c, err := known.Find(name)
			if err != nil {
				return nil, nil, fault.New(fault.Invalid, fmt.Sprintf("The catalogue does not know the chip %q, so its throughput cannot be predicted.", name), fault.Field("model"), fault.Fix("Give --tokens %s=RATE", name))
			}
			if source, lacks := c.Without(w.Precision); lacks {
				return nil, nil, fault.New(fault.Invalid, fmt.Sprintf("%s does not have %s (%s).", name, w.Precision, source), fault.Field("precision"), fault.Fix("Give another --precision, or --tokens %s=RATE", name))
			}
			a, chips, refused := fastest(shape, w, c, int(n.Chips), better)
			if refused != nil {
				return nil, nil, fault.New(fault.Invalid, fmt.Sprintf("%s on %s: %s", model, name, refused.Error()), fault.Field("model"), fault.Fix("Give --tokens %s=RATE", name))
			}
			rates[name] = a.Rate / float64(chips)
			said = append(said, fmt.Sprintf("%s gives %.0f tokens a second (%.0f to %.0f) with %s, predicted on %d of them: %s.", name, rates[name], a.Low/float64(chips), a.High/float64(chips), model, chips, a.Known))
		}
	}
	slices.Sort(said)
	return rates, said, nil
}

// fastest is the answer with the most tokens for a chip, of layouts inside a node.
func fastest(s perf.Shape, w perf.Work, c chip.Chip, node int, better Corrector) (best perf.Answer, chips int, refused *perf.Refusal) {
	for n := 1; n <= node; n *= 2 {
		q := perf.Question{Shape: s, Work: w, Chip: c, Node: node}
		options, r := perf.Layouts(q, n)
		if r != nil {
			return best, 0, r
		}
		if len(options) == 0 {
			continue
		}
		o := options[0]
		if o.Refused != nil {
			refused = o.Refused
			continue
		}
		if q.Layout = o.Layout; better != nil {
			o.Answer = better.Correct(q, o.Answer)
		}
		if chips == 0 || o.Answer.Rate/float64(n) > best.Rate/float64(chips) {
			best, chips = o.Answer, n
		}
	}
	if chips > 0 {
		return best, chips, nil
	}
	if refused == nil {
		refused = &perf.Refusal{Reason: perf.Invalid, Field: "layout", Detail: "no layout of a node's chips is possible"}
	}
	return best, 0, refused
}
