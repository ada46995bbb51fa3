package file

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/storage/blob"
	"github.com/triarch-ai/triarch/storage/blob/blobtest"
)

func open(t *testing.T, now func() time.Time) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "blobs"), now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSuite(t *testing.T) {
	blobtest.Run(t, func(t *testing.T, now func() time.Time) blob.Store { return open(t, now) })
}

func TestDamageIsFound(t *testing.T) {
	s := open(t, time.Now)
	ref, _, err := s.Put(t.Context(), strings.NewReader("right"))
	if err != nil {
		t.Fatal(err)
	}
	path, err := s.Path(ref)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{"wrong", "righ", "rightmore"} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		r, _, err := s.Open(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); err == nil || fault.As(err).Code != "damaged" {
			t.Errorf("%q read without an error: %v", wrong, err)
		}
		r.Close()
	}
	for _, wrong := range []string{"rightmore", "wrong"} { // also of the right size
		if err := os.WriteFile(path+".new", []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Put(t.Context(), strings.NewReader("right")); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "right" {
			t.Fatalf("not healed: %q, %v", got, err)
		}
	}
}

func TestOpenClearsOldLeftovers(t *testing.T) {
	dir := t.TempDir()
	temp := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{"put-old": 2 * time.Hour, "put-new": time.Minute} {
		p, at := filepath.Join(temp, name), time.Now().Add(-age)
		if err := os.WriteFile(p, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(dir, time.Now); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) != 1 || left[0].Name() != "put-new" {
		t.Fatalf("left: %v, %v", left, err)
	}
}

func TestFilesCannotBeWrittenByOthers(t *testing.T) {
	s := open(t, time.Now)
	ref, _, err := s.Put(t.Context(), bytes.NewReader([]byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	path, _ := s.Path(ref)
	i, err := os.Stat(path)
	if err != nil || i.Mode().Perm() != 0o400 {
		t.Fatalf("mode %v, %v", i.Mode(), err)
	}
}

// TestLinkStoresAFile takes a file in by a link: the same blob as by Put, read-only, which outlives the file.
func TestLinkStoresAFile(t *testing.T) {
	s := open(t, time.Now)
	from := filepath.Join(filepath.Dir(s.dir), "weights")
	if err := os.WriteFile(from, []byte("weights"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again, as after a crash
		ref, n, err := s.Link(t.Context(), from)
		if err != nil || n != 7 || ref != blob.RefOf(sha256.Sum256([]byte("weights"))) {
			t.Fatalf("%s %d %v", ref, n, err)
		}
	}
	ref, _, _ := s.Put(t.Context(), bytes.NewReader([]byte("weights")))
	path, _ := s.Path(ref)
	i, err := os.Stat(path)
	if err != nil || i.Mode().Perm() != 0o400 {
		t.Fatalf("%v %v", i, err)
	}
	if err := os.Remove(from); err != nil {
		t.Fatal(err)
	}
	r, _, err := s.Open(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "weights" {
		t.Fatalf("%q %v", b, err)
	}
	if left, err := os.ReadDir(s.temp()); err != nil || len(left) > 0 {
		t.Errorf("left %v %v", left, err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	os.WriteFile(from, []byte("other"), 0o600)
	if _, _, err := s.Link(cancelled, from); err == nil {
		t.Error("a cancelled link is stored")
	}
}
