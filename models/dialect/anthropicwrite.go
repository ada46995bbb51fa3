package dialect

import (
	"encoding/base64"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// anthropicOutput is the output bound of a request that sets none: the dialect needs one.
const anthropicOutput = 4096

func writeAnthropic(r *Request) ([]byte, error) {
	if r.Temperature != nil && *r.Temperature > 1 {
		return nil, fault.InvalidField("temperature", "temperature must be at most 1 for this model.")
	}
	w := &wire.Writer{}
	w.Open()
	w.FText("model", r.Model)
	bound := int64(anthropicOutput)
	if r.MaxTokens != nil {
		bound = *r.MaxTokens
	}
	w.FInt("max_tokens", bound)
	anthropicTop(w, r)
	w.Key("messages")
	w.List()
	some := anthropicTurns(w, r)
	w.EndList()
	if !some {
		return nil, fault.InvalidField("messages", "messages has no turn of the user.")
	}
	writeAnthropicTools(w, r)
	writeThinking(w, r, bound)
	w.OptNum("temperature", r.Temperature)
	w.OptNum("top_p", r.TopP)
	w.OptInt("top_k", r.TopK)
	w.OptTexts("stop_sequences", r.Stop)
	if r.User != "" {
		w.Key("metadata")
		w.Open()
		w.FText("user_id", r.User)
		w.Close()
	}
	if r.Stream {
		w.FBool("stream", true)
	}
	r.writeExtras(w, Anthropic)
	w.Close()
	return w.B, nil
}

// anthropicTop gathers what the system says, wherever it stands.
func anthropicTop(w *wire.Writer, r *Request) {
	some := false
	for i := range r.Messages {
		m := &r.Messages[i]
		if m.Role != System && m.Role != Developer {
			continue
		}
		for j := range m.Parts {
			p := &m.Parts[j]
			if p.Text == "" {
				continue
			}
			if !some {
				some = true
				w.Key("system")
				w.List()
			}
			w.Open()
			w.FText("type", "text")
			w.FText("text", p.Text)
			w.OptRaw("cache_control", p.Cache)
			w.Close()
		}
	}
	if some {
		w.EndList()
	}
}

// anthropicTurns writes the conversation in turns that alternate.
func anthropicTurns(w *wire.Writer, r *Request) bool {
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
		w.Key("content")
		w.List()
	}
	for i := range r.Messages {
		m := &r.Messages[i]
		role := "user"
		switch m.Role {
		case System, Developer:
			continue
		case Assistant:
			role = "assistant"
		}
		for j := range m.Parts {
			if p := &m.Parts[j]; anthropicSays(p) {
				turn(role)
				writeBlock(w, p)
			}
		}
	}
	for _, p := range r.Prompts {
		turn("user")
		writeBlock(w, &Part{Text: p.Text})
	}
	if open != "" {
		w.EndList()
		w.Close()
	}
	return open != ""
}

// anthropicSays leaves out what the dialect refuses: empty texts, and thoughts that it did not sign.
func anthropicSays(p *Part) bool {
	switch p.Kind {
	case Text, Refusal:
		return p.Text != ""
	case Thought, Redacted:
		return p.Signature != "" && p.SignedBy == Anthropic
	case Audio:
		return false
	}
	return true
}

func writeBlock(w *wire.Writer, p *Part) {
	w.Open()
	switch p.Kind {
	case Text, Refusal:
		w.FText("type", "text")
		w.FText("text", p.Text)
	case Image:
		w.FText("type", "image")
		writeSource(w, p)
	case File:
		w.FText("type", "document")
		writeSource(w, p)
		w.FSome("title", p.Title)
	case Thought:
		w.FText("type", "thinking")
		w.FText("thinking", p.Text)
		w.FText("signature", p.Signature)
	case Redacted:
		w.FText("type", "redacted_thinking")
		w.FText("data", p.Signature)
	case ToolCall:
		w.FText("type", "tool_use")
		w.FText("id", p.ToolID)
		w.FText("name", p.Name)
		w.FRaw("input", object(p.Text))
	case ToolResult:
		w.FText("type", "tool_result")
		w.FText("tool_use_id", p.ToolID)
		w.Key("content")
		w.List()
		for i := range p.Parts {
			if anthropicSays(&p.Parts[i]) {
				writeBlock(w, &p.Parts[i])
			}
		}
		w.EndList()
		if p.IsError {
			w.FBool("is_error", true)
		}
	}
	w.OptRaw("cache_control", p.Cache)
	w.Close()
}

