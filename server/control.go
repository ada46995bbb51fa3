package server

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/tenancy"
	"github.com/triarch-ai/triarch/tenancy/auth"
)

// adapter puts huma's operations behind the table of endpoints.
type adapter struct{ s *Server }

// Handle implements huma.Adapter.
func (a adapter) Handle(op *huma.Operation, handler func(huma.Context)) {
	a.s.handle(op.Method, op.Path, a.s.fail, func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{w: w, r: r}
		r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
		handler(humago.NewContext(op, r, w))
		if x.up != nil {
			x.up.done()
		}
	})
}

// exchange is the request and response that huma hides, for handlers that stream.
type exchange struct {
	w  http.ResponseWriter
	r  *http.Request
	up *upload // set by uploaded
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	return ctx.Value(exchangeKey{}).(*exchange) //nolint:forcetypeassert // the adapter puts it there for every operation
}

// ServeHTTP implements huma.Adapter.
func (a adapter) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.s.mux.ServeHTTP(w, r) }

// problemError carries a problem through huma.
type problemError struct{ *api.Problem }

// Error implements error.
func (p problemError) Error() string { return p.Message }

// GetStatus implements huma.StatusError.
func (p problemError) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p problemError) ContentType(string) string { return "application/problem+json" }

// MarshalJSON writes the problem itself.
func (p problemError) MarshalJSON() ([]byte, error) { return json.Marshal(p.Problem) }

// Schema gives the document the problem's schema in place of the wrapper's.
func (problemError) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(problemType, true, "Problem")
}

// humaErrors makes huma's own complaints about a request problems like all others. Huma offers only a package
// variable for it.
var humaErrors = sync.OnceFunc(func() {
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		p := complaint(status, msg, errs)
		if ctx != nil {
			p.RequestID = requestID(ctx.Context())
		}
		return problemError{p}
	}
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return problemError{complaint(status, msg, errs)}
	}
})

// complaint turns what huma found wrong with a request into a problem that names the first wrong field.
func complaint(status int, msg string, errs []error) *api.Problem {
	kind, field, text := fault.Invalid, "", "The request is wrong: "+msg+"."
	switch status {
	case http.StatusInternalServerError:
		kind, text = fault.Internal, wentWrong
	case http.StatusRequestEntityTooLarge:
		kind = fault.TooLarge
	}
	for _, err := range errs {
		d, ok := err.(huma.ErrorDetailer)
		if !ok || d.ErrorDetail().Message == "" {
			continue
		}
		field = bare(d.ErrorDetail().Location)
		text = "The request is wrong: " + strings.TrimRight(d.ErrorDetail().Message, ".")
		if field != "" {
			text += " (" + field + ")"
		}
		text += "."
		break
	}
	return api.NewProblem(fault.New(kind, text, fault.Field(field)), "")
}

// bare is a location of huma's without the part of the request it lies in.
func bare(location string) string {
	for _, p := range []string{"body.", "query.", "path.", "header."} {
		if rest, ok := strings.CutPrefix(location, p); ok {
			return rest
		}
	}
	if location == "body" {
		return ""
	}
	return location
}

// mountControl registers every operation of the control API.
func (s *Server) mountControl() {
	humaErrors()
	s.huma = huma.NewAPI(humaConfig(s.Info.Version), adapter{s})
	s.tenancyOps()
	s.dataOps()
	s.runOps()
	s.modelOps()
	s.pullOps()
	s.serveOps()
	s.providerOps()
	s.requestOps()
	s.usageOps()
	s.computeOps()
	s.estimateOps()
	documentForms(s.huma.OpenAPI())
	doc, err := json.Marshal(s.huma.OpenAPI())
	if err != nil {
		panic("server: the OpenAPI document cannot be written: " + err.Error())
	}
	s.handle("GET", v1+"/openapi.json", s.fail, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(doc)
	})
}

