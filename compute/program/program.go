// Package program has people's own programs run as jobs: any command, alone or as an array, in the queue of a project.
//
// Where work is not isolated, as on the local executor, a program can do whatever the account of the control plane can:
// read its keys and its data, and end it. So a Policy says whose programs run; the zero Policy is that nobody's do.
//
// Rules for callers: Submit alone asks the policy. What is submitted is an ordinary job of the keeper from then on: it is
// preempted, queued again, ended and fenced as every other. The words of a command are the person's: nothing in them is
// replaced, and its environment holds nothing of the control plane's but the few names that every attempt has.
package program

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/tenancy"
)

// Kind is the kind of the jobs.
const Kind = "program"

// Policy says whose programs run.
type Policy string

// The policies.
const (
	Off        Policy = "off"        // nobody's; so does the empty policy
	Owners     Policy = "owners"     // those of the owners of projects
	Developers Policy = "developers" // those of developers and owners
)

// Setting is the name of the setting that holds the policy, for refusals.
const Setting = "compute.programs"

// ParsePolicy reads a policy; fault.Invalid for the setting.
func ParsePolicy(s string) (Policy, error) {
	switch p := Policy(s); p {
	case Off, Owners, Developers:
		return p, nil
	}
	return Off, fault.InvalidField(Setting, "%s is %q; it must be off, owners or developers", Setting, s)
}

// allows says why somebody's programs do not run, or nil.
func (p Policy) allows(role tenancy.Role) error {
	switch {
	case p == Developers && role.AtLeast(tenancy.Developer), p == Owners && role.AtLeast(tenancy.Owner):
		return nil
	case p == Owners:
		return fault.New(fault.Forbidden, "Programs of owners alone run here, and the key's role is "+string(role)+".", fault.Code("programs"),
			fault.Fix("Use a key with the role owner, or have the operator set %s to developers, if all developers may do what this account can.", Setting))
	}
	return fault.New(fault.Forbidden, "Programs do not run here: nothing isolates them from the control plane, so the operator must want it.", fault.Code("programs"),
		fault.Fix("Have the operator set %s to owners or developers in config.yaml and start Triarch again.", Setting))
}

// Bounds of a program.
const (
	maxWords   = 128 << 10 // bytes of arguments and environment
	maxAll     = 16 << 20  // the same for all elements of an array together
	maxGrace   = time.Hour
	usualGrace = 30 * time.Second
	maxRetries = 100
)

// Jobs is what is asked of the keeper.
type Jobs interface {
	Create(ctx context.Context, s job.Spec) (job.Job, error)
	CreateArray(ctx context.Context, s job.Spec, indices []int, limit int) (job.Job, error)
}

// Service takes programs.
type Service struct {
	Jobs   Jobs
	Policy Policy
}

// Who submits.
type Who struct {
	Project string
	Key     string // durations are learnt by it
	Role    tenancy.Role
}

// Spec is what is submitted.
type Spec struct {
	Name     string   // default: the program's own, without its folder
	Argv     []string // program and arguments, as they are
	Env      []string // NAME=value
	CPUs     int      // default 1
	Memory   int64    // bytes; 0: no bound
	Priority int
	Grace    time.Duration // between SIGTERM and SIGKILL; default 30 s
	Retries  int           // how often in a row it is started again after it failed by itself
	Array    string        // see job.ParseArray; empty: one job
	Ask      job.Ask
}

// envName is what can name a variable.
var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,254}$`)

// Submit checks a program and queues it, durably; of an array all elements or none, and the job that is returned stands for
// them. Faults: Forbidden by the policy; Invalid with the field.
func (s *Service) Submit(ctx context.Context, who Who, p Spec) (job.Job, error) {
	if err := s.Policy.allows(who.Role); err != nil {
		return job.Job{}, err
	}
	spec, err := p.job(who)
	if err != nil {
		return job.Job{}, err
	}
	if p.Array == "" {
		return s.Jobs.Create(ctx, spec)
	}
	indices, limit, err := job.ParseArray(p.Array)
	if err != nil {
		return job.Job{}, err
	}
	if n := p.bytes() * len(indices); n > maxAll {
		return job.Job{}, fault.New(fault.Invalid, fmt.Sprintf("The commands of the array's %d elements have %d bytes together, and may have %d.", len(indices), n, maxAll),
			fault.Field("array"), fault.Fix("Put what is long into a file, or take fewer elements."))
	}
	return s.Jobs.CreateArray(ctx, spec, indices, limit)
}

func (p *Spec) bytes() (n int) {
	for _, w := range p.Argv {
		n += len(w) + 1
	}
	for _, w := range p.Env {
		n += len(w) + 1
	}
	return n
}

// job is the job that runs a program.
func (p *Spec) job(who Who) (job.Spec, error) {
	none := job.Spec{}
	if len(p.Argv) == 0 || p.Argv[0] == "" {
		return none, fault.New(fault.Invalid, "The command is missing.", fault.Field("command"), fault.Fix("Give a program and its arguments."))
	}
	if n := p.bytes(); n > maxWords {
		return none, fault.InvalidField("command", "The command and its environment have %d bytes, and may have %d.", n, maxWords)
	}
	for _, e := range p.Env {
		name, _, ok := strings.Cut(e, "=")
		switch {
		case !ok || !envName.MatchString(name):
			return none, fault.InvalidField("env", "An environment entry reads NAME=value; a name has letters, digits and underscores.")
		case strings.HasPrefix(name, "TRIARCH_") || strings.HasPrefix(name, "SLURM_ARRAY_"):
			return none, fault.InvalidField("env", "%s is not to be set: names that begin with TRIARCH_ or SLURM_ARRAY_ are given to the work.", name)
		}
	}
	switch {
	case p.Grace < 0 || p.Grace > maxGrace:
		return none, fault.InvalidField("grace_s", "The grace is %s; it must be 0s to %s.", p.Grace, maxGrace)
	case p.Retries < 0 || p.Retries > maxRetries:
		return none, fault.InvalidField("retries", "retries is %d; it must be 0 to %d.", p.Retries, maxRetries)
	case p.Priority < -1000 || p.Priority > 1000:
		return none, fault.InvalidField("priority", "priority is %d, it must be -1000 to 1000.", p.Priority)
	case p.CPUs < 0:
		return none, fault.InvalidField("cpus", "cpus is %d; it must be at least 1.", p.CPUs)
	case p.Ask.Class == job.Service:
		return none, fault.InvalidField("class", "A program is no service.")
	}
	s := job.Spec{Project: who.Project, Kind: Kind, Name: p.Name, Priority: p.Priority, CPUs: max(1, p.CPUs), MemoryBytes: p.Memory,
		Command: job.Command{Argv: p.Argv, Env: p.Env, Dir: job.StateDir, Literal: true},
		Restart: job.Restart{Max: p.Retries, Innocent: true}, Grace: p.Grace, Ask: p.Ask}
	s.Ask.User, s.Ask.Member, s.Ask.Saves = who.Key, nil, false
	if s.Name == "" {
		s.Name = p.Argv[0][strings.LastIndexByte(p.Argv[0], '/')+1:]
	}
	if s.Grace == 0 {
		s.Grace = usualGrace
	}
	return s, nil
}
