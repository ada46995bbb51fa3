package tenancy

import (
	"context"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Limit bounds how fast an organisation, project, key, member or model may be used.
type Limit struct {
	Scope string // OfOrganisation and so on
	ID    string // of the thing it bounds
	Limits
	SetFrom Scope // the widest Height of those that set it: Admin, OrgWide or Platform
}

// Bound is all that bounds a thing.
type Bound struct {
	Limits
	Budget   int64 // what it may spend in all, micro-units
	Budgeted bool  // it has a budget
}

// LimitChange is what is to become of a Limit: nil stays as it is, 0 takes that bound away.
type LimitChange struct {
	Scope, ID             string
	RPM, TPM, Concurrency *int64
	SetFrom               Scope   // Height of the key that asks
	LowerOnly             [3]bool // it may only lower the requests, the tokens, the concurrency; not stored
}

// Empty says that nothing is to change.
func (c LimitChange) Empty() bool { return c.RPM == nil && c.TPM == nil && c.Concurrency == nil }

// The fields of limits, in the order of LimitChange.LowerOnly.
var limitFields = [3]string{"rpm", "tpm", "concurrency"}

func (c *LimitChange) wanted() [3]*int64 { return [3]*int64{c.RPM, c.TPM, c.Concurrency} }

func (l *Limits) fields() [3]*int64 { return [3]*int64{&l.RPM, &l.TPM, &l.Concurrency} }

// Apply is the limit that takes the place of old. One that was set from above may be lowered from below, and stays set
// from above; raising it, or taking a bound of it away, is fault.Forbidden.
func (c LimitChange) Apply(old Limit) (Limit, error) {
	now := old
	now.Scope, now.ID = c.Scope, c.ID
	for i, want := range c.wanted() {
		if want == nil {
			continue
		}
		field := now.fields()[i]
		if raises(*field, *want) {
			if c.LowerOnly[i] {
				return old, lowerableLimit(limitFields[i])
			}
			if heights[c.SetFrom] < heights[old.SetFrom] {
				return old, fault.New(fault.Forbidden, "This limit was set with the scope "+string(old.SetFrom)+": without it, it can only be lowered.",
					fault.Field(limitFields[i]), fault.Code("set_from_above"), fault.Fix("Ask whoever has a key with that scope."))
			}
		}
		*field = *want
	}
	if heights[c.SetFrom] > heights[now.SetFrom] {
		now.SetFrom = c.SetFrom
	}
	return now, nil
}

// raises says whether a bound of n lets through more than one of old; 0 is none.
func raises(old, n int64) bool { return old != 0 && (n == 0 || n > old) }

func lowerableLimit(field string) error {
	return fault.New(fault.Forbidden, "A key with such a limit, made by one, or of the member can only lower the limits of what it did not make.",
		fault.Field(field), fault.Fix("Ask whoever made the key."))
}

// SetLimit changes how fast something may be used, and returns the limit as it now is. Who may do so is as with
// SetBudget, for each of the bounds.
func (s *Service) SetLimit(ctx context.Context, by Maker, c LimitChange) (Limit, error) {
	org, err := s.mayBound(ctx, by, c.Scope, c.ID)
	if err != nil {
		return Limit{}, err
	}
	for i, want := range c.wanted() {
		if want == nil {
			continue
		}
		if *want < 0 || *want > amountMax {
			return Limit{}, fault.InvalidField(limitFields[i], "%s must be between 0 and %d, got %d.", limitFields[i], int64(amountMax), *want)
		}
		if *want == 0 {
			want = nil
		}
		of := func(k Key) *int64 {
			if n := *k.Limits.fields()[i]; n > 0 {
				return &n
			}
			return nil
		}
		if c.LowerOnly[i], err = s.mayRebound(ctx, by, org, c.Scope, c.ID, want, of); err != nil {
			return Limit{}, inField(err, limitFields[i])
		}
	}
	c.SetFrom = Height(by.Scopes)
	l, err := s.Store.SetLimit(ctx, org, c)
	return l, s.done(ctx, err)
}

// inField names a field in a fault about a bound.
func inField(err error, field string) error {
	f := fault.As(err)
	if f.Field != "limit_micros" {
		return err
	}
	return fault.New(f.Kind, strings.ReplaceAll(strings.ReplaceAll(f.Message, "limit_micros", field), "budget", "limit"), fault.Code(f.Code), fault.Field(field), fault.Fix("%s", f.Fix))
}

// Limits lists what by may see of an organisation's limits, as Budgets does.
func (s *Service) Limits(ctx context.Context, by Maker, org string) ([]Limit, error) {
	org, err := s.OrganisationFor(ctx, by, org)
	if err != nil {
		return nil, err
	}
	all, err := s.Store.Limits(ctx, org)
	if err != nil || Height(by.Scopes) != Admin {
		return all, err
	}
	mine, err := s.mine(ctx, by)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(l Limit) bool { return !mine(l.Scope, l.ID) }), nil
}
