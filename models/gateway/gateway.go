// Package gateway is the model API's flow: who asks, what is meant, is there money, which replica, stream, settle.
//
// A request crosses it as the caller's bytes plus the few fields read from them, a chunk as the engine's bytes plus
// token counts. What is booked is written to the ledger before each write to the client, so that a kill at any moment
// leaves the books right; whatever ends a request, it is settled with what was delivered, or with its prompt when the
// client left before anything was. docs/decisions/0003-metering-edges.md has all the cases.
//
// Rules for callers: Do answers the sink or returns an error, never both; the principal was authenticated before.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/canary"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/guard"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// Routes is what the gateway asks of deployments, on its hot path: answers come from memory.
type Routes interface {
	// Lookup finds what a project means by a public name.
	Lookup(project, org, name string) (*serve.Target, bool)
	// List gives the routes a project can use that have a replica that answers, by name.
	List(project, org string) []*serve.Target
	// Suspect tells that a replica could not be reached, so that it is asked no more until it is well.
	Suspect(replica string)
}

// Tables are what keeps a table of routes: a serve.Service, or a serve.Follower of one in another process.
type Tables interface {
	Snapshot() *serve.Table
	Suspect(replica string)
	Wake(ctx context.Context, project, deployment string) error
}

// Served are the routes of a table.
func Served(t Tables) Routes { return served{t} }

type served struct{ t Tables }

func (r served) Lookup(project, org, name string) (*serve.Target, bool) {
	return r.t.Snapshot().Lookup(project, org, name)
}
func (r served) List(project, org string) []*serve.Target { return r.t.Snapshot().List(project, org) }
func (r served) Suspect(replica string)                   { r.t.Suspect(replica) }

// Gateway serves the model API. All fields are needed that do not say otherwise; it is safe for concurrent use.
type Gateway struct {
	Routes Routes
	Quota  *quota.Book
	Ledger *meter.Ledger
	Now    func() time.Time
	Log    *slog.Logger

	// ChipPrices is what chips cost the operator; nil: nothing.
	ChipPrices *meter.ChipPrices
	// Gateways is how many gateways share the replicas; nil: this one alone.
	Gateways func() int64
	// Rand draws what nothing decides; nil: math/rand/v2.
	Rand func() uint64
	// Watch is told of each request; nil: nobody is.
	Watch Watcher

	// Memory bounds what answers in one piece take; nil: nothing does.
	Memory *Memory

	// Explain keeps what was decided about requests; nil: nothing does.
	Explain *Explanations
	// Trials counts how requests end on canaries and beside them; nil: nothing does.
	Trials *canary.Book

	// Guards asks the guards of routes that are addresses; nil: they cannot be asked.
	Guards *guard.Client
	// IDs names what guards that are models are asked; nil: they cannot be asked.
	IDs *id.Maker

	replicas sync.Map // replica id -> *replica
	numbers  atomic.Uint32
	places   places
	turn     atomic.Uint32
	retries  budget
	lanes    sync.Map // backend id -> *lane
	waking   atomic.Int32
	copies   atomic.Int64 // bytes kept for Watch of requests that run
	stored   answers
}

// Call is one request of the model API.
type Call struct {
	Who       *auth.Principal
	Path      string // openai.ChatPath, openai.CompletionPath, openai.EmbeddingsPath or openai.RerankPath; else Dialect says it
	Body      []byte // not kept after Do
	Request   id.Raw
	RequestID string // Request as the client sees it
	Again     string // what the request calls itself, Idempotency-Key; empty: nothing
	Cached    bool   // an answer from the route's cache will do, whatever the request says
	Explain   bool   // the answer is to say in a header what was decided
	Names     bool   // and may name what stands behind the route

	// Dialect is the caller's where it is not plain chat or text completions: dialect.Responses, Anthropic or Google.
	Dialect dialect.Kind
	Model   string // of Google, whose body does not name it
	Stream  bool   // of Google, whose path says it
	Array   bool   // of Google: the stream is to be a JSON array
	Counts  bool   // only the tokens of the request are asked for; for Count alone
	Earlier []byte // of responses: the items before this request's input
	// Keep, if there is one, is given the whole answer of a conversation that is translated, before the caller can see
	// that it is complete. Its error is the caller's.
	Keep func(answer []byte) error

	Trace, TraceState string // the caller's traceparent and tracestate headers
	Tag               string // the caller's, for charging back; see CheckTag
}

