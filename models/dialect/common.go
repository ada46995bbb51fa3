package dialect

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// Bounds of what a request may say; those of the model and of money are the gateway's.
const (
	maxOutput  = 1 << 30
	maxChoices = 128
	maxAnswers = 4096 // choices of all prompts
	maxTop     = 20   // logprobs at one place
	maxName    = 256
	maxStops   = 64
)

// rest notes the names inside of a part, message or tool that nobody knows.
func (r *Request) rest(o wire.Object) {
	for _, m := range o.Rest() {
		r.use(fPart, o.Field(m.Name))
	}
}

// note is use for an object's name, if it is there.
func (r *Request) note(o wire.Object, name string, f Feature) bool {
	if o.Has(name) {
		r.use(f, o.Field(name))
		return true
	}
	return false
}

// extras keeps the names at the top that nobody read, with the features of those that dialects share.
func (r *Request) extras(o wire.Object, shared map[string]Feature) {
	for _, m := range o.Rest() {
		r.Extra = append(r.Extra, Extra{m, shared[m.Name]})
	}
}

// writeExtras writes what the table lets through.
func (r *Request) writeExtras(w *wire.Writer, to Kind) {
	for _, x := range r.Extra {
		if r.carries(to, x) {
			if x.Feature == fTier || x.Feature == fAnthropicTier {
				x.Raw = tierFor(r.From, to, x.Raw)
			}
			w.FRaw(x.Name, x.Raw)
		}
	}
}

// family are the fields of the OpenAI dialects that are carried as they are.
var family = map[string]Feature{
	"metadata": fMetadata, "store": fStore, "service_tier": fTier, "logit_bias": fLogitBias, "prompt_cache_key": fCacheKey,
	"prompt_cache_retention": fRetention, "safety_identifier": fSafetyID, "prediction": fPrediction, "truncation": fTruncation,
	"include": fInclude, "max_tool_calls": fMaxCalls,
}

// number reads a field that steers sampling and notes it.
func (r *Request) number(o wire.Object, name string, f Feature, least, most float64) *float64 {
	r.note(o, name, f)
	return o.Num(name, least, most)
}

func (r *Request) integer(o wire.Object, name string, f Feature, least, most int64) *int64 {
	r.note(o, name, f)
	return o.Int(name, least, most)
}

// bound reads an output bound. One above what counts here means as much as there is room for.
func (r *Request) bound(o wire.Object, name string) *int64 {
	r.note(o, name, fMaxTokens)
	v, ok := o.Get(name)
	if !ok {
		return nil
	}
	n := v.Int()
	if n < 1 {
		o.Fail(name, "%s must be at least 1.", v.Path())
	}
	n = min(n, maxOutput)
	return &n
}

// sampling reads what all dialects of one naming have; names are those of OpenAI or, folded, of Google.
func (r *Request) sampling(o wire.Object, topP, topK, freq, pres string) {
	r.Temperature = r.number(o, "temperature", fTemperature, 0, 2)
	r.TopP = r.number(o, topP, fTopP, 0, 1)
	if topK != "" {
		if r.TopK = o.Int(topK, -1, 1<<31-1); r.TopK != nil && *r.TopK < 1 {
			r.TopK = nil // engines that have it take this for all of them
		} else if r.TopK != nil {
			r.use(fTopK, topK)
		}
	}
	if freq != "" {
		r.FrequencyPenalty = r.number(o, freq, fPenalty, -2, 2)
		r.PresencePenalty = r.number(o, pres, fPenalty, -2, 2)
		r.Seed = r.integer(o, "seed", fSeed, -1<<63, 1<<63-1)
	}
}

func (r *Request) stops(o wire.Object, name string, one bool) {
	r.Stop = o.Texts(name, one)
	if len(r.Stop) > 0 {
		r.use(fStop, o.Field(name))
	}
	if len(r.Stop) > maxStops {
		o.Fail(name, "%s has more than %d entries.", o.Field(name), maxStops)
	}
}

func (r *Request) choices(o wire.Object, name string) {
	if r.N = o.Int(name, 1, maxChoices); r.N != nil && *r.N > 1 {
		r.use(fN, o.Field(name))
	}
}

func (r *Request) model(o wire.Object) {
	v, ok := o.Get("model")
	if !ok {
		o.Doc().Fail(fault.New(fault.Invalid, "The request names no model.", fault.Field("model"), fault.Code("missing_required_parameter"),
			fault.Fix("Set model to one of the names that GET /v1/models lists.")))
		return
	}
	r.Model = v.Text()
	if r.Model == "" || len(r.Model) > maxName {
		o.Fail("model", "model must be a name of 1 to %d bytes.", maxName)
	}
	r.use(fModel, "model")
}

// dataURL parts data:TYPE;base64,DATA; false when s is no such URL.
func dataURL(s string) (media, data string, ok bool) {
	rest, ok := strings.CutPrefix(s, "data:")
	if !ok {
		return "", "", false
	}
	head, data, ok := strings.Cut(rest, ",")
	media, ok2 := strings.CutSuffix(head, ";base64")
	if !ok || !ok2 || !mediaType(media) {
		return "", "", false
	}
	return media, data, true
}

// mediaType says whether s can stand as a MIME type without harm: type/subtype of plain characters.
func mediaType(s string) bool {
	if len(s) > 128 || strings.Count(s, "/") != 1 || s[0] == '/' || s[len(s)-1] == '/' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("/.+-_", rune(c)) {
			return false
		}
	}
	return true
}

// fetchable says whether s is a URL that the upstream may fetch: a web address, no scheme that reads files.
func fetchable(s string) bool {
	return len(s) <= 1<<16 && (strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "gs://"))
}

