package gateway

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Explanation is what was decided on a request's way, and why.
type Explanation struct {
	Request      string // req_...
	At           time.Time
	Project      string // prj_...
	Key          string // key_...
	Path         string
	Model        string // as the request names it
	Route        string // rte_...; empty when there is none of the name
	PriceVersion string // pv_...
	ServiceTier  string `json:",omitempty"` // that served it; empty where its route has none, or the request names none
	Stream       bool
	Tries        []Tried
	Drawn        *Drawn `json:",omitempty"` // nil: the route had no canary
	Blocks       int    // blocks of 1 KiB of the prompt, where replicas were compared by what they have seen of it
	Matched      int    // of them, and of its session, what the chosen replica had seen
	Cut          bool
	Outcome      string // as records have it; "refused" when nothing was served
	Code         string // of the refusal or failure
	Reason       string // its sentence
	Input        int64  // tokens booked
	Output       int64
	Estimated    bool // they were, in part
	CostMicros   int64
	FirstByte    time.Duration // until the client's first byte; 0 = it had none
	Took         time.Duration

	Judgements []Judgement `json:",omitempty"` // of the route's guard
	MoreJudged int         `json:",omitempty"` // judgements beyond those
}

// Tried is one asking of one backend.
type Tried struct {
	Tier    int
	Backend string // dep_..., or prv_.../MODEL
	Replica string
	After   time.Duration // since the request began
	Waited  time.Duration // for a place
	Took    time.Duration // until the head of its answer, or its failure
	Status  int           // of its answer; 0 = none came
	Full    bool          // it had no place in time
	Again   bool          // another was asked because of it
}

// Explanations keep those of the last requests in memory, and store those of failures and of a share of all.
type Explanations struct {
	Store Explained // nil: memory alone
	// Share of the requests that did not fail which are stored as well: 0 to 1.
	Share float64
	Log   *slog.Logger

	shards [explainShards]explainShard
	due    uint64 // parts of 2^32 that the share stands for, found at the first request
	begin  sync.Once
	count  atomic.Uint32
	queue  chan Explanation
	lost   atomic.Int64
}

// Explained keeps explanations.
type Explained interface {
	AddExplanations(ctx context.Context, list []Explanation) error
	// Explanation finds one; fault.NotFound when there is none in the project.
	Explanation(ctx context.Context, project, request string) (Explanation, error)
	// DropExplanations deletes those before a time.
	DropExplanations(ctx context.Context, before time.Time) error
}

const (
	explainShards = 16
	explainEach   = 256 // of a shard: 4,096 requests in all
	explainQueue  = 1024
	explainKeep   = 7 * 24 * time.Hour
)

type explainShard struct {
	mu   sync.Mutex
	next int
	ring []explained
}

// explained is an Explanation as it is kept: nothing of it is made for a request that nobody asks about.
type explained struct {
	request id.Raw
	flight  flightNote
	tries   [2]Tried // the first ones
	more    []Tried
	n       int
	guard   *guarded // nil: nobody judged
}

// flightNote is the part of an explanation that every request has.
type flightNote struct {
	at                       time.Time
	project, key, path       string
	model, route, price      string
	stream, cut              bool
	blocks, matched          int
	outcome                  meter.Outcome
	code, reason             string
	input, output, cost      int64
	first, took              time.Duration
	refused, failed, settled bool
	drawn                    *Drawn
	estimated                bool
	tier                     dialect.Tier
}

func (x *Explanations) start() {
	x.begin.Do(func() {
		x.due = uint64(min(max(x.Share, 0), 1) * (1 << 32))
		x.queue = make(chan Explanation, explainQueue)
	})
}

// remember keeps the explanation of a request that has ended.
func (x *Explanations) remember(f *flight, err error) {
	x.start()
	e := f.explained(err)
	s := &x.shards[f.call.Request[15]%explainShards]
	s.mu.Lock()
	if s.ring == nil {
		s.ring = make([]explained, explainEach)
	}
	s.ring[s.next] = e
	s.next = (s.next + 1) % explainEach
	s.mu.Unlock()
	if x.Store == nil || !e.flight.failed && uint64(x.count.Add(1)*2654435769) >= x.due {
		return
	}
	select {
	case x.queue <- e.explanation():
	default: // the database does not keep up; memory has it
		x.lost.Add(1)
	}
}

// find looks into memory.
func (x *Explanations) find(request id.Raw) (Explanation, bool) {
	s := &x.shards[request[15]%explainShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.ring {
		if s.ring[i].request == request {
			return s.ring[i].explanation(), true
		}
	}
	return Explanation{}, false
}

// Get explains a request of a project, by its id.
func (x *Explanations) Get(ctx context.Context, project, request string) (Explanation, error) {
	raw, err := id.ParseRaw(request)
	if err == nil && id.Valid("req", request) {
		if e, ok := x.find(raw); ok && e.Project == project {
			return e, nil
		}
		if x.Store != nil {
			return x.Store.Explanation(ctx, project, request)
		}
	}
	return Explanation{}, fault.New(fault.NotFound, "There is no explanation of the request "+request+".",
		fault.Fix("Those of the last requests are kept, and of failures and a share of all for a week."))
}

// Loop stores what is to be stored, and drops what is old, until ctx ends.
func (x *Explanations) Loop(ctx context.Context, now func() time.Time) {
	x.start()
	if x.Store == nil {
		return
	}
	tick, tidy := time.NewTicker(time.Second), time.NewTicker(time.Hour)
	defer tick.Stop()
	defer tidy.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			x.flush(last)
			cancel()
			return
		case <-tidy.C:
			if err := x.Store.DropExplanations(ctx, now().Add(-explainKeep)); err != nil {
				x.Log.Warn("old explanations of requests cannot be dropped", "error", err)
			}
		case <-tick.C:
			x.flush(ctx)
		}
	}
}

