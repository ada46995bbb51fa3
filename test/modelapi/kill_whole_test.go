package modelapi

import (
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/test/pacedengine"
)

// wholeAnswers ask for answers in one piece: short ones, which are asked for as they are, and those that may be long, which
// are streamed to the gateway and put together there; in the engine's dialect and in others.
var wholeAnswers = []struct{ path, body string }{
	{"/v1/chat/completions", `{"model":"paced","max_tokens":100,"messages":` + question + `}`},
	{"/v1/chat/completions", `{"model":"roomy","max_tokens":5000,"messages":` + question + `}`},
	{"/v1/completions", `{"model":"roomy","max_tokens":5000,"prompt":"How are you?"}`},
	{"/v1/messages", `{"model":"roomy","max_tokens":5000,"messages":` + question + `}`},
	{"/v1/responses", `{"model":"roomy","max_output_tokens":5000,"input":"How are you?"}`},
}

// wholeTokens is how long each of them becomes.
const wholeTokens = 25

// A gateway is killed while it makes answers in one piece, in either way: those that arrived are booked to the token, what
// had not cost nothing or all of it, and all books agree.
func TestKilledUnderWholeAnswers(t *testing.T) {
	sqltest.EachDSN(t, func(t *testing.T, dsn string) {
		dir := t.TempDir()
		e, engineAddr := startEngine(t, pacedengine.Options{Tokens: wholeTokens, Pace: 4 * time.Millisecond})
		secret := prepare(t, dir, dsn)
		trials, got := 3, 0
		if os.Getenv("TRIARCH_KILLS") != "" {
			trials = 20
		}
		for trial := range trials {
			delivered := killAmongWhole(t, dir, dsn, engineAddr, secret, 30+rand.IntN(60))
			got += len(delivered)
			checkBooks(t, trial, dir, dsn, delivered)
			for e.Running.Load() > 0 { // the engine notices that its caller died
				time.Sleep(time.Millisecond)
			}
		}
		checkWhole(t, dir, dsn)
		if got == 0 {
			t.Error("no answer arrived")
		}
	})
}

// killAmongWhole runs a gateway, has many ask it again and again, and kills it when so many answers have arrived. It returns
// the tokens of each.
func killAmongWhole(t *testing.T, dir, dsn, engineAddr, secret string, answers int) map[string]int {
	addr, kill, wait := startGateway(t, dir, dsn, engineAddr)
	defer wait()
	defer kill()
	delivered := map[string]int{}
	var mu sync.Mutex
	var arrived atomic.Int64
	var clients sync.WaitGroup
	for i := range 20 {
		clients.Go(func() {
			for n := i; ; n++ {
				rid, tokens := askWhole(t, addr, secret, wholeAnswers[n%len(wholeAnswers)])
				if tokens == 0 {
					return
				}
				mu.Lock()
				delivered[rid] = tokens
				mu.Unlock()
				if arrived.Add(1) == int64(answers) {
					kill()
				}
			}
		})
	}
	clients.Wait()
	return delivered
}

// askWhole is one answer: its request and tokens, 0 when the gateway was gone before it was whole.
func askWhole(t *testing.T, addr, secret string, ask struct{ path, body string }) (string, int) {
	req, err := http.NewRequest("POST", "http://"+addr+ask.path, strings.NewReader(ask.body))
	if err != nil {
		t.Error(err)
		return "", 0
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return "", 0
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", 0
	}
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(b), "t25 ") {
		t.Errorf("%s: %d %s", ask.path, resp.StatusCode, b)
		return "", 0
	}
	return resp.Header.Get("X-Request-Id"), wholeTokens
}

// checkWhole holds every record against what can have been: an answer is booked whole, or, of a gateway that died before it
// was there, not at all.
func checkWhole(t *testing.T, dir, dsn string) {
	db, err := openAt(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p, err := build(t.Context(), db, dir+"/ledger")
	if err != nil {
		t.Fatal(err)
	}
	defer p.ledger.Close()
	cut := 0
	for _, r := range (&rig{parts: p, t: t}).records() {
		switch {
		case r.Outcome == meter.Finished && r.Usage.Output == wholeTokens:
		case r.Outcome == meter.Cut && (r.Usage.Output == 0 || r.Usage.Output == wholeTokens):
			cut++
		default:
			t.Errorf("booked %+v, %s", r.Usage, r.Outcome)
		}
	}
	if cut == 0 {
		t.Error("no request was under way when its gateway was killed")
	}
}
