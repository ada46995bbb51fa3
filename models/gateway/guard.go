package gateway

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/guard"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// Judgement is what a guard was asked on a request's way, and said.
type Judgement struct {
	When       guard.When
	By         string // its public name or address
	Verdict    string // one of the Verdicts
	Passed     bool   // what was judged went on
	Reason     string // the guard's, or why it did not judge
	Categories []string
	Request    string        // req_... of what a model was asked; empty of an address
	After      time.Duration // since the request began
	Took       time.Duration
	Chars      int // characters of the text
}

// The verdicts of judgements.
const (
	Allowed  = "allow"
	Refused  = "refuse"
	Masked   = "mask" // taken as Refused
	Unjudged = "none" // there is no verdict
)

const (
	maxJudgements = 64 // of a request that are explained
	guardTag      = "guard"
	guardCode     = "guard_unavailable"
)

// guarded is the guard of one request.
type guarded struct {
	f       *flight
	p       *guard.Policy
	prompt  *string // the end of it, once it was looked for
	list    []Judgement
	more    int // judgements beyond those
	stopped bool
	failed  bool // an answer that had begun ended with its error
}

// errRefused says that a text was refused.
var errRefused = fault.New(fault.Invalid, "The request was refused by the guard of this model.", fault.Code("content_policy_violation"),
	fault.Fix("Ask for something else."))

// guardedRun is run of a route with a guard: the prompt is judged once its money is reserved, so that asking is not free,
// and before anything is asked of an engine; the answer on its way out.
func (f *flight) guardedRun(ctx context.Context, to Sink) error {
	g := &guarded{f: f, p: &f.target.Route.Policy.Guard}
	f.guard = g
	if g.p.Before {
		text, readable := guard.Prompt(f.call.Earlier, f.call.Body)
		if err := g.whole(ctx, guard.Before, text, readable); err != nil {
			return err
		}
	}
	if !g.p.After || !f.conversing() {
		return f.serve(ctx, to)
	}
	w := newHeldBack(ctx, g, to)
	if keep := f.call.Keep; keep != nil {
		f.call.Keep = w.keeping(keep)
	}
	return w.end(f.serve(ctx, w))
}

// whole has a whole text judged, part by part.
func (g *guarded) whole(ctx context.Context, when guard.When, text string, readable bool) error {
	if !readable {
		if err := g.unjudged(when, fault.New(fault.Unsupported, "A text that is no text, such as token numbers, cannot be judged.", fault.Code("not_judged"))); err != nil {
			return err
		}
	}
	if text == "" {
		return nil
	}
	parts := guard.Parts(text)
	for i, part := range parts {
		if err := g.judge(ctx, &guard.Ask{When: when, Text: part, Part: i, Last: i == len(parts)-1}); err != nil {
			return err
		}
	}
	return nil
}

// unjudged is what becomes of a text of which there is no verdict: nil if it passes.
func (g *guarded) unjudged(when guard.When, why error) error {
	x := fault.As(why)
	g.note(Judgement{When: when, By: g.p.By(), Verdict: Unjudged, Passed: g.p.Open, Reason: x.Sentence(), After: g.f.Now().Sub(g.f.began)})
	if g.p.Open {
		return nil
	}
	return why
}

func (g *guarded) note(j Judgement) {
	if len(g.list) == maxJudgements {
		g.more++
		if j.Passed {
			return
		}
		g.list = g.list[:maxJudgements-1] // what ended the request is always there
	}
	g.list = append(g.list, j)
}

// judge has one text judged. It returns nil when the text may pass, errRefused, the reason why there is no verdict, or the
// error of ctx.
func (g *guarded) judge(ctx context.Context, a *guard.Ask) error {
	f := g.f
	a.Request, a.Project, a.Model = f.call.RequestID, f.call.Who.ProjectID, f.target.Route.Name
	if a.When == guard.After {
		a.Prompt = g.asked()
	}
	began := f.Now()
	v, request, err := f.verdictOf(ctx, &f.target.Route, projectOf(&f.target.Route), guardTag, true, a)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	j := Judgement{When: a.When, By: g.p.By(), Verdict: Allowed, Passed: true, Reason: v.Reason, Categories: v.Categories, Request: request,
		After: began.Sub(f.began), Took: f.Now().Sub(began), Chars: utf8.RuneCountInString(a.Text)}
	switch {
	case err != nil:
		j.Verdict, j.Passed, j.Reason = Unjudged, g.p.Open, fault.As(err).Sentence()
		f.Log.Warn("gateway: a guard does not judge", slog.String("request", f.call.RequestID), slog.String("guard", g.p.By()), slog.Any("error", err))
		if g.p.Open {
			err = nil
		}
	case v.Masks:
		j.Verdict, j.Passed, err = Masked, false, errRefused
	case v.Refused:
		j.Verdict, j.Passed, err = Refused, false, errRefused
	}
	g.note(j)
	return err
}

