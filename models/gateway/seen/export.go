package seen

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triarch-ai/triarch/internal/obs"
)

// Exporter sends spans to a collector by OTLP over HTTP, in its JSON form, in batches. What comes while its queue is full,
// and what the collector does not take in a few tries, is dropped and counted.
type Exporter struct {
	URL     string            // where spans are posted, such as http://127.0.0.1:4318/v1/traces
	Headers map[string]string // sent with each post; never logged
	Service string            // service.name
	Node    string            // service.instance.id
	Version string            // service.version
	Client  *http.Client      // must not follow redirects
	Log     *slog.Logger

	once          sync.Once
	queue         chan sampled
	sent, dropped atomic.Int64 // spans
	failing       bool
}

// sampled are the spans of one request.
type sampled struct {
	text []byte
	n    int
}

const (
	exportQueue  = 2048 // requests
	exportBatch  = 256  // requests of one post
	exportBytes  = 1 << 20
	exportEvery  = time.Second
	exportTime   = 5 * time.Second
	exportTries  = 3
	exportPause  = 500 * time.Millisecond
	longestPause = 5 * time.Second
)

func (e *Exporter) start() { e.once.Do(func() { e.queue = make(chan sampled, exportQueue) }) }

// put takes spans without waiting.
func (e *Exporter) put(text []byte, n int) {
	e.start()
	select {
	case e.queue <- sampled{text, n}:
	default:
		e.dropped.Add(int64(n))
	}
}

// Loop sends until ctx ends, and then what is left, within a moment.
func (e *Exporter) Loop(ctx context.Context) {
	e.start()
	tick := time.NewTicker(exportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			e.flush(last)
			return
		case <-tick.C:
			e.flush(ctx)
		}
	}
}

// flush sends what is queued when it is called.
func (e *Exporter) flush(ctx context.Context) {
	for left := len(e.queue); left > 0; {
		body, n, taken := e.batch(left)
		left -= taken
		if err := e.post(ctx, body); err != nil {
			e.dropped.Add(int64(n))
			if !e.failing {
				e.Log.Warn("traces cannot be sent; they are dropped until the collector takes them", "error", err)
			}
			e.failing = true
			continue
		}
		e.sent.Add(int64(n))
		e.failing = false
	}
}

// batch is one message of at most so many requests.
func (e *Exporter) batch(most int) (body []byte, n, taken int) {
	var a attributes
	a.text("service.name", e.Service)
	a.text("service.instance.id", e.Node)
	a.text("service.version", e.Version)
	body = append(append(body, `{"resourceSpans":[{"resource":{"attributes":[`...), a.b...)
	body = append(body, `]},"scopeSpans":[{"scope":{"name":"triarch/gateway"},"spans":[`...)
	for taken < min(most, exportBatch) && len(body) < exportBytes {
		s := <-e.queue // its only reader is here
		if taken++; taken > 1 {
			body = append(body, ',')
		}
		body = append(body, s.text...)
		n += s.n
	}
	return append(body, "]}]}]}"...), n, taken
}

// post sends a message, again when the collector says that it may be.
func (e *Exporter) post(ctx context.Context, body []byte) (err error) {
	for try := range exportTries {
		var again bool
		var wait time.Duration
		if again, wait, err = e.attempt(ctx, body); err == nil || !again || try == exportTries-1 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(max(wait, exportPause<<try), longestPause)):
		}
	}
	return err
}

// attempt is one try; again says whether another may help, and wait what the collector asks for before it.
func (e *Exporter) attempt(ctx context.Context, body []byte) (again bool, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, exportTime)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL, bytes.NewReader(body))
	if err != nil {
		return false, 0, err
	}
	q.Header.Set("Content-Type", "application/json")
	for k, v := range e.Headers {
		q.Header.Set(k, v)
	}
	resp, err := e.Client.Do(q)
	if err != nil {
		return true, 0, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection serves again
	if resp.StatusCode/100 == 2 {
		return false, 0, nil
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		wait = time.Duration(min(s, 60)) * time.Second
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = true
	}
	return again, wait, errors.New("the collector answers " + resp.Status)
}

// Write writes how many spans were sent and dropped.
func (e *Exporter) Write(w *obs.Writer) {
	w.One("triarch_traces_spans_exported_total", obs.Counter, "Spans that the collector took.", float64(e.sent.Load()))
	w.One("triarch_traces_spans_dropped_total", obs.Counter, "Spans that were dropped because of a full queue or a collector that did not take them.", float64(e.dropped.Load()))
}
