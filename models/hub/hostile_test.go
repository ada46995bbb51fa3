package hub

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// slowToAnswer fails as a connection does whose time limit has passed.
type slowToAnswer struct{}

func (slowToAnswer) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded}
}

// TestTimeoutsAreTriedAgain has a connection run into its time limit, which is a context.DeadlineExceeded though nobody went away.
func TestTimeoutsAreTriedAgain(t *testing.T) {
	h := newHub(t, tiny())
	c, _ := client()
	plain := c.Transport
	var n atomic.Int32
	c.Transport = func(private bool, u *url.URL) (http.RoundTripper, error) {
		if k := n.Add(1); k == 3 || k == 6 {
			return slowToAnswer{}, nil
		}
		return plain(private, u)
	}
	dir := t.TempDir()
	if _, err := c.Pull(t.Context(), dir, specOf(HuggingFace, h), nil); err != nil {
		t.Fatal(err)
	}
	wantTiny(t, dir, h.files)
}

// TestRefusalThatDoesNotEndIsLeft has a mirror answer 503 and a redirect with bodies that never come.
func TestRefusalThatDoesNotEndIsLeft(t *testing.T) {
	h := newHub(t, map[string][]byte{"model.safetensors": noise(1, 9000)})
	h.act = func(n int, w http.ResponseWriter, r *http.Request, name string, b []byte) ([]byte, bool) {
		if n > 2 {
			return b, false
		}
		w.Header().Set("Content-Length", "1000")
		w.Header().Set("Location", "/blob/"+name)
		w.WriteHeader(map[int]int{1: 503, 2: 302}[n])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return nil, true
	}
	c, _ := client()
	c.Workers = 1
	c.Timer = func(d time.Duration, f func()) Stopper {
		if d < time.Minute {
			return time.AfterFunc(time.Millisecond, f)
		}
		return never{}
	}
	if _, err := c.Pull(t.Context(), t.TempDir(), specOf(HuggingFace, h), nil); err != nil {
		t.Fatal(err)
	}
}

// counted is a timer that counts how often it was set anew.
type counted struct{ n *int }

func (counted) Stop() bool                 { return true }
func (c counted) Reset(time.Duration) bool { *c.n++; return true }

func TestTrickleIsNoProgress(t *testing.T) {
	n := 0
	g := &guarded{ReadCloser: drops{}, timer: counted{&n}, stall: time.Minute}
	for range trickle - 1 {
		g.Read(make([]byte, 1))
	}
	if n != 0 {
		t.Errorf("a byte now and then held the connection: %d", n)
	}
	g.Read(make([]byte, 1))
	if n != 1 {
		t.Errorf("%d after %d bytes", n, trickle)
	}
}

// drops gives one byte at a time.
type drops struct{}

func (drops) Read(p []byte) (int, error) { return 1, nil }
func (drops) Close() error               { return nil }

// TestDiskThatFillsUpMeanwhile leaves the room free that something else takes while a file comes.
func TestDiskThatFillsUpMeanwhile(t *testing.T) {
	h := newHub(t, map[string][]byte{"model.safetensors": noise(1, 200<<10)})
	c, _ := client()
	var asked atomic.Int32
	c.Free = func(string) (int64, error) {
		if asked.Add(1) > 10 {
			return spare - 1, nil
		}
		return spare + 1<<30, nil
	}
	dir := t.TempDir()
	_, err := c.Pull(t.Context(), dir, specOf(HuggingFace, h), nil)
	if f := fault.As(err); err == nil || f.Code != "disk_full" {
		t.Fatalf("%v after %d looks", err, asked.Load())
	}
	c.Free = nil
	if _, err := c.Pull(t.Context(), dir, specOf(HuggingFace, h), nil); err != nil {
		t.Fatal(err)
	}
	wantTiny(t, dir, h.files)
}

// TestLostBlocksWithoutChecksum has a power loss take a block of a file whose list tells no checksum: the journal knows it.
func TestLostBlocksWithoutChecksum(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	whole := noise(1, 12<<10)
	h := newHub(t, map[string][]byte{"x": whole})
	c, _ := client()
	c.Workers = 1
	spec := specOf(HuggingFace, h)
	spec.Revision = commit
	sources, err := spec.sources()
	if err != nil {
		t.Fatal(err)
	}
	b, err := openBlocks(root, "part", int64(len(whole)), c.Block)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	for i := range 3 {
		if _, err := b.put(i, whole[i<<12:(i+1)<<12], fmt.Sprintf("%s%s", sources[0].mark, noTag)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.data.WriteAt(make([]byte, 1<<12), 1<<12); err != nil { // what the journal has and the disk has not
		t.Fatal(err)
	}
	f := &fetching{c: c, spec: spec, file: Entry{Path: "x", Size: int64(len(whole))}, b: b, sources: sources, count: func(int64) {}, note: func(string) {}}
	if _, err := f.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root.Name(), "part.data"))
	if err != nil || string(got) != string(whole) {
		t.Error("a block of zeros was taken for the file")
	}
}

// TestBundleWordsAreBounded has manifests whose words would fill the database or steer a terminal.
func TestBundleWordsAreBounded(t *testing.T) {
	good := Manifest{Format: bundleFormat, Model: "tiny", Origin: "huggingface:org/tiny", Revision: commit, Files: []Entry{{Path: "config.json", Size: 2, SHA256: shaOf([]byte("{}"))}}}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Manifest){
		"a card without end":     func(m *Manifest) { m.Card = string(make([]byte, maxCard+1)) },
		"a card of other bytes":  func(m *Manifest) { m.Card = "\xff" },
		"an origin that steers":  func(m *Manifest) { m.Origin = "huggingface:\x1b[2J" },
		"a revision of anything": func(m *Manifest) { m.Revision = "a b" },
	} {
		m := good
		if change(&m); fault.As(m.check()).Code != "bad_bundle" {
			t.Errorf("%s: %v", name, m.check())
		}
	}
}
