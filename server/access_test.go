package server

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/tenancy"
)

// requests are lawful bodies and queries of the operations that need one; $x is an object of the world.
var requests = map[string]struct{ query, kind, body string }{
	"create-organisation": {body: `{"name":"o2"}`},
	"create-project":      {body: `{"name":"p2"}`},
	"put-member":          {body: `{"role":"viewer"}`},
	"give-consent":        {body: `{"share":0.5}`},
	"create-key":          {body: `{"name":"k2","scopes":["admin"]}`},
	"set-budget":          {body: `{"limit_micros":5}`},
	"set-limit":           {body: `{"rpm":5}`},
	"import-data":         {query: "?name=d2&format=text", kind: "text/plain", body: "hello\n"},
	"import-model":        {query: "?name=m2", kind: "application/x-tar", body: strings.Repeat("\x00", 1024)},
	"create-pull":         {body: `{"repo":"org/tiny"}`},
	"create-job":          {body: `{"command":["true"]}`},
	"create-run":          {body: `{"model":"m3","data":"$data","recipe":{"steps":2}}`},
	"estimate-run":        {body: `{"model":"m3","data":"$data","recipe":{"steps":2}}`},
	"estimate-chips":      {body: `{"model":"llama-2-7b","task":"serve","chips":["h100"]}`},
	"create-deployment":   {body: `{"model":"$model","name":"d3"}`},
	"scale-deployment":    {body: `{"replicas":2}`},
	"create-route":        {body: `{"name":"pub2","deployment":"$deployment"}`},
	"add-provider":        {body: `{"name":"abroad2","url":"https://api.example.org"}`},
	"add-provider-key":    {body: `{"key":"sk-2"}`},
	"declare-node":        {body: `{"chip":"slot","chips":"4+4"}`},
	"drain-node":          {body: `{"reason":"a new fan"}`},
	"add-window":          {body: `{"name":"w2","nodes":["here"],"until":"` + inHours(2) + `"}`},
	"set-quota":           {body: `{"weight":2,"guarantee":{"slot":1}}`},
	"add-webhook":         {body: `{"url":"https://example.org/in"}`},
	"report-measurement":  {body: `{"report":"r2","model":"llama-3-8b","task":"train","engine":"torchtitan","chip":"h100","precision":"bf16","batch":64,"context":4096,"layout":{"data":8,"shard":3},"rate":70000}`},
	"set-chip-price":      {body: `{"hour_micros":5}`},
	"start-canary":        {body: `{"provider":"$provider","model":"m"}`},
	"set-route":           {body: `{"deployment":"$deployment"}`},
}

// inHours is a time to come, as requests have it.
func inHours(n int) string { return time.Now().Add(time.Duration(n) * time.Hour).Format(time.RFC3339) }

// byBody are the operations that name an object of the project in their body.
var byBody = []string{"create-run", "estimate-run", "create-deployment", "create-route"}

func (w *world) request(e Endpoint, secret string) *httptest.ResponseRecorder {
	target := strings.TrimSuffix(e.Pattern, "{$}")
	r := requests[e.ID]
	if e.ID == "declare-node" || e.ID == "remove-node" { // not one that is there already
		target = strings.ReplaceAll(target, "{node}", "rack9")
	}
	for name, object := range w.objects {
		target = strings.ReplaceAll(target, "{"+name+"}", object)
		r.body = strings.ReplaceAll(r.body, "$"+name, object)
	}
	if r.kind == "" && e.Method != "GET" && e.Method != "DELETE" {
		r.kind = "application/json"
		if r.body == "" {
			r.body = "{}"
		}
	}
	if r.body == "{}" && e.ID != "" { // operations without a body
		r.kind, r.body = "", ""
	}
	return w.ask(e.Method, target+r.query, secret, r.kind, strings.NewReader(r.body))
}

