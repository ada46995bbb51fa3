package dialect

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// Scanned is what the gateway reads of a request that is passed on in its own dialect.
type Scanned struct {
	Model   string
	Stream  bool
	Usage   bool  // the client gets the usage of the stream: it asked, or the dialect always tells
	Output  int64 // the output bound for each choice, 0 when not said
	Choices int64
	Prompts int64  // of completions
	Tier    []byte // service_tier as the body has it; empty where it has none

	Previous   string // of responses: the one that the request goes on from
	background bool

	spans map[string]span // of the values that Edit may replace, by path
	end   int             // of the members of the body: where the closing bracket is
	empty bool
}

// span is a value's place in the body; of an object also where its members end and whether it has none.
type span struct {
	from, to int
	object   bool
	empty    bool
}

// knobs are the values that Scan looks for in each dialect.
var knobs = map[Kind]struct{ output, choices string }{
	Chat: {"max_completion_tokens", "n"}, Completions: {"max_tokens", "n"}, Responses: {"max_output_tokens", ""},
	Anthropic: {"max_tokens", ""}, Google: {"generationConfig.maxOutputTokens", "generationConfig.candidateCount"},
}

// Scan reads a request without taking it apart. A name that matters and is there twice is refused; what is wrong
// elsewhere is the upstream's to say. For Google, call has the model and whether it streams.
func Scan(d Kind, body []byte, call Call) (*Scanned, error) {
	if err := wire.Check(body); err != nil {
		return nil, err
	}
	s := &Scanned{Choices: 1, Prompts: 1, spans: map[string]span{}, Model: call.Model, Stream: call.Stream}
	root := gjson.ParseBytes(body)
	if err := s.members(d, root, ""); err != nil {
		return nil, err
	}
	return s, s.read(d, body)
}

func (s *Scanned) members(d Kind, obj gjson.Result, path string) (err error) {
	if !obj.IsObject() {
		return fault.New(fault.Invalid, "The body is not one JSON object.", fault.Code("invalid_json"))
	}
	n := 0
	obj.ForEach(func(k, v gjson.Result) bool {
		n++
		name := k.Str
		if d == Google {
			name = wire.Camel(name)
		}
		full := path + name
		if !knob(d, full) {
			return true
		}
		if _, twice := s.spans[full]; twice {
			err = fault.InvalidField(full, "%s is there twice.", full)
			return false
		}
		sp := span{from: v.Index, to: v.Index + len(v.Raw), object: v.IsObject()}
		s.spans[full] = sp
		if full == "stream_options" || full == "generationConfig" {
			if v.Type == gjson.Null {
				return true
			}
			err = s.members(d, v, full+".")
		}
		return err == nil
	})
	if path == "" {
		s.end, s.empty = obj.Index+strings.LastIndexByte(obj.Raw, '}'), n == 0
	} else {
		key := strings.TrimSuffix(path, ".")
		sp := s.spans[key]
		sp.empty = n == 0
		s.spans[key] = sp
	}
	return err
}

func knob(d Kind, path string) bool {
	switch path {
	case "model", "stream":
		return d != Google
	case "service_tier":
		return tierWords[d] != nil
	case "stream_options", "stream_options.include_usage", "n":
		return d == Chat || d == Completions
	case "max_tokens":
		return d == Chat || d == Completions || d == Anthropic
	case "prompt":
		return d == Completions || d == Responses
	case "generationConfig":
		return d == Google
	case "input", "previous_response_id", "background", "conversation":
		return d == Responses
	}
	k := knobs[d]
	return path == k.output || path == k.choices && path != ""
}

// read takes the values that were found.
func (s *Scanned) read(d Kind, body []byte) error {
	w := &wire.Writer{} // a small object of what matters, read with the same strictness as everything
	w.Open()
	for path, sp := range s.spans {
		switch path {
		case "prompt", "stream_options", "generationConfig", "input", "conversation":
			continue
		case "service_tier":
			s.Tier = body[sp.from:sp.to]
			continue
		}
		if !sp.object {
			w.FRaw(path, body[sp.from:sp.to])
		}
	}
	w.Close()
	doc, o := wire.Parse(w.B)
	r := &Request{}
	if d != Google {
		if sp, ok := s.spans["model"]; ok && sp.object {
			return fault.InvalidField("model", "model must be a string.")
		}
		r.model(o)
		s.Model, s.Stream = r.Model, o.True("stream")
	}
	s.Usage = d == Responses || d == Anthropic || d == Google || o.True("stream_options.include_usage")
	for _, name := range []string{"max_tokens", knobs[d].output} { // the newer name wins
		if n := r.bound(o, name); n != nil {
			s.Output = *n
		}
	}
	if n := o.Int(knobs[d].choices, 1, maxChoices); n != nil {
		s.Choices = *n
	}
	if d == Responses {
		s.Previous, s.background = o.Text("previous_response_id"), o.True("background")
	}
	if sp, ok := s.spans["prompt"]; ok && d == Completions {
		var err error
		if s.Prompts, err = promptCount(body[sp.from:sp.to]); err != nil {
			return err
		}
	}
	return doc.Err()
}

