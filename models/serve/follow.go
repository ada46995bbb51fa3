package serve

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/provider"
)

// standing is what stands behind a deployment, as a control plane tells it to gateways of their own.
type standing struct {
	Deployment string            `json:"deployment"`
	Dialect    engine.Dialect    `json:"dialect"`
	Version    string            `json:"version"`
	Model      string            `json:"model"`
	Context    int               `json:"context"`
	Engine     string            `json:"engine"`
	Endpoints  []engine.Endpoint `json:"endpoints"` // with their secrets: to be sealed
	Machine    string            `json:"machine,omitempty"`
	Unfit      string            `json:"unfit,omitempty"` // why its machine cannot hold a replica of it
}

// Publication is what gateways in other processes need beside the store to make this service's Table: which replicas
// answer, with their secrets. It is empty before the first Reconcile.
func (s *Service) Publication() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.behind == nil {
		return nil, nil
	}
	all := make([]standing, 0, len(s.behind))
	for id, u := range s.behind {
		if u.Engine != nil {
			all = append(all, standing{Deployment: id, Dialect: u.Dialect, Version: u.Version, Model: u.Model, Context: u.Context, Engine: u.Engine.Name(), Endpoints: u.Endpoints, Machine: s.Machine, Unfit: s.unfit[id]})
		}
	}
	return json.Marshal(all)
}

// restAfter is how long a follower asks a replica no more that could not be reached. The control plane checks it meanwhile,
// and takes it away for all if it is down.
const restAfter = 3 * time.Second

// Follower makes the Table of a control plane in another process. It is safe for concurrent use; all fields are needed.
type Follower struct {
	Store   Store
	Engines map[string]engine.Engine // by name
	// Providers are the outside providers that routes can lead to; nil for none.
	Providers *provider.Service
	Now       func() time.Time
	// Machine names this machine as Service.Machine does: replicas on the loopback interface of another one are not asked, since
	// whoever listens there on this one would be sent their secrets.
	Machine string
	Log     *slog.Logger
	// Read returns the last Publication and its number; the same number as known and nothing when it is that still, 0
	// before there is one.
	Read func(ctx context.Context, known int64) (generation int64, publication []byte, err error)

	mu       sync.Mutex // one Follow or Suspect at a time
	known    int64
	whole    *Table               // as published
	told     bool                 // of replicas that cannot be reached; one Follow at a time
	unfit    map[string]string    // deployment -> why it cannot be woken
	suspects map[string]time.Time // replica -> until when it is not asked
	table    atomic.Pointer[Table]
}

// Snapshot is the table as of the last Follow or Suspect; never nil.
func (f *Follower) Snapshot() *Table {
	if t := f.table.Load(); t != nil {
		return t
	}
	return &Table{}
}

// Follow brings the table up to date. When it fails the one that is there stays.
func (f *Follower) Follow(ctx context.Context) error {
	f.mu.Lock()
	known := f.known
	f.mu.Unlock()
	generation, publication, err := f.Read(ctx, known)
	if err != nil {
		return err
	}
	var t *Table
	var unfit map[string]string
	if generation != known && len(publication) > 0 {
		if t, unfit, err = f.read(ctx, publication); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known = generation
	if t != nil {
		f.whole, f.unfit = t, unfit
	}
	f.show()
	return nil
}

func (f *Follower) read(ctx context.Context, publication []byte) (*Table, map[string]string, error) {
	var all []standing
	if err := json.Unmarshal(publication, &all); err != nil {
		return nil, nil, fault.Wrap(err, "reading what stands behind the routes")
	}
	routes, err := f.Store.AllRoutes(ctx)
	if err != nil {
		return nil, nil, err
	}
	var outside map[string]*provider.Live
	if f.Providers != nil {
		if outside, err = f.Providers.Live(ctx); err != nil {
			return nil, nil, err
		}
	}
	behind, unfit := make(map[string]*Upstream, len(all)), map[string]string{}
	unreachable := 0
	for _, x := range all {
		if x.Machine != f.Machine && x.Machine != "" && f.Machine != "" {
			there := len(x.Endpoints)
			x.Endpoints = slices.DeleteFunc(x.Endpoints, func(e engine.Endpoint) bool { return loopback(e.Addr) })
			unreachable += there - len(x.Endpoints)
		}
		behind[x.Deployment] = &Upstream{ID: x.Deployment, Dialect: x.Dialect, Version: x.Version, Model: x.Model, Context: x.Context, Engine: f.Engines[x.Engine], Endpoints: x.Endpoints}
		if x.Unfit != "" {
			unfit[x.Deployment] = x.Unfit
		}
	}
	if unreachable > 0 && !f.told {
		f.Log.Warn("replicas listen on the loopback interface of the control plane's machine, which this one cannot reach", "replicas", unreachable,
			"fix", "set serve.listen of the control plane to an address of it in a trusted network, then scale the deployments to 0 and back")
	}
	f.told = unreachable > 0
	return makeTable(routes, behind, outside), unfit, nil
}

// show makes the table of what was published without the replicas that rest. The caller holds mu.
func (f *Follower) show() {
	t := f.whole
	for replica, until := range f.suspects {
		if !f.Now().Before(until) {
			delete(f.suspects, replica)
			continue
		}
		t = t.without(replica)
	}
	if t != nil {
		f.table.Store(t)
	}
}

// Suspect takes a replica that could not be reached off the table for a while.
func (f *Follower) Suspect(replica string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.suspects == nil {
		f.suspects = map[string]time.Time{}
	}
	f.suspects[replica] = f.Now().Add(restAfter)
	if f.whole != nil {
		f.show()
	}
}

// Wake writes down that a deployment without replicas is to have one, which the control plane's next pass starts. It refuses
// what the control plane would refuse, by what that has published.
func (f *Follower) Wake(ctx context.Context, project, deployment string) error {
	d, err := f.Store.Deployment(ctx, project, deployment)
	if err != nil || d.Replicas > 0 {
		return err
	}
	f.mu.Lock()
	why := f.unfit[d.ID]
	f.mu.Unlock()
	if why != "" {
		return fault.New(fault.Invalid, why, fault.Code("memory"))
	}
	return f.Store.SetReplicas(ctx, project, d.ID, 1)
}
