package trainer

import (
	"flag"
	"os"
	"testing"
)

// TestMain runs fewer random cases than rapid's hundred: each writes several checkpoints through to the disk. Give
// -rapid.checks for more.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "15"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}
