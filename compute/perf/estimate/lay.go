package estimate

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
)

// at is the row of a number of chips in its best layout; false where it is refused.
func (s *search) at(count int) (Row, bool) {
	row := s.base
	row.Count = count
	if s.of.Has > 0 && count > s.of.Has {
		row.Refused = &Refusal{Reason: NotInFleet, Fleet: s.of.Has, Detail: fmt.Sprintf("There are %d of it", s.of.Has)}
		return row, false
	}
	var options []*option
	if !s.ask.stopped() {
		options = s.options(count)
	}
	if len(options) == 0 {
		row.Refused = &Refusal{Reason: string(perf.NoFit), Has: s.base.Has, Detail: "the batch and the layers cannot be split over so many"}
		return row, false
	}
	switch first := options[0]; {
	case first.alone > 0:
		row.Refused = &Refusal{Reason: TooSlow, alone: first.alone, Detail: fmt.Sprintf("%s give one sequence alone %.3g tokens a second where %.4g are asked", chips(count), first.alone, s.ask.User)}
		return row, false
	case first.Refused != nil:
		row.Refused = s.why(options)
		row.Layout, row.Work = first.Layout, first.Work
		return row, false
	}
	s.fill(&row, options[0])
	row.Others = others(options)
	if r := s.slow(&row); r != nil {
		row.Refused = r
		return row, false
	}
	return row, true
}

// others are the next best layouts, each once.
func others(options []*option) (list []Other) {
	type key struct {
		perf.Layout
		perf.Recompute
	}
	seen := map[key]bool{{options[0].Layout, options[0].Recompute}: true}
	for _, o := range options[1:] {
		if k := (key{o.Layout, o.Recompute}); !seen[k] && len(list) < 8 {
			seen[k] = true
			list = append(list, Other{o.Option, o.Work})
		}
	}
	return list
}

// option is a layout with the work as it is laid out.
type option struct {
	perf.Option
	perf.Work
	alone float64 // it fits, but even one sequence alone gets only so many tokens a second, fewer than asked; 0: it does
}

// rank puts answers first, then what is too slow for a user, then what is refused.
func (o *option) rank() int {
	switch {
	case o.Refused != nil:
		return 2
	case o.alone > 0:
		return 1
	}
	return 0
}

// options tries layouts, ways of recomputing and sizes of microbatches, the best first.
func (s *search) options(count int) (all []*option) {
	for _, w := range s.works(count) {
		q := s.q
		q.Work = w
		options, r := perf.Layouts(q, count)
		if r != nil {
			continue
		}
		for _, o := range options {
			p := q
			p.Layout = o.Layout
			alone := 0.0
			if o.Refused == nil && s.ask.User > 0 {
				o.Answer = s.correct(p, o.Answer)
				alone = s.hurry(&p, &o)
			}
			all = append(all, &option{o, p.Work, alone})
		}
	}
	rank(all)
	if s.c != nil && s.ask.User == 0 { // layouts far from the best do not become it by what was measured
		for _, o := range all[:min(len(all), 64)] {
			if p := s.q; o.Refused == nil {
				p.Work, p.Layout = o.Work, o.Layout
				o.Answer = s.correct(p, o.Answer)
			}
		}
		rank(all[:min(len(all), 64)])
	}
	return all
}

func (s *search) correct(q perf.Question, a perf.Answer) perf.Answer {
	if s.c == nil {
		return a
	}
	return s.c.Correct(q, a)
}

// rank puts the best layouts first. A layout that rests on an unknown link gives way to the best of those that do not, unless
// that is less than half as fast.
func rank(all []*option) {
	sorted(all)
	if len(all) == 0 || all[0].rank() > 0 || !open(all[0].Answer) {
		return
	}
	i := slices.IndexFunc(all, func(o *option) bool { return o.rank() == 0 && !open(o.Answer) })
	if i > 0 && all[i].Answer.Rate >= all[0].Answer.Rate/2 {
		o := all[i]
		copy(all[1:], all[:i])
		all[0] = o
	}
}

func sorted(all []*option) {
	slices.SortStableFunc(all, func(a, b *option) int {
		if n := cmp.Compare(a.rank(), b.rank()); n != 0 {
			return n
		}
		switch a.rank() {
		case 0:
			return cmp.Or(cmp.Compare(b.Answer.Rate, a.Answer.Rate), cmp.Compare(a.Answer.Memory.Total(), b.Answer.Memory.Total()))
		case 1:
			return cmp.Compare(b.alone, a.alone)
		}
		return cmp.Or(cmp.Compare(a.Refused.Reason, b.Refused.Reason), cmp.Compare(a.Refused.Needs, b.Refused.Needs)) // "does not fit" first
	})
}

