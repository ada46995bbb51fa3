package server

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/queue"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// JobControl is what the control API asks of the keeper of jobs.
type JobControl interface {
	Jobs
	List(ctx context.Context, project string, f job.Filter) ([]job.Job, error)
	Hold(ctx context.Context, project, id string) (job.Job, error)
	Release(ctx context.Context, project, id string) (job.Job, error)
	Requeue(ctx context.Context, project, id string) (job.Job, error)
	Cancel(ctx context.Context, project, id, reason string) (job.Job, error)
}

// Queue is what the control API asks of the planner.
type Queue interface {
	Queues() []queue.QueueView
	Explain(j job.Job) queue.Explanation
	Nodes(ctx context.Context) ([]queue.NodeView, error)
	Drain(ctx context.Context, node string, draining bool, reason string) error
	Quotas(ctx context.Context) ([]queue.Row, error)
	Project(ctx context.Context, org, name string) (queue.Row, error)
	SetQuota(ctx context.Context, q queue.Quota) (queue.Row, error)
	SetOrgWeight(ctx context.Context, org string, weight int64) error
	RemoveQuota(ctx context.Context, project string) error
	Windows(ctx context.Context) ([]queue.WindowView, error)
	AddWindow(ctx context.Context, w queue.Window) (queue.WindowView, error)
	RemoveWindow(ctx context.Context, name string) error
}

// The lists of this file.
var (
	jobList = listing[job.Job]{"jobs", 2, func(j job.Job) page.Key {
		return page.Key{strconv.FormatInt(j.CreatedAt.UnixMicro(), 10), j.ID}
	}}
	queueList  = listing[queue.QueueView]{"queues", 1, func(q queue.QueueView) page.Key { return page.Key{q.Project} }}
	quotaList  = listing[queue.Row]{"quotas", 1, func(r queue.Row) page.Key { return page.Key{r.Project} }}
	windowList = listing[queue.WindowView]{"node-windows", 1, func(w queue.WindowView) page.Key { return page.Key{w.Name} }}
	nodeList   = listing[queue.NodeView]{"nodes", 1, func(n queue.NodeView) page.Key { return page.Key{n.Name} }}
)

// JobPath names a job.
type JobPath struct {
	Job string `path:"job" maxLength:"64"`
}

// NodePath names a node.
type NodePath struct {
	Node string `path:"node" maxLength:"64"`
}

// WindowPath names a window.
type WindowPath struct {
	Window string `path:"window" maxLength:"64"`
}

// QuotaPath names a project.
type QuotaPath struct {
	Project string `path:"project" maxLength:"200" doc:"id, or name in the caller's organisation"`
}

func (s *Server) computeOps() {
	op(s, "list-queues", "compute", "List the queues that the caller may see: its project's, its organisation's or all", func(_ context.Context, p *auth.Principal, in *PageParam) (*out[api.List[api.Queue]], error) {
		return paged(queueList, *in, queueView, func(q page.Page) ([]queue.QueueView, error) {
			return page.Cut(seen(p, s.Queue.Queues(), func(v queue.QueueView) queue.Row { return v.Row }), q, queueList.key), nil
		})
	})
	s.jobOps()
	s.nodeOps()
	s.windowOps()
	s.quotaOps()
}

// seen are those of the rows that a principal may see.
func seen[T any](p *auth.Principal, all []T, row func(T) queue.Row) (out []T) {
	for _, x := range all {
		if sees(p, row(x)) {
			out = append(out, x)
		}
	}
	return out
}

// sees says whether a principal may know of a queue.
func sees(p *auth.Principal, r queue.Row) bool {
	return r.Project == p.ProjectID || r.Org == p.OrgID && may(p, tenancy.OrgWide) || may(p, tenancy.Platform)
}

type jobsIn struct {
	PageParam
	Open  bool   `query:"open" doc:"only those that have not ended"`
	State string `query:"state" maxLength:"32"`
	Kind  string `query:"kind" maxLength:"64"`
}

