package cli

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/internal/fault"
)

// printEstimate prints answers, then refusals; at most a hundred columns unless it is wide.
func (a *app) printEstimate(r api.ChipRanking, wide bool) {
	if a.CSV {
		a.estimateCSV(r)
		return
	}
	a.Printf("%s, %s parameters, %s%s, by %s\n", r.Model, short(float64(r.Parameters)), r.Task, jobText(r.Tokens), r.By)
	if len(r.Notes) > 0 {
		a.Printf("%s\n", strings.Join(fold("taken for granted: "+strings.Join(r.Notes, ", "), 100), "\n"))
	}
	var rows, refused [][]string
	stars, more, known, least := false, false, false, false
	for i := range r.Rows {
		x := &r.Rows[i]
		if x.Refused != nil {
			name := x.Chip
			if x.Count > 0 {
				name = fmt.Sprintf("%s x%d", x.Chip, x.Count)
			}
			for j, line := range fold(x.Refused.Says, 72) {
				if j > 0 {
					name = ""
				}
				refused = append(refused, []string{name, line})
			}
			continue
		}
		rows = append(rows, estimateRow(r, x, wide))
		stars, more, known = stars || x.Open, more || x.Better != nil, known || x.Known != "prior"
		least = least || x.Least > 0
	}
	if len(rows) > 0 {
		a.Printf("\n")
		a.Table(estimateHeadings(r, wide), rows)
		a.estimateLegend(r, stars, more, known, least)
	}
	if len(refused) > 0 {
		a.Printf("\n")
		a.Table([]string{"chip", "why not"}, refused)
	}
}

func jobText(tokens float64) string {
	if tokens == 0 {
		return ""
	}
	return " of " + short(tokens) + " tokens"
}

// priced says whether any row has a price; where none has, the table tells of chips and hours instead.
func priced(r api.ChipRanking) bool {
	return slices.ContainsFunc(r.Rows, func(x api.ChipRow) bool { return x.Hourly != nil })
}

func estimateHeadings(r api.ChipRanking, wide bool) []string {
	h := []string{"chip", "n", "layout", "GB of", "tok/s (90 %)"}
	switch p := priced(r); {
	case r.Tokens > 0 && p:
		h = []string{"chip", "n", "layout", "GB of", "tok/s", "time (90 %)", "cost", "energy"}
	case r.Tokens > 0:
		h = []string{"chip", "n", "layout", "GB of", "tok/s", "time (90 %)", "chip-h", "energy"}
	case p:
		h = append(h, "each", "cost/M", "J/tok", "bound")
	default:
		h = append(h, "each", "J/tok", "bound")
	}
	if wide {
		h = append(h, "make", "batch", "precision", "user tok/s", "cost/h", "cost 90 %", "watts", "known", "each more")
		if r.Tokens > 0 {
			h = append(h, "bound")
		}
	}
	return h
}

// halves mark rows of another precision than bf16, where there is room for a letter.
var halves = map[string]string{"fp16": "h", "fp32": "s"}

func estimateRow(r api.ChipRanking, x *api.ChipRow, wide bool) []string {
	n := strconv.Itoa(x.Count)
	if x.Better != nil {
		n += "+"
	}
	if x.Least > 0 {
		n += fmt.Sprintf("(%d)", x.Least)
	}
	l := layoutText(*x.Layout)
	if x.Open {
		l += "*"
	}
	if x.Precision != "bf16" {
		l += halves[x.Precision]
	}
	gb := func(v float64) string { return strconv.FormatFloat(math.Round(v/1e9), 'f', -1, 64) }
	row := []string{x.Chip, n, l, gb(x.Memory.Total) + "/" + gb(x.Memory.Room)}
	money := moneyText(x.Million)
	switch p := priced(r); {
	case !p && r.Tokens > 0:
		money = short(x.Seconds.Is / 3600 * float64(x.Count))
	case !p:
		money = ""
	case r.Tokens > 0:
		money = moneyText(x.Cost)
	}
	if r.Tokens > 0 {
		row = append(row, short(x.Rate.Is), timeText(x.Seconds), money, energyText(x.Energy))
	} else {
		row = append(row, fmt.Sprintf("%s (%s)", short(x.Rate.Is), spanText(x.Rate, short)), short(x.Rate.Is/float64(x.Count)))
		if money != "" {
			row = append(row, money)
		}
		row = append(row, joulesText(x.Joules), x.Bound)
	}
	if !wide {
		return row
	}
	cost, hourly, watts, user, better := x.Million, "-", "-", "-", "-"
	if r.Tokens > 0 {
		cost = x.Cost
	}
	costs := "-"
	if cost != nil {
		costs = spanText(&api.Span{Low: cost.Low / 1e6, High: cost.High / 1e6}, short)
	}
	if x.Hourly != nil {
		hourly = short(*x.Hourly / 1e6)
	}
	if x.Watts != nil {
		watts = short(*x.Watts)
	}
	if x.UserRate > 0 {
		user = short(x.UserRate)
	}
	if x.Better != nil {
		better = fmt.Sprintf("%.1fx at %d", x.Better.Factor, x.Better.Count)
	}
	row = append(row, x.Make, strconv.Itoa(x.Layout.Batch), x.Precision, user, hourly, costs, watts, x.Known, better)
	if r.Tokens > 0 {
		row = append(row, x.Bound)
	}
	return row
}

