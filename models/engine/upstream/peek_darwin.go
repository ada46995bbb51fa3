package upstream

import "golang.org/x/sys/unix"

// peekByte looks at the next byte without waiting.
func peekByte(fd uintptr, to *[1]byte) error {
	_, _, err := unix.Recvfrom(int(fd), to[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err
}
