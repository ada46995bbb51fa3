package dialect

import (
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// The request of OpenAI chat completions, with the extensions that its servers share: top_k, grammar, reasoning_content
// and cache_control. The reference is the OpenAI API's "Create chat completion".

func parseChat(body []byte, _ Call) (*Request, error) {
	doc, o := wire.Parse(body)
	r := &Request{From: Chat}
	if doc.Err() != nil {
		return nil, doc.Err()
	}
	r.model(o)
	r.chatMessages(o)
	r.chatTools(o)
	r.responseFormat(o)
	r.MaxTokens = r.bound(o, "max_tokens")
	if n := r.bound(o, "max_completion_tokens"); n != nil {
		r.MaxTokens = n
	}
	r.sampling(o, "top_p", "top_k", "frequency_penalty", "presence_penalty")
	r.stops(o, "stop", true)
	r.choices(o, "n")
	if r.Logprobs = o.True("logprobs"); r.Logprobs {
		r.use(fLogprobs, "logprobs")
	}
	if r.TopLogprobs = o.Int("top_logprobs", 0, maxTop); r.TopLogprobs != nil {
		r.use(fLogprobs, "top_logprobs")
	}
	r.effort(o, "reasoning_effort")
	if r.note(o, "user", fUser) {
		r.User = o.Text("user")
	}
	if r.note(o, "verbosity", fVerbosity) {
		r.Verbosity = o.Text("verbosity")
	}
	r.streaming(o)
	for _, name := range o.Texts("modalities", false) {
		if name != "text" {
			r.use(fAnswer, "modalities")
		}
	}
	for _, x := range []struct {
		name string
		f    Feature
	}{{"audio", fAnswer}, {"web_search_options", fHosted}, {"functions", fHosted}, {"function_call", fHosted}} {
		if r.note(o, x.name, x.f) {
			o.Get(x.name)
		}
	}
	r.extras(o, family)
	return r, doc.Err()
}

// streaming reads stream and stream_options of the OpenAI dialects.
func (r *Request) streaming(o wire.Object) {
	if r.Stream = o.True("stream"); r.Stream {
		r.use(fStream, "stream")
	}
	if so, ok := o.Obj("stream_options"); ok {
		if r.Usage = so.True("include_usage"); r.Usage {
			r.use(fStreamUsage, "stream_options.include_usage")
		}
		r.rest(so)
	}
}

func (r *Request) chatMessages(o wire.Object) {
	v, ok := o.Get("messages")
	if !ok {
		o.Fail("messages", "messages is missing.")
		return
	}
	r.use(fTurns, "messages")
	list := v.List()
	if len(list) == 0 {
		o.Fail("messages", "messages is empty.")
	}
	for _, e := range list {
		r.Messages = append(r.Messages, r.chatMessage(e.Obj()))
	}
}

func (r *Request) chatMessage(o wire.Object) Message {
	m := Message{Role: Role(o.Need("role"))}
	if r.note(o, "name", fName) {
		m.Name = o.Text("name")
	}
	if m.Role == "function" {
		r.use(fHosted, o.Field("role"))
	}
	switch m.Role {
	case System, Developer, User:
		m.Parts = r.chatContent(o)
	case Assistant:
		r.chatAssistant(o, &m)
	case ToolRole:
		r.use(fResults, o.Field("role"))
		p := Part{Kind: ToolResult, Parts: r.chatContent(o)}
		p.setID(o.Need("tool_call_id"))
		m.Parts = []Part{p}
	case "function":
		r.chatContent(o)
	default:
		o.Fail("role", "%s must be system, developer, user, assistant or tool.", o.Field("role"))
	}
	r.rest(o)
	return m
}

func (r *Request) chatAssistant(o wire.Object, m *Message) {
	for _, name := range []string{"reasoning_content", "reasoning"} {
		if v, ok := o.Get(name); ok && v.IsText() && v.Text() != "" && join(m.Parts, Thought) == "" {
			m.Parts = append(m.Parts, Part{Kind: Thought, Text: v.Text()})
			r.use(fThought, o.Field(name))
		}
	}
	m.Parts = append(m.Parts, r.chatContent(o)...)
	if s := o.Text("refusal"); s != "" {
		r.use(fRefusal, o.Field("refusal"))
		m.Parts = append(m.Parts, Part{Kind: Refusal, Text: s})
	}
	if r.note(o, "audio", fState) {
		o.Get("audio")
	}
	if r.note(o, "function_call", fHosted) {
		o.Get("function_call")
	}
	calls := o.List("tool_calls")
	if len(calls) > 0 {
		r.use(fCalls, o.Field("tool_calls"))
	}
	for _, e := range calls {
		c := e.Obj()
		if t := c.Text("type"); t != "function" && t != "" {
			r.use(fHosted, c.Field("type"))
			continue
		}
		p := Part{Kind: ToolCall}
		p.setID(c.Need("id"))
		f, _ := c.Obj("function")
		p.Name, p.Text = f.Need("name"), f.Text("arguments")
		r.rest(f)
		r.rest(c)
		m.Parts = append(m.Parts, p)
	}
}

func (r *Request) chatContent(o wire.Object) []Part {
	v, ok := o.Get("content")
	if !ok {
		return nil
	}
	if v.IsText() {
		return []Part{{Text: v.Text()}}
	}
	var parts []Part
	for _, e := range v.List() {
		c := e.Obj()
		if p, ok := r.chatPart(c, e.Path()); ok {
			if p.Cache = c.RawObject("cache_control"); p.Cache != nil {
				r.use(fCache, c.Field("cache_control"))
			}
			parts = append(parts, p)
		}
		r.rest(c)
	}
	return parts
}

func (r *Request) chatPart(c wire.Object, path string) (p Part, ok bool) {
	switch kind := c.Need("type"); kind {
	case "text":
		p.Text = c.Text("text")
	case "refusal":
		p.Kind, p.Text = Refusal, c.Text("refusal")
		r.use(fRefusal, path)
	case "image_url":
		p.Kind = Image
		u, _ := c.Obj("image_url")
		source(&p, u, "url", u.Need("url"))
		r.use(byURL(&p, fImageURL, fImageData), path)
		if p.Detail = u.Text("detail"); p.Detail != "" && p.Detail != "auto" {
			r.use(fImageDetail, u.Field("detail"))
		}
		r.rest(u)
	case "input_audio":
		p.Kind = Audio
		a, _ := c.Obj("input_audio")
		p.Data, p.Media = a.Need("data"), "audio/"+a.Need("format")
		if !mediaType(p.Media) {
			a.Fail("format", "%s must be wav or mp3.", a.Field("format"))
		}
		r.use(fAudio, path)
		r.rest(a)
	case "file":
		p.Kind = File
		f, _ := c.Obj("file")
		r.openaiFile(f, &p)
		r.rest(f)
	default:
		c.Fail("type", "%s %q is not known.", c.Field("type"), printable(kind))
		return p, false
	}
	return p, true
}

// openaiFile reads a file of chat or responses, whose names for it are the same.
func (r *Request) openaiFile(f wire.Object, p *Part) {
	switch {
	case f.Has("file_id"):
		r.notHere(f, "file_id")
	case f.Has("file_url"):
		source(p, f, "file_url", f.Text("file_url"))
		r.use(byURL(p, fFileURL, fFileData), f.Field("file_url"))
	default:
		data := f.Need("file_data")
		if media, rest, ok := dataURL(data); ok {
			p.Media, p.Data = media, rest
		} else {
			p.Media, p.Data = "application/pdf", data
		}
		r.use(fFileData, f.Field("file_data"))
	}
	if p.Title = f.Text("filename"); p.Title != "" {
		r.use(fFileTitle, f.Field("filename"))
	}
}

func byURL(p *Part, url, data Feature) Feature {
	if p.URL != "" {
		return url
	}
	return data
}

func (r *Request) chatTools(o wire.Object) {
	for _, e := range o.List("tools") {
		t := e.Obj()
		if kind := t.Text("type"); kind != "function" {
			r.use(fHosted, t.Field("type"))
			continue
		}
		f, _ := t.Obj("function")
		tool := r.functionTool(f)
		if tool.Cache = t.RawObject("cache_control"); tool.Cache != nil {
			r.use(fCache, t.Field("cache_control"))
		}
		r.Tools = append(r.Tools, tool)
		r.use(fTools, "tools")
		r.rest(t)
	}
	r.toolChoice(o)
	if r.note(o, "parallel_tool_calls", fParallel) {
		r.Parallel = o.Bool("parallel_tool_calls")
	}
}

// functionTool reads what chat and responses call a function.
func (r *Request) functionTool(f wire.Object) Tool {
	t := Tool{Name: f.Need("name"), Description: f.Text("description"), Schema: f.RawObject("parameters"), Strict: f.Bool("strict")}
	if t.Strict != nil && *t.Strict {
		r.use(fStrictTool, f.Field("strict"))
	}
	return t
}

// toolChoice reads tool_choice of chat, where the name stands inside of function, and of responses, where it does not.
func (r *Request) toolChoice(o wire.Object) {
	v, ok := o.Get("tool_choice")
	if !ok {
		return
	}
	if v.IsText() {
		r.use(fChoice, "tool_choice")
		r.Choice.Mode = r.mode(o, v.Text())
		return
	}
	c := v.Obj()
	switch kind := c.Need("type"); kind {
	case "function":
		r.use(fChoice, "tool_choice")
		f := c
		if c.Has("function") {
			f, _ = c.Obj("function")
		}
		r.Choice = ToolChoice{ToolOne, []string{f.Need("name")}}
	case "allowed_tools":
		r.use(fSubset, "tool_choice")
		a := c
		if c.Has("allowed_tools") {
			a, _ = c.Obj("allowed_tools")
		}
		r.Choice.Mode = r.mode(o, orText(a.Text("mode"), "auto"))
		for _, e := range a.List("tools") {
			t := e.Obj()
			if t.Has("function") {
				t, _ = t.Obj("function")
			}
			r.Choice.Names = append(r.Choice.Names, t.Need("name"))
		}
	default:
		r.use(fHosted, "tool_choice")
	}
}

func (r *Request) mode(o wire.Object, s string) ToolMode {
	switch s {
	case "auto":
		return ToolAuto
	case "none":
		return ToolNone
	case "required":
		return ToolAny
	}
	o.Fail("tool_choice", "tool_choice must be auto, none, required or an object that names a tool.")
	return ""
}

// responseFormat reads response_format and grammar of chat and completions.
func (r *Request) responseFormat(o wire.Object) {
	for _, name := range []string{"grammar", "guided_grammar"} {
		if g := o.Text(name); g != "" {
			r.use(fGrammar, name)
			r.Format = Format{Kind: Grammar, Grammar: g}
		}
	}
	f, ok := o.Obj("response_format")
	if !ok {
		return
	}
	switch kind := f.Need("type"); kind {
	case "text":
	case "json_object":
		r.Format.Kind = JSONObject
		r.use(fJSONObject, "response_format")
	case "json_schema":
		s, _ := f.Obj("json_schema")
		r.schema(s, "response_format")
		r.rest(s)
	default:
		f.Fail("type", "response_format.type must be text, json_object or json_schema.")
	}
	r.rest(f)
}

// schema reads the object that names a JSON schema.
func (r *Request) schema(s wire.Object, field string) {
	r.Format = Format{Kind: JSONSchema, Name: s.Text("name"), Description: s.Text("description"), Schema: s.RawObject("schema"),
		Strict: s.Bool("strict")}
	if r.Format.Schema == nil {
		s.Fail("schema", "%s is missing.", s.Field("schema"))
	}
	r.use(fSchema, field)
	if r.Format.Description != "" {
		r.use(fSchemaNote, s.Field("description"))
	}
	if r.Format.Strict != nil && !*r.Format.Strict {
		r.use(fSchemaLax, s.Field("strict"))
	}
}
