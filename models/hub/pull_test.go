package hub

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// wantTiny compares the folder of a pull with the model, byte by byte.
func wantTiny(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	var names []string
	for name, b := range files {
		if name == ".gitattributes" || strings.HasSuffix(name, ".bin") {
			continue
		}
		names = append(names, name)
		got, err := os.ReadFile(filepath.Join(dir, Files, name))
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s is not what the hub has: %v, %d bytes", name, err, len(got))
		}
	}
	there, err := os.ReadDir(filepath.Join(dir, Files))
	if err != nil || len(there) != len(names) {
		t.Errorf("%d files instead of %v: %v", len(there), names, err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, parts)); err != nil || len(left) > 0 {
		t.Errorf("%d parts are left: %v", len(left), err)
	}
}

func TestPullSpeaksBothProtocols(t *testing.T) {
	for _, source := range []Source{HuggingFace, ModelScope} {
		t.Run(string(source), func(t *testing.T) {
			h := newHub(t, tiny())
			c, _ := client()
			dir := t.TempDir()
			var last Progress
			got, err := c.Pull(t.Context(), dir, specOf(source, h), func(p Progress) { last = p })
			if err != nil {
				t.Fatal(err)
			}
			wantTiny(t, dir, h.files)
			want := map[Source]string{HuggingFace: commit, ModelScope: "master"}[source]
			if got.Revision != want || got.Listed != h.Listener.Addr().String() || len(got.Unchecked) > 0 || len(got.Hash) != 64 {
				t.Errorf("%+v", got)
			}
			if last.Files != 5 || last.FilesDone != 5 || last.BytesDone != last.Bytes || last.Bytes == 0 {
				t.Errorf("progress %+v", last)
			}
			asked := h.asked
			again, err := c.Pull(t.Context(), dir, specOf(source, h), nil)
			if err != nil || again.Hash != got.Hash || h.asked != asked {
				t.Errorf("a pull that is done asked %d times more: %v, %s", h.asked-asked, err, again.Hash)
			}
		})
	}
}

