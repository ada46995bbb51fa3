package rawtcp

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fast is a socket and the calls that run on it. Its functions are made once: they would else be allocated for each call.
type fast struct {
	raw                      syscall.RawConn // nil: no socket
	reading, writing, asking func(fd uintptr) bool

	in      []byte
	room    func() []byte // gives in when there is something to read
	got     int
	readErr syscall.Errno

	out      [2]unix.Iovec
	left     int // parts of out
	sent     int64
	writeErr syscall.Errno

	stage stage
	fresh bool
	peek  [1]byte
}

// stage is how far Ask has come.
type stage uint8

const (
	looking stage = iota // whether the connection is alive
	sending
	full  // the kernel takes no more for the moment
	stale // it is not
	sentAll
)

func (s *fast) init(nc net.Conn) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	s.raw, s.reading, s.writing, s.asking = raw, s.tryRead, s.tryWrite, s.tryAsk
}

func (s *fast) read(p []byte) (int, error) {
	s.in = p
	err := s.raw.Read(s.reading)
	return s.have(err)
}

// have is what a read came to.
func (s *fast) have(err error) (int, error) {
	s.in, s.room = nil, nil
	switch {
	case err != nil:
		return 0, err
	case s.readErr != 0:
		return 0, failed("read", s.readErr)
	case s.got == 0:
		return 0, io.EOF
	}
	return s.got, nil
}

// tryRead is false when there is nothing to read yet.
func (s *fast) tryRead(fd uintptr) bool {
	for {
		n, e := sysRead(fd, s.in)
		switch e {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return false
		}
		s.got, s.readErr = n, e
		return true
	}
}

func (s *fast) write(head, body []byte) (int64, error) {
	if s.give(head, body); s.left == 0 {
		return 0, nil
	}
	return s.gave(s.raw.Write(s.writing))
}

// give notes what is to be written.
func (s *fast) give(head, body []byte) {
	s.left, s.sent, s.writeErr = 0, 0, 0
	for _, p := range [...][]byte{head, body} {
		if len(p) > 0 {
			s.out[s.left].Base = unsafe.SliceData(p)
			s.out[s.left].SetLen(len(p))
			s.left++
		}
	}
}

// gave is what writing came to.
func (s *fast) gave(err error) (int64, error) {
	s.out = [2]unix.Iovec{}
	if err == nil && s.writeErr != 0 {
		err = failed("write", s.writeErr)
	}
	return s.sent, err
}

// tryWrite is false when the kernel takes no more for the moment.
func (s *fast) tryWrite(fd uintptr) bool {
	for s.left > 0 {
		n, e := sysWrite(fd, s.out[:s.left])
		switch e {
		case 0:
			s.took(n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			s.writeErr = e
			return true
		}
	}
	return true
}

// took goes on behind n bytes.
func (s *fast) took(n uintptr) {
	s.sent += int64(n)
	for s.left > 0 {
		o := &s.out[0]
		if have := uintptr(o.Len); n < have {
			o.Base = (*byte)(unsafe.Add(unsafe.Pointer(o.Base), n))
			o.SetLen(int(have - n))
			return
		}
		n -= uintptr(o.Len)
		s.out[0], s.out[1] = s.out[1], unix.Iovec{}
		s.left--
	}
}

func (s *fast) ask(head, body []byte, room func() []byte, fresh bool) (sent int64, n int, err error) {
	s.give(head, body)
	s.room, s.stage, s.fresh = room, looking, fresh
	if fresh {
		s.stage = sending
	}
	err = s.raw.Read(s.asking)
	switch {
	case s.stage == stale:
		return 0, 0, ErrStale
	case s.stage == full && err == nil:
		if sent, err = s.gave(s.raw.Write(s.writing)); err != nil {
			return sent, 0, err
		}
		n, err = s.read(room())
		return sent, n, err
	case s.stage != sentAll:
		sent, err = s.gave(err)
		return sent, 0, err
	}
	sent, _ = s.gave(nil)
	n, err = s.have(err)
	return sent, n, err
}

// tryAsk is false to wait for the answer. As it runs, whatever comes is going to end that wait, so there is no need to
// try reading first.
func (s *fast) tryAsk(fd uintptr) bool {
	switch s.stage {
	case looking:
		if s.stage = sending; !s.quiet(fd) {
			s.stage = stale
			return true
		}
		fallthrough
	case sending:
		switch {
		case !s.tryWrite(fd):
			s.stage = full
			return true
		case s.writeErr != 0:
			return true
		}
		s.stage = sentAll
		if !s.fresh { // on a fresh one nobody looked what had come before
			return false
		}
	}
	if s.in == nil {
		s.in = s.room()
	}
	return s.tryRead(fd)
}

// quiet says whether there is nothing to read, not even an end, without taking anything.
func (s *fast) quiet(fd uintptr) bool {
	for {
		_, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&s.peek[0])), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
		if e != syscall.EINTR {
			return e == syscall.EAGAIN
		}
	}
}

func failed(op string, e syscall.Errno) error {
	return &net.OpError{Op: op, Net: "tcp", Err: os.NewSyscallError(op, e)}
}
