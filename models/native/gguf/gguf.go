// Package gguf reads the headers of GGUF files, and writes models as such files, version 3, for llama.cpp and programs built on it.
//
// Rules for callers: weights are written as float32; rows of the query and key projections are reordered, because
// the format's Llama rotates neighbouring pairs where Hugging Face's rotates halves; the file carries the
// tokenizer and the chat template, and nothing is added to a prompt unless the template does (add_bos_token is
// false). Ids equal those of the tokenizer package: the named splitting of the file is the same as ours, or, for
// tokenizers made here, coarser in a way that cannot matter (see the tokenizer package).
package gguf

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
)

const (
	magic     = "GGUF"
	version   = 3
	alignment = 32
)

// Types of values and tensors, as the format numbers them.
const (
	typeU32    = 4
	typeI32    = 5
	typeF32    = 6
	typeBool   = 7
	typeString = 8
	typeArray  = 9

	tensorF32 = 0
)

// Types of tokens.
const (
	tokenNormal  = 1
	tokenControl = 3
	tokenUser    = 4
	tokenUnused  = 5
)

// splittings maps how a tokenizer splits to what llama.cpp calls it.
var splittings = map[string]string{
	tokenizer.SplitTriarch: "gpt-2", tokenizer.SplitGPT2: "gpt-2", tokenizer.SplitDigits: "smollm",
	tokenizer.SplitLlama3: "llama-bpe", tokenizer.SplitQwen2: "qwen2",
}

// Numbers reads part of a tensor by its Hugging Face name: it fills into with the numbers from element number at on.
type Numbers func(name string, at int, into []float32) error

// File is a GGUF file that is known but for its numbers, which are read as it is written.
type File struct {
	head    []byte // all before the first tensor, padded
	tensors []placed
	numbers Numbers
	size    int64
}

// New lays out the file of m, whose numbers are those that numbers gives; m's own weights need only shapes. The memory
// it keeps is that of the vocabulary. Errors: fault.Unsupported for a model the format's Llama does not cover,
// fault.Invalid for parts that do not belong together.
func New(m *hf.Model, numbers Numbers) (*File, error) {
	c := m.Weights.Config
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Arch != "llama" && c.Arch != "" {
		return nil, fault.New(fault.Unsupported, "Only Llama models are written as GGUF.")
	}
	if n := m.Tokenizer.VocabSize(); n > c.VocabSize {
		return nil, fault.InvalidField("vocab_size", "the tokenizer has %d tokens and the model only %d", n, c.VocabSize)
	}
	meta, err := metadata(m)
	if err != nil {
		return nil, err
	}
	tensors, err := layout(m.Weights)
	if err != nil {
		return nil, err
	}
	var head bytes.Buffer
	out := &output{w: bufio.NewWriter(&head)}
	out.head(len(tensors), meta)
	size := out.infos(tensors)
	out.pad()
	if err := out.end(); err != nil {
		return nil, err
	}
	return &File{head: head.Bytes(), tensors: tensors, numbers: numbers, size: out.n + size}, nil
}

// Size is how many bytes Write writes.
func (f *File) Size() int64 { return f.size }

// Write writes the file to w. Errors: what the numbers' source and w give.
func (f *File) Write(w io.Writer) error {
	out := &output{w: bufio.NewWriterSize(w, 1<<18)}
	out.bytes(f.head)
	for _, t := range f.tensors {
		out.tensor(t, f.numbers)
		out.pad()
	}
	return out.end()
}

// Write writes m, with the weights it holds, to w. Errors: those of New and what w gives.
func Write(w io.Writer, m *hf.Model) error {
	data := map[string][]float32{}
	for _, t := range m.Weights.Tensors() {
		data[t.Name] = t.Data
	}
	f, err := New(m, func(name string, at int, into []float32) error {
		copy(into, data[name][at:])
		return nil
	})
	if err != nil {
		return err
	}
	return f.Write(w)
}

// pair is one key with its value: string, uint32, float32, bool, []string or []int32.
type pair struct {
	key   string
	value any
}

