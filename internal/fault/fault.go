// Package fault is the one form an error takes when it reaches a person or a program: a kind a program can
// switch on, a sentence a person can read, and the fix.
//
// Rules for callers: make a fault where the reason is known and wrap it with %w on the way up; never show the
// wrapped cause to a user (Error prints it for logs, Sentence does not); map kinds to HTTP in one place only,
// HTTPStatus.
package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind says what sort of failure it is. The names are stable: they cross the wire.
type Kind string

// The kinds. Each maps to one HTTP status (HTTPStatus) and one exit code of the command line (ExitCode).
const (
	Invalid         Kind = "invalid"            // the request is wrong; Field says where
	Unauthenticated Kind = "unauthenticated"    // no key, or a key that is unknown, revoked or expired
	Forbidden       Kind = "forbidden"          // the key is good, its role or scope is not enough
	NotFound        Kind = "not_found"          // no such object in the caller's project
	Conflict        Kind = "conflict"           // the object's state forbids it now
	TooLarge        Kind = "too_large"          // a body, file or count above its limit
	RateLimited     Kind = "rate_limited"       // too many requests or tokens a minute; later it works
	NoMoney         Kind = "insufficient_quota" // the budget cannot pay; waiting does not help
	Unsupported     Kind = "unsupported"        // a thing this build or engine does not do
	Unavailable     Kind = "unavailable"        // a part that is needed is down or starting; later it works
	Timeout         Kind = "timeout"            // it took longer than its limit
	Canceled        Kind = "canceled"           // the caller went away
	Internal        Kind = "internal"           // a defect or a broken machine; the log has the cause
)

// Error is a failure with a kind, a sentence and, where known, the field and the fix.
type Error struct {
	Kind    Kind
	Code    string        // stable word for programs within the kind, such as "context_length_exceeded"; may be empty
	Field   string        // the field of the request that is wrong; may be empty
	Message string        // one sentence for people, without the fix
	Fix     string        // what to do about it, a sentence; may be empty
	After   time.Duration // when to try again; 0: nobody knows
	Cause   error         // for logs only
}

// Error prints message, fix and cause: the form for logs.
func (e *Error) Error() string {
	s := e.Sentence()
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Sentence is what a user may see: message and fix, never the cause.
func (e *Error) Sentence() string {
	if e.Fix == "" {
		return e.Message
	}
	return strings.TrimRight(e.Message, ".") + ". " + e.Fix
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Cause }

// Option adds to a fault while it is made.
type Option func(*Error)

// Code sets the stable word for programs.
func Code(c string) Option { return func(e *Error) { e.Code = c } }

// Field names the field of the request that is wrong.
func Field(f string) Option { return func(e *Error) { e.Field = f } }

// Fix says what to do about it.
func Fix(format string, args ...any) Option {
	return func(e *Error) { e.Fix = sprintf(format, args) }
}

// After says when to try again.
func After(d time.Duration) Option { return func(e *Error) { e.After = d } }

// Cause keeps the underlying error for the log.
func Cause(err error) Option { return func(e *Error) { e.Cause = err } }

// New makes a fault of a kind with a sentence for people.
func New(k Kind, message string, opts ...Option) *Error {
	e := &Error{Kind: k, Message: message}
	for _, o := range opts {
		o(e)
	}
	return e
}

// Newf is New with a formatted sentence and no options.
func Newf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Message: sprintf(format, args)}
}

// InvalidField is the commonest fault: field and reason.
func InvalidField(field, format string, args ...any) *Error {
	return &Error{Kind: Invalid, Field: field, Message: sprintf(format, args)}
}

// Wrap makes an Internal fault around err saying what was being done; a fault, or a cancelled or timed-out
// context, inside keeps its kind. It returns nil for nil.
func Wrap(err error, doing string) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return &Error{Kind: KindOf(err), Message: doing + " failed", Cause: err}
}

// KindOf is the kind of the outermost fault in err's chain; context errors have kinds of their own and
// everything else is Internal. KindOf(nil) is empty.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	}
	return Internal
}

// Is says whether err is a fault of kind k.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }

// As returns the outermost fault in err's chain, or an Internal one around err that hides it from users.
func As(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Kind: KindOf(err), Message: plain[KindOf(err)], Cause: err}
}

var plain = map[Kind]string{
	Canceled: "The request was cancelled.",
	Timeout:  "The request took longer than its limit.",
	Internal: "Something went wrong inside Triarch; the log of the control plane has the cause.",
}

var statuses = map[Kind]int{
	Invalid: 400, Unauthenticated: 401, Forbidden: 403, NotFound: 404, Conflict: 409, TooLarge: 413,
	RateLimited: 429, NoMoney: 429, Unsupported: 501, Unavailable: 503, Timeout: 504, Canceled: 499, Internal: 500,
}

// HTTPStatus maps a kind to its HTTP status; unknown kinds are 500. 499 is the customary status for a caller
// that went away: nobody is left to read it, it serves logs.
func HTTPStatus(k Kind) int {
	if s, ok := statuses[k]; ok {
		return s
	}
	return 500
}

var exits = map[Kind]int{
	Invalid: 2, Unauthenticated: 3, Forbidden: 3, NotFound: 4, Conflict: 5, TooLarge: 2, RateLimited: 6,
	NoMoney: 6, Unsupported: 2, Unavailable: 7, Timeout: 7, Canceled: 130, Internal: 1,
}

// ExitCode maps a kind to the exit code of the command line: 0 fine, 1 internal, 2 bad input, 3 key, 4 not
// found, 5 conflict, 6 limit or money, 7 unavailable, 130 cancelled.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if c, ok := exits[KindOf(err)]; ok {
		return c
	}
	return 1
}

func sprintf(format string, args []any) string {
	if len(args) == 0 {
		return format
	}
	return fmt.Sprintf(format, args...)
}
