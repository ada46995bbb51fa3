package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/api/openai"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/models/kept"
	"github.com/triarch-ai/triarch/models/serve"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// Paths of the dialects that are not OpenAI's.
const (
	messagesPath     = "/v1/messages"
	countPath        = messagesPath + "/count_tokens"
	googleModelsPath = "/v1beta/models"
)

// asked is a request whose endpoint and caller are known.
type asked struct {
	who  *auth.Principal
	raw  id.Raw
	rid  string
	name string // what stands for the braces of the pattern
}

// place is an endpoint of the model API and what answers it. Its pattern has at most one name in braces.
type place struct {
	Endpoint
	before, after string
	named         bool
	answer        func(*OpenAI, *sink, *http.Request, *asked) error
}

// places are the endpoints beside chat and text completions, which route knows by itself.
var places = []place{
	at("GET", openai.ModelsPath, (*OpenAI).list),
	at("GET", openai.ModelsPath+"/{model}", (*OpenAI).show),
	at("POST", openai.ResponsesPath, (*OpenAI).respond),
	at("GET", openai.ResponsesPath+"/{response}", (*OpenAI).showResponse),
	at("DELETE", openai.ResponsesPath+"/{response}", (*OpenAI).removeResponse),
	at("GET", openai.ResponsesPath+"/{response}/input_items", (*OpenAI).listItems),
	at("POST", openai.EmbeddingsPath, (*OpenAI).pass),
	at("POST", openai.RerankPath, (*OpenAI).pass),
	at("POST", openai.ModerationPath, (*OpenAI).moderate),
	at("POST", openai.FilesPath, (*OpenAI).addFile),
	at("GET", openai.FilesPath, (*OpenAI).listFiles),
	at("GET", openai.FilesPath+"/{file}", (*OpenAI).showFile),
	at("GET", openai.FilesPath+"/{file}/content", (*OpenAI).readFile),
	at("DELETE", openai.FilesPath+"/{file}", (*OpenAI).removeFile),
	at("POST", messagesPath, (*OpenAI).converse),
	at("POST", countPath, (*OpenAI).converse),
	at("GET", googleModelsPath, (*OpenAI).list),
	at("GET", googleModelsPath+"/{model}", (*OpenAI).show),
	at("POST", googleModelsPath+"/{model}", (*OpenAI).google),
}

func at(method, pattern string, answer func(*OpenAI, *sink, *http.Request, *asked) error) place {
	p := place{Endpoint: line(method, pattern), before: pattern, answer: answer}
	if before, rest, named := strings.Cut(pattern, "{"); named {
		_, after, _ := strings.Cut(rest, "}")
		p.before, p.after, p.named = before, after, true
	}
	return p
}

// match says whether a path is the place's, and which name it has. Names of models may have slashes.
func (p *place) match(path string) (name string, ok bool) {
	if !p.named {
		return "", path == p.before
	}
	rest, ok := strings.CutPrefix(path, p.before)
	if !ok {
		return "", false
	}
	name, ok = strings.CutSuffix(rest, p.after)
	slashes := strings.HasSuffix(p.Pattern, "/{model}")
	return name, ok && name != "" && (slashes || !strings.Contains(name, "/"))
}

// locate finds what a request asks for; the error says that there is nothing, or nothing by this method.
func locate(w *sink, r *http.Request) (*place, string, error) {
	var allowed []string
	for i := range places {
		p := &places[i]
		name, ok := p.match(r.URL.Path)
		if ok && p.Method == r.Method {
			return p, name, nil
		}
		if ok && !slices.Contains(allowed, p.Method) {
			allowed = append(allowed, p.Method)
		}
	}
	if len(allowed) > 0 {
		return nil, "", wrongMethod(w, r.URL.Path, strings.Join(allowed, ", "))
	}
	return nil, "", fault.New(fault.NotFound, "There is no "+clip(r.URL.Path)+" in this API.", fault.Code("unknown_url"))
}

func wrongMethod(w *sink, path, allowed string) error {
	w.Header().Set("Allow", allowed)
	return withStatus{http.StatusMethodNotAllowed, fault.New(fault.Invalid, clip(path)+" takes the method "+allowed+".", fault.Code("method_not_allowed"))}
}

// withStatus is a refusal whose status has no kind of its own.
type withStatus struct {
	status int
	cause  *fault.Error
}

func (e withStatus) Error() string { return e.cause.Error() }
func (e withStatus) Unwrap() error { return e.cause }

// faceOf is the dialect that whoever asks for this reads, errors above all.
func faceOf(r *http.Request) dialect.Kind {
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/v1beta/"):
		return dialect.Google
	case path == messagesPath || strings.HasPrefix(path, messagesPath+"/") || r.Header.Get("Anthropic-Version") != "":
		return dialect.Anthropic
	}
	return dialect.Chat
}

