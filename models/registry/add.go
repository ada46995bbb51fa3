package registry

import (
	"context"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/ref"
	"github.com/triarch-ai/triarch/storage/blob"
)

// Bounds on a model folder from outside.
const (
	maxFiles  = 4096
	maxImport = 256 << 30
)

// AddDir stores the files of a folder as a version of a model and returns it. The folder must hold a model that the
// Codec can read, whether an engine here can run it or not. When n.Lineage.Once is not empty and that run's or pull's version
// exists it is returned and the folder is not
// read; a crash in between leaves blobs that nothing names, never half a version.
//
// Faults: Invalid or Unsupported for a folder that is not such a model or a bad name, and what the stores return.
func (s *Service) AddDir(ctx context.Context, project, dir string, n NewVersion) (Version, error) {
	if err := ref.Check("model", n.Model); err != nil {
		return Version{}, err
	}
	if once := n.Lineage.Once(); once != "" {
		v, err := s.Store.ByRun(ctx, project, once)
		if !fault.Is(err, fault.NotFound) {
			return v, err
		}
	}
	shape, err := s.Codec.Inspect(ctx, dir)
	if err != nil {
		return Version{}, err
	}
	files, err := s.storeFiles(ctx, dir, n.Link)
	if err != nil {
		return Version{}, err
	}
	now := s.Now().UTC().Truncate(time.Microsecond)
	v := Version{
		ID: s.IDs.New("mv"), Project: project, Model: n.Model, Files: files, Shape: shape, Lineage: n.Lineage,
		Metrics: finite(n.Metrics), LossCurve: thin(n.LossCurve, CurvePoints), Card: n.Card, CreatedBy: n.CreatedBy, CreatedAt: now,
	}
	if v.Card == "" {
		v.Card = card(v)
	}
	return s.Store.Add(ctx, Model{ID: s.IDs.New("mdl"), Project: project, Name: n.Model, CreatedAt: now}, v)
}

// ByRun returns the version a run made; fault.NotFound.
func (s *Service) ByRun(ctx context.Context, project, runID string) (Version, error) {
	return s.Store.ByRun(ctx, project, runID)
}

// storeFiles puts every model file of a folder into the blob store.
func (s *Service) storeFiles(ctx context.Context, dir string, link bool) (map[string]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fault.Wrap(err, "reading the model's folder")
	}
	files := map[string]File{}
	for _, e := range entries {
		if !e.Type().IsRegular() || !known(e.Name()) {
			continue
		}
		if len(files) == maxFiles {
			return nil, fault.Newf(fault.TooLarge, "The model has more than %d files.", maxFiles)
		}
		if files[e.Name()], err = s.storeFile(ctx, filepath.Join(dir, e.Name()), link); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func (s *Service) storeFile(ctx context.Context, path string, link bool) (File, error) {
	if l, ok := s.Blobs.(blob.Linker); ok && link {
		r, n, err := l.Link(ctx, path)
		return File{Ref: r, Size: n}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return File{}, fault.Wrap(err, "reading the model's folder")
	}
	defer f.Close()
	r, n, err := s.Blobs.Put(ctx, f)
	return File{Ref: r, Size: n}, err
}

// knownFiles are what a model folder may hold beside *.safetensors and *.gguf. Everything else in a folder from outside, such
// as pickled weights and code, is left out.
var knownFiles = map[string]bool{
	"config.json": true, "generation_config.json": true, "tokenizer.json": true, "tokenizer_config.json": true,
	"special_tokens_map.json": true, "added_tokens.json": true, "chat_template.jinja": true, "chat_template.json": true,
	"tokenizer.model": true, "vocab.json": true, "vocab.txt": true, "merges.txt": true, "sentencepiece.bpe.model": true, "spiece.model": true,
	"preprocessor_config.json": true, "processor_config.json": true, "video_preprocessor_config.json": true,
	"modules.json": true, "sentence_bert_config.json": true, "config_sentence_transformers.json": true,
	"quantize_config.json": true, "quant_config.json": true, "hf_quant_config.json": true,
	"model.safetensors.index.json": true, "README.md": true, "LICENSE": true, "LICENSE.txt": true, "LICENSE.md": true,
	"NOTICE": true,
}

func known(name string) bool {
	if knownFiles[name] {
		return true
	}
	stem, ok := strings.CutSuffix(name, ".safetensors")
	if !ok {
		stem, ok = strings.CutSuffix(name, ".gguf")
	}
	if !ok || stem == "" || stem[0] == '.' || len(name) > 128 {
		return false
	}
	return fs.ValidPath(name) && !strings.ContainsAny(name, "/\\:") && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' })
}

// finite leaves out what no stored form can hold: metrics that are no numbers.
func finite(metrics map[string]float64) map[string]float64 {
	out := maps.Clone(metrics)
	maps.DeleteFunc(out, func(_ string, x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) })
	return out
}

// thin keeps at most n points that are numbers, evenly spread, the first and the last among them.
func thin(points []Point, n int) []Point {
	points = slices.DeleteFunc(slices.Clone(points), func(p Point) bool { return math.IsNaN(p.Loss) || math.IsInf(p.Loss, 0) })
	if len(points) <= n {
		return points
	}
	out := make([]Point, n)
	for i := range out {
		out[i] = points[i*(len(points)-1)/(n-1)]
	}
	return out
}
