package api

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Healthy says whether the server answers; it needs no key.
func (c *Client) Healthy(ctx context.Context) error {
	return none(ctx, c, http.MethodGet, "/healthz")
}

// Status tells of the server, the key in use and what goes on in its project.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, path("status"), nil)
}

// Organisations lists the caller's organisation, or all with the scope platform.
func (c *Client) Organisations(ctx context.Context) ([]Organisation, error) {
	return items[Organisation](ctx, c, path("organisations"))
}

// CreateOrganisation makes an organisation with a project and its owner key.
func (c *Client) CreateOrganisation(ctx context.Context, n NewOrganisation) (MadeOrganisation, error) {
	return call[MadeOrganisation](ctx, c, http.MethodPost, path("organisations"), n)
}

// Projects lists the caller's project, or all of the organisation with the scope organisation.
func (c *Client) Projects(ctx context.Context) ([]Project, error) {
	return items[Project](ctx, c, path("projects"))
}

// CreateProject makes a project in the caller's organisation.
func (c *Client) CreateProject(ctx context.Context, n NewProject) (Project, error) {
	return call[Project](ctx, c, http.MethodPost, path("projects"), n)
}

// Members lists the members of a project, empty for the caller's.
func (c *Client) Members(ctx context.Context, project string) ([]Member, error) {
	return items[Member](ctx, c, path("members")+params("project", project))
}

// PutMember adds a member or changes the role.
func (c *Client) PutMember(ctx context.Context, project, email, role string) (Member, error) {
	return call[Member](ctx, c, http.MethodPut, path("members", email)+params("project", project), MemberRole{Role: role})
}

// RemoveMember removes a member and revokes the member's keys, and unless keepChildren all that these made.
func (c *Client) RemoveMember(ctx context.Context, project, email string, keepChildren bool) error {
	return none(ctx, c, http.MethodDelete, path("members", email)+params("project", project, "keep_children", strconv.FormatBool(keepChildren)))
}

// Keys lists the keys of a project, empty for the caller's.
func (c *Client) Keys(ctx context.Context, project string) ([]Key, error) {
	return items[Key](ctx, c, path("keys")+params("project", project))
}

// Key shows a key.
func (c *Client) Key(ctx context.Context, project, id string) (Key, error) {
	return call[Key](ctx, c, http.MethodGet, path("keys", id)+params("project", project), nil)
}

// CreateKey makes a key; the answer alone has its secret.
func (c *Client) CreateKey(ctx context.Context, n NewKey) (MadeKey, error) {
	return call[MadeKey](ctx, c, http.MethodPost, path("keys"), n)
}

// RevokeKey ends a key for good, and unless keepChildren all that it made.
func (c *Client) RevokeKey(ctx context.Context, project, id string, keepChildren bool) error {
	return none(ctx, c, http.MethodDelete, path("keys", id)+params("project", project, "keep_children", strconv.FormatBool(keepChildren)))
}

// Budgets lists the budgets of an organisation, empty for the caller's, as far as the caller may see them, with what
// was spent of them.
func (c *Client) Budgets(ctx context.Context, org string) ([]Budget, error) {
	return items[Budget](ctx, c, path("budgets")+params("org", org))
}

// SetBudget bounds what an organisation, project, key, member or model may spend in all. A member can be named by email
// and a model by its route's name, in the caller's project.
func (c *Client) SetBudget(ctx context.Context, scope, id string, limitMicros int64) (Budget, error) {
	return call[Budget](ctx, c, http.MethodPut, path("budgets", scope, id), BudgetLimit{LimitMicros: limitMicros})
}

// RemoveBudget takes a bound away.
func (c *Client) RemoveBudget(ctx context.Context, scope, id string) error {
	return none(ctx, c, http.MethodDelete, path("budgets", scope, id))
}

// Limits lists the limits of an organisation, empty for the caller's, as far as the caller may see them.
func (c *Client) Limits(ctx context.Context, org string) ([]Limit, error) {
	return items[Limit](ctx, c, path("limits")+params("org", org))
}

// SetLimit bounds how fast something may be used; it is named as for SetBudget.
func (c *Client) SetLimit(ctx context.Context, scope, id string, change LimitChange) (Limit, error) {
	return call[Limit](ctx, c, http.MethodPut, path("limits", scope, id), change)
}

// RemoveLimit takes all bounds on how fast something may be used away.
func (c *Client) RemoveLimit(ctx context.Context, scope, id string) error {
	return none(ctx, c, http.MethodDelete, path("limits", scope, id))
}

