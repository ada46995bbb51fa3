package server

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"
)

// serveRaw starts the real server and returns its address.
func serveRaw(t *testing.T, w *world, h http.Handler) string {
	t.Helper()
	addr, _ := listen(t, HTTP(h, w.Log))
	return addr
}

// raw sends bytes and nothing more, and reads until the server hangs up.
func raw(t *testing.T, addr, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	must(0, c.SetDeadline(time.Now().Add(20*time.Second)))(t)
	must(io.WriteString(c, text))(t)
	b, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("the connection was held: %v after %q", err, b)
	}
	return string(b)
}

// Whoever announces a body and sends none, or not all of it, is answered and loses the connection, key or no key.
func TestNobodyHoldsAConnectionWithABody(t *testing.T) {
	w := newWorld(t)
	model := *w.OpenAI.(*OpenAI)
	model.Now = func() time.Time { return time.Now().Add(time.Second - bodyTime) } // a body has one second
	deps := w.Deps
	deps.OpenAI = &model
	addr := serveRaw(t, w, New(deps))
	for _, c := range []struct {
		name, line, headers, body string
		status                    int
	}{
		{"model API, no key", "POST /v1/chat/completions", "Content-Length: 100\r\n", "", 401},
		{"model API, no key, chunked", "POST /v1/chat/completions", "Transfer-Encoding: chunked\r\n", "5\r\nhe", 401},
		{"model API, no key, waiting to go on", "POST /v1/chat/completions", "Content-Length: 100\r\nExpect: 100-continue\r\n", "", 401},
		{"model API, no such path", "POST /v1/x", "Content-Length: 100\r\n", "", 404},
		{"model API, wrong method", "DELETE /v1/completions", "Content-Length: 100\r\n", "", 405},
		{"model API, list without a key", "GET /v1/models", "Content-Length: 100\r\n", "", 401},
		{"model API, list", "GET /v1/models", "Authorization: Bearer " + w.owner + "\r\nContent-Length: 100\r\n", "", 200},
		{"model API, nothing of the body", "POST /v1/chat/completions", "Authorization: Bearer " + w.owner + "\r\nContent-Length: 100\r\n", "", 400},
		{"model API, half a body", "POST /v1/chat/completions", "Authorization: Bearer " + w.owner + "\r\nContent-Length: 100\r\n", `{"model":`, 400},
		{"model API, too large", "POST /v1/completions", "Authorization: Bearer " + w.owner + "\r\nContent-Length: 99999999999\r\n", "", 413},
		{"control API, no key", "POST " + v1 + "/projects", "Content-Length: 100\r\n", "", 401},
		{"control API, no key, chunked", "POST " + v1 + "/projects", "Transfer-Encoding: chunked\r\n", "", 401},
		{"control API, upload without a key", "POST " + v1 + "/data?name=x&format=text", "Content-Length: 100\r\n", "he", 401},
		{"control API, too large", "POST " + v1 + "/projects", "Authorization: Bearer " + w.owner + "\r\nContent-Length: 99999999999\r\n", "", 413},
		{"control API, no such path", "POST /nowhere", "Content-Length: 100\r\n", "", 404},
		{"health", "GET /healthz", "Content-Length: 100\r\n", "", 200},
		{"page", "GET /", "Content-Length: 1000000\r\n", "", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := raw(t, addr, c.line+" HTTP/1.1\r\nHost: x\r\n"+c.headers+"\r\n"+c.body)
			if head, _, _ := strings.Cut(got, "\r\n\r\n"); !strings.HasPrefix(head, fmt.Sprintf("HTTP/1.1 %d ", c.status)) || !strings.Contains(head, "Connection: close") {
				t.Errorf("answered %q", head)
			}
		})
	}
}