// Whoever lacks the role, the scope or a living key is refused by every endpoint, and nobody sees another project.
func TestEveryEndpointRefusesWhomTheTableRefuses(t *testing.T) {
	w := newWorld(t)
	w.finish(t)
	past := time.Now().Add(-time.Minute)
	everything := []tenancy.Scope{tenancy.Inference, tenancy.Read, tenancy.Write, tenancy.Admin, tenancy.OrgWide, tenancy.Platform}
	bad := map[string]string{
		"no key": "", "a key that never was": "tri_" + strings.Repeat("A", 43), "not a key": "Bearer",
		"an expired key": w.key(t, tenancy.Key{Role: tenancy.Owner, Scopes: everything, ExpiresAt: &past}),
		"a revoked key":  w.key(t, tenancy.Key{Role: tenancy.Owner, Scopes: everything, RevokedAt: &past}),
	}
	roles := map[tenancy.Role]string{}
	for _, r := range []tenancy.Role{tenancy.Viewer, tenancy.Developer, tenancy.Owner} {
		roles[r] = w.key(t, tenancy.Key{Role: r, Scopes: everything})
	}
	without := map[tenancy.Scope]string{}
	for _, x := range everything {
		rest := slices.DeleteFunc(slices.Clone(everything), func(y tenancy.Scope) bool { return x == y })
		without[x] = w.key(t, tenancy.Key{Role: tenancy.Owner, Scopes: rest})
	}
	for _, e := range endpoints {
		name := e.Method + " " + e.Pattern
		if e.Public {
			if rec := w.request(e, ""); rec.Code != http.StatusOK {
				t.Errorf("%s without a key: %d", name, rec.Code)
			}
			continue
		}
		for who, secret := range bad {
			if rec := w.request(e, secret); rec.Code != http.StatusUnauthorized || rec.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %s: %d", name, who, rec.Code)
			}
		}
		for role, secret := range roles {
			if !role.AtLeast(e.Role) {
				if rec := w.request(e, secret); rec.Code != http.StatusForbidden {
					t.Errorf("%s as %s: %d", name, role, rec.Code)
				}
			}
		}
		if rec := w.request(e, without[e.Scope]); rec.Code != http.StatusForbidden {
			t.Errorf("%s without the scope %s: %d", name, e.Scope, rec.Code)
		}
	}
}

// An address that sends wrong keys again and again is told so by both APIs; whoever has a key there is still served.
func TestWrongKeysAreBounded(t *testing.T) {
	w := newWorld(t)
	w.from = "192.0.2.1:1000"
	wrong := "tri_" + strings.Repeat("A", 43)
	var rec *httptest.ResponseRecorder
	for range 100 {
		if rec = w.askJSON("GET", "/api/v1/status", wrong, ""); rec.Code != http.StatusUnauthorized {
			break
		}
	}
	p := problemOf(t, rec)
	if rec.Code != http.StatusTooManyRequests || p.Code != "too_many_wrong_keys" || rec.Header().Get("Retry-After") == "" {
		t.Errorf("%d, %+v, %v", rec.Code, p, rec.Header())
	}
	rec = w.askJSON("POST", "/v1/chat/completions", wrong, `{}`)
	if rec.Code != http.StatusTooManyRequests || rec.Header().Get("Retry-After") == "" || gjson.Get(rec.Body.String(), "error.code").String() != "rate_limit_exceeded" {
		t.Errorf("the model API: %d, %v, %s", rec.Code, rec.Header(), rec.Body)
	}
	if rec := w.askJSON("GET", "/api/v1/status", w.owner, ""); rec.Code != http.StatusOK {
		t.Errorf("with a good key: %d", rec.Code)
	}
	w.from = "192.0.2.2:1000"
	if rec := w.askJSON("GET", "/api/v1/status", wrong, ""); rec.Code != http.StatusUnauthorized {
		t.Errorf("from elsewhere: %d", rec.Code)
	}
}

