package serve

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/aside"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/internal/seal"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/fit"
	"github.com/triarch-ai/triarch/models/provider"
	"github.com/triarch-ai/triarch/models/ref"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// JobKind is the kind of the jobs of replicas.
const JobKind = "replica"

// MaxPrice is the highest price, in micro-units for 1,000,000 tokens: one unit a token.
const MaxPrice = 1_000_000_000_000

// Bounds of a deployment.
const (
	maxReplicas = 256
	maxThreads  = 1024
	maxName     = meter.MaxModel // bytes of a public name: what a usage record keeps, so that no two names become one
)

// Jobs is what replicas need of the job keeper.
type Jobs interface {
	Create(ctx context.Context, s job.Spec) (job.Job, error) // idempotent by project, kind and owner
	Admit(ctx context.Context, j job.Job) error              // why it could never run, or nil
	Get(ctx context.Context, project, id string) (job.Job, error)
	List(ctx context.Context, project string, f job.Filter) ([]job.Job, error)
	Cancel(ctx context.Context, project, id, reason string) (job.Job, error)
	Delete(ctx context.Context, project, id string) error
	Logs(ctx context.Context, project, id string, attempt int, offset int64, limit int) (job.LogChunk, error)
	AttemptDir(jobID string, attempt int) string
}

// Service keeps deployments. Its methods may be called from any goroutine.
type Service struct {
	Store    Store
	Registry *registry.Service
	Jobs     Jobs
	Engines  map[string]engine.Engine // by name
	// Providers are the outside providers that routes can lead to; nil for none.
	Providers *provider.Service
	Box       *seal.Box // seals the keys of guards; nil: they have none
	IDs       *id.Maker
	Now       func() time.Time
	Rand      io.Reader // of the replicas' secrets
	Log       *slog.Logger
	// HealthTimeout bounds one health check; 0 is 2 s.
	HealthTimeout time.Duration
	// MemoryLimit is the memory that replicas may need on this machine, bytes; 0 for no check.
	MemoryLimit int64
	// Fit knows the chips of the fleet; nil: replicas on chips are not checked.
	Fit *fit.Service
	// Measured is told how fast replicas on this machine's processor are, and Processor is so many of its cores as a chip, 0 being
	// all; nil: nobody is.
	Measured  Measured
	Processor func(cores int) (chip.Chip, error)
	// Price is that of a model version that nobody priced; nil is DefaultPrice.
	Price *meter.Prices
	// Listen is the IP address of this machine that replicas listen on; empty is 127.0.0.1. Those that run keep theirs.
	Listen string
	// Machine names the machine whose loopback interface replicas are on; empty: nobody compares it.
	Machine string
	// Patience is how long a pass waits for a model's files to be laid out before it goes on; 0 is 50 ms.
	Patience time.Duration
	// Woken, when set, is told after Wake changed what should be. It must not block.
	Woken func()
	// OnChange, when set, is told after a Table was published that differs from the one before. It must not block.
	OnChange func(*Table)

	pass     sync.Mutex // one Reconcile at a time
	changing sync.Mutex // one change of a route at a time
	ready    sync.Map   // paused canaries that would go on: id -> look
	routing  sync.Mutex // one reading of routes for the Table at a time
	table    atomic.Pointer[Table]

	begin sync.Once
	dirs  aside.Tasks[string]  // model version -> its folder: slow, beside the passes
	jobs  aside.Tasks[job.Job] // replica -> its job: within a pass, as retiring relies on, with rests after failures

	mu       sync.Mutex
	worked   map[string]worked    // by replica id
	seen     map[string]Replica   // what the last pass saw, by replica id
	behind   map[string]*Upstream // what stands behind deployments since the last pass, by id; nil before the first
	unfit    map[string]string    // why this machine could not hold a replica, by deployment, where it could not
	shapes   map[string]shape     // of model versions, by id
	suspects map[string]int       // replica id -> attempt that a caller could not reach since the last check
}

// Snapshot is the table as of the last Reconcile, change of routes or Suspect; never nil.
func (s *Service) Snapshot() *Table {
	if t := s.table.Load(); t != nil {
		return t
	}
	return &Table{}
}

