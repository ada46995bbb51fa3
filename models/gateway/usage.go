package gateway

import (
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// plainUsage reads the usage of a chat or text completion in one pass, where it has the form that nearly all have: one
// object, whole numbers and no field twice. Whatever else it meets, it leaves to engine.ReadUsage, with which it
// agrees.
func plainUsage(body []byte) (u meter.Usage, ok bool) {
	s := scanner{b: body}
	var usage []byte
	for s.next() {
		if string(s.key) == "usage" {
			if usage != nil {
				return u, false
			}
			usage = s.value
		}
	}
	if s.bad || len(usage) == 0 || usage[0] != '{' {
		return u, false
	}
	var seen uint
	for s = (scanner{b: usage}); s.next(); {
		bit, to, detail := uint(0), (*int64)(nil), ""
		switch string(s.key) {
		case "prompt_tokens":
			bit, to = 1, &u.Input
		case "completion_tokens":
			bit, to = 2, &u.Output
		case "prompt_tokens_details":
			bit, to, detail = 4, &u.Cached, "cached_tokens"
		case "completion_tokens_details":
			bit, to, detail = 8, &u.Reasoning, "reasoning_tokens"
		case "input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details":
			return u, false
		default:
			continue
		}
		if seen&bit != 0 {
			return u, false
		}
		seen |= bit
		if detail == "" {
			*to, ok = digits(s.value)
		} else {
			*to, ok = part(s.value, detail)
		}
		if !ok {
			return u, false
		}
	}
	return u, !s.bad && seen&1 != 0
}

// part is one number of an object, 0 where there is none; null has none.
func part(object []byte, name string) (n int64, ok bool) {
	if string(object) == "null" {
		return 0, true
	}
	found := false
	s := scanner{b: object}
	for s.next() {
		if string(s.key) != name {
			continue
		}
		if found {
			return 0, false
		}
		found = true
		if n, ok = digits(s.value); !ok {
			return 0, false
		}
	}
	return n, !s.bad
}

// digits reads a whole number of at most 15 digits, which a float64 holds exactly.
func digits(v []byte) (n int64, ok bool) {
	if len(v) == 0 || len(v) > 15 || v[0] == '0' && len(v) > 1 {
		return 0, false
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
