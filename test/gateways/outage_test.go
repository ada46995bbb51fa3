package gateways

import (
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/test/wire"
)

// The database goes away from a gateway of its own, and from it alone: its streams of every dialect go on to their ends,
// requests meanwhile are served on what is leased or refused as Unavailable, the other gateway goes on, and when it is
// back every token is booked, once. In a second outage the gateway is killed as well: its next start books what it held.
func TestDatabaseOutage(t *testing.T) {
	t.Parallel()
	dsn := sqltest.Postgres(t)
	w, cuttable := wire.New(t, dsn)
	p := newPlaceOn(t, dsn, "TRIARCH_DATABASE="+cuttable, "")
	far := newProvider(t)
	p.reach(far)
	cut, other := p.gateways[0], p.gateways[1]
	var wanted []api.NewKey
	for _, k := range kinds {
		wanted = append(wanted, api.NewKey{Name: k.name, BudgetMicros: new(int64(1 << 40))})
	}
	keys := p.keys(append(wanted, api.NewKey{Name: "meanwhile", BudgetMicros: new(int64(1 << 40))})...)
	meanwhile := keys[len(kinds)]
	keys = keys[:len(kinds)]
	p.ready(cut, meanwhile.Key)
	db, err := sql.Open("pgx", dsn)
	ok(t, err)
	defer db.Close()

	const before = 2
	streams := p.openStreams(cut, keys, "0", long(wire.Outage(t)))
	for range before { // it has leases when the database goes
		if a := p.ask(t.Context(), cut, meanwhile.Key); a.status != 200 {
			t.Fatalf("%+v", a)
		}
	}
	w.Cut()
	served, refused, elsewhere := p.without(cut, other, meanwhile.Key, wire.Outage(t))
	if served == 0 {
		t.Error("nothing was served on what had been leased")
	}
	for _, s := range streams.wait() { // without the database, to the end
		if s.problem != "" || s.tokens != streams.length {
			t.Errorf("%s: %d of %d tokens; %s", kinds[s.kind].name, s.tokens, streams.length, s.problem)
		}
	}
	w.Join()
	t.Logf("of the gateway without the database %d requests were served and %d refused; of the other %d served", served, refused, elsewhere)
	eventually(t, "all records", func() bool {
		u := p.used(meanwhile.Object.ID)
		var of int64
		ok(t, db.QueryRow("SELECT COUNT(*) FROM usage_records WHERE key_id <> $1", meanwhile.Object.ID).Scan(&of))
		return u.Requests >= before+served+elsewhere && of >= int64(len(streams.all))
	})
	all := p.books(db, keys)
	for _, s := range streams.all {
		if b, booked := all.of[s.request]; !booked || b.output != s.tokens || b.outcome == outcomeCut {
			t.Errorf("%s: %d tokens, booked %+v", kinds[s.kind].name, s.tokens, b)
		}
	}
	if u := p.used(meanwhile.Object.ID); u.Requests != before+served+elsewhere || u.CompletionTokens != 5*u.Requests || u.CostMicros != u.PromptTokens+2*u.CompletionTokens {
		t.Errorf("%d were served here and %d there, booked %+v", served, elsewhere, u)
	}
	eventually(t, "leases", func() bool { return p.ask(t.Context(), cut, meanwhile.Key).status == 200 })

	streams = p.openStreams(cut, keys, "1", 1000)
	w.Cut()
	time.Sleep(time.Second)
	cut.end(syscall.SIGKILL)
	left := streams.wait()
	w.Join()
	cut.start()
	all = p.books(db, keys)
	for _, s := range left {
		k := kinds[s.kind]
		most := s.tokens + 1 // a chunk
		switch k.model {
		case "paced":
		case "guarded":
			most = s.tokens + heldTokens
		default:
			most, _ = far.of(s.mark)
		}
		if b, booked := all.of[s.request]; !booked || b.output < s.tokens || b.output > most || b.outcome != outcomeCut {
			t.Errorf("%s, killed: %d tokens, booked %+v", k.name, s.tokens, b)
		}
	}
}

// long is how many tokens a stream has that outlasts a time.
func long(d time.Duration) int { return int((d + 2*time.Second) / pace) }

// without asks a gateway that has no database, and one that has, for some time. It returns how many requests they
// served, and how many the first refused.
func (p *place) without(cut, other *process, key string, d time.Duration) (served, refused, elsewhere int64) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		switch a := p.ask(p.t.Context(), cut, key); {
		case a.err == nil && a.status == 200:
			served++
		case a.err == nil && a.status == 503:
			refused++
		default:
			p.t.Errorf("without the database: %+v", a)
		}
		if a := p.ask(p.t.Context(), other, key); a.err != nil || a.status != 200 {
			p.t.Errorf("with the database: %+v", a)
		}
		elsewhere++
	}
	return served, refused, elsewhere
}

// swarm are streams that are open at once.
type swarm struct {
	length int // tokens of each
	left   sync.WaitGroup
	mu     sync.Mutex
	all    []sight
}

func (s *swarm) wait() []sight {
	s.left.Wait()
	return s.all
}

// openStreams begins streams of every kind and returns when each has a token.
func (p *place) openStreams(g *process, keys []api.MadeKey, round string, length int) *swarm {
	s := &swarm{length: length}
	var begun atomic.Int64
	var want int64
	for i, k := range kinds {
		if k.token == "" {
			continue
		}
		for j := range streamsEach {
			want++
			s.left.Go(func() {
				first := true
				got := p.streamOf(g, i, fmt.Sprintf("mark9%sx%dx%d", round, i, j), keys[i].Key, length, func(int) {
					if first {
						first = false
						begun.Add(1)
					}
				})
				s.mu.Lock()
				defer s.mu.Unlock()
				s.all = append(s.all, got)
			})
		}
	}
	eventually(p.t, "all streams to have begun", func() bool { return begun.Load() >= want })
	return s
}
