// Package capture keeps what was asked and answered, of the projects that consented to it: for looking at, for
// evaluations and for data to train on. What the consent names is taken out first.
//
// The flow. 1. Begin asks for a copy of the answer where the project consented and the request is of its share. 2. End
// copies what was asked and hands both to a bounded queue. 3. Loop puts a stream together again, takes out what is not to be
// kept from the text of the whole (an address may be cut in two between chunks), and stores it. 4. The store writes
// nothing for a project whose consent is gone by then.
//
// Rules for callers: Refresh runs before the first request, and Set and Withdraw are the only ways to change a consent.
// What does not fit, or cannot be stored, is dropped and counted; nothing waits for it.
package capture

import (
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/obs"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/gateway/seen"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Consent is a project's leave to keep what is asked and answered.
type Consent struct {
	Project string // prj_...
	Share   float64
	Most    int           // bytes of a request or an answer; what is longer is left out and said to be
	Keep    time.Duration // how long
	Redact  []Class       // what is taken out before
	By      string        // the key that gave it, key_...
	At      time.Time
}

// Bounds and defaults of consents.
const (
	DefaultMost = 64 << 10
	MaxMost     = 1 << 20
	DefaultKeep = 30 * 24 * time.Hour
	MaxKeep     = 5 * 365 * 24 * time.Hour
)

// Body is what was asked and answered once.
type Body struct {
	Request  string          `json:"request"` // req_...
	At       time.Time       `json:"at"`
	Model    string          `json:"model"` // as the caller named it
	Dialect  string          `json:"dialect"`
	Outcome  string          `json:"outcome"`
	Status   int             `json:"status"`
	Tag      string          `json:"tag,omitempty"`
	Input    int64           `json:"input,omitempty"` // tokens
	Output   int64           `json:"output,omitempty"`
	Prompt   json.RawMessage `json:"prompt,omitempty"`   // the request's body; none: longer than the consent allows
	Answer   json.RawMessage `json:"answer,omitempty"`   // the whole answer, of a stream too; none: longer, or unreadable
	Redacted map[Class]int   `json:"redacted,omitempty"` // what was taken out
	Missing  string          `json:"missing,omitempty"`  // why a part is not there
}

// Record is a Body as it is stored.
type Record struct {
	Request, Project string
	Until            time.Time // when it is to be deleted
	Data             []byte    // a Body as deflated JSON
}

// Store keeps consents and bodies.
type Store interface {
	Consents(ctx context.Context) ([]Consent, error)
	Consent(ctx context.Context, project string) (Consent, error) // fault.NotFound when there is none
	PutConsent(ctx context.Context, c Consent) error
	// Withdraw deletes a consent and, if forget is set, what was kept by it.
	Withdraw(ctx context.Context, project string, forget bool) error
	// AddBodies stores those whose projects consent at that moment, each request once.
	AddBodies(ctx context.Context, list []Record) error
	// Bodies lists a project's by the id of their requests, newest first, below an id (empty: all), at most limit.
	Bodies(ctx context.Context, project, least, below string, limit int) ([]Record, error)
	Body(ctx context.Context, project, request string) (Record, error)
	// DropBodies deletes those whose time is over, and the oldest of projects that have more than most bytes.
	DropBodies(ctx context.Context, now time.Time, most int64) error
}

// Keeper keeps bodies. All fields are needed.
type Keeper struct {
	Store Store
	Now   func() time.Time
	Most  int64 // bytes that a project's bodies may take in the store
	Log   *slog.Logger

	consents atomic.Pointer[map[string]*Consent]
	begin    sync.Once
	queue    chan taken
	waiting  atomic.Int64 // bytes in the queue
	kept     atomic.Int64
	dropped  atomic.Int64
	settling sync.Mutex // one store or change of consents at a time
	failing  bool
}

const (
	queueLen   = 1024
	queueBytes = 64 << 20
	batch      = 64
	every      = time.Second
	tidyEvery  = 10 * time.Minute
	unpackMost = 4 * MaxMost
)

// taken is what End hands on.
type taken struct {
	consent *Consent
	body    Body
	dialect dialect.Kind
	stream  bool
	call    dialect.Call
	used    meter.Usage
	prompt  []byte
	answer  []byte
	whole   bool
}

func (t *taken) size() int64 { return int64(len(t.prompt) + len(t.answer)) }

func (k *Keeper) start() { k.begin.Do(func() { k.queue = make(chan taken, queueLen) }) }

// consent is that which a request falls under; nil: nothing of it is kept.
func (k *Keeper) consent(c *gateway.Call) *Consent {
	m := k.consents.Load()
	if m == nil {
		return nil
	}
	x := (*m)[c.Who.ProjectID]
	if x == nil || float64(uint32(c.Request[12])<<24|uint32(c.Request[13])<<16|uint32(c.Request[14])<<8|uint32(c.Request[15])) >= x.Share*(1<<32) {
		return nil
	}
	return x
}

// Begin implements gateway.Watcher.
func (k *Keeper) Begin(s *gateway.Sight) {
	if c := k.consent(s.Call); c != nil {
		s.Keep = streamFactor * c.Most
	}
}

// streamFactor is how much longer a stream may be than the answer in it: each token is an event with its frame.
const streamFactor = 16

// End implements gateway.Watcher.
func (k *Keeper) End(s *gateway.Sight) {
	if s.Keep == 0 || !conversing(s.Kind) {
		return
	}
	c := k.consent(s.Call)
	if c == nil { // it was withdrawn meanwhile
		return
	}
	t := taken{consent: c, dialect: s.Dialect, stream: s.Stream, call: dialect.Call{Model: s.Call.Model, Stream: s.Call.Stream}, whole: s.Whole, used: s.Used,
		body: Body{Request: s.Call.RequestID, At: s.Began, Model: strings.Clone(s.Model), Dialect: string(s.Dialect), Outcome: seen.Outcome(s), Status: s.Status,
			Input: s.Used.Input, Output: s.Used.Output, Tag: strings.Clone(meter.CleanTag(s.Call.Tag))}}
	if len(s.Call.Body) <= c.Most {
		t.prompt = bytes.Clone(s.Call.Body)
	}
	t.answer = s.Answer // the copy is this request's own
	k.start()
	if k.waiting.Add(t.size()) > queueBytes {
		k.waiting.Add(-t.size())
		k.dropped.Add(1)
		return
	}
	select {
	case k.queue <- t:
	default:
		k.waiting.Add(-t.size())
		k.dropped.Add(1)
	}
}

func conversing(k meter.Kind) bool {
	return k == meter.Chat || k == meter.Completion || k == meter.Response || k == meter.Message || k == meter.Generate
}

// Refresh reads the consents.
func (k *Keeper) Refresh(ctx context.Context) error {
	list, err := k.Store.Consents(ctx)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		k.consents.Store(nil)
		return nil
	}
	m := make(map[string]*Consent, len(list))
	for i := range list {
		m[list[i].Project] = &list[i]
	}
	k.consents.Store(&m)
	return nil
}

