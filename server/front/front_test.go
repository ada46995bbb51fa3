package front

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const path = "/v1/hot"

// start serves h with the hot path /v1/hot.
func start(t *testing.T, h http.HandlerFunc, change ...func(*Server)) (*Server, string) {
	t.Helper()
	s := &Server{Std: &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}, Paths: []string{path, "/v1/hot/other"}, HeadTimeout: 10 * time.Second,
		IdleTimeout: time.Minute, WriteTime: 10 * time.Second, Context: context.Background(), Log: slog.New(slog.DiscardHandler), Notice: time.Millisecond}
	for _, c := range change {
		c(s)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
	return s, l.Addr().String()
}

// client is a raw connection.
type client struct {
	*net.TCPConn
	t *testing.T
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{c.(*net.TCPConn), t, bufio.NewReader(c)}
}

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c, format, args...); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) answer() (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, string(b)
}

// ended checks that the server hung up with nothing more to say.
func (c *client) ended() {
	c.t.Helper()
	if b, err := io.ReadAll(c.r); len(b) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
		c.t.Errorf("the connection ended with %q, %v", b, err)
	}
}

func post(body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nx-custom: a\r\nX-Custom: b\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}

// echo answers with what it understood.
func echo(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	_, fast := w.(*Writer)
	if _, port, _ := net.SplitHostPort(r.RemoteAddr); port == "" {
		fmt.Fprintf(w, "no address of the client: %q", r.RemoteAddr)
	}
	fmt.Fprintf(w, "%s %s host=%s auth=%s custom=%v length=%d fast=%v err=%v body=%s", r.Method, r.URL.Path, r.Host, r.Header.Get("Authorization"),
		r.Header["X-Custom"], r.ContentLength, fast, err, b)
}

func understood(fast bool, length int, body string) string {
	return fmt.Sprintf("POST %s host=x auth=Bearer k custom=[a b] length=%d fast=%v err=<nil> body=%s", path, length, fast, body)
}

func TestOneConnectionManyRequests(t *testing.T) {
	_, addr := start(t, echo)
	c := dial(t, addr)
	for _, body := range []string{"one", "", strings.Repeat("long ", 50_000), "four"} {
		text := post(body)
		for _, part := range []string{text[:7], text[7:60], text[60:]} {
			c.send("%s", part)
		}
		if _, got := c.answer(); got != understood(true, len(body), body) {
			t.Errorf("got %.200s", got)
		}
	}
	c.send("%s%s%s", post("a"), post("b"), post("c")) // at once
	for _, body := range []string{"a", "b", "c"} {
		if _, got := c.answer(); got != understood(true, 1, body) {
			t.Errorf("got %.200s", got)
		}
	}
}

// What is not of the hot path is answered by net/http on the same connection, with all that was read before.
// TestRequestsTellWhereTheyComeFrom holds on both ways a request can take.
func TestRequestsTellWhereTheyComeFrom(t *testing.T) {
	_, addr := start(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr) })
	c := dial(t, addr)
	for _, req := range []string{post("x"), "GET / HTTP/1.1\r\nHost: x\r\n\r\n"} {
		c.send("%s", req)
		if _, body := c.answer(); body != c.LocalAddr().String() {
			t.Errorf("from %q, not %s", body, c.LocalAddr())
		}
	}
}

