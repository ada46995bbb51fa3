package estimate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// Market is what a question is asked of: the chips, the fleet where only that is meant, and what chips cost.
type Market struct {
	Catalogue *chip.Catalogue
	Processor *chip.Chip       // this machine's, with what was measured; nil: the catalogue's, without figures
	Fleet     []Stock          // for questions of the fleet; nil: there is none
	Prices    map[string]int64 // micro-units for an hour of one chip; those of the question go over them
	Corrector Corrector        // nil: none
	Stop      func() error     // tells why to stop, as a context's Err does; nil: never
}

// Stock is a class of chips of a fleet.
type Stock struct {
	Class string
	Chips int // of processors: nodes, whose cores are one chip together
	Node  int // chips of its largest node
}

// defaults of the sizes that a task needs and a question may leave out. They are told in the notes.
var defaults = map[perf.Task]api.ChipQuestion{
	perf.Train:     {Batch: 2048, Context: 8192},
	perf.PostTrain: {Batch: 64, Context: 4096},
	perf.Prefill:   {Batch: 8, Context: 2048},
	perf.Decode:    {Context: 2048},
	perf.Serve:     {Prompt: 1024, Output: 256},
	perf.Embed:     {Batch: 32, Context: 512},
}

// Model is what is known of a question's model.
type Model struct {
	Shape     perf.Shape
	PerWeight float64 // bytes of a weight as it is stored; 0: unknown
	Context   int     // tokens of the longest sequence that it was made for; 0: unknown
}

// Answer ranks the chips of a market for a question from outside. Model is the question's; nil: the question has its shape,
// or names a known one. The errors are fault.Invalid and fault.NotFound, with field and reason.
func Answer(in api.ChipQuestion, model *Model, m Market) (api.ChipRanking, error) {
	s, err := shapeOf(in, model)
	if err != nil {
		return api.ChipRanking{}, err
	}
	short := model.shorten(&in)
	ask, notes, err := asked(in, s)
	if err != nil {
		return api.ChipRanking{}, err
	}
	notes = append(short, notes...)
	if note := ask.stored(in, model); note != "" {
		notes = append(notes, note)
	}
	candidates, strange, err := m.candidates(in)
	if err != nil {
		return api.ChipRanking{}, err
	}
	if err := known(in.Engine, candidates); err != nil {
		return api.ChipRanking{}, err
	}
	if ask.Prices, err = m.prices(in); err != nil {
		return api.ChipRanking{}, err
	}
	if ask.By == "" {
		ask.By = ByChips
		if slices.ContainsFunc(candidates, func(c Candidate) bool { _, ok := ask.Prices[c.Chip.ID]; return ok }) {
			ask.By = ByCost
		}
	}
	ask.stop = m.Stop
	r, bad := Rank(ask, candidates, m.Corrector)
	if bad != nil {
		return api.ChipRanking{}, Fault(bad)
	}
	if ask.stopped() {
		return api.ChipRanking{}, fault.New(fault.TooLarge, "The question takes too long to answer.", fault.Fix("Ask for fewer chips or fewer numbers of them"))
	}
	r.Rows = append(r.Rows, strange...)
	if r.Unpriced {
		notes = append(notes, "no price of these chips is known, so the fastest stand first: give prices, or rank by time, energy or chip-hours")
	}
	a := api.ChipRanking{Model: s.Name, Parameters: s.Parameters(), Task: string(ask.Work.Task), By: string(ask.By), Tokens: ask.Tokens, Notes: notes, Rows: []api.ChipRow{}}
	for i := range r.Rows {
		a.Rows = append(a.Rows, r.Rows[i].api())
	}
	return a, nil
}

