package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
)

// indices reads how many runs an array has, or which: so many are those from 1.
func indices(text string) (string, error) {
	n, limit, limited := strings.Cut(text, "%")
	if k, err := strconv.Atoi(n); err == nil && k >= 0 && strconv.Itoa(k) == n {
		if k < 1 || k > job.MaxArray {
			return "", fault.InvalidField("array", "--array is %d; it must be 1 to %d", k, job.MaxArray)
		}
		if text = "1-" + n; limited {
			text += "%" + limit
		}
	}
	_, _, err := job.ParseArray(text)
	return text, err
}

// trainArray submits the runs of an array, all at once.
func (a *app) trainArray(ctx context.Context, c *api.Client, o *trainOptions) (err error) {
	if o.run.Array, err = indices(o.array); err != nil {
		return err
	}
	lead, err := c.CreateRun(ctx, o.run)
	if err != nil {
		return err
	}
	made, err := c.Runs(ctx)
	if err != nil {
		return err
	}
	made = slices.DeleteFunc(made, func(r api.Run) bool { return r.Array == nil || lead.Array == nil || r.Array.ID != lead.Array.ID })
	slices.SortFunc(made, func(x, y api.Run) int { return cmp.Compare(*x.Array.Index, *y.Array.Index) })
	return a.Value(made, func() {
		a.runTable(made)
		a.Next("%s", a.command("job ls %s", lead.Array.ID))
	})
}

// retold is an error with other words for people.
func retold(err error, format string, args ...any) error {
	f := *fault.As(err)
	f.Message = fmt.Sprintf(format, args...)
	return &f
}

// inArray says whether a name is that of an array's run: the array's with a number.
func inArray(name, array string) bool {
	k, ok := strings.CutPrefix(name, array+"-")
	n, err := strconv.Atoi(k)
	return ok && err == nil && n > 0 && strconv.Itoa(n) == k
}

// findJobs are the jobs that are named: each by its id, the id of its run, its name, or the name of an array, which means
// those of its jobs that have not ended.
func (a *app) findJobs(ctx context.Context, c *api.Client, project string, names []string) ([]api.Job, error) {
	var out []api.Job
	for _, name := range names {
		j, err := a.findJob(ctx, c, project, name)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
		if err == nil && (j.EndedAt == nil || j.ID == name || strings.HasPrefix(name, "arr_")) {
			out = append(out, j)
			continue
		}
		open, listed := c.Jobs(ctx, api.JobFilter{Open: true, Project: project})
		if listed != nil {
			return nil, listed
		}
		several := slices.DeleteFunc(open, func(j api.Job) bool { return !inArray(j.Name, name) })
		switch {
		case len(several) == 0 && err != nil:
			return nil, err
		case len(several) == 0: // it has ended, and the server says what that means
			several = []api.Job{j}
		}
		slices.Reverse(several) // the oldest first
		out = append(out, several...)
	}
	return out, nil
}
