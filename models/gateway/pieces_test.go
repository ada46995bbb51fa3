package gateway

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// long is a stream of so many tokens, each for itself.
func long(tokens int) said {
	var s said
	for i := range tokens {
		s.chunks = append(s.chunks, chunk(fmt.Sprintf("data: {\"choices\":[{\"delta\":{\"content\":\"t%d \"}}]}\n\n", i), 5, i+1, false))
	}
	s.chunks = append(s.chunks, chunk("data: [DONE]\n\n", 5, tokens, true))
	return s
}

const longest = `{"model":"m","stream":true,"max_tokens":32000,"messages":[]}`

// A stream's money is held piece by piece: it goes on as long as there is money, ends with the reason where there is no more,
// and is billed to the last token that was delivered.
func TestStreamsArePaidForInPieces(t *testing.T) {
	prompt := int64(len(longest) + promptSlack) // that is paid for
	for money, want := range map[int64]int{1 << 40: 5000, prompt + 2*5000: 5000, prompt + 2*2500 + 1: 2500, prompt + 2*1025: 1025} {
		r := newRig(t)
		r.Quota = quota.NewBook(bounded{money}, r.Now)
		r.route(abroad("one", 0, 1, &outside{script{says: []said{long(5000)}}}))
		other, err := r.Quota.Reserve(t.Context(), quota.Ask{Who: r.who, Prices: meter.Flat(0, 0)}) // so that it is not alone
		if err != nil {
			t.Fatal(err)
		}
		w, err := r.ask(t.Context(), longest)
		text := w.body.String()
		got := strings.Count(text, `"content":"t`)
		if err != nil || got != want || strings.Contains(text, "insufficient_quota") != (want < 5000) || !strings.HasSuffix(text, "data: [DONE]\n\n") {
			t.Errorf("money for %d: %v, %d tokens: ... %s", money, err, got, text[max(0, len(text)-300):])
		}
		b := r.booked()
		outcome := map[bool]meter.Outcome{true: meter.Finished, false: meter.OutOfMoney}[want == 5000]
		if len(b) != 1 || b[0].Usage != (meter.Usage{Input: 5, Output: int64(want)}) || b[0].Outcome != outcome || b[0].CostMicros > money || r.Quota.Spent(r.who.Key) != b[0].CostMicros {
			t.Errorf("money for %d: booked %+v", money, b)
		}
		other.Settle(0, 0, 0)
	}
}

// Many streams that may be longer than all money pays share it; at no moment is more spent and held than there is.
func TestManyStreamsShareLittleMoney(t *testing.T) {
	const callers, tokens = 100, 50
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		money := int64(callers * (len(longest) + promptSlack + 2*firstPiece))
		r.Quota = quota.NewBook(bounded{money}, r.Now)
		x := long(tokens)
		x.after = time.Second // so that all run at once
		r.route(abroad("one", 0, 1, &outside{script{says: []said{x}}}))
		var work sync.WaitGroup
		for range callers {
			work.Go(func() {
				if w, err := r.ask(t.Context(), longest); err != nil || strings.Count(w.body.String(), `"content":"t`) != tokens {
					t.Errorf("%v: %s", err, w.body.String())
				}
			})
		}
		synctest.Wait()
		if s := r.Quota.State(); s.Open != callers || s.Held > money {
			t.Errorf("%d run and hold %d of %d", s.Open, s.Held, money)
		}
		work.Wait()
		if spent := r.Quota.Spent(r.who.Key); spent != callers*(5+2*tokens) {
			t.Errorf("spent %d", spent)
		}
	})
}