// misbehaviour of a mirror, each of which must end in the right bytes.
func TestPullFromBadMirrors(t *testing.T) {
	for name, act := range map[string]func(h *hubServer) func(n int, w http.ResponseWriter, r *http.Request, name string, b []byte) ([]byte, bool){
		"corrupt now and then": func(*hubServer) func(int, http.ResponseWriter, *http.Request, string, []byte) ([]byte, bool) {
			return func(n int, _ http.ResponseWriter, _ *http.Request, _ string, b []byte) ([]byte, bool) {
				if n%11 != 1 || len(b) == 0 {
					return b, false
				}
				b = slices.Clone(b)
				for i := 0; i < len(b); i += 9000 {
					b[i] ^= 0x40
				}
				return b, false
			}
		},
		"cut short": func(*hubServer) func(int, http.ResponseWriter, *http.Request, string, []byte) ([]byte, bool) {
			return func(n int, w http.ResponseWriter, r *http.Request, _ string, b []byte) ([]byte, bool) {
				if n%2 == 0 || len(b) < 10000 {
					return b, false
				}
				var from, to int
				fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to)
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(b)))
				w.Header().Set("Content-Length", fmt.Sprint(to-from+1))
				w.WriteHeader(206)
				w.Write(b[from : from+(to-from)/2])
				panic(http.ErrAbortHandler)
			}
		},
		"another range": func(*hubServer) func(int, http.ResponseWriter, *http.Request, string, []byte) ([]byte, bool) {
			return func(n int, w http.ResponseWriter, _ *http.Request, _ string, b []byte) ([]byte, bool) {
				if n != 2 {
					return b, false
				}
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 1-4/%d", len(b)))
				w.WriteHeader(206)
				w.Write([]byte("abcd"))
				return nil, true
			}
		},
		"ignores ranges": func(h *hubServer) func(int, http.ResponseWriter, *http.Request, string, []byte) ([]byte, bool) {
			return func(_ int, _ http.ResponseWriter, r *http.Request, _ string, b []byte) ([]byte, bool) {
				r.Header.Del("Range")
				return b, false
			}
		},
		"416 once": func(*hubServer) func(int, http.ResponseWriter, *http.Request, string, []byte) ([]byte, bool) {
			return func(n int, w http.ResponseWriter, _ *http.Request, _ string, b []byte) ([]byte, bool) {
				if n == 2 || n == 5 {
					w.WriteHeader(416)
					return nil, true
				}
				return b, false
			}
		},
		"another file while it goes": func(h *hubServer) func(int, http.ResponseWriter, *http.Request, string, []byte) ([]byte, bool) {
			return func(n int, w http.ResponseWriter, _ *http.Request, name string, b []byte) ([]byte, bool) {
				if strings.HasPrefix(name, "model-00001") && n < 6 { // the first blocks are of another state
					w.Header().Set("Etag", `"before"`)
					return noise(99, len(b)), false
				}
				return b, false
			}
		},
		"a new ETag each time": func(*hubServer) func(int, http.ResponseWriter, *http.Request, string, []byte) ([]byte, bool) {
			return func(n int, w http.ResponseWriter, _ *http.Request, _ string, b []byte) ([]byte, bool) {
				w.Header().Set("Etag", fmt.Sprintf(`"%d"`, n))
				return b, false
			}
		},
		"busy": func(*hubServer) func(int, http.ResponseWriter, *http.Request, string, []byte) ([]byte, bool) {
			return func(n int, w http.ResponseWriter, _ *http.Request, _ string, b []byte) ([]byte, bool) {
				if n%3 != 0 {
					return b, false
				}
				if n%2 == 0 {
					w.Header().Set("Retry-After", "30")
					w.WriteHeader(429)
				} else {
					w.WriteHeader(502)
				}
				return nil, true
			}
		},
		"a page instead of the file": func(*hubServer) func(int, http.ResponseWriter, *http.Request, string, []byte) ([]byte, bool) {
			return func(n int, w http.ResponseWriter, _ *http.Request, _ string, b []byte) ([]byte, bool) {
				if n != 3 {
					return b, false
				}
				w.Write([]byte("<html>sign in to this network</html>"))
				return nil, true
			}
		},
		"leads inside": func(*hubServer) func(int, http.ResponseWriter, *http.Request, string, []byte) ([]byte, bool) {
			return nil // below: a second mirror takes over
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t, tiny())
			c, _ := client()
			c.Workers = 3
			spec := specOf(HuggingFace, h)
			h.act = act(h)
			if name == "leads inside" {
				h.act = func(_ int, w http.ResponseWriter, r *http.Request, _ string, b []byte) ([]byte, bool) {
					http.Redirect(w, r, "https://127.0.0.1:1/latest/meta-data", http.StatusFound)
					return nil, true
				}
				spec = specOf(HuggingFace, h, newHub(t, tiny()))
			}
			dir := t.TempDir()
			if _, err := c.Pull(t.Context(), dir, spec, nil); err != nil {
				t.Fatal(err)
			}
			wantTiny(t, dir, h.files)
		})
	}
}

// TestCorruptBlocksAloneAreFetchedAgain has one mirror give two wrong blocks, always the same: the other one tells.
func TestTwoMirrorsTellWhichBlocksAreWrong(t *testing.T) {
	bad, good := newHub(t, tiny()), newHub(t, tiny())
	bad.act = func(_ int, _ http.ResponseWriter, _ *http.Request, name string, b []byte) ([]byte, bool) {
		if strings.HasPrefix(name, "model-00001") {
			b = slices.Clone(b)
			b[5000] ^= 1
			b[150000] ^= 1
		}
		return b, false
	}
	c, _ := client()
	dir := t.TempDir()
	var notes []string
	if _, err := c.Pull(t.Context(), dir, specOf(HuggingFace, bad, good), func(p Progress) {
		if p.Note != "" && (len(notes) == 0 || notes[len(notes)-1] != p.Note) {
			notes = append(notes, p.Note)
		}
	}); err != nil {
		t.Fatal(err)
	}
	wantTiny(t, dir, good.files)
	if good.served > 210<<10 {
		t.Errorf("%d bytes of the second mirror", good.served)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "does not fit its checksum") {
		t.Errorf("%q", notes)
	}
}

