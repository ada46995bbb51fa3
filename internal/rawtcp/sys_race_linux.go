//go:build linux && race

package rawtcp

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The race detector takes what one end reads to come after what the other end did before it wrote, but only of calls
// that package syscall makes.

func sysRead(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Read(int(fd), p)
	return n, number(err)
}

// sysWrite writes the first of the parts, of which there is at least one.
func sysWrite(fd uintptr, parts []unix.Iovec) (uintptr, syscall.Errno) {
	n, err := syscall.Write(int(fd), unsafe.Slice(parts[0].Base, parts[0].Len))
	return uintptr(max(n, 0)), number(err)
}

func number(err error) (e syscall.Errno) {
	errors.As(err, &e)
	return e
}
