package decode

import (
	"math"

	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/kernel"
)

// model is the weights arranged for serving: each linear layer packed once, Q, K and V as one and gate and up as
// one, so that a step reads every weight once for all its rows.
type model struct {
	cfg      native.Config
	qDim     int // Heads * HeadDim
	kvDim    int // KVHeads * HeadDim
	embed    []float32
	layers   []layer
	norm     []float32
	head     *kernel.Packed
	cos, sin []float32 // rotary angles, [context, HeadDim/2]
}

type layer struct {
	attnNorm, ffnNorm    []float32
	qkv, o, gateUp, down *kernel.Packed
}

func newModel(w *native.Weights, context int) *model {
	c := w.Config
	m := &model{cfg: c, qDim: c.Heads * c.HeadDim, kvDim: c.KVHeads * c.HeadDim, embed: w.Embed, norm: w.Norm}
	for _, l := range w.Layers {
		qkv := append(append(append(make([]float32, 0, (m.qDim+2*m.kvDim)*c.Dim), l.Q...), l.K...), l.V...)
		gateUp := append(append(make([]float32, 0, 2*c.FFN*c.Dim), l.Gate...), l.Up...)
		m.layers = append(m.layers, layer{
			attnNorm: l.AttnNorm, ffnNorm: l.FFNNorm,
			qkv: kernel.Pack(qkv, m.qDim+2*m.kvDim, c.Dim), o: kernel.Pack(l.O, c.Dim, m.qDim),
			gateUp: kernel.Pack(gateUp, 2*c.FFN, c.Dim), down: kernel.Pack(l.Down, c.Dim, c.FFN),
		})
	}
	head := w.Head
	if head == nil {
		head = w.Embed
	}
	m.head = kernel.Pack(head, c.VocabSize, c.Dim)
	m.cos, m.sin = native.RopeTable(c, context)
	return m
}

// batch is one step: rows of any sequences in any order, a sequence's own rows in the order of their positions.
// All slices are allocated once for the most rows a step may have.
type batch struct {
	m     *model
	cache *cache
	pool  *kernel.Pool

	tokens []int32
	pos    []int32
	blocks [][]int32 // the block table of each row's sequence
	out    []int32   // rows that are computed to the end, ascending
	pools  []*pooled // who takes the last hidden state of each of them in; nil where logits are wanted
	wanted int       // rows whose logits are wanted

	x, h, qkv, att, proj, gate, act []float32
	scores                          []float32 // scratch of attend: lane floats for each span and key head
	lane                            int
	logits                          []float32 // [wanted, vocab]

	spans   []span // all rows, cut where the sequence changes
	single  []span // the wanted rows, one by one
	live    []span // what attend works on
	seen    int    // positions that all rows see together
	layer   int
	scale   float32   // of queries, 1/sqrt(HeadDim)
	attend1 func(int) // method values, made once: a closure per call would allocate
	embed1  func(int)
	place1  func(int)
	norm1   func(int)
	ffn1    func(int)
	weight  []float32 // the norm that norm1 applies
}

func newBatch(m *model, c *cache, pool *kernel.Pool, rows, outs int) *batch {
	g := m.cfg
	b := &batch{m: m, cache: c, pool: pool, scale: float32(1 / math.Sqrt(float64(g.HeadDim)))}
	b.tokens, b.pos = make([]int32, 0, rows), make([]int32, 0, rows)
	b.blocks, b.out, b.pools = make([][]int32, 0, rows), make([]int32, 0, rows), make([]*pooled, 0, rows)
	b.spans, b.single = make([]span, 0, rows), make([]span, 0, rows)
	b.x, b.h, b.proj = make([]float32, rows*g.Dim), make([]float32, rows*g.Dim), make([]float32, rows*g.Dim)
	b.qkv, b.att = make([]float32, rows*(m.qDim+2*m.kvDim)), make([]float32, rows*m.qDim)
	b.gate, b.act = make([]float32, rows*2*g.FFN), make([]float32, rows*g.FFN)
	b.lane = max(spanRows, g.Heads/g.KVHeads) * (blockTokens + 2)
	b.scores = make([]float32, rows*g.KVHeads*b.lane)
	b.logits = make([]float32, outs*g.VocabSize)
	b.attend1, b.embed1, b.place1, b.norm1, b.ffn1 = b.attend, b.embedRow, b.place, b.normRow, b.activate
	return b
}

func (b *batch) reset() {
	b.tokens, b.pos, b.blocks, b.out = b.tokens[:0], b.pos[:0], b.blocks[:0], b.out[:0]
	b.spans, b.single, b.seen = b.spans[:0], b.single[:0], 0
	clear(b.pools)
	b.pools, b.wanted = b.pools[:0], 0
}

