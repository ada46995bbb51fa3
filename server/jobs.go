package server

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/compute/program"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// Programs takes programs of people; package program's Service is one.
type Programs interface {
	Submit(ctx context.Context, who program.Who, p program.Spec) (job.Job, error)
}

// JobPath names a job.
type JobPath struct {
	Job string `path:"job" maxLength:"64" doc:"id of a job or of an array, or an element of an array: its id, an underscore and the index"`
	ProjectParam
}

type jobsIn struct {
	PageParam
	ProjectParam
	Open  bool   `query:"open" doc:"only those that have not ended"`
	State string `query:"state" enum:"queued,starting,running,stopping,preempting,succeeded,failed,cancelled" doc:"only those in this state"`
	Kind  string `query:"kind" enum:"train,replica,program" doc:"only those of this kind"`
	Array string `query:"array" maxLength:"64" doc:"only the elements of this array"`
	Fold  bool   `query:"fold" doc:"each array as one job, with the counts of its elements; state is not looked at"`
}

func (s *Server) jobOps() {
	op(s, "list-jobs", "compute", "List jobs, newest first", func(ctx context.Context, p *auth.Principal, in *jobsIn) (*out[api.List[api.Job]], error) {
		prj, err := s.project(ctx, p, in.ProjectParam)
		if err != nil {
			return nil, err
		}
		f := job.Filter{Kind: in.Kind, State: job.State(in.State), Open: in.Open, Array: in.Array, Fold: in.Fold}
		if in.Fold {
			f.State = ""
		}
		return paged(jobList, in.PageParam, jobView, func(q page.Page) ([]job.Job, error) {
			f.Limit, f.After = q.Limit, q.After
			return s.Jobs.List(ctx, prj, f)
		})
	})
	op(s, "create-job", "compute", "Run a program, alone or as an array of elements, if the operator allows it", s.createJob, status(http.StatusCreated))
	op(s, "get-job", "compute", "Show a job, or an array", func(ctx context.Context, p *auth.Principal, in *JobPath) (*out[api.Job], error) {
		return s.onJob(ctx, p, in, s.Jobs.Get)
	})
	op(s, "explain-job", "compute", "Say why a job is where it is, what would start it now and when it is expected to start; of an array that of the first element that waits", s.explainJob)
	op(s, "read-job-logs", "compute", "Read the output of a job", func(ctx context.Context, p *auth.Principal, in *struct {
		JobPath
		LogsParam
	}) (*out[api.Logs], error) {
		prj, err := s.project(ctx, p, in.ProjectParam)
		if err != nil {
			return nil, err
		}
		l, err := s.Jobs.Logs(ctx, prj, in.Job, in.Attempt, in.Offset, in.Limit)
		return logs(l, err)
	})
	op(s, "remove-job", "compute", "Forget an ended program, or an array of them, with its output and its files", func(ctx context.Context, p *auth.Principal, in *JobPath) (*none, error) {
		prj, err := s.project(ctx, p, in.ProjectParam)
		if err != nil {
			return nil, err
		}
		return nil, s.Jobs.Forget(ctx, prj, in.Job)
	}, status(http.StatusNoContent))
	for _, act := range []struct {
		id, summary string
		do          func(ctx context.Context, project, id string) (job.Job, error)
	}{
		{"hold-job", "Have a queued job wait until it is released", s.Jobs.Hold},
		{"release-job", "Let a held job go on", s.Jobs.Release},
		{"requeue-job", "End a running job's attempt and have it wait for its turn again", s.Jobs.Requeue},
		{"cancel-job", "End a job for good", func(ctx context.Context, project, id string) (job.Job, error) {
			return s.Jobs.End(ctx, project, id, "It was cancelled on request.")
		}},
	} {
		op(s, act.id, "compute", act.summary+"; of an array all elements that this can be done to", func(ctx context.Context, p *auth.Principal, in *JobPath) (*out[api.Job], error) {
			return s.onJob(ctx, p, in, act.do)
		})
	}
}