// documentForms adds to the uploads that they can come as forms, after registration: huma would read forms itself.
func documentForms(doc *huma.OpenAPI) {
	for _, e := range endpoints {
		if item := doc.Paths[e.Pattern]; e.Stream && item != nil && item.Post != nil {
			item.Post.RequestBody.Content["multipart/form-data"] = &huma.MediaType{Schema: &huma.Schema{Type: "object",
				Properties: map[string]*huma.Schema{"file": {Type: "string", Format: "binary"}}, Required: []string{"file"}}}
		}
	}
}

func humaConfig(version string) huma.Config {
	c := huma.DefaultConfig("Triarch control API", version)
	// No pages or schema links of huma's own: the document is served by us, and answers stay plain.
	c.OpenAPIPath, c.DocsPath, c.SchemasPath, c.CreateHooks = "", "", "", nil
	c.RejectUnknownQueryParameters = true
	c.Formats = map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat}
	c.Info.Description = "Organisations, projects, members, keys, budgets, data, runs, models, deployments, routes and usage. " +
		"Every call carries an API key; another project's object does not exist for it."
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"key": {Type: "http", Scheme: "bearer", Description: "An API key, tri_..."}}
	c.Security = []map[string][]string{{"key": {}}}
	return c
}

// op registers an operation by its id in the table. tag groups it in the document, summary says what it does.
func op[I, O any](s *Server, opID, tag, summary string, f func(context.Context, *auth.Principal, *I) (*O, error), more ...func(*huma.Operation)) {
	e, ok := findID(opID)
	if !ok {
		panic("server: the operation " + opID + " is not in the table of endpoints")
	}
	o := huma.Operation{OperationID: e.ID, Method: e.Method, Path: e.Pattern, Tags: []string{tag}, Summary: summary,
		Description: describe(e), BodyReadTimeout: -1, MaxBodyBytes: -1}
	for _, m := range more {
		m(&o)
	}
	huma.Register(s.huma, o, func(ctx context.Context, in *I) (*O, error) {
		p, ok := auth.From(ctx)
		if !ok {
			return nil, problemError{s.problem(ctx, fault.New(fault.Internal, "The request has no principal."))}
		}
		out, err := f(ctx, p, in)
		if err != nil {
			return nil, problemError{s.problem(ctx, err)}
		}
		return out, nil
	})
}

func findID(id string) (Endpoint, bool) {
	for _, e := range endpoints {
		if e.ID == id && id != "" {
			return e, true
		}
	}
	return Endpoint{}, false
}

// status sets the status of success.
func status(code int) func(*huma.Operation) {
	return func(o *huma.Operation) { o.DefaultStatus = code }
}

// out is an answer with a body.
type out[T any] struct{ Body T }

// list is an answer with a list.
func list[T, U any](in []T, conv func(T) U) *out[api.List[U]] {
	o := &out[api.List[U]]{Body: api.List[U]{Items: make([]U, len(in))}}
	for i := range in {
		o.Body.Items[i] = conv(in[i])
	}
	return o
}

// none is an empty answer, 204.
type none struct{}

// no is the input of operations that take nothing.
type no struct{}

// ProjectParam is a parameter of the operations on people and keys, with which an owner of the organisation reaches its
// other projects. (Types embedded in inputs are exported: huma does not see the fields of others.)
type ProjectParam struct {
	Project string `query:"project" maxLength:"200" doc:"id or name of another project of the organisation, with the scope organisation; with the scope platform the id of any project also lists keys, shows and revokes one, and tells usage"`
}

// KeepParam says how far an end reaches.
type KeepParam struct {
	KeepChildren bool `query:"keep_children" doc:"do not revoke the keys that it made; default: revoke them, too"`
}

// reach is like project, and for an operator also a project of another organisation.
func (s *Server) reach(ctx context.Context, p *auth.Principal, q ProjectParam) (string, error) {
	_, prj, err := s.Tenancy.Reach(ctx, p.Maker(), "", q.Project)
	return prj, err
}

func (s *Server) project(ctx context.Context, p *auth.Principal, q ProjectParam) (string, error) {
	return s.Tenancy.ProjectFor(ctx, p.Maker(), q.Project)
}

// may asks a principal for a scope beyond the table's line, for operations that show more to some.
func may(p *auth.Principal, scope tenancy.Scope) bool { return tenancy.Allows(p.Scopes, scope) }
