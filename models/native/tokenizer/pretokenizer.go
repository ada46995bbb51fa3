package tokenizer

import (
	"encoding/json"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// preTokenizer is a chain of splitters with the JSON that describes it in tokenizer.json.
type preTokenizer struct {
	name  string
	chain []splitter
	raw   json.RawMessage
}

// Names of the ways to split, as Splitting gives them.
const (
	SplitTriarch = "triarch"     // ours
	SplitGPT2    = "gpt2"        // ByteLevel with its built-in expression
	SplitDigits  = "digits-gpt2" // digits one by one, then as GPT-2 (SmolLM and others)
	SplitLlama3  = "llama3"
	SplitQwen2   = "qwen2"
)

var preTriarch = preTokenizer{SplitTriarch, []splitter{splitTriarch}, splitJSON(regexTriarch)}

// Splitting names how text is split before merging: one of the Split constants.
func (t *Tokenizer) Splitting() string { return t.pre.name }

func splitJSON(regex string) json.RawMessage {
	return marshal(map[string]any{"type": "Sequence", "pretokenizers": []any{
		map[string]any{"type": "Split", "pattern": map[string]string{"Regex": regex}, "behavior": "Isolated", "invert": false},
		map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
	}})
}

// preStep is one entry of tokenizer.json's pre_tokenizer.
type preStep struct {
	Type             string            `json:"type"`
	Pretokenizers    []json.RawMessage `json:"pretokenizers"`
	Pattern          struct{ Regex, String *string }
	Behavior         string `json:"behavior"`
	Invert           bool   `json:"invert"`
	AddPrefixSpace   *bool  `json:"add_prefix_space"`
	UseRegex         *bool  `json:"use_regex"`
	IndividualDigits bool   `json:"individual_digits"`
}

// parsePre reads a pre_tokenizer of one of the known forms and refuses every other by name.
func parsePre(raw json.RawMessage) (preTokenizer, error) {
	var top preStep
	if err := json.Unmarshal(raw, &top); err != nil {
		return preTokenizer{}, broken("pre_tokenizer", err)
	}
	steps := []preStep{top}
	if top.Type == "Sequence" {
		if steps = nil; len(top.Pretokenizers) > 8 {
			return preTokenizer{}, foreign("a pre_tokenizer of %d steps", len(top.Pretokenizers))
		}
		for _, r := range top.Pretokenizers {
			var s preStep
			if err := json.Unmarshal(r, &s); err != nil {
				return preTokenizer{}, broken("pre_tokenizer", err)
			}
			steps = append(steps, s)
		}
	}
	var name strings.Builder
	for i, s := range steps {
		step, err := s.name(i == len(steps)-1)
		if err != nil {
			return preTokenizer{}, err
		}
		name.WriteString(step)
	}
	chain, ok := chains[name.String()]
	if !ok {
		return preTokenizer{}, foreign("the pre_tokenizer steps %q", name.String())
	}
	return preTokenizer{chain.name, chain.steps, raw}, nil
}

// chains maps the named steps of a pre_tokenizer to how this package does them.
var chains = map[string]struct {
	name  string
	steps []splitter
}{
	"triarch|bytes|":    {SplitTriarch, []splitter{splitTriarch}},
	"gpt2|":             {SplitGPT2, []splitter{splitGPT2}},
	"gpt2-split|bytes|": {SplitGPT2, []splitter{splitGPT2}},
	"digits|gpt2|":      {SplitDigits, []splitter{splitDigits, splitGPT2}},
	"llama3|bytes|":     {SplitLlama3, []splitter{splitLlama3}},
	"qwen2|bytes|":      {SplitQwen2, []splitter{splitQwen2}},
}

var knownRegex = map[string]string{
	regexTriarch: "triarch|", regexGPT2: "gpt2-split|", regexLlama3: "llama3|", regexQwen2: "qwen2|",
}

func (s *preStep) name(last bool) (string, error) {
	if (s.Type == "ByteLevel") != last {
		return "", foreign("a pre_tokenizer that does not end in one ByteLevel step")
	}
	switch s.Type {
	case "ByteLevel":
		if s.AddPrefixSpace == nil || *s.AddPrefixSpace {
			return "", foreign("ByteLevel with add_prefix_space")
		}
		if s.UseRegex != nil && !*s.UseRegex {
			return "bytes|", nil
		}
		return "gpt2|", nil
	case "Digits":
		if !s.IndividualDigits {
			return "", foreign("Digits without individual_digits")
		}
		return "digits|", nil
	case "Split":
		if s.Pattern.Regex == nil || s.Behavior != "Isolated" || s.Invert {
			return "", foreign("a Split that is not an isolated regular expression")
		}
		if name, ok := knownRegex[*s.Pattern.Regex]; ok {
			return name, nil
		}
		return "", foreign("the splitting expression %.200q", *s.Pattern.Regex)
	}
	return "", foreign("the pre_tokenizer %.60q", s.Type)
}

func foreign(format string, args ...any) error {
	f := fault.Newf(fault.Unsupported, "The tokenizer needs "+format+", which this engine does not do", args...)
	f.Code, f.Fix = "unsupported_tokenizer", "Use a model with a byte-level BPE tokenizer of the GPT-2, Llama 3 or Qwen 2 kind, or serve it with another engine."
	return f
}

func broken(part string, cause error) error {
	return fault.New(fault.Invalid, "The tokenizer file is damaged at "+part+".", fault.Field("tokenizer.json"),
		fault.Fix("Fetch or export it again."), fault.Cause(cause))
}
