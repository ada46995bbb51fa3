package quota

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/tenancy"
)

// crowd is clients of three nodes under full load for some minutes, and what was admitted in each of the authority's.
type crowd struct {
	shared   *shared
	mu       sync.Mutex
	requests map[int64]int64
	tokens   map[int64]int64  // as used
	of       map[string]int64 // requests of each node
}

// load runs clients on three nodes. After the first minutes, in the middle of a minute's requests, one node is killed if it
// is to be: its loop and its clients end, and what it has leased stays with it.
func load(t *testing.T, l tenancy.Limits, output func(r *rand.Rand) int, kill func(c *crowd, minute int64) bool) *crowd {
	ctx, stop := context.WithCancel(t.Context())
	c := &crowd{shared: newShared(map[string]tenancy.Bound{"key": {Limits: l}}), requests: map[int64]int64{}, tokens: map[int64]int64{}, of: map[string]int64{}}
	lim := unbound().limit(key, l)
	var all sync.WaitGroup
	for _, name := range []string{"a", "b", "c"} {
		ctx, end := context.WithCancel(ctx)
		defer end()
		b := books(ctx, c.shared, lim, name)[name]
		for client := range 20 {
			all.Go(func() {
				r := rand.New(rand.NewPCG(uint64(client), uint64(name[0])))
				for ctx.Err() == nil {
					if x, err := b.Reserve(ctx, ask(who(), 10)); err == nil {
						used := output(r)
						c.note(name, int64(10+used))
						time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
						x.Settle(0, 10, used)
					}
					if name == "c" && kill != nil && c.dies(kill) {
						end()
					}
					time.Sleep(time.Duration(1+r.IntN(100)) * time.Millisecond)
				}
			})
		}
	}
	time.Sleep(5 * time.Minute)
	stop()
	all.Wait()
	return c
}

func (c *crowd) minute() int64 { return c.shared.now().Unix() / 60 }

func (c *crowd) note(node string, tokens int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests[c.minute()]++
	c.tokens[c.minute()] += tokens
	c.of[node]++
}

func (c *crowd) dies(kill func(c *crowd, minute int64) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return kill(c, c.minute())
}

// hold proves that no minute has more than most, and each whole one at least the least that is said for it.
func hold(t *testing.T, what string, got map[int64]int64, most, slack int64, least func(minute int64) int64) {
	t.Helper()
	minutes := slices.Sorted(maps.Keys(got))
	if len(minutes) < 5 {
		t.Fatalf("%d minutes", len(minutes))
	}
	for i, m := range minutes {
		if got[m] > most+slack {
			t.Errorf("minute %d has %d %s, at most %d may be", i, got[m], what, most)
		}
		if n := least(m); i >= 1 && i <= 4 && got[m] < n { // the first and the last are not whole
			t.Errorf("minute %d has only %d %s of %d, want %d", i, got[m], what, most, n)
		}
	}
}

func five(*rand.Rand) int { return 5 }

// Under full load on three nodes no minute of the authority's clock has more than its requests, and none less than 98 %.
func TestRequestsOfAMinuteOnThreeNodes(t *testing.T) {
	for _, rpm := range []int64{600, 3000} {
		synctest.Test(t, func(t *testing.T) {
			c := load(t, tenancy.Limits{RPM: rpm}, five, nil)
			hold(t, "requests", c.requests, rpm, 0, func(int64) int64 { return 98 * rpm / 100 })
		})
	}
}

// Tokens likewise, where requests use what was guessed of them; where they do not, no more than what runs at once was
// guessed wrong by.
func TestTokensOfAMinuteOnThreeNodes(t *testing.T) {
	for name, output := range map[string]func(*rand.Rand) int{"as guessed": five, "at random": func(r *rand.Rand) int { return 1 + r.IntN(10) }} {
		t.Run(name, func(t *testing.T) {
			const tpm = 600 * 15
			synctest.Test(t, func(t *testing.T) {
				c := load(t, tenancy.Limits{TPM: tpm}, output, nil)
				slack := int64(0)
				if name != "as guessed" {
					slack = 60 * 10 // clients at once, and the most that a guess is wrong by
				}
				hold(t, "tokens", c.tokens, tpm, slack, func(int64) int64 { return 98 * tpm / 100 })
			})
		})
	}
}

// A node that is killed in the middle of a minute takes no more than its lease with it, and only in that minute.
func TestRatesWithAKilledNode(t *testing.T) {
	for name, l := range map[string]tenancy.Limits{"requests": {RPM: 600}, "tokens": {TPM: 600 * 15}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				died, lost, had := int64(0), int64(0), int64(0)
				var begun int64 // requests of the node before the minute
				at := int64(0)
				c := load(t, l, five, func(c *crowd, minute int64) bool {
					if died > 0 {
						return true
					}
					if minute != at {
						at, begun = minute, c.of["c"]
					}
					if len(c.requests) != 3 || c.requests[minute] < 250 {
						return false
					}
					died, had = minute, c.of["c"]-begun
					c.shared.mu.Lock()
					defer c.shared.mu.Unlock()
					if h := c.shared.leases["key"]["c"]; h.minute == minute {
						lost = h.requests
						if l.TPM > 0 {
							lost = h.tokens
						}
					}
					return true
				})
				got, most := c.requests, l.RPM
				if l.TPM > 0 {
					got, most, had = c.tokens, l.TPM, 15*had
				}
				if died == 0 || lost == 0 {
					t.Fatalf("nothing died: %d, %d", died, lost)
				}
				t.Logf("%s: the node had %d of a lease of %d when it died, its minute had %d of %d", name, had, lost, got[died], most)
				hold(t, name, got, most, 0, func(minute int64) int64 {
					if minute == died {
						return 98*most/100 - (lost - had)
					}
					return 98 * most / 100
				})
			})
		})
	}
}
