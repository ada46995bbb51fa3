package dialect

import (
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

func tooDeep(path string) error {
	return fault.InvalidField(path, "%s is nested more than %d deep.", path, maxOpenDepth)
}

func writeGoogle(r *Request) ([]byte, error) {
	w := &wire.Writer{}
	w.Open()
	googleTop(w, r)
	w.Key("contents")
	w.List()
	some := googleTurns(w, r)
	w.EndList()
	if !some {
		return nil, fault.InvalidField("messages", "messages has no turn of the user.")
	}
	writeGoogleTools(w, r)
	w.Key("generationConfig")
	w.Open()
	w.OptNum("temperature", r.Temperature)
	w.OptNum("topP", r.TopP)
	w.OptInt("topK", r.TopK)
	w.OptNum("frequencyPenalty", r.FrequencyPenalty)
	w.OptNum("presencePenalty", r.PresencePenalty)
	w.OptInt("seed", r.Seed)
	w.OptInt("maxOutputTokens", r.MaxTokens)
	w.OptInt("candidateCount", r.N)
	w.OptTexts("stopSequences", r.Stop)
	if r.Logprobs {
		w.FBool("responseLogprobs", true)
		w.OptInt("logprobs", r.TopLogprobs)
	}
	switch r.Format.Kind {
	case JSONSchema:
		w.FText("responseMimeType", "application/json")
		w.FRaw("responseJsonSchema", r.Format.Schema)
	case JSONObject:
		w.FText("responseMimeType", "application/json")
	}
	googleThinking(w, r.Reasoning)
	w.Close()
	r.writeExtras(w, Google)
	w.Close()
	return w.B, nil
}

func googleThinking(w *wire.Writer, x Reasoning) {
	level := map[string]string{"minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}[x.Effort]
	budget := x.Budget
	switch {
	case x.Effort == "none":
		budget = new(int64)
	case level != "" && budget != nil && *budget < 0: // a level leaves it to the model as well
		budget = nil
	}
	if level == "" && budget == nil && !x.Show {
		return
	}
	w.Key("thinkingConfig")
	w.Open()
	if budget != nil {
		w.FInt("thinkingBudget", *budget)
	} else {
		w.FSome("thinkingLevel", level)
	}
	if x.Show {
		w.FBool("includeThoughts", true)
	}
	w.Close()
}

func googleTop(w *wire.Writer, r *Request) {
	some := false
	for i := range r.Messages {
		m := &r.Messages[i]
		if m.Role != System && m.Role != Developer {
			continue
		}
		for j := range m.Parts {
			if m.Parts[j].Text == "" {
				continue
			}
			if !some {
				some = true
				w.Key("systemInstruction")
				w.Open()
				w.Key("parts")
				w.List()
			}
			w.Open()
			w.FText("text", m.Parts[j].Text)
			w.Close()
		}
	}
	if some {
		w.EndList()
		w.Close()
	}
}

func googleTurns(w *wire.Writer, r *Request) bool {
	open := ""
	turn := func(role string) {
		if open == role {
			return
		}
		if open != "" {
			w.EndList()
			w.Close()
		}
		open = role
		w.Open()
		w.FText("role", role)
		w.Key("parts")
		w.List()
	}
	names := map[string]string{} // of the calls so far, by id
	for i := range r.Messages {
		m := &r.Messages[i]
		role := "user"
		switch m.Role {
		case System, Developer:
			continue
		case Assistant:
			role = "model"
		}
		for j := range m.Parts {
			p := &m.Parts[j]
			if p.Kind == ToolCall {
				names[p.ToolID] = p.Name
			}
			if googleSays(p) {
				turn(role)
				googlePiece(w, p, names)
			}
		}
	}
	for _, p := range r.Prompts {
		turn("user")
		googlePiece(w, &Part{Text: p.Text}, names)
	}
	if open != "" {
		w.EndList()
		w.Close()
	}
	return open != ""
}

func googleSays(p *Part) bool {
	switch p.Kind {
	case Text, Refusal, Thought:
		return p.Text != "" || p.SignedBy == Google
	case Redacted:
		return false
	}
	return true
}

func googlePiece(w *wire.Writer, p *Part, names map[string]string) {
	w.Open()
	switch p.Kind {
	case ToolCall:
		w.Key("functionCall")
		w.Open()
		w.FSome("id", p.ToolID)
		w.FText("name", p.Name)
		w.FRaw("args", object(p.Text))
		w.Close()
	case ToolResult:
		googleAnswered(w, p, names)
	case Image, File, Audio:
		googleData(w, p)
	default:
		w.FText("text", p.Text)
		if p.Kind == Thought {
			w.FBool("thought", true)
		}
	}
	if p.SignedBy == Google {
		w.FSome("thoughtSignature", p.Signature)
	}
	w.Close()
}

func googleData(w *wire.Writer, p *Part) {
	switch {
	case p.URL != "":
		w.Key("fileData")
		w.Open()
		fallbacks := map[PartKind]string{Image: "image/jpeg", File: "application/pdf", Audio: "audio/mpeg"}
		w.FText("mimeType", orText(p.Media, mediaOf(p.URL, fallbacks[p.Kind])))
		w.FText("fileUri", p.URL)
		w.Close()
	case p.Text != "":
		w.FText("text", p.Text)
	default:
		w.Key("inlineData")
		w.Open()
		w.FText("mimeType", p.Media)
		w.FText("data", p.Data)
		w.Close()
	}
}

// googleAnswered writes a tool's result: an object as it is, anything else under a name.
func googleAnswered(w *wire.Writer, p *Part, names map[string]string) {
	text := plain(p.Parts)
	w.Key("functionResponse")
	w.Open()
	w.FSome("id", p.ToolID)
	w.FText("name", orText(p.Name, orText(names[p.ToolID], "tool")))
	w.Key("response")
	switch {
	case p.IsError:
		w.Open()
		w.FText("error", text)
		w.Close()
	case strings.HasPrefix(strings.TrimSpace(text), "{") && wire.Check([]byte(text)) == nil:
		w.Raw(compactJSON([]byte(text)))
	default:
		w.Open()
		w.FText("output", text)
		w.Close()
	}
	media := false
	for i := range p.Parts {
		m := &p.Parts[i]
		if m.Kind != Image && m.Kind != Audio && (m.Kind != File || m.Text != "") {
			continue
		}
		if !media {
			media = true
			w.Key("parts")
			w.List()
		}
		w.Open()
		googleData(w, m)
		w.Close()
	}
	if media {
		w.EndList()
	}
	w.Close()
}

func writeGoogleTools(w *wire.Writer, r *Request) {
	if len(r.Tools) == 0 {
		return
	}
	w.Key("tools")
	w.List()
	w.Open()
	w.Key("functionDeclarations")
	w.List()
	for i := range r.Tools {
		t := &r.Tools[i]
		w.Open()
		w.FText("name", t.Name)
		w.FSome("description", t.Description)
		w.OptRaw("parametersJsonSchema", t.Schema)
		w.Close()
	}
	w.EndList()
	w.Close()
	w.EndList()
	mode := map[ToolMode]string{ToolAuto: "AUTO", ToolNone: "NONE", ToolAny: "ANY", ToolOne: "ANY"}[r.Choice.Mode]
	if mode == "" && len(r.Choice.Names) == 0 {
		return
	}
	w.Key("toolConfig")
	w.Open()
	w.Key("functionCallingConfig")
	w.Open()
	w.FSome("mode", mode)
	w.OptTexts("allowedFunctionNames", r.Choice.Names)
	w.Close()
	w.Close()
}
