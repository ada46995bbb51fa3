package sql

import (
	"context"
	stdsql "database/sql"
	"encoding/hex"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/tenancy"
)

// Tenancy is the tenancy.Store of a database.
type Tenancy struct{ db *DB }

var _ tenancy.Store = (*Tenancy)(nil)

// Tenancy gives access to organisations, projects, members, keys and budgets.
func (db *DB) Tenancy() *Tenancy { return &Tenancy{db} }

// change runs f after raising the generation: readers see that something changed, and writers come one after
// another, so that f may decide on what it reads.
func (s *Tenancy) change(ctx context.Context, f func(*Tx) error) error {
	return s.db.Write(ctx, func(tx *Tx) error {
		if _, err := tx.Exec(ctx, "UPDATE tenancy_generation SET generation = generation + 1 WHERE id = 1"); err != nil {
			return err
		}
		return f(tx)
	})
}

// AddOrganisation implements tenancy.Store.
func (s *Tenancy) AddOrganisation(ctx context.Context, o tenancy.Organisation, p tenancy.Project, k tenancy.Key, hash [32]byte, onlyIfFirst bool) (bool, error) {
	made := false
	err := s.change(ctx, func(tx *Tx) error {
		made = false
		if onlyIfFirst {
			var n int64
			if err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM organisations").Scan(&n); err != nil || n > 0 {
				return err
			}
		}
		_, err := tx.Exec(ctx, "INSERT INTO organisations (id, name, created_at) VALUES (?, ?, ?)", o.ID, o.Name, micros(o.CreatedAt))
		if err != nil {
			return exists(err, "There is an organisation %q already.", o.Name)
		}
		if err := addProject(ctx, tx, p); err != nil {
			return err
		}
		if err := addKey(ctx, tx, k, hash); err != nil {
			return err
		}
		made = true
		return nil
	})
	return made && err == nil, err
}

const organisationColumns = "SELECT id, name, created_at FROM organisations"

func scanOrganisation(r Scanner) (o tenancy.Organisation, err error) {
	var at int64
	err = r.Scan(&o.ID, &o.Name, &at)
	o.CreatedAt = fromMicros(at)
	return o, err
}

// Organisations implements tenancy.Store, oldest first.
func (s *Tenancy) Organisations(ctx context.Context, p page.Page) (out []tenancy.Organisation, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		out, err = paged(ctx, tx, scanOrganisation, p, order{"id", "t", false}, organisationColumns+" WHERE 1 = 1")
		return err
	})
	return out, err
}

// Organisation implements tenancy.Store.
func (s *Tenancy) Organisation(ctx context.Context, id string) (o tenancy.Organisation, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		o, err = scanOrganisation(tx.QueryRow(ctx, organisationColumns+" WHERE id = ?", id))
		return missing(err, "There is no organisation %q.", id)
	})
	return o, err
}

func addProject(ctx context.Context, tx *Tx, p tenancy.Project) error {
	_, err := tx.Exec(ctx, "INSERT INTO projects (id, org_id, name, created_at) VALUES (?, ?, ?, ?)",
		p.ID, p.OrgID, p.Name, micros(p.CreatedAt))
	return exists(err, "There is a project %q in the organisation already.", p.Name)
}

// AddProject implements tenancy.Store.
func (s *Tenancy) AddProject(ctx context.Context, p tenancy.Project) error {
	return s.change(ctx, func(tx *Tx) error { return addProject(ctx, tx, p) })
}

const projectColumns = "SELECT id, org_id, name, created_at FROM projects"

func scanProject(r Scanner) (p tenancy.Project, err error) {
	var at int64
	err = r.Scan(&p.ID, &p.OrgID, &p.Name, &at)
	p.CreatedAt = fromMicros(at)
	return p, err
}

// Projects implements tenancy.Store, oldest first.
func (s *Tenancy) Projects(ctx context.Context, org string, p page.Page) (out []tenancy.Project, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		out, err = paged(ctx, tx, scanProject, p, order{"id", "t", false}, projectColumns+" WHERE org_id = ?", org)
		return err
	})
	return out, err
}

// Project implements tenancy.Store.
func (s *Tenancy) Project(ctx context.Context, org, id string) (p tenancy.Project, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		p, err = scanProject(tx.QueryRow(ctx, projectColumns+" WHERE org_id = ? AND id = ?", org, id))
		return missing(err, "There is no project %q.", id)
	})
	return p, err
}