// Deploy writes down that a model version is to be served, with its route when asked for, and returns at once;
// Reconcile starts the replicas. Faults: Invalid with the field, NotFound for the model, Conflict for a taken name.
func (s *Service) Deploy(ctx context.Context, who Who, spec DeploySpec) (Deployment, error) {
	v, err := s.Registry.Get(ctx, who.Project, spec.Model)
	if err != nil {
		return Deployment{}, err
	}
	if err := s.checkDeploy(&spec, v); err != nil {
		return Deployment{}, err
	}
	forced, err := fit.Force(s.fits(ctx, spec, v), spec.Force, who.Machine)
	if err != nil {
		return Deployment{}, err
	}
	spec.Ask.Work = work(spec, v)
	d := Deployment{
		ID: s.IDs.New("dep"), Project: who.Project, Name: spec.Name, ModelVersion: v.ID, Model: fmt.Sprintf("%s@%d", v.Model, v.Number),
		Engine: spec.Engine, Replicas: spec.Replicas, Threads: spec.Threads, MaxContext: spec.MaxContext, MemoryBytes: spec.MemoryBytes,
		Priority: spec.Priority, Ask: spec.Ask, Forced: forced, State: Pending, Reason: "Its replicas are being started.", CreatedBy: who.Key, CreatedAt: s.now(),
	}
	if err := s.admit(ctx, &d); err != nil {
		return Deployment{}, err
	}
	var r *Route
	if spec.Route != nil {
		if spec.Route.Name == "" {
			spec.Route.Name = d.Name
		}
		s.changing.Lock() // the prices that it takes over must not change meanwhile
		defer s.changing.Unlock()
		made, err := s.newRoute(ctx, who, *spec.Route, []Backend{{Weight: 1, Deployment: d.ID}}, []source{versionSource(d)})
		if err != nil {
			return Deployment{}, err
		}
		r = &made
	}
	return d, s.Store.AddDeployment(ctx, d, r)
}

// admit fills in what the replicas of a deployment ask of the scheduler, and refuses what no place could run: they are of
// one group, which keeps all of them unless the request names fewer.
func (s *Service) admit(ctx context.Context, d *Deployment) error {
	d.Ask.Class, d.Ask.Group, d.Ask.User = job.Service, d.ID, d.CreatedBy
	if d.Ask.GroupMin == 0 {
		d.Ask.GroupMin = d.Replicas
	}
	if d.Ask.GroupMin < d.Replicas && d.Ask.Disruption == 0 {
		d.Ask.Disruption = 1
	}
	if err := d.Ask.Validate(); err != nil {
		return err
	}
	return s.Jobs.Admit(ctx, job.Job{ID: d.ID, CreatedAt: d.CreatedAt, Spec: job.Spec{Project: d.Project, Kind: JobKind, Name: d.Name, Priority: d.Priority, Ask: d.Ask}})
}

func (s *Service) checkDeploy(spec *DeploySpec, v registry.Version) error {
	if spec.Name == "" {
		spec.Name = v.Model
	}
	if err := ref.Check("name", spec.Name); err != nil {
		return err
	}
	if spec.Engine == "" {
		spec.Engine = "native"
	}
	eng, ok := s.Engines[spec.Engine]
	if !ok {
		return fault.New(fault.Unsupported, "The engine "+ref.Quote(spec.Engine)+" is not part of this installation.", fault.Field("engine"))
	}
	if r, ok := eng.(runner); ok {
		if err := r.Runs(v.Shape); err != nil {
			return err
		}
	}
	if spec.Replicas == 0 {
		spec.Replicas = 1
	}
	switch {
	case spec.Replicas < 0 || spec.Replicas > maxReplicas:
		return fault.InvalidField("replicas", "replicas is %d, it must be 1 to %d.", spec.Replicas, maxReplicas)
	case spec.Threads < 0 || spec.Threads > maxThreads:
		return fault.InvalidField("threads", "threads is %d, it must be 0 (the engine decides) to %d.", spec.Threads, maxThreads)
	case spec.MaxContext < 0 || v.Shape.Context > 0 && spec.MaxContext > v.Shape.Context:
		return fault.InvalidField("max_context", "max_context is %d, it must be 0 (all) to the model's %d.", spec.MaxContext, v.Shape.Context)
	case spec.Priority < -1000 || spec.Priority > 1000:
		return fault.InvalidField("priority", "priority is %d, it must be -1000 to 1000.", spec.Priority)
	case spec.MemoryBytes < 0 || spec.MemoryBytes > maxMemory:
		return fault.InvalidField("memory_bytes", "memory_bytes is %d, it must be 0 (the engine decides) to %d.", spec.MemoryBytes, int64(maxMemory))
	case spec.MemoryBytes == 0 && v.Shape.Unknown != "":
		return fault.New(fault.Invalid, "What a replica needs is not known. "+v.Shape.Unknown, fault.Field("memory_bytes"), fault.Code("unknown_shape"),
			fault.Fix("Say how much memory its cache may take, such as --memory 8GiB."))
	}
	return nil
}

// Get returns a deployment by id or name.
func (s *Service) Get(ctx context.Context, project, name string) (Deployment, error) {
	return s.find(ctx, project, name)
}

// Replicas lists the replicas of a deployment, by id or name, as last seen, oldest first.
func (s *Service) Replicas(ctx context.Context, project, name string) ([]Replica, error) {
	d, err := s.find(ctx, project, name)
	if err != nil {
		return nil, err
	}
	all, err := s.Store.Replicas(ctx)
	if err != nil {
		return nil, err
	}
	var mine []Replica
	for _, r := range all {
		if r.DeploymentID == d.ID {
			mine = append(mine, s.lastSeen(r))
		}
	}
	return mine, nil
}