func (a *app) estimateLegend(r api.ChipRanking, stars, more, known, least bool) {
	says := "t tensor ranks, p pipeline stages, d data ranks"
	does := func(p string) bool {
		return slices.ContainsFunc(r.Rows, func(x api.ChipRow) bool { return x.Refused == nil && x.Precision == p })
	}
	if does("fp16") {
		says += ", h fp16"
	}
	if does("fp32") {
		says += ", s fp32"
	}
	if trainsTask(r.Task) {
		says += ", z ZeRO stage, r all is computed again."
	} else {
		says += " (replicas)."
	}
	if r.Tokens == 0 {
		says += " EACH is tokens a second of one chip."
	}
	if least {
		says += " N(K): N do most each, K are the smallest number that does it: --count least."
	}
	if stars {
		says += " * true only if a link or network that nobody told the speed of is fast enough: these stand behind; --explain CHIP tells how fast it must be, --link and --net tell it."
	}
	if more {
		says += " + more chips do more each: --count best."
	}
	if known {
		says += " Some rows were corrected by measurements: --wide."
	}
	a.Printf("%s\n", strings.Join(fold(says, 100), "\n"))
}

func trainsTask(t string) bool { return t == "train" || t == "post-train" }

// layoutText is a layout in a word: t8p2d4z3r.
func layoutText(l api.ChipLayout) string {
	var b strings.Builder
	for _, x := range []struct {
		letter string
		n      int
	}{{"t", l.Tensor}, {"p", l.Pipeline}, {"d", l.Data}} {
		if x.n > 1 {
			fmt.Fprintf(&b, "%s%d", x.letter, x.n)
		}
	}
	if l.Shard > 0 {
		fmt.Fprintf(&b, "z%d", l.Shard)
	}
	if b.Len() == 0 {
		b.WriteString("one")
	}
	if l.Recompute == "full" {
		b.WriteString("r")
	}
	return b.String()
}

// short writes a number with three digits that matter: 84, 1230, 25.2k, 1.5M.
func short(v float64) string {
	for _, u := range []struct {
		name string
		of   float64
	}{{"T", 1e12}, {"B", 1e9}, {"M", 1e6}, {"k", 1e3}} {
		if v >= u.of*0.9995 && (u.of > 1e3 || v >= 1e4) {
			return digits3(v/u.of) + u.name
		}
	}
	return digits3(v)
}

func digits3(v float64) string {
	r, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	if err != nil {
		r = v
	}
	return strconv.FormatFloat(r, 'f', -1, 64)
}

// spanText is an interval; a unit that both ends share is written once.
func spanText(s *api.Span, form func(float64) string) string {
	low, high := form(s.Low), form(s.High)
	if i, j := strings.LastIndex(low, " "), strings.LastIndex(high, " "); i > 0 && j > 0 && low[i:] == high[j:] {
		low, high = low[:i], high[:j]
	}
	return low + "-" + high
}

// timeText is a time with its interval, in the unit that the time itself is told in.
func timeText(s *api.Span) string {
	is := estimate.Duration(s.Is)
	number, _, _ := strings.Cut(is, " ")
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || v <= 0 {
		return is
	}
	of := s.Is / v
	return fmt.Sprintf("%s (%s-%s)", is, short(s.Low/of), short(s.High/of))
}

func moneyText(micros *api.Span) string {
	if micros == nil {
		return "-"
	}
	return short(micros.Is / 1e6)
}

func joulesText(s *api.Span) string {
	if s == nil {
		return "-"
	}
	return short(s.Is)
}

// energyText writes joules as kilowatt-hours.
func energyText(s *api.Span) string {
	if s == nil {
		return "-"
	}
	switch kwh := s.Is / 3.6e6; {
	case kwh >= 1e6:
		return digits3(kwh/1e6) + " GWh"
	case kwh >= 1e3:
		return digits3(kwh/1e3) + " MWh"
	default:
		return digits3(kwh) + " kWh"
	}
}

