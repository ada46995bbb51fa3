package decode

import (
	"fmt"
	"math"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native/grammar"
)

// Request asks for completions of one or more prompts.
type Request struct {
	Prompts   [][]int32 // token ids, at least one each
	N         int       // choices per prompt; 0 is 1
	MaxTokens int       // tokens to generate per choice, cut to what the context leaves; 0 asks for all of that
	Sampling
	Stop         []string // strings that end a choice; neither they nor what follows is part of the text
	StopIDs      []int32  // token ids that end a choice, beside Options.EndIDs
	IgnoreEOS    bool     // go on after Options.EndIDs
	Logprobs     bool     // report the log probability of each token
	TopLogprobs  int      // and of this many of the likeliest, 0 to MaxTopLogprobs
	Scope        string   // requests of one scope share what the cache knows; others learn nothing of it, not even by time
	PromptsField string   // what the caller calls Prompts, named in faults; empty is "prompt"

	// Form is what each choice must be, made over Engine.Vocab; nil for any text. Such a choice is a whole document of
	// it whatever MaxTokens cuts it to, and ends with FinishStop as soon as nothing can follow.
	Form *grammar.Automaton

	pools []*pooled // of an embedding: one for each prompt, nothing is generated
}

// MaxTopLogprobs bounds Request.TopLogprobs.
const MaxTopLogprobs = 20

// MaxChoices bounds the choices of one request, over all its prompts.
const MaxChoices = 128

// maxStopBytes bounds the stop strings of one request together: each is held back and matched for every choice.
const maxStopBytes = 4096

// CodeContextLength is the fault code of a prompt that leaves no room in the context.
const CodeContextLength = "context_length_exceeded"

// choices is N with its default.
func (r *Request) choices() int { return max(r.N, 1) }

// check validates what comes from outside. vocab and context are the engine's.
func (r *Request) check(vocab, context int) error {
	field := r.PromptsField
	if field == "" {
		field = "prompt"
	}
	if len(r.Prompts) == 0 {
		return fault.InvalidField(field, "There is no prompt.")
	}
	if r.N < 0 || r.choices() > MaxChoices || len(r.Prompts)*r.choices() > MaxChoices {
		return fault.InvalidField("n", "%d prompts with %d choices each are more than the %d choices a request may have.",
			len(r.Prompts), r.N, MaxChoices)
	}
	for _, p := range r.Prompts {
		if len(p) == 0 {
			return fault.InvalidField(field, "A prompt is empty.")
		}
		if len(p) >= context {
			return fault.New(fault.Invalid,
				fmt.Sprintf("This model's context holds %d tokens, and %s has %d.", context, field, len(p)),
				fault.Code(CodeContextLength), fault.Field(field),
				fault.Fix("Shorten %s to at most %d tokens.", field, context-1))
		}
		if i := outOfVocab(p, vocab); i >= 0 {
			return fault.InvalidField(field, "Token id %d is not one of the model's %d.", p[i], vocab)
		}
	}
	if r.MaxTokens < 0 {
		return fault.InvalidField("max_tokens", "max_tokens is %d, it must be at least 1.", r.MaxTokens)
	}
	if err := r.checkForm(field, context); err != nil {
		return err
	}
	return r.checkRest(vocab)
}

// checkForm refuses what cannot hold a whole document.
func (r *Request) checkForm(field string, context int) error {
	if r.Form == nil {
		return nil
	}
	if len(r.Stop) > 0 || len(r.StopIDs) > 0 {
		return fault.InvalidField("stop", "A stop would cut a document of a required form: leave one of the two out.")
	}
	for _, p := range r.Prompts {
		if r.MaxTokens > 0 && r.MaxTokens < r.Form.Least() {
			return r.Form.Fits(r.MaxTokens)
		}
		if room := context - len(p); room < r.Form.Least() {
			return fault.New(fault.Invalid, fmt.Sprintf("This model's context holds %d tokens, and %s leaves %d of them.", context, field, room),
				fault.Code(CodeContextLength), fault.Field(field),
				fault.Fix("The shortest document of the required form takes %d: shorten %s.", r.Form.Least(), field))
		}
	}
	return nil
}

func (r *Request) checkRest(vocab int) error {
	if r.TopLogprobs < 0 || r.TopLogprobs > MaxTopLogprobs || (r.TopLogprobs > 0 && !r.Logprobs) {
		return fault.InvalidField("top_logprobs", "top_logprobs must be 0 to %d, and needs logprobs.", MaxTopLogprobs)
	}
	if i := outOfVocab(r.StopIDs, vocab); i >= 0 {
		return fault.InvalidField("stop_token_ids", "Token id %d is not one of the model's %d.", r.StopIDs[i], vocab)
	}
	size := 0
	for _, s := range r.Stop {
		if s == "" {
			return fault.InvalidField("stop", "A stop string is empty.")
		}
		size += len(s)
	}
	if size > maxStopBytes {
		return fault.InvalidField("stop", "The stop strings have %d bytes together, at most %d are allowed.", size, maxStopBytes)
	}
	return r.Sampling.check(vocab)
}

func outOfVocab(ids []int32, vocab int) int {
	for i, id := range ids {
		if id < 0 || int(id) >= vocab {
			return i
		}
	}
	return -1
}

// check validates ranges: those of the OpenAI interface, and what keeps the arithmetic finite.
func (s *Sampling) check(vocab int) error {
	for _, f := range []struct {
		field       string
		value       float64
		least, most float64
	}{
		{"temperature", s.Temperature, 0, 2}, {"top_p", s.TopP, 0, 1}, {"min_p", s.MinP, 0, 1},
		{"presence_penalty", s.PresencePenalty, -2, 2}, {"frequency_penalty", s.FrequencyPenalty, -2, 2},
		{"repetition_penalty", s.RepetitionPenalty, 0, 10}, {"top_k", float64(s.TopK), 0, math.MaxInt32},
	} {
		if !(f.value >= f.least && f.value <= f.most) {
			return fault.InvalidField(f.field, "%s is %v, it must be %v to %v.", f.field, f.value, f.least, f.most)
		}
	}
	for id, b := range s.LogitBias {
		if id < 0 || int(id) >= vocab {
			return fault.InvalidField("logit_bias", "Token id %d is not one of the model's %d.", id, vocab)
		}
		if !(b >= -100 && b <= 100) {
			return fault.InvalidField("logit_bias", "The bias of token %d is %v, it must be -100 to 100.", id, b)
		}
	}
	return nil
}
