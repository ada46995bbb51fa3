package hostile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/api"
)

// long says whether what takes minutes is waited for.
func long() bool { return os.Getenv("TRIARCH_HOSTILE_LONG") == "1" }

// dial opens a bare connection whose receive buffer is small.
func (p *place) dial() net.Conn {
	p.t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
	}}
	c, err := d.DialContext(p.t.Context(), "tcp", strings.TrimPrefix(p.url, "http://"))
	ok(p.t, err)
	return c
}

// head is that of a request of one dialect.
func (d dialect) head(model, key string, length int) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: triarch\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n",
		strings.ReplaceAll(d.path, "MODEL", model), key, length)
}

// send begins a request over a bare connection.
func (p *place) send(d dialect, model, key string, most int) net.Conn {
	p.t.Helper()
	c, body := p.dial(), d.request(model, most)
	_, err := io.WriteString(c, d.head(model, key, len(body))+"\r\n"+body)
	ok(p.t, err)
	return c
}

// feed writes one piece after another with a pause between, until the other side has closed or the time is up. It
// returns what the other side said, and whether it closed.
func feed(c net.Conn, piece string, pause, most time.Duration) (said string, closed bool) {
	text := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(io.LimitReader(c, 64<<10))
		text <- string(b)
	}()
	end := time.After(most)
	for failed := false; ; {
		select {
		case said = <-text:
			return said, true
		case <-end:
			c.Close()
			return <-text, false
		case <-time.After(pause):
			if !failed {
				_, err := io.WriteString(c, piece)
				failed = err != nil
			}
		}
	}
}

// Heads that are too long or never end are refused in time, and bodies that trickle keep nobody out.
func TestHeadsAndBodies(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	k := p.key("hostile")
	p.well()
	before := p.memory()
	var all sync.WaitGroup
	chat := dialects[0]
	heads := func(n int, begin, piece string, pause time.Duration) {
		for range n {
			c := p.dial()
			all.Go(func() {
				defer c.Close()
				_, _ = io.WriteString(c, begin)
				if said, closed := feed(c, piece, pause, patience); !closed || said != "" && !strings.HasPrefix(said, "HTTP/1.1 4") {
					t.Errorf("%.20q...: closed %v, said %.200q", begin, closed, said)
				}
			})
		}
	}
	head := chat.head("good", k.Key, 10)
	heads(32, head, "X-More: "+strings.Repeat("x", 4000)+"\r\n", 0)
	heads(32, "GET /v1/models HTTP/1.1\r\nHost: x\r\n", "X-More: "+strings.Repeat("x", 4000)+"\r\n", 0)
	heads(32, head+"X-Long: ", strings.Repeat("x", 16<<10), 0)
	heads(64, head, "X-Slow: x\r\n", 100*time.Millisecond)
	heads(64, "GET /healthz HTTP/1.1\r\n", "X-Slow: x\r\n", 100*time.Millisecond)
	heads(64, "P", "", 100*time.Millisecond)
	heads(8, strings.Replace(head, "Length: 10", "Length: 99999999999", 1)+"\r\n", strings.Repeat("x", 16<<10), 0)
	heads(8, strings.Replace(head, "Content-Length: 10", "Transfer-Encoding: chunked", 1)+"\r\nfffffffffffffff\r\n", strings.Repeat("x", 64<<10), 0)
	heads(8, strings.Replace(head, "Content-Length: 10", "Transfer-Encoding: chunked", 1)+"\r\nzz\r\n", "", time.Millisecond)
	wait := 6 * time.Second
	if long() {
		wait = 3 * time.Minute
	}
	for i := range 200 {
		d := dialects[i%len(dialects)]
		c := p.dial()
		all.Go(func() {
			defer c.Close()
			_, _ = io.WriteString(c, d.head("good", k.Key, 4<<20)+"\r\n{")
			if said, closed := feed(c, " ", 200*time.Millisecond, wait); closed != long() || long() && !strings.HasPrefix(said, "HTTP/1.1 4") {
				t.Errorf("a slow body by %s: closed %v, said %.200q", d.name, closed, said)
			}
		})
	}
	p.well()
	all.Wait()
	p.within("hostile heads and bodies", before+128<<20)
	if u := p.used(k); u != (api.Totals{}) {
		t.Errorf("they are billed %+v", u)
	}
	p.well()
	p.reconcile()
}

