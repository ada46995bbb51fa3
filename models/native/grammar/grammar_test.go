package grammar

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/internal/fault"
	"pgregory.net/rapid"
)

// words is a vocabulary of all bytes and many pieces, some across the borders of JSON and some of half characters.
func words() ([][]byte, *Vocab) {
	var list [][]byte
	for c := range 256 {
		list = append(list, []byte{byte(c)})
	}
	for _, s := range []string{`{"`, `":`, `","`, `"}`, `"}]`, `},`, `}]}`, `[{"`, ` "`, "the", " the", "name", `"name`, "true", "tru", "null", "12", "345", "00", "0.",
		"\\u00", "\\n", "水", "\xe6\xb0", "\xb4\"", "😀", "\xf0\x9f", "\n  ", "\n    ", ": ", ", ", "a", "b", "ab", "abc", "children", "value\":", "]", "]]", "[[", "[]", "{}"} {
		list = append(list, []byte(s))
	}
	return append(list, nil, nil), NewVocab(append(list, nil, nil)) // two special ones
}

// sample writes a document at random within a budget.
func sample(t testing.TB, a *Automaton, list [][]byte, budget int, rng *rand.Rand) string {
	t.Helper()
	s := a.Begin(budget)
	var out []byte
	for n := 0; ; n++ {
		may := s.Allowed()
		var ids []int32
		for id := range list {
			if may.Bits[id>>6]>>(id&63)&1 != 0 {
				ids = append(ids, int32(id))
			}
		}
		if may.End && (len(ids) == 0 || rng.IntN(4) == 0) {
			return string(out)
		}
		if len(ids) == 0 || n == budget {
			t.Fatalf("after %d of %d tokens, %d may follow %q", n, budget, len(ids), out)
		}
		id := ids[rng.IntN(len(ids))]
		out = append(out, list[id]...)
		whole, err := s.Accept(id, list[id])
		if err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if whole {
			return string(out)
		}
	}
}

