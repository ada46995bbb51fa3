// Package estimate ranks chips for a piece of work: on which of them it fits, in how many and in which layout, how fast,
// how dear and with how much energy, by package perf. It is pure: the question, chips and prices in; rows and refusals
// out.
//
// Rules for callers: nothing is left out in silence. A chip that cannot do the work has a row with the reason, and with
// what would change it. A price or a power that nobody told leaves cost or energy unknown (nil), and such rows stand
// behind the others. Costs are in the unit that prices are in, energies are joules, times seconds.
package estimate

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
)

// By says what rows are ranked by.
type By string

// The orders. Rows that lack what they are ranked by stand behind, those first of which each chip does most. Among the
// others, and among those behind, rows that rest on a link of unknown speed come last.
const (
	ByCost   By = "cost"
	ByTime   By = "time"
	ByEnergy By = "energy"
	ByChips  By = "chip-hours" // what a chip does: cost where all chips cost the same
)

// Corrector changes an answer by what was measured; package measured has one. A nil one changes nothing.
type Corrector interface {
	Correct(perf.Question, perf.Answer) perf.Answer
}

// Ask is the question.
type Ask struct {
	Shape      perf.Shape
	Work       perf.Work        // Batch 0 when serving: as many sequences as fit
	Precisions []chip.Precision // in the order of preference: each chip does the first it has a figure for
	Plain      bool             // nobody chose Precisions: a processor may also do fp32, which its engines do
	Counts     []int            // numbers of chips to try; none: the smallest that does it
	Best       bool             // where Counts is empty: of what fits a node, the number of which each chip does most, instead of the smallest
	Most       int              // chips at the most where Counts is empty; 0: 65,536
	Node       int              // chips of a node; 0: what the chip's link joins, or eight
	Net        float64          // bytes a second of one chip to other nodes, each way; 0: unknown
	Link       float64          // bytes a second each way between chips of a node where the catalogue has none; 0: unknown
	Tokens     float64          // of the whole job; 0: none is meant
	Within     float64          // seconds that the job of Tokens may take; 0: any
	Rate       float64          // tokens a second wanted; 0: any
	User       float64          // serving, decode: least tokens a second of one sequence; 0: any
	Sure       bool             // Within and Rate must hold at the low end of the interval
	PUE        float64          // energy of the whole site for each joule of a chip; 0: the chips alone
	Prices     map[string]float64
	By         By

	stop func() error // not nil once nobody waits for the answer any more; may itself be nil
}

// stopped says that what follows is for nobody.
func (ask *Ask) stopped() bool { return ask.stop != nil && ask.stop() != nil }

// Candidate is a chip to be ranked.
type Candidate struct {
	Chip chip.Chip
	Has  int // chips of it that there are; 0: any number can be had
	Node int // chips of one node of it; 0: as Ask says
}

// Span is a number with the interval that nine of ten are expected in.
type Span struct {
	Low  float64 `json:"low"`
	Is   float64 `json:"is"`
	High float64 `json:"high"`
}

// Row is one chip in one number, or why not.
type Row struct {
	Chip       string
	Name       string
	Make       string
	Count      int // 0: no number was found
	Node       int // chips of a node that were counted with
	Precision  chip.Precision
	Work       perf.Work // as it is laid out: batch, microbatch and recomputing are those of Layout
	Layout     perf.Layout
	Answer     perf.Answer // Assumed holds all that stands in for what is not known
	Has        float64     // bytes of a chip that can be filled
	Rate       Span        // tokens a second, as perf.Answer counts them
	User       float64     // tokens a second of one sequence; 0: none are made
	Seconds    *Span       // of the job; nil: none is meant
	Hourly     *float64    // what all chips cost an hour; nil: the price is unknown
	Cost       *Span       // of the job
	PerMillion *Span       // cost of a million tokens
	Energy     *Span       // joules of the job; nil: no job, or the power is unknown
	Joules     *Span       // a token; nil: the power is unknown
	Refused    *Refusal    // nil: the others hold
	Others     []Other
	Better     Better
	Least      int     // the smallest number that does it, where Best took a larger one; else 0
	Open       bool    // it is true only if a link or network of unknown speed carries more than any does
	Figures    []Named // of the chip that the answer is made of
}

