package blob

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
)

func FuzzParseRef(f *testing.F) {
	f.Add(string(RefOf(sha256.Sum256(nil))))
	f.Add("sha256:../../../../../../../../../../../../../../../../../../../../etc/")
	f.Add("sha256:" + strings.Repeat("A", 64))
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRef(s)
		if err != nil {
			if !fault.Is(err, fault.Invalid) || len(err.Error()) > 450 {
				t.Fatalf("%d bytes: %v", len(s), err)
			}
			return
		}
		if string(r) != s || len(r.Hex()) != 64 || strings.Trim(r.Hex(), "0123456789abcdef") != "" {
			t.Fatalf("%q is taken for a reference", s)
		}
	})
}
