package modelapi

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/models/engine/native"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/test/pacedengine"
)

const (
	question  = `[{"role":"user","content":"what is a ledger?"}]`
	promptLen = len(question) / 4 // as the paced engine counts
)

// Money for exactly ten requests and 256 at once: at most ten are served, then one by one exactly the rest, and the
// money is spent to the last micro-unit and not beyond. With and without a stated length, streamed and not.
func TestMoneyForTen(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		r := newRig(t, db, pacedengine.Options{Tokens: 8, Pace: time.Millisecond})
		for _, options := range []string{"", `,"max_tokens":8`, `,"stream":true`, `,"stream":true,"max_tokens":500`} {
			t.Run(strings.Trim(options, ","), func(t *testing.T) { r.raceForTen(t, options) })
		}
	})
}

func (r *rig) raceForTen(t *testing.T, options string) {
	const cost = int64(promptLen + 2*8)
	key, secret := r.funded(10 * cost)
	body := `{"model":"paced","messages":` + question + options + `}`
	ask := func() bool {
		a := r.chat(secret, body)
		switch {
		case a.status == 200 && strings.Contains(a.body, "t8 "):
			return true
		case a.status != 429 || a.header.Get("X-Should-Retry") != "false" || !strings.Contains(a.body, `"code":"insufficient_quota"`):
			t.Errorf("status %d, x-should-retry %q: %s", a.status, a.header.Get("X-Should-Retry"), a.body)
		}
		return false
	}
	var served atomic.Int64
	var work sync.WaitGroup
	for range 256 {
		work.Go(func() {
			if ask() {
				served.Add(1)
			}
		})
	}
	work.Wait()
	atOnce := served.Load()
	if atOnce < 1 || atOnce > 10 {
		t.Errorf("%d served at once", atOnce)
	}
	for ask() {
		served.Add(1)
	}
	if served.Load() != 10 {
		t.Errorf("%d served in all (%d at once), want 10", served.Load(), atOnce)
	}
	if got := r.book.Spent(raw(t, key.ID)); got != 10*cost {
		t.Errorf("spent %d of %d", got, 10*cost)
	}
	want := meter.Totals{Requests: 10, PromptTokens: int64(10 * promptLen), CompletionTokens: 80, CostMicros: 10 * cost}
	if got := r.totals(key.ID); got != want {
		t.Errorf("booked %+v, want %+v", got, want)
	}
}

// A stream is cut when the money ends, with the reason; a JSON answer says so in a header.
func TestCutWhenMoneyEnds(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 50})
	key, secret := r.funded(int64(promptLen + 2*5 + 1))
	a := r.chat(secret, `{"model":"paced","stream":true,"messages":`+question+`}`)
	if n := tokensIn([]byte(a.body)); n != 5 || !strings.Contains(a.body, `"finish_reason":"length"`) {
		t.Errorf("%d tokens came for money for 5\n%s", n, a.body)
	}
	before, found := strings.CutSuffix(a.body, "data: [DONE]\n\n")
	if events := strings.Split(strings.TrimSpace(before), "\n\n"); !found || !strings.Contains(events[len(events)-1], `"code":"insufficient_quota"`) {
		t.Errorf("the last event before the end gives no reason:\n%s", a.body)
	}
	if got := r.totals(key.ID); got.CostMicros != int64(promptLen+10) || got.CompletionTokens != 5 {
		t.Errorf("booked %+v", got)
	}
	if a := r.chat(secret, `{"model":"paced","messages":`+question+`}`); a.status != 429 {
		t.Errorf("one micro-unit bought %d", a.status)
	}

	key, secret = r.funded(int64(promptLen + 2*5))
	a = r.chat(secret, `{"model":"paced","max_tokens":40,"max_completion_tokens":45,"messages":`+question+`}`)
	if a.status != 200 || a.header.Get("X-Triarch-Cut") != "budget" || !strings.Contains(a.body, `"completion_tokens":5,`) {
		t.Errorf("status %d, header %q: %s", a.status, a.header.Get("X-Triarch-Cut"), a.body)
	}
	if got := r.totals(key.ID); got.CostMicros != int64(promptLen+10) {
		t.Errorf("booked %+v", got)
	}
}

// Budgets of the project bind its keys together.
func TestProjectBudget(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 8})
	_, one := r.key(tenancy.NewKey{Name: "one"})
	_, two := r.key(tenancy.NewKey{Name: "two"})
	body := `{"model":"paced","messages":` + question + `}`
	const cost = int64(promptLen + 2*8)
	_, err := r.tenancy.SetBudget(t.Context(), r.by, tenancy.Budget{Scope: tenancy.OfProject, ID: r.by.ProjectID, LimitMicros: 3 * cost})
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for n := range 5 {
		got = append(got, r.chat([]string{one, two}[n%2], body).status)
	}
	for n, status := range got {
		if want := map[bool]int{true: 200, false: 429}[n < 3]; status != want {
			t.Errorf("statuses %v, want three served", got)
			break
		}
	}
}

