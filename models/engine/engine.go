// Package engine is the contract between Triarch and a program that serves a model: how it is started, whether
// it is well, and how a request is put to it and its answer read back as bytes with running token counts.
//
// Rules for callers: an Engine is safe for concurrent use, a Stream belongs to one goroutine; close every Stream,
// and close it (or cancel the context of Open) to make the engine stop generating; a Chunk's bytes are valid only
// until the next call of Next. Rules for drivers: pass enginetest.Run; hand the engine's bytes through and count,
// do not re-encode; hold no state between requests but pooled connections.
package engine

import (
	"context"

	"github.com/triarch-ai/triarch/compute/job"
)

// Spec says what a replica is to serve and with how much.
type Spec struct {
	ModelDir    string // folder with the model's files in the engine's format
	ModelName   string // name the engine announces; requests may name any model
	Threads     int    // 0 = the engine decides
	MaxContext  int    // tokens; 0 = the model's own
	MemoryBytes int64  // for the key-value cache; 0 = the engine decides
	Listen      string // IP address of this machine that it listens on, at a free port; empty = 127.0.0.1
}

// Endpoint is where one running replica answers.
type Endpoint struct {
	Replica string // id of the replica
	Addr    string // host:port
	Secret  string // bearer secret that the replica demands; never logged
	Chip    string // class of its chips; empty: it has none
	Chips   int    // how many it has
}

// Dialect is the wire of a model API.
type Dialect string

// The dialects.
const (
	OpenAI    Dialect = "openai"    // chat completions, completions, embeddings
	Responses Dialect = "responses" // OpenAI's responses, without chat completions
	Anthropic Dialect = "anthropic"
	Google    Dialect = "google"

	// OpenAIResponses is what a provider states that speaks both of OpenAI's: each request goes in the one that it came in.
	OpenAIResponses Dialect = "openai,responses"
)

// Main is the dialect that requests of others are translated into.
func (d Dialect) Main() Dialect {
	if d == OpenAIResponses {
		return OpenAI
	}
	return d
}

// TakesResponses says whether requests of OpenAI's responses are taken as they are.
func (d Dialect) TakesResponses() bool { return d == OpenAIResponses || d == Responses }

// The codes of a fault of Open, of kind Unavailable, which say whether an engine may have had the request.
const (
	Unreached = "unreached"   // it had not: asking another costs nothing
	Died      = "engine_died" // it may have worked on it, and whoever runs it may bill that
	KeysRest  = "keys_rest"   // it was not asked, for it refused every key lately; the fault's After says until when
)

// Engine is one kind of serving program.
type Engine interface {
	// Name is the driver's name, such as "native".
	Name() string
	// Command renders how a replica is started; it starts nothing. The caller adds the file SecretFile.
	Command(Spec) (job.Command, error)
	// Health returns nil once the replica answers requests; otherwise a fault of kind Unavailable.
	Health(context.Context, Endpoint) error
	// Open sends a request and returns when the status line of the answer is there. An answer of any status is a
	// Stream; an error means that no answer came (fault kinds Unavailable, Timeout, Canceled).
	Open(context.Context, Endpoint, Request) (Stream, error)
}

// Counter is what an engine offers that can count the tokens of a request without serving it.
type Counter interface {
	// Count returns the number of prompt tokens that the request of this path and body would be charged.
	Count(ctx context.Context, to Endpoint, path string, body []byte) (int, error)
}

// Request is a call in the engine's dialect, which is OpenAI's for all but outside providers: the caller's bytes plus
// where they go.
type Request struct {
	Path      string // such as "/v1/chat/completions"
	Body      []byte // JSON; not kept after Open's Stream is closed
	RequestID string // sent as x-request-id
	Scope     string // requests of different scopes must share nothing that one could learn of the other by, such as a prompt cache
	Trace     string // sent as traceparent, in the form of W3C's trace context; empty: none
	// TraceState is sent as tracestate beside Trace, to engines of this installation alone.
	TraceState string
	Stream     bool // Body asks for an event stream
	Usage      bool // Body asks for the usage event. A driver that has to ask for it itself, because its engine has
	// no other way to tell the counts, does so and keeps the event back when this is false.
}

// Stream is an answer being read.
type Stream interface {
	// Status is the HTTP status of the answer.
	Status() int
	// Header returns the first value of a header of the answer, or "".
	Header(name string) string
	// Next returns what arrived since the last call, waiting for at least something; io.EOF after a complete
	// answer, io.ErrUnexpectedEOF or another error after a broken one.
	Next() (Chunk, error)
	// Close ends the request, complete or not, and makes the engine stop generating. Closing twice does nothing
	// more. To interrupt a Next from elsewhere, cancel the context of Open.
	Close() error
}

// Drainer is a Stream of an engine that bills what it makes, whether or not anybody listens.
type Drainer interface {
	// Drain reads the rest of an answer whose caller has left, within the driver's bounds of bytes and time, for the
	// counts alone; Data of the Chunk is empty. Without it, Close ends the request with the counts of the last Next.
	// A cancelled context of Open lets Next return, and does not keep Drain from reading.
	Drain() Chunk
}

// Chunk is a piece of an answer. For an event stream it holds whole events only; for a JSON answer the pieces
// concatenate to the body.
type Chunk struct {
	Data       []byte // to forward; may be empty when only the counts moved; valid until the next Next
	Prompt     int    // prompt tokens so far, 0 while unknown; never falls
	Completion int    // completion tokens over all choices so far, Data included; never falls, but where an engine tells
	// none on the way: then it is an estimate until the engine's own count, at the end, takes its place
	Cached    int  // of Prompt: taken from the engine's prompt cache, as far as it tells
	Reasoning int  // of Completion: reasoning, as far as the engine tells
	Guessed   bool // Completion is such an estimate, in part
	Done      bool // Data ends with the event that closes the stream ("data: [DONE]")
}
