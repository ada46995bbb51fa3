// Package rawtcp reads and writes TCP connections with less around each call than package net: on Linux the scheduler
// is not told of reads and writes, as they do not block there. That spares its bookkeeping, and its monitor, which looks
// for blocked calls fifty thousand times a second once it is told of one after a pause, goes on sleeping. What is long
// is told of as always, as it is copied for a while.
//
// Rules for callers: reading belongs to one goroutine at a time, writing likewise, and Ask is both. Close and deadlines
// are those of the connection below, and end calls that wait. What is no socket is read and written as it is.
package rawtcp

import (
	"errors"
	"net"
)

// short is up to how many bytes of a call the scheduler is not told.
const short = 512 << 10

// Conn reads and writes a connection. Make it with New.
type Conn struct {
	net.Conn
	fast
}

// New makes a Conn of a connection, which is closed with it.
func New(nc net.Conn) *Conn {
	c := &Conn{Conn: nc}
	c.init(nc)
	return c
}

// ErrStale says that a connection was closed by the other side, or that something came which nobody had asked for.
var ErrStale = errors.New("rawtcp: the connection is of no use any more")

// Read reads what there is, at least a byte; it waits for that.
func (c *Conn) Read(p []byte) (int, error) {
	if c.raw == nil || len(p) == 0 || len(p) > short {
		return c.Conn.Read(p)
	}
	return c.fast.read(p)
}

// Write writes all of p.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.WriteBoth(p, nil)
	return int(n), err
}

// WriteBoth writes head and body, without copying them together; how much the kernel took is told as well.
func (c *Conn) WriteBoth(head, body []byte) (int64, error) {
	if c.raw != nil && len(head)+len(body) <= short {
		return c.fast.write(head, body)
	}
	parts := net.Buffers{head, body}
	if len(body) == 0 {
		parts = parts[:1]
	}
	return parts.WriteTo(c.Conn)
}

// Ask writes head and body, then waits for an answer and reads its first bytes into what room gives; how much was sent and
// read is told as well. room is called at most once, on Linux and a connection that is not fresh only when there is something to read, so that
// who waits holds no memory; what it gives must not be empty. Nothing may be left unread before. A connection that is not fresh is looked at first: ErrStale, with
// nothing sent, if it is of no use, as far as the system can tell.
func (c *Conn) Ask(head, body []byte, room func() []byte, fresh bool) (sent int64, n int, err error) {
	if c.raw == nil || len(head)+len(body) > short {
		if !fresh && !quiet(c.Conn) {
			return 0, 0, ErrStale
		}
		if sent, err = c.WriteBoth(head, body); err == nil {
			n, err = c.Read(room())
		}
		return sent, n, err
	}
	return c.fast.ask(head, body, room, fresh)
}
