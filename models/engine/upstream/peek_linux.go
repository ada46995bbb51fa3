package upstream

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peekByte looks at the next byte without waiting. It never blocks, so the scheduler is not told (package rawtcp).
func peekByte(fd uintptr, to *[1]byte) error {
	if _, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(to)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0); e != 0 {
		return e
	}
	return nil
}
