package gateway

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
)

// busy is a script whose replicas tell their load.
type busy struct {
	script
	mu    sync.Mutex
	loads map[string]engine.Load
	holds bool // it has what it was asked still, beside its load
	fail  bool
	calls int
}

func (b *busy) Load(_ context.Context, to engine.Endpoint) (engine.Load, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if b.fail {
		return engine.Load{}, fault.New(fault.Unavailable, "away")
	}
	l := b.loads[to.Replica]
	if b.holds {
		b.script.mu.Lock()
		defer b.script.mu.Unlock()
		for _, name := range b.of {
			if name == to.Replica {
				l.Running++
			}
		}
	}
	return l, nil
}

var _ engine.Reporter = (*busy)(nil)

// No replica is sent more than it says that it runs at once while another has room, whatever it knows of the prompt, and what
// other gateways have there counts. Once all are full, they are asked all the same: their own queue is theirs to bound.
func TestWhatReplicasSayOfTheirLoad(t *testing.T) {
	for name, body := range map[string]string{"a prompt": prompt(words(1, 8), ""), "a session": prompt("short", `,"user":"ann"`), "nothing to go by": prompt("short", "")} {
		for _, locality := range []string{"", "off"} {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				e := &busy{holds: true, script: script{says: []said{{body: fine, after: time.Minute}}}, loads: map[string]engine.Load{
					"one-a": {Slots: 4}, "one-b": {Slots: 4, Running: 2, Waiting: 1}, "one-c": {Slots: 2}}}
				r.route(own("one", 0, 1, 3, e)).Route.Policy.Locality = locality
				go r.ask(t.Context(), body) // has the replicas asked
				synctest.Wait()
				count := map[string]int{e.of[0]: 1}
				for range 6 {
					go r.ask(t.Context(), body)
					synctest.Wait()
					count[e.of[len(e.of)-1]]++
				}
				if count["one-a"] != 4 || count["one-b"] != 1 || count["one-c"] != 2 {
					t.Errorf("%s, locality %q: %v", name, locality, count)
				}
				go r.ask(t.Context(), body)
				synctest.Wait()
				if e.times() != 8 {
					t.Errorf("%s, locality %q: %d were asked", name, locality, e.times())
				}
				time.Sleep(2 * time.Minute)
			})
		}
	}
}

// Replicas are asked once a second while requests come, and not otherwise; one that does not answer is taken as one that
// never said anything.
func TestLoadsAreAskedForNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		e := &busy{script: script{says: []said{{body: fine}}}, loads: map[string]engine.Load{"one-a": {Slots: 4}, "one-b": {Slots: 4}}}
		r.route(own("one", 0, 1, 2, e))
		for range 40 {
			if _, err := r.ask(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if e.calls != 8 {
			t.Errorf("asked %d times in 4 s", e.calls)
		}
		time.Sleep(time.Minute)
		if e.calls != 8 {
			t.Errorf("asked %d times while nobody wanted anything", e.calls-8)
		}
		if n := r.replica("one-a").load.slots.Load(); n != 4 {
			t.Errorf("%d slots", n)
		}
		e.fail = true
		for range 20 {
			if _, err := r.ask(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n := r.replica("one-a").load.slots.Load(); n != 0 || e.calls != 10 {
			t.Errorf("%d slots of one that is away, asked %d times", n, e.calls-8)
		}
	})
}

// What others have at a replica is forgotten when it says nothing more.
func TestLoadsOfOthersAge(t *testing.T) {
	r := &replica{}
	now := time.Unix(1000, 0)
	r.running.Store(2)
	r.load.beside.Store(5)
	r.load.until.Store(now.Add(loadHolds).UnixNano())
	if a, b := r.ahead(now.UnixNano()), r.ahead(now.Add(loadHolds).UnixNano()); a != 7 || b != 2 {
		t.Errorf("%d, then %d", a, b)
	}
}

// Of a tier's backends those with room are asked; one that says nothing always has.
func TestFullBackendsArePassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		full := &busy{script: script{says: []said{{body: fine}}}, loads: map[string]engine.Load{"one-a": {Slots: 1, Running: 3}, "one-b": {Slots: 1, Waiting: 3}}}
		silent := &script{says: []said{{body: fine}}}
		r.route(own("one", 0, 9, 2, full), own("two", 0, 1, 1, silent))
		for range 50 { // until the replicas were asked
			if _, err := r.ask(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		before := full.times()
		for range 10 {
			if _, err := r.ask(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
		}
		if full.times() != before {
			t.Errorf("what is full was asked %d times of 10", full.times()-before)
		}
		silent.says = []said{{err: unreached()}}
		if _, err := r.ask(t.Context(), ""); err != nil || full.times() != before+1 {
			t.Errorf("nothing else answers, and what is full is asked %d times: %v", full.times()-before, err)
		}
	})
}
