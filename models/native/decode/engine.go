// Package decode serves a model: it holds the weights packed for products, a paged cache of keys and values with a
// fixed memory budget, and one loop that generates for all requests at once (continuous batching: each step is one
// pass through the weights for a token of every running sequence and a chunk of the prompts that wait to start).
//
// Rules for callers: one Engine per model; Submit from any goroutine; read each Stream to its end, cancel its
// context or Close it, since generation waits for a reader that is behind. Close the Engine when done. What a
// sequence generates depends on its request and seed alone, never on what else runs, on the number of threads, or on
// what the cache still knew.
//
// Prompts that begin alike are computed once and found again in the cache. That shows in the time to the first token, so
// callers who must not learn of each other's prompts get different values of Request.Scope.
//
// A request is admitted when the cache has room for all it may generate, first come first served; so a running
// sequence is never thrown out, and the price is that a large MaxTokens waits longer.
package decode

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/grammar"
	"github.com/triarch-ai/triarch/models/native/kernel"
)

// Options of an Engine. The zero value of each field takes the default beside it.
type Options struct {
	Threads    int              // kernel.DefaultThreads(): goroutines that compute
	MaxContext int              // the model's, or less if KVBytes holds less: longest prompt and output together, tokens
	KVBytes    int64            // one context, at least 256 MiB and, unless MaxContext asks for more, at most 1 GiB: memory for keys and values
	MaxSeqs    int              // 32: sequences that generate at the same time
	MaxWaiting int              // 256: sequences that may wait; more are refused
	StepTokens int              // 128: rows of one step; what generating leaves of it goes to prompts
	Buffer     int              // 64: events a reader may be behind before its generation waits
	EndIDs     []int32          // the configuration's EOS: tokens that end a choice unless Request.IgnoreEOS
	Now        func() time.Time // time.Now: the clock of Stats.Decode and Stats.Prefill
	Seed       func() uint64    // a secure source: seeds for requests without one

	// TokenBytes gives the bytes of a token's text, none for special tokens. It is called once per id by New.
	TokenBytes func(id int32) []byte
}

// Engine generates. Make it with New.
type Engine struct {
	opt   Options
	cfg   native.Config
	model *model
	cache *cache
	pool  *kernel.Pool
	batch *batch
	bytes [][]byte // of each token
	vocab func() *grammar.Vocab

	mu       sync.Mutex
	waiting  []group // first come first served
	queued   int     // sequences in waiting
	draining bool
	closing  bool
	idle     sync.Cond // nothing runs or waits

	wake chan struct{} // capacity 1
	done chan struct{} // the loop has ended

	// The loop's own.
	running []*sequence
	chosen  []draw    // the tokens drawn in this step
	work    []float32 // scratch: MaxSeqs vocabularies
	order   []int32   // the same
	draw1   func(int)
	ended   []*Stream
	drawing int  // rows of the step that generate
	pooled  bool // others of it are of embeddings

	stats counters
}

// Stats is what the engine counts. The totals only grow.
type Stats struct {
	Running         int     // sequences that generate or read their prompt
	Waiting         int     // sequences in the queue
	KVUsed          float64 // share of the cache's blocks that running sequences hold, 0 to 1
	PromptTokens    uint64  // prompt tokens of admitted sequences, those found in the cache included
	CachedTokens    uint64  // of these, found in the cache
	GeneratedTokens uint64
	Steps           uint64
	Decode          Spent // of steps in which sequences only generated
	Prefill         Spent // of steps in which prompts were only read
}

// Spent is steps of one sort, and the time they took.
type Spent struct {
	Nanos uint64 `json:"nanos"`
	Steps uint64 `json:"steps"`
	Rows  uint64 `json:"rows"` // tokens, of all steps together
	Seen  uint64 `json:"seen"` // positions that each of them attended to, added up
}

// tally counts them.
type tally struct{ nanos, steps, rows, seen atomic.Uint64 }

func (s *tally) add(took time.Duration, rows, seen int) {
	s.nanos.Add(uint64(max(took, 0)))
	s.steps.Add(1)
	s.rows.Add(uint64(rows))
	s.seen.Add(uint64(seen))
}

