package dialect

import (
	"net/http"
	"strings"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

func openaiError(err error) (int, []byte) {
	status, e := openai.ErrorOf(err)
	return status, e.Body()
}

func openaiEvent(dst []byte, err error) []byte {
	_, e := openai.ErrorOf(err)
	return append(dst, e.Event()...)
}

// anthropicErrors are status and type of each kind of fault, as the Anthropic API's page on errors has them.
var anthropicErrors = map[fault.Kind]struct {
	status int
	kind   string
}{
	fault.Invalid: {400, "invalid_request_error"}, fault.Unsupported: {400, "invalid_request_error"},
	fault.Unauthenticated: {401, "authentication_error"}, fault.NoMoney: {402, "billing_error"},
	fault.Forbidden: {403, "permission_error"}, fault.NotFound: {404, "not_found_error"},
	fault.Conflict: {409, "invalid_request_error"}, fault.TooLarge: {413, "request_too_large"},
	fault.RateLimited: {429, "rate_limit_error"}, fault.Canceled: {499, "api_error"}, fault.Internal: {500, "api_error"},
	fault.Timeout: {504, "timeout_error"}, fault.Unavailable: {529, "overloaded_error"},
}

func anthropicError(err error) (int, []byte) {
	f := fault.As(err)
	e, ok := anthropicErrors[f.Kind]
	if !ok {
		e = anthropicErrors[fault.Internal]
	}
	w := &wire.Writer{}
	w.Open()
	w.FText("type", "error")
	w.Key("error")
	w.Open()
	w.FText("type", e.kind)
	w.FText("message", withField(f))
	w.Close()
	w.Close()
	return e.status, w.B
}

// withField puts the field before the sentence in dialects that have no place for it.
func withField(f *fault.Error) string {
	s := f.Sentence()
	if f.Field == "" || strings.Contains(s, f.Field) {
		return s
	}
	return f.Field + ": " + s
}

// googleErrors are HTTP status and canonical word of each kind of fault, as google.rpc.Code has them.
var googleErrors = map[fault.Kind]struct {
	status int
	word   string
}{
	fault.Invalid: {400, "INVALID_ARGUMENT"}, fault.Unsupported: {400, "INVALID_ARGUMENT"}, fault.TooLarge: {413, "INVALID_ARGUMENT"},
	fault.Unauthenticated: {401, "UNAUTHENTICATED"}, fault.Forbidden: {403, "PERMISSION_DENIED"},
	fault.NotFound: {404, "NOT_FOUND"}, fault.Conflict: {409, "ABORTED"}, fault.RateLimited: {429, "RESOURCE_EXHAUSTED"},
	fault.NoMoney: {429, "RESOURCE_EXHAUSTED"}, fault.Canceled: {499, "CANCELLED"}, fault.Internal: {500, "INTERNAL"},
	fault.Unavailable: {503, "UNAVAILABLE"}, fault.Timeout: {504, "DEADLINE_EXCEEDED"},
}

func googleError(err error) (int, []byte) {
	f := fault.As(err)
	e, ok := googleErrors[f.Kind]
	if !ok {
		e = googleErrors[fault.Internal]
	}
	w := &wire.Writer{}
	w.Open()
	w.Key("error")
	w.Open()
	w.FInt("code", int64(e.status))
	w.FText("message", f.Sentence())
	w.FText("status", e.word)
	w.Key("details")
	w.List()
	w.Open()
	w.FText("@type", "type.googleapis.com/google.rpc.ErrorInfo")
	w.FText("reason", strings.ToUpper(orText(f.Code, string(f.Kind))))
	w.FText("domain", "triarch")
	w.Close()
	if f.Field != "" {
		w.Open()
		w.FText("@type", "type.googleapis.com/google.rpc.BadRequest")
		w.Key("fieldViolations")
		w.List()
		w.Open()
		w.FText("field", f.Field)
		w.FText("description", f.Message)
		w.Close()
		w.EndList()
		w.Close()
	}
	w.EndList()
	w.Close()
	w.Close()
	return e.status, w.B
}

// ParseError reads a refusal of an upstream as a fault whose sentence is the upstream's own. What it says of the
// gateway's own standing there (its key, its balance) is not the client's business: that is Unavailable.
func ParseError(d Kind, status int, body []byte) error {
	doc, o := wire.Parse(body)
	if doc.Err() != nil {
		return upstream(status, "", nil)
	}
	switch d {
	case Anthropic:
		return anthropicFailure(status, o)
	case Google:
		return googleFailure(status, o)
	}
	return openaiFailure(status, o)
}

func openaiFailure(status int, o wire.Object) error {
	v, _ := o.Get("error")
	if !v.IsObject() {
		s := o.Text("message")
		if v.IsText() {
			s = v.Text()
		}
		return upstream(status, s, nil)
	}
	e := v.Obj()
	var opts []fault.Option
	if v, ok := e.Get("param"); ok && v.IsText() {
		opts = append(opts, fault.Field(v.Text()))
	}
	if v, ok := e.Get("code"); ok {
		if v.IsText() {
			opts = append(opts, fault.Code(v.Text()))
		} else if v.IsNumber() && status == 0 {
			status = int(v.Int())
		}
	}
	if v, ok := e.Get("type"); ok && status == 0 && v.IsText() && v.Text() == openai.TypeInvalid {
		status = http.StatusBadRequest
	}
	return upstream(status, e.Text("message"), opts)
}

func anthropicFailure(status int, o wire.Object) error {
	e, _ := o.Obj("error")
	kind := e.Text("type")
	if status == 0 {
		for _, row := range anthropicErrors {
			if row.kind == kind && (status == 0 || row.status < status) {
				status = row.status
			}
		}
	}
	return upstream(status, e.Text("message"), nil)
}

func googleFailure(status int, o wire.Object) error {
	e, _ := o.Obj("error")
	if n := e.Int("code", 100, 599); n != nil && status == 0 {
		status = int(*n)
	}
	return upstream(status, e.Text("message"), nil)
}

// upstream is the fault of what an upstream refused with a status, 0 for a failure in the middle of a stream.
func upstream(status int, message string, opts []fault.Option) error {
	kind := fault.Unavailable
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusNotImplemented:
		kind = fault.Invalid
	case http.StatusConflict:
		kind = fault.Conflict
	case http.StatusRequestEntityTooLarge:
		kind = fault.TooLarge
	case http.StatusTooManyRequests:
		kind = fault.RateLimited
	case http.StatusGatewayTimeout, http.StatusRequestTimeout:
		kind = fault.Timeout
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound:
		message, opts = "", nil
	}
	if len(message) > 2048 {
		message = strings.ToValidUTF8(message[:2048], "") + "..."
	}
	if message == "" {
		message = "The engine failed to answer."
	}
	if kind == fault.Unavailable {
		opts = append(opts, fault.Code("engine_failed"))
	}
	return fault.New(kind, message, opts...)
}
