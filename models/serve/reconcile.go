package serve

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/provider"
	"github.com/triarch-ai/triarch/models/registry"
)

// Reconcile compares what should be served with what is: starts missing replicas, ends surplus ones, finds again
// those that run since before this process, asks each for its health and publishes the Table. It may be called at
// any time and after a crash between any two of its steps. One deployment's trouble does not hold up the others: laying
// out a large model goes on beside the passes, and a later one starts the replica.
func (s *Service) Reconcile(ctx context.Context) error {
	s.pass.Lock()
	defer s.pass.Unlock()
	s.begin.Do(func() {
		s.dirs.Now, s.dirs.Patience = s.Now, s.Patience
		s.jobs.Now, s.jobs.Patience = s.Now, -1
	})
	deps, err := s.Store.AllDeployments(ctx)
	if err != nil {
		return err
	}
	reps, err := s.Store.Replicas(ctx)
	if err != nil {
		return err
	}
	mine := map[string][]Replica{}
	for _, r := range reps {
		mine[r.DeploymentID] = append(mine[r.DeploymentID], r)
	}
	var errs []error
	var all []*unit
	for _, d := range deps {
		u := &unit{dep: d}
		if u.live, err = s.balance(ctx, d, mine[d.ID]); err != nil {
			errs = append(errs, fmt.Errorf("deployment %s: %w", d.ID, err))
		}
		all = append(all, u)
	}
	errs = append(errs, s.observe(ctx, all)...)
	errs = append(errs, s.publish(ctx, all))
	return errors.Join(errs...)
}

// unit is a deployment in one pass.
type unit struct {
	dep  Deployment
	live []Replica // replicas that should run, with what was seen of them
	ends []engine.Endpoint
}

// balance brings the number of replicas to what is wanted and returns those that should run.
func (s *Service) balance(ctx context.Context, d Deployment, have []Replica) (live []Replica, err error) {
	var errs []error
	wanted := d.Replicas
	if d.State == Removing {
		wanted = 0
	}
	for _, r := range have {
		if !r.Leaving && len(live) >= wanted { // the youngest go first
			if err := s.Store.SetLeaving(ctx, r.ID); err != nil {
				errs = append(errs, err)
				continue
			}
			r.Leaving = true
		}
		if r.Leaving {
			errs = append(errs, s.retire(ctx, r))
			continue
		}
		live = append(live, r)
	}
	for len(live) < wanted && len(errs) == 0 {
		r := Replica{ID: s.IDs.New("rep"), Project: d.Project, DeploymentID: d.ID, CreatedAt: s.now()}
		added, err := s.Store.AddReplica(ctx, r)
		if err != nil || !added {
			errs = append(errs, err)
			break
		}
		live = append(live, r)
	}
	if d.State == Removing && len(have) == 0 {
		errs = append(errs, s.Store.DeleteDeployment(ctx, d.ID))
	}
	return live, errors.Join(errs...)
}

// retire ends a replica that is no longer wanted; its row goes when its job has ended.
func (s *Service) retire(ctx context.Context, r Replica) error {
	if r.JobID == "" { // a job may have been made just before a crash
		jobs, err := s.Jobs.List(ctx, r.Project, job.Filter{Kind: JobKind, Owner: r.ID, Limit: 1})
		if err != nil {
			return err
		}
		if len(jobs) == 0 {
			return s.Store.DeleteReplica(ctx, r.ID)
		}
		r.JobID = jobs[0].ID
	}
	j, err := s.Jobs.Cancel(ctx, r.Project, r.JobID, "The replica is no longer wanted.")
	if err == nil && j.State.Final() {
		err = s.Jobs.Delete(ctx, r.Project, r.JobID)
	} else if err == nil {
		return nil // come again
	}
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	s.jobs.Forget(r.ID)
	return s.Store.DeleteReplica(ctx, r.ID)
}

