package dialect

import (
	"slices"

	"github.com/triarch-ai/triarch/models/dialect/wire"
)

func writeChat(r *Request) ([]byte, error) {
	w := &wire.Writer{}
	w.Open()
	w.FText("model", r.Model)
	w.Key("messages")
	w.List()
	var shown []Part // what tools gave to see: their own messages have room for words alone
	for i := range r.Messages {
		m := &r.Messages[i]
		if m.Role != ToolRole {
			shown = chatShow(w, shown)
		}
		chatTurn(w, m, r.From == Chat)
		for j := range m.Parts {
			for _, p := range m.Parts[j].Parts {
				if p.Kind == Image || p.Kind == File && p.Text == "" {
					shown = append(shown, p)
				}
			}
		}
	}
	chatShow(w, shown)
	for _, p := range r.Prompts {
		w.Open()
		w.FText("role", "user")
		w.FText("content", p.Text)
		w.Close()
	}
	w.EndList()
	writeChatTools(w, r)
	writeFormat(w, r)
	w.OptInt("max_completion_tokens", r.MaxTokens)
	writeSampling(w, r)
	if r.Logprobs {
		w.FBool("logprobs", true)
	}
	w.OptInt("top_logprobs", r.TopLogprobs)
	w.FSome("reasoning_effort", r.Reasoning.effortWord())
	w.FSome("user", r.User)
	w.FSome("verbosity", r.Verbosity)
	writeStream(w, r)
	r.writeExtras(w, Chat)
	w.Close()
	return w.B, nil
}

// chatShow writes what tools gave to see, once all results of a turn are written.
func chatShow(w *wire.Writer, shown []Part) []Part {
	if len(shown) > 0 {
		chatTurn(w, &Message{Role: User, Parts: shown}, false)
	}
	return nil
}

// writeStream asks for a stream with its usage, which the gateway needs whether or not the client asked.
func writeStream(w *wire.Writer, r *Request) {
	if !r.Stream {
		return
	}
	w.FBool("stream", true)
	w.Key("stream_options")
	w.Open()
	w.FBool("include_usage", true)
	w.Close()
}

func writeSampling(w *wire.Writer, r *Request) {
	w.OptNum("temperature", r.Temperature)
	w.OptNum("top_p", r.TopP)
	w.OptInt("top_k", r.TopK)
	w.OptNum("frequency_penalty", r.FrequencyPenalty)
	w.OptNum("presence_penalty", r.PresencePenalty)
	w.OptInt("seed", r.Seed)
	w.OptTexts("stop", r.Stop)
	w.OptInt("n", r.N)
}

func chatTurn(w *wire.Writer, m *Message, marks bool) {
	if m.Role == ToolRole {
		for i := range m.Parts {
			p := &m.Parts[i]
			w.Open()
			w.FText("role", "tool")
			w.FText("tool_call_id", p.ToolID)
			w.FText("content", plain(p.Parts))
			w.Close()
		}
		return
	}
	w.Open()
	w.FText("role", string(m.Role))
	w.FSome("name", m.Name)
	if m.Role == Assistant {
		w.FSome("reasoning_content", join(m.Parts, Thought))
		w.FSome("refusal", join(m.Parts, Refusal))
	}
	chatParts(w, m, marks)
	chatCalls(w, m.Parts)
	w.Close()
}

// chatParts writes the content: a string where one text is all.
func chatParts(w *wire.Writer, m *Message, marks bool) {
	var shown []*Part
	for i := range m.Parts {
		switch p := &m.Parts[i]; p.Kind {
		case Text, Image, File, Audio:
			shown = append(shown, p)
		}
	}
	w.Key("content")
	switch {
	case len(shown) == 0 && slices.ContainsFunc(m.Parts, func(p Part) bool { return p.Kind == ToolCall || p.Kind == Refusal }):
		w.Raw(nil)
		return
	case len(shown) == 0:
		w.Text("")
		return
	case len(shown) == 1 && shown[0].Kind == Text && (shown[0].Cache == nil || !marks):
		w.Text(shown[0].Text)
		return
	}
	w.List()
	for _, p := range shown {
		chatPiece(w, p, marks)
	}
	w.EndList()
}

