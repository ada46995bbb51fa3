package chip

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