func (s *Server) jobOps() {
	op(s, "list-jobs", "compute", "List jobs, newest first", func(ctx context.Context, p *auth.Principal, in *jobsIn) (*out[api.List[api.Job]], error) {
		return paged(jobList, in.PageParam, jobView, func(q page.Page) ([]job.Job, error) {
			return s.Jobs.List(ctx, p.ProjectID, job.Filter{Kind: in.Kind, State: job.State(in.State), Open: in.Open, Limit: q.Limit, After: q.After})
		})
	})
	op(s, "get-job", "compute", "Show a job", func(ctx context.Context, p *auth.Principal, in *JobPath) (*out[api.Job], error) {
		return jobOut(s.Jobs.Get(ctx, p.ProjectID, in.Job))
	})
	op(s, "explain-job", "compute", "Say why a job is where it is, what would start it now and when it is expected to start", s.explainJob)
	for _, act := range []struct {
		id, summary string
		do          func(ctx context.Context, project, id string) (job.Job, error)
	}{
		{"hold-job", "Have a queued job wait until it is released", s.Jobs.Hold},
		{"release-job", "Let a held job go on", s.Jobs.Release},
		{"requeue-job", "End a running job's attempt and have it wait for its turn again", s.Jobs.Requeue},
		{"cancel-job", "End a job for good", func(ctx context.Context, project, id string) (job.Job, error) {
			return s.Jobs.Cancel(ctx, project, id, "It was cancelled on request.")
		}},
	} {
		op(s, act.id, "compute", act.summary, func(ctx context.Context, p *auth.Principal, in *JobPath) (*out[api.Job], error) {
			return jobOut(act.do(ctx, p.ProjectID, in.Job))
		})
	}
}

func jobOut(j job.Job, err error) (*out[api.Job], error) { return &out[api.Job]{jobView(j)}, err }

func (s *Server) explainJob(ctx context.Context, p *auth.Principal, in *JobPath) (*out[api.Explanation], error) {
	j, err := s.Jobs.Get(ctx, p.ProjectID, in.Job)
	if err != nil {
		return nil, err
	}
	x := s.Queue.Explain(j)
	a := api.Explanation{Job: j.ID, State: string(j.State), Stage: x.Stage, Bound: x.Bound, Have: x.Have, Want: x.Want, Ahead: x.Ahead,
		Reason: cmp.Or(x.Reason, j.Reason), P50: timeOrNil(x.P50), P90: timeOrNil(x.P90)}
	if c := x.Change; c != nil {
		a.Change = &api.Change{Kind: c.Kind, Name: c.Name, To: c.To, Text: c.Text}
	}
	return &out[api.Explanation]{a}, nil
}

func (s *Server) nodeOps() {
	op(s, "list-nodes", "compute", "List nodes", func(ctx context.Context, p *auth.Principal, in *PageParam) (*out[api.List[api.Node]], error) {
		return paged(nodeList, *in, nodeView(p), func(q page.Page) ([]queue.NodeView, error) {
			all, err := s.Queue.Nodes(ctx)
			return page.Cut(all, q, nodeList.key), err
		})
	})
	op(s, "drain-node", "compute", "Have a node take no new work; what runs there goes on", func(ctx context.Context, p *auth.Principal, in *struct {
		NodePath
		Body api.Drain
	}) (*out[api.Node], error) {
		return s.drain(ctx, p, in.Node, true, in.Body.Reason)
	})
	op(s, "resume-node", "compute", "Have a node take work again", func(ctx context.Context, p *auth.Principal, in *NodePath) (*out[api.Node], error) {
		return s.drain(ctx, p, in.Node, false, "")
	})
}

func (s *Server) drain(ctx context.Context, p *auth.Principal, node string, draining bool, reason string) (*out[api.Node], error) {
	if err := s.Queue.Drain(ctx, node, draining, reason); err != nil {
		return nil, err
	}
	all, err := s.Queue.Nodes(ctx)
	for _, n := range all {
		if n.Name == node {
			return &out[api.Node]{nodeView(p)(n)}, nil
		}
	}
	return nil, cmp.Or(err, error(fault.New(fault.NotFound, "There is no node "+node+".")))
}

