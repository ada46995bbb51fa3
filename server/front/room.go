package front

import (
	"container/list"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	mostConns   = 16_384
	reservedFDs = 512 // file descriptors for everything but clients
)

// connsFor is how many connections a process with so many file descriptors takes: a request that is answered has one
// here and one to its engine.
func connsFor(descriptors uint64) int {
	if descriptors >= 2*mostConns+reservedFDs {
		return mostConns
	}
	n := int(descriptors)
	return max((n-reservedFDs)/2, n/4, 1)
}

// room bounds the connections that are open, those of net/http included. When it is full a new one takes the seat of
// the one that has sent no request for the longest time, so that whoever only connects keeps nobody out. No network but
// this machine's own has more than half of the seats.
type room struct {
	seats int
	log   *slog.Logger

	mu     sync.Mutex
	taken  int
	silent list.List          // *seat that sent no request yet, oldest first
	from   map[netip.Addr]int // seats taken by each network
	lent   map[net.Conn]*seat // connections that net/http has
	warned time.Time
}

// seat is one connection's place.
type seat struct {
	conn   net.Conn
	from   netip.Addr    // zero if not counted
	silent *list.Element // nil once a request came
	left   bool
}

func newRoom(seats int, log *slog.Logger) *room {
	return &room{seats: seats, log: log, from: map[netip.Addr]int{}, lent: map[net.Conn]*seat{}}
}

// network is what an address is counted under: itself, or its /64 in IPv6, which one host has to itself; zero for
// this machine and for what is no address.
func network(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if !ip.IsValid() || ip.IsLoopback() {
		return netip.Addr{}
	}
	if ip.Is6() {
		ip = netip.PrefixFrom(ip, 64).Masked().Addr()
	}
	return ip
}

// admit gives a connection a seat; nil if there is none for it.
func (r *room) admit(nc net.Conn, now time.Time) *seat {
	s := &seat{conn: nc, from: network(nc.RemoteAddr())}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.from.IsValid() && r.from[s.from] >= max(r.seats/2, 1) {
		r.warn(now, "the API refuses connections of an address that has half of all")
		return nil
	}
	if r.taken >= r.seats {
		r.warn(now, "the API has as many connections as it takes")
		oldest := r.silent.Front()
		if oldest == nil {
			return nil
		}
		s := oldest.Value.(*seat)
		r.free(s)
		cut(s.conn)
	}
	r.taken++
	if s.from.IsValid() {
		r.from[s.from]++
	}
	s.silent = r.silent.PushBack(s)
	return s
}

// warn logs, but not each time.
func (r *room) warn(now time.Time, text string) {
	if now.Sub(r.warned) >= time.Minute {
		r.warned = now
		r.log.Warn(text, slog.Int("connections", r.taken), slog.Int("most", r.seats))
	}
}

// cut closes a connection without a word, also one that is encrypted.
func cut(nc net.Conn) {
	if inner, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = inner.NetConn()
	}
	nc.Close()
}

// spoke notes that a request came.
func (r *room) spoke(s *seat) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hear(s)
}

func (r *room) hear(s *seat) {
	if s.silent != nil {
		r.silent.Remove(s.silent)
		s.silent = nil
	}
}

// leave gives the seat back; only the first call counts.
func (r *room) leave(s *seat) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free(s)
}

func (r *room) free(s *seat) {
	if s.left {
		return
	}
	s.left = true
	r.hear(s)
	r.taken--
	if s.from.IsValid() {
		if r.from[s.from]--; r.from[s.from] == 0 {
			delete(r.from, s.from)
		}
	}
}

// lend notes that net/http has the connection of a seat, under the name nc.
func (r *room) lend(nc net.Conn, s *seat) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lent[nc] = s
}

// follow learns from net/http what its connections do.
func (r *room) follow(nc net.Conn, state http.ConnState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.lent[nc]
	if s == nil {
		return
	}
	switch state {
	case http.StateActive:
		r.hear(s)
	case http.StateClosed, http.StateHijacked:
		delete(r.lent, nc)
		r.free(s)
	}
}