// Loop stores what waits and reads the consents of other processes, until ctx ends.
func (k *Keeper) Loop(ctx context.Context) {
	k.start()
	tick, tidy := time.NewTicker(every), time.NewTicker(tidyEvery)
	defer tick.Stop()
	defer tidy.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			k.Flush(last)
			cancel()
			return
		case <-tidy.C:
			if err := k.Store.DropBodies(ctx, k.Now(), k.Most); err != nil && ctx.Err() == nil {
				k.Log.Warn("bodies of requests whose time is over cannot be deleted", "error", err)
			}
		case <-tick.C:
			k.again(ctx)
		}
	}
}

// again reads the consents and stores what waits.
func (k *Keeper) again(ctx context.Context) {
	if err := k.Refresh(ctx); err != nil {
		k.consents.Store(nil) // nobody knows whether they still hold
	}
	k.Flush(ctx)
}

// Flush stores what waits.
func (k *Keeper) Flush(ctx context.Context) {
	k.start()
	k.settling.Lock()
	defer k.settling.Unlock()
	for {
		list := k.take()
		if len(list) == 0 {
			return
		}
		err := k.Store.AddBodies(ctx, list)
		if err != nil {
			k.dropped.Add(int64(len(list)))
			if !k.failing {
				k.Log.Warn("bodies of requests cannot be stored; they are dropped until they can", "error", err)
			}
		} else {
			k.kept.Add(int64(len(list)))
		}
		k.failing = err != nil
	}
}

