package capture

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/tenancy/auth"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// shelf is a Store in memory.
type shelf struct {
	consents map[string]Consent
	bodies   map[string]Record
	fail     error
}

func (s *shelf) Consents(context.Context) (list []Consent, err error) {
	for _, c := range s.consents {
		list = append(list, c)
	}
	return list, s.fail
}
func (s *shelf) Consent(_ context.Context, p string) (Consent, error) {
	if c, ok := s.consents[p]; ok {
		return c, nil
	}
	return Consent{}, fault.New(fault.NotFound, "none")
}
func (s *shelf) PutConsent(_ context.Context, c Consent) error {
	s.consents[c.Project] = c
	return nil
}
func (s *shelf) Withdraw(_ context.Context, p string, _ bool) error {
	delete(s.consents, p)
	return nil
}
func (s *shelf) AddBodies(_ context.Context, list []Record) error {
	for _, r := range list {
		if _, ok := s.consents[r.Project]; ok {
			s.bodies[r.Request] = r
		}
	}
	return s.fail
}
func (s *shelf) Bodies(_ context.Context, p, least, below string, limit int) (list []Record, err error) {
	for _, r := range s.bodies {
		if r.Project == p && r.Request >= least && (below == "" || r.Request < below) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Record) int { return cmp.Compare(b.Request, a.Request) })
	return list[:min(limit, len(list))], nil
}
func (s *shelf) Body(_ context.Context, p, request string) (Record, error) {
	if r, ok := s.bodies[request]; ok && r.Project == p {
		return r, nil
	}
	return Record{}, fault.New(fault.NotFound, "none")
}
func (s *shelf) DropBodies(context.Context, time.Time, int64) error { return nil }

func newKeeper(t *testing.T, c Consent) (*Keeper, *shelf) {
	t.Helper()
	s := &shelf{consents: map[string]Consent{}, bodies: map[string]Record{}}
	k := &Keeper{Store: s, Now: func() time.Time { return time.Unix(1_700_000_000, 0).UTC() }, Most: 1 << 20, Log: slog.New(slog.DiscardHandler)}
	c.Project, c.Share = "prj_a", cmp.Or(c.Share, 1)
	if _, err := k.Set(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return k, s
}

var ids = id.Default()

// passes has one request pass, as the gateway would.
func passes(k *Keeper, project string, d dialect.Kind, kind meter.Kind, stream bool, prompt, answer string) string {
	raw := ids.Raw()
	s := &gateway.Sight{Call: &gateway.Call{Who: &auth.Principal{ProjectID: project}, Body: []byte(prompt), Request: raw, RequestID: "req_" + raw.String(), Model: "m", Stream: stream},
		Began: k.Now()}
	k.Begin(s)
	s.Kind, s.Dialect, s.Model, s.Stream, s.Outcome, s.Status, s.Used = kind, d, "m", stream, meter.Finished, 200, meter.Usage{Input: 3, Output: 2}
	s.Answer, s.Whole = []byte(answer[:min(len(answer), s.Keep)]), len(answer) <= s.Keep
	k.End(s)
	return s.Call.RequestID
}

const chatPrompt = `{"model":"m","stream":true,"messages":[{"role":"user","content":"I am ann@example.org"}]}`

// An address that a stream cuts in two is found in every dialect, for the text is put together first.
func TestStreamsArePutTogether(t *testing.T) {
	k, _ := newKeeper(t, Consent{Redact: Classes})
	for _, c := range []struct {
		dialect        dialect.Kind
		kind           meter.Kind
		prompt, answer string
		at             string // of the text in the answer
	}{
		{dialect.Chat, meter.Chat, chatPrompt,
			`data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"mail bob@exam"}}]}` + "\n\n" +
				`data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"ple.org now"},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n",
			"choices.0.message.content"},
		{dialect.Anthropic, meter.Message, `{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"I am ann@example.org"}]}`,
			"event: message_start\ndata: " + `{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":0}}}` + "\n\n" +
				"event: content_block_start\ndata: " + `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}` + "\n\n" +
				"event: content_block_delta\ndata: " + `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"mail bob@exam"}}` + "\n\n" +
				"event: content_block_delta\ndata: " + `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"ple.org now"}}` + "\n\n" +
				"event: content_block_stop\ndata: " + `{"type":"content_block_stop","index":0}` + "\n\n" +
				"event: message_delta\ndata: " + `{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":2}}` + "\n\n" +
				"event: message_stop\ndata: " + `{"type":"message_stop"}` + "\n\n",
			"content.0.text"},
		{dialect.Google, meter.Generate, `{"contents":[{"role":"user","parts":[{"text":"I am ann@example.org"}]}]}`,
			`data: {"candidates":[{"index":0,"content":{"role":"model","parts":[{"text":"mail bob@exam"}]}}]}` + "\r\n\r\n" +
				`data: {"candidates":[{"index":0,"content":{"role":"model","parts":[{"text":"ple.org now"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2}}` + "\r\n\r\n",
			"candidates.0.content.parts.0.text"},
	} {
		req := passes(k, "prj_a", c.dialect, c.kind, true, c.prompt, c.answer)
		k.Flush(t.Context())
		b, err := k.Get(t.Context(), "prj_a", req)
		if err != nil || b.Missing != "" {
			t.Fatalf("%s: %v, missing %q", c.dialect, err, b.Missing)
		}
		if got := gjson.GetBytes(b.Answer, c.at).String(); got != "mail [email] now" {
			t.Errorf("%s: the answer says %q in %s", c.dialect, got, b.Answer)
		}
		if bytes.Contains(b.Prompt, []byte("ann@")) || !bytes.Contains(b.Prompt, []byte("I am [email]")) || b.Redacted[Email] != 2 {
			t.Errorf("%s: %s, redacted %v", c.dialect, b.Prompt, b.Redacted)
		}
	}
}

