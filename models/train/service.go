package train

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/aside"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/models/fit"
	"github.com/triarch-ai/triarch/models/ref"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/storage/blob"
)

// JobKind is the kind of the jobs of runs.
const JobKind = "train"

// maxRestarts is how often in a row a run's job is started again before it fails. An attempt that lives for ten
// minutes begins a new row, so that a long run on a bad machine goes on.
const maxRestarts = 20

// Jobs is what runs need of the job keeper.
type Jobs interface {
	Create(ctx context.Context, s job.Spec) (job.Job, error) // idempotent by project, kind and owner
	Admit(ctx context.Context, j job.Job) error              // why it could never run, or nil
	Get(ctx context.Context, project, id string) (job.Job, error)
	List(ctx context.Context, project string, f job.Filter) ([]job.Job, error)
	Cancel(ctx context.Context, project, id, reason string) (job.Job, error)
	Discard(ctx context.Context, project, id string) error
	Progress(ctx context.Context, project, id string, from job.Cursor, limit int) ([]job.Line, job.Cursor, bool, error)
	Logs(ctx context.Context, project, id string, attempt int, offset int64, limit int) (job.LogChunk, error)
	Dir(jobID string) string
}

// Service submits and follows runs. Its methods may be called from any goroutine.
type Service struct {
	Store    Store
	Data     *data.Service
	Registry *registry.Service
	Jobs     Jobs
	Trainers map[string]Trainer // by name
	IDs      *id.Maker
	Now      func() time.Time
	Log      *slog.Logger
	// MemoryLimit is the memory a run may need on this machine, bytes; 0 for no check.
	MemoryLimit int64
	// Fit knows the chips of the fleet; nil: runs on chips are not checked.
	Fit *fit.Service
	// MaxCPUs is the most cores a run may ask for; 0 for no check.
	MaxCPUs int
	// CodeVersion is the version of this program, for lineages.
	CodeVersion string

	// Measured is told how fast runs of this machine's processor were, and Processor is so many of its cores as a chip; nil: nobody is.
	Measured  Measured
	Processor func(cores int) (chip.Chip, error)

	// Patience is how long a pass waits for a model to be laid out or stored before it goes on; 0 is 50 ms.
	Patience time.Duration

	begin   sync.Once
	bases   aside.Tasks[string]           // run -> folder of its base version
	results aside.Tasks[registry.Version] // run -> the version it made

	runs sync.Map // run id -> *sync.Mutex: a run is advanced by one caller at a time
	mu   sync.Mutex
	live map[string]follow // newest progress of open runs, by run id
}

// hold makes the caller the one that advances a run until it calls what is returned. Runs do not wait for each
// other: storing one's large model does not hold up a request for another.
func (s *Service) hold(run string) func() {
	m, _ := s.runs.LoadOrStore(run, new(sync.Mutex))
	mu := m.(*sync.Mutex)
	mu.Lock()
	return mu.Unlock
}

// prepare makes what goes on beside the passes ready.
func (s *Service) prepare() {
	s.begin.Do(func() {
		s.bases.Now, s.bases.Patience = s.Now, s.Patience
		s.results.Now, s.results.Patience = s.Now, s.Patience
	})
}

// Close ends what goes on beside the passes and waits for it. Call it after the last Reconcile.
func (s *Service) Close() {
	s.bases.Close()
	s.results.Close()
}

// follow is how far a run's progress was read.
type follow struct {
	cursor   job.Cursor
	progress Progress
}

// defaultTrainer is the driver of a request that names none.
const defaultTrainer = "native"

// Submit checks a request, pins its data and base versions, estimates memory and time and creates the run with its
// job, or of an array all runs in one change, of which it returns the first. The run is durable when Submit returns without an error; on an error nothing was kept, except when the job
// could not be made for a passing reason: then the run exists and Reconcile makes its job.
//
// Faults: Invalid with the field; NotFound for data, base; Unsupported for an unknown trainer.
func (s *Service) Submit(ctx context.Context, who Who, spec Spec) (Run, error) {
	r, task, err := s.plan(ctx, who, spec) // 1 check, 2 pin, 3 estimate
	if err != nil {
		return Run{}, err
	}
	if r.Forced, err = fit.Force(s.fits(ctx, r, task), spec.Force, who.Machine); err != nil {
		return Run{}, err
	}
	if err := s.admit(ctx, r); err != nil {
		return Run{}, err
	}
	all, err := s.elements(r, spec.Array)
	if err != nil {
		return Run{}, err
	}
	s.prepare()
	for _, r := range all {
		defer s.hold(r.ID)() // before it exists, so that no Reconcile is in between
	}
	if err := s.Store.Create(ctx, all...); err != nil { // 4 create run ...
		for _, r := range all {
			s.runs.Delete(r.ID)
		}
		return Run{}, err
	}
	for _, r := range all {
		if err := s.advance(context.WithoutCancel(ctx), r); err != nil { // ... and job; what goes on beside it outlives the request
			s.Log.WarnContext(ctx, "the run waits for its job", "run", r.ID, "err", err)
		}
	}
	return s.Get(ctx, all[0].Project, all[0].ID)
}

