package queue

import (
	"cmp"
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
	kept map[string]*menus // by project
}

// menus are the answers for the work of a project. Answers take time, and all jobs wait for it: a project whose jobs compute ever so
// many different things has so many of them a while, and the others later.
type menus struct {
	list  map[string]keptMenu
	from  time.Time // since then so many classes were looked at:
	anew  int       // for work that had an answer before
	first int       // for work that had none
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
	menuAge = 20 * time.Second // as old as an answer may be: jobs are asked about once a round
	// menuLooks is how many classes are looked at within menuAge for work of one project that has no answer, and as many for work that has
	// an old one; a look takes up to twenty milliseconds.
	menuLooks = 32
	menuMost  = 256  // answers of a project
	menuTotal = 1024 // projects
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
	k, may := m.look(j.Project, key, len(classes), now)
	m.mu.Unlock()
	if !may {
		return k.list
	}
	k = keptMenu{at: now}
	for _, c := range classes {
		k.list = append(k.list, m.entry(j, c))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.kept[j.Project]; p != nil {
		if len(p.list) >= menuMost {
			p.list = map[string]keptMenu{}
		}
		p.list[key] = k
	}
	return k.list
}

// look gives the answer that is kept, and whether there is to be another one: none is kept or it is old, and the project has not had
// too many lately. It is called with mu held.
func (m *Menu) look(project, key string, classes int, now time.Time) (keptMenu, bool) {
	p := m.kept[project]
	if p == nil {
		if m.kept == nil || len(m.kept) >= menuTotal {
			m.kept = map[string]*menus{}
		}
		p = &menus{list: map[string]keptMenu{}, from: now}
		m.kept[project] = p
	}
	if age := now.Sub(p.from); age >= menuAge || age < 0 {
		p.from, p.anew, p.first = now, 0, 0
	}
	k, ok := p.list[key]
	if ok && now.Sub(k.at) < menuAge {
		return k, false
	}
	spent := &p.first
	if ok {
		spent = &p.anew
	}
	if *spent >= menuLooks {
		return k, false
	}
	*spent += classes
	return k, true
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
// anything was measured, which stays the same while measurements come. Of a class that cannot hold the work it is Unfit; one that nobody
// knows is as the slowest that is known.
func (m *Menu) Speeds(j *job.Job, classes []string) []int64 {
	list := m.Entries(j, classes)
	order := slices.Clone(list)
	slices.SortFunc(order, func(a, b Entry) int { return strings.Compare(a.Class, b.Class) })
	at := slices.IndexFunc(order, func(e Entry) bool { return e.Prior > 0 })
	if at < 0 {
		return nil
	}
	reference := order[at].Prior
	least := int64(maxSpeed)
	out := make([]int64, len(list))
	for i, e := range list {
		if e.Rate > 0 {
			out[i] = max(slowest+1, int64(min(e.Rate/reference*sched.Micro, maxSpeed)))
			least = min(least, out[i])
		}
	}
	for i, e := range list {
		switch {
		case e.NoFit:
			out[i] = Unfit
		case e.Rate == 0:
			out[i] = least
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
	switch {
	case len(parts) > 0:
	case j.Ask.Work != nil && j.Ask.Chips > 0 && len(classes) > 0:
		return " How fast its chips are is not looked at yet, for jobs of its project compute very many different things."
	default:
		return ""
	}
	by := "price"
	switch j.Ask.Objective {
	case "fastest":
		by = "speed"
	case "greenest":
		by = "energy"
	}
	w := j.Ask.Work
	return sprintf(" Chips are chosen by %s for %s of %s; for %d of them: %s.", by, w.Work.Task, cmp.Or(w.Shape.Name, "a model"), j.Ask.Chips, strings.Join(parts, "; "))
}
