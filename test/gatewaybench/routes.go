package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/engine/native"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// routing is the figure of prefix routing against round robin: medians over rounds, ratios within each. Goodput is counted
// twice: answers within the deadline for a CPU-second of the replicas, which says what the same machines could serve, and
// for a second of the clock, which the rest of this machine moves.
type routing struct {
	What     string  `json:"what"`
	Prefix   routed  `json:"prefix"`
	Turn     routed  `json:"round_robin"`
	Ratio    float64 `json:"ratio"` // of goodput by CPU time, with quartiles
	Low      float64 `json:"ratio_low"`
	High     float64 `json:"ratio_high"`
	Clock    float64 `json:"clock_ratio"` // of goodput by the clock
	Control  float64 `json:"control"`     // the second round robin beside the first, by CPU time
	CtrlLow  float64 `json:"control_low"`
	CtrlHigh float64 `json:"control_high"`
	CtrlWall float64 `json:"clock_control"`

	Target   float64 `json:"target"`
	Met      bool    `json:"met"`
	Rounds   int     `json:"rounds"`
	Conns    int     `json:"connections"`
	Requests int     `json:"requests_of_a_round"`
	Cores    int     `json:"cores"`
}

// routed is what one way of routing did: medians of its rounds; answers and refusals are sums.
type routed struct {
	PerThousand float64 `json:"replicas_cpu_seconds_per_1000"`
	Goodput     float64 `json:"goodput_per_cpu_second"`
	ClockGood   float64 `json:"goodput_per_second"`
	HitShare    float64 `json:"hit_share"` // cached tokens of prompt tokens, as the engine tells
	FirstMillis float64 `json:"first_token_p50_ms"`
	FirstTail   float64 `json:"first_token_p99_ms"`
	Answers     int     `json:"answers"`
	Late        int     `json:"late"` // answers after the deadline
	Refused     int     `json:"refused"`
}

// runRoutes measures prefix routing against round robin, over replicas of the embedded engine with caches that hold less
// than is asked. Each way has replicas of its own, so that none finds what another left in a cache.
func runRoutes(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("routes", flag.ContinueOnError)
	rounds := flags.Int("rounds", 7, "interleaved rounds")
	n := flags.Int("n", 64, "requests of a round")
	conns := flags.Int("c", 16, "requests at once")
	deadline := flags.Duration("deadline", 5*time.Second, "an answer that takes longer does not count; scaled by the part of the machine that the replicas had")
	asJSON := flags.Bool("json", false, "print a JSON line")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "routes")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	words, err := makeCorpus(dir)
	if err != nil {
		return err
	}
	var arms []*arm
	defer func() {
		for _, a := range arms {
			a.stop()
		}
	}()
	for _, locality := range []string{serve.Prefix, serve.Off, serve.Off} {
		a, err := newArm(ctx, words, filepath.Join(dir, strconv.Itoa(len(arms))), locality)
		if a != nil {
			arms = append(arms, a)
		}
		if err != nil {
			return err
		}
	}
	f, err := compareRoutes(ctx, words, arms, *rounds, *n, *conns, *deadline)
	if err != nil {
		return err
	}
	return f.print(*asJSON)
}

// compareRoutes has all arms answer the same requests in each round, one after the other in an order that changes; the
// first round, which fills the caches, does not count.
func compareRoutes(ctx context.Context, words *corpus, arms []*arm, rounds, n, conns int, deadline time.Duration) (*routing, error) {
	all := make([][]trial, len(arms))
	for round := range rounds + 1 {
		requests, err := words.requests(uint64(round), n)
		if err != nil {
			return nil, err
		}
		for i := range arms {
			which := (i + round) % len(arms)
			t, err := arms[which].run(ctx, requests, conns, deadline)
			if err != nil {
				return nil, err
			}
			if round > 0 {
				all[which] = append(all[which], t)
			}
		}
	}
	f := &routing{What: "prefix routing against round robin", Rounds: rounds, Conns: conns, Requests: n, Cores: runtime.NumCPU(), Target: 1.5,
		Prefix: summary(all[0]), Turn: summary(all[1])}
	cpu, wall := ratiosOf(all[0], all[1], trial.goodput), ratiosOf(all[0], all[1], trial.clockGoodput)
	again, wallAgain := ratiosOf(all[2], all[1], trial.goodput), ratiosOf(all[2], all[1], trial.clockGoodput)
	f.Ratio, f.Low, f.High, f.Clock = median(cpu), quantile(cpu, 0.25), quantile(cpu, 0.75), median(wall)
	f.Control, f.CtrlLow, f.CtrlHigh, f.CtrlWall = median(again), quantile(again, 0.25), quantile(again, 0.75), median(wallAgain)
	f.Met = f.Ratio >= f.Target && f.Prefix.Refused == f.Turn.Refused
	return f, nil
}

