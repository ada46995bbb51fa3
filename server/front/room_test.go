package front

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func (r *room) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken
}

func (s *Server) settle(t *testing.T, want int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); s.room.count() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d connections are counted, want %d", s.room.count(), want)
		}
	}
}

// Whoever connects and says nothing makes way; whoever has sent a request, through either server, does not.
func TestAFullHouse(t *testing.T) {
	s, addr := start(t, echo, func(s *Server) { s.MaxConns = 4 })
	fast, std := dial(t, addr), dial(t, addr)
	fast.send("%s", post("x"))
	fast.answer()
	std.send("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	std.answer()
	first := dial(t, addr)
	s.settle(t, 3)
	second := dial(t, addr)
	s.settle(t, 4)
	third := dial(t, addr)
	first.ended()
	for _, c := range []*client{fast, second, third} {
		c.send("%s", post("x"))
		if _, got := c.answer(); got != understood(true, 1, "x") {
			t.Errorf("got %q", got)
		}
	}
	std.send("GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	std.answer()
	dial(t, addr).ended() // all four have sent requests
	std.Close()
	s.settle(t, 3)
	fast.Close()
	s.settle(t, 2)
	again := dial(t, addr)
	again.send("%s", post("x"))
	again.answer()
}

func TestEncryptedConnectionsAreCounted(t *testing.T) {
	lender := httptest.NewTLSServer(nil) // of a certificate and the pool that trusts it
	defer lender.Close()
	s := &Server{Std: &http.Server{Handler: http.HandlerFunc(echo)}, Context: t.Context(), HeadTimeout: time.Minute, IdleTimeout: time.Minute,
		WriteTime: time.Minute, Log: slog.New(slog.DiscardHandler), MaxConns: 2}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(tls.NewListener(plain, &tls.Config{Certificates: lender.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}))
	t.Cleanup(func() { s.Close() })
	addr := plain.Addr().String()
	trust := lender.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, ForceAttemptHTTP2: true}, Timeout: 20 * time.Second}
	ask := func() {
		t.Helper()
		resp, err := client.Get("https://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.ProtoMajor != 2 {
			t.Errorf("%s", resp.Proto)
		}
	}
	ask()
	silent := dial(t, addr)
	s.settle(t, 2)
	other := dial(t, addr) // in place of the silent one, not of the one in use
	silent.ended()
	ask()
	s.settle(t, 2)
	other.Close()
	client.CloseIdleConnections()
	s.settle(t, 0)
}

// stranger is a connection from elsewhere.
type stranger struct {
	net.Conn
	from   string
	closed bool
}

func (s *stranger) RemoteAddr() net.Addr { a, _ := net.ResolveTCPAddr("tcp", s.from); return a }
func (s *stranger) Close() error         { s.closed = true; return nil }

func TestNoNetworkHasMoreThanHalf(t *testing.T) {
	r := newRoom(8, slog.New(slog.DiscardHandler))
	admit := func(from string) *seat { return r.admit(&stranger{from: from}, time.Now()) }
	var seats []*seat
	for n := range 4 {
		seats = append(seats, admit(fmt.Sprintf("[2001:db8::%d]:1", n+1)))
	}
	if admit("[2001:db8::ffff]:1") != nil {
		t.Error("a network has more than half")
	}
	if s := admit("10.0.0.1:1"); s == nil {
		t.Error("another one has none")
	}
	r.leave(seats[0])
	r.leave(seats[0])
	if admit("[2001:db8::ffff]:1") == nil || admit("[2001:db8::fffe]:1") != nil {
		t.Error("one seat that was given back is not one seat")
	}
	for range 20 { // this machine's own may have all of those that say nothing
		if admit("127.0.0.1:1") == nil {
			t.Error("this machine is refused")
		}
	}
	if r.taken != 8 || r.silent.Len() != 8 || len(r.from) != 0 {
		t.Errorf("%d taken, %d silent, %v", r.taken, r.silent.Len(), r.from)
	}
}

func TestSeatsFollowDescriptors(t *testing.T) {
	for n, want := range map[uint64]int{0: 1, 1: 1, 256: 64, 1024: 256, 4096: 1792, 20_000: 9744, 33_278: 16_383, 1 << 20: 16_384, math.MaxUint64: 16_384} {
		if got := connsFor(n); got != want {
			t.Errorf("%d descriptors: %d, want %d", n, got, want)
		}
	}
	if descriptors() == 0 {
		t.Error("no descriptors")
	}
}