// TestAMirrorThatIsAlwaysWrong ends with a fault that says so, and the bytes of no such file appear.
func TestAMirrorThatIsAlwaysWrong(t *testing.T) {
	h := newHub(t, tiny())
	h.act = func(n int, _ http.ResponseWriter, _ *http.Request, name string, b []byte) ([]byte, bool) {
		if strings.HasPrefix(name, "model-00001") {
			return noise(5, len(b)), false
		}
		return b, false
	}
	c, _ := client()
	dir := t.TempDir()
	_, err := c.Pull(t.Context(), dir, specOf(HuggingFace, h), nil)
	if f := fault.As(err); err == nil || f.Code != "corrupt" {
		t.Fatalf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, Files, "model-00001-of-00003.safetensors")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that does not fit its checksum is there: %v", err)
	}
}

// TestDamageOnTheDiskIsMendedByBlocks changes a byte of an unfinished file: its block alone comes again.
func TestDamageOnTheDiskIsMendedByBlocks(t *testing.T) {
	h := newHub(t, tiny())
	c, _ := client()
	c.Workers = 1
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	h.act = func(n int, _ http.ResponseWriter, r *http.Request, name string, b []byte) ([]byte, bool) {
		if strings.HasPrefix(name, "model-00001") && strings.HasPrefix(r.Header.Get("Range"), "bytes=16384") {
			cancel()
		}
		return b, false
	}
	spec := specOf(HuggingFace, h)
	if _, err := c.Pull(ctx, dir, spec, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	var data string
	list, _ := filepath.Glob(filepath.Join(dir, parts, "*.data"))
	for _, f := range list {
		if st, _ := os.Stat(f); st.Size() > 200<<10 {
			data = f
		}
	}
	w, err := os.OpenFile(data, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.WriteAt([]byte("power was lost"), 9000)
	w.Close()
	before := h.served
	if _, err := c.Pull(t.Context(), dir, spec, nil); err != nil {
		t.Fatal(err)
	}
	wantTiny(t, dir, h.files)
	if n := h.served - before; n > 280<<10 {
		t.Errorf("%d bytes came again", n)
	}
}

// TestPullInterruptedTenTimes is the promise of pulls: through a slow mirror that answers wrongly in every way, killed and
// cancelled ten times, by each protocol, the model arrives bit by bit, and what was there was not fetched anew each time.
func TestPullInterruptedTenTimes(t *testing.T) {
	for _, source := range []Source{HuggingFace, ModelScope} {
		t.Run(string(source), func(t *testing.T) { interruptTenTimes(t, source) })
	}
}

func interruptTenTimes(t *testing.T, source Source) {
	files := tiny()
	files["model-00002-of-00003.safetensors"] = noise(8, 600<<10+1)
	interrupted := 0
	bad, good := newHub(t, files), newHub(t, files)
	hit := make(chan struct{}, 1)
	var hold, after int
	var mu sync.Mutex
	trap := func() bool { // the request in which the pull is interrupted
		mu.Lock()
		defer mu.Unlock()
		if hold == 0 {
			return false
		}
		hold--
		return hold == 0
	}
	asked := func(r *http.Request, b []byte) (from, to int) {
		if k, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); k != 2 {
			return 0, len(b) - 1
		}
		return from, to
	}
	good.act = func(_ int, w http.ResponseWriter, r *http.Request, _ string, b []byte) ([]byte, bool) {
		if !trap() {
			return b, false
		}
		// A part of the answer goes out, in pieces, then the connection hangs until the puller is dead.
		from, to := asked(r, b)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(b)))
		w.WriteHeader(206)
		for i := range min(3, (to-from)/2000) {
			w.Write(b[from+i*2000 : from+i*2000+2000])
			w.(http.Flusher).Flush()
		}
		hit <- struct{}{}
		<-r.Context().Done()
		return nil, true
	}
	bad.act = func(n int, w http.ResponseWriter, r *http.Request, name string, b []byte) ([]byte, bool) {
		from, to := asked(r, b)
		if _, done := good.act(n, w, r, name, b); done {
			return nil, true
		}
		switch n % 13 {
		case 3:
			b = slices.Clone(b)
			if len(b) > 0 {
				b[from+(to-from)/2] ^= 0x10
			}
		case 5:
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(b)))
			w.WriteHeader(206)
			w.Write(b[from : from+(to-from)/3])
			return nil, true // shorter than it says
		case 6:
			w.WriteHeader(416)
			return nil, true
		case 8:
			r.Header.Del("Range")
		case 9:
			mu.Lock()
			after++
			w.Header().Set("Etag", fmt.Sprintf(`"state %d"`, after))
			mu.Unlock()
		case 10:
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusFound)
			return nil, true
		case 11:
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(429)
			return nil, true
		}
		return b, false
	}
	dir := t.TempDir()
	spec := specOf(source, bad, good)
	for i := range 10 {
		mu.Lock()
		hold = 2 + i%3
		mu.Unlock()
		if i%2 == 0 {
			interrupted += killed(t, dir, spec, hit)
		} else {
			interrupted += cancelled(t, dir, spec, hit)
		}
	}
	mu.Lock()
	hold = 0
	mu.Unlock()
	c, _ := client()
	got, err := c.Pull(t.Context(), dir, spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantTiny(t, dir, files)
	if want := hashOf(got.Files); got.Hash != want {
		t.Errorf("hash %s instead of %s", got.Hash, want)
	}
	total := 0
	for _, b := range files {
		total += len(b)
	}
	if came := bad.served + good.served; interrupted != 10 || came > 6*int64(total) { // a mending costs the whole once or twice
		t.Errorf("%d interruptions, and %d bytes came for a model of %d", interrupted, came, total)
	}
}

