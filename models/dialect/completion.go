package dialect

import (
	"bytes"
	"errors"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// OpenAI completions: a prompt as it is, without roles. The reference is the OpenAI API's "Create completion".

func parseCompletion(body []byte, _ Call) (*Request, error) {
	doc, o := wire.Parse(body)
	r := &Request{From: Completions}
	if doc.Err() != nil {
		return nil, doc.Err()
	}
	r.model(o)
	r.prompts(o)
	if r.Suffix = o.Text("suffix"); r.Suffix != "" {
		r.use(fSuffix, "suffix")
	}
	if r.Echo = o.True("echo"); r.Echo {
		r.use(fEcho, "echo")
	}
	if r.BestOf = o.Int("best_of", 1, maxChoices); r.BestOf != nil && *r.BestOf > 1 {
		r.use(fBestOf, "best_of")
	}
	r.responseFormat(o)
	r.MaxTokens = r.bound(o, "max_tokens")
	r.sampling(o, "top_p", "top_k", "frequency_penalty", "presence_penalty")
	r.stops(o, "stop", true)
	r.choices(o, "n")
	if r.TopLogprobs = o.Int("logprobs", 0, maxTop); r.TopLogprobs != nil {
		r.Logprobs = true
		r.use(fLogprobs, "logprobs")
	}
	if r.note(o, "user", fUser) {
		r.User = o.Text("user")
	}
	r.streaming(o)
	r.extras(o, family)
	return r, doc.Err()
}

const maxPrompts = 2048

func (r *Request) prompts(o wire.Object) {
	v, ok := o.Get("prompt")
	if !ok {
		o.Doc().Fail(fault.New(fault.Invalid, "prompt is missing.", fault.Field("prompt"), fault.Code("missing_required_parameter")))
		return
	}
	r.use(fPrompt, "prompt")
	if v.IsText() {
		r.Prompts = []Prompt{{Text: v.Text()}}
		return
	}
	list := v.List()
	switch {
	case len(list) == 0 || len(list) > maxPrompts && !list[0].IsNumber():
		o.Fail("prompt", "prompt must have 1 to %d entries.", maxPrompts)
	case list[0].IsNumber():
		r.Prompts = []Prompt{{Tokens: tokens(list)}}
	default:
		for _, e := range list {
			if e.IsList() {
				r.Prompts = append(r.Prompts, Prompt{Tokens: tokens(e.List())})
			} else {
				r.Prompts = append(r.Prompts, Prompt{Text: e.Text()})
			}
		}
	}
	if len(r.Prompts) > 1 {
		r.use(fPrompts, "prompt")
	}
	for _, p := range r.Prompts {
		if p.Tokens != nil {
			r.use(fTokenPrompt, "prompt")
		}
	}
}

func tokens(list []wire.Value) []int64 {
	out := make([]int64, 0, len(list))
	for _, e := range list {
		out = append(out, e.Int())
	}
	return out
}

func writeCompletion(r *Request) ([]byte, error) {
	w := &wire.Writer{}
	w.Open()
	w.FText("model", r.Model)
	w.Key("prompt")
	if len(r.Prompts) == 1 {
		writePrompt(w, r.Prompts[0])
	} else {
		w.List()
		for _, p := range r.Prompts {
			writePrompt(w, p)
		}
		w.EndList()
	}
	w.FSome("suffix", r.Suffix)
	if r.Echo {
		w.FBool("echo", true)
	}
	w.OptInt("best_of", r.BestOf)
	writeFormat(w, r)
	w.OptInt("max_tokens", r.MaxTokens)
	writeSampling(w, r)
	w.OptInt("logprobs", r.TopLogprobs)
	w.FSome("user", r.User)
	writeStream(w, r)
	r.writeExtras(w, Completions)
	w.Close()
	return w.B, nil
}

func writePrompt(w *wire.Writer, p Prompt) {
	if p.Tokens == nil {
		w.Text(p.Text)
		return
	}
	w.List()
	for _, t := range p.Tokens {
		w.Int(t)
	}
	w.EndList()
}

func parseCompletionAnswer(body []byte) (*Answer, error) {
	doc, o := wire.Parse(body)
	if doc.Err() != nil {
		return nil, doc.Err()
	}
	if o.Has("error") {
		return nil, openaiFailure(0, o)
	}
	a := &Answer{ID: o.Text("id"), Model: o.Text("model"), Created: count(o, "created"), Usage: parseUsage(o)}
	list := o.List("choices")
	if len(list) == 0 || len(list) > maxAnswers {
		return nil, errors.New("dialect: the answer has no choices")
	}
	for _, e := range list {
		c := e.Obj()
		ch := Choice{Stop: openaiStop(c.Text("finish_reason")), Logprobs: parseOldLogprobs(c)}
		if t := c.Text("text"); t != "" {
			ch.Parts = []Part{{Text: t}}
		}
		a.Choices = append(a.Choices, ch)
	}
	return a, doc.Err()
}

// parseOldLogprobs reads the parallel lists of completions.
func parseOldLogprobs(c wire.Object) []Logprob {
	l, ok := c.Obj("logprobs")
	if !ok {
		return nil
	}
	words, probs, tops := l.List("tokens"), l.List("token_logprobs"), l.List("top_logprobs")
	if len(probs) != len(words) {
		l.Fail("token_logprobs", "not as many as tokens")
		return nil
	}
	out := make([]Logprob, len(words))
	for i := range words {
		out[i].Token = words[i].Text()
		if !probs[i].IsNull() {
			out[i].Logprob = probs[i].Num()
		}
		if i < len(tops) && tops[i].IsObject() {
			t := tops[i].Obj()
			for _, name := range t.Names() {
				if n := t.Num(name, -1e9, 1e9); n != nil {
					out[i].Top = append(out[i].Top, Logprob{Token: name, Logprob: *n})
				}
			}
		}
	}
	return out
}

// writeOldLogprobs is the opposite; offset is where the first token begins in the text, in characters.
func writeOldLogprobs(w *wire.Writer, list []Logprob, offset int) {
	w.Key("logprobs")
	if list == nil {
		w.Raw(nil)
		return
	}
	each := func(name string, f func(*Logprob)) {
		w.Key(name)
		w.List()
		for i := range list {
			f(&list[i])
		}
		w.EndList()
	}
	w.Open()
	each("tokens", func(l *Logprob) { w.Text(l.Token) })
	each("token_logprobs", func(l *Logprob) { w.Num(l.Logprob) })
	each("top_logprobs", func(l *Logprob) {
		w.Open()
		seen := map[string]bool{}
		for _, t := range l.Top {
			if !seen[t.Token] { // two tokens can have the same text
				seen[t.Token] = true
				w.Key(t.Token)
				w.Num(t.Logprob)
			}
		}
		w.Close()
	})
	each("text_offset", func(l *Logprob) {
		w.Int(int64(offset))
		offset += len([]rune(l.Token))
	})
	w.Close()
}

func printCompletion(_ *Request, a *Answer) []byte {
	w := &wire.Writer{}
	w.Open()
	w.FText("id", a.ID)
	w.FText("object", "text_completion")
	w.FInt("created", a.Created)
	w.FText("model", a.Model)
	w.Key("choices")
	w.List()
	for i := range a.Choices {
		c := &a.Choices[i]
		w.Open()
		w.FText("text", join(c.Parts, Text))
		w.FInt("index", int64(i))
		writeOldLogprobs(w, c.Logprobs, 0)
		w.FText("finish_reason", finishReason(c.Stop))
		w.Close()
	}
	w.EndList()
	writeUsage(w, a.Usage)
	w.Close()
	return w.B
}

type completionDecoder struct {
	decoding
	stops map[int64]bool // the choices that began, and whether they stopped
	open  int
}

func newCompletionDecoder(limit int) Decoder {
	d := &completionDecoder{stops: map[int64]bool{}}
	d.split, d.take = wire.NewSSE(limit), d.event
	return d
}

func (d *completionDecoder) event(_ string, data []byte) error {
	if bytes.Equal(bytes.TrimSpace(data), doneWord) {
		d.give(Event{Kind: Ended})
		return nil
	}
	doc, o := wire.Parse(data)
	if doc.Err() != nil {
		return doc.Err()
	}
	if o.Has("error") {
		d.give(Event{Kind: Failed, Err: openaiFailure(0, o)})
		return nil
	}
	d.start(o.Text("id"), o.Text("model"), count(o, "created"))
	for _, e := range o.List("choices") {
		if err := d.choice(e.Obj()); err != nil {
			return err
		}
	}
	if u := parseUsage(o); u.Known {
		d.give(Event{Kind: Counted, Usage: u})
	}
	return doc.Err()
}

func (d *completionDecoder) choice(c wire.Object) error {
	index := count(c, "index")
	if index >= maxAnswers {
		return errors.New("dialect: too many choices")
	}
	if _, ok := d.stops[index]; !ok {
		d.stops[index] = false
		d.open++
	}
	text, logprobs := c.Text("text"), parseOldLogprobs(c)
	if text != "" || len(logprobs) > 0 {
		d.give(Event{Kind: TextDelta, Choice: int(index), Text: text, Logprobs: logprobs})
	}
	if reason := c.Text("finish_reason"); reason != "" && !d.stops[index] {
		d.stops[index] = true
		d.open--
		d.give(Event{Kind: Stopped, Choice: int(index), Stop: openaiStop(reason)})
	}
	d.stopped = d.open == 0
	return nil
}

type completionEncoder struct {
	id, model string
	created   int64
	usage     Usage
	asked     bool
	offset    map[int]int // characters of each choice so far
}

func newCompletionEncoder(r *Request, _ Head) encoder {
	return &completionEncoder{asked: r.Usage, offset: map[int]int{}}
}

func (c *completionEncoder) chunk(dst []byte, e *Event) []byte {
	w := &wire.Writer{B: append(dst, "data: "...)}
	c.open(w)
	if e.Kind != Ended {
		w.Open()
		w.FText("text", e.Text)
		w.FInt("index", int64(e.Choice))
		writeOldLogprobs(w, e.Logprobs, c.offset[e.Choice])
		stop := ""
		if e.Kind == Stopped {
			stop = finishReason(e.Stop)
		}
		w.FOrNull("finish_reason", stop)
		w.Close()
		c.offset[e.Choice] += len([]rune(e.Text))
	}
	w.EndList()
	switch {
	case e.Kind == Ended:
		writeUsage(w, c.usage)
	case c.asked:
		w.FRaw("usage", nil)
	}
	w.Close()
	return append(w.B, "\n\n"...)
}

func (c *completionEncoder) open(w *wire.Writer) {
	openChunk(w, c.id, "text_completion", c.created, c.model)
}

func (c *completionEncoder) encode(dst []byte, e *Event) []byte {
	switch e.Kind {
	case Started:
		c.id, c.model, c.created = e.ID, e.Model, e.Created
	case TextDelta, Stopped:
		return c.chunk(dst, e)
	case Counted:
		c.usage = e.Usage
	case Ended:
		if c.asked {
			dst = c.chunk(dst, e)
		}
		return append(dst, "data: [DONE]\n\n"...)
	}
	return dst
}

func (c *completionEncoder) fail(dst []byte, err error) []byte { return openaiEvent(dst, err) }