// Sink is where an answer goes: an http.ResponseWriter whose Flush reports errors.
type Sink interface {
	Header() http.Header
	WriteHeader(status int)
	Write([]byte) (int, error)
	Flush() error
}

// flight is one request on its way through the flow.
type flight struct {
	*Gateway
	call   *Call
	fields fields
	far    *far
	target *serve.Target
	res    *quota.Reservation // booked, once there is one
	booked quota.Reservation
	entry  meter.Entry

	first   time.Duration // from began to the first byte for the client
	spell   spell
	used    meter.Usage // of what the client was given
	counted int         // of the prompt, if it was counted before; else 0
	guess   int64       // of the prompt, once it was needed
	pieces  bool        // its money is held piece by piece: whoever answers is asked for a stream
	asked   bool        // an engine may have had the request
	doubted bool        // its counts were found to be impossible
	settled bool
	outcome meter.Outcome // how it was booked
	cost    int64

	began   time.Time
	ready   time.Time // when an answer in one piece was there; zero: it is none, or not there yet
	opening try       // the first of tries
	tries   [maxTries]*try
	asks    int           // of tries
	at      *try          // that runs
	verdict verdict       // of what answers
	matched int           // blocks of the prompt that the replica is thought to have
	seen    int           // that it had at some time
	age     uint32        // since then, by its clock
	blocks  int           // of the prompt, where they mattered
	retry   time.Duration // the soonest that one of those asked may answer again; 0: none said
	taken   int64         // bytes of Memory that it holds
	unlike  bool          // a backend was passed over for its dialect
	apart   bool          // it counts against no rates; see quota.Ask
	guard   *guarded      // nil: nobody judges
	sight   Sight
	lot     lot
	tiering tiering
}

// Do runs one request. It returns an error only if nothing was written to the sink; a *quota.Refusal when money or
// limits forbid the request.
func (g *Gateway) Do(ctx context.Context, to Sink, call *Call) error {
	f := flights.Get().(*flight)
	f.Gateway, f.call = g, call
	var err error
	if g.Watch != nil {
		err = f.watched(ctx, to)
	} else {
		err = f.begun(ctx, to)
	}
	if f.lot.drawn {
		f.tell(ctx, err)
	}
	if g.Explain != nil {
		g.Explain.remember(f, err) // 8. Tell what watches
	}
	*f = flight{} // after a panic it is left to the collector
	flights.Put(f)
	return err
}

// flights are those that have ended; nothing keeps one.
var flights = sync.Pool{New: func() any { return new(flight) }}

// begun reads the request, and looks whether its answer is known.
func (f *flight) begun(ctx context.Context, to Sink) error {
	// 1. Who asks is in the call. What do they ask?
	err := CheckTag(f.call.Tag)
	if err == nil {
		err = f.read()
	}
	if err != nil {
		return f.Gateway.counted(ctx, f.call.Who, err)
	}
	if f.call.Again != "" {
		return f.again(ctx, to)
	}
	return f.cached(ctx, to)
}

// run is the rest of the flow, once the route is known.
func (f *flight) run(ctx context.Context, to Sink) (err error) {
	if f.target.Trial != nil {
		f.allot()
	}
	// 3. Reserve, and open the record that will be the bill.
	if err := f.reserve(ctx); err != nil {
		return err
	}
	defer f.finish() // 7. Settle, whatever happens
	if f.target.Route.Policy.Guard.On() {
		return f.guardedRun(ctx, to)
	}
	return f.serve(ctx, to)
}

