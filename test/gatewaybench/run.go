package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// figure is one line of the result. Ratios are of CPU time: medians over rounds of gateway / proxy, with quartiles, and
// of the second proxy / the first one, which is the control. Latencies are medians over rounds; what is added is that of
// a round less what the load generator has from the engine without anything between them in the same round.
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
	DirectP99    float64 `json:"direct_p99_ms"`
	GatewayAdded float64 `json:"gateway_added_p99_ms"`
	ProxyAdded   float64 `json:"proxy_added_p99_ms"`
	CtrlAdded    float64 `json:"control_added_p99_ms"`
	GatewayUser  float64 `json:"gateway_user_share"` // of its CPU time, the rest is the kernel's
	ProxyUser    float64 `json:"proxy_user_share"`
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
	profiles := flags.String("profile", "", "folder for CPU profiles of gateway and proxy, a file for each line")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b := bench{rounds: *rounds, profiles: *profiles}
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
	fmt.Printf("%-32s c=%-3d gateway %.3f proxy %.3f CPU-s/1,000 (user %.0f %% / %.0f %%): %.2f (%.2f to %.2f), control %.2f (%.2f to %.2f); p50 %.1f / %.1f ms, p99 %.1f / %.1f ms, added to %.1f: %.1f / %.1f, control %.1f; %s\n",
		f.What, f.Conns, f.Gateway, f.Proxy, 100*f.GatewayUser, 100*f.ProxyUser, f.Ratio, f.Low, f.High, f.Control, f.ControlLow, f.ControlHigh,
		f.GatewayP50, f.ProxyP50, f.GatewayP99, f.ProxyP99, f.DirectP99, f.GatewayAdded, f.ProxyAdded, f.CtrlAdded, verdict)
}

// bench is the processes of a run.
type bench struct {
	rounds, conns                   int
	profiles                        string // folder; empty: none
	engine, proxy, control, gateway *process
}

// Whom a round asks, by place in measure's lists.
const (
	ofGateway = iota
	ofProxy
	ofControl
	ofEngine
	peers
)

// replicas is how many addresses the engine has; the proxies know the first.
const replicas = 4

func (b *bench) start(ctx context.Context) (err error) {
	if b.engine, err = start(ctx, replicas, "engine", strconv.Itoa(replicas)); err != nil {
		return err
	}
	profiled := func(name string) []string { return []string{"-profile", b.profile(name)} }
	if b.proxy, err = start(ctx, 1, slices.Concat([]string{"proxy"}, profiled("proxy"), b.engine.lines[:1])...); err != nil {
		return err
	}
	if b.control, err = start(ctx, 1, "proxy", b.engine.lines[0]); err != nil {
		return err
	}
	b.gateway, err = start(ctx, 2, slices.Concat([]string{"gateway"}, profiled("gateway"), b.engine.lines)...)
	return err
}

// profile is what the profiles of a process are called, without their number; empty: it makes none.
func (b *bench) profile(name string) string {
	if b.profiles == "" {
		return ""
	}
	return filepath.Join(b.profiles, name)
}

// toggle has the processes that are profiled begin or end a profile.
func (b *bench) toggle() error {
	if b.profiles == "" {
		return nil
	}
	return errors.Join(b.gateway.cmd.Process.Signal(profileSignal), b.proxy.cmd.Process.Signal(profileSignal))
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
	cpu  float64 // seconds for 1,000 requests
	used spent   // in all
	loadResult
}

// measure asks all in each round, in an order that changes, after a round that warms them up.
func (b *bench) measure(ctx context.Context, k kind) (f figure, err error) {
	if err := b.toggle(); err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, b.toggle()) }()
	n := k.n(b.conns)
	var all [peers][]sample
	for round := range b.rounds + 1 {
		var took [peers]sample
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
	f = figure{What: k.what, Rounds: b.rounds, Conns: b.conns, Cores: runtime.NumCPU(), RoundRequest: n, Target: k.target}
	f.compare(all[ofGateway], all[ofProxy], all[ofControl], all[ofEngine])
	within := f.ControlHigh
	if k.target > 0 {
		within = k.target
	}
	f.Met = f.Ratio <= within
	return f, nil
}

func (f *figure) compare(gateway, proxy, control, direct []sample) {
	cpu := func(s sample) float64 { return s.cpu }
	p50 := func(s sample) float64 { return s.P50Millis }
	p99 := func(s sample) float64 { return s.P99Millis }
	f.Gateway, f.Proxy = median(values(gateway, cpu)), median(values(proxy, cpu))
	f.GatewayP50, f.ProxyP50 = median(values(gateway, p50)), median(values(proxy, p50))
	f.GatewayP99, f.ProxyP99 = median(values(gateway, p99)), median(values(proxy, p99))
	f.DirectP99, f.GatewayAdded = median(values(direct, p99)), median(added(gateway, direct, p99))
	f.ProxyAdded, f.CtrlAdded = median(added(proxy, direct, p99)), median(added(control, direct, p99))
	f.GatewayUser, f.ProxyUser = userShare(gateway), userShare(proxy)
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

// added are the differences of each round.
func added(a, direct []sample, of func(sample) float64) []float64 {
	v := make([]float64, len(a))
	for i := range a {
		v[i] = of(a[i]) - of(direct[i])
	}
	return v
}

// userShare is what part of the CPU time of all rounds was the process's own and not the kernel's.
func userShare(all []sample) float64 {
	var user, system time.Duration
	for _, s := range all {
		user, system = user+s.used.user, system+s.used.system
	}
	if user+system == 0 {
		return 0
	}
	return user.Seconds() / (user + system).Seconds()
}

// one is a round of one process. What it does after the last answer, such as shipping records, falls into the pause
// before the second reading. The standard proxy now and then breaks off a stream whose caller reuses connections
// quickly; up to a fiftieth is asked for again.
func (b *bench) one(ctx context.Context, which, n int, args []string) (s sample, err error) {
	p := []*process{ofGateway: b.gateway, ofProxy: b.proxy, ofControl: b.control, ofEngine: b.engine}[which]
	addr, key := p.lines[0], "none"
	switch which {
	case ofGateway:
		addr, key = p.lines[1], p.lines[0]
	case ofProxy, ofControl:
		args = append([]string{"-broken", strconv.Itoa(n / 50)}, args...)
	}
	before, err := used(p.cmd.Process.Pid)
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
	after, err := used(p.cmd.Process.Pid)
	s.used = spent{after.all - before.all, after.user - before.user, after.system - before.system}
	s.cpu = s.used.all.Seconds() / float64(n) * 1000
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
