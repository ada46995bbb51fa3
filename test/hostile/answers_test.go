package hostile

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// hugeText is what one huge answer says.
const hugeText = 16 << 20

// huge is a good answer of an unreasonable size.
func (s *script) huge() {
	part := strings.Repeat("x", 1<<20)
	if s.streamed {
		s.stream()
		for range hugeText >> 20 {
			s.say(event(`"content":"`+part+`"`, "null"))
		}
		s.say(s.v.end("4", "3", "0"))
		return
	}
	s.say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + `{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"`)
	for range hugeText >> 20 {
		s.say(part)
	}
	s.say(`"},"finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":3,"total_tokens":7}}`)
}

// whole are ways to ask for an answer in one piece: as the provider gives it, and translated.
var whole = []dialect{dialects[1], {name: "messages in one piece", path: "/v1/messages",
	body: `{"model":"MODEL","max_tokens":MOST,"messages":[{"role":"user","content":"How are you?"}]}`}}

// Many huge answers at once, as they are and translated, take no more memory than limits.answers lets them: those without room
// are refused in their dialect and not billed, the others are whole.
func TestManyHugeAnswers(t *testing.T) {
	t.Parallel()
	const room = 64 << 20
	p := newPlace(t, "TRIARCH_LIMITS_ANSWERS=67108864")
	p.route("huge")
	p.well()
	before := p.memory()
	k := p.key("huge")
	var all sync.WaitGroup
	var mu sync.Mutex
	served, refused := 0, 0
	for i := range 16 {
		d := whole[i%len(whole)]
		all.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), "POST", p.url+strings.ReplaceAll(d.path, "MODEL", "huge"), strings.NewReader(d.request("huge", 100)))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Authorization", "Bearer "+k.Key)
			resp, err := p.client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			var said bytes.Buffer
			_, _ = io.CopyN(&said, resp.Body, 1000)
			n, err := io.Copy(io.Discard, resp.Body)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && resp.StatusCode == 200 && n > hugeText-1000:
				served++
			case (resp.StatusCode == 503 || resp.StatusCode == 529) && strings.Contains(said.String(), "memory for answers in one piece") && resp.Header.Get("Retry-After") != "":
				refused++
			default:
				t.Errorf("%s: %d, %d bytes, %v: %s", d.name, resp.StatusCode, n, err, said.String())
			}
		})
	}
	all.Wait()
	p.within("huge answers at once", before+4*room)
	t.Logf("%d were served, %d refused", served, refused)
	if u := p.used(k); served == 0 || refused == 0 || u.Requests != int64(served) || u.CompletionTokens != int64(3*served) {
		t.Errorf("%d were served, %d refused, billed %+v", served, refused, u)
	}
	p.well()
	p.reconcile()
}
