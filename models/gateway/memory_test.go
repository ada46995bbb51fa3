package gateway

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
)

// slowly is an engine whose answer comes in pieces with a pause between.
type slowly struct {
	script
	pieces int
	piece  string
	end    string
}

type piecewise struct {
	*spoken
	of *slowly
	n  int
}

func (s *piecewise) Next() (engine.Chunk, error) {
	time.Sleep(time.Second)
	switch s.n++; {
	case s.n <= s.of.pieces:
		return engine.Chunk{Data: []byte(s.of.piece), Prompt: 5, Completion: 1}, nil
	case s.n == s.of.pieces+1:
		return engine.Chunk{Data: []byte(s.of.end), Prompt: 5, Completion: 2, Done: s.stream}, nil
	}
	return s.spoken.Next()
}

// Answers in one piece share a bound of memory, as they are and translated; what finds none is refused and not billed, and
// everything comes back.
func TestMemoryOfAnswers(t *testing.T) {
	text := strings.Repeat("x", 64<<10)
	whole := &slowly{pieces: 40, piece: text, end: `"}}],"usage":{"prompt_tokens":5,"completion_tokens":2}}`}
	whole.says = []said{{chunks: []engine.Chunk{{Data: []byte(`{"choices":[{"message":{"content":"`)}}}}
	event := "data: {\"choices\":[{\"delta\":{\"content\":\"" + text + "\"}}]}\n\n"
	stream := &slowly{pieces: 40, piece: event, end: "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n"}
	stream.says = []said{{}}
	for name, c := range map[string]struct {
		e    engine.Engine
		kind dialect.Kind
	}{"whole": {chatty{whole}, dialect.Chat}, "translated": {chatty{stream}, dialect.Anthropic}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			const limit = 32 << 20 // of answers of 2.5 MiB, which take up to three times that
			r.Memory = NewMemory(limit)
			r.route([]*serve.Upstream{abroad("one", 0, 1, c.e)}...)
			var served, refused int
			var mu sync.Mutex
			for i := range 20 {
				go func() {
					time.Sleep(time.Duration(i) * time.Millisecond) // so that no two grow at the same moment
					body := `{"model":"m","max_tokens":100,"messages":[{"role":"user","content":"x"}]}`
					w, err := r.run(r.call(c.kind, body, false))
					mu.Lock()
					defer mu.Unlock()
					switch {
					case err == nil && w.body.Len() > 40*len(text):
						served++
					case errors.Is(err, errNoRoom) && fault.As(err).After > 0:
						refused++
					default:
						t.Errorf("%s: %v, %d bytes", name, err, w.body.Len())
					}
				}()
			}
			for range 60 {
				time.Sleep(time.Second)
				if n := r.Memory.Taken(); n > limit || n < 0 {
					t.Fatalf("%s: %d bytes are taken", name, n)
				}
			}
			synctest.Wait()
			if served < 4 || refused == 0 || served+refused != 20 || len(r.booked()) != served || r.Memory.Taken() != 0 {
				t.Errorf("%s: %d served, %d refused, %d booked, %d bytes taken", name, served, refused, len(r.booked()), r.Memory.Taken())
			}
			if n := r.replica("prv_one").breaker.row; n != 0 {
				t.Errorf("%s: the backend is blamed %d times", name, n)
			}
		})
	}
}

// chatty opens its answers piece by piece.
type chatty struct{ *slowly }

func (c chatty) Open(ctx context.Context, to engine.Endpoint, q engine.Request) (engine.Stream, error) {
	s, err := c.script.Open(ctx, to, q)
	if err != nil {
		return nil, err
	}
	return &opening{spoken: s.(*spoken), rest: piecewise{spoken: &spoken{stream: q.Stream}, of: c.slowly}}, nil
}

// opening says what the script says first.
type opening struct {
	*spoken
	rest piecewise
}

func (o *opening) Next() (engine.Chunk, error) {
	if o.at < len(o.chunks) {
		return o.spoken.Next()
	}
	return o.rest.Next()
}
