package hostile

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// dialect is a way to ask for one answer.
type dialect struct {
	name, path, body string // MODEL and MOST stand for the model's name and the output's bound
	token            string // stands before each token of an answer
	stream           bool
	refusal          string   // path of the word that errors have
	done, failed     []string // what a stream ends with: one of these is in its last event
}

var dialects = []dialect{
	{"chat", "/v1/chat/completions", `{"model":"MODEL","stream":true,"max_tokens":MOST,"messages":[{"role":"user","content":"How are you?"}]}`,
		`"content":"tok`, true, "error.type", []string{"[DONE]"}, []string{`"error"`}},
	{"chat in one piece", "/v1/chat/completions", `{"model":"MODEL","max_tokens":MOST,"messages":[{"role":"user","content":"How are you?"}]}`,
		`tok `, false, "error.type", []string{`"finish_reason"`}, nil},
	{"messages", "/v1/messages", `{"model":"MODEL","stream":true,"max_tokens":MOST,"messages":[{"role":"user","content":"How are you?"}]}`,
		`"text":"tok`, true, "error.type", []string{"message_stop"}, []string{`"error"`}},
	{"responses", "/v1/responses", `{"model":"MODEL","stream":true,"max_output_tokens":MOST,"input":"How are you?"}`,
		`"delta":"tok`, true, "error.type", []string{"response.completed"}, []string{"response.failed", "response.incomplete", `"error"`}},
	{"generateContent", "/v1beta/models/MODEL:streamGenerateContent?alt=sse",
		`{"contents":[{"parts":[{"text":"How are you?"}]}],"generationConfig":{"maxOutputTokens":MOST}}`,
		`"text":"tok`, true, "error.status", []string{"finishReason"}, []string{`"error"`}},
}

func (d dialect) request(model string, most int) string {
	return strings.NewReplacer("MODEL", model, "MOST", strconv.Itoa(most)).Replace(d.body)
}

// wrong says what is wrong with the end of an answer, which is to be a good one or an error; empty if nothing.
func (d dialect) wrong(a answer, good bool) string {
	switch {
	case a.err != nil:
		return "broken off: " + a.err.Error()
	case a.status != 200:
		if good {
			return "refused"
		}
		if a.status < 400 || !gjson.ValidBytes(a.text) || gjson.GetBytes(a.text, d.refusal).String() == "" || gjson.GetBytes(a.text, "error.message").String() == "" {
			return "the refusal has another shape"
		}
		return ""
	case !d.stream:
		if !good || !gjson.ValidBytes(a.text) {
			return "served"
		}
		return ""
	}
	last := lastEvents(a.text)
	if wants := d.ends(good); !holds(last, wants) {
		return fmt.Sprintf("ends without any of %q", wants)
	}
	return ""
}

func (d dialect) ends(good bool) []string {
	if good {
		return d.done
	}
	return d.failed
}

// lastEvents are the last two events of a stream, as [DONE] can stand behind an error.
func lastEvents(text []byte) string {
	all := bytes.Split(bytes.TrimSpace(text), []byte("\n\n"))
	return string(bytes.Join(all[max(0, len(all)-2):], []byte("\n\n")))
}

func holds(text string, any []string) bool {
	for _, s := range any {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}