// observe looks at every replica at once: each is one health check away from its state.
func (s *Service) observe(ctx context.Context, all []*unit) []error {
	s.mu.Lock()
	suspects := s.suspects
	s.suspects = nil
	s.mu.Unlock()
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	seen := map[string]Replica{}
	for _, u := range all {
		for i := range u.live {
			wg.Go(func() {
				end, err := s.look(ctx, u.dep, &u.live[i])
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					u.live[i].Reason = fault.As(err).Sentence()
					errs = append(errs, fmt.Errorf("replica %s: %w", u.live[i].ID, err))
				}
				if u.live[i].Healthy {
					u.ends = append(u.ends, end)
				}
				seen[u.live[i].ID] = u.live[i]
			})
		}
	}
	wg.Wait()
	s.dirs.ForgetDone() // the next replica of a version has its folder checked again
	for _, u := range all {
		sortEndpoints(u.ends, u.live)
	}
	s.mu.Lock()
	s.seen = seen
	maps.DeleteFunc(s.worked, func(id string, _ worked) bool { _, there := seen[id]; return !there })
	s.mu.Unlock()
	for replica := range suspects {
		s.Log.InfoContext(ctx, "a replica that could not be reached was checked again", "replica", replica, "healthy", seen[replica].Healthy)
	}
	return errs
}

// look fills in what is to be seen of one replica: makes its job if it has none, reads where it listens, asks for
// its health.
func (s *Service) look(ctx context.Context, d Deployment, r *Replica) (engine.Endpoint, error) {
	j, ok, err := s.job(ctx, d, r)
	if err != nil || !ok {
		return engine.Endpoint{}, err
	}
	r.Attempt, r.Restarts, r.Reason = j.Attempt, j.Restarts, j.Reason
	switch {
	case j.State.Final(): // somebody ended the job itself: the replica gives way to a new one
		return engine.Endpoint{}, s.Store.SetLeaving(ctx, r.ID)
	case j.State != job.Running:
		if r.Reason == "" {
			r.Reason = "It is " + string(j.State) + "."
		}
		return engine.Endpoint{}, nil
	}
	eng, installed := s.Engines[d.Engine]
	end, listens, stray := s.endpoint(j, r.ID)
	switch {
	case !installed:
		r.Reason = "The engine " + d.Engine + " is not part of this installation."
		return engine.Endpoint{}, nil
	case stray != "":
		r.Reason = "It listens on " + stray + ", which is neither of this machine's loopback interface nor serve.listen: scale to 0 and back to have it listen there."
		return engine.Endpoint{}, nil
	case !listens:
		r.Reason = "It is loading the model."
		return engine.Endpoint{}, nil
	}
	r.Addr = end.Addr
	timeout := s.HealthTimeout
	if timeout == 0 {
		timeout = 2 * time.Second
	}
	check, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := eng.Health(check, end); err != nil {
		r.Reason = "It does not answer: " + fault.As(err).Sentence()
		return engine.Endpoint{}, nil
	}
	r.Healthy, r.Reason = true, ""
	s.measure(check, d, r, eng, end)
	return end, nil
}

// job returns the replica's job, making it when there is none; false where it cannot be made yet, with the reason in r.
func (s *Service) job(ctx context.Context, d Deployment, r *Replica) (job.Job, bool, error) {
	if r.JobID != "" {
		j, err := s.Jobs.Get(ctx, r.Project, r.JobID)
		if fault.Is(err, fault.NotFound) { // gone behind our back: as good as ended
			return job.Job{ID: r.JobID, State: job.Cancelled, Reason: "Its job is gone."}, true, nil
		}
		return j, err == nil, err
	}
	v, err := s.Registry.Get(ctx, d.Project, d.ModelVersion)
	if err != nil {
		return job.Job{}, false, err
	}
	files := s.dirs.Do(ctx, v.ID, func(ctx context.Context) (string, error) { return s.Registry.Materialise(ctx, v) })
	if !files.Done {
		return job.Job{}, false, waits(r, "Its model's files are being laid out.", files.Err, files.New)
	}
	made := s.jobs.Do(ctx, r.ID, func(ctx context.Context) (job.Job, error) { return s.makeJob(ctx, d, *r, v, files.Value) })
	if !made.Done {
		return job.Job{}, false, waits(r, "Its job is being made.", made.Err, made.New)
	}
	r.JobID = made.Value.ID
	s.jobs.Forget(r.ID)
	return made.Value, true, nil
}

// waits notes why a replica has no job yet. It returns an error that nobody has heard of.
func waits(r *Replica, reason string, err error, fresh bool) error {
	r.Reason = reason
	if err == nil {
		return nil
	}
	r.Reason = fault.As(err).Sentence()
	if fresh {
		return err
	}
	return nil
}

