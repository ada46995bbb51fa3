package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/measured"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// Measured is what the control API asks of the keeper of measurements.
type Measured interface {
	Seen(project string) []measured.Row
	For(project string) measured.Scoped // corrects predictions for a project
	ReportOf(ctx context.Context, project, report string, m measured.Measurement) (bool, error)
}

var measuredList = listing[measured.Row]{"measurements", 1, func(r measured.Row) page.Key { return page.Key{r.Key} }}

// MeasurementPath names a measurement.
type MeasurementPath struct {
	Measurement string `path:"measurement" maxLength:"64"`
}

func (s *Server) measuredOps() {
	op(s, "list-measurements", "compute", "List what was measured of work on chips: by this installation, and by the project's own programs", func(_ context.Context, p *auth.Principal, in *PageParam) (*out[api.List[api.Measured]], error) {
		return paged(measuredList, *in, measuredView, func(q page.Page) ([]measured.Row, error) {
			return page.Cut(s.Measured.Seen(p.ProjectID), q, measuredList.key), nil
		})
	})
	op(s, "get-measurement", "compute", "Say what was measured of one piece of work", func(_ context.Context, p *auth.Principal, in *MeasurementPath) (*out[api.Measured], error) {
		for _, r := range s.Measured.Seen(p.ProjectID) {
			if r.Key == in.Measurement {
				return &out[api.Measured]{measuredView(r)}, nil
			}
		}
		return nil, fault.Newf(fault.NotFound, "There is no measurement %s.", in.Measurement)
	})
	op(s, "report-measurement", "compute", "Tell how fast a program's work was; it corrects what is predicted for this project", s.report, status(http.StatusCreated))
}

func measuredView(r measured.Row) api.Measured {
	q, w := &r.Question, &r.Question.Work
	v := api.Measured{ID: r.Key, Model: cmp.Or(q.Shape.Name, fmt.Sprintf("%dx%d", q.Shape.Width, q.Shape.Layers)), Task: string(w.Task), Engine: w.Engine, Chip: q.Chip.ID, Chips: q.Layout.Chips(), Precision: string(w.Precision),
		Batch: w.Batch, Context: w.Context, Prompt: w.Prompt, Output: w.Output, Own: r.Scope != "", Rate: r.Rate, Predicted: r.Prior, Ratio: r.Ratio(), Count: r.Count, Last: r.Last}
	for _, a := range r.Apart {
		v.Apart = append(v.Apart, api.Apart{Ratio: math.Exp(a.Ratio), Counts: a.Admitted, At: a.At})
	}
	return v
}

func (s *Server) report(ctx context.Context, p *auth.Principal, in *struct{ Body api.NewMeasurement }) (*out[api.ReportedMeasurement], error) {
	b := &in.Body
	shape, err := shapeOf(b)
	if err != nil {
		return nil, err
	}
	m, err := s.Chips()
	if err != nil {
		return nil, err
	}
	c, err := m.Catalogue.Find(b.Chip)
	if err != nil {
		return nil, fault.New(fault.Invalid, fault.As(err).Sentence(), fault.Field("chip"))
	}
	l := b.Layout
	told := measured.Measurement{Rate: b.Rate, Count: b.Count, Spread: b.Spread, At: s.Now().UTC(), Question: perf.Question{Shape: shape, Chip: c,
		Work: perf.Work{Task: perf.Task(b.Task), Engine: b.Engine, Precision: chip.Precision(b.Precision), WeightBytes: b.Weights, Batch: b.Batch, Micro: b.Micro,
			Context: b.Context, Prompt: b.Prompt, Output: b.Output},
		Layout: perf.Layout{Tensor: l.Tensor, Pipeline: l.Pipeline, Data: l.Data, Sequence: l.Sequence, Expert: l.Expert, Shard: perf.Shard(l.Shard)}}}
	first, err := s.Measured.ReportOf(ctx, p.ProjectID, b.Report, told)
	return &out[api.ReportedMeasurement]{api.ReportedMeasurement{First: first}}, err
}

// shapeOf reads the shape that a report names or gives.
func shapeOf(b *api.NewMeasurement) (s perf.Shape, err error) {
	if len(b.Shape) == 0 {
		if s, ok := perf.Named(b.Model); ok {
			return s, nil
		}
		var names []string
		for _, k := range perf.Shapes() {
			names = append(names, k.Name)
		}
		if near := nearest.Name(b.Model, names); near != "" {
			return s, fault.InvalidField("model", "No shape is known as %.60q; did you mean %s?", b.Model, near)
		}
		return s, fault.InvalidField("model", "No shape is known as %.60q; give the shape itself.", b.Model)
	}
	d := json.NewDecoder(bytes.NewReader(b.Shape))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, fault.InvalidField("shape", "The shape cannot be read: %v.", err)
	}
	if s.Name == "" {
		s.Name = b.Model
	}
	return s, nil
}