// serve asks an engine, and hands on what it answers; one that takes no streams once more, for the answer in one piece.
func (f *flight) serve(ctx context.Context, to Sink) error {
	err := f.served(ctx, to)
	if errors.Is(err, errNoStreams) {
		f.pieces = false
		f.asks-- // of what is asked anew
		err = f.served(ctx, to)
	}
	return err
}

func (f *flight) served(ctx context.Context, to Sink) error {
	// 4. Pick a replica. 5. Ask it.
	stream, err := f.open(ctx)
	if err != nil {
		if ctx.Err() != nil && f.asked {
			f.left(ctx)
		}
		if f.retry > 0 {
			to.Header().Set("Retry-After", strconv.Itoa(auth.Seconds(f.retry)))
		}
		return err
	}
	defer f.leave()
	defer stream.Close()
	// 6. Forward.
	across := f.far != nil && f.far.via != "" && f.conversing()
	switch {
	case stream.Status() != http.StatusOK && f.far != nil && f.far.via != "":
		return f.declinedBy(to, stream)
	case stream.Status() != http.StatusOK:
		return f.refusal(ctx, to, stream)
	case (f.fields.stream || across) && !strings.HasPrefix(stream.Header(contentType), "text/event-stream"):
		f.verdict = failed
		return brokeOff(errors.New("gateway: the answer is no event stream, though one was asked for"))
	case f.fields.stream && across:
		f.telling(ctx, to, stream, f.relay)
		return nil
	case across:
		return f.joined(ctx, to, stream)
	case f.fields.stream:
		f.telling(ctx, to, stream, f.forward)
		return nil
	case f.pieces && strings.HasPrefix(stream.Header(contentType), "text/event-stream"):
		return f.rejoined(ctx, to, stream)
	}
	return f.whole(ctx, to, stream)
}

// leave ends the try that answered.
func (f *flight) leave() {
	f.release()
	if f.at != nil {
		if f.seen > 0 {
			f.at.known.learn(f.seen, f.blocks, f.age, f.used)
		}
		f.over(f.at, f.verdict)
	}
}

// counted is the refusal of a request that comes to no reservation: it is one of the key's requests all the same.
func (g *Gateway) counted(ctx context.Context, who *auth.Principal, refused error) error {
	if over := g.Quota.Count(ctx, who); over != nil {
		return over
	}
	return refused
}

// Model finds what a caller means by a public name. A model that is not on the list of the caller's key does not exist.
func (g *Gateway) Model(who *auth.Principal, name string) (*serve.Target, bool) {
	t, ok := g.Routes.Lookup(who.ProjectID, who.OrgID, name)
	if !ok || !who.Calls(t.Route.Name, t.Route.Aliases) {
		return nil, false
	}
	return t, true
}

// Models are those that a caller can use, by name.
func (g *Gateway) Models(who *auth.Principal) []*serve.Target {
	all := g.Routes.List(who.ProjectID, who.OrgID)
	if len(who.Models) == 0 {
		return all
	}
	var out []*serve.Target // the table's own list stays as it is
	for _, t := range all {
		if who.Calls(t.Route.Name, t.Route.Aliases) {
			out = append(out, t)
		}
	}
	return out
}

func (g *Gateway) resolve(who *auth.Principal, name string) (*serve.Target, error) {
	t, ok := g.Model(who, name)
	if !ok {
		return nil, notFound(name)
	}
	if !t.Serves() && t.Route.Policy.WakeMS == 0 {
		return nil, notServed(name)
	}
	return t, nil
}

func notFound(name string) error {
	return fault.New(fault.NotFound, "The model `"+name+"` does not exist or you do not have access to it.",
		fault.Code("model_not_found"), fault.Field("model"), fault.Fix("GET /v1/models lists those you can use."))
}

