package server

import (
	"net/http/httptest"
	"testing"
	"time"
)

// late is a response writer that reads what it was given when it likes, as that of HTTP/2 does once its stream was reset.
type late struct {
	*httptest.ResponseRecorder
	held []byte
}

func (l *late) Write(b []byte) (int, error) {
	l.held = b
	return len(b), nil
}

// Answers are written from memory that serves other requests at once.
func TestHTTP2IsGivenACopy(t *testing.T) {
	l := &late{ResponseRecorder: httptest.NewRecorder()}
	s := &sink{ResponseWriter: l, now: time.Now, major: 2}
	b := []byte("mine")
	if n, err := s.Write(b); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	copy(b, "yours")
	if string(l.held) != "mine" {
		t.Errorf("%q is written of another's answer", l.held)
	}
}