func (s *tally) all() Spent {
	return Spent{s.nanos.Load(), s.steps.Load(), s.rows.Load(), s.seen.Load()}
}

type counters struct {
	running, used                     atomic.Int64
	prompt, cached, generated, cycles atomic.Uint64
	decode, prefill                   tally
}

// New packs the weights and starts the loop. The caller may drop w afterwards. Errors are fault.Invalid with the
// field, or fault.Unsupported for an architecture.
func New(w *native.Weights, opt Options) (*Engine, error) {
	c := w.Config
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Arch != "" && c.Arch != "llama" { // Validate may learn others before this forward pass does
		return nil, fault.New(fault.Unsupported, fmt.Sprintf("The embedded engine cannot serve the architecture %.40q.", c.Arch),
			fault.Field("arch"), fault.Fix("Serve the model with another engine."))
	}
	blocks, err := opt.complete(c)
	if err != nil {
		return nil, err
	}
	e := &Engine{opt: opt, cfg: c, pool: kernel.NewPool(opt.Threads),
		wake: make(chan struct{}, 1), done: make(chan struct{}), bytes: make([][]byte, c.VocabSize)}
	e.idle.L = &e.mu
	e.model = newModel(w, opt.MaxContext)
	e.cache = newCache(c.Layers, c.KVHeads, c.HeadDim, blocks)
	e.batch = newBatch(e.model, e.cache, e.pool, opt.StepTokens, opt.MaxSeqs)
	for id := range e.bytes {
		e.bytes[id] = opt.TokenBytes(int32(id))
	}
	e.vocab = sync.OnceValue(e.newVocab)
	e.running, e.chosen = make([]*sequence, 0, opt.MaxSeqs), make([]draw, opt.MaxSeqs)
	for i := range e.chosen {
		e.chosen[i].top = make([]TokenLogprob, 0, MaxTopLogprobs)
	}
	e.chosen = e.chosen[:0]
	e.work, e.order = make([]float32, opt.MaxSeqs*c.VocabSize), make([]int32, opt.MaxSeqs*c.VocabSize)
	e.draw1 = e.draw
	go e.loop()
	return e, nil
}

// complete fills in defaults, checks ranges and returns the number of cache blocks.
func (o *Options) complete(c native.Config) (int, error) {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.Threads, kernel.DefaultThreads())
	asked := o.MaxContext != 0
	def(&o.MaxContext, c.MaxContext)
	def(&o.MaxSeqs, 32)
	def(&o.MaxWaiting, 256)
	def(&o.StepTokens, 128)
	def(&o.Buffer, 64)
	if o.Seed == nil {
		o.Seed = rand.Uint64
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	for _, f := range []struct {
		field              string
		value, least, most int
	}{
		{"threads", o.Threads, 1, 1024}, {"max_context", o.MaxContext, 2, c.MaxContext}, {"max_seqs", o.MaxSeqs, 1, 4096},
		{"max_waiting", o.MaxWaiting, 1, 1 << 20}, {"step_tokens", o.StepTokens, o.MaxSeqs + 1, 1 << 16}, {"buffer", o.Buffer, 1, 1 << 16},
	} {
		if f.value < f.least || f.value > f.most {
			return 0, fault.InvalidField(f.field, "%s is %d, it must be %d to %d.", f.field, f.value, f.least, f.most)
		}
	}
	if o.EndIDs == nil && c.EOS >= 0 {
		o.EndIDs = []int32{int32(c.EOS)}
	}
	if o.TokenBytes == nil {
		return 0, fault.InvalidField("token_bytes", "The engine needs the tokens' bytes.")
	}
	return o.memory(c, asked)
}

