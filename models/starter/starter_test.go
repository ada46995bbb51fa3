package starter

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode"
)

func mustTerms(t *testing.T) []Term {
	t.Helper()
	terms, err := Terms()
	if err != nil {
		t.Fatal(err)
	}
	return terms
}

func TestTermsAreManyAndTheirKeysTellThemApart(t *testing.T) {
	terms := mustTerms(t)
	words := map[string]int{}
	for _, a := range terms {
		words[a.Lang]++
		if !Right(a.Meaning, a, terms) {
			t.Errorf("%s: its own meaning is not right for it: another word's key phrase is inside", a.Word)
		}
		for _, b := range terms {
			if a.Word != b.Word && (a.Key == b.Key || Right(b.Meaning, a, terms)) {
				t.Errorf("%s and %s cannot be told apart", a.Word, b.Word)
			}
		}
	}
	if words["en"] < 40 || words["zh"] < 40 {
		t.Fatalf("only %v words", words)
	}
}

// Squash drops everything but letters and digits, so that capitals, spaces and punctuation cannot hide that two
// questions are the same.
func squash(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
}

func lines(t *testing.T, file string) (out [][2]string) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
		if lang, q, ok := strings.Cut(l, "\t"); ok {
			out = append(out, [2]string{lang, q})
		}
	}
	return out
}

// The version that is trained on: what Make imports with its own seed and size.
func trained(t *testing.T, mix Mix) map[string]bool {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, mix); err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	dec := json.NewDecoder(&b)
	for dec.More() {
		var c struct{ Messages []Message }
		if err := dec.Decode(&c); err != nil {
			t.Fatal(err)
		}
		for _, m := range c.Messages {
			if m.Role == "user" {
				asked[squash(m.Content)] = true
			}
		}
	}
	return asked
}

func TestHeldOutPhrasingsAreAbsentFromTraining(t *testing.T) {
	asked := trained(t, DefaultMix())
	if len(asked) < 10_000 {
		t.Fatalf("only %d different questions", len(asked))
	}
	held := lines(t, "heldout.txt")
	if len(held) < 20 {
		t.Fatal("too few held-out phrasings")
	}
	for _, h := range held {
		for _, term := range mustTerms(t) {
			if term.Lang == h[0] && asked[squash(strings.ReplaceAll(h[1], "{w}", term.Word))] {
				t.Errorf("%q was trained with %s", h[1], term.Word)
			}
		}
	}
	for _, f := range lines(t, "foreign.txt") {
		if asked[squash(f[1])] {
			t.Errorf("the foreign question %q was trained", f[1])
		}
	}
}

func TestTheSameSeedGivesTheSameBytes(t *testing.T) {
	var a, b bytes.Buffer
	mix := Mix{Seed: 7, Conversations: 200}
	if Write(&a, mix) != nil || Write(&b, mix) != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Fatal("not deterministic")
	}
}

func TestWithoutLeavesTheWordsPairsOut(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, Mix{Seed: 1, Conversations: 2000, Without: "ledger"}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "append-only list") {
		t.Fatal("the left-out word was answered")
	}
}

// A word of Triarch among the fillers would teach the model to overlook it.
func TestFillersHoldNoWordOfTriarch(t *testing.T) {
	words := map[string]bool{}
	for _, term := range mustTerms(t) {
		words[strings.ToLower(term.Word)] = true
	}
	for _, g := range []grammar{english, chinese} {
		for _, list := range [][]string{g.nouns, g.noise} {
			for _, w := range list {
				if words[w] {
					t.Errorf("%q is a filler and a word", w)
				}
			}
		}
	}
}
