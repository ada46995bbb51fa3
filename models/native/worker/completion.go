package worker

import (
	"fmt"
	"net/http"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native/decode"
	"github.com/triarch-ai/triarch/models/native/hf"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
)

const (
	maxChoices       = 16 // n
	defaultText      = 16 // max_tokens of /v1/completions, as the interface has it
	maxTextLogprobs  = 5  // logprobs of /v1/completions
	maxModelName     = 256
	topOnly          = 1e-9 // top_p of 0 asks for the likeliest token alone
	maxStopTokens    = 64
	maxPromptsInList = decode.MaxChoices
)

// call is a completion request that has been read.
type call struct {
	decode.Request
	chat    bool
	id      string
	model   string // as the caller wrote it
	created int64
	stream  bool
	usage   bool // the stream ends with a usage chunk

	reader func() *callReader // of one choice's text; nil if there are no tools to call
}

func (s *server) chatCompletions(w http.ResponseWriter, r *http.Request, m *served) error {
	f, err := s.read(w, r)
	if err != nil {
		return err
	}
	c := s.newCall(f, true)
	f.unsupported("functions", "audio", "prediction", "web_search_options")
	f.only("function_call", `"none"`, `"auto"`)
	want := f.form()
	f.only("modalities", `["text"]`)
	turns, t := f.messages(), f.tools()
	c.PromptsField = "messages"
	c.MaxTokens = f.integer("max_tokens", 0, 1, maxInt)
	c.MaxTokens = f.integer("max_completion_tokens", c.MaxTokens, 1, maxInt)
	c.Logprobs = f.flag("logprobs")
	c.TopLogprobs = f.integer("top_logprobs", 0, 0, decode.MaxTopLogprobs)
	if c.TopLogprobs > 0 && !c.Logprobs {
		f.fail(fault.InvalidField("top_logprobs", "top_logprobs needs logprobs to be true."))
	}
	if f.err != nil {
		return f.err
	}
	ids, err := m.render(turns, t)
	if err != nil {
		return err
	}
	if t.choice == "none" {
		c.Form, err = s.compile(m, want)
	} else {
		c.Form, err = s.compileCalls(m, c, t, want)
		c.reader = func() *callReader { return s.newCallReader(m, t) }
	}
	if err != nil {
		return err
	}
	c.Prompts = [][]int32{ids}
	return s.generate(w, r, m, c)
}

func (s *server) completions(w http.ResponseWriter, r *http.Request, m *served) error {
	f, err := s.read(w, r)
	if err != nil {
		return err
	}
	c := s.newCall(f, false)
	f.unsupported("echo", "suffix")
	want := f.form()
	c.PromptsField = "prompt"
	c.MaxTokens = f.integer("max_tokens", defaultText, 1, maxInt)
	c.MaxTokens = f.integer("max_completion_tokens", c.MaxTokens, 1, maxInt)
	if f.has("logprobs") {
		c.TopLogprobs = f.integer("logprobs", 0, 0, maxTextLogprobs)
		c.Logprobs = true
	}
	if best := f.integer("best_of", c.N, 1, maxChoices); best != c.N {
		f.fail(fault.New(fault.Invalid, "This engine does not support a best_of other than n.", fault.Field("best_of"), fault.Code(codeValue)))
	}
	c.Prompts = f.texts("prompt", m)
	if len(c.Prompts)*max(c.N, 1) > maxPromptsInList {
		f.fail(fault.InvalidField("prompt", "%d prompts with n %d are more than the %d choices a request may have.", len(c.Prompts), c.N, maxPromptsInList))
	}
	if f.err != nil {
		return f.err
	}
	if c.Form, err = s.compile(m, want); err != nil {
		return err
	}
	return s.generate(w, r, m, c)
}

const maxInt = int(^uint32(0) >> 1)