func (s *Server) windowOps() {
	op(s, "list-windows", "compute", "List maintenance windows and reservations of nodes", func(ctx context.Context, p *auth.Principal, in *PageParam) (*out[api.List[api.Window]], error) {
		return paged(windowList, *in, windowView(p), func(q page.Page) ([]queue.WindowView, error) {
			all, err := s.Queue.Windows(ctx)
			return page.Cut(all, q, windowList.key), err
		})
	})
	op(s, "add-window", "compute", "Keep nodes free for a time: for nobody, as in maintenance, or for one project", func(ctx context.Context, p *auth.Principal, in *struct {
		Body api.NewWindow
	}) (*out[api.Window], error) {
		b := in.Body
		w := queue.Window{Name: b.Name, Nodes: b.Nodes, Until: b.Until, Reason: b.Reason}
		if b.From != nil {
			w.From = *b.From
		}
		if b.Project != "" {
			row, err := s.Queue.Project(ctx, p.OrgID, b.Project)
			if err != nil {
				return nil, err
			}
			w.Project = row.Project
		}
		v, err := s.Queue.AddWindow(ctx, w)
		return &out[api.Window]{windowView(p)(v)}, err
	}, status(http.StatusCreated))
	op(s, "remove-window", "compute", "Take a window away", func(ctx context.Context, _ *auth.Principal, in *WindowPath) (*none, error) {
		return nil, s.Queue.RemoveWindow(ctx, in.Window)
	}, status(http.StatusNoContent))
}

// windowView shows a window, with its project to those who may know of it.
func windowView(p *auth.Principal) func(queue.WindowView) api.Window {
	return func(w queue.WindowView) api.Window {
		a := api.Window{Name: w.Name, Kind: "maintenance", Nodes: w.Nodes, From: w.From, Until: w.Until, State: w.State}
		if w.Project != "" {
			a.Kind = "reservation"
		}
		if w.Project == "" || sees(p, w.Row) {
			a.Project, a.ProjectName, a.Reason = w.Project, w.Row.Name, w.Reason
		}
		return a
	}
}

func (s *Server) quotaOps() {
	op(s, "list-quotas", "compute", "List the quotas that the caller may see: its project's, its organisation's or all", func(ctx context.Context, p *auth.Principal, in *PageParam) (*out[api.List[api.Quota]], error) {
		return paged(quotaList, *in, quotaView, func(q page.Page) ([]queue.Row, error) {
			all, err := s.Queue.Quotas(ctx)
			return page.Cut(seen(p, all, func(r queue.Row) queue.Row { return r }), q, quotaList.key), err
		})
	})
	op(s, "set-quota", "compute", "Set what the queue of a project is promised and bounded by", func(ctx context.Context, p *auth.Principal, in *struct {
		QuotaPath
		Body api.NewQuota
	}) (*out[api.Quota], error) {
		row, err := s.Queue.Project(ctx, p.OrgID, in.Project)
		if err != nil {
			return nil, err
		}
		b := in.Body
		made, err := s.Queue.SetQuota(ctx, queue.Quota{Project: row.Project, Weight: b.Weight, Guarantee: b.Guarantee, Ceiling: b.Ceiling})
		if err == nil && b.OrgWeight > 0 {
			err = s.Queue.SetOrgWeight(ctx, row.Org, b.OrgWeight)
			made.OrgWeight = b.OrgWeight
		}
		return &out[api.Quota]{quotaView(made)}, err
	})
	op(s, "remove-quota", "compute", "Take the quota of a project away", func(ctx context.Context, p *auth.Principal, in *QuotaPath) (*none, error) {
		row, err := s.Queue.Project(ctx, p.OrgID, in.Project)
		if err != nil {
			return nil, err
		}
		return nil, s.Queue.RemoveQuota(ctx, row.Project)
	}, status(http.StatusNoContent))
}

