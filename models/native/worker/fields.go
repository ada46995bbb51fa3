package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native/decode"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
)

// Codes of what the OpenAI interface has and this engine has not.
const (
	codeParameter = "unsupported_parameter"
	codeValue     = "unsupported_value"
)

// fields is a JSON object being read field by field. The first thing wrong stays in err, with the field as its
// param; fields nobody asks for are ignored, and null counts as absent.
type fields struct {
	raw map[string]json.RawMessage
	err error
}

func (f *fields) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

func (f *fields) has(name string) bool { return present(f.raw[name]) }

func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// into reads a field of a Go type that JSON decodes to strictly; what says it in words.
func into[T any](f *fields, name, what string) (v T, ok bool) {
	if !f.has(name) {
		return v, false
	}
	if json.Unmarshal(f.raw[name], &v) != nil {
		f.fail(fault.InvalidField(name, "%s must be %s.", name, what))
		return v, false
	}
	return v, true
}

func (f *fields) flag(name string) bool {
	v, _ := into[bool](f, name, "true or false")
	return v
}

func (f *fields) text(name string) string {
	v, _ := into[string](f, name, "a string")
	return v
}

// number reads a number within a range, or gives def.
func (f *fields) number(name string, def, least, most float64) float64 {
	v, ok := into[float64](f, name, "a number")
	if !ok {
		return def
	}
	if !(v >= least && v <= most) {
		f.fail(fault.InvalidField(name, "%s is %v, it must be %v to %v.", name, v, least, most))
	}
	return v
}

// integer reads a whole number within a range, or gives def.
func (f *fields) integer(name string, def, least, most int) int {
	v, ok := into[int](f, name, "a whole number")
	if !ok {
		return def
	}
	if v < least || v > most {
		f.fail(fault.InvalidField(name, "%s is %d, it must be %d to %d.", name, v, least, most))
	}
	return v
}

// stops reads stop: a string or up to four.
func (f *fields) stops() []string {
	if !f.has("stop") {
		return nil
	}
	var list []string
	if f.raw["stop"][0] == '"' {
		list = []string{f.text("stop")}
	} else {
		list, _ = into[[]string](f, "stop", "a string or an array of strings")
	}
	if len(list) > 4 {
		f.fail(fault.InvalidField("stop", "stop has %d strings, at most 4 are allowed.", len(list)))
	}
	for _, s := range list {
		if s == "" {
			f.fail(fault.InvalidField("stop", "A stop string is empty."))
		}
	}
	return list
}

// bias reads logit_bias: token ids, written as strings, to numbers.
func (f *fields) bias() map[int32]float64 {
	const name = "logit_bias"
	given, _ := into[map[string]float64](f, name, "an object of token ids and numbers")
	if len(given) == 0 {
		return nil
	}
	out := make(map[int32]float64, len(given))
	for k, v := range given {
		id, err := strconv.ParseInt(k, 10, 32)
		if err != nil {
			f.fail(fault.InvalidField(name, "%.40q is not a token id.", k))
			return nil
		}
		out[int32(id)] = v
	}
	return out
}

// unsupported refuses the named fields when they ask for something: not when null, false or empty.
func (f *fields) unsupported(names ...string) {
	for _, name := range names {
		switch string(bytes.TrimSpace(f.raw[name])) {
		case "", "null", "false", "[]", "{}", `""`:
		default:
			f.fail(fault.New(fault.Invalid, "This engine does not support "+name+".", fault.Field(name), fault.Code(codeParameter),
				fault.Fix("Leave it out, or use a model served by another engine.")))
		}
	}
}

// only refuses values of a field other than those that mean plain text.
func (f *fields) only(name string, allowed ...string) {
	if !f.has(name) {
		return
	}
	var compact bytes.Buffer
	_ = json.Compact(&compact, f.raw[name]) // it is valid: it was parsed
	for _, a := range allowed {
		if compact.String() == a {
			return
		}
	}
	f.fail(fault.New(fault.Invalid, "This engine does not support this value of "+name+".", fault.Field(name), fault.Code(codeValue),
		fault.Fix("Use %s.", strings.Join(allowed, " or "))))
}

// messages reads the conversation.
func (f *fields) messages() []tokenizer.Turn {
	const name = "messages"
	if !f.has(name) {
		f.fail(fault.InvalidField(name, "messages is missing."))
		return nil
	}
	given, ok := into[[]json.RawMessage](f, name, "an array of messages")
	if ok && len(given) == 0 {
		f.fail(fault.InvalidField(name, "messages is empty."))
	}
	out := make([]tokenizer.Turn, 0, len(given))
	for i, raw := range given {
		at := name + "[" + strconv.Itoa(i) + "]"
		var m map[string]json.RawMessage
		if json.Unmarshal(raw, &m) != nil || m == nil {
			f.fail(fault.InvalidField(at, "%s must be an object with role and content.", at))
			return nil
		}
		if present(m["function_call"]) {
			f.fail(fault.New(fault.Invalid, "This engine knows calls as tool_calls alone.", fault.Field(at+".function_call"), fault.Code(codeParameter)))
		}
		role := f.role(at+".role", m["role"])
		out = append(out, tokenizer.Turn{Message: tokenizer.Message{Role: role, Content: f.content(at+".content", m["content"], role)},
			Calls: f.calls(at+".tool_calls", m["tool_calls"], role)})
	}
	return out
}

