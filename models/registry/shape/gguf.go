package shape

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/models/native/gguf"
)

// readGGUF reads the GGUF files of a folder: one model, in one file or split into several.
func readGGUF(src Source, names []string) (*Report, error) {
	files, beside, err := splits(names)
	if err != nil {
		return nil, err
	}
	r := &Report{Form: GGUF, Notes: []string{}}
	if len(beside) > 0 {
		r.Notes = append(r.Notes, "Files beside the text model: "+clip(strings.Join(beside, ", "))+".")
	}
	kinds := tally{}
	var first *gguf.Header
	var tensors []gguf.Tensor
	seen := map[string]bool{}
	for i, name := range files {
		h, err := ggufHeader(src, name)
		if err != nil {
			return nil, damaged(name, err)
		}
		if err := isPart(h, i, len(files)); err != nil {
			return nil, damaged(name, err)
		}
		if i == 0 {
			first = h
		}
		for _, t := range h.Tensors {
			if seen[t.Name] || len(seen) == maxAllTensors {
				return nil, damaged(name, fmt.Errorf("tensor %.80q is in two files, or they have too many", t.Name))
			}
			seen[t.Name] = true
			kinds.add(t.Type, t.Numbers(), t.Bytes)
		}
		tensors = append(tensors, h.Tensors...)
	}
	if n, ok := first.Uint("split.tensors.count"); ok && n != uint64(len(tensors)) {
		return nil, damaged(files[0], fmt.Errorf("%d tensors in all files, where it tells of %d", len(tensors), n))
	}
	if len(tensors) == 0 {
		return nil, noModel("The model's files hold no tensor.", "Fetch or export the model again.")
	}
	kinds.into(r)
	tellGGUF(r, first, tensors)
	return r, nil
}

func ggufHeader(src Source, name string) (*gguf.Header, error) {
	f, size, err := src.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return gguf.Read(f, size)
}

// splitName is how parts of a split file are named: docs/gguf.md of ggml-org/ggml.
var splitName = regexp.MustCompile(`^(.*)-(\d{5})-of-(\d{5})\.gguf$`)

// splits are the files of the one model in order, and those that are loaded beside one.
func splits(names []string) (files, beside []string, err error) {
	models := map[string]bool{}
	for _, n := range names {
		if strings.HasPrefix(n, "mmproj") || strings.HasPrefix(n, "mtp-") {
			beside = append(beside, n)
			continue
		}
		files = append(files, n) // sorted by name, which is the order of parts
		model := n
		if m := splitName.FindStringSubmatch(n); m != nil {
			model = m[1]
		}
		models[model] = true
	}
	switch {
	case len(files) == 0:
		return nil, nil, noModel("The folder holds parts that are loaded beside a model, and no model.", "Fetch the model's file too.")
	case len(models) > 1:
		return nil, nil, noModel(fmt.Sprintf("The folder holds %d models as GGUF, of which one is wanted.", len(models)), "Keep one *.gguf in the folder, or the parts of one.")
	}
	return files, beside, nil
}

// isPart holds what a file says of itself against its place among the files.
func isPart(h *gguf.Header, i, n int) error {
	count, split := h.Uint("split.count")
	if !split {
		count = 1
	}
	no, _ := h.Uint("split.no")
	if count != uint64(n) || count > 1 && no != uint64(i) {
		return fmt.Errorf("it is part %d of %d, where %d of %d is wanted", no+1, count, i+1, n)
	}
	return nil
}

// keys reads a family's values.
type keys struct {
	h    *gguf.Header
	arch string
	err  error
}

// number is a value of the family; false where it is not there. A list of one and the same number for each layer is that number.
func (k *keys) number(name string) (int, bool) {
	key := k.arch + "." + name
	v, there := k.h.Values[key]
	if !there {
		return 0, false
	}
	n, ok := k.h.Uint(key)
	if !ok {
		var err error
		if n, err = same(v); err != nil && k.err == nil {
			k.err = fmt.Errorf("%s %w", key, err)
		}
	}
	if n > most {
		if k.err == nil {
			k.err = fmt.Errorf("%s is %d", key, n)
		}
		n = 0
	}
	return int(n), true
}

