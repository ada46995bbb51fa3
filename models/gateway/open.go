package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/tidwall/sjson"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
)

// maxTries is how often a request is put to something, at most.
const maxTries = 8

// try is one asking of one backend.
type try struct {
	via    *serve.Upstream
	to     *engine.Endpoint
	known  *replica
	began  time.Duration // after the flight
	took   time.Duration // until the head of the answer, or the failure
	status int16         // of the answer; 0 = none came
	again  bool          // another was asked because of it
	lacks  bool          // it has no endpoint for this
	full   bool          // it had no room in time
	lane   *lane         // in which it has a place
	waited time.Duration // for that
}

// open asks one backend after the other, tier by tier, until one answers; nothing was delivered yet, so asking again is
// safe. What may have been asked and billed by somebody outside is not asked again.
func (f *flight) open(ctx context.Context) (engine.Stream, error) {
	f.retries.earn()
	if !f.target.Serves() {
		if err := f.wake(ctx); err != nil {
			return nil, err
		}
	}
	var failure error
	now := f.began
	if f.guard != nil { // which took its time
		now = f.Now()
	}
	for ; ; now = f.Now() {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		t := f.choose(now)
		if t == nil {
			return nil, f.nobody(failure)
		}
		if f.asks > 1 && !f.retries.take() {
			t.known.breaker.leave(now, unknown)
			return nil, f.nobody(failure)
		}
		s, err := f.put(ctx, t)
		if s != nil {
			return s, nil
		}
		if failure = err; t.full && ctx.Err() == nil {
			continue
		}
		if fault.As(err).After > 0 {
			f.soon(fault.As(err).After)
		}
		if ctx.Err() != nil || !again(err) {
			return nil, err
		}
		t.again = true
	}
}

// put has a try wait for its place and asks; the try is over where no stream is returned, and where something panics.
func (f *flight) put(ctx context.Context, t *try) (engine.Stream, error) {
	whole := false
	defer func() {
		if !whole {
			f.dropped(t)
		}
	}()
	if err := f.enter(ctx, t); err != nil {
		whole = true
		return nil, err
	}
	s, err := f.ask(ctx, t)
	if s != nil && f.more(t, s) {
		f.soon(wholeSeconds(s.Header("Retry-After")))
		s.Close()
		s, err = nil, f.declined(t)
	}
	whole = true
	return s, err
}

// dropped ends a try in the middle of which something panicked.
func (f *flight) dropped(t *try) {
	if f.at == t {
		f.over(t, unknown)
		return
	}
	f.exit(t)
	t.known.breaker.leave(f.Now(), unknown)
}

// again says whether a failure lets another be asked: nothing was, or what was asked cannot say what the request says.
func again(err error) bool {
	return fault.Is(err, fault.Unavailable) && (fault.As(err).Code != engine.Died) || fault.Is(err, fault.Unsupported)
}

// ask puts the request to one backend. The breaker has heard of it when no stream is returned; else left says the rest.
func (f *flight) ask(ctx context.Context, t *try) (engine.Stream, error) {
	q, err := f.request(t.via)
	if err != nil {
		f.exit(t)
		t.known.breaker.leave(f.began, unknown)
		return nil, err
	}
	q.Trace, q.TraceState = f.sight.trace(f.asks-1), f.sight.TraceState
	f.asked, f.at = true, t
	t.known.running.Add(1)
	f.entry.Asked(t.via.ID)
	f.spell.end(f) // of a try that failed
	f.spell = spell{}
	if !t.via.Outside() {
		f.spell = f.begin(&t.known.chips, t.to)
	}
	s, err := t.via.Engine.Open(ctx, *t.to, q)
	if err == nil {
		t.status, t.took = int16(s.Status()), f.Now().Sub(f.began)-t.began
		return s, nil
	}
	v := failed
	rests := fault.As(err).Code == engine.KeysRest
	if ctx.Err() != nil || rests { // it was not asked: its breaker has nothing to hear
		v = unknown
	}
	f.over(t, v)
	if v == failed && !t.via.Outside() && fault.Is(err, fault.Unavailable) {
		f.Routes.Suspect(t.to.Replica)
	}
	return nil, err
}

