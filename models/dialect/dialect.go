// Package dialect translates between the dialects of the model API: OpenAI chat completions, completions, responses,
// embeddings, Anthropic messages, Google generateContent and rerank. It is pure: bytes in, bytes out.
//
// The plan. There is one inner form (Request, Answer, Event), and each dialect has six functions around it:
//
//	client side     ParseRequest  bytes -> Request      WriteAnswer   Answer -> bytes     NewEncoder  Events -> stream
//	upstream side   WriteRequest  Request -> bytes      ParseAnswer   bytes -> Answer     NewDecoder  stream -> Events
//
// Assembler joins Events to an Answer (calls that are not streamed are streamed upstream and reassembled) and
// Answer.Events parts an Answer again. WriteError and ParseError do the same for failures. A parser notes in
// Request.Uses which features the request has and by which field of the caller; WriteRequest looks each up in one
// table (reach) for its own dialect and so maps, drops or refuses it. Table gives the same rows to people, and
// docs/dialects.md is printed from it, so what is published is what runs.
//
// What is refused and what is dropped: a field whose loss would change what the caller can rely on (the form of the
// answer, where it stops, how many there are, tools, what the model is shown) is refused, with the caller's name for
// it; a field that only steers or labels (seed, penalties, user, cache marks) is dropped, and WriteRequest returns
// its name. Names that no dialect knows are kept: towards OpenAI dialects, whose servers have extensions, they are
// passed on unless they would mean something there; elsewhere, where unknown names are errors, they are dropped and
// named.
//
// Rules for callers: traffic whose dialect is the same on both sides does not pass through the codecs but through
// Scan, Edit and ReadUsage, which leave every other byte alone. The body's size is bounded before it gets here; depth
// and counts are bounded here. Every error is a fault that may be shown to the caller; whatever an upstream sends, a
// Decoder gives events or an error and holds no more than its limit. Values are used by one goroutine at a time.
package dialect