// killed pulls in a process of its own and kills it in the middle of an answer, or lets it end when it is through.
func killed(t *testing.T, dir string, spec Spec, hit chan struct{}) int {
	t.Helper()
	p := exec.Command(os.Args[0], "-test.run", "^TestPullChild$")
	p.Env = append(os.Environ(), "HUB_CHILD="+dir, "HUB_SOURCE="+string(spec.Source), "HUB_MIRRORS="+spec.Mirrors[0].URL+" "+spec.Mirrors[1].URL)
	p.Stderr = os.Stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	select {
	case <-hit:
		p.Process.Kill()
		<-ended
		return 1
	case err := <-ended:
		if err != nil {
			t.Fatalf("the process that pulls failed: %v", err)
		}
	}
	return 0
}

// TestPullChild is not a test but the process that killed kills.
func TestPullChild(t *testing.T) {
	dir := os.Getenv("HUB_CHILD")
	if dir == "" {
		return
	}
	spec := Spec{Source: Source(os.Getenv("HUB_SOURCE")), Repo: "org/tiny"}
	for m := range strings.FieldsSeq(os.Getenv("HUB_MIRRORS")) {
		spec.Mirrors = append(spec.Mirrors, Mirror{URL: m, Private: true})
	}
	c, _ := client()
	if _, err := c.Pull(t.Context(), dir, spec, nil); err != nil {
		t.Fatal(err)
	}
}

func cancelled(t *testing.T, dir string, spec Spec, hit chan struct{}) int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		c, _ := client()
		_, err := c.Pull(ctx, dir, spec, nil)
		ended <- err
	}()
	select {
	case <-hit:
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Fatalf("a cancelled pull ended with %v", err)
		}
		return 1
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	}
	return 0
}

