package gateways

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api"
)

// kind is a way to ask: a dialect, in one piece or streamed, of an engine of this installation or of a provider.
type kind struct {
	name, model, path, body string // MODEL and ASK stand for the model's name and what is asked
	token                   string // stands before each token of a stream's event; empty: the answer comes in one piece
	used                    string // path of the output tokens that an answer in one piece tells; empty: it has none
}

// Requests of each dialect. What asks for a stream of 1,000 tokens does not live to see its end.
const (
	chatBody     = `{"model":"MODEL","max_tokens":1000,"messages":[{"role":"user","content":"ASK"}]}`
	messagesBody = chatBody
	responseBody = `{"model":"MODEL","max_output_tokens":1000,"input":"ASK"}`
	googleBody   = `{"contents":[{"parts":[{"text":"ASK"}]}],"generationConfig":{"maxOutputTokens":1000}}`
	plainBody    = `{"model":"MODEL","max_tokens":1000,"prompt":"ASK"}`
	embedBody    = `{"model":"MODEL","input":"ASK"}`
)

func streamed(body string) string {
	return strings.Replace(body, `{"model"`, `{"stream":true,"model"`, 1)
}

func brief(body string) string {
	return strings.Replace(strings.Replace(body, "ASK", "ASK be brief", 1), ":1000", ":"+strconv.Itoa(briefTokens), 1)
}

const (
	googleStream = "/v1beta/models/MODEL:streamGenerateContent?alt=sse"
	googleWhole  = "/v1beta/models/MODEL:generateContent"
)

var kinds = []kind{
	{"chat", "paced", "/v1/chat/completions", streamed(chatBody), `"content":"t`, ""},
	{"completions", "paced", "/v1/completions", streamed(plainBody), `"text":"t`, ""},
	{"messages, translated", "paced", "/v1/messages", streamed(messagesBody), `"text":"t`, ""},
	{"responses, translated", "paced", "/v1/responses", streamed(responseBody), `"delta":"t`, ""},
	{"generateContent, translated", "paced", googleStream, googleBody, `"text":"t`, ""},
	{"chat, far", "far", "/v1/chat/completions", streamed(chatBody), `"content":"tok`, ""},
	{"messages, far, translated", "far", "/v1/messages", streamed(messagesBody), `"text":"tok`, ""},
	{"responses, far, translated", "far", "/v1/responses", streamed(responseBody), `"delta":"tok`, ""},
	{"generateContent, far, translated", "far", googleStream, googleBody, `"text":"tok`, ""},
	{"messages, farther", "farther", "/v1/messages", streamed(messagesBody), `"text":"tok`, ""},
	{"chat, farther, translated", "farther", "/v1/chat/completions", streamed(chatBody), `"content":"tok`, ""},
	{"chat, guarded", "guarded", "/v1/chat/completions", streamed(chatBody), `"content":"t`, ""},
	{"messages, guarded, translated", "guarded", "/v1/messages", streamed(messagesBody), `"text":"t`, ""},

	{"chat, whole, guarded", "guarded", "/v1/chat/completions", brief(chatBody), "", "usage.completion_tokens"},
	{"chat, whole", "paced", "/v1/chat/completions", brief(chatBody), "", "usage.completion_tokens"},
	{"completions, whole", "paced", "/v1/completions", brief(plainBody), "", "usage.completion_tokens"},
	{"messages, whole, translated", "paced", "/v1/messages", brief(messagesBody), "", "usage.output_tokens"},
	{"responses, whole, translated", "paced", "/v1/responses", brief(responseBody), "", "usage.output_tokens"},
	{"generateContent, whole, translated", "paced", googleWhole, brief(googleBody), "", "usageMetadata.candidatesTokenCount"},
	{"chat, whole, far", "far", "/v1/chat/completions", brief(chatBody), "", "usage.completion_tokens"},
	{"messages, whole, far, translated", "far", "/v1/messages", brief(messagesBody), "", "usage.output_tokens"},
	{"messages, whole, farther", "farther", "/v1/messages", brief(messagesBody), "", "usage.output_tokens"},
	{"responses, whole, farther, translated", "farther", "/v1/responses", brief(responseBody), "", "usage.output_tokens"},
	{"embeddings", "native", "/v1/embeddings", embedBody, "", ""},
	{"embeddings, far", "far", "/v1/embeddings", embedBody, "", ""},
	{"embedContent, far, translated", "far", "/v1beta/models/MODEL:embedContent", `{"content":{"parts":[{"text":"ASK"}]}}`, "", ""},
}

// sight is a request as its client saw it.
type sight struct {
	kind    int
	mark    string
	request string // x-request-id; empty if no answer began
	tokens  int    // in whole events, or as the whole answer tells
	whole   bool   // the answer came in one piece, all of it
	problem string
}

