package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// hubServer speaks both protocols for one model, honestly but for what act does.
type hubServer struct {
	*httptest.Server
	files map[string][]byte
	etag  string
	// act answers a request for a file itself and says so, or changes the content that is served from.
	act func(n int, w http.ResponseWriter, r *http.Request, name string, content []byte) ([]byte, bool)

	mu     sync.Mutex
	moved  map[string][]byte // what the branch has come to, if it has
	asked  int               // for files
	served int64             // bytes of files
	seen   []*http.Request
}

func newHub(t *testing.T, files map[string][]byte) *hubServer {
	h := &hubServer{files: files, etag: "e1"}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *hubServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.seen = append(h.seen, r.Clone(context.Background()))
	h.mu.Unlock()
	q := r.URL.Query()
	switch {
	case r.URL.Path == "/api/models/org/tiny/revision/main" && q.Get("blobs") == "true":
		w.Write(h.listHF())
	case r.URL.Path == "/api/v1/models/org/tiny/repo/files" && q.Get("Revision") == "master" && q.Get("Recursive") == "True":
		w.Write(h.listMS())
	case strings.HasPrefix(r.URL.Path, "/org/tiny/resolve/"+commit+"/"):
		w.Header().Set("X-Repo-Commit", commit)
		h.file(w, r, strings.TrimPrefix(r.URL.Path, "/org/tiny/resolve/"+commit+"/"))
	case r.URL.Path == "/api/v1/models/org/tiny/repo" && q.Get("Revision") == "master":
		h.file(w, r, q.Get("FilePath"))
	case strings.HasPrefix(r.URL.Path, "/blob/"):
		h.file(w, r, strings.TrimPrefix(r.URL.Path, "/blob/"))
	default:
		http.NotFound(w, r)
	}
}

func (h *hubServer) file(w http.ResponseWriter, r *http.Request, name string) {
	content, ok := h.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h.mu.Lock()
	h.asked++
	n, etag := h.asked, h.etag
	h.mu.Unlock()
	w.Header().Set("Etag", `"`+etag+name+`"`)
	if h.act != nil {
		var done bool
		if content, done = h.act(n, w, r, name, content); done {
			return
		}
	}
	from, to := 0, len(content)-1
	if rng := r.Header.Get("Range"); rng != "" {
		if _, err := fmt.Sscanf(rng, "bytes=%d-%d", &from, &to); err != nil || from >= len(content) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		to = min(to, len(content)-1)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(content)))
		w.Header().Set("Content-Length", strconv.Itoa(to-from+1))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	}
	k, _ := w.Write(content[from : to+1])
	h.mu.Lock()
	h.served += int64(k)
	h.mu.Unlock()
}

func shaOf(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }

func gitOf(b []byte) string {
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00%s", len(b), b)
	return hex.EncodeToString(h.Sum(nil))
}

func (h *hubServer) listHF() []byte {
	type lfs struct {
		SHA256 string `json:"sha256"`
		Size   int    `json:"size"`
	}
	type sibling struct {
		Name string `json:"rfilename"`
		Size int    `json:"size"`
		Blob string `json:"blobId"`
		LFS  *lfs   `json:"lfs,omitempty"`
	}
	var out struct {
		SHA      string    `json:"sha"`
		Siblings []sibling `json:"siblings"`
	}
	out.SHA = commit
	for name, b := range h.files {
		s := sibling{Name: name, Size: len(b), Blob: gitOf(b)}
		if strings.HasSuffix(name, ".safetensors") {
			s.LFS = &lfs{shaOf(b), len(b)}
		}
		out.Siblings = append(out.Siblings, s)
	}
	text, _ := json.Marshal(out)
	return text
}

func (h *hubServer) listMS() []byte {
	files := []map[string]any{{"Name": "folder", "Path": "folder", "Type": "tree", "Size": 0, "Sha256": ""}}
	h.mu.Lock()
	now := h.files
	if h.moved != nil {
		now = h.moved
	}
	h.mu.Unlock()
	for name, b := range now {
		files = append(files, map[string]any{"Name": name, "Path": name, "Type": "blob", "Size": len(b), "Sha256": shaOf(b), "Revision": commit, "IsLFS": true})
	}
	text, _ := json.Marshal(map[string]any{"Code": 200, "Success": true, "Message": "success", "Data": map[string]any{"Files": files}})
	return text
}

// clock is a time that passes only while somebody waits.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	slept time.Duration
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.slept += d
	return ctx.Err()
}

type never struct{}

func (never) Stop() bool               { return true }
func (never) Reset(time.Duration) bool { return true }

// client is one with small blocks and a clock that does not run.
func client() (*Client, *clock) {
	k := &clock{now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	c := New(nil, nil)
	c.Now, c.Sleep, c.Block, c.Span = k.Now, k.Sleep, 4<<10, 4
	c.Timer = func(time.Duration, func()) Stopper { return never{} }
	return c, k
}

func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// tiny is a model of three weights and what belongs to it.
func tiny() map[string][]byte {
	return map[string][]byte{
		"config.json": []byte(`{"model_type":"llama"}`), "tokenizer.json": noise(1, 9000), ".gitattributes": []byte("x"), "pytorch_model.bin": noise(2, 100),
		"model-00001-of-00003.safetensors": noise(3, 200<<10+17), "model-00002-of-00003.safetensors": noise(4, 64<<10), "model-00003-of-00003.safetensors": {},
	}
}

func specOf(source Source, hubs ...*hubServer) Spec {
	s := Spec{Source: source, Repo: "org/tiny"}
	for _, h := range hubs {
		s.Mirrors = append(s.Mirrors, Mirror{URL: h.URL, Private: true})
	}
	return s
}

func parse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
