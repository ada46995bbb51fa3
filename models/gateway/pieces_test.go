package gateway

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