// makeJob makes the replica's job on the folder with its model.
func (s *Service) makeJob(ctx context.Context, d Deployment, r Replica, v registry.Version, dir string) (job.Job, error) {
	eng, ok := s.Engines[d.Engine]
	if !ok {
		return job.Job{}, fault.Newf(fault.Unsupported, "The engine %s is not part of this installation.", d.Engine)
	}
	spec := engine.Spec{ModelDir: dir, ModelName: v.Model, Threads: d.Threads, MaxContext: d.MaxContext, MemoryBytes: d.MemoryBytes, Listen: s.Listen}
	cmd, err := eng.Command(spec)
	if err != nil {
		return job.Job{}, err
	}
	if cmd.Files, err = s.withSecret(cmd.Files); err != nil {
		return job.Job{}, err
	}
	j, err := s.Jobs.Create(ctx, job.Spec{Project: r.Project, Kind: JobKind, Name: d.Name, Owner: r.ID, Command: cmd,
		MemoryBytes: memoryBound(eng, spec, v), Restart: job.Restart{Forever: true}, Grace: drainGrace, Priority: d.Priority, Ask: d.Ask})
	if err != nil {
		return job.Job{}, err
	}
	return j, s.Store.SetReplicaJob(ctx, r.ID, j.ID)
}

// drainGrace is how long a replica that is ended may go on answering what it has begun.
const drainGrace = 30 * time.Second

// withSecret adds a fresh secret of 256 bits to the files of a replica's command, unless its engine brought one.
func (s *Service) withSecret(files map[string][]byte) (map[string][]byte, error) {
	if len(files[engine.SecretFile]) > 0 {
		return files, nil
	}
	src := s.Rand
	if src == nil {
		src = rand.Reader
	}
	var raw [32]byte
	if _, err := io.ReadFull(src, raw[:]); err != nil {
		return nil, fault.Wrap(err, "drawing a secret")
	}
	out := maps.Clone(files)
	if out == nil {
		out = map[string][]byte{}
	}
	out[engine.SecretFile] = []byte(base64.RawURLEncoding.EncodeToString(raw[:]))
	return out, nil
}

// endpoint reads where the newest attempt of a replica listens; false until it does. An address where it must not is stray.
func (s *Service) endpoint(j job.Job, replica string) (to engine.Endpoint, listens bool, stray string) {
	dir := s.Jobs.AttemptDir(j.ID, j.Attempt)
	if dir == "" {
		return engine.Endpoint{}, false, ""
	}
	text, err := durable.ReadSmall(filepath.Join(dir, engine.EndpointFile), 64<<10)
	if err != nil {
		return engine.Endpoint{}, false, ""
	}
	var a engine.Announcement
	if json.Unmarshal(text, &a) != nil || a.Protocol != engine.Protocol {
		return engine.Endpoint{}, false, ""
	}
	if !s.mayListen(a.Addr) {
		at, err := netip.ParseAddrPort(a.Addr)
		if err != nil {
			return engine.Endpoint{}, false, ""
		}
		return engine.Endpoint{}, false, at.Addr().String()
	}
	secret := j.Command.Files[engine.SecretFile]
	e := engine.Endpoint{Replica: replica, Addr: a.Addr, Secret: string(secret)}
	if p := j.Standing.Placement; p != nil {
		e.Chip, e.Chips = p.Chip, p.Size
	}
	return e, len(secret) > 0, ""
}

// mayListen says whether addr is a port of this machine's loopback interface or of the address that replicas are told to
// listen on: nothing a worker writes makes requests go elsewhere.
func (s *Service) mayListen(addr string) bool {
	a, err := netip.ParseAddrPort(addr)
	if err != nil || a.Port() == 0 {
		return false
	}
	told, err := netip.ParseAddr(s.Listen)
	return a.Addr().IsLoopback() || err == nil && !told.IsUnspecified() && a.Addr().Unmap() == told.Unmap()
}

// loopback says whether addr is of the loopback interface of whoever asks.
func loopback(addr string) bool {
	a, err := netip.ParseAddrPort(addr)
	return err == nil && a.Addr().IsLoopback()
}

// sortEndpoints puts the endpoints in the order of the replicas, so that equal states give equal tables.
func sortEndpoints(ends []engine.Endpoint, order []Replica) {
	at := 0
	for _, r := range order {
		for i := at; i < len(ends); i++ {
			if ends[i].Replica == r.ID {
				ends[at], ends[i] = ends[i], ends[at]
				at++
				break
			}
		}
	}
}

