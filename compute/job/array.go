package job

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
)

// MaxArray bounds the elements of an array, maxIndex the numbers that they bear.
const (
	MaxArray = 1000
	maxIndex = 1 << 20
)

// ArrayNoun begins the ids of arrays.
const ArrayNoun = "arr"

// Member says which element of which array a job is. The tags are the stored form: they do not change.
type Member struct {
	Array string `json:"array"` // id of the array
	Index int    `json:"index"`
	First int    `json:"first"`           // lowest index of the array: that element leads it in lists
	Last  int    `json:"last"`            // highest
	Count int    `json:"count"`           // elements
	Limit int    `json:"limit,omitempty"` // most elements at once; 0: no bound
}

// Element is how an element of an array is named beside its id: the array's id and the index.
func (m *Member) Element() string { return m.Array + "_" + strconv.Itoa(m.Index) }

// Environment of the elements of an array, and of every attempt: the job's id. The names of Slurm are set too, since many
// programs read them.
const (
	EnvJob        = "TRIARCH_JOB_ID"
	EnvArray      = "TRIARCH_ARRAY_ID"
	EnvArrayIndex = "TRIARCH_ARRAY_INDEX"
)

// env is what an attempt is told of its job.
func (j *Job) env() []string {
	out := []string{EnvJob + "=" + j.ID}
	if d := j.Standing.Placement.Devices(); d != "" {
		out = append(out, EnvDevices+"="+d)
		out = append(out, j.Standing.Placement.Env...)
	}
	m := j.Ask.Member
	if m == nil {
		return out
	}
	out = append(out, EnvArray+"="+m.Array, EnvArrayIndex+"="+strconv.Itoa(m.Index), "SLURM_ARRAY_JOB_ID="+m.Array)
	for name, n := range map[string]int{"SLURM_ARRAY_TASK_ID": m.Index, "SLURM_ARRAY_TASK_COUNT": m.Count, "SLURM_ARRAY_TASK_MIN": m.First, "SLURM_ARRAY_TASK_MAX": m.Last} {
		out = append(out, name+"="+strconv.Itoa(n))
	}
	slices.Sort(out)
	return out
}

// ParseArray reads which elements an array has: numbers and ranges with commas, a range with a step if it has one, and
// after a percent sign how many may run at once, as in 0-9, 1,3,5-7, 0-100:10 and 0-99%4. The indices come in order.
func ParseArray(text string) (indices []int, limit int, err error) {
	bad := func(format string, args ...any) ([]int, int, error) {
		return nil, 0, fault.New(fault.Invalid, fmt.Sprintf(format, args...), fault.Field("array"), fault.Fix("Write for example 0-9, 1,3,5-7, 0-100:10 or 0-99%4."))
	}
	list, most, limited := strings.Cut(text, "%")
	if limited {
		if limit, err = number(most); err != nil || limit < 1 {
			return bad("%q: after %% stands how many elements may run at once, at least 1.", clip(text))
		}
	}
	for part := range strings.SplitSeq(list, ",") {
		span, by, stepped := strings.Cut(part, ":")
		from, to, ranged := strings.Cut(span, "-")
		a, e1 := number(from)
		b, e2 := a, error(nil)
		if ranged {
			b, e2 = number(to)
		}
		step, e3 := 1, error(nil)
		if stepped {
			step, e3 = number(by)
		}
		switch {
		case e1 != nil || e2 != nil || e3 != nil || step < 1 || stepped && !ranged:
			return bad("%q names no elements of an array: they are numbers of at most nine digits, ranges, and ranges with a step of at least 1.", clip(text))
		case b < a:
			return bad("%q: the range %d-%d runs backwards.", clip(text), a, b)
		case b > maxIndex:
			return bad("%q: an index is at most %d.", clip(text), maxIndex)
		case (b-a)/step+1+len(indices) > MaxArray:
			return bad("%q has more than %d elements, which is the most.", clip(text), MaxArray)
		}
		for i := a; i <= b; i += step {
			indices = append(indices, i)
		}
	}
	slices.Sort(indices)
	if n := len(indices); len(slices.Compact(slices.Clone(indices))) != n {
		return bad("%q names an element twice.", clip(text))
	}
	return indices, limit, nil
}

