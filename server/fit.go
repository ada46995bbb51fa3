package server

import (
	"context"
	"fmt"
	"sync"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/models/fit"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// fitModel lists the chips of the fleet for a model version.
func (s *Server) fitModel(ctx context.Context, p *auth.Principal, in *ModelPath) (*out[api.ModelFit], error) {
	v, err := s.Registry.Get(ctx, p.ProjectID, in.Model)
	if err != nil {
		return nil, err
	}
	fleet := fit.Service{Stock: s.stock, Market: func() (estimate.Market, error) {
		m, err := s.Chips()
		if s.Measured != nil {
			m.Corrector = s.Measured.For(p.ProjectID)
		}
		return m, err
	}}
	v.Shape = s.Registry.Known(ctx, v)
	places, err := fleet.Places(ctx, v.Shape)
	if err != nil {
		return nil, err
	}
	a := api.ModelFit{Model: fmt.Sprintf("%s@%d", v.Model, v.Number), ID: v.ID, Params: v.Shape.Params, Bytes: v.Shape.WeightBytes, Places: []api.ModelFitPlace{}}
	for _, x := range places {
		a.Places = append(a.Places, fitPlace(x))
	}
	return &out[api.ModelFit]{a}, nil
}

func fitPlace(x fit.Place) api.ModelFitPlace {
	a := api.ModelFitPlace{Chip: x.Class, Has: x.Has, Fits: x.Count > 0, Why: x.Why, Count: x.Count, Engine: x.Engine}
	if a.Fits {
		a.Longest, a.Task, a.Context, a.Known, a.Assumed = x.Longest, string(x.Task), x.Context, string(x.Known), x.Assumed
		a.Rate = &api.Span{Low: x.Rate.Low, Is: x.Rate.Is, High: x.Rate.High}
	}
	return a
}

// catalogue is the embedded one, which knows the engines; an operator's figures and this machine's change nothing there.
var catalogue = sync.OnceValues(chip.Builtin)

// needs is what a version takes, and which engines run it.
func needs(v registry.Version) (*api.ModelMemory, []api.ModelEngine, error) {
	c, err := catalogue()
	if err != nil {
		return nil, nil, err
	}
	var engines []api.ModelEngine
	for _, e := range fit.Engines(c, v.Shape) {
		engines = append(engines, api.ModelEngine{Engine: e.Name, Runs: string(e.Runs), Why: e.Why, Makes: e.Makes})
	}
	need, known := fit.FootprintOf(v.Shape)
	if !known {
		return nil, engines, nil
	}
	m := &api.ModelMemory{Weights: need.Weights, CachePer1K: need.Cache, NativeBytes: fit.NativeBytes(v.Shape)}
	if active := v.Shape.Transformer.Active(); active < v.Shape.Transformer.Parameters() {
		m.Active = active
	}
	return m, engines, nil
}
