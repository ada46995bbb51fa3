package cli

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
)

// programFlags are the flags of a program that is to run as a job.
type programFlags struct {
	job    api.NewJob
	place  placingFlags
	env    []string
	memory string
	work   string
	grace  time.Duration
}

func (p *programFlags) add(f *pflag.FlagSet) {
	f.StringVar(&p.job.Name, "name", "", "for people, and to learn durations by (default: the program's own)")
	f.IntVar(&p.job.CPUs, "cpus", 0, "cores (default 1)")
	f.StringVar(&p.memory, "memory", "", "end it above so much, such as 512M or 4G (default: no bound)")
	f.IntVar(&p.job.Priority, "priority", 0, "higher goes first")
	f.StringArrayVar(&p.env, "env", nil, "NAME=value for its environment, or NAME for the value here; repeatable")
	f.DurationVar(&p.grace, "grace", 0, "time between SIGTERM and SIGKILL when it must end (default 30s)")
	f.IntVar(&p.job.Retries, "retries", 0, "start it again so often when it fails by itself")
	f.StringVar(&p.work, "work", "", "what it computes, as MODEL:TASK, so that chips are compared by how fast it is on them; such as llama-3-8b:train,batch=64,context=4096")
	p.place.add(f, &p.job.Placing)
}

// fill reads the flags that need reading.
func (p *programFlags) fill(args []string, now time.Time) (err error) {
	p.job.Command = args
	p.job.Env = map[string]string{}
	for _, e := range p.env {
		name, value, ok := strings.Cut(e, "=")
		if !ok {
			if value, ok = os.LookupEnv(name); !ok {
				return fault.InvalidField("env", "--env %s: there is no %s in the environment here", e, e)
			}
		}
		p.job.Env[name] = value
	}
	if p.job.MemoryBytes, err = bytesOf(p.memory); err != nil {
		return err
	}
	if p.grace < 0 || p.grace > 0 && p.grace < time.Second {
		return fault.InvalidField("grace", "--grace is %s; it must be at least 1s", p.grace)
	}
	p.job.Grace = int64(p.grace / time.Second)
	if p.job.Work, err = workOf(p.work); err != nil {
		return err
	}
	return p.place.fill(&p.job.Placing, now)
}

// workOf reads what a program computes: MODEL:TASK and further words of it behind commas; nil for an empty text.
func workOf(text string) (*api.JobWork, error) {
	if text == "" {
		return nil, nil
	}
	bad := func(format string, args ...any) error {
		return fault.New(fault.Invalid, fmt.Sprintf(format, args...), fault.Field("--work"), fault.Fix("Write MODEL:TASK, such as llama-3-8b:train or llama-3-8b:serve,batch=32,engine=vllm"))
	}
	head, rest, more := strings.Cut(text, ",")
	at := strings.LastIndexByte(head, ':') // names of models may have colons
	if at < 1 || at == len(head)-1 {
		return nil, bad("%q names no model and task.", text)
	}
	w := &api.JobWork{Model: head[:at], Task: head[at+1:]}
	words := map[string]*string{"engine": &w.Engine, "precision": &w.Precision, "weights": &w.Weights}
	numbers := map[string]*int{"batch": &w.Batch, "context": &w.Context, "prompt": &w.Prompt, "answer": &w.Output, "lora": &w.LoRA}
	seen := map[string]bool{}
	for more {
		var part string
		part, rest, more = strings.Cut(rest, ",")
		name, value, _ := strings.Cut(part, "=")
		if seen[name] || value == "" {
			return nil, bad("%q of the work is named twice or has no value.", name)
		}
		seen[name] = true
		if to := words[name]; to != nil {
			*to = value
			continue
		}
		to := numbers[name]
		if to == nil {
			return nil, bad("%q is no word of the work; there are answer, batch, context, engine, lora, precision, prompt and weights.", name)
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return nil, bad("%s=%s of the work is no number from 1 up.", name, value)
		}
		*to = n
	}
	return w, nil
}

// bytesOf reads a size such as 512M: a whole number with a unit of 1024 or none.
func bytesOf(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	digits := strings.TrimRight(strings.ToUpper(text), "IB")
	shift, ok := map[string]int{"K": 10, "M": 20, "G": 30, "T": 40}[digits[max(0, len(digits)-1):]]
	if ok {
		digits = digits[:len(digits)-1]
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 || n > 1<<50>>shift {
		return 0, fault.InvalidField("memory", "--memory %s is no size; write for example 512M or 4G", text)
	}
	return n << shift, nil
}

const programWords = `The command runs as it is, without a shell, under the account of the control plane and beside it; so it must be allowed by
the setting compute.programs. Its working directory is the job's own and outlasts attempts. When it must make way it gets
SIGTERM, has its grace, and is started again later: exit code 0 then means that it was through with its work.`

func (a *app) submitCommand(project *string) *cobra.Command {
	p := &programFlags{}
	c := a.verb("submit [FLAGS] -- CMD [ARG...]", "Have a program run as a job, and return at once", cobra.MinimumNArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if err := p.fill(args, a.Now()); err != nil {
			return err
		}
		j, err := c.CreateJob(ctx, *project, p.job)
		if err != nil {
			return err
		}
		return a.Value(j, func() {
			if j.Array != nil {
				a.Printf("array %s of %d elements is %s\n", j.ID, j.Array.Elements, j.State)
				a.Next("%s", a.command("job ls %s", j.ID))
				return
			}
			a.Printf("job %s is %s%s\n", j.ID, j.State, held(j))
			a.Next("%s", a.command("job logs -f %s", j.ID))
		})
	})
	c.Long = programWords + "\n\nOf an array one element runs for each number, told to it in TRIARCH_ARRAY_INDEX and SLURM_ARRAY_TASK_ID."
	p.add(c.Flags())
	c.Flags().StringVar(&p.job.Array, "array", "", "run an element for each number, such as 0-9, 1,3,5-7 or 0-99%4 for at most four at once")
	return c
}

