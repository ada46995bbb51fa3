package server

import (
	"net/http"
	"strings"

	"github.com/triarch-ai/triarch/tenancy"
)

// Endpoint is one line of the table: what a request must be to reach its handler.
type Endpoint struct {
	Method  string
	Pattern string // as net/http and OpenAPI write it: /api/v1/runs/{run}
	ID      string // operation id in the OpenAPI document; empty for what is not in it
	Role    tenancy.Role
	Scope   tenancy.Scope
	Public  bool // needs no key; Role and Scope are empty then
	Stream  bool // the handler reads the body itself and bounds it
}

const v1 = "/api/v1"

// endpoints is the whole authorisation of the server. Reading asks for a viewer, making for a developer, what
// concerns people, keys and money for an owner; each also for the scope, which a key can lack.
var endpoints = []Endpoint{
	{Method: "GET", Pattern: "/{$}", Public: true},
	{Method: "GET", Pattern: "/healthz", Public: true},
	{Method: "GET", Pattern: v1 + "/openapi.json", Public: true},
	// Metrics name the routes of all organisations.
	{Method: "GET", Pattern: MetricsPath, Role: tenancy.Viewer, Scope: tenancy.Platform},

	{Method: "GET", Pattern: v1 + "/status", ID: "status", Role: tenancy.Viewer, Scope: tenancy.Read},

	{Method: "GET", Pattern: v1 + "/organisations", ID: "list-organisations", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "POST", Pattern: v1 + "/organisations", ID: "create-organisation", Role: tenancy.Owner, Scope: tenancy.Platform},
	{Method: "GET", Pattern: v1 + "/projects", ID: "list-projects", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "POST", Pattern: v1 + "/projects", ID: "create-project", Role: tenancy.Owner, Scope: tenancy.OrgWide},
	{Method: "GET", Pattern: v1 + "/members", ID: "list-members", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "PUT", Pattern: v1 + "/members/{email}", ID: "put-member", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "DELETE", Pattern: v1 + "/members/{email}", ID: "remove-member", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "GET", Pattern: v1 + "/keys", ID: "list-keys", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "POST", Pattern: v1 + "/keys", ID: "create-key", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "GET", Pattern: v1 + "/keys/{key}", ID: "get-key", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "DELETE", Pattern: v1 + "/keys/{key}", ID: "revoke-key", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "GET", Pattern: v1 + "/budgets", ID: "list-budgets", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "PUT", Pattern: v1 + "/budgets/{scope}/{id}", ID: "set-budget", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "DELETE", Pattern: v1 + "/budgets/{scope}/{id}", ID: "remove-budget", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "GET", Pattern: v1 + "/limits", ID: "list-limits", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "PUT", Pattern: v1 + "/limits/{scope}/{id}", ID: "set-limit", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "DELETE", Pattern: v1 + "/limits/{scope}/{id}", ID: "remove-limit", Role: tenancy.Owner, Scope: tenancy.Admin},

	{Method: "GET", Pattern: v1 + "/data", ID: "list-data", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "POST", Pattern: v1 + "/data", ID: "import-data", Role: tenancy.Developer, Scope: tenancy.Write, Stream: true},
	{Method: "GET", Pattern: v1 + "/data/{data}", ID: "get-data", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/data/{data}/versions", ID: "list-data-versions", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/data/{data}/records", ID: "read-data", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "DELETE", Pattern: v1 + "/data/{data}", ID: "remove-data", Role: tenancy.Developer, Scope: tenancy.Write},

	{Method: "GET", Pattern: v1 + "/runs", ID: "list-runs", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "POST", Pattern: v1 + "/runs", ID: "create-run", Role: tenancy.Developer, Scope: tenancy.Write},
	{Method: "POST", Pattern: v1 + "/estimates", ID: "estimate-run", Role: tenancy.Developer, Scope: tenancy.Write},
	// Nothing is made, and what chips cost the operator is told to the operator alone.
	{Method: "POST", Pattern: v1 + "/chip-estimates", ID: "estimate-chips", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/runs/{run}", ID: "get-run", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "POST", Pattern: v1 + "/runs/{run}/stop", ID: "stop-run", Role: tenancy.Developer, Scope: tenancy.Write},
	{Method: "GET", Pattern: v1 + "/runs/{run}/logs", ID: "read-run-logs", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/runs/{run}/progress", ID: "watch-run", Role: tenancy.Viewer, Scope: tenancy.Read},

	{Method: "GET", Pattern: v1 + "/models", ID: "list-models", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "POST", Pattern: v1 + "/models", ID: "import-model", Role: tenancy.Developer, Scope: tenancy.Write, Stream: true},
	{Method: "GET", Pattern: v1 + "/models/{model}", ID: "get-model", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/models/{model}/fit", ID: "fit-model", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/models/{model}/versions", ID: "list-model-versions", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/models/{model}/export", ID: "export-model", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "DELETE", Pattern: v1 + "/models/{model}", ID: "remove-model", Role: tenancy.Developer, Scope: tenancy.Write},

	{Method: "GET", Pattern: v1 + "/pulls", ID: "list-pulls", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "POST", Pattern: v1 + "/pulls", ID: "create-pull", Role: tenancy.Developer, Scope: tenancy.Write},
	{Method: "GET", Pattern: v1 + "/pulls/{pull}", ID: "get-pull", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "DELETE", Pattern: v1 + "/pulls/{pull}", ID: "remove-pull", Role: tenancy.Developer, Scope: tenancy.Write},

	{Method: "GET", Pattern: v1 + "/deployments", ID: "list-deployments", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "POST", Pattern: v1 + "/deployments", ID: "create-deployment", Role: tenancy.Developer, Scope: tenancy.Write},
	{Method: "GET", Pattern: v1 + "/deployments/{deployment}", ID: "get-deployment", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "POST", Pattern: v1 + "/deployments/{deployment}/scale", ID: "scale-deployment", Role: tenancy.Developer, Scope: tenancy.Write},
	{Method: "GET", Pattern: v1 + "/deployments/{deployment}/logs", ID: "read-deployment-logs", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "DELETE", Pattern: v1 + "/deployments/{deployment}", ID: "remove-deployment", Role: tenancy.Developer, Scope: tenancy.Write},

	{Method: "GET", Pattern: v1 + "/routes", ID: "list-routes", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "POST", Pattern: v1 + "/routes", ID: "create-route", Role: tenancy.Developer, Scope: tenancy.Write},
	{Method: "GET", Pattern: v1 + "/routes/{route}", ID: "get-route", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "PUT", Pattern: v1 + "/routes/{route}", ID: "set-route", Role: tenancy.Developer, Scope: tenancy.Write},
	{Method: "POST", Pattern: v1 + "/routes/{route}/canary/{what}", ID: "steer-canary", Role: tenancy.Developer, Scope: tenancy.Write},
	{Method: "POST", Pattern: v1 + "/routes/{route}/canary", ID: "start-canary", Role: tenancy.Developer, Scope: tenancy.Write},
	{Method: "DELETE", Pattern: v1 + "/routes/{route}", ID: "remove-route", Role: tenancy.Developer, Scope: tenancy.Write},

	{Method: "GET", Pattern: v1 + "/prices", ID: "list-prices", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/prices/{version}", ID: "get-prices", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/requests", ID: "list-requests", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/requests/{request}", ID: "get-request", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/consent", ID: "get-consent", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "PUT", Pattern: v1 + "/consent", ID: "give-consent", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "DELETE", Pattern: v1 + "/consent", ID: "withdraw-consent", Role: tenancy.Owner, Scope: tenancy.Admin},
	// What people say to models is for those who work with it, not for whoever may look.
	{Method: "GET", Pattern: v1 + "/bodies", ID: "list-bodies", Role: tenancy.Developer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/bodies/{request}", ID: "get-body", Role: tenancy.Developer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/requests/{request}/explanation", ID: "explain-request", Role: tenancy.Viewer, Scope: tenancy.Read},

	// Providers bill the installation for what their keys are used for.
	{Method: "GET", Pattern: v1 + "/providers", ID: "list-providers", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "POST", Pattern: v1 + "/providers", ID: "add-provider", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "GET", Pattern: v1 + "/providers/{provider}", ID: "get-provider", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "DELETE", Pattern: v1 + "/providers/{provider}", ID: "remove-provider", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "POST", Pattern: v1 + "/providers/{provider}/test", ID: "test-provider", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "POST", Pattern: v1 + "/providers/{provider}/keys", ID: "add-provider-key", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "DELETE", Pattern: v1 + "/providers/{provider}/keys/{pkey}", ID: "remove-provider-key", Role: tenancy.Owner, Scope: tenancy.Admin},

	{Method: "GET", Pattern: v1 + "/queues", ID: "list-queues", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/jobs", ID: "list-jobs", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "POST", Pattern: v1 + "/jobs", ID: "create-job", Role: tenancy.Developer, Scope: tenancy.Write}, // and the policy of package program
	{Method: "GET", Pattern: v1 + "/jobs/{job}", ID: "get-job", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/jobs/{job}/explanation", ID: "explain-job", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/jobs/{job}/logs", ID: "read-job-logs", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "POST", Pattern: v1 + "/jobs/{job}/hold", ID: "hold-job", Role: tenancy.Developer, Scope: tenancy.Write},
	{Method: "POST", Pattern: v1 + "/jobs/{job}/release", ID: "release-job", Role: tenancy.Developer, Scope: tenancy.Write},
	{Method: "POST", Pattern: v1 + "/jobs/{job}/requeue", ID: "requeue-job", Role: tenancy.Developer, Scope: tenancy.Write},
	{Method: "POST", Pattern: v1 + "/jobs/{job}/cancel", ID: "cancel-job", Role: tenancy.Developer, Scope: tenancy.Write},
	{Method: "DELETE", Pattern: v1 + "/jobs/{job}", ID: "remove-job", Role: tenancy.Developer, Scope: tenancy.Write},
	{Method: "GET", Pattern: v1 + "/measurements", ID: "list-measurements", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "POST", Pattern: v1 + "/measurements", ID: "report-measurement", Role: tenancy.Developer, Scope: tenancy.Write},
	{Method: "GET", Pattern: v1 + "/measurements/{measurement}", ID: "get-measurement", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/nodes", ID: "list-nodes", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/nodes/{node}", ID: "get-node", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "PUT", Pattern: v1 + "/nodes/{node}", ID: "declare-node", Role: tenancy.Owner, Scope: tenancy.Platform},
	{Method: "DELETE", Pattern: v1 + "/nodes/{node}", ID: "remove-node", Role: tenancy.Owner, Scope: tenancy.Platform},
	{Method: "POST", Pattern: v1 + "/nodes/{node}/drain", ID: "drain-node", Role: tenancy.Owner, Scope: tenancy.Platform},
	{Method: "POST", Pattern: v1 + "/nodes/{node}/resume", ID: "resume-node", Role: tenancy.Owner, Scope: tenancy.Platform},
	{Method: "GET", Pattern: v1 + "/node-windows", ID: "list-windows", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "POST", Pattern: v1 + "/node-windows", ID: "add-window", Role: tenancy.Owner, Scope: tenancy.Platform},
	{Method: "DELETE", Pattern: v1 + "/node-windows/{window}", ID: "remove-window", Role: tenancy.Owner, Scope: tenancy.Platform},
	// What one queue is promised is taken from the others': only who runs the fleet gives it.
	{Method: "GET", Pattern: v1 + "/quotas", ID: "list-quotas", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "PUT", Pattern: v1 + "/quotas/{project}", ID: "set-quota", Role: tenancy.Owner, Scope: tenancy.Platform},
	{Method: "DELETE", Pattern: v1 + "/quotas/{project}", ID: "remove-quota", Role: tenancy.Owner, Scope: tenancy.Platform},

	{Method: "GET", Pattern: v1 + "/usage.csv", ID: "usage-csv", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/usage", ID: "usage", Role: tenancy.Viewer, Scope: tenancy.Read},
	{Method: "GET", Pattern: v1 + "/webhooks", ID: "list-webhooks", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "POST", Pattern: v1 + "/webhooks", ID: "add-webhook", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "POST", Pattern: v1 + "/webhooks/{webhook}/test", ID: "test-webhook", Role: tenancy.Owner, Scope: tenancy.Admin},
	{Method: "DELETE", Pattern: v1 + "/webhooks/{webhook}", ID: "remove-webhook", Role: tenancy.Owner, Scope: tenancy.Admin},
	// What chips cost is the operator's own affair, and the margin with it.
	{Method: "GET", Pattern: v1 + "/usage/margin", ID: "margin", Role: tenancy.Owner, Scope: tenancy.Platform},
	{Method: "GET", Pattern: v1 + "/chip-prices", ID: "list-chip-prices", Role: tenancy.Owner, Scope: tenancy.Platform},
	{Method: "PUT", Pattern: v1 + "/chip-prices/{chip}", ID: "set-chip-price", Role: tenancy.Owner, Scope: tenancy.Platform},
	{Method: "DELETE", Pattern: v1 + "/chip-prices/{chip}", ID: "remove-chip-price", Role: tenancy.Owner, Scope: tenancy.Platform},
	{Method: "POST", Pattern: v1 + "/usage/verify", ID: "verify-usage", Role: tenancy.Owner, Scope: tenancy.Platform},

	// The model API speaks the wires of OpenAI, Anthropic and Google and answers errors in their forms; see openai.go and
	// dialects.go. What a key leaves there is of its project, and whoever may call models may leave it.
	{Method: "GET", Pattern: "/v1/models", Role: tenancy.Viewer, Scope: tenancy.Inference},
	{Method: "GET", Pattern: "/v1/models/{model}", Role: tenancy.Viewer, Scope: tenancy.Inference},
	{Method: "POST", Pattern: "/v1/chat/completions", Role: tenancy.Viewer, Scope: tenancy.Inference, Stream: true},
	{Method: "POST", Pattern: "/v1/completions", Role: tenancy.Viewer, Scope: tenancy.Inference, Stream: true},
	{Method: "POST", Pattern: "/v1/responses", Role: tenancy.Viewer, Scope: tenancy.Inference, Stream: true},
	{Method: "GET", Pattern: "/v1/responses/{response}", Role: tenancy.Viewer, Scope: tenancy.Inference},
	{Method: "DELETE", Pattern: "/v1/responses/{response}", Role: tenancy.Viewer, Scope: tenancy.Inference},
	{Method: "GET", Pattern: "/v1/responses/{response}/input_items", Role: tenancy.Viewer, Scope: tenancy.Inference},
	{Method: "POST", Pattern: "/v1/embeddings", Role: tenancy.Viewer, Scope: tenancy.Inference, Stream: true},
	{Method: "POST", Pattern: "/v1/rerank", Role: tenancy.Viewer, Scope: tenancy.Inference, Stream: true},
	{Method: "POST", Pattern: "/v1/moderations", Role: tenancy.Viewer, Scope: tenancy.Inference, Stream: true},
	{Method: "POST", Pattern: "/v1/files", Role: tenancy.Viewer, Scope: tenancy.Inference, Stream: true},
	{Method: "GET", Pattern: "/v1/files", Role: tenancy.Viewer, Scope: tenancy.Inference},
	{Method: "GET", Pattern: "/v1/files/{file}", Role: tenancy.Viewer, Scope: tenancy.Inference},
	{Method: "GET", Pattern: "/v1/files/{file}/content", Role: tenancy.Viewer, Scope: tenancy.Inference},
	{Method: "DELETE", Pattern: "/v1/files/{file}", Role: tenancy.Viewer, Scope: tenancy.Inference},
	{Method: "POST", Pattern: "/v1/messages", Role: tenancy.Viewer, Scope: tenancy.Inference, Stream: true},
	{Method: "POST", Pattern: "/v1/messages/count_tokens", Role: tenancy.Viewer, Scope: tenancy.Inference, Stream: true},
	{Method: "GET", Pattern: "/v1beta/models", Role: tenancy.Viewer, Scope: tenancy.Inference},
	{Method: "GET", Pattern: "/v1beta/models/{model}", Role: tenancy.Viewer, Scope: tenancy.Inference},
	{Method: "POST", Pattern: "/v1beta/models/{model}", Role: tenancy.Viewer, Scope: tenancy.Inference, Stream: true}, // the method follows the model's name
}

// Further is what an operation asks for beyond its line of the table when a request names certain things.
type Further struct {
	ID    string // operation
	When  string // what the request names
	Scope tenancy.Scope
	Or    tenancy.Role // a role that may without the scope; empty: none
}

// furthers is the rest of the authorisation of the server; the services hold to it.
var furthers = []Further{
	{ID: "create-deployment", When: "prices of a route", Scope: tenancy.Pricing, Or: tenancy.Owner},
	{ID: "create-deployment", When: "sharing of a route", Scope: tenancy.OrgWide},
	{ID: "create-route", When: "prices", Scope: tenancy.Pricing, Or: tenancy.Owner},
	{ID: "create-route", When: "sharing", Scope: tenancy.OrgWide},
	{ID: "set-route", When: "prices, or backends whose prices are higher", Scope: tenancy.Pricing, Or: tenancy.Owner},
	{ID: "set-route", When: "sharing, or prices of a shared route", Scope: tenancy.OrgWide},
	{ID: "start-canary", When: "a shared route, or a backend whose prices are higher,", Scope: tenancy.Pricing, Or: tenancy.Owner},
	{ID: "steer-canary", When: "promotion on a shared route, or of a backend whose prices are higher,", Scope: tenancy.Pricing, Or: tenancy.Owner},
	{ID: "remove-route", When: "a shared route, or the last one of a model version at more than the usual price,", Scope: tenancy.Pricing, Or: tenancy.Owner},
	{ID: "remove-deployment", When: "such a route", Scope: tenancy.Pricing, Or: tenancy.Owner},
	{ID: "list-jobs", When: "another project", Scope: tenancy.OrgWide},
	{ID: "create-job", When: "another project", Scope: tenancy.OrgWide},
	{ID: "get-job", When: "another project", Scope: tenancy.OrgWide},
	{ID: "explain-job", When: "another project", Scope: tenancy.OrgWide},
	{ID: "read-job-logs", When: "another project", Scope: tenancy.OrgWide},
	{ID: "hold-job", When: "another project", Scope: tenancy.OrgWide},
	{ID: "release-job", When: "another project", Scope: tenancy.OrgWide},
	{ID: "requeue-job", When: "another project", Scope: tenancy.OrgWide},
	{ID: "remove-job", When: "another project", Scope: tenancy.OrgWide},
	{ID: "cancel-job", When: "another project", Scope: tenancy.OrgWide},
	{ID: "add-webhook", When: "the whole organisation", Scope: tenancy.OrgWide},
	{ID: "add-webhook", When: "inner addresses allowed", Scope: tenancy.Platform},
	{ID: "create-pull", When: "inner addresses allowed", Scope: tenancy.Platform},
	{ID: "add-provider", When: "inner addresses allowed", Scope: tenancy.Platform},
	{ID: "create-deployment", When: "inner addresses allowed to its route's guard", Scope: tenancy.Platform},
	{ID: "create-route", When: "inner addresses allowed to its guard", Scope: tenancy.Platform},
	{ID: "set-route", When: "inner addresses allowed to its guard", Scope: tenancy.Platform},
	{ID: "list-members", When: "another project", Scope: tenancy.OrgWide},
	{ID: "put-member", When: "another project", Scope: tenancy.OrgWide},
	{ID: "remove-member", When: "another project", Scope: tenancy.OrgWide},
	{ID: "create-key", When: "another project", Scope: tenancy.OrgWide},
	{ID: "list-keys", When: "another project", Scope: tenancy.OrgWide},
	{ID: "get-key", When: "another project", Scope: tenancy.OrgWide},
	{ID: "revoke-key", When: "another project", Scope: tenancy.OrgWide},
	{ID: "usage", When: "another project or the organisation", Scope: tenancy.OrgWide},
	{ID: "usage-csv", When: "another project or the organisation", Scope: tenancy.OrgWide},
	{ID: "set-budget", When: "an organisation, or another project or its key", Scope: tenancy.OrgWide},
	{ID: "remove-budget", When: "an organisation, or another project or its key", Scope: tenancy.OrgWide},
	{ID: "set-limit", When: "an organisation, or another project or its key", Scope: tenancy.OrgWide},
	{ID: "remove-limit", When: "an organisation, or another project or its key", Scope: tenancy.OrgWide},
	{ID: "list-keys", When: "another organisation's project", Scope: tenancy.Platform},
	{ID: "get-key", When: "another organisation's project", Scope: tenancy.Platform},
	{ID: "revoke-key", When: "another organisation's project", Scope: tenancy.Platform},
	{ID: "usage", When: "another organisation or its project", Scope: tenancy.Platform},
	{ID: "usage-csv", When: "another organisation or its project", Scope: tenancy.Platform},
	{ID: "list-budgets", When: "another organisation", Scope: tenancy.Platform},
	{ID: "set-budget", When: "another organisation, its project or key", Scope: tenancy.Platform},
	{ID: "remove-budget", When: "another organisation, its project or key", Scope: tenancy.Platform},
	{ID: "list-limits", When: "another organisation", Scope: tenancy.Platform},
	{ID: "set-limit", When: "another organisation, its project or key", Scope: tenancy.Platform},
	{ID: "remove-limit", When: "another organisation, its project or key", Scope: tenancy.Platform},
}

// describe says in words what an operation asks for.
func describe(e Endpoint) string {
	var text strings.Builder
	text.WriteString("Needs the role " + string(e.Role) + " and the scope " + string(e.Scope) + ".")
	for _, f := range furthers {
		if f.ID == e.ID {
			text.WriteString(" With " + f.When + " also the scope " + string(f.Scope))
			if f.Or != "" {
				text.WriteString(" or the role " + string(f.Or))
			}
			text.WriteString(".")
		}
	}
	return text.String()
}

// find returns the table's line of a method and pattern.
func find(method, pattern string) (Endpoint, bool) {
	for _, e := range endpoints {
		if e.Method == method && e.Pattern == pattern {
			return e, true
		}
	}
	return Endpoint{}, false
}

// failer answers a request with an error in the form of its API.
type failer func(w http.ResponseWriter, r *http.Request, err error)

// handle registers a handler for a line of the table, behind authentication and authorisation. A pattern that is not
// in the table is a defect of the program, found by whatever starts it first.
func (s *Server) handle(method, pattern string, fail failer, h http.HandlerFunc) {
	e, ok := find(method, pattern)
	if !ok {
		panic("server: " + method + " " + pattern + " is not in the table of endpoints")
	}
	s.mux.HandleFunc(method+" "+pattern, s.guard(e, fail, h))
}