// cdn is a second host that the hub leads to.
func cdn(t *testing.T, h *hubServer) (*httptest.Server, *[]http.Header) {
	var mu sync.Mutex
	heads := new([]http.Header)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		*heads = append(*heads, r.Header.Clone())
		mu.Unlock()
		h.file(w, r, strings.TrimPrefix(r.URL.Path, "/signed/"))
	}))
	t.Cleanup(s.Close)
	return s, heads
}

// led is a client whose public hosts are the given server.
func led(c *Client, s *httptest.Server) {
	usual := c.Transport
	public := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", s.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs},
	}
	c.Transport = func(private bool, u *url.URL) (http.RoundTripper, error) {
		if strings.HasSuffix(u.Hostname(), "example.com") {
			return public, nil
		}
		return usual(private, u)
	}
}

func TestTokenStaysWithItsHost(t *testing.T) {
	for _, source := range []Source{HuggingFace, ModelScope} {
		store := newHub(t, tiny())
		h := newHub(t, store.files)
		s, heads := cdn(t, store)
		h.act = func(_ int, w http.ResponseWriter, r *http.Request, name string, b []byte) ([]byte, bool) {
			w.Header().Set("X-Linked-Etag", `"`+shaOf(b)+`"`)
			w.Header().Set("X-Linked-Size", fmt.Sprint(len(b)))
			http.Redirect(w, r, "https://cdn.example.com/signed/"+name, http.StatusFound)
			return nil, true
		}
		c, _ := client()
		led(c, s)
		spec := specOf(source, h)
		spec.Mirrors[0].Token = "hf_secret"
		dir := t.TempDir()
		if _, err := c.Pull(t.Context(), dir, spec, nil); err != nil {
			t.Fatal(err)
		}
		wantTiny(t, dir, h.files)
		for _, r := range h.seen {
			if r.Header.Get("Authorization") != "Bearer hf_secret" {
				t.Errorf("%s: the hub's own host got no token at %s", source, r.URL)
			}
		}
		if len(*heads) < 10 {
			t.Errorf("the other host was asked %d times", len(*heads))
		}
		for _, head := range *heads {
			if head.Get("Authorization") != "" || head.Get("Cookie") != "" {
				t.Errorf("%s: the token went to another host", source)
			}
		}
		if n := h.asked; n > 12 { // the address that it led to is used again
			t.Errorf("%s: the hub was asked %d times where to go", source, n)
		}
	}
}

func TestSignedAddressesRunOut(t *testing.T) {
	store := newHub(t, tiny())
	h := newHub(t, store.files)
	s, _ := cdn(t, store)
	store.act = func(n int, w http.ResponseWriter, _ *http.Request, _ string, b []byte) ([]byte, bool) {
		if n%3 == 0 {
			w.WriteHeader(403)
			return nil, true
		}
		return b, false
	}
	h.act = func(_ int, w http.ResponseWriter, r *http.Request, name string, b []byte) ([]byte, bool) {
		http.Redirect(w, r, "https://cdn.example.com/signed/"+name, http.StatusFound)
		return nil, true
	}
	c, _ := client()
	led(c, s)
	dir := t.TempDir()
	if _, err := c.Pull(t.Context(), dir, specOf(HuggingFace, h), nil); err != nil {
		t.Fatal(err)
	}
	wantTiny(t, dir, h.files)
}

