package dialect

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// meaning is what a request says by a feature, in a form that can be compared across dialects.
func meaning(r *Request, f Feature, to Kind) any {
	switch f {
	case fModel:
		return r.Model
	case fTurns, fPrompt, fFileText, fRefusal:
		return turns(r)
	case fImageURL, fImageData, fAudio, fFileData, fFileURL, fLeft, fFileTitle, fImageDetail, fResultMedia:
		return media(r, f)
	case fName:
		return r.Messages[0].Name
	case fCalls, fResults, fResultError:
		return calling(r, f)
	case fThought, fThoughtSigned, fSignAnthropic, fSignOpenAI, fSignGoogle:
		return thinking(r, f)
	case fTools, fStrictTool:
		return tooling(r, f)
	case fChoice, fSubset:
		names := append([]string{}, r.Choice.Names...)
		return fmt.Sprint(r.Choice.Mode, names)
	case fParallel:
		return deref(r.Parallel)
	case fSchema:
		return fmt.Sprint(r.Format.Kind, canonical(r.Format.Schema))
	case fSchemaNote:
		return r.Format.Description
	case fSchemaLax:
		return deref(r.Format.Strict)
	case fJSONObject, fGrammar:
		return fmt.Sprint(r.Format.Kind, r.Format.Grammar)
	case fCache:
		return marks(r)
	case fTier, fAnthropicTier:
		return tierMeant(r, to)
	}
	return steering(r, f, to)
}

// tierMeant is the tier that a request names, as far as the other dialect can say it: Anthropic knows whether it may be
// priority, and nothing that is cheaper than the usual.
func tierMeant(r *Request, to Kind) any {
	for _, x := range r.Extra {
		if x.Name != "service_tier" {
			continue
		}
		tier, err := ParseTier(r.From, x.Raw)
		if err != nil || tier == NoTier {
			return err
		}
		if to == Anthropic {
			return tier == AutoTier || tier == PriorityTier
		}
		return tier
	}
	return "none"
}

func steering(r *Request, f Feature, to Kind) any {
	switch f {
	case fMaxTokens:
		return deref(r.MaxTokens)
	case fTemperature:
		return deref(r.Temperature)
	case fTopP:
		return deref(r.TopP)
	case fTopK:
		return deref(r.TopK)
	case fStop:
		return fmt.Sprint(r.Stop)
	case fSeed:
		return deref(r.Seed)
	case fN:
		return deref(r.N)
	case fLogprobs:
		return fmt.Sprint(r.Logprobs, deref(r.TopLogprobs))
	case fPenalty:
		return fmt.Sprint(deref(r.FrequencyPenalty), deref(r.PresencePenalty))
	case fEffort:
		return r.Reasoning.effortWord()
	case fBudget:
		if to == Chat || to == Responses {
			return r.Reasoning.effortWord()
		}
		return deref(r.Reasoning.Budget)
	case fAdaptive:
		return deref(r.Reasoning.Budget)
	case fShow:
		return r.Reasoning.Show
	case fUser:
		return r.User
	case fVerbosity:
		return r.Verbosity
	case fStream:
		return r.Stream || to == Google
	case fStreamUsage:
		return r.Usage
	case fSuffix:
		return r.Suffix
	case fEcho:
		return r.Echo
	case fBestOf:
		return deref(r.BestOf)
	case fPrompts, fTokenPrompt:
		return fmt.Sprint(r.Prompts)
	}
	for _, x := range r.Extra {
		if x.Feature == f {
			return x.Name + string(x.Raw)
		}
	}
	return nil
}

func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

func canonical(b []byte) string {
	var v any
	if json.Unmarshal(b, &v) != nil {
		return "broken: " + string(b)
	}
	out, _ := json.Marshal(v)
	return string(out)
}

// turns are the texts by role; turns of one role in a row are one.
func turns(r *Request) (out []string) {
	last := Role("")
	add := func(role Role, text string) {
		if role == Developer {
			role = System
		}
		if text == "" {
			return
		}
		if role == last {
			out[len(out)-1] += text
			return
		}
		last = role
		out = append(out, string(role)+": "+text)
	}
	for _, m := range r.Messages {
		if m.Role != ToolRole {
			add(m.Role, plain(m.Parts))
		}
	}
	for _, p := range r.Prompts {
		add(User, p.Text)
	}
	return out
}

func everyPart(r *Request, f func(*Part)) {
	for i := range r.Messages {
		for j := range r.Messages[i].Parts {
			p := &r.Messages[i].Parts[j]
			f(p)
			for k := range p.Parts {
				f(&p.Parts[k])
			}
		}
	}
}

