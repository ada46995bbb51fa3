// Package serve keeps model versions served: deployments with their replicas, and the routes by which the model API
// names them.
//
// Rules for callers: Deploy, Scale and Remove write what should be and return; Reconcile compares it with what is,
// starts and ends replicas as jobs, checks their health and publishes an immutable Table, and may be called at any
// time and after any crash. A replica that runs is never started anew because the control plane was. The gateway
// reads Snapshot on its hot path: one atomic load, no lock, no database.
package serve

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// State is where a deployment stands.
type State string

// The states of a deployment.
const (
	Pending  State = "pending"  // no replica answers yet; Reason says why
	Serving  State = "serving"  // every replica answers
	Degraded State = "degraded" // some replicas answer
	Failed   State = "failed"   // no replica can be started; Reason says why and who must act
	Removing State = "removing" // its replicas are being ended
)

// Deployment is a model version kept serving by an engine.
type Deployment struct {
	ID           string // dep_...
	Project      string
	Name         string // unique in the project
	ModelVersion string // mv_...
	Model        string // name@number of it, for people
	Engine       string // driver, such as "native"
	Replicas     int    // wanted
	Threads      int    // cores for each replica; 0: the engine decides
	MaxContext   int    // longest sequence served; 0: the model's
	MemoryBytes  int64  // for each replica; 0: the engine decides
	Priority     int
	Ask          job.Ask // what each replica asks of the scheduler
	Forced       string  // what it was refused for before its caller went on all the same; empty: nothing
	State        State
	Reason       string
	Ready        int // replicas that answer
	CreatedBy    string
	CreatedAt    time.Time
}

// Replica is one running copy of a deployment.
type Replica struct {
	ID           string // rep_...
	Project      string
	DeploymentID string
	JobID        string // empty until the job is made
	Leaving      bool   // it is being ended
	CreatedAt    time.Time

	// What the last Reconcile saw; not stored.
	Attempt  int    // of the job
	Addr     string // host:port once it listens
	Healthy  bool
	Restarts int
	Reason   string // why it is not healthy
}

// Route is a public model name of the API.
type Route struct {
	ID        string // rte_...
	Org       string
	Project   string
	Name      string    // what callers put into "model"; unique in the project, aliases included
	Aliases   []string  // further names
	Backends  []Backend // in the order of their tiers, at least one
	Prices    meter.Prices
	Priced    Priced
	Policy    Policy
	Canary    *Canary // that is live; nil: none. It is no part of what AddRoute and SetRoute store
	Shared    bool    // every project of the organisation may use it; then the name is unique among its shared ones
	CreatedAt time.Time
}

// DeploySpec is a request to serve a model version.
type DeploySpec struct {
	Name        string // default: the model's name
	Model       string // model version: mv_ id, name or name@number
	Engine      string // default "native"
	Replicas    int    // default 1
	Threads     int    // default: the engine decides
	MaxContext  int    // default: the model's context
	MemoryBytes int64  // default: the engine decides
	Priority    int    // among what waits for chips
	Ask         job.Ask
	Force       bool // goes on where it does not fit; what it was refused for is kept
	Route       *RouteSpec
}

// RouteSpec is a request for a route.
type RouteSpec struct {
	Name       string // default: the deployment's name
	Aliases    []string
	Deployment string        // id or name of the only backend; filled in by Deploy
	Backends   []BackendSpec // where there is more to say
	Price      meter.Card    // what it does not name: the usual price of the backends, see AddRoute
	Policy     PolicyChange
	Shared     bool
}

// DefaultPrice is the price of a model that nobody priced, where the installation has no other.
var DefaultPrice = meter.Flat(1_000_000, 2_000_000)

// RouteChange is what is to change of a route; what is nil or empty stays as it is.
type RouteChange struct {
	Deployment string        // id or name of the only backend
	Backends   []BackendSpec // all of them
	Aliases    *[]string     // all of them
	Price      meter.Card
	Policy     PolicyChange
	Shared     *bool
}

// Who asks: organisation and project the work belongs to, and the key that asked.
type Who struct {
	Org     string
	Project string
	Key     string

	Pricing  bool // may set prices of routes
	Lowering bool // may set them below what is usual and what they are; without Pricing it means nothing
	Private  bool // may allow guards inner addresses
	Machine  bool // may fill this machine beyond its memory
	Sharing  bool // may share routes with the organisation, and with Pricing set the prices of shared ones
}

// Store keeps deployments, replicas and routes.
type Store interface {
	CanaryStore

	// AddDeployment inserts a deployment, and its route when not nil, in one transaction; fault.Conflict when a name
	// is taken, fault.NotFound when the model version is gone.
	AddDeployment(ctx context.Context, d Deployment, r *Route) error
	Deployment(ctx context.Context, project, id string) (Deployment, error)
	DeploymentByName(ctx context.Context, project, name string) (Deployment, error)
	Deployments(ctx context.Context, project string, p page.Page) ([]Deployment, error)
	// AllDeployments lists the deployments of every project, oldest first.
	AllDeployments(ctx context.Context) ([]Deployment, error)
	// SetReplicas changes the wanted count; fault.Conflict while it is being removed.
	SetReplicas(ctx context.Context, project, id string, n int) error
	// BeginRemove marks a deployment as removing, takes it out of the routes that lead to it and deletes those that
	// lead nowhere else.
	BeginRemove(ctx context.Context, project, id string) error
	// SetState writes what Reconcile saw, unless the deployment is being removed.
	SetState(ctx context.Context, id string, s State, reason string, ready int) error
	// DeleteDeployment deletes a deployment that is being removed and has no replicas left.
	DeleteDeployment(ctx context.Context, id string) error

	// AddReplica inserts a replica unless the deployment is being removed or has as many as wanted, and says
	// whether it did.
	AddReplica(ctx context.Context, r Replica) (bool, error)
	// Replicas lists the replicas of every project, oldest first.
	Replicas(ctx context.Context) ([]Replica, error)
	SetReplicaJob(ctx context.Context, id, jobID string) error
	SetLeaving(ctx context.Context, id string) error
	DeleteReplica(ctx context.Context, id string) error

	// AddRoute inserts a route; fault.Conflict when its name or an alias is taken, fault.NotFound when a backend is gone.
	AddRoute(ctx context.Context, r Route) error
	// SetRoute changes backends, aliases, prices and sharing of a route.
	SetRoute(ctx context.Context, r Route) error
	Route(ctx context.Context, project, id string) (Route, error)
	// RouteByName finds a route by its name or one of its aliases.
	RouteByName(ctx context.Context, project, name string) (Route, error)
	Routes(ctx context.Context, project string, p page.Page) ([]Route, error)
	// AllRoutes lists the routes of every project.
	AllRoutes(ctx context.Context) ([]Route, error)
	RemoveRoute(ctx context.Context, project, id string) error

	// PriceVersions lists versions of prices, newest first, of one route by id or name or of all. AddDeployment, AddRoute
	// and SetRoute store the one that Route.Priced names.
	PriceVersions(ctx context.Context, project, route string, p page.Page) ([]PriceVersion, error)
	// PriceVersion is one of a project or of a shared route of its organisation; fault.NotFound.
	PriceVersion(ctx context.Context, project, org, id string) (PriceVersion, error)
}
