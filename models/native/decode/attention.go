package decode

import (
	"math"

	"github.com/triarch-ai/triarch/models/native/kernel"
)

// spanRows is the most rows of one sequence that attend together. The kernels read matrices in place up to about
// twice the rows of their tiles.
const spanRows = 12

// productRows is the least rows for which a matrix product over one block beats as many vector operations.
const productRows = 4

// span is rows that follow each other in one sequence: row and slot are where the first has its queries and where
// its output goes.
type span struct{ row, slot, rows int }

// attend computes attention of one span for the query heads that share one key head.
func (b *batch) attend(i int) {
	m, hd, kv := b.m, b.m.cfg.HeadDim, b.m.cfg.KVHeads
	s, head := b.live[i/kv], i%kv
	group := m.cfg.Heads / kv
	width := m.qDim + 2*m.kvDim
	t := tile{head: head, blocks: b.blocks[s.row], length: int(b.pos[s.row]) + 1,
		scores: b.scores[i*b.lane : (i+1)*b.lane]}
	if s.rows == 1 { // the heads of the group are the rows
		q := head * group * hd
		t.rows, t.queries, t.qStride = group, b.qkv[s.row*width+q:][:group*hd], hd
		t.out, t.oStride = b.att[s.slot*m.qDim+q:][:group*hd], hd
		b.attendTile(&t)
		return
	}
	t.rows, t.longer, t.qStride, t.oStride = s.rows, 1, width, m.qDim
	for q := head * group; q < (head+1)*group; q++ {
		t.queries, t.out = b.qkv[s.row*width+q*hd:], b.att[s.slot*m.qDim+q*hd:]
		b.attendTile(&t)
	}
}

// tile is rows of queries that attend to the cache of one key head.
type tile struct {
	head    int
	blocks  []int32
	rows    int
	length  int // positions the first row sees
	longer  int // positions that each row sees beyond the one before
	queries []float32
	qStride int
	out     []float32
	oStride int
	scores  []float32 // scratch: blockTokens weights, a maximum and a sum for each row
}

// attendTile walks the blocks with a running maximum and sum for each row (Milakov and Gimelshein, online softmax).
// What a row gets does not depend on the rows that share the tile: its scores are its own dot products, and its sums run
// over its own positions in ascending order, the weights of positions it does not see being zeros at the end.
func (b *batch) attendTile(t *tile) {
	hd := b.m.cfg.HeadDim
	weights, tops, sums := t.scores[:t.rows*blockTokens], t.scores[t.rows*blockTokens:][:t.rows], t.scores[t.rows*(blockTokens+1):][:t.rows]
	for r := range t.rows {
		tops[r], sums[r] = float32(math.Inf(-1)), 0
		clear(t.out[r*t.oStride:][:hd])
	}
	most := t.length + (t.rows-1)*t.longer
	for n := 0; n*blockTokens < most; n++ {
		k, v := b.cache.k(t.blocks[n], b.layer, t.head), b.cache.v(t.blocks[n], b.layer, t.head)
		for r := range t.rows {
			seen := min(max(t.length+r*t.longer-n*blockTokens, 0), blockTokens)
			scores, query := weights[r*blockTokens:(r+1)*blockTokens], t.queries[r*t.qStride:][:hd]
			kernel.Dots(scores[:seen], query, k, hd)
			t.weigh(scores, seen, &tops[r], &sums[r], t.out[r*t.oStride:][:hd])
		}
		t.blend(weights, v, min(most-n*blockTokens, blockTokens), hd)
	}
	for r := range t.rows {
		kernel.Scale(t.out[r*t.oStride:][:hd], 1/sums[r])
	}
}

// blend adds the first count values of a block, weighted, to each row's output. Both ways make the same chain of
// multiply-adds for an element; for few rows the calls of the matrix product would cost more than it saves.
func (t *tile) blend(weights, v []float32, count, hd int) {
	if t.rows >= productRows {
		kernel.MatMulNNStrided(nil, t.out, t.oStride, weights, blockTokens, v, hd, t.rows, hd, count, true, 1)
		return
	}
	for r := range t.rows {
		kernel.AddRows(t.out[r*t.oStride:][:hd], weights[r*blockTokens:][:count], v, hd)
	}
}

// weigh turns the first seen scores of a block into weights relative to the row's maximum, the others into zeros, and
// scales down what the row has summed when the maximum rises.
func (t *tile) weigh(s []float32, seen int, top, sum *float32, out []float32) {
	clear(s[seen:])
	s = s[:seen]
	best := greatest(s, *top)
	if best > *top {
		if *sum > 0 {
			f := float32(math.Exp(float64(*top - best)))
			kernel.Scale(out, f)
			*sum *= f
		}
		*top = best
	}
	for i := range s {
		s[i] -= best
	}
	kernel.ExpInto(s, s)
	*sum += total(s)
}

// greatest is the greatest of x and least; NaN is passed over, it shows in what follows.
func greatest(x []float32, least float32) float32 {
	a, b, c, d := least, least, least, least
	for ; len(x) >= 4; x = x[4:] {
		if x[0] > a {
			a = x[0]
		}
		if x[1] > b {
			b = x[1]
		}
		if x[2] > c {
			c = x[2]
		}
		if x[3] > d {
			d = x[3]
		}
	}
	for _, v := range x {
		if v > a {
			a = v
		}
	}
	return max(a, b, c, d)
}

// total is the sum of x, in four strands.
func total(x []float32) float32 {
	var a, b, c, d float32
	for ; len(x) >= 4; x = x[4:] {
		a, b, c, d = a+x[0], b+x[1], c+x[2], d+x[3]
	}
	for _, v := range x {
		a += v
	}
	return (a + b) + (c + d)
}
