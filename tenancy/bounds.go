package tenancy

import (
	"context"
	"fmt"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/page"
)

// maker returns the stored key behind a Maker; the zero Key, which bounds nothing, for one that acts without a key.
func (s *Service) maker(ctx context.Context, by Maker) (Key, error) {
	if by.KeyID == "" {
		return Key{}, nil
	}
	return s.Store.Key(ctx, by.ProjectID, by.KeyID)
}

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
// a key that no other made may bound itself.
func (s *Service) mayRebound(ctx context.Context, by Maker, id string, limit *int64) error {
	if by.KeyID == "" {
		return nil
	}
	keys, err := s.keysOf(ctx, by.OrgID)
	if err != nil {
		return err
	}
	self := keys[by.KeyID]
	if id == by.KeyID && self.CreatedBy == "" {
		return nil
	}
	if id == by.KeyID || descends(keys, by.KeyID, id) {
		return fault.New(fault.Forbidden, "A key can change neither its own budget nor that of the key that made it.",
			fault.Field("id"), fault.Fix("Ask whoever made the key."))
	}
	if most := self.BudgetMicros; most != nil && descends(keys, id, by.KeyID) && (limit == nil || *limit > *most) {
		return wider("limit_micros", *most)
	}
	return nil
}

// keysOf gives all keys of an organisation by id.
func (s *Service) keysOf(ctx context.Context, org string) (map[string]Key, error) {
	ps, err := s.Store.Projects(ctx, org, page.All)
	if err != nil {
		return nil, err
	}
	out := map[string]Key{}
	for _, p := range ps {
		ks, err := s.Store.Keys(ctx, p.ID, page.All)
		if err != nil {
			return nil, err
		}
		for _, k := range ks {
			out[k.ID] = k
		}
	}
	return out, nil
}

// descends says whether key was made by above, or by a key that was, and so on.
func descends(keys map[string]Key, key, above string) bool {
	for range len(keys) { // no chain is longer
		key = keys[key].CreatedBy
		if key == "" || key == above {
			break
		}
	}
	return key == above && key != ""
}
