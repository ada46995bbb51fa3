// Package webhook tells programs of the people who pay that a budget runs out: signed requests to addresses they name.
//
// A warning is written into the database together with its event, once for each hook, budget, limit and threshold, and
// an event stays there until its receiver has answered 2xx or it is given up; so nothing is lost by a crash, and what was
// answered in the instant of one is sent again. Receivers tell repeated events by their id.
//
// Rules for callers: run Loop in one process. Secrets are sealed at rest and told once, by Add. Addresses are checked
// when they are dialled; redirects are not followed.
package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/tenancy"
)

// Hook is an address that is told of budgets.
type Hook struct {
	ID         string // hook_...
	Org        string
	Project    string // whose budgets, those of its keys, members and models; empty: all of the organisation
	URL        string
	Thresholds []int // percent of a budget, rising
	Private    bool  // it may be inside the network, and plain http
	Sealed     string
	CreatedBy  string
	CreatedAt  time.Time
	LastError  string // of the newest attempt; empty when that was answered
	LastAt     time.Time
}

// DefaultThresholds are those of a hook that names none, in percent.
var DefaultThresholds = []int{50, 80, 100}

// Bounds of hooks.
const (
	MaxHooks      = 50 // of an organisation
	MaxThresholds = 10
	maxBody       = 4 << 10 // read of an answer, for the reason of a failure
)

// Event is something to be told, as it is sent.
type Event struct {
	ID        string // evt_...
	Hook      string
	Body      string // JSON
	Attempts  int
	CreatedAt time.Time
}

// Delivery is an event that is due, with where it goes.
type Delivery struct {
	Event
	To Hook
}

// Watched is a budget that a hook is told of.
type Watched struct {
	Hook   Hook
	Budget tenancy.Budget
	Warned []int // thresholds of this limit that it was told of
}

// Store keeps hooks, what they were warned of, and events.
type Store interface {
	// Add inserts a hook; fault.Conflict when the organisation has max already.
	Add(ctx context.Context, h Hook, max int) error
	// List gives the hooks of a project, or of the organisation where project is empty, by age.
	List(ctx context.Context, org, project string, p page.Page) ([]Hook, error)
	// Get is one of them; fault.NotFound.
	Get(ctx context.Context, org, project, id string) (Hook, error)
	// Remove deletes a hook with what it was not told yet.
	Remove(ctx context.Context, org, project, id string) error

	// Watched pairs every hook with the budgets that it is told of.
	Watched(ctx context.Context) ([]Watched, error)
	// Warn notes thresholds of a budget's limit and keeps the event that tells of them, in one transaction; false when
	// the highest of them was noted before, or the hook is gone.
	Warn(ctx context.Context, w Watched, thresholds []int, e Event) (bool, error)
	// Due lists events to be sent by now, oldest first.
	Due(ctx context.Context, now time.Time, limit int) ([]Delivery, error)
	// Answered notes that an event arrived.
	Answered(ctx context.Context, e Event, at time.Time) error
	// Failed notes an attempt that did not arrive and when the next one is due; the zero time gives it up.
	Failed(ctx context.Context, e Event, at, next time.Time, reason string) error
	// Forget deletes events that arrived or were given up before a time.
	Forget(ctx context.Context, before time.Time) error
}

// The headers of a request.
const (
	EventHeader     = "Triarch-Event"
	TimeHeader      = "Triarch-Timestamp"
	SignatureHeader = "Triarch-Signature"
)

// Sign is the signature of a body sent at a time, in seconds since 1970, as the header has it: "v1=" and the hexadecimal
// HMAC-SHA256 under the secret of the time, a dot and the body.
func Sign(secret []byte, at int64, body []byte) string {
	m := hmac.New(sha256.New, secret)
	m.Write(strconv.AppendInt(nil, at, 10))
	m.Write([]byte{'.'})
	m.Write(body)
	return "v1=" + hex.EncodeToString(m.Sum(nil))
}

// Verify is the receiver's side: it says whether a request was signed with the secret no longer ago, nor further ahead,
// than within.
func Verify(secret []byte, timestamp, signature string, body []byte, now time.Time, within time.Duration) bool {
	at, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || now.Sub(time.Unix(at, 0)).Abs() > within {
		return false
	}
	return hmac.Equal([]byte(signature), []byte(Sign(secret, at, body)))
}

// checked sorts thresholds and refuses those that are none.
func checked(thresholds []int) ([]int, error) {
	if len(thresholds) == 0 {
		return slices.Clone(DefaultThresholds), nil
	}
	t := slices.Clone(thresholds)
	slices.Sort(t)
	t = slices.Compact(t)
	if len(t) > MaxThresholds || t[0] < 1 || t[len(t)-1] > 100 {
		return nil, fault.InvalidField("thresholds", "Thresholds are 1 to %d numbers from 1 to 100, in percent.", MaxThresholds)
	}
	return t, nil
}

// reached are the thresholds of a limit that spending has come to and the hook was not told of.
func reached(w Watched, spent int64) []int {
	limit := w.Budget.LimitMicros
	var out []int
	for _, t := range w.Hook.Thresholds {
		n := int64(t)
		if need := limit/100*n + (limit%100*n+99)/100; limit > 0 && spent >= need && !slices.Contains(w.Warned, t) {
			out = append(out, t)
		}
	}
	return out
}

// short is a reason that fits a row and a line.
func short(reason string) string {
	const most = 300
	reason = strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, reason), "")
	if r := []rune(reason); len(r) > most {
		return string(r[:most]) + "..."
	}
	return reason
}