func chatPiece(w *wire.Writer, p *Part, marks bool) {
	w.Open()
	switch {
	case p.Kind == Image:
		w.FText("type", "image_url")
		w.Key("image_url")
		w.Open()
		w.FText("url", orText(p.URL, p.dataURL()))
		w.FSome("detail", p.Detail)
		w.Close()
	case p.Kind == Audio:
		w.FText("type", "input_audio")
		w.Key("input_audio")
		w.Open()
		w.FText("data", p.Data)
		w.FText("format", audioFormat(p.Media))
		w.Close()
	case p.Kind == File && p.Text == "":
		w.FText("type", "file")
		w.Key("file")
		w.Open()
		w.FText("file_data", p.dataURL())
		w.FSome("filename", p.Title)
		w.Close()
	default:
		w.FText("type", "text")
		w.FText("text", p.Text)
	}
	if marks {
		w.OptRaw("cache_control", p.Cache)
	}
	w.Close()
}

func audioFormat(media string) string {
	switch media {
	case "audio/mpeg", "audio/mp3":
		return "mp3"
	case "audio/x-wav", "audio/wave":
		return "wav"
	}
	return media[min(len("audio/"), len(media)):]
}

func chatCalls(w *wire.Writer, parts []Part) {
	some := false
	for i := range parts {
		p := &parts[i]
		if p.Kind != ToolCall {
			continue
		}
		if !some {
			some = true
			w.Key("tool_calls")
			w.List()
		}
		w.Open()
		w.FText("id", p.ToolID)
		w.FText("type", "function")
		w.Key("function")
		w.Open()
		w.FText("name", p.Name)
		w.FText("arguments", orText(p.Text, "{}"))
		w.Close()
		w.Close()
	}
	if some {
		w.EndList()
	}
}

func writeChatTools(w *wire.Writer, r *Request) {
	if len(r.Tools) > 0 {
		w.Key("tools")
		w.List()
		for i := range r.Tools {
			t := &r.Tools[i]
			w.Open()
			w.FText("type", "function")
			w.Key("function")
			w.Open()
			writeFunction(w, t)
			w.Close()
			if r.From == Chat {
				w.OptRaw("cache_control", t.Cache)
			}
			w.Close()
		}
		w.EndList()
	}
	writeChoice(w, r.Choice, "function")
	w.OptBool("parallel_tool_calls", r.Parallel)
}

func writeFunction(w *wire.Writer, t *Tool) {
	w.FText("name", t.Name)
	w.FSome("description", t.Description)
	w.OptRaw("parameters", t.Schema)
	w.OptBool("strict", t.Strict)
}

// writeChoice writes tool_choice; inside is the name that chat puts around a tool's name, empty for responses.
func writeChoice(w *wire.Writer, c ToolChoice, inside string) {
	named := func(name string) {
		w.Open()
		w.FText("type", "function")
		if inside != "" {
			w.Key(inside)
			w.Open()
		}
		w.FText("name", name)
		if inside != "" {
			w.Close()
		}
		w.Close()
	}
	mode := map[ToolMode]string{ToolAuto: "auto", ToolNone: "none", ToolAny: "required"}[c.Mode]
	switch {
	case c.Mode == ToolOne && len(c.Names) == 1:
		w.Key("tool_choice")
		named(c.Names[0])
	case len(c.Names) > 0:
		w.Key("tool_choice")
		w.Open()
		w.FText("type", "allowed_tools")
		if inside != "" {
			w.Key("allowed_tools")
			w.Open()
		}
		w.FText("mode", orText(mode, "auto"))
		w.Key("tools")
		w.List()
		for _, n := range c.Names {
			named(n)
		}
		w.EndList()
		if inside != "" {
			w.Close()
		}
		w.Close()
	case mode != "":
		w.FText("tool_choice", mode)
	}
}

// writeFormat writes response_format and grammar of chat and completions.
func writeFormat(w *wire.Writer, r *Request) {
	f := &r.Format
	switch f.Kind {
	case Grammar:
		w.FText("grammar", f.Grammar)
	case JSONObject:
		w.Key("response_format")
		w.Open()
		w.FText("type", "json_object")
		w.Close()
	case JSONSchema:
		w.Key("response_format")
		w.Open()
		w.FText("type", "json_schema")
		w.Key("json_schema")
		w.Open()
		writeSchema(w, f)
		w.Close()
		w.Close()
	}
}

func writeSchema(w *wire.Writer, f *Format) {
	w.FText("name", orText(f.Name, "answer"))
	w.FSome("description", f.Description)
	w.FRaw("schema", f.Schema)
	w.OptBool("strict", f.Strict)
}
