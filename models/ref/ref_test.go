package ref_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/ref"
)

func TestNames(t *testing.T) {
	for _, good := range []string{"a", "starter", "Qwen2.5-0.5B", "org/model:v1", "a_b", strings.Repeat("x", ref.MaxName)} {
		if err := ref.Check("name", good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", " ", "a b", "../a", "a/../b", "a//b", "/a", "a/", "-a", ".a", "a.", "a@1", "a\n", "ä", "a\x00b", "a?b", "a#b",
		strings.Repeat("x", ref.MaxName+1)} {
		err := ref.Check("name", bad)
		if !fault.Is(err, fault.Invalid) || fault.As(err).Field != "name" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A name of an id's form would be found in the id's place, and `rm NAME` would hit something else.
func TestNoNameHasTheFormOfAnID(t *testing.T) {
	ids := id.Default()
	for _, noun := range []string{"dv", "mv", "run", "dep", "rte", "job"} {
		name := ids.New(noun)
		if err := ref.Check("name", name); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "name" {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := ref.Split("name", name); err != nil { // it may be looked up, and is not found
			t.Errorf("looking %s up: %v", name, err)
		}
	}
	for _, good := range []string{"run_1", "mv_new", "dv_" + strings.Repeat("u", 26)} {
		if err := ref.Check("name", good); err != nil {
			t.Error(err)
		}
	}
}

func TestVersionsByName(t *testing.T) {
	for in, want := range map[string]struct {
		name   string
		number int
	}{"words": {"words", 0}, "words@1": {"words", 1}, "org/words@12": {"org/words", 12}} {
		name, number, err := ref.Split("data", in)
		if err != nil || name != want.name || number != want.number {
			t.Errorf("%q: %q %d %v", in, name, number, err)
		}
	}
	for _, bad := range []string{"words@", "words@0", "words@-1", "words@1@2", "words@x", "@1", "words@99999999999999999999"} {
		if _, _, err := ref.Split("data", bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add("a/b@3")
	f.Add("..")
	f.Add("\xff中文" + strings.Repeat("长", 40))
	f.Fuzz(func(t *testing.T, s string) {
		if q := ref.Quote(s); !utf8.ValidString(q) || len(q) > 400 || strings.ContainsAny(q, "\n\x00") {
			t.Errorf("quoted %q", q)
		}
		name, number, err := ref.Split("data", s)
		if err != nil {
			return
		}
		if strings.Contains(name, "..") || strings.HasPrefix(name, "/") || strings.ContainsAny(name, " \\\n@") || number < 0 {
			t.Errorf("%q is accepted as %q @ %d", s, name, number)
		}
	})
}

// noted tells how it was asked.
type noted struct{}

func (noted) Get(_ context.Context, project, id string) (string, error) {
	return project + " has " + id, nil
}

func (noted) Find(_ context.Context, project, name string, number int) (string, error) {
	return fmt.Sprintf("%s has %s number %d", project, name, number), nil
}

func TestResolve(t *testing.T) {
	mine := id.Default().New("dv")
	for in, want := range map[string]string{
		mine: "p has " + mine, "poems": "p has poems number 0", "poems@3": "p has poems number 3",
		"mv_" + mine[3:]: "p has mv_" + mine[3:] + " number 0", // another kind of id is a name like any other
	} {
		if got, err := ref.Resolve(t.Context(), noted{}, "p", "dv", "data", in); err != nil || got != want {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "a b", "poems@0", "poems@x", "poems@1@2"} {
		if got, err := ref.Resolve(t.Context(), noted{}, "p", "dv", "data", in); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "data" || got != "" {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}
