package system

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/health"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/perf/measured"
	"github.com/triarch-ai/triarch/compute/queue"
	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/seal"
	"github.com/triarch-ai/triarch/models/canary"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/gateway/capture"
	"github.com/triarch-ai/triarch/models/gateway/seen"
	"github.com/triarch-ai/triarch/models/hub"
	"github.com/triarch-ai/triarch/models/hub/pulls"
	"github.com/triarch-ai/triarch/models/kept"
	"github.com/triarch-ai/triarch/models/native/kernel"
	"github.com/triarch-ai/triarch/models/provider"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/models/train"
	"github.com/triarch-ai/triarch/server"
	"github.com/triarch-ai/triarch/storage/blob"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/quota"
	"github.com/triarch-ai/triarch/tenancy/webhook"
)

// Version is the program's version, set by the linker.
var Version = "dev"

// System is a running Triarch: the parts, in the order they were started.
type System struct {
	Config   Config
	Log      *slog.Logger
	URL      string // where the API answers on this machine
	Public   string // where it answers for others, as far as is known: the setting, the certificate's name, else URL
	First    bool   // this start made the data directory's first organisation
	OwnerKey string // the owner key's secret, as the file owner.key has it

	MetricsURL string // where metrics are read without a key; empty: nowhere

	metered  http.Handler // what metrics are read from
	extras   []Extra
	pin      string // SHA-256 of the served certificate, in hexadecimal; empty without TLS
	dir      *DataDir
	node     string // the data directory's name, as the database has it
	listener net.Listener
	db       *sql.DB
	control  *sql.DB // the same for what the control plane writes: only while nobody else is it
	blobs    blob.Store
	ids      *id.Maker

	Org       tenancy.Organisation
	Project   tenancy.Project
	Tenancy   *tenancy.Service
	Keyring   *auth.Keyring
	Ledger    *meter.Ledger
	Shipper   *meter.Shipper
	Book      *quota.Book
	Executor  job.Executor
	Queue     *queue.Planner
	Keeper    *job.Keeper
	Chips     *chip.Catalogue // with the operator's figures over it
	Measured  *measured.Service
	Health    *health.Monitor // of this machine's devices
	Data      *data.Service
	Kept      *kept.Service
	Registry  *registry.Service
	Pulls     *pulls.Service
	Train     *train.Service
	Serve     *serve.Service
	Follower  *serve.Follower // of a gateway of its own
	Providers *provider.Service
	Webhooks  *webhook.Service
	Explain   *gateway.Explanations
	Requests  *seen.Log
	Bodies    *capture.Keeper
	Box       *seal.Box
	Watch     *seen.Watch // of the model API's requests

	chipPrices meter.ChipPrices
	cpu        processors
	devices    *devices
	trials     canary.Book // what this process's gateway counts of canaries

	loops   context.Context
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	wake    [2]chan struct{} // of the loops over runs and over deployments
	changed chan struct{}    // the table for gateways is another
	claims  []claim
	broken  chan error
	stops   []stop
}

type stop struct {
	name string
	do   func(context.Context) error
}

// Start builds the system and returns when the API answers. What was started is stopped again when a later
// step fails. The context bounds the start only.
func Start(ctx context.Context, cfg Config, log *slog.Logger, extras ...Extra) (*System, error) {
	s := &System{Config: cfg, Log: log, extras: extras, ids: id.Default(), wake: [2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)}, changed: make(chan struct{}, 1), broken: make(chan error, 1)}
	s.loops, s.cancel = context.WithCancel(context.Background())
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"the address", s.listen},         // 1 first: a busy port must leave nothing half made
		{"the data directory", s.openDir}, // 2
		{"the database", s.openDatabase},  // 3
		{"the secrets", s.openSecrets},    // 4
		{"the blobs", s.openBlobs},        // 5
		{"tenancy", s.openTenancy},        // 6 organisation, project and owner key on first start
		{"the ledger", s.openLedger},      // 7 what a killed process left open is settled, shipped, then spent money is known
		{"work", s.openWork},              // 8 keeper and executor; what lives is adopted
		{"models", s.openModels},          // 9 data, registry, training, serving
		{"the loops", s.startLoops},       // 10
		{"the API", s.serveAPI},           // 11
		{"metrics", s.serveMetrics},       // 12
	} {
		if err := step.do(ctx); err != nil {
			s.Stop(context.WithoutCancel(ctx))
			return nil, fault.Wrap(err, "starting "+step.name)
		}
	}
	return s, nil
}

// onStop notes what undoes a step; Stop runs the notes in reverse.
func (s *System) onStop(name string, do func(context.Context) error) {
	s.stops = append(s.stops, stop{name, do})
}

