package server

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/hub/pulls"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// ModelPath names a model version.
type ModelPath struct {
	Model string `path:"model" maxLength:"200" doc:"id of a version, name or name@number"`
}

func (s *Server) modelOps() {
	op(s, "list-models", "models", "List models", func(ctx context.Context, p *auth.Principal, in *PageParam) (*out[api.List[api.Model]], error) {
		return paged(modelList, *in, model, func(q page.Page) ([]registry.Model, error) { return s.Registry.Models(ctx, p.ProjectID, q) })
	})
	op(s, "import-model", "models", "Import a model from a tar stream: a Hugging Face folder or a bundle", s.importModel, status(http.StatusCreated), takes("application/x-tar"))
	op(s, "get-model", "models", "Show a model version with card, lineage and loss curve", func(ctx context.Context, p *auth.Principal, in *ModelPath) (*out[api.ModelVersion], error) {
		v, err := s.modelVersion(ctx, p.ProjectID, in.Model)
		return &out[api.ModelVersion]{v}, err
	})
	op(s, "fit-model", "models", "Say on which chips of the fleet a model version fits, how long its sequences can be and how fast it is there", s.fitModel)
	op(s, "list-model-versions", "models", "List the versions of a model, newest first", func(ctx context.Context, p *auth.Principal, in *struct {
		ModelPath
		PageParam
	}) (*out[api.List[api.ModelVersion]], error) {
		name := in.Model
		if id.Valid("mv", name) {
			v, err := s.Registry.Get(ctx, p.ProjectID, name)
			if err != nil {
				return nil, err
			}
			name = v.Model
		}
		return paged(modelVersionList, in.PageParam, modelVersion, func(q page.Page) ([]registry.Version, error) {
			return s.Registry.Versions(ctx, p.ProjectID, name, q)
		})
	})
	op(s, "export-model", "models", "Download a model version as a tar stream", s.exportModel, gives("application/x-tar"))
	op(s, "remove-model", "models", "Remove a model version", func(ctx context.Context, p *auth.Principal, in *ModelPath) (*none, error) {
		return nil, s.Registry.Remove(ctx, p.ProjectID, in.Model)
	}, status(http.StatusNoContent))
}

func (s *Server) importModel(ctx context.Context, p *auth.Principal, in *struct {
	Name string `query:"name" maxLength:"200" doc:"of the model; made when it does not exist; default for a bundle: the one it had"`
	Form string `query:"form" enum:"hf,bundle" doc:"hf (default): a Hugging Face folder; bundle: what model bundle writes, whose checksums are checked"`
}) (*out[api.ModelVersion], error) {
	body, err := s.uploaded(ctx)
	if err != nil {
		return nil, err
	}
	if in.Form == "bundle" {
		v, err := s.Pulls.TakeBundle(ctx, pulls.Who{Project: p.ProjectID, Key: p.KeyID}, in.Name, body, s.MaxUpload)
		return &out[api.ModelVersion]{modelVersion(v)}, err
	}
	v, err := s.Registry.ImportTar(ctx, p.ProjectID, body, registry.NewVersion{Model: in.Name, CreatedBy: p.KeyID})
	return &out[api.ModelVersion]{modelVersion(v)}, err
}

func (s *Server) exportModel(ctx context.Context, p *auth.Principal, in *struct {
	ModelPath
	Format string `query:"format" doc:"hf (default): a Hugging Face folder; gguf: one GGUF file"`
}) (*huma.StreamResponse, error) {
	format, err := registry.ParseFormat(in.Format)
	if err != nil {
		return nil, err
	}
	v, err := s.Registry.Get(ctx, p.ProjectID, in.Model)
	if err != nil {
		return nil, err
	}
	return s.download(ctx, "application/x-tar", func(w io.Writer) error {
		return s.Registry.ExportTar(ctx, p.ProjectID, v.ID, format, w)
	}), nil
}

func model(m registry.Model) api.Model {
	return api.Model{ID: m.ID, Name: m.Name, Versions: m.Versions, Latest: m.Latest, CreatedAt: m.CreatedAt}
}

// modelVersion shows a version with what is known of its data.
func (s *Server) modelVersion(ctx context.Context, project, name string) (api.ModelVersion, error) {
	v, err := s.Registry.Get(ctx, project, name)
	if err != nil {
		return api.ModelVersion{}, err
	}
	v.Shape = s.Registry.Known(ctx, v)
	a := modelVersion(v)
	if a.Memory, a.Engines, err = needs(v); err != nil {
		return a, err
	}
	if a.Lineage.DataVersion == "" {
		return a, nil
	}
	d, err := s.Data.Get(ctx, project, a.Lineage.DataVersion)
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Invalid) { // an import may name what never was here
		return a, nil
	}
	if err == nil {
		a.Data = &api.DataOrigin{DataSet: d.DataSet, Number: d.Number, SHA256: hexOf(d.Ref), RemovedAt: timeOrNil(d.RemovedAt)}
	}
	return a, err
}

func modelVersion(v registry.Version) api.ModelVersion {
	a := api.ModelVersion{ID: v.ID, Model: v.Model, Number: v.Number, Bytes: v.Bytes(), Shape: modelShape(v.Shape), Card: v.Card,
		Lineage: api.Lineage(v.Lineage), Metrics: v.Metrics, CreatedBy: v.CreatedBy, CreatedAt: v.CreatedAt}
	for _, name := range slices.Sorted(maps.Keys(v.Files)) {
		a.Files = append(a.Files, api.File{Name: name, SHA256: hexOf(v.Files[name].Ref), Size: v.Files[name].Size})
	}
	for _, pt := range v.LossCurve {
		a.LossCurve = append(a.LossCurve, api.LossPoint(pt))
	}
	return a
}

func modelShape(s registry.Shape) api.Shape {
	a := api.Shape{Arch: s.Arch, Params: s.Params, Vocab: s.Vocab, Context: s.Context, DType: s.DType, Chat: s.Chat, Class: s.Class, Form: s.Form,
		Quantisation: s.Quantisation, WeightBytes: s.WeightBytes, PerWeight: s.PerWeight(), Unknown: s.Unknown, Foreign: s.Foreign, Notes: s.Notes}
	for _, k := range s.Kinds {
		a.Kinds = append(a.Kinds, api.TensorKind(k))
	}
	if s.Transformer != nil {
		a.Transformer, _ = json.Marshal(s.Transformer) // numbers and texts alone
	}
	return a
}
