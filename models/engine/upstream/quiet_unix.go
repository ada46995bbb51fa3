//go:build linux || darwin

package upstream

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// quiet says whether an unused connection is open with nothing to read, without waiting and without taking anything.
// Connections that are no sockets are taken to be.
func (cn *conn) quiet() bool {
	if cn.raw == nil {
		sc, ok := cn.Conn.(syscall.Conn)
		if !ok {
			return true
		}
		raw, err := sc.SyscallConn()
		if err != nil {
			return false
		}
		cn.raw, cn.peek = raw, cn.look
	}
	cn.silent = false
	return cn.raw.Control(cn.peek) == nil && cn.silent
}

// look sets silent; it is made a func value once for each connection, for what quiet costs.
func (cn *conn) look(fd uintptr) {
	for {
		err := peekByte(fd, &cn.one)
		if err != unix.EINTR {
			cn.silent = err == unix.EAGAIN
			return
		}
	}
}
