package worker

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native/grammar"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
)

const (
	maxTools    = 128
	maxToolName = 128
)

// tools is what a request says of functions.
type tools struct {
	list     []grammar.Tool
	raw      []json.RawMessage // as they are shown to the model
	choice   string            // none, auto or required
	named    string            // the one that must be called
	parallel bool              // several calls at once are welcome
}

// shown is the definitions the model is told of.
func (t *tools) shown() []json.RawMessage {
	if t.choice == "none" {
		return nil
	}
	return t.raw
}

// tools reads tools, tool_choice and parallel_tool_calls.
func (f *fields) tools() *tools {
	t := &tools{choice: "none", parallel: true}
	given, _ := into[[]json.RawMessage](f, "tools", "an array of tools")
	if len(given) > maxTools {
		f.fail(fault.InvalidField("tools", "There are %d tools, at most %d are allowed.", len(given), maxTools))
		return t
	}
	seen := map[string]bool{}
	for i, raw := range given {
		at := "tools[" + strconv.Itoa(i) + "]"
		tool, ok := f.tool(at, raw)
		if !ok {
			return t
		}
		if seen[tool.Name] {
			f.fail(fault.InvalidField(at+".function.name", "The tool %q is there twice.", tool.Name))
		}
		seen[tool.Name] = true
		t.list, t.raw, t.choice = append(t.list, tool), append(t.raw, raw), "auto"
	}
	if f.has("parallel_tool_calls") {
		t.parallel = f.flag("parallel_tool_calls")
	}
	f.toolChoice(t, seen)
	return t
}

func (f *fields) tool(at string, raw json.RawMessage) (grammar.Tool, bool) {
	var d struct {
		Type     string
		Function *struct {
			Name       string
			Parameters json.RawMessage
			Strict     *bool
		}
	}
	if json.Unmarshal(raw, &d) != nil || d.Function == nil {
		f.fail(fault.InvalidField(at, "%s must be an object with the type function and a function with a name.", at))
		return grammar.Tool{}, false
	}
	if d.Type != "function" {
		f.fail(fault.New(fault.Invalid, "This engine knows tools of the type function alone.", fault.Field(at+".type"), fault.Code(codeValue)))
		return grammar.Tool{}, false
	}
	name := d.Function.Name
	if name == "" || len(name) > maxToolName || strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.:", r))
	}) {
		f.fail(fault.InvalidField(at+".function.name", "A tool's name has 1 to %d letters, digits, _, -, . and :.", maxToolName))
		return grammar.Tool{}, false
	}
	tool := grammar.Tool{Name: name, Strict: d.Function.Strict != nil && *d.Function.Strict}
	if present(d.Function.Parameters) {
		tool.Schema = d.Function.Parameters
	}
	return tool, true
}

func (f *fields) toolChoice(t *tools, known map[string]bool) {
	const name = "tool_choice"
	if !f.has(name) {
		return
	}
	if f.raw[name][0] == '"' {
		word := f.word(name, "auto", "none", "required")
		if word == "required" && len(t.list) == 0 {
			f.fail(fault.InvalidField(name, "tool_choice is required, and there are no tools."))
		}
		if len(t.list) > 0 {
			t.choice = word
		}
		return
	}
	var one struct {
		Type     string
		Function struct{ Name string }
	}
	if json.Unmarshal(f.raw[name], &one) != nil || one.Type != "function" {
		f.fail(fault.New(fault.Invalid, "This engine does not support this value of tool_choice.", fault.Field(name), fault.Code(codeValue),
			fault.Fix(`Use "none", "auto", "required" or {"type":"function","function":{"name":...}}.`)))
		return
	}
	if !known[one.Function.Name] {
		f.fail(fault.InvalidField(name, "tool_choice names %.60q, which is not among the tools.", one.Function.Name))
		return
	}
	t.choice, t.named = "required", one.Function.Name
}

// callForms are the forms of calls in the two styles.
var callForms = map[tokenizer.CallStyle]grammar.CallForm{
	tokenizer.TaggedCalls: {Open: tokenizer.CallOpen + "\n", Close: "\n" + tokenizer.CallClose, Between: "\n", Key: "arguments", Mark: tokenizer.CallOpen},
	tokenizer.BareCalls:   {Between: "; ", Key: "parameters"},
}

// compileCalls makes the automaton of an answer that may or must call tools. With stops and no demand there is none: a
// stop cuts a text as it always does.
func (s *server) compileCalls(m *served, c *call, t *tools, want form) (*grammar.Automaton, error) {
	least, most := 0, -1
	switch {
	case t.choice == "required":
		least = 1
	case len(c.Stop) > 0 || len(c.StopIDs) > 0:
		if want.kind == "" {
			return nil, nil
		}
	}
	if t.named != "" || !t.parallel {
		most = 1
	}
	list := t.list
	if t.named != "" {
		for _, tool := range t.list {
			if tool.Name == t.named {
				list = []grammar.Tool{tool}
			}
		}
	}
	call := callForms[m.chat.CallStyle()]
	if least == 0 {
		switch want.kind {
		case "json":
			call.Instead = []byte(want.source)
		case "object":
			call.Instead = []byte(`{"type":"object"}`)
		case "":
		default:
			return nil, fault.InvalidField(want.field, "%s cannot be asked for beside tools; a JSON schema can.", want.field)
		}
	}
	source, err := json.Marshal([]any{list, least, most, call})
	if err != nil {
		return nil, fault.Wrap(err, "naming the tools")
	}
	return s.automaton(m, "tools", "calls", string(source), func() (*grammar.Grammar, error) { return grammar.Calls(call, list, least, most) })
}

// toolCall is a call found in an answer.
type toolCall struct {
	id, name  string
	arguments []byte // JSON
}

