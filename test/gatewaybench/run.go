package main

import (
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

// figure is one line of the result. Ratios are of CPU time: medians over rounds of gateway / proxy, with quartiles, and
// of the second proxy / the first one, which is the control. Latencies are medians over rounds.
type figure struct {
	What    string  `json:"what"`
	Gateway float64 `json:"gateway_cpu_seconds_per_1000"`
	Proxy   float64 `json:"proxy_cpu_seconds_per_1000"`
	Ratio   float64 `json:"ratio"`
	Low     float64 `json:"ratio_low"`
	High    float64 `json:"ratio_high"`

	Control     float64 `json:"control"`
	ControlLow  float64 `json:"control_low"`
	ControlHigh float64 `json:"control_high"`

	GatewayP50   float64 `json:"gateway_p50_ms"`
	ProxyP50     float64 `json:"proxy_p50_ms"`
	GatewayP99   float64 `json:"gateway_p99_ms"`
	ProxyP99     float64 `json:"proxy_p99_ms"`
	P99Ratio     float64 `json:"p99_ratio"`        // median over rounds of gateway / proxy
	P99Control   float64 `json:"p99_control"`      // second proxy / first
	ProxyBroken  int64   `json:"proxy_broken"`     // answers of the first proxy that were incomplete
	Target       float64 `json:"target,omitempty"` // of Ratio
	Met          bool    `json:"met"`              // against Target, or the control's upper quartile where there is none
	Rounds       int     `json:"rounds"`
	Conns        int     `json:"connections"`
	Cores        int     `json:"cores"`
	RoundRequest int     `json:"requests_of_a_round"`
}

// kind is one sort of request.
type kind struct {
	what   string
	n      func(conns int) int // requests of a round
	args   []string
	target float64 // of the ratio; 0: no worse than the control's spread
}

func kinds(n int) []kind {
	all := func(part int) func(int) int { return func(c int) int { return max(n/part, 4*c) } }
	return []kind{
		{what: "JSON, 1 KB prompt", n: all(1), target: 0.6},
		{what: "JSON, 220 KB prompt", n: all(10), args: []string{"-prompt", "220000"}, target: 1},
		{what: "stream of 34 events, at once", n: all(4), args: []string{"-stream"}, target: 0.9},
		{what: "stream of 64 events, 5 ms apart", n: func(c int) int { return min(8*c, 1024) }, args: []string{"-paced"}},
	}
}

// runBench starts the processes and measures.
func runBench(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	rounds := flags.Int("rounds", 11, "interleaved rounds")
	n := flags.Int("n", 4000, "requests of a round of short answers")
	conns := flags.String("c", "16,64,256", "connections, one part for each number")
	only := flags.String("only", "", "measure what has this in its name")
	held := flags.Int("held", 10_000, "silent streams for the figure of memory; 0: no figures of memory")
	asJSON := flags.Bool("json", false, "print JSON lines")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b := bench{rounds: *rounds}
	defer b.stop()
	if err := b.start(ctx); err != nil {
		return err
	}
	for _, k := range kinds(*n) {
		for c := range strings.SplitSeq(*conns, ",") {
			if !strings.Contains(k.what, *only) {
				continue
			}
			var err error
			if b.conns, err = strconv.Atoi(c); err != nil || b.conns < 1 {
				return fmt.Errorf("-c: %q is no number of connections", c)
			}
			f, err := b.measure(ctx, k)
			if err != nil {
				return fmt.Errorf("%s, %s connections: %w", k.what, c, err)
			}
			report(f, *asJSON)
		}
	}
	if *held == 0 || !strings.Contains("memory", *only) {
		return nil
	}
	m, err := b.memory(ctx, *held)
	if err == nil {
		err = m.report(*asJSON)
	}
	return err
}

func report(f figure, asJSON bool) {
	if asJSON {
		line, err := json.Marshal(f)
		if err == nil {
			fmt.Println(string(line))
		}
		return
	}
	verdict := map[bool]string{true: "met", false: "MISSED"}[f.Met]
	fmt.Printf("%-32s c=%-3d gateway %.3f proxy %.3f CPU-s/1,000: %.2f (%.2f to %.2f), control %.2f (%.2f to %.2f); p50 %.1f / %.1f ms, p99 %.1f / %.1f ms: %.2f, control %.2f; %s\n",
		f.What, f.Conns, f.Gateway, f.Proxy, f.Ratio, f.Low, f.High, f.Control, f.ControlLow, f.ControlHigh,
		f.GatewayP50, f.ProxyP50, f.GatewayP99, f.ProxyP99, f.P99Ratio, f.P99Control, verdict)
}

// bench is the processes of a run.
type bench struct {
	rounds, conns                   int
	engine, proxy, control, gateway *process
}

// replicas is how many addresses the engine has; the proxies know the first.
const replicas = 4

func (b *bench) start(ctx context.Context) (err error) {
	if b.engine, err = start(ctx, replicas, "engine", strconv.Itoa(replicas)); err != nil {
		return err
	}
	if b.proxy, err = start(ctx, 1, "proxy", b.engine.lines[0]); err != nil {
		return err
	}
	if b.control, err = start(ctx, 1, "proxy", b.engine.lines[0]); err != nil {
		return err
	}
	b.gateway, err = start(ctx, 2, append([]string{"gateway"}, b.engine.lines...)...)
	return err
}

func (b *bench) stop() {
	for _, p := range []*process{b.gateway, b.control, b.proxy, b.engine} {
		if p != nil {
			p.stop()
		}
	}
}

// sample is one process in one round.
type sample struct {
	cpu float64 // seconds for 1,000 requests
	loadResult
}

// measure asks all three in each round, in an order that changes, after a round that warms them up.
func (b *bench) measure(ctx context.Context, k kind) (figure, error) {
	n := k.n(b.conns)
	var all [3][]sample // of gateway, proxy, control
	for round := range b.rounds + 1 {
		var took [3]sample
		for i := range took {
			which := (i + round) % len(took)
			var err error
			if took[which], err = b.one(ctx, which, n, k.args); err != nil {
				return figure{}, err
			}
		}
		if round > 0 {
			for which, s := range took {
				all[which] = append(all[which], s)
			}
		}
	}
	f := figure{What: k.what, Rounds: b.rounds, Conns: b.conns, Cores: runtime.NumCPU(), RoundRequest: n, Target: k.target}
	f.compare(all[0], all[1], all[2])
	within := f.ControlHigh
	if k.target > 0 {
		within = k.target
	}
	f.Met = f.Ratio <= within
	return f, nil
}

func (f *figure) compare(gateway, proxy, control []sample) {
	cpu := func(s sample) float64 { return s.cpu }
	p50 := func(s sample) float64 { return s.P50Millis }
	p99 := func(s sample) float64 { return s.P99Millis }
	f.Gateway, f.Proxy = median(values(gateway, cpu)), median(values(proxy, cpu))
	f.GatewayP50, f.ProxyP50 = median(values(gateway, p50)), median(values(proxy, p50))
	f.GatewayP99, f.ProxyP99 = median(values(gateway, p99)), median(values(proxy, p99))
	f.P99Ratio, f.P99Control = median(ratios(gateway, proxy, p99)), median(ratios(control, proxy, p99))
	r, c := ratios(gateway, proxy, cpu), ratios(control, proxy, cpu)
	f.Ratio, f.Low, f.High = median(r), quantile(r, 0.25), quantile(r, 0.75)
	f.Control, f.ControlLow, f.ControlHigh = median(c), quantile(c, 0.25), quantile(c, 0.75)
	for _, s := range proxy {
		f.ProxyBroken += s.Broken
	}
}

func values(s []sample, of func(sample) float64) []float64 {
	v := make([]float64, len(s))
	for i := range s {
		v[i] = of(s[i])
	}
	return v
}

// ratios are those of each round.
func ratios(a, b []sample, of func(sample) float64) []float64 {
	v := make([]float64, len(a))
	for i := range a {
		v[i] = of(a[i]) / of(b[i])
	}
	return v
}

// one is a round of one process. What it does after the last answer, such as shipping records, falls into the pause
// before the second reading. The standard proxy now and then breaks off a stream whose caller reuses connections
// quickly; up to a fiftieth is asked for again.
func (b *bench) one(ctx context.Context, which, n int, args []string) (s sample, err error) {
	p := []*process{b.gateway, b.proxy, b.control}[which]
	addr, key := p.lines[0], "none"
	if which == 0 {
		addr, key = p.lines[1], p.lines[0]
	} else {
		args = append([]string{"-broken", strconv.Itoa(n / 50)}, args...)
	}
	before, err := cpuTime(p.cmd.Process.Pid)
	if err != nil {
		return s, err
	}
	load := exec.CommandContext(ctx, os.Args[0], append([]string{"load", "-addr", addr, "-key", key, "-n", strconv.Itoa(n), "-c", strconv.Itoa(b.conns)}, args...)...)
	load.Env, load.Stderr = oneThread(), os.Stderr
	out, err := load.Output()
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(out, &s.loadResult); err != nil {
		return s, err
	}
	time.Sleep(600 * time.Millisecond)
	after, err := cpuTime(p.cmd.Process.Pid)
	s.cpu = (after - before).Seconds() / float64(n) * 1000
	return s, err
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