// killCount is how often the test kills: few by default, TRIARCH_KILLS if set.
func killCount(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("TRIARCH_KILLS"))
	if os.Getenv("TRIARCH_KILLS") == "" {
		return 3
	}
	if err != nil || n < 1 {
		t.Fatalf("TRIARCH_KILLS is %q", os.Getenv("TRIARCH_KILLS"))
	}
	return n
}

// A gateway of its own is killed -9 under requests of every kind and dialect; then its ledger is read, by its next start
// or by another node that was given its directory. No token that a client got is missing, at most one chunk of a stream
// is booked beyond, nothing is booked twice, what each key spent is exact, and every book agrees.
func TestKilledGateway(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	far := newProvider(t)
	p.reach(far)
	victim := p.gateways[0]
	var wanted []api.NewKey
	for _, k := range kinds {
		wanted = append(wanted, api.NewKey{Name: k.name, BudgetMicros: new(int64(1 << 40))})
	}
	keys := p.keys(wanted...)
	db, err := sql.Open("pgx", p.dsn)
	ok(t, err)
	defer db.Close()
	seed := rand.Uint64()
	dice := rand.New(rand.NewPCG(seed, 0))
	trials := killCount(t)
	var sum, cut, over int
	asked := make([]int, len(kinds))
	for trial := range trials {
		p.ready(victim, keys[0].Key)
		seen := p.killUnder(victim, trial, keys, dice)
		p.afterwards(victim, trial)
		books := p.books(db, keys)
		for _, s := range seen {
			asked[s.kind]++
			p.hold(far, s, books)
			b := books.of[s.request]
			if s.request != "" {
				sum, over = sum+1, max(over, b.output-s.tokens)
			}
			if b.outcome == outcomeCut {
				cut++
			}
		}
		for i, n := range books.each(len(keys)) {
			if n > asked[i] {
				t.Errorf("%s: %d requests were made, %d are booked", kinds[i].name, asked[i], n)
			}
		}
		if t.Failed() {
			t.Fatalf("trial %d of seed %d", trial, seed)
		}
	}
	if cut < trials*streamsEach*streamKinds() {
		t.Errorf("only %d requests were open when their gateway was killed", cut)
	}
	t.Logf("%d kills (seed %d): %d answers, %d cut, at most %d tokens booked beyond", trials, seed, sum, cut, over)
}

const (
	streamsEach = 3 // streams of each kind that are open when the gateway is killed
	loopsEach   = 2 // clients that ask one whole answer after another
	outcomeCut  = 5 // meter.Cut as the database has it
)

func streamKinds() (n int) {
	for _, k := range kinds {
		if k.token != "" {
			n++
		}
	}
	return n
}

// reach adds what the kinds need beside the paced engine: a provider in two dialects, and the embedded engine.
func (p *place) reach(far *provider) {
	t, ctx := p.t, p.t.Context()
	in, out, embedding := int64(1_000_000), int64(2_000_000), int64(3_000_000)
	for name, dialect := range map[string]string{"far": "openai", "farther": "anthropic"} {
		_, err := p.api.AddProvider(ctx, api.NewProvider{Name: name, URL: far.url + "/v1", Dialect: dialect, Key: "sk-far", AllowPrivate: true})
		ok(t, err)
		_, err = p.api.CreateRoute(ctx, api.NewRoute{Name: name, PriceIn: &in, PriceOut: &out, Prices: &api.PriceCard{Embedding: &embedding},
			Backends: []api.NewBackend{{Provider: name, Model: name}}})
		ok(t, err)
	}
	p.guarded(in, out)
	_, err := p.api.Deploy(ctx, api.NewDeployment{Name: "native", Model: p.version, Threads: 1,
		Route: &api.NewRoute{PriceIn: &in, PriceOut: &out, Prices: &api.PriceCard{Embedding: &embedding}}})
	ok(t, err)
	eventually(t, "the embedded engine", func() bool {
		d, err := p.api.Deployment(ctx, "native")
		ok(t, err)
		return d.Ready == 1
	})
}

// heldTokens are the most tokens that a guarded stream holds back: the piece that is judged, of 16 characters in tokens of at
// least three, and what came meanwhile.
const heldTokens = 8

// guarded gives the paced engine a second name, whose prompts and answers are judged.
func (p *place) guarded(in, out int64) {
	judge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write([]byte(`{"verdict":"allow"}`))
	}))
	p.t.Cleanup(judge.Close)
	_, err := p.api.CreateRoute(p.t.Context(), api.NewRoute{Name: "guarded", PriceIn: &in, PriceOut: &out, Backends: []api.NewBackend{{Deployment: "paced"}},
		Policy: api.NewPolicy{Guard: &api.NewGuard{URL: &judge.URL, AllowPrivate: new(true), Piece: new(16), TimeoutMS: new(60_000)}}})
	ok(p.t, err)
}

