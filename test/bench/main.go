//go:build unix

// Command bench measures Triarch's speed as ratios against peers in the same run (docs/bench.md): training against
// eager PyTorch, decoding and prefill against llama.cpp, the gateway against a reverse proxy; and it states how long
// `up` takes and how much memory it keeps.
//
// Rules for users: test/bench/run builds and installs what it needs and calls it. Every engine is a process of its own
// with one thread; rounds alternate between peers and each changes the order; what is compared is CPU time, read from
// the kernel for the whole process, so that a busy machine disturbs little; the ratio is the median over the rounds of
// the ratio within each.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// settings are the command line's.
type settings struct {
	rounds            int
	only              map[string]bool
	triarch, gateway  string // programs
	debian, python    string // interpreters with PyTorch 1.13 and with the newest
	root, json, stock string // of the repository; file for the figures; data directory with a starter
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if len(os.Args) == 3 && os.Args[1] == "native" {
		err = serveNative(os.Args[2])
	} else {
		err = drive(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func drive(ctx context.Context) error {
	var s settings
	only := flag.String("only", "train,serve,form,gateway,routes,up", "parts to measure")
	flag.IntVar(&s.rounds, "rounds", 9, "interleaved rounds, at least 7")
	flag.StringVar(&s.triarch, "triarch", "bin/triarch", "the program")
	flag.StringVar(&s.gateway, "gatewaybench", "bin/gatewaybench", "the gateway's rig")
	flag.StringVar(&s.debian, "debian", "/usr/bin/python3", "Python with Debian's PyTorch")
	flag.StringVar(&s.python, "python", ".venv/bin/python", "Python with the newest PyTorch")
	flag.StringVar(&s.root, "root", ".", "the repository")
	flag.StringVar(&s.json, "json", "", "write the figures to this file as well")
	flag.StringVar(&s.stock, "data", "", "data directory that has a starter already (otherwise one is made and timed)")
	flag.Parse()
	if s.rounds < 7 {
		return fmt.Errorf("%d rounds are too few, at least 7", s.rounds)
	}
	s.only = map[string]bool{}
	for part := range strings.SplitSeq(*only, ",") {
		s.only[part] = true
	}
	return measure(ctx, s)
}
