package main

import (
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/models/native"
)

// Case is a shape of a model, and the batch and context that it is measured at in each task.
type Case struct {
	Name    string
	Fit     bool // the numbers are fitted to it; else it is predicted only
	Layers  int
	Width   int
	Heads   int
	KVHeads int
	Head    int
	Inner   int
	Vocab   int
	Batch   int
	Context int
}

// cases are six shapes to fit to and twelve others: width, depth, grouped heads, vocabulary, batch and context vary, and
// the twelve go beyond the six in each of them. They were chosen before anything was measured.
var cases = []Case{
	{"a-64x2", true, 2, 64, 2, 2, 32, 192, 512, 8, 128},
	{"b-128x4", true, 4, 128, 4, 4, 32, 352, 1024, 4, 256},
	{"c-256x4", true, 4, 256, 4, 4, 64, 704, 2048, 8, 256},
	{"d-384x6", true, 6, 384, 6, 2, 64, 1024, 4096, 2, 512},
	{"e-512x8", true, 8, 512, 8, 4, 64, 1408, 4096, 1, 256},
	{"f-192x12", true, 12, 192, 6, 6, 32, 512, 512, 16, 64},
	{"g-96x3", false, 3, 96, 3, 3, 32, 256, 1024, 8, 256},
	{"h-64x2", false, 2, 64, 2, 1, 32, 192, 512, 1, 64},
	{"i-128x8", false, 8, 128, 4, 2, 32, 352, 4096, 16, 128},
	{"j-256x4", false, 4, 256, 4, 4, 64, 704, 2048, 1, 1024},
	{"k-256x2", false, 2, 256, 4, 1, 64, 704, 8192, 4, 128},
	{"l-320x6", false, 6, 320, 5, 5, 64, 864, 2048, 2, 256},
	{"m-384x3", false, 3, 384, 6, 6, 64, 1024, 1024, 8, 128},
	{"n-512x4", false, 4, 512, 8, 8, 64, 1408, 2048, 2, 512},
	{"o-640x4", false, 4, 640, 10, 5, 64, 1728, 4096, 1, 128},
	{"p-768x6", false, 6, 768, 12, 4, 64, 2048, 4096, 1, 256},
	{"q-160x16", false, 16, 160, 5, 5, 32, 448, 512, 4, 256},
	{"r-448x5", false, 5, 448, 7, 7, 64, 1216, 8192, 4, 64},
}

// answered is how many tokens of each sequence are made where decode is measured; the context is where the middle of them is.
const answered = 96

func (c Case) config() native.Config {
	return native.Config{VocabSize: c.Vocab, Dim: c.Width, Layers: c.Layers, Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: c.Head, FFN: c.Inner,
		MaxContext: c.Context + answered + 16, RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: true, BOS: -1, EOS: -1, PAD: -1}
}

func (c Case) shape() perf.Shape {
	return perf.Shape{Name: c.Name, Layers: c.Layers, Width: c.Width, Heads: c.Heads, KVHeads: c.KVHeads, Head: c.Head, Inner: c.Inner, Vocab: c.Vocab, Tied: true}
}
