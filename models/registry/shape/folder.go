package shape

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/models/safetensors"
)

// Bounds of a folder of safetensors files.
const (
	maxShards     = 1 << 10
	maxAllTensors = 1 << 19
)

// tensor is what of a tensor is kept.
type tensor struct {
	dtype   string
	numbers int64
	rank    int
}

// readFolder reads a folder with config.json and *.safetensors.
func readFolder(src Source, names []string) (*Report, error) {
	raw, err := small(src, "config.json", maxMeta)
	if err != nil {
		return nil, err
	}
	top, err := parseFields(raw)
	if err != nil {
		return nil, damaged("config.json", err)
	}
	r := &Report{Form: Safetensors, Arch: clip(top.text("model_type")), Notes: []string{}}
	if classes := top.texts("architectures"); len(classes) > 0 {
		r.Class = clip(classes[0])
	}
	tensors, err := weights(src, names, r)
	if err != nil {
		return nil, err
	}
	if r.Chat, err = chat(src, names); err != nil {
		return nil, err
	}
	text := inner(top)
	s, why := transformer(text)
	h := sort(tensors, quantised(top, text), s)
	r.Quantisation = h.quant.name
	if s != nil {
		s.Tied = s.Tied || h.head == 0 // a model of embeddings has no table of its own for its output
		s.Name = r.Arch
		r.Context = context(text, s)
		r.Vocab = s.Vocab
		if refused := s.Check(); refused != nil {
			s, why = nil, refused.Field+": "+refused.Detail
		}
	}
	r.Transformer = s
	if s == nil {
		r.Unknown = "Its shape is not known here: " + why + "."
		r.Vocab, _ = text.number("vocab_size")
		r.Context = context(text, nil)
	}
	h.tell(r)
	return r, nil
}

// inner is the configuration of the part that reads and writes text.
func inner(top *fields) *fields {
	for range 2 { // of a model of speech it is two deep
		sub := top.sub("text_config", "llm_config", "language_config", "thinker_config")
		if sub == nil {
			break
		}
		top = sub
	}
	return top
}

// transformer reads the shape, or says why not.
func transformer(f *fields) (*perf.Shape, string) {
	kind := f.text("model_type")
	read, ok := families[kind]
	switch {
	case f.err != nil:
		return nil, f.err.Error()
	case kind == "":
		return nil, "config.json names no model_type"
	case !ok:
		return nil, fmt.Sprintf("the family %.60q (model_type) is not", kind)
	case f.flag(false, "is_encoder_decoder"):
		return nil, "an encoder with a decoder is not"
	}
	s := read(f)
	if f.err != nil {
		return nil, "in config.json " + f.err.Error()
	}
	return &s, ""
}

// weights reads the headers of all files that belong to the model and adds their tensors up.
func weights(src Source, names []string, r *Report) (map[string]tensor, error) {
	files, err := shards(src, names)
	if err != nil {
		return nil, err
	}
	all := map[string]tensor{}
	kinds := tally{}
	for _, name := range files {
		h, err := header(src, name)
		if err != nil {
			return nil, damaged(name, err)
		}
		for _, tensorName := range slices.Sorted(maps.Keys(h.Tensors)) {
			t := h.Tensors[tensorName]
			if _, twice := all[tensorName]; twice {
				return nil, damaged(name, fmt.Errorf("tensor %.80q is in another file too", tensorName))
			}
			if len(all) == maxAllTensors {
				return nil, damaged(name, fmt.Errorf("more than %d tensors in all files", maxAllTensors))
			}
			all[tensorName] = tensor{t.DType, t.Numbers(), len(t.Shape)}
			kinds.add(t.DType, t.Numbers(), t.Bytes())
		}
	}
	if len(all) == 0 {
		return nil, noModel("The model's files hold no tensor.", "Fetch or export the model again.")
	}
	kinds.into(r)
	return all, nil
}

func header(src Source, name string) (safetensors.Header, error) {
	f, size, err := src.Open(name)
	if err != nil {
		return safetensors.Header{}, err
	}
	defer f.Close()
	return safetensors.Read(f, size)
}

