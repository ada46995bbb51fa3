package worker

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// embedded is the answer to an embedding request.
type embedded struct {
	Object, Model string
	Data          []struct {
		Object    string
		Index     int
		Embedding json.RawMessage
	}
	Usage struct {
		Prompt int `json:"prompt_tokens"`
		Total  int `json:"total_tokens"`
	}
}

// embed asks for embeddings and returns their vectors.
func (r *running) embed(body string) ([][]float32, embedded) {
	r.t.Helper()
	status, got := r.call("POST", "/v1/embeddings", body)
	var a embedded
	if err := json.Unmarshal([]byte(got), &a); err != nil || status != 200 || a.Object != "list" {
		r.t.Fatalf("%s: %d %s", body, status, got)
	}
	var out [][]float32
	for i, d := range a.Data {
		var v []float32
		var text string
		if json.Unmarshal(d.Embedding, &text) == nil {
			b, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				r.t.Fatal(err)
			}
			for ; len(b) >= 4; b = b[4:] {
				v = append(v, math.Float32frombits(binary.LittleEndian.Uint32(b)))
			}
		} else if err := json.Unmarshal(d.Embedding, &v); err != nil {
			r.t.Fatal(err)
		}
		if d.Index != i || d.Object != "embedding" {
			r.t.Errorf("item %d: %+v", i, d)
		}
		out = append(out, v)
	}
	return out, a
}

func length(v []float32) float64 {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

func TestEmbeddings(t *testing.T) {
	r := start(t, Options{})
	all, a := r.embed(`{"input":["a fox","the lazy dog","水能载舟"],"model":"public"}`)
	if len(all) != 3 || a.Model != "public" || a.Usage.Prompt == 0 || a.Usage.Total != a.Usage.Prompt {
		t.Fatalf("%+v", a)
	}
	_, n := r.call("POST", "/tokenize", `{"input":["a fox","the lazy dog","水能载舟"]}`)
	var count struct{ Count int }
	if err := json.Unmarshal([]byte(n), &count); err != nil || count.Count != a.Usage.Prompt {
		t.Errorf("counted %s, charged %d", n, a.Usage.Prompt)
	}
	for i, v := range all {
		if len(v) != 32 || math.Abs(length(v)-1) > 1e-5 {
			t.Errorf("vector %d has %d numbers and the length %v", i, len(v), length(v))
		}
	}
	one, _ := r.embed(`{"input":"the lazy dog","encoding_format":"base64"}`)
	if d := cmp.Diff(one[0], all[1]); d != "" {
		t.Errorf("alone, in base64: %s", d)
	}
	short, _ := r.embed(`{"input":"the lazy dog","dimensions":8}`)
	if len(short[0]) != 8 || math.Abs(length(short[0])-1) > 1e-5 || short[0][0]/one[0][0] <= 1 {
		t.Errorf("shortened: %v of %v", short, one[0][:8])
	}
	last, _ := r.embed(`{"input":"the lazy dog","pooling":"last"}`)
	if cmp.Equal(last, one) {
		t.Error("the pooling does nothing")
	}
	ids, b := r.embed(`{"input":[[7,8,9],[7]],"encoding_format":"float"}`)
	single, _ := r.embed(`{"input":[7,8,9]}`)
	if !cmp.Equal(ids[0], single[0]) || b.Usage.Prompt != 4 {
		t.Errorf("token ids: %+v", b.Usage)
	}
	many, _ := r.embed(`{"input":[` + strings.Repeat(`"a fox",`, 299) + `"a fox"]}`)
	if len(many) != 300 || !cmp.Equal(many[299], all[0]) {
		t.Errorf("%d of 300", len(many))
	}
}

func TestEmbeddingsThatAreRefused(t *testing.T) {
	r := start(t, Options{})
	for body, param := range map[string]string{
		`{}`:                                     "input",
		`{"input":""}`:                           "",
		`{"input":[]}`:                           "input",
		`{"input":[[]]}`:                         "input",
		`{"input":[1,null]}`:                     "input",
		`{"input":[99999]}`:                      "input",
		`{"input":{"a":1}}`:                      "input",
		`{"input":"a","dimensions":33}`:          "dimensions",
		`{"input":"a","dimensions":0}`:           "dimensions",
		`{"input":"a","encoding_format":"int8"}`: "encoding_format",
		`{"input":"a","pooling":"max"}`:          "pooling",
		`{"input":"` + strings.Repeat("fox ", 900) + `"}`: "input",
	} {
		status, got := r.call("POST", "/v1/embeddings", body)
		var a struct{ Error struct{ Param string } }
		if param == "" { // a text of nothing is its begin-of-sequence token
			if status != 200 {
				t.Errorf("%s: %d %s", body, status, got)
			}
			continue
		}
		if err := json.Unmarshal([]byte(got), &a); err != nil || status != 400 || a.Error.Param != param {
			t.Errorf("%.60s: %d %s", body, status, got)
		}
	}
}
