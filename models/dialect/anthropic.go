package dialect

import (
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// The request of Anthropic messages and its count_tokens. The reference is the Claude API's "Create a message".

// anthropicOwn are the fields at the top that only this dialect has and that are carried as they are.
var anthropicOwn = map[string]Feature{"cache_control": fCache, "service_tier": fAnthropicTier, "inference_geo": fAnthropicGeo,
	"speed": fAnthropicSpeed, "context_management": fContextEdits}

func parseAnthropic(body []byte, call Call) (*Request, error) {
	doc, o := wire.Parse(body)
	r := &Request{From: Anthropic, Usage: true}
	if doc.Err() != nil {
		return nil, doc.Err()
	}
	r.model(o)
	r.anthropicSystem(o)
	r.anthropicMessages(o)
	r.anthropicTools(o)
	r.anthropicReasoning(o)
	if r.MaxTokens = r.bound(o, "max_tokens"); r.MaxTokens == nil && !call.Count {
		doc.Fail(fault.New(fault.Invalid, "max_tokens is missing.", fault.Field("max_tokens"), fault.Code("missing_required_parameter"),
			fault.Fix("Set max_tokens to the most tokens that the answer may have.")))
	}
	r.Temperature = r.number(o, "temperature", fTemperature, 0, 1)
	r.TopP = r.number(o, "top_p", fTopP, 0, 1)
	r.TopK = r.integer(o, "top_k", fTopK, 0, 1<<31-1)
	r.stops(o, "stop_sequences", false)
	if m, ok := o.Obj("metadata"); ok {
		if r.User = m.Text("user_id"); r.User != "" {
			r.use(fUser, "metadata.user_id")
		}
		r.rest(m)
	}
	if r.Stream = o.True("stream"); r.Stream {
		r.use(fStream, "stream")
	}
	if r.note(o, "container", fState) {
		o.Get("container")
	}
	if len(o.List("mcp_servers")) > 0 {
		r.use(fHosted, "mcp_servers")
	}
	r.extras(o, anthropicOwn)
	return r, doc.Err()
}

func (r *Request) anthropicSystem(o wire.Object) {
	v, ok := o.Get("system")
	if !ok {
		return
	}
	r.use(fTurns, "system")
	if v.IsText() {
		r.Messages = append(r.Messages, Message{Role: System, Parts: []Part{{Text: v.Text()}}})
		return
	}
	m := Message{Role: System}
	for _, e := range v.List() {
		b := e.Obj()
		if kind := b.Need("type"); kind != "text" {
			b.Fail("type", "%s must be text.", b.Field("type"))
		}
		p := Part{Text: b.Text("text")}
		r.mark(b, &p.Cache)
		r.rest(b)
		m.Parts = append(m.Parts, p)
	}
	if len(m.Parts) > 0 {
		r.Messages = append(r.Messages, m)
	}
}

// mark reads a cache mark.
func (r *Request) mark(b wire.Object, into *[]byte) {
	if *into = b.RawObject("cache_control"); *into != nil {
		r.use(fCache, b.Field("cache_control"))
	}
}

func (r *Request) anthropicMessages(o wire.Object) {
	list := o.List("messages")
	if len(list) == 0 {
		o.Fail("messages", "messages is missing or empty.")
	}
	r.use(fTurns, "messages")
	for _, e := range list {
		m := e.Obj()
		role := Role(m.Need("role"))
		if role != User && role != Assistant && role != System {
			m.Fail("role", "%s must be user or assistant.", m.Field("role"))
		}
		var parts, results []Part
		v, ok := m.Get("content")
		switch {
		case !ok:
			m.Fail("content", "%s is missing.", m.Field("content"))
		case v.IsText():
			parts = []Part{{Text: v.Text()}}
		default:
			for _, b := range v.List() {
				if p, ok := r.anthropicBlock(b); ok && p.Kind == ToolResult {
					results = append(results, p)
				} else if ok {
					parts = append(parts, p)
				}
			}
		}
		r.rest(m)
		for _, p := range results {
			r.Messages = append(r.Messages, Message{Role: ToolRole, Parts: []Part{p}})
		}
		if len(parts) > 0 || len(results) == 0 {
			r.Messages = append(r.Messages, Message{Role: role, Parts: parts})
		}
	}
}

func (r *Request) anthropicBlock(v wire.Value) (p Part, ok bool) {
	b := v.Obj()
	switch kind := b.Need("type"); kind {
	case "text":
		p.Text = b.Text("text")
		r.note(b, "citations", fAnthropicDoc)
		b.Get("citations")
	case "image":
		p.Kind = Image
		r.anthropicSource(b, &p, v.Path())
	case "document":
		p.Kind = File
		r.anthropicSource(b, &p, v.Path())
		if p.Title = b.Text("title"); p.Title != "" {
			r.use(fFileTitle, b.Field("title"))
		}
		for _, name := range []string{"context", "citations"} {
			if r.note(b, name, fAnthropicDoc) {
				b.Get(name)
			}
		}
	case "thinking":
		p.Kind, p.Text = Thought, b.Text("thinking")
		p.Signature, p.SignedBy = unseal(b.Text("signature"), Anthropic)
		r.reasoned(&p, v.Path(), b.Field("signature"))
	case "redacted_thinking":
		p.Kind = Redacted
		p.Signature, p.SignedBy = unseal(b.Text("data"), Anthropic)
		r.use(signature(p.SignedBy), v.Path())
	case "tool_use":
		p.Kind = ToolCall
		p.setID(b.Need("id"))
		p.Name, p.Text = b.Need("name"), string(b.RawObject("input"))
		r.use(fCalls, v.Path())
	case "tool_result":
		p.Kind = ToolResult
		p.setID(b.Need("tool_use_id"))
		r.use(fResults, v.Path())
		r.anthropicResult(b, &p)
	default:
		r.use(fHosted, v.Path())
		return p, false
	}
	r.mark(b, &p.Cache)
	r.rest(b)
	return p, true
}

func (r *Request) anthropicResult(b wire.Object, p *Part) {
	if p.IsError = b.True("is_error"); p.IsError {
		r.use(fResultError, b.Field("is_error"))
	}
	v, ok := b.Get("content")
	switch {
	case !ok:
	case v.IsText():
		p.Parts = []Part{{Text: v.Text()}}
	default:
		for _, e := range v.List() {
			c, ok := r.anthropicBlock(e)
			switch {
			case !ok:
			case c.Kind == Image || c.Kind == File && c.Text == "":
				r.use(fResultMedia, e.Path())
				fallthrough
			case c.Kind == Text || c.Kind == File:
				p.Parts = append(p.Parts, c)
			default:
				r.use(fHosted, e.Path())
			}
		}
	}
}

// anthropicSource reads where an image or a document comes from.
func (r *Request) anthropicSource(b wire.Object, p *Part, path string) {
	url, data := fImageURL, fImageData
	if p.Kind == File {
		url, data = fFileURL, fFileData
	}
	s, _ := b.Obj("source")
	switch kind := s.Need("type"); kind {
	case "base64":
		p.Media, p.Data = s.Need("media_type"), s.Need("data")
		if !mediaType(p.Media) {
			s.Fail("media_type", "%s must be a MIME type.", s.Field("media_type"))
		}
		r.use(data, path)
	case "url":
		source(p, s, "url", s.Need("url"))
		r.use(byURL(p, url, data), path)
	case "file":
		r.notHere(s, "file_id")
	case "text":
		p.Media, p.Text = "text/plain", s.Need("data")
		s.Get("media_type")
		r.use(fFileText, path)
	case "content":
		p.Media = "text/plain"
		v, _ := s.Get("content")
		if v.IsText() {
			p.Text = v.Text()
		} else {
			r.use(fHosted, s.Field("content"))
		}
		r.use(fFileText, path)
	default:
		s.Fail("type", "%s %q is not known.", s.Field("type"), printable(kind))
	}
	r.rest(s)
}

func (r *Request) anthropicTools(o wire.Object) {
	for _, e := range o.List("tools") {
		t := e.Obj()
		if kind := t.Text("type"); kind != "" && kind != "custom" {
			r.use(fHosted, "tools[]")
			continue
		}
		tool := Tool{Name: t.Need("name"), Description: t.Text("description"), Schema: t.RawObject("input_schema"), Strict: t.Bool("strict")}
		if tool.Strict != nil && *tool.Strict {
			r.use(fStrictTool, t.Field("strict"))
		}
		r.mark(t, &tool.Cache)
		r.rest(t)
		r.Tools = append(r.Tools, tool)
		r.use(fTools, "tools")
	}
	c, ok := o.Obj("tool_choice")
	if !ok {
		return
	}
	r.use(fChoice, "tool_choice")
	switch kind := c.Need("type"); kind {
	case "auto":
		r.Choice.Mode = ToolAuto
	case "any":
		r.Choice.Mode = ToolAny
	case "none":
		r.Choice.Mode = ToolNone
	case "tool":
		r.Choice = ToolChoice{ToolOne, []string{c.Need("name")}}
	default:
		c.Fail("type", "tool_choice.type must be auto, any, tool or none.")
	}
	if off := c.Bool("disable_parallel_tool_use"); off != nil {
		r.use(fParallel, "tool_choice.disable_parallel_tool_use")
		on := !*off
		r.Parallel = &on
	}
	r.rest(c)
}

func (r *Request) anthropicReasoning(o wire.Object) {
	for _, name := range []string{"output_config", "output_format"} {
		c, ok := o.Obj(name)
		if !ok {
			continue
		}
		f := c
		if name == "output_config" {
			r.effort(c, "effort")
			if f, ok = c.Obj("format"); !ok {
				r.rest(c)
				continue
			}
		}
		if kind := f.Need("type"); kind != "json_schema" {
			f.Fail("type", "%s must be json_schema.", f.Field("type"))
		}
		r.Format = Format{Kind: JSONSchema, Schema: f.RawObject("schema")}
		if r.Format.Schema == nil {
			f.Fail("schema", "%s is missing.", f.Field("schema"))
		}
		r.use(fSchema, "output_config.format")
		r.rest(f)
		r.rest(c)
	}
	t, ok := o.Obj("thinking")
	if !ok {
		return
	}
	display := t.Text("display")
	if display != "" {
		r.use(fShow, "thinking.display")
	}
	switch kind := t.Need("type"); kind {
	case "enabled":
		r.use(fBudget, "thinking")
		r.Reasoning.Budget = t.Int("budget_tokens", 1, maxOutput)
		r.Reasoning.Show = display != "omitted"
	case "adaptive":
		r.use(fAdaptive, "thinking")
		auto := int64(-1)
		r.Reasoning.Budget, r.Reasoning.Show = &auto, display == "summarized"
	case "disabled":
		r.use(fEffort, "thinking")
		r.Reasoning.Effort = "none"
	default:
		t.Fail("type", "thinking.type must be enabled, adaptive or disabled.")
	}
	r.rest(t)
}

// CountAnswer is the answer to Anthropic's count_tokens.
func CountAnswer(tokens int64) []byte {
	w := &wire.Writer{}
	w.Open()
	w.FInt("input_tokens", tokens)
	w.Close()
	return w.B
}
