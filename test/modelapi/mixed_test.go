package modelapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/engine/native"
	"github.com/triarch-ai/triarch/models/engine/remote"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/server"
	"github.com/triarch-ai/triarch/tenancy"
)

// A mark names a project and a request; everything that a request says consists of its own.
var (
	markForm = regexp.MustCompile(`mark:p(\d+)-[a-z0-9-]*;`)
	ridForm  = regexp.MustCompile(`rid:(req_[A-Za-z0-9_]*);`)
)

// only is the one mark of a text; false where there is none, or another.
func only(text []byte) (mark string, ok bool) {
	all := markForm.FindAll(text, -1)
	for _, m := range all {
		if !bytes.Equal(m, all[0]) {
			return "", false
		}
	}
	if len(all) == 0 || bytes.Count(text, []byte("mark:")) != len(all) {
		return "", false
	}
	return string(all[0]), true
}

// echo is an engine that answers with the mark that it was asked with, and the id of the request.
type echo struct {
	t        *testing.T
	projects map[string]string // by number
	local    bool              // it is told the project
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/tokenize") || r.Method != "POST" {
		http.Error(w, "no", 404)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the gateway left
	}
	mark, ok := only(body)
	if !ok {
		e.t.Errorf("an engine is asked with the marks %q", markForm.FindAll(body, 5))
		return
	}
	if n := markForm.FindStringSubmatch(mark)[1]; e.local && r.Header.Get("X-Cache-Scope") != e.projects[n] {
		e.t.Errorf("%s came as of the project %s", mark, r.Header.Get("X-Cache-Scope"))
	}
	said := mark + "rid:" + r.Header.Get("X-Request-Id") + ";"
	n := 1 + len(body)%40
	switch rand.IntN(20) {
	case 0:
		panic(http.ErrAbortHandler)
	case 1:
		http.Error(w, `{"error":{"message":"`+said+`","type":"x"}}`, 400)
		return
	}
	if !bytes.Contains(body, []byte(`"stream":true`)) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":"c","object":"chat.completion","model":"echo","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":%d,"total_tokens":9}}`,
			strings.Repeat(said, n*n), min(n, 5))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range n {
		if e.local {
			fmt.Fprintf(w, ": t 5 %d\n\n", i+1)
		}
		fmt.Fprintf(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"echo\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\n", said)
		if i%7 == 3 {
			w.(http.Flusher).Flush()
		}
		if rand.IntN(200) == 0 {
			panic(http.ErrAbortHandler)
		}
	}
	fmt.Fprintf(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"echo\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n")
	fmt.Fprintf(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"echo\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":%d,\"total_tokens\":9}}\n\ndata: [DONE]\n\n", n)
}

// sees is a watcher that compares what was asked with what was answered.
type sees struct {
	t        *testing.T
	projects map[string]string
	ended    atomic.Int64
}

func (s *sees) Begin(x *gateway.Sight) { x.Keep = 4 << 20 }

func (s *sees) End(x *gateway.Sight) {
	s.ended.Add(1)
	asked, ok := only(x.Call.Body)
	if !ok {
		s.t.Errorf("a watcher sees the marks %q asked", markForm.FindAll(x.Call.Body, 5))
		return
	}
	if s.projects[markForm.FindStringSubmatch(asked)[1]] != x.Call.Who.ProjectID {
		s.t.Errorf("%s is seen of the project %s", asked, x.Call.Who.ProjectID)
	}
	if said, _ := only(x.Answer); said != asked && bytes.Contains(x.Answer, []byte("mark:")) {
		s.t.Errorf("%s is seen to be answered with %q", asked, markForm.FindAll(x.Answer, 5))
	}
}

// mixed is a gateway before echoes, with several projects.
type mixed struct {
	*parts
	t       *testing.T
	addr    string
	secrets []string
	sees    *sees
}

func newMixed(t *testing.T, projects int) *mixed {
	p, err := build(t.Context(), openSQLite(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.ledger.Close() })
	m := &mixed{parts: p, t: t, sees: &sees{t: t, projects: map[string]string{}}}
	for n := range projects {
		pr, err := p.tenancy.CreateProject(t.Context(), p.by.OrgID, fmt.Sprint("p", n))
		if err != nil {
			t.Fatal(err)
		}
		by := p.by
		by.ProjectID = pr.ID
		_, secret, err := p.tenancy.CreateKey(t.Context(), by, tenancy.NewKey{Name: "k"})
		if err != nil {
			t.Fatal(err)
		}
		m.secrets = append(m.secrets, secret)
		m.sees.projects[fmt.Sprint(n)] = pr.ID
	}
	local := httptest.NewUnstartedServer(&echo{t, m.sees.projects, true})
	far := httptest.NewUnstartedServer(&echo{t, m.sees.projects, false})
	for _, s := range []*httptest.Server{local, far} {
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		s.Start()
		t.Cleanup(s.Close)
	}
	p.addRoute("local", 1, 1, 100_000, &native.Driver{}, strings.TrimPrefix(local.URL, "http://"))
	u, _ := url.Parse(far.URL)
	provider := remote.New(remote.Options{URL: u, Private: true, Now: time.Now})
	t.Cleanup(provider.Close)
	p.routes.targets["far"] = &serve.Target{Route: serve.Route{ID: id.Default().New("rte"), Org: p.by.OrgID, Name: "far"},
		Backends: []*serve.Upstream{{ID: "prv_x/far", Weight: 1, Dialect: engine.OpenAI, Name: "far", Model: "far", Engine: provider, Endpoints: []engine.Endpoint{{Replica: "prv_x/far"}}}}}
	p.gateway.Watch, p.gateway.Explain, p.gateway.Memory = m.sees, &gateway.Explanations{Log: slog.New(slog.DiscardHandler)}, gateway.NewMemory(64<<20)
	front := server.HTTP(p.handler, slog.New(slog.DiscardHandler))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = front.Serve(l) }()
	t.Cleanup(func() { front.Close() })
	m.addr = l.Addr().String()
	return m
}