// add appends a row; next says that it follows the row before in the same sequence, wanted that its logits are. pool takes
// its last hidden state in, or is nil.
func (b *batch) add(token int32, pos int, blocks []int32, next, wanted bool, pool *pooled) {
	row := len(b.tokens)
	if n := len(b.spans) - 1; next && b.spans[n].rows < spanRows {
		b.spans[n].rows++
	} else {
		b.spans = append(b.spans, span{row: row, slot: row, rows: 1})
	}
	if wanted || pool != nil {
		if pool == nil {
			b.wanted++
		}
		b.pools = append(b.pools, pool)
		b.single = append(b.single, span{row: row, slot: len(b.out), rows: 1})
		b.out = append(b.out, int32(row))
	}
	b.seen += pos + 1
	b.tokens, b.pos, b.blocks = append(b.tokens, token), append(b.pos, int32(pos)), append(b.blocks, blocks)
}

// logitsOf is the logits of the i-th wanted row.
func (b *batch) logitsOf(i int) []float32 {
	v := b.m.cfg.VocabSize
	return b.logits[i*v : (i+1)*v : (i+1)*v]
}

// forward computes the step: it stores keys and values of all rows and leaves the logits of the wanted ones. Every
// operation treats a row by itself and in the same order of additions, so a row's logits do not depend on the rows
// beside it (Touvron et al., LLaMA, for the block; Vaswani et al. for attention).
func (b *batch) forward() {
	rows := len(b.tokens)
	b.share(rows*b.m.cfg.Dim).Run(rows, b.embed1)
	b.live = b.spans
	for i := range b.m.layers {
		l := &b.m.layers[i]
		b.layer = i
		b.normAll(l.attnNorm, rows)
		l.qkv.MatMul(b.pool, b.qkv, b.h, rows)
		b.share(rows*b.m.qDim).Run(rows, b.place1)
		if i == len(b.m.layers)-1 {
			rows = b.narrow()
		}
		b.share(b.seen*b.m.qDim).Run(len(b.live)*b.m.cfg.KVHeads, b.attend1)
		l.o.MatMul(b.pool, b.proj, b.att, rows)
		b.residual(rows)
		b.normAll(l.ffnNorm, rows)
		l.gateUp.MatMul(b.pool, b.gate, b.h, rows)
		b.share(rows*b.m.cfg.FFN).Run(rows, b.ffn1)
		l.down.MatMul(b.pool, b.proj, b.act, rows)
		b.residual(rows)
	}
	b.normAll(b.m.norm, rows)
	b.handOut()
	b.m.head.MatMul(b.pool, b.logits, b.h, b.wanted)
}

// handOut gives the last hidden states to those that pool them and moves those of which logits are wanted together.
func (b *batch) handOut() {
	if b.wanted == len(b.out) {
		return
	}
	d, n := b.m.cfg.Dim, 0
	for i, p := range b.pools {
		row := b.h[i*d : (i+1)*d]
		if p != nil {
			p.take(row)
			continue
		}
		copy(b.h[n*d:(n+1)*d], row)
		n++
	}
}

// share is the pool for a loop that touches so many floats, or none when waking others would take longer than the loop.
func (b *batch) share(floats int) *kernel.Pool {
	if floats < 1<<16 {
		return nil
	}
	return b.pool
}

// narrow drops the rows whose outcome nobody wants once the last layer's keys and values are stored: the rest of
// that layer is computed for the wanted ones alone.
func (b *batch) narrow() int {
	d := b.m.cfg.Dim
	for i, r := range b.out {
		if int(r) != i {
			copy(b.x[i*d:(i+1)*d], b.x[int(r)*d:])
		}
	}
	b.live = b.single
	return len(b.out)
}

func (b *batch) embedRow(r int) {
	d := b.m.cfg.Dim
	copy(b.x[r*d:(r+1)*d], b.m.embed[int(b.tokens[r])*d:])
}

func (b *batch) normAll(w []float32, rows int) {
	b.weight = w
	b.share(rows*b.m.cfg.Dim).Run(rows, b.norm1)
}

func (b *batch) normRow(r int) {
	d := b.m.cfg.Dim
	kernel.RMSNorm(b.h[r*d:(r+1)*d], b.x[r*d:(r+1)*d], b.weight, b.m.cfg.NormEps)
}

func (b *batch) residual(rows int) {
	n := rows * b.m.cfg.Dim
	kernel.Add(b.x[:n], b.x[:n], b.proj[:n])
}

func (b *batch) activate(r int) {
	f := b.m.cfg.FFN
	g := b.gate[r*2*f : (r+1)*2*f]
	kernel.SiLUMul(b.act[r*f:(r+1)*f], g[:f], g[f:])
}

// place turns queries and keys of one row by its position and stores keys and values in the cache.
func (b *batch) place(r int) {
	m, p, hd := b.m, int(b.pos[r]), b.m.cfg.HeadDim
	width, half := m.qDim+2*m.kvDim, hd/2
	row := b.qkv[r*width : (r+1)*width]
	native.Rotate(row[:m.qDim+m.kvDim], m.cos[p*half:(p+1)*half], m.sin[p*half:(p+1)*half])
	kernel.Scale(row[:m.qDim], b.scale)
	block, at := b.blocks[r][p/blockTokens], p%blockTokens*hd
	for h := range m.cfg.KVHeads {
		copy(b.cache.k(block, b.layer, h)[at:at+hd], row[m.qDim+h*hd:])
		copy(b.cache.v(block, b.layer, h)[at:at+hd], row[m.qDim+m.kvDim+h*hd:])
	}
}
