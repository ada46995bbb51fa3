package server

import (
	"testing"

	"github.com/tidwall/gjson"
)

// A route that has limits or a budget is not removed, alone or with its deployment: made anew it would have none. Models
// and members can be named as people name them.
func TestLimitsOfModelsAndMembers(t *testing.T) {
	w := newWorld(t)
	name := gjson.Get(w.askJSON("GET", v1+"/routes/"+w.objects["route"], w.owner, "").Body.String(), "name").String()
	for _, c := range []struct {
		method, target, body string
		status               int
	}{
		{"PUT", "/limits/model/" + name, `{"rpm":5,"concurrency":2}`, 200},
		{"DELETE", "/routes/" + w.objects["route"], "", 409},
		{"DELETE", "/deployments/" + w.objects["deployment"], "", 409},
		{"DELETE", "/limits/model/" + w.objects["route"], "", 204},
		{"PUT", "/budgets/model/" + name, `{"limit_micros":5}`, 200},
		{"DELETE", "/routes/" + name, "", 409},
		{"DELETE", "/budgets/model/" + name, "", 204},
		{"PUT", "/members/zoe@example.org", `{"role":"viewer"}`, 200},
		{"PUT", "/limits/member/Zoe@example.org", `{"tpm":9}`, 200},
		{"PUT", "/limits/member/nobody@example.org", `{"tpm":9}`, 404},
		{"PUT", "/limits/model/nothing", `{"tpm":9}`, 404},
		{"PUT", "/limits/member/" + w.who.ProjectID + ":zoe@example.org", `{"tpm":-1}`, 400},
		{"DELETE", "/routes/" + name, "", 204},
	} {
		if rec := w.askJSON(c.method, v1+c.target, w.owner, c.body); rec.Code != c.status {
			t.Errorf("%s %s %s: %d %s", c.method, c.target, c.body, rec.Code, rec.Body)
		}
	}
	list := w.askJSON("GET", v1+"/limits", w.owner, "").Body.String()
	if got := gjson.Get(list, `items.#(scope=="member").id`).String(); got != w.who.ProjectID+":zoe@example.org" {
		t.Errorf("limits %s", list)
	}
}