func ratiosOf(a, b []trial, of func(trial) float64) []float64 {
	v := make([]float64, len(a))
	for i := range a {
		v[i] = of(a[i]) / of(b[i])
	}
	return v
}

func (f *routing) print(asJSON bool) error {
	if asJSON {
		line, err := json.Marshal(f)
		if err == nil {
			fmt.Println(string(line))
		}
		return err
	}
	row := func(name string, r routed) {
		fmt.Printf("%-12s %.1f CPU-s of replicas/1,000, goodput %.2f a CPU-second, %.2f a second, hits %.2f, first token p50 %.0f p99 %.0f ms; %d answers, %d late, %d refused\n",
			name, r.PerThousand, r.Goodput, r.ClockGood, r.HitShare, r.FirstMillis, r.FirstTail, r.Answers, r.Late, r.Refused)
	}
	row("prefix", f.Prefix)
	row("round robin", f.Turn)
	fmt.Printf("%s: %.2f (%.2f to %.2f) by CPU time, %.2f by the clock; control %.2f (%.2f to %.2f), %.2f; %s\n", f.What, f.Ratio, f.Low, f.High, f.Clock,
		f.Control, f.CtrlLow, f.CtrlHigh, f.CtrlWall, map[bool]string{true: "met", false: "MISSED"}[f.Met])
	return nil
}

// arm is one way of routing: a gateway before replicas of its own.
type arm struct {
	*gateway.Gateway
	replicas []*process
	who      *auth.Principal
}

// noBounds: no account has a limit.
type noBounds struct{}

func (noBounds) Generation() int64          { return 1 }
func (noBounds) Bound(id.Raw) tenancy.Bound { return tenancy.Bound{} }

func newArm(ctx context.Context, words *corpus, dir, locality string) (*arm, error) {
	ids, log := id.Default(), slog.New(slog.DiscardHandler)
	a := &arm{who: &auth.Principal{OrgID: ids.New("org"), ProjectID: ids.New("prj"), KeyID: ids.New("key"), Org: ids.Raw(), Project: ids.Raw(), Key: ids.Raw()}}
	up := &serve.Upstream{ID: "dep_bench", Weight: 1, Dialect: engine.OpenAI, Version: ids.New("mv"), Context: prefixShape().MaxContext, Engine: &native.Driver{}}
	for i := range replicas {
		p, err := start(ctx, 1, "replica", "-dir", words.dir, "-cache", strconv.FormatInt(words.cache, 10))
		if err != nil {
			return a, err
		}
		a.replicas = append(a.replicas, p)
		up.Endpoints = append(up.Endpoints, engine.Endpoint{Replica: fmt.Sprint("rep_", i), Addr: p.lines[0], Secret: replicaSecret})
	}
	ledger, err := meter.Open(dir, "node_bench", meter.Options{Log: log})
	if err != nil {
		return a, err
	}
	target := &serve.Target{Route: serve.Route{ID: ids.New("rte"), Org: a.who.OrgID, Project: a.who.ProjectID, Name: "bench",
		Policy: serve.Policy{Locality: locality}}, Backends: []*serve.Upstream{up}}
	a.Gateway = &gateway.Gateway{Routes: oneRoute{target}, Quota: quota.NewBook(noBounds{}, time.Now), Ledger: ledger, Now: time.Now, Log: log}
	return a, nil
}

func (a *arm) stop() {
	for _, p := range a.replicas {
		p.stop()
	}
	if a.Gateway != nil {
		_ = a.Ledger.Close() // it goes with its folder
	}
}

// trial is one round of an arm.
type trial struct {
	cpu, clock             float64 // seconds, of all replicas together and from the first request to the last answer
	good, late, refused    int
	prompt, cached, tokens int64
	first                  []float64 // milliseconds
	took                   []time.Duration
}

// judge says which answers came in time. Other work on the machine makes all answers late alike, so times are scaled by the
// part of the machine's cores that the replicas had while they were kept busy.
func (t *trial) judge(deadline time.Duration) {
	had := min(1, t.cpu/t.clock/float64(min(replicas, runtime.NumCPU())))
	for _, d := range t.took {
		if time.Duration(float64(d)*had) > deadline {
			t.late++
		} else {
			t.good++
		}
	}
}

