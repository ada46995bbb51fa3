package worker

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native/decode"
)

// writeWhole collects all choices and answers with one JSON object.
func (s *server) writeWhole(w http.ResponseWriter, m *served, c *call, st *decode.Stream, ev *decode.Event) error {
	type choice struct {
		text   []byte
		probs  probs
		finish decode.FinishReason
		calls  []toolCall
	}
	choices := make([]choice, len(c.Prompts)*c.N)
	tokens := 0
	var err error
	for ; err == nil; err = st.Next(ev) {
		ch := &choices[ev.Index]
		ch.text, ch.finish = append(ch.text, ev.Text...), ev.Finish
		tokens++
		if c.Logprobs {
			ch.probs.add(m, ev)
		}
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	for i := range choices {
		if ch := &choices[i]; c.reader != nil {
			r := c.reader()
			text, calls := r.push(ch.text)
			rest, more := r.end()
			ch.text, ch.calls = append(text, rest...), append(calls, more...)
			ch.finish = finishOf(ch.finish, len(ch.calls))
		}
	}
	b := c.open(nil, "")
	for i := range choices {
		ch := &choices[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"index":`...)
		b = strconv.AppendInt(b, int64(i), 10)
		if c.chat {
			b = append(b, `,"message":{"role":"assistant","content":`...)
			if len(ch.text) == 0 && len(ch.calls) > 0 {
				b = append(b, "null"...)
			} else {
				b = appendString(b, ch.text)
			}
			b = append(b, `,"refusal":null`...)
			if len(ch.calls) > 0 {
				b = append(appendCalls(append(b, `,"tool_calls":[`...), ch.calls, -1), ']')
			}
			b = append(b, '}')
		} else {
			b = appendString(append(b, `,"text":`...), ch.text)
		}
		b = c.appendProbs(append(b, `,"logprobs":`...), &ch.probs)
		b = append(appendString(append(b, `,"finish_reason":`...), ch.finish), '}')
	}
	b = append(appendUsage(append(b, `],"usage":`...), st.PromptTokens(), tokens, st.CachedTokens()), "}\n"...)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_ = http.NewResponseController(w).SetWriteDeadline(s.now().Add(writeTime))
	if _, err := w.Write(b); err != nil {
		s.log.Debug("the caller went away", "err", err)
	}
	return nil
}

// sse writes one stream.
type sse struct {
	c            *call
	m            *served
	head         []byte // every chunk's beginning, up to its choices
	buf          []byte // not yet sent
	prompt, done int    // tokens
	cached       func() int
	probs        []probs
	readers      []*callReader // of the choices; nil if there are no tools to call
}

// finishOf is the reason for the end of an answer with so many calls.
func finishOf(f decode.FinishReason, calls int) decode.FinishReason {
	if calls > 0 && f == decode.FinishStop {
		return "tool_calls"
	}
	return f
}

// writeStream answers with server-sent events; ev is the first, already there. Errors of writing end it: the caller
// has gone, and the deferred Close of the stream stops the generation.
func (s *server) writeStream(w http.ResponseWriter, m *served, c *call, st *decode.Stream, ev *decode.Event) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	rc := http.NewResponseController(w)
	send := func(b []byte) bool {
		_ = rc.SetWriteDeadline(s.now().Add(writeTime))
		if _, err := w.Write(b); err != nil {
			s.log.Debug("the caller went away", "err", err)
			return false
		}
		return rc.Flush() == nil
	}
	o := &sse{c: c, m: m, prompt: st.PromptTokens(), cached: st.CachedTokens, buf: make([]byte, 0, 4096), head: c.open([]byte("data: "), ".chunk")}
	if c.Logprobs {
		o.probs = make([]probs, len(c.Prompts)*c.N)
	}
	for range len(c.Prompts) * c.N {
		if c.reader != nil {
			o.readers = append(o.readers, c.reader())
		}
	}
	o.begin()
	var err error
	for ; err == nil; err = st.Next(ev) {
		o.event(ev)
		if st.Buffered() == 0 {
			if !send(o.buf) {
				return
			}
			o.buf = o.buf[:0]
		}
	}
	if errors.Is(err, io.EOF) {
		o.end()
	} else {
		o.fail(fault.As(err))
	}
	send(o.buf)
}

// count writes the comment with the running totals.
func (o *sse) count() {
	o.buf = strconv.AppendInt(append(o.buf, ": t "...), int64(o.prompt), 10)
	o.buf = strconv.AppendInt(append(o.buf, ' '), int64(o.done), 10)
	if n := o.cached(); n > 0 {
		o.buf = strconv.AppendInt(append(o.buf, ' '), int64(n), 10)
	}
	o.buf = append(o.buf, '\n')
}

// begin writes the counts and, in a chat, the chunk that names the role of each choice.
func (o *sse) begin() {
	o.count()
	if !o.c.chat {
		return
	}
	for i := range len(o.c.Prompts) * o.c.N {
		o.open(i)
		o.buf = append(o.buf, `,"delta":{"role":"assistant","content":""},"logprobs":null`...)
		o.close("")
	}
}

// event writes what one token brought: its text, the end of its choice, or the counts alone.
func (o *sse) event(ev *decode.Event) {
	o.done++
	if o.c.Logprobs {
		o.probs[ev.Index].add(o.m, ev)
	}
	var calls []toolCall
	if o.readers != nil {
		calls = o.takeCalls(ev)
	}
	hasProbs := o.c.Logprobs && len(o.probs[ev.Index].tokens) > 0 && ev.Finish != ""
	if len(ev.Text) == 0 && ev.Finish == "" && len(calls) == 0 {
		o.count()
		return
	}
	if len(ev.Text) > 0 || hasProbs {
		o.open(ev.Index)
		if o.c.chat {
			o.buf = append(appendString(append(o.buf, `,"delta":{"content":`...), ev.Text), '}')
		} else {
			o.buf = appendString(append(o.buf, `,"text":`...), ev.Text)
		}
		o.buf = append(o.buf, `,"logprobs":`...)
		if o.c.Logprobs {
			o.buf = o.c.appendProbs(o.buf, &o.probs[ev.Index])
			o.probs[ev.Index].reset()
		} else {
			o.buf = append(o.buf, "null"...)
		}
		o.close("")
	}
	if len(calls) > 0 {
		o.open(ev.Index)
		o.buf = append(o.buf, `,"delta":{"tool_calls":[`...)
		o.buf = append(appendCalls(o.buf, calls, o.readers[ev.Index].count-len(calls)), `]},"logprobs":null`...)
		o.close("")
	}
	if ev.Finish != "" {
		o.open(ev.Index)
		if o.c.chat {
			o.buf = append(o.buf, `,"delta":{},"logprobs":null`...)
		} else {
			o.buf = append(o.buf, `,"text":"","logprobs":null`...)
		}
		o.close(ev.Finish)
	}
}

// takeCalls takes the calls that are complete out of what a token brought, and leaves ev with what is content.
func (o *sse) takeCalls(ev *decode.Event) []toolCall {
	r := o.readers[ev.Index]
	text, calls := r.push(ev.Text)
	if ev.Finish != "" {
		rest, more := r.end()
		text, calls = append(text, rest...), append(calls, more...)
	}
	ev.Text = append(ev.Text[:0], text...)
	if ev.Finish != "" {
		ev.Finish = finishOf(ev.Finish, r.count)
	}
	return calls
}

// open begins a chunk with one choice.
func (o *sse) open(index int) {
	o.count()
	o.buf = append(append(o.buf, o.head...), `{"index":`...)
	o.buf = strconv.AppendInt(o.buf, int64(index), 10)
}

// close ends a chunk.
func (o *sse) close(finish decode.FinishReason) {
	o.buf = append(o.buf, `,"finish_reason":`...)
	if finish == "" {
		o.buf = append(o.buf, "null}]"...)
	} else {
		o.buf = append(appendString(o.buf, finish), "}]"...)
	}
	if o.c.usage {
		o.buf = append(o.buf, `,"usage":null`...)
	}
	o.buf = append(o.buf, "}\n\n"...)
}

// end writes the usage, if it was asked for, and the end of the stream.
func (o *sse) end() {
	if o.c.usage {
		o.count()
		o.buf = append(append(o.buf, o.head...), `],"usage":`...)
		o.buf = append(appendUsage(o.buf, o.prompt, o.done, o.cached()), "}\n\n"...)
	}
	o.count()
	o.buf = append(o.buf, "data: [DONE]\n\n"...)
}

// fail ends a stream that broke: an event with the error, and no [DONE].
func (o *sse) fail(f *fault.Error) {
	e := wireErrorOf(f, statusOf(f))
	o.count()
	o.buf = appendString(append(o.buf, `data: {"error":{"message":`...), e.Message)
	o.buf = appendString(append(o.buf, `,"type":`...), e.Type)
	o.buf = append(o.buf, `,"param":null,"code":`...)
	if e.Code == nil {
		o.buf = append(o.buf, "null"...)
	} else {
		o.buf = appendString(o.buf, *e.Code)
	}
	o.buf = append(o.buf, "}}\n\n"...)
}

// open begins an answer or a chunk, up to and including the bracket of its choices.
func (c *call) open(b []byte, suffix string) []byte {
	b = appendString(append(b, `{"id":`...), c.id)
	object := "text_completion"
	if c.chat {
		object = "chat.completion" + suffix
	}
	b = appendString(append(b, `,"object":`...), object)
	b = strconv.AppendInt(append(b, `,"created":`...), c.created, 10)
	b = appendString(append(b, `,"model":`...), c.model)
	return append(b, `,"choices":[`...)
}

func appendUsage(b []byte, prompt, completion, cached int) []byte {
	b = strconv.AppendInt(append(b, `{"prompt_tokens":`...), int64(prompt), 10)
	b = strconv.AppendInt(append(b, `,"completion_tokens":`...), int64(completion), 10)
	b = strconv.AppendInt(append(b, `,"total_tokens":`...), int64(prompt+completion), 10)
	if cached > 0 {
		b = append(strconv.AppendInt(append(b, `,"prompt_tokens_details":{"cached_tokens":`...), int64(cached), 10), '}')
	}
	return append(b, '}')
}

// probs are log probabilities of tokens not yet written.
type probs struct {
	tokens []tokenProbs
	offset int // characters of the text before the first of them
}

type tokenProbs struct {
	id      int32
	logprob float32
	text    []byte
	top     []decode.TokenLogprob
	texts   [][]byte
}

// add keeps the log probabilities of an event. Tokens without text, such as the end of a turn, are left out.
func (p *probs) add(m *served, ev *decode.Event) {
	if m.tok.IsSpecial(ev.Token) {
		return
	}
	t := tokenProbs{id: ev.Token, logprob: ev.Logprob, text: m.tok.TokenBytes(ev.Token), top: append([]decode.TokenLogprob(nil), ev.Top...)}
	for _, alt := range ev.Top {
		text := m.tok.TokenBytes(alt.Token)
		if m.tok.IsSpecial(alt.Token) {
			text = []byte(m.tok.TokenText(alt.Token))
		}
		t.texts = append(t.texts, text)
	}
	p.tokens = append(p.tokens, t)
}

func (p *probs) reset() {
	for _, t := range p.tokens {
		p.offset += utf8.RuneCount(t.text)
	}
	p.tokens = p.tokens[:0]
}

// appendProbs writes the tokens in the form of the kind of completion, or null when they were not asked for.
func (c *call) appendProbs(b []byte, p *probs) []byte {
	switch {
	case !c.Logprobs:
		return append(b, "null"...)
	case c.chat:
		return p.appendChat(b)
	}
	return p.appendText(b)
}

func (p *probs) appendChat(b []byte) []byte {
	b = append(b, `{"content":[`...)
	for i, t := range p.tokens {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendToken(b, t.text, t.logprob), `,"top_logprobs":[`...)
		for j, alt := range t.top {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(appendToken(b, t.texts[j], alt.Logprob), '}')
		}
		b = append(b, "]}"...)
	}
	return append(b, `],"refusal":null}`...)
}

// appendToken writes a token's object without its closing brace. Its text may be a piece of a character; bytes has
// all of it.
func appendToken(b, text []byte, logprob float32) []byte {
	b = appendString(append(b, `{"token":`...), text)
	b = appendFloat(append(b, `,"logprob":`...), logprob)
	b = append(b, `,"bytes":[`...)
	for i, c := range text {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(c), 10)
	}
	return append(b, ']')
}

func (p *probs) appendText(b []byte) []byte {
	b = append(b, `{"tokens":[`...)
	for i, t := range p.tokens {
		b = appendString(comma(b, i), t.text)
	}
	b = append(b, `],"token_logprobs":[`...)
	for i, t := range p.tokens {
		b = appendFloat(comma(b, i), t.logprob)
	}
	b = append(b, `],"top_logprobs":[`...)
	for i, t := range p.tokens {
		b = append(comma(b, i), '{')
		for j, alt := range t.top {
			b = append(appendString(comma(b, j), t.texts[j]), ':')
			b = appendFloat(b, alt.Logprob)
		}
		b = append(b, '}')
	}
	b = append(b, `],"text_offset":[`...)
	offset := p.offset
	for i, t := range p.tokens {
		b = strconv.AppendInt(comma(b, i), int64(offset), 10)
		offset += utf8.RuneCount(t.text)
	}
	return append(b, "]}"...)
}

func comma(b []byte, i int) []byte {
	if i > 0 {
		return append(b, ',')
	}
	return b
}

func appendFloat(b []byte, v float32) []byte { return strconv.AppendFloat(b, float64(v), 'g', -1, 32) }

// appendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD; the line separators that JavaScript
// once refused in strings are escaped.
func appendString[S ~string | ~[]byte](b []byte, s S) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r == '\u2028' || r == '\u2029' {
				b = append(b, `\u202`...)
				b = append(b, hex[r&15])
			} else {
				b = utf8.AppendRune(b, r)
			}
			i += n
			continue
		}
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c < 0x20 || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
		i++
	}
	return append(b, '"')
}