// Named is a figure of the chip with who says so.
type Named struct{ Name, Is, Source, Confidence string }

// Other is another layout of as many chips, with the work as it is laid out.
type Other struct {
	perf.Option
	Work perf.Work
}

// Better is a number of chips of which each does more than in the row; of none where Count is 0.
type Better struct {
	Count  int
	Factor float64 // tokens a second of a chip, against the row's
}

// Ranking is the answer: rows that do the work in their order, then the refused ones.
type Ranking struct {
	Rows     []Row
	Unpriced bool // it was to be ranked by cost, and no price of a chip that can do it is known
}

// unbounded is the largest number of chips tried where nothing else bounds it.
const unbounded = 65_536

// Rank answers a question over the candidates. The refusal is of the question itself, never of a chip.
func Rank(ask Ask, candidates []Candidate, c Corrector) (Ranking, *perf.Refusal) {
	if r := ask.check(); r != nil {
		return Ranking{}, r
	}
	var all Ranking
	for _, x := range candidates {
		all.Rows = append(all.Rows, ask.rows(x, c)...)
	}
	slices.SortStableFunc(all.Rows, func(a, b Row) int { return ask.compare(&a, &b) })
	if ask.By == ByCost {
		all.Unpriced = !slices.ContainsFunc(all.Rows, func(r Row) bool { return r.PerMillion != nil })
	}
	return all, nil
}

// compare puts answers first, then what is known, the least first; refused rows by how near they are.
func (ask *Ask) compare(a, b *Row) int {
	if a.Refused != nil || b.Refused != nil {
		switch {
		case a.Refused == nil:
			return -1
		case b.Refused == nil:
			return 1
		}
		return cmp.Compare(a.Refused.rank(), b.Refused.rank())
	}
	of := func(r *Row) *Span {
		switch ask.By {
		case ByCost:
			return r.PerMillion
		case ByEnergy:
			return r.Joules
		case ByChips:
			return &Span{Is: -r.each()}
		}
		return &Span{Is: -r.Rate.Is}
	}
	x, y := of(a), of(b)
	switch {
	case x == nil && y != nil:
		return 1
	case x != nil && y == nil:
		return -1
	case a.Open != b.Open:
		if a.Open {
			return 1
		}
		return -1
	case x != nil:
		if n := cmp.Compare(x.Is, y.Is); n != 0 {
			return n
		}
	}
	return cmp.Or(cmp.Compare(b.each(), a.each()), cmp.Compare(a.Count, b.Count))
}

// each is the tokens a second of one chip.
func (r *Row) each() float64 { return r.Rate.Is / float64(r.Count) }

// rows are those of one chip: one a number asked for, or that of the smallest number.
func (ask *Ask) rows(x Candidate, c Corrector) []Row {
	s, r := ask.search(x, c)
	if r != nil {
		return []Row{s.refused(r)}
	}
	if len(ask.Counts) == 0 {
		return []Row{s.better(s.smallest())}
	}
	var rows []Row
	for _, n := range ask.Counts {
		row, ok := s.at(n)
		if !ok && row.Refused.Reason == string(perf.NoFit) {
			row.Refused.Smallest = s.fitting()
		}
		rows = append(rows, row)
	}
	return rows
}

// search is what the search for a chip's rows starts from.
type search struct {
	ask  *Ask
	of   Candidate
	c    Corrector
	q    perf.Question // without layout
	base Row
	most int
}