// over ends a try: it runs no more, and its breaker knows how it ended.
func (f *flight) over(t *try, v verdict) {
	t.known.running.Add(-1)
	f.exit(t)
	now := f.clock()
	if t.took == 0 {
		t.took = now.Sub(f.began) - t.began
	}
	if late := f.target.Route.Policy.Slow(); v == good && late > 0 && t.took > late {
		v = slow
	}
	if t.known.breaker.leave(now, v) {
		f.Log.Warn("gateway: a backend is not asked for a while", slog.String("backend", t.via.ID), slog.String("replica", t.to.Replica), slog.Bool("slow", v == slow))
	}
	if f.at == t {
		f.at = nil
	}
}

// more says whether an answer is none yet: the backend is broken, or has no room, or says that it fails, and another may
// do better. The try is over then.
func (f *flight) more(t *try, s engine.Stream) bool {
	status := s.Status()
	switch {
	case t.via.Outside():
		if !declines(status) {
			return false
		}
	case !f.conversing() && (status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented):
		t.lacks = true // the engine has no such endpoint; nothing is wrong with it
		f.over(t, unknown)
		return true
	case broken(status):
		f.Log.Error("gateway: a replica refuses the gateway", slog.String("replica", t.to.Replica), slog.Int("status", status))
		f.Routes.Suspect(t.to.Replica)
	case status != http.StatusServiceUnavailable || !f.others():
		return false
	default: // full or still loading, which another may not be
		f.over(t, unknown)
		return true
	}
	f.over(t, failed)
	return true
}

// declines are answers of a provider that say something about it, its keys or its room, not about the request.
func declines(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	}
	return status >= 500 || status < 200 || status >= 300 && status < 400
}

// broken are answers that say something about the replica, not about the request.
func broken(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusBadGateway:
		return true
	}
	return false
}

// declined is why a backend that answered did not serve, for a caller to whom it is none of their business: a provider's
// own words can hold what is the installation's.
func (f *flight) declined(t *try) error {
	if t.lacks {
		return fault.New(fault.Unsupported, "What serves the model `"+f.fields.model+"` has no "+f.call.Path+".", fault.Code("unsupported_endpoint"), fault.Field("model"))
	}
	if !t.via.Outside() {
		return notServed(f.fields.model)
	}
	f.Log.Warn("gateway: a provider declines", slog.String("request", f.call.RequestID), slog.String("backend", t.via.ID), slog.Int("status", int(t.status)))
	if t.status == http.StatusTooManyRequests {
		return fault.New(fault.Unavailable, "What serves the model `"+f.fields.model+"` has no room at the moment.", fault.Code("backend_busy"), fault.Fix("Try again in a moment."))
	}
	return fault.New(fault.Unavailable, "What serves the model `"+f.fields.model+"` does not answer as it should.", fault.Code("backend_failed"), fault.Fix("Try again in a moment."))
}

// wholeSeconds is a provider's Retry-After if it is a number of seconds that somebody could wait for; else 0.
func wholeSeconds(text string) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 16); err == nil && n <= 3600 {
		return time.Duration(n) * time.Second
	}
	return 0
}

// soon notes when what was asked may answer again: the soonest of all is what the caller is told.
func (f *flight) soon(after time.Duration) {
	if after > 0 && (f.retry == 0 || after < f.retry) {
		f.retry = after
	}
}

// resting notes when the breakers let one of the backends be asked again.
func (f *flight) resting() {
	now := f.Now()
	for _, u := range f.target.Backends {
		for i := range u.Endpoints {
			if u.Weight > 0 && !f.tried(u.Endpoints[i].Replica) {
				f.soon(f.replica(u.Endpoints[i].Replica).breaker.rests(now))
			}
		}
	}
}

// nobody is the answer when nothing is left to ask.
func (f *flight) nobody(failure error) error {
	f.resting()
	if failure != nil {
		return failure
	}
	if f.unlike {
		what := "embeddings"
		if f.call.Path == openai.RerankPath {
			what = "reranking"
		}
		return fault.New(fault.Unsupported, "The model `"+f.fields.model+"` has no "+what+": the dialect of the provider that serves it has none.", fault.Code("unsupported_endpoint"),
			fault.Field("model"), fault.Fix("Use a model that is made for it."))
	}
	return notServed(f.fields.model)
}

// choose takes what is to be asked next: of the first tier that has something left, one backend by weight and of it the
// replica with the fewest requests from here. nil when nothing is left.
func (f *flight) choose(now time.Time) *try {
	if f.asks >= maxTries {
		return nil
	}
	if f.lot.canary && f.asks == 0 && !f.lot.skipped && !f.lot.unlike {
		if t := f.trial(now); t != nil {
			return t
		}
	}
	list := f.target.Backends
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].Tier == list[0].Tier {
			n++
		}
		if t := f.within(list[:n], now); t != nil {
			return t
		}
		list = list[n:]
	}
	return nil
}

