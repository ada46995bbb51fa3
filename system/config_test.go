package system

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
)

func TestDefaultConfigIsSound(t *testing.T) {
	c := DefaultConfig()
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestConfigNamesTheWrongField(t *testing.T) {
	cases := map[string]map[string]string{
		"listen":         {"listen": "0.0.0.0:8420"},
		"log.level":      {"log.level": "loud"},
		"roles":          {"roles": "king"},
		"tls":            {"tls.cert": "x"},
		"threads":        {"threads": "-1"},
		"limits.body":    {"limits.body": "1"},
		"limits.streams": {"limits.streams": "0"},
		"limits.answers": {"limits.answers": "1000"},

		"limits.provider-silence": {"limits.provider-silence": "0s"},
		"limits.provider-answer":  {"limits.provider-answer": "48h"},

		"price":             {"price.in": "-1"},
		"traces.rate":       {"traces.rate": "1.5"},
		"traces.endpoint":   {"traces.endpoint": "127.0.0.1:4318"},
		"traces.headers":    {"traces.endpoint": "http://127.0.0.1:4318", "traces.headers": "nonsense"},
		"metrics.listen":    {"metrics.listen": "0.0.0.0:9420"},
		"retention.records": {"retention.records": "-1"},
		"serve.listen":      {"serve.listen": "0.0.0.0"},
	}
	for field, flags := range cases {
		flags["data"] = t.TempDir()
		_, _, err := LoadConfig("", nil, flags)
		if !fault.Is(err, fault.Invalid) || fault.As(err).Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
	if _, _, err := LoadConfig("", nil, map[string]string{"data": t.TempDir(), "roles": "gateway"}); !fault.Is(err, fault.Unsupported) {
		t.Errorf("a gateway alone: %v", err)
	}
	for _, listen := range []string{"nonsense", "127.0.0.1:99999", "127.0.0.1:x", ":8420"} {
		if _, _, err := LoadConfig("", nil, map[string]string{"listen": listen}); err == nil {
			t.Errorf("%s was taken", listen)
		}
	}
	for _, listen := range []string{"nonsense", "10.0.0.5:80", "8.8.8.8", "::", "fe80::1%eth0", "2606:4700::1", "224.0.0.1", "localhost", ""} {
		if _, _, err := LoadConfig("", nil, map[string]string{"serve.listen": listen}); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "serve.listen" {
			t.Errorf("replicas may listen on %q: %v", listen, err)
		}
	}
	for _, flags := range []map[string]string{{"serve.listen": "10.0.0.5"}, {"serve.listen": "fd00::5"}, {"listen": "0.0.0.0:1", "insecure": "true"}, {"listen": "[::1]:1"}, {"listen": "localhost:0"}, {"listen": ":1", "tls.cert": "a", "tls.key": "b"}} {
		if _, _, err := LoadConfig("", nil, flags); err != nil {
			t.Errorf("%v: %v", flags, err)
		}
	}
}

func TestConfigFileIsFoundInTheDataDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("listen: 127.0.0.1:9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := LoadConfig("", []string{"TRIARCH_DATA=" + dir, "TRIARCH_KEY=x"}, nil)
	if err != nil || c.Listen != "127.0.0.1:9" || c.Data != dir {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, _, err := LoadConfig(filepath.Join(dir, "nope.yaml"), nil, nil); !fault.Is(err, fault.Invalid) {
		t.Fatalf("a missing file that was asked for: %v", err)
	}
}
