// Package shape says what model a folder holds without loading it: from config.json and the headers of safetensors files,
// or from the header of a GGUF file.
//
// Rules for callers: nothing in a folder is trusted, and its memory and time are bounded by what its headers truly hold.
// What is damaged is an error; what is whole but not known here is a Report without Transformer, whose Unknown says why.
// Counts of parameters come from the files; the configuration's own count is compared with them and a
// disagreement is told in Notes. Fields of configurations are those of huggingface/transformers,
// src/transformers/models, keys of GGUF those of ggml-org/llama.cpp, gguf-py/gguf/constants.py.
package shape

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native/gguf"
	"github.com/triarch-ai/triarch/models/safetensors"
)

// The forms of weights.
const (
	Safetensors = "safetensors"
	GGUF        = "gguf"
)

// Kind is what the tensors of one type take together.
type Kind struct {
	Type    string `json:"type"` // "BF16", "Q4_K"
	Tensors int    `json:"tensors"`
	Numbers int64  `json:"numbers"`
	Bytes   int64  `json:"bytes"`
}

// Report is what a folder holds.
type Report struct {
	Form         string // Safetensors or GGUF
	Arch         string // the family as its files name it: "qwen2", in GGUF "qwen2" too
	Class        string // the class that config.json names: "Qwen2ForCausalLM"; empty in GGUF
	Transformer  *perf.Shape
	Unknown      string // why Transformer is nil: a sentence
	Params       int64  // in the files, of the whole model; 0: could not be counted
	Vocab        int
	Context      int // the longest sequence; 0: not told
	Bytes        int64
	Kinds        []Kind // largest first
	Quantisation string // "gptq, 4 bits", "fp8", "Q4_K_M"; empty: none
	Chat         bool   // has a chat template
	Notes        []string
}

// PerWeight is the bytes that a parameter takes in the files; 0 where parameters could not be counted.
func (r *Report) PerWeight() float64 {
	if r.Params <= 0 {
		return 0
	}
	return float64(r.Bytes) / float64(r.Params)
}

// DType is the type that takes the most bytes, in lower case.
func (r *Report) DType() string {
	if len(r.Kinds) == 0 {
		return ""
	}
	return strings.ToLower(r.Kinds[0].Type)
}

// Source gives the files of a model.
type Source interface {
	// Names lists the plain files.
	Names() ([]string, error)
	// Open opens one for reading anywhere, with its size.
	Open(name string) (File, int64, error)
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.Closer
}

// Dir is the source of a folder of this machine. Links are followed to plain files, as people lay out folders by links.
type Dir string