// DataSets lists data sets by name.
func (c *Client) DataSets(ctx context.Context) ([]DataSet, error) {
	return items[DataSet](ctx, c, path("data"))
}

// Import is how a file is to be imported.
type Import struct {
	Name    string // of the data set
	Format  string // text, jsonl or chat
	SkipBad bool   // leave broken lines out and count them
}

// ImportData sends what r gives until io.EOF and returns the version it became. Broken lines are in the Refusal
// inside the fault.
func (c *Client) ImportData(ctx context.Context, i Import, r io.Reader) (DataVersion, error) {
	target := path("data") + params("name", i.Name, "format", i.Format, "skip_bad", strconv.FormatBool(i.SkipBad))
	return upload[DataVersion](ctx, c, target, "application/octet-stream", r)
}

// DataVersion shows a version: id, name or name@number.
func (c *Client) DataVersion(ctx context.Context, name string) (DataVersion, error) {
	return call[DataVersion](ctx, c, http.MethodGet, path("data", name), nil)
}

// DataVersions lists the versions of a data set, newest first.
func (c *Client) DataVersions(ctx context.Context, name string) ([]DataVersion, error) {
	return items[DataVersion](ctx, c, path("data", name, "versions"))
}

// DataRecords copies the records of a version to w as JSON lines.
func (c *Client) DataRecords(ctx context.Context, name string, w io.Writer) error {
	return c.download(ctx, path("data", name, "records"), w)
}

// RemoveData removes a version.
func (c *Client) RemoveData(ctx context.Context, name string) error {
	return none(ctx, c, http.MethodDelete, path("data", name))
}

// Runs lists runs, newest first.
func (c *Client) Runs(ctx context.Context) ([]Run, error) {
	return items[Run](ctx, c, path("runs"))
}

// CreateRun trains a model.
func (c *Client) CreateRun(ctx context.Context, n NewRun) (Run, error) {
	return call[Run](ctx, c, http.MethodPost, path("runs"), n)
}

// EstimateRun says what a run would take without starting it.
func (c *Client) EstimateRun(ctx context.Context, n NewRun) (Run, error) {
	return call[Run](ctx, c, http.MethodPost, path("estimates"), n)
}

// EstimateChips says on which chips a piece of work fits, and how fast and dear it is there.
func (c *Client) EstimateChips(ctx context.Context, q ChipQuestion) (ChipRanking, error) {
	return call[ChipRanking](ctx, c, http.MethodPost, path("chip-estimates"), q)
}

// Run shows a run.
func (c *Client) Run(ctx context.Context, id string) (Run, error) {
	return call[Run](ctx, c, http.MethodGet, path("runs", id), nil)
}

// StopRun stops a run.
func (c *Client) StopRun(ctx context.Context, id string) (Run, error) {
	return call[Run](ctx, c, http.MethodPost, path("runs", id, "stop"), nil)
}

// LogQuery says which piece of which output.
type LogQuery struct {
	Replica string // of a deployment; empty: the oldest
	Attempt int    // 0: the newest
	Offset  int64  // bytes
	Limit   int    // bytes; 0: the server decides
}

func (q LogQuery) params() string {
	return params("replica", q.Replica, "attempt", strconv.Itoa(q.Attempt), "offset", strconv.FormatInt(q.Offset, 10), "limit", strconv.Itoa(q.Limit))
}

// RunLogs reads a piece of a run's output. LogQuery.Replica is not used.
func (c *Client) RunLogs(ctx context.Context, id string, q LogQuery) (Logs, error) {
	q.Replica = ""
	return call[Logs](ctx, c, http.MethodGet, path("runs", id, "logs")+q.params(), nil)
}

// Models lists models by name.
func (c *Client) Models(ctx context.Context) ([]Model, error) {
	return items[Model](ctx, c, path("models"))
}

// ModelVersion shows a version: id, name or name@number.
func (c *Client) ModelVersion(ctx context.Context, name string) (ModelVersion, error) {
	return call[ModelVersion](ctx, c, http.MethodGet, path("models", name), nil)
}

// ModelFit says on which chips of the fleet a model version fits: id, name or name@number.
func (c *Client) ModelFit(ctx context.Context, name string) (ModelFit, error) {
	return call[ModelFit](ctx, c, http.MethodGet, path("models", name, "fit"), nil)
}

// ModelVersions lists the versions of a model, newest first.
func (c *Client) ModelVersions(ctx context.Context, name string) ([]ModelVersion, error) {
	return items[ModelVersion](ctx, c, path("models", name, "versions"))
}

