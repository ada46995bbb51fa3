package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
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

// A quota keeps what is not named: whoever changes a weight takes no guarantee away.
func TestQuotaSetSendsOnlyWhatIsNamed(t *testing.T) {
	var sent string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/quotas/p") {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		sent = strings.TrimSpace(string(b))
		fmt.Fprint(w, `{"project":"prj_1","name":"p","organisation":"o","weight":1,"org_weight":1,"guarantee":{},"ceiling":{}}`)
	}))
	t.Cleanup(srv.Close)
	for line, want := range map[string]string{
		"--weight 2":                                     `{"weight":2}`,
		"--org-weight 3":                                 `{"org_weight":3}`,
		"--guarantee slot=4 --guarantee cpu=1":           `{"guarantee":{"cpu":1,"slot":4}}`,
		"--guarantee slot=0 --ceiling slot=6 --weight 1": `{"weight":1,"guarantee":{"slot":0},"ceiling":{"slot":6}}`,
		"--weight 0":                                     "",
		"--org-weight -1":                                "",
		"--guarantee slot":                               "",
	} {
		sent = ""
		a := &app{Screen: &ui.Screen{Out: io.Discard, Err: io.Discard, In: strings.NewReader(""), Now: time.Now}, data: t.TempDir(), url: srv.URL, key: "k"}
		c := a.quotaCommand()
		c.SetArgs(append([]string{"set", "p"}, strings.Fields(line)...))
		c.SilenceUsage, c.SilenceErrors = true, true
		err := c.ExecuteContext(t.Context())
		if sent != want || (err != nil) != (want == "") || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%q sent %s, %v; want %s", line, sent, err, want)
		}
	}
}

// A list says "1 chip", and a state is told as a sentence has it.
func TestWordsOfJobs(t *testing.T) {
	for want, p := range map[string]api.Placing{"1 chip": {Chips: 1}, "1 slot": {Chips: 1, ChipTypes: []string{"slot"}}, "2 to 4 chips": {Chips: 4, MinChips: 2}, "8 a|b": {Chips: 8, ChipTypes: []string{"a", "b"}}} {
		if got := asks(api.Job{Placing: p}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for want, got := range map[string]string{"42s": quantity(41_768, "ms"), "1 chip": quantity(1, "chips"), "500 thousandths": quantity(500, "thousandths"), "3": quantity(3, "")} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for state, want := range map[string]string{"queued": "is queued", "failed": "has failed", "succeeded": "has succeeded", "cancelled": "is cancelled", "preempting": "is being preempted"} {
		if got := inState(state); got != want {
			t.Errorf("%s %s", state, got)
		}
	}
}
