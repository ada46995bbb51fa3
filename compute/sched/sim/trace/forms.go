package trace

import (
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// The project's own form: a CSV with a header line. job, submit (seconds since the start of the record) and duration
// (seconds, as run) are needed, with chips or cpu; any of the others may be missing or empty:
//
//	cluster     isolated cluster, the name of a site of the fleet
//	queue, project, user, name
//	type        job type of a throughput table
//	chips       whole chips, default 0
//	share       thousandths of one chip, default 1000
//	chip_list   allowed chips separated by a bar, default any
//	cpu         cores, decimals allowed, of all chips together
//	memory_mib  of all chips together
//	priority    -1000000 to 1000000, default 0
//	deadline    seconds since the start of the record
//	preemptible true (default) or false
//	min_chips, max_chips  of an elastic job
var ownMay = []string{
	"cluster", "queue", "project", "user", "name", "type", "chips", "share", "chip_list", "cpu", "memory_mib", "priority", "deadline",
	"preemptible", "min_chips", "max_chips",
}

func fillOwn(t *table, j *Job) {
	j.ID = strings.Clone(t.cell("job"))
	j.Cluster, j.Queue, j.Project, j.User = t.name("cluster"), t.name("queue"), t.name("project"), t.name("user")
	j.Name, j.Type = t.name("name"), t.name("type")
	j.Submit, j.Duration = t.seconds("submit", must), t.seconds("duration", must)
	j.Deadline = t.seconds("deadline", 0)
	j.Chips = int32(t.whole("chips", 0, MaxChips, 0))
	j.Share = int32(t.whole("share", 1, 1000, 1000))
	j.MinChips = int32(t.whole("min_chips", 0, MaxChips, 0))
	j.MaxChips = int32(t.whole("max_chips", 0, MaxChips, 0))
	j.CPU = int64(t.number("cpu", 0, maxMilliCPU/1000, 0)*1000 + 0.5)
	j.Memory = t.whole("memory_mib", 0, maxMemory, 0)
	j.Priority = int32(t.whole("priority", -1_000_000, 1_000_000, 0))
	j.ChipList = t.list("chip_list")
	switch c := t.cell("preemptible"); c {
	case "", "true":
	case "false":
		j.Preemptible = false
	default:
		t.bad("preemptible", "%s is neither true nor false", quoted(c))
	}
}

// list is a cell of names separated by bars.
func (t *table) list(col string) []string {
	c := t.cell(col)
	if c == "" {
		return nil
	}
	var out []string
	for name := range strings.SplitSeq(c, "|") {
		name = strings.TrimSpace(name)
		if name == "" {
			t.bad(col, "%s names an empty chip", quoted(c))
			return nil
		}
		kept, ok := t.names[name]
		if !ok {
			kept = strings.Clone(name)
			t.names[kept] = kept
		}
		out = append(out, kept)
	}
	return out
}

// fillITP reads the form of Microsoft's ITP training jobs (github.com/microsoft/elasticflow-traces): seconds and GPUs.
func fillITP(t *table, j *Job) {
	j.ID = strings.Clone(t.cell("job_id"))
	j.Cluster, j.Name = t.name("cluster"), t.name("model_name")
	submit := "submit_time"
	if !t.has(submit) {
		submit = "submission_time"
	}
	j.Submit, j.Duration = t.seconds(submit, must), t.seconds("duration", must)
	j.Deadline = t.seconds("deadline", 0)
	j.Chips = int32(t.whole("num_gpu", 1, MaxChips, must))
}

// fillOpenb reads a pod of Alibaba's openb lists: it is submitted when created and runs from when it was scheduled
// (where it was, else from its creation) until it was deleted.
func fillOpenb(t *table, j *Job) {
	if !t.has("creation_time") || !t.has("deletion_time") {
		t.fatal = t.noTimes()
		t.err = t.fatal
		return
	}
	j.ID = strings.Clone(t.cell("name"))
	j.Queue = t.name("qos")
	j.Submit = t.seconds("creation_time", must)
	start, end := j.Submit, t.seconds("deletion_time", must)
	if t.cell("scheduled_time") != "" {
		start = t.seconds("scheduled_time", must)
	}
	if t.err == nil && start < j.Submit {
		t.bad("scheduled_time", "it lies before the creation")
	}
	if t.err == nil && end < start {
		t.bad("deletion_time", "it lies before the start")
	}
	j.Duration = max(0, end-start)
	j.CPU = t.whole("cpu_milli", 0, maxMilliCPU, must)
	j.Memory = t.whole("memory_mib", 0, maxMemory, must)
	j.Chips = int32(t.whole("num_gpu", 0, MaxChips, must))
	if j.Chips > 0 {
		j.Share = int32(t.whole("gpu_milli", 1, 1000, must))
	}
	j.ChipList = t.list("gpu_spec")
}

func (t *table) noTimes() error {
	return fault.New(fault.Invalid, t.file+" has no creation and deletion times, so it cannot be replayed.", fault.Field("creation_time"),
		fault.Fix("Pack it with `triarch sim pack`"))
}
