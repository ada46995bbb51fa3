package system

import (
	"context"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/health"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/compute/program"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/guard"
	"github.com/triarch-ai/triarch/server"
)

// handler is everything the API answers: the model API where this process is a gateway, the control API where it
// is the control plane.
func (s *System) handler() (http.Handler, error) {
	deps := server.Deps{Log: s.Log, Now: time.Now, IDs: s.ids, Keys: s.Keyring, MaxUpload: s.Config.Limits.Upload}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	deps.Info = api.Info{Version: Version, Database: s.db.Dialect(), Node: host, CPUs: s.cores(), StartedAt: time.Now().UTC()}
	if s.Config.has("control") {
		deps.Tenancy, deps.Data, deps.Registry, deps.Train, deps.Serve = s.Tenancy, s.Data, s.Registry, s.Train, s.Serve
		deps.Pulls = s.Pulls
		deps.Programs = &program.Service{Jobs: s.Keeper, Policy: program.Policy(s.Config.Compute.Programs)}
		deps.Providers = s.Providers
		deps.Jobs, deps.Queue, deps.Usage, deps.Ledger, deps.Spent = s.Keeper, s.Queue, s.control.Meter(), s.Shipper, s.spent
		deps.Webhooks, deps.Measured = s.Webhooks, s.Measured
		deps.Happened = func(node string) []health.Event { return s.Health.Events(node) }
		deps.Chips = func() (estimate.Market, error) { return Market(s.Config.Data) }
	}
	deps.Explain, deps.Requests, deps.Bodies = s.Explain, s.Requests, s.Bodies
	if s.Config.has("gateway") {
		g := &gateway.Gateway{Routes: s.routes(), Quota: s.Book, Ledger: s.Ledger, Explain: s.Explain, ChipPrices: &s.chipPrices, Memory: gateway.NewMemory(s.Config.Limits.Answers), Gateways: s.Book.Nodes, Trials: &s.trials, Now: time.Now, Log: s.Log}
		g.Guards, g.IDs = &guard.Client{Box: s.Box}, s.ids
		s.onStop("guards", func(context.Context) error { g.Guards.Close(); return nil })
		s.watch(g)
		deps.OpenAI = &server.OpenAI{Refused: s.Watch.Metrics.Refused, Gateway: g, Keys: s.Keyring, IDs: s.ids, Now: time.Now, Log: s.Log, MaxBody: s.Config.Limits.Body, Kept: s.Kept,
			Intake: server.NewIntake(s.Config.Limits.Streams, bodyMemory(debug.SetMemoryLimit(-1), s.Config.Limits.Body))}
	}
	deps.Metrics = s.metrics()
	return server.New(deps), nil
}
