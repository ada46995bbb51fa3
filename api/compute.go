package api

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// Placing is what work asks of the scheduler beside cores and priority.
type Placing struct {
	Chips     int        `json:"chips,omitempty" doc:"accelerators, all at once; default none: the cores alone"`
	MinChips  int        `json:"min_chips,omitempty" doc:"it starts and goes on with as few as these where there are no more; default: chips"`
	ChipTypes []string   `json:"chip_types,omitempty" doc:"classes of chips it can use; default: any"`
	Objective string     `json:"objective,omitempty" doc:"cheapest (default), fastest or greenest"`
	TimeLimit int64      `json:"time_limit_s,omitempty" minimum:"0" doc:"longest time of one attempt in seconds; it is ended then"`
	Deadline  *time.Time `json:"deadline,omitempty" doc:"it should have ended by then"`
	Begin     *time.Time `json:"begin,omitempty" doc:"it does not start earlier"`
	After     []string   `json:"after,omitempty" doc:"jobs of the project that must have succeeded first"`
	Hold      bool       `json:"hold,omitempty" doc:"it waits until it is released"`
	Fast      bool       `json:"fast,omitempty" doc:"short evaluation or debug work, for the fast lane; needs a time limit"`
}

// Seat is what a job holds of a node.
type Seat struct {
	Node    string  `json:"node"`
	Chips   int     `json:"chips"`
	Devices []int32 `json:"devices,omitempty" doc:"numbers of the chips, as told to the work in TRIARCH_DEVICES"`
}

