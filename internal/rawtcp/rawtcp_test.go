package rawtcp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"
)

// pair is two ends of a connection with small buffers, so that large writes come in parts.
func pair(t testing.TB) (*Conn, *net.TCPConn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	near.(*net.TCPConn).SetWriteBuffer(64 << 10)
	far.(*net.TCPConn).SetReadBuffer(64 << 10)
	return New(near), far.(*net.TCPConn)
}

// into is room for what Ask reads.
func into(b []byte) func() []byte { return func() []byte { return b } }

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestAllOfBothPartsArrivesInOrder(t *testing.T) {
	for _, sizes := range [][2]int{{0, 0}, {1, 0}, {0, 1}, {100, 200}, {70_000, 0}, {100, 3_000_000}, {1_000_000, 1_000_000}} {
		c, far := pair(t)
		all := noise(sizes[0] + sizes[1])
		sent := make(chan error, 1)
		go func() {
			n, err := c.WriteBoth(all[:sizes[0]], all[sizes[0]:])
			if err == nil && n != int64(len(all)) {
				err = errors.New("the count is wrong")
			}
			c.Close()
			sent <- err
		}()
		got, err := io.ReadAll(far)
		if err != nil || !bytes.Equal(got, all) {
			t.Errorf("%v: %d bytes arrived, %v", sizes, len(got), err)
		}
		if err := <-sent; err != nil {
			t.Errorf("%v: %v", sizes, err)
		}
	}
}

func TestReadGivesWhatComesThenTheEnd(t *testing.T) {
	c, far := pair(t)
	all := noise(300_000)
	go func() {
		far.Write(all)
		far.Close()
	}()
	got, err := io.ReadAll(struct{ io.Reader }{c})
	if err != nil || !bytes.Equal(got, all) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatal(n, err)
	}
	if n, err := c.Read(nil); n != 0 || err != nil {
		t.Fatal(n, err)
	}
}

func TestAsk(t *testing.T) {
	for _, size := range []int{10, 50_000, 3_000_000} { // the last one does not fit into the kernel at once
		c, far := pair(t)
		head, body := []byte("head"), noise(size)
		go func() {
			for range 3 {
				got := make([]byte, len(head)+len(body))
				if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got[4:], body) {
					far.Close()
					return
				}
				far.Write([]byte("answer"))
			}
		}()
		for i := range 3 {
			answer := make([]byte, 100)
			sent, n, err := c.Ask(head, body, into(answer), i == 0)
			for err == nil && n < 6 {
				var more int
				more, err = c.Read(answer[n:])
				n += more
			}
			if err != nil || sent != int64(4+size) || string(answer[:n]) != "answer" {
				t.Fatalf("%d bytes, asked %d times before: sent %d, %q, %v", size, i, sent, answer[:n], err)
			}
		}
	}
}

// A second answer to one question would be taken for the answer to the next.
func TestAskFindsOutStaleConnections(t *testing.T) {
	for what, spoil := range map[string]func(*net.TCPConn){
		"closed": func(far *net.TCPConn) { far.Close() },
		"noisy":  func(far *net.TCPConn) { far.Write([]byte("x")) },
		"reset":  func(far *net.TCPConn) { far.SetLinger(0); far.Close() },
	} {
		c, far := pair(t)
		spoil(far)
		for ready := false; !ready; ready = !quiet(c.Conn) { // until it has arrived
			time.Sleep(time.Millisecond)
		}
		if sent, n, err := c.Ask([]byte("question"), nil, into(make([]byte, 10)), false); !errors.Is(err, ErrStale) || sent != 0 || n != 0 {
			t.Errorf("%s: %d, %d, %v", what, sent, n, err)
		}
	}
}

