package decode

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/grammar"
)

// jsonPieces gives tokens texts of which documents can be made: 4 special ones, all bytes, then pieces of JSON and letters.
func jsonPieces(id int32) []byte {
	switch {
	case id < 4:
		return nil
	case id < 260:
		return []byte{byte(id - 4)}
	}
	heads := []string{`{"`, `":`, `","`, `"}`, `"]`, `, `, `: "`, `},{"`, "the ", "ing", "er", " a", "true", "12", "0", "水"}
	return []byte(heads[id%16] + string(rune('a'+id/16%26)))
}

// listing is a schema with strings, numbers, enumerations and objects within objects.
const listing = `{"type":"array","minItems":0,"items":{"type":"object","properties":{"name":{"type":"string","maxLength":30},"tags":
	{"type":"array","items":{"enum":["red","green","blue"]}},"size":{"type":"integer","minimum":0,"maximum":99999},"next":{"anyOf":[{"$ref":"#/items"},{"type":"null"}]}},
	"required":["name","size"],"additionalProperties":false}}`

// writer is a small model with random weights whose tokens spell JSON and much else.
func writer(seed uint64) *native.Weights {
	w := native.NewWeights(native.Config{VocabSize: 420, Dim: 32, Layers: 1, Heads: 2, KVHeads: 1, HeadDim: 16, FFN: 48, MaxContext: 256,
		RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: false, BOS: 1, EOS: 3, PAD: 0, Arch: "llama"}, seed)
	for _, t := range w.Tensors() {
		if len(t.Shape) == 2 {
			for i := range t.Data {
				t.Data[i] *= 6
			}
		}
	}
	return w
}

// schemaMaker draws schemas; depth is how deep their own values still nest.
type schemaMaker struct {
	rng       *rand.Rand
	recursive bool
}

func (m *schemaMaker) pick(list ...string) string { return list[m.rng.IntN(len(list))] }

func (m *schemaMaker) schema(depth int) string {
	n := 12
	if depth == 0 {
		n = 8
	}
	if m.recursive && m.rng.IntN(5) == 0 {
		return `{"$ref":"#/$defs/node"}`
	}
	switch m.rng.IntN(n) {
	case 0:
		return m.pick(`{"type":"string"}`, `{"type":"string","maxLength":12}`, `{"type":"string","minLength":2,"maxLength":5}`, `{"type":"string","minLength":3}`)
	case 1:
		return m.pick(`{"type":"string","pattern":"^[A-Z]{2}-[0-9]{3,5}$"}`, `{"type":"string","pattern":"^(a|b水)+c?$"}`, `{"type":"string","pattern":"x.y"}`,
			`{"type":"string","pattern":"^[^\"\\\\]*$","maxLength":9}`, `{"type":"string","pattern":"^\\S+ \\S+$","minLength":5,"maxLength":30}`)
	case 2:
		return fmt.Sprintf(`{"type":"string","format":%q}`, m.pick("date", "date-time", "time", "uuid", "ipv4", "ipv6", "email", "hostname", "uri", "duration"))
	case 3:
		low := m.rng.IntN(4000) - 2000
		return m.pick(fmt.Sprintf(`{"type":"integer","minimum":%d,"maximum":%d}`, low, low+m.rng.IntN(3000)), `{"type":"integer"}`,
			fmt.Sprintf(`{"type":"integer","exclusiveMinimum":%d}`, low), fmt.Sprintf(`{"type":"integer","multipleOf":%d,"maximum":5000}`, 1+m.rng.IntN(40)))
	case 4:
		low := m.rng.IntN(2000) - 1000
		return m.pick(`{"type":"number"}`, fmt.Sprintf(`{"type":"number","minimum":%d.25,"exclusiveMaximum":%d.5}`, low, low+1+m.rng.IntN(50)), `{"type":"number","exclusiveMinimum":0}`)
	case 5:
		return m.pick(`{"enum":["red","green",1,2.5,null,true,{"a":[1]}]}`, `{"const":"fixed"}`, `{"type":["string","null"],"enum":["a","b",null,3]}`)
	case 6:
		return m.pick(`{"type":"boolean"}`, `{"type":"null"}`, `{"type":["integer","boolean","null"]}`)
	case 7:
		return m.pick(`{}`, `true`, `{"type":"object"}`, `{"type":"array"}`, `{"type":"object","additionalProperties":{"type":"integer"},"minProperties":1,"maxProperties":4}`)
	case 8, 9:
		return m.object(depth)
	case 10:
		low := m.rng.IntN(3)
		return m.pick(fmt.Sprintf(`{"type":"array","items":%s,"minItems":%d,"maxItems":%d}`, m.schema(depth-1), low, low+m.rng.IntN(4)),
			fmt.Sprintf(`{"type":"array","items":%s}`, m.schema(depth-1)),
			fmt.Sprintf(`{"type":"array","prefixItems":[%s,%s],"items":%s,"minItems":%d}`, m.schema(depth-1), m.schema(depth-1), m.pick("false", m.schema(depth-1)), m.rng.IntN(3)))
	}
	return m.pick(fmt.Sprintf(`{"anyOf":[%s,%s]}`, m.schema(depth-1), m.schema(depth-1)),
		`{"oneOf":[{"type":"object","properties":{"kind":{"const":"a"},"x":{"type":"integer"}},"required":["kind"]},{"type":"object","properties":{"kind":{"const":"b"}},"required":["kind"]},{"type":"string"}]}`,
		fmt.Sprintf(`{"allOf":[{"type":"object","properties":{"a":%s},"required":["a"]},{"type":"object","properties":{"b":%s,"a":{}}}]}`, m.schema(depth-1), m.schema(depth-1)))
}

