// Package tokenizer turns text into token ids and back: byte-level byte-pair encoding, trained in the process or
// read from a Hugging Face tokenizer.json.
//
// What callers may count on:
//   - A Tokenizer never changes after Train or Load and may be used from many goroutines.
//   - Encode loses nothing: Decode(Encode(s)) == s for every string, valid UTF-8 or not, unless the tokenizer was
//     loaded from a file that normalises its input (NFC).
//   - Encode never produces a special token. A user's text that spells "<|im_end|>" is plain text; only
//     EncodeSpecial, meant for text the program itself rendered, and Chat.Render place special tokens.
//   - Nothing is added at the start or end of a text; whoever wants a beginning-of-sequence token puts it there.
//
// The tokenizers trained here split text as GPT-2 does and then isolate every number character and every Han
// character, so that no token holds two Han characters or two digits (see split.go). A merge crosses the border
// between two characters only when both its sides are whole characters. Together the two rules make the ids
// independent of how another program groups Han characters or digits before merging: llama.cpp with its plain
// "gpt-2" splitting gives the same ids.
//
// The classes of characters are those of the Go release's Unicode tables.
package tokenizer