// Stop ends the control plane in reverse order of starting. Training and replicas go on.
func (s *System) Stop(ctx context.Context) error {
	var errs []error
	for _, v := range slices.Backward(s.stops) {
		if err := v.do(ctx); err != nil {
			errs = append(errs, fault.Wrap(err, "stopping "+v.name))
		}
	}
	s.stops = nil
	s.cancel()
	return errors.Join(errs...)
}

// Broken tells of a failure that the system cannot live on with, such as a listener that broke.
func (s *System) Broken() <-chan error { return s.broken }

func (s *System) listen(context.Context) error {
	secure, err := s.Config.tls()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", s.Config.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		if pid, held := Holder(s.Config.Data); held {
			return AlreadyRuns(s.Config.Data, pid)
		}
		return fault.New(fault.Conflict, "The address "+s.Config.Listen+" is in use by another program.", fault.Field("listen"),
			fault.Fix("Choose another with --listen, for example 127.0.0.1:0 for a free port"), fault.Cause(err))
	}
	if err != nil {
		return fault.New(fault.Invalid, "Triarch cannot listen on "+s.Config.Listen+": "+listenReason(err)+".", fault.Field("listen"),
			fault.Fix("Choose another address with --listen"), fault.Cause(err))
	}
	s.listener = l
	s.onStop("the address", func(context.Context) error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	scheme := "http"
	if secure != nil {
		scheme, s.listener = "https", tls.NewListener(l, secure)
	}
	s.URL = scheme + "://" + reachable(l.Addr().String())
	s.Public = s.URL
	if secure != nil {
		leaf := secure.Certificates[0].Leaf
		s.pin = fmt.Sprintf("%x", sha256.Sum256(leaf.Raw))
		s.Public = certified(s.URL, leaf)
	}
	if s.Config.Public != "" {
		s.Public = strings.TrimRight(s.Config.Public, "/")
	}
	return nil
}

// certified is the URL under the name the certificate is for, if it is not for the address in it.
func certified(address string, leaf *x509.Certificate) string {
	u, err := url.Parse(address)
	if err != nil || leaf.VerifyHostname(u.Hostname()) == nil {
		return address
	}
	for _, name := range leaf.DNSNames {
		if !strings.HasPrefix(name, "*") {
			return u.Scheme + "://" + net.JoinHostPort(name, u.Port())
		}
	}
	return address
}

// tls is nil where no certificate is set.
func (c *Config) tls() (*tls.Config, error) {
	if c.TLS.Cert == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
	if err != nil {
		return nil, fault.New(fault.Invalid, "The TLS certificate or key cannot be read.", fault.Field("tls"),
			fault.Fix("Give PEM files with --tls-cert and --tls-key"), fault.Cause(err))
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}, nil
}

func listenReason(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err.Error()
	}
	return err.Error()
}

// reachable turns a wildcard address into one that this machine can call.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func (s *System) openDir(context.Context) error {
	d, err := OpenDataDir(s.Config.Data)
	if err != nil {
		return err
	}
	s.dir = d
	s.onStop("the data directory", func(context.Context) error { return d.Close() })
	return nil
}

func (s *System) openDatabase(ctx context.Context) error {
	dsn := s.Config.Database
	if dsn == "" {
		dsn = "sqlite:" + s.dir.File("state.db")
	}
	open, bind := sql.Open, s.bind
	if !s.Config.has("control") {
		open, bind = sql.Join, s.join
	}
	db, err := open(ctx, dsn, s.Log)
	if err != nil {
		return errors.Join(err, s.dir.undo())
	}
	s.db, s.control = db, db
	s.onStop("the database", func(context.Context) error { return db.Close() })
	if err := bind(ctx); err != nil {
		return errors.Join(err, s.dir.undo())
	}
	return s.claimRoles(ctx)
}

// openSecrets makes or reads the key that seals secrets.
func (s *System) openSecrets(context.Context) (err error) {
	file, make := s.Config.SecretKey, false
	if file == "" {
		file, make = s.dir.File("secret.key"), s.Config.has("control")
	}
	s.Box, err = seal.OpenFile(file, make, rand.Reader)
	return err
}

func (s *System) openBlobs(context.Context) (err error) {
	s.blobs, err = newBlobs(s.dir.File("blobs"))
	return err
}

