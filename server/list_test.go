package server

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/compute/queue"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/data"
	"github.com/triarch-ai/triarch/models/hub"
	"github.com/triarch-ai/triarch/models/hub/pulls"
	"github.com/triarch-ai/triarch/models/provider"
	"github.com/triarch-ai/triarch/models/registry"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/models/train"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/meter"
	"github.com/triarch-ai/triarch/tenancy/webhook"
)

// fill adds several of each thing, with names that only a comparison byte by byte orders the same everywhere.
func (w *world) fill(t *testing.T) {
	t.Helper()
	ctx, prj := t.Context(), w.who.ProjectID
	for i, name := range []string{"B", "a", "a-b", "aB", "ab"} {
		must(w.Tenancy.PutMember(ctx, w.who.Maker(), prj, strings.ToLower(name)+fmt.Sprint(len(name))+"@example.org", tenancy.Viewer))(t)
		second := must(w.Tenancy.CreateProject(ctx, w.who.OrgID, name))(t)
		must(w.Queue.AddWindow(ctx, queue.Window{Name: name, Nodes: []string{"here"}, Until: time.Now().Add(time.Hour), Project: second.ID}))(t)
		must(w.Queue.SetQuota(ctx, queue.Quota{Project: second.ID, Guarantee: map[string]int64{"slot": 1}}))(t)
		_, _, _, _, err := w.Tenancy.CreateOrganisation(ctx, w.who.Maker(), name)
		must(0, err)(t)
		k, _, err := w.Tenancy.CreateKey(ctx, w.who.Maker(), tenancy.NewKey{Name: name})
		must(k, err)(t)
		must(w.Tenancy.SetBudget(ctx, w.who.Maker(), tenancy.Budget{Scope: tenancy.OfKey, ID: k.ID, LimitMicros: 1}))(t)
		must(w.Tenancy.SetLimit(ctx, w.who.Maker(), tenancy.LimitChange{Scope: tenancy.OfKey, ID: k.ID, RPM: new(int64(7))}))(t)
		dv := must(w.Data.Import(ctx, prj, name, data.Text, strings.NewReader(name), data.Options{}))(t)
		must(w.Data.Import(ctx, prj, "words", data.Text, strings.NewReader(name), data.Options{}))(t)
		dir := t.TempDir()
		must(0, os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o600))(t)
		mv := must(w.Registry.ImportDir(ctx, prj, dir, registry.NewVersion{Model: name}))(t)
		must(w.Registry.ImportDir(ctx, prj, dir, registry.NewVersion{Model: "m"}))(t)
		must(w.Train.Submit(ctx, train.Who{Project: prj}, train.Spec{Model: name, Data: dv.ID, Recipe: train.Recipe{Steps: 10}}))(t)
		must(w.Serve.Deploy(ctx, serve.Who{Org: w.who.OrgID, Project: prj}, serve.DeploySpec{Name: name, Model: mv.ID, Route: &serve.RouteSpec{Name: name}}))(t)
		must(w.Providers.Add(ctx, provider.Who{Org: w.who.OrgID, Project: prj}, provider.Spec{Name: name, URL: "https://" + name + ".example.org", Key: name}))(t)
		must(w.Pulls.Begin(ctx, pulls.Who{Project: prj}, pulls.Request{Spec: hub.Spec{Repo: "org/" + name}}))(t)
		e := must(w.ledger.Begin(&meter.Identity{Request: w.IDs.Raw(), Org: w.who.Org, Project: w.who.Project, Key: must(id.ParseRaw(k.ID))(t),
			Model: name, Prices: meter.Flat(1, 1), Start: time.Now(), Kind: meter.Chat}))(t)
		_, _, err = w.Webhooks.Add(ctx, webhook.Who{Org: w.who.OrgID, Project: prj}, webhook.Spec{URL: "https://example.org/" + name})
		must(0, err)(t)
		must(w.measure(t, name, 1<<(10+i)))(t)
		must(0, w.db.Meter().SetChipPrice(ctx, meter.ChipPrice{Chip: "chip-" + name, HourMicros: 1}))(t)
		e.Settle(meter.Finished, meter.Usage{Input: 1, Output: 1}, meter.Work{})
	}
	for range 3 {
		w.askJSON("POST", "/v1/chat/completions", w.owner, `{"model":"pub","messages":[]}`)
	}
	w.Bodies.Flush(ctx)
	w.plan(t)
}

