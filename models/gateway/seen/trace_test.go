package seen

import (
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/gateway"
)

// otlpSpan is a span as a collector reads it.
type otlpSpan struct {
	TraceID, SpanID, ParentSpanID, Name string
	Kind                                int
	StartTimeUnixNano                   int64 `json:",string"`
	EndTimeUnixNano                     int64 `json:",string"`
	Attributes                          []struct {
		Key   string
		Value map[string]any
	}
	Status struct{ Code int }
}

func (s *otlpSpan) attr(key string) any {
	for _, a := range s.Attributes {
		if a.Key == key {
			for _, v := range a.Value {
				return v
			}
		}
	}
	return nil
}

// collector takes spans, after so many refusals.
type collector struct {
	mu      sync.Mutex
	refuse  int
	header  http.Header
	service any
	spans   []otlpSpan
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse > 0 {
		c.refuse--
		http.Error(w, "later", http.StatusServiceUnavailable)
		return
	}
	body, _ := io.ReadAll(r.Body)
	var m struct {
		ResourceSpans []struct {
			Resource struct {
				Attributes []struct {
					Key   string
					Value map[string]any
				}
			}
			ScopeSpans []struct{ Spans []otlpSpan }
		}
	}
	if err := json.Unmarshal(body, &m); err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "nonsense", http.StatusBadRequest)
		return
	}
	c.header = r.Header
	for _, x := range m.ResourceSpans {
		c.service = x.Resource.Attributes[0].Value["stringValue"]
		for _, y := range x.ScopeSpans {
			c.spans = append(c.spans, y.Spans...)
		}
	}
	_, _ = io.WriteString(w, "{}")
}

func tracer(t testing.TB, c *collector, rate float64) *Tracer {
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	r := rand.New(rand.NewPCG(1, 2))
	return &Tracer{Rate: rate, Rand: r.Uint64, Exporter: &Exporter{URL: s.URL + "/v1/traces", Headers: map[string]string{"X-Token": "secret"}, Service: "triarch",
		Node: "n", Version: "v", Client: http.DefaultClient, Log: slog.New(slog.DiscardHandler)}}
}

