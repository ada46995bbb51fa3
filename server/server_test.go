package server

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
)

func TestWrongRequestsNameTheirField(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		method, target, body string
		status               int
		field                string
	}{
		{"POST", "/runs", `{"model":"m","data":"words","recipe":{"steps":"many"}}`, 400, "recipe.steps"},
		{"POST", "/runs", `{"model":"m","data":"words","recipe":{"stepz":1}}`, 400, "recipe.stepz"},
		{"POST", "/runs", `{"data":"words"}`, 400, ""},
		{"POST", "/runs", `{"model":"m","data":"words","recipe":{"steps":-1}}`, 400, "recipe.steps"},
		{"POST", "/runs", `{"model":"m","data":"nope"}`, 404, "data"},
		{"POST", "/runs", `{"model":`, 400, ""},
		{"POST", "/runs", `[]`, 400, ""},
		{"POST", "/runs", ``, 400, ""},
		{"POST", "/keys", `{"name":"x","role":"king"}`, 400, "role"},
		{"POST", "/keys", `{"name":"x","rpm":-1}`, 400, "rpm"},
		{"POST", "/keys", `{"name":"x","expires_at":"tomorrow"}`, 400, "expires_at"},
		{"PUT", "/members/nobody", `{"role":"viewer"}`, 400, "email"},
		{"PUT", "/budgets/planet/x", `{"limit_micros":1}`, 400, "scope"},
		{"PUT", "/budgets/key/x", `{"limit_micros":1}`, 404, ""},
		{"GET", "/runs?limit=1001", ``, 400, "limit"},
		{"GET", "/runs?colour=red", ``, 400, "colour"},
		{"GET", "/usage?group=moon", ``, 400, "group"},
		{"GET", "/usage?from=yesterday", ``, 400, "from"},
		{"GET", "/runs/$run/logs?offset=-1", ``, 400, "offset"},
		{"GET", "/runs/$run/progress?from=x", ``, 400, "from"},
		{"GET", "/runs/..%2F..%2Fetc", ``, 404, ""},
		{"GET", "/data/%01", ``, 400, "data"},
		{"GET", "/data/%00", ``, 400, ""},
		{"GET", "/models/m@99999999999999999999", ``, 400, "model"},
		{"GET", "/models/m/export?format=zip", ``, 400, "format"},
		{"POST", "/data?name=x", ``, 400, "format"},
		{"POST", "/data?name=../x&format=text", `hello`, 400, "name"},
		{"POST", "/deployments", `{"model":"m","engine":"warp"}`, 501, "engine"},
	} {
		rec := w.askJSON(c.method, v1+strings.ReplaceAll(c.target, "$run", w.objects["run"]), w.owner, c.body)
		p := problemOf(t, rec)
		if p.Status != c.status || p.Field != c.field {
			t.Errorf("%s %s %s: %d field %q (%s), want %d %q", c.method, c.target, c.body, p.Status, p.Field, p.Message, c.status, c.field)
		}
	}
}

func TestBodiesAreBounded(t *testing.T) {
	w := newWorld(t)
	big := `{"name":"` + strings.Repeat("x", maxJSON) + `"}`
	for name, body := range map[string]io.Reader{"known length": strings.NewReader(big), "chunked": io.MultiReader(strings.NewReader(big))} {
		rec := w.ask("POST", v1+"/projects", w.owner, "application/json", body)
		if p := problemOf(t, rec); p.Status != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestPanicIsAnsweredAndLogged(t *testing.T) {
	w := newWorld(t)
	s := &Server{Deps: w.Deps}
	begun := false
	h := s.middleware(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if begun {
			_, _ = rw.Write([]byte("half"))
		}
		panic("the sky " + "fell")
	}))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/x", nil))
	p := problemOf(t, rec)
	if p.Status != 500 || strings.Contains(rec.Body.String(), "sky") {
		t.Errorf("answered %d %s", rec.Code, rec.Body)
	}
	if text := w.log.String(); !strings.Contains(text, "the sky fell") || !strings.Contains(text, p.RequestID) || !strings.Contains(text, "server_test.go") {
		t.Errorf("logged %s", text)
	}
	begun = true
	defer func() {
		if err, ok := recover().(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
			t.Error("half an answer was not cut")
		}
	}()
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/x", nil))
}

// What goes wrong inside is logged with its cause; the answer has none of it.
func TestInternalCausesStayInside(t *testing.T) {
	w := newWorld(t)
	must(0, w.db.Close())(t)
	rec := w.askJSON("GET", v1+"/projects", w.owner, "")
	p := problemOf(t, rec)
	if p.Status != 500 || strings.Contains(rec.Body.String(), "sql") {
		t.Errorf("answered %s", rec.Body)
	}
	if text := w.log.String(); !strings.Contains(text, "sql: database is closed") || !strings.Contains(text, p.RequestID) {
		t.Errorf("logged %s", text)
	}
	if strings.Contains(w.log.String(), w.owner) {
		t.Error("the key is in the log")
	}
}

func TestPageIsSelfContained(t *testing.T) {
	w := newWorld(t)
	rec := w.askJSON("GET", "/", "", "")
	body, csp := rec.Body.String(), rec.Header().Get("Content-Security-Policy")
	if !strings.Contains(csp, "default-src 'none'") || strings.Contains(body, "<script") || strings.Contains(body, "http://") || strings.Contains(body, "https://") ||
		!strings.Contains(rec.Header().Get("Content-Type"), "text/html") {
		t.Errorf("page with %q: %s", csp, body)
	}
	for _, target := range []string{"/nowhere", "/api/v1/nowhere", "/api/v2/runs", "/.git/config"} {
		if p := problemOf(t, w.askJSON("GET", target, w.owner, "")); p.Status != 404 {
			t.Errorf("%s: %+v", target, p)
		}
	}
}

func TestModelAPIAnswersInItsOwnForm(t *testing.T) {
	w := newWorld(t)
	rec := w.askJSON("GET", "/v1/models", "", "")
	var e struct{ Error struct{ Type, Code string } }
	if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil || rec.Code != 401 || e.Error.Type == "" {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	without := newWorld(t, func(d *Deps) { d.OpenAI = nil })
	if p := problemOf(t, without.askJSON("GET", "/v1/models", without.owner, "")); p.Status != 404 {
		t.Errorf("without a model API: %+v", p)
	}
}

func TestProblemsKeepTheFault(t *testing.T) {
	for _, k := range []fault.Kind{fault.Invalid, fault.Unauthenticated, fault.Forbidden, fault.NotFound, fault.Conflict, fault.TooLarge,
		fault.RateLimited, fault.NoMoney, fault.Unsupported, fault.Unavailable, fault.Timeout, fault.Canceled, fault.Internal} {
		f := fault.New(k, "It did not work.", fault.Code("c"), fault.Field("f"), fault.Fix("Try %d %% again.", 5), fault.Cause(errors.New("hidden")))
		p := api.NewProblem(f, "req_1")
		back := p.Fault()
		if back.Kind != k || back.Code != "c" || back.Field != "f" || back.Sentence() != f.Sentence() || p.Status != fault.HTTPStatus(k) || p.Title == "" {
			t.Errorf("%s came back as %+v", k, back)
		}
	}
}