// lastOwner refuses what would leave a project that has an owner without one.
func lastOwner(ctx context.Context, tx *Tx, project, email string) error {
	var self, others int64
	err := tx.QueryRow(ctx, `SELECT COALESCE(SUM(CASE WHEN email = ? THEN 1 ELSE 0 END), 0),
		COALESCE(SUM(CASE WHEN email = ? THEN 0 ELSE 1 END), 0) FROM members WHERE project_id = ? AND role = ?`,
		email, email, project, string(tenancy.Owner)).Scan(&self, &others)
	if err != nil {
		return err
	}
	if self > 0 && others == 0 {
		return fault.New(fault.Conflict, "This member is the project's last owner.", fault.Code("last_owner"),
			fault.Fix("Make another member owner first."))
	}
	return nil
}

// PutMember implements tenancy.Store.
func (s *Tenancy) PutMember(ctx context.Context, m tenancy.Member, orphan bool) error {
	return s.change(ctx, func(tx *Tx) error {
		if m.Role != tenancy.Owner && !orphan {
			if err := lastOwner(ctx, tx, m.ProjectID, m.Email); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `INSERT INTO members (project_id, email, role, created_at) VALUES (?, ?, ?, ?)
			ON CONFLICT (project_id, email) DO UPDATE SET role = excluded.role`,
			m.ProjectID, m.Email, string(m.Role), micros(m.CreatedAt))
		return err
	})
}

const memberColumns = "SELECT project_id, email, role, created_at FROM members"

func scanMember(r Scanner) (m tenancy.Member, err error) {
	var at int64
	err = r.Scan(&m.ProjectID, &m.Email, &m.Role, &at)
	m.CreatedAt = fromMicros(at)
	return m, err
}

// Members implements tenancy.Store, by email.
func (s *Tenancy) Members(ctx context.Context, project string, p page.Page) (out []tenancy.Member, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		out, err = paged(ctx, tx, scanMember, p, order{"email", "t", false}, memberColumns+" WHERE project_id = ?", project)
		return err
	})
	return out, err
}

// Member implements tenancy.Store.
func (s *Tenancy) Member(ctx context.Context, project, email string) (m tenancy.Member, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		m, err = scanMember(tx.QueryRow(ctx, memberColumns+" WHERE project_id = ? AND email = ?", project, email))
		return missing(err, "There is no member %q in the project.", email)
	})
	return m, err
}

// RemoveMember implements tenancy.Store.
func (s *Tenancy) RemoveMember(ctx context.Context, project, email string, at time.Time, keepChildren, orphan bool) error {
	return s.change(ctx, func(tx *Tx) error {
		if !orphan {
			if err := lastOwner(ctx, tx, project, email); err != nil {
				return err
			}
		}
		n, err := tx.Exec(ctx, "DELETE FROM members WHERE project_id = ? AND email = ?", project, email)
		if err == nil && n == 0 {
			err = fault.Newf(fault.NotFound, "There is no member %q in the project.", email)
		}
		if err != nil {
			return err
		}
		return revoke(ctx, tx, at, keepChildren, "project_id = ? AND member = ?", project, email)
	})
}

// revoke revokes the keys that where finds, and unless keepChildren those that they made, and so on within the
// organisation. Those already revoked stay as they are, but what they made is revoked, too.
func revoke(ctx context.Context, tx *Tx, at time.Time, keepChildren bool, where string, args ...any) error {
	below := " UNION SELECT k.id, k.org_id FROM api_keys k JOIN below b ON k.created_by = b.id AND k.org_id = b.org_id"
	if keepChildren {
		below = ""
	}
	_, err := tx.Exec(ctx, "WITH RECURSIVE below (id, org_id) AS (SELECT id, org_id FROM api_keys WHERE "+where+below+
		") UPDATE api_keys SET revoked_at = ? WHERE revoked_at IS NULL AND id IN (SELECT id FROM below)", append(args, micros(at))...)
	return err
}

func addKey(ctx context.Context, tx *Tx, k tenancy.Key, hash [32]byte) error {
	scopes, err := toJSON(k.Scopes)
	if err != nil {
		return err
	}
	models, err := toJSON(k.Models)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO api_keys (id, org_id, project_id, name, role, scopes, member, hint, hash,
		models, expires_at, revoked_at, created_by, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		k.ID, k.OrgID, k.ProjectID, k.Name, string(k.Role), scopes, k.Member, k.Hint, hex.EncodeToString(hash[:]), models,
		microsOrNull(k.ExpiresAt), microsOrNull(k.RevokedAt), k.CreatedBy, micros(k.CreatedAt))
	if err == nil && k.Limits != (tenancy.Limits{}) {
		err = putLimit(ctx, tx, k.OrgID, tenancy.Limit{Scope: tenancy.OfKey, ID: k.ID, Limits: k.Limits, SetFrom: k.LimitsFrom})
	}
	if err != nil || k.BudgetMicros == nil {
		return err
	}
	return putBudget(ctx, tx, k.OrgID, tenancy.Budget{Scope: tenancy.OfKey, ID: k.ID, LimitMicros: *k.BudgetMicros, SetFrom: k.BudgetFrom})
}

