package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/internal/fault"
)

func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return New(s.URL, "tri_secret")
}

func TestFailuresAreFaults(t *testing.T) {
	for name, c := range map[string]struct {
		kind, body string
		want       fault.Kind
		code       string
	}{
		"a problem":      {"application/problem+json", `{"status":404,"kind":"not_found","code":"c","field":"f","message":"No.","fix":"Look."}`, fault.NotFound, "c"},
		"a foreign page": {"text/html", `<h1>gateway</h1>`, fault.Unavailable, "not_triarch"},
		"half a problem": {"application/problem+json", `{"status":404`, fault.Unavailable, "not_triarch"},
		"no kind":        {"application/problem+json", `{}`, fault.Unavailable, "not_triarch"},
	} {
		client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", c.kind)
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, c.body)
		})
		_, err := client.Status(t.Context())
		if !fault.Is(err, c.want) || fault.As(err).Code != c.code {
			t.Errorf("%s: %v", name, err)
		}
		if name == "a problem" && fault.As(err).Sentence() != "No. Look." {
			t.Errorf("the sentence became %q", fault.As(err).Sentence())
		}
	}
}

func TestBrokenAnswersAndAddresses(t *testing.T) {
	_, err := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{") }).Status(t.Context())
	if !fault.Is(err, fault.Unavailable) || fault.As(err).Code != "not_triarch" {
		t.Errorf("half an answer: %v", err)
	}
	if _, err := New("http://127.0.0.1:1", "k").Status(t.Context()); fault.As(err).Code != "no_server" || strings.Contains(fault.As(err).Sentence(), "dial") {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := New("http://%zz", "k").Status(t.Context()); !fault.Is(err, fault.Invalid) || fault.As(err).Field != "url" {
		t.Errorf("no URL: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New("http://127.0.0.1:1", "k").Status(ctx); !fault.Is(err, fault.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A redirect is no answer: following it would carry the key to another place.
func TestKeyDoesNotFollowRedirects(t *testing.T) {
	carried := false
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { carried = r.Header.Get("Authorization") != "" }))
	defer other.Close()
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	if _, err := client.Status(t.Context()); !fault.Is(err, fault.Unavailable) || carried {
		t.Errorf("carried %v, %v", carried, err)
	}
}

func TestNamesAreEscaped(t *testing.T) {
	var got string
	client := serve(t, func(w http.ResponseWriter, r *http.Request) { got = r.RequestURI; fmt.Fprint(w, "{}") })
	_, _ = client.ModelVersion(t.Context(), "a/../b?c#d@1")
	if want := "/api/v1/models/a%2F..%2Fb%3Fc%23d@1"; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
	_, _ = client.Usage(t.Context(), UsageQuery{Project: "a&b=c", Organisation: true})
	if want := "/api/v1/usage?organisation=true&project=a%26b%3Dc&limit=1000"; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
}

// TestListsAreReadToTheirLastPage has a server that gives two items at a time.
func TestListsAreReadToTheirLastPage(t *testing.T) {
	var asked []string
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Get("after"))
		switch r.URL.Query().Get("after") {
		case "":
			fmt.Fprint(w, `{"items":[{"name":"a"},{"name":"b"}],"rows":[{"name":"a"}],"totals":{"requests":7},"next":"two&="}`)
		case "two&=":
			fmt.Fprint(w, `{"items":[{"name":"c"}],"rows":[{"name":"b"}],"totals":{"requests":8}}`)
		}
	})
	sets, err := client.DataSets(t.Context())
	if err != nil || len(sets) != 3 || sets[2].Name != "c" || !slices.Equal(asked, []string{"", "two&="}) {
		t.Errorf("%v, %v, asked for %q", sets, err, asked)
	}
	u, err := client.Usage(t.Context(), UsageQuery{})
	if err != nil || len(u.Rows) != 2 || u.Totals.Requests != 8 || u.Next != "" {
		t.Errorf("%+v, %v", u, err)
	}
	stuck := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"items":[],"next":"x"}`) })
	if _, err := stuck.Runs(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a server that names the same page again: %v", err)
	}
	empty := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"items":[]}`) })
	if all, err := empty.Runs(t.Context()); err != nil || all == nil || len(all) != 0 {
		t.Errorf("an empty list: %v, %v", all, err)
	}
}

func TestEventStreams(t *testing.T) {
	const text = ": hello\n\nevent: a\nid: 1\ndata: x\ndata: y\n\ndata:\n\nretry: 5\n\nevent: b\r\ndata:z\r\n\r\nevent: torn\ndata: no end"
	var got []string
	err := readEvents(strings.NewReader(text), func(e event) error {
		got = append(got, fmt.Sprintf("%s|%s|%s", e.id, e.name, e.data))
		return nil
	})
	if d := cmp.Diff([]string{"1|a|x\ny", "||", "|b|z"}, got); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
	boom := errors.New("boom")
	if err := readEvents(strings.NewReader(text), func(event) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if err := readEvents(strings.NewReader("data: "+strings.Repeat("x", maxEvent)), func(event) error { return nil }); err == nil {
		t.Error("an endless line was read")
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte("event: a\ndata: x\n\n"))
	f.Add([]byte("data\n\n:\n\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		size := 0
		_ = readEvents(strings.NewReader(string(b)), func(e event) error {
			if e.data == nil {
				t.Fatal("an event without data")
			}
			size += len(e.data)
			return nil
		})
		if size > 2*len(b) {
			t.Fatalf("%d bytes of data from %d", size, len(b))
		}
	})
}

func TestWatchingGivesUp(t *testing.T) {
	calls := 0
	client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "event: progress\nid: 1:5\ndata: {\"step\":1}\n\n")
	})
	if _, err := client.WatchRun(t.Context(), "run_x", 0, func(ProgressLine) error { return nil }); !fault.Is(err, fault.Unavailable) || calls != 1 {
		t.Errorf("without patience: %d calls, %v", calls, err)
	}
	client = serve(t, func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(404)
		fmt.Fprint(w, `{"status":404,"kind":"not_found","message":"No."}`)
	})
	calls = 0
	if _, err := client.WatchRun(t.Context(), "run_x", time.Hour, nil); !fault.Is(err, fault.NotFound) || calls != 1 {
		t.Errorf("a run that is not there: %d calls, %v", calls, err)
	}
}
