package native_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/registry/native"
	"github.com/triarch-ai/triarch/storage/blob/file"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

// before is the codec as it was before shapes were read.
type before struct{ native.Codec }

func (b before) Inspect(ctx context.Context, dir string) (registry.Shape, error) {
	s, err := b.Codec.Inspect(ctx, dir)
	return registry.Shape{Arch: s.Arch, Params: s.Params, Vocab: s.Vocab, Context: s.Context, DType: s.DType, Chat: s.Chat}, err
}

// Versions that were stored without a shape have the one of their files.
func TestShapesOfOldVersions(t *testing.T) {
	dir := t.TempDir()
	blobs, err := file.Open(filepath.Join(dir, "blobs"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s := &registry.Service{Store: sqltest.Open(t, sqltest.SQLite(t)).Registry(), Blobs: blobs, Codec: before{}, Dir: filepath.Join(dir, "models"), IDs: id.Default(), Now: time.Now}
	v, err := s.ImportDir(t.Context(), "prj_a", model(t, "bf16"), registry.NewVersion{Model: "m"})
	if err != nil {
		t.Fatal(err)
	}
	if v.Shape.Transformer != nil {
		t.Fatal("the old codec knew shapes")
	}
	for range 2 {
		x := s.Known(t.Context(), v)
		if x.Transformer == nil || x.Transformer.Parameters() != v.Shape.Params || x.WeightBytes != 2*v.Shape.Params || x.Foreign != "" || x.Class != "LlamaForCausalLM" {
			t.Errorf("%+v", x)
		}
	}
	gone := v
	gone.ID, gone.Files = "mv_gone", map[string]registry.File{"config.json": {}}
	if x := s.Known(t.Context(), gone); x.Transformer != nil || x.Params != v.Shape.Params {
		t.Errorf("of files that are gone: %+v", x)
	}
}
