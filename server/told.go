package server

import (
	"net/http"

	"github.com/triarch-ai/triarch/models/gateway"
)

// MetricsPath is where metrics are read.
const MetricsPath = "/metrics"

// TagHeader is the caller's word for charging back.
const TagHeader = "X-Triarch-Tag"

// told notes what headers say of a request beside its content. Their names are in canonical form already.
func told(call *gateway.Call, h http.Header) {
	call.Trace, call.TraceState, call.Tag = one(h["Traceparent"]), one(h["Tracestate"]), one(h[TagHeader])
}

func one(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}
