package kill

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite" // the data directory's database, read behind the program's back

	"github.com/triarch-ai/triarch/api"
)

// stream is one streamed answer as its client saw it.
type stream struct {
	request string // x-request-id; empty if no answer began
	tokens  int    // in whole events
	events  int    // that held tokens
	most    int    // tokens of one event, at most
	status  int
	done    bool   // [DONE] came
	broke   bool   // an event told of an error
	problem string // why no answer began, or what came instead of one
}

// swarm is many streams at once.
type swarm struct {
	begun atomic.Int64 // streams that got a token
	got   atomic.Int64 // tokens of all
	last  atomic.Int64 // the program is killed when so many have arrived; 0: not by this
	left  sync.WaitGroup
	mu    sync.Mutex
	all   []stream
}

// open begins n streams of a route and returns when each has got a token. They ask for more than they will get.
func (p *place) open(n int, model, key string) *swarm {
	p.t.Helper()
	s := &swarm{}
	url := p.url
	for i := range n {
		s.left.Go(func() {
			got := s.read(p, url, key, model, i)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.all = append(s.all, got)
		})
	}
	p.eventually(fmt.Sprintf("%d streams of %s", n, model), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, ended := range s.all {
			if ended.tokens == 0 {
				p.t.Fatalf("a stream of %s got nothing and ended with status %d: %s", model, ended.status, ended.problem)
			}
		}
		return s.begun.Load() >= int64(n)
	})
	return s
}

// wait returns the streams once all have ended.
func (s *swarm) wait() []stream {
	s.left.Wait()
	return s.all
}

// mark is what an event holds once for each token: the paced engine's tokens are "t1 ", "t2 ", ...; the embedded
// engine tells a log probability for each token, whether it has brought a whole character or not.
var mark = map[string][]byte{"paced": []byte(`"content":"t`), "native": []byte(`"logprob":`)}

func (s *swarm) read(p *place, url, key, model string, i int) (got stream) {
	body := fmt.Sprintf(`{"model":%q,"stream":true,"max_tokens":1900,"ignore_eos":true,"logprobs":true,"seed":%d,`+
		`"logit_bias":{"0":-100,"1":-100,"2":-100,"3":-100},"messages":[{"role":"user","content":"Go on, number %d."}]}`, model, i, i)
	req, err := http.NewRequestWithContext(p.t.Context(), "POST", url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return got
	}
	req.Header.Set("Authorization", "Bearer "+key)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		got.problem = err.Error()
		return got
	}
	defer resp.Body.Close()
	got.request, got.status = resp.Header.Get("X-Request-Id"), resp.StatusCode
	if got.status != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		got.problem = string(text)
		return got
	}
	in := bufio.NewReader(resp.Body)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil { // half an event is not delivered
			return got
		}
		got.done = got.done || bytes.HasPrefix(line, []byte("data: [DONE]"))
		got.broke = got.broke || bytes.HasPrefix(line, []byte(`data: {"error"`))
		n := bytes.Count(line, mark[model])
		if n == 0 {
			continue
		}
		if got.tokens == 0 {
			s.begun.Add(1)
		}
		if all := s.got.Add(int64(n)); s.last.Load() > 0 && all >= s.last.Load() {
			p.control.Process.Kill()
		}
		got.tokens, got.events, got.most = got.tokens+n, got.events+1, max(got.most, n)
	}
}

// bill is a usage record.
type bill struct{ prompt, completion, cost, outcome int64 }

// bills reads all usage records by request.
func (p *place) bills() (map[string]bill, api.Totals) {
	p.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(p.dir, "state.db")+"?mode=ro&_pragma=busy_timeout(10000)")
	p.ok(err)
	defer db.Close()
	rows, err := db.Query("SELECT request_id, prompt_tokens, completion_tokens, cost_micros, outcome FROM usage_records")
	p.ok(err)
	defer rows.Close()
	all, sum := map[string]bill{}, api.Totals{}
	for rows.Next() {
		var request string
		var b bill
		p.ok(rows.Scan(&request, &b.prompt, &b.completion, &b.cost, &b.outcome))
		if _, twice := all[request]; twice {
			p.t.Errorf("request %s is booked twice", request)
		}
		all[request] = b
		sum.Requests++
		sum.PromptTokens += b.prompt
		sum.CompletionTokens += b.completion
		sum.CostMicros += b.cost
	}
	p.ok(rows.Err())
	return all, sum
}

// tally is what was delivered and booked.
type tally struct{ streams, delivered, booked, over int }

// settle holds the bills against what the clients got: no token that arrived is missing, and beyond it at most chunk is
// booked for each stream, as many tokens as the stream's chunk may have had. Then it has the program prove its books,
// and adds the records up itself.
//
// The bound is exact, although a killed program leaves bytes in flight: what it wrote before it died is in the kernel's
// hands, which delivers it over the loopback interface before it tells of the end, and the clients here read to the end.
// So a chunk that was written was also received, and what is booked beyond is the one chunk per stream whose count was
// stored when its write had not been.
func (p *place) settle(streams []stream, chunk func(stream) int) (sum tally) {
	p.t.Helper()
	p.run(nil, "usage", "verify")
	bills, totals := p.bills()
	for _, s := range streams {
		b, ok := bills[s.request]
		over := int(b.completion) - s.tokens
		if !ok || over < 0 || over > chunk(s) || b.prompt == 0 {
			p.t.Errorf("request %s (status %d) got %d tokens in %d events of at most %d, and is booked %+v", s.request, s.status, s.tokens, s.events, s.most, b)
		}
		sum = tally{sum.streams + 1, sum.delivered + s.tokens, sum.booked + int(b.completion), max(sum.over, over)}
	}
	var usage api.Usage
	p.run(&usage, "usage")
	if usage.Totals != totals {
		p.t.Errorf("usage says %+v, the records add up to %+v", usage.Totals, totals)
	}
	budgets, err := p.api.Budgets(p.t.Context(), "")
	p.ok(err)
	if len(budgets) != 1 || budgets[0].SpentMicros != totals.CostMicros {
		p.t.Errorf("the budget is %+v, the records cost %d", budgets, totals.CostMicros)
	}
	return sum
}

