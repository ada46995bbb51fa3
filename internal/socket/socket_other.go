//go:build !linux

package socket

import (
	"net"
	"syscall"
)

// fast is nothing here.
type fast struct{ raw syscall.RawConn }

func (*fast) init(net.Conn) {}

func (*fast) read([]byte) (int, error) { panic("socket: there is none") }

func (*fast) write(_, _ []byte) (int64, error) { panic("socket: there is none") }

func (*fast) ask(_, _, _ []byte, _ bool) (int64, int, error) { panic("socket: there is none") }
