package server

import (
	"slices"
	"testing"
)

func TestRoomOfLongBodiesIsKeptInBounds(t *testing.T) {
	var r rooms
	if r.take(1) != nil {
		t.Fatal("room out of nothing")
	}
	for range 2 * keptRoom / maxLongPooled {
		b := make([]byte, 0, maxLongPooled)
		r.keep(&b)
	}
	if r.size != keptRoom || len(r.held) != keptRoom/maxLongPooled {
		t.Fatalf("%d pieces of %d bytes are held", len(r.held), r.size)
	}
	for n := range slices.Backward(r.held) {
		if p := r.take(maxLongPooled); p == nil || cap(*p) != maxLongPooled {
			t.Fatal("what was kept is not given")
		}
		if r.size != n*maxLongPooled {
			t.Fatalf("%d bytes are held of %d pieces", r.size, n)
		}
	}
	short := make([]byte, 0, maxPooled+1)
	r.keep(&short)
	if p := r.take(maxPooled + 2); p == &short {
		t.Error("room that is too short was given")
	}
	if r.size != 0 {
		t.Errorf("%d bytes are held of nothing", r.size)
	}
}