// secretOf is the key of a request, wherever its dialect puts it.
func secretOf(r *http.Request) string {
	if s := bearer(r); s != "" {
		return s
	}
	for _, name := range [...]string{"X-Api-Key", "X-Goog-Api-Key"} {
		if s := r.Header.Get(name); s != "" {
			return s
		}
	}
	if r.URL.RawQuery != "" && strings.HasPrefix(r.URL.Path, "/v1beta/") {
		return r.URL.Query().Get("key")
	}
	return ""
}

// call is what the gateway is asked, but for the body.
func (a *asked) call(path string, k dialect.Kind) *gateway.Call {
	return &gateway.Call{Who: a.who, Path: path, Request: a.raw, RequestID: a.rid, Dialect: k}
}

// pass is a request in the dialect of engines.
func (o *OpenAI) pass(w *sink, r *http.Request, a *asked) error {
	return o.complete(w, r, a.call(r.URL.Path, ""), (*OpenAI).run)
}

// converse is a request of Anthropic's messages, or for its tokens.
func (o *OpenAI) converse(w *sink, r *http.Request, a *asked) error {
	c := a.call(messagesPath, dialect.Anthropic)
	if r.URL.Path == countPath {
		c.Counts = true
		return o.complete(w, r, c, (*OpenAI).count)
	}
	return o.complete(w, r, c, (*OpenAI).run)
}

// google is a method of one of Google's models.
func (o *OpenAI) google(w *sink, r *http.Request, a *asked) error {
	model, method, ok := dialect.ParseGooglePath(a.name)
	if !ok {
		return fault.New(fault.NotFound, "There is no "+clip(r.URL.Path)+" in this API.", fault.Code("unknown_url"))
	}
	c := a.call("", dialect.Google)
	c.Model = model
	switch method {
	case dialect.GoogleStream:
		c.Stream, c.Array = true, r.URL.Query().Get("alt") != "sse"
	case dialect.GoogleCount:
		c.Counts = true
		return o.complete(w, r, c, (*OpenAI).count)
	case dialect.GoogleEmbed, dialect.GoogleEmbedBatch:
		c.Path = openai.EmbeddingsPath
	}
	return o.complete(w, r, c, (*OpenAI).run)
}

// count answers how many tokens a request has.
func (o *OpenAI) count(w *sink, r *http.Request, c *gateway.Call) error {
	if err := o.Intake.enter(); err != nil {
		return err
	}
	defer o.Intake.leave()
	if dialect.NamesFiles(c.Body) {
		held, err := o.withFiles(r.Context(), c)
		defer func() { _ = o.Intake.hold(-held) }()
		if err != nil {
			return err
		}
	}
	if inner := gjson.GetBytes(c.Body, "generateContentRequest"); c.Dialect == dialect.Google && inner.IsObject() {
		c.Body = []byte(inner.Raw)
	}
	n, err := o.Gateway.Count(r.Context(), c)
	if err != nil {
		return err
	}
	if c.Dialect == dialect.Google {
		return send(w, dialect.GoogleCountAnswer(int64(n)))
	}
	return send(w, dialect.CountAnswer(int64(n)))
}

// moderate has texts judged by the guard of a route.
func (o *OpenAI) moderate(w *sink, r *http.Request, a *asked) error {
	return o.complete(w, r, a.call(openai.ModerationPath, ""), (*OpenAI).judge)
}

func (o *OpenAI) judge(w *sink, r *http.Request, c *gateway.Call) error {
	if err := o.Intake.enter(); err != nil {
		return err
	}
	defer o.Intake.leave()
	told(c, r.Header)
	answer, err := o.Gateway.Moderate(r.Context(), c)
	if errors.Is(err, gateway.ErrNoGuard) {
		return withStatus{http.StatusNotImplemented, gateway.ErrNoGuard}
	}
	if err != nil {
		return err
	}
	return send(w, answer)
}

// respond runs a request of the responses API: with the items of the conversation that it goes on from, and keeping its
// answer for those that go on from it.
func (o *OpenAI) respond(w *sink, r *http.Request, a *asked) error {
	return o.complete(w, r, a.call(openai.ResponsesPath, dialect.Responses), (*OpenAI).goOn)
}

// keepTime is how long keeping an answer may take, once it is there.
const keepTime = 10 * time.Second

func (o *OpenAI) goOn(w *sink, r *http.Request, c *gateway.Call) error {
	previous := gjson.GetBytes(c.Body, "previous_response_id").String()
	stored := gjson.GetBytes(c.Body, "store")
	if previous != "" {
		if o.Kept == nil {
			return errNothingKept
		}
		var err error
		if c.Earlier, err = o.Kept.Earlier(r.Context(), c.Who.ProjectID, previous); err != nil {
			return err
		}
		n := len(c.Earlier) // which withFiles may replace
		if err := o.Intake.hold(n); err != nil {
			return err
		}
		defer func() { _ = o.Intake.hold(-n) }()
	}
	if o.Kept != nil && (stored.Type == gjson.Null || stored.Bool()) {
		asked := c.Body // which names files, and does not have them
		c.Keep = func(answer []byte) error {
			o.keep(r.Context(), c, asked, previous, answer)
			return nil
		}
	}
	return o.run(w, r, c)
}

