package dialect

import (
	"strconv"

	"github.com/triarch-ai/triarch/models/dialect/wire"
)

func writeResponses(r *Request) ([]byte, error) {
	w := &wire.Writer{}
	w.Open()
	w.FText("model", r.Model)
	w.Key("input")
	w.List()
	for i := range r.Messages {
		responsesTurn(w, r, &r.Messages[i], i)
	}
	for _, p := range r.Prompts {
		messageItem(w, "user", []Part{{Text: p.Text}})
	}
	w.EndList()
	writeResponsesTools(w, r)
	writeChoice(w, r.Choice, "")
	w.OptBool("parallel_tool_calls", r.Parallel)
	writeText(w, r)
	w.OptInt("max_output_tokens", r.MaxTokens)
	w.OptNum("temperature", r.Temperature)
	w.OptNum("top_p", r.TopP)
	if r.Logprobs {
		w.OptInt("top_logprobs", r.TopLogprobs)
	}
	w.OptTexts("include", r.includes())
	if effort := r.Reasoning.effortWord(); effort != "" || r.Reasoning.Show {
		w.Key("reasoning")
		w.Open()
		w.FSome("effort", effort)
		if r.Reasoning.Show {
			w.FText("summary", "auto")
		}
		w.Close()
	}
	w.FSome("user", r.User)
	if r.Stream {
		w.FBool("stream", true)
	}
	r.writeExtras(w, Responses)
	w.Close()
	return w.B, nil
}

// includes are what an answer is to have that it has only when asked: logprobs, and for clients that can give it back the
// proof of the reasoning that they ask for.
func (r *Request) includes() (names []string) {
	if r.From == Responses {
		return nil // as it says itself
	}
	if r.Logprobs {
		names = append(names, "message.output_text.logprobs")
	}
	if effort := r.Reasoning.effortWord(); r.From == Anthropic && effort != "none" && (effort != "" || r.Reasoning.Show) {
		names = append(names, "reasoning.encrypted_content")
	}
	return names
}

func writeText(w *wire.Writer, r *Request) {
	if r.Verbosity == "" && r.Format.Kind == "" {
		return
	}
	w.Key("text")
	w.Open()
	w.FSome("verbosity", r.Verbosity)
	writeTextFormat(w, &r.Format)
	w.Close()
}

func writeTextFormat(w *wire.Writer, f *Format) {
	w.Key("format")
	w.Open()
	switch f.Kind {
	case JSONObject:
		w.FText("type", "json_object")
	case JSONSchema:
		w.FText("type", "json_schema")
		writeSchema(w, f)
	default:
		w.FText("type", "text")
	}
	w.Close()
}

func writeResponsesTools(w *wire.Writer, r *Request) {
	if len(r.Tools) == 0 {
		return
	}
	w.Key("tools")
	w.List()
	for i := range r.Tools {
		t := r.Tools[i]
		w.Open()
		w.FText("type", "function")
		if t.Strict == nil && r.From != Responses {
			t.Strict = new(bool) // absent means strict here, and not elsewhere
		}
		writeFunction(w, &t)
		w.Close()
	}
	w.EndList()
}

// responsesTurn writes the items of a message.
func responsesTurn(w *wire.Writer, r *Request, m *Message, n int) {
	var words []Part
	flush := func() {
		if len(words) > 0 {
			messageItem(w, string(m.Role), words)
			words = nil
		}
	}
	for i := range m.Parts {
		p := &m.Parts[i]
		switch p.Kind {
		case ToolCall:
			flush()
			w.Open()
			w.FText("type", "function_call")
			w.FText("call_id", p.ToolID)
			w.FText("name", p.Name)
			w.FText("arguments", orText(p.Text, "{}"))
			w.Close()
		case ToolResult:
			flush()
			w.Open()
			w.FText("type", "function_call_output")
			w.FText("call_id", p.ToolID)
			w.Key("output")
			writeOutput(w, p.Parts)
			w.Close()
		case Thought, Redacted:
			if r.From != Responses && p.SignedBy != Responses {
				continue
			}
			flush()
			reasoned := *p
			if p.SignedBy != Responses {
				reasoned.Signature = ""
			}
			writeReasoning(w, &reasoned, orText(p.ToolID, "rs_"+strconv.Itoa(n)+"_"+strconv.Itoa(i)), "")
		default:
			words = append(words, *p)
		}
	}
	flush()
}

func writeOutput(w *wire.Writer, parts []Part) {
	media := false
	for i := range parts {
		media = media || parts[i].Kind == Image || parts[i].Kind == File && parts[i].Text == ""
	}
	if !media {
		w.Text(plain(parts))
		return
	}
	w.List()
	for i := range parts {
		responsesPiece(w, &parts[i], "input_text")
	}
	w.EndList()
}

func messageItem(w *wire.Writer, role string, parts []Part) {
	w.Open()
	w.FText("type", "message")
	w.FText("role", role)
	w.Key("content")
	w.List()
	word := "input_text"
	if role == "assistant" {
		word = "output_text"
	}
	for i := range parts {
		responsesPiece(w, &parts[i], word)
	}
	w.EndList()
	w.Close()
}

func responsesPiece(w *wire.Writer, p *Part, word string) {
	w.Open()
	switch {
	case p.Kind == Image:
		w.FText("type", "input_image")
		w.FText("image_url", orText(p.URL, p.dataURL()))
		w.FText("detail", orText(p.Detail, "auto"))
	case p.Kind == File && p.Text == "":
		w.FText("type", "input_file")
		switch {
		case p.URL != "":
			w.FText("file_url", p.URL)
		default:
			w.FText("filename", orText(p.Title, "file"))
			w.FText("file_data", p.dataURL())
			w.Close()
			return
		}
		w.FSome("filename", p.Title)
	case p.Kind == Refusal:
		w.FText("type", "refusal")
		w.FText("refusal", p.Text)
	default:
		w.FText("type", word)
		w.FText("text", p.Text)
		if word == "output_text" {
			w.Key("annotations")
			w.List()
			w.EndList()
		}
	}
	w.Close()
}

// writeReasoning writes a reasoning item.
func writeReasoning(w *wire.Writer, p *Part, id, status string) {
	w.Open()
	w.FText("id", id)
	w.FText("type", "reasoning")
	w.Key("summary")
	w.List()
	if p.Text != "" {
		w.Open()
		w.FText("type", "summary_text")
		w.FText("text", p.Text)
		w.Close()
	}
	w.EndList()
	w.FSome("encrypted_content", p.Signature)
	w.FSome("status", status)
	w.Close()
}