func TestWhatWaitsEnds(t *testing.T) {
	past := time.Unix(1, 0)
	for what, call := range map[string]func(*Conn) error{
		"read":  func(c *Conn) error { _, err := c.Read(make([]byte, 1)); return err },
		"write": func(c *Conn) error { _, err := c.Write(make([]byte, 8<<20)); return err },
		"ask":   func(c *Conn) error { _, _, err := c.Ask([]byte("x"), nil, into(make([]byte, 1)), false); return err },
		"ask with much": func(c *Conn) error {
			_, _, err := c.Ask([]byte("x"), make([]byte, 8<<20), into(make([]byte, 1)), false)
			return err
		},
	} {
		c, _ := pair(t)
		done := make(chan error, 1)
		go func() { done <- call(c) }()
		select {
		case err := <-done:
			t.Fatalf("%s did not wait: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
		c.SetDeadline(past)
		err := <-done
		var slow net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &slow) || !slow.Timeout() {
			t.Errorf("%s: %v", what, err)
		}
		c.SetDeadline(time.Time{})
		go func() { done <- call(c) }()
		time.Sleep(5 * time.Millisecond)
		c.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAskTellsWhatBroke(t *testing.T) {
	c, far := pair(t)
	go func() {
		io.ReadFull(far, make([]byte, 8))
		far.SetLinger(0)
		far.Close()
	}()
	sent, n, err := c.Ask([]byte("question"), nil, into(make([]byte, 10)), true)
	if sent != 8 || n != 0 || err == nil || errors.Is(err, ErrStale) {
		t.Error(sent, n, err)
	}
	if _, err := c.Write([]byte("x")); err == nil {
		if _, err = c.Write([]byte("x")); err == nil {
			t.Error("writing into a broken connection works")
		}
	}
}

// An answer in many pieces that come at odd times wakes the one who waits each time.
func TestNoPieceIsMissed(t *testing.T) {
	c, far := pair(t)
	const rounds = 2000
	go func() {
		b := make([]byte, 64)
		for range rounds {
			n, err := far.Read(b)
			if err != nil {
				return
			}
			for i := range n {
				far.Write(b[i : i+1])
			}
		}
	}()
	answer := make([]byte, 64)
	for i := range rounds {
		want := noise(1 + i%7)
		_, n, err := c.Ask(want, nil, into(answer), false)
		for err == nil && n < len(want) {
			var more int
			more, err = c.Read(answer[n:])
			n += more
		}
		if err != nil || !bytes.Equal(answer[:n], want) {
			t.Fatal(i, answer[:n], want, err)
		}
	}
}

func TestWhatIsNoSocket(t *testing.T) {
	near, far := net.Pipe()
	c := New(near)
	go func() {
		b := make([]byte, 8)
		io.ReadFull(far, b)
		far.Write(b)
	}()
	b := make([]byte, 8)
	if sent, n, err := c.Ask([]byte("head"), []byte("body"), into(b), false); sent != 8 || n != 8 || err != nil || string(b) != "headbody" {
		t.Error(sent, n, err, string(b))
	}
}

// An answer that was there before the question is found on a fresh connection, too, though nothing more comes.
func TestAskFindsWhatCameEarlier(t *testing.T) {
	c, far := pair(t)
	if _, err := far.Write([]byte("busy")); err != nil {
		t.Fatal(err)
	}
	for quiet(c.Conn) {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // until the scheduler has been told, which tells nobody
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 10)
	if sent, n, err := c.Ask([]byte("hello"), nil, into(b), true); sent != 5 || string(b[:n]) != "busy" || err != nil {
		t.Fatal(sent, n, err)
	}
}

// Whoever waits for an answer holds no memory for it.
func TestAskTakesRoomWhenThereIsSomething(t *testing.T) {
	c, far := pair(t)
	if c.raw == nil {
		t.Skip("only where calls are made here")
	}
	taken := make(chan struct{})
	got := make(chan string)
	go func() {
		b := make([]byte, 10)
		_, n, err := c.Ask([]byte("question"), nil, func() []byte { close(taken); return b }, false)
		got <- fmt.Sprint(string(b[:n]), err)
	}()
	if _, err := io.ReadFull(far, make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-taken:
		t.Error("room was taken while there was nothing to read")
	case <-time.After(20 * time.Millisecond):
	}
	far.Write([]byte("answer"))
	if s := <-got; s != "answer<nil>" {
		t.Error(s)
	}
}