func TestTheRestIsNetHTTPs(t *testing.T) {
	_, addr := start(t, echo)
	for name, text := range map[string]string{
		"chunked":       "POST " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nX-Custom: a\r\nX-Custom: b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
		"going on":      "POST " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nX-Custom: a\r\nX-Custom: b\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
		"a long head":   "POST " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nX-Custom: a\r\nX-Custom: b\r\nX-Long: " + strings.Repeat("x", 30_000) + "\r\nContent-Length: 2\r\n\r\nhi",
		"bare newlines": "POST " + path + " HTTP/1.1\nHost: x\nAuthorization: Bearer k\nX-Custom: a\nX-Custom: b\nContent-Length: 2\n\nhi",
		"other path":    "POST /x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nX-Custom: a\r\nX-Custom: b\r\nContent-Length: 2\r\n\r\nhi",
	} {
		c := dial(t, addr)
		c.send("%s%s%s", post("first"), text, post("third"))
		if _, got := c.answer(); got != understood(true, 5, "first") {
			t.Errorf("%s: got %.200s", name, got)
		}
		c.r.Peek(1)
		if b, _ := c.r.Peek(min(c.r.Buffered(), 25)); strings.HasPrefix(string(b), "HTTP/1.1 100 Continue\r\n\r\n") {
			c.r.Discard(25)
		}
		if _, got := c.answer(); !strings.Contains(got, "fast=false err=<nil> body=hi") {
			t.Errorf("%s: got %.200s", name, got)
		}
		if _, got := c.answer(); got != understood(false, 5, "third") {
			t.Errorf("%s: got %.200s", name, got)
		}
	}
	for _, bad := range []string{"POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\nhi", "POST " + path + " HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi",
		"POST " + path + " HTTP/1.1\r\nHost: x\r\n folded\r\nContent-Length: 2\r\n\r\nhi", "nonsense\r\n\r\n"} {
		c := dial(t, addr)
		c.send("%s", bad)
		if resp, _ := c.answer(); resp.StatusCode != 400 {
			t.Errorf("%q: status %d", bad, resp.StatusCode)
		}
	}
}

// The same handler says the same through both servers.
func TestAnswersAsNetHTTPDoes(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"nothing": func(http.ResponseWriter, *http.Request) {},
		"sized": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			w.Header()["X-Many"] = []string{"a", "b"}
			w.WriteHeader(418)
			io.WriteString(w, "hello")
		},
		"chunks": func(w http.ResponseWriter, _ *http.Request) {
			for i := range 3 {
				fmt.Fprintf(w, "chunk %d %s\n", i, strings.Repeat("x", 40_000*i))
				http.NewResponseController(w).Flush()
			}
		},
		"an injection": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Evil", "a\r\nX-Injected: b")
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "1")
			io.WriteString(w, "x")
		},
		"no content": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"closing": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			w.Header().Set("Content-Length", "0")
		},
		"too much": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "2")
			io.WriteString(w, "ok")
			if _, err := io.WriteString(w, "more"); !errors.Is(err, http.ErrContentLength) {
				t.Errorf("writing too much: %v", err)
			}
		},
		"broken off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			io.WriteString(w, "half")
		},
	} {
		_, fast := start(t, h)
		_, slow := start(t, h, func(s *Server) { s.Paths = nil })
		seen := func(addr string) string {
			c := dial(t, addr)
			c.send("%s", post("x"))
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			if resp.Header.Get("Date") == "" {
				t.Errorf("%s: no date", name)
			}
			resp.Header.Del("Date")
			if name != "an injection" { // net/http guesses it
				resp.Header.Del("Content-Type")
			}
			return fmt.Sprint(resp.StatusCode, resp.Header, resp.ContentLength, resp.TransferEncoding, resp.Close, len(b), string(b[:min(len(b), 100)]), err)
		}
		if diff := cmp.Diff(seen(slow), seen(fast)); diff != "" {
			t.Errorf("%s: net/http and the front differ:\n%s", name, diff)
		}
	}
}

// A client that hangs up ends the context of its request; one that sends the next request early does not.
func TestHangingUp(t *testing.T) {
	begun, ended := make(chan bool), make(chan error)
	_, addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if string(b) == "wait" {
			begun <- true
			<-r.Context().Done()
			ended <- r.Context().Err()
			return
		}
		if string(b) == "slow" {
			begun <- true
			<-begun
			if err := r.Context().Err(); err != nil {
				t.Errorf("the next request ended this one: %v", err)
			}
		}
		w.Header().Set("Content-Length", "2")
		io.WriteString(w, "ok")
	})
	for range 5 {
		c := dial(t, addr)
		c.send("%s", post("x"))
		c.answer()
		c.send("%s", post("slow"))
		<-begun
		time.Sleep(5 * time.Millisecond) // so that the watch may have begun; it may come later as well
		c.send("%s", post("y"))
		time.Sleep(time.Millisecond)
		begun <- true
		for range 2 {
			if _, got := c.answer(); got != "ok" {
				t.Errorf("got %q", got)
			}
		}
		c.send("%s", post("wait"))
		<-begun
		c.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("after a hang-up: %v", err)
		}
	}
}