func (x *Explanations) flush(ctx context.Context) {
	var list []Explanation
	for len(x.queue) > 0 && len(list) < explainQueue {
		list = append(list, <-x.queue)
	}
	if len(list) == 0 {
		return
	}
	if err := x.Store.AddExplanations(ctx, list); err != nil {
		x.Log.Warn("explanations of requests cannot be stored", "lost", len(list), "error", err)
	}
	if n := x.lost.Swap(0); n > 0 {
		x.Log.Warn("explanations of requests came faster than they could be stored", "lost", n)
	}
}

// explained is what the flight knows at its end.
func (f *flight) explained(err error) explained {
	e := explained{request: f.call.Request, n: f.asks, guard: f.guard.told(), flight: flightNote{
		at: f.began, project: f.call.Who.ProjectID, key: f.call.Who.KeyID, path: f.call.Path, model: f.fields.model, stream: f.fields.stream,
		blocks: f.blocks, matched: f.matched, outcome: f.outcome, settled: f.settled && f.outcome != 0,
		input: f.used.Input, output: f.used.Output, estimated: f.used.Estimated, cost: f.cost, first: f.first}}
	n := &e.flight
	now := f.Now()
	if n.at.IsZero() {
		n.at = now
	}
	n.took = now.Sub(n.at)
	if f.target != nil {
		n.route, n.price = f.target.Route.ID, f.target.Route.Priced.ID
	}
	n.cut = f.res != nil && f.res.Cut
	n.drawn, n.tier = f.shown(), f.tiering.tier
	if err != nil {
		x := fault.As(err)
		n.refused, n.code, n.reason = true, cmp.Or(x.Code, string(x.Kind)), x.Sentence()
	}
	n.failed = err != nil || f.verdict == failed || f.asks > 1 || f.guard.noted()
	for i, t := range f.tries[:f.asks] {
		one := Tried{Tier: t.via.Tier, Backend: t.via.ID, Replica: t.to.Replica, After: t.began, Waited: t.waited, Took: t.took,
			Status: int(t.status), Full: t.full, Again: t.again}
		if i < len(e.tries) {
			e.tries[i] = one
		} else {
			e.more = append(e.more, one)
		}
	}
	return e
}

func (e *explained) explanation() Explanation {
	n := &e.flight
	x := Explanation{Request: "req_" + e.request.String(), At: n.at, Project: n.project, Key: n.key, Path: n.path, Model: n.model, Route: n.route,
		PriceVersion: n.price, Stream: n.stream, Drawn: n.drawn, ServiceTier: n.tier.String(), Blocks: n.blocks, Matched: n.matched, Cut: n.cut, Code: n.code, Reason: n.reason,
		Input: n.input, Output: n.output, Estimated: n.estimated, CostMicros: n.cost, FirstByte: n.first, Took: n.took, Outcome: "refused"}
	if n.settled {
		x.Outcome = n.outcome.String()
	}
	x.Tries = append(x.Tries, e.tries[:min(e.n, len(e.tries))]...)
	x.Tries = append(x.Tries, e.more...)
	if e.guard != nil {
		x.Judgements, x.MoreJudged = e.guard.list, e.guard.more
	}
	return x
}

// explainHeader tells on demand, in one line, what was decided before the answer began.
const explainHeader = "X-Triarch-Explain"

// header writes it for a caller who asked. What stands behind a route is told to those who may look at the project.
func (f *flight) header(h http.Header) {
	if !f.call.Explain || f.asks == 0 {
		return
	}
	t := f.tries[f.asks-1]
	b := append(make([]byte, 0, 160), "tries="...)
	b = strconv.AppendInt(b, int64(f.asks), 10)
	b = strconv.AppendInt(append(b, "; tier="...), int64(t.via.Tier), 10)
	b = strconv.AppendInt(append(b, "; waited_ms="...), t.waited.Milliseconds(), 10)
	b = strconv.AppendInt(append(b, "; first_ms="...), t.took.Milliseconds(), 10)
	if f.blocks > 0 {
		b = strconv.AppendInt(append(b, "; matched="...), int64(f.matched), 10)
		b = strconv.AppendInt(append(b, '/'), int64(f.blocks), 10)
	}
	if f.lot.canary && f.asks == 1 && !f.lot.skipped {
		b = append(b, "; canary=1"...)
	}
	if f.call.Names {
		b = append(append(b, "; backend="...), t.via.ID...)
	}
	h[explainHeader] = []string{string(b)}
}