func TestOnlyWhatWasConsentedTo(t *testing.T) {
	k, s := newKeeper(t, Consent{Most: 1 << 10})
	whole := `{"choices":[{"message":{"content":"hi ann@example.org"}}]}`
	if req := passes(k, "prj_b", dialect.Chat, meter.Chat, false, chatPrompt, whole); len(s.bodies) != 0 {
		t.Error("kept without consent:", req)
	}
	passes(k, "prj_a", dialect.Chat, meter.Embedding, false, `{"model":"m","input":"x"}`, `{"data":[]}`)
	req := passes(k, "prj_a", dialect.Chat, meter.Chat, false, chatPrompt, whole)
	long := passes(k, "prj_a", dialect.Chat, meter.Chat, false, `{"messages":"`+strings.Repeat("x", 1<<10)+`"}`, `"`+strings.Repeat("y", 20<<10)+`"`)
	cut := passes(k, "prj_a", dialect.Chat, meter.Chat, true, chatPrompt, `data: {"id":"a","choices":[{"index":0,"delta":{"content":"half"}}]}`+"\n\n")
	k.Flush(t.Context())
	if len(s.bodies) != 3 {
		t.Errorf("%d were kept of 3", len(s.bodies))
	}
	b, err := k.Get(t.Context(), "prj_a", req)
	if err != nil || string(b.Answer) != whole || string(b.Prompt) != chatPrompt || b.Redacted != nil || b.Input != 3 {
		t.Errorf("without classes nothing is to change: %+v, %v", b, err)
	}
	if b, err := k.Get(t.Context(), "prj_a", long); err != nil || b.Prompt != nil || b.Answer != nil || !strings.Contains(b.Missing, "the request is longer") || !strings.Contains(b.Missing, "the answer is longer") {
		t.Errorf("%+v, %v", b, err)
	}
	if b, err := k.Get(t.Context(), "prj_a", cut); err != nil || gjson.GetBytes(b.Answer, "usage.total_tokens").Int() != 5 || gjson.GetBytes(b.Answer, "choices.0.message.content").String() != "half" || !strings.Contains(b.Missing, "broke off") {
		t.Errorf("%s, missing %q, %v", b.Answer, b.Missing, err)
	}
	if _, err := k.Get(t.Context(), "prj_b", req); !fault.Is(err, fault.NotFound) {
		t.Error("another project reads it:", err)
	}
	list, err := k.List(t.Context(), "prj_a", time.Time{}, time.Time{}, page.Page{Limit: 2})
	if err != nil || len(list) != 2 || list[0].Request < list[1].Request {
		t.Errorf("%d listed, %v", len(list), err)
	}
	rest, err := k.List(t.Context(), "prj_a", time.Time{}, time.Time{}, page.Page{Limit: 2, After: page.Key{list[1].Request}})
	if err != nil || len(rest) != 1 || rest[0].Request >= list[1].Request {
		t.Errorf("%+v, %v", rest, err)
	}

	// What is over is gone, before anybody has swept it.
	over := s.bodies[list[0].Request]
	fresh := over.Until
	over.Until = k.Now()
	s.bodies[list[0].Request] = over
	if _, err := k.Get(t.Context(), "prj_a", list[0].Request); !fault.Is(err, fault.NotFound) {
		t.Error("read after its time:", err)
	}
	if left, err := k.List(t.Context(), "prj_a", time.Time{}, time.Time{}, page.Page{Limit: 2}); err != nil || len(left) != 2 || left[0].Request != list[1].Request {
		t.Errorf("%d listed, %v", len(left), err)
	}
	over.Until = fresh
	s.bodies[list[0].Request] = over

	// What waits when the consent is withdrawn is not stored.
	late := passes(k, "prj_a", dialect.Chat, meter.Chat, false, chatPrompt, whole)
	if err := k.Withdraw(t.Context(), "prj_a", false); err != nil {
		t.Fatal(err)
	}
	after := passes(k, "prj_a", dialect.Chat, meter.Chat, false, chatPrompt, whole)
	k.Flush(t.Context())
	for _, r := range []string{late, after} {
		if _, ok := s.bodies[r]; ok {
			t.Error("kept after the consent was withdrawn")
		}
	}
}

