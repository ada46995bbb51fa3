package hostile

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api"
)

// outsideJudge is a guard outside that does what its paths say.
type outsideJudge struct {
	*httptest.Server
	caught atomic.Int64 // redirects that were followed
	open   atomic.Int64
}

func newJudge(t *testing.T) *outsideJudge {
	j := &outsideJudge{}
	mux := http.NewServeMux()
	for path, does := range map[string]func(w http.ResponseWriter, r *http.Request, text string){
		"/silent": func(_ http.ResponseWriter, r *http.Request, _ string) { <-r.Context().Done() },
		"/huge": func(w http.ResponseWriter, r *http.Request, _ string) {
			_, _ = w.Write([]byte(`{"verdict":"allow","reason":"`))
			for piece := bytes.Repeat([]byte("x"), 1<<20); r.Context().Err() == nil; {
				if _, err := w.Write(piece); err != nil {
					return
				}
			}
		},
		"/head": func(w http.ResponseWriter, _ *http.Request, _ string) {
			w.Header().Set("X-Bomb", strings.Repeat("x", 1<<20))
			_, _ = w.Write([]byte(`{"verdict":"allow"}`))
		},
		"/redirect": func(w http.ResponseWriter, r *http.Request, _ string) {
			http.Redirect(w, r, "/caught", http.StatusTemporaryRedirect)
		},
		"/caught": func(w http.ResponseWriter, _ *http.Request, _ string) {
			j.caught.Add(1)
			_, _ = w.Write([]byte(`{"verdict":"allow"}`))
		},
		"/rubbish": func(w http.ResponseWriter, _ *http.Request, _ string) { _, _ = w.Write([]byte("<html>allow</html>")) },
		"/trickle": func(w http.ResponseWriter, r *http.Request, _ string) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte(" "))
				_ = http.NewResponseController(w).Flush()
				time.Sleep(20 * time.Millisecond)
			}
		},
		"/refuse": func(w http.ResponseWriter, _ *http.Request, text string) { // answers alone
			if strings.Contains(text, `"when":"after"`) {
				_, _ = w.Write([]byte(`{"verdict":"refuse","categories":["S1"]}`))
				return
			}
			_, _ = w.Write([]byte(`{"verdict":"allow"}`))
		},
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			j.open.Add(1)
			defer j.open.Add(-1)
			text, _ := io.ReadAll(r.Body)
			does(w, r, string(text))
		})
	}
	j.Server = httptest.NewServer(mux)
	t.Cleanup(func() { j.CloseClientConnections(); j.Close() })
	return j
}

// refusals are what tells in each dialect that a filter cut an answer.
var refusals = []string{`"content_filter"`, `"refusal"`, `"SAFETY"`}

// Whatever a guard does, nothing that it did not let through reaches a caller, in every dialect and whether it judges
// before or after; requests end in time in the dialect's form, and memory stays bounded.
func TestHostileGuards(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.well()
	j := newJudge(t)
	var all sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, path := range []string{"silent", "huge", "head", "redirect", "rubbish", "trickle", "refuse"} {
		for _, when := range []string{"before", "after"} {
			name, url := path+"-"+when, j.URL+"/"+path
			_, err := p.api.CreateRoute(t.Context(), api.NewRoute{Name: name, Backends: []api.NewBackend{{Provider: "hostile", Model: "good"}},
				Policy: api.NewPolicy{Guard: &api.NewGuard{URL: &url, AllowPrivate: new(true), When: &when, TimeoutMS: new(500)}}})
			ok(t, err)
			for _, d := range dialects {
				k := p.key(name)
				all.Go(func() {
					a := p.ask(ctx, d, name, k.Key, 100)
					u := p.used(k)
					switch {
					case path == "refuse" && when == "before":
						if wrong := d.wrong(a, true); wrong != "" || a.tokens != 3 {
							t.Errorf("%s by %s: %s, %d: %s", name, d.name, wrong, a.status, a.text)
						}
					case path == "refuse":
						cut := false
						for _, word := range refusals {
							cut = cut || bytes.Contains(a.text, []byte(word))
						}
						if a.status != 200 || a.tokens != 0 || !cut || u.CompletionTokens != 3 {
							t.Errorf("%s by %s: %d %s, billed %+v", name, d.name, a.status, a.text, u)
						}
					default:
						if a.status < 500 || a.tokens != 0 || d.wrong(a, false) != "" || !bytes.Contains(a.text, []byte("guard")) || when == "before" && u.CompletionTokens != 0 {
							t.Errorf("%s by %s: %d %.300s, billed %+v", name, d.name, a.status, a.text, u)
						}
					}
				})
			}
		}
	}
	all.Wait()
	if ctx.Err() != nil {
		t.Errorf("requests did not end within %s", patience)
	}
	p.within("hostile guards", 384<<20)
	if n := j.caught.Load(); n > 0 {
		t.Errorf("redirects were followed %d times", n)
	}
	eventually(t, "the guards to be left", func() bool { return j.open.Load() == 0 })
	p.well()
	p.reconcile()
}
