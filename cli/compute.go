package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
)

func (a *app) queueCommand() *cobra.Command {
	return a.verb("queue", "Show the queues: what they hold, are promised and wait for, and who is next", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		list, err := c.Queues(ctx)
		if err != nil {
			return err
		}
		return a.Value(list, func() {
			a.Table([]string{"queue", "organisation", "held", "guarantee", "ceiling", "running", "waiting", "parked", "share", "next"}, rows(list, func(q api.Queue) []string {
				return []string{q.Name, q.Organisation, chips(q.Held), chips(q.Guarantee), chips(q.Ceiling), fmt.Sprint(q.Running), fmt.Sprint(q.Waiting), fmt.Sprint(q.Parked),
					fmt.Sprintf("%.0f%%", 100*q.Share), first(q.Next, "-")}
			}))
		})
	})
}

// chips writes amounts by class.
func chips(m map[string]int64) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%d %s", m[k], k))
	}
	return first(strings.Join(out, ", "), "-")
}

func (a *app) jobCommand() *cobra.Command {
	var f api.JobFilter
	var all bool
	var project string
	ls := a.verb("ls [ARRAY]", "List jobs that have not ended, newest first, each array as one; or the elements of an array", cobra.MaximumNArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		f.Open, f.Project = !all && f.State == "" && len(args) == 0, project
		f.Fold = !all && f.State == "" && len(args) == 0
		if len(args) == 1 {
			j, err := a.findJob(ctx, c, project, args[0])
			if err != nil {
				return err
			}
			if j.Array == nil {
				return fault.InvalidField("ARRAY", "%s is a job and no array", args[0])
			}
			f.Array = j.Array.ID
		}
		list, err := c.Jobs(ctx, f)
		if err != nil {
			return err
		}
		return a.Value(list, func() {
			a.Table([]string{"job", "name", "class", "state", "asks", "holds", "preempted", "reason", "age"}, rows(list, func(j api.Job) []string {
				return []string{jobName(j), j.Name, j.Class, j.State, asks(j), holds(j), fmt.Sprint(j.Preempted), j.Reason, a.ago(j.CreatedAt)}
			}))
		})
	})
	ls.Flags().BoolVar(&all, "all", false, "also those that have ended, and each element of an array")
	ls.Flags().StringVar(&f.State, "state", "", "only those in this state")
	ls.Flags().StringVar(&f.Kind, "kind", "", "only those of this kind: train, replica, program")
	show := a.jobVerb(&project, "show", "Show a job", func(ctx context.Context, c *api.Client, j api.Job) error {
		return a.Value(j, func() { a.showJob(j) })
	})
	explain := a.jobVerb(&project, "explain", "Say why a job waits, what would start it now, and when it is expected to start", func(ctx context.Context, c *api.Client, j api.Job) error {
		x, err := c.ExplainJob(ctx, project, j.ID)
		if err != nil {
			return err
		}
		return a.Value(x, func() {
			if x.Job != j.ID {
				a.Printf("Of array %s:\n", j.ID)
			}
			a.explain(x)
		})
	})
	verbs := []*cobra.Command{a.submitCommand(&project), a.runProgramCommand(&project), ls, show, explain, a.jobLogsCommand(&project)}
	for _, v := range [][2]string{
		{"hold", "Have a job that waits go on waiting until it is released"},
		{"release", "Let a held job go on"},
		{"requeue", "End a running job's attempt, which may save its work, and have it wait for its turn again"},
		{"cancel", "End a job for good"},
	} {
		verbs = append(verbs, a.verb(v[0]+" JOB...", v[1]+": by id, run, name or the name of an array", cobra.MinimumNArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
			list, err := a.findJobs(ctx, c, project, args)
			if err != nil {
				return err
			}
			return a.actAll(ctx, c, project, list, v[0])
		}))
	}
	verbs = append(verbs, a.verb("rm JOB", "Forget an ended program, or an array of them, with its output and its files", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		j, err := a.findJob(ctx, c, project, args[0])
		if err != nil {
			return err
		}
		if err := c.RemoveJob(ctx, project, j.ID); err != nil {
			return err
		}
		return a.Value(map[string]string{"removed": j.ID}, func() { a.Printf("%s is removed\n", j.ID) })
	}))
	n := noun("job", "Jobs: programs, and the work of runs and deployments, in the queue", verbs...)
	n.PersistentFlags().StringVar(&project, "project", "", "another project of the organisation: id or name")
	return n
}

