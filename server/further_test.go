package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/models/provider"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy"
)

// ask is a request that names what a line of furthers is about.
type furtherAsk struct{ method, target, body string }

// asks gives for each line of furthers, by operation and scope, requests that name what it is about. What is asked to
// be removed or changed exists.
func asks(t *testing.T, w *world) map[string][]furtherAsk {
	t.Helper()
	ctx := t.Context()
	second := must(w.Tenancy.CreateProject(ctx, w.who.OrgID, "second"))(t)
	o, prj, _, secret, err := w.Tenancy.CreateOrganisation(ctx, w.who.Maker(), "foreign")
	must(0, err)(t)
	root := must(w.Keys.Authenticate(secret))(t)
	must(w.Tenancy.PutMember(ctx, w.who.Maker(), second.ID, "zoe@example.org", tenancy.Viewer))(t)
	all := map[string][]furtherAsk{}
	add := func(id string, scope tenancy.Scope, method, target, body string) {
		all[id+" "+string(scope)] = append(all[id+" "+string(scope)], furtherAsk{method, v1 + target, body})
	}
	for name, fields := range map[string]string{"in": `"price_in":0`, "out": `"price_out":7`, "shared": `"shared":true`} {
		scope := tenancy.Pricing
		if name == "shared" {
			scope = tenancy.OrgWide
		}
		add("create-deployment", scope, "POST", "/deployments", fmt.Sprintf(`{"model":%q,"name":"d-%s","route":{%s}}`, w.objects["model"], name, fields))
		add("create-route", scope, "POST", "/routes", fmt.Sprintf(`{"name":"r-%s","deployment":%q,%s}`, name, w.objects["deployment"], fields))
		add("set-route", scope, "PUT", "/routes/"+w.objects["route"], "{"+fields+"}")
	}
	who := whoServes(w.who)
	must(w.Serve.AddRoute(ctx, who, serve.RouteSpec{Name: "gone", Deployment: w.objects["deployment"], Shared: true}))(t)
	add("remove-route", tenancy.Pricing, "DELETE", "/routes/gone", "")
	must(w.Serve.Deploy(ctx, who, serve.DeploySpec{Name: "going", Model: w.objects["model"], Route: &serve.RouteSpec{Name: "going", Shared: true}}))(t)
	for _, name := range []string{"tried", "trying"} {
		must(w.Serve.AddRoute(ctx, who, serve.RouteSpec{Name: name, Deployment: w.objects["deployment"], Shared: true}))(t)
	}
	dear := serve.BackendSpec{Provider: must(w.Providers.Add(ctx, provider.Who{Org: w.who.OrgID, Project: w.who.ProjectID}, provider.Spec{Name: "dear", URL: "https://api.example.org/v1", Key: "sk"}))(t).ID, Model: "m"}
	must(w.Serve.StartCanary(ctx, who, "trying", serve.CanarySpec{Backend: dear}))(t)
	add("start-canary", tenancy.Pricing, "POST", "/routes/tried/canary", `{"provider":"dear","model":"m"}`)
	add("steer-canary", tenancy.Pricing, "POST", "/routes/trying/canary/promote", "")
	add("remove-deployment", tenancy.Pricing, "DELETE", "/deployments/going", "")
	for scope, in := range map[tenancy.Scope]struct {
		org, prj string
		by       tenancy.Maker
	}{tenancy.OrgWide: {w.who.OrgID, second.ID, w.who.Maker()}, tenancy.Platform: {o.ID, prj.ID, root.Maker()}} {
		k, _, err := w.Tenancy.CreateKey(ctx, in.by, tenancy.NewKey{Name: "x", ProjectID: in.prj})
		must(k, err)(t)
		add("list-keys", scope, "GET", "/keys?project="+in.prj, "")
		add("get-key", scope, "GET", "/keys/"+k.ID+"?project="+in.prj, "")
		add("revoke-key", scope, "DELETE", "/keys/"+k.ID+"?project="+in.prj, "")
		for _, id := range []string{"usage", "usage.csv"} {
			add(strings.Replace(id, ".", "-", 1), scope, "GET", "/"+id+"?project="+in.prj, "")
			add(strings.Replace(id, ".", "-", 1), scope, "GET", "/"+id+"?org="+in.org, "")
		}
		for _, of := range []string{"organisation/" + in.org, "project/" + in.prj, "key/" + k.ID} {
			add("set-budget", scope, "PUT", "/budgets/"+of, `{"limit_micros":5}`)
			add("remove-budget", scope, "DELETE", "/budgets/"+of, "")
			add("set-limit", scope, "PUT", "/limits/"+of, `{"rpm":5}`)
			add("remove-limit", scope, "DELETE", "/limits/"+of, "")
		}
	}
	add("usage", tenancy.OrgWide, "GET", "/usage?organisation=true", "")
	add("list-budgets", tenancy.Platform, "GET", "/budgets?org=foreign", "")
	add("list-limits", tenancy.Platform, "GET", "/limits?org=foreign", "")
	job := must(w.jobs.Create(ctx, job.Spec{Project: second.ID, Kind: "program"}))(t).ID
	add("list-jobs", tenancy.OrgWide, "GET", "/jobs?project=second", "")
	add("create-job", tenancy.OrgWide, "POST", "/jobs?project=second", `{"command":["true"]}`)
	add("get-job", tenancy.OrgWide, "GET", "/jobs/"+job+"?project=second", "")
	add("explain-job", tenancy.OrgWide, "GET", "/jobs/"+job+"/explanation?project=second", "")
	add("read-job-logs", tenancy.OrgWide, "GET", "/jobs/"+job+"/logs?project=second", "")
	add("remove-job", tenancy.OrgWide, "DELETE", "/jobs/"+job+"?project=second", "")
	for _, act := range []string{"hold", "release", "requeue", "cancel"} {
		add(act+"-job", tenancy.OrgWide, "POST", "/jobs/"+job+"/"+act+"?project=second", "")
	}
	add("list-members", tenancy.OrgWide, "GET", "/members?project=second", "")
	add("put-member", tenancy.OrgWide, "PUT", "/members/zoe@example.org?project=second", `{"role":"developer"}`)
	add("remove-member", tenancy.OrgWide, "DELETE", "/members/zoe@example.org?project=second", "")
	add("create-key", tenancy.OrgWide, "POST", "/keys", `{"name":"x","project":"second"}`)
	add("create-pull", tenancy.Platform, "POST", "/pulls", `{"repo":"org/near","mirrors":["http://127.0.0.1:1"],"allow_private":true}`)
	add("add-provider", tenancy.Platform, "POST", "/providers", `{"name":"near","url":"http://127.0.0.1:1","allow_private":true}`)
	near := `"policy":{"guard":{"url":"http://127.0.0.1:1","allow_private":true}}`
	add("create-deployment", tenancy.Platform, "POST", "/deployments", fmt.Sprintf(`{"model":%q,"name":"d-near","route":{%s}}`, w.objects["model"], near))
	add("create-route", tenancy.Platform, "POST", "/routes", fmt.Sprintf(`{"name":"r-near","deployment":%q,%s}`, w.objects["deployment"], near))
	add("set-route", tenancy.Platform, "PUT", "/routes/"+w.objects["route"], "{"+near+"}")
	add("add-webhook", tenancy.OrgWide, "POST", "/webhooks", `{"url":"https://example.org/in","organisation":true}`)
	add("add-webhook", tenancy.Platform, "POST", "/webhooks", `{"url":"http://127.0.0.1:1","allow_private":true}`)
	return all
}

