package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"log/slog"
	weak "math/rand/v2"
	"net/http"
	_ "net/http/pprof" //nolint:gosec // on a socket of its own, only with -pprof
	"os"
	"path/filepath"
	"time"

	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/engine/native"
	"github.com/triarch-ai/triarch/models/engine/upstream"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/gateway/seen"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/server"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
)

// oneRoute is a table with one route.
type oneRoute struct{ target *serve.Target }

func (r oneRoute) Lookup(_, _, name string) (*serve.Target, bool) {
	return r.target, name == r.target.Route.Name
}
func (r oneRoute) List(_, _ string) []*serve.Target { return []*serve.Target{r.target} }
func (r oneRoute) Suspect(string)                   {}

// runGateway is a gateway alone with everything on: a key with limits, budgets of key, project and organisation, a
// priced route with several replicas between which prompts are kept together, metrics, traces and stored explanations of one request in a hundred, the ledger with its group commit, and the shipper into SQLite. It takes the
// addresses of the replicas and prints the key, then its own address.
func runGateway(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("gateway", flag.ContinueOnError)
	profiler := flags.String("pprof", "", "address of the profiler")
	profile := flags.String("profile", "", "what CPU profiles are called; empty: none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *profiler != "" {
		go func() { fmt.Fprintln(os.Stderr, http.ListenAndServe(*profiler, nil)) }() //nolint:gosec // a developer asked for it
	}
	defer profileOnSignal(*profile)()
	if err := manyFiles(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "gatewaybench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	log := slog.New(slog.DiscardHandler)
	db, err := sql.Open(ctx, "sqlite:"+filepath.Join(dir, "state.db"), log)
	if err != nil {
		return err
	}
	defer db.Close()
	ring, target, secret, err := tenants(ctx, db)
	if err != nil {
		return err
	}
	ledger, err := meter.Open(filepath.Join(dir, "ledger"), "node_bench", meter.Options{Log: log})
	if err != nil {
		return err
	}
	defer ledger.Close()
	shipping, stop := context.WithCancel(context.WithoutCancel(ctx))
	shipped := make(chan struct{})
	go func() {
		defer close(shipped)
		(&meter.Shipper{Ledger: ledger, Store: db.Meter(), Log: log}).Loop(shipping)
	}()
	defer func() { stop(); <-shipped }()
	for i, addr := range flags.Args() {
		target.Backends[0].Endpoints = append(target.Backends[0].Endpoints, engine.Endpoint{Replica: fmt.Sprint("rep_bench", i), Addr: addr, Secret: "none"})
	}
	g := &gateway.Gateway{Routes: oneRoute{target}, Quota: quota.NewBook(ring, time.Now), Ledger: ledger, Now: time.Now, Log: log}
	watch := watched(shipping, flags.Arg(0), log)
	g.Watch = watch
	g.Explain = &gateway.Explanations{Store: db.Explanations(), Share: 0.01, Log: log}
	go g.Explain.Loop(shipping, time.Now)
	api := &server.OpenAI{Refused: watch.Metrics.Refused, Gateway: g, Keys: ring, IDs: id.Default(), Now: time.Now, Log: log}
	handler := server.New(server.Deps{Log: log, Now: time.Now, IDs: id.Default(), Keys: ring, OpenAI: api})
	fmt.Println(secret)
	return listenAndServe(ctx, server.HTTP(handler, log))
}

// watched counts every request and traces one in a hundred, sent to a collector which the engine plays.
func watched(ctx context.Context, collector string, log *slog.Logger) *seen.Watch {
	e := &seen.Exporter{URL: "http://" + collector + "/v1/traces", Service: "triarch", Client: &http.Client{}, Log: log}
	go e.Loop(ctx)
	return &seen.Watch{Metrics: seen.NewMetrics(), Traces: &seen.Tracer{Rate: 0.01, Rand: weak.Uint64, Exporter: e}}
}

// tenants makes a key with limits and a budget, in a project and an organisation with budgets.
func tenants(ctx context.Context, db *sql.DB) (*auth.Keyring, *serve.Target, string, error) {
	ids, ring := id.Default(), auth.NewKeyring(db.Tenancy(), time.Now)
	t := &tenancy.Service{Store: db.Tenancy(), IDs: ids, Now: time.Now, Rand: rand.Reader}
	o, p, _, _, err := t.Bootstrap(ctx)
	if err != nil {
		return nil, nil, "", err
	}
	by := tenancy.Maker{OrgID: o.ID, ProjectID: p.ID, Role: tenancy.Owner, Scopes: append([]tenancy.Scope{tenancy.OrgWide}, tenancy.Ordinary...)}
	money := int64(1e14)
	for scope, of := range map[string]string{tenancy.OfOrganisation: o.ID, tenancy.OfProject: p.ID} {
		if _, err := t.SetBudget(ctx, by, tenancy.Budget{Scope: scope, ID: of, LimitMicros: money}); err != nil {
			return nil, nil, "", err
		}
	}
	_, secret, err := t.CreateKey(ctx, by, tenancy.NewKey{Name: "bench", BudgetMicros: &money,
		Limits: tenancy.Limits{RPM: 100_000_000, TPM: 100_000_000_000, Concurrency: 20_000}})
	if err != nil {
		return nil, nil, "", err
	}
	target := &serve.Target{Route: serve.Route{ID: ids.New("rte"), Org: o.ID, Project: p.ID, Name: "bench", Prices: meter.Flat(1_000_000, 2_000_000)},
		Backends: []*serve.Upstream{{ID: "dep_bench", Weight: 1, Dialect: engine.OpenAI, Version: ids.New("mv"), Context: 8192, Engine: &native.Driver{Client: upstream.Client{IdleTimeout: time.Hour}}}}}
	return ring, target, secret, ring.Refresh(ctx)
}
