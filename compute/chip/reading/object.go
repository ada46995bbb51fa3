package reading

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Object reads the JSON object that output is, after warnings that tools print before it; nil, with the reason noted, for anything else. What
// follows the object is noted, too.
func (l *Log) Object(output []byte) map[string]any {
	if !l.Text(output) {
		return nil
	}
	text := bytes.TrimPrefix(output, []byte("\ufeff"))
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		if i := bytes.Index(text, []byte("\n{")); i >= 0 {
			text = text[i+1:]
		}
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v map[string]any
	if err := dec.Decode(&v); err != nil || v == nil {
		l.Add("the output of %s is no JSON object, or cut short; it begins with %q", l.Tool, Begin(strings.TrimSpace(string(text[:min(len(text), 400)]))))
		return nil
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		l.Add("after the JSON object of %s there is more, which was left out", l.Tool)
	}
	return v
}

// Word is a JSON value as text: of a string itself, of a number its digits; empty for anything else.
func Word(v any) string {
	switch x := v.(type) {
	case string:
		return strings.TrimSpace(x)
	case json.Number:
		return x.String()
	case bool:
		return fmt.Sprint(x)
	}
	return ""
}

// First is the text of the first of the keys that an object has.
func First(o map[string]any, keys ...string) string {
	for _, k := range keys {
		if w := Word(o[k]); w != "" {
			return w
		}
	}
	return ""
}
