package train

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/storage/blob"
)

// Reconcile compares every run that has not ended with its job and takes the next step for each: makes a missing
// job, passes a stop on, reads progress, registers the model of a job that ended well. It may be called at any time
// and after a crash between any two of its steps. A run that cannot advance now does not hold up the others; their
// errors are joined. Laying out a base model and storing a result go on beside the passes; a later one takes up what
// they came to.
func (s *Service) Reconcile(ctx context.Context) error {
	runs, err := s.Store.Open(ctx)
	if err != nil {
		return err
	}
	s.forgetAllBut(runs)
	var errs []error
	for _, r := range runs {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.reconcileOne(ctx, r); err != nil {
			errs = append(errs, fmt.Errorf("run %s: %w", r.ID, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Service) reconcileOne(ctx context.Context, r Run) error {
	s.prepare()
	defer s.hold(r.ID)()
	r, err := s.Store.Get(ctx, r.Project, r.ID) // it may have moved since it was listed
	if err != nil || r.State.Final() {
		return err
	}
	return s.advance(ctx, r)
}

// advance takes the next step for an open run. The run is held.
func (s *Service) advance(ctx context.Context, r Run) error {
	if r.JobID == "" {
		made, err := s.ensureJob(ctx, &r)
		if err != nil || !made {
			return err
		}
	}
	j, err := s.Jobs.Get(ctx, r.Project, r.JobID)
	if fault.Is(err, fault.NotFound) {
		return s.end(ctx, r, Failed, "Its job is gone.", job.FaultPlatform)
	}
	if err != nil {
		return err
	}
	if r.Stop && !j.State.Final() {
		if j, err = s.Jobs.Cancel(ctx, r.Project, r.JobID, "The run was stopped on request."); err != nil {
			return err
		}
	}
	s.follow(ctx, r)
	return s.observe(ctx, r, j)
}

// ensureJob makes the run's job, or finds the one that was made before a crash. It says whether there is one.
func (s *Service) ensureJob(ctx context.Context, r *Run) (bool, error) {
	if r.Stop {
		have, err := s.Jobs.List(ctx, r.Project, job.Filter{Kind: JobKind, Owner: r.ID, Limit: 1})
		if err != nil {
			return false, err
		}
		if len(have) == 0 {
			return false, s.end(ctx, *r, Cancelled, "It was stopped before it started.", "")
		}
		r.JobID = have[0].ID
		_, err = s.Store.Update(ctx, *r)
		return true, err
	}
	spec, ready, err := s.jobSpec(ctx, *r)
	if err == nil && !ready {
		return false, nil
	}
	if err == nil {
		var j job.Job
		if j, err = s.Jobs.Create(ctx, spec); err == nil {
			r.JobID = j.ID
			_, err = s.Store.Update(ctx, *r)
			s.bases.Forget(r.ID)
			return true, err
		}
	}
	if permanent(err) {
		return false, s.end(ctx, *r, Failed, fault.As(err).Sentence(), job.FaultProgram)
	}
	return false, s.waits(ctx, *r, "Its job cannot be made yet", err)
}

// waits notes on the run why it does not advance now; a later pass tries again. It returns an error that the run does
// not tell of yet.
func (s *Service) waits(ctx context.Context, r Run, what string, err error) error {
	reason := what + ": " + fault.As(err).Sentence()
	if ctx.Err() != nil {
		return err
	}
	if r.Reason == reason {
		return nil
	}
	r.Reason, r.Fault = reason, job.FaultPlatform
	_, uerr := s.Store.Update(ctx, s.lively(r))
	return errors.Join(err, uerr)
}

// permanent says whether trying the same again cannot help.
func permanent(err error) bool {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.Unsupported, fault.TooLarge, fault.NotFound:
		return true
	}
	return false
}

// jobSpec renders the job of a run from its pinned inputs; false while its base is being laid out.
func (s *Service) jobSpec(ctx context.Context, r Run) (job.Spec, bool, error) {
	t, ok := s.Trainers[r.Trainer]
	if !ok {
		return job.Spec{}, false, fault.Newf(fault.Unsupported, "The trainer %s is not part of this installation.", r.Trainer)
	}
	task := Task{Run: r.ID, Recipe: r.Recipe, CPUs: r.CPUs, Code: s.CodeVersion, Memory: memoryBound(r.Estimate)}
	var err error
	if task.Data, err = s.Data.Get(ctx, r.Project, r.DataVersion); err != nil {
		return job.Spec{}, false, err
	}
	paths, ok := s.Data.Blobs.(blob.Pather)
	if !ok {
		return job.Spec{}, false, fault.New(fault.Unsupported, "Training on this machine needs blobs kept as files.")
	}
	if task.DataPath, err = paths.Path(task.Data.Ref); err != nil {
		return job.Spec{}, false, err
	}
	if r.Base != "" {
		if task.Base, err = s.Registry.Get(ctx, r.Project, r.Base); err != nil {
			return job.Spec{}, false, err
		}
		base := s.bases.Do(ctx, r.ID, func(ctx context.Context) (string, error) { return s.Registry.Materialise(ctx, task.Base) })
		if !base.Done {
			return job.Spec{}, false, base.Err
		}
		task.BaseDir = base.Value
	}
	cmd, err := t.Command(task)
	if err != nil {
		return job.Spec{}, false, err
	}
	return job.Spec{
		Project: r.Project, Kind: JobKind, Name: r.jobName(), Owner: r.ID, Priority: r.Priority, Command: cmd,
		CPUs: r.CPUs, MemoryBytes: task.Memory, Restart: job.Restart{Max: maxRestarts}, Grace: stopGrace, Ask: r.Ask,
	}, true, nil
}

// during is the state of a run whose job has not ended.
func during(s job.State) State {
	switch s {
	case job.Stopping:
		return Stopping
	case job.Running, job.Preempting: // one that makes way still saves its work
		return Running
	}
	return Queued
}

// Shows says whether a run that was read before its job shows the job's state: else what the job says is of a moment
// that the run has not seen yet.
func Shows(r Run, j job.Job) bool {
	if j.State.Final() {
		return r.State != Queued && r.State != Running
	}
	return r.State == during(j.State)
}

// observe carries what the job has become over to the run.
func (s *Service) observe(ctx context.Context, r Run, j job.Job) error {
	if j.Restarts > 0 || j.State == job.Failed {
		if f, ok := s.failure(r); ok && !r.Stop && j.State != job.Succeeded {
			return s.giveUp(ctx, r, j, f)
		}
	}
	next := r
	next.StartedAt, next.Reason, next.Fault = j.StartedAt, j.Reason, j.Fault
	switch j.State {
	case job.Succeeded:
		r.StartedAt = j.StartedAt // the reason stays: waits compares it
		return s.register(ctx, r)
	case job.Failed:
		return s.end(ctx, next, Failed, j.Reason, j.Fault)
	case job.Cancelled:
		return s.end(ctx, next, Cancelled, j.Reason, "")
	default:
		next.State = during(j.State)
	}
	if next.State == r.State && next.Reason == r.Reason && next.Fault == r.Fault && next.StartedAt.Equal(r.StartedAt) {
		return nil
	}
	_, err := s.Store.Update(ctx, s.lively(next))
	return err
}

// giveUp ends a run whose trainer says that trying again cannot help.
func (s *Service) giveUp(ctx context.Context, r Run, j job.Job, f Failure) error {
	if !j.State.Final() {
		if _, err := s.Jobs.Cancel(ctx, r.Project, r.JobID, f.Reason); err != nil {
			return err
		}
	}
	r.StartedAt = j.StartedAt
	return s.end(ctx, r, Failed, f.Reason, job.FaultProgram)
}

// register makes the finished job's result a model version: exactly one, whatever dies on the way, because the
// registry knows the run's version and the job's results are given back only after it exists.
func (s *Service) register(ctx context.Context, r Run) error {
	if r.State != Registering {
		r.State = Registering
		if _, err := s.Store.Update(ctx, s.lively(r)); err != nil {
			return err
		}
	}
	v, err := s.Registry.ByRun(ctx, r.Project, r.ID)
	if fault.Is(err, fault.NotFound) {
		res := s.results.Do(ctx, r.ID, func(ctx context.Context) (registry.Version, error) { return s.addVersion(ctx, r) })
		if !res.Done && res.Err == nil {
			return nil // a later pass finds the version
		}
		v, err = res.Value, res.Err
	}
	if permanent(err) {
		return s.end(ctx, r, Failed, "Its result cannot be registered: "+fault.As(err).Sentence(), job.FaultProgram)
	}
	if err != nil {
		return s.waits(ctx, r, "Its model cannot be stored yet", err)
	}
	r.ModelVersion, r.Metrics = v.ID, v.Metrics
	return s.end(ctx, r, Succeeded, "", "")
}

func (s *Service) addVersion(ctx context.Context, r Run) (registry.Version, error) {
	out := filepath.Join(s.Jobs.Dir(r.JobID), job.OutDir)
	var res Result
	if err := readJSON(filepath.Join(out, ResultFile), &res); err != nil {
		return registry.Version{}, fault.New(fault.Invalid, "The trainer ended well but left no readable result.", fault.Cause(err))
	}
	curve, err := s.curve(ctx, r)
	if err != nil {
		return registry.Version{}, err
	}
	recipe := r.Recipe
	if res.Steps > 0 { // what epochs came to: the kept recipe says all, and runs again as it stands
		recipe = recipe.WithSteps(res.Steps)
		recipe.Epochs = 0
	}
	text, err := json.Marshal(recipe)
	if err != nil {
		return registry.Version{}, err
	}
	return s.Registry.AddDir(ctx, r.Project, filepath.Join(out, ModelDir), registry.NewVersion{
		Model: r.Model, Metrics: res.Metrics, LossCurve: curve, CreatedBy: r.CreatedBy,
		Lineage: registry.Lineage{RunID: r.ID, DataVersion: r.DataVersion, Base: r.Base, Recipe: text,
			CodeVersion: res.CodeVersion, Source: "run"},
	})
}

// curve is the loss of every step that led to the result. Where an attempt went back to a checkpoint and did steps
// again, what was written before for those steps is dropped, as job.Merge does.
func (s *Service) curve(ctx context.Context, r Run) ([]registry.Point, error) {
	var points []registry.Point
	err := s.told(ctx, r, func(p Progress) {
		if p.Step < 1 {
			return
		}
		for n := len(points); n > 0 && points[n-1].Step >= p.Step; n-- {
			points = points[:n-1]
		}
		points = append(points, registry.Point{Step: p.Step, Loss: p.Loss, LR: p.LR})
	})
	if err != nil {
		return nil, err
	}
	return points, nil
}

// told calls each for all that a run's job has told so far, in order; lines that are no progress are passed over.
func (s *Service) told(ctx context.Context, r Run, each func(Progress)) error {
	var at job.Cursor
	for done := false; !done; {
		lines, next, end, err := s.Jobs.Progress(ctx, r.Project, r.JobID, at, 0)
		if err != nil {
			return err
		}
		for _, l := range lines {
			var p Progress
			if json.Unmarshal(l.Data, &p) == nil {
				each(p)
			}
		}
		done = end || next == at
		at = next
	}
	return nil
}

// end gives the job's room back and then writes the final state: in this order, so that a crash between the two
// leaves an open run that comes here again.
func (s *Service) end(ctx context.Context, r Run, state State, reason, who string) error {
	if r.JobID != "" {
		s.tell(ctx, r)
		err := s.Jobs.Discard(ctx, r.Project, r.JobID)
		if fault.Is(err, fault.Conflict) { // it was cancelled a moment ago and still ends: come again
			return nil
		}
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	r = s.lively(r)
	r.State, r.Reason, r.Fault, r.EndedAt = state, reason, who, s.now()
	_, err := s.Store.Update(ctx, r)
	if err == nil {
		s.mu.Lock()
		delete(s.live, r.ID)
		s.mu.Unlock()
		s.bases.Forget(r.ID)
		s.results.Forget(r.ID)
		s.runs.Delete(r.ID) // who waits for it still finds the run ended
	}
	return err
}

// follow reads what the run's worker has written since the last pass. Progress that cannot be read holds nothing up.
func (s *Service) follow(ctx context.Context, r Run) {
	s.mu.Lock()
	f := s.live[r.ID]
	s.mu.Unlock()
	if f.progress.Step == 0 {
		f.progress = r.Progress
	}
	for {
		lines, next, done, err := s.Jobs.Progress(ctx, r.Project, r.JobID, f.cursor, 0)
		if err != nil {
			return
		}
		if n := len(lines); n > 0 {
			var p Progress
			if json.Unmarshal(lines[n-1].Data, &p) == nil {
				p.Checkpoint = cmp.Or(lastCheckpoint(lines), f.progress.Checkpoint)
				p.TokensPerSecond = cmp.Or(p.TokensPerSecond, f.progress.TokensPerSecond) // unknown of a step done before a resume
				f.progress = p
			}
		}
		same := next == f.cursor
		f.cursor = next
		if done || same {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		s.live = map[string]follow{}
	}
	s.live[r.ID] = f
}

// lastCheckpoint is the newest checkpoint that lines of progress tell of; only the lines of steps that made one do.
func lastCheckpoint(lines []job.Line) string {
	for _, l := range slices.Backward(lines) {
		var p Progress
		if bytes.Contains(l.Data, []byte(`"checkpoint"`)) && json.Unmarshal(l.Data, &p) == nil && p.Checkpoint != "" {
			return p.Checkpoint
		}
	}
	return ""
}

func (s *Service) forgetAllBut(runs []Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := make(map[string]follow, len(runs))
	for _, r := range runs {
		if f, ok := s.live[r.ID]; ok {
			keep[r.ID] = f
		}
	}
	s.live = keep
}

// failure reads the word of a trainer that cannot go on.
func (s *Service) failure(r Run) (Failure, bool) {
	dir := s.Jobs.Dir(r.JobID)
	if dir == "" {
		return Failure{}, false
	}
	var f Failure
	if readJSON(filepath.Join(dir, job.OutDir, FailureFile), &f) != nil || f.Reason == "" {
		return Failure{}, false
	}
	return f, true
}

// readJSON reads a small JSON file written by a worker.
func readJSON(path string, into any) error {
	const most = 1 << 20
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return err
	}
	if len(b) > most {
		return fmt.Errorf("%s is larger than %d bytes", filepath.Base(path), most)
	}
	return json.Unmarshal(b, into)
}
