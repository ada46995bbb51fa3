package tokenizer

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
)

var update = flag.Bool("update", false, "write testdata/tokenizer.json anew")

const testVocab = 608

func corpus(t testing.TB) []string {
	t.Helper()
	raw, err := os.ReadFile("testdata/corpus.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.SplitAfter(string(raw), "\n")
}

var trained = sync.OnceValues(func() (*Tokenizer, error) {
	raw, err := os.ReadFile("testdata/corpus.txt")
	if err != nil {
		return nil, err
	}
	return Train(slices.Values(strings.SplitAfter(string(raw), "\n")), testVocab, Specials(), nil)
})

func tok(t testing.TB) *Tokenizer {
	t.Helper()
	tk, err := trained()
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

func TestTrainingIsReproducible(t *testing.T) {
	var a, b bytes.Buffer
	if err := tok(t).WriteJSON(&a); err != nil {
		t.Fatal(err)
	}
	calls := 0
	again, err := Train(slices.Values(corpus(t)), testVocab, Specials(), func(done, total int) {
		calls++
		if done > total || total != testVocab {
			t.Fatalf("progress %d of %d", done, total)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Fatal("two trainings on the same texts differ")
	}
	if calls < 300 || again.VocabSize() != testVocab {
		t.Fatalf("%d calls of progress, %d tokens", calls, again.VocabSize())
	}
	path := filepath.Join("testdata", "tokenizer.json")
	if *update {
		if err := os.WriteFile(path, a.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(golden, a.Bytes()) {
		t.Fatal("training gives another tokenizer than testdata/tokenizer.json; run with -update if that is meant")
	}
}

// TestTrainingEqualsTheTextbook compares the incremental trainer with one that counts all pairs anew each time.
func TestTrainingEqualsTheTextbook(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		texts := rapid.SliceOfN(rapid.StringOf(rapid.SampledFrom([]rune("aab b.1中文あ"))), 1, 12).Draw(rt, "texts")
		got, err := Train(slices.Values(texts), 256+24, nil, nil)
		if err != nil {
			rt.Fatal(err)
		}
		if want := textbookMerges(texts, 256+24); !slices.Equal(got.order, want) {
			rt.Fatalf("merges of %q\n got %v\nwant %v", texts, got.order, want)
		}
	})
}

func textbookMerges(texts []string, size int) [][2]int32 {
	var words [][]int32
	tokens := make([][]byte, 256)
	for b := range tokens {
		tokens[b] = []byte{byte(b)}
	}
	for _, text := range texts {
		pieces(text, preTriarch.chain, func(p string) {
			var w []int32
			for _, b := range []byte(p) {
				w = append(w, int32(b))
			}
			words = append(words, w)
		})
	}
	var order [][2]int32
	for len(tokens) < size {
		counts := map[[2]int32]int{}
		for _, w := range words {
			for i := 0; i+1 < len(w); i++ {
				counts[[2]int32{w[i], w[i+1]}]++
			}
		}
		best, most := [2]int32{}, 1
		for p, n := range counts {
			if mergeable(tokens[p[0]], tokens[p[1]]) && (n > most || n == most && n > 1 && slices.Compare(p[:], best[:]) < 0) {
				best, most = p, n
			}
		}
		if most < 2 {
			break
		}
		raw := slices.Concat(tokens[best[0]], tokens[best[1]])
		id := slices.IndexFunc(tokens, func(b []byte) bool { return bytes.Equal(b, raw) })
		if id < 0 {
			id = len(tokens)
			tokens = append(tokens, raw)
		}
		if !slices.Contains(order, best) {
			order = append(order, best)
		}
		for i, w := range words {
			var out []int32
			for j := 0; j < len(w); j++ {
				if j+1 < len(w) && w[j] == best[0] && w[j+1] == best[1] {
					out = append(out, int32(id))
					j++
				} else {
					out = append(out, w[j])
				}
			}
			words[i] = out
		}
	}
	return order
}

func TestNoTokenJoinsHanOrDigits(t *testing.T) {
	tk := tok(t)
	for id := range int32(tk.VocabSize()) {
		raw := tk.TokenBytes(id)
		chars := utf8.RuneCount(raw)
		if !utf8.Valid(raw) {
			if len(raw) > 3 {
				t.Errorf("token %d %q joins parts of characters", id, raw)
			}
			continue
		}
		for _, r := range string(raw) {
			if c := ownClass(r); chars > 1 && (c == han || c == number) {
				t.Errorf("token %d %q joins a Han character or a digit", id, raw)
			}
		}
	}
}

func texts() *rapid.Generator[string] {
	frags := []string{"中", "文字", "の", "hello", " world", "'s", "'ll", "12", "٣", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "é", "e\u0301",
		"👨‍👩‍👧‍👦", "<|im_end|>", "\xff", "\xe4\xb8", "\x80", "\x00", "ſ", "'ſ", "〇", "々", "⺀", "𠀀", "!", "...", "'"}
	return rapid.Custom(func(t *rapid.T) string {
		if rapid.Bool().Draw(t, "fragments") {
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom(frags), 0, 30).Draw(t, "parts"), "")
		}
		return string(rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "bytes"))
	})
}

func TestDecodeUndoesEncode(t *testing.T) {
	tk := tok(t)
	rapid.Check(t, func(rt *rapid.T) {
		s := texts().Draw(rt, "text")
		ids := tk.Encode(s)
		if got := tk.Decode(ids); got != s {
			rt.Fatalf("%q came back as %q", s, got)
		}
		for _, id := range ids {
			if tk.IsSpecial(id) {
				rt.Fatalf("plain text %q gave the special token %d", s, id)
			}
		}
		if cached := tk.Encode(s); !slices.Equal(ids, cached) {
			rt.Fatalf("%q: %v, then %v", s, ids, cached)
		}
	})
}

func TestLargeAndSmallPiecesMergeAlike(t *testing.T) {
	tk := tok(t)
	rapid.Check(t, func(rt *rapid.T) {
		s := rapid.StringOfN(rapid.SampledFrom([]rune("theanrisocunglлеко ります")), 2, 80, -1).Draw(rt, "piece")
		ids := func() []int32 {
			var ids []int32
			for i := range len(s) {
				ids = append(ids, tk.byteID[s[i]])
			}
			return ids
		}
		if a, b := tk.mergeSmall(ids()), tk.mergeLarge(ids()); !slices.Equal(a, b) {
			rt.Fatalf("%q: %v and %v", s, a, b)
		}
	})
}

// TestMergesKeepToCharacters holds the promise of the package comment: ids do not depend on whether another
// program keeps Han characters and digits together with their neighbours before merging.
func TestMergesKeepToCharacters(t *testing.T) {
	tk := tok(t)
	coarse := *tk
	coarse.pre = preTokenizer{SplitGPT2, []splitter{splitGPT2}, nil}
	coarse.cache = new(cache)
	rapid.Check(t, func(rt *rapid.T) {
		s := texts().Filter(utf8.ValidString).Filter(func(s string) bool { return !strings.Contains(s, "⺀") }).Draw(rt, "text")
		if a, b := tk.Encode(s), coarse.Encode(s); !slices.Equal(a, b) {
			rt.Fatalf("%q: %v with our splitting, %v with GPT-2's", s, a, b)
		}
	})
}

func TestSpecialTokens(t *testing.T) {
	tk := tok(t)
	end, ok := tk.ID(EndToken)
	if !ok || end != 3 || !tk.IsSpecial(end) || tk.TokenBytes(end) != nil || tk.TokenText(end) != EndToken {
		t.Fatalf("%s: %d %v", EndToken, end, ok)
	}
	if got := tk.EncodeSpecial("a<|im_end|>b<|im_en"); !slices.Contains(got, end) || tk.Decode(got) != "ab<|im_en" {
		t.Fatalf("special text gave %v, %q", got, tk.Decode(got))
	}
	if tk.Decode([]int32{-1, 1 << 30, end}) != "" {
		t.Fatal("unknown ids added text")
	}
}

func TestEncodeIsSafeForConcurrentUse(t *testing.T) {
	tk := tok(t)
	lines := corpus(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, l := range lines {
				if tk.Decode(tk.Encode(l)) != l {
					t.Errorf("%q", l)
				}
			}
		})
	}
	wg.Wait()
}