// What a request names beyond its endpoint is refused to whoever lacks the further scope, and allowed with it, on both
// databases.
func TestFurtherScopesAreAskedFor(t *testing.T) {
	sqltest.EachDSN(t, func(t *testing.T, dsn string) {
		w := newWorldOn(t, dsn)
		w.finish(t)
		all := asks(t, w)
		ordinary := tenancy.Ordinary
		for _, f := range furthers {
			e, ok := findID(f.ID)
			requests := all[f.ID+" "+string(f.Scope)]
			if !ok || len(requests) == 0 {
				t.Errorf("%s with %s is walked by nothing", f.ID, f.Scope)
			}
			delete(all, f.ID+" "+string(f.Scope))
			below := map[string]tenancy.Key{"without the scope": {Role: e.Role, Scopes: ordinary}}
			if f.Scope == tenancy.Platform {
				below["of the organisation alone"] = tenancy.Key{Role: e.Role, Scopes: append([]tenancy.Scope{tenancy.OrgWide}, ordinary...)}
			}
			if f.Or != "" {
				below["an owner without the scope admin"] = tenancy.Key{Role: f.Or, Scopes: []tenancy.Scope{tenancy.Read, tenancy.Write}}
			}
			for _, r := range requests {
				for who, k := range below {
					if rec := w.askJSON(r.method, r.target, w.key(t, k), r.body); rec.Code != http.StatusForbidden && rec.Code != http.StatusNotFound {
						t.Errorf("%s %s %s by a key %s: %d %s", r.method, r.target, r.body, who, rec.Code, rec.Body)
					}
				}
				k := tenancy.Key{Role: e.Role, Scopes: append([]tenancy.Scope{f.Scope}, ordinary...)}
				if rec := w.askJSON(r.method, r.target, w.key(t, k), r.body); rec.Code < 200 || rec.Code > 299 {
					t.Errorf("%s %s %s with %s: %d %s", r.method, r.target, r.body, f.Scope, rec.Code, rec.Body)
				}
			}
			if r := requests[0]; f.Or != "" && r.method == "PUT" {
				if rec := w.askJSON(r.method, r.target, w.key(t, tenancy.Key{Role: f.Or}), r.body); rec.Code != http.StatusOK {
					t.Errorf("%s as %s: %d %s", r.target, f.Or, rec.Code, rec.Body)
				}
			}
		}
		for left := range all {
			t.Errorf("%s is walked, but stands in no line of furthers", left)
		}
	})
}

