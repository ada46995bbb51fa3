package dialect

import (
	"sort"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Feature is a thing a request can ask for, whatever its dialects call it.
type Feature string

// Use is a feature of a request and the caller's field that asked for it.
type Use struct {
	Feature Feature
	Field   string
}

// Outcome is what becomes of a field towards a dialect.
type Outcome string

// The outcomes.
const (
	Mapped  Outcome = "mapped"  // the other dialect's request says it
	Dropped Outcome = "dropped" // it is left out, and named to the caller
	Refused Outcome = "refused" // the request fails, naming it
)

// Features. Those named after a dialect are that dialect's alone.
const (
	fModel          Feature = "model"
	fTurns          Feature = "turns"
	fPrompt         Feature = "prompt"
	fPrompts        Feature = "many prompts"
	fTokenPrompt    Feature = "prompt of tokens"
	fSuffix         Feature = "suffix"
	fEcho           Feature = "echo"
	fBestOf         Feature = "best_of"
	fImageURL       Feature = "image by URL"
	fImageData      Feature = "image as data"
	fImageDetail    Feature = "image detail"
	fAudio          Feature = "audio"
	fFileData       Feature = "file as data"
	fFileURL        Feature = "file by URL"
	fFileText       Feature = "file of text"
	fFileTitle      Feature = "file's name"
	fLeft           Feature = "file left here"
	fAnthropicDoc   Feature = "Anthropic document"
	fName           Feature = "name of a turn"
	fCalls          Feature = "tool calls"
	fResults        Feature = "tool results"
	fResultError    Feature = "failed tool"
	fResultMedia    Feature = "media in a tool result"
	fThought        Feature = "reasoning"
	fSignOpenAI     Feature = "OpenAI's signature"
	fSignAnthropic  Feature = "Anthropic's signature"
	fSignGoogle     Feature = "Google's signature"
	fThoughtSigned  Feature = "reasoning signed by Anthropic"
	fRefusal        Feature = "refusal"
	fTools          Feature = "tools"
	fStrictTool     Feature = "strict tools"
	fHosted         Feature = "hosted tools"
	fChoice         Feature = "tool choice"
	fSubset         Feature = "choice among some tools"
	fParallel       Feature = "parallel tools"
	fSchema         Feature = "JSON schema"
	fSchemaNote     Feature = "schema's description"
	fSchemaLax      Feature = "schema as a hint"
	fJSONObject     Feature = "JSON object"
	fGrammar        Feature = "grammar"
	fMaxTokens      Feature = "output bound"
	fTemperature    Feature = "temperature"
	fTopP           Feature = "top_p"
	fTopK           Feature = "top_k"
	fStop           Feature = "stop"
	fSeed           Feature = "seed"
	fN              Feature = "choices"
	fLogprobs       Feature = "logprobs"
	fPenalty        Feature = "penalties"
	fEffort         Feature = "reasoning effort"
	fBudget         Feature = "reasoning budget"
	fAdaptive       Feature = "reasoning as the model likes"
	fShow           Feature = "reasoning shown"
	fUser           Feature = "user"
	fVerbosity      Feature = "verbosity"
	fCache          Feature = "cache mark"
	fStream         Feature = "stream"
	fStreamUsage    Feature = "usage of a stream"
	fAnswer         Feature = "other output than text"
	fState          Feature = "state kept by the provider"
	fMetadata       Feature = "metadata"
	fStore          Feature = "store"
	fTier           Feature = "service tier"
	fLogitBias      Feature = "logit_bias"
	fCacheKey       Feature = "prompt_cache_key"
	fRetention      Feature = "prompt_cache_retention"
	fSafetyID       Feature = "safety_identifier"
	fPrediction     Feature = "prediction"
	fTruncation     Feature = "truncation"
	fInclude        Feature = "include"
	fMaxCalls       Feature = "max_tool_calls"
	fAnthropicTier  Feature = "Anthropic's service tier"
	fAnthropicGeo   Feature = "inference_geo"
	fAnthropicSpeed Feature = "speed"
	fContextEdits   Feature = "context management"
	fSafetySettings Feature = "safety settings"
	fGoogleLabels   Feature = "labels"
	fGoogleMedia    Feature = "media resolution"
	fPart           Feature = "unknown name inside" // of a part, a message or a tool
	fOther          Feature = ""                    // unknown name at the top
)

// reach says what each dialect can be told, in the order of Kinds: Mapped, Dropped or Refused by its first letter.
var reach = map[Feature]string{
	fModel: "MMMMM", fTurns: "MRMMM", fPrompt: "MMMMM", fPrompts: "RMRRR", fTokenPrompt: "RMRRR", fSuffix: "RMRRR",
	fEcho: "RMRRR", fBestOf: "RMRRR",
	fImageURL: "MRMMM", fImageData: "MRMMM", fImageDetail: "MRMDD", fAudio: "MRRRM",
	fFileData: "MRMMM", fFileURL: "RRMMM", fFileText: "MRMMM", fFileTitle: "MRMMD",
	fLeft: "MRMMM", fAnthropicDoc: "DRDDD",
	fName: "MRDDD", fCalls: "MRMMM", fResults: "MRMMM", fResultError: "DRDMM", fResultMedia: "MRMMM",
	fThought: "MRDDM", fThoughtSigned: "MRDMM", fSignOpenAI: "DRMDD", fSignAnthropic: "DRDMD", fSignGoogle: "DRDDM", fRefusal: "MRMMM",
	fTools: "MRMMM", fStrictTool: "MRMMD", fHosted: "RRRRR", fChoice: "MRMMM", fSubset: "MRMRM", fParallel: "MRMMD",
	fSchema: "MMMMM", fSchemaNote: "MMMDD", fSchemaLax: "MMMDD", fJSONObject: "MMMRM", fGrammar: "MMRRR",
	fMaxTokens: "MMMMM", fTemperature: "MMMMM", fTopP: "MMMMM", fTopK: "MMDMM", fStop: "MMRMM", fSeed: "MMDDM", fN: "MMRRM",
	fLogprobs: "MMMRM", fPenalty: "MMDDM",
	fEffort: "MDMMM", fBudget: "MDMMM", fAdaptive: "DDDMM", fShow: "DDMMM",
	fUser: "MMMMD", fVerbosity: "MDMDD", fCache: "DRDMD", fStream: "MMMMM", fStreamUsage: "MMMMM",
	fAnswer: "RRRRR", fState: "RRRRR",
	fMetadata: "MDMDD", fStore: "MDMDD", fTier: "MDMMD", fLogitBias: "MMDDD", fCacheKey: "MDMDD", fRetention: "MDMDD",
	fSafetyID: "MDMDD", fPrediction: "MDDDD", fTruncation: "DDMDD", fInclude: "DDMDD", fMaxCalls: "DDMDD",
	fAnthropicTier: "MDMMD", fAnthropicGeo: "DDDMD", fAnthropicSpeed: "DDDMD", fContextEdits: "DDDMD", fSafetySettings: "DDDDD", fGoogleLabels: "DDDDD", fGoogleMedia: "DDDDD",
	fPart: "DDDDD", fOther: "MMMDD",
}

var letters = map[byte]Outcome{'M': Mapped, 'D': Dropped, 'R': Refused}

// outcome is what becomes of a feature between two dialects. Two depend on where they come from: chat knows cache marks
// as an extension, and responses take only their own reasoning items back.
func outcome(from, to Kind, f Feature) Outcome {
	if from == to && (f == fCache && from == Chat || f == fThought && from == Responses) {
		return Mapped
	}
	if row := reach[f]; row != "" {
		for i, k := range Kinds {
			if k == to {
				return letters[row[i]]
			}
		}
	}
	return Refused
}

// use notes a feature by the field that asks for it.
func (r *Request) use(f Feature, field string) {
	u := Use{f, field}
	if r.used[u] {
		return
	}
	if f == fPart { // the only one whose names are the caller's to choose
		if r.unknown++; r.unknown > maxUnknown {
			return
		}
	}
	if r.used == nil {
		r.used = map[Use]bool{}
	}
	r.used[u] = true
	r.Uses = append(r.Uses, u)
}

// maxUnknown bounds how many names that nobody knows are told.
const maxUnknown = 64

// screen applies the table: the names that a dialect drops, or the fault of the first that it refuses.
func (r *Request) screen(to Kind) ([]string, error) {
	var dropped []string
	for _, u := range r.Uses {
		switch outcome(r.From, to, u.Feature) {
		case Refused:
			return nil, refusal(u, to)
		case Dropped:
			dropped = append(dropped, printable(u.Field))
		case Mapped:
			if u.Feature == fEffort && to == Google && r.Reasoning.both() {
				dropped = append(dropped, printable(u.Field))
			}
		}
	}
	for _, x := range r.Extra {
		if !r.carries(to, x) {
			dropped = append(dropped, printable(x.Name))
		}
	}
	sort.Strings(dropped)
	return dropped, nil
}

func refusal(u Use, to Kind) error {
	field := printable(u.Field)
	return fault.New(fault.Unsupported, field+" asks for "+what(u.Feature)+", which cannot be passed on to the dialect "+string(to)+
		" that serves this model.", fault.Field(field), fault.Code("unsupported_parameter"),
		fault.Fix("Leave it out, or use a model whose engine has it."))
}

func what(f Feature) string {
	if f == fTurns {
		return "a conversation"
	}
	return string(f)
}

// carries says whether an extra field is passed on: one that dialects share where the table says so, an unknown one
// where unknown names are allowed and it would not be taken for one of the dialect's own.
func (r *Request) carries(to Kind, x Extra) bool {
	return outcome(r.From, to, x.Feature) == Mapped && (x.Feature != fOther || r.From == to || !own[to][x.Name])
}

// printable makes a caller's name fit for a header.
func printable(s string) string {
	b := []byte(s)
	if len(b) > 96 {
		b = b[:96]
	}
	for i, c := range b {
		if c <= ' ' || c > '~' || c == ',' || c == '"' {
			b[i] = '?'
		}
	}
	return string(b)
}

// Row is a line of the table: what becomes of a caller's field towards a dialect.
type Row struct {
	From, To Kind
	Field    string // as people write it in the caller's dialect
	Outcome  Outcome
	Note     string // how, where it is not simply the same; may be empty
}

// Table gives every row for every two different dialects.
func Table() []Row {
	var rows []Row
	for _, from := range Kinds {
		for _, to := range Kinds {
			if from == to {
				continue
			}
			for _, f := range fields[from] {
				o := outcome(from, to, f.feature)
				rows = append(rows, Row{from, to, f.name, o, note(to, f.feature, o)})
			}
		}
	}
	return rows
}

func note(to Kind, f Feature, o Outcome) string {
	if o != Mapped {
		return ""
	}
	return notes[f][to]
}

// field is one field of a dialect as the table names it.
type field struct {
	name    string
	feature Feature
}

// own are the names at the top of each dialect's request, so that an unknown field of another dialect is never taken
// for one of them.
var own = ownNames()

func ownNames() map[Kind]map[string]bool {
	m := map[Kind]map[string]bool{}
	for _, k := range Kinds {
		m[k] = map[string]bool{}
		for _, f := range fields[k] {
			name, _, _ := strings.Cut(f.name, ".")
			name, _, _ = strings.Cut(name, "[")
			name, _, _ = strings.Cut(name, ":")
			m[k][name] = true
		}
	}
	for _, name := range []string{"stream_options", "functions", "function_call", "guided_grammar", "guided_json", "guided_regex",
		"guided_choice", "structured_outputs", "response_format", "prompt", "messages", "input", "previous_response_id"} {
		m[Chat][name], m[Completions][name], m[Responses][name] = true, true, true
	}
	return m
}
