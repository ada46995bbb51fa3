package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/serve"
)

// where is the replica that a request is sent to, of four.
func (r *rig) where(t *testing.T, to *serve.Target, call *Call) string {
	t.Helper()
	call.Who, call.RequestID = r.who, "req_1"
	f := &flight{Gateway: r.Gateway, call: call, target: to}
	if err := f.read(); err != nil {
		t.Fatalf("%.200s: %v", call.Body, err)
	}
	x := f.through(to.Backends[0], r.Now())
	if x == nil {
		t.Fatal("nothing was chosen")
	}
	return x.to.Replica
}

// conversations are the same one in each dialect: system, n turns, and fields that do not matter in any order.
func conversations(system, turns, noise string, n int) map[string]*Call {
	user := func(i int) string { return fmt.Sprintf("%s, turn %d. %s", turns, i, words(uint64(i)+900, 1)) }
	list := func(format string) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(format, user(i)))
		}
		return strings.Join(all, ",")
	}
	max := len(noise) + 5
	return map[string]*Call{
		"chat": {Path: openai.ChatPath, Body: fmt.Appendf(nil, `{"max_tokens":%d,"messages":[{"role":"system","content":%q},%s],"metadata":{"x":%q},"model":"m"}`,
			max, system, list(`{"role":"user","content":%q}`), noise)},
		"completion": {Path: openai.CompletionPath, Body: fmt.Appendf(nil, `{"max_tokens":%d,"prompt":%q,"model":"m"}`, max, system+list("%s"))},
		"anthropic, turns first": {Dialect: dialect.Anthropic, Body: fmt.Appendf(nil, `{"max_tokens":%d,"messages":[%s],"model":"m","metadata":{"y":%q},"system":%q}`,
			max, list(`{"role":"user","content":%q}`), noise, system)},
		"anthropic, system in blocks": {Dialect: dialect.Anthropic, Body: fmt.Appendf(nil, `{"model":"m","max_tokens":%d,"system":[{"type":"text","text":%q,"cache_control":{"type":"ephemeral"}}],"messages":[%s]}`,
			max, system, list(`{"role":"user","content":[{"type":"text","text":%q}]}`))},
		"google": {Dialect: dialect.Google, Model: "m", Body: fmt.Appendf(nil, `{"generationConfig":{"maxOutputTokens":%d},"contents":[%s],"systemInstruction":{"parts":[{"text":%q}]}}`,
			max, list(`{"role":"user","parts":[{"text":%q}]}`), system)},
		"google, the other spelling": {Dialect: dialect.Google, Model: "m", Body: fmt.Appendf(nil, `{"system_instruction":{"parts":[{"text":%q}]},"contents":[%s],"generationConfig":{"maxOutputTokens":%d}}`,
			system, list(`{"role":"user","parts":[{"text":%q}]}`), max)},
		"responses": {Dialect: dialect.Responses, Body: fmt.Appendf(nil, `{"max_output_tokens":%d,"input":[%s],"instructions":%q,"model":"m"}`,
			max, list(`{"role":"user","content":%q}`), system)},
		"responses, one text": {Dialect: dialect.Responses, Body: fmt.Appendf(nil, `{"model":"m","instructions":%q,"input":%q,"max_output_tokens":%d}`, system, list("%s"), max)},
	}
}

// In every dialect a conversation stays where it began, whatever stands around it, and different ones spread.
func TestEveryDialectStaysTogether(t *testing.T) {
	for name := range conversations("", "", "", 0) {
		r := newRig(t)
		to := r.route(own("one", 0, 1, 4, &script{}))
		homes := map[string]bool{}
		for seed := range uint64(16) {
			system := words(seed, 3) + "end" // not whole blocks
			home := r.where(t, to, conversations(system, "hello", "", 1)[name])
			homes[home] = true
			for n := 2; n < 5; n++ {
				if at := r.where(t, to, conversations(system, "hello", strings.Repeat("noise", n), n)[name]); at != home {
					t.Errorf("%s: conversation %d went from %s to %s with turn %d", name, seed, home, at, n)
				}
			}
			if at := r.where(t, to, conversations(system, "good day", "", 1)[name]); at != home {
				t.Errorf("%s: another conversation with system prompt %d is at %s, not %s", name, seed, at, home)
			}
		}
		if len(homes) < 3 {
			t.Errorf("%s: 16 conversations have %d homes", name, len(homes))
		}
	}
}

