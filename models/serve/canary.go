package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/canary"
	"github.com/triarch-ai/triarch/models/ref"
)

// CanaryState is where a trial of a new backend stands.
type CanaryState string

// The states. The last three are final.
const (
	CanaryRunning  CanaryState = "running"
	CanaryPaused   CanaryState = "paused" // it keeps its share, and is still taken back when it is worse
	CanaryPromoted CanaryState = "promoted"
	CanaryBack     CanaryState = "rolled_back"
	CanaryAborted  CanaryState = "aborted"
)

// Live says whether requests may still go to the canary.
func (s CanaryState) Live() bool { return s == CanaryRunning || s == CanaryPaused }

// Canary is the trial of a new backend: it gets a share of its route's requests, which grows by a rule, and in the end takes
// the place of the backends of the route's first tier.
type Canary struct {
	ID        string // can_...
	Project   string
	Route     string // rte_...
	Backend   Backend
	Rule      canary.Rule
	State     CanaryState
	Step      int       // of the rule
	Looks     int       // how often it was looked at in this step
	Since     time.Time // when the step began
	Version   int64     // raised by each change
	CreatedBy string
	CreatedAt time.Time
}

// Percent is its share of the route's requests now.
func (c *Canary) Percent() int {
	switch c.State {
	case CanaryRunning, CanaryPaused:
		return c.Rule.Percent(c.Step)
	case CanaryPromoted:
		return 100
	}
	return 0
}

// equal says whether requests see the same of two canaries, either of which may be nil.
func (c *Canary) equal(o *Canary) bool {
	if c == nil || o == nil {
		return c == o
	}
	return c.ID == o.ID && c.Step == o.Step && c.State == o.State && c.Backend == o.Backend && c.Rule.Equal(o.Rule)
}

// CanaryEvent is something that was decided about a canary, with the numbers that decided it.
type CanaryEvent struct {
	Number int       `json:"number"` // from 1
	At     time.Time `json:"at"`
	What   string    `json:"what"` // started, promoted, held, rolled_back, paused, resumed or aborted
	From   int       `json:"from"` // percent before
	To     int       `json:"to"`   // and after
	Why    string    `json:"why"`
	By     string    `json:"by,omitempty"` // key_... of who asked for it; empty: the rule did
	Trial  Tally     `json:"trial"`        // of the step so far, on the canary
	Stable Tally     `json:"stable"`
}

// Tally is what was counted of one side.
type Tally struct {
	Answers  int64   `json:"answers"`
	Failed   int64   `json:"failed"`
	Refused  int64   `json:"refused"`
	FirstP50 float64 `json:"first_p50"` // seconds; 0: none began
	FirstP90 float64 `json:"first_p90"`
}

// TallyOf sums up what was counted of one side.
func TallyOf(a canary.Arm) Tally {
	return Tally{Answers: a.Answers, Failed: a.Failed, Refused: a.Refused, FirstP50: a.First.Quantile(0.5), FirstP90: a.First.Quantile(0.9)}
}

// CanaryStore keeps canaries.
type CanaryStore interface {
	canary.Teller
	// AddCanary stores a canary with its first event; fault.Conflict when its route has one that is live.
	AddCanary(ctx context.Context, c Canary, e CanaryEvent) error
	// MoveCanary stores a change of a live canary, with its next event and whatever follows of it, in one transaction: what
	// was counted of other steps goes, and the backends of its route are Replaced when it is promoted for good.
	// c.Version is that before the change; fault.Conflict when it is another by now.
	MoveCanary(ctx context.Context, c Canary, e CanaryEvent) error
	// CanaryOf is the newest canary of a route, with its events; fault.NotFound when it never had one.
	CanaryOf(ctx context.Context, project, route string) (Canary, []CanaryEvent, error)
	// LiveCanaries lists those of every project.
	LiveCanaries(ctx context.Context) ([]Canary, error)
	// CanaryCounts sums what all lives of all gateways told of a step.
	CanaryCounts(ctx context.Context, id string, step int) (trial, stable canary.Arm, err error)
}

// Replaced are the backends of a route whose canary was promoted: it alone is the first tier, and no other one.
func Replaced(old []Backend, by Backend) []Backend {
	by.Tier, by.Weight = 0, 1
	out := []Backend{by}
	was, tier := 0, 0
	for _, b := range old {
		if b.Tier == 0 || b.key() == by.key() {
			continue
		}
		if b.Tier != was {
			was, tier = b.Tier, tier+1
		}
		b.Tier = tier
		out = append(out, b)
	}
	return out
}

