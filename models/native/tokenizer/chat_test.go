package tokenizer

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
)

func chat(t testing.TB) *Chat {
	t.Helper()
	c, err := NewChat(tok(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRenderPlacesTheSpecialTokens(t *testing.T) {
	c := chat(t)
	msgs := []Message{{"system", "Be short."}, {"user", "hi"}, {"assistant", "yes"}, {"user", "so"}}
	ids, mask, err := c.Render(msgs, true)
	if err != nil {
		t.Fatal(err)
	}
	want := tok(t).EncodeSpecial("<|bos|><|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n" +
		"<|im_start|>assistant\nyes<|im_end|>\n<|im_start|>user\nso<|im_end|>\n<|im_start|>assistant\n")
	if !slices.Equal(ids, want) {
		t.Fatalf("got %v\nwant %v", ids, want)
	}
	var learnt []int32
	for i, m := range mask {
		if m {
			learnt = append(learnt, ids[i])
		}
	}
	end, ok := c.EndTurn()
	if !ok || !slices.Equal(learnt, append(tok(t).Encode("yes"), end)) {
		t.Fatalf("learnt %v", learnt)
	}
}

func TestAUserCannotPlaceSpecialTokens(t *testing.T) {
	c := chat(t)
	rapid.Check(t, func(rt *rapid.T) {
		parts := []string{"<|im_end|>", "<|im_start|>", "assistant\n", "\n", " ", "中", "x", "<|", "|>", "<|bos|>"}
		content := strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 0, 12).Draw(rt, "content"), "")
		ids, mask, err := c.Render([]Message{{"user", content}}, true)
		if err != nil {
			rt.Fatal(err)
		}
		specials := 0
		for _, id := range ids {
			if c.t.IsSpecial(id) {
				specials++
			}
		}
		if specials != 4 || slices.Contains(mask, true) || len(mask) != len(ids) {
			rt.Fatalf("%q: %d special tokens, mask %v", content, specials, mask)
		}
		if want := "user\n" + content + "\nassistant\n"; c.t.Decode(ids) != want {
			rt.Fatalf("%q rendered as %q", content, c.t.Decode(ids))
		}
	})
}

// TestMaskCoversTheAnswer: what is learnt decodes to the answer, but for a first token that began in the header.
func TestMaskCoversTheAnswer(t *testing.T) {
	c := chat(t)
	rapid.Check(t, func(rt *rapid.T) {
		answer := texts().Filter(utf8.ValidString).Draw(rt, "answer")
		ids, mask, err := c.Render([]Message{{"user", "q"}, {"assistant", answer}}, false)
		if err != nil {
			rt.Fatal(err)
		}
		var learnt []int32
		for i, m := range mask {
			if m {
				learnt = append(learnt, ids[i])
			}
		}
		got := c.t.Decode(learnt)
		missing := strings.TrimSuffix(answer, got)
		if learnt[len(learnt)-1] != 3 || got+missing != answer && missing+got != answer || strings.TrimSpace(missing) != "" {
			rt.Fatalf("%q learnt as %q", answer, got)
		}
	})
}

func TestRenderRefuses(t *testing.T) {
	c := chat(t)
	for name, msgs := range map[string][]Message{
		"nothing":  {},
		"role":     {{"root", "x"}},
		"encoding": {{"user", "\xff"}},
	} {
		if _, _, err := c.Render(msgs, true); fault.KindOf(err) != fault.Invalid || fault.As(err).Field != "messages" {
			t.Errorf("%s: %v", name, err)
		}
	}
	unknown := LoadChat(tok(t), "{{ messages }}")
	if _, _, err := unknown.Render([]Message{{"user", "x"}}, true); fault.KindOf(err) != fault.Unsupported || unknown.Jinja() != "{{ messages }}" {
		t.Errorf("unknown template: %v", err)
	}
	bare, err := Train(slices.Values([]string{"aa"}), 256, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewChat(bare); fault.KindOf(err) != fault.Unsupported {
		t.Errorf("a tokenizer without chat tokens: %v", err)
	}
}

func TestTemplatesAreKnownByTheirText(t *testing.T) {
	tk := tok(t)
	for jinja, known := range map[string]bool{
		ownJinja:                                 true,
		"\n" + ownJinja + " \n":                  true,
		strings.ReplaceAll(ownJinja, `\n`, "\n"): true,
		chatMLJinja:                              true,
		llama3Jinja:                              false, // the tokenizer lacks its special tokens
		strings.Replace(ownJinja, "bos", "pad", 1):   false,
		strings.ReplaceAll(chatMLJinja, "'\\n'", ""): false,
		"": false,
	} {
		if c := LoadChat(tk, jinja); c.CanRender() != known {
			t.Errorf("known %v: %s", c.CanRender(), jinja)
		}
	}
}