func notServed(name string) error {
	return fault.New(fault.Unavailable, "No replica of the model `"+name+"` answers at the moment.",
		fault.Code("model_not_ready"), fault.Fix("Try again in a moment."))
}

const (
	promptSlack     = 64     // tokens that a template adds to the bytes of a request, at most
	firstPiece      = 1024   // tokens of each choice that a stream's money is held for at first, and each time that it needs more
	defaultText     = 16     // max_tokens of a text completion that names none, as the dialect has it
	unknownContext  = 131072 // for engines that do not tell theirs
	countTimeout    = 10 * time.Second
	maxAnswer       = 64 << 20
	maxErrorBody    = 1 << 20
	cutHeader       = "X-Triarch-Cut"
	cutByBudget     = "budget"
	cutByLimits     = "limits" // nobody could tell whether there is money for more
	contentType     = "Content-Type"
	eventStreamType = "text/event-stream; charset=utf-8"
)

// bounds are upper bounds of the request's tokens: of the prompt in all, and of the completion for each choice.
func (f *flight) bounds() (prompt, output, choices int) {
	context := f.target.Context()
	if context <= 0 {
		context = unknownContext
	}
	prompt, output = len(f.call.Body)+len(f.call.Earlier)+promptSlack, f.fields.output
	choices = f.fields.choices
	if !f.conversing() {
		return prompt, 0, 1
	}
	if f.call.Path == openai.CompletionPath {
		choices *= f.fields.prompts
		prompt = min(prompt, context*f.fields.prompts)
		if output == 0 {
			output = defaultText
		}
	} else {
		prompt = min(prompt, context)
	}
	if output == 0 || output > context {
		output = context
	}
	return prompt, output, choices
}

func (f *flight) reserve(ctx context.Context) error {
	prompt, output, choices := f.bounds()
	ask := quota.Ask{
		Who: f.call.Who, Prices: f.prices().For(f.kind()),
		Bytes: len(f.call.Body) + len(f.call.Earlier), Prompt: prompt, Output: output, Choices: choices, Apart: f.apart,
	}
	if f.pieces = f.fields.stream || f.long(); f.pieces {
		ask.Piece = firstPiece
	}
	if via, counter := f.counter(); counter != nil && f.conversing() {
		ask.Count = func() (int, error) { return f.count(ctx, via, counter) }
	}
	var err error
	ask.Route, _ = id.ParseRaw(f.target.Route.ID) // ours, well-formed; without it the model's own limits do not bind
	if f.res, err = f.Quota.ReserveIn(ctx, ask, &f.booked); err != nil {
		return err
	}
	who := f.identity()
	if f.entry, err = f.Ledger.Begin(&who); err != nil {
		f.res.Settle(0, 0, 0)
		return err
	}
	return nil
}

// counter is who can count the prompt's tokens: a backend whose engine does, where all backends serve the same model
// version, or else the count would hold for some of them alone.
func (f *flight) counter() (*serve.Upstream, engine.Counter) {
	first := f.target.Backends[0]
	if t := f.target.Trial; t != nil && (t.Via.Outside() || t.Via.Version != first.Version) {
		return nil, nil
	}
	for _, u := range f.target.Backends {
		if u.Outside() || u.Version != first.Version {
			return nil, nil
		}
	}
	for _, u := range f.target.Backends {
		if c, ok := u.Engine.(engine.Counter); ok && len(u.Endpoints) > 0 {
			return u, c
		}
	}
	return nil, nil
}