// search checks what needs no layout: precision, engine, and figures that no number of chips makes up for.
func (ask *Ask) search(x Candidate, c Corrector) (*search, *Refusal) {
	s := &search{ask: ask, of: x, c: c, most: cmp.Or(ask.Most, unbounded),
		base: Row{Chip: x.Chip.ID, Name: x.Chip.Name, Make: x.Chip.Make}}
	if x.Has > 0 {
		s.most = min(s.most, x.Has)
	}
	p, r := ask.precision(&x.Chip)
	if r != nil {
		return s, r
	}
	if r := ask.engine(&x.Chip); r != nil {
		return s, r
	}
	s.base.Precision = p
	s.q = perf.Question{Shape: ask.Shape, Work: ask.Work, Chip: x.Chip, Net: ask.Net}
	s.q.Work.Precision = p
	if x.Chip.Kind == chip.CPU && p == chip.FP32 && ask.Work.Engine == "" {
		s.q.Work.Engine = perf.Native
		s.base.assume("the embedded engine is meant, whose speed on processors was measured")
	}
	s.node(x)
	if x.Chip.Link == nil && ask.Link > 0 {
		s.q.Chip.Link = &chip.Link{Figure: chip.Figure{Value: ask.Link, Unit: chip.BytesPerSecond, Source: "the question"}, Counts: chip.EachWay}
		s.base.assume("the link is the one that was asked with: the catalogue knows none")
	}
	if missing := s.missing(); missing != nil {
		return s, unknown(&x.Chip, missing)
	}
	s.base.Has, _ = perf.Room(s.q)
	return s, nil
}

// node settles how many chips a link joins.
func (s *search) node(x Candidate) {
	joins := 0
	if l := x.Chip.Link; l != nil {
		joins = l.Joins
	}
	n := cmp.Or(x.Node, s.ask.Node)
	switch {
	case n > 0 && joins > 0:
		n = min(n, joins)
	case n > 0:
	case joins > 0:
		n = joins
	case x.Chip.Kind == chip.SoC || x.Chip.Kind == chip.CPU:
		n = 1
	default:
		n = 8
		s.base.assume("a node has eight chips")
	}
	s.q.Node, s.base.Node = n, n
}

// missing names the figures without which no layout has an answer.
func (s *search) missing() (names []string) {
	c, w := &s.q.Chip, s.q.Work
	if c.Memory == nil {
		names = append(names, "memory")
	}
	if c.Bandwidth == nil {
		names = append(names, "bandwidth")
	}
	if _, ok := c.Peak(w.Precision); !ok && !(w.Task == perf.Decode && w.Batch > 0 && w.Batch <= perf.Few) {
		names = append(names, "flops."+string(w.Precision))
	}
	return names
}

// refused is the chip's row where it cannot do the work.
func (s *search) refused(r *Refusal) Row {
	row := s.base
	row.Refused = r
	return row
}

// counts are the numbers of chips that are tried: powers of two within a node, then whole nodes, four an octave.
func (s *search) counts(yield func(int) bool) {
	n := 1
	for ; n < s.q.Node && n <= s.most; n *= 2 {
		if !yield(n) {
			return
		}
	}
	for k := 1; k*s.q.Node <= s.most; k += max(1, 1<<max(0, int(math.Log2(float64(k)))-2)) {
		if !yield(k * s.q.Node) {
			return
		}
	}
}

// least is a number of chips below which the weights, and in training what goes with them, cannot fit however they are
// split. It only saves trying.
func (s *search) least() int {
	q := s.q
	q.Work.Batch = max(1, q.Work.Batch)
	m, r := perf.Hold(q)
	if r != nil || s.base.Has <= 0 {
		return 1
	}
	return int(math.Ceil(min((m.Weights+m.Gradients+m.Optimizer)/s.base.Has, unbounded)))
}

// smallest is the row of the smallest number that does what was asked.
func (s *search) smallest() Row {
	var fastest, last Row
	from, fits := s.least(), 0
	for n := range s.counts {
		if n < from {
			continue
		}
		row, ok := s.at(n)
		if ok {
			return row
		}
		last = row
		if row.Refused.Reason != TooSlow {
			continue
		}
		if fits == 0 {
			fits = n
		}
		if fastest.Count == 0 || row.Rate.Is > fastest.Rate.Is || row.Refused.alone > fastest.Refused.alone {
			fastest = row
		}
		if row.Refused.alone > 0 && n >= max(s.q.Node, 4*fits) {
			break
		}
		if row.Rate.Is > 0 { // a chip among more does more only by what room it wins: numbers that would need four times as much of each are not tried
			from = max(from, int(min(s.wanted()/(4*row.Rate.Is/float64(n)), float64(s.most))))
		}
	}
	if fastest.Count > 0 {
		last = fastest
	}
	if last.Refused == nil { // not even the most chips hold it
		last, _ = s.at(max(1, s.largest()))
	}
	if last.Refused == nil {
		return last
	}
	if s.of.Has > 0 {
		last.Refused.Fleet = s.of.Has
		last.Refused.Smallest = s.beyond()
	}
	if last.Refused.Reason == TooSlow {
		last.Refused.Detail = "of the numbers tried the fastest, " + last.Refused.Detail
		if w := last.Work; trains(w.Task) && last.Layout.Data*max(1, w.Micro)*2 > w.Batch {
			last.Refused.Detail += fmt.Sprintf("; a step of %d sequences keeps few more busy", w.Batch)
		}
	}
	last.Count = 0
	return last
}

