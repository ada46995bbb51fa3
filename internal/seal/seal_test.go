package seal

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
)

func box(t *testing.T, fill byte) *Box {
	b, err := New(bytes.Repeat([]byte{fill}, KeySize), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOpensOnlyWhatItSealedForThePurpose(t *testing.T) {
	one, two := box(t, 1), box(t, 2)
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOf(rapid.Byte()).Draw(t, "secret")
		sealed, err := one.Seal("p", secret)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := one.Open("p", sealed); err != nil || !bytes.Equal(got, secret) {
			t.Fatalf("%q, %v", got, err)
		}
		again, _ := one.Seal("p", secret)
		if again == sealed {
			t.Fatal("two seals are alike")
		}
		if len(secret) > 3 && strings.Contains(sealed, string(secret)) {
			t.Fatal("the secret shows")
		}
		at := rapid.IntRange(len(prefix), len(sealed)-2).Draw(t, "at") // the last digit has unused bits
		damaged := []byte(sealed)
		damaged[at] ^= 1
		for name, f := range map[string]func() ([]byte, error){
			"another purpose": func() ([]byte, error) { return one.Open("q", sealed) },
			"another key":     func() ([]byte, error) { return two.Open("p", sealed) },
			"damaged":         func() ([]byte, error) { return one.Open("p", string(damaged)) },
			"cut":             func() ([]byte, error) { return one.Open("p", sealed[:at]) },
			"no prefix":       func() ([]byte, error) { return one.Open("p", sealed[len(prefix):]) },
		} {
			if got, err := f(); !fault.Is(err, fault.Unavailable) || got != nil {
				t.Fatalf("%s: %q, %v", name, got, err)
			}
		}
	})
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret.key")
	if _, err := OpenFile(path, false, rand.Reader); !fault.Is(err, fault.Invalid) {
		t.Errorf("a missing file: %v", err)
	}
	first, err := OpenFile(path, true, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sealed, _ := first.Seal("p", []byte("x"))
	second, err := OpenFile(path, true, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := second.Open("p", sealed); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(path, true, rand.Reader); !fault.Is(err, fault.Invalid) {
		t.Errorf("a file that others can read: %v", err)
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(path, 0o600)
	if _, err := OpenFile(path, true, rand.Reader); !fault.Is(err, fault.Invalid) {
		t.Errorf("a damaged file: %v", err)
	}
}
