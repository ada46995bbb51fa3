package dialect

import (
	"github.com/triarch-ai/triarch/models/dialect/wire"
	"math"
)

// What the answers of the OpenAI dialects share.

const maxCount = 1 << 40 // tokens; more is no count

var openaiStops = map[string]Stop{"stop": StopEnd, "length": StopLength, "tool_calls": StopTools, "function_call": StopTools,
	"content_filter": StopFilter}

// openaiStop reads a finish_reason; words that nobody knows mean that the answer is done.
func openaiStop(s string) Stop {
	if st, ok := openaiStops[s]; ok {
		return st
	}
	return StopEnd
}

// finishReason is the opposite.
func finishReason(s Stop) string {
	switch s {
	case StopLength:
		return "length"
	case StopTools:
		return "tool_calls"
	case StopFilter, StopRefusal:
		return "content_filter"
	}
	return "stop"
}

// parseUsage reads usage under the names of chat and completions.
func parseUsage(o wire.Object) Usage { return countsOf(o, "prompt_tokens", "completion_tokens") }

func countsOf(o wire.Object, in, out string) (u Usage) {
	v, ok := o.Get("usage")
	if !ok {
		return u
	}
	c := v.Obj()
	u.Known = true
	u.Input, u.Output = tokensTold(c, in, &u.Known), tokensTold(c, out, &u.Known)
	if d, ok := c.Obj(in + "_details"); ok {
		u.CachedInput, u.CacheWrite = tokensTold(d, "cached_tokens", &u.Known), tokensTold(d, "cache_write_tokens", &u.Known)
	}
	if d, ok := c.Obj(out + "_details"); ok {
		u.Reasoning = tokensTold(d, "reasoning_tokens", &u.Known)
	}
	return u
}

func count(o wire.Object, name string) int64 {
	if n := o.Int(name, 0, maxCount); n != nil {
		return *n
	}
	return 0
}

// tokensTold is a count of tokens as an upstream tells it. What no count can be is none, and true is false then: an answer
// is not spoilt by what is said about it, but what is said is not known.
func tokensTold(o wire.Object, name string, known *bool) int64 {
	v, ok := o.Get(name)
	if !ok {
		return 0
	}
	if v.IsNumber() {
		if f := v.Num(); f >= 0 && f <= maxCount && f == math.Trunc(f) {
			return int64(f)
		}
	}
	*known = false
	return 0
}

func writeUsage(w *wire.Writer, u Usage) { writeCounts(w, u, "prompt_tokens", "completion_tokens") }

func writeCounts(w *wire.Writer, u Usage, in, out string) {
	w.Key("usage")
	w.Open()
	w.FInt(in, u.Input)
	w.FInt(out, u.Output)
	w.FInt("total_tokens", u.Input+u.Output)
	w.Key(in + "_details")
	w.Open()
	w.FInt("cached_tokens", u.CachedInput)
	if u.CacheWrite > 0 {
		w.FInt("cache_write_tokens", u.CacheWrite)
	}
	w.Close()
	w.Key(out + "_details")
	w.Open()
	w.FInt("reasoning_tokens", u.Reasoning)
	w.Close()
	w.Close()
}

// parseLogprobs reads the list that chat and responses have.
func parseLogprobs(list []wire.Value) []Logprob {
	var out []Logprob
	for _, e := range list {
		out = append(out, parseLogprob(e.Obj(), true))
	}
	return out
}

func parseLogprob(o wire.Object, deep bool) Logprob {
	l := Logprob{Token: o.Text("token")}
	if n := o.Num("logprob", -1e9, 1e9); n != nil {
		l.Logprob = *n
	}
	if v, ok := o.Get("bytes"); ok {
		l.Bytes = []byte{}
		for _, b := range v.List() {
			l.Bytes = append(l.Bytes, byte(b.Int()))
		}
	}
	if deep {
		for _, e := range o.List("top_logprobs") {
			l.Top = append(l.Top, parseLogprob(e.Obj(), false))
		}
	}
	return l
}

func writeLogprobs(w *wire.Writer, list []Logprob) {
	w.List()
	for i := range list {
		writeLogprob(w, &list[i], true)
	}
	w.EndList()
}

func writeLogprob(w *wire.Writer, l *Logprob, deep bool) {
	w.Open()
	w.FText("token", l.Token)
	w.Key("logprob")
	w.Num(l.Logprob)
	w.Key("bytes")
	if l.Bytes == nil {
		w.Raw(nil)
	} else {
		w.List()
		for _, b := range l.Bytes {
			w.Int(int64(b))
		}
		w.EndList()
	}
	if deep {
		w.Key("top_logprobs")
		w.List()
		for i := range l.Top {
			writeLogprob(w, &l.Top[i], false)
		}
		w.EndList()
	}
	w.Close()
}
