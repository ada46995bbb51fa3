package guard

import (
	"encoding/json"
	"maps"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
)

// MaxInputs is how many texts one request for moderation may have.
const MaxInputs = 32

// ParseModeration reads a request in the shape of OpenAI's moderations: the model, which may be empty, and the texts. A
// fault of kind Invalid or Unsupported names the field.
func ParseModeration(body []byte) (model string, inputs []string, err error) {
	x := gjson.ParseBytes(body)
	if !gjson.ValidBytes(body) || !x.IsObject() {
		return "", nil, fault.New(fault.Invalid, "The body is not one JSON object.", fault.Code("invalid_json"))
	}
	if m := x.Get("model"); m.Exists() && m.Type != gjson.Null {
		if model = m.Str; m.Type != gjson.String || len(model) > 256 {
			return "", nil, fault.InvalidField("model", "model must be a name.")
		}
	}
	in := x.Get("input")
	switch {
	case in.Type == gjson.String:
		return model, []string{in.Str}, nil
	case !in.IsArray():
		return "", nil, fault.New(fault.Invalid, "input must be a text or a list of texts.", fault.Field("input"))
	}
	parts := "" // a list of parts is one text
	for _, e := range in.Array() {
		switch {
		case e.Type == gjson.String:
			inputs = append(inputs, e.Str)
		case e.Get("type").Str == "text" && e.Get("text").Type == gjson.String:
			if parts != "" {
				parts += "\n"
			}
			parts += e.Get("text").Str
		default:
			return "", nil, fault.New(fault.Unsupported, "Only texts can be moderated here.", fault.Field("input"))
		}
		if len(inputs) > MaxInputs {
			return "", nil, fault.InvalidField("input", "input has more than %d texts.", MaxInputs)
		}
	}
	if parts != "" {
		inputs = append(inputs, parts)
	}
	if len(inputs) == 0 {
		return "", nil, fault.New(fault.Invalid, "input has no text.", fault.Field("input"))
	}
	return model, inputs, nil
}

// categories are those of OpenAI's moderations, which its clients read by name.
var categories = []string{"sexual", "sexual/minors", "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit",
	"illicit/violent", "self-harm", "self-harm/intent", "self-harm/instructions", "violence", "violence/graphic"}

// hazards are the categories of Llama Guard 3 (the MLCommons taxonomy, and S14 of its own) in these words. Those that have
// none there stand under their own code alone.
var hazards = map[string]string{"S1": "violence", "S2": "illicit", "S3": "sexual", "S4": "sexual/minors", "S9": "illicit/violent",
	"S10": "hate", "S11": "self-harm", "S12": "sexual"}

// WriteModeration writes the answer in OpenAI's shape: one result for each verdict. Categories of the judge's own stand
// beside OpenAI's. A score is the judge's where it tells one, else 1 or 0.
func WriteModeration(id, model string, verdicts []Verdict) ([]byte, error) {
	type result struct {
		Flagged    bool                `json:"flagged"`
		Categories map[string]bool     `json:"categories"`
		Scores     map[string]float64  `json:"category_scores"`
		Applied    map[string][]string `json:"category_applied_input_types"`
	}
	out := struct {
		ID      string   `json:"id"`
		Model   string   `json:"model"`
		Results []result `json:"results"`
	}{"modr-" + id, model, nil}
	for _, v := range verdicts {
		r := result{v.Refused, map[string]bool{}, map[string]float64{}, map[string][]string{}}
		for _, c := range categories {
			r.Categories[c], r.Scores[c], r.Applied[c] = false, 0, []string{"text"}
		}
		for _, c := range v.Categories {
			for _, name := range [...]string{c, hazards[c]} {
				if name != "" {
					r.Categories[name], r.Scores[name], r.Applied[name] = true, 1, []string{"text"}
				}
			}
		}
		maps.Copy(r.Scores, v.Scores)
		out.Results = append(out.Results, r)
	}
	return json.Marshal(out)
}