// within is choose of one tier. A replica whose breaker another request has just taken is passed over.
func (f *flight) within(tier []*serve.Upstream, now time.Time) *try {
	if len(tier) == 1 {
		return f.through(tier[0], now)
	}
	var passed uint64 // backends of the tier in which nothing is left; there are at most serve.MaxBackends
	for {
		var crowded uint64 // those whose replicas all say that they are full
		for i, u := range tier {
			if passed&(1<<i) == 0 {
				switch {
				case !f.available(u, now) || u.Weight <= 0:
					passed |= 1 << i
				case f.crowded(u, now):
					crowded |= 1 << i
				}
			}
		}
		without := passed
		if passed|crowded != 1<<len(tier)-1 {
			without |= crowded // others have room
		}
		sum, only := 0, -1
		for i, u := range tier {
			if without&(1<<i) == 0 {
				sum, only = sum+u.Weight, i
			}
		}
		if only < 0 {
			return nil
		}
		at := only
		if sum > tier[only].Weight {
			at = f.weighed(tier, without, sum)
		}
		if t := f.through(tier[at], now); t != nil {
			return t
		}
		passed |= 1 << at
	}
}

// through is a try of one backend; nil when it has nothing that can be asked.
func (f *flight) through(u *serve.Upstream, now time.Time) *try {
	if u.Weight <= 0 || !f.speaks(u) || f.asks > 0 && f.full(u) {
		return nil
	}
	to, r := f.pick(u, now)
	if r == nil {
		return nil
	}
	t := &f.opening
	if f.asks > 0 {
		t = new(try)
	}
	*t = try{via: u, to: to, known: r, began: now.Sub(f.began)}
	f.tries[f.asks] = t
	f.asks++
	return t
}

// speaks says whether the backend takes the request, as it is or through a codec. Vectors are of OpenAI's dialect and of
// Google's, ranks of the engines that speak OpenAI's.
func (f *flight) speaks(u *serve.Upstream) bool {
	if f.conversing() || openAIs(u) || u.Dialect == engine.Google && f.call.Path == openai.EmbeddingsPath {
		return true
	}
	f.unlike = true
	return false
}

// weighed takes a backend by weight. The turns are spread evenly, so that few requests show the weights already.
func (f *flight) weighed(tier []*serve.Upstream, passed uint64, sum int) int {
	const golden = 2654435769 // 2^32 divided by the golden ratio: multiples of it fill a circle evenly
	spot := int(uint64(f.turn.Add(1)*golden) * uint64(sum) >> 32)
	for i, u := range tier {
		if passed&(1<<i) != 0 {
			continue
		}
		if spot -= u.Weight; spot < 0 {
			return i
		}
	}
	return len(tier) - 1
}

// available says whether the backend has a replica that can be asked.
func (f *flight) available(u *serve.Upstream, now time.Time) bool {
	if !f.speaks(u) || f.full(u) {
		return false
	}
	for i := range u.Endpoints {
		if !f.tried(u.Endpoints[i].Replica) && f.replica(u.Endpoints[i].Replica).breaker.ready(now) {
			return true
		}
	}
	return false
}

// others says whether anything but what was tried could be asked.
func (f *flight) others() bool {
	now := f.Now()
	for _, u := range f.target.Backends {
		if u.Weight > 0 && f.available(u, now) {
			return f.asks < maxTries
		}
	}
	return false
}

// full says whether a backend had no room before.
func (f *flight) full(u *serve.Upstream) bool {
	for _, t := range f.tries[:f.asks] {
		if t.full && t.via.ID == u.ID {
			return true
		}
	}
	return false
}

