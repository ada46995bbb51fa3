package gateway

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
)

// Two trails agree exactly as far as their prompts do, in whole pieces.
func TestTrails(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(0, 8*blockSize), rapid.IntRange(0, 80*blockSize)).Draw(t, "size")
		a := bytes.Repeat([]byte("abcdefgh"), size/8+1)[:size]
		b := bytes.Clone(a)
		same := len(a)
		if len(b) > 0 && rapid.Bool().Draw(t, "differ") {
			at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
			b[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			same = at
		}
		var x, y trail
		x.of(id.Raw{1}, nil, a)
		y.of(id.Raw{1}, nil, b)
		end := 0
		for k := 1; k < x.n; k++ {
			end += piece(k) * blockSize
			if (x.hashes[k] == y.hashes[k]) != (end <= same) {
				t.Fatalf("piece %d of %d, alike as far as byte %d", k, x.n-1, same)
			}
		}
		if x.blocks()*blockSize != end || end > size || size-end >= piece(x.n)*blockSize {
			t.Fatalf("%d blocks of %d bytes", x.blocks(), size)
		}
		var z trail
		if z.of(id.Raw{2}, nil, a); x.n > 1 && z.hashes[1] == x.hashes[1] {
			t.Fatal("two projects have the same blocks")
		}
	})
	var long trail
	long.of(id.Raw{1}, []byte("s"), make([]byte, 1<<20))
	if long.blocks() != maxBlocks || long.hashes[0] == 0 {
		t.Errorf("%d blocks", long.blocks())
	}
}

// The hash of a fixed text never changes: gateways of different versions must agree.
func TestHashIsFixed(t *testing.T) {
	if got := hashBytes(hashSeed, []byte("the quick brown fox jumps over the lazy dog, twice")); got != 0x27021b5d46e0c406 {
		t.Errorf("%#x", got)
	}
}

func TestPlacesForgetTheLongestUnused(t *testing.T) {
	var p places
	rng := rand.New(rand.NewPCG(1, 2))
	hot := rng.Uint64()
	for i := range 40 * placeShards * placeSets * placeWays / 10 {
		p.note(rng.Uint64(), 1, 0)
		if i%100 == 0 {
			p.note(hot, 7, 0)
		}
	}
	if held, _ := p.seen(hot); held[0] != 7 {
		t.Error("what is used again and again was forgotten")
	}
	for n := uint16(1); n <= placeHolds+1; n++ {
		p.note(hot, n, uint32(10*n))
	}
	if held, when := p.seen(hot); held != [placeHolds]uint16{5, 4, 3, 2} || when != [placeHolds]uint32{50, 40, 30, 20} {
		t.Errorf("held by %v since %v", held, when)
	}
}

// words is a prompt of n blocks that begins like others with the same seed.
func words(seed uint64, n int) string {
	rng := rand.New(rand.NewPCG(seed, 0))
	var b strings.Builder
	for b.Len() < n*blockSize {
		fmt.Fprintf(&b, "%x ", rng.Uint32())
	}
	return b.String()
}

func prompt(text, more string) string {
	return `{"model":"m","messages":[{"role":"user","content":"` + text + `"}]` + more + `}`
}

// Prompts that begin alike go to one replica, sessions stay, and what is new spreads.
func TestPrefixesStayTogether(t *testing.T) {
	r := newRig(t)
	e := &script{says: []said{{body: fine}}}
	r.route(own("one", 0, 1, 4, e))
	at := func(body string) string {
		if _, err := r.ask(t.Context(), body); err != nil {
			t.Fatal(err)
		}
		return e.of[len(e.of)-1]
	}
	homes := map[string]bool{}
	for seed := range uint64(16) {
		home := at(prompt(words(seed, 6), ""))
		homes[home] = true
		for turn := range 5 {
			if got := at(prompt(words(seed, 6)+" and then "+words(100+uint64(turn), turn), "")); got != home {
				t.Errorf("prompt %d went from %s to %s", seed, home, got)
			}
		}
	}
	if len(homes) < 3 {
		t.Errorf("16 prompts have %d homes", len(homes))
	}
	for _, more := range []string{`,"user":"ann"`, `,"prompt_cache_key":"k1"`, `,"session":"s"`} {
		first := at(prompt("short", more))
		for range 6 {
			if got := at(prompt("another", more)); got != first {
				t.Errorf("%s went from %s to %s", more, first, got)
			}
		}
	}
}

