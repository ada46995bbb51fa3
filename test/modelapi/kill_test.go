package modelapi

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/engine/native"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/test/pacedengine"
)

const (
	dirEnv    = "TRIARCH_MODELAPI_TEST_DIR"
	engineEnv = "TRIARCH_MODELAPI_TEST_ENGINE"
	dsnEnv    = "TRIARCH_MODELAPI_TEST_DSN"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(dirEnv); dir != "" {
		if err := gatewayProcess(dir, os.Getenv(dsnEnv), os.Getenv(engineEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// gatewayProcess is a gateway that runs until it is killed.
func gatewayProcess(dir, dsn, engineAddr string) error {
	ctx := context.Background()
	db, err := openAt(ctx, dsn)
	if err != nil {
		return err
	}
	p, err := build(ctx, db, dir+"/ledger", engineAddr)
	if err != nil {
		return err
	}
	p.routes.targets["paced"].Backends[0].Engine = oneByOne{&native.Driver{}}
	p.addRoute("roomy", 1_000_000, 2_000_000, 8000, &native.Driver{}, engineAddr)
	go p.shipper.Loop(ctx)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, p.handler)
}

func openAt(ctx context.Context, dsn string) (*sql.DB, error) {
	return sql.Open(ctx, dsn, slog.New(slog.DiscardHandler))
}

// oneByOne hands events out singly, as if the engine were never ahead, so that a chunk is one token and the promise
// "at most one chunk too many" can be checked to the token.
type oneByOne struct{ *native.Driver }

func (o oneByOne) Open(ctx context.Context, to engine.Endpoint, q engine.Request) (engine.Stream, error) {
	s, err := o.Driver.Open(ctx, to, q)
	return &single{Stream: s}, err
}

type single struct {
	engine.Stream
	last engine.Chunk // rest of the last chunk, with the counts up to its end
}

func (s *single) Next() (engine.Chunk, error) {
	if len(s.last.Data) == 0 {
		var err error
		if s.last, err = s.Stream.Next(); err != nil {
			return s.last, err
		}
	}
	c := s.last
	end := bytes.Index(c.Data, []byte("\n\n")) + 2
	c.Data, s.last.Data = c.Data[:end], c.Data[end:]
	c.Completion -= tokensIn(s.last.Data)
	c.Done = c.Done && len(s.last.Data) == 0
	return c, nil
}

// A gateway is killed 20 times in the middle of 64 streams of all dialects, over one data directory: no token that a
// client got is missing, at most one chunk of each stream is booked beyond, and all books agree, the budget's included.
func TestKilledGateway(t *testing.T) {
	sqltest.EachDSN(t, func(t *testing.T, dsn string) {
		dir := t.TempDir()
		e, engineAddr := startEngine(t, pacedengine.Options{Tokens: 1 << 20, Pace: 10 * time.Millisecond})
		secret := prepare(t, dir, dsn)
		trials := 20
		if !strings.HasPrefix(dsn, "sqlite:") && os.Getenv("TRIARCH_KILLS") == "" {
			trials = 5
		}
		killed := 0
		for trial := range trials {
			delivered := killOnce(t, dir, dsn, engineAddr, secret, rand.IntN(400))
			killed += checkBooks(t, trial, dir, dsn, delivered)
			for e.Running.Load() > 0 { // the engine notices that its caller died
				time.Sleep(time.Millisecond)
			}
		}
		if killed != trials*streams {
			t.Errorf("only %d streams were open when their gateway was killed", killed)
		}
	})
}

// prepare makes the data directory with a key that has a budget.
func prepare(t *testing.T, dir, dsn string) string {
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
	money := int64(1 << 48)
	_, secret, err := p.tenancy.CreateKey(t.Context(), p.by, tenancy.NewKey{Name: "k", BudgetMicros: &money})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

const streams = 64

// startGateway runs a gateway in a process of its own, which says its address when it serves. kill ends it as it stands; wait
// comes after that.
func startGateway(t *testing.T, dir, dsn, engineAddr string) (addr string, kill, wait func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), dirEnv+"="+dir, dsnEnv+"="+dsn, engineEnv+"="+engineAddr)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill, wait = func() { cmd.Process.Kill() }, func() { cmd.Wait() }
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		kill()
		wait()
		t.Fatal(err)
	}
	return strings.TrimSpace(line), kill, wait
}

// killOnce runs a gateway under its streams, kills it when all have begun and that many more tokens were delivered, and
// returns the tokens each request got.
func killOnce(t *testing.T, dir, dsn, engineAddr, secret string, tokens int) map[string]int {
	addr, kill, wait := startGateway(t, dir, dsn, engineAddr)
	defer wait()
	defer kill()
	delivered := map[string]int{}
	var mu sync.Mutex
	var begun, sum atomic.Int64
	var clients sync.WaitGroup
	for i := range streams {
		clients.Go(func() {
			first := true
			rid, n := streamUntilDead(addr, secret, longStreams[i%len(longStreams)], func(n int) {
				if first && begun.Add(1) == streams {
					sum.Store(0)
				}
				first = false
				if sum.Add(int64(n)) >= int64(tokens) && begun.Load() == streams {
					kill()
				}
			})
			mu.Lock()
			defer mu.Unlock()
			delivered[rid] = n
		})
	}
	clients.Wait()
	if len(delivered) != streams {
		t.Errorf("%d of %d streams began", len(delivered), streams)
	}
	return delivered
}

// longStreams ask for one in each dialect.
var longStreams = []struct{ path, body string }{
	{"/v1/chat/completions", `{"model":"paced","stream":true,"max_tokens":1000,"messages":` + question + `}`},
	{"/v1/messages", `{"model":"paced","stream":true,"max_tokens":1000,"messages":` + question + `}`},
	{"/v1/responses", `{"model":"paced","stream":true,"max_output_tokens":1000,"input":"How are you?"}`},
	{"/v1beta/models/paced:streamGenerateContent?alt=sse", `{"contents":[{"parts":[{"text":"How are you?"}]}],"generationConfig":{"maxOutputTokens":1000}}`},
	{"/v1/completions", `{"model":"paced","stream":true,"max_tokens":1000,"prompt":"How are you?"}`},
}

func streamUntilDead(addr, secret string, ask struct{ path, body string }, got func(tokens int)) (rid string, tokens int) {
	req, err := http.NewRequest("POST", "http://"+addr+ask.path, strings.NewReader(ask.body))
	if err != nil {
		return "", 0
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return "", 0
	}
	defer resp.Body.Close()
	r := bufio.NewReader(resp.Body)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return resp.Header.Get("X-Request-Id"), tokens
		}
		if n := tokensIn([]byte(line)); n > 0 {
			tokens += n
			got(n)
		}
	}
}

// checkBooks does what the next start does, and compares. It returns how many streams were cut by the kill.
func checkBooks(t *testing.T, trial int, dir, dsn string, delivered map[string]int) int {
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
	r := &rig{parts: p, t: t}
	totals := r.totals("")
	booked := map[string]meter.Record{}
	var sum meter.Totals
	for _, rec := range r.records() {
		booked["req_"+rec.Request.String()] = rec
		rec.Work = meter.Work{}
		sum.Add(&rec)
	}
	if sum != totals || p.book.Spent(raw(t, p.by.OrgID)) != totals.CostMicros {
		t.Errorf("trial %d: records %+v, roll-up %+v, budget %d", trial, sum, totals, p.book.Spent(raw(t, p.by.OrgID)))
	}
	for rid, n := range delivered {
		rec, ok := booked[rid]
		if over := rec.Usage.Output - int64(n); !ok || over < 0 || over > 1 {
			t.Errorf("trial %d: request %s got %d tokens and is billed %d", trial, rid, n, rec.Usage.Output)
		}
	}
	return p.ledger.Recovered().Cut
}
