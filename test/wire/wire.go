// Package wire is the way from a program to its database, which tests cut and join again.
package wire

import (
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"
)

// Wire is the way to a database, which can be cut: connections break, and new ones are refused.
type Wire struct {
	t    *testing.T
	addr string // of this end
	far  string
	mu   sync.Mutex
	ln   net.Listener
	open map[net.Conn]bool
}

// New leads to the server of a DSN and returns the DSN that goes through it.
func New(t *testing.T, dsn string) (*Wire, string) {
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{t: t, addr: "127.0.0.1:0", far: u.Host, open: map[net.Conn]bool{}}
	w.Join()
	t.Cleanup(w.Cut)
	u.Host = w.addr
	return w, u.String()
}

// Join lets connections through, at the same address as before.
func (w *Wire) Join() {
	w.t.Helper()
	ln, err := net.Listen("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ln, w.addr = ln, ln.Addr().String()
	go func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			go w.carry(ln, near)
		}
	}()
}

func (w *Wire) carry(ln net.Listener, near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", w.far)
	if err != nil {
		return
	}
	defer far.Close()
	w.mu.Lock()
	if w.ln != ln { // cut meanwhile
		w.mu.Unlock()
		return
	}
	w.open[near], w.open[far] = true, true
	w.mu.Unlock()
	go func() { _, _ = io.Copy(far, near); far.Close() }()
	_, _ = io.Copy(near, far)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, near)
	delete(w.open, far)
}

// Cut breaks all connections and refuses new ones, until Join.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ln != nil {
		w.ln.Close()
	}
	for c := range w.open {
		c.Close()
	}
	w.ln, w.open = nil, map[net.Conn]bool{}
}

// Outage is how long a test cuts: seconds by default, TRIARCH_OUTAGE if set, such as 1m.
func Outage(t *testing.T) time.Duration {
	text := os.Getenv("TRIARCH_OUTAGE")
	if text == "" {
		return 4 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