// wanted is the tokens a second that the question asks for.
func (s *search) wanted() float64 {
	w := s.ask.Rate
	if s.ask.Within > 0 {
		w = max(w, s.ask.Tokens/s.ask.Within)
	}
	return w
}

func (s *search) largest() (n int) {
	for x := range s.counts {
		n = x
	}
	return n
}

// fitting is the smallest number that the work fits in; 0: none.
func (s *search) fitting() int {
	any := *s.ask
	any.Within, any.Rate, any.Counts = 0, 0, nil
	t := *s
	t.ask = &any
	for n := range t.counts {
		if n >= t.least() {
			if _, ok := t.at(n); ok {
				return n
			}
		}
	}
	return 0
}

// beyond is the smallest number that would do what was asked if the fleet were larger; 0: none.
func (s *search) beyond() int {
	t := *s
	t.of.Has, t.most = 0, cmp.Or(s.ask.Most, unbounded)
	row := t.smallest()
	if row.Refused != nil {
		return 0
	}
	return row.Count
}

// better looks within a node, or among twice and four times as many where it takes more than that, for the number of which
// each chip does most: few chips that just hold a model have little room for what it works on. It takes it where Best
// asks for it, else notes it.
func (s *search) better(row Row) Row {
	if row.Refused != nil {
		return row
	}
	least := row.each()
	best, each := row, least
	for n := range s.counts {
		if n > max(s.q.Node, 4*row.Count) {
			break
		}
		if n <= row.Count {
			continue
		}
		if x, ok := s.at(n); ok && (row.Open || !x.Open) && x.each() > each*1.02 {
			best, each = x, x.each()
		}
	}
	switch {
	case best.Count == row.Count:
	case s.ask.Best:
		best.Least = row.Count
		return best
	case each > 1.25*least:
		row.Better = Better{best.Count, each / least}
	}
	return row
}

func (r *Row) assume(notes ...string) {
	for _, n := range notes {
		if !slices.Contains(r.Answer.Assumed, n) {
			r.Answer.Assumed = append(slices.Clip(r.Answer.Assumed), n)
		}
	}
}

// precision is the first of those asked for that the chip has a figure for.
func (ask *Ask) precision(c *chip.Chip) (chip.Precision, *Refusal) {
	var lacks, missing []string
	wanted := ask.Precisions
	if ask.Plain && c.Kind == chip.CPU {
		wanted = append(slices.Clone(wanted), chip.FP32)
	}
	for _, p := range wanted {
		if _, ok := c.Peak(p); ok {
			return p, nil
		}
		if source, told := c.Without(p); told {
			lacks = append(lacks, string(p)+" ("+source+")")
		} else {
			missing = append(missing, "flops."+string(p))
		}
	}
	if ask.Work.Task == perf.Decode && len(missing) > 0 { // few sequences wait for memory alone
		return chip.Precision(strings.TrimPrefix(missing[0], "flops.")), nil
	}
	if len(missing) > 0 {
		if c.Memory == nil {
			missing = append([]string{"memory"}, missing...)
		}
		if c.Bandwidth == nil {
			missing = append(missing, "bandwidth")
		}
		r := unknown(c, missing)
		r.Offers = c.Offers()
		return "", r
	}
	return "", &Refusal{Reason: NoPrecision, Lacks: lacks, Offers: c.Offers()}
}