// ready waits until a gateway serves all models.
func (p *place) ready(g *process, key string) {
	p.t.Helper()
	for _, model := range []string{"paced", "guarded", "far", "farther", "native"} {
		p.knowsModel(g, key, model)
	}
}

// killUnder has clients of every kind ask a gateway, kills it in the middle and returns what each client saw.
func (p *place) killUnder(g *process, trial int, keys []api.MadeKey, dice *rand.Rand) []sight {
	var mu sync.Mutex
	var all []sight
	var begun, tokens, last atomic.Int64
	var clients sync.WaitGroup
	dead := make(chan struct{})
	var once sync.Once
	kill := func() { once.Do(func() { g.cmd.Process.Kill(); close(dead) }) }
	defer kill()
	note := func(s sight) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, s)
	}
	for i, k := range kinds {
		n := loopsEach
		if k.token != "" {
			n = streamsEach
		}
		for j := range n {
			mark := fmt.Sprintf("mark%dx%dx%d", trial, i, j)
			clients.Go(func() {
				if k.token != "" {
					first := true
					note(p.stream(g, i, mark, keys[i].Key, func(n int) {
						if first {
							first = false
							begun.Add(1)
						}
						if all := tokens.Add(int64(n)); last.Load() > 0 && all >= last.Load() {
							kill()
						}
					}))
					return
				}
				for turn := 0; ; turn++ {
					s := p.once(g, i, mark+strings.Repeat("0", min(turn, 1)), keys[i].Key)
					note(s)
					select {
					case <-dead:
						return
					case <-time.After(5 * time.Millisecond):
					}
					if s.request == "" {
						return
					}
				}
			})
		}
	}
	want := int64(streamsEach * streamKinds())
	eventually(p.t, "all streams to have begun", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range all {
			if s.problem != "" {
				p.t.Fatalf("%s: %s", kinds[s.kind].name, s.problem)
			}
		}
		return begun.Load() >= want
	})
	if trial%2 == 0 { // at the very moment a token arrives
		last.Store(tokens.Load() + 1 + dice.Int64N(300))
	} else {
		time.Sleep(time.Duration(dice.Int64N(int64(400 * time.Millisecond))))
		kill()
	}
	clients.Wait()
	g.end(syscall.SIGKILL)
	return all
}

// request asks for so many tokens, unless it is to be brief.
func (p *place) request(g *process, i int, mark, key string, length int) (*http.Response, error) {
	k := kinds[i]
	fill := strings.NewReplacer("MODEL", k.model, "ASK", mark+" of "+strconv.Itoa(length), ":1000", ":"+strconv.Itoa(length))
	req, err := http.NewRequestWithContext(p.t.Context(), "POST", g.url+fill.Replace(k.path), strings.NewReader(fill.Replace(k.body)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	return p.client.Do(req)
}

// stream reads a stream until its gateway is dead.
func (p *place) stream(g *process, i int, mark, key string, got func(tokens int)) sight {
	return p.streamOf(g, i, mark, key, endless, got)
}

const endless = 1000 // tokens: 20 s

// streamOf reads a stream of so many tokens to its end.
func (p *place) streamOf(g *process, i int, mark, key string, length int, got func(tokens int)) (s sight) {
	s = sight{kind: i, mark: mark}
	resp, err := p.request(g, i, mark, key, length)
	if err != nil {
		return s
	}
	defer resp.Body.Close()
	s.request = resp.Header.Get("X-Request-Id")
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		s.problem = fmt.Sprintf("%d %s", resp.StatusCode, text)
		return s
	}
	in := bufio.NewReader(resp.Body)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil { // half an event is not delivered
			return s
		}
		if n := bytes.Count(line, []byte(kinds[i].token)); n > 0 {
			s.tokens += n
			got(n)
		}
	}
}

// once asks for an answer in one piece.
func (p *place) once(g *process, i int, mark, key string) (s sight) {
	s = sight{kind: i, mark: mark}
	resp, err := p.request(g, i, mark, key, endless)
	if err != nil {
		return s
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return s // the gateway died
	}
	s.request = resp.Header.Get("X-Request-Id")
	if resp.StatusCode != http.StatusOK || !gjson.ValidBytes(text) {
		s.problem = fmt.Sprintf("%d %s", resp.StatusCode, text)
		return s
	}
	s.whole = true
	if used := kinds[i].used; used != "" {
		if s.tokens = int(gjson.GetBytes(text, used).Int()); s.tokens != briefTokens {
			s.problem = fmt.Sprintf("%d tokens: %s", s.tokens, text)
		}
	}
	return s
}

