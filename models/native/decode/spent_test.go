package decode

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

// Steps in which only prompts were read and steps in which sequences only generated are counted apart, with their time.
func TestStepsAreAccountedFor(t *testing.T) {
	var at atomic.Int64
	e := newEngine(t, tiny(), Options{Now: func() time.Time { return time.Unix(0, at.Add(int64(time.Millisecond))) }, StepTokens: 40})
	s, err := e.Submit(context.Background(), &Request{Prompts: [][]int32{prompt(rand.New(rand.NewPCG(1, 1)), 100)}, MaxTokens: 5, IgnoreEOS: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := collect(s, 1); err != nil {
		t.Fatal(err)
	}
	e.Drain(t.Context())
	st := e.Stats()
	if want := (Spent{Nanos: 3e6, Steps: 3, Rows: 100, Seen: 100 * 101 / 2}); st.Prefill != want {
		t.Errorf("reading: %+v", st.Prefill)
	}
	if want := (Spent{Nanos: 4e6, Steps: 4, Rows: 4, Seen: 101 + 102 + 103 + 104}); st.Decode != want {
		t.Errorf("generating: %+v", st.Decode)
	}
}