// A connection whose bodies all came goes on, whatever the answers are.
func TestWholeBodiesKeepTheConnection(t *testing.T) {
	w := newWorld(t)
	c, err := net.Dial("tcp", serveRaw(t, w, w.h))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	must(0, c.SetDeadline(time.Now().Add(20*time.Second)))(t)
	r := bufio.NewReader(c)
	for _, ask := range []struct {
		line, body string
		status     int
	}{
		{"POST /v1/chat/completions", `{}`, 400},
		{"POST " + v1 + "/projects", `{}`, 400},
		{"POST " + v1 + "/data?name=raw&format=text", "some words", 201},
		{"GET " + v1 + "/projects", "", 200},
		{"POST /v1/completions", `{"model":"none"}`, 404},
	} {
		must(fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			ask.line, w.owner, len(ask.body), ask.body))(t)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%s: %v", ask.line, err)
		}
		text := must(io.ReadAll(resp.Body))(t)
		if resp.StatusCode != ask.status || resp.Close {
			t.Errorf("%s: %d, close %v: %s", ask.line, resp.StatusCode, resp.Close, text)
		}
	}
}

// Over HTTP/2 an answer that comes before the body's end reaches the client, and the connection goes on with the others'.
func TestAnEarlyAnswerOverHTTP2(t *testing.T) {
	w := newWorld(t)
	lender := httptest.NewTLSServer(nil) // of a certificate and the pool that trusts it
	defer lender.Close()
	plain := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	srv := HTTP(w.h, w.Log)
	go srv.Serve(tls.NewListener(plain, &tls.Config{Certificates: lender.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}))
	t.Cleanup(func() { srv.Close() })
	trust := lender.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, ForceAttemptHTTP2: true}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	for n, path := range []string{"/v1/chat/completions", v1 + "/projects", "/v1/completions", v1 + "/data?name=x&format=text"} {
		reused := false
		trace := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
		body, hold := io.Pipe() // it never ends
		r := must(http.NewRequestWithContext(trace, "POST", "https://"+plain.Addr().String()+path, body))(t)
		r.Header.Set("Authorization", "Bearer tri_wrong")
		resp, err := client.Do(r)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.ProtoMajor != 2 || resp.StatusCode != http.StatusUnauthorized || !json.Valid(text) || resp.Header.Get("Connection") != "" {
			t.Errorf("%s: %s %d %q, %v", path, resp.Proto, resp.StatusCode, text, err)
		}
		resp.Body.Close()
		hold.Close()
		if reused != (n > 0) {
			t.Errorf("%s: on a connection of before: %v", path, reused)
		}
	}
}

// A body whose length nobody told is read up to the limit and no further.
func TestChunkedModelAPIBodiesAreBounded(t *testing.T) {
	const limit = 4096
	w := newWorld(t)
	model := *w.OpenAI.(*OpenAI)
	model.MaxBody = limit
	deps := w.Deps
	deps.OpenAI = &model
	addr := serveRaw(t, w, New(deps))
	head, tail := `{"model":"none","messages":[{"role":"user","content":"`, `"}]}`
	for _, path := range []string{"/v1/chat/completions", "/v1/completions"} {
		for size, want := range map[int]int{limit: http.StatusNotFound, limit + 1: http.StatusRequestEntityTooLarge, 64 * limit: http.StatusRequestEntityTooLarge} {
			text := head + strings.Repeat("x", size-len(head)-len(tail)) + tail
			for _, body := range []io.Reader{strings.NewReader(text), io.MultiReader(strings.NewReader(text))} { // of a known length, and chunked
				r := must(http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+path, body))(t)
				r.Header.Set("Authorization", "Bearer "+w.owner)
				resp := must(http.DefaultClient.Do(r))(t)
				answer := must(io.ReadAll(resp.Body))(t)
				resp.Body.Close()
				if resp.StatusCode != want {
					t.Errorf("%s, %d bytes, announced as %d: %d %s", path, size, r.ContentLength, resp.StatusCode, answer)
				}
			}
		}
	}
}
