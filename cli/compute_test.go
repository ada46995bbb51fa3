package cli

import (
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
)

// A window's times are RFC 3339 or from now, with a sign or without; what is missing is named.
func TestTimesOfAWindow(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	read := func(from, until string) (api.NewWindow, error) {
		n := api.NewWindow{Nodes: []string{"here"}}
		err := span(&n, from, until, now)
		return n, err
	}
	n, err := read("+2h", "2026-01-02T09:00:00+02:00")
	if err != nil || !n.From.Equal(now.Add(2*time.Hour)) || !n.Until.Equal(now.Add(4*time.Hour)) {
		t.Errorf("%v to %v, %v", n.From, n.Until, err)
	}
	if n, err = read("", "4h"); err != nil || n.From != nil || !n.Until.Equal(now.Add(4*time.Hour)) {
		t.Errorf("%v to %v, %v", n.From, n.Until, err)
	}
	for field, in := range map[string][2]string{"until": {"+1h", ""}, "from": {"-1h", "+1h"}} {
		if _, err := read(in[0], in[1]); err == nil || fault.As(err).Field != field {
			t.Errorf("%v: %v", in, err)
		}
	}
	if err := span(&api.NewWindow{}, "", "1h", now); err == nil || fault.As(err).Field != "nodes" {
		t.Error(err)
	}
}