import (
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Kind names a dialect.
type Kind string

// The dialects that converse.
const (
	Chat        Kind = "openai-chat"        // POST /v1/chat/completions
	Completions Kind = "openai-completions" // POST /v1/completions
	Responses   Kind = "openai-responses"   // POST /v1/responses
	Anthropic   Kind = "anthropic"          // POST /v1/messages
	Google      Kind = "google"             // POST /v1beta/models/MODEL:generateContent
)

// Kinds are the dialects that converse, in the order of the published table.
var Kinds = []Kind{Chat, Completions, Responses, Anthropic, Google}

// Call is what the client said outside of the body, or the server knows.
type Call struct {
	Model   string // of Google, whose body does not name it
	Stream  bool   // of Google, whose path says it
	Count   bool   // of Anthropic: the request asks for its tokens alone and sets no output bound
	Earlier []byte // of responses: the items before this request's input, a JSON array; see Items
}

// codec is one dialect.
type codec struct {
	parse   func([]byte, Call) (*Request, error)
	write   func(*Request) ([]byte, error)
	answer  func([]byte) (*Answer, error)
	print   func(*Request, *Answer) []byte
	decode  func(limit int) Decoder
	encode  func(*Request, Head) encoder
	failure func(error) (int, []byte)
}

var codecs map[Kind]codec

func init() { // a literal would be a cycle: writers look at the table, which looks at the codecs
	codecs = map[Kind]codec{
		Chat:        {parseChat, writeChat, parseChatAnswer, printChat, newChatDecoder, newChatEncoder, openaiError},
		Completions: {parseCompletion, writeCompletion, parseCompletionAnswer, printCompletion, newCompletionDecoder, newCompletionEncoder, openaiError},
		Responses:   {parseResponses, writeResponses, parseResponsesAnswer, printResponses, newResponsesDecoder, newResponsesEncoder, openaiError},
		Anthropic:   {parseAnthropic, writeAnthropic, parseAnthropicAnswer, printAnthropic, newAnthropicDecoder, newAnthropicEncoder, anthropicError},
		Google:      {parseGoogle, writeGoogle, parseGoogleAnswer, printGoogle, newGoogleDecoder, newGoogleEncoder, googleError},
	}
}

// ParseRequest reads a request of a client. An error is a fault of kind Invalid or Unsupported that names the field.
func ParseRequest(d Kind, body []byte, call Call) (*Request, error) {
	r, err := codecs[d].parse(body, call)
	if err != nil {
		return nil, err
	}
	r.From = d
	return r, nil
}

// WriteRequest writes a request for an upstream of a dialect. dropped are the fields, by the caller's names, that the
// upstream's dialect cannot say; a field that must not be lost is a fault of kind Unsupported instead.
func WriteRequest(d Kind, r *Request) (body []byte, dropped []string, err error) {
	if dropped, err = r.screen(d); err != nil {
		return nil, nil, err
	}
	body, err = codecs[d].write(r)
	return body, dropped, err
}

// ParseAnswer reads a whole answer of an upstream. An error is a fault of kind Unavailable: the upstream's defect.
func ParseAnswer(d Kind, body []byte) (*Answer, error) {
	a, err := codecs[d].answer(body)
	if err != nil {
		return nil, garbled(err)
	}
	return a, nil
}

// garbled says that an upstream answered what its dialect does not have.
func garbled(cause error) error {
	if fault.Is(cause, fault.Unavailable) {
		return cause
	}
	return fault.New(fault.Unavailable, "The engine sent an answer that cannot be read.", fault.Code("engine_failed"),
		fault.Fix("Try again in a moment."), fault.Cause(cause))
}

// WriteAnswer writes a whole answer for the client whose request r is.
func WriteAnswer(r *Request, a *Answer, h Head) []byte {
	told := *a
	told.ID, told.Model, told.Created = h.over(r.From, a.ID, a.Model, a.Created)
	if !r.thoughts() {
		told.Choices = silent(a.Choices)
	}
	return codecs[r.From].print(r, &told)
}

// prefixes begin the ids of answers.
var prefixes = map[Kind]string{Chat: "chatcmpl-", Completions: "cmpl-", Responses: "resp_", Anthropic: "msg_"}

// over puts what the gateway says in place of what the upstream says.
func (h Head) over(d Kind, id, model string, created int64) (string, string, int64) {
	if h.ID != "" {
		id = prefixes[d] + h.ID
	}
	if h.Created != 0 {
		created = h.Created
	}
	return id, orText(h.Model, model), created
}

// Decoder reads the stream of an upstream. Feed and End append to what Events gives; after an error it is of no use.
type Decoder interface {
	// Feed takes the next bytes, which may begin and end anywhere.
	Feed(p []byte) ([]Event, error)
	// End says that no bytes follow. A stream that did not say that it ended is an error, a fault of kind Unavailable.
	End() ([]Event, error)
}

// NewDecoder reads a stream of a dialect whose single events have at most limit bytes. The events of one call are
// good until the next.
func NewDecoder(d Kind, limit int) Decoder { return codecs[d].decode(limit) }

// Head is what the gateway says of an answer, instead of the upstream.
type Head struct {
	ID      string // of the answer, without the dialect's prefix; the upstream's own when empty
	Model   string // as the client named it; the upstream's when empty
	Created int64  // seconds since 1970; the upstream's when 0
	Array   bool   // of Google: the stream is a JSON array, not server-sent events
}

// Encoder writes a stream for a client.
type Encoder struct {
	from     Kind
	head     Head
	enc      encoder
	over     bool
	thoughts bool
}

// encoder is an Encoder's dialect. fail writes a failure after which nothing follows.
type encoder interface {
	encode(dst []byte, e *Event) []byte
	fail(dst []byte, err error) []byte
}

// NewEncoder writes the stream of the client whose request r is.
func NewEncoder(r *Request, h Head) *Encoder {
	return &Encoder{from: r.From, head: h, enc: codecs[r.From].encode(r, h), thoughts: r.thoughts()}
}

// Encode appends what the client is sent for one event, which may be nothing. Events after End or Failed are ignored.
func (e *Encoder) Encode(dst []byte, ev Event) []byte {
	if e.over {
		return dst
	}
	if ev.Kind == Started {
		ev.ID, ev.Model, ev.Created = e.head.over(e.from, ev.ID, ev.Model, ev.Created)
	}
	if !e.thoughts && (ev.Kind == ThoughtDelta || ev.Kind == RedactedPart || ev.Kind == Signed) {
		return dst
	}
	e.over = ev.Kind == Ended || ev.Kind == Failed
	if ev.Kind == Failed {
		return e.enc.fail(dst, ev.Err)
	}
	return e.enc.encode(dst, &ev)
}

// WriteError is the status and body of a failure as clients of the dialect read it. Only the sentence of a fault is
// shown, never its cause.
func WriteError(d Kind, err error) (status int, body []byte) { return codecs[d].failure(err) }

func orText(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// thoughts says whether the client is shown the model's reasoning: in chat it has a field that others do not look at,
// elsewhere it would stand where a client that did not ask for it looks for the answer.
func (r *Request) thoughts() bool {
	x := r.Reasoning
	switch r.From {
	case Chat:
		return true
	case Anthropic:
		return x.Show || x.Budget != nil && *x.Budget != 0 || x.Effort != "" && x.Effort != "none"
	case Responses:
		for _, e := range r.Extra {
			if e.Name == "include" && strings.Contains(string(e.Raw), `"reasoning.encrypted_content"`) {
				return true
			}
		}
	}
	return x.Show
}

func silent(choices []Choice) []Choice {
	out := append([]Choice(nil), choices...)
	for i := range out {
		var parts []Part
		for _, p := range out[i].Parts {
			if p.Kind != Thought && p.Kind != Redacted {
				parts = append(parts, p)
			}
		}
		out[i].Parts = parts
	}
	return out
}
