package gateway

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// inTiers is a route with both tiers: flex at half the price for all, priority at one and a half for keys that have it.
func inTiers(r *rig, u ...*serve.Upstream) *serve.Target {
	t := r.route(u...)
	t.Route.Policy.Flex, t.Route.Policy.Priority = api.Tier{Percent: 50, Weight: 25}, api.Tier{Percent: 150, Weight: 400, Flagged: true}
	return t
}

const pieces = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n"

// Each dialect asks for a tier and is told which it was, in its own words; the bill has the tier's prices, and proves itself.
func TestServiceTiers(t *testing.T) {
	anthropic := `{"type":"message","role":"assistant","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":5,"output_tokens":2}}`
	for name, x := range map[string]struct {
		kind    dialect.Kind
		body    string // of the request
		says    said
		flags   []tenancy.Scope
		via     engine.Dialect
		tier    string // of the explanation
		where   string // in the answer, or in each event that has it
		word    string
		percent int64
	}{
		"chat":                     {body: `{"model":"m","service_tier":"flex","messages":[]}`, tier: "flex", where: "service_tier", word: "flex", percent: 50},
		"chat, default":            {body: `{"model":"m","service_tier":"auto","messages":[]}`, tier: "default", where: "service_tier", word: "default", percent: 100},
		"chat that names none":     {body: `{"model":"m","messages":[]}`, where: "service_tier", percent: 100},
		"chat that says null":      {body: `{"model":"m","service_tier":null,"messages":[]}`, where: "service_tier", percent: 100},
		"a backend with its own":   {body: `{"model":"m","service_tier":"flex","messages":[]}`, says: said{body: `{"service_tier":"default",` + fine[1:]}, tier: "flex", where: "service_tier", word: "flex", percent: 50},
		"chat with a flag":         {body: `{"model":"m","service_tier":"priority","messages":[]}`, flags: []tenancy.Scope{tenancy.Inference, tenancy.Priority}, tier: "priority", where: "service_tier", word: "priority", percent: 150},
		"a stream":                 {body: `{"model":"m","service_tier":"flex","stream":true,"messages":[]}`, says: said{chunks: []engine.Chunk{chunk(pieces, 5, 2, false), chunk("data: [DONE]\n\n", 5, 2, true)}}, tier: "flex", where: "service_tier", word: "flex", percent: 50},
		"responses":                {kind: dialect.Responses, body: `{"model":"m","service_tier":"flex","input":"x"}`, says: said{chunks: []engine.Chunk{chunk(pieces, 5, 2, false), chunk("data: [DONE]\n\n", 5, 2, true)}}, tier: "flex", where: "service_tier", word: "flex", percent: 50},
		"a stream of responses":    {kind: dialect.Responses, body: `{"model":"m","service_tier":"auto","stream":true,"input":"x"}`, says: said{chunks: []engine.Chunk{chunk(pieces, 5, 2, false), chunk("data: [DONE]\n\n", 5, 2, true)}}, tier: "default", where: "response.service_tier", word: "default", percent: 100},
		"messages without a flag":  {kind: dialect.Anthropic, body: `{"model":"m","service_tier":"auto","max_tokens":9,"messages":[{"role":"user","content":"x"}]}`, via: engine.Anthropic, says: said{body: anthropic}, tier: "default", where: "usage.service_tier", word: "standard", percent: 100},
		"messages with a flag":     {kind: dialect.Anthropic, body: `{"model":"m","service_tier":"auto","max_tokens":9,"messages":[{"role":"user","content":"x"}]}`, via: engine.Anthropic, says: said{body: anthropic}, flags: []tenancy.Scope{tenancy.Priority}, tier: "priority", where: "usage.service_tier", word: "priority", percent: 150},
		"messages of another kind": {kind: dialect.Anthropic, body: `{"model":"m","service_tier":"standard_only","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"x"}]}`, says: said{chunks: []engine.Chunk{chunk(pieces, 5, 2, false), chunk("data: [DONE]\n\n", 5, 2, true)}}, tier: "default", where: "message.usage.service_tier", word: "standard", percent: 100},
	} {
		r := newRig(t)
		r.Explain = &Explanations{}
		if x.says.body == "" && x.says.chunks == nil {
			x.says.body = fine
		}
		e := &script{says: []said{x.says}}
		u := own("one", 0, 1, 1, e)
		if x.via != "" {
			u.Dialect = x.via
		}
		inTiers(r, u)
		r.who.Scopes = x.flags
		c := &Call{Who: r.who, Path: openai.ChatPath, Dialect: x.kind, Body: []byte(x.body), Request: id.Default().Raw()}
		if x.kind != "" {
			c.Path = ""
		}
		w := &written{header: http.Header{}}
		if err := r.Do(t.Context(), w, c); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var words []string
		for line := range strings.Lines(w.body.String()) {
			if v := gjson.Get(strings.TrimPrefix(line, "data: "), x.where); v.Exists() {
				words = append(words, v.String())
			}
		}
		if x.word == "" && len(words) != 0 || x.word != "" && (len(words) == 0 || slices.ContainsFunc(words, func(w string) bool { return w != x.word })) {
			t.Errorf("%s: told %v in %s", name, words, w.body.String())
		}
		all := r.booked()
		if len(all) != 1 {
			t.Fatalf("%s: %d records", name, len(all))
		}
		b := all[0]
		if b.Prices != meter.Flat(1_000_000, 2_000_000).Percent(int(x.percent)).Resolved() || b.CostMicros != meter.Bill(b.Outcome, b.Usage, b.Prices) || b.CostMicros != (9*x.percent+99)/100 {
			t.Errorf("%s: %+v", name, b)
		}
		ex, err := r.Explain.Get(t.Context(), r.who.ProjectID, "req_"+c.Request.String())
		if err != nil || ex.ServiceTier != x.tier || ex.CostMicros != b.CostMicros {
			t.Errorf("%s: explained %+v, %v", name, ex, err)
		}
	}
}

