package tenancy

import (
	"context"
	"fmt"

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
	return nil
}

func wider(field string, most int64) error {
	return fault.New(fault.Forbidden, fmt.Sprintf("%s can be at most the making key's, %d.", field, most), fault.Field(field))
}

// mayRebound says whether by may give a key another budget, or with nil none. What bounds a key is for those above it:
// neither the key itself nor one that it made can change it, and a key that is bounded cannot free those it made. Only
// a key that no other of its organisation made may bound itself.
func (s *Service) mayRebound(ctx context.Context, by Maker, org, id string, limit *int64) error {
	if by.KeyID == "" {
		return nil
	}
	line, err := s.line(ctx, by)
	if err != nil {
		return err
	}
	self := line[0]
	if id == by.KeyID && len(line) == 1 {
		return nil
	}
	if has(line, id) {
		return fault.New(fault.Forbidden, "A key can change neither its own budget nor that of the key that made it.",
			fault.Field("id"), fault.Fix("Ask whoever made the key."))
	}
	most := self.BudgetMicros
	if most == nil || limit != nil && *limit <= *most {
		return nil
	}
	if line, err = s.Store.Line(ctx, org, id); err == nil && has(line, by.KeyID) {
		return wider("limit_micros", *most)
	}
	return err
}