// actAll does one thing to jobs. One that refuses does not keep the others from it; the errors come last.
func (a *app) actAll(ctx context.Context, c *api.Client, project string, list []api.Job, act string) error {
	var done []api.Job
	var failed error
	var words []string
	for _, j := range list {
		now, err := c.JobAct(ctx, project, j.ID, act)
		if err == nil {
			done = append(done, now)
			continue
		}
		failed = cmp.Or(failed, err)
		words = append(words, j.ID+": "+fault.As(err).Message)
	}
	var shown any = done
	if len(list) == 1 && len(done) == 1 {
		shown = done[0]
	}
	if len(done) > 0 {
		err := a.Value(shown, func() {
			for _, j := range done {
				a.Printf("%s %s%s\n", j.ID, inState(j.State), held(j))
			}
		})
		failed = cmp.Or(failed, err)
	}
	if len(list) > 1 && len(words) > 0 {
		return retold(failed, "%s", strings.Join(words, "\n"))
	}
	return failed
}

// inState is a state as a sentence has it.
func inState(state string) string {
	switch state {
	case "succeeded", "failed":
		return "has " + state
	case "preempting":
		return "is being preempted"
	}
	return "is " + state
}

func held(j api.Job) string {
	if j.Held {
		return " and held"
	}
	return ""
}

// jobVerb is a verb on one job: by its id, the id of its run or replica, or the newest of a name.
func (a *app) jobVerb(project *string, verb, short string, run func(ctx context.Context, c *api.Client, j api.Job) error) *cobra.Command {
	return a.verb(verb+" JOB", short+": by id, run or name", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		j, err := a.findJob(ctx, c, *project, args[0])
		if err != nil {
			return err
		}
		return run(ctx, c, j)
	})
}

// findJob takes the id of a job, an array or an element, the id of a run or replica, or a name, which means the newest job
// or array of that name.
func (a *app) findJob(ctx context.Context, c *api.Client, project, name string) (api.Job, error) {
	if id.Valid("job", name) || strings.HasPrefix(name, "arr_") {
		return c.Job(ctx, project, name)
	}
	owned := id.Valid("run", name) || id.Valid("rep", name)
	list, err := c.Jobs(ctx, api.JobFilter{Fold: !owned, Project: project})
	if err != nil {
		return api.Job{}, err
	}
	for _, j := range list {
		if j.Owner == name && owned || j.Name == name {
			return c.Job(ctx, project, j.ID)
		}
		if k, ok := strings.CutPrefix(name, j.Name+"-"); ok && j.Array != nil && inArray(name, j.Name) { // the run's name
			return c.Job(ctx, project, j.ID+"_"+k)
		}
	}
	return api.Job{}, fault.New(fault.NotFound, fmt.Sprintf("There is no job %q.", name), fault.Fix("See `%s`", a.command("job ls --all")))
}

// jobName is how a job is named in lists: its id, or that of its array with its index.
func jobName(j api.Job) string {
	if j.Array != nil && j.Array.Index != nil {
		return fmt.Sprintf("%s_%d", j.Array.ID, *j.Array.Index)
	}
	return j.ID
}

// asks is what a job asks of the fleet.
func asks(j api.Job) string {
	switch {
	case j.Placing.Chips == 1:
		return "1 " + first(strings.Join(j.Placing.ChipTypes, "|"), "chip")
	case j.Placing.Chips > 0 && j.Placing.MinChips > 0:
		return fmt.Sprintf("%d to %d %s", j.Placing.MinChips, j.Placing.Chips, first(strings.Join(j.Placing.ChipTypes, "|"), "chips"))
	case j.Placing.Chips > 0:
		return fmt.Sprintf("%d %s", j.Placing.Chips, first(strings.Join(j.Placing.ChipTypes, "|"), "chips"))
	case j.CPUs > 0:
		return fmt.Sprintf("%d cpu", j.CPUs)
	}
	return "-"
}

// holds is where a job is.
func holds(j api.Job) string {
	var out []string
	for _, s := range j.Placement {
		var d []string
		for _, n := range s.Devices {
			d = append(d, strconv.Itoa(int(n)))
		}
		out = append(out, fmt.Sprintf("%s:%s", s.Node, strings.Join(d, ",")))
	}
	return first(strings.Join(out, " "), "-")
}

