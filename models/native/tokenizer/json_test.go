package tokenizer

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/triarch-ai/triarch/internal/fault"
)

// edited gives testdata/tokenizer.json with a change.
func edited(t testing.TB, change func(f map[string]any)) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	var f map[string]any
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	change(f)
	if raw, err = json.Marshal(f); err != nil {
		t.Fatal(err)
	}
	return raw
}

func inModel(key string, v any) func(map[string]any) {
	return func(f map[string]any) { f["model"].(map[string]any)[key] = v }
}

func part(key string, v any) func(map[string]any) { return func(f map[string]any) { f[key] = v } }

func vocab(token string, id any) func(map[string]any) {
	return func(f map[string]any) { f["model"].(map[string]any)["vocab"].(map[string]any)[token] = id }
}

func steps(list ...any) map[string]any {
	return map[string]any{"type": "Sequence", "pretokenizers": list}
}

func TestLoadRefusesByName(t *testing.T) {
	byteLevel := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}
	split := func(regex, behaviour string) map[string]any {
		return map[string]any{"type": "Split", "pattern": map[string]any{"Regex": regex}, "behavior": behaviour, "invert": false}
	}
	for _, c := range []struct {
		name   string
		change func(map[string]any)
		kind   fault.Kind
		word   string
	}{
		{"wordpiece", inModel("type", "WordPiece"), fault.Unsupported, "WordPiece"},
		{"sentencepiece", inModel("byte_fallback", true), fault.Unsupported, "byte_fallback"},
		{"dropout", inModel("dropout", 0.1), fault.Unsupported, "dropout"},
		{"suffix", inModel("end_of_word_suffix", "</w>"), fault.Unsupported, "marks"},
		{"no vocab", inModel("vocab", map[string]any{}), fault.Unsupported, "bytes"},
		{"negative id", vocab("zzzz", -1), fault.Invalid, "zzzz"},
		{"id taken", vocab("zzzz", 5), fault.Invalid, "damaged"},
		{"huge id", vocab("zzzz", MaxVocab), fault.Invalid, "damaged"},
		{"id is no number", vocab("zzzz", "a"), fault.Invalid, "damaged"},
		{"not bytes", vocab("中", 700), fault.Invalid, "中"},
		{"merge of nothing", inModel("merges", []any{"qq zz"}), fault.Invalid, "qq"},
		{"merge twice", inModel("merges", []any{"t h", "t h"}), fault.Invalid, "again"},
		{"merge of one", inModel("merges", []any{"t"}), fault.Invalid, "damaged"},
		{"merge of three", inModel("merges", []any{[]any{"t", "h", "e"}}), fault.Invalid, "damaged"},
		{"lowercase", part("normalizer", map[string]any{"type": "Lowercase"}), fault.Unsupported, "Lowercase"},
		{"metaspace", part("pre_tokenizer", map[string]any{"type": "Metaspace"}), fault.Unsupported, "Byte"},
		{"none", part("pre_tokenizer", nil), fault.Unsupported, "Byte"},
		{"prefix space", part("pre_tokenizer", map[string]any{"type": "ByteLevel", "add_prefix_space": true}), fault.Unsupported, "add_prefix_space"},
		{"other regex", part("pre_tokenizer", steps(split(`\w+`, "Isolated"), byteLevel)), fault.Unsupported, `\\w+`},
		{"removed", part("pre_tokenizer", steps(split(regexTriarch, "Removed"), byteLevel)), fault.Unsupported, "Split"},
		{"no split", part("pre_tokenizer", byteLevel), fault.Unsupported, "steps"},
		{"twice", part("pre_tokenizer", steps(split(regexTriarch, "Isolated"), split(regexGPT2, "Isolated"), byteLevel)), fault.Unsupported, "steps"},
		{"decoder", part("decoder", map[string]any{"type": "WordPiece"}), fault.Unsupported, "WordPiece"},
		{"no decoder", part("decoder", nil), fault.Unsupported, "decoder"},
		{"post", part("post_processor", map[string]any{"type": "BertProcessing"}), fault.Unsupported, "Bert"},
		{"strip", part("added_tokens", []any{map[string]any{"id": 3, "content": EndToken, "rstrip": true, "special": true}}), fault.Unsupported, "im_end"},
		{"added elsewhere", part("added_tokens", []any{map[string]any{"id": 9, "content": EndToken, "special": true}}), fault.Invalid, "damaged"},
		{"added empty", part("added_tokens", []any{map[string]any{"id": 900, "content": "", "special": true}}), fault.Invalid, "damaged"},
		{"added negative", part("added_tokens", []any{map[string]any{"id": -4, "content": "<x>"}}), fault.Invalid, "damaged"},
	} {
		_, err := Load(bytes.NewReader(edited(t, c.change)))
		if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := Load(strings.NewReader("{")); fault.KindOf(err) != fault.Invalid {
		t.Errorf("cut: %v", err)
	}
	if _, err := Load(bytes.NewReader(bytes.Repeat([]byte(" "), MaxFile+1))); fault.KindOf(err) != fault.TooLarge {
		t.Errorf("large: %v", err)
	}
}

