package server

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// bounded is the world's model API with an intake, and its address.
func bounded(t *testing.T, w *world, in *Intake) (*OpenAI, string) {
	t.Helper()
	model := *w.OpenAI.(*OpenAI)
	model.Intake = in
	deps := w.Deps
	deps.OpenAI = &model
	return &model, serveRaw(t, w, New(deps))
}

// slow opens a request that announces a body and sends a byte of it.
func slow(t *testing.T, addr, secret string) net.Conn {
	t.Helper()
	c := must(net.Dial("tcp", addr))(t)
	t.Cleanup(func() { c.Close() })
	must(0, c.SetDeadline(time.Now().Add(20*time.Second)))(t)
	must(fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{", secret))(t)
	return c
}

// A key whose bodies do not come is told to stop, and keeps nobody else out, however few requests may run.
func TestSlowBodiesKeepOnlyTheirOwnKeyOut(t *testing.T) {
	w := newWorld(t)
	in := NewIntake(1, 1<<20)
	_, addr := bounded(t, w, in)
	k, tiny, err := w.Tenancy.CreateKey(t.Context(), w.who.Maker(), tenancy.NewKey{Name: "tiny", Limits: tenancy.Limits{Concurrency: 1}})
	must(k, err)(t)
	for n := 1; n <= fewBodies; n++ {
		slow(t, addr, tiny)
		for in.opened() < n {
			time.Sleep(time.Millisecond)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(slow(t, addr, tiny)), nil)
	must(resp, err)(t)
	text := must(io.ReadAll(resp.Body))(t)
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "1" || !bytes.Contains(text, []byte("rate_limit")) {
		t.Errorf("a body too many: %d %v %s", resp.StatusCode, resp.Header, text)
	}
	r := must(http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+"/v1/chat/completions", strings.NewReader(`{"model":"none"}`)))(t)
	r.Header.Set("Authorization", "Bearer "+w.owner)
	other := must(http.DefaultClient.Do(r))(t)
	other.Body.Close()
	if other.StatusCode != http.StatusNotFound {
		t.Errorf("another key: %d", other.StatusCode)
	}
}

func (in *Intake) opened() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := 0
	for _, open := range in.open {
		n += open
	}
	return n
}

// A key's places are those of the keys that made it as well; they all come back.
func TestBodiesCountForTheKeysAbove(t *testing.T) {
	in := NewIntake(1, 1)
	above := auth.Above{Key: id.Raw{9}, Limits: tenancy.Limits{Concurrency: 1}}
	who := func(n byte) *auth.Principal {
		return &auth.Principal{Key: id.Raw{n}, Above: []auth.Above{above}}
	}
	for n := range byte(fewBodies) {
		must(0, in.expect(who(n)))(t)
	}
	if err := in.expect(who(100)); !fault.Is(err, fault.RateLimited) {
		t.Errorf("one too many below the same key: %v", err)
	}
	must(0, in.expect(&auth.Principal{Key: id.Raw{101}}))(t)
	in.arrived(&auth.Principal{Key: id.Raw{101}})
	for n := range byte(fewBodies) {
		in.arrived(who(n))
	}
	if len(in.open) != 0 {
		t.Errorf("left over: %v", in.open)
	}
}

// The memory of bodies is bounded by what arrived and by what was announced, counted, and given back.
func TestMemoryOfBodies(t *testing.T) {
	w := newWorld(t)
	model := *w.OpenAI.(*OpenAI)
	in := NewIntake(1, 1<<20)
	model.Intake = in
	read := func(body io.Reader, announced int64) (int, error) {
		first := make([]byte, 0, 4<<10)
		b := &intaken{in: in, buf: &first}
		r := httptest.NewRequest("POST", "/v1/chat/completions", body)
		r.ContentLength = announced
		err := model.read(&sink{ResponseWriter: httptest.NewRecorder(), now: w.Now}, r, b)
		if b.held != cap(*b.buf) && err == nil || in.held != int64(b.held) {
			t.Errorf("%d bytes are counted, %d held, of %d", in.held, b.held, cap(*b.buf))
		}
		room := cap(*b.buf)
		b.release()
		if in.held != 0 {
			t.Errorf("%d bytes are not given back", in.held)
		}
		return room, err
	}
	const long = 300_000
	if room, err := read(strings.NewReader(strings.Repeat("x", long)), long); err != nil || room > long+1 {
		t.Errorf("room for %d bytes of %d, %v", room, long, err)
	}
	if room, err := read(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(errors.New("slow"))), 4<<20); err == nil || room > 4<<10 {
		t.Errorf("room for %d bytes where one came, %v", room, err)
	}
	in.bytes -= 900_000
	if _, err := read(strings.NewReader(strings.Repeat("x", long)), long); !fault.Is(err, fault.Unavailable) || fault.As(err).Code != "overloaded" {
		t.Errorf("above the budget: %v", err)
	}
}

// Requests whose bodies are here run up to the limit.
func TestRequestsAtOnce(t *testing.T) {
	w := newWorld(t)
	in := NewIntake(1, 1<<20)
	_, addr := bounded(t, w, in)
	ask := func() (int, string) {
		r := must(http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+"/v1/chat/completions", strings.NewReader(`{"model":"none"}`)))(t)
		r.Header.Set("Authorization", "Bearer "+w.owner)
		resp := must(http.DefaultClient.Do(r))(t)
		defer resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("Retry-After")
	}
	must(0, in.enter())(t)
	if code, after := ask(); code != http.StatusServiceUnavailable || after != "1" {
		t.Errorf("beside another one: %d, %q", code, after)
	}
	in.leave()
	for range 2 {
		if code, _ := ask(); code != http.StatusNotFound {
			t.Errorf("alone: %d", code)
		}
	}
}
