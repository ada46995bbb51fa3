// Package blobtest is the suite every driver of blob.Store passes: the contract is what it says.
package blobtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/storage/blob"
)

// Clock is the time a store under test sees.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// Now is the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Advance moves the clock on.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// Run runs the suite. open returns a new, empty store that dates blobs by now.
func Run(t *testing.T, open func(t *testing.T, now func() time.Time) blob.Store) {
	for name, f := range map[string]func(*testing.T, blob.Store, *Clock){
		"round trip": roundTrip, "bad references": badRefs, "failed put": failedPut, "cancelled": cancelled,
		"delete": deletes, "list": lists, "same bytes at once": together, "collect": collects,
		"collect beside put": collectBesidePut, "collect without names": collectFails,
	} {
		t.Run(name, func(t *testing.T) {
			c := &Clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
			f(t, open(t, c.Now), c)
		})
	}
}

func put(t *testing.T, s blob.Store, b []byte) blob.Ref {
	t.Helper()
	ref, n, err := s.Put(t.Context(), bytes.NewReader(b))
	if err != nil || n != int64(len(b)) || ref != blob.RefOf(sha256.Sum256(b)) {
		t.Fatalf("Put of %d bytes: %s, %d, %v", len(b), ref, n, err)
	}
	return ref
}

func count(t *testing.T, s blob.Store) int {
	t.Helper()
	n := 0
	if err := s.List(t.Context(), func(blob.Info) bool { n++; return true }); err != nil {
		t.Fatal(err)
	}
	return n
}

func roundTrip(t *testing.T, s blob.Store, _ *Clock) {
	src := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{0, 1, 4095, 4096, 1<<20 + 7} {
		b := make([]byte, size)
		_, _ = src.Read(b)
		ref := put(t, s, b)
		r, n, err := s.Open(t.Context(), ref)
		if err != nil || n != int64(size) {
			t.Fatalf("Open: %d, %v", n, err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%d bytes came back as %d, %v", size, len(got), err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if i, err := s.Stat(t.Context(), ref); err != nil || i.Size != int64(size) || i.Ref != ref {
			t.Fatalf("Stat: %+v, %v", i, err)
		}
	}
}

func badRefs(t *testing.T, s blob.Store, _ *Clock) {
	hex := string(bytes.Repeat([]byte("a"), 64))
	for _, bad := range []blob.Ref{"", "sha256:", "sha256:../../../../etc/passwd", blob.Ref("md5:" + hex), blob.Ref("sha256:A" + hex[1:]), blob.Ref("sha256:" + hex + "a")} {
		_, _, oerr := s.Open(t.Context(), bad)
		_, serr := s.Stat(t.Context(), bad)
		if derr := s.Delete(t.Context(), bad); !fault.Is(oerr, fault.Invalid) || !fault.Is(serr, fault.Invalid) || !fault.Is(derr, fault.Invalid) {
			t.Errorf("%q: Open %v, Stat %v, Delete %v", bad, oerr, serr, derr)
		}
	}
	absent := blob.Ref("sha256:" + hex)
	_, _, oerr := s.Open(t.Context(), absent)
	_, serr := s.Stat(t.Context(), absent)
	if !fault.Is(oerr, fault.NotFound) || !fault.Is(serr, fault.NotFound) {
		t.Errorf("absent: Open %v, Stat %v", oerr, serr)
	}
}

func failedPut(t *testing.T, s blob.Store, _ *Clock) {
	boom := errors.New("boom")
	_, _, err := s.Put(t.Context(), io.MultiReader(bytes.NewReader(make([]byte, 1<<16)), iotest.ErrReader(boom)))
	if !errors.Is(err, boom) || count(t, s) != 0 {
		t.Fatalf("error %v, %d blobs", err, count(t, s))
	}
}

func cancelled(t *testing.T, s blob.Store, _ *Clock) {
	ref := put(t, s, []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	endless := readerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	if _, _, err := s.Put(ctx, endless); !fault.Is(err, fault.Canceled) {
		t.Fatalf("a cancelled Put gave %v", err)
	}
	if n := count(t, s); n != 1 {
		t.Fatalf("%d blobs", n)
	}
	if _, err := s.Stat(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func deletes(t *testing.T, s blob.Store, _ *Clock) {
	ref := put(t, s, []byte("x"))
	for range 2 {
		if err := s.Delete(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Stat(t.Context(), ref); !fault.Is(err, fault.NotFound) {
		t.Fatalf("still there: %v", err)
	}
	put(t, s, []byte("x"))
}

func lists(t *testing.T, s blob.Store, c *Clock) {
	want := map[blob.Ref]int64{}
	for _, b := range []string{"", "a", "bb", "ccc"} {
		want[put(t, s, []byte(b))] = int64(len(b))
	}
	err := s.List(t.Context(), func(i blob.Info) bool {
		if size, ok := want[i.Ref]; !ok || size != i.Size || !i.At.Equal(c.Now()) {
			t.Errorf("listed %+v", i)
		}
		delete(want, i.Ref)
		return true
	})
	if err != nil || len(want) != 0 {
		t.Fatalf("not listed: %v, %v", want, err)
	}
	n := 0
	if err := s.List(t.Context(), func(blob.Info) bool { n++; return false }); err != nil || n != 1 {
		t.Fatalf("yielded %d times after false, %v", n, err)
	}
}

func together(t *testing.T, s blob.Store, _ *Clock) {
	b := make([]byte, 1<<18)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, _, err := s.Put(t.Context(), bytes.NewReader(b)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := count(t, s); n != 1 {
		t.Fatalf("%d blobs of one content", n)
	}
}

func collects(t *testing.T, s blob.Store, c *Clock) {
	kept, old, again := put(t, s, []byte("kept")), put(t, s, []byte("old!!")), put(t, s, []byte("again"))
	c.Advance(time.Hour)
	young := put(t, s, []byte("young"))
	put(t, s, []byte("again")) // its age starts anew
	names := func(_ context.Context, yield func(blob.Ref) bool) error { yield(kept); return nil }
	got, err := blob.Collect(t.Context(), s, names, c.Now().Add(-time.Minute))
	if want := (blob.Collected{Kept: 1, Young: 2, Deleted: 1, Freed: 5}); err != nil || got != want {
		t.Fatalf("collected %+v, %v; want %+v", got, err, want)
	}
	for _, ref := range []blob.Ref{kept, again, young} {
		if _, err := s.Stat(t.Context(), ref); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Stat(t.Context(), old); !fault.Is(err, fault.NotFound) {
		t.Errorf("the old blob stayed: %v", err)
	}
}

// A blob that is put again between the listing and its deletion stays.
func collectBesidePut(t *testing.T, s blob.Store, c *Clock) {
	ref := put(t, s, []byte("x"))
	c.Advance(time.Hour)
	names := func(context.Context, func(blob.Ref) bool) error { put(t, s, []byte("x")); return nil }
	got, err := blob.Collect(t.Context(), s, names, c.Now().Add(-time.Minute))
	if err != nil || got.Deleted != 0 {
		t.Fatalf("collected %+v, %v", got, err)
	}
	if _, err := s.Stat(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
}

func collectFails(t *testing.T, s blob.Store, c *Clock) {
	put(t, s, []byte("x"))
	c.Advance(time.Hour)
	boom := errors.New("boom")
	_, err := blob.Collect(t.Context(), s, func(context.Context, func(blob.Ref) bool) error { return boom }, c.Now())
	if !errors.Is(err, boom) || count(t, s) != 1 {
		t.Fatalf("error %v, %d blobs left", err, count(t, s))
	}
}