func TestTiersAreRefused(t *testing.T) {
	r := newRig(t)
	e := &script{says: []said{{body: fine}}}
	target := inTiers(r, own("one", 0, 1, 1, e))
	ask := func(kind dialect.Kind, tier string) error {
		c := &Call{Who: r.who, Path: openai.ChatPath, Dialect: kind, Request: id.Default().Raw(), Body: []byte(`{"model":"m","service_tier":` + tier + `,"max_tokens":5,"input":"x","messages":[{"role":"user","content":"x"}]}`)}
		if kind != "" {
			c.Path = ""
		}
		return r.Do(t.Context(), &written{header: http.Header{}}, c)
	}
	for _, tiered := range []bool{true, false} {
		if !tiered {
			target.Route.Policy = serve.Policy{}
		}
		for _, kind := range []dialect.Kind{"", dialect.Responses, dialect.Anthropic} {
			for _, bad := range []string{`"gold"`, `""`, `1`, `{}`, `["flex"]`, `"Flex"`} {
				if err := ask(kind, bad); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "service_tier" {
					t.Errorf("%s %s: %v", kind, bad, err)
				}
			}
		}
	}
	if err := ask(dialect.Anthropic, `"flex"`); !fault.Is(err, fault.Invalid) {
		t.Errorf("flex of Anthropic: %v", err)
	}
	if err := ask("", `"priority"`); err != nil || !strings.Contains(string(e.asked[0].Body), "priority") {
		t.Errorf("without tiers it is the backend's: %v", err)
	}
	target.Route.Policy = serve.Policy{Priority: api.Tier{Percent: 200, Flagged: true}}
	if err := ask("", `"priority"`); !fault.Is(err, fault.Forbidden) {
		t.Errorf("without the flag: %v", err)
	}
	if err := ask("", `"flex"`); !fault.Is(err, fault.Invalid) || fault.As(err).Code != "unsupported_service_tier" {
		t.Errorf("not offered: %v", err)
	}
	if err := r.Do(t.Context(), &written{header: http.Header{}}, &Call{Who: r.who, Path: openai.ChatPath, Request: id.Default().Raw(), Body: []byte(`{"model":"m","service_tier":"flex","service_tier":"default"}`)}); !fault.Is(err, fault.Invalid) {
		t.Errorf("twice: %v", err)
	}
	if n := len(r.booked()); n != 1 {
		t.Errorf("%d were booked", n)
	}
}

// Where a backend is full a tier waits by its weight: of places given in turn the heavier gets the more.
func TestTiersWaitByWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		e := &script{says: []said{{body: fine, after: time.Second}}}
		target := inTiers(r, own("one", 0, 1, 1, e))
		target.Route.Policy.Concurrency, target.Route.Policy.Queue, target.Route.Policy.QueueWaitMS = 1, 1000, 600_000
		target.Route.Policy.Priority.Flagged = false
		var mu sync.Mutex
		var order []string
		var wg sync.WaitGroup
		for _, tier := range []string{"flex", "default", "priority"} {
			for range 60 {
				wg.Go(func() {
					if _, err := r.ask(t.Context(), `{"model":"m","service_tier":"`+tier+`","messages":[]}`); err != nil {
						t.Error(err)
					}
					mu.Lock()
					order = append(order, tier)
					mu.Unlock()
				})
				synctest.Wait()
			}
		}
		wg.Wait()
		share := map[string]int{}
		for _, tier := range order[5:65] {
			share[tier]++
		}
		// weights of 25, 100 and 400: of sixty 3, 11 and 46
		if share["flex"] < 2 || share["flex"] > 5 || share["default"] < 9 || share["default"] > 14 || share["priority"] < 42 {
			t.Errorf("%v", share)
		}
		if l := r.lane("one"); l.running != 0 || len(l.tenants) != 0 {
			t.Errorf("%d run, %d flows are remembered", l.running, len(l.tenants))
		}
	})
}
