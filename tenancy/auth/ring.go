package auth

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/netip"
	"slices"
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
	// Snapshot returns all keys, budgets and limits, or false when nothing changed since generation known.
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
	lines      map[id.Raw]*Principal // of the keys that something is charged to beside themselves
	budgets    map[budgetKey]int64
	bounds     map[id.Raw]tenancy.Bound
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

// Bound is what bounds the organisation, project, key, member or model with this id.
func (k *Keyring) Bound(of id.Raw) tenancy.Bound { return k.view.Load().bounds[of] }

// Charged lists whom what a key uses is charged to beside itself, its project and its organisation: the keys that made
// it, the nearest first, and the members these and it belong to; none for anything else.
func (k *Keyring) Charged(key id.Raw) []id.Raw {
	p := k.view.Load().lines[key]
	if p == nil {
		return nil
	}
	out := make([]id.Raw, 0, len(p.Above)+len(p.Members))
	for i := range p.Above {
		out = append(out, p.Above[i].Key)
	}
	for i := range p.Members {
		out = append(out, p.Members[i].Raw)
	}
	return out
}

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
	v := &view{generation: snap.Generation, keys: make(map[[32]byte]*entry, len(snap.Keys)), lines: map[id.Raw]*Principal{}}
	if err := v.bind(&snap); err != nil {
		return err
	}
	t := newTree(snap.Keys)
	around := map[string]tenancy.Budget{} // of all but keys, by id
	for _, b := range snap.Budgets {
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
		if len(e.principal.Above)+len(e.principal.Members) > 0 {
			v.lines[e.principal.Key] = &e.principal
		}
	}
	k.view.Store(v)
	return nil
}

// bind notes what bounds what.
func (v *view) bind(snap *tenancy.Snapshot) error {
	v.budgets = make(map[budgetKey]int64, len(snap.Budgets))
	v.bounds = make(map[id.Raw]tenancy.Bound, len(snap.Budgets)+len(snap.Limits))
	for _, b := range snap.Budgets {
		raw, err := Raw(b.Scope, b.ID)
		if err != nil {
			return fault.Wrap(err, "reading a budget")
		}
		v.budgets[budgetKey{b.Scope, b.ID}] = b.LimitMicros
		x := v.bounds[raw]
		x.Budget, x.Budgeted = b.LimitMicros, true
		v.bounds[raw] = x
	}
	for _, l := range snap.Limits {
		raw, err := Raw(l.Scope, l.ID)
		if err != nil {
			return fault.Wrap(err, "reading a limit")
		}
		x := v.bounds[raw]
		x.Limits = l.Limits
		v.bounds[raw] = x
	}
	return nil
}

func newEntry(e *tenancy.Entry, t tree, around map[string]tenancy.Budget) (*entry, error) {
	p := Principal{KeyID: e.ID, OrgID: e.OrgID, ProjectID: e.ProjectID, Role: t.role(e), Scopes: e.Scopes, Limits: e.Limits, Models: e.Models, Lowers: t.lowers(e, around)}
	p.belongs(e)
	for _, m := range t.makers(e) {
		raw, err := id.ParseRaw(m.ID)
		if err != nil {
			return nil, err
		}
		p.Above = append(p.Above, Above{KeyID: m.ID, Key: raw, Limits: m.Limits})
		p.belongs(m)
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

// belongs notes the member that a key belongs to.
func (p *Principal) belongs(e *tenancy.Entry) {
	if e.Member == "" {
		return
	}
	m := tenancy.MemberID(e.ProjectID, e.Member)
	if !slices.ContainsFunc(p.Members, func(x Member) bool { return x.ID == m }) {
		p.Members = append(p.Members, Member{m, MemberRaw(m)})
	}
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