// count asks one replica after the other for the number of prompt tokens.
func (f *flight) count(ctx context.Context, via *serve.Upstream, counter engine.Counter) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	path, body, err := f.countable()
	if err != nil {
		return 0, err
	}
	first := int(f.turn.Add(1))
	for i := 0; i < len(via.Endpoints) && ctx.Err() == nil; i++ {
		to := via.Endpoints[(first+i)%len(via.Endpoints)]
		if n, err = counter.Count(ctx, to, path, body); err == nil {
			f.counted = n
			return n, nil
		}
		if fault.Is(err, fault.Invalid) {
			return 0, err
		}
	}
	if err == nil {
		err = ctx.Err()
	}
	return 0, err
}

func (f *flight) identity() meter.Identity {
	who, t := f.call.Who, f.target
	f.began = f.Now()
	i := meter.Identity{
		Request: f.call.Request, Org: who.Org, Project: who.Project, Key: who.Key, Model: t.Route.Name,
		Prices: *f.prices(), Tag: meter.CleanTag(f.call.Tag), Start: f.began, Kind: f.kind(), Stream: f.fields.stream,
	}
	i.Route, _ = id.ParseRaw(t.Route.ID) // ours, well-formed; a zero id still bills
	first := t.Backends[0]
	if f.lot.canary {
		first = t.Trial.Via
	}
	i.Version, _ = id.ParseRaw(first.Version) // of what is asked first; none of a provider's model
	if p := t.Route.Priced.ID; p != "" {
		i.PriceVer, _ = id.ParseRaw(p)
	}
	return i
}

// delivered notes what the client has once the next write succeeds. It is false when that is more than was reserved, and
// no more could be: then the output is noted up to what was reserved if it is an answer in one piece, and not at all of a stream, where
// the caller keeps the piece back. What cannot be true is read as it costs the caller least.
func (f *flight) delivered(ctx context.Context, told meter.Usage) bool {
	u, over := f.exceeded(ctx, told)
	if over && f.fields.stream {
		u.Output, u.Reasoning = f.used.Output, f.used.Reasoning
	}
	f.used = u.Clamped()
	f.entry.Live(f.used)
	return !over
}

// exceeded is what is believed and paid for of an engine's counts, and whether that is less than it tells.
func (f *flight) exceeded(ctx context.Context, told meter.Usage) (u meter.Usage, over bool) {
	maxPrompt, maxCompletion, slack := f.most()
	u, lied := told.Honest(*f.prices())
	if lied && !f.doubted {
		f.doubted = true
		f.Log.Error("gateway: the engine tells counts that cannot be true", slog.String("request", f.call.RequestID), slog.Any("told", told),
			slog.Any("booked", u))
	}
	if u.Input == 0 && u.Output > 0 { // until it is told, if ever
		u.Input, u.Estimated = min(f.guessed(), int64(maxPrompt)), true
	}
	if n := u.Input + u.Embedding; f.res.Budgeted() && n > int64(maxPrompt) && n <= int64(f.room()) && f.res.Extend(ctx, int(n)) {
		maxPrompt = int(n)
	}
	if u.Output > int64(maxCompletion) && f.res.Budgeted() && f.res.Grow(ctx, int(u.Output)) {
		_, maxCompletion = f.res.Bounds()
	}
	if f.res.Budgeted() && u.Input+u.Embedding > int64(maxPrompt) || u.Output > int64(maxCompletion+slack) {
		f.exceeds(u)
		over = true
	}
	u.Input, u.Embedding, u.Output = min(u.Input, int64(maxPrompt)), min(u.Embedding, int64(maxPrompt)), min(u.Output, int64(maxCompletion))
	return u, over
}

// exceeds says in the log that an engine did not keep to its bounds, unless it is the money that did not last.
func (f *flight) exceeds(u meter.Usage) {
	if _, _, choices := f.bounds(); f.res.Budgeted() && u.Output <= int64(f.res.Output)*int64(choices) && u.Input+u.Embedding <= int64(f.room()) {
		return
	}
	f.Log.Error("gateway: the engine gave more tokens than it was asked for", slog.String("request", f.call.RequestID),
		slog.Int64("prompt", u.Input+u.Embedding), slog.Int64("completion", u.Output))
}

