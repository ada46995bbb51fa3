package gateway

import (
	"context"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
)

// countable is the request as engines of this installation count it.
func (f *flight) countable() (path string, body []byte, err error) {
	if f.far == nil {
		return f.call.Path, f.call.Body, nil
	}
	r, err := f.parsed()
	if err != nil {
		return "", nil, err
	}
	body, _, err = dialect.WriteRequest(dialect.Chat, r)
	return openai.ChatPath, body, err
}

// Count is how many tokens a request has, by an engine that can tell without serving it: one of this installation, or a
// provider of the caller's dialect. It counts as a request and costs nothing.
func (g *Gateway) Count(ctx context.Context, call *Call) (int, error) {
	f := &flight{Gateway: g, call: call, began: g.Now()}
	if over := g.Quota.Count(ctx, call.Who); over != nil {
		return 0, over
	}
	err := f.read()
	if err == nil {
		f.target, err = g.resolve(call.Who, f.fields.model)
	}
	if err != nil {
		return 0, err
	}
	failure := error(fault.New(fault.Unsupported, "What serves the model `"+f.fields.model+"` cannot count tokens.", fault.Code("unsupported_endpoint"), fault.Field("model")))
	for _, u := range f.target.Backends {
		n, err := 0, error(nil)
		if c, ok := u.Engine.(engine.Counter); ok && len(u.Endpoints) > 0 {
			n, err = f.count(ctx, u, c)
		} else if f.alike(u) && (f.far.kind == dialect.Anthropic || f.far.kind == dialect.Google) && len(u.Endpoints) > 0 {
			n, err = f.countOutside(ctx, u)
		} else {
			continue
		}
		if err == nil || !fault.Is(err, fault.Unavailable) {
			return n, err
		}
		failure = err
	}
	return 0, failure
}

// countOutside asks a provider of the caller's own dialect.
func (f *flight) countOutside(ctx context.Context, u *serve.Upstream) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	q, err := f.request(u)
	if err != nil {
		return 0, err
	}
	q.Path += "/count_tokens"
	answer := "input_tokens"
	if f.far.kind == dialect.Google {
		q.Path, answer = strings.TrimSuffix(q.Path, "/count_tokens"), "totalTokens"
		q.Path = strings.TrimSuffix(q.Path, ":generateContent") + ":countTokens"
	}
	s, err := u.Engine.Open(ctx, u.Endpoints[0], q)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	defer f.release()
	body, err := f.collect(s, nil, maxErrorBody)
	if err != nil {
		return 0, brokeOff(err)
	}
	if s.Status() != http.StatusOK {
		return 0, dialect.ParseError(f.far.kind, s.Status(), body)
	}
	n := gjson.GetBytes(body, answer)
	if n.Type != gjson.Number || n.Int() < 0 || n.Int() > maxOutput {
		return 0, fault.New(fault.Unavailable, "The provider did not count the tokens.", fault.Code("not_counted"))
	}
	return int(n.Int()), nil
}