func must(t testing.TB, g *Grammar, err error) *Grammar {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func automaton(t testing.TB, g *Grammar, err error) (*Automaton, [][]byte) {
	t.Helper()
	list, v := words()
	a, err2 := New(must(t, g, err), v)
	if err2 != nil {
		t.Fatal(err2)
	}
	return a, list
}

func TestSamplesAreWhole(t *testing.T) {
	for _, schema := range []string{
		`{"type":"object"}`,
		`{}`,
		`{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":130}},"required":["name","age"],"additionalProperties":false}`,
		`{"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{"value":{"type":"number"},"children":{"type":"array","items":{"$ref":"#/$defs/node"}}},"required":["value","children"]}}}`,
		`{"type":"array","items":{"enum":["a",1,null,{"x":[]}]},"minItems":2,"maxItems":5}`,
		`{"type":"string","pattern":"^[a-c]{2,4}水?$"}`,
		`{"type":"string","minLength":3,"maxLength":40}`,
		`{"type":"array","prefixItems":[{"type":"string"},{"type":"boolean"}],"items":false}`,
	} {
		g, err := JSONSchema([]byte(schema))
		a, list := automaton(t, g, err)
		for i := range 200 {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			text := sample(t, a, list, a.Least()+rng.IntN(40), rng)
			var v any
			if !utf8.ValidString(text) || json.Unmarshal([]byte(text), &v) != nil {
				t.Fatalf("%s: %q", schema, text)
			}
		}
	}
}

// TestMasksAreWhatTheGrammarSays compares the masks, found by state and by exit, with steps along every token alone.
func TestMasksAreWhatTheGrammarSays(t *testing.T) {
	schema := `{"type":"object","properties":{"name":{"type":"string","maxLength":9},"n":{"type":"array","items":{"$ref":"#"},"maxItems":3},"p":{"type":"string","pattern":"^(ab|a水)+$"}},"additionalProperties":{"type":"integer"}}`
	g, err := JSONSchema([]byte(schema))
	a, list := automaton(t, g, err)
	rapid.Check(t, func(rt *rapid.T) {
		budget := rapid.IntRange(a.Least(), 120).Draw(rt, "budget")
		s := a.Begin(budget)
		for {
			may := s.Allowed()
			roomy := s.left-1 >= int(a.masks(s.at).most)
			var ids []int32
			for id, text := range list {
				c := s.at
				for _, b := range text {
					c = a.step(c, b)
				}
				fits := c != dead && len(text) > 0
				got := may.Bits[id>>6]>>(id&63)&1 != 0
				if got && !fits || roomy && fits && !got {
					rt.Fatalf("token %q: allowed %v, fits %v", text, got, fits)
				}
				if roomy && fits && int(c.need) > s.left-1 {
					rt.Fatalf("token %q leads to a need of %d with %d left", text, c.need, s.left-1)
				}
				if got {
					ids = append(ids, int32(id))
				}
			}
			if len(ids) == 0 {
				if !may.End {
					rt.Fatal("nothing may come")
				}
				return
			}
			id := ids[rapid.IntRange(0, len(ids)-1).Draw(rt, "token")]
			if whole, err := s.Accept(id, list[id]); err != nil {
				rt.Fatal(err)
			} else if whole {
				return
			}
		}
	})
}

func TestTheShortestFits(t *testing.T) {
	g, err := JSONSchema([]byte(`{"type":"object","properties":{"name":{"type":"string"},"n":{"type":"integer"}},"required":["name","n"]}`))
	a, list := automaton(t, g, err)
	if a.Least() < 3 || a.Least() > len(`{"name":"","n":0}`) {
		t.Fatalf("least %d", a.Least())
	}
	if got := sample(t, a, list, a.Least(), rand.New(rand.NewPCG(1, 1))); !strings.Contains(got, `""`) || len(got) > 20 || !json.Valid([]byte(got)) {
		t.Errorf("with the least room: %q", got)
	}
	err = a.Fits(a.Least() - 1)
	if f := fault.As(err); err == nil || f.Kind != fault.Invalid || f.Field != "max_tokens" || !strings.Contains(f.Fix, fmt.Sprint(a.Least())) {
		t.Errorf("too little room: %v", err)
	}
}

func TestRules(t *testing.T) {
	a, list := automatonOf(t, "root ::= \"yes\" | \"no \" reason # why\nreason ::= [a-c^]{1,3} (\".\" | \"!\")?\n  | nested\nnested ::= \"(\" nested? \")\"")
	for i := range 300 {
		rng := rand.New(rand.NewPCG(uint64(i), 2))
		text := sample(t, a, list, a.Least()+rng.IntN(20), rng)
		if text != "yes" && !strings.HasPrefix(text, "no ") {
			t.Fatalf("%q", text)
		}
	}
	for src, want := range map[string]string{
		"root ::= root \"a\"":               "begins with itself",
		"root ::= a\na ::= \"\" b\nb ::= a": "begins with itself",
		"root ::= x":                        "does not define",
		"a ::= \"b\"":                       "named root",
		"root ::= \"a":                      "not closed",
		"root ::= [z-a]":                    "before it begins",
		"root ::= (\"a\"":                   "not closed",
		"root ::= \"a\"{3,1}":               "no repetition",
		"root ::= \"(\" root \")\"":         "No document",
		"root ::= (\"a\"?){2,5}":            "may be empty",
		"root ::= \"a\" )":                  "not expected",
		"root ::= \\x":                      "not expected",
	} {
		if _, err := Parse(src); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", src, err)
		}
	}
}

func automatonOf(t testing.TB, src string) (*Automaton, [][]byte) {
	g, err := Parse(src)
	return automaton(t, g, err)
}

func TestRefusals(t *testing.T) {
	for schema, want := range map[string]string{
		`{"type":"string","format":"color"}`:                                 "format at the root",
		`{"properties":{"a":{"not":{}}}}`:                                    "not at #/properties/a",
		`{"oneOf":[{"type":"string"},{"type":"string","maxLength":3}]}`:      "oneOf at the root",
		`{"$ref":"other.json"}`:                                              "$ref",
		`{"$ref":"#/$defs/a"}`:                                               "is not there",
		`{"type":"array","uniqueItems":true}`:                                "uniqueItems",
		`{"type":"strange"}`:                                                 "is not a type",
		`{"type":"string","pattern":"(?=a)"}`:                                "pattern",
		`{"type":"string","pattern":"\\bword"}`:                              "pattern",
		`{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}`: "No document",
		`{"allOf":[{"type":"string"},{"type":"null"}]}`:                      "No document",
		`{"anyOf":[{"$ref":"#"},{"type":"null"}]}`:                           "refers to itself",
		`[]`:                                 "must be an object",
		`{"type":"number","multipleOf":0.1}`: "multipleOf",
		`{"minProperties":3}`:                "minProperties",
		`{"if":{}}`:                          "if at the root",
		strings.Repeat(`{"items":`, 200) + `{}` + strings.Repeat(`}`, 200):              "nested",
		`{"type":"array","minItems":1000000000,"items":{"type":"string","enum":["a"]}}`: "No document",
	} {
		_, err := JSONSchema([]byte(schema))
		if err == nil || !strings.Contains(err.Error(), want) || fault.KindOf(err) != fault.Invalid {
			t.Errorf("%.80s: %v", schema, err)
		}
	}
}