// asked is the end of the prompt, which is shown with an answer.
func (g *guarded) asked() string {
	if g.prompt == nil {
		text, _ := guard.Prompt(g.f.call.Earlier, g.f.call.Body)
		text = guard.Tail(text, guard.PromptMost)
		g.prompt = &text
	}
	return *g.prompt
}

// noVerdict is why a guard cannot be asked.
func noVerdict(why string, cause error) error {
	return fault.New(fault.Unavailable, "The guard does not judge: "+why+".", fault.Code(guardCode), fault.Fix("Try again in a moment."), fault.Cause(cause))
}

// verdictOf asks the guard of a route, within its time. Who pays for a model that judges is who; apart from everybody's
// rates where it is asked within another request.
func (g *Gateway) verdictOf(ctx context.Context, r *serve.Route, who *auth.Principal, tag string, apart bool, a *guard.Ask) (v guard.Verdict, request string, err error) {
	p := &r.Policy.Guard
	if p.Model == "" {
		if g.Guards == nil {
			return v, "", noVerdict("this gateway asks no addresses", nil)
		}
		v, err = g.Guards.Judge(ctx, r.ID, p, a)
		return v, "", err
	}
	judge, ok := g.Routes.Lookup(r.Project, r.Org, p.Model)
	switch {
	case !ok || !judge.Serves() && judge.Route.Policy.WakeMS == 0:
		return v, "", noVerdict("nothing answers behind its model", nil)
	case judge.Route.Policy.Guard.On():
		return v, "", noVerdict("its model has a guard itself", nil)
	}
	inner, cancel := context.WithTimeout(ctx, p.Wait())
	defer cancel()
	v, request, err = g.askJudge(inner, judge, who, tag, apart, a)
	if !apart && err != nil && inner.Err() == nil && (fault.Is(err, fault.RateLimited) || fault.Is(err, fault.NoMoney)) {
		return v, request, err // the caller's own limits
	}
	if err != nil && fault.As(err).Code != guardCode {
		why := "its model does not answer as it should"
		switch {
		case inner.Err() != nil:
			why = "it took too long"
		case fault.Is(err, fault.NoMoney):
			why = "the budget of its project cannot pay for it"
		}
		err = noVerdict(why, err)
	}
	return v, request, err
}

// askJudge has a model judge, as a request of its own that is booked like any other. Nobody watches it: what it judges is
// another's text.
func (g *Gateway) askJudge(ctx context.Context, t *serve.Target, who *auth.Principal, tag string, apart bool, a *guard.Ask) (v guard.Verdict, request string, err error) {
	if g.IDs == nil {
		return v, "", noVerdict("this gateway asks no models", nil)
	}
	body, err := guard.Words(t.Route.Name, a)
	if err != nil {
		return v, "", err
	}
	raw := g.IDs.Raw()
	request = "req_" + raw.String()
	f := &flight{Gateway: g, target: t, apart: apart, call: &Call{Who: who, Path: openai.ChatPath, Body: body, Request: raw, RequestID: request, Tag: tag}}
	if err := f.read(); err != nil {
		return v, request, err
	}
	w := overheard{header: http.Header{}}
	err = f.run(ctx, &w)
	if f.lot.drawn { // a model that judges can have a canary as any other
		f.tell(ctx, err)
	}
	if err != nil {
		return v, request, err
	}
	if w.status != http.StatusOK {
		return v, request, noVerdict("its model refuses the request", nil)
	}
	text := gjson.GetBytes(w.body.Bytes(), "choices.0.message.content")
	if text.Type != gjson.String {
		return v, request, noVerdict("its answer is no verdict", nil)
	}
	if v, err = guard.ParseWords(text.Str); err != nil {
		return v, request, noVerdict("its answer is no verdict", err)
	}
	return v, request, nil
}

// projectOf is the project of a route as the one who asks: with no key, and so bound by the budgets of the project and its
// organisation alone.
func projectOf(r *serve.Route) *auth.Principal {
	p := &auth.Principal{OrgID: r.Org, ProjectID: r.Project, KeyID: "key_" + id.Raw{}.String()}
	p.Org, _ = id.ParseRaw(r.Org) // ours, well-formed
	p.Project, _ = id.ParseRaw(r.Project)
	return p
}

// overheard is a sink that keeps a short answer.
type overheard struct {
	header http.Header
	status int
	body   bytes.Buffer
}

const maxWords = 128 << 10

func (w *overheard) Header() http.Header    { return w.header }
func (w *overheard) WriteHeader(status int) { w.status = status }
func (w *overheard) Flush() error           { return nil }
func (w *overheard) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.body.Len()+len(b) <= maxWords { // what is longer is no verdict
		w.body.Write(b)
	}
	return len(b), nil
}

// told is what is kept of it for an explanation: nothing of the request.
func (g *guarded) told() *guarded {
	if g == nil {
		return nil
	}
	return &guarded{list: g.list, more: g.more}
}

// noted says whether something was refused, or could not be judged.
func (g *guarded) noted() bool {
	return g != nil && slices.ContainsFunc(g.list, func(j Judgement) bool { return j.Verdict != Allowed })
}
