// Package openai holds what of the OpenAI wire Triarch itself reads and writes: error bodies, the list of models and
// the words of the dialect. Requests and answers of models pass as bytes and have no types here.
//
// Rules for callers: one mapping from faults to errors, ErrorOf; nothing else invents a status, type or code.
package openai

import (
	"encoding/json"
	"net/http"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Paths of the dialect.
const (
	ChatPath       = "/v1/chat/completions"
	CompletionPath = "/v1/completions"
	ModelsPath     = "/v1/models"
	EmbeddingsPath = "/v1/embeddings"
	ResponsesPath  = "/v1/responses"
	ModerationPath = "/v1/moderations"
	FilesPath      = "/v1/files"
	RerankPath     = "/v1/rerank" // not OpenAI's: the shape that Jina, Cohere and others share
)

// ErrorBody is the body of every refusal.
type ErrorBody struct {
	Error Error `json:"error"`
}

// Error is a failure as clients of the dialect read it. Param and Code are null when there is none.
type Error struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// Types of errors.
const (
	TypeInvalid = "invalid_request_error"
	TypeQuota   = "insufficient_quota"
	TypeRate    = "requests" // too many a minute, or at once
	TypeTokens  = "tokens"   // too many a minute
	TypeServer  = "server_error"
)

// CodeTokens is the code of a fault.RateLimited that refuses tokens, not requests.
const CodeTokens = "tokens_per_minute"

// kinds maps what is not simply an invalid request; code is used where the fault has none of its own.
var kinds = map[fault.Kind]struct {
	status     int
	kind, code string
}{
	fault.Invalid:         {http.StatusBadRequest, TypeInvalid, ""},
	fault.Unsupported:     {http.StatusBadRequest, TypeInvalid, "unsupported_parameter"},
	fault.Unauthenticated: {http.StatusUnauthorized, TypeInvalid, "invalid_api_key"},
	fault.Forbidden:       {http.StatusForbidden, TypeInvalid, "insufficient_permissions"},
	fault.NotFound:        {http.StatusNotFound, TypeInvalid, "model_not_found"},
	fault.Conflict:        {http.StatusConflict, TypeInvalid, ""},
	fault.TooLarge:        {http.StatusRequestEntityTooLarge, TypeInvalid, "request_too_large"},
	fault.RateLimited:     {http.StatusTooManyRequests, TypeRate, "rate_limit_exceeded"},
	fault.NoMoney:         {http.StatusTooManyRequests, TypeQuota, "insufficient_quota"},
	fault.Unavailable:     {http.StatusServiceUnavailable, TypeServer, "unavailable"},
	fault.Timeout:         {http.StatusGatewayTimeout, TypeServer, "timeout"},
	fault.Canceled:        {499, TypeServer, "canceled"},
}

// ErrorOf is the status and error of a failure. Only the sentence of a fault is shown, never its cause.
func ErrorOf(err error) (int, Error) {
	f := fault.As(err)
	k, ok := kinds[f.Kind]
	if !ok {
		k.status, k.kind, k.code = http.StatusInternalServerError, TypeServer, "internal_error"
	}
	e := Error{Message: f.Sentence(), Type: k.kind}
	if f.Kind == fault.RateLimited && f.Code == CodeTokens {
		e.Type = TypeTokens
	}
	code := f.Code
	if code == "" || f.Kind == fault.Unauthenticated || f.Kind == fault.RateLimited { // clients look for the one code
		code = k.code
	}
	if code != "" {
		e.Code = &code
	}
	if f.Field != "" {
		field := f.Field
		e.Param = &field
	}
	return k.status, e
}

// Body is an error as JSON.
func (e Error) Body() []byte {
	b, err := json.Marshal(ErrorBody{e})
	if err != nil { // four strings cannot fail
		return []byte(`{"error":{"message":"","type":"server_error","param":null,"code":null}}`)
	}
	return b
}

// Event is an error as a server-sent event.
func (e Error) Event() []byte {
	return append(append([]byte("data: "), e.Body()...), "\n\n"...)
}

// Done is the event that ends a stream.
const Done = "data: [DONE]\n\n"

// Model is an entry of the list of models.
type Model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`  // "model"
	Created int64  `json:"created"` // seconds since 1970
	OwnedBy string `json:"owned_by"`
}

// ModelList is the list of models.
type ModelList struct {
	Object string  `json:"object"` // "list"
	Data   []Model `json:"data"`
}
