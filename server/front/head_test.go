package front

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzHead holds the reader of heads to net/http's: what it takes, net/http takes too, and reads alike.
func FuzzHead(f *testing.F) {
	f.Add([]byte(post("hello")), uint8(3))
	f.Add([]byte("POST "+path+" HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\nX-Y:\t z \t\r\nx-y: 2\r\n\r\n"), uint8(40))
	f.Add([]byte("POST "+path+" HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"), uint8(0))
	f.Add([]byte("POST "+path+" HTTP/1.1\r\nHost: a:b\r\nHost: c\r\nContent-Length: 00\r\nTransfer-Encoding: x\r\n\r\n"), uint8(0))
	f.Add([]byte("POST "+path+" HTTP/1.1\r\nHost: [::1]:80\r\nX\x7f: a\r\nY: \x01\r\n"), uint8(0))
	paths := []string{path, path + "/other"}
	var lines [][]byte
	for _, p := range paths {
		lines = append(lines, []byte("POST "+p+" HTTP/1.1\r\n"))
	}
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		var h head
		v := incomplete
		for n := min(len(b), int(step)); ; n = min(len(b), n+1+int(step)) { // in pieces
			if v = h.scan(b[:n], lines, paths); v != incomplete || n == len(b) {
				break
			}
		}
		var whole head
		if once := whole.scan(b, lines, paths); once != v || v == ours && once == ours && whole.size != h.size {
			t.Fatalf("in pieces %v (%d), at once %v (%d)", v, h.size, once, whole.size)
		}
		if v != ours || !h.parse(string(b[len("POST  HTTP/1.1\r\n")+len(h.path):h.size])) {
			return
		}
		for _, c := range []byte(h.host) { // net/http's server looks at it after ReadRequest
			if c <= ' ' || c >= 0x7f || strings.IndexByte("/?#@\\\"<>^`{|}%", c) >= 0 {
				t.Fatalf("%q: took the host %q", b, h.host)
			}
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b[:h.size])))
		if err != nil {
			t.Fatalf("%q: net/http refuses it: %v", b, err)
		}
		want := head{path: r.URL.Path, host: r.Host, length: r.ContentLength, close: r.Close}
		if h.path != want.path || h.host != want.host || h.length != want.length || h.close != want.close {
			t.Fatalf("%q: read as %+v, net/http reads %+v", b, h, want)
		}
		mine := h.header.Clone()
		for _, name := range []string{"Connection", "Content-Length"} { // kept or not
			mine.Del(name)
			r.Header.Del(name)
		}
		mine.Del("Host")
		if diff := cmp.Diff(r.Header, mine); diff != "" {
			t.Fatalf("%q: %s", b, diff)
		}
	})
}

// Any byte in a Host gets the same judgement from here as from net/http, and a client that closes is known to.
func TestHostsAsNetHTTPJudgesThem(t *testing.T) {
	var closes bool
	h := func(w http.ResponseWriter, r *http.Request) {
		closes = r.Close
		w.Header().Set("Content-Length", "0")
	}
	_, fast := start(t, h)
	_, std := start(t, h, func(s *Server) { s.Paths = nil })
	for n := range 256 {
		if n == '\n' {
			continue
		}
		text := "POST " + path + " HTTP/1.1\r\nHost: a" + string([]byte{byte(n)}) + "b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
		status := func(addr string) int {
			closes = false
			c := dial(t, addr)
			defer c.Close()
			c.send("%s", text)
			resp, _ := c.answer()
			if resp.StatusCode == http.StatusOK && !closes {
				t.Errorf("%#x: the handler is not told that the client closes", n)
			}
			return resp.StatusCode
		}
		if a, b := status(fast), status(std); a != b {
			t.Errorf("%#x in a host: %d, net/http %d", n, a, b)
		}
	}
}
