package server

import (
	"io"
	"net/http"

	"github.com/triarch-ai/triarch/internal/fault"
)

// frontPage is what a browser sees until the console is built: where the APIs are and how to ask them.
const frontPage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Triarch</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; color: #1c2430; background: #fff }
pre { background: #f2f4f7; padding: .8rem 1rem; overflow-x: auto }
@media (prefers-color-scheme: dark) { body { color: #e6e9ee; background: #14181f } pre { background: #1f2530 } a { color: #8ab4f8 } }
</style>
<h1>Triarch</h1>
<p>This is an AI cloud in one program. It runs. The console will stand here.</p>
<p>From a terminal on this machine:</p>
<pre>triarch status
triarch chat</pre>
<p>From any OpenAI client: the base URL is this address with <code>/v1</code>, the key is yours.</p>
<p>The control API is described in <a href="/api/v1/openapi.json">/api/v1/openapi.json</a>.</p>
</html>
`

// mountPages registers what needs no key: the page, the sign of life, and the answer for paths that lead nowhere.
func (s *Server) mountPages() {
	s.handle("GET", "/{$}", s.fail, func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		_, _ = io.WriteString(w, frontPage)
	})
	s.handle("GET", "/healthz", s.fail, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"status":"ok"}`+"\n")
	})
	if s.Metrics != nil {
		s.handle("GET", MetricsPath, s.fail, s.Metrics.ServeHTTP)
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, fault.Newf(fault.NotFound, "There is nothing at %s %s.", r.Method, clip(r.URL.Path)))
	})
}