func TestNumbersWithinBounds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		low, high := rapid.IntRange(-3000, 3000).Draw(rt, "low"), rapid.IntRange(-3000, 3000).Draw(rt, "high")
		if low > high {
			low, high = high, low
		}
		var l limits
		rat := func(n int) *value { return &value{kind: '0', text: fmt.Sprint(n)} }
		l.raise(rat(low).number(), false)
		l.lower(rat(high).number(), false)
		d, err := compileRegex(l.integers(), true)
		if err != nil {
			rt.Fatal(err)
		}
		for range 50 {
			n := rapid.IntRange(-3100, 3100).Draw(rt, "n")
			if got := d.matches(fmt.Sprint(n)); got != (low <= n && n <= high) {
				rt.Fatalf("%d in %d to %d: %v (%s)", n, low, high, got, l.integers())
			}
		}
		// The same with two decimals, and bounds left out.
		l = limits{}
		cents := func(n int) string { return (&value{kind: '0', text: fmt.Sprintf("%de-2", n)}).number().FloatString(2) }
		a, b := rapid.Bool().Draw(rt, "low excluded"), rapid.Bool().Draw(rt, "high excluded")
		l.raise((&value{kind: '0', text: cents(low)}).number(), a)
		l.lower((&value{kind: '0', text: cents(high)}).number(), b)
		expr := l.decimals()
		if expr == "" {
			return
		}
		if d, err = compileRegex(expr, true); err != nil {
			rt.Fatal(err)
		}
		for range 50 {
			n := rapid.IntRange(-3100, 3100).Draw(rt, "n")
			want := (n > low || n == low && !a) && (n < high || n == high && !b)
			if got := d.matches(cents(n)); got != want && cents(n) != "-0.00" {
				rt.Fatalf("%s in %s (%v) to %s (%v): %v", cents(n), cents(low), a, cents(high), b, got)
			}
		}
	})
}

func TestFewestTokens(t *testing.T) {
	list, v := words()
	for text, want := range map[string]int{`{"name":`: 3, "abcab": 2, "水": 1, "": 0} {
		tokens, ok := v.fewest([]byte(text))
		var back bytes.Buffer
		for _, id := range tokens {
			back.Write(list[id])
		}
		if !ok || len(tokens) != want || back.String() != text {
			t.Errorf("%q: %d tokens, %q", text, len(tokens), back.String())
		}
	}
}

func FuzzSchemas(f *testing.F) {
	f.Add([]byte(`{"anyOf":[{"type":["string","null"],"pattern":"a+b"},{"$ref":"#/$defs/x"}],"$defs":{"x":{"type":"array","items":{"$ref":"#"},"maxItems":2}}}`), uint64(1))
	list, v := words()
	f.Fuzz(func(t *testing.T, src []byte, seed uint64) {
		g, err := JSONSchema(src)
		if err != nil {
			return
		}
		a, err := New(g, v)
		if err != nil || a.Least() > 300 {
			return
		}
		rng := rand.New(rand.NewPCG(seed, 1))
		if text := sample(t, a, list, a.Least()+int(seed%50), rng); !json.Valid([]byte(text)) || !utf8.ValidString(text) {
			t.Fatalf("%q", text)
		}
	})
}

func FuzzRules(f *testing.F) {
	f.Add("root ::= \"a\" [b-d]{2,3} (x | .)*\nx ::= \"y\"?", uint64(1))
	list, v := words()
	f.Fuzz(func(t *testing.T, src string, seed uint64) {
		g, err := Parse(src)
		if err != nil {
			return
		}
		a, err := New(g, v)
		if err != nil || a.Least() > 300 {
			return
		}
		sample(t, a, list, a.Least()+int(seed%50), rand.New(rand.NewPCG(seed, 1)))
	})
}

func TestCacheMakesOnceAndForgetsTheOldest(t *testing.T) {
	_, v := words()
	c := NewCache(v)
	made := 0
	get := func(pattern string) error {
		_, fresh, err := c.Get("regex", pattern, func() (*Grammar, error) { return Regex(pattern) })
		if fresh {
			made++
		}
		return err
	}
	for i := range keepAutomata + 1 {
		if err := get(fmt.Sprintf("a{%d}", i+1)); err != nil {
			t.Fatal(err)
		}
		if err := get("a{1}"); err != nil { // stays, being used
			t.Fatal(err)
		}
	}
	if made != keepAutomata+1 || len(c.byName) != keepAutomata {
		t.Errorf("%d made, %d kept", made, len(c.byName))
	}
	if err := get("(?=a)"); err == nil {
		t.Error("an expression that is not supported was compiled")
	}
	if err := get("a{2}"); err != nil || made != keepAutomata+3 {
		t.Errorf("the oldest was not made anew: %d made, %v", made, err)
	}
}

