// Package rawtcp reads and writes TCP connections without telling Go's scheduler of each call.
//
// Go announces every system call to its scheduler, in case it blocks. The first one after a moment of idleness wakes
// the runtime's monitor thread, which then looks every 20 microseconds whether a call takes long: under light load, such
// as streams that come token by token, that monitor was a quarter of a gateway's CPU time. Sockets of Go never block,
// so short calls on them need no announcement.
//
// Rules for callers: one goroutine reads and one writes at a time. Long reads and writes are announced as always, as they
// copy for a while.
package rawtcp

import "net"

// short is up to how many bytes a call is not announced: what is copied within some microseconds.
const short = 16 << 10

// Conn is a TCP connection. Everything but Read and Write is that of net.TCPConn.
type Conn struct {
	*net.TCPConn
	calls
}

// New wraps a connection.
func New(c *net.TCPConn) *Conn {
	x := &Conn{TCPConn: c}
	x.init()
	return x
}