// Over HTTP: revoking ends what a key made unless this is to be kept, a default key calls models alone, and an operator
// sees budgets set from above as such.
func TestKeysOverHTTP(t *testing.T) {
	sqltest.EachDSN(t, func(t *testing.T, dsn string) {
		w := newWorldOn(t, dsn)
		ctx := t.Context()
		make := func(by tenancy.Maker) (tenancy.Key, string) {
			k, secret, err := w.Tenancy.CreateKey(ctx, by, tenancy.NewKey{Name: "x", Role: tenancy.Owner, Scopes: tenancy.Ordinary})
			return must(k, err)(t), secret
		}
		for _, keep := range []bool{false, true} {
			a, secret := make(w.who.Maker())
			_, child := make(must(w.Keys.Authenticate(secret))(t).Maker())
			if rec := w.askJSON("DELETE", fmt.Sprintf("%s/keys/%s?keep_children=%v", v1, a.ID, keep), w.owner, ""); rec.Code != http.StatusNoContent {
				t.Fatalf("revoking: %d %s", rec.Code, rec.Body)
			}
			if rec := w.askJSON("GET", v1+"/keys", child, ""); (rec.Code == http.StatusOK) != keep {
				t.Errorf("keep_children %v: the child gets %d", keep, rec.Code)
			}
		}
		_, secret, err := w.Tenancy.CreateKey(ctx, w.who.Maker(), tenancy.NewKey{Name: "app"})
		must(0, err)(t)
		if rec := w.askJSON("GET", v1+"/status", secret, ""); rec.Code != http.StatusForbidden {
			t.Errorf("a key for an application looks at the project: %d", rec.Code)
		}
		if rec := w.askJSON("GET", "/v1/models", secret, ""); rec.Code != http.StatusOK {
			t.Errorf("a key for an application cannot list models: %d", rec.Code)
		}
	})
}
