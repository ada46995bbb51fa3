package cli

import (
	"fmt"
	"io"
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

// What a person does not name stays as it is: above all a price, which else became nothing.
func TestRouteSetSendsOnlyWhatIsNamed(t *testing.T) {
	var sent string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/routes/m") {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		sent = strings.TrimSpace(string(b))
		fmt.Fprint(w, `{"id":"rte_1","name":"m","deployment_id":"dep_1","price_in":1,"price_out":2,"created_at":"2026-01-01T00:00:00Z"}`)
	}))
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "price.yaml")
	if err := os.WriteFile(file, []byte("input: 5\ncached_input: 0\nrequest: 3 # each\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"--price " + file:                `{"prices":{"input":5,"cached_input":0,"request":3}}`,
		"--price-in 6 --price " + file:   `{"price_in":6,"prices":{"input":5,"cached_input":0,"request":3}}`,
		"--price " + file + ".not-there": "",
		"--shared":                       `{"shared":true}`,
		"--shared=false":                 `{"shared":false}`,
		"--to d":                         `{"backends":[{"deployment":"d"}]}`,
		"--price-in 0":                   `{"price_in":0}`,
		"--price-out 7 --to dep":         `{"backends":[{"deployment":"dep"}],"price_out":7}`,
		"--to p/m:v1 --to local/d:0 --fallback q/a/b:3,e --fallback f": `{"backends":[{"provider":"p","model":"m:v1"},{"deployment":"d","weight":0},` +
			`{"provider":"q","model":"a/b","weight":3,"tier":1},{"deployment":"e","tier":1},{"deployment":"f","tier":2}]}`,
		"--tier flex=50:25 --tier priority=150:400:flagged": `{"policy":{"flex":{"percent":50,"weight":25},"priority":{"percent":150,"weight":400,"flagged":true}}}`,
		"--tier flex=":         `{"policy":{"flex":{}}}`,
		"--tier flex":          "",
		"--tier flex=0":        "",
		"--tier flex=1:2:3":    "",
		"--tier flex=:flagged": "",
		"--tier default=50":    "",
		"--alias a --alias b":  `{"aliases":["a","b"]}`,
		"--alias=":             `{"aliases":[]}`,
		"--fallback f":         "",
		"--to /m":              "",
		"--to p/":              "",
		"--price nowhere":      "",
		"":                     "",
	} {
		sent = ""
		a := &app{Screen: &ui.Screen{Out: io.Discard, Err: io.Discard, In: strings.NewReader(""), Now: time.Now}, data: t.TempDir(), url: srv.URL, key: "k"}
		c := a.routeCommand()
		c.SetArgs(append([]string{"set", "m"}, strings.Fields(line)...))
		c.SilenceUsage, c.SilenceErrors = true, true
		err := c.ExecuteContext(t.Context())
		if sent != want || (err != nil) != (want == "") || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%q sent %s, %v; want %s", line, sent, err, want)
		}
	}
}

func TestPriceFiles(t *testing.T) {
	for text, good := range map[string]bool{
		"input: 1\noutput: 2\ncached_input: 3\nreasoning: 4\nembedding: 5\nrequest: 6\n": true,
		"{\"request\": 0}":            true,
		"":                            false,
		"{}":                          false,
		"inptu: 1":                    false,
		"input: 1.5":                  false,
		"input: cheap":                false,
		"- input":                     false,
		"input: 1\ninput: 2":          false,
		"input: 99999999999999999999": false,
		"input: 1" + strings.Repeat(" ", maxPriceFile): false,
	} {
		card, err := readPrices("-", strings.NewReader(text))
		if (err == nil) != good || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%.40q: %+v, %v", text, card, err)
		}
	}
}

// A price that is none is named as the file names it.
func TestPriceFilesNameTheirPrices(t *testing.T) {
	for text, field := range map[string]string{"input: -3": "input", "output: 1000000000001": "output", "cached_input: -2": "cached_input", "request: -1": "request",
		"reasoning: -1\nembedding: -1\ncached_input: -1": ""} {
		_, err := readPrices("-", strings.NewReader(text))
		if (err == nil) != (field == "") || err != nil && (!fault.Is(err, fault.Invalid) || fault.As(err).Field != field) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestBackendsAreNamed(t *testing.T) {
	names := map[string]string{"prv_1": "far", "dep_1": "near"}
	r := api.Route{Backends: []api.Backend{{Weight: 1, Provider: "prv_1", Model: "a/b"}, {Weight: 3, Deployment: "dep_1"}, {Tier: 1, Weight: 1, Deployment: "dep_gone"}}}
	if got, want := leadsTo(r, names), "far/a/b + local/near:3, else local/dep_gone"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for backend, want := range map[string]string{"prv_1/a/b": "far/a/b -", "dep_1": "local/near rep_1", "prv_gone/m": "prv_gone/m -"} {
		if b, r := triedText(api.RequestTry{Backend: backend, Replica: "rep_1"}, names); b+" "+r != want {
			t.Errorf("%s: %s %s, want %s", backend, b, r, want)
		}
	}
}

func TestMany(t *testing.T) {
	if got := many(1, "daily sum") + many(0, " record") + many(2, " record"); got != "1 daily sum0  records2  records" {
		t.Error(got)
	}
}

func TestPriceFilesAreReadInPlainWords(t *testing.T) {
	_, err := readPrices("-", strings.NewReader("input: 3\ninptu: 4\n"))
	if text := fault.As(err).Sentence(); !strings.Contains(text, "line 2: field inptu is not known.") || strings.Contains(text, "api.") {
		t.Error(text)
	}
}
