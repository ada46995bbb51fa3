package auth

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/tenancy"
)

// Source is where the key ring reads keys from; a tenancy.Store is one.
type Source interface {
	// Snapshot returns all keys and budgets, or false when nothing changed since generation known.
	Snapshot(ctx context.Context, known int64) (tenancy.Snapshot, bool, error)
}

// Keyring authenticates secrets against an immutable snapshot in memory.
type Keyring struct {
	src  Source
	now  func() time.Time
	mu   sync.Mutex // one refresh at a time
	view atomic.Pointer[view]

	attempts attempts
}

type view struct {
	generation int64
	keys       map[[32]byte]*entry
	above      map[id.Raw][]Above
	budgets    map[budgetKey]int64
}

type entry struct {
	principal Principal
	revoked   bool
}

type budgetKey struct{ scope, id string }

// NewKeyring makes an empty ring; call Refresh before use. now is the clock for expiry.
func NewKeyring(src Source, now func() time.Time) *Keyring {
	k := &Keyring{src: src, now: now, attempts: attempts{now: now, of: map[netip.Prefix]*bucket{}}}
	k.view.Store(&view{generation: -1})
	return k
}

// secretLen is the length of "tri_" and 32 bytes in unpadded base64url.
const secretLen = len(tenancy.SecretPrefix) + 43

// Authenticate returns the principal of a secret. Every failure is fault.Unauthenticated, with the code
// key_missing, key_unknown, key_revoked or key_expired.
func (k *Keyring) Authenticate(secret string) (*Principal, error) {
	if secret == "" {
		return nil, fault.New(fault.Unauthenticated, "The request has no API key.", fault.Code("key_missing"),
			fault.Fix("Send it as `Authorization: Bearer tri_...`."))
	}
	if len(secret) != secretLen || !strings.HasPrefix(secret, tenancy.SecretPrefix) {
		return nil, unknown()
	}
	var b [secretLen]byte // a conversion would allocate
	copy(b[:], secret)
	e, ok := k.view.Load().keys[sha256.Sum256(b[:])]
	if !ok {
		return nil, unknown()
	}
	if e.revoked {
		return nil, fault.New(fault.Unauthenticated, "This API key was revoked.", fault.Code("key_revoked"),
			fault.Fix("Make another with `triarch key create`."))
	}
	if exp := e.principal.ExpiresAt; !exp.IsZero() && !k.now().Before(exp) {
		return nil, fault.New(fault.Unauthenticated, "This API key has expired.", fault.Code("key_expired"),
			fault.Fix("Make another with `triarch key create`."))
	}
	return &e.principal, nil
}

func unknown() error {
	return fault.New(fault.Unauthenticated, "This API key is not known here.", fault.Code("key_unknown"),
		fault.Fix("Check that it is complete and made for this address."))
}

// Budget returns the limit in micro-units of an organisation, project or key (tenancy.OfKey and so on), and whether
// it has one.
func (k *Keyring) Budget(scope, id string) (int64, bool) {
	m, ok := k.view.Load().budgets[budgetKey{scope, id}]
	return m, ok
}

// Above lists the keys that made the key with this id, the nearest first; none for anything else.
func (k *Keyring) Above(key id.Raw) []Above { return k.view.Load().above[key] }

// Generation is the number of the snapshot in use; it grows when keys or budgets changed.
func (k *Keyring) Generation() int64 { return k.view.Load().generation }

// Refresh reads the keys anew if they changed. After it returns nil every change committed before the call is seen.
func (k *Keyring) Refresh(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	snap, changed, err := k.src.Snapshot(ctx, k.view.Load().generation)
	if err != nil || !changed {
		return fault.Wrap(err, "reading the API keys")
	}
	v := &view{generation: snap.Generation, keys: make(map[[32]byte]*entry, len(snap.Keys)),
		budgets: make(map[budgetKey]int64, len(snap.Budgets)), above: map[id.Raw][]Above{}}
	t := newTree(snap.Keys)
	around := map[string]tenancy.Budget{} // of projects and organisations, by id
	for _, b := range snap.Budgets {
		v.budgets[budgetKey{b.Scope, b.ID}] = b.LimitMicros
		if b.Scope != tenancy.OfKey {
			around[b.ID] = b
		}
	}
	for i := range snap.Keys {
		e, err := newEntry(&snap.Keys[i], t, around)
		if err != nil {
			return fault.Wrap(err, "reading key "+snap.Keys[i].ID)
		}
		v.keys[snap.Keys[i].Hash] = e
		if len(e.principal.Above) > 0 {
			v.above[e.principal.Key] = e.principal.Above
		}
	}
	k.view.Store(v)
	return nil
}

func newEntry(e *tenancy.Entry, t tree, around map[string]tenancy.Budget) (*entry, error) {
	p := Principal{KeyID: e.ID, OrgID: e.OrgID, ProjectID: e.ProjectID, Role: t.role(e), Scopes: e.Scopes, Limits: e.Limits, Lowers: t.lowers(e, around)}
	for _, m := range t.makers(e) {
		raw, err := id.ParseRaw(m.ID)
		if err != nil {
			return nil, err
		}
		p.Above = append(p.Above, Above{KeyID: m.ID, Key: raw, Limits: m.Limits})
	}
	if e.ExpiresAt != nil {
		p.ExpiresAt = *e.ExpiresAt
	}
	for _, x := range []struct {
		raw *id.Raw
		id  string
	}{{&p.Key, e.ID}, {&p.Org, e.OrgID}, {&p.Project, e.ProjectID}} {
		raw, err := id.ParseRaw(x.id)
		if err != nil {
			return nil, err
		}
		*x.raw = raw
	}
	return &entry{principal: p, revoked: e.RevokedAt != nil}, nil
}

// Loop refreshes once every interval until ctx ends. A failed refresh keeps the keys known so far and is logged
// when it begins and when it is over.
func (k *Keyring) Loop(ctx context.Context, every time.Duration, log *slog.Logger) {
	t := time.NewTicker(every)
	defer t.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		err := k.Refresh(ctx)
		switch {
		case err != nil && !failing && ctx.Err() == nil:
			log.Warn("API keys cannot be refreshed; going on with those known", "error", err)
			failing = true
		case err == nil && failing:
			log.Info("API keys are refreshed again")
			failing = false
		}
	}
}
