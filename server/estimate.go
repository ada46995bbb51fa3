package server

import (
	"cmp"
	"context"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/fit"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/registry/shape"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// longest is how long one ranking may take: those of everybody else wait for it.
const longest = 15 * time.Second

func (s *Server) estimateOps() {
	op(s, "estimate-chips", "compute", "Rank chips for a piece of work: where it fits, how fast, how dear, with how much energy, and why not elsewhere",
		func(ctx context.Context, p *auth.Principal, in *struct{ Body api.ChipQuestion }) (*out[api.ChipRanking], error) {
			select { // a ranking of the whole catalogue is a second of a core: one at a time, so that nobody takes them all
			case s.ranking <- struct{}{}:
				defer func() { <-s.ranking }()
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			m, err := s.market(ctx, p, in.Body.Fleet)
			if err != nil {
				return nil, err
			}
			model, err := s.model(ctx, p.ProjectID, in.Body)
			if err != nil {
				return nil, err
			}
			limited, cancel := context.WithTimeout(ctx, longest)
			defer cancel()
			m.Stop = limited.Err
			r, err := estimate.Answer(in.Body, model, m)
			return &out[api.ChipRanking]{r}, err
		})
}

// market is what a principal may ask of: everybody the chips and the fleet, the operator what chips cost too.
func (s *Server) market(ctx context.Context, p *auth.Principal, fleet bool) (estimate.Market, error) {
	m, err := s.Chips()
	if err != nil {
		return m, err
	}
	if s.Measured != nil {
		m.Corrector = s.Measured.For(p.ProjectID)
	}
	if p.Role.AtLeast(tenancy.Owner) && may(p, tenancy.Platform) {
		prices, err := s.Usage.ChipPrices(ctx)
		if err != nil {
			return m, err
		}
		m.Prices = map[string]int64{}
		for _, x := range prices {
			m.Prices[x.Chip] = x.HourMicros
		}
	}
	if fleet {
		m.Fleet, err = s.stock(ctx)
	}
	return m, err
}

// stock counts the chips of the fleet by class. The cores of a machine are one chip of the class of processors.
func (s *Server) stock(ctx context.Context) ([]estimate.Stock, error) {
	nodes, err := s.Queue.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	return fit.Stock(nodes), nil
}

// model is one of the registry; nil where the question brings its own or names a known one.
func (s *Server) model(ctx context.Context, project string, q api.ChipQuestion) (*estimate.Model, error) {
	if shape.IsConfig(q.Shape) {
		read, err := shape.Config(q.Shape, q.Model)
		return &estimate.Model{Shape: read}, err
	}
	if len(q.Shape) > 0 {
		return nil, nil
	}
	if _, ok := perf.Named(q.Model); ok {
		return nil, nil
	}
	v, err := s.Registry.Get(ctx, project, q.Model)
	if fault.Is(err, fault.NotFound) || q.Model == "" {
		models, err := s.Registry.Models(ctx, project, page.Page{Limit: 200})
		if err != nil {
			return nil, err
		}
		var names []string
		for _, m := range models {
			names = append(names, m.Name)
		}
		return nil, estimate.Unknown(q.Model, names)
	}
	if err != nil {
		return nil, err
	}
	v.Shape = s.Registry.Known(ctx, v)
	return transformer(v)
}

// transformer is the shape of a model of the registry.
func transformer(v registry.Version) (*estimate.Model, error) {
	s := v.Shape.Transformer
	if s == nil {
		return nil, fault.New(fault.Invalid, "The shape of "+v.Model+" is not known: "+cmp.Or(v.Shape.Unknown, "it was added before shapes were read."), fault.Field("model"),
			fault.Fix("Give its shape with the question, or import it again"))
	}
	named := *s
	named.Name = v.Model
	return &estimate.Model{Shape: named, PerWeight: v.Shape.PerWeight(), Context: v.Shape.Context}, nil
}