// onJob does something to a job of the caller's project, or of the one that is named.
func (s *Server) onJob(ctx context.Context, p *auth.Principal, in *JobPath, do func(ctx context.Context, project, id string) (job.Job, error)) (*out[api.Job], error) {
	prj, err := s.project(ctx, p, in.ProjectParam)
	if err != nil {
		return nil, err
	}
	j, err := do(ctx, prj, in.Job)
	return &out[api.Job]{jobView(j)}, err
}

func (s *Server) createJob(ctx context.Context, p *auth.Principal, in *struct {
	ProjectParam
	Body api.NewJob
}) (*out[api.Job], error) {
	prj, err := s.project(ctx, p, in.ProjectParam)
	if err != nil {
		return nil, err
	}
	b := in.Body
	spec := program.Spec{Name: b.Name, Argv: b.Command, CPUs: b.CPUs, Memory: b.MemoryBytes, Priority: b.Priority, Grace: seconds(b.Grace), Retries: b.Retries,
		Array: b.Array}
	if spec.Ask, err = s.ask(ctx, prj, b.Placing); err != nil {
		return nil, err
	}
	if spec.Ask.Work, err = s.work(ctx, prj, b); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(b.Env)) {
		spec.Env = append(spec.Env, name+"="+b.Env[name])
	}
	if b.Interactive && !b.Fast {
		spec.Ask.Class = job.Interactive
	}
	j, err := s.Programs.Submit(ctx, program.Who{Project: prj, Key: p.KeyID, Role: p.Role}, spec)
	return &out[api.Job]{jobView(j)}, err
}

// work is what a program says it computes; nil where it says nothing.
func (s *Server) work(ctx context.Context, project string, b api.NewJob) (*job.Work, error) {
	w := b.Work
	switch {
	case w == nil:
		return nil, nil
	case b.Chips < 1:
		return nil, fault.InvalidField("work", "Work is named to compare chips by, and none are asked for.")
	}
	q := api.ChipQuestion{Model: w.Model, Task: w.Task, Engine: w.Engine, Weights: w.Weights, Batch: w.Batch, Context: w.Context, Prompt: w.Prompt, Output: w.Output, LoRA: w.LoRA}
	if w.Precision != "" {
		q.Precision = []string{w.Precision}
	}
	model, err := s.model(ctx, project, q)
	if err != nil {
		return nil, err
	}
	m, err := s.Chips()
	if err != nil {
		return nil, err
	}
	shape, work, err := estimate.WorkOf(q, model, m)
	return &job.Work{Shape: shape, Work: work}, err
}

// seconds is a duration of a request; one that is longer than any bound stays so.
func seconds(n int64) time.Duration {
	const most = int64(1) << 33
	return time.Duration(min(max(n, -most), most)) * time.Second
}

func (s *Server) explainJob(ctx context.Context, p *auth.Principal, in *JobPath) (*out[api.Explanation], error) {
	prj, err := s.project(ctx, p, in.ProjectParam)
	if err != nil {
		return nil, err
	}
	j, err := s.Jobs.Get(ctx, prj, in.Job)
	if err == nil && j.Tally != nil {
		j, err = s.foremost(ctx, prj, j)
	}
	if err != nil {
		return nil, err
	}
	x := s.Queue.Explain(j)
	a := api.Explanation{Job: j.ID, State: string(j.State), Stage: x.Stage, Bound: x.Bound, Have: x.Have, Want: x.Want, Unit: x.Unit, Ahead: x.Ahead,
		Reason: cmp.Or(x.Reason, j.Reason), P50: timeOrNil(x.P50), P90: timeOrNil(x.P90)}
	if c := x.Change; c != nil {
		a.Change = &api.Change{Kind: c.Kind, Name: c.Name, To: c.To, Text: c.Text}
	}
	return &out[api.Explanation]{a}, nil
}

