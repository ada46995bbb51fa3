package system

import (
	"context"
	"log/slog"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/provider"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// followEvery is how often a gateway of its own looks for changed routes and replicas.
const followEvery = 300 * time.Millisecond

// publication is what the table for gateways is sealed for.
const publication = "published"

// routes are what the gateway of this process can ask.
func (s *System) routes() gateway.Routes {
	if s.Follower != nil {
		return gateway.Served(s.Follower)
	}
	return gateway.Served(s.Serve)
}

// openFollower has a gateway of its own know the routes and replicas that the control plane published.
func (s *System) openFollower(ctx context.Context) error {
	s.Providers = &provider.Service{Store: s.db.Providers(), Box: s.Box, Driver: s.newProvider, IDs: s.ids, Now: time.Now, Log: s.Log}
	s.Follower = &serve.Follower{Store: s.db.Serve(), Engines: withEngines(s.extras), Providers: s.Providers, Now: time.Now, Machine: machine(), Log: s.Log,
		Read: func(ctx context.Context, known int64) (int64, []byte, error) {
			generation, sealed, err := s.db.Published(ctx, known)
			if err != nil || sealed == "" {
				return generation, nil, err
			}
			text, err := s.Box.Open(publication, sealed)
			return generation, text, err
		}}
	return s.Follower.Follow(ctx)
}

// machine names this machine while it runs, so that one can tell another's loopback interface from its own; empty where it has
// no name.
func machine() string {
	text, err := readLine("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return text
}

// followLoop keeps the table up to date; while the database is away, the last one stands.
func (s *System) followLoop(ctx context.Context) {
	t := time.NewTicker(followEvery)
	defer t.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		err := s.Follower.Follow(ctx)
		switch {
		case err != nil && !failing && ctx.Err() == nil:
			s.Log.Warn("routes and replicas cannot be read; going on with those known", "error", err)
			failing = true
		case err == nil && failing:
			s.Log.Info("routes and replicas can be read again")
			failing = false
		}
	}
}

// retell has gateways in other processes told of a change.
func (s *System) retell() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// publishLoop tells gateways in other processes what changed, and again after a failure.
func (s *System) publishLoop(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	again, failing := true, false
	for {
		if again {
			err := s.publish(ctx)
			again = err != nil
			if again && !failing && ctx.Err() == nil {
				s.Log.Error("gateways cannot be told of routes and replicas", "error", err)
			}
			failing = again
		}
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
			again = true
		case <-t.C:
		}
	}
}

func (s *System) publish(ctx context.Context) error {
	text, err := s.Serve.Publication()
	if err != nil || len(text) == 0 {
		return err
	}
	sealed, err := s.Box.Seal(publication, text)
	if err != nil {
		return err
	}
	return s.control.Publish(ctx, sealed)
}

// Recovered is what Recover did.
type Recovered struct {
	Node    string `json:"node"`    // name of the gateway
	Records int    `json:"records"` // of its ledger that were stored
	Cut     int    `json:"cut"`     // of them of requests that were under way when it died
}

// Recover reads the ledger of a gateway that will not be started again, stores what it holds and gives back the gateway's
// leases.
func Recover(ctx context.Context, cfg Config, log *slog.Logger) (r Recovered, err error) {
	s := &System{Config: cfg, Log: log, ids: id.Default()}
	s.loops, s.cancel = context.WithCancel(ctx)
	defer func() {
		if e := s.Stop(context.WithoutCancel(ctx)); err == nil {
			err = e
		}
	}()
	if err := checkFormat(cfg.Data); err != nil {
		return r, err
	}
	if node, err := readLine(cfg.Data + "/node"); err != nil || node == "" {
		return r, fault.New(fault.NotFound, "The folder "+cfg.Data+" is no data directory of a gateway.", fault.Field("DIR"), fault.Cause(err))
	}
	if err := s.openDir(ctx); err != nil {
		return r, err
	}
	if err := s.openDatabase(ctx); err != nil {
		return r, err
	}
	l, err := meter.Open(s.dir.File("ledger"), s.node, meter.Options{Now: time.Now, Log: log})
	if err != nil {
		return r, err
	}
	s.onStop("the ledger", func(context.Context) error { return l.Close() })
	r = Recovered{Node: s.node, Records: l.Recovered().Settled + l.Recovered().Cut, Cut: l.Recovered().Cut}
	ship := &meter.Shipper{Ledger: l, Store: s.db.Meter(), Log: log}
	if err := ship.Flush(ctx); err != nil {
		return r, err
	}
	leases, err := s.db.Begin(ctx, s.node)
	if err != nil {
		return r, err
	}
	return r, leases.End(ctx)
}
