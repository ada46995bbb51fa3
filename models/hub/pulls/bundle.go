package pulls

import (
	"context"
	"io"
	"os"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/hub"
	"github.com/triarch-ai/triarch/models/ref"
	"github.com/triarch-ai/triarch/models/registry"
)

// bundlePrefix begins the names of folders in which bundles are unpacked.
const bundlePrefix = "bundle-"

// TakeBundle registers the model of a bundle after every file of it was checked; name is what it is called here, the bundle's
// own where it is empty, and most bounds its bytes. The files of the newest version taken again are that version.
func (s *Service) TakeBundle(ctx context.Context, who Who, name string, r io.Reader, most int64) (registry.Version, error) {
	if name != "" {
		if err := ref.Check("model", name); err != nil {
			return registry.Version{}, err
		}
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return registry.Version{}, fault.Wrap(err, "making the folder of pulls")
	}
	dir, err := os.MkdirTemp(s.Dir, bundlePrefix)
	if err != nil {
		return registry.Version{}, fault.Wrap(err, "making a folder for the bundle")
	}
	defer os.RemoveAll(dir)
	m, err := hub.ReadBundle(ctx, r, dir, most)
	if err != nil {
		return registry.Version{}, err
	}
	if name == "" {
		name = m.Model
	}
	v, err := s.Registry.Get(ctx, who.Project, name)
	if err == nil && v.Lineage.Hash == m.Hash() {
		return v, nil
	}
	if err != nil && !fault.Is(err, fault.NotFound) {
		return v, err
	}
	return s.Registry.AddDir(ctx, who.Project, dir, registry.NewVersion{Model: name, CreatedBy: who.Key, Card: m.Card, Link: true,
		Lineage: registry.Lineage{Source: "bundle", Origin: m.Origin, Revision: m.Revision, Hash: m.Hash()}})
}