// openTenancy makes the first organisation, and writes the owner key's file before anybody can connect. If a
// crash came between the two, another owner key is made for the file.
func (s *System) openTenancy(ctx context.Context) (err error) {
	store := s.control.Tenancy()
	s.Keyring = auth.NewKeyring(store, time.Now)
	if !s.Config.has("control") {
		return s.Keyring.Refresh(ctx)
	}
	s.Tenancy = &tenancy.Service{Store: store, IDs: s.ids, Now: time.Now, Rand: rand.Reader,
		Changed: func(ctx context.Context) {
			if err := s.Keyring.Refresh(context.WithoutCancel(ctx)); err != nil {
				s.Log.Warn("API keys cannot be refreshed at once; the next second tries again", "error", err)
			}
		}}
	if err := s.markStarter(); err != nil {
		return err
	}
	if s.Org, s.Project, s.OwnerKey, s.First, err = s.Tenancy.Bootstrap(ctx); err != nil {
		return err
	}
	if err := s.keepOwnerKey(ctx); err != nil {
		return err
	}
	return s.Keyring.Refresh(ctx)
}

func (s *System) keepOwnerKey(ctx context.Context) error {
	file := s.dir.File("owner.key")
	if s.OwnerKey == "" {
		text, err := os.ReadFile(file)
		if s.OwnerKey = strings.TrimSpace(string(text)); err == nil && s.knows(ctx, s.OwnerKey) {
			return nil
		}
		var former []tenancy.Key
		if s.OwnerKey, former, err = s.Tenancy.RecoverOwner(ctx); err != nil {
			return err
		}
		s.Log.Warn("owner.key was missing or is not a key of this database; a new owner key was made", "file", file)
		for _, k := range former { // whoever holds a copy may still need it: a person decides
			s.Log.Warn("an earlier owner key still works; if nobody should have it, revoke it", "key", k.ID, "hint", k.Hint,
				"made", k.CreatedAt, "command", "triarch key revoke "+k.ID+" --keep-children")
		}
	}
	return diskFault(durable.WriteFile(file, []byte(s.OwnerKey+"\n"), 0o600), "writing the owner key")
}

// knows says whether the database knows a secret.
func (s *System) knows(ctx context.Context, secret string) bool {
	if err := s.Keyring.Refresh(ctx); err != nil {
		return true // Refresh is tried again and tells
	}
	_, err := s.Keyring.Authenticate(secret)
	return err == nil
}

// openLedger recovers the ledger and ships all of it before it reads what was spent, so that no kill can make
// money appear.
func (s *System) openLedger(ctx context.Context) error {
	l, err := meter.Open(s.dir.File("ledger"), s.node, meter.Options{Now: time.Now, Log: s.Log})
	if err != nil {
		return err
	}
	s.Ledger = l
	s.onStop("the ledger", func(context.Context) error { return l.Close() })
	if r := l.Recovered(); r.Cut > 0 {
		s.Log.Info("requests that a killed process left open were settled", "requests", r.Cut)
	}
	s.Shipper = &meter.Shipper{Ledger: l, Store: s.db.Meter(), Log: s.Log}
	if err := s.Shipper.Flush(ctx); err != nil {
		return err
	}
	prices, err := s.db.Meter().ChipPrices(ctx)
	if err != nil {
		return err
	}
	s.chipPrices.Set(prices)
	s.Webhooks = &webhook.Service{Store: s.control.Webhooks(), Box: s.Box, IDs: s.ids, Now: time.Now, Rand: rand.Reader, Log: s.Log, Spent: s.spent}
	return s.openBook(ctx)
}

func (s *System) openWork(ctx context.Context) (err error) {
	if !s.Config.has("control") {
		return nil
	}
	if s.Executor, err = newExecutor(s.dir.File("work"), s.Log); err != nil {
		return err
	}
	if err := s.openMeasured(ctx); err != nil {
		return err
	}
	if err := s.openQueue(ctx); err != nil {
		return err
	}
	s.Keeper = job.New(job.Options{Store: s.control.Jobs(), Executor: s.Executor, Planner: s.Queue, IDs: s.ids, Now: time.Now, Log: s.Log,
		OnChange: func(job.Job) { s.nudge() }, Blame: s.blame})
	return s.Keeper.Reconcile(ctx)
}

// cores is how many cores work may use.
func (s *System) cores() int {
	if s.Config.Threads > 0 {
		return s.Config.Threads
	}
	return kernel.DefaultThreads()
}

