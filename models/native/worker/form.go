package worker

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native/grammar"
)

// form is what an answer must be, as a request asks for it in one of several ways.
type form struct {
	field  string // of the request
	kind   string // json, object, regex, choice or grammar
	source string
}

// forms are the fields beside response_format that ask for a form, in the spelling of other engines.
var forms = []struct{ field, kind string }{
	{"guided_json", "json"}, {"guided_regex", "regex"}, {"guided_choice", "choice"}, {"guided_grammar", "grammar"}, {"grammar", "grammar"},
}

// form reads what the answer must be, the zero value for any text. The second one asked for is refused.
func (f *fields) form() form {
	var asked []form
	if r, ok := f.responseFormat(); ok {
		asked = append(asked, r)
	}
	for _, g := range forms {
		if f.has(g.field) {
			asked = append(asked, f.formOf(g.field, g.kind, f.raw[g.field]))
		}
	}
	if inner, ok := into[map[string]json.RawMessage](f, "structured_outputs", "an object"); ok {
		for _, kind := range []string{"json", "regex", "choice", "grammar"} {
			if present(inner[kind]) {
				asked = append(asked, f.formOf("structured_outputs."+kind, kind, inner[kind]))
			}
		}
		if string(inner["json_object"]) == "true" {
			asked = append(asked, form{field: "structured_outputs.json_object", kind: "object"})
		}
	}
	switch len(asked) {
	case 0:
		return form{}
	case 1:
		return asked[0]
	}
	f.fail(fault.InvalidField(asked[1].field, "%s and %s ask for a form of the answer; only one may.", asked[0].field, asked[1].field))
	return form{}
}

func (f *fields) responseFormat() (form, bool) {
	const name = "response_format"
	given, ok := into[struct {
		Type   string
		Schema *struct {
			Schema json.RawMessage
		} `json:"json_schema"`
	}](f, name, "an object with a type")
	if !ok {
		return form{}, false
	}
	switch given.Type {
	case "text":
		return form{}, false
	case "json_object":
		return form{field: name, kind: "object"}, true
	case "json_schema":
		if given.Schema == nil || !present(given.Schema.Schema) {
			f.fail(fault.InvalidField(name+".json_schema.schema", "The schema is missing."))
			return form{}, false
		}
		return f.formOf(name+".json_schema.schema", "json", given.Schema.Schema), true
	}
	f.fail(fault.New(fault.Invalid, "This engine does not support this value of "+name+".", fault.Field(name), fault.Code(codeValue),
		fault.Fix(`Use the type "text", "json_object" or "json_schema".`)))
	return form{}, false
}

// formOf reads the source of a form: a schema is JSON, or JSON in a string.
func (f *fields) formOf(field, kind string, raw json.RawMessage) form {
	out := form{field: field, kind: kind}
	switch {
	case kind == "choice":
		out.source = string(raw)
	case kind == "json" && raw[0] != '"':
		var compact bytes.Buffer
		_ = json.Compact(&compact, raw) // it is valid: it was parsed
		out.source = compact.String()
	default:
		if json.Unmarshal(raw, &out.source) != nil || out.source == "" {
			f.fail(fault.InvalidField(field, "%s must be a string that is not empty.", field))
		}
	}
	return out
}

func (o form) grammar() (*grammar.Grammar, error) {
	switch o.kind {
	case "json":
		return grammar.JSONSchema([]byte(o.source))
	case "object":
		return grammar.JSONObject()
	case "regex":
		return grammar.Regex(o.source)
	case "grammar":
		return grammar.Parse(o.source)
	}
	var texts []string
	if json.Unmarshal([]byte(o.source), &texts) != nil || len(texts) == 0 || len(texts) > 4096 || strings.Contains(o.source, "null") && !noNull(json.RawMessage(o.source)) {
		return nil, fault.Newf(fault.Invalid, "It must be an array of 1 to 4096 strings.")
	}
	return grammar.Choice(texts)
}

// compile makes the automaton of a form, or finds it; nil for any text.
func (s *server) compile(m *served, o form) (*grammar.Automaton, error) {
	if o.kind == "" {
		return nil, nil
	}
	return s.automaton(m, o.field, o.kind, o.source, o.grammar)
}

// automaton compiles once for each source, and times it. field is named in faults.
func (s *server) automaton(m *served, field, kind, source string, compile func() (*grammar.Grammar, error)) (*grammar.Automaton, error) {
	start := s.now()
	a, made, err := m.forms.Get(kind, source, compile)
	if made {
		s.compiled.observe(max(s.now().Sub(start), time.Nanosecond))
	}
	if err != nil {
		e := *fault.As(err)
		if e.Field == "" {
			e.Field = field
		}
		return nil, &e
	}
	return a, nil
}