func same(v any) (uint64, error) {
	var list []uint64
	switch v := v.(type) {
	case []uint64:
		list = v
	case []int64:
		for _, n := range v {
			if n < 0 {
				return 0, errors.New("is negative")
			}
			list = append(list, uint64(n))
		}
	}
	if len(list) == 0 {
		return 0, errors.New("is no number")
	}
	for _, n := range list {
		if n != list[0] {
			return 0, errors.New("differs from layer to layer")
		}
	}
	return list[0], nil
}

func (k *keys) need(name string) int {
	n, ok := k.number(name)
	if k.err == nil && (!ok || n == 0) {
		k.err = fmt.Errorf("%s.%s is missing", k.arch, name)
	}
	return max(n, 1)
}

func (k *keys) or(otherwise int, name string) int {
	if n, ok := k.number(name); ok {
		return n
	}
	return otherwise
}

// block is the tensors of a layer by the rest of their names.
var blockName = regexp.MustCompile(`^blk\.(\d{1,6})\.(.+)$`)

// parts are the tensors of a file as the shape needs them.
type parts struct {
	params  int64 // but for constants and layers after the last
	further int64
	last    map[string]gguf.Tensor // of the last layer
	tied    bool
	learnt  int // positions that are learnt
}

func partsOf(tensors []gguf.Tensor, layers int) parts {
	p := parts{last: map[string]gguf.Tensor{}, tied: true}
	for _, t := range tensors {
		n := t.Numbers()
		m := blockName.FindStringSubmatch(t.Name)
		layer := -1
		if m != nil {
			layer, _ = strconv.Atoi(m[1]) // six digits at most
		}
		switch {
		case strings.HasPrefix(t.Name, "rope_f") || m != nil && strings.HasPrefix(m[2], "attn_rot_embd"):
		case layer >= layers:
			p.further += n
		default:
			p.params += n
		}
		if layer == layers-1 {
			p.last[m[2]] = t
		}
		if t.Name == "position_embd.weight" && len(t.Shape) == 2 {
			p.learnt = int(min(t.Shape[1], most))
		}
		p.tied = p.tied && t.Name != "output.weight"
	}
	return p
}

func (p parts) has(name string) bool { _, ok := p.last[name]; return ok }

// tellGGUF writes what the header says into the report.
func tellGGUF(r *Report, h *gguf.Header, tensors []gguf.Tensor) {
	r.Arch = clip(h.Text("general.architecture"))
	r.Quantisation = h.FileType()
	r.Chat = h.Text("tokenizer.chat_template") != ""
	k := &keys{h: h, arch: r.Arch}
	r.Context = k.or(0, "context_length")
	r.Vocab = k.or(int(min(h.Counts["tokenizer.ggml.tokens"], most)), "vocab_size")
	next := k.or(0, "nextn_predict_layers")
	layers := max(1, k.or(0, "block_count")-next)
	p := partsOf(tensors, layers)
	r.Params = p.params + p.further
	k.err = nil // what of these was wrong is told again where it is needed
	s, err := k.shape(r, p, layers)
	if err == nil {
		if refused := s.Check(); refused != nil {
			err = refused
		}
	}
	if err != nil {
		r.Unknown = "Its shape is not known here: " + err.Error() + "."
		return
	}
	// Small tensors differ by family; the file is the judge of them, as long as they are small.
	if more := p.params - s.Parameters(); max(more, -more) <= p.params/100 {
		s.More = more
	}
	r.Transformer = &s
	r.compare(p.params)
	if p.further > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d parameters are layers that predict further tokens.", p.further))
	}
}

