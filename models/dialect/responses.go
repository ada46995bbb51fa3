package dialect

import (
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// The request of OpenAI responses. The reference is the OpenAI API's "Create a model response".

func parseResponses(body []byte, call Call) (*Request, error) {
	doc, o := wire.Parse(body)
	r := &Request{From: Responses, Usage: true}
	if doc.Err() != nil {
		return nil, doc.Err()
	}
	r.model(o)
	if r.Instructions = o.Text("instructions"); r.Instructions != "" {
		r.use(fTurns, "instructions")
		r.Messages = append(r.Messages, Message{Role: System, Parts: []Part{{Text: r.Instructions}}})
	}
	r.Previous = o.Text("previous_response_id")
	if len(call.Earlier) > 0 {
		old, e := wire.Parse(append(append([]byte(`{"input":`), call.Earlier...), '}'))
		if old.Err() != nil {
			return nil, fault.Wrap(old.Err(), "reading the earlier items of a response")
		}
		r.items(e)
		doc.Fail(old.Err())
	}
	if !o.Has("input") && len(call.Earlier) == 0 {
		doc.Fail(fault.New(fault.Invalid, "input is missing.", fault.Field("input"), fault.Code("missing_required_parameter")))
	}
	r.items(o)
	r.responsesTools(o)
	r.responsesText(o)
	r.MaxTokens = r.bound(o, "max_output_tokens")
	r.sampling(o, "top_p", "", "", "")
	if r.TopLogprobs = o.Int("top_logprobs", 0, maxTop); r.TopLogprobs != nil && *r.TopLogprobs > 0 {
		r.Logprobs = true
		r.use(fLogprobs, "top_logprobs")
	}
	if x, ok := o.Obj("reasoning"); ok {
		r.effort(x, "effort")
		for _, name := range []string{"summary", "generate_summary"} {
			if x.Text(name) != "" {
				r.Reasoning.Show = true
				r.use(fShow, x.Field(name))
			}
		}
		r.rest(x)
	}
	if r.note(o, "user", fUser) {
		r.User = o.Text("user")
	}
	r.streaming(o)
	r.Usage = true
	if o.True("background") {
		r.use(fState, "background")
	}
	for _, name := range []string{"conversation", "prompt"} {
		if r.note(o, name, fState) {
			o.Get(name)
		}
	}
	r.extras(o, family)
	for _, x := range r.Extra {
		r.Logprobs = r.Logprobs || x.Name == "include" && strings.Contains(string(x.Raw), `"message.output_text.logprobs"`)
	}
	return r, doc.Err()
}

// items reads the input: a text, or a list of items.
func (r *Request) items(o wire.Object) {
	v, ok := o.Get("input")
	if !ok {
		return
	}
	r.use(fTurns, "input")
	if v.IsText() {
		r.Messages = append(r.Messages, Message{Role: User, Parts: []Part{{Text: v.Text()}}})
		return
	}
	for _, e := range v.List() {
		r.item(e)
	}
}

// say adds parts to the model's turn, which is one however many items it has.
func (r *Request) say(parts ...Part) {
	if n := len(r.Messages); n > 0 && r.Messages[n-1].Role == Assistant {
		r.Messages[n-1].Parts = append(r.Messages[n-1].Parts, parts...)
		return
	}
	r.Messages = append(r.Messages, Message{Role: Assistant, Parts: parts})
}

func (r *Request) item(v wire.Value) {
	it := v.Obj()
	kind := it.Text("type")
	if kind == "" {
		kind = "message"
	}
	for _, name := range []string{"id", "status", "phase"} {
		it.Get(name)
	}
	switch kind {
	case "message":
		role := Role(it.Need("role"))
		parts := r.itemContent(it, "content")
		switch role {
		case Assistant:
			r.say(parts...)
		case User, System, Developer:
			r.Messages = append(r.Messages, Message{Role: role, Parts: parts})
		default:
			it.Fail("role", "%s must be user, system, developer or assistant.", it.Field("role"))
		}
	case "function_call":
		p := Part{Kind: ToolCall, Name: it.Need("name"), Text: it.Text("arguments")}
		p.setID(it.Need("call_id"))
		r.use(fCalls, v.Path())
		r.say(p)
	case "function_call_output":
		p := Part{Kind: ToolResult}
		p.setID(it.Need("call_id"))
		p.Parts = r.itemContent(it, "output")
		for _, m := range p.Parts {
			if m.Kind == Image || m.Kind == File {
				r.use(fResultMedia, it.Field("output[]"))
			}
		}
		r.use(fResults, v.Path())
		r.Messages = append(r.Messages, Message{Role: ToolRole, Parts: []Part{p}})
	case "reasoning":
		r.reasoningItem(it, v.Path())
	default:
		r.use(fHosted, v.Path())
		return
	}
	r.rest(it)
}

func (r *Request) reasoningItem(it wire.Object, path string) {
	p := Part{Kind: Thought, ToolID: it.Text("id")}
	if proof := it.Text("encrypted_content"); proof != "" {
		p.Signature, p.SignedBy = unseal(proof, Responses)
	}
	p.Text = reasoningWords(it)
	r.reasoned(&p, path, it.Field("encrypted_content"))
	r.say(p)
}

// reasoningWords joins the summary of a reasoning item, or else its content.
func reasoningWords(it wire.Object) string {
	var words []string
	for _, name := range []string{"summary", "content"} {
		list := it.List(name)
		for _, e := range list {
			words = append(words, e.Obj().Text("text"))
		}
		if len(words) > 0 {
			it.Get("content")
			break
		}
	}
	return strings.Join(words, "\n\n")
}

func (r *Request) itemContent(it wire.Object, name string) []Part {
	v, ok := it.Get(name)
	if !ok {
		return nil
	}
	if v.IsText() {
		return []Part{{Text: v.Text()}}
	}
	var parts []Part
	for _, e := range v.List() {
		c := e.Obj()
		p := Part{}
		switch kind := c.Need("type"); kind {
		case "input_text", "output_text", "text", "summary_text":
			p.Text = c.Text("text")
			for _, name := range []string{"annotations", "logprobs"} {
				c.Get(name)
			}
		case "refusal":
			p.Kind, p.Text = Refusal, c.Text("refusal")
			r.use(fRefusal, e.Path())
		case "input_image":
			p.Kind = Image
			if c.Has("file_id") {
				r.notHere(c, "file_id")
			} else {
				source(&p, c, "image_url", c.Need("image_url"))
				r.use(byURL(&p, fImageURL, fImageData), e.Path())
			}
			if p.Detail = c.Text("detail"); p.Detail != "" && p.Detail != "auto" {
				r.use(fImageDetail, c.Field("detail"))
			}
		case "input_file":
			p.Kind = File
			r.openaiFile(c, &p)
		default:
			c.Fail("type", "%s %q is not known.", c.Field("type"), printable(kind))
			continue
		}
		r.rest(c)
		parts = append(parts, p)
	}
	return parts
}

func (r *Request) responsesTools(o wire.Object) {
	for _, e := range o.List("tools") {
		t := e.Obj()
		if t.Text("type") != "function" {
			r.use(fHosted, "tools[]")
			continue
		}
		r.Tools = append(r.Tools, r.functionTool(t))
		r.use(fTools, "tools")
		r.rest(t)
	}
	r.toolChoice(o)
	if r.note(o, "parallel_tool_calls", fParallel) {
		r.Parallel = o.Bool("parallel_tool_calls")
	}
}

func (r *Request) responsesText(o wire.Object) {
	t, ok := o.Obj("text")
	if !ok {
		return
	}
	if r.note(t, "verbosity", fVerbosity) {
		r.Verbosity = t.Text("verbosity")
	}
	if f, ok := t.Obj("format"); ok {
		switch kind := f.Need("type"); kind {
		case "text":
		case "json_object":
			r.Format.Kind = JSONObject
			r.use(fJSONObject, "text.format")
		case "json_schema":
			r.schema(f, "text.format")
		default:
			f.Fail("type", "text.format.type must be text, json_object or json_schema.")
		}
		r.rest(f)
	}
	r.rest(t)
}

// Items gives the input of a request as a JSON array of items, as they are kept for the requests that go on from it.
// A text becomes a message.
func Items(body []byte) ([]byte, error) {
	doc, o := wire.Parse(body)
	v, ok := o.Get("input")
	w := &wire.Writer{}
	switch {
	case !ok:
		w.B = append(w.B, "[]"...)
	case v.IsText():
		w.List()
		messageItem(w, "user", []Part{{Text: v.Text()}})
		w.EndList()
	default:
		v.List()
		w.B = v.Raw()
	}
	return w.B, doc.Err()
}

// JoinItems makes one JSON array of several: earlier items, those of a request (Items), and the output of its answer.
func JoinItems(lists ...[]byte) []byte {
	out := []byte{'['}
	for _, l := range lists {
		if len(l) <= 2 {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, l[1:len(l)-1]...)
	}
	return append(out, ']')
}