func (s *Service) find(ctx context.Context, project, name string) (Deployment, error) {
	if id.Valid("dep", name) {
		return s.Store.Deployment(ctx, project, name)
	}
	return s.Store.DeploymentByName(ctx, project, name)
}

func (s *Service) lastSeen(r Replica) Replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x, ok := s.seen[r.ID]; ok {
		x.Leaving, x.JobID = r.Leaving, r.JobID
		return x
	}
	return r
}

// Deployments lists the project's deployments by name.
func (s *Service) Deployments(ctx context.Context, project string, p page.Page) ([]Deployment, error) {
	return s.Store.Deployments(ctx, project, p)
}

// Scale changes how many replicas a deployment, by id or name, is to have: 0 to 256.
func (s *Service) Scale(ctx context.Context, project, name string, replicas int) (Deployment, error) {
	if replicas < 0 || replicas > maxReplicas {
		return Deployment{}, fault.InvalidField("replicas", "replicas is %d, it must be 0 to %d.", replicas, maxReplicas)
	}
	d, err := s.find(ctx, project, name)
	if err != nil {
		return Deployment{}, err
	}
	if replicas > d.Replicas && d.Forced == "" {
		v, err := s.Registry.Get(ctx, project, d.ModelVersion)
		if err != nil {
			return Deployment{}, err
		}
		if err := s.holds(d.MemoryBytes, s.resident(d.Engine, v), replicas); err != nil {
			return Deployment{}, err
		}
	}
	if err := s.Store.SetReplicas(ctx, project, d.ID, replicas); err != nil {
		return Deployment{}, err
	}
	return s.Store.Deployment(ctx, project, d.ID)
}

// Wake gives a deployment that was scaled to no replicas one, for a request that waits for it. It does nothing to others.
func (s *Service) Wake(ctx context.Context, project, deployment string) error {
	d, err := s.Store.Deployment(ctx, project, deployment)
	if err != nil || d.Replicas > 0 {
		return err
	}
	_, err = s.Scale(ctx, project, d.ID, 1)
	if err == nil && s.Woken != nil {
		s.Woken()
	}
	return err
}

// Remove takes a deployment, by id or name, and its routes away: the routes at once, the replicas by Reconcile, which
// lets them finish what they are answering. It asks for what mayEnd says.
func (s *Service) Remove(ctx context.Context, who Who, name string) (Deployment, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	d, err := s.find(ctx, who.Project, name)
	if err != nil {
		return Deployment{}, err
	}
	if err := s.mayEnd(ctx, who, func(b Backend) bool { return b.Deployment == d.ID }, func(r Route) bool { return r.on(d.ID) }); err != nil {
		return Deployment{}, err
	}
	if err := s.Store.BeginRemove(ctx, who.Project, d.ID); err != nil {
		return Deployment{}, err
	}
	s.Reroute(ctx)
	d.State, d.Reason, d.Ready = Removing, "", 0
	return d, nil
}

// Logs reads the output of one replica of a deployment; attempt 0 is the newest, an empty replica the first one.
func (s *Service) Logs(ctx context.Context, project, name, replica string, attempt int, offset int64, limit int) (job.LogChunk, error) {
	mine, err := s.Replicas(ctx, project, name)
	if err != nil {
		return job.LogChunk{}, err
	}
	for _, r := range mine {
		if (replica == "" || r.ID == replica) && r.JobID != "" {
			return s.Jobs.Logs(ctx, project, r.JobID, attempt, offset, limit)
		}
	}
	if replica == "" {
		return job.LogChunk{}, nil // nothing was started yet
	}
	return job.LogChunk{}, fault.Newf(fault.NotFound, "The deployment %s has no replica %s.", ref.Quote(name), ref.Quote(replica))
}

// Route returns a route by id or name.
func (s *Service) Route(ctx context.Context, project, name string) (Route, error) {
	if id.Valid("rte", name) {
		return s.Store.Route(ctx, project, name)
	}
	return s.Store.RouteByName(ctx, project, name)
}

// Routes lists the project's routes by name.
func (s *Service) Routes(ctx context.Context, project string, p page.Page) ([]Route, error) {
	return s.Store.Routes(ctx, project, p)
}

// RemoveRoute deletes a route, by id or name; what it led to stays. It asks for what mayEnd says.
func (s *Service) RemoveRoute(ctx context.Context, who Who, name string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	r, err := s.Route(ctx, who.Project, name)
	if err != nil {
		return err
	}
	if err := s.mayEnd(ctx, who, func(Backend) bool { return true }, func(x Route) bool { return x.ID == r.ID }); err != nil {
		return err
	}
	if err := s.Store.RemoveRoute(ctx, who.Project, r.ID); err != nil {
		return err
	}
	s.Reroute(ctx)
	return nil
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }
