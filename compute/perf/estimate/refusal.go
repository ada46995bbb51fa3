package estimate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/published"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// The reasons beside those of package perf.
const (
	NoPrecision = "precision not offered"
	NoEngine    = "engine not known there"
	TooSlow     = "too slow"
	NotInFleet  = "not in the catalogue"
)

// Refusal is why a chip has no answer.
type Refusal struct {
	Reason   string // one of the reasons of this package or of package perf
	Needs    float64
	Has      float64
	Smallest int // chips that would do; 0: no number would, or none was looked for
	Fleet    int // chips that there are, where they bound it; 0: nothing does
	Missing  []string
	Lacks    []string         // precisions, each with who says so
	Offers   []chip.Precision // whose figures are known
	Detail   string

	alone float64 // too slow for one user, whom more replicas do not help: tokens a second that he gets
}

// rank orders refused rows: those that more chips or time would mend first, then those that lack figures.
func (r *Refusal) rank() int {
	return 1 + slices.Index([]string{TooSlow, string(perf.NoFit), NoPrecision, NoEngine, string(perf.Unknown), NotInFleet}, r.Reason)
}

// Error is the sentence for people.
func (r *Refusal) Error() string {
	switch r.Reason {
	case string(perf.NoFit):
		return r.noFit()
	case TooSlow:
		s := "It is too slow: " + r.Detail
		if r.Fleet > 0 && r.Smallest > 0 {
			s += fmt.Sprintf("; it takes %d chips and there are %d", r.Smallest, r.Fleet)
		}
		return s + "."
	case NoPrecision:
		return "It does not have " + strings.Join(r.Lacks, ", ") + "; " + r.offers()
	case string(perf.Unknown):
		s := "Nobody has told its " + figures(r.Missing) + "."
		if len(r.Offers) > 0 {
			s += " Known are " + join(r.Offers) + "."
		}
		return s
	}
	return r.Detail + "."
}

func (r *Refusal) noFit() string {
	s := fmt.Sprintf("It does not fit: a chip needs %s, %s can be filled", size(r.Needs), size(r.Has))
	switch {
	case r.Fleet > 0 && r.Smallest > 0:
		return s + fmt.Sprintf("; it takes %d chips and there are %d.", r.Smallest, r.Fleet)
	case r.Smallest > 0:
		return s + fmt.Sprintf("; %d chips hold it.", r.Smallest)
	}
	return s + "; no number of them holds it" + cmp.Or(prefixed("; ", r.Detail), "") + "."
}

// figures names missing figures; of throughputs one is enough.
func figures(missing []string) string {
	var all, flops []string
	for _, m := range missing {
		if strings.HasPrefix(m, "flops.") {
			flops = append(flops, m)
		} else {
			all = append(all, m)
		}
	}
	if len(flops) > 0 {
		all = append(all, strings.Join(flops, " or "))
	}
	return strings.Join(all, ", ")
}

func prefixed(p, s string) string {
	if s == "" {
		return ""
	}
	return p + s
}

func (r *Refusal) offers() string {
	if len(r.Offers) == 0 {
		return "no other precision is known of it."
	}
	return "known are " + join(r.Offers) + "."
}

func join(ps []chip.Precision) string {
	var s []string
	for _, p := range ps {
		s = append(s, string(p))
	}
	return strings.Join(s, ", ")
}

func size(v float64) string { return chip.FormatQuantity(v, chip.Bytes) }

func unknown(c *chip.Chip, missing []string) *Refusal {
	return &Refusal{Reason: string(perf.Unknown), Missing: missing}
}

// engines are the engines of published figures, each with the makes it was measured on.
var engines = sync.OnceValue(func() map[string][]string {
	all, err := published.All()
	of := map[string][]string{}
	if err != nil {
		return of // its own tests say so; the catalogue's engines remain
	}
	for _, f := range all {
		if e := f.Question.Work.Engine; !slices.Contains(of[e], f.Make) {
			of[e] = append(of[e], f.Make)
		}
	}
	return of
})

