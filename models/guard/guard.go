// Package guard asks a judge whether a text may pass: what callers put to a model, and what the model answers.
//
// A judge is an address outside, asked by a Client in the contract that wire.go documents, or a public model of this
// installation, whose words ParseWords reads. A Policy says of a route which of the two judges, before, after or both.
//
// Rules for callers: an error of a judge is no verdict. Who has one decides by Policy.Open: closed means that nothing
// passes. A Verdict that masks is one that refuses: nothing is changed in silence. Texts are bounded by the caller (Parts),
// answers of judges here. Keys are sealed for Purpose and never shown.
package guard

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/outbound"
)

// Policy says who judges the texts of a route. The zero value has nobody judge. Two policies are alike if they are ==.
type Policy struct {
	URL     string `json:"url,omitempty"`    // whom to ask outside; empty: Model
	Model   string `json:"model,omitempty"`  // public name, as the route's own project means it
	Form    Form   `json:"form,omitempty"`   // of what is asked at URL
	Before  bool   `json:"before,omitempty"` // prompts are judged
	After   bool   `json:"after,omitempty"`  // answers are judged
	Open    bool   `json:"open,omitempty"`   // what cannot be judged passes
	Private bool   `json:"private,omitempty"`
	Sealed  string `json:"sealed,omitempty"`     // bearer key for URL, by seal.Box for Purpose
	Hint    string `json:"hint,omitempty"`       // its last characters, for people
	WaitMS  int    `json:"timeout_ms,omitempty"` // the longest that one judgement takes; 0 = 5 s
	Piece   int    `json:"piece,omitempty"`      // characters of a stream that are held back and judged together; 0 = 512
}

// Form is how an outside judge is asked.
type Form string

// The forms.
const (
	Plain      Form = ""           // the contract of this package
	Moderation Form = "moderation" // POST {"input": TEXT}, answered as OpenAI's moderations are
)

// Bounds of a policy.
const (
	defaultWait  = 5 * time.Second
	maxWait      = time.Minute
	defaultPiece = 512
	minPiece     = 16
	maxPiece     = 16 << 10
	maxSecret    = 4096
)

// Purpose is what the key of a route's judge is sealed for.
func Purpose(route string) string { return "guard of " + route }

// On says whether anything is judged.
func (p *Policy) On() bool { return p.Before || p.After }

// Wait is the longest that one judgement takes.
func (p *Policy) Wait() time.Duration {
	if p.WaitMS == 0 {
		return defaultWait
	}
	return time.Duration(p.WaitMS) * time.Millisecond
}

// Held is how many characters of a stream are judged together.
func (p *Policy) Held() int {
	if p.Piece == 0 {
		return defaultPiece
	}
	return p.Piece
}

// By names the judge for people.
func (p *Policy) By() string {
	if p.Model != "" {
		return p.Model
	}
	return p.URL
}

// Mark is another text for each policy that judges otherwise: what was let through under one was not under another.
func (p *Policy) Mark() string {
	return strings.Join([]string{"guard", p.URL, p.Model, string(p.Form), onOff(p.Before), onOff(p.After), onOff(p.Open)}, " ")
}