func TestPullRefuses(t *testing.T) {
	redirect := func(to string) func(int, http.ResponseWriter, *http.Request, string, []byte) ([]byte, bool) {
		return func(_ int, w http.ResponseWriter, r *http.Request, _ string, _ []byte) ([]byte, bool) {
			http.Redirect(w, r, to, http.StatusFound)
			return nil, true
		}
	}
	status := func(code int, head ...string) func(int, http.ResponseWriter, *http.Request, string, []byte) ([]byte, bool) {
		return func(_ int, w http.ResponseWriter, _ *http.Request, _ string, _ []byte) ([]byte, bool) {
			for i := 0; i+1 < len(head); i += 2 {
				w.Header().Set(head[i], head[i+1])
			}
			w.WriteHeader(code)
			return nil, true
		}
	}
	for name, c := range map[string]struct {
		act  func(int, http.ResponseWriter, *http.Request, string, []byte) ([]byte, bool)
		kind fault.Kind
		code string
	}{
		"metadata of a cloud":  {redirect("https://169.254.169.254/x"), fault.Forbidden, "private_address"},
		"this machine":         {redirect("https://127.0.0.1:9/x"), fault.Forbidden, "private_address"},
		"no TLS":               {redirect("http://cdn.example.net/x"), fault.Forbidden, ""},
		"a file of this one":   {redirect("file:///etc/passwd"), fault.Unavailable, ""},
		"a user in it":         {redirect("https://a:b@cdn.example.net/x"), fault.Unavailable, ""},
		"gated":                {status(403, "X-Error-Code", "GatedRepo"), fault.Forbidden, "gated"},
		"needs a token":        {status(401), fault.Forbidden, "needs_token"},
		"gone":                 {status(404), fault.NotFound, "no_such_model"},
		"hours of rest":        {status(429, "Retry-After", "7200"), fault.RateLimited, ""},
		"another revision":     {status(200, "X-Repo-Commit", strings.Repeat("f", 40)), fault.Unavailable, ""},
		"another checksum":     {status(200, "X-Linked-Etag", strings.Repeat("e", 64)), fault.Unavailable, ""},
		"nothing but failures": {status(500), fault.Unavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub(t, map[string][]byte{"model.safetensors": noise(1, 9000)})
			h.act = c.act
			k, _ := client()
			dir := t.TempDir()
			_, err := k.Pull(t.Context(), dir, specOf(HuggingFace, h), nil)
			if f := fault.As(err); err == nil || f.Kind != c.kind || c.code != "" && f.Code != c.code {
				t.Fatalf("%v", err)
			}
			if left, _ := os.ReadDir(filepath.Join(dir, Files)); len(left) > 0 {
				t.Error("a file appeared")
			}
		})
	}
}

func TestRedirectsInARing(t *testing.T) {
	h := newHub(t, map[string][]byte{"model.safetensors": noise(1, 9000)})
	h.act = func(_ int, w http.ResponseWriter, r *http.Request, _ string, _ []byte) ([]byte, bool) {
		http.Redirect(w, r, r.URL.Path, http.StatusFound)
		return nil, true
	}
	c, _ := client()
	if _, err := c.Pull(t.Context(), t.TempDir(), specOf(HuggingFace, h), nil); err == nil || !strings.Contains(err.Error(), "redirects") {
		t.Fatal(err)
	}
}

func TestRestsAreKept(t *testing.T) {
	h := newHub(t, map[string][]byte{"model.safetensors": noise(1, 9000)})
	h.act = func(n int, w http.ResponseWriter, _ *http.Request, _ string, b []byte) ([]byte, bool) {
		if n == 1 {
			w.Header().Set("RateLimit", `"resolvers";r=0;t=55`)
			w.WriteHeader(429)
			return nil, true
		}
		return b, false
	}
	c, k := client()
	c.Workers = 1
	if _, err := c.Pull(t.Context(), t.TempDir(), specOf(HuggingFace, h), nil); err != nil || k.slept != 55*time.Second {
		t.Fatalf("%v, rested %s", err, k.slept)
	}
}

