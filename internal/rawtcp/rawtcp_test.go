package rawtcp

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair is both ends of a connection, the first one wrapped.
func pair(t *testing.T) (*Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return New(a.(*net.TCPConn)), b.(*net.TCPConn)
}

// What is written in pieces of any size, short and long, comes back as it was.
func TestBothWays(t *testing.T) {
	c, peer := pair(t)
	sent := make([]byte, 3<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range sent {
		sent[i] = byte(r.Uint32())
	}
	go func() {
		_, _ = io.Copy(peer, peer) // what is missing shows below
		_ = peer.CloseWrite()
	}()
	failed := make(chan error, 1)
	go func() {
		for rest := sent; len(rest) > 0; {
			n, err := c.Write(rest[:min(len(rest), 1+r.IntN(2*short))])
			if err != nil {
				failed <- err
				return
			}
			rest = rest[n:]
		}
		failed <- c.CloseWrite()
	}()
	var got []byte
	buf := make([]byte, 2*short)
	for size := 1; ; size = 1 + (7*size)%len(buf) {
		n, err := c.Read(buf[:size])
		got = append(got, buf[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes came back of %d, or others", len(got), len(sent))
	}
}

func TestDeadlines(t *testing.T) {
	c, _ := pair(t)
	var slow net.Error
	if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &slow) || !slow.Timeout() {
		t.Errorf("a read past its deadline gave %v", err)
	}
	if err := c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, short) // nobody reads
	for range 100_000 {
		n, err := c.Write(piece)
		if err == nil {
			continue
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || n < 0 || n >= len(piece) {
			t.Errorf("a write past its deadline took %d bytes: %v", n, err)
		}
		return
	}
	t.Error("writes without a reader never end")
}

// Close ends a read that waits.
func TestCloseEndsRead(t *testing.T) {
	c, peer := pair(t)
	done := make(chan error, 1)
	go func() {
		if _, err := c.Read(make([]byte, 10)); err != nil {
			done <- err
			return
		}
		peer.Close() // the read below may find this end or ours
		_, err := c.Read(make([]byte, 10))
		done <- err
	}()
	if _, err := peer.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) && err != io.EOF {
		t.Errorf("a read of a closed connection gave %v", err)
	}
}

// What the kernel says of a broken connection can be told apart.
func TestBroken(t *testing.T) {
	c, peer := pair(t)
	if err := peer.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	peer.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a read of a reset connection gave %v", err)
	}
	if n, err := c.Write([]byte("x")); n != 0 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a write to a reset connection took %d: %v", n, err)
	}
}

func TestAllocatesNothing(t *testing.T) {
	c, peer := pair(t)
	a, b := []byte("hello"), make([]byte, 5)
	n := testing.AllocsPerRun(100, func() {
		if _, err := c.Write(a); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(peer, b); err != nil {
			t.Fatal(err)
		}
		if _, err := peer.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations for a write and a read", n)
	}
}