// Clients that read a byte a second of streams without end, and clients that hang up in the middle: memory is bounded, and
// what they got is billed, to the bound of what they asked for at most.
func TestSlowReadersAndHangUps(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.route("endless")
	p.route("paced")
	p.well()
	before := p.memory()
	slow, left := p.key("slow"), p.key("left")
	const each, most = 100, 1 << 20
	var all sync.WaitGroup
	var tokens atomic.Int64
	end := time.Now().Add(6 * time.Second)
	if long() {
		end = time.Now().Add(4 * time.Minute)
	}
	for i := range each {
		c := p.send(dialects[i%len(dialects)], map[bool]string{true: "endless", false: "paced"}[dialects[i%len(dialects)].stream], slow.Key, most)
		all.Go(func() {
			defer c.Close()
			one := make([]byte, 1)
			for time.Now().Before(end) {
				if _, err := c.Read(one); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
	}
	for i := range each {
		d := dialects[i%len(dialects)]
		if !d.stream {
			continue
		}
		c := p.send(d, "paced", left.Key, most)
		all.Go(func() {
			defer c.Close()
			r := bufio.NewReader(c)
			for n := 0; n < 10; {
				line, err := r.ReadString('\n')
				if err != nil {
					t.Errorf("a stream by %s ended early: %v", d.name, err)
					return
				}
				if strings.Contains(line, d.token) {
					n++
				}
			}
			tokens.Add(10)
		})
	}
	p.well()
	all.Wait()
	eventually(t, "the provider to be left", func() bool { return p.provider.open.Load() == 0 })
	p.within("slow readers", before+256<<20)
	var u api.Totals
	eventually(t, "the bills", func() bool { u = p.used(left); return u.Requests == each*4/5 })
	if u.CompletionTokens < tokens.Load() || u.CompletionTokens > 300*u.Requests {
		t.Errorf("%d tokens were read, billed %+v", tokens.Load(), u)
	}
	if u = p.used(slow); u.CompletionTokens == 0 || u.CompletionTokens > most*u.Requests {
		t.Errorf("slow readers are billed %+v", u)
	}
	p.well()
	p.reconcile()
}

// crowd is how many streams wait idle, as far as files can be opened: each takes two here and two in the program.
func crowd(t *testing.T) int {
	n := 500
	if text := os.Getenv("TRIARCH_HOSTILE_STREAMS"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		ok(t, err)
	}
	var files syscall.Rlimit
	ok(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files))
	if most := (int(files.Max) - 1000) / 2; n > most {
		t.Logf("%d files can be opened: %d streams instead of %d", files.Max, most, n)
		n = most
	}
	return n
}

// Idle streams and idle connections: memory for each is bounded, others are served, and every stream goes on to its end
// with the right bill.
func TestIdleCrowd(t *testing.T) {
	t.Parallel()
	n := crowd(t)
	p := newPlace(t, "TRIARCH_LIMITS_STREAMS=20000")
	p.route("idle")
	p.well()
	k := p.key("idle")
	before := p.memory()
	tr := &http.Transport{MaxIdleConnsPerHost: n}
	defer tr.CloseIdleConnections()
	crowd := &http.Client{Transport: tr}
	idle := n / 5
	for range idle {
		c := p.dial()
		defer c.Close()
		_, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		ok(t, err)
	}
	var all sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var finished atomic.Int64
	begin := make(chan struct{}, 64)
	for i := range n - idle {
		d := dialects[i%len(dialects)]
		if !d.stream {
			d = dialects[0]
		}
		begin <- struct{}{}
		all.Go(func() {
			err := d.follow(ctx, crowd, p.url, "idle", k.Key, sync.OnceFunc(func() { <-begin }))
			if err != nil {
				t.Errorf("an idle stream by %s: %v", d.name, err)
				return
			}
			finished.Add(1)
		})
	}
	eventually(t, "all to be idle", func() bool { return p.provider.held.Load() == int64(n-idle) })
	p.well()
	p.within(fmt.Sprintf("%d idle streams and %d idle connections", n-idle, idle), before+64<<20+int64(n)*64<<10)
	close(p.provider.letGo)
	all.Wait()
	want := finished.Load()
	var u api.Totals
	eventually(t, "the bills", func() bool { u = p.used(k); return u.Requests >= want })
	if u.Requests != int64(n-idle) || u.CompletionTokens != 3*want || u.PromptTokens != 4*want {
		t.Errorf("%d streams ended, billed %+v", want, u)
	}
	p.well()
	p.reconcile()
}

// follow reads a stream to its end, which must be a good one, and tells when it has begun.
func (d dialect) follow(ctx context.Context, client *http.Client, url, model, key string, begun func()) error {
	defer begun()
	req, err := http.NewRequestWithContext(ctx, "POST", url+strings.ReplaceAll(d.path, "MODEL", model), strings.NewReader(d.request(model, 16)))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode}
	r := bufio.NewReader(resp.Body)
	for {
		line, err := r.ReadString('\n')
		a.text = append(a.text, line...)
		if begun(); errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if wrong := d.wrong(a, true); wrong != "" {
		return fmt.Errorf("%s: %d %.300q", wrong, a.status, a.text)
	}
	return nil
}
