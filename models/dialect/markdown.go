package dialect

import (
	"fmt"
	"strings"
)

// titles are the dialects as people call them.
var titles = map[Kind]string{Chat: "OpenAI chat completions", Completions: "OpenAI completions", Responses: "OpenAI responses",
	Anthropic: "Anthropic messages", Google: "Google generateContent"}

// Markdown prints the table for people: docs/dialects.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString(intro)
	rows := map[[3]string]Row{}
	for _, r := range Table() {
		rows[[3]string{string(r.From), string(r.To), r.Field}] = r
	}
	for _, from := range Kinds {
		fmt.Fprintf(&b, "\n## From %s (`%s`)\n\n| field |", titles[from], from)
		rule := strings.Repeat("|---", len(Kinds)) + "|"
		for _, to := range Kinds {
			if to != from {
				fmt.Fprintf(&b, " to `%s` |", to)
			}
		}
		b.WriteString("\n" + rule + "\n")
		for _, f := range fields[from] {
			fmt.Fprintf(&b, "| %s |", code(f.name))
			for _, to := range Kinds {
				if to == from {
					continue
				}
				r := rows[[3]string{string(from), string(to), f.name}]
				cell := string(r.Outcome)
				if r.Note != "" {
					cell += ": " + r.Note
				}
				fmt.Fprintf(&b, " %s |", cell)
			}
			b.WriteString("\n")
		}
	}
	b.WriteString(answers())
	return b.String()
}

func code(name string) string {
	if name == otherField {
		return name
	}
	return "`" + name + "`"
}

const intro = `# Dialects

Printed from the table that the gateway itself looks at (` + "`models/dialect`" + `); a test holds the two equal and another
converts a request for every row.

A request whose dialect is also that of the engine or provider that serves it is passed on untouched, but for the name
of the model, the asking for usage and the output bound. Between two dialects each field has one of three fates:

- **mapped**: the other dialect's request says it;
- **dropped**: it is left out, and named in a header of the answer;
- **refused**: the request is answered with an error that names it.

What changes what a caller can rely on is refused; what only steers or labels is dropped. Names inside of a message, a
part or a tool that the dialect does not have are dropped and named. A name that is there twice is refused.
`

// answers are the tables of what comes back.
func answers() string {
	var b strings.Builder
	b.WriteString("\n## Why an answer stopped\n\n| inside | chat, completions | responses | anthropic | google |\n|---|---|---|---|---|\n")
	for _, s := range []Stop{StopEnd, StopSequence, StopLength, StopTools, StopFilter, StopRefusal, StopPause} {
		st := respState{}
		st.settle(s)
		status := st.status
		if st.reason != "" {
			status += ": " + st.reason
		}
		fmt.Fprintf(&b, "| %s | `%s` | `%s` | `%s` | `%s` |\n", s, finishReason(s), status, stopReason(s), finishWord(s))
	}
	b.WriteString(counts)
	return b.String()
}

const counts = `
## How tokens are counted

| inside | OpenAI | Anthropic | Google |
|---|---|---|---|
| input, all of it | ` + "`prompt_tokens`, `input_tokens`" + ` | ` + "`input_tokens`" + ` + both cache counts | ` + "`promptTokenCount`" + ` |
| of it from a cache | ` + "`cached_tokens`" + ` | ` + "`cache_read_input_tokens`" + ` | ` + "`cachedContentTokenCount`" + ` |
| of it into a cache | ` + "`cache_write_tokens`" + ` | ` + "`cache_creation_input_tokens`" + ` | |
| output, all of it | ` + "`completion_tokens`, `output_tokens`" + ` | ` + "`output_tokens`" + ` | ` + "`candidatesTokenCount` + `thoughtsTokenCount`" + ` |
| of it reasoning | ` + "`reasoning_tokens`" + ` | ` + "`output_tokens_details`" + ` | ` + "`thoughtsTokenCount`" + ` |

## Reasoning

The text of a model's reasoning is shown to chat clients as ` + "`reasoning_content`" + `, and to others only if they asked for
reasoning. A proof of reasoning that its maker wants back (a signature, encrypted content, a thought signature) is
carried through clients of Anthropic and responses as an opaque text inside of the thinking block or reasoning item,
and Google's proof of a tool call through all clients at the end of the call's id; it is given back only to its maker.
`