// callReader takes calls out of the text of one choice as it comes.
type callReader struct {
	style  tokenizer.CallStyle
	known  func(name string) bool
	newID  func() string
	held   []byte // not decided yet
	inside bool   // of a call
	begun  bool   // something but white space has come
	count  int    // calls so far
}

func (s *server) newCallReader(m *served, t *tools) *callReader {
	return &callReader{style: m.chat.CallStyle(), newID: func() string { return "call_" + s.ids.Raw().String() },
		known: func(name string) bool {
			for _, tool := range t.list {
				if tool.Name == name {
					return true
				}
			}
			return false
		}}
}

// push takes text in and gives what is certainly content, and the calls that are complete.
func (r *callReader) push(text []byte) (content []byte, calls []toolCall) {
	r.held = append(r.held, text...)
	if r.style == tokenizer.BareCalls {
		return r.pushBare(), nil
	}
	for {
		if !r.inside {
			before, after, found := bytes.Cut(r.held, []byte(tokenizer.CallOpen))
			if !found {
				keep := undecided(r.held, r.count > 0 && !r.begun)
				free := r.afterCall(r.held[:len(r.held)-keep])
				content = append(content, free...)
				r.begun = r.begun || len(free) > 0
				r.held = r.held[:copy(r.held, r.held[len(r.held)-keep:])]
				return content, calls
			}
			content = append(content, bytes.TrimRight(r.afterCall(before), space)...)
			r.held, r.inside = append([]byte(nil), after...), true
		}
		body, after, found := bytes.Cut(r.held, []byte(tokenizer.CallClose))
		if !found {
			return content, calls
		}
		if call, ok := r.read(body); ok {
			calls = append(calls, call)
			after = bytes.TrimLeft(after, space)
			r.begun = false
		} else {
			content = append(append(append(content, tokenizer.CallOpen...), body...), tokenizer.CallClose...)
			r.begun = true
		}
		r.held, r.inside = append([]byte(nil), after...), false
	}
}

// space is the white space that is no content around calls.
const space = " \n\r\t"

// afterCall is text without the white space that parts it from the call before, if there is one.
func (r *callReader) afterCall(text []byte) []byte {
	if r.count > 0 && !r.begun {
		return bytes.TrimLeft(text, space)
	}
	return text
}

// undecided is how many bytes at the end of text may belong to the mark of a call or to the white space before it; between
// calls all white space does.
func undecided(text []byte, between bool) int {
	keep := 0
	for n := min(len(text), len(tokenizer.CallOpen)-1); n > 0; n-- {
		if strings.HasPrefix(tokenizer.CallOpen, string(text[len(text)-n:])) {
			keep = n
			break
		}
	}
	trimmed := len(bytes.TrimRight(text[:len(text)-keep], space))
	if between && trimmed == 0 {
		return len(text)
	}
	return len(text) - trimmed
}

// pushBare gives text that does not begin as a call does.
func (r *callReader) pushBare() []byte {
	if !r.begun {
		rest := bytes.TrimLeft(r.held, space)
		if len(rest) == 0 {
			return nil
		}
		r.begun, r.inside = true, rest[0] == '{'
	}
	if r.inside {
		return nil
	}
	content := append([]byte(nil), r.held...)
	r.held = r.held[:0]
	return content
}

// end gives what is left when the text is over.
func (r *callReader) end() (content []byte, calls []toolCall) {
	held := r.held
	r.held = nil
	switch {
	case !r.inside:
		if r.count > 0 && len(bytes.TrimSpace(held)) == 0 {
			return nil, nil
		}
		return held, nil
	case r.style == tokenizer.BareCalls:
		return r.endBare(held)
	}
	if call, ok := r.read(held); ok { // the model forgot to close it
		return nil, []toolCall{call}
	}
	return append([]byte(tokenizer.CallOpen), held...), nil
}

func (r *callReader) endBare(held []byte) (content []byte, calls []toolCall) {
	for rest := held; len(bytes.TrimLeft(rest, ";"+space)) > 0; {
		rest = bytes.TrimLeft(rest, ";"+space)
		dec := json.NewDecoder(bytes.NewReader(rest))
		var body json.RawMessage
		if dec.Decode(&body) != nil {
			r.count = 0
			return held, nil
		}
		call, ok := r.read(body)
		if !ok {
			r.count = 0
			return held, nil
		}
		calls, rest = append(calls, call), rest[dec.InputOffset():]
	}
	return nil, calls
}

// read takes a call's JSON apart.
func (r *callReader) read(body []byte) (toolCall, bool) {
	var d struct {
		Name                  string
		Arguments, Parameters json.RawMessage
	}
	if json.Unmarshal(body, &d) != nil || !r.known(d.Name) {
		return toolCall{}, false
	}
	raw := d.Arguments
	if raw == nil {
		raw = d.Parameters
	}
	var text string
	if len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &text) == nil { // written as a text of JSON
		raw = json.RawMessage(text)
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil || compact.Len() == 0 || compact.Bytes()[0] != '{' {
		return toolCall{}, false
	}
	r.count++
	return toolCall{id: r.newID(), name: d.Name, arguments: compact.Bytes()}, true
}

// appendCalls writes calls as the items of tool_calls; with from at least 0 they are numbered from there, as in a stream.
func appendCalls(b []byte, calls []toolCall, from int) []byte {
	for i, c := range calls {
		b = append(comma(b, i), '{')
		if from >= 0 {
			b = append(strconv.AppendInt(append(b, `"index":`...), int64(from+i), 10), ',')
		}
		b = appendString(append(b, `"id":`...), c.id)
		b = appendString(append(b, `,"type":"function","function":{"name":`...), c.name)
		b = append(appendString(append(b, `,"arguments":`...), c.arguments), "}}"...)
	}
	return b
}
