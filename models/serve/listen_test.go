package serve_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
)

// Replicas listen where they are told to, and are asked there or on this machine's loopback interface and nowhere else.
func TestReplicasListenWhereTheyAreTold(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	ctx, s := t.Context(), w.service(nil)
	s.Listen = "10.0.0.5"
	must(s.Deploy(ctx, who, spec(1)))
	w.settle(t, s)
	for addr, asked := range map[string]bool{"10.0.0.5:80": true, "127.0.0.1:80": true, "10.0.0.6:80": false, "10.0.0.5:0": false, "0.0.0.0:80": false, "[::ffff:10.0.0.5]:80": true} {
		for _, j := range w.jobs.jobs {
			if got := j.Command.Argv[len(j.Command.Argv)-1]; got != s.Listen {
				t.Errorf("it was told to listen on %q", got)
			}
			w.jobs.listen(j, addr)
		}
		must(0, s.Reconcile(ctx))
		if got := len(s.Snapshot().List(project, org)) == 1; got != asked {
			t.Errorf("%q asked: %v", addr, got)
		}
		if d := must(s.Get(ctx, project, "m")); addr == "10.0.0.6:80" && !strings.Contains(d.Reason, "serve.listen") {
			t.Errorf("the reason: %+v", d)
		}
	}
}

// A gateway on another machine asks replicas that it can reach; those on the loopback interface of the control plane's
// machine it does not, since what listens there on its own is somebody else, and says so once.
func TestAnotherMachinesLoopback(t *testing.T) {
	w := newWorld(t, sqltest.Open(t, sqltest.SQLite(t)))
	ctx, s := t.Context(), w.service(nil)
	s.Listen, s.Machine = "10.0.0.5", "one"
	must(s.Deploy(ctx, who, spec(2)))
	w.settle(t, s)
	near := ""
	for _, j := range w.jobs.jobs {
		if near == "" {
			near = "127.0.0.1:81"
			w.jobs.listen(j, near)
			continue
		}
		w.jobs.listen(j, "10.0.0.5:82")
	}
	must(0, s.Reconcile(ctx))
	publication := must(s.Publication())
	for machine, want := range map[string][]string{"one": {"10.0.0.5:82", near}, "two": {"10.0.0.5:82"}, "": {"10.0.0.5:82", near}} {
		var log bytes.Buffer
		generation := int64(0)
		f := &serve.Follower{Store: s.Store, Engines: map[string]engine.Engine{"fake": w.engine}, Now: time.Now, Machine: machine,
			Log: slog.New(slog.NewTextHandler(&log, nil)),
			Read: func(context.Context, int64) (int64, []byte, error) {
				generation++
				return generation, publication, nil
			}}
		for range 3 {
			must(0, f.Follow(ctx))
		}
		x, served := f.Snapshot().Lookup(project, org, "m")
		if !served {
			t.Fatalf("machine %q serves nothing", machine)
		}
		var got []string
		for _, e := range x.Backends[0].Endpoints {
			got = append(got, e.Addr)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("machine %q asks %v, want %v", machine, got, want)
		}
		if told := strings.Count(log.String(), "serve.listen"); told != map[bool]int{true: 1, false: 0}[machine == "two"] {
			t.Errorf("machine %q told %d times: %s", machine, told, &log)
		}
	}
}
