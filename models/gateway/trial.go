package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/models/canary"
	"github.com/triarch-ai/triarch/models/dialect"
)

// lot is what was drawn for a request of a route with a canary; the zero value: nothing was, for the route has none.
type lot struct {
	drawn   bool
	canary  bool // it is the canary's to answer
	session bool // so is the session that it names; else it was drawn by itself
	skipped bool // the canary had nothing that could be asked
	unlike  bool // the canary does not speak the dialect
}

// allot says which side answers a request: by its session where it names one, so that a session stays where it is, else by
// chance.
func (f *flight) allot() {
	t := f.target.Trial
	f.lot.drawn = true
	if s := f.session(); len(s) > 0 {
		f.lot.session = true
		f.lot.canary = canary.On(canary.Point(t.Canary, f.call.Who.ProjectID, s), t.Percent)
		return
	}
	f.lot.canary = canary.On(f.draw(), t.Percent)
}

// session is what the request calls its session or its user, in whatever dialect.
func (f *flight) session() []byte {
	if len(f.fields.session) > 0 || f.far == nil {
		return f.fields.session
	}
	var names []string
	switch f.far.kind {
	case dialect.Responses:
		names = []string{"prompt_cache_key", "user"}
	case dialect.Anthropic:
		names = []string{"metadata.user_id"}
	}
	for _, name := range names {
		if v := gjson.GetBytes(f.call.Body, name); v.Type == gjson.String && v.Str != "" {
			return []byte(v.Raw)
		}
	}
	return nil
}

// trial is a try of the canary, for a request that is its to answer; nil when it has nothing that can be asked.
func (f *flight) trial(now time.Time) *try {
	u := f.target.Trial.Via
	if !f.speaks(u) {
		f.lot.unlike = true
		return nil
	}
	t := f.through(u, now)
	f.lot.skipped = t == nil
	return t
}

// tell counts how a request ended on what was asked first for it. What says nothing of either side is not counted: a
// request that was refused before anything was asked, or that the canary has no words for.
func (f *flight) tell(ctx context.Context, err error) {
	t := f.target.Trial
	if f.Trials == nil || f.lot.unlike || f.asks == 0 && !f.lot.skipped {
		return
	}
	k := canary.Key{Canary: t.Canary, Step: t.Step}
	if f.lot.skipped {
		f.Trials.Add(k, true, canary.End{Failed: true})
		return
	}
	first := f.tries[0]
	left := ctx.Err() != nil && f.first == 0
	status := int(first.status)
	var e canary.End
	switch {
	case first.lacks:
		return
	case first.full, first.again, f.asks > 1, status >= http.StatusInternalServerError, status == 0 && err != nil && !left, f.verdict == failed,
		status != 0 && first.via.Outside() && declines(status), status != 0 && !first.via.Outside() && broken(status):
		e.Failed = true
	case left: // it had not begun after so long
		e.First = f.Now().Sub(f.began)
	case status != http.StatusOK && status != 0:
		e.Refused = true
		e.First = max(first.took, 1)
	case status == 0:
		return
	default:
		e.First = max(f.first, 1)
	}
	f.Trials.Add(k, f.lot.canary, e)
}

// Drawn says how a request of a route with a canary came to its side.
type Drawn struct {
	Canary  string // can_...
	Step    int
	Percent int  // of the route's requests that were the canary's
	On      bool // it was the canary's to answer
	Session bool // by its session; else by chance
	Skipped bool // the canary could not be asked
}

// shown is what an explanation has of it; nil where nothing was drawn.
func (f *flight) shown() *Drawn {
	if !f.lot.drawn {
		return nil
	}
	t := f.target.Trial
	return &Drawn{Canary: t.Canary, Step: t.Step, Percent: t.Percent, On: f.lot.canary, Session: f.lot.session, Skipped: f.lot.skipped || f.lot.unlike && f.lot.canary}
}
