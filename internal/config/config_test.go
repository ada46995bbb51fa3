package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

type sample struct {
	Listen string `config:"listen" help:"address"`
	Sub    struct {
		Count int           `config:"count"`
		Wait  time.Duration `config:"wait"`
		Names []string      `config:"names"`
		Key   string        `config:"key" secret:"true"`
	} `config:"sub"`
	Plain int
}

func write(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEachSourceOverrulesTheOneBefore(t *testing.T) {
	var c sample
	c.Listen, c.Sub.Count, c.Sub.Wait = "d", 1, time.Second
	file := write(t, "listen: f\nsub:\n  count: 2\n  wait: 2s\n  names: [a, b]\n  key: hush\n")
	got, err := Load(&c, Sources{File: file, MustExist: true, Env: []string{"TRIARCH_LISTEN=e", "TRIARCH_SUB_COUNT=3", "HOME=/x"},
		Flags: map[string]string{"listen": "g"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "g" || c.Sub.Count != 3 || c.Sub.Wait != 2*time.Second || strings.Join(c.Sub.Names, "") != "ab" {
		t.Fatalf("loaded %+v", c)
	}
	want := map[string]Origin{"listen": "flag --listen", "sub.count": "env TRIARCH_SUB_COUNT", "sub.wait": Origin("file " + file)}
	for _, s := range got {
		if o, ok := want[s.Name]; ok && o != s.Origin {
			t.Errorf("%s comes from %q, want %q", s.Name, s.Origin, o)
		}
		if strings.Contains(s.Value, "hush") {
			t.Error("a secret was shown")
		}
	}
}

func TestUnknownAndWrongAreErrorsWithTheField(t *testing.T) {
	cases := []struct {
		src   Sources
		field string
	}{
		{Sources{File: write(t, "lisen: x\n")}, "lisen"},
		{Sources{File: write(t, "sub: {count: many}\n")}, "sub.count"},
		{Sources{File: write(t, "a: [\n")}, "config"},
		{Sources{File: "/does/not/exist", MustExist: true}, "config"},
		{Sources{Env: []string{"TRIARCH_LISEN=x"}}, "TRIARCH_LISEN"},
		{Sources{Env: []string{"TRIARCH_SUB_WAIT=5"}}, "sub.wait"},
		{Sources{Flags: map[string]string{"nope": "1"}}, "nope"},
	}
	for _, c := range cases {
		var s sample
		_, err := Load(&s, c.src)
		if !fault.Is(err, fault.Invalid) || fault.As(err).Field != c.field {
			t.Errorf("%+v: got %v", c.src, err)
		}
	}
	var s sample
	if _, err := Load(&s, Sources{Env: []string{"TRIARCH_URL=x"}, KnownEnv: []string{"TRIARCH_URL"}}); err != nil {
		t.Error(err)
	}
}