func (a *app) showJob(j api.Job) {
	a.Printf("%s  %s\n", j.ID, j.Name)
	lines := [][2]string{{"state", j.State + held(j)}, {"command", strings.Join(j.Command, " ")}, {"array", arrayLine(j)}, {"exit code", exitCode(j)}, {"reason", j.Reason}, {"who acts", j.Fault}, {"class", j.Class}, {"of", j.Owner}, {"asks", asks(j)}, {"holds", holds(j)},
		{"attempt", fmt.Sprintf("%d, restarted %d times, made way %d times", j.Attempt, j.Restarts, j.Preempted)},
		{"ran", (time.Duration(j.Ran * float64(time.Second))).Round(time.Second).String() + " in attempts that have ended"}}
	if p := j.Placing; true {
		if p.TimeLimit > 0 {
			lines = append(lines, [2]string{"limit", (time.Duration(p.TimeLimit) * time.Second).String()})
		}
		if p.Deadline != nil {
			lines = append(lines, [2]string{"deadline", p.Deadline.Local().Format(time.DateTime)})
		}
		if p.Begin != nil {
			lines = append(lines, [2]string{"begin", p.Begin.Local().Format(time.DateTime)})
		}
		lines = append(lines, [2]string{"after", strings.Join(p.After, ", ")})
	}
	for _, l := range lines {
		if l[1] != "" {
			a.Printf("  %-9s  %s\n", l[0], l[1])
		}
	}
}

func exitCode(j api.Job) string {
	if j.ExitCode == nil {
		return ""
	}
	return strconv.Itoa(*j.ExitCode)
}

func arrayLine(j api.Job) string {
	switch m := j.Array; {
	case m == nil:
		return ""
	case m.Index != nil:
		return fmt.Sprintf("element %d of %s", *m.Index, m.ID)
	default:
		return fmt.Sprintf("%d elements", m.Elements)
	}
}

// explain prints why a job is where it is.
func (a *app) explain(x api.Explanation) {
	a.Printf("%s %s\n", x.Job, inState(x.State))
	if x.Reason != "" {
		a.Printf("  why     %s\n", x.Reason)
	}
	if x.Stage != "" {
		a.Printf("  stage   %s: has %s, wants %s; %d before it\n", first(x.Stage+" ("+x.Bound+")", x.Stage), quantity(x.Have, x.Unit), quantity(x.Want, x.Unit), x.Ahead)
	}
	if x.Change != nil {
		a.Printf("  change  %s\n", x.Change.Text)
	} else if x.Stage != "" {
		a.Printf("  change  none of less, smaller, other chip, other site, other queue or more quota would start it now\n")
	}
	if x.P50 != nil && x.P90 != nil {
		a.Printf("  start   by %s (even odds), by %s (nine in ten)\n", x.P50.Local().Format(time.DateTime), x.P90.Local().Format(time.DateTime))
	}
}

// nodeShown is what -o json prints of a node: with the windows that are not over.
type nodeShown struct {
	api.Node
	Windows []api.Window `json:"windows,omitempty"`
}

// quantity is a number with its unit.
func quantity(n int64, unit string) string {
	switch {
	case unit == "ms":
		return (time.Duration(n) * time.Millisecond).Round(time.Second).String()
	case unit == "":
		return strconv.FormatInt(n, 10)
	case n == 1:
		return "1 " + strings.TrimSuffix(unit, "s")
	}
	return fmt.Sprintf("%d %s", n, unit)
}