func (m *schemaMaker) object(depth int) string {
	var props, required []string
	for i, name := range []string{"name", "a \"quoted\" key", "größe", "z", "zz"} {
		if i > 0 && m.rng.IntN(3) == 0 {
			continue
		}
		q, _ := json.Marshal(name)
		props = append(props, string(q)+":"+m.schema(depth-1))
		if m.rng.IntN(2) == 0 && !m.recursive { // what a recursion demands may have no end
			required = append(required, string(q))
		}
	}
	more := m.pick("", `,"additionalProperties":false`, `,"additionalProperties":{"type":"boolean"}`)
	return `{"type":"object","properties":{` + strings.Join(props, ",") + `},"required":[` + strings.Join(required, ",") + `]` + more + `}`
}

// schemas are n schemas, every third one recursive.
func schemas(n int) []string {
	var all []string
	for i := range n {
		m := &schemaMaker{rand.New(rand.NewPCG(uint64(i), 7)), false}
		if i%3 != 0 {
			all = append(all, m.schema(3))
			continue
		}
		m.recursive = true
		if i%2 == 0 { // lists by reference, at least two deep
			all = append(all, `{"type":"object","properties":{"item":`+(&schemaMaker{m.rng, false}).schema(1)+`,"children":{"type":"array","minItems":1,"items":{"$ref":"#/$defs/node"}}},
				"required":["children"],"$defs":{"node":{"anyOf":[{"type":"object","properties":{"children":{"type":"array","items":{"$ref":"#"},"maxItems":2},"next":{"$ref":"#/$defs/node"}},"required":["children"],
				"additionalProperties":false},{"type":"null"},{"type":"array","items":{"$ref":"#/$defs/node"}}]}}}`)
			continue
		}
		all = append(all, `{"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{"value":`+(&schemaMaker{m.rng, false}).schema(1)+`,"children":{"type":"array","items":{"$ref":"#/$defs/node"}},"more":`+
			m.schema(2)+`},"required":["value"]}}}`)
	}
	return all
}

