package seen

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/obs"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/guard"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Bounds of the values that labels take; what is beyond is counted as "other".
const (
	maxRoutes  = 200
	maxReasons = 64
	other      = "other"
)

// The buckets of the histograms.
var (
	firstBuckets = obs.Buckets{time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
		100 * time.Millisecond, 200 * time.Millisecond, 350 * time.Millisecond, 500 * time.Millisecond, 750 * time.Millisecond, time.Second, 2 * time.Second,
		5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute}
	tokenBuckets = obs.Buckets{100 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond,
		20 * time.Millisecond, 30 * time.Millisecond, 50 * time.Millisecond, 75 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond,
		500 * time.Millisecond, time.Second, 5 * time.Second}
	queueBuckets = obs.Buckets{100 * time.Microsecond, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond,
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute}
	wholeBuckets = obs.Buckets{5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
		500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second,
		80 * time.Second, 160 * time.Second, 320 * time.Second, 15 * time.Minute}
)

// statuses are told apart; others are counted as "other".
var statuses = [...]int{200, 400, 401, 402, 403, 404, 405, 408, 409, 413, 422, 429, 499, 500, 501, 502, 503, 504}

var statusAt = func() (at [600]uint8) {
	for i := range at {
		at[i] = uint8(len(statuses))
	}
	for i, s := range statuses {
		at[s] = uint8(i)
	}
	return at
}()

// Outcomes of requests: those that records have, and two that leave no record.
const (
	refused = iota // by the gateway or the engine, over what the request or its key is
	failed         // over what stands behind the model
	finished
	hungUp
	broke
	outOfMoney
	outcomes
)

var outcomeNames = [outcomes]string{"refused", "failed", "finished", "hung_up", "broke", "out_of_money"}

func outcomeOf(s *gateway.Sight) int {
	switch s.Outcome {
	case meter.Finished:
		return finished
	case meter.HungUp:
		return hungUp
	case meter.Broke:
		return broke
	case meter.OutOfMoney:
		return outOfMoney
	}
	switch {
	case s.Status == 499:
		return hungUp
	case s.Status >= 500 && s.Status != http.StatusNotImplemented:
		return failed
	}
	return refused
}

// Outcome is the word for how a request ended, as metrics, traces and the log have it.
func Outcome(s *gateway.Sight) string { return outcomeNames[outcomeOf(s)] }

// series are what is counted of one route in one dialect, on one core.
type series struct {
	requests                                    [outcomes][len(statuses) + 1]atomic.Uint64
	input, cached, output, reasoning, embedding atomic.Uint64
	good                                        atomic.Uint64 // input and output of what was finished
	charged                                     atomic.Uint64
	tries                                       atomic.Uint64       // beyond the first
	blocks, matched                             atomic.Uint64       // of prompts
	judged                                      [2][4]atomic.Uint64 // before and after; by verdicts
	first, each, queue, whole, judging          obs.Histogram
}

// moments and verdicts of judgements, as labels have them.
var (
	moments  = [2]guard.When{guard.Before, guard.After}
	verdicts = [4]string{gateway.Allowed, gateway.Refused, gateway.Masked, gateway.Unjudged}
)

func (x *series) judge(s *gateway.Sight) {
	list, more := s.Judgements()
	for i := range list {
		j := &list[i]
		at := 0
		if j.When == guard.After {
			at = 1
		}
		x.judged[at][max(0, slices.Index(verdicts[:], j.Verdict))].Add(1)
		x.judging.Observe(queueBuckets, j.Took)
	}
	if more > 0 { // pieces of a long stream
		x.judged[1][0].Add(uint64(more))
	}
}

type seriesKey struct {
	route   string
	dialect dialect.Kind
}

// Metrics counts requests. Use NewMetrics.
type Metrics struct {
	running *obs.Sharded[atomic.Int64]

	mu      sync.Mutex // to add to the maps
	series  atomic.Pointer[map[seriesKey]*obs.Sharded[series]]
	reasons atomic.Pointer[map[string]*atomic.Uint64]

	gauges []func(*obs.Writer)
}