func (a *app) nodeCommand() *cobra.Command {
	table := func(list []api.Node) {
		a.Table([]string{"node", "site", "chip", "used", "state", "reason"}, rows(list, func(n api.Node) []string {
			state, reason := "up", n.Reason
			out := slices.DeleteFunc(slices.Clone(n.Devices), func(d api.NodeDevice) bool { return d.Out == "" })
			if len(out) > 0 {
				state, reason = fmt.Sprintf("%d out", len(out)), strings.TrimPrefix(reason+"; "+out[0].ID+": "+out[0].Out, "; ")
			}
			if n.Draining {
				state = "draining"
			}
			return []string{n.Name, n.Site, n.Chip, fmt.Sprintf("%d/%d", n.Used, n.Chips), state, reason}
		}))
	}
	ls := a.verb("ls", "List nodes", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		list, err := c.Nodes(ctx)
		if err != nil {
			return err
		}
		return a.Value(list, func() { table(list) })
	})
	show := a.verb("show NODE", "Show a node, what happened to its devices, the jobs on it and the windows in which it is kept free", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		n, err := c.Node(ctx, args[0])
		if err != nil {
			return err
		}
		windows, err := c.Windows(ctx)
		if err != nil {
			return err
		}
		windows = slices.DeleteFunc(windows, func(w api.Window) bool { return w.State == "over" || !slices.Contains(w.Nodes, n.Name) })
		return a.Value(nodeShown{n, windows}, func() {
			table([]api.Node{n})
			if len(n.Devices) > 0 {
				a.Printf("\n")
				a.Table([]string{"number", "device", "name", "memory", "state", "faults"}, rows(n.Devices, nodeDevice))
			}
			if len(n.Events) > 0 {
				a.Printf("\n")
				a.Table([]string{"age", "device", "follows", "what happened"}, rows(n.Events[:min(len(n.Events), eventsShown)], a.nodeEvent))
			}
			if len(windows) > 0 {
				a.Printf("\n")
				a.windowTable(windows)
			}
			if len(n.Jobs) > 0 {
				a.Printf("\n")
				a.Table([]string{"job", "project", "chips"}, rows(n.Jobs, func(j api.NodeJob) []string { return []string{j.Job, j.Project, fmt.Sprint(j.Chips)} }))
			}
		})
	})
	var reason string
	drain := a.verb("drain NODE", "Have a node take no new work; what runs there goes on", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		n, err := c.DrainNode(ctx, args[0], reason)
		if err != nil {
			return err
		}
		return a.Value(n, func() { a.Printf("%s takes no new work; %d of its %d chips are in use\n", n.Name, n.Used, n.Chips) })
	})
	drain.Flags().StringVar(&reason, "reason", "", "for people")
	resume := a.verb("resume NODE", "Have a node take work again", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		n, err := c.ResumeNode(ctx, args[0])
		if err != nil {
			return err
		}
		return a.Value(n, func() { a.Printf("%s takes work\n", n.Name) })
	})
	return noun("node", "Nodes: the machines, and what they have to give out", ls, show, a.nodeDeclare(), a.nodeRm(), drain, resume, a.windowCommand())
}

// eventsShown is how many of what happened to a node's devices a person is shown; -o json has all that is kept.
const eventsShown = 20

func (a *app) nodeEvent(e api.NodeEvent) []string {
	return []string{a.ago(e.At), e.ID, e.Level, e.Says + " (" + e.Code + ")"}
}

func nodeDevice(d api.NodeDevice) []string {
	memory, state := "-", "up"
	if d.MemoryBytes > 0 {
		memory = chip.FormatQuantity(float64(d.MemoryBytes), chip.Bytes)
	}
	if d.Out != "" {
		state = "out"
	}
	return []string{strconv.Itoa(d.Number), d.ID, d.Name, memory, state, first(strings.Join(d.Faults, "; "), d.Out)}
}

func (a *app) nodeDeclare() *cobra.Command {
	var n api.NewNode
	c := a.verb("declare NODE", "Declare a node's chips by hand, or change them", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if n.Chip == "" || n.Chips == "" {
			return fault.InvalidField("chip", "--chip and --chips are both needed: which class, and how many?")
		}
		node, err := c.DeclareNode(ctx, args[0], n)
		if err != nil {
			return err
		}
		return a.Value(node, func() { a.Printf("%s has %d of %s to give out\n", node.Name, node.Chips, node.Chip) })
	})
	c.Long = "Declares chips of this machine that no driver finds, or that shall be given out otherwise than found: of a class that is declared\n" +
		"nothing that was found is given out. A class that the catalogue knows (triarch chip ls) keeps processes to their chips by its\n" +
		"make's variable where all of the class are on one node."
	c.Flags().StringVar(&n.Chip, "chip", "", "class of the chips: an id of the catalogue, or a name of your own")
	c.Flags().StringVar(&n.Chips, "chips", "", "how many, or with a plus between those of each link group, such as 4+4")
	return c
}

