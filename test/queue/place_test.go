package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/test/built"
)

// patience bounds a failing test; it asserts nothing about speed.
const patience = 3 * time.Minute

var program string

func TestMain(m *testing.M) {
	os.Exit(built.Run(m, built.Program{From: "../../cmd/triarch", Path: &program}))
}

// place is a data directory with the program that runs on it.
type place struct {
	t       *testing.T
	dir     string
	env     []string
	control *exec.Cmd
	url     string
	owner   *api.Client // of the first project, with every scope
}

// newPlace starts the program on an empty directory with a configuration.
func newPlace(t *testing.T, config string, before ...func(*place)) *place {
	p := &place{t: t, dir: filepath.Join(t.TempDir(), "data")}
	p.env = built.Environment()
	p.ok(os.MkdirAll(p.dir, 0o700))
	p.ok(os.WriteFile(filepath.Join(p.dir, "config.yaml"), []byte(config), 0o600))
	t.Cleanup(p.leave)
	for _, f := range before {
		f(p)
	}
	p.up()
	return p
}

func (p *place) up() {
	p.t.Helper()
	log, err := os.OpenFile(p.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	p.ok(err)
	defer log.Close()
	p.control = exec.Command(program, "up", "--data", p.dir, "--listen", "127.0.0.1:0", "--no-starter")
	p.control.Env, p.control.Stdout, p.control.Stderr = p.env, log, log
	p.ok(p.control.Start())
	p.eventually("the API to answer", func() bool {
		key := p.file("owner.key")
		if p.url = p.file("endpoint"); p.url == "" || key == "" {
			return false
		}
		p.owner = api.New(p.url, key)
		ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Second)
		defer cancel()
		_, err := p.owner.Status(ctx)
		return err == nil
	})
}

// kill ends the program by SIGKILL.
func (p *place) kill() {
	p.control.Process.Kill()
	p.control.Wait()
}

func (p *place) leave() {
	if p.t.Failed() {
		text, _ := os.ReadFile(p.dir + ".log")
		p.t.Logf("the end of the program's log:\n%s", text[max(0, len(text)-8000):])
	}
	waited := make(chan struct{})
	go func() { p.control.Wait(); close(waited) }()
	down := exec.Command(program, "down", "--data", p.dir)
	down.Env = p.env
	if text, err := down.CombinedOutput(); err != nil {
		p.t.Errorf("down: %v: %s", err, text)
		p.control.Process.Signal(syscall.SIGKILL)
	}
	<-waited
}

// cli is the program as a person types it; into takes what -o json prints, or what people read if it is a *string.
func (p *place) cli(into any, key string, args ...string) {
	p.t.Helper()
	first := []string{"--data", p.dir}
	if key != "" {
		first = append(first, "--key", key)
	}
	text, people := into.(*string)
	if into != nil && !people {
		first = append(first, "-o", "json")
	}
	args = append(first, args...)
	cmd := exec.Command(program, args...)
	var out, problem bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, &out, &problem
	err := cmd.Run()
	if err == nil && people {
		*text = out.String()
	} else if err == nil && into != nil {
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
	}
}

func (p *place) ok(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}
