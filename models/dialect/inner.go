package dialect

import (
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// Request is a request in no dialect. The zero value of a field means that the caller did not say.
type Request struct {
	From     Kind
	Model    string
	Stream   bool
	Usage    bool // the client asked for the usage of the stream
	Messages []Message

	Prompts []Prompt // of completions, instead of Messages
	Suffix  string
	Echo    bool
	BestOf  *int64

	Tools    []Tool
	Choice   ToolChoice
	Parallel *bool // may several tools be called at once

	Format    Format
	MaxTokens *int64 // of the output, reasoning included
	Stop      []string
	N         *int64

	Temperature, TopP, FrequencyPenalty, PresencePenalty *float64
	TopK, Seed                                           *int64
	Logprobs                                             bool
	TopLogprobs                                          *int64
	Reasoning                                            Reasoning
	User                                                 string
	Verbosity                                            string
	Previous                                             string // of responses: previous_response_id, for the answer
	Instructions                                         string // of responses, for the answer; Messages have them too

	Extra []Extra // fields that are carried as they are
	Uses  []Use   // what the caller said, by feature; filled by the parser

	used    map[Use]bool
	unknown int
}

// Extra is a field that is passed on as it is where the other side has it. A name without a feature is known to no
// dialect.
type Extra struct {
	wire.Member
	Feature Feature
}

// Role says whose words a message is.
type Role string

// The roles.
const (
	System    Role = "system"
	Developer Role = "developer"
	User      Role = "user"
	Assistant Role = "assistant"
	ToolRole  Role = "tool"
)

// Message is one turn. A tool's message has ToolResult parts alone.
type Message struct {
	Role  Role
	Name  string
	Parts []Part
}

// PartKind says what a part is.
type PartKind uint8

// The kinds of parts. What each uses of Part stands beside it.
const (
	Text       PartKind = iota // Text
	Image                      // URL, or Media and Data; Detail
	File                       // URL, or Media and Data, or Text; Title
	Audio                      // Media and Data
	Thought                    // Text, the model's reasoning; Signature
	Redacted                   // Signature: reasoning that only its maker can read
	ToolCall                   // ToolID, Name, Text (the arguments as JSON text); Signature
	ToolResult                 // ToolID, Name, Parts; IsError
	Refusal                    // Text
)

// Part is a piece of a message or an answer.
type Part struct {
	Kind      PartKind
	Text      string
	URL       string
	Media     string // the MIME type
	Data      string // base64
	Title     string
	Detail    string
	ToolID    string
	Name      string
	Signature string // an opaque proof of reasoning, which only its maker reads
	SignedBy  Kind   // Responses, Anthropic or Google
	Parts     []Part
	IsError   bool
	Cache     []byte // a cache mark as JSON: the prompt up to here is worth keeping
}

// Tool is a function that the model may call. Schema is JSON schema.
type Tool struct {
	Name, Description string
	Schema            []byte
	Strict            *bool
	Cache             []byte
}

// ToolChoice says which tools the model may or must call. Names without Mode ToolOne narrow the choice.
type ToolChoice struct {
	Mode  ToolMode
	Names []string
}

// ToolMode is how a model is to use tools.
type ToolMode string

// The modes; empty leaves it to the upstream, which means ToolAuto where there are tools.
const (
	ToolAuto ToolMode = "auto"
	ToolNone ToolMode = "none"
	ToolAny  ToolMode = "any" // at least one
	ToolOne  ToolMode = "one" // the one of Names
)

// FormatKind is the form that an answer must have.
type FormatKind string

// The forms; empty is free text.
const (
	JSONObject FormatKind = "json_object"
	JSONSchema FormatKind = "json_schema"
	Grammar    FormatKind = "grammar"
)

// Format is the form that an answer must have.
type Format struct {
	Kind              FormatKind
	Name, Description string
	Schema            []byte
	Strict            *bool
	Grammar           string
}

// Reasoning says how much the model should think. Effort is one of none, minimal, low, medium, high, xhigh, max;
// Budget is in tokens, -1 leaves it to the model.
type Reasoning struct {
	Effort string
	Budget *int64
	Show   bool // the thoughts are wanted in the answer
}

// Prompt is a prompt of completions: text or tokens.
type Prompt struct {
	Text   string
	Tokens []int64
}

// Answer is a whole answer in no dialect.
type Answer struct {
	ID      string
	Model   string
	Created int64
	Choices []Choice // by index, from 0
	Usage   Usage
}

// Choice is one of the answers to a request.
type Choice struct {
	Parts    []Part // Text, Refusal, Thought, Redacted, ToolCall
	Stop     Stop
	Sequence string // the stop sequence that was met, where the upstream says it
	Logprobs []Logprob
}

// Logprob is a token of the output with its probability, the natural logarithm, and those of the best ones there.
type Logprob struct {
	Token   string
	Logprob float64
	Bytes   []byte // of the token, nil when not said
	Top     []Logprob
}

// Stop says why an answer ended.
type Stop string

// Reasons to stop.
const (
	StopEnd      Stop = "end"      // the model was done
	StopSequence Stop = "sequence" // a stop sequence was met
	StopLength   Stop = "length"   // the output bound or the context ended
	StopTools    Stop = "tools"    // tools are to be called
	StopFilter   Stop = "filter"   // a filter of the upstream cut it
	StopRefusal  Stop = "refusal"  // the model refused
	StopPause    Stop = "pause"    // the upstream paused a long turn
)

// Usage counts tokens. Input holds all of the input, CachedInput and CacheWrite are parts of it; Output holds all of
// the output, Reasoning is a part of it.
type Usage struct {
	Known                                             bool // the upstream said it
	Input, CachedInput, CacheWrite, Output, Reasoning int64
}

// EventKind says what an Event is.
type EventKind uint8

// The kinds of events. A stream is one Started, then anything, a Stopped for each choice, and Ended or Failed.
const (
	Started      EventKind = iota // ID, Model, Created; Usage.Input as far as anybody can tell yet
	TextDelta                     // Choice, Text, Logprobs
	RefusalDelta                  // Choice, Text
	ThoughtDelta                  // Choice, Text
	Signed                        // Choice, Text, SignedBy: proves the thought before it
	RedactedPart                  // Choice, Text, SignedBy
	ToolStart                     // Choice, Tool, ToolID, Name; Text and SignedBy when signed
	ToolDelta                     // Choice, Tool, Text: a piece of the arguments
	Stopped                       // Choice, Stop, Sequence
	Counted                       // Usage: the counts so far, replacing what was said before
	Ping                          // nothing: the upstream lives
	Ended                         // nothing follows
	Failed                        // Err, a fault; nothing follows
)

// Event is a step of an answer.
type Event struct {
	Kind     EventKind
	Choice   int
	Tool     int // which tool call of the choice, from 0
	Text     string
	ToolID   string
	Name     string
	SignedBy Kind
	Stop     Stop
	Sequence string
	Logprobs []Logprob
	Usage    Usage
	ID       string
	Model    string
	Created  int64
	Err      error
}
