package dialect

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Every tier of every dialect has the nearest word in every other that asks for no more.
func TestTiersBetweenDialects(t *testing.T) {
	for _, x := range []struct {
		from, to Kind
		say, out string
	}{
		{Chat, Anthropic, `"auto"`, `"auto"`}, {Chat, Anthropic, `"default"`, `"standard_only"`}, {Chat, Anthropic, `"flex"`, `"standard_only"`},
		{Responses, Anthropic, `"priority"`, `"auto"`}, {Anthropic, Chat, `"auto"`, `"auto"`}, {Anthropic, Responses, `"standard_only"`, `"default"`},
		{Chat, Responses, `"flex"`, `"flex"`}, {Responses, Chat, `"scale"`, `"scale"`}, {Chat, Anthropic, `"scale"`, `"scale"`},
	} {
		if got := string(tierFor(x.from, x.to, []byte(x.say))); got != x.out {
			t.Errorf("%s of %s is %s to %s, want %s", x.say, x.from, got, x.to, x.out)
		}
	}
	for _, d := range []Kind{Completions, Google} {
		if tier, err := ParseTier(d, []byte(`"gold"`)); tier != NoTier || err != nil {
			t.Errorf("%s: %v, %v", d, tier, err)
		}
	}
	if _, err := ParseTier(Anthropic, []byte(`"default"`)); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

// Whatever a stream is cut into and ends its lines with, all but the tier stays as it is.
func TestTellingATierChangesNothingElse(t *testing.T) {
	for _, end := range []string{"\n", "\r\n"} {
		stream := strings.Join([]string{`data: {"id":"c","choices":[{"delta":{"content":"data: {x}"}}]}`, ``, `: comment`, `data: {"choices":[],"usage":{"prompt_tokens":1}}`, ``,
			`data: {"error":{"message":"x"}}`, ``, `data: [DONE]`, ``, ``}, end)
		got := string(TellTierEvents(Chat, []byte(stream), FlexTier))
		if n := strings.Count(got, `"service_tier":"flex"`); n != 2 {
			t.Errorf("%d of 2 chunks tell: %q", n, got)
		}
		if back := strings.ReplaceAll(got, `,"service_tier":"flex"`, ""); back != stream {
			t.Errorf("%q became %q", stream, back)
		}
		if got := TellTierEvents(Chat, []byte(stream[:20]), FlexTier); string(got) != stream[:20] {
			t.Errorf("a piece of a line became %q", got)
		}
		if got := TellTierEvents(Google, []byte(stream), FlexTier); string(got) != stream {
			t.Errorf("Google's became %q", got)
		}
	}
	for _, odd := range []string{"", "rubbish", "[]", `{"type":"message"}`, `{"object":"list"}`} {
		for _, d := range Kinds {
			if got := TellTier(d, []byte(odd), PriorityTier); string(got) != odd {
				t.Errorf("%s: %q became %q", d, odd, got)
			}
		}
	}
}

// Hostile bytes come back as they are or as JSON, and never end anything.
func FuzzTellTier(f *testing.F) {
	f.Add([]byte("data: {\"choices\":[]}\n\n"), byte(0))
	f.Add([]byte("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{}}}\n\n"), byte(3))
	f.Fuzz(func(t *testing.T, data []byte, k byte) {
		d := Kinds[int(k)%len(Kinds)]
		_, _ = ParseTier(d, data)
		out := TellTierEvents(d, bytes.Clone(data), PriorityTier)
		if bytes.Count(out, []byte("\n")) < bytes.Count(data, []byte("\n")) {
			t.Fatalf("%q became %q", data, out)
		}
		if gjson.ValidBytes(data) && !gjson.ValidBytes(TellTier(d, bytes.Clone(data), FlexTier)) {
			t.Fatalf("%q is no JSON any more", data)
		}
	})
}
