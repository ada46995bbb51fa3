package gateway

import (
	"container/list"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// answers keeps whole answers in the memory of this gateway, for requests that name themselves with an Idempotency-Key
// and for routes with a cache. An answer is given again to the project it was made for alone. It costs nothing the second
// time, since nothing was computed, and is no usage; it counts against requests a minute. A gateway that starts anew has
// forgotten them.
type answers struct {
	mu    sync.Mutex
	byKey map[answerKey]*list.Element
	used  list.List // of *answer, the latest first
	bytes int
}

type answerKey [sha256.Size]byte

type answer struct {
	key     answerKey
	asked   [sha256.Size]byte // hash of the request
	until   time.Time
	running bool
	status  int
	kind    string // content type
	body    []byte
}

// Bounds of what is kept.
const (
	answersBytes = 64 << 20
	answersMost  = 65_536
	answerMost   = 1 << 20
	answerSelf   = 512 // bytes that an answer takes beside its body
	againFor     = 24 * time.Hour
	maxAgain     = 255 // bytes of an Idempotency-Key
)

// begin finds an answer, or notes that one is being made until end says more: then it is nil.
func (a *answers) begin(key answerKey, asked [sha256.Size]byte, now time.Time) (*answer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byKey == nil {
		a.byKey = map[answerKey]*list.Element{}
	}
	if e := a.byKey[key]; e != nil {
		x := e.Value.(*answer)
		switch {
		case !x.running && !now.Before(x.until):
			a.drop(e)
		case x.asked != asked:
			return nil, fault.New(fault.Conflict, "The Idempotency-Key was used for another request.", fault.Code("idempotency_key_reused"),
				fault.Fix("Use a new key for each request, and the same one to ask for its answer again."))
		case x.running:
			return nil, fault.New(fault.Conflict, "A request with this Idempotency-Key is under way.", fault.Code("idempotency_running"), fault.Fix("Wait for its answer."))
		default:
			a.used.MoveToFront(e)
			return x, nil
		}
	}
	a.byKey[key] = a.used.PushFront(&answer{key: key, asked: asked, running: true})
	a.bytes += answerSelf
	a.trim()
	return nil, nil
}

// end stores the answer of a request that began, or forgets it when w is nil.
func (a *answers) end(key answerKey, w *kept, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.byKey[key]
	if e == nil {
		return
	}
	if w == nil {
		a.drop(e)
		return
	}
	x := e.Value.(*answer)
	x.running, x.until, x.status, x.kind, x.body = false, until, w.status, w.kind, w.body
	a.bytes += len(x.body)
	a.trim()
}

// get finds an answer of a cache.
func (a *answers) get(key answerKey, now time.Time) *answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.byKey[key]
	if e == nil || e.Value.(*answer).running {
		return nil
	}
	if !now.Before(e.Value.(*answer).until) {
		a.drop(e)
		return nil
	}
	a.used.MoveToFront(e)
	return e.Value.(*answer)
}

// put stores an answer of a cache.
func (a *answers) put(key answerKey, w *kept, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byKey == nil {
		a.byKey = map[answerKey]*list.Element{}
	}
	if e := a.byKey[key]; e != nil {
		a.drop(e)
	}
	a.byKey[key] = a.used.PushFront(&answer{key: key, until: until, status: w.status, kind: w.kind, body: w.body})
	a.bytes += answerSelf + len(w.body)
	a.trim()
}

func (a *answers) drop(e *list.Element) {
	x := e.Value.(*answer)
	a.used.Remove(e)
	delete(a.byKey, x.key)
	a.bytes -= answerSelf + len(x.body)
}

// trim forgets the longest unused answers; those that are being made stay, as what runs at once is bounded elsewhere.
func (a *answers) trim() {
	for e := a.used.Back(); e != nil && (a.bytes > answersBytes || len(a.byKey) > answersMost); {
		before := e.Prev()
		if !e.Value.(*answer).running {
			a.drop(e)
		}
		e = before
	}
}

// kept is a Sink that keeps what it hands on, as far as it is not too long.
type kept struct {
	Sink
	status int
	kind   string
	body   []byte
	over   bool
}

func (k *kept) WriteHeader(status int) {
	k.status, k.kind = status, k.Header().Get(contentType)
	k.Sink.WriteHeader(status)
}

func (k *kept) Write(b []byte) (int, error) {
	if k.status == 0 {
		k.status, k.kind = http.StatusOK, k.Header().Get(contentType)
	}
	if k.over = k.over || len(k.body)+len(b) > answerMost; !k.over {
		k.body = append(k.body, b...)
	}
	return k.Sink.Write(b)
}

