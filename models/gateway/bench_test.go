package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
)

// still is an engine that answers at once and allocates nothing.
type still struct{ spokenStill }

type spokenStill struct{ at int }

var stillBody = []byte(fine)

func (*still) Name() string                                  { return "still" }
func (*still) Command(engine.Spec) (job.Command, error)      { return job.Command{}, nil }
func (*still) Health(context.Context, engine.Endpoint) error { return nil }
func (s *still) Open(context.Context, engine.Endpoint, engine.Request) (engine.Stream, error) {
	s.at = 0
	return &s.spokenStill, nil
}
func (*spokenStill) Status() int          { return 200 }
func (*spokenStill) Header(string) string { return "application/json" }
func (*spokenStill) Close() error         { return nil }
func (s *spokenStill) Next() (engine.Chunk, error) {
	if s.at++; s.at > 1 {
		return engine.Chunk{}, io.EOF
	}
	return engine.Chunk{Data: stillBody}, nil
}

type nowhere struct{ h http.Header }

func (n nowhere) Header() http.Header       { return n.h }
func (nowhere) WriteHeader(int)             {}
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) Flush() error                { return nil }

// BenchmarkDo is what the flow costs for a request of 1 KB, without HTTP and without an engine.
func BenchmarkDo(b *testing.B) {
	body := []byte(`{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("word ", 200) + `"}]}`)
	for _, replicas := range []int{1, 8} {
		b.Run(fmt.Sprintf("replicas=%d", replicas), func(b *testing.B) {
			r := newRig(b)
			r.route([]*serve.Upstream{own("one", 0, 1, replicas, &still{})}...)
			w := nowhere{http.Header{}}
			call := &Call{Who: r.who, Path: "/v1/chat/completions", Body: body, RequestID: "req_1"}
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Do(context.Background(), w, call); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
