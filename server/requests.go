package server

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/page"
	reqlog "github.com/triarch-ai/triarch/models/gateway/seen"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

type requestsIn struct {
	PageParam
	Since   time.Time `query:"since" doc:"arrived at or after this time"`
	Until   time.Time `query:"until" doc:"arrived before this time"`
	Model   string    `query:"model" maxLength:"256" doc:"as the caller named it"`
	Outcome string    `query:"outcome" enum:"finished,hung_up,broke,out_of_money,refused,failed" doc:"how it ended"`
	Key     string    `query:"key" maxLength:"64" doc:"id of a key"`
	Status  int       `query:"status" minimum:"0" maximum:"599" doc:"of the answer"`
}

func (s *Server) logOps() {
	op(s, "list-requests", "serving", "List requests of the model API, newest first", func(ctx context.Context, p *auth.Principal, in *requestsIn) (*out[api.List[api.RequestRow]], error) {
		f := reqlog.Filter{Since: in.Since, Until: in.Until, Model: in.Model, Outcome: in.Outcome, Key: in.Key, Status: in.Status}
		return paged(requestList, in.PageParam, requestRow, func(q page.Page) ([]reqlog.Row, error) { return s.Requests.List(ctx, p.ProjectID, f, q) })
	})
	op(s, "get-request", "serving", "Show a request of the model API", func(ctx context.Context, p *auth.Principal, in *struct {
		Request string `path:"request" maxLength:"64" doc:"its x-request-id"`
	}) (*out[api.RequestRow], error) {
		r, err := s.Requests.Get(ctx, p.ProjectID, in.Request)
		return &out[api.RequestRow]{requestRow(r)}, err
	})
}

func requestRow(r reqlog.Row) api.RequestRow {
	return api.RequestRow{Request: r.Request, At: r.At, Key: r.Key, Model: r.Model, Route: r.Route, Backend: r.Backend, Dialect: r.Dialect, Kind: r.Kind,
		Stream: r.Stream, Outcome: r.Outcome, Status: r.Status, Code: r.Code, Input: r.Input, Cached: r.Cached, Output: r.Output, Reasoning: r.Reasoning,
		Embedding: r.Embedding, CostMicros: r.CostMicros, FirstByte: r.FirstByte, Took: r.Took, Tries: r.Tries, Tag: r.Tag}
}