func TestLoadKeepsForeignParts(t *testing.T) {
	post := map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}
	tk, err := Load(bytes.NewReader(edited(t, part("post_processor", post))))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tk.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if raw, _ := json.Marshal(back["post_processor"]); !strings.Contains(string(raw), `"trim_offsets":false`) {
		t.Fatalf("post_processor %s", raw)
	}
	for _, kind := range []string{SplitGPT2, SplitDigits, SplitLlama3, SplitQwen2} {
		tk := loadFile(t, "testdata/foreign-"+kind+".json")
		var out bytes.Buffer
		if err := tk.WriteJSON(&out); err != nil {
			t.Fatal(err)
		}
		again, err := Load(&out)
		if err != nil {
			t.Fatal(kind, err)
		}
		for _, s := range []string{"Hello 12345 'S <think>中文</think>", "e\u0301  \n x"} {
			if !slices.Equal(tk.Encode(s), again.Encode(s)) || again.Splitting() != kind {
				t.Errorf("%s: %q is encoded otherwise after writing", kind, s)
			}
		}
	}
}

func TestAddedTokensThatAreNotSpecial(t *testing.T) {
	tk := loadFile(t, "testdata/foreign-qwen2.json")
	id, ok := tk.ID("<think>")
	if !ok || tk.IsSpecial(id) || !tk.IsAdded(id) {
		t.Fatalf("<think>: %d %v", id, ok)
	}
	ids := tk.Encode("a<think>b<|im_end|>")
	if !slices.Contains(ids, id) || tk.Decode(ids) != "a<think>b<|im_end|>" {
		t.Fatalf("%v %q", ids, tk.Decode(ids))
	}
}

func FuzzLoad(f *testing.F) {
	for _, name := range []string{"tokenizer", "foreign-qwen2", "foreign-llama3", "foreign-digits-gpt2"} {
		raw, err := os.ReadFile("testdata/" + name + ".json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{"a":1048575},"merges":[["a","a"]]},"added_tokens":[{"id":0,"content":"<s>","special":true}],
		"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"decoder":{"type":"ByteLevel"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		tk, err := Load(bytes.NewReader(raw))
		if err != nil {
			if fault.KindOf(err) == fault.Internal {
				t.Fatalf("a bad file is no defect of ours: %v", err)
			}
			return
		}
		const text = "the 中文 12 <s> \xff"
		if got := tk.Decode(tk.Encode(text)); !tk.nfc && got != text {
			t.Fatalf("%q came back as %q", text, got)
		}
		var out bytes.Buffer
		if err := tk.WriteJSON(&out); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(&out); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}

func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", "it's 12 中文字  \n\tx", "<|im_end|>", "\xff\xe4\xb8", "e\u0301\u00a0\u3000'ſ", strings.Repeat("ab", 60)} {
		f.Add(s)
	}
	own, err := trained()
	if err != nil {
		f.Fatal(err)
	}
	foreign := loadFile(f, "testdata/foreign-llama3.json")
	f.Fuzz(func(t *testing.T, s string) {
		for _, tk := range []*Tokenizer{own, foreign} {
			if got := tk.Decode(tk.Encode(s)); got != s {
				t.Fatalf("%q came back as %q", s, got)
			}
			special := 0
			for _, id := range tk.EncodeSpecial(s) {
				if tk.IsSpecial(id) {
					special++
				}
			}
			if special > strings.Count(s, "<|") {
				t.Fatalf("%d special tokens in %q", special, s)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	tk := tok(b)
	raw, err := os.ReadFile("testdata/corpus.txt")
	if err != nil {
		b.Fatal(err)
	}
	text := strings.Repeat(string(raw), 10)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		tk.Encode(text)
	}
}

func BenchmarkEncodeOneLongWord(b *testing.B) {
	tk := tok(b)
	text := strings.Repeat("the", 100_000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		tk.Encode(text)
	}
}