func (a *app) nodeRm() *cobra.Command {
	return a.verb("rm NODE", "Take a node away that was declared by hand", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if err := c.RemoveNode(ctx, args[0]); err != nil {
			return err
		}
		return a.Value(map[string]string{"removed": args[0]}, func() { a.Printf("the node %s is removed\n", args[0]) })
	})
}

func (a *app) windowCommand() *cobra.Command {
	table := a.windowTable
	ls := a.verb("ls", "List windows", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		list, err := c.Windows(ctx)
		if err != nil {
			return err
		}
		return a.Value(list, func() { table(list) })
	})
	var n api.NewWindow
	var from, until string
	add := a.verb("add NAME", "Keep nodes free for a time: for maintenance, or with --queue for a project", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		n.Name = args[0]
		if err := span(&n, from, until, a.Now()); err != nil {
			return err
		}
		w, err := c.AddWindow(ctx, n)
		if err != nil {
			return err
		}
		return a.Value(w, func() { table([]api.Window{w}) })
	})
	add.Long = "Keeps nodes free for a time: for maintenance, or with --queue for the work of one project. Work that would not be gone\n" +
		"when it begins does not start there before. What runs there is asked to end in time before maintenance, saves its work if\n" +
		"it can and waits again; before a reservation it is left alone."
	add.Flags().StringSliceVar(&n.Nodes, "nodes", nil, "names of nodes, with commas")
	add.Flags().StringVar(&from, "from", "", "a time such as 2026-01-31T18:00:00Z, or from now such as +2h (default now)")
	add.Flags().StringVar(&until, "until", "", "a time, or from now such as +4h")
	add.Flags().StringVar(&n.Project, "queue", "", "project that it is reserved for: id, or name in your organisation (default nobody)")
	add.Flags().StringVar(&n.Reason, "reason", "", "for people")
	rm := a.verb("rm NAME", "Take a window away", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if err := c.RemoveWindow(ctx, args[0]); err != nil {
			return err
		}
		return a.Value(map[string]string{"removed": args[0]}, func() { a.Printf("the window %s is removed\n", args[0]) })
	})
	return noun("window", "Windows: times in which nodes are kept free, for maintenance or for a project", ls, add, rm)
}

func (a *app) windowTable(list []api.Window) {
	a.Table([]string{"window", "for", "nodes", "from", "until", "state", "reason"}, rows(list, func(w api.Window) []string {
		who := w.Kind
		if w.ProjectName != "" {
			who = "project " + w.ProjectName
		}
		return []string{w.Name, who, strings.Join(w.Nodes, ","), w.From.Local().Format(time.RFC3339), w.Until.Local().Format(time.RFC3339), w.State, w.Reason}
	}))
}

// span reads when a window begins and ends.
func span(n *api.NewWindow, from, until string, now time.Time) (err error) {
	if len(n.Nodes) == 0 {
		return fault.InvalidField("nodes", "--nodes is missing: which nodes are kept free?")
	}
	if n.From, err = moment("from", from, now); err != nil {
		return err
	}
	end, err := moment("until", until, now)
	if err != nil {
		return err
	}
	if end == nil {
		return fault.InvalidField("until", "--until is missing: when does the window end? A time such as 2026-01-31T18:00:00Z, or from now such as +4h.")
	}
	n.Until = *end
	return nil
}

