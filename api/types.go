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
	Force    bool   `json:"force,omitempty" doc:"go on where it does not fit; what it was refused for is kept"`
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
	Forced       string             `json:"forced,omitempty" doc:"what it was refused for before its caller went on all the same"`
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
	Arch         string          `json:"arch" doc:"the family, as its files name it"`
	Params       int64           `json:"params" doc:"0: could not be counted"`
	Vocab        int             `json:"vocab_size"`
	Context      int             `json:"context" doc:"longest sequence in tokens; 0: not told"`
	DType        string          `json:"dtype" doc:"of most of the weights"`
	Chat         bool            `json:"chat" doc:"has a chat template"`
	Class        string          `json:"class,omitempty" doc:"the class that config.json names"`
	Form         string          `json:"form,omitempty" doc:"safetensors or gguf"`
	Quantisation string          `json:"quantisation,omitempty"`
	WeightBytes  int64           `json:"weight_bytes,omitempty" doc:"of the tensors as stored"`
	PerWeight    float64         `json:"bytes_per_weight,omitempty"`
	Kinds        []TensorKind    `json:"kinds,omitempty" doc:"what the tensors of each type take, largest first"`
	Transformer  json.RawMessage `json:"transformer,omitzero" doc:"layers, widths and heads; missing where they could not be read"`
	Unknown      string          `json:"unknown,omitempty" doc:"why they could not be read"`
	Foreign      string          `json:"foreign,omitempty" doc:"why the embedded engine cannot run the model; missing where it can"`
	Notes        []string        `json:"notes,omitempty" doc:"what disagrees, and what counts leave out"`
}

// TensorKind is what the tensors of one type take together.
type TensorKind struct {
	Type    string `json:"type"`
	Tensors int    `json:"tensors"`
	Numbers int64  `json:"numbers"`
	Bytes   int64  `json:"bytes"`
}

// Lineage says where a model version comes from.
type Lineage struct {
	RunID       string          `json:"run_id,omitempty"`
	DataVersion string          `json:"data_version,omitempty"`
	Base        string          `json:"base,omitempty"`
	Recipe      json.RawMessage `json:"recipe,omitzero"`
	CodeVersion string          `json:"code_version,omitempty"`
	Source      string          `json:"source,omitempty" doc:"run, import, pull or bundle"`
	Origin      string          `json:"origin,omitempty" doc:"hub and repository that it was pulled from, such as huggingface:org/name"`
	Revision    string          `json:"revision,omitempty" doc:"there: a commit where the hub tells it"`
	Hash        string          `json:"hash,omitempty" doc:"of its files there: SHA-256 over their checksums, sizes and names"`
	Pull        string          `json:"pull,omitempty" doc:"pull that brought it"`
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
	Memory    *ModelMemory       `json:"memory,omitempty" doc:"only where one version is shown and its shape is known"`
	Engines   []ModelEngine      `json:"engines,omitempty" doc:"which engines run it; only where one version is shown"`
	Metrics   map[string]float64 `json:"metrics,omitempty"`
	LossCurve []LossPoint        `json:"loss_curve,omitempty"`
	CreatedBy string             `json:"created_by,omitempty"`
	CreatedAt time.Time          `json:"created_at"`
}

// ModelMemory is what a model takes wherever it runs in the form that it is stored in.
type ModelMemory struct {
	Weights     int64 `json:"weights" doc:"bytes"`
	CachePer1K  int64 `json:"cache_per_1k_tokens" doc:"bytes of keys and values of the first 1,000 tokens of a sequence, two bytes a number"`
	Active      int64 `json:"active_params,omitempty" doc:"parameters that one token uses; missing where it is all"`
	NativeBytes int64 `json:"native_weights,omitempty" doc:"bytes of the weights in the embedded engine, where it runs the model"`
}

// ModelEngine is an engine with what is known of it and a model.
type ModelEngine struct {
	Engine string   `json:"engine"`
	Runs   string   `json:"runs" doc:"yes, no or not known"`
	Why    string   `json:"why"`
	Makes  []string `json:"makes,omitempty" doc:"of the chips that the catalogue knows it on"`
}

// ModelFit says on which chips of the fleet a model version fits.
type ModelFit struct {
	Model  string          `json:"model" doc:"name@number"`
	ID     string          `json:"id"`
	Params int64           `json:"params"`
	Bytes  int64           `json:"weight_bytes"`
	Places []ModelFitPlace `json:"places" nullable:"false" doc:"one for each class of chips of the fleet"`
}

// ModelFitPlace is a class of chips of the fleet for a model.
type ModelFitPlace struct {
	Chip    string   `json:"chip"`
	Has     int      `json:"has" doc:"chips that there are; of processors machines"`
	Fits    bool     `json:"fits"`
	Why     string   `json:"why,omitempty" doc:"why it does not fit, or what is not known"`
	Count   int      `json:"count,omitempty" doc:"the smallest number of chips that holds the model"`
	Engine  string   `json:"engine,omitempty" doc:"of the catalogue, that runs the model there"`
	Longest int      `json:"longest,omitempty" doc:"tokens of the longest sequence that these chips hold, no longer than the model's"`
	Task    string   `json:"task,omitempty" doc:"decode or embed: what the rate is of"`
	Context int      `json:"context,omitempty" doc:"tokens of the sequence that the rate is for"`
	Rate    *Span    `json:"tokens_per_second,omitempty" doc:"of one sequence"`
	Known   string   `json:"known,omitempty" doc:"measured, corrected or prior"`
	Assumed []string `json:"assumed,omitempty"`
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
	Force       bool      `json:"force,omitempty" doc:"go on where it does not fit; what it was refused for is kept"`
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
	Forced       string    `json:"forced,omitempty" doc:"what it was refused for before its caller went on all the same"`
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
