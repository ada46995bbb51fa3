package guard

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// The contract. An outside judge is sent, by POST as JSON:
//
//	{"when": "before" or "after", "request": "req_...", "project": "prj_...", "model": NAME, "text": TEXT,
//	 "prompt": END OF WHAT IS ANSWERED, "part": 0, "last": true}
//
// and answers 200 within its time and 64 KiB, as JSON:
//
//	{"verdict": "allow", "refuse" or "mask", "reason": SENTENCE, "categories": [WORDS]}
//
// Anything else is no verdict. Reason and categories may be left out. They are shown to whoever looks at the project, and
// never to callers.
type asked struct {
	When    When   `json:"when"`
	Request string `json:"request"`
	Project string `json:"project"`
	Model   string `json:"model"`
	Text    string `json:"text"`
	Prompt  string `json:"prompt,omitempty"`
	Part    int    `json:"part"`
	Last    bool   `json:"last"`
}

// write is what a judge is sent.
func write(form Form, a *Ask) ([]byte, error) {
	if form == Moderation {
		return json.Marshal(struct {
			Input string `json:"input"`
		}{a.Text})
	}
	return json.Marshal(asked{a.When, a.Request, a.Project, a.Model, a.Text, a.Prompt, a.Part, a.Last})
}

// maxVerdict bounds what a judge answers, bytes.
const maxVerdict = 64 << 10

var (
	errLong   = errors.New("guard: the answer is too long")
	errUnread = errors.New("guard: the answer is no verdict")
)

// Parse reads the verdict of a judge: this package's contract, or the shape of OpenAI's moderations, of which any result
// that is flagged refuses.
func Parse(body []byte) (Verdict, error) {
	if len(body) > maxVerdict {
		return Verdict{}, errLong
	}
	if !json.Valid(body) {
		return Verdict{}, errUnread
	}
	x := gjson.ParseBytes(body)
	if !x.IsObject() {
		return Verdict{}, errUnread
	}
	if v := x.Get("verdict"); v.Exists() {
		return plain(x, v)
	}
	if list := x.Get("results"); list.IsArray() {
		return moderated(list.Array())
	}
	if x.Get("flagged").Exists() {
		return moderated([]gjson.Result{x})
	}
	return Verdict{}, errUnread
}

func plain(x, word gjson.Result) (Verdict, error) {
	v := Verdict{Reason: x.Get("reason").String()}
	for _, c := range x.Get("categories").Array() {
		if c.Type == gjson.String {
			v.Categories = append(v.Categories, c.Str)
		}
	}
	switch {
	case word.Type != gjson.String:
		return Verdict{}, errUnread
	case word.Str == "allow":
	case word.Str == "refuse":
		v.Refused = true
	case word.Str == "mask":
		v.Refused, v.Masks = true, true
	default:
		return Verdict{}, errUnread
	}
	return v.tidy(), nil
}

func moderated(results []gjson.Result) (Verdict, error) {
	var v Verdict
	if len(results) == 0 {
		return v, errUnread
	}
	for _, r := range results {
		flag := r.Get("flagged")
		if !flag.IsBool() {
			return Verdict{}, errUnread
		}
		v.Refused = v.Refused || flag.Bool()
		r.Get("categories").ForEach(func(name, on gjson.Result) bool {
			if on.Type == gjson.True && len(v.Categories) < maxCategories && !slices.Contains(v.Categories, name.Str) {
				v.Categories = append(v.Categories, name.Str)
			}
			return true
		})
		r.Get("category_scores").ForEach(func(name, score gjson.Result) bool {
			if score.Type != gjson.Number || len(name.Str) > maxCategory || len(v.Scores) >= maxCategories {
				return true
			}
			if v.Scores == nil {
				v.Scores = map[string]float64{}
			}
			v.Scores[name.Str] = max(v.Scores[name.Str], min(max(score.Num, 0), 1))
			return true
		})
	}
	return v.tidy(), nil
}

// ParseWords reads what a chat model that judges answers: safe, or unsafe with a line of categories after it, as Llama
// Guard and its like do; or JSON that Parse reads. Anything else is no verdict.
func ParseWords(text string) (Verdict, error) {
	if len(text) > maxVerdict {
		return Verdict{}, errLong
	}
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "{") {
		return Parse([]byte(text))
	}
	first, rest, _ := strings.Cut(text, "\n")
	switch strings.ToLower(strings.TrimRight(strings.TrimSpace(first), ".")) {
	case "safe":
		if strings.TrimSpace(rest) != "" {
			return Verdict{}, errUnread // more than a word is a talk, not a verdict
		}
		return Verdict{}, nil
	case "unsafe":
		v := Verdict{Refused: true}
		for c := range strings.FieldsFuncSeq(rest, func(r rune) bool { return r == ',' || r == '\n' || r == ' ' || r == '\r' }) {
			if len(v.Categories) == maxCategories {
				break
			}
			v.Categories = append(v.Categories, c)
		}
		return v.tidy(), nil
	}
	return Verdict{}, errUnread
}

// judging is what a chat model that judges is asked.
type judging struct {
	Model       string    `json:"model"`
	Messages    []message `json:"messages"`
	Temperature float64   `json:"temperature"`
	MaxTokens   int       `json:"max_tokens"`
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// wordsMost is how many tokens a judging model may answer with.
const wordsMost = 64

// Words is the body of a chat completion that has a model judge: the text as the last turn of a conversation, a user's
// before and the assistant's after.
func Words(model string, a *Ask) ([]byte, error) {
	j := judging{Model: model, MaxTokens: wordsMost}
	if a.When == After {
		j.Messages = append(j.Messages, message{"user", a.Prompt}, message{"assistant", a.Text})
	} else {
		j.Messages = append(j.Messages, message{"user", a.Text})
	}
	return json.Marshal(j)
}
