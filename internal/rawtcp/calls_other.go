//go:build !linux

package rawtcp

import (
	"net"
	"syscall"
)

// fast is nothing here.
type fast struct{ raw syscall.RawConn }

func (*fast) init(net.Conn) {}

func (*fast) read([]byte) (int, error) { panic("rawtcp: there is none") }

func (*fast) write(_, _ []byte) (int64, error) { panic("rawtcp: there is none") }

func (*fast) ask(_, _ []byte, _ func() []byte, _ bool) (int64, int, error) {
	panic("rawtcp: there is none")
}
