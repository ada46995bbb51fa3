package dialect

import (
	"bytes"
	"slices"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Tier is a class of service that a caller can ask for.
type Tier uint8

// The tiers.
const (
	NoTier       Tier = iota // the request names none
	AutoTier                 // whichever the caller is entitled to
	DefaultTier              // the usual one
	FlexTier                 // cheaper, and waits behind others
	PriorityTier             // goes before others
)

// String is the word that OpenAI has for the tier.
func (t Tier) String() string {
	return [...]string{"", "auto", "default", "flex", "priority"}[min(t, PriorityTier)]
}

// tierWords are what each dialect calls them in a request. Anthropic's auto is "priority if there is any for me".
var tierWords = map[Kind]map[string]Tier{
	Chat:      {"auto": AutoTier, "default": DefaultTier, "flex": FlexTier, "priority": PriorityTier},
	Responses: {"auto": AutoTier, "default": DefaultTier, "flex": FlexTier, "priority": PriorityTier},
	Anthropic: {"auto": AutoTier, "standard_only": DefaultTier},
}

// ParseTier reads the value of service_tier, as JSON. Dialects without one, and null, name none.
func ParseTier(d Kind, raw []byte) (Tier, error) {
	words := tierWords[d]
	if words == nil || len(raw) == 0 || string(raw) == "null" {
		return NoTier, nil
	}
	v := gjson.ParseBytes(raw)
	if t, ok := words[v.Str]; ok && v.Type == gjson.String {
		return t, nil
	}
	if d == Anthropic {
		return NoTier, fault.InvalidField("service_tier", "service_tier must be auto or standard_only.")
	}
	return NoTier, fault.InvalidField("service_tier", "service_tier must be auto, default, flex or priority.")
}

// tierFor is how a request of one dialect says its tier in another: the nearest that asks for no more than the caller did.
func tierFor(from, to Kind, raw []byte) []byte {
	t, err := ParseTier(from, raw)
	switch {
	case err != nil || from == to || from == Chat && to == Responses || from == Responses && to == Chat:
		return raw
	case to == Anthropic && (t == AutoTier || t == PriorityTier):
		return []byte(`"auto"`)
	case to == Anthropic:
		return []byte(`"standard_only"`)
	}
	return []byte(`"` + t.String() + `"`)
}

// TellTier has an answer in one piece say which tier served it, where its dialect does.
func TellTier(d Kind, body []byte, t Tier) []byte {
	at := ""
	kind := gjson.GetBytes(body, "type").Str
	switch {
	case d == Anthropic && kind == "message" && gjson.GetBytes(body, "usage").IsObject():
		at = "usage.service_tier"
	case d == Anthropic && kind == "message_start" && gjson.GetBytes(body, "message.usage").IsObject():
		at = "message.usage.service_tier"
	case d == Chat && gjson.GetBytes(body, "choices").Exists():
		at = "service_tier"
	case d == Responses && gjson.GetBytes(body, "response").IsObject():
		at = "response.service_tier"
	case d == Responses && gjson.GetBytes(body, "object").Str == "response":
		at = "service_tier"
	default:
		return body
	}
	word := t.String()
	if d == Anthropic && t != PriorityTier {
		word = "standard"
	}
	out, err := sjson.SetBytes(body, at, word)
	if err != nil {
		return body // it is no JSON: somebody else's to say
	}
	return out
}

// TellTierEvents is TellTier of a piece of an event stream, which has whole lines.
func TellTierEvents(d Kind, data []byte, t Tier) []byte {
	if !slices.Contains([]Kind{Chat, Responses, Anthropic}, d) {
		return data
	}
	out := make([]byte, 0, len(data)+64)
	for line := range bytes.Lines(data) {
		rest, ok := bytes.CutPrefix(line, []byte("data:"))
		doc := bytes.TrimSpace(rest)
		if !ok || len(doc) < 2 || doc[0] != '{' || doc[len(doc)-1] != '}' {
			out = append(out, line...)
			continue
		}
		out = append(append(out, "data: "...), TellTier(d, doc, t)...)
		out = append(out, line[len(line)-(len(rest)-len(bytes.TrimRight(rest, "\r\n"))):]...)
	}
	return out
}
