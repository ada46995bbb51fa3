package rawtcp

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// calls are the two calls in progress. Their functions are made once, so that a call allocates nothing.
type calls struct {
	raw         syscall.RawConn // nil: the connection gives none
	read, write call
}

type call struct {
	p     []byte
	n     int
	errno syscall.Errno
	try   func(fd uintptr) bool // false: wait until the socket is ready
}

func (c *Conn) init() {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	c.raw = raw
	c.read.try, c.write.try = c.read.tryRead, c.write.tryWrite
}

func (k *call) tryRead(fd uintptr) bool {
	for {
		n, _, e := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&k.p[0])), uintptr(len(k.p)))
		switch e {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		case 0:
			k.n = int(n)
		}
		k.errno = e
		return true
	}
}

func (k *call) tryWrite(fd uintptr) bool {
	for k.n < len(k.p) {
		n, _, e := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&k.p[k.n])), uintptr(len(k.p)-k.n))
		switch e {
		case 0:
			k.n += int(n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			k.errno = e
			return true
		}
	}
	return true
}

func (c *Conn) fault(op string, e syscall.Errno) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, e)}
}

// Read reads what there is, waiting for something.
func (c *Conn) Read(p []byte) (int, error) {
	if c.raw == nil || len(p) == 0 || len(p) > short {
		return c.TCPConn.Read(p)
	}
	k := &c.read
	k.p, k.n, k.errno = p, 0, 0
	err := c.raw.Read(k.try)
	k.p = nil
	switch {
	case err != nil:
		return 0, err
	case k.errno != 0:
		return 0, c.fault("read", k.errno)
	case k.n == 0:
		return 0, io.EOF
	}
	return k.n, nil
}

// Write writes all of p.
func (c *Conn) Write(p []byte) (int, error) {
	if c.raw == nil || len(p) == 0 || len(p) > short {
		return c.TCPConn.Write(p)
	}
	k := &c.write
	k.p, k.n, k.errno = p, 0, 0
	err := c.raw.Write(k.try)
	k.p = nil
	if err == nil && k.errno != 0 {
		err = c.fault("write", k.errno)
	}
	return k.n, err
}
