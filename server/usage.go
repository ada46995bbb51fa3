package server

import (
	"context"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

func (s *Server) usageOps() {
	op(s, "usage", "usage", "Say what was used and what it cost, complete to this moment", s.usage)
	op(s, "verify-usage", "usage", "Prove that ledger, records and daily sums agree", func(ctx context.Context, _ *auth.Principal, _ *no) (*out[api.Books], error) {
		b, err := s.Ledger.Verify(ctx)
		o := &out[api.Books]{api.Books{Records: b.Records, Rollups: b.Rollups, Ledger: b.Ledger, Faults: b.Faults}}
		if o.Body.Faults == nil {
			o.Body.Faults = []string{}
		}
		return o, err
	})
}

type usageIn struct {
	ProjectParam
	PageParam
	OrgParam
	Organisation bool   `query:"organisation" doc:"of all projects of the organisation; needs the scope organisation"`
	Key          string `query:"key" maxLength:"64" doc:"id of a key"`
	From         string `query:"from" format:"date" doc:"first UTC day"`
	To           string `query:"to" format:"date" doc:"last UTC day, included"`
	Group        string `query:"group" enum:"day,model,key,project" doc:"what a row stands for; default day"`
}

// usage first ships what the ledger holds, so that the answer has every settled request.
func (s *Server) usage(ctx context.Context, p *auth.Principal, in *usageIn) (*out[api.Usage], error) {
	if _, err := usageList.page(in.PageParam); err != nil {
		return nil, err // before anything is flushed
	}
	f := meter.Filter{Key: in.Key, From: in.From, To: in.To, Group: meter.Group(in.Group)}
	if f.Group == "" {
		f.Group = meter.ByDay
	}
	if in.Organisation && in.Org == "" {
		in.Org, in.Project = p.OrgID, ""
	}
	var err error
	if f.Org, f.Project, err = s.Tenancy.Reach(ctx, p.Maker(), in.Org, in.Project); err != nil {
		return nil, err
	}
	if err := s.Ledger.Flush(ctx); err != nil {
		return nil, err
	}
	totals, rows, err := s.Usage.Usage(ctx, f)
	if err != nil {
		return nil, err
	}
	l, err := paged(usageList, in.PageParam, usageRow, func(q page.Page) ([]meter.Row, error) { return page.Cut(rows, q, usageList.key), nil })
	if err != nil {
		return nil, err
	}
	return &out[api.Usage]{api.Usage{Totals: usageTotals(totals), Rows: l.Body.Items, Next: l.Body.Next}}, nil
}

func usageRow(r meter.Row) api.UsageRow {
	return api.UsageRow{Name: r.Name, Totals: usageTotals(r.Totals)}
}

// usageTotals leaves out what chips cost, which is the operator's to know.
func usageTotals(t meter.Totals) api.Totals {
	return api.Totals{Requests: t.Requests, PromptTokens: t.PromptTokens, CompletionTokens: t.CompletionTokens, CachedTokens: t.CachedTokens,
		ReasoningTokens: t.ReasoningTokens, EmbeddingTokens: t.EmbeddingTokens, CostMicros: t.CostMicros}
}
