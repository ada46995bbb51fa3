package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/triarch-ai/triarch/internal/fault"
)

// fields are what the gateway reads of a request; everything else is the engine's to judge.
type fields struct {
	model     string
	modelAt   int    // where its value begins in the body, quotes included
	modelEnd  int    // and ends
	text      text   // what locality goes by
	tier      []byte // service_tier: its bytes of the body; empty where there is none
	session   []byte // what names a session, quotes included: its bytes of the body
	stream    bool
	usage     bool // stream_options.include_usage
	output    int  // completion tokens for each choice; 0 = not said
	choices   int  // n
	prompts   int  // of a text completion
	maxTokens bool // max_tokens is there
	maxCompl  bool // max_completion_tokens is there
	whole     bool // it cannot be answered by a stream
}

const (
	maxChoices = 128
	maxPrompts = 2048
	maxName    = 256
	maxOutput  = 1 << 30
	maxDepth   = 512
)

// readFields walks over the top level of a JSON object once, without copying or decoding what it does not need. Text
// inside of values is only skipped: a body that is malformed there is refused by the engine, and not billed.
func readFields(body []byte) (fields, error) {
	f := fields{choices: 1, prompts: 1}
	var seen uint
	maxCompletion := 0
	s := scanner{b: body}
	for s.next() {
		k := interesting(s.key)
		if k.bit == 0 {
			continue
		}
		if k.bit == fieldText { // the engine's to judge
			f.text.turns = s.stretch()
			continue
		}
		if k.bit == fieldTools {
			f.text.tools = s.stretch()
			continue
		}
		if k.bit == fieldWhole { // the best of several, or speech in a form of files
			f.whole = f.whole || string(s.value) != "null" && string(s.value) != "1"
			continue
		}
		if k.bit == fieldSession {
			f.sessionOf(k.name, s.value)
			continue
		}
		if seen&k.bit != 0 {
			return f, fault.InvalidField(k.name, "%s is there twice.", k.name)
		}
		seen |= k.bit
		switch k.bit {
		case fieldModel:
			f.modelAt, f.modelEnd = s.pos-len(s.value), s.pos
		case fieldPrompt:
			f.text.turns = s.stretch()
		}
		if string(s.value) == "null" && k.bit != fieldModel {
			continue
		}
		if err := f.take(k.bit, k.name, s.value, &maxCompletion); err != nil {
			return f, err
		}
	}
	if s.bad {
		return f, fault.New(fault.Invalid, "The body is not one JSON object.", fault.Code("invalid_json"),
			fault.Fix("Send a JSON object, encoded as UTF-8."))
	}
	if f.model == "" {
		return f, fault.New(fault.Invalid, "The request names no model.", fault.Field("model"), fault.Code("missing_required_parameter"),
			fault.Fix("Set model to one of the names that GET /v1/models lists."))
	}
	if f.maxCompl {
		f.output = maxCompletion
	}
	return f, nil
}

const (
	fieldModel = 1 << iota
	fieldStream
	fieldOptions
	fieldMaxTokens
	fieldMaxCompletion
	fieldN
	fieldPrompt
	fieldText
	fieldSession
	fieldTools
	fieldWhole
	fieldTier
)

type known struct {
	bit  uint
	name string
}

// interesting says which field a name is; its bit is 0 for those that only the engine reads.
func interesting(name []byte) known {
	switch string(name) {
	case "model":
		return known{fieldModel, "model"}
	case "messages":
		return known{fieldText, "messages"}
	case "tools":
		return known{fieldTools, "tools"}
	case "stream":
		return known{fieldStream, "stream"}
	case "stream_options":
		return known{fieldOptions, "stream_options"}
	case "max_tokens":
		return known{fieldMaxTokens, "max_tokens"}
	case "max_completion_tokens":
		return known{fieldMaxCompletion, "max_completion_tokens"}
	case "n":
		return known{fieldN, "n"}
	case "prompt":
		return known{fieldPrompt, "prompt"}
	case "best_of", "audio":
		return known{fieldWhole, string(name)}
	case "user":
		return known{fieldSession, "user"}
	case "session":
		return known{fieldSession, "session"}
	case "service_tier":
		return known{fieldTier, "service_tier"}
	case "prompt_cache_key":
		return known{fieldSession, "prompt_cache_key"}
	}
	return known{}
}

func (f *fields) take(bit uint, key string, v []byte, maxCompletion *int) (err error) {
	switch bit {
	case fieldModel:
		if v[0] != '"' {
			return fault.InvalidField(key, "model must be a string.")
		}
		if bytes.IndexByte(v, '\\') < 0 {
			f.model = string(v[1 : len(v)-1])
		} else if f.model, err = unquoted(v); err != nil {
			return fault.InvalidField(key, "model must be a string.")
		}
		if len(f.model) > maxName {
			return notFound(f.model[:maxName] + "...")
		}
	case fieldStream:
		f.stream, err = boolean(key, v)
	case fieldOptions:
		var o struct {
			Usage *json.RawMessage `json:"include_usage"`
		}
		if v[0] != '{' || json.Unmarshal(v, &o) != nil {
			return fault.InvalidField(key, "stream_options must be an object.")
		}
		if o.Usage != nil {
			f.usage, err = boolean("stream_options.include_usage", *o.Usage)
		}
	case fieldMaxTokens:
		f.maxTokens = true
		f.output, err = positive(key, v, maxOutput)
	case fieldMaxCompletion:
		f.maxCompl = true
		*maxCompletion, err = positive(key, v, maxOutput)
	case fieldTier:
		f.tier = v
	case fieldN:
		f.choices, err = positive(key, v, maxChoices)
	case fieldPrompt:
		f.prompts, err = prompts(v)
	}
	return err
}