// NewMetrics makes one that has counted nothing.
func NewMetrics() *Metrics {
	m := &Metrics{running: obs.NewSharded[atomic.Int64](nil)}
	m.series.Store(&map[seriesKey]*obs.Sharded[series]{})
	m.reasons.Store(&map[string]*atomic.Uint64{})
	return m
}

// Also has something else written beside the counts, each time that they are read. Call it before the first reading.
func (m *Metrics) Also(write func(*obs.Writer)) { m.gauges = append(m.gauges, write) }

// spread is a number that is another for most requests.
func spread(s *gateway.Sight) uint32 { return uint32(s.Call.Request[15]) }

func (m *Metrics) begin(s *gateway.Sight) { m.running.At(spread(s)).Add(1) }

func (m *Metrics) end(s *gateway.Sight) {
	at := spread(s)
	m.running.At(at).Add(-1)
	x := m.of(s).At(at)
	o := outcomeOf(s)
	status := uint8(len(statuses))
	if s.Status >= 0 && s.Status < len(statusAt) {
		status = statusAt[s.Status]
	}
	x.requests[o][status].Add(1)
	x.whole.Observe(wholeBuckets, s.Took)
	if n := s.Attempts(); n > 0 {
		x.queue.Observe(queueBuckets, s.Attempt(0).Began)
		if n > 1 {
			x.tries.Add(uint64(n - 1))
		}
	}
	if s.First > 0 {
		x.first.Observe(firstBuckets, s.First)
		if s.Stream && s.Used.Output > 1 {
			x.each.Observe(tokenBuckets, (s.Took-s.First)/time.Duration(s.Used.Output-1))
		}
	}
	count(&x.input, s.Used.Input)
	count(&x.cached, s.Used.Cached)
	count(&x.output, s.Used.Output)
	count(&x.reasoning, s.Used.Reasoning)
	count(&x.embedding, s.Used.Embedding)
	count(&x.charged, s.Cost)
	count(&x.blocks, int64(s.Blocks))
	count(&x.matched, int64(s.Matched))
	if o == finished {
		count(&x.good, s.Used.Tokens())
	}
	x.judge(s)
	if s.Err != nil {
		m.Refused(s.Err)
	}
}

// count spares the write to memory where there is nothing.
func count(c *atomic.Uint64, n int64) {
	if n > 0 {
		c.Add(uint64(n))
	}
}

// Refused counts a refusal by its reason. The gateway's own are counted already; this is for what never comes to it, such
// as an unknown key.
func (m *Metrics) Refused(err error) {
	f := fault.As(err)
	reason := f.Code
	if reason == "" {
		reason = string(f.Kind)
	}
	all := *m.reasons.Load()
	c := all[reason]
	if c == nil {
		c = m.newReason(reason)
	}
	c.Add(1)
}

func (m *Metrics) newReason(reason string) *atomic.Uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := *m.reasons.Load()
	if len(all) >= maxReasons {
		reason = other
	}
	if c := all[reason]; c != nil {
		return c
	}
	more, c := maps.Clone(all), new(atomic.Uint64)
	more[reason] = c
	m.reasons.Store(&more)
	return c
}

// of finds where a request is counted. One for a model that there is not has no route: names that callers make up are no
// values of labels.
func (m *Metrics) of(s *gateway.Sight) *obs.Sharded[series] {
	k := seriesKey{dialect: s.Dialect}
	if s.Target != nil {
		k.route = s.Target.Route.Name
	}
	if x := (*m.series.Load())[k]; x != nil {
		return x
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := *m.series.Load()
	if !known(all, k.route) {
		k.route = other
	}
	if x := all[k]; x != nil {
		return x
	}
	more, x := maps.Clone(all), obs.NewSharded[series](nil)
	more[k] = x
	m.series.Store(&more)
	return x
}

// known says whether a route has its own count, or may have one.
func known(all map[seriesKey]*obs.Sharded[series], route string) bool {
	names := map[string]bool{}
	for k := range all {
		names[k.route] = true
	}
	return names[route] || len(names) < maxRoutes
}

func statusName(i int) string {
	if i == len(statuses) {
		return other
	}
	return strconv.Itoa(statuses[i])
}