func TestCalls(t *testing.T) {
	hermes := CallForm{Open: "<tool_call>\n", Close: "\n</tool_call>", Between: "\n", Key: "arguments", Mark: "<tool_call>"}
	bare := CallForm{Between: "; ", Key: "parameters"}
	tools := []Tool{{Name: "add", Schema: []byte(`{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}`)},
		{Name: "say", Schema: []byte(`{"properties":{"text":{"type":"string"}},"not":{}}`)}, {Name: "stop"}}
	for _, c := range []struct {
		form        CallForm
		least, most int
	}{{hermes, 1, 1}, {hermes, 1, -1}, {hermes, 0, -1}, {bare, 1, 2}, {bare, 0, -1}} {
		g, err := Calls(c.form, tools, c.least, c.most)
		a, list := automaton(t, g, err)
		called := 0
		for i := range 200 {
			rng := rand.New(rand.NewPCG(uint64(i), 5))
			text := sample(t, a, list, max(a.Least(), 60)+rng.IntN(60), rng)
			head, rest, ok := strings.Cut(text, c.form.Open+`{"name": `)
			if !ok || c.form.Mark == "" && head != "" {
				if c.least > 0 {
					t.Fatalf("no call in %q", text)
				}
				continue
			}
			called++
			if c.least > 0 && head != "" {
				t.Fatalf("text before a call that is demanded: %q", text)
			}
			if c.form.Mark != "" && !strings.HasSuffix(rest, c.form.Close) {
				t.Fatalf("a call is not closed: %q", text)
			}
			var first struct {
				Name                  string
				Arguments, Parameters map[string]any
			}
			if err := json.NewDecoder(strings.NewReader(`{"name": ` + rest)).Decode(&first); err != nil || first.Arguments == nil && first.Parameters == nil {
				t.Fatalf("%q: %v", text, err)
			}
		}
		if c.least > 0 && called != 200 {
			t.Errorf("%+v: %d of 200 have calls", c, called)
		}
	}
	tools[1].Strict = true
	if _, err := Calls(hermes, tools, 1, 1); err == nil || !strings.Contains(err.Error(), "not at") {
		t.Errorf("a strict schema that is not supported: %v", err)
	}
	if d := without("<aab>"); d.matches("x<aab>") || !d.matches("x<aa<aab<aaab>") || d.matches("<<aab> ") {
		t.Error("texts without a mark are not told from those with it")
	}
}

// TestAgainstAnAdversary always takes the token after which the end is furthest: documents end in time all the same.
func TestAgainstAnAdversary(t *testing.T) {
	for _, schema := range []string{`{}`, `{"type":"array","items":{"$ref":"#"},"minItems":2}`,
		`{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"array","minItems":3,"items":{"type":"object","properties":{"long name of it":{"type":"integer"},"c":{"$ref":"#"}},"required":["long name of it"]}}},"required":["a"]}`,
		`{"anyOf":[{"type":"null"},{"type":"array","items":{"$ref":"#"},"minItems":5,"maxItems":9}]}`} {
		g, err := JSONSchema([]byte(schema))
		if strings.Contains(schema, `"minItems":2`) { // each of its items would need two more
			if err == nil {
				t.Error("a schema without finite documents was compiled")
			}
			continue
		}
		a, list := automaton(t, g, err)
		for budget := a.Least(); budget < a.Least()+60; budget++ {
			s := a.Begin(budget)
			var out []byte
			for n := 0; ; n++ {
				may, worst, need := s.Allowed(), -1, int32(-1)
				for id, text := range list {
					if may.Bits[id>>6]>>(id&63)&1 == 0 {
						continue
					}
					c := s.at
					for _, b := range text {
						c = a.step(c, b)
					}
					if c.need > need {
						worst, need = id, c.need
					}
				}
				if worst < 0 || n == budget {
					t.Fatalf("budget %d: nothing may come after %q", budget, out)
				}
				out = append(out, list[worst]...)
				if whole, err := s.Accept(int32(worst), list[worst]); err != nil {
					t.Fatal(err)
				} else if whole {
					break
				}
			}
			if !json.Valid(out) {
				t.Fatalf("budget %d: %q", budget, out)
			}
		}
	}
}