func (t trial) goodput() float64      { return float64(t.good) / t.cpu }
func (t trial) clockGoodput() float64 { return float64(t.good) / t.clock }

func summary(all []trial) (r routed) {
	var cpu, good, wall, hits, half, tail []float64
	for _, t := range all {
		cpu = append(cpu, t.cpu/float64(max(1, t.good+t.late))*1000)
		good, wall = append(good, t.goodput()), append(wall, t.clockGoodput())
		hits = append(hits, float64(t.cached)/float64(max(1, t.prompt)))
		half, tail = append(half, quantile(t.first, 0.5)), append(tail, quantile(t.first, 0.99))
		r.Answers, r.Late, r.Refused = r.Answers+t.good+t.late, r.Late+t.late, r.Refused+t.refused
	}
	r.PerThousand, r.Goodput, r.ClockGood, r.HitShare, r.FirstMillis, r.FirstTail = median(cpu), median(good), median(wall), median(hits), median(half), median(tail)
	return r
}

// spent is the CPU time of all replicas so far.
func (a *arm) spent() (sum time.Duration, err error) {
	for _, p := range a.replicas {
		d, err := used(p.cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		sum += d.all
	}
	return sum, nil
}

// run asks everything, so many at once, each as soon as one before was answered.
func (a *arm) run(ctx context.Context, requests [][]byte, conns int, deadline time.Duration) (t trial, err error) {
	before, err := a.spent()
	if err != nil {
		return t, err
	}
	began := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var next atomic.Int64
	var mu sync.Mutex
	var work sync.WaitGroup
	for range conns {
		work.Go(func() {
			for at := next.Add(1) - 1; at < int64(len(requests)) && ctx.Err() == nil; at = next.Add(1) - 1 {
				h := a.ask(ctx, requests[at])
				mu.Lock()
				if err == nil {
					if err = t.count(h); err != nil {
						cancel()
					}
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	t.clock = time.Since(began).Seconds()
	after, failed := a.spent()
	t.cpu = (after - before).Seconds()
	t.judge(deadline)
	if err == nil {
		err = errors.Join(failed, ctx.Err())
	}
	return t, err
}

// heard is what came of one request.
type heard struct {
	header  http.Header
	status  int
	err     error
	began   time.Time
	first   time.Duration
	took    time.Duration
	body    bytes.Buffer
	prompt  int64
	cached  int64
	answers int64
}

func (h *heard) Header() http.Header    { return h.header }
func (h *heard) WriteHeader(status int) { h.status = status }
func (h *heard) Flush() error           { return nil }
func (h *heard) Write(b []byte) (int, error) {
	if h.first == 0 && bytes.Contains(b, []byte("data: ")) {
		h.first = time.Since(h.began)
	}
	return h.body.Write(b)
}

// ask puts one request through the gateway's flow; there is no HTTP between, as it costs the replicas nothing.
func (a *arm) ask(ctx context.Context, body []byte) *heard {
	raw := id.Default().Raw()
	h := &heard{header: http.Header{}, status: 200, began: time.Now()}
	h.err = a.Do(ctx, h, &gateway.Call{Who: a.who, Path: openai.ChatPath, Body: body, Request: raw, RequestID: "req_" + raw.String()})
	h.took = time.Since(h.began)
	for event := range bytes.SplitSeq(h.body.Bytes(), []byte("\n\n")) {
		if u := gjson.GetBytes(bytes.TrimPrefix(event, []byte("data: ")), "usage"); u.IsObject() {
			h.prompt, h.cached, h.answers = u.Get("prompt_tokens").Int(), u.Get("prompt_tokens_details.cached_tokens").Int(), u.Get("completion_tokens").Int()
		}
	}
	return h
}

// count takes an answer in. One that is neither whole nor refused is an error: the figures would compare unlike things.
func (t *trial) count(h *heard) error {
	switch {
	case h.err != nil:
		t.refused++
		return nil
	case h.status != 200 || h.answers != answerTokens || h.prompt < prefixTokens:
		return fmt.Errorf("status %d, %d tokens in, %d out: %.300q", h.status, h.prompt, h.answers, h.body.Bytes())
	}
	t.took = append(t.took, h.took)
	t.prompt, t.cached, t.tokens = t.prompt+h.prompt, t.cached+h.cached, t.tokens+h.answers
	t.first = append(t.first, h.first.Seconds()*1000)
	return nil
}
