package dialect

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/sjson"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Any fields together, not only each alone: what the table maps keeps its meaning beside the others, what it drops is
// named, and nothing is refused but what it refuses.
func TestFieldsTogetherKeepTheirMeaning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.SampledFrom([]Kind{Chat, Responses, Anthropic, Google}).Draw(t, "from")
		body, names := []byte(base[from]), []string{}
		for range rapid.IntRange(2, 6).Draw(t, "fields") {
			f := rapid.SampledFrom(fields[from]).Draw(t, "field")
			if f.feature == fLeft || f.feature == fOther || reach[f.feature] == "RRRRR" {
				continue
			}
			for _, s := range samples[from][f.name] {
				var err error
				if body, err = sjson.SetRawBytes(body, s[0], []byte(s[1])); err != nil {
					t.Fatal(err)
				}
			}
			names = append(names, f.name)
		}
		r, err := ParseRequest(from, body, Call{Model: "m"})
		if err != nil {
			return // two of them contradict each other
		}
		for _, to := range []Kind{Chat, Responses, Anthropic, Google} {
			if to != from {
				together(t, r, to, body, names)
			}
		}
	})
}

func together(t *rapid.T, r *Request, to Kind, body []byte, names []string) {
	out, dropped, err := WriteRequest(to, r)
	refused := false
	for _, u := range r.Uses {
		switch outcome(r.From, to, u.Feature) {
		case Refused:
			refused = true
		case Dropped:
			if err == nil && !contains(dropped, printable(u.Field)) {
				t.Fatalf("%v to %s: %s is dropped and not named in %v: %s", names, to, u.Field, dropped, body)
			}
		}
	}
	if err != nil {
		if !refused || !fault.Is(err, fault.Unsupported) {
			t.Fatalf("%v to %s: %v: %s", names, to, err, body)
		}
		return
	}
	if refused {
		t.Fatalf("%v to %s is not refused: %s", names, to, out)
	}
	back, err := ParseRequest(to, out, Call{Model: "m", Stream: true})
	if err != nil {
		t.Fatalf("%v to %s cannot be read: %v in %s", names, to, err, out)
	}
	for _, u := range r.Uses {
		if outcome(r.From, to, u.Feature) != Mapped || u.Feature == fEffort && contains(dropped, printable(u.Field)) {
			continue
		}
		if u.Feature == fAdaptive && r.Reasoning.Effort != "" { // which leaves it to the model as well
			continue
		}
		if d := cmp.Diff(meaning(r, u.Feature, to), meaning(back, u.Feature, to)); d != "" {
			t.Fatalf("%v to %s: %q lost its meaning:\n%s\n%s\n%s", names, to, u.Feature, d, body, out)
		}
	}
}

// An answer goes the whole way: said by a provider in one dialect, read, told to a client in another, and read by it, cut
// anywhere on both sides.
func TestAnswersGoTheWholeWay(t *testing.T) {
	talkers := []Kind{Chat, Responses, Anthropic, Google}
	rapid.Check(t, func(t *rapid.T) {
		a := genAnswer(t)
		for i := range a.Choices[0].Parts {
			a.Choices[0].Parts[i].Signature, a.Choices[0].Parts[i].SignedBy = "", ""
		}
		cut := func(left int) int { return rapid.IntRange(1, left).Draw(t, "n") }
		provider, client := rapid.SampledFrom(talkers).Draw(t, "provider"), rapid.SampledFrom(talkers).Draw(t, "client")
		tell := func(d Kind, events []Event) []byte {
			enc := NewEncoder(clients(true)[d], Head{})
			var out []byte
			for _, e := range events {
				out = enc.Encode(out, e)
			}
			return out
		}
		said := tell(provider, parted(t, a.Events()))
		dec := NewDecoder(provider, 1<<20)
		var events []Event
		for rest := said; len(rest) > 0; {
			n := cut(len(rest))
			some, err := dec.Feed(rest[:n])
			if err != nil {
				t.Fatalf("%s: %v in\n%s", provider, err, said)
			}
			events, rest = append(events, some...), rest[n:]
		}
		some, err := dec.End()
		if err != nil {
			t.Fatalf("%s: %v in\n%s", provider, err, said)
		}
		told := tell(client, append(events, some...))
		got, err := read(client, string(told), cut)
		if err != nil {
			t.Fatalf("%s to %s: %v in\n%s", provider, client, err, told)
		}
		want := expected(expected(a, provider), client)
		if provider == Chat && want.Choices[0].Stop == StopRefusal || provider == Google && want.Choices[0].Stop == StopRefusal {
			want.Choices[0].Stop = expected(&Answer{Choices: []Choice{{Stop: StopFilter}}}, client).Choices[0].Stop
		}
		if provider == Anthropic && want.Choices[0].Stop == StopRefusal { // the other dialects' word for it
			want.Choices[0].Stop = map[Kind]Stop{Chat: StopFilter, Responses: StopEnd, Anthropic: StopRefusal, Google: StopFilter}[client]
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%s to %s:\n%s\n%s\n%s", provider, client, d, said, told)
		}
	})
}
