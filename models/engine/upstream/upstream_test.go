package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/rawtcp"
)

// speak answers every connection with the given bytes after one request head, then closes.
func speak(t testing.TB, answer string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					io.WriteString(c, answer)
				}
			}()
		}
	}()
	return l.Addr().String()
}

func readAll(r *Response) (string, error) {
	var out []byte
	for {
		b, err := r.Chunk()
		out = append(out, b...)
		if err != nil {
			return string(out), err
		}
	}
}

func TestAnswers(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for name, c := range map[string]struct {
		answer string
		status int
		body   string
		err    error
	}{
		"sized":             {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", io.EOF},
		"sized, long":       {"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + long, 200, long, io.EOF},
		"sized, short":      {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", 200, "hello", io.ErrUnexpectedEOF},
		"empty":             {"HTTP/1.1 204 No Content\r\n\r\n", 204, "", io.EOF},
		"until close":       {"HTTP/1.0 200 OK\r\n\r\nhello", 200, "hello", io.EOF},
		"chunked":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nT: x\r\n\r\n", 200, "hello world", io.EOF},
		"chunked, cut":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", 200, "hel", io.ErrUnexpectedEOF},
		"chunked, no end":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 200, "hello", io.ErrUnexpectedEOF},
		"chunked, bad size": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello", 200, "", errMalformed},
		"chunked, huge":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello", 200, "", errMalformed},
		"chunked, no line":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n", 200, "hello", errMalformed},
		"interim":           {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n", 429, "", io.EOF},
		"no head":           {"", 0, "", nil},
		"no HTTP":           {"SSH-2.0-x\r\n\r\n", 0, "", nil},
		"both lengths":      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello", 0, "", nil},
		"two lengths":       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 0, "", nil},
		"negative length":   {"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", 0, "", nil},
		"folded header":     {"HTTP/1.1 200 OK\r\nA: b\r\n c: d\r\n\r\n", 0, "", nil},
		"head too long":     {"HTTP/1.1 200 OK\r\nA: " + long + "\r\n\r\n", 0, "", nil},
		"upgrade":           {"HTTP/1.1 101 Switching\r\n\r\n", 0, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			client := &Client{}
			r, err := client.Do(t.Context(), &Request{Addr: speak(t, c.answer), Path: "/", Body: []byte("{}")})
			if c.status == 0 {
				if !fault.Is(err, fault.Unavailable) {
					t.Fatalf("got %v, want unavailable", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			body, err := readAll(r)
			if r.Status != c.status || body != c.body || err != c.err {
				t.Errorf("got %d, %.20q, %v; want %d, %.20q, %v", r.Status, body, err, c.status, c.body, c.err)
			}
		})
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	var conns atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("Authorization"), b)
		if r.URL.Path == "/flush" {
			w.(http.Flusher).Flush()
		}
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	c := &Client{}
	addr := srv.Listener.Addr().String()
	for n := range 20 {
		path := "/whole"
		if n%2 == 1 {
			path = "/flush"
		}
		body := strings.Repeat("b", 1<<(n%18))
		r, err := c.Do(t.Context(), &Request{Addr: addr, Path: path, Secret: "s", RequestID: "r", Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		got, err := readAll(r)
		if want := "POST " + path + " Bearer s " + body; got != want || err != io.EOF {
			t.Errorf("got %.60q, %v", got, err)
		}
		r.Close()
		r.Close()
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for requests one after another, want 1", n)
	}
	// The engine closes what is idle: the next request meets a dead connection and goes out again.
	srv.CloseClientConnections()
	r, err := c.Do(t.Context(), &Request{Addr: addr, Path: "/whole", Body: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	c.CloseIdle("")
}

func TestTimeoutAndCancel(t *testing.T) {
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
		case <-hang:
		}
	}))
	defer srv.Close()
	defer close(hang)
	addr := srv.Listener.Addr().String()
	c := &Client{Timeout: 20 * time.Millisecond}
	if _, err := c.Do(t.Context(), &Request{Addr: addr, Path: "/", Body: []byte("{}")}); !fault.Is(err, fault.Timeout) {
		t.Errorf("a silent engine: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := (&Client{}).Do(ctx, &Request{Addr: addr, Path: "/", Body: []byte("{}")}); !fault.Is(err, fault.Canceled) {
		t.Errorf("a caller that went away: %v", err)
	}
}

// An answer may last as long as it likes while something comes, and no longer than the timeout while nothing does.
func TestSilenceEndsAnAnswerNotItsLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		cn := newConn(near)
		cn.idle = elapsed()
		c := &Client{Timeout: time.Minute, idle: map[string][]*conn{"x": {cn}}}
		go func() {
			if _, err := http.ReadRequest(bufio.NewReader(far)); err != nil {
				return
			}
			io.WriteString(far, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
			for range 60 {
				time.Sleep(50 * time.Second)
				io.WriteString(far, "x")
			}
		}()
		r, err := c.Do(t.Context(), &Request{Addr: "x", Path: "/"})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		began := time.Now()
		body, err := readAll(r)
		var slow net.Error
		if len(body) != 60 || !errors.As(err, &slow) || !slow.Timeout() {
			t.Errorf("%d bytes of 60 came, then %v", len(body), err)
		}
		if took := time.Since(began); took > 52*time.Minute {
			t.Errorf("silence was noticed after %s", took)
		}
	})
}

// Nothing behind the event that ends a stream is handed out, wherever the pieces end, and a stream that ends properly
// leaves its connection for the next.
func TestNothingBehindTheEnd(t *testing.T) {
	for _, rest := range []string{"", "data: more\n\n", "data: mo"} {
		addr := speak(t, "HTTP/1.1 200 OK\r\nContent-Length: "+strconv.Itoa(len("data: x\n\ndata: [DONE]\n\n")+len(rest))+"\r\n\r\ndata: x\n\ndata: [DONE]\n\n"+rest)
		c := &Client{}
		r, err := c.Do(t.Context(), &Request{Addr: addr, Path: "/"})
		if err != nil {
			t.Fatal(err)
		}
		e := Events{R: r}
		b, err := e.Next()
		text := string(b)
		for err == nil {
			b, err = e.Next()
			text += string(b)
		}
		if text != "data: x\n\ndata: [DONE]\n\n" || !e.Done || rest == "" && err != io.EOF {
			t.Errorf("%q: %q, %v", rest, text, err)
		}
		r.Close()
		if rest == "" && len(c.idle[addr]) != 1 {
			t.Error("the connection is not kept")
		}
	}
}

// Connections that nobody used for the idle time are closed, those to engines that are not asked any more too.
func TestIdleConnectionsAreClosed(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x") })
	one, two := httptest.NewServer(handler), httptest.NewServer(handler)
	defer one.Close()
	defer two.Close()
	c := &Client{IdleTimeout: time.Millisecond}
	get := func(s *httptest.Server) {
		r, err := c.Do(t.Context(), &Request{Addr: s.Listener.Addr().String(), Path: "/"})
		if err != nil {
			t.Fatal(err)
		}
		if body, err := readAll(r); body != "x" || err != io.EOF {
			t.Errorf("%q, %v", body, err)
		}
		r.Close()
	}
	get(one)
	time.Sleep(3 * time.Millisecond)
	get(two)
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.idle[one.Listener.Addr().String()]); n != 0 || len(c.idle) != 1 {
		t.Errorf("%d old connections, %d addresses", n, len(c.idle))
	}
}

func TestLineBreaksAreRefused(t *testing.T) {
	for _, q := range []Request{{Path: "/ HTTP/1.1\r\nX: y"}, {Path: "/", Secret: "a\r\nb"}, {Path: "/", RequestID: "a\nb"}} {
		if _, err := (&Client{}).Do(t.Context(), &q); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// However the network cuts a stream into pieces, the same events come out with counts that cover them, and no
// comment.
func TestEventsInAnyPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nl := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "line end")
		var wire, want strings.Builder
		tokens, cached, reasoning := 0, 0, 0
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			for range rapid.IntRange(0, 2).Draw(t, "held back") {
				tokens++
				fmt.Fprintf(&wire, ": t 7 %d%s", tokens, nl)
			}
			if rapid.Bool().Draw(t, "ping") {
				wire.WriteString(": ping" + nl + nl)
			}
			tokens++
			more := rapid.SampledFrom([]string{"", " 3", " 3 2", " 3 2 1", " x"}).Draw(t, "more")
			fmt.Fprintf(&wire, ": t 7 %d%s%s", tokens, more, nl)
			switch more {
			case " 3 2 1", " x": // a comment like others
				fmt.Fprintf(&wire, ": t 7 %d%s", tokens, nl)
			case " 3 2":
				reasoning = 2
				fallthrough
			case " 3":
				cached = 3
			}
			for range rapid.IntRange(1, 2).Draw(t, "lines") {
				line := "data: " + rapid.StringMatching(`[a-z:{} ]{0,40}`).Draw(t, "data") + fmt.Sprintf("#%d", tokens) + nl
				wire.WriteString(line)
				want.WriteString(line)
			}
			wire.WriteString(nl)
			want.WriteString(nl)
		}
		total := tokens
		r := pieces(t, wire.String())
		ev := &Events{R: r}
		var got bytes.Buffer
		for {
			b, err := ev.Next()
			got.Write(b)
			if i := bytes.LastIndexByte(b, '#'); i >= 0 {
				var n int
				fmt.Sscanf(string(b[i:]), "#%d", &n)
				if ev.Completion != n || ev.Prompt != 7 {
					t.Fatalf("counted %d/%d up to event #%d", ev.Prompt, ev.Completion, n)
				}
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if got.String() != want.String() || ev.Completion != total || ev.Cached != cached || ev.Reasoning != reasoning {
			t.Fatalf("got %q\nwant %q", got.String(), want.String())
		}
	})
}

// pieces is a response whose body arrives as drawn, in chunks of the transfer encoding and of the network.
func pieces(t *rapid.T, body string) *Response {
	var wire []byte
	for len(body) > 0 {
		n := rapid.IntRange(1, len(body)).Draw(t, "chunk")
		wire = fmt.Appendf(wire, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	wire = append(wire, "0\r\n\r\n"...)
	c := newConn(&fakeConn{t: t, data: wire})
	return &Response{Status: 200, c: c, form: chunked, ctx: context.Background(), stop: noStop}
}

type fakeConn struct {
	net.Conn
	t    *rapid.T
	data []byte
}

func (c *fakeConn) Read(b []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := rapid.IntRange(1, min(len(b), len(c.data))).Draw(c.t, "read")
	copy(b, c.data[:n])
	c.data = c.data[n:]
	return n, nil
}

// FuzzResponse reads any bytes as an answer: errors, never a crash, a hang or endless memory.
func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n: t 1\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n: t 1 2\ndata: [DONE]\n\n"))
	f.Add([]byte("HTTP/1.0 200 OK\r\n\r\n: t 1 99999999999999999999\ndata: x\r\n\r\n"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		c := &conn{Conn: rawtcp.New(&wholeConn{data: wire}), buf: make([]byte, 64)}
		r := &Response{c: c, ctx: context.Background(), stop: noStop}
		if r.readHead() != nil {
			return
		}
		r.Header("content-type")
		ev, sum := &Events{R: r}, 0
		for {
			b, err := ev.Next()
			sum += len(b)
			if err != nil {
				break
			}
		}
		if sum > len(wire) {
			t.Errorf("%d bytes came out of %d", sum, len(wire))
		}
	})
}

type wholeConn struct {
	net.Conn
	data []byte
}

func (c *wholeConn) Read(b []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.data)
	c.data = c.data[n:]
	return n, nil
}

func (c *wholeConn) Close() error { return nil }

// scripted answers each request on each connection with what serve says; false ends the connection.
func scripted(t *testing.T, serve func(c net.Conn, conn, request int) bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for q := 0; ; q++ {
					if req, err := http.ReadRequest(r); err != nil || !drained(req) || !serve(c, n, q) {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func drained(r *http.Request) bool {
	_, err := io.Copy(io.Discard, r.Body)
	return err == nil
}

func ask(t *testing.T, c *Client, addr string) (string, error) {
	t.Helper()
	r, err := c.Do(t.Context(), &Request{Addr: addr, Path: "/", Body: []byte("{}")})
	if err != nil {
		return "", err
	}
	defer r.Close()
	body, err := readAll(r)
	if err != io.EOF {
		t.Error(err)
	}
	return body, nil
}

// An engine that dies over a request has it once, however many connections wait.
func TestARequestThatAnEngineHadIsNotSentAgain(t *testing.T) {
	var kills atomic.Int64
	var killing atomic.Bool
	held := make(chan struct{})
	addr := scripted(t, func(c net.Conn, _, _ int) bool {
		if killing.Load() {
			kills.Add(1)
			return false
		}
		<-held
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
		return true
	})
	c := &Client{}
	done := make(chan error)
	for range 5 { // so that five connections wait afterwards
		go func() {
			_, err := ask(t, c, addr)
			done <- err
		}()
	}
	time.AfterFunc(20*time.Millisecond, func() { close(held) })
	for range 5 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	killing.Store(true)
	if _, err := ask(t, c, addr); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
	if n := kills.Load(); n != 1 {
		t.Errorf("the engine had the request %d times", n)
	}
}

// What an engine says after its answer is nobody's: not the next caller's above all.
func TestALateSecondAnswerReachesNobody(t *testing.T) {
	said := make(chan struct{})
	addr := scripted(t, func(c net.Conn, conn, request int) bool {
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n%d/%d", conn, request)
		if conn == 0 && request == 0 {
			go func() {
				<-said
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
				said <- struct{}{}
			}()
		}
		return true
	})
	c := &Client{}
	if got, err := ask(t, c, addr); got != "0/0" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	said <- struct{}{}
	<-said
	if got, err := ask(t, c, addr); got != "1/0" || err != nil {
		t.Errorf("the next caller got %q, %v", got, err)
	}
	if got, err := ask(t, c, addr); got != "1/1" || err != nil {
		t.Errorf("a quiet connection was not used again: %q, %v", got, err)
	}
}

// unwilling is a pooled connection that takes nothing, or something, of a request before it breaks.
type unwilling struct {
	net.Conn
	takes int
}

func (u *unwilling) Write([]byte) (int, error)   { return u.takes, syscall.EPIPE }
func (u *unwilling) Read([]byte) (int, error)    { return 0, io.EOF }
func (u *unwilling) SetDeadline(time.Time) error { return nil }
func (u *unwilling) Close() error                { return nil }

// A connection that was dead before is no failure of the request; one that broke in the middle is.
func TestOnlyWhatWasNotSentIsSentAgain(t *testing.T) {
	addr := scripted(t, func(c net.Conn, _, _ int) bool {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
		return true
	})
	for takes, again := range map[int]bool{0: true, 5: false} {
		c := &Client{idle: map[string][]*conn{addr: nil}}
		for range 3 {
			cn := newConn(&unwilling{takes: takes})
			cn.used, cn.idle = true, elapsed()
			c.idle[addr] = append(c.idle[addr], cn)
		}
		got, err := ask(t, c, addr)
		if (err == nil) != again || again && got != "x" {
			t.Errorf("after %d bytes: %q, %v", takes, got, err)
		}
		if n := len(c.idle[addr]); again && n != 3 || !again && n != 2 { // a new one came to the two others
			t.Errorf("after %d bytes: %d connections are left", takes, n)
		}
	}
}

// What waits between requests holds no buffer, and what one connection read is never another's.
func TestBuffersAreLent(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Write(bytes.Repeat(b, 200))
	}))
	defer srv.Close()
	c, addr := &Client{}, srv.Listener.Addr().String()
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			for i := range 30 {
				want := fmt.Sprintf("%02d-%02d;", g, i)
				r, err := c.Do(t.Context(), &Request{Addr: addr, Path: "/", Body: []byte(want)})
				if err != nil {
					t.Error(err)
					return
				}
				body, err := readAll(r)
				if string(body) != strings.Repeat(want, 200) || err != io.EOF {
					t.Errorf("%d bytes that are not what was asked for: %v", len(body), err)
				}
				r.Close()
			}
		})
	}
	all.Wait()
	idle := c.idle[addr]
	if len(idle) == 0 {
		t.Fatal("no connection was kept")
	}
	for _, cn := range idle {
		if cn.buf != nil {
			t.Error("an idle connection holds a buffer")
		}
	}
}
