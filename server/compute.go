package server

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"strconv"

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
	End(ctx context.Context, project, id, reason string) (job.Job, error)
	Forget(ctx context.Context, project, id string) error
	Logs(ctx context.Context, project, id string, attempt int, offset int64, limit int) (job.LogChunk, error)
	Refer(ctx context.Context, project string, names []string) ([]string, error)
}

// Queue is what the control API asks of the planner.
type Queue interface {
	Queues() []queue.QueueView
	Explain(j job.Job) queue.Explanation
	Nodes(ctx context.Context) ([]queue.NodeView, error)
	Drain(ctx context.Context, node string, draining bool, reason string) error
	Declare(ctx context.Context, node, chip, count string) (queue.NodeView, error)
	Undeclare(ctx context.Context, node string) error
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
		id := j.ID
		if j.Tally != nil { // an array stands where its leading element stands
			id = j.Tally.Lead
		}
		return page.Key{strconv.FormatInt(j.CreatedAt.UnixMicro(), 10), id}
	}}
	queueList  = listing[queue.QueueView]{"queues", 1, func(q queue.QueueView) page.Key { return page.Key{q.Project} }}
	quotaList  = listing[queue.Row]{"quotas", 1, func(r queue.Row) page.Key { return page.Key{r.Project} }}
	windowList = listing[queue.WindowView]{"node-windows", 1, func(w queue.WindowView) page.Key { return page.Key{w.Name} }}
	nodeList   = listing[queue.NodeView]{"nodes", 1, func(n queue.NodeView) page.Key { return page.Key{n.Name} }}
)

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
	s.measuredOps()
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

func (s *Server) nodeOps() {
	op(s, "list-nodes", "compute", "List nodes", func(ctx context.Context, p *auth.Principal, in *PageParam) (*out[api.List[api.Node]], error) {
		return paged(nodeList, *in, nodeView(p), func(q page.Page) ([]queue.NodeView, error) {
			all, err := s.Queue.Nodes(ctx)
			return page.Cut(all, q, nodeList.key), err
		})
	})
	op(s, "get-node", "compute", "Show a node, to those who may see the platform with what happened to its devices", func(ctx context.Context, p *auth.Principal, in *NodePath) (*out[api.Node], error) {
		n, err := s.node(ctx, p, in.Node)
		if err != nil || s.Happened == nil || !may(p, tenancy.Platform) {
			return n, err
		}
		for _, e := range s.Happened(in.Node) {
			n.Body.Events = append(n.Body.Events, api.NodeEvent{At: e.At, Number: e.Slot, ID: e.ID, Level: e.Level.String(), Code: e.Code, Says: e.Says})
		}
		return n, nil
	})
	op(s, "declare-node", "compute", "Declare a node's chips by hand; chips of the class that were found are not given out then", func(ctx context.Context, p *auth.Principal, in *struct {
		NodePath
		Body api.NewNode
	}) (*out[api.Node], error) {
		n, err := s.Queue.Declare(ctx, in.Node, in.Body.Chip, in.Body.Chips)
		if err != nil {
			return nil, err
		}
		return &out[api.Node]{nodeView(p)(n)}, nil
	})
	op(s, "remove-node", "compute", "Take a node away that was declared by hand", func(ctx context.Context, _ *auth.Principal, in *NodePath) (*none, error) {
		return nil, s.Queue.Undeclare(ctx, in.Node)
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
	return s.node(ctx, p, node)
}

// node is one node as a principal may see it.
func (s *Server) node(ctx context.Context, p *auth.Principal, node string) (*out[api.Node], error) {
	all, err := s.Queue.Nodes(ctx)
	for _, n := range all {
		if n.Name == node {
			return &out[api.Node]{nodeView(p)(n)}, nil
		}
	}
	return nil, cmp.Or(err, error(fault.New(fault.NotFound, fmt.Sprintf("There is no node %.80q.", node), fault.Fix("The list of nodes, `triarch node ls`, names those there are"))))
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
		b, q := in.Body, row.Quota
		q.Project, q.Weight = row.Project, cmp.Or(b.Weight, q.Weight)
		if b.Guarantee != nil {
			q.Guarantee = b.Guarantee
			maps.DeleteFunc(q.Guarantee, func(_ string, n int64) bool { return n == 0 })
		}
		if b.Ceiling != nil {
			q.Ceiling = b.Ceiling
		}
		made, err := s.Queue.SetQuota(ctx, q)
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
			Since: timeOrNil(n.Since), Declared: n.Declared, Jobs: []api.NodeJob{}}
		for i, d := range n.Devices {
			x := api.NodeDevice{Number: i, ID: d.ID, Name: d.Name, Out: d.Out, Since: timeOrNil(d.Since), Faults: d.Faults}
			if d.Memory > 0 {
				x.MemoryBytes = int64(d.Memory)
			}
			a.Devices = append(a.Devices, x)
		}
		for _, j := range n.Jobs {
			if j.Project == p.ProjectID || may(p, tenancy.Platform) {
				a.Jobs = append(a.Jobs, api.NodeJob{Job: j.Job, Project: j.Project, Chips: j.Chips})
			}
		}
		return a
	}
}
