package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/system"
)

// The owner's key of a data directory goes to the address written there only while a control plane holds it, or where
// the server proves itself.
func TestTheOwnersKeyGoesToAControlPlaneAlone(t *testing.T) {
	const pinned = "5d41402abc4b2a76b9719d911017c5925d41402abc4b2a76b9719d911017c592"
	dir := filepath.Join(t.TempDir(), "data")
	d, err := system.OpenDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("owner.key", "tri_x")
	client := func(url, key, endpoint string) error {
		t.Setenv("TRIARCH_URL", url)
		t.Setenv("TRIARCH_KEY", key)
		write("endpoint", endpoint)
		_, err := (&app{data: dir, Screen: &ui.Screen{}}).client()
		return err
	}
	const plain, secure = "http://127.0.0.1:1", "https://127.0.0.1:1"
	if err := client("", "", plain); err != nil {
		t.Errorf("while the directory is held: %v", err)
	}
	d.Close()
	for name, c := range map[string]struct {
		url, key, endpoint string
		pin                bool
		sent               bool
	}{
		"both from the directory":            {"", "", plain, false, false},
		"a plain address beside an old hash": {"", "", plain, true, false},
		"https without its hash":             {"", "", secure, false, true},
		"https with its hash":                {"", "", secure, true, true},
		"the address by the person":          {plain, "", plain, false, true},
		"the key by the person":              {"", "tri_y", plain, false, true},
	} {
		if err := os.RemoveAll(filepath.Join(dir, "endpoint.sha256")); err != nil {
			t.Fatal(err)
		}
		if c.pin {
			write("endpoint.sha256", pinned)
		}
		if err := client(c.url, c.key, c.endpoint); (err == nil) != c.sent || err != nil && !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No command has a flag of its own by the name of a global one, which it would hide; but for a provider's address, beside which
// TRIARCH_URL names the server.
func TestNoFlagHidesAGlobalOne(t *testing.T) {
	root := newRoot(ui.NewScreen())
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if c != root && c.CommandPath()+" --"+f.Name != "triarch provider add --url" && root.PersistentFlags().Lookup(f.Name) != nil {
				t.Errorf("%s --%s hides the global one", c.CommandPath(), f.Name)
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}
