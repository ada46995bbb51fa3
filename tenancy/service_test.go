package tenancy

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
)

var (
	allRoles  = []Role{Owner, Developer, Viewer}
	allScopes = []Scope{Inference, Read, Write, Admin, OrgWide, Platform, Pricing, FlexTier, Priority}
)

// Whatever is asked for, a key never has a power, or a day, that its maker lacks.
func TestNoKeyExceedsItsMaker(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &Service{Now: func() time.Time { return now }, Rand: rand.Reader}
	made := 0
	rapid.Check(t, func(t *rapid.T) {
		scopes := rapid.SliceOfDistinct(rapid.SampledFrom(allScopes), func(x Scope) Scope { return x })
		hours := rapid.IntRange(-2, 5)
		by := Maker{Role: rapid.SampledFrom(allRoles).Draw(t, "maker's role"), Scopes: scopes.Draw(t, "maker's scopes"), Lowers: rapid.Bool().Draw(t, "maker lowers prices")}
		if h := hours.Draw(t, "maker's hours"); h > 0 {
			by.ExpiresAt = now.Add(time.Duration(h) * time.Hour)
		}
		n := NewKey{Name: "x", Role: rapid.SampledFrom(append([]Role{"", "king"}, allRoles...)).Draw(t, "role"), Scopes: scopes.Draw(t, "scopes")}
		if h := hours.Draw(t, "hours"); h != 0 {
			at := now.Add(time.Duration(h) * time.Hour)
			n.ExpiresAt = &at
		}
		k, err := s.planKey(by, n)
		if err != nil {
			if kind := fault.KindOf(err); kind != fault.Forbidden && kind != fault.Invalid {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		made++
		if len(n.Scopes) == 0 && (len(k.Scopes) != 1 || k.Scopes[0] != Inference) {
			t.Fatalf("a key that asked for no scope has %v", k.Scopes)
		}
		if MayPrice(k.Role, k.Scopes) && !MayPrice(by.Role, by.Scopes) {
			t.Fatalf("%s with %v made one that may set prices: %s with %v", by.Role, by.Scopes, k.Role, k.Scopes)
		}
		if !by.Role.AtLeast(k.Role) {
			t.Fatalf("%s made %s", by.Role, k.Role)
		}
		for _, x := range allScopes {
			if Allows(k.Scopes, x) && !Allows(by.Scopes, x) && !((x == Pricing || x == FlexTier || x == Priority) && by.Lowers && MayPrice(by.Role, by.Scopes)) {
				t.Fatalf("scopes %v made %v", by.Scopes, k.Scopes)
			}
		}
		if k.ExpiresAt != nil && !k.ExpiresAt.After(now) || !by.ExpiresAt.IsZero() && (k.ExpiresAt == nil || k.ExpiresAt.After(by.ExpiresAt)) {
			t.Fatalf("a maker until %v made a key until %v", by.ExpiresAt, k.ExpiresAt)
		}
	})
	if made == 0 {
		t.Fatal("no key was ever made: the property says nothing")
	}
}

func TestRolesAndScopes(t *testing.T) {
	for i, a := range allRoles {
		for j, b := range allRoles {
			if a.AtLeast(b) != (i <= j) || (Lesser(a, b) == a) != (i >= j) {
				t.Errorf("%s against %s", a, b)
			}
		}
		if a.AtLeast("") || Role("").AtLeast(a) || a.AtLeast("king") || Role("king").AtLeast(a) || Lesser("", a) != "" {
			t.Errorf("an unknown role beside %s", a)
		}
	}
	for _, x := range allScopes {
		if got, err := ParseScope(string(x)); err != nil || got != x {
			t.Errorf("%s: %v", x, err)
		}
		if Allows(nil, x) != (x != OrgWide && x != Platform && x != Pricing && x != FlexTier && x != Priority) {
			t.Errorf("a key without a list and the scope %s", x)
		}
	}
	for _, bad := range []string{"", "King", "owner ", "OWNER"} {
		if _, err := ParseRole(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("role %q: %v", bad, err)
		}
		if _, err := ParseScope(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("scope %q: %v", bad, err)
		}
	}
}

func TestSecrets(t *testing.T) {
	a, ha, err := NewSecret(bytes.NewReader(bytes.Repeat([]byte{0xff}, 32)))
	if err != nil || len(a) != 47 || !strings.HasPrefix(a, "tri_____") || strings.ContainsAny(a, "+/=") {
		t.Fatalf("%q, %v", a, err)
	}
	b, hb, err := NewSecret(rand.Reader)
	if err != nil || a == b || ha == hb {
		t.Fatalf("%v", err)
	}
	if strings.Contains(Hint(b), b[4:20]) || len(Hint(b)) != 7 {
		t.Errorf("the hint %q tells too much", Hint(b))
	}
	if s, _, err := NewSecret(iotest.ErrReader(errors.New("dry"))); err == nil || s != "" {
		t.Error("a secret without randomness")
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"a", "", " a", "a\x00", "\u202e", "名前", strings.Repeat("x", 65), "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if checkName("name", s) == nil && (s == "" || len(s) > 4*maxName || strings.ContainsAny(s, "\x00\n\r\t\x1b\u202e\u200b") || strings.TrimSpace(s) != s) {
			t.Fatalf("%q is taken for a name", s)
		}
		if e, err := checkEmail(s); err == nil && (!strings.Contains(e, "@") || len(e) > 254 || strings.ContainsAny(e, "\x00\n\r")) {
			t.Fatalf("%q is taken for an email address", s)
		}
	})
}