func TestSpansOfARequest(t *testing.T) {
	c := &collector{refuse: 1}
	tr := tracer(t, c, 1)
	r := newRig(t, &Watch{Traces: tr})
	r.route("two", "dead")
	r.routes["two"].Backends = append(r.routes["two"].Backends, r.routes["m"].Backends[0])
	rid, err := r.ask(strings.Replace(stream, `"m"`, `"two"`, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.ask(`{"model":"nothing"}`); err == nil {
		t.Fatal("served")
	}
	tr.Exporter.flush(t.Context())
	if c.service != "triarch" || c.header.Get("X-Token") != "secret" || tr.Exporter.sent.Load() != int64(len(c.spans)) || tr.Exporter.dropped.Load() != 0 {
		t.Fatalf("service %v, header %v, %d sent", c.service, c.header, tr.Exporter.sent.Load())
	}
	ids := map[string]*otlpSpan{}
	names := map[string]int{}
	for i := range c.spans {
		s := &c.spans[i]
		if ids[s.SpanID] != nil || len(s.SpanID) != 16 || len(s.TraceID) != 32 || s.EndTimeUnixNano < s.StartTimeUnixNano {
			t.Errorf("a span: %+v", s)
		}
		ids[s.SpanID] = s
		names[s.Name]++
	}
	root := &c.spans[0]
	for key, want := range map[string]any{"gen_ai.operation.name": "chat", "gen_ai.provider.name": "triarch", "gen_ai.request.model": "two", "gen_ai.response.model": "inner@1",
		"gen_ai.usage.input_tokens": "9", "gen_ai.usage.output_tokens": "4", "gen_ai.usage.cache_read.input_tokens": "3", "gen_ai.usage.reasoning.output_tokens": "2",
		"gen_ai.request.stream": true, "http.response.status_code": "200", "triarch.request.id": rid, "triarch.outcome": "finished"} {
		if got := root.attr(key); got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	if first, _ := root.attr("gen_ai.response.time_to_first_chunk").(float64); first <= 0 || root.ParentSpanID != "" || root.Kind != serverKind || root.Status.Code != 0 {
		t.Errorf("the request's span: %+v", root)
	}
	if names["reserve"] != 1 || names["stream"] != 1 || names["chat two"] < 2 {
		t.Errorf("spans: %v", names)
	}
	var tries []*otlpSpan
	for i := range c.spans {
		s := &c.spans[i]
		if s.TraceID == root.TraceID && s != root && (s.ParentSpanID != root.SpanID || s.StartTimeUnixNano < root.StartTimeUnixNano || s.EndTimeUnixNano > root.EndTimeUnixNano) {
			t.Errorf("%s is not within the request: %+v", s.Name, s)
		}
		if s.TraceID == root.TraceID && s.Kind == clientKind {
			tries = append(tries, s)
		}
	}
	if len(tries) != len(r.echo.asked) {
		t.Fatalf("%d spans of %d tries", len(tries), len(r.echo.asked))
	}
	for i, s := range tries { // each backend goes on from the span of its own try
		if want := "00-" + root.TraceID + "-" + s.SpanID + "-01"; r.echo.asked[i].Trace != want {
			t.Errorf("try %d was sent %s, want %s", i, r.echo.asked[i].Trace, want)
		}
		if s.attr("server.address") != "127.0.0.1" || s.attr("server.port") != "7" {
			t.Errorf("the server is %v:%v", s.attr("server.address"), s.attr("server.port"))
		}
		if dead := s.attr("triarch.replica.id") == "dead"; dead != (s.Status.Code == 2) || dead != (s.attr("error.type") == "unavailable") {
			t.Errorf("try %d: %+v", i, s)
		}
	}
	last := &c.spans[len(c.spans)-1]
	if last.Name != "chat unknown" || last.attr("error.type") != "model_not_found" || last.Status.Code != 2 {
		t.Errorf("the refused request: %+v", last)
	}
}

const (
	theirs  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
	theirID = "0af7651916cd43dd8448eb211c80319c"
)

func TestTracesOfCallersGoOn(t *testing.T) {
	for _, x := range []struct {
		name, header string
		recorded     bool
		sent         string
	}{
		{"sampled", theirs + "01", true, "00-" + theirID},
		{"not sampled", theirs + "00", false, theirs + "00"},
		{"a later version", "01-" + theirs[3:] + "01-more", true, "00-" + theirID},
		{"none", "", false, ""},
		{"no trace", "00-00000000000000000000000000000000-b7ad6b7169203331-01", false, ""},
		{"upper case", strings.ToUpper(theirs) + "01", false, ""},
		{"too long", theirs + "01-x", false, ""},
		{"version ff", "ff" + theirs[2:] + "01", false, ""},
		{"a line break", theirs + "01-\r\nX: y", false, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := &collector{}
			tr := tracer(t, c, 0)
			r := newRig(t, &Watch{Traces: tr})
			_, _ = r.ask(plain, func(c *gateway.Call) { c.Trace, c.TraceState = x.header, "v=1" })
			tr.Exporter.flush(t.Context())
			if recorded := len(c.spans) > 0; recorded != x.recorded {
				t.Fatalf("recorded: %v", recorded)
			}
			if x.recorded && (c.spans[0].TraceID != theirID || c.spans[0].ParentSpanID != "b7ad6b7169203331") {
				t.Errorf("%+v", c.spans[0])
			}
			q := r.echo.asked[0]
			if !strings.HasPrefix(q.Trace, x.sent) || (x.sent == "") != (q.Trace == "") || (x.sent == "") != (q.TraceState == "") {
				t.Errorf("sent %q and %q", q.Trace, q.TraceState)
			}
		})
	}
}

func TestAShareIsSampled(t *testing.T) {
	c := &collector{}
	tr := tracer(t, c, 0.1)
	n := 0
	for range 10000 {
		s := &gateway.Sight{Call: &gateway.Call{}}
		if tr.begin(s); s.Note != nil {
			n++
		}
	}
	if n < 850 || n > 1150 {
		t.Errorf("%d of 10000 are sampled at a tenth", n)
	}
}

func TestTheExporterNeverBlocks(t *testing.T) {
	c := &collector{refuse: 1 << 30}
	tr := tracer(t, c, 1)
	e := tr.Exporter
	for range exportQueue + 100 {
		e.put([]byte("{}"), 2)
	}
	if d := e.dropped.Load(); d != 200 {
		t.Errorf("%d spans were dropped of a full queue", d)
	}
	e.queue = make(chan sampled, 4)
	e.dropped.Store(0)
	c.refuse = 0
	e.put([]byte("no JSON"), 3) // which the collector refuses for good
	e.flush(t.Context())
	if e.dropped.Load() != 3 || e.sent.Load() != 0 || !e.failing {
		t.Errorf("dropped %d, sent %d", e.dropped.Load(), e.sent.Load())
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add(theirs + "01")
	f.Add("01-" + theirs[3:] + "ff-x")
	f.Fuzz(func(t *testing.T, h string) {
		x, _, ok := parseParent(h)
		if ok && (x.trace == [16]byte{} || x.parent == [8]byte{} || strings.ContainsAny(h, "\r\n ")) {
			t.Errorf("%q was taken", h)
		}
	})
}

var _ engine.Engine = (*echo)(nil)