// 160 clients hang up in mid-stream: the engine stops generating, and each is billed what was streamed to it.
func TestHangUps(t *testing.T) {
	const clients, endless = 160, 1 << 20
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: endless, Pace: 5 * time.Millisecond})
	key, secret := r.key(tenancy.NewKey{Name: "k"})
	got := make(map[string]int, clients)
	var mu sync.Mutex
	var work sync.WaitGroup
	for n := range clients {
		work.Go(func() {
			rid, tokens := r.readSome(secret, 1+n%7)
			mu.Lock()
			defer mu.Unlock()
			got[rid] = tokens
		})
	}
	work.Wait()
	for r.engine.Running.Load() > 0 || r.ledger.Stats().Open > 0 { // the test's time limit ends what does not stop
		time.Sleep(time.Millisecond)
	}
	generated := r.engine.Generated.Load()
	totals := r.totals(key.ID)
	if totals.Requests != clients || totals.CompletionTokens > generated {
		t.Errorf("booked %+v; the engine made %d tokens", totals, generated)
	}
	for _, rec := range r.records() {
		tokens, ok := got["req_"+rec.Request.String()]
		if !ok || rec.Usage.Output < int64(tokens) || rec.Outcome != meter.HungUp || rec.Usage.Input != int64(promptLen) {
			t.Errorf("a client that read %d tokens is billed %d/%d, outcome %s", tokens, rec.Usage.Input, rec.Usage.Output, rec.Outcome)
		}
	}
	if r.book.Spent(raw(t, key.ID)) != totals.CostMicros {
		t.Errorf("spent %d, booked %d", r.book.Spent(raw(t, key.ID)), totals.CostMicros)
	}
}

// The cut holds on both paths under whatever name the request sets its limit by; the engine obeys the newer name.
func TestCutUnderEveryName(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 50})
	limits := []string{"", `,"max_tokens":40`, `,"max_completion_tokens":45`, `,"max_tokens":40,"max_completion_tokens":45`,
		`,"max_completion_tokens":45,"max_tokens":null`, `,"max_\u0074okens":40`, `,"max_completion_\u0074okens":45`}
	for path, prompt := range map[string]string{"/v1/chat/completions": `"messages":` + question, "/v1/completions": `"prompt":` + question} {
		for _, limit := range limits {
			key, secret := r.funded(int64(promptLen + 2*5))
			a := r.do("POST", path, secret, `{"model":"paced",`+prompt+limit+`}`)
			if a.status != 200 || a.header.Get("X-Triarch-Cut") != "budget" || !strings.Contains(a.body, `"completion_tokens":5,`) {
				t.Errorf("%s %s: %d %s", path, limit, a.status, a.body)
			}
			if got := r.totals(key.ID); got.CostMicros != int64(promptLen+10) || got.CompletionTokens != 5 {
				t.Errorf("%s %s: booked %+v", path, limit, got)
			}
		}
	}
}

// Money that only the exact count of tokens could tell to be enough is no want of money while nobody counts; another
// replica is asked to.
func TestNobodyCounts(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 2})
	_, secret := r.funded(int64(promptLen + 2*2))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/tokenize" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		r.engine.ServeHTTP(w, q)
	}))
	defer srv.Close()
	blind, live := strings.TrimPrefix(srv.URL, "http://"), r.routes.targets["paced"].Backends[0].Endpoints[0].Addr
	body := `{"model":"blind","max_tokens":2,"messages":` + question + `}`
	r.addRoute("blind", 1_000_000, 2_000_000, 1000, &native.Driver{}, blind)
	a := r.chat(secret, body)
	expectError(t, a, 503, "server_error", "not_counted", "")
	if a.header.Get("Retry-After") == "" || a.header.Get("X-Should-Retry") != "" {
		t.Errorf("headers %v", a.header)
	}
	expectError(t, r.chat(secret, `{"model":"paced","max_tokens":2,"messages":`+question+`,"temperature":{}}`), 400, "invalid_request_error", "", "")
	r.addRoute("blind", 1_000_000, 2_000_000, 1000, &native.Driver{}, blind, live)
	if a := r.chat(secret, body); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A client that hangs up before it has anything, streamed or not, pays its prompt, which the engine may have worked on,