// WorkOf is the work that a question means, with what it leaves out filled in as Answer does; the precision stays empty where
// the question names none, for each chip has its own best. The errors are those of Answer.
func WorkOf(in api.ChipQuestion, model *Model, m Market) (perf.Shape, perf.Work, error) {
	s, err := shapeOf(in, model)
	if err != nil {
		return s, perf.Work{}, err
	}
	model.shorten(&in)
	ask, _, err := asked(in, s)
	if err != nil {
		return s, perf.Work{}, err
	}
	ask.stored(in, model)
	candidates, _, err := m.candidates(api.ChipQuestion{})
	if err == nil {
		err = known(in.Engine, candidates)
	}
	if err != nil {
		return s, perf.Work{}, err
	}
	switch len(in.Precision) {
	case 0:
	case 1:
		ask.Work.Precision = ask.Precisions[0]
	default:
		return s, perf.Work{}, fault.InvalidField("precision", "%d precisions are named, and work has one", len(in.Precision))
	}
	ask.By = ByTime
	if r := ask.check(); r != nil {
		return s, perf.Work{}, Fault(r)
	}
	return s, ask.Work, nil
}

// shorten fills in what a question leaves open where the defaults are longer than the model's sequences, a fifth of one for the
// answer, and says so; it also says that what the question does name is longer.
func (m *Model) shorten(in *api.ChipQuestion) (notes []string) {
	if m == nil || m.Context < 2 {
		return nil
	}
	d := defaults[perf.Task(in.Task)]
	asked := max(in.Context, in.Prompt+in.Output)
	switch {
	case d.Prompt > 0 && in.Prompt == 0 && in.Output == 0 && d.Prompt+d.Output > m.Context:
		in.Output = max(1, m.Context/5)
		in.Prompt = m.Context - in.Output
		notes = append(notes, fmt.Sprintf("prompt %d, output %d, together the model's longest sequence", in.Prompt, in.Output))
	case in.Context == 0 && d.Context > m.Context:
		in.Context = m.Context
		notes = append(notes, fmt.Sprintf("context %d, the model's longest", in.Context))
	}
	if asked > m.Context {
		notes = append(notes, fmt.Sprintf("sequences of %d tokens, though the model was made for %d", asked, m.Context))
	}
	return notes
}

// stored counts the weights of a model as they are stored where the question does not say how they are kept, and says so. Weights that are
// all trained are kept as the products, and so are those that are stored wider, for most engines narrow them.
func (ask *Ask) stored(in api.ChipQuestion, model *Model) string {
	switch {
	case model == nil || in.Weights != "" || model.PerWeight <= 0 || trains(ask.Work.Task) && in.LoRA == 0:
		return ""
	case model.PerWeight < 1.9: // quantised
		ask.Work.WeightBytes = model.PerWeight
		return fmt.Sprintf("weights as they are stored, %.3g bits each", 8*model.PerWeight)
	case model.PerWeight > 2.1:
		return fmt.Sprintf("weights as the products, though they are stored with %.3g bits each, which `weights` would count", 8*model.PerWeight)
	}
	return ""
}

// known refuses an engine that nobody knows.
func known(e string, candidates []Candidate) error {
	if e == "" || slices.Contains(Engines(candidates), e) {
		return nil
	}
	return fault.New(fault.Invalid, fmt.Sprintf("There is no engine %q.", e), fault.Field("engine"),
		fault.Fix("The nearest is %s; known are %s", nearest.Name(e, Engines(candidates)), strings.Join(Engines(candidates), ", ")))
}

// Fault is a refused question as an error with its field.
func Fault(r *perf.Refusal) error {
	return fault.InvalidField(strings.TrimPrefix(r.Field, "work."), "%s", r.Error())
}

func shapeOf(in api.ChipQuestion, model *Model) (perf.Shape, error) {
	switch {
	case model != nil:
		return model.Shape, nil
	case len(in.Shape) > 0:
		return ParseShape(in.Shape, in.Model)
	}
	s, ok := perf.Named(in.Model)
	if ok {
		return s, nil
	}
	return s, Unknown(in.Model, nil)
}

// Unknown says that a model is not known, with the nearest of the known shapes and of other names.
func Unknown(model string, names []string) error {
	for _, s := range perf.Shapes() {
		names = append(names, s.Name)
	}
	short := strings.ToValidUTF8(model[:min(len(model), 64)], "")
	return fault.New(fault.NotFound, fmt.Sprintf("There is no model %q.", short), fault.Field("model"),
		fault.Fix("The nearest name is %s; known shapes are %s; another one is given by its shape", nearest.Name(model, names), strings.Join(names, ", ")))
}

// maxShape is how large the text of a shape may be.
const maxShape = 1 << 20