// TestPagesOfEveryListMakeTheWhole walks every list of the control API in pages of every size.
func TestPagesOfEveryListMakeTheWhole(t *testing.T) {
	lists := map[string]struct {
		least   int    // items in it
		ordered string // a field that rises, or falls for one that begins with "-"
	}{
		"/organisations": {6, "id"}, "/projects": {6, "id"}, "/members": {6, "email"}, "/keys": {7, "id"}, "/budgets": {6, ""}, "/limits": {5, ""},
		"/pulls": {6, "-created_at"}, "/data": {6, "name"}, "/data/words/versions": {6, "-number"}, "/models": {6, "name"}, "/models/m/versions": {6, "-number"},
		"/runs": {6, "-created_at"}, "/deployments": {6, "name"}, "/routes": {6, "name"}, "/prices": {6, "-created_at"}, "/providers": {6, "name"}, "/usage?group=model": {5, "name"}, "/usage?group=key": {5, "name"},
		"/chip-prices": {5, "chip"}, "/webhooks": {6, "created_at"}, "/usage/margin": {5, "name"},
		"/queues": {6, "project"}, "/quotas": {6, "project"}, "/nodes": {2, "name"}, "/node-windows": {6, "name"}, "/jobs": {6, "-id"}, "/measurements": {6, "id"}, "/requests": {1, "-request"}, "/bodies": {4, "-request"},
	}
	for _, e := range endpoints {
		if _, ok := lists[strings.TrimPrefix(e.Pattern, v1)]; strings.HasPrefix(e.ID, "list-") && !ok && !strings.Contains(e.Pattern, "{") {
			t.Errorf("%s is not tested", e.Pattern)
		}
	}
	sqltest.EachDSN(t, func(t *testing.T, dsn string) {
		w := newWorldOn(t, dsn)
		w.fill(t)
		for target, want := range lists {
			whole := w.pages(t, target, 0)
			if len(whole) < want.least {
				t.Errorf("%s has %d items", target, len(whole))
			}
			for i := 1; i < len(whole) && want.ordered != ""; i++ {
				field, down := strings.CutPrefix(want.ordered, "-")
				a, b := gjson.Get(whole[i-1], field), gjson.Get(whole[i], field)
				if down {
					a, b = b, a
				}
				if b.Less(a, true) {
					t.Errorf("%s: %s before %s", target, whole[i-1], whole[i])
				}
			}
			for _, limit := range []int{1, 2, len(whole) - 1, len(whole), 1000} {
				if diff := cmp.Diff(whole, w.pages(t, target, limit)); diff != "" {
					t.Errorf("%s in pages of %d: %s", target, limit, diff)
				}
			}
		}
	})
}

// pages reads a list page by page; limit 0 asks for none, and the list must then be one page.
func (w *world) pages(t *testing.T, target string, limit int) (all []string) {
	t.Helper()
	u := must(url.Parse(v1 + target))(t)
	q := u.Query()
	if limit > 0 {
		q.Set("limit", fmt.Sprint(limit))
	}
	for {
		u.RawQuery = q.Encode()
		rec := w.askJSON("GET", u.String(), w.owner, "")
		if rec.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", u, rec.Code, rec.Body)
		}
		answer := gjson.ParseBytes(rec.Body.Bytes())
		items := answer.Get("items|@this").Array()
		if answer.Get("rows").Exists() {
			items = answer.Get("rows").Array()
		}
		if limit > 0 && len(items) > limit || len(items) == 0 {
			t.Fatalf("%s has %d items", u, len(items))
		}
		for _, x := range items {
			all = append(all, x.Raw)
		}
		next := answer.Get("next").String()
		if next == "" {
			return all
		}
		if limit == 0 {
			t.Fatalf("%s has more than one page", u)
		}
		q.Set("after", next)
	}
}

// TestForeignCursors sends cursors of other lists and none at all.
func TestForeignCursors(t *testing.T) {
	w := newWorld(t)
	w.fill(t)
	next := gjson.GetBytes(w.askJSON("GET", v1+"/keys?limit=1", w.owner, "").Body.Bytes(), "next").String()
	for _, target := range []string{"/runs?after=" + next, "/keys?after=x", "/keys?after=" + next + "x", "/usage?after=" + next, "/models/m/versions?after=" + next,
		"/keys?limit=-1", "/keys?limit=1001", "/keys?limit=many", "/keys?after=" + strings.Repeat("x", 3000)} {
		field := "after"
		if strings.Contains(target, "limit") {
			field = "limit"
		}
		if p := problemOf(t, w.askJSON("GET", v1+target, w.owner, "")); p.Status != http.StatusBadRequest || p.Field != field {
			t.Errorf("%s: %d %s %s", target, p.Status, p.Field, p.Message)
		}
	}
	// A cursor carries no rights: another project sees its own list from that place.
	second := must(w.Tenancy.CreateProject(t.Context(), w.who.OrgID, "second"))(t)
	stranger := w.key(t, tenancy.Key{OrgID: w.who.OrgID, ProjectID: second.ID, Role: tenancy.Owner})
	first := gjson.GetBytes(w.askJSON("GET", v1+"/runs?limit=1", w.owner, "").Body.Bytes(), "next").String()
	if rec := w.askJSON("GET", v1+"/runs?after="+first, stranger, ""); rec.Code != http.StatusOK || gjson.GetBytes(rec.Body.Bytes(), "items.#").Int() != 0 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// A zero byte, or what is no UTF-8, is refused before any database sees it: some take neither as text.
func TestNoTextThatDatabasesRefuse(t *testing.T) {
	w := newWorld(t)
	for _, bad := range []string{"%00", "a%00b", "%ff", "%c3%28"} {
		for _, target := range []string{v1 + "/models/" + bad, v1 + "/runs/" + bad + "/logs", "/" + bad,
			v1 + "/data/words/preview?version=" + bad, v1 + "/deployments/pub/logs?replica=" + bad, v1 + "/usage?" + bad + "=1", v1 + "/models?after=" + bad} {
			if rec := w.ask("GET", target, w.owner, "", nil); rec.Code != http.StatusBadRequest {
				t.Errorf("%s: %d %s", target, rec.Code, rec.Body)
			} else if p := problemOf(t, rec); p.Kind != "invalid" {
				t.Errorf("%s: %+v", target, p)
			}
		}
	}
	if rec := w.ask("GET", v1+"/models?after="+page.Cursor("models", page.Key{"a\x00"}), w.owner, "", nil); rec.Code != http.StatusBadRequest {
		t.Errorf("in a cursor: %d %s", rec.Code, rec.Body)
	}
	if rec := w.ask("GET", v1+"/models/%C3%A9", w.owner, "", nil); strings.Contains(rec.Body.String(), "UTF-8") {
		t.Errorf("a letter beyond ASCII: %d %s", rec.Code, rec.Body)
	}
}