// Engines lists the names of engines whose speed is known or that the chips name.
func Engines(candidates []Candidate) []string {
	names := []string{perf.Native}
	for e := range engines() {
		if e != "" {
			names = append(names, e)
		}
	}
	for _, c := range candidates {
		for _, e := range c.Chip.Engines {
			names = append(names, e.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// engine refuses an engine that neither the catalogue nor a published figure knows on chips of the make.
func (ask *Ask) engine(c *chip.Chip) *Refusal {
	name := ask.Work.Engine
	if name == "" || name == perf.Native && c.Kind == chip.CPU || slices.Contains(engines()[name], c.Make) || slices.ContainsFunc(c.Engines, func(e chip.Engine) bool { return e.Name == name }) {
		return nil
	}
	var known []string
	if c.Kind == chip.CPU {
		known = append(known, perf.Native)
	}
	for _, e := range c.Engines {
		known = append(known, e.Name)
	}
	for e, makes := range engines() {
		if e != "" && slices.Contains(makes, c.Make) {
			known = append(known, e)
		}
	}
	slices.Sort(known)
	detail := fmt.Sprintf("Nobody has told that %s runs on chips of %s", name, c.Make)
	if known = slices.Compact(known); len(known) > 0 {
		detail += "; known there are " + strings.Join(known, ", ")
	}
	return &Refusal{Reason: NoEngine, Detail: detail}
}

func invalid(field, format string, args ...any) *perf.Refusal {
	return &perf.Refusal{Reason: perf.Invalid, Field: field, Detail: fmt.Sprintf(format, args...)}
}

// check refuses a question that no chip could answer. What of the work depends on the layout perf checks.
func (ask *Ask) check() *perf.Refusal {
	if len(ask.Precisions) == 0 {
		return invalid("precision", "none is named")
	}
	q := perf.Question{Shape: ask.Shape, Work: ask.Work, Net: ask.Net}
	for _, p := range ask.Precisions {
		q.Work.Precision = p
		if _, r := perf.Hold(q); r != nil {
			return r
		}
	}
	for _, f := range []struct {
		name string
		v    float64
		most float64
	}{{"net", ask.Net, 1e15}, {"link", ask.Link, 1e15}, {"tokens", ask.Tokens, 1e18}, {"within", ask.Within, 1e11}, {"rate", ask.Rate, 1e15}, {"user_rate", ask.User, 1e9}} {
		if !(f.v >= 0 && f.v <= f.most) {
			return invalid(f.name, "%v is out of range", f.v)
		}
	}
	if ask.PUE != 0 && !(ask.PUE >= 1 && ask.PUE <= 10) {
		return invalid("pue", "%v is not between 1 and 10", ask.PUE)
	}
	for id, p := range ask.Prices {
		if !(p >= 0 && p <= 1e9) {
			return invalid("prices."+id, "%v is no price of a chip-hour", p)
		}
	}
	return ask.checkCounts()
}

func (ask *Ask) checkCounts() *perf.Refusal {
	if len(ask.Counts) > 64 {
		return invalid("count", "%d numbers of chips; at most 64", len(ask.Counts))
	}
	for _, n := range append(slices.Clone(ask.Counts), max(1, ask.Most), max(1, ask.Node)) {
		if n < 1 || n > unbounded {
			return invalid("count", "%d chips; there may be 1 to %d", n, unbounded)
		}
	}
	switch {
	case ask.Most < 0 || ask.Node < 0:
		return invalid("node", "%d chips", min(ask.Most, ask.Node))
	case ask.Within > 0 && ask.Tokens == 0:
		return invalid("within", "a time needs the tokens of the job")
	case ask.Sure && ask.Within == 0 && ask.Rate == 0:
		return invalid("sure", "there is no time or rate to be sure of")
	case ask.User > 0 && ask.Work.Task != perf.Serve && ask.Work.Task != perf.Decode:
		return invalid("user_rate", "%s makes no answers", ask.Work.Task)
	case ask.By != ByCost && ask.By != ByTime && ask.By != ByEnergy && ask.By != ByChips:
		return invalid("by", "%q; rows are ranked by cost, time, energy or chip-hours; the nearest is %s", ask.By, nearest.Name(string(ask.By), []string{"cost", "time", "energy", "chip-hours"}))
	}
	return nil
}
