package tokenizer

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// Call is a call of a function by an assistant.
type Call struct {
	Name      string
	Arguments string // a JSON object
}

// Turn is a message with what tools add to it.
type Turn struct {
	Message        // of the role tool: what a call gave back
	Calls   []Call // of an assistant
}

// CallStyle is how calls are written in a chat form.
type CallStyle string

// The styles. Which one a form has follows from its special tokens: templates that know nothing of tools get that of the
// models that share those tokens.
const (
	TaggedCalls CallStyle = "tagged" // <tool_call> and JSON with arguments, as Hermes and Qwen have it
	BareCalls   CallStyle = "bare"   // JSON with parameters and nothing else, as Llama 3.1 has it
)

// The texts around tagged calls.
const (
	CallOpen  = "<tool_call>"
	CallClose = "</tool_call>"
)

// The words in which models of the two styles were taught their tools; each goes on with, or follows, the definitions.
const (
	taggedBefore = "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n" +
		"You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
	taggedAfter = "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n" +
		"<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>"
	bareBefore = "Given the following functions, please respond with a JSON for a function call with its proper arguments that best answers the given prompt.\n\n" +
		"Respond in the format {\"name\": function name, \"parameters\": dictionary of argument name and its value}. Do not use variables.\n\n"
)

// CallStyle is the style of the form; empty if the template is not known.
func (c *Chat) CallStyle() CallStyle {
	switch {
	case c.form == nil:
		return ""
	case c.form.sep != "":
		return BareCalls
	}
	return TaggedCalls
}

// Plain writes turns and the definitions of tools (JSON objects, none for no tools) as plain messages for Render: calls as
// the model writes them, results and definitions where the model was taught to find them.
func (c *Chat) Plain(turns []Turn, tools []json.RawMessage) []Message {
	if c.CallStyle() == BareCalls {
		return bareMessages(turns, tools)
	}
	return c.taggedMessages(turns, tools)
}

func (c *Chat) taggedMessages(turns []Turn, tools []json.RawMessage) []Message {
	var out []Message
	if len(tools) > 0 {
		system := ""
		if c.form != nil {
			system = c.form.system
		}
		if len(turns) > 0 && turns[0].Role == "system" {
			system, turns = turns[0].Content, turns[1:]
		}
		if system != "" {
			system += "\n\n"
		}
		out = append(out, Message{Role: "system", Content: system + c.taggedTools(tools)})
	}
	for i, t := range turns {
		m := t.Message
		if t.Role == "tool" {
			m = Message{Role: "user", Content: "<tool_response>\n" + t.Content + "\n</tool_response>"}
			if i > 0 && turns[i-1].Role == "tool" { // results that follow each other are one turn
				out[len(out)-1].Content += "\n" + m.Content
				continue
			}
		}
		for _, call := range t.Calls {
			if m.Content != "" {
				m.Content += "\n"
			}
			m.Content += CallOpen + "\n{\"name\": " + quoted(call.Name) + ", \"arguments\": " + spaced(json.RawMessage(call.Arguments), "") + "}\n" + CallClose
		}
		out = append(out, m)
	}
	return out
}

// taggedTools is what the model is told of its tools. Our own models were taught no words about them and have short
// contexts: they get the bare definitions.
func (c *Chat) taggedTools(tools []json.RawMessage) string {
	var b strings.Builder
	own := c.form == &forms[0]
	if own {
		b.WriteString("<tools>")
	} else {
		b.WriteString(taggedBefore)
	}
	for _, t := range tools {
		var d struct{ Function json.RawMessage }
		if own && json.Unmarshal(t, &d) == nil && len(d.Function) > 0 {
			t = d.Function
		}
		b.WriteString("\n" + spaced(t, ""))
	}
	if own {
		b.WriteString("\n</tools>")
	} else {
		b.WriteString(taggedAfter)
	}
	return b.String()
}

func bareMessages(turns []Turn, tools []json.RawMessage) []Message {
	var out []Message
	for _, t := range turns {
		m := t.Message
		if t.Role == "tool" {
			m.Role = "ipython"
		}
		for i, call := range t.Calls {
			if i > 0 {
				m.Content += "; "
			}
			m.Content += "{\"name\": " + quoted(call.Name) + ", \"parameters\": " + spaced(json.RawMessage(call.Arguments), "") + "}"
		}
		out = append(out, m)
	}
	if len(tools) == 0 {
		return out
	}
	var b strings.Builder
	b.WriteString(bareBefore)
	for _, t := range tools {
		b.WriteString(spaced(t, "    ") + "\n\n")
	}
	i := slices.IndexFunc(out, func(m Message) bool { return m.Role == "user" })
	if i < 0 { // before anything else is said
		i = 0
		if len(out) > 0 && out[0].Role == "system" {
			i = 1
		}
		out = slices.Insert(out, i, Message{Role: "user"})
	}
	out[i].Content = b.String() + out[i].Content
	return out
}

func quoted(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // strings always can be
	return strings.TrimSpace(b.String())
}

// spaced writes JSON as Python's json.dumps does: a blank behind colons and commas, or with an indent one member to a line.
// What is no JSON stays as it is.
func spaced(raw json.RawMessage, indent string) string {
	var b bytes.Buffer
	if indent != "" {
		if json.Indent(&b, raw, "", indent) != nil {
			return string(raw)
		}
		return b.String()
	}
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	var out strings.Builder
	text, escaped := false, false
	for _, c := range b.Bytes() {
		out.WriteByte(c)
		switch {
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
		case c == '"':
			text = !text
		case !text && (c == ':' || c == ','):
			out.WriteByte(' ')
		}
	}
	return out.String()
}