// foremost is the element of an array that is to be explained: the first that waits, else the first that has not ended;
// the array itself if all have.
func (s *Server) foremost(ctx context.Context, project string, array job.Job) (job.Job, error) {
	all, err := s.Jobs.List(ctx, project, job.Filter{Array: array.ID, Open: true, Limit: job.MaxArray})
	if err != nil || len(all) == 0 {
		return array, err
	}
	waits := func(j job.Job) int {
		if j.State == job.Queued {
			return 0
		}
		return 1
	}
	return slices.MinFunc(all, func(a, b job.Job) int {
		return cmp.Or(cmp.Compare(waits(a), waits(b)), cmp.Compare(a.Ask.Member.Index, b.Ask.Member.Index))
	}), nil
}

func jobView(j job.Job) api.Job {
	a := api.Job{ID: j.ID, Kind: j.Kind, Class: string(j.ClassOf()), Name: j.Name, Owner: j.Owner, State: string(j.State), Reason: j.Reason, Fault: j.Fault,
		Priority: j.Priority, CPUs: j.CPUs, Placing: placingView(j.Ask), Held: j.Standing.Held, Attempt: j.Attempt, Restarts: j.Restarts,
		Preempted: j.Standing.Preempted, Ran: j.Standing.Ran.Seconds(), CreatedAt: j.CreatedAt, StartedAt: timeOrNil(j.StartedAt),
		AttemptAt: timeOrNil(j.AttemptAt), EndedAt: timeOrNil(j.EndedAt)}
	if j.Kind == program.Kind {
		a.Command = j.Command.Argv
	}
	if j.State.Final() && j.Attempt > 0 {
		a.ExitCode = &j.ExitCode
	}
	a.Array = arrayView(j)
	if w := j.Standing.Placement; w != nil {
		a.Chip = w.Chip
		for _, s := range w.Seats {
			a.Placement = append(a.Placement, api.Seat{Node: s.Node, Chips: s.Chips, Devices: s.Devices})
		}
	}
	return a
}

func memberView(m *job.Member) *api.JobArray {
	if m == nil {
		return nil
	}
	return &api.JobArray{ID: m.Array, Index: &m.Index, Elements: m.Count, Limit: m.Limit}
}

func arrayView(j job.Job) *api.JobArray {
	a := memberView(j.Ask.Member)
	if a == nil || j.Tally == nil {
		return a
	}
	a.Index = nil
	a.Counts = map[string]int{}
	for state, n := range j.Tally.States {
		a.Counts[string(state)] = n
	}
	return a
}

func placingView(a job.Ask) api.Placing {
	return api.Placing{Chips: a.Chips, MinChips: a.MinChips, ChipTypes: a.ChipTypes, Objective: a.Objective, TimeLimit: int64(a.TimeLimit / time.Second),
		Deadline: timeOrNil(a.Deadline), Begin: timeOrNil(a.NotBefore), After: a.After, Hold: a.Hold, Fast: a.Class == job.Evaluation}
}

// ask is what a request asks of the scheduler, with ids in the place of the names of jobs that it waits for. A time limit
// beyond any is one that the job's check refuses.
func (s *Server) ask(ctx context.Context, project string, p api.Placing) (job.Ask, error) {
	if len(p.After) > job.MaxAfter {
		return job.Ask{}, fault.InvalidField("after", "A job waits for at most %d jobs.", job.MaxAfter)
	}
	after, err := s.Jobs.Refer(ctx, project, p.After)
	a := job.Ask{Chips: p.Chips, MinChips: p.MinChips, ChipTypes: p.ChipTypes, Objective: p.Objective, TimeLimit: seconds(p.TimeLimit), After: after, Hold: p.Hold}
	if p.Deadline != nil {
		a.Deadline = p.Deadline.UTC()
	}
	if p.Begin != nil {
		a.NotBefore = p.Begin.UTC()
	}
	if err == nil && p.Deadline != nil && (!a.Deadline.After(s.Now()) || !a.Deadline.After(a.NotBefore)) {
		err = fault.InvalidField("deadline", "The deadline, %s, is not after the earliest beginning.", a.Deadline.Format(time.RFC3339))
	}
	if p.Fast {
		a.Class = job.Evaluation
	}
	return a, err
}
