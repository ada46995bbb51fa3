package provider_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/internal/seal"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/engine/remote"
	"github.com/triarch-ai/triarch/models/provider"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

var who = provider.Who{Org: "org_a", Project: "prj_a", Key: "key_a"}

// driver notes what it was made of.
type driver struct {
	*remote.Provider
	of     provider.Upstream
	closed bool
}

func (d *driver) Close() { d.closed = true }

func service(t *testing.T, db *sql.DB, key byte, log *bytes.Buffer) *provider.Service {
	t.Helper()
	box, err := seal.New(bytes.Repeat([]byte{key}, seal.KeySize), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &provider.Service{Store: db.Providers(), Box: box, IDs: id.Default(), Now: time.Now, Log: slog.New(slog.NewTextHandler(log, nil)),
		Driver: func(u provider.Upstream) provider.Driver {
			return &driver{Provider: remote.New(remote.Options{URL: u.URL, Now: time.Now}), of: u}
		}}
}

func TestLife(t *testing.T) {
	sqltest.Each(t, func(t *testing.T, db *sql.DB) {
		var log bytes.Buffer
		ctx, s := t.Context(), service(t, db, 1, &log)
		told := 0
		s.Changed = func(context.Context) { told++ }
		p, err := s.Add(ctx, who, provider.Spec{Name: "far", URL: "https://api.example.org/v1", Key: " sk-0123456789abcdef\n"})
		if err != nil {
			t.Fatal(err)
		}
		second, err := s.AddKey(ctx, who, "far", "short")
		if err != nil || second.Hint != "" || p.Keys[0].Hint != "cdef" {
			t.Errorf("%+v %+v, %v", p, second, err)
		}
		got, err := s.Get(ctx, who.Project, p.ID)
		want := p
		want.Keys = append(want.Keys, second)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%v\n%s", err, d)
		}
		live, err := s.Live(ctx)
		if err != nil || len(live) != 1 {
			t.Fatalf("%v, %v", live, err)
		}
		first := live[p.ID].Engine.(*driver)
		if k := first.of.Keys; len(k) != 2 || k[0].Text != "sk-0123456789abcdef" || k[1].Text != "short" || first.of.Dialect != engine.OpenAI {
			t.Errorf("%+v", first.of)
		}
		if again, _ := s.Live(ctx); again[p.ID].Engine != provider.Driver(first) {
			t.Error("another engine though nothing changed: it forgets which keys rest")
		}
		if err := s.RemoveKey(ctx, who, "far", second.ID); err != nil {
			t.Error(err)
		}
		if again, _ := s.Live(ctx); again[p.ID].Engine == provider.Driver(first) || !first.closed {
			t.Error("a key that was removed is in use")
		}
		for name, f := range map[string]func() error{
			"another project's": func() error { _, err := s.Get(ctx, "prj_b", p.ID); return err },
			"its keys": func() error {
				_, err := s.AddKey(ctx, provider.Who{Project: "prj_b"}, p.ID, "x")
				return err
			},
			"its end":            func() error { return s.Remove(ctx, provider.Who{Project: "prj_b"}, p.ID) },
			"its key's end":      func() error { return s.RemoveKey(ctx, provider.Who{Project: "prj_b"}, p.ID, p.Keys[0].ID) },
			"a key that is gone": func() error { return s.RemoveKey(ctx, who, p.ID, second.ID) },
		} {
			if err := f(); !fault.Is(err, fault.NotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := s.Add(ctx, who, provider.Spec{Name: "far", URL: "https://x.example"}); !fault.Is(err, fault.Conflict) {
			t.Errorf("a taken name: %v", err)
		}
		route := serve.Route{ID: id.Default().New("rte"), Org: who.Org, Project: who.Project, Name: "r", Prices: meter.Flat(1, 2), CreatedAt: time.Now(),
			Backends: []serve.Backend{{Weight: 1, Provider: p.ID, Model: "m"}}}
		if err := db.Serve().AddRoute(ctx, route); err != nil {
			t.Fatal(err)
		}
		if err := s.Remove(ctx, who, "far"); !fault.Is(err, fault.Conflict) {
			t.Errorf("removed while a route leads there: %v", err)
		}
		if err := db.Serve().RemoveRoute(ctx, who.Project, route.ID); err != nil {
			t.Error(err)
		}
		if err := s.Remove(ctx, who, "far"); err != nil {
			t.Error(err)
		}
		if list, err := s.List(ctx, who.Project, page.All); err != nil || len(list) != 0 || told != 4 {
			t.Errorf("%v, %v, told %d times", list, err, told)
		}
		if strings.Contains(log.String(), "sk-0") {
			t.Error("a secret in the log")
		}
	})
}

func TestRefusals(t *testing.T) {
	var log bytes.Buffer
	s := service(t, sqltest.Open(t, sqltest.SQLite(t)), 1, &log)
	for field, spec := range map[string]provider.Spec{
		"name":          {Name: "local", URL: "https://a.example"},
		"name ":         {Name: "a/b", URL: "https://a.example"},
		"name  ":        {Name: "a:b", URL: "https://a.example"},
		"name   ":       {Name: "prv_00000000000000000000000000", URL: "https://a.example"},
		"dialect":       {Name: "a", URL: "https://a.example", Dialect: "latin"},
		"url":           {Name: "a", URL: "http://a.example"},
		"url ":          {Name: "a", URL: "https://169.254.169.254/latest"},
		"url  ":         {Name: "a", URL: "https://user:secret@a.example"},
		"allow_private": {Name: "a", URL: "http://10.0.0.1", Private: true},
		"key":           {Name: "a", URL: "https://a.example", Key: "a\r\nX-Header: b"},
		"key ":          {Name: "a", URL: "https://a.example", Key: strings.Repeat("k", 5000)},
	} {
		_, err := s.Add(t.Context(), who, spec)
		if f := fault.As(err); f.Field != strings.TrimSpace(field) || f.Kind != fault.Invalid && f.Kind != fault.Forbidden {
			t.Errorf("%+v: %v in the field %q", spec, err, f.Field)
		}
	}
	operator := who
	operator.Private = true
	if _, err := s.Add(t.Context(), operator, provider.Spec{Name: "near", URL: "http://127.0.0.1:1/v1", Private: true}); err != nil {
		t.Error(err)
	}
	if r, err := s.Test(t.Context(), who.Project, "near"); err != nil || r.OK || r.Reason == "" {
		t.Errorf("a test of what is not there: %+v, %v", r, err)
	}
}

// Keys that were sealed with another installation's key are of no use here, and the others go on.
func TestSealedElsewhere(t *testing.T) {
	var log bytes.Buffer
	db := sqltest.Open(t, sqltest.SQLite(t))
	here, there := service(t, db, 1, &log), service(t, db, 2, &log)
	lost, err := there.Add(t.Context(), who, provider.Spec{Name: "lost", URL: "https://a.example", Key: "sk-elsewhere-123456"})
	if err != nil {
		t.Fatal(err)
	}
	mixed, err := there.Add(t.Context(), who, provider.Spec{Name: "mixed", URL: "https://a.example", Key: "sk-elsewhere-123456"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := here.AddKey(t.Context(), who, "mixed", "good"); err != nil {
		t.Fatal(err)
	}
	live, err := here.Live(t.Context())
	if err != nil || live[lost.ID] != nil || live[mixed.ID] == nil {
		t.Fatalf("%v, %v", live, err)
	}
	if k := live[mixed.ID].Engine.(*driver).of.Keys; len(k) != 1 || k[0].Text != "good" {
		t.Errorf("%+v", k)
	}
	if !strings.Contains(log.String(), "cannot be opened") || strings.Contains(log.String(), "elsewhere-") {
		t.Errorf("log: %s", log.String())
	}
}