// Tools come before all else in a prompt, and a short system prompt is part of what follows.
func TestPartsOfATrail(t *testing.T) {
	of := func(parts ...string) []uint64 {
		var x trail
		var b [][]byte
		for _, p := range parts {
			b = append(b, []byte(p))
		}
		x.of(simWho.Project, nil, b...)
		return x.hashes[1:x.n]
	}
	long := words(1, 3)[:3*blockSize]
	same := func(a, b []uint64) (n int) {
		for n < min(len(a), len(b)) && a[n] == b[n] {
			n++
		}
		return n
	}
	for _, x := range []struct {
		a, b       []string
		same, size int // blocks alike, and blocks of a
	}{
		{[]string{long}, []string{"", "", long}, 3, 3},
		{[]string{"", "short", long}, []string{"", "shirt", long}, 0, 3},
		{[]string{"", "short", long}, []string{"", "short", long + "more"}, 3, 3},
		{[]string{"", long + long[:blockSize/2], long}, []string{"", long + long[:blockSize/2], "x" + long}, 4, 7},
		{[]string{long, "a", long}, []string{long, "b", long}, 3, 6},
		{[]string{"x", long}, []string{"", "x" + long}, 0, 3},
	} {
		a, b := of(x.a...), of(x.b...)
		if n := same(a, b); n != x.same || len(a) != x.size {
			t.Errorf("%.20q and %.20q: %d blocks alike of %d, want %d of %d", x.a, x.b, n, len(a), x.same, x.size)
		}
	}
	if n := len(of(words(1, 200), words(2, 200), words(3, 200))); n != maxHashes {
		t.Errorf("%d pieces", n)
	}
}

// Sessions are named in the dialect's own way; an empty or missing name is none.
func TestSessionsOfDialects(t *testing.T) {
	for body, want := range map[string]string{
		`{"model":"m","max_tokens":5,"messages":[],"metadata":{"user_id":"ann"}}`:                   `"ann"`,
		`{"model":"m","max_tokens":5,"messages":[],"metadata":{"user_id":null}}`:                    ``,
		`{"model":"m","max_tokens":5,"messages":[],"metadata":[{"user_id":"ann"}],"user_id":"bob"}`: ``,
	} {
		var f fields
		if f.find(dialect.Anthropic, []byte(body)); string(f.session) != want {
			t.Errorf("%s: %s", body, f.session)
		}
	}
	for body, want := range map[string]string{
		`{"input":"x","prompt_cache_key":"k","user":"u"}`: `"k"`,
		`{"input":"x","user":"u","prompt_cache_key":"k"}`: `"k"`,
		`{"input":"x","user":"u"}`:                        `"u"`,
		`{"input":"x","user":""}`:                         ``,
	} {
		var f fields
		if f.find(dialect.Responses, []byte(body)); string(f.session) != want {
			t.Errorf("%s: %s", body, f.session)
		}
	}
	for body, want := range map[string]string{`{"model":"m","user":null}`: ``, `{"model":"m","user":"u"}`: `"u"`, `{"model":"m","session":5}`: ``} {
		f, err := readFields([]byte(body))
		if err != nil || string(f.session) != want {
			t.Errorf("%s: %s, %v", body, f.session, err)
		}
	}
}

// What a response goes on from comes before its input: the second turn is where the first one was.
func TestAResponseGoesOnWhereItWas(t *testing.T) {
	for seed := range uint64(12) {
		r := newRig(t)
		to := r.route(own("one", 0, 1, 4, &script{}))
		input := fmt.Sprintf(`[{"type":"message","role":"user","content":%q}]`, words(seed, 3))
		first := r.where(t, to, &Call{Dialect: dialect.Responses, Body: []byte(`{"model":"m","input":` + input + `}`)})
		earlier := dialect.JoinItems([]byte(input), []byte("[]"), []byte(`[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"yes","annotations":[]}]}]`))
		then := r.where(t, to, &Call{Dialect: dialect.Responses, Earlier: earlier, Body: []byte(`{"model":"m","input":"and then?"}`)})
		if first != then {
			t.Errorf("conversation %d went from %s to %s", seed, first, then)
		}
	}
}
