package pulls

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/outbound"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/internal/seal"
	"github.com/triarch-ai/triarch/models/hub"
	"github.com/triarch-ai/triarch/models/ref"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/storage/blob"
)

// Bounds of pulls.
const (
	mostRunning = 16             // of one project, waiting ones included
	mostAtOnce  = 16             // that work together, of all projects
	longestRest = 24 * time.Hour // whatever a hub asks for: it is asked again then
	maxToken    = 4096
	tellEvery   = 5 * time.Second    // how often progress is stored
	keepFailed  = 7 * 24 * time.Hour // how long what came of a failed pull is kept
)

// Puller brings the files of a spec into a folder; hub.Client is one.
type Puller interface {
	// Plan says which files a spec means, at which revision, and the host that told it.
	Plan(ctx context.Context, spec hub.Spec) (files []hub.Entry, revision, listed string, err error)
	Pull(ctx context.Context, dir string, spec hub.Spec, tell func(hub.Progress)) (hub.Result, error)
}

// Registry takes models in; registry.Service is one.
type Registry interface {
	AddDir(ctx context.Context, project, dir string, n registry.NewVersion) (registry.Version, error)
	Get(ctx context.Context, project, name string) (registry.Version, error)
}

// Blobs are the files of the registry; blob.Store is one.
type Blobs interface {
	Open(ctx context.Context, ref blob.Ref) (io.ReadCloser, int64, error)
}

// Service runs pulls. All fields are needed but AtOnce; it is safe for concurrent use.
type Service struct {
	Store    Store
	Client   Puller
	Registry Registry
	Blobs    Blobs
	Box      *seal.Box
	Dir      string // folder of the folders of pulls
	IDs      *id.Maker
	Now      func() time.Time
	Log      *slog.Logger
	AtOnce   int // how many of a project run together; 0: 2

	mu     sync.Mutex
	active map[string]*active
	wait   sync.WaitGroup
}

// active is a pull that this process works on.
type active struct {
	stop     context.CancelFunc
	project  string
	asked    Pull // as it was when the work began
	progress hub.Progress
	told     time.Time // when its progress was stored
	rest     time.Time // not begun again before this
	over     bool      // nobody works on it now
	gone     bool      // it was removed
}

// Begin asks for a pull, and continues one that was asked for before.
func (s *Service) Begin(ctx context.Context, who Who, r Request) (Pull, error) {
	if err := r.Spec.Check(); err != nil {
		return Pull{}, err
	}
	if r.Model == "" {
		_, r.Model, _ = strings.Cut(r.Spec.Repo, "/")
	}
	if err := ref.Check("model", r.Model); err != nil {
		return Pull{}, err
	}
	if r.Private && !who.Private {
		return Pull{}, fault.New(fault.Forbidden, "Inner addresses cannot be allowed with this key.", fault.Code("not_allowed"),
			fault.Field("allow_private"), fault.Fix("Ask whoever operates this installation: it takes the scope platform."))
	}
	for i := range r.Spec.Mirrors {
		r.Spec.Mirrors[i].Private = r.Private
	}
	last := hub.Mirror{URL: r.Endpoint, Private: r.Private}
	if last.URL == "" {
		last = hub.Mirror{URL: r.Spec.Source.Home()}
	}
	r.Spec.Mirrors = append(r.Spec.Mirrors, last)
	for _, m := range r.Spec.Mirrors {
		if _, err := outbound.CheckURL("mirror", m.URL, m.Private); err != nil {
			return Pull{}, err
		}
	}
	now := s.Now().UTC().Truncate(time.Microsecond)
	p := Pull{ID: s.IDs.New("pull"), Project: who.Project, Model: r.Model, Spec: r.Spec, State: Running, CreatedBy: who.Key, CreatedAt: now, ChangedAt: now}
	if r.Token = strings.TrimSpace(r.Token); r.Token != "" {
		if len(r.Token) > maxToken || strings.ContainsFunc(r.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return Pull{}, fault.InvalidField("token", "A token is 1 to %d printable characters without spaces.", maxToken)
		}
		var err error
		if p.Sealed, err = s.Box.Seal(p.purpose(), []byte(r.Token)); err != nil {
			return Pull{}, err
		}
	}
	p, err := s.Store.Begin(ctx, p, mostRunning)
	if err != nil {
		return Pull{}, err
	}
	s.mu.Lock()
	if a := s.active[p.ID]; a != nil { // it may rest: who asks again does not want to wait
		a.rest = time.Time{}
	}
	s.mu.Unlock()
	return s.withProgress(p), nil
}