// and gets none of its tokens a minute back; its place and the rest of its money are free again.
func TestHangUpBeforeTheAnswer(t *testing.T) {
	for _, options := range []string{"", `,"stream":true`} {
		r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 2, First: 24 * time.Hour, Pace: 24 * time.Hour})
		money := int64(10_000)
		key, secret := r.key(tenancy.NewKey{Name: "k", Limits: tenancy.Limits{Concurrency: 1, TPM: 100}, BudgetMicros: &money})
		ctx, hangUp := context.WithCancel(t.Context())
		go func() {
			for r.engine.Running.Load() == 0 {
				time.Sleep(time.Millisecond)
			}
			hangUp()
		}()
		body := `{"model":"paced","max_tokens":90,"messages":` + question + options + `}`
		req, err := http.NewRequestWithContext(ctx, "POST", r.url+"/v1/chat/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+secret)
		if resp, err := r.client.Do(req); err == nil {
			resp.Body.Close()
			t.Errorf("an answer of status %d came", resp.StatusCode)
		}
		for r.engine.Running.Load() > 0 || r.ledger.Stats().Open > 0 {
			time.Sleep(time.Millisecond)
		}
		want := meter.Totals{Requests: 1, PromptTokens: int64(promptLen), CostMicros: int64(promptLen)}
		if got := r.totals(key.ID); got != want || r.book.Spent(raw(t, key.ID)) != want.CostMicros {
			t.Errorf("%s: booked %+v, spent %d", options, got, r.book.Spent(raw(t, key.ID)))
		}
		if rec := r.records(); len(rec) != 1 || rec[0].Outcome != meter.HungUp {
			t.Errorf("%s: records %+v", options, rec)
		}
		expectError(t, r.chat(secret, body), 429, "tokens", "rate_limit_exceeded", "") // the charge stayed, the place did not
	}
}

// readSome reads a number of tokens of a stream, then hangs up; it returns how many it had by then.
func (r *rig) readSome(secret string, tokens int) (string, int) {
	ctx, hangUp := context.WithCancel(r.t.Context())
	defer hangUp()
	req, err := http.NewRequestWithContext(ctx, "POST", r.url+"/v1/chat/completions",
		strings.NewReader(`{"model":"paced","stream":true,"messages":`+question+`}`))
	if err != nil {
		r.t.Error(err)
		return "", 0
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Error(err)
		return "", 0
	}
	defer resp.Body.Close()
	var text []byte
	for buf := make([]byte, 4096); tokensIn(text) < tokens; {
		n, err := resp.Body.Read(buf)
		text = append(text, buf[:n]...)
		if err != nil {
			if err != io.EOF {
				r.t.Error(err)
			}
			break
		}
	}
	return resp.Header.Get("X-Request-Id"), tokensIn(text)
}

// records are all rows of the database.
// The chips' time is booked beside the tokens: requests at once share it, and all of them have no more than passed.
func TestChipTimeIsBooked(t *testing.T) {
	r := newRig(t, openSQLite(t), pacedengine.Options{Tokens: 20, Pace: time.Millisecond})
	r.gateway.ChipPrices = &meter.ChipPrices{}
	r.gateway.ChipPrices.Set([]meter.ChipPrice{{Chip: "toy", HourMicros: 3_600_000}})
	target := r.routes.targets["paced"].Backends[0]
	for i := range target.Endpoints {
		target.Endpoints[i].Chip, target.Endpoints[i].Chips = "toy", 8
	}
	_, secret := r.key(tenancy.NewKey{Name: "k"})
	began := time.Now()
	var work sync.WaitGroup
	for n := range 16 {
		work.Go(func() {
			if a := r.chat(secret, `{"model":"paced","stream":`+strconv.FormatBool(n%2 == 0)+`,"messages":`+question+`}`); a.status != 200 {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	work.Wait()
	took := time.Since(began)
	if err := r.shipper.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, rec := range r.records() {
		w := rec.Work
		if w.Chip != "toy" || w.ChipNanos != 1000*w.ChipMillis || w.FirstToken <= 0 || w.FirstToken > took || rec.Backend != target.ID {
			t.Errorf("booked %+v of %q", w, rec.Backend)
		}
		sum += w.ChipMillis
	}
	if most := 8 * took.Milliseconds(); sum > most || sum < 8*20 {
		t.Errorf("%d ms of one chip are booked, %d passed", sum, most)
	}
	totals, _, err := r.db.Meter().Usage(t.Context(), meter.Filter{})
	if err != nil || totals.ChipMillis != sum || totals.ChipNanos != sum*1000 {
		t.Errorf("totals %+v, %v", totals, err)
	}
}

func (r *rig) records() []meter.Record {
	r.t.Helper()
	var segments []int64
	err := r.db.Read(r.t.Context(), func(tx *sql.Tx) (err error) {
		segments, err = sql.All(r.t.Context(), tx, func(s sql.Scanner) (n int64, err error) { return n, s.Scan(&n) },
			"SELECT segment FROM usage_records UNION SELECT segment FROM usage_bundles")
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	var out []meter.Record
	for _, n := range segments {
		part, err := r.db.Meter().Records(r.t.Context(), "node_test", n)
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, part...)
	}
	return out
}