func metadata(m *hf.Model) ([]pair, error) {
	c := m.Weights.Config
	pre, ok := splittings[m.Tokenizer.Splitting()]
	if !ok {
		return nil, fault.Newf(fault.Unsupported, "GGUF has no name for the tokenizer's splitting %q.", m.Tokenizer.Splitting())
	}
	tokens, types := vocabulary(m.Tokenizer, c.VocabSize)
	meta := []pair{
		{"general.architecture", "llama"}, {"general.alignment", uint32(alignment)}, {"general.file_type", uint32(0)},
		{"llama.context_length", uint32(c.MaxContext)}, {"llama.embedding_length", uint32(c.Dim)},
		{"llama.block_count", uint32(c.Layers)}, {"llama.feed_forward_length", uint32(c.FFN)},
		{"llama.attention.head_count", uint32(c.Heads)}, {"llama.attention.head_count_kv", uint32(c.KVHeads)},
		{"llama.attention.key_length", uint32(c.HeadDim)}, {"llama.attention.value_length", uint32(c.HeadDim)},
		{"llama.attention.layer_norm_rms_epsilon", c.NormEps}, {"llama.rope.freq_base", c.RopeTheta},
		{"llama.rope.dimension_count", uint32(c.HeadDim)}, {"llama.vocab_size", uint32(c.VocabSize)},
		{"tokenizer.ggml.model", "gpt2"}, {"tokenizer.ggml.pre", pre},
		{"tokenizer.ggml.tokens", tokens}, {"tokenizer.ggml.token_type", types}, {"tokenizer.ggml.merges", merges(m.Tokenizer)},
		{"tokenizer.ggml.add_bos_token", false}, {"tokenizer.ggml.add_eos_token", false}, {"tokenizer.ggml.add_space_prefix", false},
	}
	for _, s := range []struct {
		key string
		id  int
	}{{"bos", c.BOS}, {"eos", c.EOS}, {"padding", c.PAD}} {
		if s.id >= 0 {
			meta = append(meta, pair{"tokenizer.ggml." + s.key + "_token_id", uint32(s.id)})
		}
	}
	if m.Chat != nil && m.Chat.Jinja() != "" {
		meta = append(meta, pair{"tokenizer.chat_template", m.Chat.Jinja()})
		if end, ok := m.Chat.EndTurn(); ok {
			meta = append(meta, pair{"tokenizer.ggml.eot_token_id", uint32(end)})
		}
	}
	return meta, nil
}

// vocabulary names every row of the embedding; rows without a token get a name that no text matches.
func vocabulary(t *tokenizer.Tokenizer, rows int) (tokens []string, types []int32) {
	tokens, types = make([]string, rows), make([]int32, rows)
	for id := range rows {
		text, kind := t.TokenText(int32(id)), int32(tokenNormal)
		switch {
		case text == "":
			text, kind = fmt.Sprintf("<|unused %d|>", id), tokenUnused
		case t.IsSpecial(int32(id)):
			kind = tokenControl
		case t.IsAdded(int32(id)):
			kind = tokenUser
		}
		tokens[id], types[id] = text, kind
	}
	return tokens, types
}

func merges(t *tokenizer.Tokenizer) []string {
	list := make([]string, len(t.Merges()))
	for i, m := range t.Merges() {
		list[i] = t.TokenText(m[0]) + " " + t.TokenText(m[1])
	}
	return list
}

// placed is a tensor under its GGUF name.
type placed struct {
	name   string // in the file
	source string // in Hugging Face folders
	shape  []int
	heads  int // rows are reordered within each of so many heads; 0 for none
}

// len is the number of elements.
func (p *placed) len() int {
	n := 1
	for _, v := range p.shape {
		n *= v
	}
	return n
}