// ExportModel copies a version to w as a tar stream; format is hf or gguf.
func (c *Client) ExportModel(ctx context.Context, name, format string, w io.Writer) error {
	return c.download(ctx, path("models", name, "export")+params("format", format), w)
}

// ImportModel sends a tar stream of a Hugging Face folder and returns the version it became.
func (c *Client) ImportModel(ctx context.Context, name string, r io.Reader) (ModelVersion, error) {
	return upload[ModelVersion](ctx, c, path("models")+params("name", name), "application/x-tar", r)
}

// ImportBundle sends a bundle and returns the version it became; name is empty for the one that it had.
func (c *Client) ImportBundle(ctx context.Context, name string, r io.Reader) (ModelVersion, error) {
	return upload[ModelVersion](ctx, c, path("models")+params("form", "bundle", "name", name), "application/x-tar", r)
}

// RemoveModel removes a version.
func (c *Client) RemoveModel(ctx context.Context, name string) error {
	return none(ctx, c, http.MethodDelete, path("models", name))
}

// Deployments lists deployments by name.
func (c *Client) Deployments(ctx context.Context) ([]Deployment, error) {
	return items[Deployment](ctx, c, path("deployments"))
}

// Deploy serves a model version.
func (c *Client) Deploy(ctx context.Context, n NewDeployment) (DeploymentDetail, error) {
	return call[DeploymentDetail](ctx, c, http.MethodPost, path("deployments"), n)
}

// Deployment shows a deployment with its replicas.
func (c *Client) Deployment(ctx context.Context, name string) (DeploymentDetail, error) {
	return call[DeploymentDetail](ctx, c, http.MethodGet, path("deployments", name), nil)
}

// ScaleDeployment changes how many replicas a deployment has.
func (c *Client) ScaleDeployment(ctx context.Context, name string, replicas int) (Deployment, error) {
	return call[Deployment](ctx, c, http.MethodPost, path("deployments", name, "scale"), Scale{Replicas: replicas})
}

// DeploymentLogs reads a piece of a replica's output.
func (c *Client) DeploymentLogs(ctx context.Context, name string, q LogQuery) (Logs, error) {
	return call[Logs](ctx, c, http.MethodGet, path("deployments", name, "logs")+q.params(), nil)
}

// RemoveDeployment ends a deployment and takes its routes away.
func (c *Client) RemoveDeployment(ctx context.Context, name string) (Deployment, error) {
	return call[Deployment](ctx, c, http.MethodDelete, path("deployments", name), nil)
}

// Routes lists routes by name.
func (c *Client) Routes(ctx context.Context) ([]Route, error) {
	return items[Route](ctx, c, path("routes"))
}

// CreateRoute makes a public model name.
func (c *Client) CreateRoute(ctx context.Context, n NewRoute) (Route, error) {
	return call[Route](ctx, c, http.MethodPost, path("routes"), n)
}

// Route shows a route.
func (c *Client) Route(ctx context.Context, name string) (Route, error) {
	return call[Route](ctx, c, http.MethodGet, path("routes", name), nil)
}

// SetRoute changes deployment, prices and sharing of a route, as far as n says so.
func (c *Client) SetRoute(ctx context.Context, name string, n RouteChange) (Route, error) {
	return call[Route](ctx, c, http.MethodPut, path("routes", name), n)
}

// StartCanary gives a new backend the first share of a route's requests.
func (c *Client) StartCanary(ctx context.Context, name string, n NewCanary) (Route, error) {
	return call[Route](ctx, c, http.MethodPost, path("routes", name, "canary"), n)
}

// SteerCanary does something to the canary of a route: pause, resume, promote or abort.
func (c *Client) SteerCanary(ctx context.Context, name, what string) (Route, error) {
	return call[Route](ctx, c, http.MethodPost, path("routes", name, "canary", what), nil)
}

// RemoveRoute removes a route.
func (c *Client) RemoveRoute(ctx context.Context, name string) error {
	return none(ctx, c, http.MethodDelete, path("routes", name))
}

// Prices lists versions of prices, newest first: of a route by id or name, or of all where it is empty.
func (c *Client) Prices(ctx context.Context, route string) ([]PriceVersion, error) {
	return items[PriceVersion](ctx, c, path("prices")+params("route", route))
}

// PriceVersion shows one version of prices.
func (c *Client) PriceVersion(ctx context.Context, version string) (PriceVersion, error) {
	return call[PriceVersion](ctx, c, http.MethodGet, path("prices", version), nil)
}