func (s *System) openModels(ctx context.Context) error {
	s.Bodies = &capture.Keeper{Store: s.db.Captured(), Now: time.Now, Most: s.Config.Requests.Bodies, Log: s.Log}
	s.Requests = &seen.Log{Store: s.db.RequestLog(), IDs: s.ids, Now: time.Now, Keep: s.Config.Requests.Keep, Log: s.Log}
	s.Explain = &gateway.Explanations{Store: s.db.Explanations(), Share: float64(s.Config.Explained) / 100, Log: s.Log}
	s.Kept = &kept.Service{Store: s.db.Kept(), IDs: s.ids, Now: time.Now}
	if !s.Config.has("control") {
		return s.openFollower(ctx) // it has no blobs that others see, and so no files
	}
	s.Kept.Blobs = s.blobs
	s.Data = &data.Service{Store: s.control.Data(), Blobs: s.blobs, IDs: s.ids, Now: time.Now}
	s.Registry = &registry.Service{Store: s.control.Registry(), Blobs: s.blobs, Codec: newCodec(), Dir: s.dir.File("models"), IDs: s.ids, Now: time.Now,
		MaxImport: s.Config.Limits.Upload}
	fits := s.fleet()
	hubs := hub.New(http.ProxyFromEnvironment, hub.Free)
	hubs.Most = s.Config.Limits.Pull
	s.Pulls = &pulls.Service{Store: s.control.Pulls(), Client: hubs, Registry: s.Registry, Blobs: s.blobs, Box: s.Box, Dir: s.dir.File("pulls"), IDs: s.ids,
		Now: time.Now, Log: s.Log}
	s.Train = &train.Service{Store: s.control.Runs(), Data: s.Data, Registry: s.Registry, Jobs: s.Keeper, Trainers: trainers(), IDs: s.ids,
		Now: time.Now, Log: s.Log, MemoryLimit: memoryLimit(), MaxCPUs: s.cores(), CodeVersion: Version, Fit: fits, Measured: s.Measured, Processor: s.processor}
	s.Providers = &provider.Service{Store: s.control.Providers(), Box: s.Box, Driver: s.newProvider, IDs: s.ids, Now: time.Now, Log: s.Log,
		Changed: func(ctx context.Context) { s.Serve.Reroute(context.WithoutCancel(ctx)) }}
	s.Serve = &serve.Service{Store: s.control.Serve(), Providers: s.Providers, Price: new(meter.Flat(s.Config.Price.In, s.Config.Price.Out)), Registry: s.Registry, Jobs: s.Keeper, Engines: withEngines(s.extras), IDs: s.ids, Now: time.Now,
		Rand: rand.Reader, Log: s.Log, Listen: s.Config.Serve.Listen, Machine: machine(), MemoryLimit: memoryLimit(), Woken: s.nudge, OnChange: func(*serve.Table) { s.retell(); s.nudge() }}
	s.Serve.Box, s.Serve.Fit = s.Box, fits
	s.Serve.Measured, s.Serve.Processor = s.Measured, s.processor
	s.onStop("models", func(context.Context) error {
		s.Serve.Close()
		s.Train.Close()
		return nil
	})
	return s.Serve.Reconcile(ctx)
}

func (s *System) serveAPI(context.Context) error {
	handler, err := s.handler()
	if err != nil {
		return err
	}
	var inFlight sync.WaitGroup
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inFlight.Add(1)
		defer inFlight.Done()
		handler.ServeHTTP(w, r)
	})
	web := server.HTTP(counted, s.Log)
	if err := s.announce(); err != nil {
		return err
	}
	go func() {
		if err := web.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.broken <- err
		}
	}()
	s.onStop("the API", func(ctx context.Context) error {
		forgetEndpoint(s.dir.Path)
		ctx, cancel := context.WithTimeout(ctx, s.Config.Limits.Drain)
		defer cancel()
		err := web.Shutdown(ctx)
		if err != nil {
			err = web.Close() // open streams end here; each is billed to the last chunk written
		}
		inFlight.Wait() // they settle before the ledger closes
		return err
	})
	return nil
}

// announce writes where the API answers, for clients of this machine, before it does; with TLS also which certificate
// they will meet there, since it need not be for this machine's own address.
func (s *System) announce() error {
	if s.pin != "" {
		if err := durable.WriteFile(s.dir.File(pinFile), []byte(s.pin+"\n"), 0o600); err != nil {
			return diskFault(err, "writing the certificate's hash")
		}
	}
	return diskFault(durable.WriteFile(s.dir.File("endpoint"), []byte(s.URL+"\n"), 0o600), "writing the endpoint")
}

// pinFile holds the SHA-256 of the certificate that is served at the endpoint.
const pinFile = "endpoint.sha256"

// forgetEndpoint removes what announce wrote.
func forgetEndpoint(data string) {
	os.Remove(filepath.Join(data, "endpoint"))
	os.Remove(filepath.Join(data, pinFile))
}
