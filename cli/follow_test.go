package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/internal/fault"
)

// watcher is an app on a data directory whose endpoint file names url; each look at its clock is a second later.
func watcher(t *testing.T, url string) (a *app, out, said *bytes.Buffer) {
	t.Helper()
	t.Setenv("TRIARCH_URL", "")
	t.Setenv("TRIARCH_KEY", "tri_x")
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	out, said = new(bytes.Buffer), new(bytes.Buffer)
	a = &app{data: t.TempDir(), again: time.Millisecond, patience: time.Minute, Screen: &ui.Screen{Out: out, Err: said, Width: 80,
		Now: func() time.Time { now = now.Add(time.Second); return now }}}
	a.answersAt(t, url)
	return a, out, said
}

func (a *app) answersAt(t *testing.T, url string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(a.data, "endpoint"), []byte(url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// control answers every request with the run as it is at that look; what returns no run breaks the connection off.
func control(t *testing.T, look func() *api.Run) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r := look()
		if r == nil {
			panic(http.ErrAbortHandler)
		}
		json.NewEncoder(w).Encode(r)
	}))
	t.Cleanup(srv.Close)
	return srv
}

// TestWatchingOutlivesTheControlPlane has it die in the middle and come back at another address.
func TestWatchingOutlivesTheControlPlane(t *testing.T) {
	var a *app
	second := control(t, func() *api.Run {
		return &api.Run{ID: "run_1", State: "succeeded", Model: "m", ModelVersion: "m@1", Progress: api.Progress{Step: 9, Steps: 9, Loss: 0.5}}
	})
	looks := 0
	first := control(t, func() *api.Run {
		if looks++; looks > 2 {
			a.answersAt(t, second.URL)
			return nil
		}
		return &api.Run{ID: "run_1", State: "running", Progress: api.Progress{Step: looks, Steps: 9, Loss: 2}}
	})
	a, out, said := watcher(t, first.URL)
	c, err := a.client()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.watch(t.Context(), c, "run_1"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "model m, version m@1, loss 0.5000") || strings.Count(said.String(), "does not answer; waiting up to 1m0s") != 1 {
		t.Errorf("printed %q and %q", out, said)
	}
}

func TestWatchingGivesUp(t *testing.T) {
	looks := 0
	srv := control(t, func() *api.Run { looks++; return nil })
	a, _, _ := watcher(t, srv.URL)
	err := a.watch(t.Context(), api.New(srv.URL, "tri_x"), "run_1")
	if f := fault.As(err); f == nil || f.Code != "no_server" || !strings.Contains(f.Fix, "up --data "+a.data) {
		t.Errorf("%+v", f)
	}
	if looks < 30 {
		t.Errorf("gave up after %d looks, not after a minute", looks)
	}
}

func TestWatchingEndsAtOnceWhereWaitingIsNoUse(t *testing.T) {
	looks := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		looks++
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		json.NewEncoder(w).Encode(api.Problem{Status: 404, Kind: "not_found", Title: "There is no run."})
	}))
	defer srv.Close()
	a, _, said := watcher(t, srv.URL)
	if err := a.watch(t.Context(), api.New(srv.URL, "tri_x"), "run_1"); !fault.Is(err, fault.NotFound) || looks != 1 || said.Len() != 0 {
		t.Errorf("%v after %d looks, %q", err, looks, said)
	}
}

func TestInterruptedWatchingTellsHowToGoOn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv := control(t, func() *api.Run { cancel(); return &api.Run{ID: "run_1", State: "running"} })
	a, out, _ := watcher(t, srv.URL)
	err := a.watch(ctx, api.New(srv.URL, "tri_x"), "run_1")
	if fault.ExitCode(err) != 130 || !strings.Contains(out.String(), "run watch run_1 --data ") {
		t.Errorf("%v, %q", err, out)
	}
}

// TestLogsAreFollowedAcrossARestart prints no byte twice and none never.
func TestLogsAreFollowedAcrossARestart(t *testing.T) {
	a, out, _ := watcher(t, "http://127.0.0.1:1")
	text, broken := "one two three", false
	err := a.copyLogs(t.Context(), api.New("http://127.0.0.1:1", "tri_x"), true, func(_ *api.Client, offset int64) (api.Logs, error) {
		if offset == 4 && !broken {
			broken = true
			return api.Logs{}, fault.New(fault.Unavailable, "gone")
		}
		next := min(offset+4, int64(len(text)))
		return api.Logs{Data: []byte(text[offset:next]), Offset: offset, Next: next, End: int64(len(text)), Ended: true}, nil
	})
	if err != nil || out.String() != text || !broken {
		t.Errorf("%q, %v", out, err)
	}
}
