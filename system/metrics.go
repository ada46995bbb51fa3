package system

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/obs"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/gateway/seen"
	"github.com/triarch-ai/triarch/server"
)

// watch has somebody watch the gateway's requests.
func (s *System) watch(g *gateway.Gateway) {
	s.Watch = &seen.Watch{Metrics: seen.NewMetrics(), Traces: &seen.Tracer{Rate: s.Config.Traces.Rate, Rand: rand.Uint64}}
	if s.Requests.Keep > 0 {
		s.Watch.Log = s.Requests
		s.Watch.Metrics.Also(s.Requests.Write)
		s.loop(s.Requests.Loop)
	}
	if s.Config.Requests.Bodies > 0 {
		s.Watch.Bodies = s.Bodies
		s.Watch.Metrics.Also(s.Bodies.Write)
		s.loop(s.Bodies.Loop)
	}
	if e, _ := s.Config.exporter(); e != nil { // it was checked
		e.Node, e.Log = s.node, s.Log
		s.Watch.Traces.Exporter = e
		s.Watch.Metrics.Also(e.Write)
		s.loop(e.Loop)
	}
	s.Watch.Metrics.Also(func(w *obs.Writer) { backends(w, g) })
	g.Watch = s.Watch
}

// metrics is all that this process tells of itself.
func (s *System) metrics() http.Handler {
	s.metered = obs.Handler(func(w *obs.Writer) {
		w.Family("triarch_build_info", obs.Gauge, "1, with the program's version.")
		w.Value(1, "version", Version)
		if s.Watch != nil {
			s.Watch.Metrics.Write(w)
		}
		s.books(w)
		s.database(w)
		s.scheduler(w)
	})
	return s.metered
}

// books tells of the ledger, of reserved money and of leases.
func (s *System) books(w *obs.Writer) {
	l, b := s.Ledger.Stats(), s.Book.State()
	w.One("triarch_ledger_unshipped_records", obs.Gauge, "Settled records that the database does not have yet.", float64(l.Unshipped))
	w.One("triarch_ledger_open_records", obs.Gauge, "Records of requests under way.", float64(l.Open))
	w.One("triarch_ledger_segments", obs.Gauge, "Mapped files of the ledger.", float64(l.Segments))
	w.One("triarch_quota_reserved_microunits", obs.Gauge, "Money that requests under way may cost at most.", float64(b.Held))
	w.One("triarch_quota_reservations", obs.Gauge, "Requests that have reserved money.", float64(b.Open))
	w.One("triarch_quota_waiting_requests", obs.Gauge, "Requests that wait for money that others have reserved.", float64(b.Waiting))
	if b.Leased {
		w.One("triarch_quota_lease_authority_up", obs.Gauge, "1 while the authority of leases answers.", truth(!b.Failed))
		w.One("triarch_quota_lease_age_seconds", obs.Gauge, "Time since the authority of leases answered last.", b.Silent.Seconds())
		w.One("triarch_quota_fenced", obs.Gauge, "1 when another process has taken this node's place.", truth(b.Fenced))
	}
}

// pingTime is how long a reading waits for the database.
const pingTime = time.Second

func (s *System) database(w *obs.Writer) {
	ctx, cancel := context.WithTimeout(context.Background(), pingTime)
	defer cancel()
	began := time.Now()
	err := s.db.Alive(ctx)
	w.One("triarch_database_up", obs.Gauge, "1 when the database answered this reading.", truth(err == nil))
	w.One("triarch_database_ping_seconds", obs.Gauge, "How long it took.", time.Since(began).Seconds())
}

// scheduler tells of jobs by what they wait for, and of what stands behind routes.
func (s *System) scheduler(w *obs.Writer) {
	if !s.Config.has("control") {
		return
	}
	var waiting, parked, running int
	held := map[string]int64{}
	for _, q := range s.Queue.Queues() {
		waiting, parked, running = waiting+q.Waiting, parked+q.Parked, running+q.Running
		for chip, n := range q.Held {
			held[chip] += n
		}
	}
	w.Family("triarch_scheduler_jobs", obs.Gauge, "Jobs, by whether they run, wait for room, or for something else (parked).")
	w.Value(float64(running), "state", "running")
	w.Value(float64(waiting), "state", "waiting")
	w.Value(float64(parked), "state", "parked")
	w.Family("triarch_scheduler_held_chips", obs.Gauge, "Chips that jobs hold, by class.")
	for chip, n := range held {
		w.Value(float64(n), "chip", chip)
	}
	routes, serving, replicas := s.Serve.Snapshot().Counts()
	w.Family("triarch_serve_routes", obs.Gauge, "Routes, by whether anything answers behind them.")
	w.Value(float64(serving), "state", "serving")
	w.Value(float64(routes-serving), "state", "empty")
	w.One("triarch_serve_replicas", obs.Gauge, "Replicas of this installation that answer.", float64(replicas))
}

// backends tells of breakers without naming what they stand before: there is no bound on names.
func backends(w *obs.Writer, g *gateway.Gateway) {
	var open, closed, running int64
	g.Backends(func(_ string, n int64, opened bool) {
		if running += n; opened {
			open++
		} else {
			closed++
		}
	})
	w.Family("triarch_gateway_breakers", obs.Gauge, "Breakers of replicas and providers' models that were asked, by their state.")
	w.Value(float64(closed), "state", "closed")
	w.Value(float64(open), "state", "open")
	w.One("triarch_gateway_upstream_requests_running", obs.Gauge, "Requests under way at replicas and providers.", float64(running))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// serveMetrics answers readings on an address of this machine alone, without a key.
func (s *System) serveMetrics(context.Context) error {
	if s.Config.Metrics.Listen == "" {
		return nil
	}
	l, err := net.Listen("tcp", s.Config.Metrics.Listen)
	if err != nil {
		return fault.New(fault.Invalid, "Metrics cannot be told on "+s.Config.Metrics.Listen+": "+listenReason(err)+".", fault.Field("metrics.listen"),
			fault.Fix("Choose another address"), fault.Cause(err))
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+server.MetricsPath, s.metered)
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug)}
	s.MetricsURL = "http://" + l.Addr().String() + server.MetricsPath
	go func() {
		if err := web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.Log.Error("metrics are told no more", "error", err)
		}
	}()
	s.onStop("metrics", func(context.Context) error { return web.Close() })
	return nil
}