// fold breaks a text at spaces into lines of so many columns.
func fold(text string, columns int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && ui.Columns(line)+1+ui.Columns(word) > columns {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

func (a *app) estimateCSV(r api.ChipRanking) {
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
	span := func(s *api.Span, by float64) []string {
		if s == nil {
			return []string{"", "", ""}
		}
		return []string{number(s.Low / by), number(s.Is / by), number(s.High / by)}
	}
	var rows [][]string
	for i := range r.Rows {
		x := &r.Rows[i]
		row := []string{x.Chip, strconv.Itoa(x.Count), "", "", ""}
		if x.Refused == nil {
			row = []string{x.Chip, strconv.Itoa(x.Count), layoutText(*x.Layout), number(x.Memory.Total), number(x.Memory.Room)}
		}
		for _, s := range [][]string{span(x.Rate, 1), span(x.Seconds, 1), span(x.Million, 1e6), span(x.Cost, 1e6), span(x.Joules, 1)} {
			row = append(row, s...)
		}
		why := ""
		if x.Refused != nil {
			why = x.Refused.Says
		}
		rows = append(rows, append(row, x.Bound, x.Known, strings.Join(x.Assumed, "; "), why))
	}
	h := []string{"chip", "count", "layout", "bytes", "room"}
	for _, name := range []string{"tokens_per_second", "seconds", "cost_per_million", "cost", "joules_per_token"} {
		h = append(h, name+"_low", name, name+"_high")
	}
	a.Table(append(h, "bound", "known", "assumed", "refused"), rows)
}

// explainEstimate tells the rows of one chip in sentences.
func (a *app) explainEstimate(r api.ChipRanking, o *estimateOptions) error {
	id := o.explain
	if c, err := chip.Load(first(o.catalogue, filepath.Join(a.data, chip.OverlayName))); err == nil {
		if x, err := c.Find(id); err == nil {
			id = x.ID
		}
	}
	var found []api.ChipRow
	for _, x := range r.Rows {
		if x.Chip == id {
			found = append(found, x)
		}
	}
	if len(found) == 0 {
		return fault.New(fault.NotFound, fmt.Sprintf("There is no row of %q.", o.explain), fault.Field("--explain"), fault.Fix("Name one of the chips of the table, see `triarch chip ls`"))
	}
	return a.Value(found, func() {
		for i := range found {
			if i > 0 {
				a.Printf("\n")
			}
			a.explainRow(r, &found[i])
		}
	})
}

func (a *app) explainRow(r api.ChipRanking, x *api.ChipRow) {
	say := func(format string, args ...any) {
		a.Printf("%s\n", strings.Join(fold(fmt.Sprintf(format, args...), 100), "\n"))
	}
	a.Printf("%s  %s (%s)\n", x.Chip, x.Name, x.Make)
	if x.Refused != nil {
		say("%s of %s: refused, %s. %s", r.Task, r.Model, x.Refused.Reason, x.Refused.Says)
		return
	}
	say("%s of %s on %s: %s, nodes of %d, products in %s.", r.Task, r.Model, plural(x.Count, "chip"), layoutSentence(r.Task, *x.Layout), x.Node, x.Precision)
	say("%s", memorySentence(x.Memory))
	say("%s", rateSentence(r, x))
	say("%s", termsSentence(r.Task, x))
	say("%s", moneySentence(r, x))
	if x.Least > 0 {
		say("The smallest number that does it is %d; of %d each does more.", x.Least, x.Count)
	}
	if x.Better != nil {
		say("On %d chips each does %.1f times as much.", x.Better.Count, x.Better.Factor)
	}
	known := map[string]string{"prior": "By the roofline alone, which docs/perf.md measures the errors of; nothing like it was measured here.",
		"corrected": "By the roofline, corrected by what was measured of near work.", "measured": "By what was measured of the same work."}[x.Known]
	say("How it is known: %s", known)
	for _, s := range x.Assumed {
		say("Taken for granted: %s.", s)
	}
	a.Printf("\n")
	var figures [][]string
	for _, f := range x.Figures {
		figures = append(figures, []string{f.Name, f.Is, f.Confidence, f.Source})
	}
	a.Table([]string{"figure", "is", "confidence", "source"}, figures)
	if len(x.Others) == 0 {
		return
	}
	a.Printf("\n")
	var others [][]string
	for _, l := range x.Others {
		rate := l.Says
		if l.Says == "" {
			rate = short(l.Rate) + " tok/s"
		}
		rate = strings.TrimPrefix(rate, "It does not fit: ")
		batch := strconv.Itoa(l.Layout.Batch)
		if l.Layout.Batch == 0 {
			batch = "-"
		}
		others = append(others, []string{layoutText(l.Layout), batch, strconv.Itoa(max(1, l.Layout.Micro)), rate})
	}
	a.Table([]string{"other layout", "batch", "micro", "gives"}, others)
}

func plural(n int, what string) string {
	if n == 1 {
		return "one " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func layoutSentence(task string, l api.ChipLayout) string {
	var parts []string
	for _, x := range []struct {
		n    int
		what string
	}{{l.Tensor, "tensor rank"}, {l.Pipeline, "pipeline stage"}, {l.Data, map[bool]string{true: "data rank", false: "replica"}[trainsTask(task)]}} {
		if x.n > 1 {
			parts = append(parts, plural(x.n, x.what))
		}
	}
	if l.Shard > 0 {
		parts = append(parts, fmt.Sprintf("ZeRO stage %d", l.Shard))
	}
	if len(parts) == 0 {
		parts = []string{"nothing split"}
	}
	if trainsTask(task) {
		parts = append(parts, fmt.Sprintf("%d sequences a step, %d at once in a rank", l.Batch, max(1, l.Micro)))
		if l.Recompute == "full" {
			parts = append(parts, "activations computed again")
		}
	} else {
		parts = append(parts, fmt.Sprintf("%d sequences at once in a replica", l.Batch))
	}
	return strings.Join(parts, ", ")
}

func memorySentence(m *api.ChipMemory) string {
	var parts []string
	for _, p := range []struct {
		what string
		n    float64
	}{{"weights", m.Weights}, {"gradients", m.Gradients}, {"optimiser", m.Optimizer}, {"activations", m.Activations}, {"KV cache", m.Cache}} {
		if p.n > 0 {
			parts = append(parts, p.what+" "+chip.FormatQuantity(p.n, chip.Bytes))
		}
	}
	return fmt.Sprintf("It fits: the fullest chip holds %s of the %s that can be filled: %s.", chip.FormatQuantity(m.Total, chip.Bytes), chip.FormatQuantity(m.Room, chip.Bytes), strings.Join(parts, ", "))
}

func rateSentence(r api.ChipRanking, x *api.ChipRow) string {
	s := fmt.Sprintf("It does %s tokens a second; nine of ten are expected between %s and %s.", short(x.Rate.Is), short(x.Rate.Low), short(x.Rate.High))
	if x.UserRate > 0 {
		s += fmt.Sprintf(" One sequence gets %s.", short(x.UserRate))
	}
	if x.Seconds != nil {
		s += fmt.Sprintf(" The job takes %s, %s to %s.", estimate.Duration(x.Seconds.Is), estimate.Duration(x.Seconds.Low), estimate.Duration(x.Seconds.High))
	}
	return s
}

// termsSentence says where a step's seconds go.
func termsSentence(task string, x *api.ChipRow) string {
	t := x.Terms
	var parts []string
	for _, p := range []struct {
		what string
		n    float64
	}{{"arithmetic", t.Arithmetic}, {"memory traffic", t.Memory}, {"links", t.Link}, {"pipeline bubble", t.Bubble}, {"overhead", t.Overhead}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", p.what, estimate.Duration(p.n)))
		}
	}
	overlap := "; in a pass the larger of arithmetic and memory traffic hides the other"
	if trainsTask(task) {
		overlap = ""
	}
	what := map[string]string{"serve": "An answer with its share of the others", "decode": "A token of each sequence"}[task]
	if what == "" {
		what = "A step"
	}
	return fmt.Sprintf("%s takes %s: %s%s. The largest is %s.", what, estimate.Duration(x.Step), strings.Join(parts, ", "), overlap, x.Bound)
}

func moneySentence(r api.ChipRanking, x *api.ChipRow) string {
	var s string
	switch {
	case x.Hourly == nil:
		s = "What it costs is open: no price of a chip-hour is known."
	case x.Cost != nil:
		s = fmt.Sprintf("The chips cost %s an hour, the job %s (%s to %s).", ui.Money(int64(*x.Hourly)), short(x.Cost.Is/1e6), short(x.Cost.Low/1e6), short(x.Cost.High/1e6))
	default:
		s = fmt.Sprintf("The chips cost %s an hour, a million tokens %s (%s to %s).", ui.Money(int64(*x.Hourly)), short(x.Million.Is/1e6), short(x.Million.Low/1e6), short(x.Million.High/1e6))
	}
	switch {
	case x.Joules == nil:
		s += " Its energy is open: its power is unknown."
	case x.Energy != nil:
		s += fmt.Sprintf(" It takes %s W at full load and %s for the job.", short(*x.Watts), energyText(x.Energy))
	default:
		s += fmt.Sprintf(" It takes %s W at full load, %s J a token.", short(*x.Watts), short(x.Joules.Is))
	}
	return s
}
