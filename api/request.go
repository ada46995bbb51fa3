package api

import (
	"encoding/json"
	"time"
)

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