// Job is one piece of work: of a run, a replica, or a program of somebody's. An array is one, too, with the counts of its
// elements.
type Job struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind" doc:"train, replica, ..."`
	Class     string     `json:"class" doc:"batch, evaluation, interactive or service"`
	Name      string     `json:"name"`
	Owner     string     `json:"owner,omitempty" doc:"id of the run or replica"`
	State     string     `json:"state" doc:"queued, starting, running, preempting, stopping, succeeded, failed or cancelled"`
	Reason    string     `json:"reason,omitempty"`
	Fault     string     `json:"fault,omitempty" doc:"who must act: node, program or platform"`
	Priority  int        `json:"priority,omitempty"`
	CPUs      int        `json:"cpus,omitempty"`
	Placing   Placing    `json:"placing,omitzero"`
	Held      bool       `json:"held,omitempty"`
	Chip      string     `json:"chip,omitempty" doc:"class of the chips it holds, or held last"`
	Placement []Seat     `json:"placement,omitempty" doc:"what it holds, or held last"`
	Attempt   int        `json:"attempt,omitempty"`
	Restarts  int        `json:"restarts,omitempty"`
	Command   []string   `json:"command,omitempty" nullable:"false" doc:"of a program"`
	ExitCode  *int       `json:"exit_code,omitempty" doc:"of its last attempt, once it has ended; -1 if a signal ended it, or nobody saw it end"`
	Array     *JobArray  `json:"array,omitempty" doc:"which array it is, or is an element of"`
	Preempted int        `json:"preempted,omitempty" doc:"how often it made way"`
	Ran       float64    `json:"ran_s" doc:"running time of the attempts that have ended, seconds"`
	CreatedAt time.Time  `json:"created_at"`
	StartedAt *time.Time `json:"started_at,omitempty"`
	AttemptAt *time.Time `json:"attempt_at,omitempty"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
}

// JobArray says of a job that it is an array, or an element of one.
type JobArray struct {
	ID       string         `json:"id"`
	Index    *int           `json:"index,omitempty" doc:"of an element: its number, as it is told in TRIARCH_ARRAY_INDEX"`
	Elements int            `json:"elements"`
	Limit    int            `json:"limit,omitempty" doc:"most elements at once"`
	Counts   map[string]int `json:"counts,omitempty" doc:"of the array itself: elements by state"`
}

// NewJob is a program to be run.
type NewJob struct {
	Name        string            `json:"name,omitempty" maxLength:"200" doc:"default: the program's own"`
	Command     []string          `json:"command" nullable:"false" minItems:"1" maxItems:"1024" doc:"program and arguments; no shell reads them"`
	Env         map[string]string `json:"env,omitempty" doc:"environment beside PATH, HOME, USER, TMPDIR, LANG, LC_ALL, TZ and what Triarch tells"`
	CPUs        int               `json:"cpus,omitempty" minimum:"0" doc:"cores; default 1"`
	MemoryBytes int64             `json:"memory_bytes,omitempty" minimum:"0" doc:"it is ended above this; default no bound"`
	Priority    int               `json:"priority,omitempty" doc:"higher goes first"`
	Grace       int64             `json:"grace_s,omitempty" minimum:"0" doc:"seconds between SIGTERM and SIGKILL when it must end; default 30"`
	Retries     int               `json:"retries,omitempty" minimum:"0" doc:"how often it is started again after it failed by itself; default never"`
	Array       string            `json:"array,omitempty" maxLength:"8192" doc:"run an element for each of these numbers, such as 0-9, 1,3,5-7 or 0-99%4 for at most four at once"`
	Interactive bool              `json:"interactive,omitempty" doc:"somebody waits for it"`
	Work        *JobWork          `json:"work,omitempty" doc:"what it computes: classes of chips are compared by how fast it is thought to be on them"`
	Placing
}

// JobWork is what a program computes. What is left out is filled in as in a ChipQuestion.
type JobWork struct {
	Model     string `json:"model" minLength:"1" maxLength:"200" doc:"name of a shape that is known, or of a model of the registry"`
	Task      string `json:"task" maxLength:"32" doc:"train, post-train, serve, prefill, decode or embed"`
	Engine    string `json:"engine,omitempty" maxLength:"64" doc:"whose speed is meant; default: the mean of all"`
	Precision string `json:"precision,omitempty" maxLength:"16" doc:"of the products; default: the best that a chip has"`
	Weights   string `json:"weights,omitempty" maxLength:"16" doc:"how weights are kept: a precision, int4, or bits such as 4.5b"`
	Batch     int    `json:"batch,omitempty" minimum:"0" maximum:"16777216" doc:"training: sequences of a step; else sequences at once, default: as many as fit"`
	Context   int    `json:"context,omitempty" minimum:"0" maximum:"16777216" doc:"tokens of a sequence; decode: in the cache"`
	Prompt    int    `json:"prompt,omitempty" minimum:"0" maximum:"16777216" doc:"serve: tokens of a prompt"`
	Output    int    `json:"output,omitempty" minimum:"0" maximum:"16777216" doc:"serve: tokens of an answer"`
	LoRA      int    `json:"lora,omitempty" minimum:"0" maximum:"65536" doc:"post-train: rank of the adapters; 0: all weights are trained"`
}

// Change is the cheapest change with which a waiting job would start now.
type Change struct {
	Kind string `json:"kind" doc:"chip, site, smaller, queue, less or quota"`
	Name string `json:"name,omitempty"`
	To   int    `json:"to,omitempty"`
	Text string `json:"text"`
}

// Explanation is why a job is where it is.
type Explanation struct {
	Job    string     `json:"job"`
	State  string     `json:"state"`
	Stage  string     `json:"stage,omitempty" doc:"of the plan that refused it: feasible, entitled, ordered, matched, reserved, preempted or placed"`
	Bound  string     `json:"bound,omitempty" doc:"the constraint that binds, in a word"`
	Have   int64      `json:"have" doc:"of what binds"`
	Want   int64      `json:"want"`
	Unit   string     `json:"unit,omitempty" doc:"of have and want: chips, thousandths of a chip, ms or jobs"`
	Ahead  int        `json:"ahead" doc:"jobs of its queue that come before it"`
	Reason string     `json:"reason"`
	Change *Change    `json:"change,omitempty"`
	P50    *time.Time `json:"expected_p50,omitempty" doc:"it is expected to start by then in half of all cases"`
	P90    *time.Time `json:"expected_p90,omitempty" doc:"by then in nine of ten"`
}

// Queue is where the jobs of a project wait.
type Queue struct {
	Project      string           `json:"project"`
	Name         string           `json:"name" doc:"of the project"`
	Organisation string           `json:"organisation"`
	Weight       int64            `json:"weight" doc:"parts of what its organisation gets of the rest"`
	OrgWeight    int64            `json:"org_weight" doc:"parts of the fleet for the organisation"`
	Held         map[string]int64 `json:"held" nullable:"false" doc:"chips in use by class"`
	Guarantee    map[string]int64 `json:"guarantee" nullable:"false" doc:"chips it gets whenever it asks for them, by class"`
	Ceiling      map[string]int64 `json:"ceiling" nullable:"false" doc:"chips it never exceeds, by class"`
	Waiting      int              `json:"waiting" doc:"jobs that wait for room"`
	Parked       int              `json:"parked" doc:"jobs that wait for something else: held, a later beginning, other jobs"`
	Running      int              `json:"running" doc:"jobs"`
	Share        float64          `json:"share" doc:"its part of what all queues had beyond their guarantees lately, by weight; 0 to 1"`
	Used         int64            `json:"used_micros" doc:"what it had beyond its guarantee, decayed"`
	Next         string           `json:"next,omitempty" doc:"the job that is the next to start"`
}

// Quota is what the queue of a project is promised and bounded by.
type Quota struct {
	Project      string           `json:"project"`
	Name         string           `json:"name"`
	Organisation string           `json:"organisation"`
	Weight       int64            `json:"weight"`
	OrgWeight    int64            `json:"org_weight"`
	Guarantee    map[string]int64 `json:"guarantee" nullable:"false"`
	Ceiling      map[string]int64 `json:"ceiling" nullable:"false"`
}

// NewQuota sets a quota.
type NewQuota struct {
	Weight    int64            `json:"weight,omitempty" minimum:"0" doc:"0 leaves it as it is, at first 1"`
	OrgWeight int64            `json:"org_weight,omitempty" minimum:"0" maximum:"1000000" doc:"of the project's organisation; 0 leaves it as it is"`
	Guarantee map[string]int64 `json:"guarantee,omitempty" doc:"chips by class, 0 for none; without it they stay as they are"`
	Ceiling   map[string]int64 `json:"ceiling,omitempty" doc:"chips by class, a class that is missing has no ceiling; without it they stay as they are"`
}

// Node is a machine, or a part of one that is given out by itself.
type Node struct {
	Name     string     `json:"name"`
	Site     string     `json:"site"`
	Chip     string     `json:"chip"`
	Chips    int        `json:"chips"`
	Used     int        `json:"used" doc:"chips that jobs hold"`
	Draining bool       `json:"draining,omitempty" doc:"it takes no new work"`
	Reason   string     `json:"reason,omitempty"`
	Since    *time.Time `json:"since,omitempty"`
	Jobs     []NodeJob  `json:"jobs" nullable:"false" doc:"the jobs on it that the caller may see"`
	Declared bool       `json:"declared,omitempty" doc:"by hand, and not in the configuration"`
	// Devices are those that were found, by number.
	Devices []NodeDevice `json:"devices,omitempty" doc:"the devices that were found on it, by number"`
	// Events are told for one node alone, to the operator.
	Events []NodeEvent `json:"events,omitempty" doc:"what happened to its devices, the newest first; of one node, for those who may see the platform"`
}

// NodeEvent is something that happened to a device of a node.
type NodeEvent struct {
	At     time.Time `json:"at"`
	Number int       `json:"number" doc:"of the device"`
	ID     string    `json:"id" doc:"of the device, as its vendor's tool calls it"`
	Level  string    `json:"level" doc:"what follows: note, restart task, restart device, drain or remove"`
	Code   string    `json:"code"`
	Says   string    `json:"says"`
}

// NodeDevice is a device of a node.
type NodeDevice struct {
	Number      int        `json:"number"`
	ID          string     `json:"id" doc:"as its vendor's tool calls it"`
	Name        string     `json:"name"`
	MemoryBytes int64      `json:"memory_bytes,omitempty"`
	Out         string     `json:"out,omitempty" doc:"why it takes no work; empty: it does"`
	Since       *time.Time `json:"since,omitempty"`
	Faults      []string   `json:"faults,omitempty"`
}

// NewNode declares a node's chips.
type NewNode struct {
	Chip  string `json:"chip" minLength:"1" maxLength:"63" doc:"class of its chips: an id of the catalogue, or a name of one's own"`
	Chips string `json:"chips" minLength:"1" maxLength:"400" doc:"how many: a number, or with a plus between those of each link group, such as 4+4"`
}

// NodeJob is a job on a node.
type NodeJob struct {
	Job     string `json:"job"`
	Project string `json:"project"`
	Chips   int    `json:"chips"`
}

// Drain is why a node takes no new work.
type Drain struct {
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

// Window is a time in which nodes take no work but that of one project.
type Window struct {
	Name        string    `json:"name"`
	Kind        string    `json:"kind" doc:"maintenance, in which nobody's work starts there, or reservation"`
	Nodes       []string  `json:"nodes" nullable:"false"`
	From        time.Time `json:"from"`
	Until       time.Time `json:"until"`
	State       string    `json:"state" doc:"planned, open or over"`
	Project     string    `json:"project,omitempty" doc:"whose work may run there, if the caller may see its queue"`
	ProjectName string    `json:"project_name,omitempty"`
	Reason      string    `json:"reason,omitempty"`
}

// NewWindow asks for one.
type NewWindow struct {
	Name    string     `json:"name" maxLength:"63"`
	Nodes   []string   `json:"nodes" minItems:"1" maxItems:"1024"`
	From    *time.Time `json:"from,omitempty" doc:"default: now"`
	Until   time.Time  `json:"until"`
	Project string     `json:"project,omitempty" maxLength:"200" doc:"id, or name in the caller's organisation, of the project it is reserved for; default: nobody, as in maintenance"`
	Reason  string     `json:"reason,omitempty" maxLength:"500"`
}

// Windows lists the maintenance windows and reservations of nodes.
func (c *Client) Windows(ctx context.Context) ([]Window, error) {
	return items[Window](ctx, c, path("node-windows"))
}

// AddWindow keeps nodes free for a time.
func (c *Client) AddWindow(ctx context.Context, w NewWindow) (Window, error) {
	return call[Window](ctx, c, http.MethodPost, path("node-windows"), w)
}

// RemoveWindow takes a window away.
func (c *Client) RemoveWindow(ctx context.Context, name string) error {
	return none(ctx, c, http.MethodDelete, path("node-windows", name))
}

// Queues lists the queues the caller may see: its project's, the organisation's, or all.
func (c *Client) Queues(ctx context.Context) ([]Queue, error) {
	return items[Queue](ctx, c, path("queues"))
}

// JobFilter narrows a list of jobs.
type JobFilter struct {
	Open  bool // only those that have not ended
	State string
	Kind  string

	Array   string // only the elements of this array
	Fold    bool   // each array as one job; State is not looked at then
	Project string // another than the key's
}

// Jobs lists the project's jobs, newest first.
func (c *Client) Jobs(ctx context.Context, f JobFilter) ([]Job, error) {
	open, fold := "", ""
	if f.Open {
		open = strconv.FormatBool(true)
	}
	if f.Fold {
		fold = strconv.FormatBool(true)
	}
	return items[Job](ctx, c, path("jobs")+params("open", open, "state", f.State, "kind", f.Kind, "array", f.Array, "fold", fold, "project", f.Project))
}

// CreateJob runs a program. The project is empty for the key's own, here and in the following calls.
func (c *Client) CreateJob(ctx context.Context, project string, n NewJob) (Job, error) {
	return call[Job](ctx, c, http.MethodPost, path("jobs")+params("project", project), n)
}

// Job shows a job, an array or an element of one.
func (c *Client) Job(ctx context.Context, project, id string) (Job, error) {
	return call[Job](ctx, c, http.MethodGet, path("jobs", id)+params("project", project), nil)
}

// JobLogs reads a piece of a job's output. LogQuery.Replica is not used.
func (c *Client) JobLogs(ctx context.Context, project, id string, q LogQuery) (Logs, error) {
	return call[Logs](ctx, c, http.MethodGet, path("jobs", id, "logs")+params("project", project, "attempt", strconv.Itoa(q.Attempt), "offset", strconv.FormatInt(q.Offset, 10),
		"limit", strconv.Itoa(q.Limit)), nil)
}

// ExplainJob says why a job is where it is, what would start it now and when it is expected to start.
func (c *Client) ExplainJob(ctx context.Context, project, id string) (Explanation, error) {
	return call[Explanation](ctx, c, http.MethodGet, path("jobs", id, "explanation")+params("project", project), nil)
}

// JobAct holds, releases, requeues or cancels a job, or the elements of an array.
func (c *Client) JobAct(ctx context.Context, project, id, act string) (Job, error) {
	return call[Job](ctx, c, http.MethodPost, path("jobs", id, act)+params("project", project), nil)
}

// RemoveJob forgets an ended program, or an array of them, with its output and its files.
func (c *Client) RemoveJob(ctx context.Context, project, id string) error {
	return none(ctx, c, http.MethodDelete, path("jobs", id)+params("project", project))
}

// Nodes lists the nodes.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	return items[Node](ctx, c, path("nodes"))
}

// Node shows one node, to the operator with what happened to its devices.
func (c *Client) Node(ctx context.Context, node string) (Node, error) {
	return call[Node](ctx, c, http.MethodGet, path("nodes", node), nil)
}

// DeclareNode declares a node's chips by hand.
func (c *Client) DeclareNode(ctx context.Context, node string, n NewNode) (Node, error) {
	return call[Node](ctx, c, http.MethodPut, path("nodes", node), n)
}

// RemoveNode takes a node away that was declared by hand.
func (c *Client) RemoveNode(ctx context.Context, node string) error {
	return none(ctx, c, http.MethodDelete, path("nodes", node))
}

// DrainNode has a node take no new work.
func (c *Client) DrainNode(ctx context.Context, node, reason string) (Node, error) {
	return call[Node](ctx, c, http.MethodPost, path("nodes", node, "drain"), Drain{reason})
}

// ResumeNode has a node take work again.
func (c *Client) ResumeNode(ctx context.Context, node string) (Node, error) {
	return call[Node](ctx, c, http.MethodPost, path("nodes", node, "resume"), nil)
}

// Quotas lists the quotas the caller may see.
func (c *Client) Quotas(ctx context.Context) ([]Quota, error) {
	return items[Quota](ctx, c, path("quotas"))
}

// SetQuota sets the quota of a project, by id or name.
func (c *Client) SetQuota(ctx context.Context, project string, q NewQuota) (Quota, error) {
	return call[Quota](ctx, c, http.MethodPut, path("quotas", project), q)
}

// RemoveQuota takes the quota of a project away.
func (c *Client) RemoveQuota(ctx context.Context, project string) error {
	return none(ctx, c, http.MethodDelete, path("quotas", project))
}