func (a *app) quotaCommand() *cobra.Command {
	table := func(list []api.Quota) {
		a.Table([]string{"project", "organisation", "weight", "org weight", "guarantee", "ceiling"}, rows(list, func(q api.Quota) []string {
			return []string{q.Name, q.Organisation, fmt.Sprint(q.Weight), fmt.Sprint(q.OrgWeight), chips(q.Guarantee), chips(q.Ceiling)}
		}))
	}
	ls := a.verb("ls", "List quotas", cobra.NoArgs, func(ctx context.Context, c *api.Client, _ []string) error {
		list, err := c.Quotas(ctx)
		if err != nil {
			return err
		}
		return a.Value(list, func() { table(list) })
	})
	var n api.NewQuota
	var guarantee, ceiling []string
	var set *cobra.Command
	set = a.verb("set PROJECT", "Set what a project's queue is promised and bounded by: by id, or by name in your organisation", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) (err error) {
		for flag, n := range map[string]int64{"weight": n.Weight, "org-weight": n.OrgWeight} {
			if set.Flags().Changed(flag) && n < 1 {
				return fault.InvalidField(flag, "--%s is %d; it must be at least 1", flag, n)
			}
		}
		if n.Guarantee, err = amounts("guarantee", guarantee); err != nil {
			return err
		}
		if n.Ceiling, err = amounts("ceiling", ceiling); err != nil {
			return err
		}
		q, err := c.SetQuota(ctx, args[0], n)
		if err != nil {
			return err
		}
		return a.Value(q, func() { table([]api.Quota{q}) })
	})
	set.Flags().Int64Var(&n.Weight, "weight", 0, "parts of what its organisation gets of the rest (default: as it is, at first 1)")
	set.Flags().Int64Var(&n.OrgWeight, "org-weight", 0, "parts of the fleet for its organisation (default: as it is)")
	set.Flags().StringSliceVar(&guarantee, "guarantee", nil, "chips it gets whenever it asks, such as slot=4; repeatable (default: as they are; slot=0 for none)")
	set.Flags().StringSliceVar(&ceiling, "ceiling", nil, "chips it never exceeds, such as slot=6; repeatable (default: as they are)")
	rm := a.verb("rm PROJECT", "Take a project's quota away: weight 1, no guarantee, no ceiling", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if err := c.RemoveQuota(ctx, args[0]); err != nil {
			return err
		}
		return a.Value(map[string]string{"removed": args[0]}, func() { a.Printf("the quota of %s is removed\n", args[0]) })
	})
	return noun("quota", "Quotas: what the queues of projects are promised and bounded by", ls, set, rm)
}

// amounts reads class=count pairs; nil without any.
func amounts(flag string, list []string) (map[string]int64, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := map[string]int64{}
	for _, kv := range list {
		k, v, ok := strings.Cut(kv, "=")
		n, err := strconv.ParseInt(v, 10, 64)
		if !ok || k == "" || err != nil {
			return nil, fault.InvalidField(flag, "--%s %s is not class=count", flag, kv)
		}
		out[k] = n
	}
	return out, nil
}

// placingFlags are the flags of what work asks of the scheduler.
type placingFlags struct {
	limit           time.Duration
	deadline, begin string
}

func (p *placingFlags) add(f *pflag.FlagSet, to *api.Placing) {
	f.IntVar(&to.Chips, "chips", 0, "accelerators, all at once (default: cores alone)")
	f.IntVar(&to.MinChips, "min-chips", 0, "go on with as few as these where there are no more: halves of --chips down to it (default --chips)")
	f.StringSliceVar(&to.ChipTypes, "chip", nil, "a class of chips it can use; repeatable (default: any)")
	f.StringVar(&to.Objective, "objective", "", "cheapest, fastest or greenest (default cheapest)")
	f.DurationVar(&p.limit, "time-limit", 0, "end an attempt after so long, such as 30m")
	f.StringVar(&p.deadline, "deadline", "", "it should have ended by then: a time such as 2026-01-31T18:00:00Z, or from now such as 4h")
	f.StringVar(&p.begin, "begin", "", "do not start earlier: a time, or from now")
	f.StringSliceVar(&to.After, "after", nil, "job that must have succeeded first; repeatable")
	f.BoolVar(&to.Hold, "hold", false, `wait until released with "triarch job release"`)
	f.BoolVar(&to.Fast, "fast", false, "short evaluation or debug work for the fast lane; needs a --time-limit, and goes there with one of at most 15m")
}

// fill reads the flags that need reading.
func (p *placingFlags) fill(to *api.Placing, now time.Time) (err error) {
	if p.limit < 0 || p.limit > 0 && p.limit < time.Second {
		return fault.InvalidField("time-limit", "--time-limit is %s; it must be at least 1s", p.limit)
	}
	to.TimeLimit = int64(p.limit / time.Second)
	if to.Deadline, err = moment("deadline", p.deadline, now); err != nil {
		return err
	}
	to.Begin, err = moment("begin", p.begin, now)
	return err
}

// moment reads a time, or a duration from now; nil for nothing.
func moment(flag, text string, now time.Time) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		t := now.Add(d).UTC()
		return &t, nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(form, text, time.Local); err == nil {
			return &t, nil
		}
	}
	return nil, fault.InvalidField(flag, "--%s %s is neither a time such as 2026-01-31T18:00:00Z nor a duration from now such as 4h", flag, text)
}
