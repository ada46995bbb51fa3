package dialect

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/triarch-ai/triarch/models/dialect/wire"
)

func parseResponsesAnswer(body []byte) (*Answer, error) {
	doc, o := wire.Parse(body)
	if doc.Err() != nil {
		return nil, doc.Err()
	}
	if o.Has("error") {
		return nil, openaiFailure(0, o)
	}
	if o.Text("object") != "response" {
		return nil, errors.New("dialect: the answer is no response")
	}
	a := &Answer{ID: o.Text("id"), Model: o.Text("model"), Created: created(o), Usage: countsOf(o, "input_tokens", "output_tokens")}
	var c Choice
	list := o.List("output")
	if len(list) > maxCalls {
		return nil, errors.New("dialect: too many items")
	}
	called := false
	for _, e := range list {
		it := e.Obj()
		switch it.Text("type") {
		case "message":
			c.message(it)
		case "function_call":
			called = true
			c.Parts = append(c.Parts, Part{Kind: ToolCall, ToolID: it.Text("call_id"), Name: it.Text("name"), Text: it.Text("arguments")})
		case "reasoning":
			p := Part{Kind: Thought, Text: reasoningWords(it), Signature: it.Text("encrypted_content")}
			if p.Signature != "" {
				p.SignedBy = Responses
			}
			if p.Text != "" || p.Signature != "" {
				c.Parts = append(c.Parts, p)
			}
		}
	}
	c.Stop = responsesStop(o, called)
	a.Choices = []Choice{c}
	return a, doc.Err()
}

// created is a time that may come with a fraction.
func created(o wire.Object) int64 {
	if n := o.Num("created_at", 0, maxCount); n != nil {
		return int64(*n)
	}
	return 0
}

func (c *Choice) message(it wire.Object) {
	for _, e := range it.List("content") {
		p := e.Obj()
		switch p.Text("type") {
		case "output_text":
			c.Parts = append(c.Parts, Part{Text: p.Text("text")})
			c.Logprobs = append(c.Logprobs, parseLogprobs(p.List("logprobs"))...)
		case "refusal":
			c.Parts = append(c.Parts, Part{Kind: Refusal, Text: p.Text("refusal")})
		}
	}
}

func responsesStop(o wire.Object, called bool) Stop {
	d, _ := o.Obj("incomplete_details")
	switch reason := d.Text("reason"); {
	case o.Text("status") == "incomplete" && reason == "content_filter":
		return StopFilter
	case o.Text("status") == "incomplete":
		return StopLength
	case called:
		return StopTools
	}
	return StopEnd
}

// respItem is an item of the output in the making.
type respItem struct {
	id    string
	parts []Part // of a message several, else one
	probs []Logprob
}

func (it *respItem) kind() PartKind {
	switch k := it.parts[0].Kind; k {
	case Thought, Redacted, ToolCall:
		return k
	}
	return Text
}

func writeItem(w *wire.Writer, it *respItem, status string) {
	p := &it.parts[0]
	switch it.kind() {
	case ToolCall:
		w.Open()
		w.FText("id", it.id)
		w.FText("type", "function_call")
		w.FText("status", status)
		w.FText("call_id", p.ToolID)
		w.FText("name", p.Name)
		w.FText("arguments", p.Text)
		w.Close()
	case Thought, Redacted:
		sealed := *p
		sealed.Signature = seal(p.Signature, p.SignedBy, Responses)
		writeReasoning(w, &sealed, it.id, status)
	default:
		w.Open()
		w.FText("id", it.id)
		w.FText("type", "message")
		w.FText("status", status)
		w.FText("role", "assistant")
		w.Key("content")
		w.List()
		if status != "in_progress" {
			for i := range it.parts {
				writeContent(w, &it.parts[i], it.probs)
			}
		}
		w.EndList()
		w.Close()
	}
}

func writeContent(w *wire.Writer, p *Part, probs []Logprob) {
	w.Open()
	if p.Kind == Refusal {
		w.FText("type", "refusal")
		w.FText("refusal", p.Text)
	} else {
		w.FText("type", "output_text")
		w.FText("text", p.Text)
		w.Key("annotations")
		w.List()
		w.EndList()
		w.Key("logprobs")
		writeLogprobs(w, probs)
	}
	w.Close()
}

// respState is what a response object says beside the request.
type respState struct {
	id, model string
	created   int64
	status    string // in_progress, completed, incomplete or failed
	reason    string // of incomplete
	failure   error
	items     []*respItem
	usage     Usage
}