// slot is what any two chips of a machine can tell each other, in bytes a second each way: one lane of PCIe 3.0
// (hpc-notes.pages.dev/reference/pcie), of which cards have four to sixteen. A network of ten gigabits carries more.
const slot = 0.985e9

// open says that an answer rests on links of unknown speed that must carry more than a slot does.
func open(a perf.Answer) bool { return a.Open > slot }

// works are the ways of doing the work that are not asked for and that the layout's choice includes.
func (s *search) works(count int) []perf.Work {
	w := s.q.Work
	if w.Task != perf.Train && w.Task != perf.PostTrain {
		return []perf.Work{w}
	}
	ways, micros := []perf.Recompute{perf.Fused, perf.Full}, []int{1, 2, 4, 8}
	if w.Recompute != "" {
		ways = []perf.Recompute{w.Recompute}
	}
	if w.Micro > 0 {
		micros = []int{w.Micro}
	}
	var all []perf.Work
	for _, way := range ways {
		for _, m := range micros {
			if m > 1 && m > w.Batch {
				continue
			}
			w.Recompute, w.Micro = way, m
			all = append(all, w)
		}
	}
	return all
}

// hurry lowers the batch until a sequence is as fast as asked; where not even one alone is, it tells how fast that is.
func (s *search) hurry(q *perf.Question, o *perf.Option) (alone float64) {
	if perUser(q.Work, q.Layout, o.Answer) >= s.ask.User {
		return 0
	}
	at := func(batch int) (perf.Work, perf.Answer, float64) {
		p := *q
		p.Work.Batch = batch
		a, r := perf.Predict(p)
		if r != nil {
			return p.Work, a, 0
		}
		a = s.correct(p, a)
		return p.Work, a, perUser(p.Work, p.Layout, a)
	}
	w, a, speed := at(1)
	if speed < s.ask.User {
		return max(speed, 1e-9)
	}
	low, high := 1, o.Answer.Batch // low is fast enough, high is not
	q.Work, o.Answer = w, a
	for high-low > 1 {
		mid := (low + high) / 2
		if w, a, speed := at(mid); speed >= s.ask.User {
			low, o.Answer, q.Work = mid, a, w
		} else {
			high = mid
		}
	}
	return 0
}

// perUser is the tokens a second of one sequence; 0 where none are made.
func perUser(w perf.Work, l perf.Layout, a perf.Answer) float64 {
	if w.Task != perf.Serve && w.Task != perf.Decode {
		return 0
	}
	return a.Rate / float64(max(1, a.Batch)*max(1, l.Data))
}

// why is the refusal of a number of chips, of which every layout was refused.
func (s *search) why(options []*option) *Refusal {
	first := options[0].Refused
	r := &Refusal{Reason: string(first.Reason), Needs: first.Needs, Has: first.Has, Missing: first.Missing, Detail: first.Detail}
	if first.Reason == perf.NoFit {
		for _, o := range options { // what would fit, if a figure were known
			if o.Refused.Reason == perf.Unknown {
				r.Detail = fmt.Sprintf("layouts of tensor ranks cannot be answered, for nobody has told the %s", o.Refused.Missing[0])
				break
			}
		}
	}
	return r
}

func chips(n int) string {
	if n == 1 {
		return "one chip alone would"
	}
	return fmt.Sprintf("%d chips", n)
}

// slow says that a row is not as fast as asked.
func (s *search) slow(row *Row) *Refusal {
	rate := row.Rate.Is
	if s.ask.Sure {
		rate = row.Rate.Low
	}
	if w := s.ask.Rate; w > 0 && rate < w {
		return &Refusal{Reason: TooSlow, Detail: fmt.Sprintf("%s give %.4g tokens a second where %.4g are asked", chips(row.Count), rate, w)}
	}
	if w := s.ask.Within; w > 0 && s.ask.Tokens/rate > w {
		return &Refusal{Reason: TooSlow, Detail: fmt.Sprintf("%s take %s where %s are given", chips(row.Count), Duration(s.ask.Tokens/rate), Duration(w))}
	}
	return nil
}