// A prompt that everybody sends does not stay on one replica while it is busy.
func TestHotPrefixSpreads(t *testing.T) {
	r := newRig(t)
	e := &script{says: []said{{body: fine}}}
	target := r.route(own("one", 0, 1, 3, e))
	body := prompt(words(1, 8), "")
	if _, err := r.ask(t.Context(), body); err != nil {
		t.Fatal(err)
	}
	home := e.of[0]
	r.replica(home).running.Add(3)
	if _, err := r.ask(t.Context(), body); err != nil || e.of[1] == home {
		t.Errorf("%v, it went to %v though that is busy", err, e.of[1])
	}
	r.replica(home).running.Add(-3)
	for _, u := range target.Backends {
		if u.Endpoints[0] == (engine.Endpoint{}) {
			t.Fatal("no endpoint")
		}
	}
	both := map[string]bool{}
	for range 10 {
		if _, err := r.ask(t.Context(), body); err != nil {
			t.Fatal(err)
		}
		both[e.of[len(e.of)-1]] = true
	}
	for name := range both {
		if name != home && name != e.of[1] {
			t.Errorf("it went to %s, which never had it", name)
		}
	}
}

// BenchmarkTrail is what locality costs a request: hashing, matching with 8 replicas, remembering.
func BenchmarkTrail(b *testing.B) {
	for _, size := range []int{1 << 10, 32 << 10, 220 << 10} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			var p places
			text := []byte(words(1, size>>10))[:size]
			known := make([]replica, 8)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				t := trails.Get().(*trail)
				t.of(id.Raw{1}, nil, text)
				for i := range known {
					known[i].number = uint16(i + 1)
					t.room[i].replica = &known[i]
				}
				p.match(t, t.room[:len(known)])
				p.keep(t, &known[2])
				trails.Put(t)
			}
		})
	}
}

// Without locality each replica has its turn, whatever the prompt or session.
func TestLocalityOff(t *testing.T) {
	r := newRig(t)
	e := &script{says: []said{{body: fine}}}
	r.route(own("one", 0, 1, 4, e)).Route.Policy.Locality = serve.Off
	count := map[string]int{}
	for i := range 40 {
		if _, err := r.ask(t.Context(), prompt(words(1, 6), `,"user":"ann"`)); err != nil {
			t.Fatal(err)
		}
		count[e.of[len(e.of)-1]]++
		if i%4 == 3 && len(count) != 4 {
			t.Fatalf("after %d requests: %v", i+1, count)
		}
	}
	for name, n := range count {
		if n != 10 {
			t.Errorf("%s had %d", name, n)
		}
	}
	r.replica("one-b").breaker.shut(r.Now(), breakerRest, failed)
	for range 4 {
		if _, err := r.ask(t.Context(), ""); err != nil || e.of[len(e.of)-1] == "one-b" {
			t.Errorf("%v, asked %s", err, e.of[len(e.of)-1])
		}
	}
}

// What is found by looking at few blocks is what looking at all finds, where replicas have seen what they were sent.
func TestMatchFindsTheDeepest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, replicas := &places{}, make([]*replica, 3)
		for i := range replicas {
			replicas[i] = &replica{number: uint16(i + 1)}
		}
		text := make([]byte, 100*blockSize)
		prompt := func() []byte { // some beginning, then something else
			b := bytes.Clone(text[:rapid.IntRange(0, len(text)).Draw(t, "size")])
			if at := rapid.IntRange(0, len(text)).Draw(t, "at"); at < len(b) {
				b[at] = 1
			}
			return b
		}
		for range rapid.IntRange(0, 6).Draw(t, "sent") {
			var x trail
			x.of(id.Raw{1}, nil, prompt())
			p.keep(&x, replicas[rapid.IntRange(0, 2).Draw(t, "to")])
		}
		replicas[0].memory.Store(uint32(rapid.IntRange(0, 300).Draw(t, "memory")))
		var x trail
		x.of(id.Raw{1}, nil, prompt())
		all := []candidate{{replica: replicas[0]}, {replica: replicas[1]}, {replica: replicas[2]}}
		p.match(&x, all)
		for _, c := range all {
			seen, matched, age := 0, 0, uint32(0)
			for k, has := 1, true; k < x.n; k++ {
				held, when := p.seen(x.hashes[k])
				h := at(&held, c.number)
				if h < 0 {
					break
				}
				seen, age = x.depths[k], max(age, c.clock.Load()-when[h])
				if m := c.memory.Load(); has && (m == 0 || c.clock.Load()-when[h] <= m) {
					matched = x.depths[k]
				} else {
					has = false
				}
			}
			if c.seen != seen || c.matched != matched || c.age != age {
				t.Fatalf("replica %d: seen %d, matched %d, age %d, not %d, %d, %d", c.number, c.seen, c.matched, c.age, seen, matched, age)
			}
		}
	})
}