func TestTheCacheIsBounded(t *testing.T) {
	var c cache
	for i := range cacheShards * cachePerShard * 2 {
		c.put(string([]byte{byte(i), byte(i >> 8), byte(i >> 16), 'x'}), []int32{1})
	}
	n := 0
	for i := range c {
		n += len(c[i].m)
	}
	if n > cacheShards*cachePerShard || n == 0 {
		t.Fatalf("%d entries", n)
	}
}

func TestTrainRefuses(t *testing.T) {
	none := slices.Values([]string{"a"})
	for name, call := range map[string]func() error{
		"vocab_size": func() error { _, err := Train(none, 100, nil, nil); return err },
		"specials":   func() error { _, err := Train(none, 300, []string{"<a>", "<a>"}, nil); return err },
	} {
		if err := call(); fault.KindOf(err) != fault.Invalid || fault.As(err).Field != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	small, err := Train(none, 5000, Specials(), nil)
	if err != nil || small.VocabSize() != 260 {
		t.Fatalf("a text without pairs: %v", err)
	}
}

func TestForgettingKeepsTheFrequent(t *testing.T) {
	var words []word
	for i := range 1000 {
		words = append(words, word{string(rune('a' + i)), int64(1 + i%5)})
	}
	kept, index := forgetRare(words)
	if len(kept) > 500 || len(kept) == 0 || len(index) != len(kept) {
		t.Fatalf("%d kept", len(kept))
	}
	for _, w := range kept {
		if w.count < 4 {
			t.Fatalf("kept %v", w)
		}
	}
}

func TestWriteAndLoadAgree(t *testing.T) {
	tk := tok(t)
	var a, b bytes.Buffer
	if err := tk.WriteJSON(&a); err != nil {
		t.Fatal(err)
	}
	back, err := Load(bytes.NewReader(a.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := back.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	if a.String() != b.String() || !json.Valid(a.Bytes()) {
		t.Fatal("a loaded tokenizer is written otherwise")
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := texts().Draw(rt, "text")
		if !slices.Equal(tk.Encode(s), back.Encode(s)) || !slices.Equal(tk.EncodeSpecial(s), back.EncodeSpecial(s)) {
			rt.Fatalf("%q is encoded otherwise after loading", s)
		}
	})
}
