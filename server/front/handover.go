package front

import (
	"io"
	"net"
	"sync"
)

// handover is the listener through which net/http gets its connections.
type handover struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// give hands a connection over, or closes it where nobody takes one any more: then it is false.
func (h *handover) give(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.closed:
		c.Close()
		return false
	}
}

// Accept waits for the next connection.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept; connections given later are closed.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr is the address of the true listener.
func (h *handover) Addr() net.Addr { return h.addr }

// replay is a connection from which something was read already.
type replay struct {
	*net.TCPConn
	rest []byte
}

// Read gives what was read before, then what comes.
func (r *replay) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return r.TCPConn.Read(p)
	}
	n := copy(p, r.rest)
	if r.rest = r.rest[n:]; len(r.rest) == 0 {
		r.rest = nil
	}
	return n, nil
}

// WriteTo hides the connection's own, which would pass by what was read before.
func (r *replay) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{r})
}
