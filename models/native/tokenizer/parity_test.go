package tokenizer

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// parityCase is one line of a golden: what the Hugging Face libraries gave.
type parityCase struct {
	Text    string
	IDs     []int32
	Pieces  []int // lengths in bytes before merging
	Decoded *string

	Template         string
	Messages         []Message
	GenerationPrompt bool `json:"generation_prompt"`
	CodePoint        *int `json:"code_point"`
}

// names of the forms, in their order, for goldens.
var formNames = []string{"own", "chatml", "smollm", "llama3"}

// TestParity compares with what the Hugging Face libraries gave (test/parity/tokenizer.py): the small goldens of
// testdata, or the file that TRIARCH_PARITY names as kind:path.
func TestParity(t *testing.T) {
	env := os.Getenv("TRIARCH_PARITY")
	if env == "templates" {
		all := map[string]string{}
		for i, f := range forms {
			all[formNames[i]] = f.jinja
		}
		raw, _ := json.Marshal(map[string]any{"templates": all})
		fmt.Printf("\n%s\n", raw)
		return
	}
	if kind, path, ok := strings.Cut(env, ":"); ok {
		parity(t, kind, path)
		return
	}
	for _, kind := range []string{"own", SplitGPT2, SplitDigits, SplitLlama3, SplitQwen2} {
		t.Run(kind, func(t *testing.T) { parity(t, kind, filepath.Join("testdata", "golden-"+kind+".jsonl")) })
	}
}

func parity(t *testing.T, kind, path string) {
	file := "foreign-" + kind + ".json"
	if kind == "own" {
		file = "tokenizer.json"
	}
	tk := loadFile(t, filepath.Join("testdata", file))
	if want := tk.Splitting(); want != kind && kind != "own" {
		t.Fatalf("splitting %q", want)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	total, wrong := 0, 0
	for lines.Scan() {
		var c parityCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		total++
		if message := c.compare(t, tk); message != "" {
			if wrong++; wrong <= 10 {
				t.Errorf("parity: %s", message)
			}
		}
	}
	if total < 100 {
		t.Fatalf("only %d cases", total)
	}
	t.Logf("parity: %d of %d equal", total-wrong, total)
}

func loadFile(t testing.TB, path string) *Tokenizer {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tk, err := Load(f)
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

func (c *parityCase) compare(t *testing.T, tk *Tokenizer) string {
	if c.Template != "" {
		chat := LoadChat(tk, forms[slices.Index(formNames, c.Template)].jinja)
		ids, mask, err := chat.Render(c.Messages, c.GenerationPrompt)
		if err != nil || !slices.Equal(ids, c.IDs) || len(mask) != len(ids) {
			return fmt.Sprintf("%s of %q:\n got %v %v\nwant %v", c.Template, c.Messages, ids, err, c.IDs)
		}
		return ""
	}
	ids := tk.Encode(c.Text)
	where := ""
	if c.CodePoint != nil {
		where = fmt.Sprintf("in U+%04X..: ", *c.CodePoint)
	}
	if !slices.Equal(ids, c.IDs) {
		return fmt.Sprintf("%s%q\n got %v\nwant %v", where, c.Text, ids, c.IDs)
	}
	var lengths []int
	text := c.Text
	if tk.nfc {
		text = norm.NFC.String(text)
	}
	pieces(text, tk.pre.chain, func(p string) { lengths = append(lengths, len(p)) })
	if c.Pieces != nil && !slices.Equal(lengths, c.Pieces) {
		return fmt.Sprintf("%s%q\n split %v\n  want %v", where, c.Text, lengths, c.Pieces)
	}
	if got := strings.ToValidUTF8(tk.Decode(ids), "\uFFFD"); c.Decoded != nil && utf8.ValidString(tk.Decode(ids)) && got != *c.Decoded {
		return fmt.Sprintf("%q decoded to %q, want %q", c.Text, got, *c.Decoded)
	}
	return ""
}