// Names implements Source.
func (d Dir) Names() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, fault.Wrap(err, "reading the model's folder")
	}
	var names []string
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(string(d), e.Name())); err == nil && info.Mode().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Open implements Source.
func (d Dir) Open(name string) (File, int64, error) {
	path := filepath.Join(string(d), name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() { // a pipe would block
		return nil, 0, fmt.Errorf("%s is no plain file", name)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// maxMeta bounds a JSON file beside the weights, maxIndex the list of which tensor is in which file, which a mixture of hundreds of quantised
// experts makes long; maxFiles the files of a folder that are looked at.
const (
	maxMeta  = 16 << 20
	maxIndex = 64 << 20
	maxFiles = 1 << 12
)

// Read says what the source holds. Faults: Invalid for a folder without weights in a form that is read here, and for
// damaged files, with the file as field; what the source gives.
func Read(src Source) (*Report, error) {
	names, err := src.Names()
	if err != nil {
		return nil, err
	}
	if len(names) > maxFiles {
		return nil, fault.Newf(fault.TooLarge, "The model's folder has more than %d files.", maxFiles)
	}
	slices.Sort(names)
	has := func(name string) bool { _, ok := slices.BinarySearch(names, name); return ok }
	ends := func(end string) (out []string) {
		for _, n := range names {
			if strings.HasSuffix(n, end) && !strings.HasPrefix(n, ".") {
				out = append(out, n)
			}
		}
		return out
	}
	switch {
	case has("config.json") && len(ends(".safetensors")) > 0:
		return readFolder(src, names)
	case len(ends(".gguf")) > 0:
		return readGGUF(src, ends(".gguf"))
	case has("adapter_config.json"):
		return nil, noModel("The folder holds an adapter, not a model.", "Merge it into its base model and import that.")
	case has("config.json") && len(ends(".bin"))+len(ends(".pt"))+len(ends(".pth")) > 0:
		return nil, noModel("The model's weights are pickled, which can run any code where they are read.", "Convert them to safetensors.")
	case has("config.json"):
		return nil, noModel("The model's folder has no weights.", "Fetch the *.safetensors files of it too.")
	case len(ends(".safetensors")) > 0:
		return nil, noModel("The model's folder has no config.json.", "Fetch the config.json of it too.")
	}
	return nil, noModel("The folder holds no model.", "Name a folder with config.json and *.safetensors, or with a *.gguf.")
}

func noModel(says, fix string) error {
	return fault.New(fault.Invalid, says, fault.Field("config.json"), fault.Fix("%s", fix))
}

// damaged says what is wrong with a file; a failure of the disk, which would show where the file lies, is told to the log alone.
func damaged(file string, cause error) error {
	if errors.Is(cause, gguf.ErrType) || errors.Is(cause, safetensors.ErrType) {
		return fault.New(fault.Unsupported, "The model's "+file+" cannot be checked: "+cause.Error()+".", fault.Field(file), fault.Code("unknown_type"),
			fault.Fix("Take the model in another precision or quantisation."))
	}
	why := ""
	if _, disk := errors.AsType[*fs.PathError](cause); cause != nil && !disk {
		why = ": " + cause.Error()
	}
	return fault.New(fault.Invalid, "The model's "+file+" is damaged"+why+".", fault.Field(file), fault.Fix("Fetch or export the model again."), fault.Cause(cause))
}

// small reads a JSON file; nil and no error where it is not there.
func small(src Source, name string, most int64) ([]byte, error) {
	f, size, err := src.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Wrap(err, "reading "+name)
	}
	defer f.Close()
	if size > most {
		return nil, fault.Newf(fault.TooLarge, "The model's %s is larger than %d bytes.", name, most)
	}
	raw := make([]byte, size)
	if _, err := f.ReadAt(raw, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fault.Wrap(err, "reading "+name)
	}
	return raw, nil
}

// tally adds tensors up by type.
type tally map[string]*Kind

func (t tally) add(kind string, numbers, bytes int64) {
	k := t[kind]
	if k == nil {
		k = &Kind{Type: kind}
		t[kind] = k
	}
	k.Tensors, k.Numbers, k.Bytes = k.Tensors+1, k.Numbers+numbers, k.Bytes+bytes
}

func (t tally) into(r *Report) {
	for _, name := range slices.Sorted(maps.Keys(t)) {
		r.Kinds = append(r.Kinds, *t[name])
		r.Bytes += t[name].Bytes
	}
	slices.SortStableFunc(r.Kinds, func(a, b Kind) int { return cmp.Compare(b.Bytes, a.Bytes) })
}

// compare tells whether the count of the shape is that of the files.
func (r *Report) compare(files int64) {
	if r.Transformer == nil || files == 0 {
		return
	}
	if n := r.Transformer.Parameters(); n != files {
		r.Notes = append(r.Notes, fmt.Sprintf("The configuration tells of %d parameters, the files hold %d.", n, files))
	}
}

// chat says whether the folder has a chat template.
func chat(src Source, names []string) (bool, error) {
	for _, name := range []string{"chat_template.jinja", "chat_template.json"} {
		if _, ok := slices.BinarySearch(names, name); ok {
			return true, nil
		}
	}
	raw, err := small(src, "tokenizer_config.json", maxMeta)
	if err != nil || raw == nil {
		return false, err
	}
	var c struct {
		Template json.RawMessage `json:"chat_template"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return false, damaged("tokenizer_config.json", err)
	}
	return len(c.Template) > 0 && string(c.Template) != "null" && string(c.Template) != `""`, nil
}