// fill is an answer as a row, with time, cost and energy.
func (s *search) fill(row *Row, o *option) {
	a := o.Answer
	row.Layout, row.Work = o.Layout, o.Work
	base := row.Answer.Assumed
	row.Answer = a
	row.Answer.Assumed = slices.Concat(base, a.Assumed)
	row.Rate = Span{a.Low, a.Rate, a.High}
	row.User = perUser(o.Work, o.Layout, a)
	row.Open = open(a)
	row.Figures = s.figures()
	rate := row.Rate
	if w := s.ask.Rate; w > 0 && !trains(o.Work.Task) { // who serves so much pays for the chips, not for what they could
		rate = Span{min(rate.Low, w), min(rate.Is, w), min(rate.High, w)}
	}
	if s.ask.Tokens > 0 {
		row.Seconds = over(s.ask.Tokens, row.Rate)
	}
	if p, ok := s.ask.Prices[row.Chip]; ok {
		h := p * float64(row.Count)
		row.Hourly, row.PerMillion = &h, over(h/3600*1e6, rate)
		if s.ask.Tokens > 0 {
			row.Cost = over(h/3600*s.ask.Tokens, row.Rate)
		}
	}
	if a.Watts != nil {
		w := *a.Watts * max(1, s.ask.PUE)
		row.Joules = over(w, rate)
		if s.ask.Tokens > 0 {
			row.Energy = over(w*s.ask.Tokens, row.Rate)
		}
	}
}

// figures are those of the chip that answers are made of.
func (s *search) figures() (all []Named) {
	c := &s.q.Chip
	add := func(name string, f *chip.Figure) {
		if f != nil {
			all = append(all, Named{name, chip.FormatQuantity(f.Value, f.Unit), f.Source, string(f.Confidence)})
		}
	}
	add("memory", c.Memory)
	add("bandwidth", c.Bandwidth)
	add("flops."+string(s.base.Precision), c.Flops[s.base.Precision])
	if c.Link != nil {
		add("link, "+map[chip.Direction]string{chip.EachWay: "each way", chip.BothWays: "both ways"}[c.Link.Counts], &c.Link.Figure)
	}
	add("power", c.Power)
	return all
}

func trains(t perf.Task) bool { return t == perf.Train || t == perf.PostTrain }

// over divides by a rate: the faster, the less.
func over(n float64, rate Span) *Span { return &Span{n / rate.High, n / rate.Is, n / rate.Low} }

// LoRA is the part of a model's parameters that low-rank adapters of a rank train beside every product of its layers (arXiv
// 2106.09685: two matrices of the rank for each, one as tall and one as wide as it).
func LoRA(s perf.Shape, rank int) float64 {
	d, q, kv := float64(s.Width), float64(s.Heads*s.Head), float64(s.KVHeads*s.Head)
	sides := (d + q) + 2*(d+kv) + (q + d)
	if l := s.Latent; l != nil {
		h := float64(s.Heads)
		sides = d + float64(l.Query) + float64(l.Query) + h*float64(l.Plain+l.Rotor) + d + float64(l.Keys+l.Rotor) + float64(l.Keys) + h*float64(l.Plain+l.Value) + h*float64(l.Value) + d
	}
	matrices := 3.0
	if s.Plain {
		matrices = 2
	}
	dense, sparse := float64(s.Layers), 0.0
	if e := s.Experts; e != nil {
		dense, sparse = float64(e.Dense), float64(s.Layers-e.Dense)*float64(e.Count+e.Shared)*matrices*(d+float64(e.Width))
	}
	n := float64(rank) * (float64(s.Layers)*sides + dense*matrices*(d+float64(s.Inner)) + sparse)
	return min(1, n/float64(s.Parameters()))
}

// Duration writes seconds for people: 45 s, 12 min, 3.2 h, 18 d.
func Duration(s float64) string {
	for _, u := range []struct {
		name string
		of   float64
		upTo float64
	}{{"s", 1, 120}, {"min", 60, 120 * 60}, {"h", 3600, 48 * 3600}, {"d", 86400, 730 * 86400}} {
		if s < u.upTo {
			return fmt.Sprintf("%.3g %s", s/u.of, u.name)
		}
	}
	return fmt.Sprintf("%.3g years", s/(365.25*86400))
}

// ParseWeights reads how weights are kept: a precision, int4, or a number of bits such as 4.5b. The result is bytes of a
// weight.
func ParseWeights(text string) (float64, bool) {
	switch text {
	case "int4", "fp4":
		return 0.5, true
	case string(chip.FP8), string(chip.INT8):
		return 1, true
	case string(chip.BF16), string(chip.FP16):
		return 2, true
	case string(chip.FP32):
		return 4, true
	}
	var bits float64
	if n, err := fmt.Sscanf(text, "%gb", &bits); n == 1 && err == nil && fmt.Sprintf("%gb", bits) == text && bits >= 1 && bits <= 32 {
		return bits / 8, true
	}
	return 0, false
}