// elements are the runs of an array; the run itself where there is none.
func (s *Service) elements(r Run, array string) ([]Run, error) {
	if array == "" {
		return []Run{r}, nil
	}
	indices, limit, err := job.ParseArray(array)
	if err != nil {
		return nil, err
	}
	all := make([]Run, len(indices))
	for i, m := range job.Members(s.IDs.New(job.ArrayNoun), indices, limit) {
		x := r
		x.ID, x.Name = s.IDs.New("run"), fmt.Sprintf("%s-%d", r.Name, m.Index)
		x.Recipe.Seed += uint64(m.Index - m.First)
		x.Ask.Member = m
		if err := ref.Check("name", x.Name); err != nil {
			return nil, err
		}
		all[i] = x
	}
	return all, nil
}

// jobName is the name of a run's job: of the elements of an array that of the array, so that they are one in lists and in
// what is learnt of durations.
func (r *Run) jobName() string {
	if m := r.Ask.Member; m != nil {
		return strings.TrimSuffix(r.Name, fmt.Sprintf("-%d", m.Index))
	}
	return r.Name
}

// Estimate says what a request would take, checking it as Submit does and creating nothing.
func (s *Service) Estimate(ctx context.Context, who Who, spec Spec) (Run, error) {
	r, _, err := s.plan(ctx, who, spec)
	return r, err
}

// plan makes the run that Submit would create, from checked and pinned inputs.
func (s *Service) plan(ctx context.Context, who Who, spec Spec) (Run, Task, error) {
	t, err := s.check(&spec)
	if err != nil {
		return Run{}, Task{}, err
	}
	task := Task{Trainer: t.Name(), CPUs: spec.CPUs, Code: s.CodeVersion}
	if task.Data, err = s.Data.Get(ctx, who.Project, spec.Data); err == nil {
		err = task.Data.Present()
	}
	if err != nil {
		return Run{}, Task{}, onField(err, "data")
	}
	if spec.Base != "" {
		if task.Base, err = s.Registry.Get(ctx, who.Project, spec.Base); err != nil {
			return Run{}, Task{}, onField(err, "base")
		}
		set(&spec.Recipe.Context, task.Base.Shape.Context)
		if spec.Recipe.Context > task.Base.Shape.Context {
			return Run{}, Task{}, invalid("context", "context is %d, the base version has %d.", spec.Recipe.Context, task.Base.Shape.Context)
		}
	}
	fromBase := spec.Base != ""
	recipe := spec.Recipe.Fill(task.Data.Format, fromBase)
	if err := recipe.Validate(task.Data.Format, fromBase); err != nil {
		return Run{}, Task{}, err
	}
	r := Run{
		ID: s.IDs.New("run"), Project: who.Project, Name: spec.Name, Model: spec.Model, Trainer: t.Name(),
		DataVersion: task.Data.ID, Base: task.Base.ID, Recipe: recipe, CPUs: spec.CPUs, Priority: spec.Priority, Ask: spec.Ask,
		State: Queued, CreatedBy: who.Key, CreatedAt: s.now(),
	}
	r.Ask.User, r.Ask.Saves = who.Key, true // the trainers save when they are asked to end
	task.Run, task.Recipe = r.ID, recipe
	r.Ask.Work = work(r, task)
	if err := t.Check(task); err != nil {
		return Run{}, Task{}, err
	}
	r.Estimate, err = t.Estimate(ctx, task)
	return r, task, err
}

