package queue

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/api"
)

const programs = "compute:\n  capacity: [slot=8]\n  min-run: 3s\n  round: 1s\n  programs: developers\nlog:\n  level: info\n"

// sh runs the program as a person does and gives what it printed and its exit code.
func (p *place) sh(args ...string) (out, problem string, code int) {
	p.t.Helper()
	cmd := exec.Command(program, append([]string{"--data", p.dir}, args...)...)
	var o, e bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = append(slices.Clone(p.env), "SECRET_OF_MINE=x"), &o, &e
	err := cmd.Run()
	if x, ok := errors.AsType[*exec.ExitError](err); ok {
		code = x.ExitCode()
	} else {
		p.ok(err)
	}
	return o.String(), e.String(), code
}

// submit has a program run and gives its job.
func (x *party) submit(args ...string) (j api.Job) {
	x.t.Helper()
	x.cli(&j, x.key, append([]string{"job", "submit"}, append(args[:len(args)-1:len(args)-1], "--", "sh", "-c", args[len(args)-1])...)...)
	return j
}

func (x *party) logs(name string) string {
	x.t.Helper()
	var text string
	x.cli(&text, x.key, "job", "logs", name)
	return text
}

// TestPrograms is anybody's work: a program that is run and waited for, arrays, dependencies by name, a program that saves
// when it must go, a control plane that is killed beside it, and what is refused.
func TestPrograms(t *testing.T) {
	p := newPlace(t, programs)
	a := p.party("default")

	out, problem, code := p.sh("job", "run", "--env", "GREETING=hello", "--", "sh", "-c", "echo $GREETING {self}; pwd; env; exit 7")
	if code != 7 || !strings.HasPrefix(out, "hello {self}\n") || !strings.Contains(out, "/state\n") {
		t.Errorf("exit code %d, printed\n%s%s", code, out, problem)
	}
	for line := range strings.Lines(out[strings.Index(out, "/state\n")+7:]) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		if !slices.Contains([]string{"PATH", "HOME", "USER", "TMPDIR", "LANG", "LC_ALL", "TZ", "PWD", "OLDPWD", "SHLVL", "_", "GREETING", "GOMAXPROCS", "TRIARCH_JOB_ID",
			"TRIARCH_JOB_DIR", "TRIARCH_ATTEMPT_DIR", "TRIARCH_FENCE", "TRIARCH_DEVICES"}, name) {
			t.Errorf("the program is told %s", line)
		}
	}
	if _, problem, code := p.sh("job", "run", "--name", "nothing", "--", "/no/such/program"); code != 5 || !strings.Contains(problem, "could not be started") {
		t.Errorf("a program that is not there: %d %s", code, problem)
	}

	// Ctrl-C cancels.
	run := exec.Command(program, "--data", p.dir, "job", "run", "--name", "endless", "--", "sh", "-c", "echo on; sleep 1000")
	var said bytes.Buffer
	run.Env, run.Stdout, run.Stderr = p.env, &said, &said
	p.ok(run.Start())
	find := func(name string) (found api.Job) {
		all, err := p.owner.Jobs(t.Context(), api.JobFilter{})
		p.ok(err)
		for _, j := range all {
			if j.Name == name {
				return j
			}
		}
		return found
	}
	p.eventually("the endless program", func() bool { return find("endless").State == "running" })
	p.ok(run.Process.Signal(os.Interrupt))
	if err := run.Wait(); run.ProcessState.ExitCode() != 130 {
		t.Errorf("after Ctrl-C: %v: %s", err, &said)
	}
	p.eventually("its end", func() bool { return find("endless").State == "cancelled" })

	// An array is one line, keeps its limit, and its elements know their number. What waits for it is named by name.
	arr := a.submit("--name", "sweep", "--array", "0-7%2", "echo $TRIARCH_ARRAY_INDEX $SLURM_ARRAY_TASK_MAX; sleep 0.2")
	after := a.submit("--name", "gather", "--after", "sweep", "echo gathered")
	var open []api.Job
	p.cli(&open, "", "job", "ls")
	if len(open) != 2 || open[1].ID != arr.ID || open[1].Array.Elements != 8 || open[1].Array.Counts["running"]+open[1].Array.Counts["starting"] > 2 {
		t.Errorf("%+v", open)
	}
	most := 0
	p.eventually("the end of the array", func() bool {
		n := a.job(arr.ID)
		most = max(most, n.Array.Counts["running"]+n.Array.Counts["starting"])
		return n.EndedAt != nil
	})
	if got := a.job(arr.ID); got.State != "succeeded" || got.Array.Counts["succeeded"] != 8 || most > 2 {
		t.Errorf("%+v, at most %d at once", got, most)
	}
	if got := a.logs(arr.ID + "_5"); got != "5 7\n" {
		t.Errorf("element 5 says %q", got)
	}
	if got := a.reaches(after, "succeeded"); got.StartedAt.Before(*a.job(arr.ID).EndedAt) {
		t.Errorf("%+v began before what it waits for had ended", got)
	}

	// One that must go saves and goes on; what ran while the control plane was killed has noticed nothing.
	saver := a.submit("--name", "saver", `trap 'echo saved >mark; exit 143' TERM; if [ -f mark ]; then cat mark; exit 0; fi; echo begun; while :; do sleep 0.05; done`)
	counter := a.submit("--name", "counter", `for i in $(seq 1 60); do echo $i; sleep 0.05; done; exit 3`)
	a.reaches(saver, "running")
	a.reaches(counter, "running")
	p.kill()
	p.up()
	a.again()
	p.eventually("the word of the saver", func() bool { return a.logs(saver.ID) == "begun\n" })
	p.cli(nil, "", "job", "requeue", "saver")
	if got := a.reaches(saver, "succeeded"); got.Attempt != 2 || got.Restarts != 0 || a.logs(saver.ID) != "saved\n" {
		t.Errorf("%+v says %q", got, a.logs(saver.ID))
	}
	var want strings.Builder
	for i := range 60 {
		fmt.Fprintln(&want, i+1)
	}
	if got := a.reaches(counter, "failed"); got.Attempt != 1 || got.ExitCode == nil || *got.ExitCode != 3 || a.logs(counter.ID) != want.String() {
		t.Errorf("%+v says %q", got, a.logs(counter.ID))
	}

	// What is not so is said, with exit code 5; names of several are told apart.
	for _, act := range []string{"release", "hold", "requeue", "cancel"} {
		if _, problem, code := p.sh("job", act, saver.ID); code != 5 || !strings.Contains(problem, "succeeded") {
			t.Errorf("%s of an ended job: %d %s", act, code, problem)
		}
	}
	one, two := a.submit("--name", "twin", "--hold", "true"), a.submit("--name", "twin", "--hold", "true")
	if _, problem, code := p.sh("job", "submit", "--after", "twin", "--", "true"); code != 2 || !strings.Contains(problem, one.ID) || !strings.Contains(problem, two.ID) {
		t.Errorf("an ambiguous name: %d %s", code, problem)
	}
	if _, problem, code := p.sh("job", "hold", one.ID); code != 5 || !strings.Contains(problem, "held already") {
		t.Errorf("held twice: %d %s", code, problem)
	}
	p.cli(nil, "", "job", "cancel", one.ID, two.ID)

	// Another project's is run there by an owner of the organisation.
	lab := p.party("lab")
	there := a.submit("--project", "lab", "--time-limit", "1s", "sleep 100")
	if got := lab.reaches(there, "failed"); got.Reason != "It reached its time limit of 1s." {
		t.Errorf("%+v", got)
	}
}

// TestProgramsAreOffByDefault: nothing isolates a program here, so the operator must want it.
func TestProgramsAreOffByDefault(t *testing.T) {
	p := newPlace(t, config)
	if _, problem, code := p.sh("job", "run", "--", "true"); code != 3 || !strings.Contains(problem, "compute.programs") {
		t.Errorf("exit code %d: %s", code, problem)
	}
}
