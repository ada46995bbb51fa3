package remote

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/triarch-ai/triarch/models/engine"
)

// lazy is a transport that reads bodies when it likes, as http.RoundTripper allows.
type lazy struct {
	fails bool
	q     *http.Request
}

func (l *lazy) RoundTrip(q *http.Request) (*http.Response, error) {
	l.q = q
	if l.fails {
		return nil, errors.New("broken")
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}, nil
}

// The body is its caller's again once the answer is closed or did not come: what stands there then is another request's.
func TestABodyIsGivenBack(t *testing.T) {
	for n := range 4 {
		fails, size := n%2 == 1, 100<<(n/2*10)
		l := &lazy{fails: fails}
		p := New(Options{URL: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, Private: true, Now: time.Now, Transport: l})
		body := bytes.Repeat([]byte("mine "), size)
		s, err := p.Open(t.Context(), engine.Endpoint{}, engine.Request{Path: "/v1/chat/completions", Body: body})
		if (err != nil) != fails {
			t.Fatal(err)
		}
		if l.q.ContentLength != int64(len(body)) {
			t.Errorf("a length of %d", l.q.ContentLength)
		}
		first := make([]byte, 10)
		if !fails {
			if _, err := io.ReadFull(l.q.Body, first); err != nil || string(first) != "mine mine " {
				t.Errorf("%q, %v", first, err)
			}
			s.Close()
		}
		copy(body, bytes.Repeat([]byte("other"), size))
		again, err := l.q.GetBody() // as for another try
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []io.Reader{l.q.Body, again} {
			if b, err := io.ReadAll(r); bytes.Contains(b, []byte("other")) {
				t.Errorf("%.20q, %v is read of a body that was given back", b, err)
			}
		}
	}
}