func TestABodyNobodyReads(t *testing.T) {
	_, addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "2")
		w.WriteHeader(401)
		io.WriteString(w, "no")
	})
	c := dial(t, addr)
	for range 2 { // here already: it is thrown away
		c.send("%s", post("all of it"))
		if resp, got := c.answer(); got != "no" || resp.Close {
			t.Errorf("got %q, close %v", got, resp.Close)
		}
	}
	c.send("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf", path)
	if _, got := c.answer(); got != "no" {
		t.Errorf("got %q", got)
	}
	c.CloseWrite()
	c.ended()
}

// Whoever sends far more than is read still gets the answer.
func TestARefusedFloodIsAnswered(t *testing.T) {
	_, addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "2")
		w.WriteHeader(413)
		io.WriteString(w, "no")
	})
	resp, err := http.Post("http://"+addr+path, "text/plain", strings.NewReader(strings.Repeat("x", 16<<20)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); resp.StatusCode != 413 || string(b) != "no" || err != nil {
		t.Errorf("%d %q, %v", resp.StatusCode, b, err)
	}
}

func TestSlowHeadsAndIdleConnectionsEnd(t *testing.T) {
	_, addr := start(t, echo, func(s *Server) { s.HeadTimeout, s.IdleTimeout = 50*time.Millisecond, 80*time.Millisecond })
	c := dial(t, addr)
	c.ended()
	c = dial(t, addr)
	c.send("%s", post("x")[:30])
	c.ended()
	c = dial(t, addr)
	c.send("%s", post("x"))
	c.answer()
	c.ended()
	c = dial(t, addr)
	c.send("%s%s", post("x"), post("x")[:30])
	c.answer()
	c.ended()
}

func TestShutdown(t *testing.T) {
	begun, release := make(chan bool), make(chan bool)
	s, addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if string(b) == "wait" {
			begun <- true
			<-release
		}
		w.Header().Set("Content-Length", "2")
		io.WriteString(w, "ok")
	})
	quiet, fresh, running := dial(t, addr), dial(t, addr), dial(t, addr)
	quiet.send("%s", post("x"))
	quiet.answer()
	running.send("%s", post("wait"))
	<-begun
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it did not wait: %v", err)
	}
	quiet.ended()
	fresh.ended()
	done := make(chan error)
	go func() { done <- s.Shutdown(context.WithoutCancel(t.Context())) }()
	release <- true
	if resp, got := running.answer(); got != "ok" || !resp.Close {
		t.Errorf("the running one got %q, close %v", got, resp.Close)
	}
	running.ended()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("it still listens")
	}
}

func TestCloseEndsWhatRuns(t *testing.T) {
	begun, ended := make(chan bool), make(chan bool)
	s, addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		begun <- true
		<-r.Context().Done()
		ended <- true
	})
	c := dial(t, addr)
	c.send("%s", post("x"))
	<-begun
	s.Close()
	<-ended
	c.ended()
}

func TestPanics(t *testing.T) {
	var log bytes.Buffer
	s, addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if string(b) == "abort" {
			panic(http.ErrAbortHandler)
		}
		panic("defect")
	}, func(s *Server) { s.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	for _, body := range []string{"abort", "defect"} {
		c := dial(t, addr)
		c.send("%s", post(body))
		c.ended()
	}
	s.Close()
	if err := s.Shutdown(t.Context()); err != nil { // so that nobody writes the log
		t.Fatal(err)
	}
	if got := log.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "defect") {
		t.Errorf("logged %s", got)
	}
}

