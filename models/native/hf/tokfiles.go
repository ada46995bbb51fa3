package hf

import (
	"encoding/json"
	"errors"
	"os"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native/tokenizer"
)

const maxTemplate = 256 << 10 // bytes of a chat template

func readTokenizer(dir string) (*tokenizer.Tokenizer, error) {
	f, err := openRegular(dir, fileTokenizer)
	if err != nil {
		if _, other := os.Stat(join(dir, "tokenizer.model")); other == nil && fault.Is(err, fault.NotFound) {
			return nil, unsupported("only a sentencepiece tokenizer (tokenizer.model)")
		}
		return nil, err
	}
	defer f.Close()
	return tokenizer.Load(f)
}

// readChat finds the chat template: in chat_template.jinja, else in tokenizer_config.json as a text or as the one
// named default of several.
func readChat(dir string, t *tokenizer.Tokenizer) (*tokenizer.Chat, error) {
	text, err := readLimited(dir, fileTemplate, maxTemplate)
	if err == nil {
		return tokenizer.LoadChat(t, string(text)), nil
	}
	if !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	var cfg struct {
		ChatTemplate json.RawMessage `json:"chat_template"`
	}
	if err := readJSON(dir, fileTokConfig, false, &cfg); err != nil {
		return nil, err
	}
	template, err := templateText(cfg.ChatTemplate)
	if err != nil || len(template) > maxTemplate {
		return nil, damaged(fileTokConfig, errors.Join(errors.New("chat_template"), err))
	}
	return tokenizer.LoadChat(t, template), nil
}

func templateText(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	var text string
	if raw[0] != '[' {
		return text, json.Unmarshal(raw, &text)
	}
	var several []struct{ Name, Template string }
	if err := json.Unmarshal(raw, &several); err != nil {
		return "", err
	}
	for _, s := range several {
		if s.Name == "default" {
			text = s.Template
		}
	}
	return text, nil
}

// tokenText is the text of a token of the configuration, nil for none.
func tokenText(m *Model, id int) any {
	if text := m.Tokenizer.TokenText(int32(id)); id >= 0 && text != "" {
		return text
	}
	return nil
}

func tokenizerConfigOf(m *Model) map[string]any {
	c := m.Weights.Config
	decoder := map[int]any{}
	for id := range int32(m.Tokenizer.VocabSize()) {
		if m.Tokenizer.IsAdded(id) {
			decoder[int(id)] = map[string]any{"content": m.Tokenizer.TokenText(id), "lstrip": false, "rstrip": false,
				"single_word": false, "normalized": false, "special": m.Tokenizer.IsSpecial(id)}
		}
	}
	cfg := map[string]any{
		"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": c.MaxContext, "clean_up_tokenization_spaces": false,
		"add_bos_token": false, "add_eos_token": false, "added_tokens_decoder": decoder,
		"bos_token": tokenText(m, c.BOS), "eos_token": tokenText(m, c.EOS), "pad_token": tokenText(m, c.PAD),
	}
	if m.Chat != nil && m.Chat.Jinja() != "" {
		cfg["chat_template"] = m.Chat.Jinja()
	}
	return cfg
}

func specialsOf(m *Model) map[string]any {
	c := m.Weights.Config
	specials := map[string]any{}
	for name, id := range map[string]int{"bos_token": c.BOS, "eos_token": c.EOS, "pad_token": c.PAD} {
		if text := tokenText(m, id); text != nil {
			specials[name] = text
		}
	}
	return specials
}
