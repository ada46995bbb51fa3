package decode

import (
	"crypto/sha256"
	"encoding/binary"
)

// blockTokens is the number of positions one block of the cache holds. Larger blocks waste more at a sequence's
// end and share less between prompts; smaller ones make attention hop more often.
const blockTokens = 32

// blockKey names the contents of a full block: the tokens in it and everything before it. It is a cryptographic
// hash because a collision would show one caller the keys and values of another's prompt.
type blockKey [16]byte

// cache is the paged store of keys and values: a fixed number of blocks, each holding blockTokens positions of all
// layers and heads. Full blocks stay findable by their contents after their last user has gone, until the space is
// wanted (least recently used first), so a prompt that shares its beginning with an earlier one computes only the
// rest. A block with users is never written at positions that are already filled.
//
// It belongs to the engine's loop and is not safe for concurrent use.
type cache struct {
	layers, kvHeads, headDim int

	plane int // floats of one head's keys (or values) in one block
	block int // floats of a whole block
	slab  []float32

	refs  []int32    // users of each block
	keys  []blockKey // name of each published block
	named []bool     // whether keys holds one
	index map[blockKey]int32

	free       []int32 // blocks without contents worth keeping
	prev, next []int32 // list of published blocks without users; the entry behind the last is its head
	idle       int
}

// blockBytes is the memory one block takes for a model of this shape.
func blockBytes(layers, kvHeads, headDim int) int64 {
	return 4 * 2 * int64(layers) * int64(kvHeads) * int64(headDim) * blockTokens
}

// blocksFor is how many blocks hold n positions.
func blocksFor(n int) int { return (n + blockTokens - 1) / blockTokens }

func newCache(layers, kvHeads, headDim, blocks int) *cache {
	c := &cache{layers: layers, kvHeads: kvHeads, headDim: headDim, plane: blockTokens * headDim}
	c.block = 2 * layers * kvHeads * c.plane
	c.slab = make([]float32, blocks*c.block)
	adviseHuge(c.slab)
	c.refs, c.keys, c.named = make([]int32, blocks), make([]blockKey, blocks), make([]bool, blocks)
	c.index = make(map[blockKey]int32, blocks)
	c.prev, c.next = make([]int32, blocks+1), make([]int32, blocks+1)
	c.prev[blocks], c.next[blocks] = int32(blocks), int32(blocks)
	c.free = make([]int32, blocks)
	for i := range c.free {
		c.free[i] = int32(blocks - 1 - i)
	}
	return c
}

// k is the keys of one head in one block, [blockTokens, headDim].
func (c *cache) k(block int32, layer, head int) []float32 {
	at := int(block)*c.block + (2*layer*c.kvHeads+head)*c.plane
	return c.slab[at : at+c.plane : at+c.plane]
}

// v is the values of one head in one block, [blockTokens, headDim].
func (c *cache) v(block int32, layer, head int) []float32 {
	at := int(block)*c.block + ((2*layer+1)*c.kvHeads+head)*c.plane
	return c.slab[at : at+c.plane : at+c.plane]
}

// total and available count blocks; available ones are free or can be evicted.
func (c *cache) total() int     { return len(c.refs) }
func (c *cache) available() int { return len(c.free) + c.idle }

// take appends n fresh blocks to dst. The caller has checked available.
func (c *cache) take(dst []int32, n int) []int32 {
	for range n {
		var b int32
		if last := len(c.free) - 1; last >= 0 {
			b = c.free[last]
			c.free = c.free[:last]
		} else {
			b = c.next[len(c.refs)] // the least recently used
			c.unlink(b)
			delete(c.index, c.keys[b])
			c.named[b] = false
		}
		c.refs[b] = 1
		dst = append(dst, b)
	}
	return dst
}

// retain adds a user to a block.
func (c *cache) retain(b int32) {
	if c.refs[b] == 0 {
		c.unlink(b)
	}
	c.refs[b]++
}

// release drops a user; a block without users becomes evictable when it is published, free when it is not.
func (c *cache) release(b int32) {
	c.refs[b]--
	switch {
	case c.refs[b] > 0:
	case c.named[b]:
		end := int32(len(c.refs))
		last := c.prev[end]
		c.prev[b], c.next[b] = last, end
		c.next[last], c.prev[end] = b, b
		c.idle++
	default:
		c.free = append(c.free, b)
	}
}

func (c *cache) unlink(b int32) {
	c.next[c.prev[b]], c.prev[c.next[b]] = c.next[b], c.prev[b]
	c.idle--
}

// match appends to dst the published blocks that hold the beginning of tokens, retaining each, and returns the key
// of the last. At least one token is left over, since a sequence needs the logits of its last one. root is the key
// before the first block: sequences with different ones share nothing.
func (c *cache) match(dst []int32, tokens []int32, root blockKey) ([]int32, blockKey) {
	parent := root
	for len(tokens) > blockTokens {
		key := keyOf(parent, tokens[:blockTokens])
		b, ok := c.index[key]
		if !ok {
			break
		}
		c.retain(b)
		dst, parent, tokens = append(dst, b), key, tokens[blockTokens:]
	}
	return dst, parent
}

// publish names a block that has just become full and returns its key. When another block holds the same contents
// already, that one stays the findable one.
func (c *cache) publish(b int32, parent blockKey, tokens []int32) blockKey {
	key := keyOf(parent, tokens)
	if _, ok := c.index[key]; !ok {
		c.index[key], c.keys[b], c.named[b] = b, key, true
	}
	return key
}

// copyBlock copies a block, for a sequence that goes its own way from inside it.
func (c *cache) copyBlock(dst, src int32) {
	copy(c.slab[int(dst)*c.block:int(dst+1)*c.block], c.slab[int(src)*c.block:])
}

// rootOf is the key before the first block of all sequences of a scope.
func rootOf(scope string) blockKey {
	sum := sha256.Sum256([]byte(scope))
	return blockKey(sum[:16])
}

func keyOf(parent blockKey, tokens []int32) blockKey {
	var buf [16 + 4*blockTokens]byte
	copy(buf[:], parent[:])
	for i, t := range tokens {
		binary.LittleEndian.PutUint32(buf[16+4*i:], uint32(t))
	}
	sum := sha256.Sum256(buf[:16+4*len(tokens)])
	return blockKey(sum[:16])
}
