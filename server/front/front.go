// Package front is the part of an HTTP/1.1 server that a hot path needs: it reads requests of a few exact forms itself
// and gives every other connection to a net/http server, bytes read so far included. It exists because net/http's
// server costs as much for a short request as all the rest that a gateway does.
//
// What it takes: POST to one of Paths in HTTP/1.1 over a plain connection, with one Host and one Content-Length and
// nothing that changes the framing (no Transfer-Encoding, Expect or Upgrade). Anything else, malformed heads above all,
// is net/http's to judge, so there are not two opinions about what a request is.
//
// Rules for handlers: a Request, its Header, which must not be changed, and its Body must not be used after ServeHTTP
// returned, as their memory serves the next request; likewise its context, unless something was made from it that ends
// with it. A Body that was not read to its end ends the connection. The request's context ends when the client hangs up,
// which is noticed within Notice once the body was read.
package front

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves connections. Set all fields but Notice and MaxConns before Serve.
type Server struct {
	Std         *http.Server    // takes what is not of the hot path; its Handler answers everything
	Paths       []string        // exact paths whose POST requests are read here
	HeadTimeout time.Duration   // for a head to arrive, from its first byte
	IdleTimeout time.Duration   // of a connection between requests; up to a quarter less
	WriteTime   time.Duration   // for a client to take what was written; up to twice as long
	Context     context.Context // what requests have as values; they do not end with it
	Log         *slog.Logger
	// Notice is how long a request runs before its connection is watched for a client that hangs up; 0 = 50 ms. Short
	// requests never pay for the watch.
	Notice time.Duration
	// MaxConns is how many connections may be open; 0 = as many as the file descriptors allow with 512 left, at most 16,384.
	// When there are so many, a new one takes the place of the one that has sent no request for the longest time.
	MaxConns int

	room  *room
	lines [][]byte // request lines with their line ends, one for each path
	hand  handover
	date  atomic.Pointer[stamp]

	closing atomic.Bool
	mu      sync.Mutex
	conns   map[*conn]struct{}
	ln      net.Listener
	empty   chan struct{} // made by Shutdown, closed when no connection is left
}

// Serve accepts connections until Shutdown or Close and then returns http.ErrServerClosed. Call it once.
func (s *Server) Serve(l net.Listener) error {
	if s.Notice <= 0 {
		s.Notice = 50 * time.Millisecond
	}
	if s.MaxConns <= 0 {
		s.MaxConns = connsFor(descriptors())
	}
	s.room = newRoom(s.MaxConns, s.Log)
	s.follow()
	for _, p := range s.Paths {
		s.lines = append(s.lines, []byte("POST "+p+" HTTP/1.1\r\n"))
	}
	s.mu.Lock()
	if s.closing.Load() {
		s.mu.Unlock()
		l.Close()
		return http.ErrServerClosed
	}
	s.ln, s.conns = l, map[*conn]struct{}{}
	s.hand = handover{addr: l.Addr(), conns: make(chan net.Conn), closed: make(chan struct{})}
	s.mu.Unlock()
	broken := make(chan struct{})
	go func() {
		defer close(broken)
		_ = s.Std.Serve(&s.hand) // it ends because its listener is closed
	}()
	err := s.accept(l)
	if s.closing.Load() {
		return http.ErrServerClosed
	}
	s.hand.Close()
	<-broken
	return err
}

// follow has net/http tell the room what becomes of its connections.
func (s *Server) follow() {
	before := s.Std.ConnState
	s.Std.ConnState = func(nc net.Conn, state http.ConnState) {
		s.room.follow(nc, state)
		if before != nil {
			before(nc, state)
		}
	}
}

// accept gives each connection a goroutine. Where the machine has no room for another one it waits and tries again.
func (s *Server) accept(l net.Listener) error {
	const longest = time.Second
	pause := time.Duration(0)
	for {
		c, err := l.Accept()
		if err == nil {
			pause = 0
			if seat := s.room.admit(c, time.Now()); seat != nil {
				go s.take(c, seat)
			} else {
				cut(c)
			}
			continue
		}
		var temporary interface{ Temporary() bool }
		if s.closing.Load() || !errors.As(err, &temporary) || !temporary.Temporary() {
			return err
		}
		pause = min(max(2*pause, 5*time.Millisecond), longest)
		s.Log.Warn("the API cannot accept a connection and tries again", slog.Any("error", err))
		time.Sleep(pause)
	}
}

// take serves one connection. What is encrypted is net/http's from the beginning.
func (s *Server) take(nc net.Conn, seat *seat) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		s.handOver(nc, seat)
		return
	}
	c := newConn(s, tcp, seat)
	if !s.add(c) {
		nc.Close()
		s.room.leave(seat)
		return
	}
	over := c.serve()
	s.remove(c)
	if over {
		s.handOver(&replay{TCPConn: tcp, rest: c.buf[c.r:c.w]}, seat)
		return
	}
	nc.Close()
	s.room.leave(seat)
}

// handOver gives a connection to net/http.
func (s *Server) handOver(nc net.Conn, seat *seat) {
	s.room.lend(nc, seat)
	if !s.hand.give(nc) {
		s.room.follow(nc, http.StateClosed)
	}
}

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.empty != nil && len(s.conns) == 0 {
		close(s.empty)
		s.empty = nil
	}
}

// Shutdown takes no more requests and waits until those that run have ended, or for the end of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	empty := s.stop()
	s.eachConn((*conn).wake)
	err := s.Std.Shutdown(ctx)
	select {
	case <-empty:
		return err
	case <-ctx.Done():
		return errors.Join(err, ctx.Err())
	}
}

// Close ends all connections at once.
func (s *Server) Close() error {
	s.stop()
	err := s.Std.Close()
	s.eachConn((*conn).abort)
	return err
}

// stop closes the listener; the channel is closed once no connection is left.
func (s *Server) stop() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing.Store(true)
	if s.ln != nil {
		s.ln.Close()
	}
	if len(s.conns) == 0 {
		done := make(chan struct{})
		close(done)
		return done
	}
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	return s.empty
}

func (s *Server) eachConn(f func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		f(c)
	}
}

// stamp is the text of a Date header, good for one second.
type stamp struct {
	second int64
	text   string
}

func (s *Server) dateText(now time.Time) string {
	second := now.Unix()
	if d := s.date.Load(); d != nil && d.second == second {
		return d.text
	}
	d := &stamp{second, now.UTC().Format(http.TimeFormat)}
	s.date.Store(d)
	return d.text
}