func promptCount(raw []byte) (int64, error) {
	v := gjson.ParseBytes(raw)
	if !v.IsArray() {
		return 1, nil
	}
	n, one := int64(0), false
	v.ForEach(func(_, e gjson.Result) bool {
		one = e.Type == gjson.Number
		n++
		return !one && n <= maxPrompts
	})
	switch {
	case one:
		return 1, nil
	case n > maxPrompts:
		return 0, fault.InvalidField("prompt", "prompt has more than %d entries.", maxPrompts)
	}
	return max(n, 1), nil
}

// Edit is what the gateway changes in a request that is passed on in its own dialect; zero values leave a field alone.
// Model and Stream do nothing for Google, whose path says them.
type Edit struct {
	Model  string
	Output int64 // the new output bound, under every name that the request sets one by
	Usage  bool  // chat and completions: have the stream tell its usage
	Stream bool  // ask for a stream
	// Input is what stands in place of a response's input, a JSON array of items; the response before it is named no more.
	Input []byte
}

// Apply makes the edits; every other byte stays. body must be the one that was scanned.
func (e Edit) Apply(d Kind, body []byte, s *Scanned) []byte {
	var changes []change
	set := func(path, value string) { changes = append(changes, s.set(path, value)) }
	openai := d == Chat || d == Completions
	if e.Model != "" && d != Google {
		set("model", string(wire.AppendText(nil, e.Model)))
	}
	if e.Stream && d != Google {
		set("stream", "true")
	}
	if e.Usage && openai {
		set("stream_options.include_usage", "true")
	}
	if e.Input != nil && d == Responses {
		set("input", string(e.Input))
		if _, ok := s.spans["previous_response_id"]; ok {
			set("previous_response_id", "null")
		}
	}
	if e.Output > 0 {
		value := strconv.FormatInt(e.Output, 10)
		_, old := s.spans["max_tokens"]
		_, now := s.spans[knobs[d].output]
		if old && d == Chat {
			set("max_tokens", value)
		}
		if now || !old || d != Chat {
			set(knobs[d].output, value)
		}
	}
	return splice(body, changes)
}

// change replaces the bytes from..to.
type change struct {
	from, to int
	text     string
}

// set replaces a value, or puts it in at the end of the object where it belongs.
func (s *Scanned) set(path, value string) change {
	if sp, ok := s.spans[path]; ok {
		return change{sp.from, sp.to, value}
	}
	outer, name, nested := strings.Cut(path, ".")
	at, empty := s.end, s.empty
	if !nested {
		name = outer
	} else if sp, ok := s.spans[outer]; ok && sp.object {
		at, empty = sp.to-1, sp.empty
	} else if ok {
		return change{sp.from, sp.to, `{"` + name + `":` + value + `}`} // it was null
	} else {
		name, value = outer, `{"`+name+`":`+value+`}`
	}
	text := `"` + name + `":` + value
	if !empty {
		text = "," + text
	}
	return change{at, at, text}
}

func splice(body []byte, changes []change) []byte {
	out := make([]byte, 0, len(body)+128)
	pos := 0
	empty := len(bytes.TrimSpace(body)) <= 2
	inserted := false
	for len(changes) > 0 {
		least := 0
		for i := range changes { // the earliest; those at one place keep their order
			if changes[i].from < changes[least].from {
				least = i
			}
		}
		c := changes[least]
		changes = append(changes[:least:least], changes[least+1:]...)
		out = append(out, body[pos:c.from]...)
		if empty && inserted && c.text[0] != ',' {
			out = append(out, ',')
		}
		out = append(out, c.text...)
		pos, inserted = c.to, true
	}
	return append(out, body[pos:]...)
}

// ReadUsage reads the usage out of one event of a stream, or of a whole answer, that is passed on in its own dialect.
// Events without one cost a search for its name. u starts with what was known: Anthropic tells its counts in pieces.
// alone says that the event tells nothing else, so that it is withheld from a client that did not ask.
func ReadUsage(d Kind, data []byte, u Usage) (now Usage, alone bool) {
	name := []byte(`"usage"`)
	if d == Google {
		name = []byte(`"usageMetadata"`)
	}
	if !bytes.Contains(data, name) {
		return u, false
	}
	switch d {
	case Google:
		if _, o := wire.ParseFolded(data); o.Has("usageMetadata") {
			return keep(o.Doc(), googleUsage(o), u), false
		}
	case Anthropic:
		return anthropicRunning(data, u), false
	case Responses:
		_, o := wire.Parse(data)
		if inner, ok := o.Obj("response"); ok {
			o = inner
		}
		return keep(o.Doc(), countsOf(o, "input_tokens", "output_tokens"), u), false
	default:
		_, o := wire.Parse(data)
		now := keep(o.Doc(), parseUsage(o), u)
		v, ok := o.Get("choices")
		return now, ok && o.Has("usage") && v.IsList() && len(v.List()) == 0
	}
	return u, false
}

func keep(doc *wire.Doc, now, before Usage) Usage {
	if doc.Err() != nil || !now.Known {
		return before
	}
	return now
}

func anthropicRunning(data []byte, u Usage) Usage {
	doc, o := wire.Parse(data)
	if m, ok := o.Obj("message"); ok {
		o = m
	}
	c := anthropicCounts{input: u.Input - u.CachedInput - u.CacheWrite, read: u.CachedInput, written: u.CacheWrite, output: u.Output, thought: u.Reasoning}
	if !c.take(o) || doc.Err() != nil {
		return u
	}
	return c.usage()
}
