package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
)

// maxArray bounds the runs of one array.
const maxArray = 1000

// element is the run of an array with a number from 1: NAME-1 has the seed that was asked for, and each further one the
// next.
func element(run api.NewRun, k int) api.NewRun {
	if run.Name == "" {
		run.Name = run.Model
	}
	if run.Recipe.Seed == 0 {
		run.Recipe.Seed = 1 // what a recipe without one has
	}
	run.Name = fmt.Sprintf("%s-%d", run.Name, k)
	run.Recipe.Seed += uint64(k - 1)
	return run
}

// trainArray submits the runs of an array one by one. Where one is refused, those before it stay and are told of.
func (a *app) trainArray(ctx context.Context, c *api.Client, o *trainOptions) error {
	if o.array < 1 || o.array > maxArray {
		return fault.InvalidField("array", "--array is %d; it must be 1 to %d", o.array, maxArray)
	}
	var made []api.Run
	var failed error
	for k := 1; k <= o.array && failed == nil; k++ {
		r, err := c.CreateRun(ctx, element(o.run, k))
		if failed = err; err == nil {
			made = append(made, r)
		}
	}
	if failed != nil && len(made) == 0 {
		return failed
	}
	err := a.Value(made, func() {
		a.runTable(made)
		a.Next("%s", a.command("run ls %s", shellQuote(first(o.run.Name, o.run.Model))))
	})
	if failed != nil {
		return retold(failed, "%s Of the %d runs %d were submitted.", fault.As(failed).Message, o.array, len(made))
	}
	return err
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