// check checks the fields that need no lookup and fills their defaults.
func (s *Service) check(spec *Spec) (Trainer, error) {
	if err := ref.Check("model", spec.Model); err != nil {
		return nil, err
	}
	if spec.Name == "" {
		spec.Name = spec.Model
	}
	if err := ref.Check("name", spec.Name); err != nil {
		return nil, err
	}
	if spec.Data == "" {
		return nil, fault.New(fault.Invalid, "The data to train on is missing.", fault.Field("data"),
			fault.Fix("Name a data set, such as words or words@2."))
	}
	set(&spec.CPUs, 1)
	if spec.CPUs < 1 || s.MaxCPUs > 0 && spec.CPUs > s.MaxCPUs {
		return nil, fault.InvalidField("cpus", "cpus is %d, it must be 1 to %d.", spec.CPUs, max(1, s.MaxCPUs))
	}
	if spec.Priority < -1000 || spec.Priority > 1000 {
		return nil, fault.InvalidField("priority", "priority is %d, it must be -1000 to 1000.", spec.Priority)
	}
	if spec.Trainer == "" {
		spec.Trainer = defaultTrainer
	}
	t, ok := s.Trainers[spec.Trainer]
	if !ok {
		return nil, fault.New(fault.Unsupported, "The trainer "+ref.Quote(spec.Trainer)+" is not part of this installation.", fault.Field("trainer"))
	}
	return t, nil
}

// admit refuses what no free place could run.
func (s *Service) admit(ctx context.Context, r Run) error {
	if err := r.Ask.Validate(); err != nil {
		return err
	}
	j := job.Job{ID: r.ID, CreatedAt: r.CreatedAt, Spec: job.Spec{Project: r.Project, Kind: JobKind, Name: r.Name, Priority: r.Priority, CPUs: r.CPUs, Ask: r.Ask}}
	if err := s.Jobs.Admit(ctx, j); err != nil {
		return err
	}
	if _, ok := s.Data.Blobs.(blob.Pather); !ok {
		return fault.New(fault.Unsupported, "Training on this machine needs blobs kept as files.")
	}
	return nil
}

// Get returns a run with its newest progress.
func (s *Service) Get(ctx context.Context, project, id string) (Run, error) {
	r, err := s.Store.Get(ctx, project, id)
	return s.lively(r), err
}

// List lists the project's runs with their newest progress, newest first.
func (s *Service) List(ctx context.Context, project string, p page.Page) ([]Run, error) {
	runs, err := s.Store.List(ctx, project, p)
	return s.allLively(runs), err
}

// Unended lists the project's runs that have not ended with their newest progress, newest first.
func (s *Service) Unended(ctx context.Context, project string) ([]Run, error) {
	runs, err := s.Store.Unended(ctx, project)
	return s.allLively(runs), err
}

func (s *Service) allLively(runs []Run) []Run {
	for i := range runs {
		runs[i] = s.lively(runs[i])
	}
	return runs
}

// lively puts the newest progress that was read into an open run.
func (s *Service) lively(r Run) Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.live[r.ID]; ok && !r.State.Final() {
		r.Progress = f.progress
	}
	return r
}

// Stop asks for a run to end: durably before it returns. What has been trained is not registered. fault.Conflict
// when the run has ended.
func (s *Service) Stop(ctx context.Context, project, id string) (Run, error) {
	if err := s.Store.RequestStop(ctx, project, id); err != nil {
		return Run{}, err
	}
	s.prepare()
	defer s.hold(id)()
	r, err := s.Store.Get(ctx, project, id)
	if err == nil && !r.State.Final() {
		err = s.advance(context.WithoutCancel(ctx), r)
	}
	if err != nil {
		return Run{}, err
	}
	return s.Get(ctx, project, id)
}

// Logs reads the output of an attempt of a run, 0 meaning the newest; see job.LogChunk. A run without a job yet
// has none.
func (s *Service) Logs(ctx context.Context, project, id string, attempt int, offset int64, limit int) (job.LogChunk, error) {
	r, err := s.Store.Get(ctx, project, id)
	if err != nil || r.JobID == "" {
		return job.LogChunk{Ended: r.State.Final()}, err
	}
	return s.Jobs.Logs(ctx, project, r.JobID, attempt, offset, limit)
}

// Watch reads the progress lines of a run from a cursor on, in the order they were written; done says that the run
// has ended and everything was read.
func (s *Service) Watch(ctx context.Context, project, id string, from job.Cursor, limit int) (lines []job.Line, next job.Cursor, done bool, err error) {
	r, err := s.Store.Get(ctx, project, id)
	if err != nil || r.JobID == "" {
		return nil, from, r.State.Final(), err
	}
	lines, next, done, err = s.Jobs.Progress(ctx, project, r.JobID, from, limit)
	return lines, next, done && r.State.Final(), err
}

func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

// onField names the request's field in a fault that came from a lookup.
func onField(err error, field string) error {
	e := *fault.As(err)
	e.Field = field
	return &e
}

// stopGrace is how long a stopped trainer may take to save.
const stopGrace = 60 * time.Second

// memoryBound is the limit put on a run's process: far enough above the estimate that only a defect meets it.
func memoryBound(e Estimate) int64 {
	if e.MemoryBytes <= 0 {
		return 0
	}
	return 2*e.MemoryBytes + 1<<30
}