func media(r *Request, f Feature) (out []string) {
	everyPart(r, func(p *Part) {
		if p.Kind != Image && p.Kind != File && p.Kind != Audio || p.Kind == File && p.Text != "" { // which is among the texts
			return
		}
		switch {
		case f == fFileTitle:
			out = append(out, p.Title)
		case f == fImageDetail:
			out = append(out, p.Detail)
		case p.URL != "":
			out = append(out, fmt.Sprint(p.Kind, p.URL))
		default:
			out = append(out, fmt.Sprint(p.Kind, p.Media, p.Data))
		}
	})
	return out
}

func calling(r *Request, f Feature) (out []string) {
	everyPart(r, func(p *Part) {
		switch {
		case p.Kind == ToolCall && f == fCalls:
			out = append(out, p.ToolID+p.Name+canonical([]byte(p.Text)))
		case p.Kind == ToolResult && f == fResults:
			out = append(out, p.ToolID+plain(p.Parts))
		case p.Kind == ToolResult && f == fResultError:
			out = append(out, fmt.Sprint(p.ToolID, p.IsError, plain(p.Parts)))
		}
	})
	return out
}

func thinking(r *Request, f Feature) (out []string) {
	everyPart(r, func(p *Part) {
		switch {
		case (f == fThought || f == fThoughtSigned) && p.Kind == Thought:
			out = append(out, p.Text)
		case f != fThought && f != fThoughtSigned && p.Signature != "":
			out = append(out, string(p.SignedBy)+p.Signature)
		}
	})
	return out
}

func tooling(r *Request, f Feature) (out []string) {
	for _, t := range r.Tools {
		if f == fTools {
			out = append(out, t.Name+t.Description+canonical(t.Schema))
		} else {
			out = append(out, fmt.Sprint(t.Name, deref(t.Strict)))
		}
	}
	return out
}

func marks(r *Request) (out []string) {
	everyPart(r, func(p *Part) {
		if p.Cache != nil {
			out = append(out, p.Text+string(p.Cache))
		}
	})
	for _, t := range r.Tools {
		if t.Cache != nil {
			out = append(out, t.Name+string(t.Cache))
		}
	}
	for _, x := range r.Extra {
		if x.Feature == fCache {
			out = append(out, string(x.Raw))
		}
	}
	return out
}

// A proof is only worth something if the sample says more than the request without it.
func TestSamplesSayWhatTheyShould(t *testing.T) {
	for _, d := range Kinds {
		if len(samples[d]) != len(fields[d]) {
			t.Errorf("%s: %d samples for %d fields", d, len(samples[d]), len(fields[d]))
		}
		bare, err := ParseRequest(d, []byte(base[d]), Call{Model: "m"})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fields[d] {
			if len(samples[d][f.name]) == 0 {
				continue
			}
			mapped := false
			for _, to := range Kinds {
				mapped = mapped || to != d && outcome(d, to, f.feature) == Mapped
			}
			body := sample(t, d, f.name)
			if f.feature == fLeft {
				body = withLeft(t, d, body)
			}
			r, err := ParseRequest(d, body, Call{Model: "m"})
			if err != nil {
				t.Errorf("%s: %s: %v", d, f.name, err)
				continue
			}
			if mapped && f.feature != fStream && f.feature != fStreamUsage && cmp.Equal(meaning(r, f.feature, d), meaning(bare, f.feature, d)) {
				t.Errorf("%s: the sample of %s says nothing: %v", d, f.name, meaning(r, f.feature, d))
			}
		}
	}
}

func TestNamesOfDroppedFieldsAreFitForAHeader(t *testing.T) {
	body := `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":[{"type":"text","text":"x","a\r\nSet-Cookie: x":1}]}],"b, \"c\u0000":2}`
	r, err := ParseRequest(Anthropic, []byte(body), Call{})
	if err != nil {
		t.Fatal(err)
	}
	_, dropped, err := WriteRequest(Google, r)
	if err != nil || len(dropped) != 2 || !sort.StringsAreSorted(dropped) {
		t.Fatalf("%q %v", dropped, err)
	}
	for _, name := range dropped {
		if strings.ContainsAny(name, "\r\n, \"\x00") {
			t.Errorf("%q in a header", name)
		}
	}
}

// An unknown field of one dialect is never taken for a field that another one has.
func TestUnknownFieldsDoNotChangeTheirMeaning(t *testing.T) {
	body := `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"x"}],"n":9,"stop":"x","min_p":0.1,"response_format":{"type":"json_object"}}`
	r, err := ParseRequest(Anthropic, []byte(body), Call{})
	if err != nil {
		t.Fatal(err)
	}
	out, dropped, err := WriteRequest(Chat, r)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"n", "response_format", "stop"}; !cmp.Equal(dropped, want) {
		t.Errorf("dropped %v", dropped)
	}
	if s := string(out); strings.Contains(s, `"n":9`) || !strings.Contains(s, `"min_p":0.1`) {
		t.Errorf("wrote %s", s)
	}
}