// whole says whether what was kept is a complete good answer.
func (k *kept) whole(f *flight, err error) bool {
	return err == nil && !k.over && k.status == http.StatusOK && f.outcome == meter.Finished && (f.guard == nil || !f.guard.failed)
}

// tell gives a kept answer to another who asks the same.
func (x *answer) tell(to Sink, by string) {
	h := to.Header()
	h.Set(contentType, x.kind)
	h.Set("Content-Length", strconv.Itoa(len(x.body)))
	h.Set(by, "hit")
	to.WriteHeader(x.status)
	_, _ = to.Write(x.body) // a client that is gone does not miss it
	_ = to.Flush()
}

// Headers of answers that were kept.
const (
	replayedHeader = "X-Triarch-Replayed"
	cacheHeader    = "X-Triarch-Cache"
)

// sum hashes parts so that none can pass for another.
func sum(project id.Raw, parts ...[]byte) (key [sha256.Size]byte) {
	h := sha256.New()
	h.Write(project[:])
	for _, p := range parts {
		h.Write(strconv.AppendInt(nil, int64(len(p)), 10))
		h.Write([]byte{' '})
		h.Write(p)
	}
	h.Sum(key[:0])
	return key
}

// form is how the answer to a call is written, as far as its body does not say.
func form(c *Call) []byte {
	return fmt.Appendf(nil, "%s %t %t", c.Dialect, c.Stream, c.Array)
}

// again runs a request that names itself: a second one of the same name and content is given the answer of the first.
func (f *flight) again(ctx context.Context, to Sink) error {
	c := f.call
	if len(c.Again) > maxAgain {
		return fault.InvalidField("Idempotency-Key", "An Idempotency-Key has at most %d bytes.", maxAgain)
	}
	key := sum(c.Who.Project, []byte("again"), c.Who.Key[:], []byte(c.Again))
	asked := sum(c.Who.Project, []byte(c.Path), []byte(c.Model), form(c), c.Body)
	x, err := f.stored.begin(key, asked, f.Now())
	if err != nil {
		return f.Gateway.counted(ctx, c.Who, err)
	}
	if x != nil {
		if over := f.Quota.Count(ctx, c.Who); over != nil {
			return over
		}
		x.tell(to, replayedHeader)
		return nil
	}
	k := &kept{Sink: to}
	done := false
	defer func() { // whatever happens: what is not stored may be asked again
		if !done {
			f.stored.end(key, nil, time.Time{})
		}
	}()
	err = f.cached(ctx, k)
	if k.whole(f, err) {
		done = true
		f.stored.end(key, k, f.Now().Add(againFor))
	}
	return err
}

// cached runs a request, or gives the answer of an equal one where the route has a cache and the answer is always the
// same: one that asks for no stream, and for a temperature of nothing or with a seed, or says that any will do.
func (f *flight) cached(ctx context.Context, to Sink) error {
	c := f.call
	// 2. Resolve the public name.
	var err error
	if f.target, err = f.resolve(c.Who, f.fields.model); err != nil {
		return f.Gateway.counted(ctx, c.Who, err)
	}
	if len(f.fields.tier) > 0 {
		if err = f.tiered(); err != nil {
			return f.Gateway.counted(ctx, c.Who, err)
		}
	}
	t := f.target
	if t.Route.Policy.CacheS == 0 || f.fields.stream || !c.Cached && !settledAnswer(c.Body) {
		return f.run(ctx, to)
	}
	key := sum(c.Who.Project, []byte("cache"), []byte(t.Route.ID), []byte(c.Path), []byte(c.Model), form(c), c.Body)
	if g := &t.Route.Policy.Guard; g.On() { // what passed another guard, or none, has not passed this one
		key = sum(c.Who.Project, key[:], []byte(g.Mark()))
	}
	if x := f.stored.get(key, f.Now()); x != nil {
		if over := f.Quota.Count(ctx, c.Who); over != nil {
			return over
		}
		x.tell(to, cacheHeader)
		return nil
	}
	k := &kept{Sink: to}
	err = f.run(ctx, k)
	if k.whole(f, err) {
		f.stored.put(key, k, f.Now().Add(time.Duration(t.Route.Policy.CacheS)*time.Second))
	}
	return err
}

// settledAnswer says whether the same request has the same answer.
func settledAnswer(body []byte) bool {
	t, seed := gjson.GetBytes(body, "temperature"), gjson.GetBytes(body, "seed")
	return t.Type == gjson.Number && t.Num == 0 || seed.Type == gjson.Number
}
