package gateway

import (
	"encoding/binary"
	"math/bits"
	"sync"

	"github.com/triarch-ai/triarch/internal/id"
)

// Prompts are known by blocks of their bytes, each hashed together with the hash of the one before: two prompts that
// begin alike have the same first hashes. The seed is fixed, so that all gateways agree. Projects are kept apart, as the
// prompt caches of engines are. A long prompt is known by pieces of several blocks behind its first ones: to look up and
// remember 200 blocks costs more than all the rest of a request.
const (
	blockSize   = 1 << 10 // bytes
	maxBlocks   = 256     // of a prompt; what is longer is alike as far as that
	sessionGain = 4       // blocks that a session is worth where it was before
	hashSeed    = 0x9e3779b97f4a7c15
	hashPrime1  = 0xa0761d6478bd642f
	hashPrime2  = 0xe7037ed1a0b428db
)

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// hashBytes hashes b in words, after h. It is made for speed and even spread, not against adversaries: who makes two
// prompts collide misleads the choice of a replica, of their own project's requests alone.
func hashBytes(h uint64, b []byte) uint64 {
	n := uint64(len(b))
	for len(b) >= 32 {
		x := mix(binary.LittleEndian.Uint64(b)^hashPrime1, binary.LittleEndian.Uint64(b[8:])^h)
		y := mix(binary.LittleEndian.Uint64(b[16:])^hashPrime2, binary.LittleEndian.Uint64(b[24:])^h)
		h = x ^ bits.RotateLeft64(y, 29)
		b = b[32:]
	}
	for len(b) >= 8 {
		h = mix(h^hashPrime1, binary.LittleEndian.Uint64(b)^hashPrime2)
		b = b[8:]
	}
	var last uint64
	for i, c := range b {
		last |= uint64(c) << (8 * i)
	}
	return mix(h^last, n^hashPrime1)
}

// trail is the chain of a prompt's block hashes; the first one is of its session when it names one, else 0.
type trail struct {
	hashes [maxHashes + 1]uint64
	depths [maxHashes + 1]int // blocks as far as each hash
	n      int                // of hashes
	room   [mostNear]candidate

	known [maxHashes + 1]bool // by hash: it was looked up, and this came of it
	held  [maxHashes + 1][placeHolds]uint16
	when  [maxHashes + 1][placeHolds]uint32
}

var trails = sync.Pool{New: func() any { return new(trail) }}

// of makes the trail of a prompt, which has parts. Only whole pieces count of the last part, as its end is not where another
// prompt goes on. Of the others the rest does, which is a piece of its own if it is half a block.
func (t *trail) of(project id.Raw, session []byte, parts ...[]byte) {
	h := hashBytes(hashSeed, project[:])
	t.hashes[0], t.depths[0], t.n = 0, 0, 1
	if len(session) > 0 {
		t.hashes[0] = hashBytes(h^hashPrime2, session) | 1
	}
	for i, rest := range parts {
		for t.n <= maxHashes {
			size := piece(t.n) * blockSize
			if len(rest) < size {
				break
			}
			h = hashBytes(h, rest[:size])
			t.add(h, piece(t.n))
			rest = rest[size:]
		}
		if i == len(parts)-1 || len(rest) == 0 || t.n > maxHashes {
			continue
		}
		h = hashBytes(h, rest)
		if blocks := (len(rest) + blockSize/2) / blockSize; blocks > 0 {
			t.add(h, blocks)
		}
	}
}

func (t *trail) add(h uint64, blocks int) {
	t.hashes[t.n], t.depths[t.n] = h, t.depths[t.n-1]+blocks
	t.n++
}

// piece is how many blocks the k-th hash of a trail stands for, or fewer at the end of a part: of what is alike at least
// three quarters show.
func piece(k int) int {
	switch {
	case k <= oneBlock:
		return 1
	case k <= fourBlocks:
		return 4
	}
	return 16
}

// The last hashes that stand for so many blocks, and the last of all.
const (
	oneBlock   = 16
	fourBlocks = oneBlock + 12
	maxHashes  = fourBlocks + (maxBlocks-oneBlock-4*(fourBlocks-oneBlock))/16
)

// blocks is how many blocks the prompt has, as far as they are in whole pieces.
func (t *trail) blocks() int { return t.depths[t.n-1] }

// home is where to look first for what nobody has seen: the same place for all gateways.
func (t *trail) home() uint64 {
	if t.n > 1 {
		return t.hashes[1]
	}
	return t.hashes[0]
}

// places remembers which replicas have seen which blocks: a table of fixed size in which the longest unused entry of a
// set gives way.
type places struct {
	shards [placeShards]placeShard
}

const (
	placeShards = 64
	placeSets   = 128 // of a shard
	placeWays   = 8   // of a set: 65,536 blocks in all, 64 MiB of prompts
	placeHolds  = 4   // replicas of an entry
)

