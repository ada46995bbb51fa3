package gateway

import (
	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/engine"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// far is what a request needs that is not of the dialect of engines, or that they answer in one piece with no text in
// it. Ordinary chat and text completions have none.
type far struct {
	kind    dialect.Kind // of the caller
	scanned *dialect.Scanned
	request *dialect.Request      // taken apart once a backend speaks another dialect
	vectors *dialect.EmbedRequest // of embeddings, where a codec stands between
	batch   bool                  // those in Google's form, several at once
	via     dialect.Kind          // what the backend that is asked speaks, where a codec stands between; else empty
	dropped []string              // fields that it cannot be told
}

// read takes what the flow needs from the caller's bytes.
func (f *flight) read() (err error) {
	c := f.call
	switch {
	case c.Dialect == "" || c.Path == openai.EmbeddingsPath || c.Path == openai.RerankPath:
		return f.plain()
	default:
		f.far = &far{kind: c.Dialect}
		s, err := dialect.Scan(c.Dialect, c.Body, f.said())
		if err != nil {
			return err
		}
		f.far.scanned = s
		f.fields = fields{model: s.Model, stream: s.Stream, usage: true, choices: int(s.Choices), prompts: int(s.Prompts), output: int(min(s.Output, maxOutput)), tier: s.Tier}
	}
	return f.named()
}

// plain reads a request in the dialect of engines, and what Google's clients send to have texts embedded.
func (f *flight) plain() (err error) {
	c := f.call
	if c.Dialect == dialect.Google {
		f.far = &far{kind: c.Dialect}
		if f.far.vectors, f.far.batch, err = dialect.ParseGoogleEmbed(c.Body, c.Model); err != nil {
			return err
		}
		f.fields = fields{model: c.Model, choices: 1, prompts: 1}
		return f.named()
	}
	if f.fields, err = readFields(c.Body); err != nil {
		return err
	}
	switch {
	case c.Path == openai.RerankPath || c.Path == openai.EmbeddingsPath:
		f.far = &far{kind: dialect.Chat}
		f.fields.stream = false
	}
	return nil
}

// named bounds the model's name.
func (f *flight) named() error {
	switch {
	case f.fields.model == "":
		return fault.New(fault.Invalid, "The request names no model.", fault.Field("model"), fault.Code("missing_required_parameter"),
			fault.Fix("Set model to one of the names that the list of models has."))
	case len(f.fields.model) > maxName:
		return notFound(f.fields.model[:maxName] + "...")
	}
	return nil
}

// said is what stands outside of the body.
func (f *flight) said() dialect.Call {
	return dialect.Call{Model: f.call.Model, Stream: f.call.Stream, Count: f.call.Counts, Earlier: f.call.Earlier}
}

// parsed takes the caller's request apart, once.
func (f *flight) parsed() (*dialect.Request, error) {
	if f.far.request == nil {
		r, err := dialect.ParseRequest(f.far.kind, f.call.Body, f.said())
		if err != nil {
			return nil, err
		}
		f.far.request = r
	}
	return f.far.request, nil
}

// caller is the dialect that the caller reads.
func (f *flight) caller() dialect.Kind {
	switch {
	case f.far != nil:
		return f.far.kind
	case f.call.Path == openai.CompletionPath:
		return dialect.Completions
	}
	return dialect.Chat
}

// foreign says whether the caller's dialect is not OpenAI's.
func (f *flight) foreign() bool {
	return f.far != nil && (f.far.kind == dialect.Anthropic || f.far.kind == dialect.Google)
}

// conversing says whether the request is for a text, not for vectors or ranks.
func (f *flight) conversing() bool {
	return f.call.Path != openai.EmbeddingsPath && f.call.Path != openai.RerankPath
}

// alike says whether the backend takes the request, and answers it, in the caller's own bytes.
func (f *flight) alike(u *serve.Upstream) bool {
	switch kind := f.caller(); {
	case kind == dialect.Google && f.call.Array:
		return false
	case !f.conversing():
		return kind != dialect.Google && openAIs(u)
	case kind == dialect.Responses:
		return u.Responses
	case kind == dialect.Anthropic:
		return u.Dialect == engine.Anthropic
	case kind == dialect.Google:
		return u.Dialect == engine.Google
	}
	return u.Dialect == engine.OpenAI
}

// openAIs says whether the backend has what OpenAI's API has beside conversations.
func openAIs(u *serve.Upstream) bool {
	return u.Dialect == engine.OpenAI || u.Dialect == engine.Responses
}

// tongue is what a backend converses in.
func tongue(u *serve.Upstream) dialect.Kind {
	switch u.Dialect {
	case engine.Responses:
		return dialect.Responses
	case engine.Anthropic:
		return dialect.Anthropic
	case engine.Google:
		return dialect.Google
	}
	return dialect.Chat
}

// request is what a backend is asked: the caller's bytes with a few values replaced, or what a codec makes of them, which
// is always asked for as a stream, so that it can be cut and billed on its way.
func (f *flight) request(u *serve.Upstream) (q engine.Request, err error) {
	q = engine.Request{Path: f.call.Path, RequestID: f.call.RequestID, Scope: f.call.Who.ProjectID, Stream: f.fields.stream, Usage: f.fields.usage}
	if f.far != nil {
		f.far.via, f.far.dropped = "", nil
	}
	switch {
	case f.joins(u):
		return f.streaming(u, q)
	case f.alike(u):
		if f.far == nil || f.far.scanned == nil {
			q.Body, err = f.bodyFor(u)
			return q, err
		}
		return f.edited(u, q)
	case !f.conversing():
		return f.embedding(u, q)
	}
	return f.translated(u, q)
}

// name is what a backend knows the model by.
func (f *flight) name(u *serve.Upstream) string {
	if u.Name != "" {
		return u.Name
	}
	return f.fields.model
}

// embedding is a request for vectors in the backend's dialect.
func (f *flight) embedding(u *serve.Upstream, q engine.Request) (engine.Request, error) {
	if f.far.vectors == nil {
		r, err := dialect.ParseEmbed(f.call.Body)
		if err != nil {
			return q, err
		}
		f.far.vectors = r
	}
	e := *f.far.vectors
	e.Model = f.name(u)
	var err error
	if u.Dialect == engine.Google {
		f.far.via = dialect.Google
		if q.Path, err = dialect.GoogleBatchPath(e.Model); err != nil {
			return q, err
		}
		q.Path = "/v1beta" + q.Path
		q.Body, f.far.dropped, err = dialect.WriteGoogleEmbed(&e)
		return q, err
	}
	f.far.via = dialect.Chat
	q.Path = openai.EmbeddingsPath
	q.Body, err = dialect.WriteEmbed(&e)
	return q, err
}

// edited is a request in a dialect that both sides speak and that is not OpenAI's chat. A response goes on from what is
// kept here, whatever its provider keeps.
func (f *flight) edited(u *serve.Upstream, q engine.Request) (_ engine.Request, err error) {
	e := dialect.Edit{}
	if name := f.name(u); name != f.fields.model {
		e.Model = name
	}
	if f.res != nil && f.res.Cut {
		e.Output = int64(f.res.Output)
	}
	e.Stream = q.Stream && !f.fields.stream
	if f.far.kind == dialect.Responses {
		if err := f.far.scanned.Leans(f.call.Body); err != nil {
			return q, err
		}
		if f.far.scanned.Previous != "" {
			if e.Input, err = dialect.Continued(f.call.Earlier, f.call.Body); err != nil {
				return q, err
			}
		}
	}
	q.Body = f.call.Body
	q.Path, err = conversePath(f.far.kind, f.name(u), q.Stream)
	if e.Model != "" || e.Output > 0 || e.Input != nil || e.Stream {
		q.Body = e.Apply(f.far.kind, f.call.Body, f.far.scanned)
	}
	return q, err
}

// translated is a request in the backend's dialect, which is not the caller's.
func (f *flight) translated(u *serve.Upstream, q engine.Request) (engine.Request, error) {
	if f.far == nil {
		f.far = &far{kind: f.caller()}
	}
	r, err := f.parsed()
	if err != nil {
		return q, err
	}
	told := *r
	told.Model, told.Stream, told.Usage = f.name(u), true, true
	if f.res != nil && f.res.Cut {
		bound := int64(f.res.Output)
		told.MaxTokens = &bound
	}
	q.Stream, q.Usage = true, true
	if q.Path, err = conversePath(tongue(u), told.Model, true); err != nil {
		return q, err
	}
	q.Body, f.far.dropped, err = dialect.WriteRequest(tongue(u), &told)
	f.far.via = tongue(u)
	return q, err
}

// conversePath is where a dialect's conversations are asked for.
func conversePath(k dialect.Kind, model string, stream bool) (string, error) {
	switch k {
	case dialect.Responses:
		return openai.ResponsesPath, nil
	case dialect.Anthropic:
		return "/v1/messages", nil
	case dialect.Google:
		path, err := dialect.GooglePath(model, stream)
		return "/v1beta" + path, err
	}
	return openai.ChatPath, nil
}

// head is what the caller is told of the answer in place of what the backend says.
func (f *flight) head() dialect.Head {
	return dialect.Head{ID: f.call.Request.String(), Model: f.fields.model, Created: f.began.Unix(), Array: f.call.Array}
}

// metered is a dialect's usage as it is billed.
func metered(u dialect.Usage) meter.Usage {
	return meter.Usage{Input: u.Input, Cached: u.CachedInput, Output: u.Output, Reasoning: u.Reasoning}
}

// kindOf is what a call is booked as.
func (f *flight) kind() meter.Kind {
	switch f.call.Path {
	case openai.CompletionPath:
		return meter.Completion
	case openai.EmbeddingsPath:
		return meter.Embedding
	case openai.RerankPath:
		return meter.Rerank
	}
	switch f.call.Dialect {
	case dialect.Responses:
		return meter.Response
	case dialect.Anthropic:
		return meter.Message
	case dialect.Google:
		return meter.Generate
	}
	return meter.Chat
}
