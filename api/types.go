// Package api is the wire of the control API and its Go client: what cli, console and others share, and the one
// import of this module that is promised to programs outside it.
//
// Rules for callers: times are RFC 3339 in UTC, money is whole micro-units, sizes are bytes. A failed call returns
// a *fault.Error with the kind, field, sentence and fix that the server gave. A thing that a path or parameter names
// is named by its id, or by its name; versions also by name@number. Lists come under "items".
package api

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// List is how every list comes.
type List[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"send it as after for the items that follow; absent on the last page"`
}

// Problem is the body of a failed call, sent as application/problem+json.
type Problem struct {
	Status    int       `json:"status" doc:"HTTP status"`
	Title     string    `json:"title" doc:"the status in words"`
	Kind      string    `json:"kind" doc:"what sort of failure it is, one of a fixed list" example:"not_found"`
	Code      string    `json:"code,omitempty" doc:"a narrower word for programs"`
	Field     string    `json:"field,omitempty" doc:"the field or parameter that is wrong"`
	Message   string    `json:"message" doc:"a sentence for people"`
	Fix       string    `json:"fix,omitempty" doc:"what to do about it"`
	RequestID string    `json:"request_id,omitempty" doc:"names the request in the server's log"`
	BadLines  []BadLine `json:"bad_lines,omitempty" doc:"the first broken lines of an import"`
}

// BadLine is a line of an imported file that could not be read.
type BadLine struct {
	Line   int64  `json:"line" doc:"from 1"`
	Reason string `json:"reason"`
}

// NewProblem makes the body that tells of err: nothing of its cause.
func NewProblem(err error, requestID string) *Problem {
	f := fault.As(err)
	status := fault.HTTPStatus(f.Kind)
	title := http.StatusText(status)
	if title == "" {
		title = "Client Closed Request" // 499, which the standard library does not name
	}
	return &Problem{Status: status, Title: title, Kind: string(f.Kind), Code: f.Code, Field: f.Field,
		Message: f.Message, Fix: f.Fix, RequestID: requestID}
}

// Fault is the problem as the error it was.
func (p *Problem) Fault() *fault.Error {
	return fault.New(fault.Kind(p.Kind), p.Message, fault.Code(p.Code), fault.Field(p.Field), func(e *fault.Error) { e.Fix = p.Fix })
}

// Info is what a server says of itself.
type Info struct {
	Version   string    `json:"version"`
	Database  string    `json:"database" doc:"sqlite or postgres"`
	Node      string    `json:"node,omitempty" doc:"the machine's name"`
	CPUs      int       `json:"cpus" doc:"cores that work may use"`
	StartedAt time.Time `json:"started_at"`
}

// Status is the server, the caller's key and what goes on in its project.
type Status struct {
	Server       Info         `json:"server"`
	Organisation Organisation `json:"organisation"`
	Project      Project      `json:"project"`
	Key          Identity     `json:"key"`
	Runs         []Run        `json:"runs" nullable:"false" doc:"runs that have not ended"`
	Deployments  []Deployment `json:"deployments" nullable:"false"`
	Routes       []Route      `json:"routes" nullable:"false"`
}

// Identity is the key a call was made with.
type Identity struct {
	ID     string   `json:"id"`
	Role   string   `json:"role"`
	Scopes []string `json:"scopes,omitempty"`
}

// Organisation owns projects.
type Organisation struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
}

// NewOrganisation asks for an organisation.
type NewOrganisation struct {
	Name string `json:"name" doc:"1 to 64 characters, unique in the installation"`
}

// MadeOrganisation is a new organisation with its first project and that project's owner key.
type MadeOrganisation struct {
	Organisation Organisation `json:"organisation"`
	Project      Project      `json:"project"`
	Key          MadeKey      `json:"key"`
}

// Project owns work, data, models and keys.
type Project struct {
	ID             string    `json:"id"`
	OrganisationID string    `json:"organisation_id"`
	Name           string    `json:"name"`
	CreatedAt      time.Time `json:"created_at"`
}

// NewProject asks for a project in the caller's organisation.
type NewProject struct {
	Name string `json:"name" doc:"1 to 64 characters, unique in the organisation"`
}

// Member is a person's role in a project.
type Member struct {
	ProjectID string    `json:"project_id"`
	Email     string    `json:"email"`
	Role      string    `json:"role" enum:"owner,developer,viewer"`
	CreatedAt time.Time `json:"created_at"`
}

// MemberRole is what a member is to be.
type MemberRole struct {
	Role string `json:"role" enum:"owner,developer,viewer"`
}

// Key is an API key without its secret.
type Key struct {
	ID           string     `json:"id"`
	ProjectID    string     `json:"project_id"`
	Name         string     `json:"name"`
	Role         string     `json:"role"`
	Scopes       []string   `json:"scopes,omitempty" doc:"empty: inference, read, write and admin as far as the role allows"`
	Member       string     `json:"member,omitempty"`
	Hint         string     `json:"hint" doc:"last characters of the secret"`
	RPM          int64      `json:"rpm,omitempty"`
	TPM          int64      `json:"tpm,omitempty"`
	Concurrency  int64      `json:"concurrency,omitempty"`
	BudgetMicros *int64     `json:"budget_micros,omitempty"`
	Models       []string   `json:"models,omitempty" doc:"the models that it may call, by any of their names; empty: all"`
	ExpiresAt    *time.Time `json:"expires_at,omitempty"`
	RevokedAt    *time.Time `json:"revoked_at,omitempty"`
	CreatedBy    string     `json:"created_by,omitempty"`
	CreatedAt    time.Time  `json:"created_at"`
}

// MadeKey is a new key with its secret, which is shown this once.
type MadeKey struct {
	Key    string `json:"key" doc:"the secret; it cannot be read again"`
	Object Key    `json:"object"`
}

// NewKey asks for a key. Role, scopes and expiry are at most those of the key that asks.
type NewKey struct {
	Name         string     `json:"name" doc:"1 to 64 characters"`
	Project      string     `json:"project,omitempty" doc:"id or name; default: the caller's project"`
	Role         string     `json:"role,omitempty" doc:"owner, developer (default) or viewer"`
	Scopes       []string   `json:"scopes,omitempty" doc:"inference, read, write, admin, flex, priority, pricing, organisation, platform; default: inference alone"`
	Member       string     `json:"member,omitempty" doc:"email of the member it belongs to; default: the one whose key asks"`
	RPM          int64      `json:"rpm,omitempty" doc:"requests a minute; 0: no limit"`
	TPM          int64      `json:"tpm,omitempty" doc:"tokens a minute; 0: no limit"`
	Concurrency  int64      `json:"concurrency,omitempty" doc:"requests in flight; 0: no limit"`
	BudgetMicros *int64     `json:"budget_micros,omitempty" doc:"what it may spend in all, micro-units"`
	Models       []string   `json:"models,omitempty" maxItems:"256" doc:"the models that it may call, by any of their names; default: the caller's"`
	ExpiresAt    *time.Time `json:"expires_at,omitempty"`
}

// Limit bounds how fast an organisation, a project, a key, a member or a model may be used.
type Limit struct {
	Scope       string `json:"scope" enum:"organisation,project,key,member,model"`
	ID          string `json:"id" doc:"of what it bounds; of a member PROJECT:EMAIL, of a model its route's"`
	RPM         int64  `json:"rpm,omitempty" doc:"requests a minute; 0: no limit"`
	TPM         int64  `json:"tpm,omitempty" doc:"tokens a minute; 0: no limit"`
	Concurrency int64  `json:"concurrency,omitempty" doc:"requests in flight; 0: no limit"`
	SetFrom     string `json:"set_from,omitempty" doc:"widest scope of the keys that set it; without that scope it can only be lowered"`
}

// LimitChange is what a limit is to become; what is left out stays as it is.
type LimitChange struct {
	RPM         *int64 `json:"rpm,omitempty" doc:"requests a minute; 0 takes this bound away"`
	TPM         *int64 `json:"tpm,omitempty" doc:"tokens a minute; 0 takes this bound away"`
	Concurrency *int64 `json:"concurrency,omitempty" doc:"requests in flight; 0 takes this bound away"`
}

// Budget bounds what an organisation, a project, a key, a member or a model may spend in all.
type Budget struct {
	Scope       string `json:"scope" enum:"organisation,project,key,member,model"`
	ID          string `json:"id" doc:"of what it bounds"`
	LimitMicros int64  `json:"limit_micros"`
	SpentMicros int64  `json:"spent_micros" doc:"spent so far; by a key with those that it made"`
	SetFrom     string `json:"set_from" enum:"admin,organisation,platform" doc:"widest scope of the key that set it; without that scope it can only be lowered"`
}

// BudgetLimit is what a budget is to be.
type BudgetLimit struct {
	LimitMicros int64 `json:"limit_micros" doc:"micro-units, at least 0"`
}

// DataSet is a name under which versions of data are kept.
type DataSet struct {
	Name     string      `json:"name"`
	Versions int         `json:"versions"`
	Latest   DataVersion `json:"latest"`
}

// DataVersion is one immutable state of a data set.
type DataVersion struct {
	ID        string     `json:"id"`
	DataSet   string     `json:"data_set"`
	Number    int        `json:"number"`
	Format    string     `json:"format" doc:"text, jsonl or chat"`
	SHA256    string     `json:"sha256" doc:"of the records as JSON lines"`
	Bytes     int64      `json:"bytes"`
	Records   int64      `json:"records"`
	Chars     int64      `json:"chars"`
	Bad       int64      `json:"bad,omitempty" doc:"broken lines that were left out"`
	BadLines  []BadLine  `json:"bad_lines,omitempty" doc:"the first of them"`
	CreatedBy string     `json:"created_by,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
	RemovedAt *time.Time `json:"removed_at,omitempty" doc:"when it was removed: its records are gone, it stays for lineage to name"`
}