// source fills a part from a URL that may carry its data.
func source(p *Part, o wire.Object, name, url string) {
	if media, data, ok := dataURL(url); ok {
		p.Media, p.Data = media, data
		return
	}
	if !fetchable(url) {
		o.Fail(name, "%s must be an http(s) URL or a data URL in base64.", o.Field(name))
		return
	}
	p.URL = url
}

func (p *Part) dataURL() string { return "data:" + p.Media + ";base64," + p.Data }

// mediaOf guesses the type of a file by its URL, as dialects that want one are told.
func mediaOf(url, fallback string) string {
	path, _, _ := strings.Cut(url, "?")
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return fallback
	}
	if m, ok := mediaByEnd[strings.ToLower(path[i+1:])]; ok {
		return m
	}
	return fallback
}

var mediaByEnd = map[string]string{"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif",
	"webp": "image/webp", "heic": "image/heic", "pdf": "application/pdf", "txt": "text/plain"}

// object gives the arguments of a tool call as a JSON object. Models sometimes write none: that text is kept under a
// name of its own instead of being lost.
func object(args string) []byte {
	if strings.TrimSpace(args) == "" {
		return []byte("{}")
	}
	if b := []byte(args); wire.Check(b) == nil && strings.TrimSpace(args)[0] == '{' {
		return compactJSON(b)
	}
	var w wire.Writer
	w.Open()
	w.FText("raw_arguments", args)
	w.Close()
	return w.B
}

func compactJSON(b []byte) []byte {
	out, err := json.Marshal(json.RawMessage(b)) // compact, and what no line can break on
	if err != nil {
		return []byte("null")
	}
	return out
}

// plain joins the text of parts.
func plain(parts []Part) string {
	var b strings.Builder
	for i := range parts {
		switch p := &parts[i]; p.Kind {
		case Text, Refusal, File:
			b.WriteString(p.Text)
		}
	}
	return b.String()
}

func join(parts []Part, kind PartKind) string {
	var b strings.Builder
	for i := range parts {
		if parts[i].Kind == kind {
			b.WriteString(parts[i].Text)
		}
	}
	return b.String()
}

// sign stands in ids of tool calls before a proof of Google's, which clients of other dialects have no field for.
const sign = "__proof_"

// packID gives a tool call's id to a client, with the proof that its maker wants back.
func packID(id, proof string, by Kind) string {
	if proof == "" || by != Google {
		return id
	}
	return id + sign + base64.RawURLEncoding.EncodeToString([]byte(proof))
}

// unpackID is the opposite.
func unpackID(s string) (id, proof string) {
	id, packed, ok := strings.Cut(s, sign)
	if !ok {
		return s, ""
	}
	b, err := base64.RawURLEncoding.DecodeString(packed)
	if err != nil {
		return s, ""
	}
	return id, string(b)
}

func (p *Part) setID(s string) {
	if p.ToolID, p.Signature = unpackID(s); p.Signature != "" {
		p.SignedBy = Google
	}
	if p.Kind == ToolResult {
		p.Signature, p.SignedBy = "", ""
	}
}

// seal writes a proof for clients of a dialect: their own maker's as it is, another's with its name.
func seal(proof string, by, to Kind) string {
	if proof == "" || by == to {
		return proof
	}
	return sealed + string(by) + ":" + proof
}

// unseal is the opposite.
func unseal(s string, from Kind) (proof string, by Kind) {
	if rest, ok := strings.CutPrefix(s, sealed); ok {
		if by, proof, ok := strings.Cut(rest, ":"); ok {
			switch k := Kind(by); k {
			case Responses, Anthropic, Google:
				return proof, k
			}
		}
	}
	return s, from
}

const sealed = "triarch:"

// signature is the feature of a proof by its maker.
func signature(by Kind) Feature {
	switch by {
	case Anthropic:
		return fSignAnthropic
	case Google:
		return fSignGoogle
	}
	return fSignOpenAI
}

// reasoned notes what a thought of the history asks for: its text, by the field that has it, and its proof.
func (r *Request) reasoned(p *Part, text, proof string) {
	f := fThought
	if p.SignedBy == Anthropic && p.Signature != "" {
		f = fThoughtSigned
	}
	if p.Kind == Thought && p.SignedBy != Responses && (p.Text != "" || f == fThoughtSigned) {
		r.use(f, text)
	}
	if p.Signature != "" {
		r.use(signature(p.SignedBy), proof)
	}
}

// efforts are the words for effort, least first.
var efforts = []string{"none", "minimal", "low", "medium", "high", "xhigh", "max"}

func (r *Request) effort(o wire.Object, name string) {
	v, ok := o.Get(name)
	if !ok {
		return
	}
	e := strings.ToLower(v.Text())
	if slices.Contains(efforts, e) {
		r.Reasoning.Effort = e
		r.use(fEffort, o.Field(name))
		return
	}
	o.Fail(name, "%s must be one of %s.", o.Field(name), strings.Join(efforts, ", "))
}

// both says whether there is an effort beside a budget of tokens: Google's dialect takes one of them, and the budget says
// more.
func (x Reasoning) both() bool {
	return x.Budget != nil && *x.Budget > 0 && x.Effort != "" && x.Effort != "none"
}

// effortWord is the effort for a dialect that knows no budgets.
func (x Reasoning) effortWord() string {
	switch {
	case x.Effort != "" || x.Budget == nil || *x.Budget < 0:
		return x.Effort
	case *x.Budget == 0:
		return "none"
	case *x.Budget <= 2048:
		return "low"
	case *x.Budget <= 8192:
		return "medium"
	}
	return "high"
}
