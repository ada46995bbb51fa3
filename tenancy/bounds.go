package tenancy

import (
	"context"
	"fmt"
	"slices"

	"github.com/triarch-ai/triarch/internal/fault"
)

// within keeps what a new key may use at most at what its maker may: a bound that is not asked for is the maker's, a
// wider one is refused.
func within(maker Key, k *Key) error {
	for _, x := range []struct {
		field string
		most  int64
		n     *int64
	}{
		{"rpm", maker.Limits.RPM, &k.Limits.RPM},
		{"tpm", maker.Limits.TPM, &k.Limits.TPM},
		{"concurrency", maker.Limits.Concurrency, &k.Limits.Concurrency},
	} {
		switch {
		case x.most == 0:
		case *x.n == 0:
			*x.n = x.most
		case *x.n > x.most:
			return wider(x.field, x.most)
		}
	}
	switch most := maker.BudgetMicros; {
	case most == nil:
	case k.BudgetMicros == nil:
		n := *most
		k.BudgetMicros = &n
	case *k.BudgetMicros > *most:
		return wider("budget_micros", *most)
	}
	return withinModels(maker, k)
}

func wider(field string, most int64) error {
	return fault.New(fault.Forbidden, fmt.Sprintf("%s can be at most the making key's, %d.", field, most), fault.Field(field))
}

// bound is one of the amounts that bound a key; nil where it has none.
type bound func(Key) *int64

func ofBudget(k Key) *int64 { return k.BudgetMicros }

// mayRebound says whether by may give a thing another bound of a kind, or with nil none, and whether only a lower one.
// What bounds a key is for those above it: neither the key itself nor one that it made can change it. A key with such a
// bound in its line gives those below it no more than that, and all else only less than there is: else two that are
// bounded could free each other. Only a key that no other of its organisation made may bound itself. A key that a
// member's key made, or that is one, only lowers what bounds the member.
func (s *Service) mayRebound(ctx context.Context, by Maker, org, scope, id string, limit *int64, of bound) (lowerOnly bool, err error) {
	if by.KeyID == "" || scope == OfOrganisation || scope == OfProject {
		return false, nil
	}
	line, err := s.line(ctx, by)
	if err != nil {
		return false, err
	}
	most := least(line, of)
	switch scope {
	case OfMember:
		return most != nil || slices.ContainsFunc(line, func(k Key) bool { return k.Member != "" && MemberID(k.ProjectID, k.Member) == id }), nil
	case OfModel:
		return most != nil, nil
	}
	if id == by.KeyID && len(line) == 1 {
		return false, nil
	}
	if has(line, id) {
		return false, fault.New(fault.Forbidden, "A key can change neither what bounds itself nor what bounds the key that made it.",
			fault.Field("id"), fault.Fix("Ask whoever made the key."))
	}
	if most == nil {
		return false, nil
	}
	target, err := s.Store.Line(ctx, org, id)
	switch {
	case err != nil:
		return false, err
	case has(target, by.KeyID) && (limit == nil || *limit > *most):
		return false, wider("limit_micros", *most)
	case has(target, by.KeyID):
		return false, nil
	case limit == nil:
		return false, lowerable()
	}
	return true, nil
}

// least is the smallest bound of a line; nil without any.
func least(line []Key, of bound) (most *int64) {
	for _, k := range line {
		if n := of(k); n != nil && (most == nil || *n < *most) {
			most = n
		}
	}
	return most
}