func (a *app) runProgramCommand(project *string) *cobra.Command {
	p := &programFlags{}
	c := a.verb("run [FLAGS] -- CMD [ARG...]", "Run a program as a job, print its output and end with its exit code; Ctrl-C cancels it", cobra.MinimumNArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if err := p.fill(args, a.Now()); err != nil {
			return err
		}
		p.job.Interactive = true
		j, err := c.CreateJob(ctx, *project, p.job)
		if err != nil {
			return err
		}
		return a.sitBy(ctx, c, *project, j)
	})
	c.Long = programWords
	p.add(c.Flags())
	return c
}

// programEnd is how a program ended that was attended: the exit code is the program's.
type programEnd int

func (e programEnd) Error() string { return fmt.Sprintf("the program ended with exit code %d", int(e)) }

// attended is what has been read of a job's output.
type attended struct {
	attempt int
	offset  int64
	reason  string
}

// afterCancel is how long a cancelled program's last words are waited for.
const afterCancel = 10 * time.Second

// sitBy follows a job to its end. When the person ends the waiting the job is cancelled.
func (a *app) sitBy(ctx context.Context, c *api.Client, project string, j api.Job) error {
	seen := &attended{}
	look := func(c *api.Client) (api.Job, bool, error) { return a.hear(ctx, c, project, j.ID, seen) }
	now, err := follow(ctx, a, c, "", look)
	if ctx.Err() == nil {
		if err != nil {
			return err
		}
		return a.programEnded(now)
	}
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterCancel)
	defer cancel()
	if _, err := c.JobAct(rest, project, j.ID, "cancel"); err != nil && !fault.Is(err, fault.Conflict) {
		fmt.Fprintf(a.Err, "%s could not be cancelled: %s; `%s` tries again\n", j.ID, fault.As(err).Message, a.command("job cancel %s", j.ID))
		return ctx.Err()
	}
	fmt.Fprintf(a.Err, "job %s is cancelled\n", j.ID)
	_, _ = follow(rest, a, c, "", func(c *api.Client) (api.Job, bool, error) { return a.hear(rest, c, project, j.ID, seen) })
	return ctx.Err()
}

// hear prints what a job has said since, of each of its attempts, and says whether it has ended.
func (a *app) hear(ctx context.Context, c *api.Client, project, id string, seen *attended) (api.Job, bool, error) {
	j, err := c.Job(ctx, project, id)
	if err != nil {
		return j, false, err
	}
	if j.State == "queued" && j.Reason != seen.reason && !a.JSON {
		seen.reason = j.Reason
		fmt.Fprintf(a.Err, "job %s waits: %s\n", j.ID, first(j.Reason, "it was just submitted."))
	}
	out := a.Out
	if a.JSON {
		out = a.Err // the job is what a program reads
	}
	for seen.attempt = max(seen.attempt, min(1, j.Attempt)); seen.attempt > 0; seen.attempt, seen.offset = seen.attempt+1, 0 {
		for {
			l, err := c.JobLogs(ctx, project, id, api.LogQuery{Attempt: seen.attempt, Offset: seen.offset})
			if err != nil {
				return j, false, err
			}
			if _, err := out.Write(l.Data); err != nil {
				return j, true, nil // nobody reads any more
			}
			if seen.offset = l.Next; seen.offset >= l.End {
				break
			}
		}
		if seen.attempt >= j.Attempt {
			break
		}
	}
	return j, j.EndedAt != nil, nil
}

// programEnded tells how a program ended: nothing but its exit code where it ended by itself.
func (a *app) programEnded(j api.Job) error {
	if a.JSON {
		if err := a.Value(j, func() {}); err != nil {
			return err
		}
	}
	switch {
	case j.State == "succeeded":
		return nil
	case j.EndedAt == nil: // nobody reads any more
		return nil
	case j.State == "failed" && j.ExitCode != nil && *j.ExitCode > 0:
		return programEnd(*j.ExitCode)
	}
	return fault.New(fault.Conflict, fmt.Sprintf("The job %s is %s: %s", j.ID, j.State, j.Reason))
}

func (a *app) jobLogsCommand(project *string) *cobra.Command {
	var attempt int
	var goOn bool
	c := a.verb("logs JOB", "Print a job's output: by id, element of an array, run or name", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		j, err := a.findJob(ctx, c, *project, args[0])
		if err != nil {
			return err
		}
		return a.copyLogs(ctx, c, goOn, func(c *api.Client, offset int64) (api.Logs, error) {
			return c.JobLogs(ctx, *project, j.ID, api.LogQuery{Attempt: attempt, Offset: offset})
		})
	})
	c.Flags().IntVar(&attempt, "attempt", 0, "which attempt (default: the newest)")
	c.Flags().BoolVarP(&goOn, "follow", "f", false, "go on as more comes")
	return c
}