// take makes records of what waits first.
func (k *Keeper) take() (list []Record) {
	for len(list) < batch {
		select {
		case t := <-k.queue:
			k.waiting.Add(-t.size())
			r, err := t.record()
			if err != nil {
				k.dropped.Add(1)
				continue
			}
			list = append(list, r)
		default:
			return list
		}
	}
	return list
}

// record redacts and packs.
func (t *taken) record() (Record, error) {
	b, found := t.body, map[Class]int{}
	var missing []string
	if t.prompt == nil {
		missing = append(missing, "the request is longer than the consent allows")
	} else if clean, err := JSON(t.prompt, t.consent.Redact, found); err != nil {
		missing = append(missing, "the request is no JSON")
	} else {
		b.Prompt = clean
	}
	answer, why := t.joined()
	if why == "" && len(answer) > t.consent.Most {
		why = "the answer is longer than the consent allows"
	}
	if answer != nil && len(answer) <= t.consent.Most {
		if clean, err := JSON(answer, t.consent.Redact, found); err != nil {
			why = "the answer is no JSON"
		} else {
			b.Answer = clean
		}
	}
	if why != "" {
		missing = append(missing, why)
	}
	b.Missing = strings.Join(missing, "; ")
	b.Tag = Text(b.Tag, t.consent.Redact, found)
	if len(found) > 0 {
		b.Redacted = found
	}
	data, err := pack(&b)
	return Record{Request: b.Request, Project: t.consent.Project, Until: b.At.Add(t.consent.Keep), Data: data}, err
}

// joined is the answer in one piece; what is missing of it otherwise.
func (t *taken) joined() (answer []byte, missing string) {
	switch {
	case len(t.answer) == 0:
		return nil, ""
	case !t.whole:
		return nil, "the answer is longer than the consent allows"
	case !t.stream || t.body.Status >= 400 || json.Valid(t.answer):
		return t.answer, ""
	case t.prompt == nil:
		return nil, "the answer is a stream that cannot be put together without its request"
	}
	req, err := dialect.ParseRequest(t.dialect, t.prompt, t.call)
	if err != nil {
		return nil, "the answer is a stream that cannot be put together"
	}
	a, broke, err := assemble(t.dialect, t.answer)
	if err != nil {
		return nil, "the answer is a stream that cannot be put together"
	}
	if !a.Usage.Known { // the caller did not ask the stream for it
		a.Usage = dialect.Usage{Known: true, Input: t.used.Input, CachedInput: t.used.Cached, Output: t.used.Output, Reasoning: t.used.Reasoning}
	}
	if broke {
		missing = "the end of the answer, which broke off"
	}
	return dialect.WriteAnswer(req, a, dialect.Head{}), missing
}

// assemble puts a stream together, as far as it came: choices that did not stop are closed where they broke off.
func assemble(d dialect.Kind, stream []byte) (a *dialect.Answer, broke bool, err error) {
	dec, all, open := dialect.NewDecoder(d, len(stream)), dialect.Assembler{Limit: 64 * len(stream)}, map[int]bool{}
	add := func(list []dialect.Event) error {
		for _, e := range list {
			if e.Kind == dialect.Failed || e.Kind == dialect.Ended {
				broke = broke || e.Kind == dialect.Failed
				continue
			}
			if err := all.Add(e); err != nil {
				return err
			}
			if e.Kind == dialect.Stopped {
				delete(open, e.Choice)
			} else if e.Kind != dialect.Started && e.Kind != dialect.Counted && e.Kind != dialect.Ping {
				open[e.Choice] = true
			}
		}
		return nil
	}
	events, failed := dec.Feed(stream)
	if err := add(events); err != nil {
		return nil, false, err
	}
	if failed == nil {
		events, failed = dec.End()
		if err := add(events); err != nil {
			return nil, false, err
		}
	}
	for i := range open {
		if err := all.Add(dialect.Event{Kind: dialect.Stopped, Choice: i, Stop: dialect.StopLength}); err != nil {
			return nil, false, err
		}
	}
	broke = broke || failed != nil || len(open) > 0
	if err := all.Add(dialect.Event{Kind: dialect.Ended}); err != nil {
		return nil, false, err
	}
	a, err = all.Answer()
	return a, broke, err
}

func pack(b *Body) ([]byte, error) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	if err := json.NewEncoder(w).Encode(b); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