// shards are the files of the weights: those that the index names, all of which must be there, else model.safetensors,
// else all of the folder.
func shards(src Source, names []string) ([]string, error) {
	const file, one = "model.safetensors.index.json", "model.safetensors"
	raw, err := small(src, file, maxIndex)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, n := range names {
		if strings.HasSuffix(n, ".safetensors") && !strings.HasPrefix(n, ".") {
			files = append(files, n)
		}
	}
	if raw == nil {
		if _, ok := slices.BinarySearch(names, one); ok {
			return []string{one}, nil
		}
		if len(files) > maxShards {
			return nil, damaged(file, fmt.Errorf("the folder has %d files of weights and no index", len(files)))
		}
		return files, nil
	}
	var index struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, damaged(file, err)
	}
	named := map[string]bool{}
	for _, name := range index.Map {
		if _, ok := slices.BinarySearch(files, name); !ok {
			return nil, damaged(file, fmt.Errorf("it names %.80q, which is not in the folder", name))
		}
		named[name] = true
	}
	if len(named) == 0 || len(named) > maxShards {
		return nil, damaged(file, fmt.Errorf("it names %d files", len(named)))
	}
	return slices.Sorted(maps.Keys(named)), nil
}

// held is what the tensors hold, by what they are for.
type held struct {
	quant   quantisation
	text    int64 // parameters of the text model, without a second table
	head    int64 // of the table of outputs
	beside  map[string]int64
	further int64 // of layers after the last: they predict further tokens
	packed  bool  // some numbers hold parameters in a way that is not known
}

// aside are the parts that are no part of the text model, by a segment of their tensors' names.
var aside = map[string]bool{
	"vision_tower": true, "vision_model": true, "visual": true, "vision_encoder": true, "multi_modal_projector": true, "mm_projector": true, "mlp1": true,
	"audio_tower": true, "audio_encoder": true, "audio_projector": true, "image_newline": true, "embed_vision": true, "embed_audio": true, "talker": true,
	"token2wav": true, "classifier": true, "score": true, "pooler": true, "cls": true, "mtp": true, "vision_adapter": true,
}

var layerOf = regexp.MustCompile(`(?:^|\.)(?:layers|h|layer)\.(\d{1,6})\.`)

// sort counts the parameters of the tensors.
func sort(tensors map[string]tensor, q quantisation, s *perf.Shape) *held {
	h := &held{quant: q, beside: map[string]int64{}}
	for name, t := range tensors {
		n, known := h.quant.numbers(name, t, tensors)
		h.packed = h.packed || !known
		switch part := segment(name, s); {
		case n == 0 || buffer(name, t):
		case part != "":
			h.beside[part] += n
		case s != nil && beyond(name, s.Layers):
			h.further += n
		case table(name):
			h.head += n
		default:
			h.text += n
		}
	}
	return h
}

// segment is the part beside the text model that a tensor belongs to; empty: to the text model.
func segment(name string, s *perf.Shape) string {
	for part := range strings.SplitSeq(name, ".") {
		if aside[part] || part == "lm_head" && s != nil && s.Encoder {
			return part
		}
	}
	return ""
}

// table says whether a tensor is part of the table of outputs.
func table(name string) bool {
	for _, head := range []string{"lm_head.", "embed_out.", "output_layer."} {
		if strings.HasPrefix(name, head) || strings.Contains(name, "."+head) {
			return true
		}
	}
	return false
}

func beyond(name string, layers int) bool {
	m := layerOf.FindStringSubmatch(name)
	if m == nil {
		return false
	}
	n, err := strconv.Atoi(m[1])
	return err == nil && n >= layers
}

// buffer says whether a tensor is a constant that older files carry along.
func buffer(name string, t tensor) bool {
	for _, end := range []string{"inv_freq", "position_ids", "masked_bias"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return t.rank >= 3 && (strings.HasSuffix(name, ".attn.bias") || strings.HasSuffix(name, ".attention.bias"))
}

// tell writes what was counted into the report.
func (h *held) tell(r *Report) {
	s := r.Transformer
	text := h.text
	if s == nil || !s.Tied {
		text += h.head // a tied one is a copy of the table of inputs
	}
	if h.packed {
		r.Notes = append(r.Notes, "How its files pack the weights is not known here, so that their parameters were not counted.")
		if s != nil {
			r.Params = s.Parameters()
		}
		return
	}
	r.Params = text + h.further
	for _, part := range slices.Sorted(maps.Keys(h.beside)) {
		r.Params += h.beside[part]
		r.Notes = append(r.Notes, fmt.Sprintf("%d parameters are no part of the text model: %s.", h.beside[part], part))
	}
	if h.further > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d parameters are layers that predict further tokens.", h.further))
	}
	r.compare(text)
}

// clip keeps a name from outside short and readable.
func clip(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s[:min(len(s), 64)], ""))
}
