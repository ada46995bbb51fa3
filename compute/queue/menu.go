package queue

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/compute/sched"
)

// Menu says of a job that tells its work how fast it is thought to be on each class of chips: the speeds of the
// scheduler's choices, and the sentence that explains them. It is pure but for a short memory of its answers, so a simulation asks
// the same one. Its methods may be called from any goroutine.
type Menu struct {
	Catalogue *chip.Catalogue
	Processor func() (chip.Chip, error)                  // this machine's; nil: unknown
	Corrector func(project string) estimate.Corrector    // what was measured; nil: nothing
	Price     func(class string) (micros int64, ok bool) // of an hour of one chip; nil: unknown
	Now       func() time.Time

	mu   sync.Mutex
	kept map[string]keptMenu
}

// Entry is a class of chips for a job.
type Entry struct {
	Class   string
	Rate    float64 // tokens a second on as many chips as the job asks for; 0: unknown, or Refused
	Prior   float64 // the same before it was corrected
	Known   perf.Known
	Refused string // why it cannot run there
	NoFit   bool   // it was refused because it does not fit
}

type keptMenu struct {
	at   time.Time
	list []Entry
}

const (
	menuAge  = 20 * time.Second // as old as an answer may be: jobs are asked about once a round
	menuMost = 4096
)

// products are the precisions of products in the order of preference, where the work names none.
var products = []chip.Precision{chip.BF16, chip.FP16, chip.FP32}

// Entries answers for each class in order; nil for a job that does not tell its work.
func (m *Menu) Entries(j *job.Job, classes []string) []Entry {
	w := j.Ask.Work
	if m == nil || w == nil || j.Ask.Chips < 1 {
		return nil
	}
	text, err := json.Marshal(w)
	if err != nil {
		return nil
	}
	key := sprintf("%s\x00%d\x00%s\x00%s", j.Project, j.Ask.Chips, strings.Join(classes, "\x00"), text)
	now := m.Now()
	m.mu.Lock()
	k, ok := m.kept[key]
	m.mu.Unlock()
	if ok && now.Sub(k.at) < menuAge {
		return k.list
	}
	k = keptMenu{at: now}
	for _, c := range classes {
		k.list = append(k.list, m.entry(j, c))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept == nil || len(m.kept) >= menuMost {
		m.kept = map[string]keptMenu{}
	}
	m.kept[key] = k
	return k.list
}

func (m *Menu) entry(j *job.Job, class string) Entry {
	e := Entry{Class: class}
	c, err := m.chip(class)
	if err != nil {
		e.Refused = "nobody told its figures"
		return e
	}
	w := j.Ask.Work
	ask := estimate.Ask{Shape: w.Shape, Work: w.Work, Precisions: products, By: estimate.ByTime, Counts: []int{j.Ask.Chips}}
	if w.Work.Precision != "" {
		ask.Precisions = []chip.Precision{w.Work.Precision}
	}
	rank := func(by estimate.Corrector) *estimate.Row {
		r, bad := estimate.Rank(ask, []estimate.Candidate{{Chip: c}}, by)
		if bad != nil || len(r.Rows) == 0 {
			return nil
		}
		return &r.Rows[0]
	}
	row := rank(nil)
	switch {
	case row == nil:
		e.Refused = "its work cannot be predicted"
		return e
	case row.Refused != nil:
		e.NoFit = row.Refused.Reason == string(perf.NoFit)
		e.Refused = "of its figures too few are known"
		if e.NoFit {
			e.Refused = "it does not fit"
		}
		return e
	}
	e.Prior, e.Rate, e.Known = row.Rate.Is, row.Rate.Is, perf.Prior
	if m.Corrector != nil {
		if x := rank(m.Corrector(j.Project)); x != nil && x.Refused == nil {
			e.Rate, e.Known = x.Rate.Is, x.Answer.Known
		}
	}
	return e
}

func (m *Menu) chip(class string) (chip.Chip, error) {
	if class == CPU && m.Processor != nil {
		return m.Processor()
	}
	return m.Catalogue.Find(class)
}

// Speeds implements Options.Speeds: tokens a second over those that the first of the classes by name is predicted before
// anything was measured, which stays the same while measurements come. A class that cannot hold the work is a million times slower than
// that, so that nothing chooses it that has another; one that nobody knows is as the slowest that is known.
func (m *Menu) Speeds(j *job.Job, classes []string) []int64 {
	list := m.Entries(j, classes)
	order := slices.Clone(list)
	slices.SortFunc(order, func(a, b Entry) int { return strings.Compare(a.Class, b.Class) })
	at := slices.IndexFunc(order, func(e Entry) bool { return e.Prior > 0 })
	if at < 0 {
		return nil
	}
	reference := order[at].Prior
	slowest := int64(maxSpeed)
	out := make([]int64, len(list))
	for i, e := range list {
		if e.Rate > 0 {
			out[i] = max(1, int64(min(e.Rate/reference*sched.Micro, maxSpeed)))
			slowest = min(slowest, out[i])
		}
	}
	for i, e := range list {
		switch {
		case e.NoFit:
			out[i] = 1
		case e.Rate == 0:
			out[i] = slowest
		}
	}
	return out
}

// Tell implements Options.Tell: what is expected of each class, the fastest first.
func (m *Menu) Tell(j *job.Job, classes []string) string {
	list := slices.Clone(m.Entries(j, classes))
	slices.SortStableFunc(list, func(a, b Entry) int {
		switch {
		case a.Rate > b.Rate:
			return -1
		case a.Rate < b.Rate:
			return 1
		}
		return 0
	})
	var parts []string
	for _, e := range list {
		if e.Rate == 0 {
			parts = append(parts, e.Class+": "+e.Refused)
			continue
		}
		how := map[perf.Known]string{perf.Measured: "measured", perf.Corrected: "corrected by measurements"}[e.Known]
		if how == "" {
			how = "predicted"
		}
		text := sprintf("%s %.4g tokens/s (%s)", e.Class, e.Rate, how)
		if m.Price != nil {
			if micros, ok := m.Price(e.Class); ok {
				text += sprintf(" at %.3g for a million", float64(micros)*float64(j.Ask.Chips)/3600/e.Rate)
			}
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return ""
	}
	by := "price"
	switch j.Ask.Objective {
	case "fastest":
		by = "speed"
	case "greenest":
		by = "energy"
	}
	return sprintf(" Chips are chosen by %s; for %d of them: %s.", by, j.Ask.Chips, strings.Join(parts, "; "))
}