// unquoted is a function of its own for the memory that it costs.
func unquoted(v []byte) (text string, err error) {
	err = json.Unmarshal(v, &text)
	return text, err
}

func boolean(key string, v []byte) (bool, error) {
	switch string(v) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fault.InvalidField(key, "%s must be true or false.", key)
}

// positive reads a whole number from 1. A number above limit is refused where limit is a bound on choices and taken
// as limit where any larger one means the same: as many as there is room for.
func positive(key string, v []byte, limit int) (int, error) {
	n, err := strconv.ParseInt(string(v), 10, 64)
	if errors.Is(err, strconv.ErrRange) && v[0] != '-' {
		n, err = int64(limit)+1, nil
	}
	switch {
	case err != nil:
		return 0, fault.InvalidField(key, "%s must be a whole number.", key)
	case n < 1:
		return 0, fault.InvalidField(key, "%s must be at least 1.", key)
	case n > int64(limit) && limit == maxChoices:
		return 0, fault.InvalidField(key, "%s must be at most %d.", key, limit)
	}
	return int(min(n, int64(limit))), nil
}

// prompts counts the prompts of a text completion: a list of texts or of token lists has many, a text or one list of
// tokens is one.
func prompts(v []byte) (int, error) {
	if v[0] != '[' {
		return 1, nil
	}
	s := scanner{b: v, pos: 1}
	n := 0
	for s.element() {
		if c := s.value[0]; c != '"' && c != '[' {
			return 1, nil
		}
		n++
	}
	if n > maxPrompts {
		return 0, fault.InvalidField("prompt", "prompt has more than %d entries.", maxPrompts)
	}
	return max(n, 1), nil
}

// scanner steps over the members of a JSON object or the elements of an array.
type scanner struct {
	b          []byte
	pos        int
	begun      bool
	bad        bool // not well-formed, as far as it was looked at
	key, value []byte
}

// next goes to the next member of an object; false at its end or when it is malformed.
func (s *scanner) next() bool {
	if !s.begun {
		s.begun = true
		if s.skipSpace() != '{' {
			return s.fail()
		}
		s.pos++
		if s.skipSpace() == '}' {
			s.pos++
			return s.end()
		}
	} else {
		switch s.skipSpace() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			return s.end()
		default:
			return s.fail()
		}
	}
	if s.skipSpace() != '"' {
		return s.fail()
	}
	from := s.pos
	if !s.skipString() {
		return s.fail()
	}
	s.key = s.b[from+1 : s.pos-1]
	if bytes.IndexByte(s.key, '\\') >= 0 {
		var plain string
		if json.Unmarshal(s.b[from:s.pos], &plain) != nil {
			return s.fail()
		}
		s.key = []byte(plain)
	}
	if s.skipSpace() != ':' {
		return s.fail()
	}
	s.pos++
	return s.take()
}

// element goes to the next element of an array whose bracket was passed.
func (s *scanner) element() bool {
	c := s.skipSpace()
	if c == ']' {
		return false
	}
	if s.begun {
		if c != ',' {
			return s.fail()
		}
		s.pos++
	}
	s.begun = true
	return s.take()
}

func (s *scanner) take() bool {
	s.skipSpace()
	from := s.pos
	if !s.skipValue() {
		return s.fail()
	}
	s.value = s.b[from:s.pos]
	return true
}

func (s *scanner) fail() bool { s.bad = true; return false }

// end checks that nothing follows the object.
func (s *scanner) end() bool {
	if s.skipSpace() != 0 || s.pos < len(s.b) {
		s.bad = true
	}
	return false
}

// skipSpace returns the next byte that is no white space without passing it, 0 at the end.
func (s *scanner) skipSpace() byte {
	for s.pos < len(s.b) {
		switch c := s.b[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) skipString() bool {
	s.pos++
	for {
		i := bytes.IndexByte(s.b[s.pos:], '"')
		if i < 0 {
			return false
		}
		s.pos += i + 1
		back := 0
		for s.b[s.pos-2-back] == '\\' {
			back++
		}
		if back%2 == 0 {
			return true
		}
	}
}

// skipValue passes one value: a string, a word or number, or everything between brackets.
func (s *scanner) skipValue() bool {
	if s.pos >= len(s.b) {
		return false
	}
	switch s.b[s.pos] {
	case '"':
		return s.skipString()
	case '{', '[':
		return s.skipNested()
	}
	from := s.pos
	for s.pos < len(s.b) {
		switch s.b[s.pos] {
		case ',', '}', ']', ' ', '\t', '\n', '\r':
			return s.pos > from
		case '"', '{', '[', ':':
			return false
		}
		s.pos++
	}
	return false
}

func (s *scanner) skipNested() bool {
	depth := 0
	for s.pos < len(s.b) {
		switch s.b[s.pos] {
		case '"':
			if !s.skipString() {
				return false
			}
			continue
		case '{', '[':
			if depth++; depth > maxDepth {
				return false
			}
		case '}', ']':
			if depth--; depth == 0 {
				s.pos++
				return true
			}
		}
		s.pos++
	}
	return false
}