// Recipe says how to train; a field left out takes its default. The run shows the filled recipe.
type Recipe struct {
	Method          string   `json:"method,omitempty" doc:"pretrain or sft"`
	Preset          string   `json:"preset,omitempty" doc:"size of a fresh model: nano, tiny, small, medium"`
	Dim             int      `json:"dim,omitempty"`
	Layers          int      `json:"layers,omitempty"`
	Heads           int      `json:"heads,omitempty"`
	KVHeads         int      `json:"kv_heads,omitempty"`
	HeadDim         int      `json:"head_dim,omitempty"`
	FFN             int      `json:"ffn,omitempty"`
	Vocab           int      `json:"vocab,omitempty"`
	Context         int      `json:"context,omitempty"`
	Untied          bool     `json:"untied,omitempty"`
	SeqLen          int      `json:"seq_len,omitempty"`
	Batch           int      `json:"batch,omitempty"`
	Accumulate      int      `json:"accumulate,omitempty"`
	Steps           int      `json:"steps,omitempty"`
	Epochs          float64  `json:"epochs,omitempty"`
	LR              float64  `json:"lr,omitempty"`
	MinLR           float64  `json:"min_lr,omitempty"`
	Warmup          int      `json:"warmup,omitempty"`
	WeightDecay     *float64 `json:"weight_decay,omitempty"`
	ClipNorm        float64  `json:"clip_norm,omitempty"`
	Beta1           float64  `json:"beta1,omitempty"`
	Beta2           float64  `json:"beta2,omitempty"`
	Eps             float64  `json:"eps,omitempty"`
	Seed            uint64   `json:"seed,omitempty"`
	CheckpointEvery int      `json:"checkpoint_every,omitempty"`
	DType           string   `json:"dtype,omitempty"`
	Temperature     *float64 `json:"temperature,omitempty" doc:"what the model version suggests for requests that name none"`
}

// NewRun asks to train.
type NewRun struct {
	Name     string `json:"name,omitempty" doc:"default: the model's name"`
	Model    string `json:"model" doc:"name of the model that the result becomes a version of"`
	Data     string `json:"data" doc:"data version: id, name or name@number"`
	Base     string `json:"base,omitempty" doc:"model version to go on from; default: fresh weights"`
	Trainer  string `json:"trainer,omitempty" doc:"default native"`
	Recipe   Recipe `json:"recipe,omitzero"`
	CPUs     int    `json:"cpus,omitempty" doc:"cores; default 1"`
	Priority int    `json:"priority,omitempty" doc:"higher goes first"`
	Array    string `json:"array,omitempty" maxLength:"8192" doc:"make a run NAME-INDEX for each of these numbers, such as 1-8 or 1-8%2 for at most two at once; their seeds count up with them"`
	Placing
}