func queueView(v queue.QueueView) api.Queue {
	return api.Queue{Project: v.Project, Name: v.Name, Organisation: v.OrgName, Weight: max(1, v.Weight), OrgWeight: max(1, v.OrgWeight), Held: counts(v.Held),
		Guarantee: counts(v.Guarantee), Ceiling: counts(v.Ceiling), Waiting: v.Waiting, Parked: v.Parked, Running: v.Running, Share: v.Share, Used: v.Used, Next: v.Next}
}

func quotaView(r queue.Row) api.Quota {
	return api.Quota{Project: r.Project, Name: r.Name, Organisation: r.OrgName, Weight: max(1, r.Weight), OrgWeight: max(1, r.OrgWeight),
		Guarantee: counts(r.Guarantee), Ceiling: counts(r.Ceiling)}
}

// counts is a map that is written as an object even if it is empty.
func counts(m map[string]int64) map[string]int64 {
	if m == nil {
		return map[string]int64{}
	}
	return m
}

// nodeView shows a node with those of its jobs that a principal may see.
func nodeView(p *auth.Principal) func(queue.NodeView) api.Node {
	return func(n queue.NodeView) api.Node {
		a := api.Node{Name: n.Name, Site: n.Site, Chip: n.Chip, Chips: n.Chips, Used: n.Used, Draining: n.Draining, Reason: n.Reason,
			Since: timeOrNil(n.Since), Jobs: []api.NodeJob{}}
		for _, j := range n.Jobs {
			if j.Project == p.ProjectID || may(p, tenancy.Platform) {
				a.Jobs = append(a.Jobs, api.NodeJob{Job: j.Job, Project: j.Project, Chips: j.Chips})
			}
		}
		return a
	}
}

func jobView(j job.Job) api.Job {
	a := api.Job{ID: j.ID, Kind: j.Kind, Class: string(j.ClassOf()), Name: j.Name, Owner: j.Owner, State: string(j.State), Reason: j.Reason, Fault: j.Fault,
		Priority: j.Priority, CPUs: j.CPUs, Placing: placingView(j.Ask), Held: j.Standing.Held, Attempt: j.Attempt, Restarts: j.Restarts,
		Preempted: j.Standing.Preempted, Ran: j.Standing.Ran.Seconds(), CreatedAt: j.CreatedAt, StartedAt: timeOrNil(j.StartedAt),
		AttemptAt: timeOrNil(j.AttemptAt), EndedAt: timeOrNil(j.EndedAt)}
	if w := j.Standing.Placement; w != nil {
		a.Chip = w.Chip
		for _, s := range w.Seats {
			a.Placement = append(a.Placement, api.Seat{Node: s.Node, Chips: s.Chips, Devices: s.Devices})
		}
	}
	return a
}

func placingView(a job.Ask) api.Placing {
	return api.Placing{Chips: a.Chips, MinChips: a.MinChips, ChipTypes: a.ChipTypes, Objective: a.Objective, TimeLimit: int64(a.TimeLimit / time.Second),
		Deadline: timeOrNil(a.Deadline), Begin: timeOrNil(a.NotBefore), After: a.After, Hold: a.Hold, Fast: a.Class == job.Evaluation}
}

// ask is what a request asks of the scheduler. A time limit beyond any is one that the job's check refuses.
func ask(p api.Placing) job.Ask {
	const most = int64(1) << 33
	a := job.Ask{Chips: p.Chips, MinChips: p.MinChips, ChipTypes: p.ChipTypes, Objective: p.Objective, TimeLimit: time.Duration(min(p.TimeLimit, most)) * time.Second, After: p.After, Hold: p.Hold}
	if p.Deadline != nil {
		a.Deadline = p.Deadline.UTC()
	}
	if p.Begin != nil {
		a.NotBefore = p.Begin.UTC()
	}
	if p.Fast {
		a.Class = job.Evaluation
	}
	return a
}
