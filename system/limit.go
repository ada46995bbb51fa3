package system

import (
	"net/http"
	"sync/atomic"
)

// atMost lets at most n requests into h at once; the others go to full.
func atMost(n int, h, full http.Handler) http.Handler {
	var running atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer running.Add(-1)
		if running.Add(1) > int64(n) {
			full.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}
