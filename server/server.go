// Package server is HTTP and nothing else: it authenticates, authorises, decodes, calls the service that decides, and
// encodes. The control API lies under /api/v1 (huma, problem+json), the model API under /v1 (the wires of OpenAI and
// Anthropic) and /v1beta (Google's).
//
// Rules for callers: every endpoint stands in the one table of routes.go with the role and scope it asks for; an
// operation that is not in it cannot be registered. Another project's object is 404: handlers pass the caller's
// project to the services and never look further. Errors become HTTP in one place, fail.
package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/compute/health"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/gateway/capture"
	reqlog "github.com/triarch-ai/triarch/models/gateway/seen"
	"github.com/triarch-ai/triarch/models/hub/pulls"
	"github.com/triarch-ai/triarch/models/provider"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/models/train"
	"github.com/triarch-ai/triarch/server/front"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/webhook"
)

// Jobs tells of the job behind a run.
type Jobs interface {
	Get(ctx context.Context, project, id string) (job.Job, error)
}

// Explainer tells what was decided about requests of the model API; the gateway's Explanations are one.
type Explainer interface {
	Get(ctx context.Context, project, request string) (gateway.Explanation, error)
}

// Requests is the log of the model API's requests; the one of package seen is one.
type Requests interface {
	List(ctx context.Context, project string, f reqlog.Filter, p page.Page) ([]reqlog.Row, error)
	Get(ctx context.Context, project, request string) (reqlog.Row, error)
}

// Usage reads what was used and keeps what it takes to value it; the meter's store is one.
type Usage interface {
	Usage(ctx context.Context, f meter.Filter) (meter.Totals, []meter.Row, error)
	ChipPrices(ctx context.Context) ([]meter.ChipPrice, error)
	SetChipPrice(ctx context.Context, p meter.ChipPrice) error
	RemoveChipPrice(ctx context.Context, chip string) error
}

// Ledger is the part of usage that is not in the database yet; the meter's shipper is one.
type Ledger interface {
	Flush(ctx context.Context) error
	Verify(ctx context.Context) (meter.Books, error)
}

// Deps is what a server is made of. Everything is needed unless it says otherwise.
type Deps struct {
	Log  *slog.Logger
	Now  func() time.Time
	IDs  *id.Maker
	Keys *auth.Keyring
	Info api.Info

	// The control API; without Tenancy there is none.
	Tenancy   *tenancy.Service
	Data      *data.Service
	Registry  *registry.Service
	Pulls     *pulls.Service
	Train     *train.Service
	Serve     *serve.Service
	Providers *provider.Service
	Explain   Explainer
	Requests  Requests
	Bodies    *capture.Keeper
	Jobs      JobControl
	Programs  Programs
	Queue     Queue
	Measured  Measured
	Usage     Usage
	Webhooks  *webhook.Service
	Ledger    Ledger
	Happened  func(node string) []health.Event                  // what happened to a node's devices, the newest first; nil: nobody looks after them
	Chips     func() (estimate.Market, error)                   // the catalogue, this machine's processor and what was measured
	Spent     func(ctx context.Context, scope, id string) int64 // micro-units that what a budget bounds has spent

	// OpenAI answers everything under /v1/ and /v1beta/, by itself: authentication, errors, panics. Without it there is no model API.
	OpenAI http.Handler

	// Metrics answers GET /metrics; without it there is none.
	Metrics http.Handler

	MaxUpload int64 // largest upload in bytes; 0: 8 GiB
	// Poll is how often a watched run is looked at; 0: 300 ms.
	Poll time.Duration
}

// Server answers requests. It is made by New.
type Server struct {
	Deps
	ranking chan struct{} // holds one while chips are ranked
	mux     *http.ServeMux
	huma    huma.API
}

// New builds the handler of everything the server answers.
func New(d Deps) http.Handler {
	if d.MaxUpload == 0 {
		d.MaxUpload = 8 << 30
	}
	if d.Poll == 0 {
		d.Poll = 300 * time.Millisecond
	}
	s := &Server{Deps: d, mux: http.NewServeMux(), ranking: make(chan struct{}, 1)}
	s.mountPages()
	if d.Tenancy != nil {
		s.mountControl()
	}
	own := s.middleware(s.mux)
	if d.OpenAI == nil {
		return own
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/") || strings.HasPrefix(r.URL.Path, "/v1beta/") { // nothing stands between the model API and its connection
			d.OpenAI.ServeHTTP(w, r)
			return
		}
		own.ServeHTTP(w, r)
	})
}

// Listener settings: how long a client may take over a request's head, and how long a quiet connection stays. There
// is no limit on whole requests, since streams last; bodies and writes have their own.
const (
	headTimeout = 10 * time.Second
	idleTimeout = 2 * time.Minute
	maxHead     = 64 << 10
)

type closingKey struct{}

// HTTP wraps a handler into a server with the limits that slow or hostile clients need: requests of the model API are
// read by server/front, everything else by net/http. Its Shutdown ends the streams of those who only watch at once;
// other requests run to their end.
func HTTP(h http.Handler, log *slog.Logger) *front.Server {
	closing, closed := context.WithCancel(context.Background())
	base := context.WithValue(context.Background(), closingKey{}, closing.Done())
	std := &http.Server{
		Handler: h, ReadHeaderTimeout: headTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHead,
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return base },
	}
	std.RegisterOnShutdown(closed)
	return &front.Server{Std: std, Paths: []string{openai.ChatPath, openai.CompletionPath, openai.ResponsesPath, openai.EmbeddingsPath, openai.RerankPath, messagesPath}, Context: base,
		HeadTimeout: headTimeout, IdleTimeout: idleTimeout, WriteTime: writeTime, Log: log}
}

// closing is closed when the server that a request came in by shuts down; nil, which never is, under other servers.
func closing(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(closingKey{}).(<-chan struct{})
	return c
}