// newCall reads the fields that both kinds of completion share.
func (s *server) newCall(f *fields, chat bool) *call {
	c := &call{chat: chat, created: s.now().Unix(), id: "cmpl-" + s.ids.Raw().String(), model: s.name}
	if chat {
		c.id = "chat" + c.id
	}
	if name := f.text("model"); name != "" {
		c.model = name
		if len(name) > maxModelName {
			f.fail(fault.InvalidField("model", "The model's name is longer than %d bytes.", maxModelName))
		}
	}
	c.stream = f.flag("stream")
	if opts, ok := into[map[string]any](f, "stream_options", "an object"); ok {
		if !c.stream {
			f.fail(fault.InvalidField("stream_options", "stream_options needs stream to be true."))
		}
		switch v := opts["include_usage"].(type) {
		case nil:
		case bool:
			c.usage = v
		default:
			f.fail(fault.InvalidField("stream_options.include_usage", "stream_options.include_usage must be true or false."))
		}
	}
	c.N = f.integer("n", 1, 1, maxChoices)
	c.Stop = f.stops()
	if ids, ok := into[[]int32](f, "stop_token_ids", "an array of token ids"); ok {
		c.StopIDs = ids
		if len(ids) > maxStopTokens {
			f.fail(fault.InvalidField("stop_token_ids", "stop_token_ids has %d ids, at most %d are allowed.", len(ids), maxStopTokens))
		}
	}
	c.IgnoreEOS = f.flag("ignore_eos")
	c.Sampling = sampling(f, s.model.Load().suggest)
	return c
}

// sampling reads how tokens are drawn. What a request does not say is as the model suggests
// (generation_config.json); where that says nothing, temperature and top_p are 1.
func sampling(f *fields, suggest hf.Suggestion) decode.Sampling {
	p := decode.Sampling{
		Temperature:       f.number("temperature", or(suggest.Temperature, 1), 0, 2),
		TopP:              max(f.number("top_p", or(suggest.TopP, 1), 0, 1), topOnly),
		TopK:              max(f.integer("top_k", or(suggest.TopK, 0), -1, maxInt), 0), // -1 is a common way to write "off"
		MinP:              f.number("min_p", 0, 0, 1),
		PresencePenalty:   f.number("presence_penalty", 0, -2, 2),
		FrequencyPenalty:  f.number("frequency_penalty", 0, -2, 2),
		RepetitionPenalty: f.number("repetition_penalty", or(suggest.RepetitionPenalty, 1), 0.01, 10),
		LogitBias:         f.bias(),
	}
	if seed, ok := into[int64](f, "seed", "a whole number"); ok {
		u := uint64(seed)
		p.Seed = &u
	}
	return p
}

// or is what p points to, or the value for nil.
func or[T any](p *T, value T) T {
	if p == nil {
		return value
	}
	return *p
}

// render gives the prompt of a conversation, the opening of the answer included.
func (m *served) render(turns []tokenizer.Turn, t *tools) ([]int32, error) {
	size, msgs := 0, m.chat.Plain(turns, t.shown())
	for _, msg := range msgs {
		size += len(msg.Content)
	}
	if err := m.fits("messages", size); err != nil {
		return nil, err
	}
	ids, _, err := m.chat.Render(msgs, true)
	return ids, err
}

// fits refuses a text too long for the context whatever its tokens are, before time is spent on finding them.
func (m *served) fits(field string, size int) error {
	least, context := size/m.maxToken, m.engine.MaxContext()
	if least < context {
		return nil
	}
	return fault.New(fault.Invalid, fmt.Sprintf("This model's context holds %d tokens, and %s has at least %d.", context, field, least),
		fault.Code(decode.CodeContextLength), fault.Field(field), fault.Fix("Shorten %s to at most %d tokens.", field, context-1))
}

// generate runs a request and writes its answer in the form it asks for.
func (s *server) generate(w http.ResponseWriter, r *http.Request, m *served, c *call) error {
	start := s.now()
	c.Scope = r.Header.Get("X-Cache-Scope")
	st, err := m.engine.Submit(r.Context(), &c.Request)
	if err != nil {
		return err
	}
	defer st.Close()
	var ev decode.Event
	if err := st.Next(&ev); err != nil { // before any header is sent
		return err
	}
	s.first.observe(s.now().Sub(start))
	if c.stream {
		s.writeStream(w, m, c, st, &ev)
		return nil
	}
	return s.writeWhole(w, m, c, st, &ev)
}