func (a tally) plus(b tally) tally {
	return tally{a.streams + b.streams, a.delivered + b.delivered, a.booked + b.booked, max(a.over, b.over)}
}

func (a tally) String() string {
	return fmt.Sprintf("%d streams, %d tokens delivered, %d booked, at most %d over on a stream", a.streams, a.delivered, a.booked, a.over)
}

// paid makes a key with a budget that nothing here exhausts.
func (p *place) paid() string {
	p.t.Helper()
	money := int64(1e15)
	k, err := p.api.CreateKey(p.t.Context(), api.NewKey{Name: "clients", BudgetMicros: &money})
	p.ok(err)
	return k.Key
}

// slow makes a model that has learned nothing and takes its time to say it, so that streams are open for long.
func (p *place) slow() string {
	p.t.Helper()
	r, err := p.api.CreateRun(p.t.Context(), api.NewRun{Model: "slow", Data: "notes", Recipe: api.Recipe{Preset: "small", KVHeads: 1, Context: 2048, SeqLen: 64, Batch: 1, Steps: 1}})
	p.ok(err)
	return p.ended(r.ID).ModelVersion
}

// deploy serves a version by an engine under the engine's name and waits until all replicas answer.
func (p *place) deploy(version, engine string, replicas int) {
	p.t.Helper()
	_, err := p.api.Deploy(p.t.Context(), api.NewDeployment{Name: engine, Model: version, Engine: engine, Replicas: replicas, Threads: 1,
		Route: &api.NewRoute{PriceIn: new(int64(1_000_000)), PriceOut: new(int64(2_000_000))}})
	p.ok(err)
	p.serving(engine)
}

func (p *place) serving(deployment string) (d api.DeploymentDetail) {
	p.t.Helper()
	p.eventually(deployment+" to serve", func() bool {
		var err error
		d, err = p.api.Deployment(p.t.Context(), deployment)
		p.ok(err)
		return d.Ready == d.Replicas
	})
	return d
}

// oneToken is a chunk of the paced engine, whose rig hands events out singly.
func oneToken(stream) int { return 1 }

// oneWrite is a chunk of the embedded engine: the tokens of the last events that the gateway was handed together, as the
// rig wrote them down.
func (p *place) oneWrite(s stream) int {
	text, err := os.ReadFile(filepath.Join(p.chunks, s.request))
	if err != nil || len(text) != 16 {
		p.t.Errorf("what request %s was handed is not known: %d bytes, %v", s.request, len(text), err)
		return 0
	}
	before, after := int(binary.BigEndian.Uint64(text)), int(binary.BigEndian.Uint64(text[8:]))
	if s.tokens < before || s.tokens > after {
		p.t.Errorf("request %s got %d tokens, its gateway was handed %d and then %d", s.request, s.tokens, before, after)
	}
	return after - before
}

// The control plane, gateway included, is killed in the middle of a run and under 64 open streams, of a paced engine and of
// the embedded one: what the clients got is booked, all books agree, and neither run nor replicas notice.
func TestGatewayKilledUnderStreams(t *testing.T) {
	t.Parallel()
	p := newPlace(t, binaries.rig)
	p.furnish()
	key, version := p.paid(), p.slow()
	p.deploy(version, "paced", 2)
	p.deploy(version, "native", 2)
	want, run := undisturbed(t), p.train()
	p.worker(run.JobID, 1)
	before := p.processes()
	d, kills := dice(t), killCount(t, 6)
	sums := map[string]tally{}
	cut := map[string]int{}
	for n := range kills {
		engine, chunk := "paced", oneToken
		if n%3 == 2 {
			engine, chunk = "native", p.oneWrite
		}
		p.serving(engine)
		s := p.open(64, engine, key)
		if n%2 == 0 { // at the very moment a token arrives
			s.last.Store(s.got.Load() + 1 + d.Int64N(500))
		} else {
			time.Sleep(upTo(d, 400*time.Millisecond))
			p.control.Process.Kill()
		}
		streams := s.wait()
		p.kill()
		p.up()
		sums[engine] = sums[engine].plus(p.settle(streams, chunk))
		for _, s := range streams {
			if !s.done {
				cut[engine]++
			}
		}
	}
	for engine, sum := range sums {
		if cut[engine] != sum.streams {
			t.Errorf("%d of %d streams of %s were open when their gateway was killed", cut[engine], sum.streams, engine)
		}
		for _, c := range p.serving(engine).Copies {
			if c.Attempt != 1 || c.Restarts != 0 || p.attempts(c.JobID) != 1 {
				t.Errorf("replica %s was started anew: %+v", c.ID, c)
			}
		}
	}
	run = p.ended(run.ID)
	if diff := cmp.Diff(want, p.outcome(run)); diff != "" || run.Attempt != 1 || run.Restarts != 0 {
		t.Errorf("the run beside the streams: attempt %d, %d restarts (-undisturbed +this)\n%s", run.Attempt, run.Restarts, diff)
	}
	for file, pid := range before { // of the replicas, the run and their supervisors
		if pidOf(file) != pid {
			t.Errorf("%s named process %d, now %d", file, pid, pidOf(file))
		}
	}
	t.Logf("%d kills, slowest first answer %s; paced: %s; native: %s", kills, p.slowest.Round(time.Millisecond), sums["paced"], sums["native"])
}