// purpose is what a pull's token is sealed for: it is the same for a repeated request.
func (p Pull) purpose() string { return "pull " + p.Project + " " + p.Spec.Key() + " " + p.Model }

// Get returns a pull.
func (s *Service) Get(ctx context.Context, project, id string) (Pull, error) {
	p, err := s.Store.Get(ctx, project, id)
	return s.withProgress(p), err
}

// List lists a project's pulls, newest first.
func (s *Service) List(ctx context.Context, project string, p page.Page) ([]Pull, error) {
	list, err := s.Store.List(ctx, project, p)
	for i := range list {
		list[i] = s.withProgress(list[i])
	}
	return list, err
}

// Remove ends a pull and throws away what came of it. The model of one that is done stays.
func (s *Service) Remove(ctx context.Context, project, id string) error {
	if err := s.Store.Remove(ctx, project, id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.active[id]
	if a == nil || a.over {
		return fault.Wrap(os.RemoveAll(filepath.Join(s.Dir, id)), "removing the folder of a pull")
	}
	a.gone = true // its folder goes when it has stopped
	a.stop()
	return nil
}

// withProgress fills in what only this process knows.
func (s *Service) withProgress(p Pull) Pull {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.active[p.ID]; a != nil && p.State == Running {
		p.Progress = a.progress
	}
	return p
}

// Loop works on pulls until the context ends: it looks for new ones every second.
func (s *Service) Loop(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	told := ""
	for {
		err := s.Pass(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != told {
			s.Log.Error("pulls cannot be brought forward; the next pass tries again", "error", err)
		}
		told = ""
		if err != nil {
			told = err.Error()
		}
		select {
		case <-ctx.Done():
			s.wait.Wait()
			return
		case <-t.C:
		}
	}
}

// Pass begins what is to run and ends what is not to run any more. Work that it begins lives as long as the context.
func (s *Service) Pass(ctx context.Context) error {
	list, err := s.Store.Running(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.active == nil {
		s.active = map[string]*active{}
	}
	wanted := map[string]bool{}
	busy, of := 0, map[string]int{} // working, in all and by project
	for _, p := range list {
		wanted[p.ID] = true
	}
	for id, a := range s.active {
		switch {
		case !wanted[id] && a.over:
			delete(s.active, id)
		case !wanted[id]:
			a.stop()
		case !a.over:
			busy++
			of[a.project]++
		}
	}
	tell := map[string]hub.Progress{}
	var ready []Pull
	for _, p := range list {
		a := s.active[p.ID]
		if a != nil && s.Now().Sub(a.told) >= tellEvery {
			tell[p.ID], a.told = a.progress, s.Now()
		}
		switch {
		case a == nil || a.over && !a.rest.After(s.Now()):
			ready = append(ready, p)
		case !a.over && !s.asksSame(a.asked, p):
			a.stop() // it begins again by the next pass, from where it is
		}
	}
	for busy < mostAtOnce {
		i := next(ready, of)
		if i < 0 || of[ready[i].Project] >= s.atOnce() {
			break
		}
		busy++
		of[ready[i].Project]++
		s.start(ctx, ready[i])
		ready = slices.Delete(ready, i, i+1)
	}
	s.mu.Unlock()
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(tell)) {
		errs = append(errs, s.Store.Tell(ctx, id, tell[id]))
	}
	return errors.Join(errs...)
}

// asksSame says whether a repeated request names the same mirrors and token as the one that is worked on.
func (s *Service) asksSame(a, b Pull) bool {
	if !slices.Equal(a.Spec.Mirrors, b.Spec.Mirrors) {
		return false
	}
	if a.Sealed == b.Sealed || a.Sealed == "" || b.Sealed == "" {
		return a.Sealed == b.Sealed
	}
	x, errx := s.Box.Open(a.purpose(), a.Sealed) // sealed twice it looks different
	y, erry := s.Box.Open(b.purpose(), b.Sealed)
	return errx == nil && erry == nil && string(x) == string(y)
}

// next is the oldest pull of a project that has the fewest working: a project whose pulls come slowly, or whose hub gives a byte now
// and then, holds no place that others wait for. -1 where none is ready.
func next(ready []Pull, working map[string]int) int {
	best := -1
	for i, p := range ready {
		if best < 0 || working[p.Project] < working[ready[best].Project] {
			best = i
		}
	}
	return best
}

func (s *Service) atOnce() int {
	if s.AtOnce > 0 {
		return s.AtOnce
	}
	return 2
}

// start works on a pull beside the loop; the lock is held.
func (s *Service) start(ctx context.Context, p Pull) {
	ctx, stop := context.WithCancel(ctx)
	a := &active{stop: stop, project: p.Project, asked: p, progress: p.Progress}
	s.active[p.ID] = a
	s.wait.Go(func() {
		defer stop()
		end, rest, err := s.run(ctx, p, a)
		if err == nil && end.State != Running {
			err = s.Store.End(ctx, end)
		}
		if err == nil && end.State == Done {
			err = os.RemoveAll(filepath.Join(s.Dir, p.ID))
		}
		if err != nil && ctx.Err() == nil {
			s.Log.Error("a pull could not be brought forward; it is tried again", "pull", p.ID, "error", err)
			rest = time.Minute
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		a.over, a.rest = true, s.Now().Add(rest)
		if a.gone {
			if err := os.RemoveAll(filepath.Join(s.Dir, p.ID)); err != nil {
				s.Log.Error("the folder of a removed pull stays for now", "pull", p.ID, "error", err)
			}
		}
	})
}

// run brings one pull to its end, or to where it rests for a while. An error is one of this installation, not of the pull.
func (s *Service) run(ctx context.Context, p Pull, a *active) (Pull, time.Duration, error) {
	spec := p.Spec
	if p.Sealed != "" {
		token, err := s.Box.Open(p.purpose(), p.Sealed)
		if err != nil {
			return p, 0, err
		}
		spec.Mirrors = slices.Clone(spec.Mirrors)
		spec.Mirrors[len(spec.Mirrors)-1].Token = string(token) // the endpoint; the others are somebody else's
	}
	if end, ok := s.already(ctx, p, spec); ok {
		return end, 0, nil
	}
	dir := filepath.Join(s.Dir, p.ID)
	got, err := s.Client.Pull(ctx, dir, spec, func(g hub.Progress) {
		s.mu.Lock()
		a.progress = g
		s.mu.Unlock()
	})
	var v registry.Version
	if err == nil {
		v, err = s.register(ctx, p, dir, got, a)
	}
	if err != nil {
		if ctx.Err() != nil {
			return p, 0, ctx.Err()
		}
		return s.failed(p, err, a)
	}
	p.State, p.Commit, p.Listed, p.Hash, p.Version = Done, got.Revision, got.Listed, got.Hash, v.ID
	p.ChangedAt, p.Progress = s.Now().UTC(), s.progressOf(a)
	p.Progress.Phase, p.Progress.Note, p.Progress.File = "", "", ""
	if len(got.Unchecked) > 0 {
		p.Progress.Note = "The hub tells no checksum of: " + strings.Join(got.Unchecked, ", ")
	}
	return p, 0, nil
}

// already says whether the model's newest version is what the pull would bring, by its commit, names, sizes and checksums.
// Whatever stands in the way of knowing leaves it to the pull.
func (s *Service) already(ctx context.Context, p Pull, spec hub.Spec) (Pull, bool) {
	v, err := s.Registry.Get(ctx, p.Project, p.Model)
	if err != nil || v.Lineage.Origin != p.origin() || len(v.Lineage.Revision) != 40 {
		return p, false
	}
	files, rev, listed, err := s.Client.Plan(ctx, spec)
	if err != nil || rev != v.Lineage.Revision {
		return p, false
	}
	var bytes int64
	for _, f := range files {
		have, ok := v.Files[path.Base(f.Path)]
		if !ok || have.Size != f.Size || !s.same(ctx, have, f) {
			return p, false
		}
		bytes += f.Size
	}
	p.State, p.Commit, p.Listed, p.Hash, p.Version, p.ChangedAt = Done, rev, listed, v.Lineage.Hash, v.ID, s.Now().UTC()
	p.Progress = hub.Progress{Files: len(files), FilesDone: len(files), Bytes: bytes, BytesDone: bytes}
	return p, true
}

// same says whether a stored file is what a list says, by the checksum that it tells.
func (s *Service) same(ctx context.Context, have registry.File, f hub.Entry) bool {
	if f.SHA256 != "" || f.GitOID == "" {
		return f.SHA256 == have.Ref.Hex()
	}
	r, _, err := s.Blobs.Open(ctx, have.Ref)
	if err != nil {
		return false
	}
	defer r.Close()
	ok, err := f.Is(r)
	return ok && err == nil
}

// origin is where a pull comes from, as lineages have it.
func (p Pull) origin() string { return string(p.Spec.Source) + ":" + p.Spec.Repo }

// failed says how a pull ends, or for how long it rests where a hub asks for that.
func (s *Service) failed(p Pull, err error, a *active) (Pull, time.Duration, error) {
	f := fault.As(err)
	if f.Kind == fault.RateLimited && f.After > 0 {
		s.mu.Lock()
		a.progress.Note = f.Message
		s.mu.Unlock()
		return p, min(f.After, longestRest), nil
	}
	if f.Kind == fault.Internal {
		s.Log.Error("a pull failed", "pull", p.ID, "error", err)
	}
	p.State, p.Reason, p.Kind, p.Code, p.Fix = Failed, f.Message, f.Kind, f.Code, f.Fix
	p.ChangedAt, p.Progress = s.Now().UTC(), s.progressOf(a)
	return p, 0, nil
}

func (s *Service) progressOf(a *active) hub.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return a.progress
}

// register makes the files a version of the model. The registry makes one version of a pull however often it is asked. Where
// the newest version has the same files from the same place, it is the one.
func (s *Service) register(ctx context.Context, p Pull, dir string, got hub.Result, a *active) (registry.Version, error) {
	s.mu.Lock()
	a.progress.Phase, a.progress.File, a.progress.Rate, a.progress.Left = "register", "", 0, 0
	s.mu.Unlock()
	origin := p.origin()
	v, err := s.Registry.Get(ctx, p.Project, p.Model)
	if err == nil && v.Lineage.Origin == origin && v.Lineage.Hash == got.Hash {
		return v, nil
	}
	if err != nil && !fault.Is(err, fault.NotFound) {
		return v, err
	}
	flat, err := flatten(dir, got.Files)
	if err != nil {
		return v, err
	}
	return s.Registry.AddDir(ctx, p.Project, flat, registry.NewVersion{Model: p.Model, CreatedBy: p.CreatedBy,
		Link: true, Lineage: registry.Lineage{Source: "pull", Origin: origin, Revision: got.Revision, Hash: got.Hash, Pull: p.ID}})
}

// flatten links the files of a pull into one folder, as the registry takes them: what lies in folders of the repository keeps its
// last name alone, unless another file has that name.
func flatten(dir string, files []hub.Entry) (string, error) {
	flat := filepath.Join(dir, "model")
	if err := os.RemoveAll(flat); err != nil {
		return "", fault.Wrap(err, "preparing the model's folder")
	}
	if err := os.Mkdir(flat, 0o755); err != nil {
		return "", fault.Wrap(err, "preparing the model's folder")
	}
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b hub.Entry) int { return strings.Count(a.Path, "/") - strings.Count(b.Path, "/") })
	for _, f := range files {
		from, to := filepath.Join(dir, hub.Files, filepath.FromSlash(f.Path)), filepath.Join(flat, path.Base(f.Path))
		if err := os.Link(from, to); err != nil && !errors.Is(err, os.ErrExist) {
			return "", fault.Wrap(err, "preparing the model's folder")
		}
	}
	return flat, nil
}

// Sweep removes folders of pulls that cannot continue: those that are done or gone, and that failed more than a week ago.
func (s *Service) Sweep(ctx context.Context) error {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.Wrap(err, "reading the folder of pulls")
	}
	var ids []string
	var errs []error
	for _, e := range entries {
		st, err := e.Info()
		switch {
		case id.Valid("pull", e.Name()):
			ids = append(ids, e.Name())
		case err == nil && strings.HasPrefix(e.Name(), bundlePrefix) && s.Now().Sub(st.ModTime()) > 24*time.Hour: // of a killed process
			errs = append(errs, os.RemoveAll(filepath.Join(s.Dir, e.Name())))
		}
	}
	kept, err := s.Store.Kept(ctx, ids, s.Now().Add(-keepFailed))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range ids {
		if a := s.active[name]; !kept[name] && (a == nil || a.over) {
			errs = append(errs, os.RemoveAll(filepath.Join(s.Dir, name)))
		}
	}
	return errors.Join(errs...)
}
