// Package registry keeps models: named, numbered, immutable versions of weights with their files, card, lineage,
// metrics and loss curve.
//
// Rules for callers: a version's files are blobs and never change; AddVersion with a run id gives one version for
// that run however often it is called, and so with a pull's id; Materialise gives a folder that engines may read and must not write. A
// version cannot be removed while a deployment serves it or a run that has not ended starts from it.
package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/ref"
	"github.com/triarch-ai/triarch/models/registry/shape"
	"github.com/triarch-ai/triarch/storage/blob"
)

// Model is a name under which versions are kept.
type Model struct {
	ID        string // mdl_...
	Project   string
	Name      string // unique in the project
	Versions  int
	Latest    int // number of the newest version
	CreatedAt time.Time
}

// File is one file of a version.
type File struct {
	Ref  blob.Ref `json:"ref"`
	Size int64    `json:"size"` // bytes
}

// Lineage says where a version comes from.
type Lineage struct {
	RunID       string          `json:"run_id,omitempty"`       // run_..., empty for an imported model
	DataVersion string          `json:"data_version,omitempty"` // dv_...
	Base        string          `json:"base,omitempty"`         // mv_... that training started from
	Recipe      json.RawMessage `json:"recipe,omitempty"`       // the recipe with its defaults filled in
	CodeVersion string          `json:"code_version,omitempty"` // version of the program that trained it
	Source      string          `json:"source,omitempty"`       // "run", "import", "pull" or "bundle"
	Origin      string          `json:"origin,omitempty"`       // where it was pulled from, huggingface:org/name; a bundle keeps it
	Revision    string          `json:"revision,omitempty"`     // there, a commit where the hub tells it
	Hash        string          `json:"hash,omitempty"`         // of the files as they were there: SHA-256 over their checksums, sizes and names
	Pull        string          `json:"pull,omitempty"`         // pull_... that brought it
}

// Once is what a version is made of at most once: the run or the pull; empty for an import.
func (l Lineage) Once() string { return cmp.Or(l.RunID, l.Pull) }

// Point is one point of a loss curve.
type Point struct {
	Step int     `json:"step"`
	Loss float64 `json:"loss"` // nats per token
	LR   float64 `json:"lr"`
}

// Shape says what the model is, for people and for admission.
type Shape struct {
	Arch    string `json:"arch"`       // "llama", "qwen2_moe"
	Params  int64  `json:"params"`     // parameters, tied ones once; 0: could not be counted
	Vocab   int    `json:"vocab_size"` // tokens
	Context int    `json:"context"`    // longest sequence, tokens; 0: not told
	DType   string `json:"dtype"`      // "f32", "bf16", "f16", "q4_k": of most of the weights
	Chat    bool   `json:"chat"`       // has a chat template

	// What follows is missing in versions that were added before it was read.
	Class        string       `json:"class,omitempty"`        // the class that config.json names
	Form         string       `json:"form,omitempty"`         // of the weights: shape.Safetensors or shape.GGUF
	Quantisation string       `json:"quantisation,omitempty"` // "gptq, 4 bits", "Q4_K_M"; empty: none
	WeightBytes  int64        `json:"weight_bytes,omitempty"` // of the tensors as stored
	Kinds        []shape.Kind `json:"kinds,omitempty"`        // what the tensors of each type take
	Transformer  *perf.Shape  `json:"transformer,omitempty"`  // nil: could not be read, as Unknown says
	Unknown      string       `json:"unknown,omitempty"`      // why Transformer could not be read: a sentence
	Foreign      string       `json:"foreign,omitempty"`      // why the embedded engine cannot run it: a sentence; empty: it can
	Notes        []string     `json:"notes,omitempty"`        // what disagrees, what the counts leave out
}

// PerWeight is the bytes that a parameter takes as stored; 0: not known.
func (s Shape) PerWeight() float64 {
	if s.Params <= 0 {
		return 0
	}
	return float64(s.WeightBytes) / float64(s.Params)
}

// Version is one immutable set of weights.
type Version struct {
	ID        string // mv_...
	Project   string
	ModelID   string
	Model     string // the model's name
	Number    int    // 1, 2, ... within the model
	Files     map[string]File
	Shape     Shape
	Card      string // Markdown
	Lineage   Lineage
	Metrics   map[string]float64 // final loss and the like
	LossCurve []Point            // at most CurvePoints
	CreatedBy string             // key id, may be empty
	CreatedAt time.Time
}

// CurvePoints is the most points a stored loss curve has; longer ones are thinned evenly, keeping first and last.
const CurvePoints = 512

// Bytes is the size of all files together.
func (v Version) Bytes() int64 {
	var n int64
	for _, f := range v.Files {
		n += f.Size
	}
	return n
}