// AddKey implements tenancy.Store. A member removed in the meantime is fault.Conflict.
func (s *Tenancy) AddKey(ctx context.Context, k tenancy.Key, hash [32]byte) error {
	return s.change(ctx, func(tx *Tx) error {
		if k.CreatedBy != "" {
			var n int64
			err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM api_keys WHERE org_id = ? AND id = ? AND revoked_at IS NULL", k.OrgID, k.CreatedBy).Scan(&n)
			if err != nil {
				return err
			}
			if n == 0 {
				return fault.New(fault.Conflict, "The key that asks was revoked.")
			}
		}
		if k.Member != "" {
			var n int64
			err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM members WHERE project_id = ? AND email = ?", k.ProjectID, k.Member).Scan(&n)
			if err != nil {
				return err
			}
			if n == 0 {
				return fault.Newf(fault.Conflict, "%q is no member of the project any more.", k.Member)
			}
		}
		return addKey(ctx, tx, k, hash)
	})
}

const keyColumns = `SELECT k.id, k.org_id, k.project_id, k.name, k.role, k.scopes, k.models, k.member, k.hint, k.hash, COALESCE(l.rpm, 0), COALESCE(l.tpm, 0),
	COALESCE(l.concurrency, 0), COALESCE(l.set_from, ''), k.expires_at, k.revoked_at, k.created_by, k.created_at, b.limit_micros, b.set_from, m.role
	FROM api_keys k LEFT JOIN budgets b ON b.scope = 'key' AND b.id = k.id LEFT JOIN limits l ON l.scope = 'key' AND l.id = k.id
	LEFT JOIN members m ON k.member <> '' AND m.project_id = k.project_id AND m.email = k.member`

func scanEntry(r Scanner) (e tenancy.Entry, err error) {
	var scopes, models, hash string
	var expires, revoked, budget stdsql.NullInt64
	var role, from stdsql.NullString
	var at int64
	err = r.Scan(&e.ID, &e.OrgID, &e.ProjectID, &e.Name, &e.Role, &scopes, &models, &e.Member, &e.Hint, &hash, &e.Limits.RPM, &e.Limits.TPM,
		&e.Limits.Concurrency, &e.LimitsFrom, &expires, &revoked, &e.CreatedBy, &at, &budget, &from, &role)
	if err != nil {
		return e, err
	}
	if err := fromJSON(scopes, &e.Scopes); err != nil {
		return e, err
	}
	if err := fromJSON(models, &e.Models); err != nil {
		return e, err
	}
	raw, err := hex.DecodeString(hash)
	if err != nil || len(raw) != len(e.Hash) {
		return e, fault.Newf(fault.Internal, "The stored hash of key %s is damaged.", e.ID)
	}
	copy(e.Hash[:], raw)
	e.ExpiresAt, e.RevokedAt, e.CreatedAt = timeOrNil(expires), timeOrNil(revoked), fromMicros(at)
	if budget.Valid {
		e.BudgetMicros, e.BudgetFrom = &budget.Int64, tenancy.Scope(from.String)
	}
	e.MemberRole = tenancy.Role(role.String)
	return e, nil
}

// Keys implements tenancy.Store, oldest first.
func (s *Tenancy) Keys(ctx context.Context, project string, p page.Page) (out []tenancy.Key, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		es, err := paged(ctx, tx, scanEntry, p, order{"k.id", "t", false}, keyColumns+" WHERE k.project_id = ?", project)
		out = make([]tenancy.Key, len(es))
		for i := range es {
			out[i] = es[i].Key
		}
		return err
	})
	return out, err
}

// Key implements tenancy.Store.
func (s *Tenancy) Key(ctx context.Context, project, id string) (k tenancy.Key, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		e, err := scanEntry(tx.QueryRow(ctx, keyColumns+" WHERE k.project_id = ? AND k.id = ?", project, id))
		k = e.Key
		return missing(err, "There is no key %q in the project.", id)
	})
	return k, err
}

