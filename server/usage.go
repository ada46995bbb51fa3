package server

import (
	"context"
	"encoding/csv"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

func (s *Server) usageOps() {
	s.marginOps()
	s.webhookOps()
	op(s, "usage", "usage", "Say what was used and what it cost, complete to this moment", s.usage)
	op(s, "usage-csv", "usage", "Say the same as comma-separated values, all rows at once", s.usageCSV, gives("text/csv"))
	op(s, "verify-usage", "usage", "Prove that ledger, records and daily sums agree", func(ctx context.Context, _ *auth.Principal, _ *no) (*out[api.Books], error) {
		b, err := s.Ledger.Verify(ctx)
		o := &out[api.Books]{api.Books{Records: b.Records, Rollups: b.Rollups, Ledger: b.Ledger, Faults: b.Faults}}
		if o.Body.Faults == nil {
			o.Body.Faults = []string{}
		}
		return o, err
	})
}

// ChipPath names a class of chips.
type ChipPath struct {
	Chip string `path:"chip" minLength:"1" maxLength:"32" pattern:"^[A-Za-z0-9._-]+$" doc:"class, such as nvidia-h100-sxm; cpu is that of replicas without chips"`
}

func (s *Server) marginOps() {
	op(s, "margin", "usage", "Compare what was charged with what the chips cost that worked for it", s.margin)
	op(s, "list-chip-prices", "usage", "List what chips cost the operator", func(ctx context.Context, _ *auth.Principal, in *PageParam) (*out[api.List[api.ChipPrice]], error) {
		return paged(chipPriceList, *in, chipPrice, func(q page.Page) ([]meter.ChipPrice, error) {
			all, err := s.Usage.ChipPrices(ctx)
			return page.Cut(all, q, chipPriceList.key), err
		})
	})
	op(s, "set-chip-price", "usage", "Set what an hour of one chip of a class costs from now on", func(ctx context.Context, _ *auth.Principal, in *struct {
		ChipPath
		Body api.ChipPriceChange
	}) (*out[api.ChipPrice], error) {
		p := meter.ChipPrice{Chip: in.Chip, HourMicros: in.Body.HourMicros}
		return &out[api.ChipPrice]{chipPrice(p)}, s.Usage.SetChipPrice(ctx, p)
	})
	op(s, "remove-chip-price", "usage", "Have chips of a class cost nothing from now on", func(ctx context.Context, _ *auth.Principal, in *ChipPath) (*none, error) {
		return nil, s.Usage.RemoveChipPrice(ctx, in.Chip)
	}, status(http.StatusNoContent))
}

func chipPrice(p meter.ChipPrice) api.ChipPrice {
	return api.ChipPrice{Chip: p.Chip, HourMicros: p.HourMicros}
}

type marginIn struct {
	PageParam
	Org     string `query:"org" maxLength:"64" doc:"id of an organisation; default: all"`
	Project string `query:"project" maxLength:"64" doc:"id of a project; default: all"`
	From    string `query:"from" format:"date" doc:"first UTC day"`
	To      string `query:"to" format:"date" doc:"last UTC day, included"`
	By      string `query:"by" enum:"model,project,day" doc:"what a row stands for; default model"`
}

func (s *Server) margin(ctx context.Context, _ *auth.Principal, in *marginIn) (*out[api.Margin], error) {
	if _, err := marginList.page(in.PageParam); err != nil {
		return nil, err
	}
	f := meter.Filter{Org: in.Org, Project: in.Project, From: in.From, To: in.To, Group: meter.Group(in.By)}
	if f.Group == "" {
		f.Group = meter.ByModel
	}
	if err := s.Ledger.Flush(ctx); err != nil {
		return nil, err
	}
	totals, rows, err := s.Usage.Usage(ctx, f)
	if err != nil {
		return nil, err
	}
	l, err := paged(marginList, in.PageParam, marginRow, func(q page.Page) ([]meter.Row, error) { return page.Cut(rows, q, marginList.key), nil })
	if err != nil {
		return nil, err
	}
	return &out[api.Margin]{api.Margin{Totals: marginTotals(totals), Rows: l.Body.Items, Next: l.Body.Next}}, nil
}

func marginRow(r meter.Row) api.MarginRow {
	return api.MarginRow{Name: r.Name, MarginTotals: marginTotals(r.Totals)}
}

// marginTotals rounds what chips cost up to whole micro-units, so that a margin is never told too high.
func marginTotals(t meter.Totals) api.MarginTotals {
	cost := t.ChipNanos / 1000
	if t.ChipNanos%1000 > 0 {
		cost++
	}
	return api.MarginTotals{Requests: t.Requests, ChargedMicros: t.CostMicros, ChipMillis: t.ChipMillis, ChipCostMicros: cost, MarginMicros: t.CostMicros - cost}
}

type usageIn struct {
	PageParam
	UsageParam
}

// UsageParam says whose usage of which days.
type UsageParam struct {
	ProjectParam
	OrgParam
	Organisation bool   `query:"organisation" doc:"of all projects of the organisation; needs the scope organisation"`
	Key          string `query:"key" maxLength:"64" doc:"id of a key"`
	From         string `query:"from" format:"date" doc:"first UTC day"`
	To           string `query:"to" format:"date" doc:"last UTC day, included"`
	Group        string `query:"group" enum:"day,model,key,project,tag" doc:"what a row stands for; default day. By tag: requests that had one, of days whose records are kept"`
}

// usage first ships what the ledger holds, so that the answer has every settled request.
func (s *Server) usage(ctx context.Context, p *auth.Principal, in *usageIn) (*out[api.Usage], error) {
	if _, err := usageList.page(in.PageParam); err != nil {
		return nil, err // before anything is flushed
	}
	_, totals, rows, err := s.used(ctx, p, in.UsageParam)
	if err != nil {
		return nil, err
	}
	l, err := paged(usageList, in.PageParam, usageRow, func(q page.Page) ([]meter.Row, error) { return page.Cut(rows, q, usageList.key), nil })
	if err != nil {
		return nil, err
	}
	return &out[api.Usage]{api.Usage{Totals: usageTotals(totals), Rows: l.Body.Items, Next: l.Body.Next}}, nil
}

func (s *Server) used(ctx context.Context, p *auth.Principal, in UsageParam) (f meter.Filter, totals meter.Totals, rows []meter.Row, err error) {
	f = meter.Filter{Key: in.Key, From: in.From, To: in.To, Group: meter.Group(in.Group)}
	if f.Group == "" {
		f.Group = meter.ByDay
	}
	if in.Organisation && in.Org == "" {
		in.Org, in.Project = p.OrgID, ""
	}
	if f.Org, f.Project, err = s.Tenancy.Reach(ctx, p.Maker(), in.Org, in.Project); err != nil {
		return f, totals, rows, err
	}
	if err = s.Ledger.Flush(ctx); err != nil {
		return f, totals, rows, err
	}
	totals, rows, err = s.Usage.Usage(ctx, f)
	return f, totals, rows, err
}

// usageCSV writes the rows of usage, all of them, with their columns' names first.
func (s *Server) usageCSV(ctx context.Context, p *auth.Principal, in *UsageParam) (*huma.StreamResponse, error) {
	f, _, rows, err := s.used(ctx, p, *in)
	if err != nil {
		return nil, err
	}
	return s.download(ctx, "text/csv", func(w io.Writer) error {
		c := csv.NewWriter(w)
		failed := c.Write([]string{string(f.Group), "requests", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "embedding_tokens", "cost_micros", "estimated_requests"})
		for _, r := range rows {
			line := []string{r.Name}
			for _, n := range []int64{r.Requests, r.PromptTokens, r.CachedTokens, r.CompletionTokens, r.ReasoningTokens, r.EmbeddingTokens, r.CostMicros, r.Estimated} {
				line = append(line, strconv.FormatInt(n, 10))
			}
			failed = errors.Join(failed, c.Write(line))
		}
		c.Flush()
		return errors.Join(failed, c.Error())
	}), nil
}

func usageRow(r meter.Row) api.UsageRow {
	return api.UsageRow{Name: r.Name, Totals: usageTotals(r.Totals)}
}

// usageTotals leaves out what chips cost, which is the operator's to know.
func usageTotals(t meter.Totals) api.Totals {
	return api.Totals{Requests: t.Requests, PromptTokens: t.PromptTokens, CompletionTokens: t.CompletionTokens, CachedTokens: t.CachedTokens,
		ReasoningTokens: t.ReasoningTokens, EmbeddingTokens: t.EmbeddingTokens, CostMicros: t.CostMicros, Estimated: t.Estimated}
}
