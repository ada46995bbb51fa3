package grammar

import (
	"crypto/sha256"
	"sync"
)

// keepAutomata is how many automata a Cache keeps.
const keepAutomata = 32

// Cache keeps automata by what they were made from, those used last. It is safe for concurrent use; make it with NewCache.
type Cache struct {
	v     *Vocab
	slots chan struct{} // one for each that is being made: hostile sources take up to a second

	mu     sync.Mutex
	byName map[[sha256.Size]byte]*cached
	clock  uint64
}

// cached is an automaton being made or made, or the reason why it cannot be.
type cached struct {
	once sync.Once
	used uint64
	a    *Automaton
	err  error
}

// NewCache makes an empty cache over a vocabulary.
func NewCache(v *Vocab) *Cache {
	return &Cache{v: v, slots: make(chan struct{}, 2), byName: map[[sha256.Size]byte]*cached{}}
}

// Get gives the automaton of a kind of source and its text, making it with compile when it is not there; made says that it was.
func (c *Cache) Get(kind, source string, compile func() (*Grammar, error)) (a *Automaton, made bool, err error) {
	h := sha256.New()
	h.Write([]byte(kind))
	h.Write([]byte{0})
	h.Write([]byte(source))
	e := c.entry([sha256.Size]byte(h.Sum(nil)))
	e.once.Do(func() {
		c.slots <- struct{}{}
		defer func() { <-c.slots }()
		made = true
		var g *Grammar
		if g, e.err = compile(); e.err == nil {
			e.a, e.err = New(g, c.v)
		}
	})
	return e.a, made, e.err
}

func (c *Cache) entry(key [sha256.Size]byte) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	e := c.byName[key]
	if e == nil {
		if len(c.byName) >= keepAutomata {
			c.evict()
		}
		e = &cached{}
		c.byName[key] = e
	}
	e.used = c.clock
	return e
}

// evict drops what was used longest ago.
func (c *Cache) evict() {
	var oldest [sha256.Size]byte
	least := c.clock
	for k, e := range c.byName {
		if e.used < least {
			oldest, least = k, e.used
		}
	}
	delete(c.byName, oldest)
}
