package seen

import (
	"encoding/hex"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Tracer makes spans of a share of the requests, and of those whose caller has sampled a trace already. A caller's trace
// that is not sampled is passed on as it is and not recorded. Nothing is made for a request that is not sampled. A nil
// Tracer passes nothing on.
type Tracer struct {
	// Rate is the share of the requests without a caller's trace that are sampled: 0 to 1.
	Rate float64
	Rand func() uint64
	// Exporter takes the spans; nil: none are made, and traces of callers are passed on.
	Exporter *Exporter
}

// traced is the trace of one request.
type traced struct {
	trace  [16]byte
	parent [8]byte // span of the caller; zero: none
	span   [8]byte // of the request
	first  [8]byte // of its first attempt
}

// maxState bounds a tracestate that is passed on: what W3C asks to keep at least.
const maxState = 512

func (t *Tracer) begin(s *gateway.Sight) {
	if t == nil {
		return
	}
	x, sampled, ok := parseParent(s.Call.Trace)
	if ok && (!sampled || t.Exporter == nil) {
		s.Trace, s.TraceState = s.Call.Trace, state(s.Call.TraceState)
		return
	}
	if t.Exporter == nil || !ok && float64(t.Rand()>>11)/(1<<53) >= t.Rate {
		return
	}
	if ok {
		s.TraceState = state(s.Call.TraceState)
	} else {
		fill(x.trace[:8], t.Rand())
		fill(x.trace[8:], t.Rand()|1) // an id of zeros is none
	}
	fill(x.span[:], t.Rand()|1)
	fill(x.first[:], t.Rand()|1<<63) // so that no attempt's is zero
	kept := x                        // x itself stays off the heap for requests that are not sampled
	s.Note = &kept
	s.Trace = "00-" + hex.EncodeToString(x.trace[:]) + "-" + hex.EncodeToString(x.first[:]) + "-01"
}

func fill(b []byte, n uint64) {
	for i := range b {
		b[i] = byte(n >> (56 - 8*i))
	}
}

// parseParent reads a traceparent header of W3C's trace context, version 00 or a later one.
func parseParent(h string) (x traced, sampled, ok bool) {
	const length = 55
	if len(h) < length || h[2] != '-' || h[35] != '-' || h[52] != '-' || h[:2] == "ff" || len(h) > length && (h[:2] == "00" || h[length] != '-' || len(h) > maxState) {
		return x, false, false
	}
	for i := range len(h) {
		if c := h[i]; i < length && c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'f') || c <= ' ' || c > '~' {
			return x, false, false
		}
	}
	var version, flags [1]byte
	for _, f := range []struct {
		to   []byte
		from string
	}{{version[:], h[:2]}, {x.trace[:], h[3:35]}, {x.parent[:], h[36:52]}, {flags[:], h[53:55]}} {
		if _, err := hex.Decode(f.to, []byte(f.from)); err != nil {
			return x, false, false
		}
	}
	if x.trace == [16]byte{} || x.parent == [8]byte{} {
		return x, false, false
	}
	return x, flags[0]&1 == 1, true
}

// state is what is passed on of a tracestate.
func state(h string) string {
	if len(h) > maxState {
		return ""
	}
	for i := range len(h) {
		if h[i] < ' ' || h[i] > '~' {
			return ""
		}
	}
	return h
}

// end makes the spans of a sampled request and hands them to the exporter.
func (t *Tracer) end(s *gateway.Sight) {
	if t == nil {
		return
	}
	x, ok := s.Note.(*traced)
	if !ok {
		return
	}
	b := &spans{trace: hex.EncodeToString(x.trace[:]), began: s.Began}
	whole := span{id: x.span, parent: x.parent, name: operation(s.Kind) + " " + named(s), kind: serverKind, to: s.Took, failed: errorType(s)}
	whole.attrs = requestAttrs(s)
	b.add(&whole)
	if s.Reserved > 0 {
		b.add(&span{id: child(x, 0), parent: x.span, name: "reserve", kind: innerKind, to: s.Reserved})
	}
	for i := range s.Attempts() {
		b.attempt(x, s, i)
	}
	if s.First > 0 && s.Took > s.First {
		b.add(&span{id: child(x, 1), parent: x.span, name: "stream", kind: innerKind, from: s.First, to: s.Took})
	}
	t.Exporter.put(b.out, b.n)
}

// child is the id of a span within a request's that is no attempt.
func child(x *traced, i byte) [8]byte {
	id := x.span
	id[0] ^= 0x80
	id[7] ^= i << 1
	return id
}

const minWait = time.Millisecond // shorter waits make no span