// ParseShape reads a shape from outside: an object with the fields of perf.Shape. The name is used where it has none.
func ParseShape(text []byte, name string) (perf.Shape, error) {
	var s perf.Shape
	if len(text) > maxShape {
		return s, fault.Newf(fault.TooLarge, "A shape of %d bytes; at most %d are read.", len(text), maxShape)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, fault.InvalidField("shape", "it cannot be read: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	s.Name = cmp.Or(s.Name, name, "the shape")
	if r := s.Check(); r != nil {
		return s, Fault(r)
	}
	return s, nil
}

// asked is the question with what it leaves out filled in.
func asked(in api.ChipQuestion, s perf.Shape) (Ask, []string, error) {
	ask := Ask{Shape: s, Counts: in.Count, Best: in.Best || !in.Least && len(in.Count) == 0 && in.Rate == 0 && in.Requests == 0 && in.Within == 0, Most: in.Most, Node: in.Node, Net: in.Net, Link: in.Link, Tokens: in.Tokens, Within: in.Within, Rate: in.Rate,
		User: in.UserRate, Sure: in.Sure, PUE: in.PUE, By: By(in.By)}
	task := perf.Task(in.Task)
	if !slices.Contains(perf.Tasks(), task) {
		var names []string
		for _, t := range perf.Tasks() {
			names = append(names, string(t))
		}
		return ask, nil, fault.New(fault.Invalid, fmt.Sprintf("There is no task %q.", in.Task), fault.Field("task"), fault.Fix("The nearest is %s; there are %s", nearest.Name(in.Task, names), strings.Join(names, ", ")))
	}
	notes := []string{}
	fill := func(name string, n *int, by int) {
		if *n == 0 && by != 0 {
			*n = by
			notes = append(notes, fmt.Sprintf("%s %d", name, by))
		}
	}
	d := defaults[task]
	fill("batch", &in.Batch, d.Batch)
	fill("context", &in.Context, d.Context)
	fill("prompt", &in.Prompt, d.Prompt)
	fill("output", &in.Output, d.Output)
	ask.Work = perf.Work{Task: task, Engine: in.Engine, Batch: in.Batch, Micro: in.Micro, Context: in.Context, Prompt: in.Prompt, Output: in.Output, Recompute: perf.Recompute(in.Recompute)}
	for _, f := range []struct {
		name, text string
		to         *float64
	}{{"weights", in.Weights, &ask.Work.WeightBytes}, {"cache", in.Cache, &ask.Work.CacheBytes}} {
		var ok bool
		if *f.to, ok = ParseWeights(f.text); !ok && f.text != "" {
			return ask, nil, fault.InvalidField(f.name, "%q is no precision; write bf16, fp8, int8, int4, or bits such as 4.5b", f.text)
		}
	}
	for _, p := range in.Precision {
		if !slices.Contains(chip.Precisions(), chip.Precision(p)) {
			return ask, nil, fault.InvalidField("precision", "%q is no precision; there are %s", p, join(chip.Precisions()))
		}
		ask.Precisions = append(ask.Precisions, chip.Precision(p))
	}
	if len(ask.Precisions) == 0 {
		ask.Precisions, ask.Plain = []chip.Precision{chip.BF16, chip.FP16}, true
		notes = append(notes, "precision bf16 (fp16, or fp32 on processors, where there is none)")
	}
	err := ask.demand(in)
	return ask, notes, err
}

// demand takes over what is wanted, and refuses what the task cannot have.
func (ask *Ask) demand(in api.ChipQuestion) error {
	t := ask.Work.Task
	switch {
	case in.LoRA > 0 && t != perf.PostTrain:
		return fault.InvalidField("lora", "adapters are of the task post-train, not of %s", t)
	case in.LoRA > 0:
		ask.Work.Trained = LoRA(ask.Shape, in.LoRA)
	}
	switch {
	case in.Requests == 0:
	case t != perf.Serve:
		return fault.InvalidField("requests", "requests are of the task serve, not of %s", t)
	case in.Rate != 0:
		return fault.InvalidField("requests", "requests and a rate are both given")
	case !(in.Requests > 0 && in.Requests < 1e12):
		return fault.InvalidField("requests", "%v is out of range", in.Requests)
	default:
		ask.Rate = in.Requests * float64(ask.Work.Output)
	}
	if (in.Best || in.Least) && len(in.Count) > 0 {
		return fault.InvalidField("count", "numbers of chips are given, so there is none to find")
	}
	if in.Best && in.Least {
		return fault.InvalidField("best", "the smallest number is asked for, too")
	}
	if trains(t) && (in.Weights != "" && in.LoRA == 0) {
		return fault.InvalidField("weights", "weights that are all trained are kept as the products; narrower ones go with adapters")
	}
	if trains(t) && in.Cache != "" {
		return fault.InvalidField("cache", "training keeps none")
	}
	return nil
}

// candidates are the chips that a question means; strange are refused rows of classes that the catalogue does not know.
func (m Market) candidates(in api.ChipQuestion) (all []Candidate, strange []Row, err error) {
	chips := m.Catalogue.All()
	if in.Make != "" {
		if chips, err = m.Catalogue.OfMake(in.Make); err != nil {
			return nil, nil, err
		}
	}
	for i := range chips {
		if chips[i].ID == chip.ProcessorID && m.Processor != nil {
			chips[i] = *m.Processor
		}
	}
	if len(in.Chips) > 0 {
		var named []chip.Chip
		for _, name := range in.Chips {
			c, err := m.Catalogue.Find(name)
			if err != nil {
				return nil, nil, err
			}
			same := func(x chip.Chip) bool { return x.ID == c.ID }
			if i := slices.IndexFunc(chips, same); i >= 0 && !slices.ContainsFunc(named, same) {
				named = append(named, chips[i])
			}
		}
		if len(named) == 0 {
			return nil, nil, fault.InvalidField("chips", "none of them is of the make %s", in.Make)
		}
		chips = named
	}
	if !in.Fleet {
		for _, c := range chips {
			all = append(all, Candidate{Chip: c})
		}
		return all, nil, nil
	}
	return m.stock(chips, in)
}

// stock are the candidates of the fleet among the chips.
func (m Market) stock(chips []chip.Chip, in api.ChipQuestion) (all []Candidate, strange []Row, err error) {
	if m.Fleet == nil {
		return nil, nil, fault.InvalidField("fleet", "no server runs whose fleet could be meant")
	}
	for _, s := range m.Fleet {
		c, err := m.Catalogue.Find(s.Class)
		if err != nil {
			if in.Make == "" && len(in.Chips) == 0 {
				strange = append(strange, Row{Chip: s.Class, Refused: &Refusal{Reason: NotInFleet, Fleet: s.Chips,
					Detail: "Nobody has told the figures of this class of chips; an operator's chip file can"}})
			}
			continue
		}
		if i := slices.IndexFunc(chips, func(x chip.Chip) bool { return x.ID == c.ID }); i >= 0 {
			all = append(all, Candidate{Chip: chips[i], Has: s.Chips, Node: s.Node})
		}
	}
	return all, strange, nil
}

// prices are those of the installation and of the question, by the ids of chips.
func (m Market) prices(in api.ChipQuestion) (map[string]float64, error) {
	if len(in.Prices) > 2000 {
		return nil, fault.InvalidField("prices", "%d prices; at most 2000", len(in.Prices))
	}
	all := map[string]float64{}
	for name, p := range m.Prices {
		if c, err := m.Catalogue.Find(name); err == nil { // other classes have no rows here
			all[c.ID] = float64(p)
		}
	}
	given := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(in.Prices)) {
		c, err := m.Catalogue.Find(name)
		if err != nil {
			return nil, fault.New(fault.NotFound, fault.As(err).Message, fault.Field("prices."+name), fault.Fix("%s", fault.As(err).Fix))
		}
		if other := given[c.ID]; other != "" {
			return nil, fault.InvalidField("prices."+name, "it is the same chip as %s, which has a price too", other)
		}
		if p := in.Prices[name]; p < 0 || p > 1_000_000_000_000 {
			return nil, fault.InvalidField("prices."+name, "%d is no price of a chip-hour", p)
		}
		given[c.ID], all[c.ID] = name, float64(in.Prices[name])
	}
	return all, nil
}