// settle says how the answer ended.
func (s *respState) settle(stop Stop) {
	s.status = "completed"
	switch stop {
	case StopLength:
		s.status, s.reason = "incomplete", "max_output_tokens"
	case StopFilter:
		s.status, s.reason = "incomplete", "content_filter"
	}
}

func writeResponse(w *wire.Writer, r *Request, s *respState) {
	w.Open()
	w.FText("id", s.id)
	w.FText("object", "response")
	w.FInt("created_at", s.created)
	w.FText("status", s.status)
	w.FBool("background", false)
	w.Key("error")
	if s.failure != nil {
		code, message, _ := failureWords(s.failure)
		w.Open()
		w.FText("code", code)
		w.FText("message", message)
		w.Close()
	} else {
		w.Raw(nil)
	}
	w.Key("incomplete_details")
	if s.reason != "" {
		w.Open()
		w.FText("reason", s.reason)
		w.Close()
	} else {
		w.Raw(nil)
	}
	w.FOrNull("instructions", r.Instructions)
	w.Key("max_output_tokens")
	if r.MaxTokens != nil {
		w.Int(*r.MaxTokens)
	} else {
		w.Raw(nil)
	}
	w.FText("model", s.model)
	w.Key("output")
	w.List()
	for _, it := range s.items {
		writeItem(w, it, itemStatus(s.status))
	}
	w.EndList()
	echoRequest(w, r)
	if s.usage.Known {
		writeCounts(w, s.usage, "input_tokens", "output_tokens")
	} else {
		w.FRaw("usage", nil)
	}
	w.Close()
}

func itemStatus(status string) string {
	if status == "failed" {
		return "incomplete"
	}
	return status
}

// echoRequest repeats what the request asked for, as the dialect does.
func echoRequest(w *wire.Writer, r *Request) {
	parallel := r.Parallel == nil || *r.Parallel
	w.FBool("parallel_tool_calls", parallel)
	w.FOrNull("previous_response_id", r.Previous)
	w.Key("reasoning")
	w.Open()
	w.FOrNull("effort", r.Reasoning.Effort)
	summary := ""
	if r.Reasoning.Show {
		summary = "auto"
	}
	w.FOrNull("summary", summary)
	w.Close()
	one := 1.0
	orOne := func(p *float64) *float64 {
		if p == nil {
			return &one
		}
		return p
	}
	w.OptNum("temperature", orOne(r.Temperature))
	w.OptNum("top_p", orOne(r.TopP))
	w.Key("text")
	w.Open()
	writeTextFormat(w, &r.Format)
	w.FText("verbosity", orText(r.Verbosity, "medium"))
	w.Close()
	if r.Choice.Mode == "" {
		w.FText("tool_choice", "auto")
	} else {
		writeChoice(w, r.Choice, "")
	}
	if len(r.Tools) == 0 {
		w.Key("tools")
		w.List()
		w.EndList()
	} else {
		writeResponsesTools(w, r)
	}
	echo := map[string]json.RawMessage{"truncation": []byte(`"disabled"`), "store": []byte("true"), "metadata": []byte("{}"), "service_tier": []byte(`"default"`)}
	for _, x := range r.Extra {
		if _, ok := echo[x.Name]; ok {
			echo[x.Name] = x.Raw
		}
	}
	for _, name := range []string{"truncation", "store", "service_tier", "metadata"} {
		w.FRaw(name, echo[name])
	}
	w.FOrNull("user", r.User)
}

func printResponses(r *Request, a *Answer) []byte {
	s := &respState{id: a.ID, model: a.Model, created: a.Created, usage: a.Usage}
	var c Choice
	if len(a.Choices) > 0 {
		c = a.Choices[0]
	}
	var last *respItem
	for _, p := range forClient(c.Parts) {
		message := p.Kind == Text || p.Kind == Refusal
		if message && last != nil && last.kind() == Text {
			last.parts = append(last.parts, p)
			continue
		}
		last = &respItem{id: s.itemID(p.Kind), parts: []Part{p}}
		if message {
			last.probs = c.Logprobs
		}
		s.items = append(s.items, last)
	}
	s.settle(c.Stop)
	w := &wire.Writer{}
	writeResponse(w, r, s)
	return w.B
}

// itemID names the next item of the output.
func (s *respState) itemID(k PartKind) string {
	prefix := "msg_"
	switch k {
	case Thought, Redacted:
		prefix = "rs_"
	case ToolCall:
		prefix = "fc_"
	}
	return prefix + strings.TrimPrefix(s.id, "resp_") + "_" + itoa(len(s.items))
}