// Who leaves while the stream waits for money that others hold is billed what they were given.
func TestLeavingWhileTheMoneyIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.Quota = quota.NewBook(bounded{10_000}, r.Now)
		r.Quota.Patience = time.Hour
		e := &outside{script{says: []said{long(4000)}}}
		e.says[0].rest = engine.Chunk{Prompt: 5, Completion: 3000}
		r.route(abroad("one", 0, 1, e))
		other, err := r.Quota.Reserve(t.Context(), quota.Ask{Who: r.who, Prices: meter.Flat(1_000_000, 0), Prompt: 7_000})
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, leave)
		began := time.Now()
		w, err := r.ask(ctx, longest)
		if took := time.Since(began); err != nil || took < time.Minute || strings.Contains(w.body.String(), "insufficient_quota") {
			t.Errorf("%v after %v", err, took)
		}
		if b := r.booked(); len(b) != 1 || b[0].Outcome != meter.HungUp || b[0].CostMicros > 3_000 || b[0].Usage.Output < 1400 || e.drain != 1 {
			t.Errorf("booked %+v", b)
		}
		other.Settle(0, 0, 0)
	})
}

// away is an authority that grants so much once, and is away from then on.
type away struct {
	mu      sync.Mutex
	granted bool
}

func (a *away) Renew(_ context.Context, claims []quota.Claim) (quota.Answer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.granted {
		return quota.Answer{}, fault.New(fault.Unavailable, "The database is away.")
	}
	a.granted = true
	x := quota.Answer{Now: time.Now()}
	for _, c := range claims {
		x.Grants = append(x.Grants, quota.Grant{Granted: c.Settled + c.Held + c.Keep + c.Need, Room: 1 << 40})
	}
	return x, nil
}

func (*away) Beat(context.Context, []string) (quota.Pulse, error) {
	return quota.Pulse{Nodes: 1, Now: time.Now()}, nil
}

// A stream whose lease ends while leases cannot be had is not told that its budget did: it did not.
func TestNoLeaseIsNoWantOfMoney(t *testing.T) {
	for _, c := range []struct{ body, header, text string }{
		{longest, "", "limits_unavailable"},
		{strings.Replace(longest, `"stream":true,`, "", 1), "limits", `"finish_reason":"length"`},
	} {
		for _, d := range []engine.Dialect{engine.OpenAI, engine.Anthropic} {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				defer func() { stop(); synctest.Wait() }()
				r := newRig(t)
				r.Quota = quota.NewLeased(bounded{1 << 40}, r.Now, &away{}, r.Log)
				go r.Quota.Keep(ctx)
				x := long(5000)
				if d == engine.Anthropic {
					x = longMessage(5000)
				}
				r.route(spokenBy(d, abroad("one", 0, 1, &outside{script{says: []said{x}}})))
				body := strings.Replace(c.body, `"messages":[]`, `"messages":[{"role":"user","content":"x"}]`, 1)
				w, err := r.ask(ctx, body)
				text := w.body.String()
				if err != nil || !strings.Contains(text, c.text) || strings.Contains(text, "insufficient_quota") || w.header.Get(cutHeader) != c.header {
					t.Errorf("%s: %v, %q, %s", d, err, w.header.Get(cutHeader), text[max(0, len(text)-400):])
				}
				if b := r.booked(); len(b) != 1 || b[0].Outcome != meter.Broke || b[0].Usage.Output == 0 {
					t.Errorf("%s: booked %+v", d, b)
				}
			})
		}
	}
}

// longMessage is long of Anthropic's dialect.
func longMessage(tokens int) said {
	var s said
	say := func(text string, completion int) {
		kind, _, _ := strings.Cut(strings.TrimPrefix(text, `{"type":"`), `"`)
		s.chunks = append(s.chunks, chunk("event: "+kind+"\ndata: "+text+"\n\n", 5, completion, kind == "message_stop"))
	}
	say(`{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","content":[],"usage":{"input_tokens":5,"output_tokens":1}}}`, 1)
	say(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, 1)
	for i := range tokens {
		say(fmt.Sprintf(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"t%d "}}`, i), i+1)
	}
	say(`{"type":"content_block_stop","index":0}`, tokens)
	say(`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5000}}`, tokens)
	say(`{"type":"message_stop"}`, tokens)
	return s
}
