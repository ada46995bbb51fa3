//go:build linux && !race

package rawtcp

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func sysRead(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, e := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), e
}

// sysWrite writes parts, of which there is at least one.
func sysWrite(fd uintptr, parts []unix.Iovec) (n uintptr, e syscall.Errno) {
	if o := &parts[0]; len(parts) == 1 {
		n, _, e = unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(o.Base)), uintptr(o.Len))
	} else {
		n, _, e = unix.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(o)), uintptr(len(parts)))
	}
	return n, e
}