// number reads a plain decimal number of at most nine digits.
func number(s string) (int, error) {
	if len(s) == 0 || len(s) > 9 || strings.Trim(s, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(s)
}

func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 100)], "?") }

// Members makes the elements of a new array.
func Members(array string, indices []int, limit int) []*Member {
	out := make([]*Member, len(indices))
	for i, n := range indices {
		out[i] = &Member{Array: array, Index: n, First: indices[0], Last: indices[len(indices)-1], Count: len(indices), Limit: limit}
	}
	return out
}

// Tally is what has become of the elements of an array.
type Tally struct {
	States    map[State]int
	Lead      string    // id of the element that leads the array; only of a job that stands for one
	StartedAt time.Time // of the first element that started
	EndedAt   time.Time // of the last that ended, once all have
}

// open counts the elements that have not ended.
func (t *Tally) open() (n int) {
	for s, k := range t.States {
		if !s.Final() {
			n += k
		}
	}
	return n
}

// State sums an array up: running while an element has begun and not ended, or some have ended and others wait; queued
// while all wait; in the end failed if one failed, cancelled if one was cancelled, else succeeded.
func (t *Tally) State() State {
	n := t.States
	switch waits := n[Queued]; {
	case t.open() > waits || waits > 0 && n[Succeeded]+n[Failed]+n[Cancelled] > 0:
		return Running
	case waits > 0:
		return Queued
	case n[Failed] > 0:
		return Failed
	case n[Cancelled] > 0:
		return Cancelled
	}
	return Succeeded
}

// Prospect is the array as one that waits for it sees it: it has failed as soon as an element has ended badly.
func (t *Tally) Prospect() State {
	switch {
	case t.States[Failed] > 0:
		return Failed
	case t.States[Cancelled] > 0:
		return Cancelled
	}
	return t.State()
}

// Words are the counts, such as "3 running, 5 queued".
func (t *Tally) Words() string {
	var out []string
	for _, s := range []State{Running, Starting, Preempting, Stopping, Queued, Succeeded, Failed, Cancelled} {
		if n := t.States[s]; n > 0 {
			out = append(out, sprintf("%d %s", n, s))
		}
	}
	return strings.Join(out, ", ")
}

// asArray is the leading element as the array that it stands for.
func asArray(lead Job, t Tally) Job {
	m := lead.Ask.Member
	t.Lead = lead.ID
	j := Job{ID: m.Array, Spec: lead.Spec, State: t.State(), CreatedAt: lead.CreatedAt, StartedAt: t.StartedAt, EndedAt: t.EndedAt, Tally: &t}
	j.Reason = t.Words()
	if m.Limit > 0 {
		j.Reason += sprintf("; at most %d at once", m.Limit)
	}
	j.Reason += "."
	return j
}

// IsArray says whether an id is that of an array.
func IsArray(s string) bool { return id.Valid(ArrayNoun, s) }

// element reads the name of an element: the array's id, an underscore and the index.
func element(s string) (array string, index int, ok bool) {
	i := strings.LastIndexByte(s, '_')
	if i < 0 || !IsArray(s[:i]) {
		return "", 0, false
	}
	n, err := number(s[i+1:])
	return s[:i], n, err == nil
}

