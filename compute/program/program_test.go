package program_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/program"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/tenancy"
)

// keeper notes what it is asked for.
type keeper struct {
	spec    job.Spec
	indices []int
	limit   int
	asked   int
}

func (k *keeper) Create(_ context.Context, s job.Spec) (job.Job, error) {
	k.asked++
	k.spec = s
	return job.Job{ID: "job_1", Spec: s}, s.Validate()
}

func (k *keeper) CreateArray(ctx context.Context, s job.Spec, indices []int, limit int) (job.Job, error) {
	k.indices, k.limit = indices, limit
	return k.Create(ctx, s)
}

// Whose programs run is what the operator says, and by default nobody's.
func TestPolicies(t *testing.T) {
	for policy, from := range map[program.Policy]tenancy.Role{"": "", program.Off: "", program.Owners: tenancy.Owner, program.Developers: tenancy.Developer, "anybody": ""} {
		for _, role := range []tenancy.Role{"", tenancy.Viewer, tenancy.Developer, tenancy.Owner} {
			k := &keeper{}
			s := &program.Service{Jobs: k, Policy: policy}
			_, err := s.Submit(t.Context(), program.Who{Project: "p", Role: role}, program.Spec{Argv: []string{"true"}})
			if want := from != "" && role.AtLeast(from); (err == nil) != want || (k.asked > 0) != want {
				t.Errorf("policy %q, role %q: %v", policy, role, err)
			}
			if err != nil && (!fault.Is(err, fault.Forbidden) || !strings.Contains(fault.As(err).Sentence(), "compute.programs")) {
				t.Errorf("the refusal does not name the setting: %v", fault.As(err).Sentence())
			}
		}
	}
	if _, err := program.ParsePolicy("all"); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "compute.programs" {
		t.Error(err)
	}
}

func TestSubmit(t *testing.T) {
	k := &keeper{}
	s := &program.Service{Jobs: k, Policy: program.Developers}
	who := program.Who{Project: "prj_a", Key: "key_1", Role: tenancy.Developer}
	if _, err := s.Submit(t.Context(), who, program.Spec{Argv: []string{"/usr/bin/env", "{self}"}, Env: []string{"A=b"}, Array: "0-9%4",
		Ask: job.Ask{Chips: 2, Saves: true, Member: &job.Member{}}}); err != nil {
		t.Fatal(err)
	}
	want := job.Spec{Project: "prj_a", Kind: "program", Name: "env", CPUs: 1, Grace: 30 * time.Second, Restart: job.Restart{Innocent: true},
		Command: job.Command{Argv: []string{"/usr/bin/env", "{self}"}, Env: []string{"A=b"}, Dir: job.StateDir, Literal: true}, Ask: job.Ask{User: "key_1", Chips: 2}}
	if d := cmp.Diff(want, k.spec); d != "" || len(k.indices) != 10 || k.limit != 4 {
		t.Error(d, k.indices, k.limit)
	}
	long := strings.Repeat("x", 60<<10)
	for field, p := range map[string]program.Spec{
		"command":      {},
		"command ":     {Argv: []string{""}},
		"command  ":    {Argv: []string{"x", long, long, long}},
		"command.argv": {Argv: []string{"x", "\xff"}},
		"env":          {Argv: []string{"x"}, Env: []string{"A"}},
		"env ":         {Argv: []string{"x"}, Env: []string{"A-B=c"}},
		"env  ":        {Argv: []string{"x"}, Env: []string{"TRIARCH_FENCE=9"}},
		"array":        {Argv: []string{"x"}, Array: "9-0"},
		"array ":       {Argv: []string{"x", long}, Array: "0-999"},
		"grace_s":      {Argv: []string{"x"}, Grace: 2 * time.Hour},
		"retries":      {Argv: []string{"x"}, Retries: -1},
		"priority":     {Argv: []string{"x"}, Priority: 1001},
		"class":        {Argv: []string{"x"}, Ask: job.Ask{Class: job.Service}},
		"cpus":         {Argv: []string{"x"}, CPUs: -1},
		"memory_bytes": {Argv: []string{"x"}, Memory: -1},
		"name":         {Argv: []string{"x"}, Name: strings.Repeat("n", 300)},
	} {
		if _, err := s.Submit(t.Context(), who, p); !fault.Is(err, fault.Invalid) || fault.As(err).Field != strings.TrimSpace(field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