// TestEveryDocumentIsWhole samples documents of many schemas from a random model and has another program's validator judge
// them. FORM_SAMPLES sets how many; make samples asks for 10,000.
func TestEveryDocumentIsWhole(t *testing.T) {
	count := 2000
	if s := os.Getenv("FORM_SAMPLES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		count = n
	}
	const kinds = 50
	e := newEngine(t, writer(3), Options{TokenBytes: jsonPieces})
	rng := rand.New(rand.NewPCG(5, 5))
	lengths, least, recursive := 0, 0, 0
	for k, src := range schemas(kinds) {
		g, err := grammar.JSONSchema([]byte(src))
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		form, err := grammar.New(g, e.Vocab())
		if err != nil {
			t.Fatal(err)
		}
		judge := validator(t, src)
		for n := 0; n < (count+kinds-1)/kinds; n += 4 {
			seed := rng.Uint64()
			room := 240 - form.Least()
			if n%8 == 4 {
				room = 12
			}
			budget := form.Least() + rng.IntN(room)
			for _, r := range generate(t, e, &Request{Prompts: [][]int32{prompt(rng, 5)}, N: 4, MaxTokens: budget, Form: form,
				Sampling: Sampling{Temperature: 0.3 + 1.7*rng.Float64(), Seed: &seed}}) {
				if err := judge(r.Text); err != nil || len(r.Tokens) > budget || r.Finish != FinishStop {
					t.Fatalf("schema %s\n%d of %d tokens, finish %q: %q\n%v", src, len(r.Tokens), budget, r.Finish, r.Text, err)
				}
				lengths += len(r.Tokens)
				if len(r.Tokens) == form.Least() {
					least++
				}
				if k%3 == 0 && strings.Count(r.Text, `"children"`) > 1 {
					recursive++
				}
			}
		}
	}
	t.Logf("%d tokens, %d documents of the least length, %d with children of children", lengths, least, recursive)
	if recursive == 0 {
		t.Error("no document went deep: the recursive schemas were not tested")
	}
}

// validator judges a text by a schema.
func validator(t testing.TB, src string) func(text string) error {
	t.Helper()
	schema, err := jsonschema.UnmarshalJSON(strings.NewReader(src))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("s.json", schema); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("s.json")
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	return func(text string) error {
		if !utf8.ValidString(text) || strings.ContainsRune(text, utf8.RuneError) && !strings.Contains(text, "\uFFFD") {
			return fmt.Errorf("not UTF-8")
		}
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			return err
		}
		return compiled.Validate(v)
	}
}

func TestFormsAloneAndTogether(t *testing.T) {
	e := newEngine(t, writer(4), Options{TokenBytes: jsonPieces})
	g, err := grammar.JSONSchema([]byte(listing))
	if err != nil {
		t.Fatal(err)
	}
	form, err := grammar.New(g, e.Vocab())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(seed uint64, f *grammar.Automaton) *Request {
		return &Request{Prompts: [][]int32{prompt(rand.New(rand.NewPCG(seed, 2)), 9)}, MaxTokens: 90, Form: f, Sampling: Sampling{Temperature: 1, Seed: &seed}}
	}
	alone := map[uint64]string{}
	for seed := range uint64(8) {
		alone[seed] = generate(t, e, ask(seed, form))[0].Text
	}
	var streams []*Stream
	for seed := range uint64(8) {
		s, err := e.Submit(t.Context(), ask(seed, form))
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
		if free, err := e.Submit(t.Context(), ask(seed+100, nil)); err != nil {
			t.Fatal(err)
		} else {
			defer free.Close()
		}
	}
	for seed, s := range streams {
		out, err := collect(s, 1)
		if err != nil || out[0].Text != alone[uint64(seed)] {
			t.Errorf("seed %d: %v together, %q alone, %v", seed, out, alone[uint64(seed)], err)
		}
	}
}

func TestFormsThatHaveNoRoomAreRefused(t *testing.T) {
	e := newEngine(t, writer(4), Options{TokenBytes: jsonPieces})
	g, err := grammar.JSONSchema([]byte(`{"type":"string","minLength":60}`))
	if err != nil {
		t.Fatal(err)
	}
	form, err := grammar.New(g, e.Vocab())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		r    Request
		code string
	}{
		"max_tokens": {Request{Prompts: [][]int32{{5}}, MaxTokens: 10}, "max_tokens_too_small"},
		"context":    {Request{Prompts: [][]int32{make([]int32, 250)}}, CodeContextLength},
		"stop":       {Request{Prompts: [][]int32{{5}}, Stop: []string{"a"}}, ""},
	} {
		c.r.Form = form
		_, err := e.Submit(context.Background(), &c.r)
		if f := fault.As(err); err == nil || f.Kind != fault.Invalid || f.Code != c.code {
			t.Errorf("%s: %v", name, err)
		}
		if name == "max_tokens" && !strings.Contains(err.Error(), strconv.Itoa(form.Least())) {
			t.Errorf("the least number is not named: %v", err)
		}
	}
}