// CreateArray admits the elements of an array, all or none: they are queued, durably, when it returns, and it returns the
// array as one job with a Tally. Each element is the spec with its own Ask.Member. Faults are those of Create.
func (k *Keeper) CreateArray(ctx context.Context, s Spec, indices []int, limit int) (Job, error) {
	if len(indices) == 0 || len(indices) > MaxArray || !slices.IsSorted(indices) {
		return Job{}, fault.InvalidField("array", "An array has 1 to %d elements.", MaxArray)
	}
	s = s.withDefaults()
	if err := s.Validate(); err != nil {
		return Job{}, err
	}
	now := k.now()
	array := k.opt.IDs.New(ArrayNoun)
	all := make([]Job, len(indices))
	for i, m := range Members(array, indices, limit) {
		all[i] = Job{ID: k.opt.IDs.New("job"), Spec: s, State: Queued, CreatedAt: now, Revision: 1, Standing: Standing{Held: s.Ask.Hold}}
		all[i].Ask.Member = m
	}
	if err := k.Admit(ctx, all[0]); err != nil { // they ask for the same
		return Job{}, err
	}
	if err := k.opt.Store.CreateAll(ctx, all); err != nil {
		return Job{}, err
	}
	for _, j := range all {
		k.changed(j)
	}
	k.Wake()
	return asArray(all[0], Tally{States: map[State]int{Queued: len(all)}}), nil
}

// array finds an array of a project.
func (k *Keeper) array(ctx context.Context, project, array string) (Job, error) {
	lead, err := k.opt.Store.List(ctx, project, Filter{Array: array, Fold: true, Limit: 1})
	if err != nil {
		return Job{}, err
	}
	if len(lead) == 0 {
		return Job{}, fault.Newf(fault.NotFound, "There is no array %s.", array)
	}
	out, err := k.folded(ctx, lead)
	if err != nil {
		return Job{}, err
	}
	return out[0], nil
}

// folded puts the arrays in the place of the elements that lead them.
func (k *Keeper) folded(ctx context.Context, jobs []Job) ([]Job, error) {
	var arrays []string
	for i := range jobs {
		if m := jobs[i].Ask.Member; m != nil {
			arrays = append(arrays, m.Array)
		}
	}
	if len(arrays) == 0 {
		return jobs, nil
	}
	tallies, err := k.opt.Store.Tally(ctx, arrays)
	for i := range jobs {
		if m := jobs[i].Ask.Member; m != nil {
			jobs[i] = asArray(jobs[i], tallies[m.Array])
		}
	}
	return jobs, err
}

// locate gives the id of the job that is meant: an element of an array can be named by the array's id and its index.
func (k *Keeper) locate(ctx context.Context, project, name string) (string, error) {
	array, index, ok := element(name)
	if !ok {
		return name, nil
	}
	found, err := k.opt.Store.List(ctx, project, Filter{Array: array, Element: &index, Limit: 1})
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", fault.Newf(fault.NotFound, "There is no element %d of an array %s.", index, array)
	}
	return found[0].ID, nil
}

// changeAll is change for the elements of an array, all of them in one change of the store: f is asked for each, and its
// refusals count only if it refuses all.
func (k *Keeper) changeAll(ctx context.Context, project, array string, f func(*Job) (bool, error)) (Job, error) {
	for {
		all, err := k.opt.Store.List(ctx, project, Filter{Array: array, Limit: MaxArray})
		if err != nil {
			return Job{}, err
		}
		if len(all) == 0 {
			return Job{}, fault.Newf(fault.NotFound, "There is no array %s.", array)
		}
		slices.SortFunc(all, func(a, b Job) int { return cmp.Compare(a.Ask.Member.Index, b.Ask.Member.Index) })
		var changed []Job
		var refused error
		for _, j := range all {
			yes, err := f(&j)
			if refused == nil {
				refused = err
			}
			if yes {
				changed = append(changed, j)
			}
		}
		if len(changed) == 0 && refused != nil {
			return Job{}, k.refusedAll(ctx, project, array, refused)
		}
		if err = k.opt.Store.UpdateAll(ctx, changed); fault.Is(err, fault.Conflict) && ctx.Err() == nil {
			continue
		} else if err != nil {
			return Job{}, err
		}
		for _, j := range changed {
			j.Revision++
			k.changed(j)
		}
		k.Wake()
		return k.array(ctx, project, array)
	}
}