// Line implements tenancy.Store.
func (s *Tenancy) Line(ctx context.Context, org, id string) (out []tenancy.Key, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		out = nil
		for next := id; next != ""; next = out[len(out)-1].CreatedBy {
			e, err := scanEntry(tx.QueryRow(ctx, keyColumns+" WHERE k.org_id = ? AND k.id = ?", org, next))
			if len(out) > 0 && fault.Is(err, fault.NotFound) {
				return nil // made by an operator of another organisation
			}
			if err != nil {
				return missing(err, "There is no key %q.", id)
			}
			out = append(out, e.Key)
			if len(out) > longestLine {
				return fault.Newf(fault.Internal, "The makers of key %s form a ring.", id)
			}
		}
		return nil
	})
	return out, err
}

// longestLine is more than any chain of makers has, also those made before there was a bound.
const longestLine = 10_000

// RevokeKey implements tenancy.Store.
func (s *Tenancy) RevokeKey(ctx context.Context, project, id string, at time.Time, keepChildren bool) error {
	return s.change(ctx, func(tx *Tx) error {
		var found string
		if err := tx.QueryRow(ctx, "SELECT id FROM api_keys WHERE project_id = ? AND id = ?", project, id).Scan(&found); err != nil {
			return missing(err, "There is no key %q in the project.", id)
		}
		return revoke(ctx, tx, at, keepChildren, "id = ?", id)
	})
}

func putBudget(ctx context.Context, tx *Tx, org string, b tenancy.Budget) error {
	_, err := tx.Exec(ctx, `INSERT INTO budgets (scope, id, org_id, limit_micros, set_from) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (scope, id) DO UPDATE SET limit_micros = excluded.limit_micros, set_from = excluded.set_from`,
		b.Scope, b.ID, org, b.LimitMicros, string(b.SetFrom))
	return err
}

// owns maps what a budget or limit can bound to the query that finds it within an organisation.
var owns = map[string]string{
	tenancy.OfOrganisation: "SELECT id FROM organisations WHERE id = ? AND id = ?",
	tenancy.OfProject:      "SELECT id FROM projects WHERE org_id = ? AND id = ?",
	tenancy.OfKey:          "SELECT id FROM api_keys WHERE org_id = ? AND id = ?",
	tenancy.OfMember: "SELECT m.email FROM members m JOIN projects p ON p.id = m.project_id WHERE p.org_id = ?" +
		" AND m.project_id || ':' || m.email = ?",
	tenancy.OfModel: "SELECT id FROM routes WHERE org = ? AND id = ?",
}

// holders maps what a budget or limit can bound to the query that finds its organisation and project, whichever they are.
var holders = map[string]string{
	tenancy.OfOrganisation: "SELECT id, '' FROM organisations WHERE id = ?",
	tenancy.OfProject:      "SELECT org_id, id FROM projects WHERE id = ?",
	tenancy.OfKey:          "SELECT org_id, project_id FROM api_keys WHERE id = ?",
	tenancy.OfMember:       "SELECT org_id, id FROM projects WHERE id = ?",
	tenancy.OfModel:        "SELECT org, project FROM routes WHERE id = ?",
}

// Holder implements tenancy.Store.
func (s *Tenancy) Holder(ctx context.Context, scope, id string) (org, project string, err error) {
	query, ok := holders[scope]
	if !ok {
		return "", "", fault.InvalidField("scope", "There is no %q that could be held.", scope)
	}
	of := id
	if scope == tenancy.OfMember { // also of one who is none any more
		of, _, _ = strings.Cut(id, ":")
	}
	err = s.db.Read(ctx, func(tx *Tx) error {
		return missing(tx.QueryRow(ctx, query, of).Scan(&org, &project), "There is no %s %q.", scope, id)
	})
	return org, project, err
}

func putLimit(ctx context.Context, tx *Tx, org string, l tenancy.Limit) error {
	_, err := tx.Exec(ctx, `INSERT INTO limits (scope, id, org_id, rpm, tpm, concurrency, set_from) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (scope, id) DO UPDATE SET rpm = excluded.rpm, tpm = excluded.tpm, concurrency = excluded.concurrency, set_from = excluded.set_from`,
		l.Scope, l.ID, org, l.RPM, l.TPM, l.Concurrency, string(l.SetFrom))
	return err
}

const limitColumns = "SELECT scope, id, rpm, tpm, concurrency, set_from FROM limits"

func scanLimit(r Scanner) (l tenancy.Limit, err error) {
	err = r.Scan(&l.Scope, &l.ID, &l.RPM, &l.TPM, &l.Concurrency, &l.SetFrom)
	return l, err
}