func writeSource(w *wire.Writer, p *Part) {
	text := p.Text
	if strings.HasPrefix(p.Media, "text/") && p.Data != "" {
		if b, err := base64.StdEncoding.DecodeString(p.Data); err == nil {
			text = string(b)
		}
	}
	w.Key("source")
	w.Open()
	switch {
	case p.URL != "":
		w.FText("type", "url")
		w.FText("url", p.URL)
	case text != "":
		w.FText("type", "text")
		w.FText("media_type", "text/plain")
		w.FText("data", text)
	default:
		w.FText("type", "base64")
		w.FText("media_type", p.Media)
		w.FText("data", p.Data)
	}
	w.Close()
}

func writeAnthropicTools(w *wire.Writer, r *Request) {
	if len(r.Tools) == 0 {
		return
	}
	w.Key("tools")
	w.List()
	for i := range r.Tools {
		t := &r.Tools[i]
		w.Open()
		w.FText("name", t.Name)
		w.FSome("description", t.Description)
		schema := t.Schema
		if schema == nil {
			schema = []byte(`{"type":"object","properties":{}}`)
		}
		w.FRaw("input_schema", schema)
		w.OptBool("strict", t.Strict)
		w.OptRaw("cache_control", t.Cache)
		w.Close()
	}
	w.EndList()
	mode := map[ToolMode]string{ToolAuto: "auto", ToolNone: "none", ToolAny: "any", ToolOne: "tool"}[r.Choice.Mode]
	if mode == "" && r.Parallel != nil {
		mode = "auto"
	}
	if mode == "" {
		return
	}
	w.Key("tool_choice")
	w.Open()
	w.FText("type", mode)
	if r.Choice.Mode == ToolOne && len(r.Choice.Names) > 0 {
		w.FText("name", r.Choice.Names[0])
	}
	if r.Parallel != nil && mode != "none" {
		w.FBool("disable_parallel_tool_use", !*r.Parallel)
	}
	w.Close()
}

// leastBudget is the least that the dialect lets a model think.
const leastBudget = 1024

func writeThinking(w *wire.Writer, r *Request, bound int64) {
	x := r.Reasoning
	effort := map[string]string{"minimal": "low", "none": ""}
	word, known := effort[x.Effort]
	if !known {
		word = x.Effort
	}
	if word != "" || r.Format.Kind == JSONSchema {
		w.Key("output_config")
		w.Open()
		w.FSome("effort", word)
		if r.Format.Kind == JSONSchema {
			w.Key("format")
			w.Open()
			w.FText("type", "json_schema")
			w.FRaw("schema", r.Format.Schema)
			w.Close()
		}
		w.Close()
	}
	kind, budget := "", int64(0)
	switch {
	case x.Effort == "none" || x.Budget != nil && *x.Budget == 0:
		kind = "disabled"
	case x.Budget != nil && *x.Budget > 0:
		kind, budget = "enabled", min(max(*x.Budget, leastBudget), bound-1)
		if budget < leastBudget {
			return // the bound leaves no room to think
		}
	case x.Budget != nil || x.Show:
		kind = "adaptive"
	default:
		return
	}
	w.Key("thinking")
	w.Open()
	w.FText("type", kind)
	if budget > 0 {
		w.FInt("budget_tokens", budget)
	}
	if x.Show && kind != "disabled" {
		w.FText("display", "summarized")
	}
	w.Close()
}