// CanarySpec asks for a canary.
type CanarySpec struct {
	Backend BackendSpec
	Rule    canary.Rule // as far as it is not the default
}

// StartCanary gives a new backend the first share of a route's requests. It asks for what leading the route there would.
func (s *Service) StartCanary(ctx context.Context, who Who, name string, spec CanarySpec) (Route, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	r, err := s.Route(ctx, who.Project, name)
	if err != nil {
		return Route{}, err
	}
	if r.Canary != nil {
		return Route{}, canaryRuns(r)
	}
	rule := spec.Rule.Filled()
	if err := rule.Check(); err != nil {
		return Route{}, err
	}
	spec.Backend.Tier, spec.Backend.Weight = 0, nil
	b, src, err := s.backend(ctx, who.Project, spec.Backend)
	if err != nil {
		return Route{}, err
	}
	if slices.ContainsFunc(r.Backends, func(o Backend) bool { return o.Tier == 0 && o.key() == b.key() }) {
		return Route{}, fault.InvalidField("canary.backend", "The route leads to %s already.", ref.Quote(src.name))
	}
	if err := s.mayReplace(ctx, who, r, b, src); err != nil {
		return Route{}, err
	}
	if !s.answers(b) {
		return Route{}, fault.New(fault.Conflict, "Nothing answers at "+ref.Quote(src.name)+" at the moment.", fault.Field("canary.backend"), fault.Fix("Wait until it serves, then start the canary."))
	}
	now := s.now()
	c := Canary{ID: s.IDs.New("can"), Project: who.Project, Route: r.ID, Backend: b, Rule: rule, State: CanaryRunning, Since: now, Version: 1, CreatedBy: who.Key, CreatedAt: now}
	if err := s.Store.AddCanary(ctx, c, CanaryEvent{At: now, What: "started", To: c.Percent(), Why: "It was asked for.", By: who.Key}); err != nil {
		return Route{}, err
	}
	s.Log.Info("a canary was started", slog.String("route", r.Name), slog.String("backend", b.key()), slog.Int("percent", c.Percent()))
	s.Reroute(ctx)
	return s.Store.Route(ctx, who.Project, r.ID)
}

// mayReplace says whether who may lead the route where its canary's promotion would.
func (s *Service) mayReplace(ctx context.Context, who Who, r Route, b Backend, src source) error {
	to := Replaced(r.Backends, b)
	sourceOf, err := s.sources(ctx, who.Project)
	if err != nil {
		return err
	}
	from := []source{src}
	for _, o := range to[1:] {
		if x, ok := sourceOf(o); ok {
			from = append(from, x)
		}
	}
	return s.mayLead(ctx, who, r, to, from)
}

