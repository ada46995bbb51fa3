package dialect

import (
	"bytes"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Continued is the input of a request of responses behind the items before it, for a provider that keeps no conversations
// of ours: one JSON array.
func Continued(earlier, body []byte) ([]byte, error) {
	items, err := Items(body)
	if err != nil {
		return nil, err
	}
	return JoinItems(foreignLeft(earlier), items), nil
}

// foreignLeft leaves out the reasoning of answers that were translated: its proofs are another maker's, and its ids are
// not the provider's, who would look for them.
func foreignLeft(items []byte) []byte {
	var out [][]byte
	gjson.ParseBytes(items).ForEach(func(_, item gjson.Result) bool {
		if id := item.Get("id").String(); item.Get("type").String() != "reasoning" || strings.Count(id, "_") < 2 {
			out = append(out, []byte(item.Raw))
		}
		return true
	})
	return append(append([]byte{'['}, bytes.Join(out, []byte{','})...), ']')
}

// Leans refuses a request of responses, to be passed on in its own dialect, whose prompt stands somewhere else: what it
// costs cannot be bounded by its bytes, and what a provider keeps is not what is kept here.
func (s *Scanned) Leans(body []byte) error {
	for _, name := range []string{"conversation", "prompt"} {
		if sp, ok := s.spans[name]; ok && string(body[sp.from:sp.to]) != "null" {
			return leaning(name)
		}
	}
	if s.background {
		return leaning("background")
	}
	sp, ok := s.spans["input"]
	if !ok {
		return nil
	}
	var err error
	gjson.ParseBytes(body[sp.from:sp.to]).ForEach(func(_, item gjson.Result) bool {
		if item.IsObject() && item.Get("type").String() == "item_reference" {
			err = fault.New(fault.Unsupported, "input names an item instead of having it; items are not kept one by one.", fault.Field("input"),
				fault.Code("unsupported_parameter"), fault.Fix("Send the item itself, or the previous_response_id of the answer that it was in."))
		}
		return err == nil
	})
	return err
}

func leaning(name string) error {
	return fault.New(fault.Unsupported, name+" asks for state kept by the provider, which is not passed on.", fault.Field(name), fault.Code("unsupported_parameter"),
		fault.Fix("Send the conversation in input, or go on from a previous_response_id."))
}