// request is one of a project, and the mark that its answer has.
func (m *mixed) request(r *rand.Rand, name string) (text, mark string, again bool) {
	p := r.IntN(len(m.secrets))
	mark = fmt.Sprintf("mark:p%d-%s;", p, name)
	headers := "Authorization: Bearer " + m.secrets[p] + "\r\n"
	times := 1 + r.IntN(20)
	switch r.IntN(8) {
	case 0: // all projects use the same names for their requests
		n := r.IntN(3)
		again, times = true, 3+n
		mark = fmt.Sprintf("mark:p%d-again-%d;", p, n)
		headers += fmt.Sprintf("Idempotency-Key: key-%d\r\n", n)
	case 1:
		times = 1500
	case 2:
		headers += "X-Triarch-Explain: 1\r\n"
	}
	path, bound := "/v1/chat/completions", ""
	model, stream := []string{"local", "far"}[r.IntN(2)], r.IntN(2) == 0
	if again {
		model, stream = "local", false
	} else if r.IntN(4) == 0 {
		path, bound = "/v1/messages", `"max_tokens":500,`
	}
	body := fmt.Sprintf(`{"model":%q,%s"stream":%v,"messages":[{"role":"user","content":%q}]}`, model, bound, stream, strings.Repeat(mark, times))
	if r.IntN(5) == 0 {
		half := len(body) / 2
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", path, headers, half, body[:half], len(body)-half, body[half:]), mark, again
	}
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", path, headers, len(body), body), mark, again
}

// converse makes requests on one connection until it ends.
func (m *mixed) converse(r *rand.Rand, name string) (answered int) {
	c, err := net.Dial("tcp", m.addr)
	if err != nil {
		m.t.Error(err)
		return 0
	}
	defer c.Close()
	in := bufio.NewReader(c)
	for round := range 12 {
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		var text strings.Builder
		var marks []string
		var agains []bool
		for i := range 1 + r.IntN(3) {
			one, mark, again := m.request(r, fmt.Sprintf("%s-%d-%d", name, round, i))
			text.WriteString(one)
			marks, agains = append(marks, mark), append(agains, again)
		}
		all := text.String()
		if r.IntN(12) == 0 { // in the middle of what is asked
			_, _ = io.WriteString(c, all[:r.IntN(len(all))])
			return answered
		}
		wrote := make(chan bool)
		go func() {
			_, _ = io.WriteString(c, all)
			close(wrote)
		}()
		for i, mark := range marks {
			if r.IntN(25) == 0 { // in the middle of what is answered
				_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // there may be less
				_, _ = io.CopyN(io.Discard, in, int64(r.IntN(2000)))
				c.Close()
				<-wrote
				return answered
			}
			var slow net.Error
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				if i == 0 || errors.As(err, &slow) && slow.Timeout() {
					m.t.Errorf("%s, %d of its round, is not answered: %v\n%.300q", mark, i, err, all)
				}
				return answered
			}
			body, err := io.ReadAll(resp.Body)
			if errors.As(err, &slow) && slow.Timeout() {
				m.t.Errorf("%s, %d of its round, has no end: %d %v %q\n%.300q", mark, i, resp.StatusCode, resp.Header, body[max(0, len(body)-300):], all)
			}
			if said, _ := only(body); said != mark && bytes.Contains(body, []byte("mark:")) {
				m.t.Errorf("%s is answered with %q", mark, markForm.FindAll(body, 5))
			}
			for _, rid := range ridForm.FindAllSubmatch(body, -1) {
				if own := resp.Header.Get("X-Request-Id"); string(rid[1]) != own && !agains[i] {
					m.t.Errorf("%s: the answer of %s to %s", mark, rid[1], own)
				}
			}
			if resp.StatusCode == 200 {
				answered++
			}
			if err != nil || resp.Close {
				c.Close()
				<-wrote
				return answered
			}
		}
		<-wrote
	}
	return answered
}

// Requests of many projects share connections, here and to the engines, and memory; each is given its own answer, whoever
// hangs up, sends on before it is answered, or sends what is never whole.
func TestProjectsOnSharedConnections(t *testing.T) {
	m := newMixed(t, 5)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var all sync.WaitGroup
	var answered atomic.Int64
	for i := range 12 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(7, uint64(i)))
			for n := 0; ctx.Err() == nil; n++ {
				answered.Add(int64(m.converse(r, fmt.Sprintf("c%d-%d", i, n))))
			}
		})
	}
	all.Wait()
	t.Logf("%d answers, %d requests seen", answered.Load(), m.sees.ended.Load())
	if answered.Load() < 20 {
		t.Errorf("%d requests were answered", answered.Load())
	}
	if n := m.gateway.Memory.Taken(); n != 0 {
		t.Errorf("%d bytes of memory are taken by nobody", n)
	}
}