var names = map[string]string{
	"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
	"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
	"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
	"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}

// layout renames all tensors; one it has no name for is refused, never left out.
func layout(w *native.Weights) ([]placed, error) {
	var out []placed
	for _, t := range w.Tensors() {
		base, prefix := strings.TrimSuffix(t.Name, ".weight"), ""
		if rest, ok := strings.CutPrefix(base, "model.layers."); ok {
			n, part, _ := strings.Cut(rest, ".")
			base, prefix = part, "blk."+n+"."
		}
		name, ok := names[base]
		if !ok {
			return nil, fault.Newf(fault.Unsupported, "GGUF's Llama has no tensor for %s.", t.Name)
		}
		p := placed{name: prefix + name + ".weight", source: t.Name, shape: t.Shape}
		switch name {
		case "attn_q":
			p.heads = w.Config.Heads
		case "attn_k":
			p.heads = w.Config.KVHeads
		}
		out = append(out, p)
	}
	return out, nil
}

// output counts what it writes and keeps the first error.
type output struct {
	w   *bufio.Writer
	n   int64
	err error
}

func (o *output) bytes(b []byte) {
	if o.err == nil {
		_, o.err = o.w.Write(b)
		o.n += int64(len(b))
	}
}

func (o *output) end() error {
	if o.err == nil {
		o.err = o.w.Flush()
	}
	return fault.Wrap(o.err, "writing the GGUF file")
}

func (o *output) u32(v uint32) { o.bytes(binary.LittleEndian.AppendUint32(nil, v)) }
func (o *output) u64(v uint64) { o.bytes(binary.LittleEndian.AppendUint64(nil, v)) }

func (o *output) text(s string) {
	o.u64(uint64(len(s)))
	o.bytes([]byte(s))
}

func (o *output) pad() { o.bytes(make([]byte, (alignment-o.n%alignment)%alignment)) }

func (o *output) head(tensors int, meta []pair) {
	o.bytes([]byte(magic))
	o.u32(version)
	o.u64(uint64(tensors))
	o.u64(uint64(len(meta)))
	for _, p := range meta {
		o.text(p.key)
		o.value(p.value)
	}
}

func (o *output) value(v any) {
	switch v := v.(type) {
	case string:
		o.u32(typeString)
		o.text(v)
	case uint32:
		o.u32(typeU32)
		o.u32(v)
	case float32:
		o.u32(typeF32)
		o.u32(math.Float32bits(v))
	case bool:
		o.u32(typeBool)
		b := byte(0)
		if v {
			b = 1
		}
		o.bytes([]byte{b})
	case []string:
		o.array(typeString, len(v))
		for _, s := range v {
			o.text(s)
		}
	case []int32:
		o.array(typeI32, len(v))
		for _, x := range v {
			o.u32(uint32(x))
		}
	default:
		panic(fmt.Sprintf("gguf: a value of type %T", v))
	}
}

func (o *output) array(kind uint32, n int) {
	o.u32(typeArray)
	o.u32(kind)
	o.u64(uint64(n))
}

// infos writes name, shape (innermost first), type and offset of every tensor, and returns how many bytes they take.
func (o *output) infos(tensors []placed) int64 {
	offset := int64(0)
	for _, t := range tensors {
		o.text(t.name)
		o.u32(uint32(len(t.shape)))
		for _, v := range slices.Backward(t.shape) {
			o.u64(uint64(v))
		}
		o.u32(tensorF32)
		o.u64(uint64(offset))
		size := int64(t.len()) * 4
		offset += (size + alignment - 1) / alignment * alignment
	}
	return offset
}

// part is how many numbers are read at a time, but at least one row.
const part = 1 << 16

// tensor writes the numbers, as many whole rows at a time as fit into part; of reordered ones row by row. Of a reordered
// head of d rows, row 2j+s of the file is row s*d/2+j of the half-rotation form.
func (o *output) tensor(t placed, numbers Numbers) {
	width := t.shape[len(t.shape)-1]
	rows := t.len() / width
	step := max(1, part/width)
	if t.heads > 0 {
		step = 1
	}
	x, buf := make([]float32, min(step, rows)*width), make([]byte, 0, min(step, rows)*width*4)
	for r := 0; r < rows && o.err == nil; r += step {
		from, n := r, min(step, rows-r)*width
		if t.heads > 0 {
			d := rows / t.heads
			head, in := r/d, r%d
			from = head*d + in%2*(d/2) + in/2
		}
		if err := numbers(t.source, from*width, x[:n]); err != nil {
			o.err = err
			return
		}
		buf = buf[:0]
		for _, v := range x[:n] {
			buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
		}
		o.bytes(buf)
	}
}