// NewVersion is what AddVersion needs to know beyond the files.
type NewVersion struct {
	Model     string // name; made when it does not exist
	Lineage   Lineage
	Metrics   map[string]float64
	LossCurve []Point
	Card      string // Markdown; made from lineage and metrics when empty
	CreatedBy string
	Link      bool // the folder's files change no more: they may be linked instead of copied
}

// Store keeps models and versions. Every method stays within the project it is given.
type Store interface {
	// Add makes the model if needed and inserts the version with its next number. When v.Lineage.Once is not empty and
	// the project already has a version of that run or pull, that version is returned and nothing is written.
	Add(ctx context.Context, model Model, v Version) (Version, error)
	// Get returns a version by id; fault.NotFound.
	Get(ctx context.Context, project, id string) (Version, error)
	// Find returns a model's version by number, the newest for 0; fault.NotFound.
	Find(ctx context.Context, project, model string, number int) (Version, error)
	// ByRun returns the version a run made or a pull brought; fault.NotFound.
	ByRun(ctx context.Context, project, runID string) (Version, error)
	// Models lists the project's models that have a version, by name, which is the key of a page.
	Models(ctx context.Context, project string, p page.Page) ([]Model, error)
	// Versions lists a model's versions, newest first, without loss curves; the key of a page is the number.
	Versions(ctx context.Context, project, model string, p page.Page) ([]Version, error)
	// Remove deletes a version; fault.Conflict while a deployment serves it or an open run starts from it.
	Remove(ctx context.Context, project, id string) error
	// Exists says which of the ids are versions of any project.
	Exists(ctx context.Context, ids []string) (map[string]bool, error)
	// Refs calls yield with the Ref of every file of every version until it returns false.
	Refs(ctx context.Context, yield func(blob.Ref) bool) error
}

// Format is a form a version can be exported in.
type Format string

// The export formats.
const (
	HF   Format = "hf"   // a Hugging Face folder: safetensors, config.json, tokenizer.json, ...
	GGUF Format = "gguf" // one GGUF v3 file
)

// Codec reads model folders; the engine's library provides it.
type Codec interface {
	// Inspect reads the folder, checks that its weights are whole and says what they are, without reading their numbers. A
	// model that the embedded engine cannot run has a reason in Foreign; what is damaged or no model is a fault.Invalid
	// naming it.
	Inspect(ctx context.Context, dir string) (Shape, error)
}

// GGUFWriter is what a Codec offers that can write GGUF.
type GGUFWriter interface {
	// GGUF gives the folder's model as one GGUF v3 file, whose numbers are read from the folder as it is written.
	GGUF(ctx context.Context, dir string) (GGUFFile, error)
}

// GGUFFile is a GGUF file that can be written once its reader is there. Close it.
type GGUFFile interface {
	Size() int64
	Write(w io.Writer) error // Size bytes, or an error
	Close() error
}

// Service keeps models.
type Service struct {
	Store Store
	Blobs blob.Store
	Codec Codec
	Dir   string // folder of materialised versions, DATA/models
	IDs   *id.Maker
	Now   func() time.Time
	// MaxImport bounds the bytes of one imported model; 0 is 256 GiB.
	MaxImport int64

	once  sync.Once
	turns chan struct{} // one token: a GGUF export is being prepared
	read  sync.Map      // shapes of versions that were stored without, by id
}

// Get returns a version by id, by "name" (the newest) or by "name@number".
func (s *Service) Get(ctx context.Context, project, name string) (Version, error) {
	return ref.Resolve(ctx, s.Store, project, "mv", "model", name)
}

// Models lists the project's models that have a version, by name.
func (s *Service) Models(ctx context.Context, project string, p page.Page) ([]Model, error) {
	return s.Store.Models(ctx, project, p)
}

// Refs names every blob that model versions need, for blob.Collect.
func (s *Service) Refs(ctx context.Context, yield func(blob.Ref) bool) error {
	return s.Store.Refs(ctx, yield)
}

// Versions lists a model's versions, newest first, without loss curves; fault.NotFound when there is no such model.
func (s *Service) Versions(ctx context.Context, project, model string, p page.Page) ([]Version, error) {
	vs, err := s.Store.Versions(ctx, project, model, p)
	if err == nil && len(vs) == 0 && len(p.After) == 0 {
		return nil, fault.Newf(fault.NotFound, "There is no model %s.", ref.Quote(model))
	}
	return vs, err
}

// Remove deletes a version, named as in Get. Its files go when nothing else names them (blob.Collect, Sweep). It is
// refused while a deployment serves the version or a run that has not ended starts from it.
func (s *Service) Remove(ctx context.Context, project, name string) error {
	v, err := s.Get(ctx, project, name)
	if err != nil {
		return err
	}
	return s.Store.Remove(ctx, project, v.ID)
}