// publish makes the Table of what was seen and then writes the deployments' states: in this order, so that whoever is
// told that replicas answer can ask them at once.
func (s *Service) publish(ctx context.Context, all []*unit) error {
	behind, unfit := make(map[string]*Upstream, len(all)), map[string]string{}
	var errs []error
	for _, u := range all {
		d := u.dep
		if d.State == Removing {
			continue
		}
		longest, why, err := s.foresee(ctx, d)
		if err != nil {
			errs = append(errs, err)
		}
		if why != "" {
			unfit[d.ID] = why
		}
		behind[d.ID] = &Upstream{ID: d.ID, Dialect: engine.OpenAI, Version: d.ModelVersion, Model: d.Model, Context: longest, Engine: s.Engines[d.Engine], Endpoints: u.ends}
	}
	s.mu.Lock()
	s.unfit = unfit
	s.mu.Unlock()
	if err := s.tabulate(ctx, behind); err != nil {
		return errors.Join(append(errs, err)...) // the states of before stand until the next pass
	}
	for _, u := range all {
		d := u.dep
		if d.State == Removing {
			continue
		}
		state, reason := u.state()
		if state != d.State || reason != d.Reason || len(u.ends) != d.Ready {
			errs = append(errs, s.Store.SetState(ctx, d.ID, state, reason, len(u.ends)))
		}
	}
	return errors.Join(errs...)
}

// Reroute has a change of routes or providers, which is in the store by now, take effect at once: a new price holds for
// the next request. Where it fails, the next Reconcile does it.
func (s *Service) Reroute(ctx context.Context) {
	if err := s.tabulate(ctx, nil); err != nil && ctx.Err() == nil {
		s.Log.Warn("changed routes will take effect with the next pass", "error", err)
	}
}

// tabulate makes the Table of the routes in the store and of what stands behind deployments; nil is what the last pass
// saw. Routes are read under the lock: of two calls the later one has the newer routes.
func (s *Service) tabulate(ctx context.Context, behind map[string]*Upstream) error {
	s.routing.Lock()
	defer s.routing.Unlock()
	routes, err := s.Store.AllRoutes(ctx)
	if err != nil {
		return err
	}
	var outside map[string]*provider.Live
	if s.Providers != nil {
		if outside, err = s.Providers.Live(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	if behind != nil {
		s.behind = behind
		for replica, attempt := range s.suspects { // reported while this pass was looking
			if s.seen[replica].Attempt == attempt {
				s.strip(replica)
			}
		}
	}
	if s.behind == nil { // no pass has looked yet
		s.mu.Unlock()
		return nil
	}
	t := makeTable(routes, s.behind, outside)
	old := s.table.Load()
	changed := old == nil || !old.equal(t)
	if changed {
		s.table.Store(t)
	}
	s.mu.Unlock()
	if changed && s.OnChange != nil {
		s.OnChange(t)
	}
	return nil
}

// state says in a word and a sentence where the deployment stands.
func (u *unit) state() (State, string) {
	ready, failing := len(u.ends), 0
	reason := ""
	for _, r := range u.live {
		if r.Healthy {
			continue
		}
		if r.Restarts > 2 {
			failing++
		}
		if reason == "" {
			reason = "Replica " + r.ID + ": " + r.Reason
		}
	}
	switch {
	case u.dep.Replicas == 0:
		return Pending, "It is scaled to no replicas."
	case ready == u.dep.Replicas:
		return Serving, ""
	case ready > 0:
		return Degraded, reason
	case failing > 0 && failing == len(u.live):
		return Failed, reason
	}
	return Pending, reason
}

// Suspect takes a replica that a caller could not reach off the Table at once; the next Reconcile checks it and puts
// it back if it answers. It never blocks for long.
func (s *Service) Suspect(replica string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.suspects == nil {
		s.suspects = map[string]int{}
	}
	s.suspects[replica] = s.seen[replica].Attempt
	s.strip(replica)
	if t := s.table.Load(); t != nil {
		s.table.Store(t.without(replica))
	}
}

// strip takes a replica out of what stands behind deployments. The caller holds mu.
func (s *Service) strip(replica string) {
	for id, b := range s.behind {
		s.behind[id] = b.without(replica)
	}
}
