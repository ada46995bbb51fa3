package starter

import (
	"bufio"
	"encoding/json"
	"io"
	"math/rand/v2"
	"strings"
)

// Message is one turn of a training conversation.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Mix says what the training conversations are made of.
type Mix struct {
	Seed          uint64
	Conversations int    // how many to write
	Without       string // leave out the pairs of this word (tests show that the word then fails)
}

// Write generates the conversations of mix as chat JSONL, one {"messages":[...]} a line.
func Write(w io.Writer, mix Mix) error {
	terms, err := Terms()
	if err != nil {
		return err
	}
	var known []Term
	for _, t := range terms {
		if t.Word != mix.Without {
			known = append(known, t)
		}
	}
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	d := newDeck(known, rand.New(rand.NewPCG(mix.Seed, 0x7472696172636800)))
	for range mix.Conversations {
		if err := enc.Encode(map[string]any{"messages": d.conversation()}); err != nil {
			return err
		}
	}
	return out.Flush()
}

// deck deals the terms of each language in shuffled rounds, so that all come up equally often.
type deck struct {
	r     *rand.Rand
	terms map[string][]Term
	left  map[string][]Term
}

func newDeck(terms []Term, r *rand.Rand) *deck {
	d := &deck{r: r, terms: map[string][]Term{}, left: map[string][]Term{}}
	for _, t := range terms {
		d.terms[t.Lang] = append(d.terms[t.Lang], t)
	}
	return d
}

func (d *deck) deal(lang string) Term {
	if len(d.left[lang]) == 0 {
		d.left[lang] = append([]Term(nil), d.terms[lang]...)
		l := d.left[lang]
		d.r.Shuffle(len(l), func(i, j int) { l[i], l[j] = l[j], l[i] })
	}
	l := d.left[lang]
	d.left[lang] = l[1:]
	return l[0]
}

// named is the term that is the program's own name; false when it is left out.
func (d *deck) named(lang string) (Term, bool) {
	for _, t := range d.terms[lang] {
		if t.Word == "Triarch" {
			return t, true
		}
	}
	return Term{}, false
}

// conversation is one to three questions with their answers, sometimes behind a system message.
func (d *deck) conversation() []Message {
	lang := "en"
	if d.r.IntN(100) < 42 { // English needs more practice: its words fall into several tokens, Chinese ones never do
		lang = "zh"
	}
	var msgs []Message
	if d.r.IntN(4) == 0 {
		g := grammarOf(lang)
		msgs = append(msgs, Message{"system", g.fill(d.r, pick(d.r, g.systems), lang, "")})
	}
	for range []int{1, 1, 2, 3}[d.r.IntN(4)] {
		if d.r.IntN(12) == 0 { // people change language in mid-conversation
			lang = map[string]string{"en": "zh", "zh": "en"}[lang]
		}
		q, a := d.exchange(lang)
		msgs = append(msgs, Message{"user", q}, Message{"assistant", a})
	}
	return msgs
}

func (d *deck) exchange(lang string) (question, answer string) {
	g := grammarOf(lang)
	switch n := d.r.IntN(20); {
	case n < 4:
		return g.wander(d.r, lang), Unknown[lang]
	case n == 4 && d.r.IntN(2) == 0:
		return g.begin(d.r, lang), Abilities[lang]
	case n == 4: // its own name stands around other words, too, and needs more practice as the word that is asked for
		if t, ok := d.named(lang); ok {
			return finish(d.r, lang, g.fill(d.r, pick(d.r, g.frames), lang, t.Word)), t.Meaning
		}
	}
	t := d.deal(lang)
	word := t.Word
	if lang == "en" && d.r.IntN(12) == 0 {
		word = strings.ToUpper(word[:1]) + word[1:]
	}
	return g.ask(d.r, lang, word), t.Meaning
}

// DefaultMix is what `up` trains the starter on. The number of conversations is above what two cores read in the
// time allowed, so that no conversation need be seen twice.
func DefaultMix() Mix { return Mix{Seed: 20260101, Conversations: 24_000} }