// afterwards has the dead gateway's ledger read: by its own next start, or by another node, after which it starts as well.
func (p *place) afterwards(g *process, trial int) {
	p.t.Helper()
	if trial%3 == 1 {
		text, err := run(p.env, "gateway", "recover", g.dir, "-o", "json")
		var r struct {
			Node         string
			Records, Cut int
		}
		if err == nil {
			err = json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &r)
		}
		if err != nil || r.Node == "" || r.Cut < streamsEach*streamKinds() || r.Records < r.Cut {
			p.t.Errorf("recover: %v %s", err, text)
		}
	}
	g.start()
}

// bill is a usage record.
type bill struct{ key, prompt, output, embedded, cost, outcome int }

type books struct{ of map[string]bill }

// each is how many records each key has.
func (b books) each(keys int) []int {
	n := make([]int, keys)
	for _, x := range b.of {
		n[x.key]++
	}
	return n
}

// books reads all records behind the programs' backs, proves that what each key spent is what they cost, in every place
// that says so, and has the program prove it as well.
func (p *place) books(db *sql.DB, keys []api.MadeKey) books {
	p.t.Helper()
	number := map[string]int{}
	for i, k := range keys {
		number[k.Object.ID] = i
	}
	b := books{of: map[string]bill{}}
	rows, err := db.Query("SELECT request_id, key_id, prompt_tokens, completion_tokens, embedding_tokens, cost_micros, outcome FROM usage_records")
	ok(p.t, err)
	defer rows.Close()
	spent := make([]int64, len(keys))
	for rows.Next() {
		var request, key string
		var x bill
		ok(p.t, rows.Scan(&request, &key, &x.prompt, &x.output, &x.embedded, &x.cost, &x.outcome))
		if _, twice := b.of[request]; twice {
			p.t.Errorf("request %s is booked twice", request)
		}
		if want := x.prompt + 2*x.output + 3*x.embedded; x.cost != want {
			p.t.Errorf("request %s costs %d, want %d: %+v", request, x.cost, want, x)
		}
		var known bool
		if x.key, known = number[key]; known {
			spent[x.key] += int64(x.cost)
		}
		b.of[request] = x
	}
	ok(p.t, rows.Err())
	budgets, err := p.api.Budgets(p.t.Context(), "")
	ok(p.t, err)
	found := 0
	for _, x := range budgets {
		if i, known := number[x.ID]; known {
			if found++; x.SpentMicros != spent[i] {
				p.t.Errorf("key %s: its budget says %d, its records cost %d", kinds[i].name, x.SpentMicros, spent[i])
			}
		}
	}
	if found != len(keys) {
		p.t.Errorf("%d of %d budgets are told", found, len(keys))
	}
	for i, k := range keys {
		var account int64
		err := db.QueryRow("SELECT COALESCE((SELECT spent FROM accounts WHERE id = $1), 0)", k.Object.ID).Scan(&account)
		if ok(p.t, err); account != spent[i] {
			p.t.Errorf("key %s: its account says %d, its records cost %d", kinds[i].name, account, spent[i])
		}
	}
	if text, err := run(p.env, "reconcile", "--data", p.control.dir); err != nil || !strings.Contains(text, "every book agrees") {
		p.t.Errorf("reconcile: %v %s", err, text)
	}
	return b
}

// hold holds what a client got against what is booked.
func (p *place) hold(far *provider, s sight, all books) {
	k := kinds[s.kind]
	b, booked := all.of[s.request]
	sent, asked := far.of(s.mark)
	switch over := b.output - s.tokens; {
	case s.problem != "":
		p.t.Errorf("%s: %s", k.name, s.problem)
	case s.request == "": // no answer came
	case !booked:
		p.t.Errorf("%s: request %s got %d tokens and is not booked", k.name, s.request, s.tokens)
	case b.key != s.kind:
		p.t.Errorf("%s: request %s is booked for another key", k.name, s.request)
	case k.token == "" && (over != 0 || b.outcome == outcomeCut || k.used == "" && b.embedded == 0 || k.used != "" && b.prompt == 0):
		p.t.Errorf("%s: a whole answer of %d tokens is booked %+v", k.name, s.tokens, b)
	case k.token != "" && (over < 0 || b.outcome != outcomeCut || b.prompt == 0):
		p.t.Errorf("%s: a stream of %d tokens is booked %+v", k.name, s.tokens, b)
	case k.token != "" && k.model == "paced" && over > 1:
		p.t.Errorf("%s: a stream of %d tokens is booked %+v, more than a chunk beyond", k.name, s.tokens, b)
	case k.token != "" && k.model == "guarded" && over > heldTokens:
		p.t.Errorf("%s: a stream of %d tokens is booked %+v, more than a guard holds back beyond", k.name, s.tokens, b)
	case k.token != "" && k.model != "paced" && k.model != "guarded" && (!asked || b.output > sent):
		p.t.Errorf("%s: a stream of %d tokens is booked %+v; its provider sent %d", k.name, s.tokens, b, sent)
	}
}
