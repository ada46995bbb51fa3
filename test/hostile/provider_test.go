package hostile

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// provider speaks over bare connections, so that it can say what no server would. What it does with a request is what
// the request's model is called.
type provider struct {
	url    string
	ln     net.Listener
	asked  atomic.Int64 // requests
	open   atomic.Int64 // of them under way
	held   atomic.Int64 // streams that say nothing until let go
	letGo  chan struct{}
	trap   string       // an address that nobody may ask
	caught atomic.Int64 // those who did
	closed chan struct{}
}

func newProvider(t *testing.T) *provider {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	p := &provider{ln: ln, url: "http://" + ln.Addr().String(), letGo: make(chan struct{}), closed: make(chan struct{})}
	trap, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	p.trap = trap.Addr().String()
	go func() {
		for {
			c, err := trap.Accept()
			if err != nil {
				return
			}
			p.caught.Add(1)
			c.Close()
		}
	}()
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() { trap.Close(); ln.Close(); close(p.closed); conns.Wait() })
	return p
}

// serve answers one request and closes the connection.
func (p *provider) serve(c net.Conn) {
	defer c.Close()
	gone := make(chan struct{})
	defer close(gone)
	go func() {
		select {
		case <-p.closed:
			c.Close()
		case <-gone:
		}
	}()
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	v, model, streamed := said(r)
	if v == nil {
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	p.asked.Add(1)
	p.open.Add(1)
	defer p.open.Add(-1)
	left := make(chan struct{})
	go func() { defer close(left); _, _ = io.Copy(io.Discard, c) }()
	if do := scripts[strings.Split(model, "-")[0]]; do != nil {
		do(&script{p: p, c: c, left: left, v: v, streamed: streamed})
	}
}

// script writes an answer; after an error it writes nothing more.
type script struct {
	p    *provider
	c    net.Conn
	left chan struct{} // closed when the asker is gone
	v    *voice        // the dialect in which it was asked

	streamed bool // a stream was asked for
	err      error
}

func (s *script) say(text string) bool {
	if s.err == nil {
		_, s.err = io.WriteString(s.c, text)
	}
	return s.err == nil
}

// stream begins an event stream that ends with the connection.
func (s *script) stream() bool {
	return s.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
}

// whole is an answer that its length ends.
func (s *script) whole(status, kind, body string) bool {
	return s.say(fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, kind, len(body), body))
}

// forever says something again and again, until nobody listens.
func (s *script) forever(text string, pause time.Duration) {
	for s.say(text) {
		time.Sleep(pause)
	}
}

// tokens begins an event stream with so many.
func (s *script) tokens(n int) bool {
	return s.stream() && s.say(s.v.begin("4")+strings.Repeat(s.v.tok, n))
}

// garbage are bytes of no meaning.
func garbage(n int) string {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

// scripts are what it does, by the first part of the model's name.
var scripts = map[string]func(*script){
	"good": func(s *script) { s.answer("4", "3", "0") },

	"nothttp":   func(s *script) { s.say(garbage(4096)) },
	"hangup":    func(*script) {},
	"html":      func(s *script) { s.whole("200 OK", "text/html", "<html>"+strings.Repeat("x", 1000)) },
	"notjson":   func(s *script) { s.whole("200 OK", "application/json", `{"choices": [}`) },
	"emptyjson": func(s *script) { s.whole("200 OK", "application/json", `{}`) },
	"broken500": func(s *script) { s.whole("500 Oh", "text/html", strings.Repeat("<p>no</p>", 1<<17)) },
	"redirect": func(s *script) {
		s.say("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://" + s.p.trap + "/latest/meta-data\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	},
	"binary": func(s *script) { s.stream(); s.say(garbage(1 << 18)) },
	"events": func(s *script) { // of something else
		s.stream()
		s.say(strings.Repeat("event: x\ndata: nothing\n\ndata: [1,2]\n\ndata: {\"choices\":7}\n\n", 20))
	},
	"head": func(s *script) {
		s.say("HTTP/1.1 200 OK\r\n")
		s.forever("X-More: "+strings.Repeat("x", 1000)+"\r\n", 0)
	},
	"continues": func(s *script) {
		s.forever("HTTP/1.1 103 Early Hints\r\nLink: </"+strings.Repeat("x", 500)+">\r\n\r\n", 0)
	},
	"sizes": func(s *script) { // of chunks
		s.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n")
		s.forever(strings.Repeat("x", 1000), 0)
	},

	"midstream": func(s *script) { s.tokens(3) },
	"reset": func(s *script) {
		s.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat(s.v.tok, 3))
	},
	"halfevent": func(s *script) { s.tokens(3); s.say(s.v.tok[:len(s.v.tok)/2]) },
	"hugeevent": func(s *script) {
		s.tokens(3)
		s.say(s.v.open)
		s.forever(strings.Repeat("x", 1<<16), 0)
	},
	"hugewhole": func(s *script) {
		s.say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"choices\":[{\"message\":{\"content\":\"")
		s.forever(strings.Repeat("x", 1<<16), 0)
	},
	"nousage": func(s *script) { // a good answer of which nobody says how many tokens it is
		untold := strings.NewReplacer(`"usage":`, `"x_told":`, `"usageMetadata":`, `"x_told":`)
		if s.streamed {
			s.stream()
			s.say(untold.Replace(s.v.begin("4") + strings.Repeat(s.v.tok, 3) + s.v.end("4", "3", "0")))
			return
		}
		s.whole("200 OK", "application/json", untold.Replace(s.v.whole("4", "3", "0")))
	},
	"huge":     func(s *script) { s.huge() },
	"absurd":   func(s *script) { s.answer("1000000000000000000", "999999999999999999", "-7") },
	"negative": func(s *script) { s.answer("-5", "-3", "1e300") },
	"endless":  func(s *script) { s.tokens(0); s.forever(strings.Repeat(s.v.tok, 50), time.Millisecond) },

	"silent":   func(s *script) { s.wait() },
	"quiet":    func(s *script) { s.tokens(3); s.wait() },
	"trickle":  func(s *script) { s.tokens(3); s.forever(":", 100*time.Millisecond) },
	"comments": func(s *script) { s.tokens(3); s.forever(": still here\n\n", 10*time.Millisecond) },
	"slowhead": func(s *script) { s.say("HTTP/1.1 200 OK\r\nX-Slow: "); s.forever("x", 100*time.Millisecond) },

	"idle": func(s *script) { // waits in the middle until it is let go
		if !s.tokens(1) {
			return
		}
		s.p.held.Add(1)
		s.wait()
		s.p.held.Add(-1)
		s.say(strings.Repeat(s.v.tok, 2) + s.v.end("4", "3", "0"))
	},
	"paced": func(s *script) { // one token in ten milliseconds, 300 in all
		s.tokens(0)
		for range 300 {
			s.say(s.v.tok)
			time.Sleep(10 * time.Millisecond)
		}
		s.say(s.v.end("4", "300", "0"))
	},
}

// answer is three tokens with a count of them, streamed or in one piece as asked for.
func (s *script) answer(prompt, completion, cached string) {
	if s.streamed {
		s.stream()
		s.say(s.v.begin(prompt) + strings.Repeat(s.v.tok, 3) + s.v.end(prompt, completion, cached))
		return
	}
	s.whole("200 OK", "application/json", s.v.whole(prompt, completion, cached))
}

// wait says nothing until the provider lets go or ends.
func (s *script) wait() {
	select {
	case <-s.p.letGo:
	case <-s.left:
	}
}
