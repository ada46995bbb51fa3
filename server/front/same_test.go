package front

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// heard keeps what a server understood, by connection.
type heard struct {
	mu  sync.Mutex
	all map[string][]string
}

func (h *heard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	var fields []string
	for name, values := range r.Header {
		if name != "Content-Length" && name != "Connection" {
			fields = append(fields, fmt.Sprintf("%s=%q", name, values))
		}
	}
	slices.Sort(fields)
	one := fmt.Sprintf("%s %q host=%q %d %v body=%q whole=%v close=%v %q", r.Method, r.RequestURI, r.Host, r.ContentLength, r.TransferEncoding, b, err == nil, r.Close, fields)
	h.mu.Lock()
	h.all[r.RemoteAddr] = append(h.all[r.RemoteAddr], one)
	h.mu.Unlock()
	fmt.Fprintf(w, "%d", len(b))
}

// understands is what a server makes of some bytes: the requests, and the statuses of its answers.
func (h *heard) understands(t *testing.T, addr string, pieces []string) (requests []string, statuses []int) {
	t.Helper()
	c := dial(t, addr)
	from := c.LocalAddr().String()
	h.mu.Lock()
	delete(h.all, from) // of an earlier connection
	h.mu.Unlock()
	go func() {
		for _, p := range pieces {
			if _, err := io.WriteString(c, p); err != nil {
				return
			}
			if len(pieces) > 1 {
				time.Sleep(100 * time.Microsecond)
			}
		}
		_ = c.CloseWrite()
	}()
	for {
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			break
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if statuses = append(statuses, resp.StatusCode); err != nil {
			break
		}
	}
	c.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all[from], statuses
}

// odd makes a few requests in a row, some of them such that servers could read them in two ways.
func odd(r *rand.Rand) string {
	one := func(list ...string) string { return list[r.IntN(len(list))] }
	var b strings.Builder
	for range 1 + r.IntN(4) {
		body := one("", "hello", "POST "+path+" HTTP/1.1\r\nHost: y\r\nContent-Length: 0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "0\r\n\r\n", strings.Repeat("x", 9000))
		line := one("POST "+path+" HTTP/1.1", "POST "+path+" HTTP/1.1", "POST "+path+" HTTP/1.1", "POST "+path+"/other HTTP/1.1", "POST "+path+" HTTP/1.0", "GET "+path+" HTTP/1.1", "POST  "+path+" HTTP/1.1",
			"POST "+path+"?a HTTP/1.1", "POST http://x"+path+" HTTP/1.1", "post "+path+" HTTP/1.1", "\r\nPOST "+path+" HTTP/1.1")
		fields := []string{"Host: x", fmt.Sprintf("Content-Length: %d", len(body))}
		for range r.IntN(3) {
			fields = append(fields, one("Transfer-Encoding: chunked", "transfer-encoding:chunked", "Transfer-Encoding : chunked", "Transfer-Encoding: identity", "Transfer-Encoding: x", "Transfer-Encoding: \x0bchunked",
				"Transfer_Encoding: chunked", "X: a\r\n folded", "X: a\rTransfer-Encoding: chunked", "X: a\nTransfer-Encoding: chunked", "Content-Length: 5", "content-length: 0", "Content-Length: +5", "Content-Length: 5, 5",
				"Content-Length: 0x5", "Content-Length: ", "Content-Length: 05", "Content-Length:\t5 ", "Content-Length: -1", "Content-Length: 99999999999999999999", "Content_Length: 3", "Host: y", "host:", "Connection: close",
				"Connection: Keep-Alive", "Connection: close, x", "Connection: Content-Length", "Expect: 100-continue", "Upgrade: h2c", "Trailer: X", "TE: trailers", "Pragma: no-cache", "X-\x00: a", "X: \x00", "X: \x7f", "X: \x80\xff",
				": a", "X", "X : a", " X: a", "x-a-B_c: d", "X;a: b", "Cookie: a=b"))
		}
		if r.IntN(3) == 0 {
			r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
		}
		if r.IntN(12) == 0 {
			fields = fields[1:]
		}
		end := "\r\n"
		if r.IntN(25) == 0 {
			end = "\n"
		}
		b.WriteString(line + end + strings.Join(fields, end) + end + end + body)
	}
	all := b.String()
	if r.IntN(10) == 0 {
		all = all[:r.IntN(len(all))]
	}
	return all
}

// Whatever is sent on a connection, the same requests are heard as net/http alone hears, and no other one.
func TestTheSameRequestsAsNetHTTPHears(t *testing.T) {
	fast, std := &heard{all: map[string][]string{}}, &heard{all: map[string][]string{}}
	_, fastAddr := start(t, fast.ServeHTTP)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	plain := &http.Server{Handler: std, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = plain.Serve(l) }()
	t.Cleanup(func() { plain.Close() })
	r := rand.New(rand.NewPCG(1, seed))
	for range rounds {
		text := odd(r)
		pieces := []string{text}
		if r.IntN(3) == 0 {
			for at := 0; at < len(text) && len(pieces) < 6; {
				last := pieces[len(pieces)-1]
				n := r.IntN(len(last) + 1)
				pieces = append(pieces[:len(pieces)-1], last[:n], last[n:])
				at += n + 1
			}
		}
		a, sa := fast.understands(t, fastAddr, pieces)
		b, sb := std.understands(t, l.Addr().String(), pieces)
		if n := len(sb) - 1; n == len(sa) && sb[n] == http.StatusBadRequest { // half a head is no request that needs an answer
			sb = sb[:n]
		}
		if !slices.Equal(a, b) || !slices.Equal(sa, sb) {
			t.Errorf("%.600q\nis heard as\n%.1500q %v\nnet/http hears\n%.1500q %v", text, a, sa, b, sb)
		}
	}
}

const (
	rounds = 400
	seed   = 2
)
