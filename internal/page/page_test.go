package page

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
)

func TestACursorComesBackAsTheKeyItWasMadeOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := Key(rapid.SliceOfN(rapid.String(), 1, 3).Draw(t, "key"))
		for i := range k {
			k[i] = strings.ReplaceAll(strings.ToValidUTF8(k[i], "?"), "\x00", "?")
		}
		p, err := Parse("runs", len(k), 7, Cursor("runs", k))
		if err != nil || p.Limit != 7 || !slices.Equal(p.After, k) {
			t.Fatalf("%q: %+v, %v", k, p, err)
		}
	})
}

func TestForeignCursorsAreRefused(t *testing.T) {
	good := Cursor("runs", Key{"a", "b"})
	for name, cursor := range map[string]string{
		"another list's": Cursor("keys", Key{"a", "b"}), "too short a key": Cursor("runs", Key{"a"}), "not base64": good + "!",
		"not JSON": base64.RawURLEncoding.EncodeToString([]byte("{")), "no strings": base64.RawURLEncoding.EncodeToString([]byte(`["runs",1,2]`)),
		"a NUL": Cursor("runs", Key{"a\x00", "b"}), "not UTF-8": base64.RawURLEncoding.EncodeToString([]byte("[\"runs\",\"a\xff\",\"b\"]")),
		"huge": Cursor("runs", Key{strings.Repeat("x", 5000), "b"}),
	} {
		if _, err := Parse("runs", 2, 0, cursor); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "after" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, limit := range []int{-1, Most + 1} {
		if _, err := Parse("runs", 2, limit, good); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "limit" {
			t.Errorf("%d: %v", limit, err)
		}
	}
	p, err := Parse("runs", 2, 0, "")
	if diff := cmp.Diff(Page{Limit: Usual}, p); err != nil || diff != "" {
		t.Error(diff, err)
	}
	if n, err := (Page{After: Key{"a", "-12"}}).Number(1); n != -12 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := (Page{After: Key{"a"}}).Number(0); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

// TestPagesMakeTheWholeList walks lists of which items go between two pages.
func TestPagesMakeTheWholeList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfNDistinct(rapid.IntRange(0, 50), 0, 30, rapid.ID).Draw(t, "items")
		limit := rapid.IntRange(1, 10).Draw(t, "limit")
		key := func(n int) Key { return Key{fmt.Sprintf("%02d", n/10), fmt.Sprintf("%02d", n)} }
		gone := map[int]bool{}
		var seen []int
		for p := (Page{Limit: limit}); ; {
			got := Cut(slices.DeleteFunc(slices.Clone(all), func(n int) bool { return gone[n] }), p, key)
			if len(got) > limit {
				t.Fatalf("%d items", len(got))
			}
			if len(got) == 0 {
				break
			}
			seen = append(seen, got...)
			p.After = key(got[len(got)-1])
			if rapid.Bool().Draw(t, "remove") {
				gone[got[len(got)-1]] = true // the page after it still begins where it was
			}
		}
		want := slices.Sorted(slices.Values(all))
		if !slices.Equal(seen, want) {
			t.Fatalf("saw %v of %v", seen, want)
		}
	})
	if got := Cut([]int{3, 1, 2}, All, func(n int) Key { return Key{fmt.Sprint(n)} }); !slices.Equal(got, []int{1, 2, 3}) {
		t.Error(got)
	}
}
