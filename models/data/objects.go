package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// encoder makes the stored form of a record: compact JSON with a fixed order of fields, so that the same record
// always gives the same bytes.
type encoder struct {
	buf bytes.Buffer
	enc *json.Encoder
}

func (e *encoder) init() {
	e.enc = json.NewEncoder(&e.buf)
	e.enc.SetEscapeHTML(false)
}

// line encodes v without the line break; the bytes are valid until the next call.
func (e *encoder) line(v any) ([]byte, error) {
	e.buf.Reset()
	if err := e.enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(e.buf.Bytes(), []byte("\n")), nil
}

// nextDocument is the parser of plain text.
func (n *normaliser) nextDocument() ([]byte, error) {
	doc, err := n.doc.next()
	if err != nil {
		return nil, err
	}
	n.chars += int64(utf8.RuneCount(doc))
	return n.enc.line(Record{Text: string(doc)})
}

// nextObject is the parser of the formats with one JSON object a line. Blank lines are passed over.
func (n *normaliser) nextObject(format Format) func() ([]byte, error) {
	decode := decodeText
	if format == Chat {
		decode = decodeChat
	}
	return func() ([]byte, error) {
		line, err := n.lines.next()
		for err == nil && blank(line) {
			line, err = n.lines.next()
		}
		if err != nil {
			return nil, err
		}
		rec, reason := decode(line)
		if reason != "" {
			return nil, &badLine{n.lines.n, reason}
		}
		n.chars += rec.chars()
		return n.enc.line(rec)
	}
}

func (r Record) chars() int64 {
	n := utf8.RuneCountInString(r.Text)
	for _, m := range r.Messages {
		n += utf8.RuneCountInString(m.Content)
	}
	return int64(n)
}

func decodeText(line []byte) (Record, string) {
	var in struct {
		Text *string `json:"text"`
	}
	if reason := unmarshal(line, &in); reason != "" {
		return Record{}, reason
	}
	switch {
	case in.Text == nil:
		return Record{}, `it has no field "text"`
	case strings.TrimSpace(*in.Text) == "":
		return Record{}, `its "text" is empty`
	}
	return Record{Text: *in.Text}, ""
}

func decodeChat(line []byte) (Record, string) {
	var in struct {
		Messages []struct {
			Role    string  `json:"role"`
			Content *string `json:"content"`
		} `json:"messages"`
	}
	if reason := unmarshal(line, &in); reason != "" {
		return Record{}, reason
	}
	if len(in.Messages) == 0 {
		return Record{}, `it has no "messages"`
	}
	if len(in.Messages) > maxMessages {
		return Record{}, "it has too many messages"
	}
	r := Record{Messages: make([]Message, len(in.Messages))}
	answered := false
	for i, m := range in.Messages {
		switch {
		case m.Role != "system" && m.Role != "user" && m.Role != "assistant":
			return Record{}, "a message's role is not system, user or assistant"
		case m.Role == "system" && i > 0:
			return Record{}, "a system message is not the first message"
		case m.Content == nil:
			return Record{}, `a message has no "content"`
		}
		answered = answered || m.Role == "assistant" && strings.TrimSpace(*m.Content) != ""
		r.Messages[i] = Message{Role: m.Role, Content: *m.Content}
	}
	if !answered {
		return Record{}, "no assistant message has content"
	}
	return r, ""
}

// unmarshal decodes one JSON object and says in words what is wrong with it.
func unmarshal(line []byte, into any) string {
	if trimmed := bytes.TrimLeft(line, " \t"); len(trimmed) == 0 || trimmed[0] != '{' {
		return "it is not a JSON object"
	}
	err := json.Unmarshal(line, into)
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &typ):
		return `its "` + typ.Field + `" is a ` + typ.Value + " where " + wanted(typ.Type.Kind().String()) + " belongs"
	case errors.As(err, &syntax):
		return "it is not valid JSON: " + syntax.Error()
	}
	return "it is not valid JSON"
}

func wanted(kind string) string {
	switch kind {
	case "string":
		return "a string"
	case "slice":
		return "a list"
	}
	return "an object"
}