// Estimate is what a run is expected to take.
type Estimate struct {
	Params          int64   `json:"params"`
	MemoryBytes     int64   `json:"memory_bytes"`
	DiskBytes       int64   `json:"disk_bytes"`
	Tokens          int64   `json:"tokens"`
	Steps           int     `json:"steps"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	Seconds         float64 `json:"seconds"`
}

// Progress is the newest line of a run's progress.
type Progress struct {
	Attempt         int     `json:"attempt"`
	Step            int     `json:"step"`
	Steps           int     `json:"steps"`
	Loss            float64 `json:"loss"`
	LR              float64 `json:"lr"`
	Tokens          int64   `json:"tokens"`
	TokensPerSecond float64 `json:"tps"`
	Checkpoint      string  `json:"checkpoint,omitempty"`
}

// Run is one training run.
type Run struct {
	ID           string             `json:"id"`
	Name         string             `json:"name"`
	Model        string             `json:"model"`
	Trainer      string             `json:"trainer"`
	DataVersion  string             `json:"data_version"`
	Base         string             `json:"base,omitempty"`
	Recipe       Recipe             `json:"recipe"`
	CPUs         int                `json:"cpus"`
	Priority     int                `json:"priority,omitempty"`
	Placing      Placing            `json:"placing,omitzero"`
	Array        *JobArray          `json:"array,omitempty" doc:"which array it is an element of"`
	JobID        string             `json:"job_id,omitempty"`
	State        string             `json:"state" doc:"queued, running, registering, stopping, succeeded, failed or cancelled"`
	Reason       string             `json:"reason,omitempty"`
	Fault        string             `json:"fault,omitempty" doc:"who must act: node, program or platform"`
	Estimate     Estimate           `json:"estimate"`
	Progress     Progress           `json:"progress"`
	Metrics      map[string]float64 `json:"metrics,omitempty"`
	ModelVersion string             `json:"model_version,omitempty"`
	Attempt      int                `json:"attempt,omitempty" doc:"number of the attempt, which is the fencing number"`
	Restarts     int                `json:"restarts,omitempty"`
	Limits       string             `json:"limits,omitempty" doc:"by which means the process is bounded"`
	CreatedBy    string             `json:"created_by,omitempty"`
	CreatedAt    time.Time          `json:"created_at"`
	StartedAt    *time.Time         `json:"started_at,omitempty"`
	EndedAt      *time.Time         `json:"ended_at,omitempty"`
}

// Ended says whether nothing more happens to the run.
func (r Run) Ended() bool {
	return r.State == "succeeded" || r.State == "failed" || r.State == "cancelled"
}

// ProgressLine is one line of a run's progress as the worker wrote it.
type ProgressLine struct {
	Attempt int             `json:"attempt"`
	Step    int64           `json:"step"`
	Data    json.RawMessage `json:"data" doc:"the whole line: step, steps, loss, lr, tokens, tps, checkpoint"`
}

// Logs is a piece of an attempt's output. Offsets count bytes of all the output there ever was.
type Logs struct {
	Offset int64  `json:"offset" doc:"where data begins"`
	Next   int64  `json:"next" doc:"offset to ask for next"`
	End    int64  `json:"end" doc:"end of the output so far"`
	Ended  bool   `json:"ended" doc:"there will be no more after next"`
	Data   []byte `json:"data"`
}

// Model is a name under which versions of weights are kept.
type Model struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Versions  int       `json:"versions"`
	Latest    int       `json:"latest" doc:"number of the newest version"`
	CreatedAt time.Time `json:"created_at"`
}

// File is one file of a model version.
type File struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// Shape says what a model is.
type Shape struct {
	Arch    string `json:"arch"`
	Params  int64  `json:"params"`
	Vocab   int    `json:"vocab_size"`
	Context int    `json:"context"`
	DType   string `json:"dtype"`
	Chat    bool   `json:"chat" doc:"has a chat template"`
}

// Lineage says where a model version comes from.
type Lineage struct {
	RunID       string          `json:"run_id,omitempty"`
	DataVersion string          `json:"data_version,omitempty"`
	Base        string          `json:"base,omitempty"`
	Recipe      json.RawMessage `json:"recipe,omitzero"`
	CodeVersion string          `json:"code_version,omitempty"`
	Source      string          `json:"source,omitempty" doc:"run or import"`
}

// LossPoint is one point of a loss curve.
type LossPoint struct {
	Step int     `json:"step"`
	Loss float64 `json:"loss"`
	LR   float64 `json:"lr"`
}

// DataOrigin names the data version that a model version was trained on.
type DataOrigin struct {
	DataSet   string     `json:"data_set"`
	Number    int        `json:"number"`
	SHA256    string     `json:"sha256" doc:"of the records as JSON lines"`
	RemovedAt *time.Time `json:"removed_at,omitempty" doc:"when its records were removed"`
}

// ModelVersion is one immutable set of weights.
type ModelVersion struct {
	ID        string             `json:"id"`
	Model     string             `json:"model"`
	Number    int                `json:"number"`
	Bytes     int64              `json:"bytes"`
	Files     []File             `json:"files,omitempty"`
	Shape     Shape              `json:"shape"`
	Card      string             `json:"card,omitempty" doc:"Markdown"`
	Lineage   Lineage            `json:"lineage"`
	Data      *DataOrigin        `json:"data,omitempty" doc:"the data version in the lineage; only where one version is shown"`
	Metrics   map[string]float64 `json:"metrics,omitempty"`
	LossCurve []LossPoint        `json:"loss_curve,omitempty"`
	CreatedBy string             `json:"created_by,omitempty"`
	CreatedAt time.Time          `json:"created_at"`
}

// NewDeployment asks to serve a model version.
type NewDeployment struct {
	Name        string    `json:"name,omitempty" doc:"default: the model's name"`
	Model       string    `json:"model" doc:"model version: id, name or name@number"`
	Engine      string    `json:"engine,omitempty" doc:"default native"`
	Replicas    int       `json:"replicas,omitempty" doc:"default 1"`
	Threads     int       `json:"threads,omitempty" doc:"cores for each replica; default: the engine decides"`
	MaxContext  int       `json:"max_context,omitempty" doc:"longest sequence served; default: the model's"`
	MemoryBytes int64     `json:"memory_bytes,omitempty" doc:"for each replica; default: the engine decides"`
	Chips       int       `json:"chips,omitempty" doc:"accelerators for each replica; default none"`
	ChipTypes   []string  `json:"chip_types,omitempty" doc:"classes of chips it can use; default: any"`
	MinReplicas int       `json:"min_replicas,omitempty" doc:"never fewer for the sake of other work; default: all"`
	Priority    int       `json:"priority,omitempty" doc:"higher goes first among what waits for chips"`
	Route       *NewRoute `json:"route,omitempty" doc:"also makes a route to it"`
}

// Deployment is a model version kept serving.
type Deployment struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	Model        string    `json:"model" doc:"name@number"`
	ModelVersion string    `json:"model_version"`
	Engine       string    `json:"engine"`
	Replicas     int       `json:"replicas" doc:"wanted"`
	Ready        int       `json:"ready" doc:"answering"`
	Threads      int       `json:"threads,omitempty"`
	MaxContext   int       `json:"max_context,omitempty"`
	MemoryBytes  int64     `json:"memory_bytes,omitempty"`
	Chips        int       `json:"chips,omitempty"`
	ChipTypes    []string  `json:"chip_types,omitempty"`
	MinReplicas  int       `json:"min_replicas,omitempty"`
	Priority     int       `json:"priority,omitempty"`
	State        string    `json:"state" doc:"pending, serving, degraded, failed or removing"`
	Reason       string    `json:"reason,omitempty"`
	CreatedBy    string    `json:"created_by,omitempty"`
	CreatedAt    time.Time `json:"created_at"`
}

// Replica is one running copy of a deployment.
type Replica struct {
	ID        string    `json:"id"`
	JobID     string    `json:"job_id,omitempty"`
	Attempt   int       `json:"attempt,omitempty"`
	Healthy   bool      `json:"healthy"`
	Leaving   bool      `json:"leaving,omitempty"`
	Restarts  int       `json:"restarts,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// DeploymentDetail is a deployment with its replicas and, when it was just made, its route.
type DeploymentDetail struct {
	Deployment
	Copies []Replica `json:"copies,omitempty"`
	Route  *Route    `json:"route,omitempty"`
}

// Scale is how many replicas a deployment is to have.
type Scale struct {
	Replicas int `json:"replicas"`
}

// NewRoute asks for a public model name.
type NewRoute struct {
	Name       string       `json:"name,omitempty" doc:"what callers put into model; default: the deployment's name"`
	Aliases    []string     `json:"aliases,omitempty" maxItems:"16" doc:"further names"`
	Deployment string       `json:"deployment,omitempty" doc:"id or name of the only backend"`
	Backends   []NewBackend `json:"backends,omitempty" maxItems:"32" doc:"what it leads to, where there is more to say than a deployment"`
	PriceIn    *int64       `json:"price_in,omitempty" doc:"micro-units for 1,000,000 prompt tokens; default: the highest that a route of the project to the same model version has, else the installation's price"`
	PriceOut   *int64       `json:"price_out,omitempty" doc:"micro-units for 1,000,000 completion tokens; default: as for prompt tokens"`
	Prices     *PriceCard   `json:"prices,omitempty" doc:"the other prices; price_in and price_out come before its input and output"`
	Policy     NewPolicy    `json:"policy,omitzero"`
	Shared     bool         `json:"shared,omitempty" doc:"every project of the organisation may use it"`
}

// NewPolicy is what is to be of a route's policy; what is left out stays, or is the default of a new route.
type NewPolicy struct {
	Concurrency *int `json:"concurrency,omitempty" minimum:"0" doc:"requests at once for each replica, or for a provider's model; default and 0: no bound"`
	Queue       *int `json:"queue,omitempty" minimum:"0" doc:"requests of a project that wait where a backend is full; default and 0: 64"`
	QueueWaitMS *int `json:"queue_wait_ms,omitempty" minimum:"0" doc:"the longest wait there, milliseconds; default and 0: 30,000"`
	SlowMS      *int `json:"slow_ms,omitempty" minimum:"0" doc:"an answer that begins later counts as a failure of what gave it, milliseconds; default and 0: none does"`
	WakeMS      *int `json:"wake_ms,omitempty" minimum:"0" doc:"how long a request waits for a deployment without replicas, which it wakes, milliseconds; default and 0: not at all"`
	CacheS      *int `json:"cache_s,omitempty" minimum:"0" doc:"how long an answer that is always the same is kept and given again for nothing, seconds; default and 0: not at all"`

	Locality *string   `json:"locality,omitempty" enum:"prefix,off" doc:"how requests are dealt out to the replicas of a deployment: prefix, the default, to the one that has seen the prompt's beginning or the session, as far as it is not busy; off, to each in turn"`
	Guard    *NewGuard `json:"guard,omitempty" doc:"who judges prompts and answers"`
	Flex     *Tier     `json:"flex,omitempty" doc:"the service tier flex; default: not offered"`
	Priority *Tier     `json:"priority,omitempty" doc:"the service tier priority; default: not offered"`
}

// Tier is what a service tier of a route means: what it costs, how it waits and who may ask for it. Without a percentage the
// route does not offer it.
type Tier struct {
	Percent int  `json:"percent,omitempty" minimum:"0" maximum:"10000" doc:"of the route's prices; 0: the route does not offer the tier"`
	Weight  int  `json:"weight,omitempty" minimum:"0" maximum:"10000" doc:"in queues, hundredths of that of the default tier; default and 0: 100"`
	Flagged bool `json:"flagged,omitempty" doc:"only for keys that have the tier among their scopes"`
}

// NewGuard is what is to be of a route's guard; what is left out stays, or is the default of a new one. A url or a model
// that is empty, with no other named, ends it.
type NewGuard struct {
	URL          *string `json:"url,omitempty" maxLength:"2048" doc:"address of a judge outside, asked in the guard contract"`
	Model        *string `json:"model,omitempty" maxLength:"256" doc:"public name of a model of this installation that judges, such as a Llama Guard; its route has no guard of its own"`
	Form         *string `json:"form,omitempty" enum:",moderation" doc:"how the url is asked: empty for the guard contract, moderation for that of OpenAI's moderations"`
	When         *string `json:"when,omitempty" enum:"before,after,both" doc:"which texts are judged: prompts before, answers after; default both"`
	Open         *bool   `json:"open,omitempty" doc:"what cannot be judged passes; default: it is refused with 503"`
	AllowPrivate *bool   `json:"allow_private,omitempty" doc:"the url may be an inner address; for operators"`
	Key          *string `json:"key,omitempty" maxLength:"4096" doc:"bearer key for the url, which is sealed and never shown; empty takes it away"`
	TimeoutMS    *int    `json:"timeout_ms,omitempty" minimum:"0" maximum:"60000" doc:"the longest that one judgement takes; default and 0: 5,000"`
	Piece        *int    `json:"piece,omitempty" minimum:"0" maximum:"16384" doc:"characters of a stream that are held back and judged together; default and 0: 512"`
}

// Guard says who judges the prompts and answers of a route.
type Guard struct {
	URL          string `json:"url,omitempty"`
	Model        string `json:"model,omitempty"`
	Form         string `json:"form,omitempty"`
	When         string `json:"when"`
	Open         bool   `json:"open,omitempty"`
	AllowPrivate bool   `json:"allow_private,omitempty"`
	HasKey       bool   `json:"has_key,omitempty"`
	KeyHint      string `json:"key_hint,omitempty" doc:"its last characters"`
	TimeoutMS    int    `json:"timeout_ms"`
	Piece        int    `json:"piece"`
}

// Policy is how requests of a route are let through to what it leads to.
type Policy struct {
	Concurrency int `json:"concurrency,omitempty"`
	Queue       int `json:"queue,omitempty"`
	QueueWaitMS int `json:"queue_wait_ms,omitempty"`
	SlowMS      int `json:"slow_ms,omitempty"`
	WakeMS      int `json:"wake_ms,omitempty"`
	CacheS      int `json:"cache_s,omitempty"`

	Locality string `json:"locality,omitempty"`
	Guard    *Guard `json:"guard,omitempty"`
	Flex     Tier   `json:"flex,omitzero"`
	Priority Tier   `json:"priority,omitzero"`
}

// NewCanary asks that a new backend gets a growing share of a route's requests. What is left out has its default.
type NewCanary struct {
	Deployment string   `json:"deployment,omitempty" maxLength:"200" doc:"the new backend: id or name"`
	Provider   string   `json:"provider,omitempty" maxLength:"200" doc:"or of a provider: id or name"`
	Model      string   `json:"model,omitempty" maxLength:"256" doc:"as the provider calls it"`
	Steps      []int    `json:"steps,omitempty" maxItems:"10" doc:"percent of the route's requests, rising, the last is 100; default 1, 5, 25, 50, 100"`
	After      *int64   `json:"after,omitempty" minimum:"20" maximum:"1000000" doc:"answers on each side that a step is judged by; default 200"`
	LeastS     *int     `json:"least_s,omitempty" minimum:"0" doc:"a step takes at least so long, seconds; default 0"`
	MaxErrors  *float64 `json:"max_errors,omitempty" exclusiveMinimum:"0" exclusiveMaximum:"1" doc:"the share of answers that may fail; default 0.02"`
	MaxSlower  *float64 `json:"max_slower,omitempty" minimum:"1" maximum:"100" doc:"how many times as long the first byte may take as on the other backends; default 1.25"`
	Quantile   *int     `json:"quantile,omitempty" enum:"50,90" doc:"of the time to the first byte that is compared; default 50"`
}

// Canary is the trial of a new backend of a route.
type Canary struct {
	ID        string        `json:"id"`
	Backend   Backend       `json:"backend"`
	State     string        `json:"state" doc:"running, paused, promoted, rolled_back or aborted"`
	Percent   int           `json:"percent" doc:"of the route's requests that are its to answer"`
	Steps     []int         `json:"steps" nullable:"false"`
	Step      int           `json:"step" doc:"which of them it is at, from 0"`
	Since     time.Time     `json:"since" doc:"when the step began"`
	After     int64         `json:"after"`
	LeastS    int           `json:"least_s"`
	MaxErrors float64       `json:"max_errors"`
	MaxSlower float64       `json:"max_slower"`
	Quantile  int           `json:"quantile"`
	Trial     *CanaryTally  `json:"trial,omitempty" doc:"counted in this step on the canary; of one route alone"`
	Stable    *CanaryTally  `json:"stable,omitempty" doc:"and beside it"`
	Events    []CanaryEvent `json:"events,omitempty" doc:"of one route alone"`
	CreatedBy string        `json:"created_by,omitempty"`
	CreatedAt time.Time     `json:"created_at"`
}

// CanaryEvent is something that was decided about a canary, with the numbers that decided it.
type CanaryEvent struct {
	Number int         `json:"number"`
	At     time.Time   `json:"at"`
	What   string      `json:"what" doc:"started, promoted, held, rolled_back, paused, resumed or aborted"`
	From   int         `json:"from" doc:"percent before"`
	To     int         `json:"to" doc:"percent after"`
	Why    string      `json:"why"`
	By     string      `json:"by,omitempty" doc:"key that asked for it; without one the rule did it"`
	Trial  CanaryTally `json:"trial" doc:"of the step so far, on the canary"`
	Stable CanaryTally `json:"stable" doc:"and beside it"`
}

// CanaryTally is how requests ended on one side of a canary.
type CanaryTally struct {
	Answers  int64   `json:"answers"`
	Failed   int64   `json:"failed"`
	Refused  int64   `json:"refused"`
	FirstP50 float64 `json:"first_p50" doc:"seconds until the first byte, or until the caller left; 0: none began"`
	FirstP90 float64 `json:"first_p90"`
}

// RequestCanary is how a request of a route with a canary came to its side.
type RequestCanary struct {
	Canary  string `json:"canary" doc:"id"`
	Step    int    `json:"step"`
	Percent int    `json:"percent" doc:"of the route's requests that were the canary's"`
	On      bool   `json:"on" doc:"it was the canary's to answer"`
	Session bool   `json:"session" doc:"by the session that it names; else by chance"`
	Skipped bool   `json:"skipped,omitempty" doc:"the canary could not be asked"`
}

// NewBackend names a deployment or a provider's model.
type NewBackend struct {
	Deployment string `json:"deployment,omitempty" maxLength:"200" doc:"id or name"`
	Provider   string `json:"provider,omitempty" maxLength:"200" doc:"id or name"`
	Model      string `json:"model,omitempty" maxLength:"256" doc:"as the provider calls it"`
	Weight     *int   `json:"weight,omitempty" minimum:"0" maximum:"1000000" doc:"parts of its tier's requests; default 1; 0 takes none"`
	Tier       int    `json:"tier,omitempty" minimum:"0" maximum:"7" doc:"0 is asked first, the next one when nothing of it answers"`
}

// Backend is one of the things that a route leads to.
type Backend struct {
	Tier       int    `json:"tier"`
	Weight     int    `json:"weight"`
	Deployment string `json:"deployment,omitempty" doc:"id"`
	Provider   string `json:"provider,omitempty" doc:"id"`
	Model      string `json:"model,omitempty" doc:"as the provider calls it"`
	Name       string `json:"name,omitempty" doc:"local/DEPLOYMENT or PROVIDER/MODEL; missing where either is gone"`
}

// RequestRow is one request in the log of the model API.
type RequestRow struct {
	Request    string    `json:"request" doc:"its x-request-id"`
	At         time.Time `json:"at" doc:"when it arrived"`
	Key        string    `json:"key" doc:"id"`
	Model      string    `json:"model" doc:"as the caller named it"`
	Route      string    `json:"route,omitempty" doc:"id"`
	Backend    string    `json:"backend,omitempty" doc:"what was asked last: a deployment, or a provider and its model"`
	Dialect    string    `json:"dialect"`
	Kind       string    `json:"kind"`
	Stream     bool      `json:"stream,omitempty"`
	Outcome    string    `json:"outcome" doc:"finished, hung_up, broke, out_of_money, refused or failed"`
	Status     int       `json:"status"`
	Code       string    `json:"code,omitempty" doc:"of the refusal or failure"`
	Input      int64     `json:"input,omitempty" doc:"tokens"`
	Cached     int64     `json:"cached,omitempty" doc:"of the input"`
	Output     int64     `json:"output,omitempty" doc:"tokens"`
	Reasoning  int64     `json:"reasoning,omitempty" doc:"of the output"`
	Embedding  int64     `json:"embedding,omitempty" doc:"tokens"`
	CostMicros int64     `json:"cost_micros,omitempty"`
	FirstByte  float64   `json:"first_byte,omitempty" doc:"seconds until the first byte of the answer"`
	Took       float64   `json:"took" doc:"seconds"`
	Tries      int       `json:"tries,omitempty" doc:"how often a backend was asked"`
	Tag        string    `json:"tag,omitempty" doc:"the caller's, for charging back"`
}

// NewConsent gives a project's leave to keep what is asked of models and answered.
type NewConsent struct {
	Share  float64  `json:"share,omitempty" doc:"of the requests, above 0 and at most 1; left out: all"`
	Most   int      `json:"most,omitempty" doc:"bytes of a request or an answer, longer ones are left out; left out: 65536"`
	Hours  int      `json:"keep_hours,omitempty" doc:"how long; left out: 720"`
	Redact []string `json:"redact,omitempty" nullable:"false" doc:"what is taken out before: email, phone, card, iban, person, ip, secret, media; left out: all of them"`
	Plain  bool     `json:"plain,omitempty" doc:"nothing is taken out; redact is left out then"`
}

// Consent is a project's leave to keep what is asked of models and answered.
type Consent struct {
	Project   string    `json:"project_id"`
	Share     float64   `json:"share" doc:"of the requests"`
	Most      int       `json:"most" doc:"bytes of a request or an answer"`
	Hours     int       `json:"keep_hours"`
	Redact    []string  `json:"redact" nullable:"false" doc:"what is taken out before"`
	CreatedBy string    `json:"created_by" doc:"id of a key"`
	CreatedAt time.Time `json:"created_at"`
}

// RequestBody is what was asked and answered once, as far as the project's consent goes.
type RequestBody struct {
	Request  string          `json:"request" doc:"its x-request-id"`
	At       time.Time       `json:"at" doc:"when it arrived"`
	Model    string          `json:"model" doc:"as the caller named it"`
	Dialect  string          `json:"dialect" doc:"of the request and the answer"`
	Outcome  string          `json:"outcome" doc:"finished, hung_up, broke, out_of_money, refused or failed"`
	Status   int             `json:"status"`
	Tag      string          `json:"tag,omitempty" doc:"the caller's, for charging back"`
	Input    int64           `json:"input,omitempty" doc:"tokens"`
	Output   int64           `json:"output,omitempty" doc:"tokens"`
	Prompt   json.RawMessage `json:"prompt,omitempty" doc:"the request's body"`
	Answer   json.RawMessage `json:"answer,omitempty" doc:"in one piece, of a stream too"`
	Redacted map[string]int  `json:"redacted,omitempty" doc:"how much of what was taken out"`
	Missing  string          `json:"missing,omitempty" doc:"what is not there, and why"`
}

// RequestExplanation is what was decided on the way of a request of the model API, and why.
type RequestExplanation struct {
	Request      string         `json:"request"`
	At           time.Time      `json:"at"`
	Key          string         `json:"key" doc:"id"`
	Path         string         `json:"path"`
	Model        string         `json:"model" doc:"as the request names it"`
	Route        string         `json:"route,omitempty" doc:"id"`
	PriceVersion string         `json:"price_version,omitempty"`
	ServiceTier  string         `json:"service_tier,omitempty" doc:"that served it, where its route has any and the request names one: default, flex or priority"`
	Stream       bool           `json:"stream,omitempty"`
	Tries        []RequestTry   `json:"tries" nullable:"false" doc:"what was asked, in this order"`
	Canary       *RequestCanary `json:"canary,omitempty" doc:"where the route had one"`
	Blocks       int            `json:"blocks,omitempty" doc:"blocks of 1 KiB of the prompt, where replicas were compared by what they have seen of it"`
	Matched      int            `json:"matched,omitempty" doc:"of them, and of its session, what the chosen replica had seen"`
	Cut          bool           `json:"cut,omitempty" doc:"its output was bounded by what the money pays"`
	Outcome      string         `json:"outcome" doc:"finished, hung_up, broke, out_of_money or refused"`
	Code         string         `json:"code,omitempty" doc:"of the refusal or failure"`
	Reason       string         `json:"reason,omitempty"`
	Input        int64          `json:"input_tokens"`
	Output       int64          `json:"output_tokens"`
	Estimated    bool           `json:"estimated,omitempty" doc:"the tokens were estimated in part, since who served told no counts"`
	CostMicros   int64          `json:"cost_micros"`
	FirstByte    float64        `json:"first_byte_s,omitempty" doc:"until the client's first byte"`
	Took         float64        `json:"took_s"`

	Judgements []RequestJudgement `json:"judgements,omitempty" doc:"of the route's guard, in this order"`
	MoreJudged int                `json:"more_judged,omitempty" doc:"judgements that let something pass beyond those"`
}

// RequestJudgement is what a guard was asked on the way of a request, and said.
type RequestJudgement struct {
	When       string   `json:"when" doc:"before, of the prompt, or after, of the answer"`
	Guard      string   `json:"guard" doc:"its public name or address"`
	Verdict    string   `json:"verdict" doc:"allow, refuse, mask (which is taken as refuse), or none where there is no verdict"`
	Passed     bool     `json:"passed" doc:"what was judged went on"`
	Reason     string   `json:"reason,omitempty" doc:"the guard's, or why it did not judge"`
	Categories []string `json:"categories,omitempty" doc:"in the guard's words"`
	Request    string   `json:"request,omitempty" doc:"of what a model that judges was asked; it is booked to the route's project with the tag guard"`
	After      float64  `json:"after_s" doc:"since the request began"`
	Took       float64  `json:"took_s"`
	Chars      int      `json:"chars" doc:"characters that were judged"`
}

// RequestTry is one asking of one backend.
type RequestTry struct {
	Tier    int     `json:"tier"`
	Backend string  `json:"backend" doc:"dep_..., or prv_.../MODEL"`
	Name    string  `json:"name,omitempty" doc:"of the backend: local/DEPLOYMENT or PROVIDER/MODEL; missing where either is gone"`
	Replica string  `json:"replica"`
	After   float64 `json:"after_s" doc:"since the request began"`
	Waited  float64 `json:"waited_s,omitempty" doc:"for a place"`
	Took    float64 `json:"took_s" doc:"until the head of its answer, or its failure"`
	Status  int     `json:"status,omitempty" doc:"of its answer; none came where it is missing"`
	Full    bool    `json:"full,omitempty" doc:"it had no place in time"`
	Again   bool    `json:"again,omitempty" doc:"another was asked because of it"`
}

// NewProvider asks for an outside provider.
type NewProvider struct {
	Name         string `json:"name" maxLength:"63"`
	URL          string `json:"url" maxLength:"2048" doc:"https://..., with the path that its clients are given, such as /v1"`
	Dialect      string `json:"dialect,omitempty" maxLength:"64" doc:"openai, responses, openai,responses for both, anthropic or google; default openai"`
	Key          string `json:"key,omitempty" maxLength:"8192" doc:"its first key; kept sealed and never shown"`
	AllowPrivate bool   `json:"allow_private,omitempty" doc:"it may have an inner address, and plain http"`
}

// NewProviderKey is another key of a provider.
type NewProviderKey struct {
	Key string `json:"key" maxLength:"8192" doc:"kept sealed and never shown"`
}

// Provider is the model API of somebody else.
type Provider struct {
	ID           string        `json:"id"`
	Name         string        `json:"name"`
	URL          string        `json:"url"`
	Dialect      string        `json:"dialect"`
	AllowPrivate bool          `json:"allow_private,omitempty"`
	Keys         []ProviderKey `json:"keys" nullable:"false"`
	CreatedBy    string        `json:"created_by,omitempty"`
	CreatedAt    time.Time     `json:"created_at"`
}

// ProviderKey is a key of a provider, without its secret.
type ProviderKey struct {
	ID        string     `json:"id"`
	Hint      string     `json:"hint,omitempty" doc:"its last characters"`
	Rests     *time.Time `json:"rests_until,omitempty" doc:"the provider refused it and it is not used before this"`
	CreatedBy string     `json:"created_by,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
}

// ProviderTest is what a test of a provider found.
type ProviderTest struct {
	OK     bool    `json:"ok"`
	Took   float64 `json:"took_s"`
	Reason string  `json:"reason,omitempty"`
}

// RouteChange is what is to change of a route; what is left out stays as it is.
type RouteChange struct {
	Deployment string       `json:"deployment,omitempty" doc:"id or name of the only backend"`
	Backends   []NewBackend `json:"backends,omitempty" maxItems:"32" doc:"all that it is to lead to"`
	Aliases    *[]string    `json:"aliases,omitempty" doc:"all its further names"`
	PriceIn    *int64       `json:"price_in,omitempty" doc:"micro-units for 1,000,000 prompt tokens"`
	PriceOut   *int64       `json:"price_out,omitempty" doc:"micro-units for 1,000,000 completion tokens"`
	Prices     *PriceCard   `json:"prices,omitempty" doc:"the other prices; price_in and price_out come before its input and output"`
	Policy     NewPolicy    `json:"policy,omitzero"`
	Shared     *bool        `json:"shared,omitempty" doc:"every project of the organisation may use it"`
}

// PriceCard names prices one by one; one that is left out stays as it is, or is the usual one of something new.
// A price of cached input or of embedding of -1 follows that of input, one of reasoning that of output.
type PriceCard struct {
	Input       *int64 `json:"input,omitempty" yaml:"input" doc:"micro-units for 1,000,000 input tokens"`
	CachedInput *int64 `json:"cached_input,omitempty" yaml:"cached_input" doc:"micro-units for 1,000,000 input tokens taken from a cache"`
	Output      *int64 `json:"output,omitempty" yaml:"output" doc:"micro-units for 1,000,000 output tokens"`
	Reasoning   *int64 `json:"reasoning,omitempty" yaml:"reasoning" doc:"micro-units for 1,000,000 output tokens of reasoning"`
	Embedding   *int64 `json:"embedding,omitempty" yaml:"embedding" doc:"micro-units for 1,000,000 embedded tokens"`
	Request     *int64 `json:"request,omitempty" yaml:"request" doc:"micro-units for each request"`
}

// Prices are what a route costs: micro-units for 1,000,000 tokens, and for each request.
type Prices struct {
	Input       int64 `json:"input"`
	CachedInput int64 `json:"cached_input"`
	Output      int64 `json:"output"`
	Reasoning   int64 `json:"reasoning"`
	Embedding   int64 `json:"embedding"`
	Request     int64 `json:"request"`
}

// PriceVersion is what a route costs from a moment on. It never changes, and usage records name it.
type PriceVersion struct {
	ID        string    `json:"id"`
	RouteID   string    `json:"route_id"`
	Route     string    `json:"route"`
	Prices    Prices    `json:"prices"`
	CreatedBy string    `json:"created_by,omitempty" doc:"id of the key that set them"`
	CreatedAt time.Time `json:"created_at"`
}

// Route is a public model name of the model API.
type Route struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	Aliases      []string  `json:"aliases,omitempty"`
	DeploymentID string    `json:"deployment_id" doc:"of the first backend that is a deployment; empty when it leads to providers alone"`
	Backends     []Backend `json:"backends" nullable:"false" doc:"in the order in which they are asked"`
	PriceIn      int64     `json:"price_in"`
	PriceOut     int64     `json:"price_out"`
	Prices       Prices    `json:"prices"`
	PriceVersion string    `json:"price_version,omitempty" doc:"of its prices"`
	Policy       Policy    `json:"policy,omitzero"`
	Canary       *Canary   `json:"canary,omitempty" doc:"in a list the one that runs; of one route the newest"`
	Shared       bool      `json:"shared,omitempty"`
	CreatedAt    time.Time `json:"created_at"`
}

// Totals are sums of stored usage.
type Totals struct {
	Requests         int64 `json:"requests"`
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	CachedTokens     int64 `json:"cached_tokens,omitempty" doc:"of prompt_tokens: taken from a cache"`
	ReasoningTokens  int64 `json:"reasoning_tokens,omitempty" doc:"of completion_tokens: reasoning"`
	EmbeddingTokens  int64 `json:"embedding_tokens,omitempty"`
	Estimated        int64 `json:"estimated_requests,omitempty" doc:"of requests: whose tokens were estimated in part, since who served them told no counts"`
	CostMicros       int64 `json:"cost_micros"`
}

// UsageRow is the totals of one group.
type UsageRow struct {
	Name string `json:"name" doc:"the day, model, key or project, as grouped"`
	Totals
}

// Usage is what was used and what it cost.
type Usage struct {
	Totals Totals     `json:"totals"`
	Rows   []UsageRow `json:"rows" nullable:"false"`
	Next   string     `json:"next,omitempty" doc:"send it as after for the rows that follow; absent on the last page"`
}

// NewWebhook asks for an address to be told when spending comes to a threshold of a budget.
type NewWebhook struct {
	URL          string `json:"url" maxLength:"2048" doc:"https://..., which answers 2xx to events that it has taken"`
	Thresholds   []int  `json:"thresholds,omitempty" maxItems:"10" doc:"percent of a budget, from 1 to 100; default 50, 80 and 100"`
	Organisation bool   `json:"organisation,omitempty" doc:"tell of all budgets of the organisation, not the project's and those of its keys and models alone"`
	AllowPrivate bool   `json:"allow_private,omitempty" doc:"it may have an address inside the network, and plain http"`
}

// Webhook is an address that is told of budgets.
type Webhook struct {
	ID           string     `json:"id"`
	URL          string     `json:"url"`
	ProjectID    string     `json:"project_id,omitempty" doc:"absent: the whole organisation"`
	Thresholds   []int      `json:"thresholds" nullable:"false"`
	AllowPrivate bool       `json:"allow_private,omitempty"`
	LastError    string     `json:"last_error,omitempty" doc:"why the newest attempt did not arrive; absent when it did"`
	LastAt       *time.Time `json:"last_at,omitempty" doc:"of the newest attempt"`
	CreatedBy    string     `json:"created_by,omitempty"`
	CreatedAt    time.Time  `json:"created_at"`
}

// AddedWebhook is a new webhook with its secret.
type AddedWebhook struct {
	Secret  string  `json:"secret" doc:"what requests are signed with: Triarch-Signature is v1= and the hexadecimal HMAC-SHA256 of Triarch-Timestamp, a dot and the body; shown only now"`
	Webhook Webhook `json:"webhook"`
}

// ChipPrice is what an hour of one chip costs the operator.
type ChipPrice struct {
	Chip       string `json:"chip" doc:"class, such as nvidia-h100-sxm; cpu is that of replicas without chips"`
	HourMicros int64  `json:"hour_micros" doc:"micro-units for an hour of one chip"`
}

// ChipPriceChange sets what a class of chips costs.
type ChipPriceChange struct {
	HourMicros int64 `json:"hour_micros" minimum:"0" maximum:"1000000000000" doc:"micro-units for an hour of one chip"`
}

// MarginTotals is what was charged and what the chips cost that worked for it.
type MarginTotals struct {
	Requests       int64 `json:"requests"`
	ChargedMicros  int64 `json:"charged_micros"`
	ChipMillis     int64 `json:"chip_millis" doc:"milliseconds of one chip: of requests at once on a replica, each has an equal part of its chips"`
	ChipCostMicros int64 `json:"chip_cost_micros" doc:"at the chips' prices when it was booked"`
	MarginMicros   int64 `json:"margin_micros" doc:"charged less chips"`
}

// MarginRow is the margin of one group.
type MarginRow struct {
	Name string `json:"name" doc:"the model, project or day, as grouped"`
	MarginTotals
}

// Margin is what was earned over the cost of chips.
type Margin struct {
	Totals MarginTotals `json:"totals"`
	Rows   []MarginRow  `json:"rows" nullable:"false"`
	Next   string       `json:"next,omitempty" doc:"send it as after for the rows that follow; absent on the last page"`
}

// Books is what a verification of the ledger found; everything agrees when Faults is empty.
type Books struct {
	Records int64    `json:"records" doc:"stored records"`
	Rollups int64    `json:"rollups" doc:"daily sums"`
	Ledger  int64    `json:"ledger" doc:"records still in ledger files, compared with their rows"`
	Faults  []string `json:"faults" nullable:"false"`
}
