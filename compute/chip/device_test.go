package chip

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// tool is a driver of a made-up tool that prints a name a line.
type tool struct{ command []string }

func (tool) Make() string        { return "NVIDIA" }
func (t tool) Command() []string { return t.command }
func (tool) Tried() string       { return "made up" }
func (tool) Parse(out []byte) (devices []Device, problems []string) {
	for line := range strings.Lines(string(out)) {
		d := Device{Make: "NVIDIA", Name: strings.TrimSpace(line), ID: line}
		d.Check()
		devices = append(devices, d)
	}
	return devices, nil
}

func TestDiscover(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string) []string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
		return []string{p}
	}
	c := builtinForTest(t)
	found, err := Discover(t.Context(), c,
		tool{script("good", "echo NVIDIA H100 80GB HBM3; echo NVIDIA Contoso 9000; echo AMD Instinct MI300X; echo noise >&2; echo $LC_ALL >&2")},
		tool{script("bad", "echo NVIDIA L4; exit 9")},
		tool{[]string{"no-such-tool-anywhere"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	good, bad, none := found[0], found[1], found[2]
	if len(good.Devices) != 3 || len(good.Problems) > 0 || good.Devices[0].Chip != "nvidia-h100-sxm" || good.Devices[1].Chip != "" || len(good.Devices[1].Notes) != 1 {
		t.Errorf("%+v", good)
	}
	if good.Devices[2].Chip != "" {
		t.Error("a tool named another make's chip, and was believed")
	}
	if len(bad.Devices) != 1 || len(bad.Problems) != 1 || !strings.Contains(bad.Problems[0], "exit status 9") {
		t.Errorf("%+v", bad)
	}
	if !none.Missing || len(none.Problems) > 0 {
		t.Errorf("%+v", none)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Discover(ended, c, tool{script("x", "sleep 60")}); err == nil {
		t.Error("it went on without its context")
	}
}

// What a tool started ends with it, and its names can be shown.
func TestAToolThatIsEndedLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	p, child := filepath.Join(dir, "slow"), filepath.Join(dir, "child")
	if err := os.WriteFile(p, []byte("#!/bin/sh\nsleep 300 &\necho $! >"+child+".tmp; mv "+child+".tmp "+child+"\nwait\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(child); err == nil {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := Discover(ctx, builtinForTest(t), tool{[]string{p}}); err == nil {
		t.Fatal("it went on without its context")
	}
	text, err := os.ReadFile(child)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for lives(pid) { // until the test's own time is up
		time.Sleep(time.Millisecond)
	}
}

// lives says whether a process is there and no zombie.
func lives(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !os.IsNotExist(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// A tool whose process cannot be ended, as in a driver that hangs, holds nobody up and is not started a second time until it has ended.
func TestAToolThatCannotBeEnded(t *testing.T) {
	dir := t.TempDir()
	end := filepath.Join(dir, "end")
	if err := syscall.Mkfifo(end, 0o600); err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(dir, "stuck")
	if err := os.WriteFile(p, []byte("#!/bin/sh\nread x <"+end+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cmd := exec.Command(p) // of no context, as if a signal did nothing
	if err := finish(ctx, cmd, p, time.Millisecond); !errors.Is(err, errHangs) {
		t.Fatal(err)
	}
	found, err := Discover(t.Context(), builtinForTest(t), tool{[]string{p}})
	if err != nil || len(found[0].Problems) != 1 || !strings.Contains(found[0].Problems[0], "cannot be ended") {
		t.Errorf("%v %+v", err, found)
	}
	w, err := os.OpenFile(end, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	for ended := false; !ended; time.Sleep(time.Millisecond) {
		hanging.Lock()
		ended = !hanging.tools[p]
		hanging.Unlock()
	}
}

func TestNamesCanBeShown(t *testing.T) {
	d := Device{Name: "GPU\x1b[2J\nRoot: ok\u202e", ID: strings.Repeat("ä", 500), Bus: "\xff0000:01"}
	d.Check()
	if d.Name != "GPU[2JRoot: ok" || len(d.ID) > maxWord || !utf8.ValidString(d.ID) || !utf8.ValidString(d.Bus) {
		t.Errorf("%q %q %q", d.Name, d.ID, d.Bus)
	}
}

func TestOutputIsKeptUpToALimit(t *testing.T) {
	var l limited
	for range 9 {
		if n, err := l.Write(make([]byte, 1<<20)); n != 1<<20 || err != nil {
			t.Fatal(n, err)
		}
	}
	if len(l.kept) != maxOutput || !l.over {
		t.Errorf("%d bytes, over %v", len(l.kept), l.over)
	}
}
