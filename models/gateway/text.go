package gateway

import (
	"github.com/triarch-ai/triarch/models/dialect"
)

// text is where a body has the parts of a conversation, in the order in which models read them, wherever they stand: two
// requests that have the same beginning of these go to the same replica. A dialect's bytes are its own: the same
// conversation in another dialect is another text.
type text struct {
	tools, system, turns stretch
	found                bool // by find
}

// stretch is a part of the body.
type stretch struct{ from, to uint32 }

func (s stretch) of(body []byte) []byte { return body[s.from:s.to] }
func (s stretch) size() int             { return int(s.to - s.from) }

// stretch is where the value is that the scanner is at.
func (s *scanner) stretch() stretch { return stretch{uint32(s.pos - len(s.value)), uint32(s.pos)} }

// placed says whether the request says anything by which a replica is better than another: a session, or a block of text.
func (f *flight) placed() bool {
	x := &f.fields.text
	if f.far != nil && !x.found && f.conversing() && f.call.Dialect != "" {
		f.fields.find(f.far.kind, f.call.Body)
	}
	return x.tools.size()+x.system.size()+len(f.call.Earlier)+x.turns.size() >= blockSize || len(f.fields.session) > 0
}

// trail is that of the prompt and session.
func (f *flight) trail(t *trail) {
	x, body := &f.fields.text, f.call.Body
	t.of(f.call.Who.Project, f.fields.session, x.tools.of(body), x.system.of(body), f.call.Earlier, x.turns.of(body))
}

// sessionOf takes a name of a session in. A session is less than what a user has.
func (f *fields) sessionOf(by string, value []byte) {
	if len(value) > 2 && value[0] == '"' && (len(f.session) == 0 || by != "user") {
		f.session = value
	}
}

// find finds the parts in a request of a dialect other than that of engines. It steps over the body without parsing what it
// does not need, and is not called where there is but one replica. The body was found to be one JSON object before.
func (f *fields) find(kind dialect.Kind, body []byte) {
	x := &f.text
	x.found = true
	s := scanner{b: body}
	for s.next() {
		switch meaning(kind, s.key) {
		case partTools:
			x.tools = s.stretch()
		case partSystem:
			x.system = s.stretch()
		case partTurns:
			x.turns = s.stretch()
		case partSession:
			f.sessionOf(string(s.key), s.value)
		case partMetadata: // of Anthropic: {"user_id": ...}
			for m := (scanner{b: s.value}); m.next(); {
				if string(m.key) == "user_id" {
					f.sessionOf("user_id", m.value)
				}
			}
		}
	}
}

// Parts of a request.
const (
	partNone = iota
	partTools
	partSystem
	partTurns
	partSession
	partMetadata
)

// meaning is what a name at the top of a body means in a dialect.
func meaning(kind dialect.Kind, name []byte) int {
	if string(name) == "tools" {
		return partTools
	}
	switch kind {
	case dialect.Anthropic:
		switch string(name) {
		case "system":
			return partSystem
		case "messages":
			return partTurns
		case "metadata":
			return partMetadata
		}
	case dialect.Google:
		switch string(name) {
		case "systemInstruction", "system_instruction":
			return partSystem
		case "contents":
			return partTurns
		}
	case dialect.Responses:
		switch string(name) {
		case "instructions":
			return partSystem
		case "input":
			return partTurns
		case "prompt_cache_key", "user":
			return partSession
		}
	}
	return partNone
}
