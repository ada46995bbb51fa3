package kill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/test/built"
)

// patience is how long a test waits for what must happen; it bounds a failing test and asserts nothing about speed.
const patience = 3 * time.Minute

// binaries are the program itself and the rig, the one whose engines know their chunks.
var binaries struct{ triarch, rig string }

func TestMain(m *testing.M) {
	os.Exit(built.Run(m, built.Program{From: "../../cmd/triarch", Path: &binaries.triarch}, built.Program{From: "./rig", Path: &binaries.rig}))
}

// killCount is how often a test kills: few by default, TRIARCH_KILLS if set.
func killCount(t *testing.T, few int) int {
	text := os.Getenv("TRIARCH_KILLS")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("TRIARCH_KILLS is %q", text)
	}
	return n
}

// dice are random numbers whose seed is in the log.
func dice(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func upTo(r *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(most)))
}

// place is a data directory with the program that runs on it.
type place struct {
	t        *testing.T
	bin, dir string
	chunks   string // where the rig writes down what its engine handed out
	env      []string
	control  *exec.Cmd // nil while none runs
	url, key string
	api      *api.Client
	slowest  time.Duration // longest time from the start of the process to its first answer
}

func newPlace(t *testing.T, bin string, env ...string) *place {
	p := &place{t: t, bin: bin, dir: filepath.Join(t.TempDir(), "data"), chunks: t.TempDir()}
	p.env = built.Environment(append(env, "KILL_CHUNKS="+p.chunks)...)
	t.Cleanup(p.leave)
	return p
}

// leave ends everything of the data directory and proves it.
func (p *place) leave() {
	if p.t.Failed() {
		text, _ := os.ReadFile(p.dir + ".log")
		p.t.Logf("the end of the program's log:\n%s", text[max(0, len(text)-6000):])
	}
	if _, err := os.Stat(p.dir); err != nil {
		p.kill()
		return
	}
	p.down()
	for file, pid := range p.processes() {
		if alive(pid) {
			p.t.Errorf("process %d of %s lives after down", pid, file)
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// spawn starts the program; it does not wait until it answers.
func (p *place) spawn() {
	p.t.Helper()
	log, err := os.OpenFile(p.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.control = exec.Command(p.bin, "up", "--data", p.dir, "--listen", "127.0.0.1:0", "--no-starter")
	p.control.Env, p.control.Stdout, p.control.Stderr = p.env, log, log
	if err := p.control.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// up starts the program and waits until its API answers this data directory's owner. An endpoint file that a killed
// program left behind leads nowhere.
func (p *place) up() {
	p.t.Helper()
	began := time.Now()
	p.spawn()
	p.eventually("the API to answer", func() bool {
		p.url, p.key = p.file("endpoint"), p.file("owner.key")
		if p.url == "" || p.key == "" {
			return false
		}
		p.api = api.New(p.url, p.key)
		ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Second)
		defer cancel()
		_, err := p.api.Status(ctx)
		return err == nil
	})
	took := time.Since(began)
	if took > 30*time.Second {
		p.t.Errorf("the API answered only after %s", took)
	}
	p.slowest = max(p.slowest, took)
}

// kill ends the program by SIGKILL.
func (p *place) kill() {
	if p.control == nil {
		return
	}
	p.control.Process.Kill()
	p.control.Wait()
	p.control = nil
}

// down ends everything by `triarch down`.
func (p *place) down() {
	p.t.Helper()
	var waited chan struct{}
	if c := p.control; c != nil { // a child of this process goes only when it is waited for
		waited = make(chan struct{})
		go func() { c.Wait(); close(waited) }()
	}
	cmd := exec.Command(p.bin, "down", "--data", p.dir)
	cmd.Env = p.env
	if text, err := cmd.CombinedOutput(); err != nil {
		p.t.Errorf("down: %v: %s", err, text)
	}
	if waited != nil {
		<-waited
	}
	p.control = nil
}

// run is the program as a person types it; into takes what -o json prints.
func (p *place) run(into any, args ...string) {
	p.t.Helper()
	cmd := exec.Command(p.bin, append([]string{"--data", p.dir}, args...)...)
	var out, problem bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, &out, &problem
	if into != nil {
		cmd.Args = append(cmd.Args, "-o", "json")
	}
	err := cmd.Run()
	if err == nil && into != nil {
		err = json.Unmarshal(out.Bytes(), into)
	}
	if err != nil {
		p.t.Fatalf("triarch %s: %v\n%s%s", strings.Join(args, " "), err, &out, &problem)
	}
}

func (p *place) file(name string) string {
	text, _ := os.ReadFile(filepath.Join(p.dir, name))
	return strings.TrimSpace(string(text))
}

// eventually waits for what must become true.
func (p *place) eventually(what string, is func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("waited %s in vain for %s", patience, what)
		}
		if p.control != nil && p.control.ProcessState == nil && !alive(p.control.Process.Pid) {
			p.t.Fatalf("the program ended while the test waited for %s", what)
		}
	}
}

// ok ends the test on an error.
func (p *place) ok(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// attempt is the folder of an attempt of a job.
func (p *place) attempt(job string, n int) string {
	return filepath.Join(p.dir, "work", job, "attempts", strconv.Itoa(n))
}

// attempts is how many attempts of a job there ever were.
func (p *place) attempts(job string) int {
	found, _ := filepath.Glob(filepath.Join(p.dir, "work", job, "attempts", "*"))
	return len(found)
}

// pidOf reads who a file of an attempt names: supervisor.json or child.json; 0 if it is not there.
func pidOf(file string) int {
	var r struct{ PID int }
	text, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(text, &r) != nil {
		return 0
	}
	return r.PID
}

// worker waits for an attempt's process and returns its number.
func (p *place) worker(job string, n int) (found int) {
	p.t.Helper()
	p.eventually("a process of "+job, func() bool { found = pidOf(filepath.Join(p.attempt(job, n), "child.json")); return found != 0 })
	return found
}

// processes are all supervisors and workers there ever were, by file.
func (p *place) processes() map[string]int {
	all := map[string]int{}
	for _, name := range []string{"child.json", "supervisor.json"} {
		found, _ := filepath.Glob(filepath.Join(p.dir, "work", "*", "attempts", "*", name))
		for _, f := range found {
			if n := pidOf(f); n != 0 {
				all[f] = n
			}
		}
	}
	return all
}

// alive says whether there is a process of this number that has not ended; one that nobody waited for has.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		_, err = os.Stat("/proc/self")
		return err != nil // no such file system here: the signal's word counts
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
