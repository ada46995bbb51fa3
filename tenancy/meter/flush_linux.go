package meter

import (
	"encoding/binary"
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// flusher brings files to the disk without a thread that waits for it: the kernel's own asynchronous fdatasync, told
// through a descriptor that Go's network poller watches. A thread that is blocked in msync many times a second keeps
// the runtime's monitor from sleeping, which costs a gateway under light load more than its requests do. None of the calls
// here waits, so the scheduler is told of none either, which would wake that monitor as well.
type flusher struct {
	mu   sync.Mutex
	ring uintptr         // aio_context_t
	told *os.File        // eventfd, watched by the poller
	wait syscall.RawConn // of told

	failed syscall.Errno // of the last read
	fd     int           // its number: asking told for it would make its reads block
	op     iocb
	list   [1]*iocb
	done   ioEvent
	word   [8]byte
}

// iocb and ioEvent are the kernel's structs (linux/aio_abi.h), of which little-endian and big-endian machines differ
// only in fields that stay zero here.
type iocb struct {
	data     uint64
	key      uint32
	rwFlags  uint32
	opcode   uint16
	priority int16
	fd       uint32
	buf      uint64
	bytes    uint64
	offset   int64
	_        uint64
	flags    uint32
	eventFD  uint32
}

type ioEvent struct {
	data, obj uint64
	res, res2 int64
}

const (
	opDataSync  = 3 // IOCB_CMD_FDSYNC
	flagEventFD = 1 // IOCB_FLAG_RESFD
)

// newFlusher is nil where the kernel does not let us.
func newFlusher() *flusher {
	f := &flusher{}
	if _, _, e := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&f.ring)), 0); e != 0 {
		return nil
	}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		f.destroy()
		return nil
	}
	f.fd, f.told = fd, os.NewFile(uintptr(fd), "eventfd")
	if f.wait, err = f.told.SyscallConn(); err != nil {
		f.told.Close()
		f.destroy()
		return nil
	}
	f.list[0] = &f.op
	return f
}

// read takes the eventfd's count; false when it has none yet.
func (f *flusher) read(fd uintptr) bool {
	for {
		_, _, f.failed = syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&f.word[0])), uintptr(len(f.word)))
		if f.failed != syscall.EINTR {
			return f.failed != syscall.EAGAIN
		}
	}
}

func (f *flusher) destroy() {
	_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, f.ring, 0, 0)
}

// close ends it; no flush may run or follow.
func (f *flusher) close() {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told.Close()
	f.destroy()
}

// flush returns when what was stored into the file's mappings is on the disk; false if the kernel takes no such order
// for it, and nothing was done.
func (f *flusher) flush(file *os.File) (bool, error) {
	if f == nil || file == nil {
		return false, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.op = iocb{opcode: opDataSync, fd: uint32(file.Fd()), flags: flagEventFD, eventFD: uint32(f.fd)}
	if _, _, e := syscall.RawSyscall(unix.SYS_IO_SUBMIT, f.ring, 1, uintptr(unsafe.Pointer(&f.list[0]))); e != 0 {
		return false, nil
	}
	for binary.NativeEndian.Uint64(f.word[:]) == 0 {
		if err := f.wait.Read(f.read); err != nil {
			return true, err
		}
		if f.failed != 0 {
			return true, os.NewSyscallError("read", f.failed)
		}
	}
	clear(f.word[:])
	runtime.KeepAlive(file)
	n, _, e := syscall.RawSyscall6(unix.SYS_IO_GETEVENTS, f.ring, 1, 1, uintptr(unsafe.Pointer(&f.done)), 0, 0)
	switch {
	case e != 0:
		return true, os.NewSyscallError("io_getevents", e)
	case n == 1 && f.done.res < 0:
		return true, os.NewSyscallError("fdatasync", syscall.Errno(-f.done.res))
	}
	return true, nil
}
