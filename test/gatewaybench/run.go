package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// figure is one line of the result.
type figure struct {
	What    string  `json:"what"`
	Gateway float64 `json:"gateway_cpu_seconds_per_1000"`
	Proxy   float64 `json:"proxy_cpu_seconds_per_1000"`
	Ratio   float64 `json:"ratio"`     // median over rounds of gateway / proxy
	Low     float64 `json:"ratio_low"` // its quartiles
	High    float64 `json:"ratio_high"`
	Rounds  int     `json:"rounds"`
	Conns   int     `json:"connections"`
	Cores   int     `json:"cores"`
}

// runBench starts the processes and measures.
func runBench(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	rounds := flags.Int("rounds", 7, "interleaved rounds")
	n := flags.Int("n", 4000, "requests of a round")
	conns := flags.Int("c", 32, "connections")
	only := flags.String("only", "", "measure what has this in its name")
	asJSON := flags.Bool("json", false, "print JSON lines")
	if err := flags.Parse(args); err != nil {
		return err
	}
	engine, err := start(ctx, 1, "engine")
	if err != nil {
		return err
	}
	defer engine.stop()
	proxy, err := start(ctx, 1, "proxy", engine.lines[0])
	if err != nil {
		return err
	}
	defer proxy.stop()
	gw, err := start(ctx, 2, "gateway", engine.lines[0])
	if err != nil {
		return err
	}
	defer gw.stop()
	b := bench{rounds: *rounds, conns: *conns, proxy: proxy, gateway: gw}
	for _, kind := range []struct {
		what string
		n    int
		args []string
	}{
		{"JSON, 1 KB prompt", *n, nil},
		{"JSON, 32 KB prompt", *n / 4, []string{"-prompt", "32000"}},
		{"stream of 34 events, at once", *n / 4, []string{"-stream"}},
		{"stream of 34 events, 5 ms apart", *n / 32, []string{"-paced"}},
	} {
		if !strings.Contains(kind.what, *only) {
			continue
		}
		f, err := b.measure(ctx, kind.n, kind.args)
		if err != nil {
			return err
		}
		f.What = kind.what
		print(f, *asJSON)
	}
	return nil
}

func print(f figure, asJSON bool) {
	if asJSON {
		line, err := json.Marshal(f)
		if err == nil {
			fmt.Println(string(line))
		}
		return
	}
	fmt.Printf("%-34s gateway %.3f  proxy %.3f CPU-s per 1,000  ratio %.2f (%.2f to %.2f)  (%d rounds, %d connections, %d cores, one thread each)\n",
		f.What, f.Gateway, f.Proxy, f.Ratio, f.Low, f.High, f.Rounds, f.Conns, f.Cores)
}

type bench struct {
	rounds, conns  int
	proxy, gateway *process
}

// measure alternates between the two, the order changing each round, after a round that warms both up. The standard
// proxy now and then breaks off a stream whose caller reuses connections quickly; up to a fiftieth is asked for again.
func (b *bench) measure(ctx context.Context, n int, args []string) (figure, error) {
	var gateway, proxy, ratio []float64
	for round := range b.rounds + 1 {
		var g, p float64
		var err error
		both := []func(){
			func() { g, err = b.one(ctx, b.gateway, b.gateway.lines[1], b.gateway.lines[0], n, args) },
			func() {
				p, err = b.one(ctx, b.proxy, b.proxy.lines[0], "none", n, append([]string{"-broken", strconv.Itoa(n / 50)}, args...))
			},
		}
		if round%2 == 1 {
			slices.Reverse(both)
		}
		for _, f := range both {
			if f(); err != nil {
				return figure{}, err
			}
		}
		if round > 0 {
			gateway, proxy, ratio = append(gateway, g), append(proxy, p), append(ratio, g/p)
		}
	}
	return figure{Gateway: median(gateway), Proxy: median(proxy), Ratio: median(ratio), Low: quantile(ratio, 0.25), High: quantile(ratio, 0.75), Rounds: b.rounds, Conns: b.conns, Cores: runtime.NumCPU()}, nil
}

// one is the CPU time in seconds of p for 1,000 requests. What p does after the last answer, such as shipping records,
// falls into the pause before the second reading.
func (b *bench) one(ctx context.Context, p *process, addr, key string, n int, args []string) (float64, error) {
	before, err := cpuTime(p.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	load := exec.CommandContext(ctx, os.Args[0], append([]string{"load", "-addr", addr, "-key", key, "-n", strconv.Itoa(n), "-c", strconv.Itoa(b.conns)}, args...)...)
	load.Env, load.Stderr = oneThread(), os.Stderr
	if err := load.Run(); err != nil {
		return 0, err
	}
	time.Sleep(600 * time.Millisecond)
	after, err := cpuTime(p.cmd.Process.Pid)
	return (after - before).Seconds() / float64(n) * 1000, err
}

func median(v []float64) float64 { return quantile(v, 0.5) }

// quantile is the value below which a part q of v lies, between two neighbours in proportion.
func quantile(v []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(v))
	at := q * float64(len(s)-1)
	i := int(at)
	if i+1 == len(s) {
		return s[i]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}

// process is a role of this program running beside us.
type process struct {
	cmd   *exec.Cmd
	lines []string // what it printed first
}

func oneThread() []string { return append(os.Environ(), "GOMAXPROCS=1") }

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