// answers says whether something answers behind a backend; of a provider nobody knows before it is asked.
func (s *Service) answers(b Backend) bool {
	if b.Deployment == "" {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.behind[b.Deployment]
	return u != nil && len(u.Endpoints) > 0
}

func canaryRuns(r Route) error {
	return fault.New(fault.Conflict, "The route "+ref.Quote(r.Name)+" has a canary that runs.", fault.Code("canary"), fault.Fix("Wait for its end, or end it: triarch route canary abort %s", r.Name))
}

// Steer is what a person does to a canary.
type Steer string

// What can be done.
const (
	PauseCanary   Steer = "pause"
	ResumeCanary  Steer = "resume"
	PromoteCanary Steer = "promote" // to its next step, whatever was counted
	AbortCanary   Steer = "abort"
)

// SteerCanary pauses, resumes, promotes or aborts the canary of a route.
func (s *Service) SteerCanary(ctx context.Context, who Who, name string, what Steer) (Route, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	r, err := s.Route(ctx, who.Project, name)
	if err != nil {
		return Route{}, err
	}
	if r.Canary == nil {
		return Route{}, fault.New(fault.Conflict, "The route "+ref.Quote(r.Name)+" has no canary that runs.", fault.Code("canary"))
	}
	c := *r.Canary
	trial, stable, err := s.Store.CanaryCounts(ctx, c.ID, c.Step)
	if err != nil {
		return Route{}, err
	}
	e := CanaryEvent{At: s.now(), From: c.Percent(), By: who.Key, Why: "It was asked for.", Trial: TallyOf(trial), Stable: TallyOf(stable)}
	switch {
	case what == PauseCanary && c.State == CanaryRunning:
		c.State, e.What = CanaryPaused, "paused"
	case what == ResumeCanary && c.State == CanaryPaused:
		c.State, e.What = CanaryRunning, "resumed"
	case what == AbortCanary:
		c.State, e.What = CanaryAborted, "aborted"
	case what == PromoteCanary:
		sourceOf, err := s.sources(ctx, who.Project)
		if err != nil {
			return Route{}, err
		}
		src, _ := sourceOf(c.Backend)
		if err := s.mayReplace(ctx, who, r, c.Backend, src); err != nil {
			return Route{}, err
		}
		c.advance(e.At)
		e.What = "promoted"
	default:
		return Route{}, fault.New(fault.Conflict, fmt.Sprintf("The canary is %s, so there is nothing to %s.", c.State, what), fault.Code("canary"))
	}
	e.To = c.Percent()
	if err := s.Store.MoveCanary(ctx, c, e); err != nil {
		return Route{}, err
	}
	s.Reroute(ctx)
	return s.Store.Route(ctx, who.Project, r.ID)
}

// advance goes on to the next step, at the last of which the trial is over.
func (c *Canary) advance(now time.Time) {
	c.Step, c.Looks, c.Since = c.Step+1, 0, now
	if c.Rule.Percent(c.Step) == 100 {
		c.State = CanaryPromoted
	}
}

// Canary is the newest canary of a route, with its events.
func (s *Service) Canary(ctx context.Context, project, name string) (Canary, []CanaryEvent, error) {
	r, err := s.Route(ctx, project, name)
	if err != nil {
		return Canary{}, nil, err
	}
	return s.Store.CanaryOf(ctx, project, r.ID)
}

// JudgeCanaries looks at what gateways have counted of each canary and carries out what its rule says. It may be called at any
// time and after any crash: what is decided is stored before it is true, and decided again where that failed.
func (s *Service) JudgeCanaries(ctx context.Context) error {
	list, err := s.Store.LiveCanaries(ctx)
	if err != nil {
		return err
	}
	var errs []error
	changed := false
	for _, c := range list {
		moved, err := s.judge(ctx, c)
		if fault.Is(err, fault.Conflict) { // somebody was faster; the next pass sees what they did
			err = nil
		}
		changed = changed || moved
		errs = append(errs, err)
	}
	if changed {
		s.Reroute(ctx)
	}
	return errors.Join(errs...)
}

// waits says whether nothing becomes of a look at a paused canary. One that would go on is looked at again once it is resumed,
// and until then only where a look is due that it has not had: looking each second would take back what only had bad luck
// once.
func (s *Service) waits(c *Canary, v *canary.Verdict) bool {
	seen := look{c.Version, v.Looks}
	if last, ok := s.ready.Load(c.ID); ok && last == seen {
		return true
	}
	if v.Move == canary.Promote {
		s.ready.Store(c.ID, seen)
		return true
	}
	s.ready.Delete(c.ID)
	return false
}

// look is a look at one version of a canary.
type look struct {
	version int64
	looks   int
}

func (s *Service) judge(ctx context.Context, c Canary) (moved bool, err error) {
	trial, stable, err := s.Store.CanaryCounts(ctx, c.ID, c.Step)
	if err != nil {
		return false, err
	}
	now := s.now()
	v := c.Rule.Judge(canary.Stand{Step: c.Step, Looks: c.Looks, Since: c.Since}, trial, stable, now)
	if v.Move == canary.Wait || c.State == CanaryPaused && s.waits(&c, &v) {
		return false, nil
	}
	e := CanaryEvent{At: now, What: string(v.Move), From: c.Percent(), Why: v.Why, Trial: TallyOf(trial), Stable: TallyOf(stable)}
	c.Looks = v.Looks
	switch v.Move {
	case canary.Promote:
		c.advance(now)
	case canary.RollBack:
		c.State = CanaryBack
	}
	e.To = c.Percent()
	s.changing.Lock() // a promotion writes the route's backends
	err = s.Store.MoveCanary(ctx, c, e)
	s.changing.Unlock()
	if err != nil {
		return false, err
	}
	if v.Move != canary.Hold {
		s.Log.Info("a canary was moved", slog.String("route", c.Route), slog.String("backend", c.Backend.key()), slog.String("move", e.What),
			slog.Int("from", e.From), slog.Int("to", e.To), slog.String("why", e.Why))
	}
	return v.Move != canary.Hold, nil
}
