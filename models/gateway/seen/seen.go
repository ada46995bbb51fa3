// Package seen watches the requests of the model API: what is counted of them, which of them are traced, and the log of
// them all.
//
// Rules for callers: a Watch is complete before the gateway serves, and each of its parts may be missing. What a request
// passes on its way takes no lock that others wait at and asks nobody; what leaves the process does so behind it, out of
// bounded queues, and what does not fit is dropped and counted.
package seen

import (
	"github.com/triarch-ai/triarch/models/gateway"
)

// Watch tells its parts of every request. A nil part is left out.
type Watch struct {
	Metrics *Metrics
	Traces  *Tracer
	Log     *Log
	Bodies  gateway.Watcher // keeps what was asked and answered where a project consented; nil: nothing is kept
}

var _ gateway.Watcher = (*Watch)(nil)

// Begin implements gateway.Watcher.
func (w *Watch) Begin(s *gateway.Sight) {
	if w.Metrics != nil {
		w.Metrics.begin(s)
	}
	w.Traces.begin(s)
	if w.Bodies != nil {
		w.Bodies.Begin(s)
	}
}

// End implements gateway.Watcher.
func (w *Watch) End(s *gateway.Sight) {
	if w.Metrics != nil {
		w.Metrics.end(s)
	}
	w.Traces.end(s)
	w.Log.end(s)
	if w.Bodies != nil {
		w.Bodies.End(s)
	}
}
