package hostile

import (
	"context"
	"sync"
	"testing"

	"github.com/triarch-ai/triarch/api"
)

// hostility is a thing that a provider does.
type hostility struct {
	model   string
	tokens  int  // that reach whoever reads a stream; -1: it may end well
	guessed bool // its tokens are estimated
	free    bool // an answer in one piece tells counts below zero, which are read as they cost the caller least
}

// hostilities and what becomes of them. A stream that had begun is billed for the tokens that were delivered.
var hostilities = []hostility{
	{model: "nothttp"}, {model: "hangup"}, {model: "html"}, {model: "notjson"}, {model: "emptyjson"}, {model: "broken500"}, {model: "redirect"},
	{model: "binary"}, {model: "events"}, {model: "head"}, {model: "continues"}, {model: "sizes"},
	{model: "midstream", tokens: 3}, {model: "reset", tokens: 3}, {model: "halfevent", tokens: 3}, {model: "hugeevent", tokens: 3}, {model: "hugewhole"},
	{model: "absurd", tokens: -1}, {model: "negative", tokens: -1, free: true}, {model: "endless", tokens: -1},
	{model: "nousage", tokens: -1, guessed: true},
	{model: "silent"}, {model: "quiet", tokens: 3}, {model: "trickle", tokens: 3}, {model: "comments", tokens: 3}, {model: "slowhead"},
}

// Whatever a provider does, in every dialect the request ends in that dialect's form, what was delivered is what is billed,
// and the program's memory stays bounded.
func TestHostileProvider(t *testing.T) {
	for _, v := range voices {
		t.Run(v.dialect, func(t *testing.T) {
			t.Parallel()
			hostileProvider(t, v.provider)
		})
	}
}

func hostileProvider(t *testing.T, provider string) {
	p := newPlace(t, "TRIARCH_LIMITS_PROVIDER_SILENCE=2s", "TRIARCH_LIMITS_PROVIDER_ANSWER=5s")
	p.well()
	var all sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	type asked struct {
		h hostility
		d dialect
		k api.MadeKey
		a answer
	}
	results := make(chan asked, len(hostilities)*len(dialects))
	for _, h := range hostilities {
		for i, d := range dialects { // a route and a key for each, so that no breaker stands before another's
			name := h.model + "-" + string(rune('a'+i))
			p.routeTo(provider, name)
			k := p.key(name)
			all.Go(func() {
				results <- asked{h, d, k, p.ask(ctx, d, name, k.Key, 100)}
			})
		}
	}
	p.well()
	all.Wait()
	close(results)
	if ctx.Err() != nil {
		t.Errorf("requests did not end within %s", patience)
	}
	p.within("a hostile provider", 512<<20)
	for r := range results {
		judge(t, p, r.h, r.d, r.k, r.a, provider != "hostile")
	}
	if n := p.provider.caught.Load(); n > 0 {
		t.Errorf("redirects were followed %d times", n)
	}
	eventually(t, "the provider to be left", func() bool { return p.provider.open.Load() == 0 })
	p.well()
	p.reconcile()
}

// judge compares an answer with what it was to be, and with its bill.
func judge(t *testing.T, p *place, h hostility, d dialect, k api.MadeKey, a answer, translated bool) {
	t.Helper()
	text := a.text[max(0, len(a.text)-300):]
	// What tells a lie about its length, or never ends, can end well: the lie is not believed.
	if wrong := d.wrong(a, false); wrong != "" && (h.tokens >= 0 || d.wrong(a, true) != "") {
		t.Errorf("%s by %s: %s: %d, ... %q", h.model, d.name, wrong, a.status, text)
	}
	u, tokens := p.used(k), int64(a.tokens)
	if h.free && !d.stream && !translated { // else they are counted on their way
		tokens = 0
	}
	if h.model == "absurd" && !d.stream && a.status == 200 { // delivered and billed up to the bounds
		tokens = 100
	}
	if h.tokens > 0 && d.stream && a.tokens != h.tokens {
		t.Errorf("%s by %s: %d tokens were delivered, not %d: %q", h.model, d.name, a.tokens, h.tokens, text)
	}
	if h.guessed && (a.status != 200 || a.tokens != 3 || u.Requests != 1 || u.Estimated != 1 || u.PromptTokens < 10) {
		t.Errorf("%s by %s: %d, %d tokens, billed %+v", h.model, d.name, a.status, a.tokens, u)
	}
	if u.CompletionTokens != tokens || u.CostMicros != u.PromptTokens+2*u.CompletionTokens || u.PromptTokens > 1000 {
		t.Errorf("%s by %s: %d tokens were delivered, billed %+v", h.model, d.name, tokens, u)
	}
}
