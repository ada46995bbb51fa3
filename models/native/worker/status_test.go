package worker

import (
	"encoding/json"
	"testing"
)

// A replica tells how much it can do at once, and what it is doing.
func TestStatus(t *testing.T) {
	r := start(t, Options{})
	status, body := r.call("GET", "/status", "")
	var s struct{ Slots, Running, Waiting *int }
	if err := json.Unmarshal([]byte(body), &s); err != nil || status != 200 || s.Slots == nil || s.Running == nil || s.Waiting == nil {
		t.Fatalf("%d %s, %v", status, body, err)
	}
	if *s.Slots != 32 || *s.Running != 0 || *s.Waiting != 0 {
		t.Errorf("%s", body)
	}
}