// calls reads the calls of an assistant's message.
func (f *fields) calls(at string, raw json.RawMessage, role string) []tokenizer.Call {
	if !present(raw) || string(raw) == "[]" {
		return nil
	}
	var list []struct {
		Function *struct{ Name, Arguments string }
	}
	if json.Unmarshal(raw, &list) != nil || role != "assistant" {
		f.fail(fault.InvalidField(at, "%s must be an array of calls, in a message of an assistant.", at))
		return nil
	}
	var out []tokenizer.Call
	for i, c := range list {
		if c.Function == nil || c.Function.Name == "" {
			f.fail(fault.InvalidField(fmt.Sprintf("%s[%d].function", at, i), "A call needs a function with a name and arguments."))
			return nil
		}
		arguments := c.Function.Arguments
		if arguments == "" {
			arguments = "{}"
		}
		if !json.Valid([]byte(arguments)) {
			f.fail(fault.InvalidField(fmt.Sprintf("%s[%d].function.arguments", at, i), "The arguments of a call must be JSON."))
			return nil
		}
		out = append(out, tokenizer.Call{Name: c.Function.Name, Arguments: arguments})
	}
	return out
}

func (f *fields) role(at string, raw json.RawMessage) string {
	var role string
	if json.Unmarshal(raw, &role) != nil {
		f.fail(fault.InvalidField(at, "%s must be a string.", at))
		return ""
	}
	switch role {
	case "system", "user", "assistant", "tool":
		return role
	case "developer": // the newer word for system
		return "system"
	case "function":
		f.fail(fault.New(fault.Invalid, "This engine knows results of calls as messages of the role tool alone.", fault.Field(at), fault.Code(codeValue)))
	default:
		f.fail(fault.InvalidField(at, "%s is %.40q, it must be system, developer, user, assistant or tool.", at, role))
	}
	return ""
}

// content reads a string or an array of text parts, which are joined by newlines. An assistant's may be null.
func (f *fields) content(at string, raw json.RawMessage, role string) string {
	if !present(raw) && role == "assistant" {
		return ""
	}
	var text string
	if present(raw) && json.Unmarshal(raw, &text) == nil {
		return text
	}
	var parts []struct {
		Type json.RawMessage `json:"type"`
		Text *string         `json:"text"`
	}
	if !present(raw) || json.Unmarshal(raw, &parts) != nil {
		f.fail(fault.InvalidField(at, "%s must be a string or an array of parts.", at))
		return ""
	}
	texts := make([]string, 0, len(parts))
	for i, p := range parts {
		var kind string
		_ = json.Unmarshal(p.Type, &kind) // a wrong type is no known kind
		switch {
		case kind != "text":
			f.fail(fault.New(fault.Invalid, fmt.Sprintf("This model reads text parts only, not %.40q.", kind),
				fault.Field(fmt.Sprintf("%s[%d].type", at, i)), fault.Code(codeValue)))
		case p.Text == nil:
			f.fail(fault.InvalidField(fmt.Sprintf("%s[%d].text", at, i), "A text part needs its text."))
		default:
			texts = append(texts, *p.Text)
		}
	}
	return strings.Join(texts, "\n")
}

// word reads one of several words, or gives the first.
func (f *fields) word(name string, words ...string) string {
	if !f.has(name) {
		return words[0]
	}
	given := f.text(name)
	if !slices.Contains(words, given) {
		f.fail(fault.InvalidField(name, "%s is %.40q, it must be %s.", name, given, strings.Join(words, " or ")))
	}
	return given
}

// texts reads a prompt or input: a string, an array of strings, an array of token ids, or an array of such arrays.
func (f *fields) texts(name string, m *served) [][]int32 {
	const what = "a string, an array of strings, an array of token ids, or an array of those"
	if !f.has(name) {
		f.fail(fault.InvalidField(name, "%s is missing.", name))
		return nil
	}
	raw := f.raw[name]
	if raw[0] == '"' {
		text := f.text(name)
		return [][]int32{f.encode(m, name, text)}
	}
	var ids []int32
	if json.Unmarshal(raw, &ids) == nil && len(ids) > 0 && noNull(raw) {
		return [][]int32{ids}
	}
	var lists [][]int32
	if json.Unmarshal(raw, &lists) == nil && len(lists) > 0 && noNull(raw) {
		return lists
	}
	texts, ok := into[[]string](f, name, what)
	if ok && (len(texts) == 0 || !noNull(raw)) {
		f.fail(fault.InvalidField(name, "%s must be %s.", name, what))
	}
	if f.err != nil {
		return nil
	}
	if len(texts) > decode.MaxInputs {
		f.fail(fault.InvalidField(name, "%s has %d texts, at most %d are allowed.", name, len(texts), decode.MaxInputs))
		return nil
	}
	out := make([][]int32, 0, len(texts))
	for _, t := range texts {
		out = append(out, f.encode(m, name, t))
	}
	return out
}

// noNull says whether a list holds no null, which Go would read as a zero value. Strings may spell it: then the list
// is looked at item by item.
func noNull(raw json.RawMessage) bool {
	if !bytes.Contains(raw, []byte("null")) {
		return true
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return true
	}
	for _, item := range items {
		if string(item) == "null" || (item[0] == '[' && !noNull(item)) {
			return false
		}
	}
	return true
}

// encode gives the ids of a prompt or input that is text.
func (f *fields) encode(m *served, name, text string) []int32 {
	if err := m.fits(name, len(text)); err != nil {
		f.fail(err)
		return nil
	}
	var ids []int32
	if m.bos >= 0 {
		ids = append(ids, m.bos)
	}
	return append(ids, m.tok.Encode(text)...)
}
