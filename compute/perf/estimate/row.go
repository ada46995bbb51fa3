package estimate

import (
	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/perf"
)

// api is a row as the API tells it.
func (r *Row) api() api.ChipRow {
	out := api.ChipRow{Chip: r.Chip, Name: r.Name, Make: r.Make, Count: r.Count, Node: r.Node, Precision: string(r.Precision)}
	if f := r.Refused; f != nil {
		out.Refused = &api.ChipRefusal{Reason: f.Reason, Says: f.Error(), Needs: f.Needs, Has: f.Has, Smallest: f.Smallest, Fleet: f.Fleet, Missing: f.Missing, Lacks: f.Lacks}
		for _, p := range f.Offers {
			out.Refused.Offers = append(out.Refused.Offers, string(p))
		}
		return out
	}
	a := r.Answer
	l := layout(r.Layout, r.Work)
	l.Batch = a.Batch
	m := a.Memory
	out.Layout, out.Memory = &l, &api.ChipMemory{Weights: m.Weights, Gradients: m.Gradients, Optimizer: m.Optimizer, Activations: m.Activations, Cache: m.Cache, Total: m.Total(), Room: r.Has}
	out.Rate, out.UserRate, out.Watts = span(&r.Rate), r.User, a.Watts
	out.Seconds, out.Hourly, out.Cost, out.Million, out.Energy, out.Joules = span(r.Seconds), r.Hourly, span(r.Cost), span(r.PerMillion), span(r.Energy), span(r.Joules)
	t := a.Terms
	out.Terms = &api.ChipTerms{Arithmetic: t.Arithmetic, Memory: t.Memory, Link: t.Link, Bubble: t.Bubble, Overhead: t.Overhead}
	out.Step, out.Bound, out.Known, out.Assumed = a.Step, a.Bound, string(a.Known), a.Assumed
	out.Least, out.Open = r.Least, r.Open
	if r.Better.Count > 0 {
		out.Better = &api.ChipBetter{Count: r.Better.Count, Factor: r.Better.Factor}
	}
	for _, f := range r.Figures {
		out.Figures = append(out.Figures, api.ChipFigure{Name: f.Name, Is: f.Is, Source: f.Source, Confidence: f.Confidence})
	}
	for _, o := range r.Others {
		other := api.ChipOther{Layout: layout(o.Layout, o.Work)}
		if o.Refused != nil {
			other.Says = o.Refused.Error()
		} else {
			other.Rate, other.Layout.Batch = o.Answer.Rate, o.Answer.Batch
		}
		out.Others = append(out.Others, other)
	}
	return out
}

func layout(l perf.Layout, w perf.Work) api.ChipLayout {
	return api.ChipLayout{Tensor: l.Tensor, Pipeline: l.Pipeline, Data: l.Data, Expert: l.Expert, Shard: int(l.Shard), Batch: w.Batch, Micro: w.Micro, Recompute: string(w.Recompute)}
}

func span(s *Span) *api.Span {
	if s == nil {
		return nil
	}
	return &api.Span{Low: s.Low, Is: s.Is, High: s.High}
}