func TestShare(t *testing.T) {
	k, s := newKeeper(t, Consent{Share: 0.25})
	for range 800 {
		passes(k, "prj_a", dialect.Chat, meter.Chat, false, chatPrompt, `{}`)
	}
	k.Flush(t.Context())
	if n := len(s.bodies); n < 130 || n > 270 { // 200, five standard deviations of 12.2 and some
		t.Errorf("%d of 800 were kept of a quarter", n)
	}
}

// When what the projects want cannot be read, nothing is kept.
func TestUnknownConsentIsNone(t *testing.T) {
	k, s := newKeeper(t, Consent{})
	s.fail = errors.New("away")
	if k.Refresh(t.Context()) == nil {
		t.Fatal("no error")
	}
	k.again(t.Context())
	passes(k, "prj_a", dialect.Chat, meter.Chat, false, chatPrompt, `{}`)
	if len(k.queue) != 0 {
		t.Error("kept though nobody knows whether it may be")
	}
}

func TestBoundedQueue(t *testing.T) {
	k, s := newKeeper(t, Consent{Most: MaxMost})
	big, err := json.Marshal(strings.Repeat("x", MaxMost-100))
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		passes(k, "prj_a", dialect.Chat, meter.Chat, false, string(big), `{}`)
	}
	if n := k.waiting.Load(); n > queueBytes || k.dropped.Load() == 0 {
		t.Errorf("%d bytes wait, %d dropped", n, k.dropped.Load())
	}
	k.Flush(t.Context())
	if int64(len(s.bodies))+k.dropped.Load() != 200 || k.waiting.Load() != 0 {
		t.Errorf("%d kept, %d dropped, %d bytes wait", len(s.bodies), k.dropped.Load(), k.waiting.Load())
	}
}

func TestConsentsAreChecked(t *testing.T) {
	k, _ := newKeeper(t, Consent{})
	for field, c := range map[string]Consent{
		"share":  {Share: 1.5},
		"most":   {Share: 1, Most: 2 << 20},
		"keep":   {Share: 1, Keep: time.Minute},
		"redact": {Share: 1, Redact: []Class{"names"}},
	} {
		if _, err := k.Set(t.Context(), c); fault.As(err).Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}