// attempt adds the spans of one attempt, and of the wait for its place.
func (b *spans) attempt(x *traced, s *gateway.Sight, i int) {
	a := s.Attempt(i)
	from, to := a.Began, a.Began+a.Took
	if a.Waited >= minWait {
		begun, ended := from-a.Waited, from
		if a.Full {
			begun, ended = from, from+a.Waited
		}
		b.add(&span{id: child(x, byte(8+i)), parent: x.span, name: "queue", kind: innerKind, from: begun, to: ended})
		if a.Full {
			return
		}
	}
	if i == s.Attempts()-1 && a.Status != 0 && !a.Again {
		to = s.Took // its answer was read to the end
	}
	name := a.Backend.Name
	if name == "" {
		name = named(s)
	}
	t := span{id: gateway.AttemptSpan(x.first, i), parent: x.span, name: operation(s.Kind) + " " + name, kind: clientKind, from: from, to: to}
	t.attrs.text("gen_ai.operation.name", operation(s.Kind))
	t.attrs.text("gen_ai.provider.name", provider(a.Backend))
	t.attrs.text("gen_ai.request.model", name)
	t.attrs.text("triarch.backend.id", a.Backend.ID)
	t.attrs.text("triarch.replica.id", a.Replica)
	server(&t.attrs, a)
	if a.Status != 0 {
		t.attrs.number("http.response.status_code", int64(a.Status))
	}
	switch {
	case a.Status == 0:
		t.failed = "unavailable"
	case a.Status >= 400:
		t.failed = strconv.Itoa(a.Status)
	}
	b.add(&t)
}

// server says where a replica answers; a provider's address is its driver's to know.
func server(a *attributes, of gateway.Attempt) {
	for i := range of.Backend.Endpoints {
		e := &of.Backend.Endpoints[i]
		if e.Replica != of.Replica || e.Addr == "" {
			continue
		}
		if host, port, err := net.SplitHostPort(e.Addr); err == nil {
			a.text("server.address", host)
			if n, err := strconv.ParseInt(port, 10, 32); err == nil {
				a.number("server.port", n)
			}
		}
		return
	}
}

// requestAttrs are the attributes of the whole request, by the names of OpenTelemetry's conventions for generative AI.
func requestAttrs(s *gateway.Sight) (a attributes) {
	a.text("gen_ai.operation.name", operation(s.Kind))
	if s.Backend != nil {
		a.text("gen_ai.provider.name", provider(s.Backend))
		a.text("gen_ai.response.model", s.Backend.Model)
	}
	a.text("gen_ai.request.model", s.Model)
	a.flag("gen_ai.request.stream", s.Stream)
	if n := s.Used.Input + s.Used.Embedding; n > 0 {
		a.number("gen_ai.usage.input_tokens", n)
		a.number("gen_ai.usage.output_tokens", s.Used.Output)
		a.number("gen_ai.usage.cache_read.input_tokens", s.Used.Cached)
		a.number("gen_ai.usage.reasoning.output_tokens", s.Used.Reasoning)
	}
	if s.First > 0 {
		a.seconds("gen_ai.response.time_to_first_chunk", s.First)
	}
	a.number("http.response.status_code", int64(s.Status))
	a.text("triarch.request.id", s.Call.RequestID)
	a.text("triarch.project.id", s.Call.Who.ProjectID)
	a.text("triarch.dialect", string(s.Dialect))
	a.text("triarch.outcome", Outcome(s))
	a.number("triarch.cost_microunits", s.Cost)
	if s.Blocks > 0 {
		a.number("triarch.prefix.blocks", int64(s.Blocks))
		a.number("triarch.prefix.matched_blocks", int64(s.Matched))
	}
	return a
}

// operation is the well-known word for what a request asks for.
func operation(k meter.Kind) string {
	switch k {
	case meter.Completion:
		return "text_completion"
	case meter.Embedding:
		return "embeddings"
	case meter.Generate:
		return "generate_content"
	case meter.Rerank, meter.Moderation:
		return k.String()
	}
	return "chat"
}

// provider is the well-known word for who serves; this installation's own engines have none.
func provider(u *serve.Upstream) string {
	switch {
	case !u.Outside():
		return "triarch"
	case u.Dialect == engine.Anthropic:
		return "anthropic"
	case u.Dialect == engine.Google:
		return "gcp.gemini"
	}
	if name, _, ok := strings.Cut(u.Model, "/"); ok { // many serve OpenAI's dialect: the name it was added by
		return name
	}
	return "openai"
}

// named is what a span is named by: a route's name, not what a caller makes up.
func named(s *gateway.Sight) string {
	if s.Target == nil {
		return "unknown"
	}
	return s.Target.Route.Name
}

// errorType is the class of a failure; empty where there was none.
func errorType(s *gateway.Sight) string {
	switch o := outcomeOf(s); {
	case s.Err != nil:
		if f := fault.As(s.Err); f.Code != "" {
			return f.Code
		}
		return string(fault.KindOf(s.Err))
	case o == finished:
		return ""
	case s.Status >= 400:
		return strconv.Itoa(s.Status)
	default:
		return outcomeNames[o]
	}
}