// TestStalledConnectionIsLeft has a mirror that sends half and then nothing.
func TestStalledConnectionIsLeft(t *testing.T) {
	h := newHub(t, map[string][]byte{"model.safetensors": noise(1, 9000)})
	stalled := make(chan struct{})
	h.act = func(n int, w http.ResponseWriter, r *http.Request, _ string, b []byte) ([]byte, bool) {
		if n > 1 {
			return b, false
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(b)-1, len(b)))
		w.WriteHeader(206)
		w.Write(b[:5000])
		w.(http.Flusher).Flush()
		close(stalled)
		<-r.Context().Done()
		return nil, true
	}
	c, _ := client()
	c.Workers = 1
	c.Timer = func(d time.Duration, f func()) Stopper {
		if d != time.Minute {
			t.Errorf("a stall is %s", d)
		}
		go func() { <-stalled; f() }()
		return never{}
	}
	dir := t.TempDir()
	if _, err := c.Pull(t.Context(), dir, specOf(HuggingFace, h), nil); err != nil {
		t.Fatal(err)
	}
	if h.asked < 2 {
		t.Error("it did not ask again")
	}
}

func TestRoomIsLookedAtBefore(t *testing.T) {
	h := newHub(t, tiny())
	c, _ := client()
	c.Free = func(string) (int64, error) { return spare + 100<<10, nil }
	_, err := c.Pull(t.Context(), t.TempDir(), specOf(HuggingFace, h), nil)
	if f := fault.As(err); err == nil || f.Code != "disk_full" || h.asked > 0 {
		t.Fatalf("%v after %d requests", err, h.asked)
	}
	c.Free, c.Most = nil, 100<<10
	if _, err := c.Pull(t.Context(), t.TempDir(), specOf(HuggingFace, h), nil); !fault.Is(err, fault.TooLarge) {
		t.Fatal(err)
	}
}

func TestOtherMirrorGivesTheList(t *testing.T) {
	down, h := newHub(t, nil), newHub(t, tiny())
	down.Close()
	c, k := client()
	got, err := c.Pull(t.Context(), t.TempDir(), specOf(ModelScope, down, h), nil)
	if err != nil || got.Listed != h.Listener.Addr().String() {
		t.Fatalf("%v %+v", err, got)
	}
	if k.slept == 0 {
		t.Error("it did not wait before it asked again")
	}
}

func TestProxyNames(t *testing.T) {
	proxy := func(*http.Request) (*url.URL, error) { return parse(t, "http://127.0.0.1:3128"), nil }
	tr := Transports(proxy, nil)
	for _, host := range []string{"localhost", "intern", "db.internal", "printer.local", "10.0.0.1", "[::1]", "169.254.169.254", "127.1", "0x7f.1", "2130706433"} {
		if _, err := tr(false, parse(t, "https://"+host+"/x")); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s goes to the proxy: %v", host, err)
		}
	}
	for _, host := range []string{"huggingface.co", "cdn-lfs-us-1.hf.co", "8.8.8.8", "www.modelscope.cn"} {
		if _, err := tr(false, parse(t, "https://"+host+"/x")); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// TestBranchThatMovesOn has ModelScope, which tells no commit, serve another state of the branch after the first file: what is
// the same stays, the rest is fetched as it is now.
func TestBranchThatMovesOn(t *testing.T) {
	h := newHub(t, tiny())
	before := h.files
	after := tiny()
	after["model-00001-of-00003.safetensors"] = noise(77, 200<<10+17) // the same size
	after["config.json"] = []byte(`{"model_type":"qwen2"}`)
	h.act = func(_ int, _ http.ResponseWriter, _ *http.Request, name string, b []byte) ([]byte, bool) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if name == "model-00001-of-00003.safetensors" {
			h.moved = after
		}
		if h.moved != nil {
			b = h.moved[name]
		}
		return b, false
	}
	c, _ := client()
	dir := t.TempDir()
	var notes []string
	if _, err := c.Pull(t.Context(), dir, specOf(ModelScope, h), func(p Progress) { notes = append(notes, p.Note) }); err != nil {
		t.Fatal(err)
	}
	wantTiny(t, dir, after)
	if !slices.ContainsFunc(notes, func(s string) bool { return strings.Contains(s, "moved on") }) || len(before) != len(after) {
		t.Errorf("%q", notes)
	}
}