// refusedAll says why nothing of an array could be changed.
func (k *Keeper) refusedAll(ctx context.Context, project, array string, first error) error {
	a, err := k.array(ctx, project, array)
	if err != nil {
		return err
	}
	f := *fault.As(first)
	f.Message = sprintf("No element of the array %s allows it (%s). %s", array, a.Tally.Words(), f.Message)
	return &f
}

// Turns says which elements of arrays wait for others of the same array to end, and why: of an array with a limit, those
// that have begun go on, those that lost their place come next, and then the lowest indices. One that is held by a person
// takes no turn.
func Turns(v View) map[string]string {
	began := map[string]int{}
	waiting := map[string][]*Job{}
	for i := range v.Jobs {
		j := &v.Jobs[i]
		m := j.Ask.Member
		switch {
		case m == nil || m.Limit <= 0 || j.State.Final():
		case j.State != Queued:
			began[m.Array]++
		case !j.Standing.Held:
			waiting[m.Array] = append(waiting[m.Array], j)
		}
	}
	var out map[string]string
	for _, array := range slices.Sorted(maps.Keys(waiting)) {
		list := waiting[array]
		m := list[0].Ask.Member
		free := max(0, m.Limit-began[array])
		if free >= len(list) {
			continue
		}
		slices.SortFunc(list, func(a, b *Job) int {
			return cmp.Or(cmp.Compare(min(b.Attempt, 1), min(a.Attempt, 1)), cmp.Compare(a.Ask.Member.Index, b.Ask.Member.Index))
		})
		if out == nil {
			out = map[string]string{}
		}
		for _, j := range list[free:] {
			out[j.ID] = sprintf("It waits for its turn: %s of its array may run at once.", count(m.Limit, "element"))
		}
	}
	return out
}

// Refer gives the ids of the jobs and arrays that names stand for, as After has them. A name is an id, an element of an
// array, the id of a run or replica, or the name of a job or an array: of those that have not ended, or if all have, of
// all of the name. Faults: Invalid for the field after, if there is none, or there are several.
func (k *Keeper) Refer(ctx context.Context, project string, names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		if name == "" || len(name) > maxName || !plain(name) {
			return nil, fault.InvalidField("after", "A job to wait for is named by its id or its name.")
		}
		found := name
		var err error
		if _, _, ok := element(name); ok {
			found, err = k.locate(ctx, project, name)
		} else if !id.Valid("job", name) && !IsArray(name) {
			found, err = k.named(ctx, project, name)
		}
		if fault.Is(err, fault.NotFound) {
			err = fault.InvalidField("after", "There is no job %s to wait for.", clip(name))
		}
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, found) {
			out = append(out, found)
		}
	}
	return out, nil
}

// namedMost is how many ids an error of an ambiguous name tells.
const namedMost = 5

// named finds the one job or array of a name.
func (k *Keeper) named(ctx context.Context, project, name string) (string, error) {
	var list []Job
	for _, f := range []Filter{{Owner: name}, {Name: name, Open: true}, {Name: name}} {
		f.Fold, f.Limit = f.Owner == "", namedMost+1
		var err error
		if list, err = k.opt.Store.List(ctx, project, f); err != nil {
			return "", err
		}
		if len(list) > 0 {
			break
		}
	}
	var ids []string
	for _, j := range list {
		if m := j.Ask.Member; m != nil && j.Owner != name {
			ids = append(ids, m.Array)
		} else {
			ids = append(ids, j.ID)
		}
	}
	switch {
	case len(ids) == 0:
		return "", fault.Newf(fault.NotFound, "There is no job %q.", clip(name))
	case len(ids) == 1:
		return ids[0], nil
	}
	more := ""
	if len(ids) > namedMost {
		ids, more = ids[:namedMost], " and more"
	}
	return "", fault.New(fault.Invalid, sprintf("The name %q is that of several jobs: %s%s.", clip(name), strings.Join(ids, ", "), more),
		fault.Field("after"), fault.Fix("Name the one that is meant by its id."))
}
