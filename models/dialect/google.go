package dialect

import (
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// The request of Google generateContent. Names may be camelCase or snake_case. The reference is the Gemini API's
// "Generating content".

// googleOwn are the fields at the top that only this dialect has.
var googleOwn = map[string]Feature{"safetySettings": fSafetySettings, "labels": fGoogleLabels}

func parseGoogle(body []byte, call Call) (*Request, error) {
	doc, o := wire.ParseFolded(body)
	r := &Request{From: Google, Model: call.Model, Stream: call.Stream, Usage: true}
	if doc.Err() != nil {
		return nil, doc.Err()
	}
	o.Get("model") // the path names it
	if c, ok := o.Obj("systemInstruction"); ok {
		r.use(fTurns, "systemInstruction")
		c.Get("role")
		m := Message{Role: System}
		for _, e := range c.List("parts") {
			p := e.Obj()
			m.Parts = append(m.Parts, Part{Text: p.Text("text")})
			r.rest(p)
		}
		r.Messages = append(r.Messages, m)
	}
	r.contents(o)
	r.googleTools(o)
	if g, ok := o.Obj("generationConfig"); ok {
		r.generation(g)
	}
	if r.note(o, "cachedContent", fState) {
		o.Get("cachedContent")
	}
	r.extras(o, googleOwn)
	return r, doc.Err()
}

// pending are the calls without ids that wait for their results, by name.
type pending struct {
	n     int
	open  map[string][]string
	known map[string]bool // ids that calls gave themselves
}

func (r *Request) contents(o wire.Object) {
	list := o.List("contents")
	if len(list) == 0 {
		o.Fail("contents", "contents is missing or empty.")
	}
	r.use(fTurns, "contents")
	ids := pending{open: map[string][]string{}, known: map[string]bool{}}
	for _, e := range list {
		c := e.Obj()
		role := User
		switch s := c.Text("role"); s {
		case "model":
			role = Assistant
		case "user", "function", "":
		default:
			c.Fail("role", "%s must be user or model.", c.Field("role"))
		}
		m := Message{Role: role}
		for _, v := range c.List("parts") {
			p, ok := r.googlePart(v, &ids)
			switch {
			case !ok:
			case p.Kind == ToolResult:
				r.Messages = append(r.Messages, Message{Role: ToolRole, Parts: []Part{p}})
			default:
				m.Parts = append(m.Parts, p)
			}
		}
		r.rest(c)
		if len(m.Parts) > 0 {
			r.Messages = append(r.Messages, m)
		}
	}
}

func (r *Request) googlePart(v wire.Value, ids *pending) (p Part, ok bool) {
	o := v.Obj()
	ok = true
	proof := o.Text("thoughtSignature")
	switch {
	case o.Has("text"):
		p.Text = o.Text("text")
		if o.True("thought") {
			p.Kind = Thought
		}
	case o.Has("inlineData"):
		d, _ := o.Obj("inlineData")
		p.Media, p.Data = d.Need("mimeType"), d.Need("data")
		r.googleMedia(d, &p, v.Path())
		r.rest(d)
	case o.Has("fileData"):
		d, _ := o.Obj("fileData")
		url := d.Need("fileUri")
		p.Media = orText(d.Text("mimeType"), mediaOf(url, "application/octet-stream"))
		if !fetchable(url) {
			d.Fail("fileUri", "%s must be an http(s) or gs URL.", d.Field("fileUri"))
		}
		p.URL = url
		r.googleMedia(d, &p, v.Path())
		r.rest(d)
	case o.Has("functionCall"):
		r.googleCall(o, &p, ids)
	case o.Has("functionResponse"):
		r.googleResult(o, &p, ids)
	case len(o.Names()) == 0: // what Google's client for Go makes of a text of nothing
		return p, false
	case proof == "": // nothing that is known: something that only the provider's own tools say
		for _, name := range []string{"executableCode", "codeExecutionResult"} {
			if o.Has(name) {
				r.use(fHosted, o.Field(name))
				return p, false
			}
		}
		r.use(fHosted, v.Path())
		return p, false
	}
	if proof != "" {
		p.Signature, p.SignedBy = unseal(proof, Google)
	}
	r.reasoned(&p, v.Path()+".thought", v.Path()+".thoughtSignature")
	r.rest(o)
	return p, ok
}

// googleMedia sorts data by its type.
func (r *Request) googleMedia(d wire.Object, p *Part, path string) {
	if !mediaType(p.Media) {
		d.Fail("mimeType", "%s must be a MIME type.", d.Field("mimeType"))
	}
	kind, _, _ := strings.Cut(p.Media, "/")
	switch kind {
	case "image":
		p.Kind = Image
		r.use(byURL(p, fImageURL, fImageData), path+fieldOf(p))
	case "audio":
		p.Kind = Audio
		r.use(fAudio, path+fieldOf(p))
	default:
		p.Kind = File
		r.use(byURL(p, fFileURL, fFileData), path+fieldOf(p))
	}
}

func fieldOf(p *Part) string {
	if p.URL != "" {
		return ".fileData"
	}
	return ".inlineData"
}

func (r *Request) googleCall(o wire.Object, p *Part, ids *pending) {
	c, _ := o.Obj("functionCall")
	p.Kind, p.Name, p.Text = ToolCall, c.Need("name"), string(c.RawObject("args"))
	if p.ToolID = c.Text("id"); p.ToolID == "" {
		p.ToolID = "call_" + strconv.Itoa(ids.n)
		ids.n++
		ids.open[p.Name] = append(ids.open[p.Name], p.ToolID)
	} else {
		ids.known[p.ToolID] = true
	}
	r.use(fCalls, o.Field("functionCall"))
	r.rest(c)
}

func (r *Request) googleResult(o wire.Object, p *Part, ids *pending) {
	c, _ := o.Obj("functionResponse")
	p.Kind, p.Name = ToolResult, c.Need("name")
	if p.ToolID = c.Text("id"); !ids.known[p.ToolID] {
		if wait := ids.open[p.Name]; len(wait) > 0 {
			p.ToolID, ids.open[p.Name] = wait[0], wait[1:]
		} else if p.ToolID == "" {
			c.Fail("name", "%s answers no call of %s.", o.Field("functionResponse"), printable(p.Name))
		}
	}
	r.use(fResults, o.Field("functionResponse"))
	if v, ok := c.Get("response"); ok {
		r.googleOutput(v, p)
	}
	for _, e := range c.List("parts") {
		if m, ok := r.googlePart(e, ids); ok && (m.Kind == Image || m.Kind == File || m.Kind == Audio) {
			r.use(fResultMedia, c.Field("parts"))
			p.Parts = append(p.Parts, m)
		}
	}
	r.rest(c)
}

// googleOutput reads the object of a result: {"output": text} and {"error": text} are texts.
func (r *Request) googleOutput(v wire.Value, p *Part) {
	o := v.Obj()
	if names := o.Names(); len(names) == 1 && (names[0] == "output" || names[0] == "error") {
		if t, _ := o.Get(names[0]); t.IsText() {
			p.Parts = []Part{{Text: t.Text()}}
			if p.IsError = names[0] == "error"; p.IsError {
				r.use(fResultError, o.Field("error"))
			}
			return
		}
	}
	p.Parts = []Part{{Text: string(v.Raw())}}
}

func (r *Request) googleTools(o wire.Object) {
	for _, e := range o.List("tools") {
		t := e.Obj()
		for _, f := range t.List("functionDeclarations") {
			r.use(fTools, "tools[].functionDeclarations")
			d := f.Obj()
			tool := Tool{Name: d.Need("name"), Description: d.Text("description"), Schema: d.RawObject("parametersJsonSchema")}
			if v, ok := d.Get("parameters"); ok && tool.Schema == nil {
				tool.Schema = openSchema(v)
			}
			r.rest(d)
			r.Tools = append(r.Tools, tool)
		}
		if len(t.Rest()) > 0 {
			r.use(fHosted, "tools[]")
		}
	}
	tc, ok := o.Obj("toolConfig")
	if !ok {
		return
	}
	if c, ok := tc.Obj("functionCallingConfig"); ok {
		r.callingConfig(c)
	}
	r.rest(tc)
}

func (r *Request) callingConfig(c wire.Object) {
	mode := c.Text("mode")
	if mode != "" {
		r.use(fChoice, c.Field("mode"))
	}
	switch mode {
	case "AUTO", "VALIDATED":
		r.Choice.Mode = ToolAuto
	case "ANY":
		r.Choice.Mode = ToolAny
	case "NONE":
		r.Choice.Mode = ToolNone
	case "", "MODE_UNSPECIFIED":
	default:
		c.Fail("mode", "%s must be AUTO, ANY, NONE or VALIDATED.", c.Field("mode"))
	}
	r.Choice.Names = c.Texts("allowedFunctionNames", false)
	switch {
	case len(r.Choice.Names) == 1 && r.Choice.Mode == ToolAny:
		r.Choice.Mode = ToolOne
	case len(r.Choice.Names) > 0:
		r.use(fSubset, c.Field("allowedFunctionNames"))
	}
	r.rest(c)
}

func (r *Request) generation(g wire.Object) {
	r.sampling(g, "topP", "", "frequencyPenalty", "presencePenalty")
	if v, ok := g.Get("topK"); ok { // clients send it as 40.0
		n := v.Int()
		r.TopK = &n
		r.use(fTopK, g.Field("topK"))
	}
	r.MaxTokens = r.bound(g, "maxOutputTokens")
	r.stops(g, "stopSequences", false)
	r.choices(g, "candidateCount")
	if r.Logprobs = g.True("responseLogprobs"); r.Logprobs {
		r.use(fLogprobs, g.Field("responseLogprobs"))
	}
	if r.TopLogprobs = g.Int("logprobs", 0, maxTop); r.TopLogprobs != nil {
		r.use(fLogprobs, g.Field("logprobs"))
	}
	r.googleFormat(g)
	if t, ok := g.Obj("thinkingConfig"); ok {
		r.googleThinking(t)
	}
	for _, m := range g.Texts("responseModalities", false) {
		if strings.ToUpper(m) != "TEXT" {
			r.use(fAnswer, g.Field("responseModalities"))
		}
	}
	for _, x := range []struct {
		name string
		f    Feature
	}{{"speechConfig", fAnswer}, {"imageConfig", fAnswer}, {"mediaResolution", fGoogleMedia}} {
		if r.note(g, x.name, x.f) {
			g.Get(x.name)
		}
	}
	r.rest(g)
}

func (r *Request) googleFormat(g wire.Object) {
	media := g.Text("responseMimeType")
	if schema := g.RawObject("responseJsonSchema"); schema != nil {
		r.Format = Format{Kind: JSONSchema, Schema: schema}
		r.use(fSchema, g.Field("responseJsonSchema"))
	}
	if v, ok := g.Get("responseSchema"); ok && r.Format.Kind == "" {
		r.Format = Format{Kind: JSONSchema, Schema: openSchema(v)}
		r.use(fSchema, g.Field("responseSchema"))
	}
	switch {
	case r.Format.Kind != "" || media == "" || media == "text/plain":
	case media == "application/json":
		r.Format.Kind = JSONObject
		r.use(fJSONObject, g.Field("responseMimeType"))
	default:
		r.use(fAnswer, g.Field("responseMimeType"))
	}
}

func (r *Request) googleThinking(t wire.Object) {
	if v, ok := t.Get("thinkingBudget"); ok {
		n := v.Int()
		if n < -1 || n > maxOutput {
			t.Fail("thinkingBudget", "%s must be -1, 0 or a number of tokens.", v.Path())
		}
		r.Reasoning.Budget = &n
		if n < 0 {
			r.use(fAdaptive, v.Path())
		} else {
			r.use(fBudget, v.Path())
		}
	}
	r.effort(t, "thinkingLevel")
	if r.Reasoning.Show = t.True("includeThoughts"); r.Reasoning.Show {
		r.use(fShow, t.Field("includeThoughts"))
	}
	r.rest(t)
}

// Bounds of schemas in Google's own form: their nesting, and their bytes.
const (
	maxOpenDepth = 32
	maxOpenSize  = 1 << 18
)

// openSchema turns a schema in Google's form, a part of OpenAPI's, into JSON schema: types in lower case, nullable as
// a type, whole numbers that come as text as numbers.
func openSchema(v wire.Value) []byte {
	if raw := v.Raw(); len(raw) > maxOpenSize { // it is read once for each depth
		v.Doc().Fail(fault.New(fault.TooLarge, v.Path()+" is too large.", fault.Field(v.Path())))
		return nil
	}
	w := &wire.Writer{}
	writeOpen(w, v, 0)
	return w.B
}

func writeOpen(w *wire.Writer, v wire.Value, depth int) {
	if depth > maxOpenDepth {
		v.Doc().Fail(tooDeep(v.Path()))
		w.Raw(nil)
		return
	}
	doc, o := wire.ParseFolded(v.Raw())
	if doc.Err() != nil || !v.IsObject() {
		v.Obj()
		v.Doc().Fail(doc.Err())
		w.Raw(nil)
		return
	}
	w.Open()
	if o.Has("type") {
		writeOpenType(w, o)
	}
	o.Get("nullable")
	for _, name := range []string{"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"} {
		if n, ok := o.Get(name); ok && n.IsText() {
			if i, err := strconv.ParseInt(n.Text(), 10, 64); err == nil {
				w.FInt(name, i)
			}
		} else if ok {
			w.FRaw(name, n.Raw())
		}
	}
	if items, ok := o.Get("items"); ok {
		w.Key("items")
		writeOpen(w, items, depth+1)
	}
	if any, ok := o.Get("anyOf"); ok {
		w.Key("anyOf")
		w.List()
		for _, e := range any.List() {
			writeOpen(w, e, depth+1)
		}
		w.EndList()
	}
	if p := o.RawObject("properties"); p != nil {
		writeProperties(w, p, doc, depth)
	}
	for _, name := range []string{"propertyOrdering", "example"} {
		o.Get(name)
	}
	for _, m := range o.Rest() {
		if m.Name != "format" || string(m.Raw) != `"enum"` {
			w.FRaw(m.Name, m.Raw)
		}
	}
	w.Close()
	v.Doc().Fail(doc.Err())
}

func writeOpenType(w *wire.Writer, o wire.Object) {
	t, _ := o.Get("type")
	if !t.IsText() {
		w.FRaw("type", t.Raw())
		return
	}
	word := strings.ToLower(t.Text())
	if !o.True("nullable") {
		w.FText("type", word)
		return
	}
	w.OptTexts("type", []string{word, "null"})
}

// writeProperties keeps the names as they are: they are the caller's own.
func writeProperties(w *wire.Writer, raw []byte, to *wire.Doc, depth int) {
	doc, p := wire.Parse(raw)
	w.Key("properties")
	w.Open()
	for _, name := range p.InOrder() {
		if v, ok := p.Get(name); ok {
			w.Key(name)
			writeOpen(w, v, depth+1)
		}
	}
	w.Close()
	to.Fail(doc.Err())
}
