package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
)

// process is a role of this program running beside us.
type process struct {
	cmd   *exec.Cmd
	lines []string // what it printed first
}

// oneThread is the environment of all roles: one thread of Go, and the collector as it comes.
func oneThread() []string { return append(os.Environ(), "GOMAXPROCS=1", "GOGC=100") }

func start(ctx context.Context, lines int, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, os.Args[0], args...)}
	p.cmd.Env, p.cmd.Stderr = oneThread(), os.Stderr
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(os.Interrupt) }
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	r := bufio.NewReader(out)
	for range lines {
		line, err := firstLine(r)
		if err != nil {
			p.stop()
			return nil, fmt.Errorf("%s did not start: %w", args[0], err)
		}
		p.lines = append(p.lines, line)
	}
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended by itself
	_ = p.cmd.Wait()
}
