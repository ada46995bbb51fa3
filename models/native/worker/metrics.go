package worker

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// latency is the sum and number of some durations.
type latency struct{ nanos, count atomic.Int64 }

func (l *latency) observe(d time.Duration) {
	l.nanos.Add(int64(d))
	l.count.Add(1)
}

// metrics writes the engine's counters in the Prometheus text format.
func (s *server) metrics(w http.ResponseWriter, _ *http.Request, m *served) error {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_ = http.NewResponseController(w).SetWriteDeadline(s.now().Add(writeTime))
	st := m.engine.Stats()
	for _, v := range []struct {
		name, kind, help string
		value            any
	}{
		{"requests_running", "gauge", "Sequences that read their prompt or generate.", st.Running},
		{"requests_waiting", "gauge", "Sequences that wait for room.", st.Waiting},
		{"kv_cache_used_ratio", "gauge", "Share of the key-value cache that running sequences hold, 0 to 1.", st.KVUsed},
		{"prompt_tokens_total", "counter", "Prompt tokens of requests taken in.", st.PromptTokens},
		{"prompt_tokens_cached_total", "counter", "Prompt tokens that were found in the cache.", st.CachedTokens},
		{"generation_tokens_total", "counter", "Tokens generated.", st.GeneratedTokens},
		{"steps_total", "counter", "Passes through the weights.", st.Steps},
	} {
		fmt.Fprintf(w, "# HELP triarch_native_%s %s\n# TYPE triarch_native_%s %s\ntriarch_native_%s %v\n", v.name, v.help, v.name, v.kind, v.name, v.value)
	}
	for _, v := range []struct {
		name, help string
		l          *latency
	}{
		{"time_to_first_token", "Time from a request's arrival in the queue to its first token.", &s.first},
		{"form_compile", "Time to compile the form of an answer (schema or grammar) that was not in the cache.", &s.compiled},
	} {
		name := "triarch_native_" + v.name + "_seconds"
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s summary\n%s_sum %v\n%s_count %d\n",
			name, v.help, name, name, time.Duration(v.l.nanos.Load()).Seconds(), name, v.l.count.Load())
	}
	return nil
}
