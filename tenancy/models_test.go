package tenancy

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
)

// However keys are made one by another, none may call what its maker may not.
func TestModelsStayWithinTheMakers(t *testing.T) {
	names := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "team/d"}), 0, 4)
	narrowed := 0
	rapid.Check(t, func(t *rapid.T) {
		first, err := planModels(names.Draw(t, "maker's"))
		if err != nil {
			t.Fatal(err)
		}
		maker := Key{Models: first}
		for range 4 {
			want, err := planModels(names.Draw(t, "wanted"))
			if err != nil {
				t.Fatal(err)
			}
			k := Key{Models: slices.Clone(want)}
			if err := withinModels(maker, &k); err != nil {
				if !fault.Is(err, fault.Forbidden) || fault.As(err).Field != "models" || len(maker.Models) == 0 {
					t.Fatalf("%v of %v: %v", want, maker.Models, err)
				}
				continue
			}
			if len(want) > 0 && !slices.Equal(k.Models, want) {
				t.Fatalf("asked for %v, got %v", want, k.Models)
			}
			if len(maker.Models) > 0 {
				narrowed++
				if len(k.Models) == 0 {
					t.Fatalf("a key of one with %v has no list", maker.Models)
				}
				for _, name := range k.Models {
					if !slices.Contains(maker.Models, name) {
						t.Fatalf("%v made %v", maker.Models, k.Models)
					}
				}
			}
			maker = k
		}
	})
	if narrowed == 0 {
		t.Fatal("no list was ever bounded by another: the property says nothing")
	}
}

func TestModelNames(t *testing.T) {
	got, err := planModels([]string{"a", "b", "a"})
	if err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range [][]string{{""}, {"a b"}, {"a\n"}, {"\xff"}, {strings.Repeat("x", maxModelName+1)}, make([]string, maxModels+1)} {
		if _, err := planModels(bad); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "models" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