// RequestQuery chooses rows of the request log; zero fields mean all.
type RequestQuery struct {
	Since, Until        time.Time
	Model, Outcome, Key string
	Status              int
}

func (q RequestQuery) params(limit int) string {
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339Nano)
	}
	return params("since", at(q.Since), "until", at(q.Until), "model", q.Model, "outcome", q.Outcome, "key", q.Key, "status", strconv.Itoa(q.Status), "limit", strconv.Itoa(limit))
}

// Requests lists the newest requests of the model API, at most limit; 0: all that are kept.
func (c *Client) Requests(ctx context.Context, q RequestQuery, limit int) ([]RequestRow, error) {
	if limit == 0 {
		return items[RequestRow](ctx, c, path("requests")+q.params(0))
	}
	l, err := call[List[RequestRow]](ctx, c, http.MethodGet, path("requests")+q.params(limit), nil)
	return l.Items, err
}

// Request shows one.
func (c *Client) Request(ctx context.Context, request string) (RequestRow, error) {
	return call[RequestRow](ctx, c, http.MethodGet, path("requests", request), nil)
}

// Consent shows what the project consented to keep of its requests.
func (c *Client) Consent(ctx context.Context) (Consent, error) {
	return call[Consent](ctx, c, http.MethodGet, path("consent"), nil)
}

// GiveConsent gives or changes it.
func (c *Client) GiveConsent(ctx context.Context, n NewConsent) (Consent, error) {
	return call[Consent](ctx, c, http.MethodPut, path("consent"), n)
}

// WithdrawConsent takes it back, and with forget what was kept by it.
func (c *Client) WithdrawConsent(ctx context.Context, forget bool) error {
	return none(ctx, c, http.MethodDelete, path("consent")+params("forget", strconv.FormatBool(forget)))
}

// RequestBodies lists what was kept of requests between two times (zero: no bound), newest first, at most limit; 0: all.
func (c *Client) RequestBodies(ctx context.Context, since, until time.Time, limit int) ([]RequestBody, error) {
	q := RequestQuery{Since: since, Until: until}
	if limit == 0 {
		return items[RequestBody](ctx, c, path("bodies")+q.params(0))
	}
	l, err := call[List[RequestBody]](ctx, c, http.MethodGet, path("bodies")+q.params(limit), nil)
	return l.Items, err
}

// RequestBody shows what was kept of one request.
func (c *Client) RequestBody(ctx context.Context, request string) (RequestBody, error) {
	return call[RequestBody](ctx, c, http.MethodGet, path("bodies", request), nil)
}

// ExplainRequest tells what was decided on the way of a request of the model API.
func (c *Client) ExplainRequest(ctx context.Context, request string) (RequestExplanation, error) {
	return call[RequestExplanation](ctx, c, http.MethodGet, path("requests", request, "explanation"), nil)
}

// Providers lists outside providers by name.
func (c *Client) Providers(ctx context.Context) ([]Provider, error) {
	return items[Provider](ctx, c, path("providers"))
}

// AddProvider adds an outside provider.
func (c *Client) AddProvider(ctx context.Context, n NewProvider) (Provider, error) {
	return call[Provider](ctx, c, http.MethodPost, path("providers"), n)
}

// Provider shows an outside provider.
func (c *Client) Provider(ctx context.Context, name string) (Provider, error) {
	return call[Provider](ctx, c, http.MethodGet, path("providers", name), nil)
}

// RemoveProvider removes an outside provider with its keys.
func (c *Client) RemoveProvider(ctx context.Context, name string) error {
	return none(ctx, c, http.MethodDelete, path("providers", name))
}

// TestProvider has the server ask a provider for its models.
func (c *Client) TestProvider(ctx context.Context, name string) (ProviderTest, error) {
	return call[ProviderTest](ctx, c, http.MethodPost, path("providers", name, "test"), nil)
}

// AddProviderKey gives a provider another key.
func (c *Client) AddProviderKey(ctx context.Context, name, secret string) (ProviderKey, error) {
	return call[ProviderKey](ctx, c, http.MethodPost, path("providers", name, "keys"), NewProviderKey{secret})
}

// RemoveProviderKey takes a key, by its id, from a provider.
func (c *Client) RemoveProviderKey(ctx context.Context, name, key string) error {
	return none(ctx, c, http.MethodDelete, path("providers", name, "keys", key))
}