// enter takes a place on the way to the backend, where its route bounds them. Who had to wait picks a replica anew.
func (f *flight) enter(ctx context.Context, t *try) error {
	p := &f.target.Route.Policy
	if p.Concurrency == 0 {
		return nil
	}
	queue, wait := p.Queue, p.QueueWait()
	if queue == 0 {
		queue = defaultQueue
	}
	if wait == 0 {
		wait = defaultWait
	}
	l := f.lane(t.via.ID)
	of, part := f.flow()
	err := l.enter(ctx, of, part, p.Concurrency*len(t.via.Endpoints), queue, wait)
	now := f.Now()
	t.waited = now.Sub(f.began) - t.began
	if err != nil {
		t.full = true
		t.known.breaker.leave(now, unknown)
		return err
	}
	t.lane = l
	if t.waited < time.Millisecond {
		return nil
	}
	t.known.breaker.leave(now, unknown)
	f.asks-- // of what is asked anew
	to, r := f.pick(t.via, now)
	f.asks++
	if r == nil {
		f.exit(t)
		t.full = true
		return notServed(f.fields.model)
	}
	t.to, t.known, t.began = to, r, now.Sub(f.began)
	return nil
}

// exit gives the place back.
func (f *flight) exit(t *try) {
	if t.lane != nil {
		t.lane.leave()
		t.lane = nil
	}
}

func (g *Gateway) lane(backend string) *lane {
	if l, ok := g.lanes.Load(backend); ok {
		return l.(*lane)
	}
	l, _ := g.lanes.LoadOrStore(backend, new(lane))
	return l.(*lane)
}

func (f *flight) tried(replica string) bool {
	for i := range f.asks {
		if f.tries[i].to.Replica == replica {
			return true
		}
	}
	return false
}

// pick takes a replica of a backend: the one that has seen most of the prompt, as far as it is not busy, or else the one
// with the fewest requests from here, and among equals each in turn.
func (f *flight) pick(u *serve.Upstream, now time.Time) (*engine.Endpoint, *replica) {
	ends := u.Endpoints
	if len(ends) > 1 && f.target.Route.Policy.Locality == serve.Off {
		return f.inTurn(u, now)
	}
	if len(ends) > 1 && !u.Outside() && f.placed() {
		return f.nearest(u, now)
	}
	return f.spread(u, now)
}

func (g *Gateway) replica(name string) *replica {
	if r, ok := g.replicas.Load(name); ok {
		return r.(*replica)
	}
	n := g.numbers.Add(1)
	r, was := g.replicas.LoadOrStore(name, &replica{number: uint16(1 + n%65535)})
	if !was && n%forgetEach == 0 {
		g.forget(g.Now().Add(-forgetAfter))
	}
	return r.(*replica)
}

// Replicas come and go; those that answered nothing for forgetAfter are looked for with each forgetEach-th new one.
const (
	forgetEach  = 64
	forgetAfter = 24 * time.Hour
)

// forget drops what is known of replicas that answered last before a time.
func (g *Gateway) forget(before time.Time) {
	g.replicas.Range(func(name, x any) bool {
		if r := x.(*replica); r.running.Load() == 0 && r.breaker.last(before) {
			g.replicas.CompareAndDelete(name, x)
		}
		return true
	})
}

// bodyFor is the caller's body with the name that the backend knows its model by, where that is another one, and with
// its output bound where that is lower.
func (f *flight) bodyFor(u *serve.Upstream) ([]byte, error) {
	body := f.call.Body
	if u.Name != "" && u.Name != f.fields.model {
		body = renamed(body, f.fields.modelAt, f.fields.modelEnd, u.Name)
	}
	return f.bounded(body)
}

// renamed has name in place of the value between two offsets. Names of models are printable ASCII, in which Go and JSON
// quote alike.
func renamed(body []byte, at, end int, name string) []byte {
	out := make([]byte, 0, len(body)-(end-at)+len(name)+8)
	out = append(out, body[:at]...)
	out = strconv.AppendQuote(out, name)
	return append(out, body[end:]...)
}

// bounded is the body unless the output is cut to what the money pays: then every name that it sets a limit by says so,
// whichever of them an engine prefers, or else the one that its path has always had.
func (f *flight) bounded(body []byte) ([]byte, error) {
	if !f.res.Cut {
		return body, nil
	}
	var names []string
	if f.fields.maxTokens || !f.fields.maxCompl && f.call.Path == openai.CompletionPath {
		names = append(names, "max_tokens")
	}
	if f.fields.maxCompl || len(names) == 0 {
		names = append(names, "max_completion_tokens")
	}
	var err error
	for _, name := range names {
		if body, err = sjson.SetBytes(body, name, f.res.Output); err != nil {
			return nil, fault.New(fault.Invalid, "The body is not one JSON object.", fault.Code("invalid_json"), fault.Cause(err))
		}
	}
	return body, nil
}