// keep stores an answer. Where it cannot be stored, the caller gets it all the same: it is made and paid for, and who
// goes on from it is told that it is not here.
func (o *OpenAI) keep(ctx context.Context, c *gateway.Call, asked []byte, previous string, answer []byte) {
	input, err := dialect.Items(asked)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTime)
		defer cancel()
		err = o.Kept.KeepResponse(ctx, kept.Response{ID: gjson.GetBytes(answer, "id").String(), Project: c.Who.ProjectID, Previous: previous, Input: input, Answer: answer})
	}
	if err != nil {
		o.Log.Warn("model API: a response could not be kept", "request", c.RequestID, "error", err)
	}
}

var errNothingKept = withStatus{http.StatusNotImplemented, fault.New(fault.Unsupported, "Nothing is kept here.", fault.Code("not_implemented"))}

func (o *OpenAI) showResponse(w *sink, r *http.Request, a *asked) error {
	if o.Kept == nil {
		return errNothingKept
	}
	kept, err := o.Kept.Response(r.Context(), a.who.ProjectID, a.name)
	if err != nil {
		return err
	}
	return send(w, kept.Answer)
}

func (o *OpenAI) removeResponse(w *sink, r *http.Request, a *asked) error {
	if o.Kept == nil {
		return errNothingKept
	}
	if err := o.Kept.RemoveResponse(r.Context(), a.who.ProjectID, a.name); err != nil {
		return err
	}
	return reply(w, deleted{a.name, "response", true})
}

// listItems are the items of a response's own request.
func (o *OpenAI) listItems(w *sink, r *http.Request, a *asked) error {
	if o.Kept == nil {
		return errNothingKept
	}
	kept, err := o.Kept.Response(r.Context(), a.who.ProjectID, a.name)
	if err != nil {
		return err
	}
	return reply(w, struct {
		Object  string          `json:"object"`
		Data    json.RawMessage `json:"data"`
		HasMore bool            `json:"has_more"`
	}{"list", kept.Input, false})
}

// deleted says that something is no more.
type deleted struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Deleted bool   `json:"deleted"`
}

// list are the models that a caller can use, in its dialect.
func (o *OpenAI) list(w *sink, _ *http.Request, a *asked) error {
	models := o.Gateway.Models(a.who)
	switch w.face {
	case dialect.Anthropic:
		out := anthropicModels{Data: []anthropicModel{}}
		for _, t := range models {
			out.Data = append(out.Data, anthropicModelOf(t))
		}
		if n := len(out.Data); n > 0 {
			out.FirstID, out.LastID = &out.Data[0].ID, &out.Data[n-1].ID
		}
		return reply(w, out)
	case dialect.Google:
		out := googleModels{Models: []googleModel{}}
		for _, t := range models {
			out.Models = append(out.Models, googleModelOf(t))
		}
		return reply(w, out)
	}
	out := openai.ModelList{Object: "list", Data: []openai.Model{}}
	for _, t := range models {
		out.Data = append(out.Data, modelOf(t))
	}
	return reply(w, out)
}

func (o *OpenAI) show(w *sink, _ *http.Request, a *asked) error {
	t, ok := o.Gateway.Model(a.who, a.name)
	if !ok || !t.Serves() {
		return fault.New(fault.NotFound, "The model `"+clip(a.name)+"` does not exist or you do not have access to it.",
			fault.Code("model_not_found"), fault.Field("model"))
	}
	switch w.face {
	case dialect.Anthropic:
		return reply(w, anthropicModelOf(t))
	case dialect.Google:
		return reply(w, googleModelOf(t))
	}
	return reply(w, modelOf(t))
}

// The lists of models of the other dialects.
type (
	anthropicModel struct {
		Type        string `json:"type"` // "model"
		ID          string `json:"id"`
		DisplayName string `json:"display_name"`
		CreatedAt   string `json:"created_at"` // RFC 3339
	}
	anthropicModels struct {
		Data    []anthropicModel `json:"data"`
		HasMore bool             `json:"has_more"`
		FirstID *string          `json:"first_id"`
		LastID  *string          `json:"last_id"`
	}
	googleModel struct {
		Name        string   `json:"name"` // models/...
		Version     string   `json:"version"`
		DisplayName string   `json:"displayName"`
		InputLimit  int      `json:"inputTokenLimit,omitempty"`
		OutputLimit int      `json:"outputTokenLimit,omitempty"`
		Methods     []string `json:"supportedGenerationMethods"`
	}
	googleModels struct {
		Models []googleModel `json:"models"`
	}
)

func anthropicModelOf(t *serve.Target) anthropicModel {
	return anthropicModel{"model", t.Route.Name, t.Route.Name, t.Route.CreatedAt.UTC().Format(time.RFC3339)}
}

func googleModelOf(t *serve.Target) googleModel {
	return googleModel{Name: "models/" + t.Route.Name, Version: "1", DisplayName: t.Route.Name, InputLimit: t.Context(), OutputLimit: t.Context(),
		Methods: []string{dialect.GoogleWhole, dialect.GoogleStream, dialect.GoogleCount, dialect.GoogleEmbed}}
}