// shape reads a transformer's shape from the values and from which tensors its last layer has.
func (k *keys) shape(r *Report, p parts, layers int) (perf.Shape, error) {
	if k.arch == "" {
		return perf.Shape{}, errors.New("the file names no architecture")
	}
	for key := range k.h.Values {
		for _, other := range []string{".ssm.", ".wkv.", ".kda.", ".decoder_block_count", ".altup."} {
			if strings.HasPrefix(key, k.arch+other) {
				return perf.Shape{}, fmt.Errorf("the architecture %.40q is more than a transformer of one kind of layer (%s)", k.arch, key)
			}
		}
	}
	k.need("block_count")
	s := perf.Shape{Name: r.Arch, Layers: layers, Width: k.need("embedding_length"), Heads: k.need("attention.head_count"), Vocab: r.Vocab, Tied: p.tied}
	s.KVHeads = k.or(s.Heads, "attention.head_count_kv")
	s.Head = k.or(s.Width/s.Heads, "attention.key_length")
	s.Inner = k.or(0, "feed_forward_length")
	up, hasUp := p.last["ffn_up.weight"]
	s.Plain = hasUp && !p.has("ffn_gate.weight") && len(up.Shape) == 2 && up.Shape[1] == int64(s.Inner)
	s.QKVBias = p.has("attn_q.bias") || p.has("attn_qkv.bias")
	s.Biases = s.Plain && s.QKVBias && p.has("ffn_up.bias") && (p.has("attn_norm.bias") || p.has("attn_output_norm.bias"))
	s.Positions = p.learnt
	if s.Biases {
		s.QKVBias = false
	}
	norm, hasNorm := p.last["attn_q_norm.weight"]
	s.QKNorm = hasNorm && norm.Numbers() == int64(s.Head)
	if causal, ok := k.h.Values[k.arch+".attention.causal"].(bool); ok && !causal || strings.Contains(r.Arch, "bert") {
		s.Encoder = true
	}
	if v, ok := k.number("attention.value_length"); ok && v != s.Head && k.or(0, "attention.kv_lora_rank") == 0 {
		return s, fmt.Errorf("values of %d numbers with keys of %d", v, s.Head)
	}
	k.latent(&s)
	k.experts(&s)
	k.window(&s)
	return s, k.err
}

func (k *keys) latent(s *perf.Shape) {
	rank := k.or(0, "attention.kv_lora_rank")
	if rank == 0 {
		return
	}
	rotor := k.need("rope.dimension_count")
	key := k.or(k.need("attention.key_length"), "attention.key_length_mla")
	s.Latent = &perf.Latent{Query: k.or(0, "attention.q_lora_rank"), Keys: rank, Rotor: rotor, Plain: max(1, key-rotor),
		Value: k.or(k.need("attention.value_length"), "attention.value_length_mla")}
	s.KVHeads, s.Head = s.Heads, key // newer files tell of one head, as the cache has
}

func (k *keys) experts(s *perf.Shape) {
	n := k.or(0, "expert_count")
	if n == 0 {
		return
	}
	e := &perf.Experts{Count: n, Active: k.need("expert_used_count"), Width: k.or(s.Inner, "expert_feed_forward_length"), Shared: k.or(0, "expert_shared_count"),
		Dense: min(s.Layers, k.or(0, "leading_dense_block_count"))}
	if shared := k.or(0, "expert_shared_feed_forward_length"); shared > 0 && e.Shared == 0 && e.Width > 0 {
		e.Shared = shared / e.Width
	}
	if e.Dense == 0 {
		s.Inner = 0
	}
	s.Experts = e
}

// window says which layers see a window alone: by the list of the file, or by what its family does.
func (k *keys) window(s *perf.Shape) {
	w := k.or(0, "attention.sliding_window")
	if w == 0 || w >= k.or(most, "context_length") {
		return
	}
	local := s.Layers
	switch pattern := k.h.Values[k.arch+".attention.sliding_window_pattern"].(type) {
	case []bool:
		local = 0
		for _, sees := range pattern {
			if sees {
				local++
			}
		}
		local = min(local, s.Layers)
	case uint64:
		if pattern > 0 && pattern <= uint64(s.Layers) {
			local = s.Layers - s.Layers/int(pattern)
		}
	case nil:
		switch k.arch {
		case "gemma2", "gpt-oss":
			local = (s.Layers + 1) / 2
		case "gemma3":
			local = s.Layers - s.Layers/6
		}
	}
	if local > 0 {
		s.Window, s.Local = w, local
	}
}