// memory settles KVBytes and MaxContext and returns the number of cache blocks; asked says that the caller set MaxContext.
func (o *Options) memory(c native.Config, asked bool) (int, error) {
	size, context := blockBytes(c.Layers, c.KVHeads, c.HeadDim), int64(blocksFor(o.MaxContext))
	if o.KVBytes == 0 {
		o.KVBytes = max(256<<20, size*context)
		if !asked {
			o.KVBytes = min(o.KVBytes, 1<<30)
		}
	}
	if o.KVBytes < size*context && (asked || o.KVBytes < size) {
		return 0, fault.New(fault.Invalid, fmt.Sprintf("A cache of %d bytes does not hold one context of %d tokens.", o.KVBytes, o.MaxContext),
			fault.Field("kv_bytes"), fault.Fix("Give it at least %d bytes, or lower the context.", size*context))
	}
	if context > o.KVBytes/size {
		context = o.KVBytes / size
		o.MaxContext = int(context) * blockTokens
	}
	return int(min(o.KVBytes/size, context*int64(o.MaxSeqs))), nil
}

// MaxContext is the longest prompt and output together, in tokens.
func (e *Engine) MaxContext() int { return e.opt.MaxContext }

// MaxSeqs is how many sequences generate at the same time, at most.
func (e *Engine) MaxSeqs() int { return e.opt.MaxSeqs }

// Dim is the numbers of an embedding.
func (e *Engine) Dim() int { return e.cfg.Dim }

// Vocab is the tokens that text may be made of, for Request.Form: all but those that end a choice.
func (e *Engine) Vocab() *grammar.Vocab { return e.vocab() }

func (e *Engine) newVocab() *grammar.Vocab {
	tokens := slices.Clone(e.bytes)
	for _, id := range e.opt.EndIDs {
		if id >= 0 && int(id) < len(tokens) {
			tokens[id] = nil
		}
	}
	return grammar.NewVocab(tokens)
}

// Stats is a snapshot of the counters.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	queued := e.queued
	e.mu.Unlock()
	return Stats{Running: int(e.stats.running.Load()), Waiting: queued,
		KVUsed:       float64(e.stats.used.Load()) / float64(e.cache.total()),
		PromptTokens: e.stats.prompt.Load(), CachedTokens: e.stats.cached.Load(),
		GeneratedTokens: e.stats.generated.Load(), Steps: e.stats.cycles.Load(), Decode: e.stats.decode.all(), Prefill: e.stats.prefill.all()}
}

// Submit queues a request. The stream ends early when ctx is done. Errors: fault.Invalid with the field, Code
// CodeContextLength when a prompt leaves no room; fault.Unavailable when the queue is full or the engine stops.
func (e *Engine) Submit(ctx context.Context, r *Request) (*Stream, error) {
	if err := r.check(e.cfg.VocabSize, e.opt.MaxContext); err != nil {
		return nil, err
	}
	total, tokens := len(r.Prompts)*r.choices(), 0
	for _, p := range r.Prompts {
		tokens += len(p)
	}
	st := newStream(ctx, e, total, tokens)
	groups := e.groups(st, r)
	e.mu.Lock()
	if e.draining || e.closing {
		e.mu.Unlock()
		return nil, fault.New(fault.Unavailable, "This replica is stopping.", fault.Code("stopping"), fault.Fix("Ask another one."))
	}
	if e.queued+total > e.opt.MaxWaiting {
		e.mu.Unlock()
		return nil, fault.New(fault.Unavailable, "Too many requests wait for this replica.", fault.Code("overloaded"),
			fault.Fix("Try again in a moment."))
	}
	st.unwatch = context.AfterFunc(ctx, st.cancel)
	e.waiting = append(e.waiting, groups...)
	e.queued += total
	e.mu.Unlock()
	e.signal()
	return st, nil
}

// Drain refuses new requests and waits until those running and waiting have ended, or ctx is done, whose error it
// returns. Close is still to be called.
func (e *Engine) Drain(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.idle.Broadcast()
	})
	defer stop()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.draining = true
	for !e.empty() && !e.closing && ctx.Err() == nil {
		e.idle.Wait()
	}
	if e.empty() {
		return nil
	}
	return ctx.Err()
}

// empty says that nothing runs or waits; the caller holds mu.
func (e *Engine) empty() bool { return e.queued == 0 && e.stats.running.Load() == 0 }

// Close ends all streams with fault.Unavailable, stops the loop and frees its threads. It may be called twice.
func (e *Engine) Close() {
	e.mu.Lock()
	e.closing = true
	e.mu.Unlock()
	e.signal()
	<-e.done
}

func (e *Engine) signal() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}
