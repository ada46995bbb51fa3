package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

func clientEstimates(t *testing.T, c *api.Client) {
	ctx := t.Context()
	r := must(c.EstimateChips(ctx, api.ChipQuestion{Model: "llama-2-7b", Task: "serve", Chips: []string{"h100"}}))(t)
	if len(r.Rows) != 1 || r.Rows[0].Chip != "nvidia-h100-sxm" || r.Rows[0].Rate == nil || r.Parameters != 6_738_415_616 {
		t.Errorf("%+v", r)
	}
	_, err := c.EstimateChips(ctx, api.ChipQuestion{Model: "llama-2-7x", Task: "serve"})
	if !fault.Is(err, fault.NotFound) || !strings.Contains(fault.As(err).Fix, "llama-2-7b") {
		t.Errorf("an unknown model: %v", err)
	}
}

// What chips cost is told to the operator alone; others bring prices of their own.
func TestEstimatesKeepPricesFromOthers(t *testing.T) {
	w := newWorld(t)
	if err := w.Usage.SetChipPrice(t.Context(), meter.ChipPrice{Chip: "nvidia-h100-sxm", HourMicros: 2_500_000}); err != nil {
		t.Fatal(err)
	}
	operator := w.key(t, tenancy.Key{Role: tenancy.Owner, Scopes: []tenancy.Scope{tenancy.Read, tenancy.Platform}})
	owner := w.key(t, tenancy.Key{Role: tenancy.Owner, Scopes: []tenancy.Scope{tenancy.Read}})
	viewer := w.key(t, tenancy.Key{Role: tenancy.Viewer, Scopes: []tenancy.Scope{tenancy.Read, tenancy.Platform}})
	body := `{"model":"llama-2-7b","task":"serve","chips":["h100"],"count":[1]}`
	for name, c := range map[string]struct {
		secret, body string
		hour         float64
		by           string
	}{
		"the operator":           {operator, body, 2_500_000, "cost"},
		"an owner":               {owner, body, 0, "chip-hours"},
		"a viewer":               {viewer, body, 0, "chip-hours"},
		"a viewer with a price":  {viewer, strings.Replace(body, `"count"`, `"prices":{"h100":7},"count"`, 1), 7, "cost"},
		"the operator with one":  {operator, strings.Replace(body, `"count"`, `"prices":{"h100":7},"count"`, 1), 7, "cost"},
		"the operator, by speed": {operator, strings.Replace(body, `"count"`, `"by":"time","count"`, 1), 2_500_000, "time"},
	} {
		rec := w.askJSON("POST", "/api/v1/chip-estimates", c.secret, c.body)
		if rec.Code != http.StatusOK {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
			continue
		}
		got := gjson.Get(rec.Body.String(), "rows.0.hour_micros")
		if got.Float() != c.hour || got.Exists() && (c.hour == 0) != (got.Type == gjson.Null) || gjson.Get(rec.Body.String(), "by").Str != c.by {
			t.Errorf("%s sees %s by %s", name, got.Raw, gjson.Get(rec.Body.String(), "by"))
		}
	}
}

// The fleet's classes are chips of the catalogue, its cores one chip; a class that nobody described says so.
func TestEstimatesOfTheFleet(t *testing.T) {
	w := newWorld(t)
	secret := w.key(t, tenancy.Key{Role: tenancy.Viewer, Scopes: []tenancy.Scope{tenancy.Read}})
	rec := w.askJSON("POST", "/api/v1/chip-estimates", secret, `{"model":"llama-2-7b","task":"serve","fleet":true}`)
	rows := gjson.Get(rec.Body.String(), "rows")
	if rec.Code != http.StatusOK || rows.Get("#").Int() != 2 {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	if says := rows.Get(`#(chip=="slot").refused.says`).Str; !strings.Contains(says, "figures") {
		t.Errorf("slot: %q", says)
	}
	if missing := rows.Get(`#(chip=="cpu").refused.missing`).Raw; !strings.Contains(missing, "bandwidth") {
		t.Errorf("cpu: %s", missing)
	}
}

// A question that cannot be answered names its field.
func TestBadEstimates(t *testing.T) {
	w := newWorld(t)
	secret := w.key(t, tenancy.Key{Role: tenancy.Viewer, Scopes: []tenancy.Scope{tenancy.Read}})
	for body, want := range map[string]string{
		`{"model":"llama-2-7b","task":"sing"}`:                                    "task",
		`{"model":"llama-2-7b","task":"serve","precision":["fp3"]}`:               "precision",
		`{"model":"llama-2-7b","task":"serve","chips":["h1000"]}`:                 "h100",
		`{"model":"llama-2-7b","task":"serve","net":-1}`:                          "net",
		`{"model":"llama-2-7b","task":"serve","tokens":1e300}`:                    "tokens",
		`{"model":"llama-2-7b","task":"serve","prices":{"h100":-5}}`:              "prices",
		`{"model":"llama-2-7b","task":"serve","prices":{"h100":5,"h100-sxm5":6}}`: "prices",
		`{"model":"llama-2-7b","task":"serve","engine":"vlm"}`:                    "vllm",
		`{"shape":{"layers":-3},"task":"serve"}`:                                  "layers",
		`{"shape":{"layer":3},"task":"serve"}`:                                    "shape",
		`{"shape":[1],"task":"serve"}`:                                            "shape",
		`{"task":"serve"}`:                                                        "model",
	} {
		rec := w.askJSON("POST", "/api/v1/chip-estimates", secret, body)
		if rec.Code < 400 || rec.Code > 422 || !strings.Contains(rec.Body.String(), want) {
			t.Errorf("%s: %d %s", body, rec.Code, rec.Body)
		}
	}
}
