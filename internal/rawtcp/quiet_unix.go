//go:build unix

package rawtcp

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// quiet says whether there is nothing to read, not even an end, without waiting and without taking anything. What is no
// socket is taken to be quiet.
func quiet(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	silent := false
	err = raw.Control(func(fd uintptr) {
		for {
			_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
			if err != unix.EINTR {
				silent = err == unix.EAGAIN
				return
			}
		}
	})
	return err != nil || silent // what is closed on this side shows in the next call
}
