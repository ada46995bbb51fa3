package engine

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAnnounce(t *testing.T) {
	dir := t.TempDir()
	if err := Announce(dir, "127.0.0.1:5"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, EndpointFile))
	if err != nil || string(b) != `{"addr":"127.0.0.1:5","protocol":1}` {
		t.Errorf("%s, %v", b, err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files left", len(files))
	}
	if Announce(filepath.Join(dir, "gone"), "x") == nil {
		t.Error("announced into a folder that is not there")
	}
}
