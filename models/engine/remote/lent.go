package remote

import (
	"errors"
	"io"
	"sync"
)

// lent is the body of a request, whose memory is its caller's and serves other requests once this one has ended. A
// transport may go on reading a body after it has answered, so it reads through here, until the body was given back.
type lent struct {
	mu   sync.Mutex
	body []byte
	back bool
}

// copyBelow is the size up to which a body is copied instead.
const copyBelow = 16 << 10

var errGivenBack = errors.New("remote: the request has ended")

// giveBack ends all reading.
func (l *lent) giveBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.body, l.back = nil, true
}

// reader reads from the beginning.
func (l *lent) reader() (io.ReadCloser, error) { return &lentReader{of: l}, nil }

type lentReader struct {
	of *lent
	at int
}

func (r *lentReader) Read(p []byte) (int, error) {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	switch {
	case r.of.back:
		return 0, errGivenBack
	case r.at >= len(r.of.body):
		return 0, io.EOF
	}
	n := copy(p, r.of.body[r.at:])
	r.at += n
	return n, nil
}

func (r *lentReader) Close() error { return nil }