type placeShard struct {
	mu   sync.Mutex
	tick uint32
	sets [][placeWays]place // made with the first block
}

type place struct {
	hash uint64
	used uint32
	held [placeHolds]uint16 // numbers of replicas, the latest first; 0 = none
	when [placeHolds]uint32 // by their clocks
}

func (p *places) shard(h uint64) (*placeShard, int) {
	return &p.shards[h%placeShards], int(h / placeShards % placeSets)
}

// seen gives the replicas that have seen a block, and when.
func (p *places) seen(h uint64) (held [placeHolds]uint16, when [placeHolds]uint32) {
	s, set := p.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sets == nil {
		return held, when
	}
	for i := range s.sets[set] {
		if e := &s.sets[set][i]; e.hash == h {
			return e.held, e.when
		}
	}
	return held, when
}

// note remembers that a replica has seen a block, at a time of its clock.
func (p *places) note(h uint64, replica uint16, clock uint32) {
	s, set := p.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sets == nil {
		s.sets = make([][placeWays]place, placeSets)
	}
	s.tick++
	oldest := &s.sets[set][0]
	for i := range s.sets[set] {
		e := &s.sets[set][i]
		if e.hash == h {
			e.used = s.tick
			e.hold(replica, clock)
			return
		}
		if e.hash == 0 || s.tick-e.used > s.tick-oldest.used && oldest.hash != 0 {
			oldest = e
		}
	}
	*oldest = place{hash: h, used: s.tick, held: [placeHolds]uint16{replica}, when: [placeHolds]uint32{clock}}
}

// hold puts a replica first.
func (e *place) hold(replica uint16, clock uint32) {
	at := placeHolds - 1
	for i, r := range e.held {
		if r == replica {
			at = i
			break
		}
	}
	copy(e.held[1:at+1], e.held[:at])
	copy(e.when[1:at+1], e.when[:at])
	e.held[0], e.when[0] = replica, clock
}

// candidate is a replica that a request could go to.
type candidate struct {
	*replica
	at      int   // of the endpoints
	ahead   int64 // requests there
	slots   int64 // that it runs at once; 0 = it does not say
	full    bool
	matched int    // of the trail's blocks it still has, as far as can be told; the session counts, too
	seen    int    // so many it had at some time
	age     uint32 // since then, by its clock
}

// match counts for each of the candidates how many of the trail's first blocks it has.
func (p *places) match(t *trail, all []candidate) {
	for i := range all {
		all[i].matched, all[i].seen, all[i].age = 0, 0, 0
	}
	if t.hashes[0] != 0 {
		held, _ := p.seen(t.hashes[0])
		for i := range all {
			if at(&held, all[i].number) >= 0 {
				all[i].matched = sessionGain
			}
		}
	}
	clear(t.known[:t.n])
	for i := range all {
		c := &all[i]
		had := p.deepest(t, c, t.n-1, forever)
		has := had
		if had > 0 {
			c.seen, c.age = t.depths[had], t.age(had, c)
			if memory := c.memory.Load(); memory > 0 && c.age > memory {
				has = p.deepest(t, c, had-1, memory)
			}
		}
		c.matched += t.depths[has]
	}
}

// forever is a memory that nothing is too old for.
const forever = 1<<32 - 1

// deepest is the last of the first n hashes of the trail whose block the candidate has seen within a memory, by its clock;
// 0 if there is none. Who has seen a block has seen those before it, and no longer ago, so few need to be looked at.
func (p *places) deepest(t *trail, c *candidate, n int, memory uint32) int {
	has := func(k int) bool {
		if !t.known[k] {
			t.known[k] = true
			t.held[k], t.when[k] = p.seen(t.hashes[k])
		}
		return at(&t.held[k], c.number) >= 0 && (memory == forever || t.age(k, c) <= memory)
	}
	if n <= 0 || has(n) {
		return max(n, 0)
	}
	if n == 1 || !has(1) {
		return 0
	}
	low, high := 1, n // has(low), not has(high)
	for low+1 < high {
		if mid := (low + high) / 2; has(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// age is how long ago a candidate has seen a block that was looked up and that it holds.
func (t *trail) age(k int, c *candidate) uint32 {
	return c.clock.Load() - t.when[k][at(&t.held[k], c.number)]
}

// at is where a replica stands among those that hold a block; -1 where it does not.
func at(held *[placeHolds]uint16, n uint16) int {
	for i, h := range held {
		if h == n {
			return i
		}
	}
	return -1
}

// keep remembers that a replica has seen a whole trail, which moves its clock.
func (p *places) keep(t *trail, r *replica) {
	clock := r.clock.Add(uint32(t.blocks()))
	for k := range t.n {
		if h := t.hashes[k]; h != 0 {
			p.note(h, r.number, clock)
		}
	}
}
