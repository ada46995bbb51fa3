package system

import (
	"net/http"
	"os"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/server"
)

// errTooBusy answers what is above limits.streams.
var errTooBusy = fault.New(fault.Unavailable, "Too many requests are in flight.", fault.Code("overloaded"), fault.Fix("Try again in a moment."))

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
		deps.Jobs, deps.Queue, deps.Usage, deps.Ledger, deps.Spent = s.Keeper, s.Queue, s.db.Meter(), s.Shipper, s.Book.Spent
	}
	if s.Config.has("gateway") {
		g := &gateway.Gateway{Routes: gateway.Served(s.Serve), Quota: s.Book, Ledger: s.Ledger, Now: time.Now, Log: s.Log}
		model := &server.OpenAI{Gateway: g, Keys: s.Keyring, IDs: s.ids, Now: time.Now, Log: s.Log, MaxBody: s.Config.Limits.Body}
		deps.OpenAI = atMost(s.Config.Limits.Streams, model, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			model.Refuse(w, r, errTooBusy)
		}))
	}
	return server.New(deps), nil
}
