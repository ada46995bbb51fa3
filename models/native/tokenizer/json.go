package tokenizer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// MaxFile is the size in bytes above which Load refuses a tokenizer.json.
const MaxFile = 64 << 20

type file struct {
	Version       string          `json:"version"`
	AddedTokens   []addedToken    `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         struct {
		Type                    string           `json:"type"`
		Dropout                 *float64         `json:"dropout"`
		ContinuingSubwordPrefix *string          `json:"continuing_subword_prefix"`
		EndOfWordSuffix         *string          `json:"end_of_word_suffix"`
		ByteFallback            bool             `json:"byte_fallback"`
		IgnoreMerges            bool             `json:"ignore_merges"`
		Vocab                   map[string]int32 `json:"vocab"`
		Merges                  []mergeText      `json:"merges"`
	} `json:"model"`
}

type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// mergeText is a merge in either of the forms in use: "a b" and ["a","b"].
type mergeText [2]string

func (m *mergeText) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '[' {
		var sides []string
		if err := json.Unmarshal(raw, &sides); err != nil {
			return err
		}
		if len(sides) != 2 {
			return fmt.Errorf("a merge of %d sides", len(sides))
		}
		m[0], m[1] = sides[0], sides[1]
		return nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	left, right, ok := strings.Cut(s, " ")
	if !ok {
		return fmt.Errorf("the merge %.60q has one side", s)
	}
	m[0], m[1] = left, right
	return nil
}

// Load reads a tokenizer.json: one this package wrote, or a foreign byte-level BPE whose splitting is known (see
// the Split constants). What the file's post_processor would add around a text is kept for WriteJSON but never
// applied. Errors: fault.Unsupported naming what is foreign, fault.Invalid for a damaged file, fault.TooLarge
// above MaxFile bytes or MaxVocab tokens.
func Load(r io.Reader) (*Tokenizer, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, fault.Wrap(err, "reading tokenizer.json")
	}
	if len(raw) > MaxFile {
		return nil, fault.Newf(fault.TooLarge, "The tokenizer.json is larger than %d bytes.", MaxFile)
	}
	var f file
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, broken("its JSON", err)
	}
	t := &Tokenizer{addedID: map[string]int32{}, wholeFirst: f.Model.IgnoreMerges}
	for _, step := range []func(*Tokenizer, *file) error{checkModel, loadParts, loadVocab, loadMerges} {
		if err := step(t, &f); err != nil {
			return nil, err
		}
	}
	t.finish()
	return t, nil
}

// checkModel refuses models that are not plain byte-level BPE.
func checkModel(_ *Tokenizer, f *file) error {
	m := &f.Model
	switch {
	case m.Type != "BPE" && m.Type != "":
		return foreign("a model of type %.60q", m.Type)
	case m.ByteFallback:
		return foreign("byte_fallback (a sentencepiece vocabulary)")
	case m.Dropout != nil && *m.Dropout != 0:
		return foreign("merge dropout")
	case m.ContinuingSubwordPrefix != nil && *m.ContinuingSubwordPrefix != "",
		m.EndOfWordSuffix != nil && *m.EndOfWordSuffix != "":
		return foreign("marks for parts of words")
	case len(m.Vocab) > MaxVocab || len(m.Merges) > MaxVocab || len(f.AddedTokens) > maxAdded:
		return fault.Newf(fault.TooLarge, "The tokenizer.json has %d tokens, %d merges and %d added tokens; at most %d, %d and %d are read.",
			len(m.Vocab), len(m.Merges), len(f.AddedTokens), MaxVocab, MaxVocab, maxAdded)
	}
	return nil
}

// loadParts reads normalizer, pre-tokenizer, decoder and post-processor.
func loadParts(t *Tokenizer, f *file) (err error) {
	if t.pre, err = parsePre(f.PreTokenizer); err != nil {
		return err
	}
	kind, err := partType(f.Normalizer)
	switch {
	case err != nil:
		return broken("normalizer", err)
	case kind == "NFC":
		t.nfc = true
	case kind != "":
		return foreign("the normalizer %.60q", kind)
	}
	if kind, err = partType(f.Decoder); err != nil {
		return broken("decoder", err)
	} else if kind != "ByteLevel" {
		return foreign("the decoder %.60q", kind)
	}
	if kind, err = partType(f.PostProcessor); err != nil {
		return broken("post_processor", err)
	}
	switch kind {
	case "", "ByteLevel", "TemplateProcessing", "Sequence":
	default:
		return foreign("the post_processor %.60q", kind)
	}
	var post bytes.Buffer
	if kind != "" {
		if err := json.Compact(&post, f.PostProcessor); err != nil {
			return broken("post_processor", err)
		}
		t.post = post.Bytes()
	}
	return nil
}

// partType gives the type of an optional part, empty if the part is missing or null.
func partType(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	var part struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &part); err != nil {
		return "", err
	}
	if part.Type == "" {
		return "", errors.New("a part without type")
	}
	return part.Type, nil
}

func loadVocab(t *Tokenizer, f *file) error {
	top := int32(-1)
	for _, id := range f.Model.Vocab {
		top = max(top, id)
	}
	for _, a := range f.AddedTokens {
		top = max(top, a.ID)
	}
	if top < 0 || top >= MaxVocab {
		return broken("vocab", fmt.Errorf("highest id %d", top))
	}
	t.tokens, t.kinds = make([][]byte, top+1), make([]uint8, top+1)
	t.normal = make(map[string]int32, len(f.Model.Vocab))
	for _, a := range f.AddedTokens {
		if err := t.loadAdded(a, f.Model.Vocab); err != nil {
			return err
		}
	}
	for text, id := range f.Model.Vocab {
		if _, isAdded := t.addedID[text]; isAdded {
			continue
		}
		raw, ok := unspell(text)
		if !ok || len(raw) == 0 || len(raw) > maxToken || id < 0 || t.kinds[id] != absent {
			return broken("vocab", fmt.Errorf("token %.60q with id %d", text, id))
		}
		t.tokens[id], t.kinds[id] = raw, normal
		t.normal[string(raw)] = id
	}
	for b := range 256 {
		id, ok := t.normal[string([]byte{byte(b)})]
		if !ok {
			return foreign("bytes it has no token for, such as 0x%02X", b)
		}
		t.byteID[b] = id
	}
	return nil
}

func (t *Tokenizer) loadAdded(a addedToken, vocab map[string]int32) error {
	if a.LStrip || a.RStrip || a.SingleWord {
		return foreign("the added token %.60q that takes the space beside it or stands for whole words", a.Content)
	}
	_, twice := t.addedID[a.Content]
	other, inVocab := vocab[a.Content]
	if twice || inVocab && other != a.ID || a.ID < 0 || a.Content == "" || len(a.Content) > maxContent || t.kinds[a.ID] != absent {
		return broken("added_tokens", fmt.Errorf("token %.60q with id %d", a.Content, a.ID))
	}
	t.tokens[a.ID], t.kinds[a.ID] = []byte(a.Content), added
	if a.Special {
		t.kinds[a.ID] = special
	}
	t.addedID[a.Content] = a.ID
	return nil
}

func loadMerges(t *Tokenizer, f *file) error {
	t.merges = make(map[uint64]merge, len(f.Model.Merges))
	t.order = make([][2]int32, 0, len(f.Model.Merges))
	for rank, m := range f.Model.Merges {
		left, ok := t.lookupSpelled(m[0])
		right, ok2 := t.lookupSpelled(m[1])
		id, ok3 := t.lookupSpelled(m[0] + m[1])
		if !ok || !ok2 || !ok3 {
			return broken("merges", fmt.Errorf("merge %d of %.60q and %.60q", rank, m[0], m[1]))
		}
		key := pairKey(left, right)
		if _, twice := t.merges[key]; twice {
			return broken("merges", fmt.Errorf("merge %d of %.60q and %.60q again", rank, m[0], m[1]))
		}
		t.merges[key] = merge{rank: int32(rank), id: id}
		t.order = append(t.order, [2]int32{left, right})
	}
	return nil
}

func (t *Tokenizer) lookupSpelled(s string) (int32, bool) {
	raw, ok := unspell(s)
	if !ok {
		return 0, false
	}
	id, ok := t.normal[string(raw)]
	return id, ok
}

// WriteJSON writes the tokenizer as a tokenizer.json that Load and the Hugging Face libraries read. The same
// tokenizer always gives the same bytes.
func (t *Tokenizer) WriteJSON(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [")
	for i, a := range t.addedList() {
		fmt.Fprintf(b, "%s\n    %s", comma(i), marshal(a))
	}
	normalizer, post := "null", "null"
	if t.nfc {
		normalizer = `{"type":"NFC"}`
	}
	if len(t.post) > 0 {
		post = string(t.post)
	}
	fmt.Fprintf(b, "\n  ],\n  \"normalizer\": %s,\n  \"pre_tokenizer\": %s,\n  \"post_processor\": %s,\n", normalizer, t.pre.raw, post)
	fmt.Fprint(b, "  \"decoder\": {\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":false},\n")
	fmt.Fprint(b, "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n")
	fmt.Fprint(b, "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n")
	fmt.Fprintf(b, "    \"byte_fallback\": false,\n    \"ignore_merges\": %v,\n    \"vocab\": {", t.wholeFirst)
	n := 0
	for id := range t.tokens {
		// Hugging Face numbers added tokens after the vocabulary unless the vocabulary has them.
		if text := t.TokenText(int32(id)); text != "" {
			fmt.Fprintf(b, "%s\n      %s: %d", comma(n), marshal(text), id)
			n++
		}
	}
	fmt.Fprint(b, "\n    },\n    \"merges\": [")
	for i, m := range t.order {
		fmt.Fprintf(b, "%s\n      %s", comma(i), marshal(t.TokenText(m[0])+" "+t.TokenText(m[1])))
	}
	fmt.Fprint(b, "\n    ]\n  }\n}\n")
	return b.Flush()
}

func (t *Tokenizer) addedList() []addedToken {
	list := make([]addedToken, 0, len(t.addedID))
	for content, id := range t.addedID {
		list = append(list, addedToken{ID: id, Content: content, Special: t.kinds[id] == special})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].ID < list[j].ID })
	return list
}

func comma(i int) string {
	if i == 0 {
		return ""
	}
	return ","
}

// marshal gives compact JSON without escaping HTML; it is only handed values that cannot fail.
func marshal(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("tokenizer: " + err.Error())
	}
	return bytes.TrimSpace(b.Bytes())
}
