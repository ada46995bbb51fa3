package auth

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/tenancy"
)

type source struct {
	mu    sync.Mutex
	snap  tenancy.Snapshot
	err   error
	calls int
}

// set changes what the next Snapshot returns and tells how many there were.
func (s *source) set(f func(*source)) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
	return s.calls
}

func (s *source) Snapshot(_ context.Context, known int64) (tenancy.Snapshot, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	return s.snap, s.err == nil && s.snap.Generation != known, s.err
}

func key(t testing.TB) (string, tenancy.Entry) {
	secret, hash, err := tenancy.NewSecret(bytes.NewReader(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	const zeros = "_00000000000000000000000000"
	return secret, tenancy.Entry{Hash: hash, Key: tenancy.Key{ID: "key" + zeros, OrgID: "org" + zeros, ProjectID: "prj" + zeros, Role: tenancy.Owner}}
}

func TestLoopFollowsTheStoreAndOutlivesItsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret, entry := key(t)
		src := &source{snap: tenancy.Snapshot{Generation: 1}}
		k := NewKeyring(src, time.Now)
		var out bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			k.Loop(ctx, time.Second, slog.New(slog.NewTextHandler(&out, nil)))
			close(ended)
		}()

		src.set(func(s *source) { s.snap = tenancy.Snapshot{Generation: 2, Keys: []tenancy.Entry{entry}} })
		time.Sleep(1500 * time.Millisecond)
		if _, err := k.Authenticate(secret); err != nil {
			t.Fatalf("a key made elsewhere is not known after a second: %v", err)
		}
		src.set(func(s *source) { s.err = errors.New("down") })
		time.Sleep(3 * time.Second)
		if _, err := k.Authenticate(secret); err != nil {
			t.Fatalf("keys were forgotten while the store is down: %v", err)
		}
		src.set(func(s *source) { s.err = nil })
		time.Sleep(time.Second)
		cancel()
		<-ended
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Fatalf("logged %d lines, want one for the failure and one for its end:\n%s", n, out.String())
		}
		if strings.Contains(out.String(), secret) {
			t.Fatal("a secret was logged")
		}
		n := src.set(func(*source) {})
		time.Sleep(5 * time.Second)
		if src.set(func(*source) {}) != n {
			t.Fatal("the loop goes on after its context")
		}
	})
}

func TestUnchangedGenerationKeepsTheView(t *testing.T) {
	_, entry := key(t)
	src := &source{snap: tenancy.Snapshot{Generation: 3, Keys: []tenancy.Entry{entry}}}
	k := NewKeyring(src, time.Now)
	if err := k.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := k.view.Load()
	if err := k.Refresh(t.Context()); err != nil || k.view.Load() != before || k.Generation() != 3 {
		t.Fatalf("refreshed without a change: %v", err)
	}
}

func TestAuthenticateTakesNoMemory(t *testing.T) {
	secret, entry := key(t)
	k := NewKeyring(&source{snap: tenancy.Snapshot{Generation: 1, Keys: []tenancy.Entry{entry}}}, time.Now)
	if err := k.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := k.Authenticate(secret); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Fatalf("%v allocations on the hot path", n)
	}
}

func FuzzAuthenticate(f *testing.F) {
	secret, entry := key(f)
	k := NewKeyring(&source{snap: tenancy.Snapshot{Generation: 1, Keys: []tenancy.Entry{entry}}}, time.Now)
	if err := k.Refresh(context.Background()); err != nil {
		f.Fatal(err)
	}
	f.Add(secret)
	f.Add(secret[:46])
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := k.Authenticate(s)
		if (err == nil) != (s == secret) || (p != nil) != (err == nil) || (err != nil && !fault.Is(err, fault.Unauthenticated)) {
			t.Fatalf("%q: %v, %v", s, p, err)
		}
		if err != nil && s != "" && len(s) > 8 && strings.Contains(err.Error(), s) {
			t.Fatal("the error repeats the secret")
		}
	})
}

func TestMayAndContext(t *testing.T) {
	var none *Principal
	if none.May(tenancy.Viewer, tenancy.Read) {
		t.Error("nobody may")
	}
	if _, ok := From(t.Context()); ok {
		t.Error("somebody in an empty context")
	}
	if _, ok := From(With(t.Context(), nil)); ok {
		t.Error("nil counts as somebody")
	}
	p := &Principal{Role: tenancy.Developer, Scopes: []tenancy.Scope{tenancy.Read}}
	got, ok := From(With(t.Context(), p))
	if !ok || got != p {
		t.Error("lost in the context")
	}
	for _, c := range []struct {
		role  tenancy.Role
		scope tenancy.Scope
		want  bool
	}{{tenancy.Viewer, tenancy.Read, true}, {tenancy.Developer, tenancy.Read, true}, {tenancy.Owner, tenancy.Read, false},
		{tenancy.Viewer, tenancy.Write, false}, {"", tenancy.Read, false}, {"king", tenancy.Read, false}} {
		if p.May(c.role, c.scope) != c.want {
			t.Errorf("%s %s: want %v", c.role, c.scope, c.want)
		}
	}
}
