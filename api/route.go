package api

import (
	"time"
)

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