func TestRestGivesTheBodyWithoutCopying(t *testing.T) {
	_, addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		b, ok := w.(*Writer).Rest()
		rest, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%v %s|%d %v", ok, b, len(rest), err)
	})
	c := dial(t, addr)
	for range 3 {
		c.send("%s", post("hello"))
		if _, got := c.answer(); got != "true hello|0 <nil>" {
			t.Errorf("got %q", got)
		}
	}
	c.send("%s", post(strings.Repeat("x", 100_000)))
	if _, got := c.answer(); got != "false |100000 <nil>" {
		t.Errorf("got %q", got)
	}
}

// Requests of one connection with the same head, and with others between, are read as what they are, and each has a
// context of its own for whoever waits for its end.
func TestHeadsAgainAndAgain(t *testing.T) {
	ends := make(chan (<-chan struct{}), 100)
	_, addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Err() != nil {
			t.Error("the context has ended before the request")
		}
		if r.Header.Get("X-Wait") != "" {
			ends <- r.Context().Done()
		}
		r.Pattern, r.Form = "changed", map[string][]string{"a": nil}
		b, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %v %s %v %d", r.URL.Path, r.Header["X-A"], b, err, len(r.Header))
	})
	c := dial(t, addr)
	for i, x := range []struct{ path, extra, body, want string }{
		{path, "X-A: 1\r\n", "b1", path + " [1] b1 <nil> 2"},
		{path, "X-A: 1\r\n", "b2", path + " [1] b2 <nil> 2"},
		{path + "/other", "X-A: 1\r\n", "b3", path + "/other [1] b3 <nil> 2"},
		{path, "", "b4", path + " [] b4 <nil> 1"},
		{path, "X-A: 1\r\nX-A: 2\r\n", "b5", path + " [1 2] b5 <nil> 2"},
		{path, "X-A: 1\r\nX-A: 2\r\n", "b6", path + " [1 2] b6 <nil> 2"},
		{path, "X-Wait: 1\r\n", "b7", path + " [] b7 <nil> 2"},
		{path, "X-Wait: 1\r\n", "b8", path + " [] b8 <nil> 2"},
		{path, "", "", path + " []  <nil> 1"},
	} {
		c.send("POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", x.path, x.extra, len(x.body), x.body)
		if _, got := c.answer(); got != x.want {
			t.Errorf("request %d: %q, not %q", i, got, x.want)
		}
	}
	first, second := <-ends, <-ends
	if first == second {
		t.Error("two requests have one end")
	}
	<-first
	<-second
}

// Pieces of all sizes arrive in order on each of many connections, and who waits between pieces holds no buffer.
func TestBuffersAreLent(t *testing.T) {
	sizes := []int{1, joinMax + 1, 10, sendAt, 3, 100_000, 2}
	piece := func(name byte, i int) []byte { return bytes.Repeat([]byte{name, byte('0' + i)}, (sizes[i]+1)/2) }
	_, addr := start(t, func(w http.ResponseWriter, r *http.Request) {
		name, _ := io.ReadAll(r.Body)
		for i := range sizes {
			w.Write(piece(name[0], i))
			if i%3 != 2 {
				continue
			}
			if err := w.(*Writer).FlushError(); err != nil {
				t.Error(err)
			}
			if w.(*Writer).room != nil {
				t.Error("a buffer is held while nothing waits to be sent")
			}
		}
	})
	var all sync.WaitGroup
	for name := range 8 {
		all.Go(func() {
			name := byte('a' + name)
			var want []byte
			for i := range sizes {
				want = append(want, piece(name, i)...)
			}
			for range 5 {
				a, err := http.Post("http://"+addr+path, "text/plain", bytes.NewReader([]byte{name}))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(a.Body)
				a.Body.Close()
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%c: %d bytes of %d, not as they were written: %v", name, len(got), len(want), err)
				}
			}
		})
	}
	all.Wait()
}