// SetLimit implements tenancy.Store.
func (s *Tenancy) SetLimit(ctx context.Context, org string, c tenancy.LimitChange) (set tenancy.Limit, err error) {
	query, ok := owns[c.Scope]
	if !ok {
		return set, fault.InvalidField("scope", "A limit cannot be of %q.", c.Scope)
	}
	err = s.change(ctx, func(tx *Tx) error {
		old, err := scanLimit(tx.QueryRow(ctx, limitColumns+" WHERE org_id = ? AND scope = ? AND id = ?", org, c.Scope, c.ID))
		switch {
		case fault.Is(err, fault.NotFound): // what was set of something that is gone can still be taken away
			var id string
			if err := tx.QueryRow(ctx, query, org, c.ID).Scan(&id); err != nil {
				return missing(err, "There is no %s %q.", c.Scope, c.ID)
			}
		case err != nil:
			return err
		}
		if set, err = c.Apply(old); err != nil {
			return err
		}
		if set.Limits == (tenancy.Limits{}) {
			_, err := tx.Exec(ctx, "DELETE FROM limits WHERE org_id = ? AND scope = ? AND id = ?", org, c.Scope, c.ID)
			return err
		}
		return putLimit(ctx, tx, org, set)
	})
	return set, err
}

// Limits implements tenancy.Store.
func (s *Tenancy) Limits(ctx context.Context, org string) (out []tenancy.Limit, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		out, err = All(ctx, tx, scanLimit, limitColumns+" WHERE org_id = ? ORDER BY scope, id", org)
		return err
	})
	return out, err
}

// SetBudget implements tenancy.Store.
func (s *Tenancy) SetBudget(ctx context.Context, org string, b tenancy.Budget) (set tenancy.Budget, err error) {
	query, ok := owns[b.Scope]
	if !ok {
		return b, fault.InvalidField("scope", "A budget cannot be of %q.", b.Scope)
	}
	err = s.change(ctx, func(tx *Tx) error {
		var id string
		if err := tx.QueryRow(ctx, query, org, b.ID).Scan(&id); err != nil {
			return missing(err, "There is no %s %q.", b.Scope, b.ID)
		}
		set = b
		switch old, err := oneBudget(ctx, tx, org, b.Scope, b.ID); {
		case fault.Is(err, fault.NotFound):
		case err != nil:
			return err
		default:
			if set, err = b.Replace(old); err != nil {
				return err
			}
		}
		return putBudget(ctx, tx, org, set)
	})
	return set, err
}

// RemoveBudget implements tenancy.Store.
func (s *Tenancy) RemoveBudget(ctx context.Context, org, scope, id string, height tenancy.Scope) error {
	return s.change(ctx, func(tx *Tx) error {
		old, err := oneBudget(ctx, tx, org, scope, id)
		if err != nil {
			return missing(err, "The %s %q has no budget.", scope, id)
		}
		if err := old.MayRemove(height); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "DELETE FROM budgets WHERE org_id = ? AND scope = ? AND id = ?", org, scope, id)
		return err
	})
}

const budgetColumns = "SELECT scope, id, limit_micros, set_from FROM budgets"

func scanBudget(r Scanner) (b tenancy.Budget, err error) {
	err = r.Scan(&b.Scope, &b.ID, &b.LimitMicros, &b.SetFrom)
	return b, err
}

func oneBudget(ctx context.Context, tx *Tx, org, scope, id string) (tenancy.Budget, error) {
	return scanBudget(tx.QueryRow(ctx, budgetColumns+" WHERE org_id = ? AND scope = ? AND id = ?", org, scope, id))
}

// Budgets implements tenancy.Store.
func (s *Tenancy) Budgets(ctx context.Context, org string) (out []tenancy.Budget, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		out, err = All(ctx, tx, scanBudget, budgetColumns+" WHERE org_id = ? ORDER BY scope, id", org)
		return err
	})
	return out, err
}

// Snapshot implements tenancy.Store and auth.Source.
func (s *Tenancy) Snapshot(ctx context.Context, known int64) (snap tenancy.Snapshot, changed bool, err error) {
	err = s.db.Read(ctx, func(tx *Tx) error {
		if err := tx.QueryRow(ctx, "SELECT generation FROM tenancy_generation WHERE id = 1").Scan(&snap.Generation); err != nil {
			return err
		}
		if changed = snap.Generation != known; !changed {
			return nil
		}
		var err error
		if snap.Keys, err = All(ctx, tx, scanEntry, keyColumns); err != nil {
			return err
		}
		if snap.Budgets, err = All(ctx, tx, scanBudget, budgetColumns); err != nil {
			return err
		}
		snap.Limits, err = All(ctx, tx, scanLimit, limitColumns)
		return err
	})
	return snap, changed && err == nil, err
}
