package server

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/models/train"
)

var update = flag.Bool("update", false, "write docs/openapi.json anew")

const golden = "../docs/openapi.json"

func document(t *testing.T) []byte {
	t.Helper()
	w := newWorld(t, func(d *Deps) { d.Info.Version = "1" })
	rec := w.askJSON("GET", v1+"/openapi.json", "", "")
	var b bytes.Buffer
	if err := json.Indent(&b, rec.Body.Bytes(), "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// The document of the control API changes only on purpose: go test ./server -run OpenAPI -update.
func TestOpenAPIGolden(t *testing.T) {
	got := document(t)
	if *update {
		must(0, os.WriteFile(golden, got, 0o644))(t)
	}
	want := must(os.ReadFile(golden))(t)
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); d != "" {
		t.Errorf("the control API differs from docs/openapi.json; look at it, then run: go test ./server -run OpenAPI -update\n%s", d)
	}
}

func TestEveryOperationIsDocumented(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Summary     string
			Tags        []string
			Responses   map[string]any
			RequestBody struct{ Content map[string]any }
		}
	}
	must(0, json.Unmarshal(document(t), &doc))(t)
	n := 0
	for _, e := range endpoints {
		if e.ID == "" {
			continue
		}
		n++
		o, ok := doc.Paths[e.Pattern][strings.ToLower(e.Method)]
		if !ok || o.OperationID != e.ID || o.Summary == "" || len(o.Tags) != 1 || o.Responses["default"] == nil {
			t.Errorf("%s %s is documented as %+v", e.Method, e.Pattern, o)
		}
		if e.Stream && (len(o.RequestBody.Content) != 2 || o.RequestBody.Content["multipart/form-data"] == nil) {
			t.Errorf("%s takes %v", e.ID, o.RequestBody.Content)
		}
	}
	if n < 45 {
		t.Errorf("only %d operations", n)
	}
}

// The wire's recipe and the trainer's are two types of one JSON form.
func TestRecipeCrossesTheWireWhole(t *testing.T) {
	wire, domain := jsonFields(reflect.TypeFor[api.Recipe]()), jsonFields(reflect.TypeFor[train.Recipe]())
	if d := cmp.Diff(domain, wire); d != "" {
		t.Errorf("the recipe's fields differ between train (-) and api (+):\n%s", d)
	}
}

func jsonFields(t reflect.Type) map[string]string {
	out := map[string]string{}
	for f := range t.Fields() {
		kind := f.Type.Kind()
		if kind == reflect.Pointer {
			kind = f.Type.Elem().Kind()
		}
		out[f.Tag.Get("json")] = kind.String()
	}
	return out
}
