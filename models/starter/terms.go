package starter

import (
	"fmt"
	"strings"

	"github.com/triarch-ai/triarch/docs"
)

// Term is one word of Triarch in one language.
type Term struct {
	Lang    string // "en" or "zh"
	Word    string // "fencing number"
	Meaning string // the answer, plain text
	Key     string // the part of Meaning that makes an answer right
}

// Unknown is what the starter says to anything that is none of its words, by language.
var Unknown = map[string]string{"en": "I do not know.", "zh": "我不知道。"}

// Abilities is what the starter says to a greeting, to a call for help and to the question what it can do, by language.
var Abilities = map[string]string{
	"en": "I know the words of Triarch. Ask me: What is a ledger?",
	"zh": "我知道Triarch的词语。请问我：账本是什么？",
}

// Terms reads the words out of the first table of docs/terms.md, the one that is learnt: all English ones, then all
// Chinese ones, in the table's order.
func Terms() ([]Term, error) {
	learnt, _, _ := strings.Cut(docs.Terms, "\n## ")
	return parseTerms(learnt)
}

func parseTerms(table string) ([]Term, error) {
	var en, zh []Term
	for n, line := range strings.Split(table, "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| word ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 4 {
			return nil, fmt.Errorf("terms: line %d has %d cells instead of 4", n+1, len(cells))
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		e, err := term("en", cells[0], cells[1])
		if err != nil {
			return nil, fmt.Errorf("terms: line %d: %w", n+1, err)
		}
		z, err := term("zh", cells[2], cells[3])
		if err != nil {
			return nil, fmt.Errorf("terms: line %d: %w", n+1, err)
		}
		en, zh = append(en, e), append(zh, z)
	}
	return append(en, zh...), nil
}

func term(lang, word, meaning string) (Term, error) {
	parts := strings.Split(meaning, "**")
	if word == "" || len(parts) != 3 || parts[1] == "" {
		return Term{}, fmt.Errorf("%q needs one key phrase between ** marks", word)
	}
	return Term{Lang: lang, Word: word, Meaning: strings.Join(parts, ""), Key: parts[1]}, nil
}

// Right says whether an answer is right for a term: it holds the term's key phrase and no other term's. Upper
// and lower case are the same.
func Right(answer string, t Term, all []Term) bool {
	answer = strings.ToLower(answer)
	if !strings.Contains(answer, strings.ToLower(t.Key)) {
		return false
	}
	for _, o := range all {
		if o.Key != t.Key && strings.Contains(answer, strings.ToLower(o.Key)) {
			return false
		}
	}
	return true
}