func unpack(r *Record) (b Body, err error) {
	if err = json.NewDecoder(io.LimitReader(flate.NewReader(bytes.NewReader(r.Data)), unpackMost)).Decode(&b); err != nil {
		return b, fault.Wrap(err, "reading what was kept of a request")
	}
	return b, nil
}

// Set gives or changes a project's consent, from the next request on.
func (k *Keeper) Set(ctx context.Context, c Consent) (Consent, error) {
	c.Most, c.Keep = cmp.Or(c.Most, DefaultMost), cmp.Or(c.Keep, DefaultKeep)
	slices.Sort(c.Redact)
	c.Redact, c.At = slices.Compact(c.Redact), k.Now().UTC().Truncate(time.Microsecond)
	if err := c.check(); err != nil {
		return c, err
	}
	k.settling.Lock()
	defer k.settling.Unlock()
	if err := k.Store.PutConsent(ctx, c); err != nil {
		return c, err
	}
	return c, k.Refresh(ctx)
}

func (c *Consent) check() error {
	bad := func(field, sentence, fix string) error {
		return fault.New(fault.Invalid, sentence, fault.Field(field), fault.Fix(fix))
	}
	switch {
	case !(c.Share > 0 && c.Share <= 1):
		return bad("share", "The share of requests to be kept must be above 0 and at most 1.", "Give 1 for all; withdraw the consent for none.")
	case c.Most < 1<<10 || c.Most > MaxMost:
		return bad("most", "The longest body must be from 1 KiB to 1 MiB.", "Leave it out for 64 KiB.")
	case c.Keep < time.Hour || c.Keep > MaxKeep:
		return bad("keep", "Bodies are kept from an hour to five years.", "Leave it out for 30 days.")
	}
	for _, r := range c.Redact {
		if !slices.Contains(Classes, r) {
			return bad("redact", "There is no class \""+string(r)+"\" of what can be taken out.", "Classes are email, phone, card, iban, person, ip, secret and media.")
		}
	}
	return nil
}

// Withdraw takes a consent back: when it returns nothing more is stored by any process, and if forget is set, nothing is
// left of what was.
func (k *Keeper) Withdraw(ctx context.Context, project string, forget bool) error {
	k.settling.Lock()
	defer k.settling.Unlock()
	if err := k.Store.Withdraw(ctx, project, forget); err != nil {
		return err
	}
	return k.Refresh(ctx)
}

// List lists what was kept of a project's requests, newest first; the key of a page is the request's id.
func (k *Keeper) List(ctx context.Context, project string, since, until time.Time, p page.Page) ([]Body, error) {
	least, below := seen.FirstID(since), seen.FirstID(until)
	if len(p.After) > 0 && (below == "" || p.After[0] < below) {
		below = p.After[0]
	}
	k.Flush(ctx)
	var out []Body
	for now := k.Now(); len(out) < p.Limit; { // what is over is gone, though it may lie there for some minutes
		list, err := k.Store.Bodies(ctx, project, least, below, p.Limit-len(out))
		if err != nil {
			return nil, err
		}
		for i := range list {
			if !now.Before(list[i].Until) {
				continue
			}
			b, err := unpack(&list[i])
			if err != nil {
				return nil, err
			}
			out = append(out, b)
		}
		if len(list) == 0 {
			break
		}
		below = list[len(list)-1].Request
	}
	return out, nil
}

// Get is what was kept of one request.
func (k *Keeper) Get(ctx context.Context, project, request string) (b Body, err error) {
	none := fault.New(fault.NotFound, "Nothing was kept of the request.",
		fault.Fix("What is asked and answered is kept where `triarch consent show` says so, and for as long."))
	if !id.Valid("req", request) {
		return b, none
	}
	k.Flush(ctx)
	r, err := k.Store.Body(ctx, project, request)
	if fault.Is(err, fault.NotFound) || err == nil && !k.Now().Before(r.Until) {
		return b, none
	}
	if err != nil {
		return b, err
	}
	return unpack(&r)
}

// Write writes metrics.
func (k *Keeper) Write(w *obs.Writer) {
	w.One("triarch_capture_bodies_total", obs.Counter, "Requests whose bodies were kept.", float64(k.kept.Load()))
	w.One("triarch_capture_dropped_total", obs.Counter, "Requests whose bodies were to be kept and were not.", float64(k.dropped.Load()))
}