// Bounds of what is believed of an engine's counts where no budget binds.
const (
	hiddenPrompt = 2 << 20 // tokens of what a request only names: files, images, an engine's own words
	someSlack    = 64      // completion tokens that engines count differently
)

// room is the most tokens that the prompt is taken to have.
func (f *flight) room() int { return len(f.call.Body) + len(f.call.Earlier) + hiddenPrompt }

// most are the largest numbers of tokens that are booked. Where no budget binds, the answer still ends where the request
// asked it to, some slack behind that, which is given away.
func (f *flight) most() (prompt, completion, slack int) {
	prompt, completion = f.res.Bounds()
	if f.res.Budgeted() {
		return prompt, completion, 0
	}
	_, output, choices := f.bounds()
	completion = min(completion, output*choices)
	return min(prompt, f.room()), completion, completion/8 + someSlack
}

// settle books what was delivered and gives the rest of the reservation back. Only the first call counts.
func (f *flight) settle(o meter.Outcome) {
	if f.settled {
		return
	}
	f.settled = true
	if o == meter.HungUp {
		o = f.hungUp()
	}
	cost := f.entry.Settle(o, f.used, f.work())
	f.outcome, f.cost = o, cost
	f.res.Settle(cost, int(f.used.Input+f.used.Embedding), int(f.used.Output))
}

// hungUp is how a request ended whose answer was not taken to its end.
func (f *flight) hungUp() meter.Outcome {
	if f.guard != nil && f.guard.stopped {
		return meter.Finished // nobody left
	}
	return meter.HungUp
}

// answers notes that the client's first byte is about to be written.
func (f *flight) answers() {
	if f.first == 0 {
		f.first = f.clock().Sub(f.began)
	}
}

// clock is now, or when the answer in one piece was whole: what is done with it takes no time that counts.
func (f *flight) clock() time.Time {
	if !f.ready.IsZero() {
		return f.ready
	}
	return f.Now()
}

// work is what the request took of the machines; it ends there.
func (f *flight) work() meter.Work {
	f.spell.end(f)
	return meter.Work{Chip: f.spell.chip, ChipMillis: f.spell.millis, ChipNanos: f.ChipPrices.Cost(f.spell.chip, f.spell.millis), FirstToken: f.first}
}

// left settles a request whose client went away while an engine worked on it. If it had nothing yet, the engine told no
// counts, so it is charged for its prompt, which is counted now that nobody waits; what it holds of tokens a minute it
// does not get back. So asking and leaving is neither free nor a way around limits.
func (f *flight) left(ctx context.Context) {
	if f.settled {
		return
	}
	if f.used.Tokens() > 0 {
		f.settle(meter.HungUp)
		return
	}
	n := f.counted
	if via, counter := f.counter(); counter != nil && n == 0 && f.conversing() {
		var err error
		if n, err = f.count(context.WithoutCancel(ctx), via, counter); err != nil {
			f.Log.Warn("gateway: the prompt of a request that was left is billed by an estimate, for it could not be counted",
				slog.String("request", f.call.RequestID), slog.Any("error", err))
		}
	}
	u := meter.Usage{Input: int64(n)}
	if n == 0 {
		u = meter.Usage{Input: f.guessed(), Estimated: true}
	}
	f.delivered(ctx, u)
	f.settled = true
	f.outcome = f.hungUp()
	f.cost = f.entry.Settle(f.outcome, f.used, f.work())
	f.res.Forfeit(f.cost, int(f.used.Input), 0)
}

// finish settles what no other end did: refusals and failures before anything was delivered cost nothing.
func (f *flight) finish() {
	f.spell.end(f)
	switch {
	case f.settled:
	case f.used.Tokens() == 0:
		f.settled = true
		f.entry.Void()
		f.res.Settle(0, 0, 0)
	default: // a panic on the way
		f.settle(meter.Broke)
	}
}