func TestAnotherProjectsObjectsDoNotExist(t *testing.T) {
	w := newWorld(t)
	w.finish(t)
	second := must(w.Tenancy.CreateProject(t.Context(), w.who.OrgID, "second"))(t)
	_, foreign, _, foreignSecret, err := w.Tenancy.CreateOrganisation(t.Context(), w.who.Maker(), "foreign")
	must(foreign, err)(t)
	strangers := map[string]string{
		"an owner of another project":      w.key(t, tenancy.Key{OrgID: w.who.OrgID, ProjectID: second.ID, Role: tenancy.Owner}),
		"an owner of another organisation": foreignSecret,
	}
	var secrets []string
	for name, object := range w.objects {
		if name != "scope" && name != "what" && name != "node" && name != "window" { // nodes, and when they are kept free, are everybody's
			secrets = append(secrets, object)
		}
	}
	named := regexp.MustCompile(`\{[a-z]+\}`)
	for who, secret := range strangers {
		for _, e := range endpoints {
			if e.Public || e.Scope == tenancy.OrgWide || e.Scope == tenancy.Platform || strings.HasPrefix(e.Pattern, "/v1") || e.ID == "put-member" || e.ID == "get-node" { // nodes are everybody's
				continue
			}
			rec := w.request(e, secret)
			if named.MatchString(e.Pattern) || slices.Contains(byBody, e.ID) {
				if rec.Code != http.StatusNotFound {
					t.Errorf("%s %s by %s: %d %s", e.Method, e.Pattern, who, rec.Code, rec.Body)
				}
				if p := problemOf(t, rec); p.Kind != "not_found" {
					t.Errorf("%s %s: kind %s", e.Method, e.Pattern, p.Kind)
				}
				continue
			}
			for _, object := range secrets {
				if e.Method == "GET" && strings.Contains(rec.Body.String(), object) {
					t.Errorf("%s %s shows %s to %s", e.Method, e.Pattern, object, who)
				}
			}
		}
		for _, target := range []string{"/members", "/keys", "/usage"} { // the parameter project leads nowhere, too
			if rec := w.askJSON("GET", v1+target+"?project="+w.who.ProjectID, secret, ""); rec.Code != http.StatusNotFound {
				t.Errorf("%s of another project by %s: %d", target, who, rec.Code)
			}
		}
	}
}

// The least key that the table lets through is let through; objects are deleted at last, from the table's end.
func TestEveryEndpointServesWhomTheTableAllows(t *testing.T) {
	w := newWorld(t)
	w.finish(t)
	order := slices.Clone(endpoints)
	slices.Reverse(order)
	slices.SortStableFunc(order, func(a, b Endpoint) int { return cmp.Compare(deletes(a), deletes(b)) })
	for _, e := range order {
		if e.Public {
			continue
		}
		scopes := []tenancy.Scope{e.Scope}
		if strings.HasSuffix(e.ID, "-budget") || strings.HasSuffix(e.ID, "-limit") {
			scopes = append(scopes, tenancy.Platform) // it was set with that
		}
		rec := w.request(e, w.key(t, tenancy.Key{Role: e.Role, Scopes: scopes}))
		switch {
		case strings.HasPrefix(e.Pattern, "/v1"): // no route is served here: those are the gateway's tests
			if rec.Code == 401 || rec.Code == 403 {
				t.Errorf("%s %s: %d %s", e.Method, e.Pattern, rec.Code, rec.Body)
			}
		case e.ID == "import-model" && rec.Code == http.StatusBadRequest: // an empty archive is no model
		case e.ID == "stop-run" && rec.Code == http.StatusConflict: // it has ended
		case e.ID == "remove-data" && rec.Code == http.StatusConflict: // the run made above trains on it
		case e.ID == "remove-model" && rec.Code == http.StatusConflict: // it is served
		case rec.Code < 200 || rec.Code > 299:
			t.Errorf("%s %s: %d %s", e.Method, e.Pattern, rec.Code, rec.Body)
		case rec.Code != http.StatusNoContent && rec.Header().Get("Content-Type") == "application/json" && !json.Valid(rec.Body.Bytes()):
			t.Errorf("%s %s: not JSON: %s", e.Method, e.Pattern, rec.Body)
		}
	}
}

func deletes(e Endpoint) int {
	if e.Method == "DELETE" {
		return 1
	}
	return 0
}

func TestTableIsWhole(t *testing.T) {
	w := newWorld(t)
	w.finish(t)
	seen := map[string]bool{}
	for _, e := range endpoints {
		name := e.Method + " " + e.Pattern
		if seen[name] || seen[e.ID] && e.ID != "" {
			t.Errorf("%s stands twice in the table", name)
		}
		seen[name], seen[e.ID] = true, true
		if !e.Public && (e.Role == "" || e.Scope == "") {
			t.Errorf("%s asks for nothing and is not public", name)
		}
		// Every line is answered by something: neither the not-found page nor "method not allowed".
		rec := w.request(e, w.owner)
		if rec.Code == http.StatusMethodNotAllowed || strings.Contains(rec.Body.String(), "There is nothing at") {
			t.Errorf("%s is in the table but nothing answers it: %d", name, rec.Code)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("an endpoint that is not in the table was registered")
		}
	}()
	s := &Server{Deps: w.Deps, mux: http.NewServeMux()}
	s.handle("GET", v1+"/backdoor", s.fail, func(http.ResponseWriter, *http.Request) {})
}