// UsageQuery says whose usage of which days.
type UsageQuery struct {
	Org          string // another organisation, id or name
	Project      string // another project of the organisation
	Organisation bool   // all projects
	Key          string // id of a key
	From, To     string // UTC days, 2006-01-02, both included
	Group        string // day (default), model, key, project or tag
}

// Usage says what was used and what it cost, with the rows of all pages.
func (c *Client) Usage(ctx context.Context, q UsageQuery) (Usage, error) {
	all := Usage{Rows: []UsageRow{}}
	target := path("usage") + params("org", q.Org, "project", q.Project, "organisation", strconv.FormatBool(q.Organisation),
		"key", q.Key, "from", q.From, "to", q.To, "group", q.Group)
	err := pages(ctx, c, target, func(u Usage) string {
		all.Totals, all.Rows = u.Totals, append(all.Rows, u.Rows...)
		return u.Next
	})
	return all, err
}

// UsageCSV writes the rows of usage as comma-separated values, money in micro-units.
func (c *Client) UsageCSV(ctx context.Context, q UsageQuery, w io.Writer) error {
	return c.download(ctx, path("usage.csv")+params("org", q.Org, "project", q.Project, "organisation", strconv.FormatBool(q.Organisation),
		"key", q.Key, "from", q.From, "to", q.To, "group", q.Group), w)
}

// MarginQuery says whose margin of which days.
type MarginQuery struct {
	Org, Project string // ids; empty: all
	From, To     string // UTC days, both included
	By           string // model (default), project or day
}

// Margin compares what was charged with what chips cost, with the rows of all pages. For operators.
func (c *Client) Margin(ctx context.Context, q MarginQuery) (Margin, error) {
	all := Margin{Rows: []MarginRow{}}
	target := path("usage", "margin") + params("org", q.Org, "project", q.Project, "from", q.From, "to", q.To, "by", q.By)
	err := pages(ctx, c, target, func(m Margin) string {
		all.Totals, all.Rows = m.Totals, append(all.Rows, m.Rows...)
		return m.Next
	})
	return all, err
}

// Webhooks lists addresses that are told of budgets, oldest first.
func (c *Client) Webhooks(ctx context.Context) ([]Webhook, error) {
	return items[Webhook](ctx, c, path("webhooks"))
}

// AddWebhook has an address told of budgets; the secret comes only now.
func (c *Client) AddWebhook(ctx context.Context, n NewWebhook) (AddedWebhook, error) {
	return call[AddedWebhook](ctx, c, http.MethodPost, path("webhooks"), n)
}

// TestWebhook sends a webhook an event of type webhook.test, and fails when it does not arrive.
func (c *Client) TestWebhook(ctx context.Context, id string) error {
	return none(ctx, c, http.MethodPost, path("webhooks", id, "test"))
}

// RemoveWebhook tells an address no more.
func (c *Client) RemoveWebhook(ctx context.Context, id string) error {
	return none(ctx, c, http.MethodDelete, path("webhooks", id))
}

// ChipPrices lists what chips cost the operator, by class.
func (c *Client) ChipPrices(ctx context.Context) ([]ChipPrice, error) {
	return items[ChipPrice](ctx, c, path("chip-prices"))
}

// SetChipPrice sets what an hour of one chip of a class costs from now on, in micro-units.
func (c *Client) SetChipPrice(ctx context.Context, chip string, hourMicros int64) (ChipPrice, error) {
	return call[ChipPrice](ctx, c, http.MethodPut, path("chip-prices", chip), ChipPriceChange{HourMicros: hourMicros})
}

// RemoveChipPrice has chips of a class cost nothing from now on.
func (c *Client) RemoveChipPrice(ctx context.Context, chip string) error {
	return none(ctx, c, http.MethodDelete, path("chip-prices", chip))
}

// VerifyUsage proves that ledger, records and daily sums agree.
func (c *Client) VerifyUsage(ctx context.Context) (Books, error) {
	return call[Books](ctx, c, http.MethodPost, path("usage", "verify"), nil)
}

func upload[T any](ctx context.Context, c *Client, target, kind string, r io.Reader) (T, error) {
	resp, err := c.open(ctx, http.MethodPost, target, kind, r)
	if err != nil {
		var zero T
		return zero, err
	}
	defer resp.Body.Close()
	return read[T](ctx, c, resp)
}

func (c *Client) download(ctx context.Context, target string, w io.Writer) error {
	resp, err := c.open(ctx, http.MethodGet, target, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return c.unreachable(ctx, err)
	}
	return nil
}