func onOff(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// When says which texts are judged.
type When string

// The moments; those of one judgement are Before and After.
const (
	Before When = "before"
	After  When = "after"
	Both   When = "both"
)

// When is the policy's word for what it has judged; empty: nothing.
func (p *Policy) When() When {
	switch {
	case p.Before && p.After:
		return Both
	case p.Before:
		return Before
	case p.After:
		return After
	}
	return ""
}

// Change is what is to change of a policy; what is nil stays. An empty URL or Model, with no other named, ends it.
type Change struct {
	URL, Model *string
	Form       *string
	When       *string
	Open       *bool
	Private    *bool
	Key        *string // secret
	WaitMS     *int
	Piece      *int
}

// Over is the policy as it is to be, and the key to be sealed if there is a new one. Another address is not given the
// key of the one before. A fault of kind Invalid names the field.
func (c *Change) Over(p Policy) (out Policy, key string, err error) {
	if c == nil {
		return p, "", nil
	}
	url, model := p.URL, p.Model
	switch {
	case c.URL != nil && *c.URL != "" && c.Model != nil && *c.Model != "":
		return p, "", fault.InvalidField("route.policy.guard", "A guard is a url or a model, not both.")
	case c.URL != nil && *c.URL != "":
		url, model = *c.URL, ""
	case c.Model != nil && *c.Model != "":
		url, model = "", *c.Model
	case c.URL != nil || c.Model != nil:
		return Policy{}, "", nil
	}
	if url == "" && model == "" {
		return p, "", fault.New(fault.Invalid, "The guard has neither a url nor a model.", fault.Field("route.policy.guard"), fault.Fix("Name who judges first."))
	}
	if url != p.URL {
		p.Sealed, p.Hint = "", ""
	}
	if url == "" {
		p.Form, p.Private = "", false
	}
	if p.URL == "" && p.Model == "" {
		p.Before, p.After = true, true
	}
	p.URL, p.Model = url, model
	if err := c.rest(&p); err != nil {
		return p, "", err
	}
	if c.Key != nil {
		key = strings.TrimSpace(*c.Key)
		if p.Hint = ""; len(key) >= 16 {
			p.Hint = key[len(key)-4:]
		}
		p.Sealed = ""
	}
	return p, key, p.check(key)
}

func (c *Change) rest(p *Policy) error {
	if c.When != nil {
		switch When(*c.When) {
		case Before, After, Both:
			p.Before, p.After = *c.When != string(After), *c.When != string(Before)
		default:
			return fault.InvalidField("route.policy.guard.when", "when is before, after or both.")
		}
	}
	if c.Form != nil {
		p.Form = Form(*c.Form)
	}
	for _, x := range []struct{ to, from *bool }{{&p.Open, c.Open}, {&p.Private, c.Private}} {
		if x.from != nil {
			*x.to = *x.from
		}
	}
	for _, x := range []struct{ to, from *int }{{&p.WaitMS, c.WaitMS}, {&p.Piece, c.Piece}} {
		if x.from != nil {
			*x.to = *x.from
		}
	}
	return nil
}

func (p *Policy) check(key string) error {
	if p.URL != "" {
		if _, err := outbound.CheckURL("route.policy.guard.url", p.URL, p.Private); err != nil {
			return err
		}
	}
	bad := strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' })
	switch {
	case p.Form != Plain && p.Form != Moderation:
		return fault.InvalidField("route.policy.guard.form", "form is empty or moderation.")
	case p.URL == "" && (p.Form != Plain || p.Private || key != ""):
		return fault.InvalidField("route.policy.guard", "A form, a key and inner addresses are of a guard with a url.")
	case len(key) > maxSecret || bad:
		return fault.InvalidField("route.policy.guard.key", "A guard's key has at most %d printable characters without spaces.", maxSecret)
	case len(p.Model) > 256:
		return fault.InvalidField("route.policy.guard.model", "A public name has at most 256 bytes.")
	case p.WaitMS < 0 || p.WaitMS > int(maxWait/time.Millisecond):
		return fault.InvalidField("route.policy.guard.timeout_ms", "timeout_ms is %d, it must be 0 (5,000) to %d.", p.WaitMS, maxWait/time.Millisecond)
	case p.Piece != 0 && (p.Piece < minPiece || p.Piece > maxPiece):
		return fault.InvalidField("route.policy.guard.piece", "piece is %d, it must be 0 (%d) or %d to %d characters.", p.Piece, defaultPiece, minPiece, maxPiece)
	}
	return nil
}

// Ask is a text to be judged.
type Ask struct {
	When    When   // Before or After
	Request string // req_...
	Project string // of whoever asks: prj_...
	Model   string // public name that is asked
	Prompt  string // of an answer: the end of what it answers
	Text    string
	Part    int  // which part of the text, from 0
	Last    bool // none follows
}

// Verdict is what a judge says.
type Verdict struct {
	Refused    bool
	Masks      bool     // it would have the text changed, which is as good as refused
	Reason     string   // its own, at most 256 bytes
	Categories []string // its own words, such as S1 or hate; at most 32
	Scores     map[string]float64
}

const (
	maxReason     = 256
	maxCategories = 32
	maxCategory   = 64
)

// tidy keeps a verdict within bounds: it is stored and shown.
func (v Verdict) tidy() Verdict {
	v.Refused = v.Refused || v.Masks
	v.Reason = clip(v.Reason, maxReason)
	if len(v.Categories) > maxCategories {
		v.Categories = v.Categories[:maxCategories]
	}
	for i, c := range v.Categories {
		v.Categories[i] = clip(c, maxCategory)
	}
	return v
}

// clip is a text without control characters, of at most so many bytes, whole characters.
func clip(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	for len(s) > most {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return strings.TrimSpace(s)
}

// Sizes of what is judged at once, bytes.
const (
	partSize = 32 << 10
	overlap  = 256
	// PromptMost is how much of a prompt's end is shown with an answer.
	PromptMost = 4 << 10
)

// Parts cuts a text into what is judged at once. Each begins with the end of the one before, so that nothing is hidden
// by a cut.
func Parts(text string) []string {
	var out []string
	for len(text) > partSize {
		cut := wholeRunes(text, partSize)
		out = append(out, text[:cut])
		text = text[wholeRunes(text, cut-overlap):]
	}
	return append(out, text)
}

// Tail is the end of a text, of at most so many bytes, whole characters.
func Tail(text string, most int) string {
	if len(text) <= most {
		return text
	}
	at := len(text) - most
	for at < len(text) && !utf8.RuneStart(text[at]) {
		at++
	}
	return text[at:]
}

// wholeRunes is the first end of a character at or before a place; the place itself where there are no characters.
func wholeRunes(s string, at int) int {
	if at >= len(s) {
		return at
	}
	for back := 0; back < utf8.UTFMax && back <= at; back++ {
		if utf8.RuneStart(s[at-back]) {
			return at - back
		}
	}
	return at
}
