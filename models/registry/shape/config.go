package shape

import (
	"cmp"
	"encoding/json"

	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/internal/fault"
)

// IsConfig says whether a JSON object is a model's config.json: it names a family or holds a part that does.
func IsConfig(text []byte) bool {
	var m map[string]json.RawMessage
	if json.Unmarshal(text, &m) != nil {
		return false
	}
	for _, name := range []string{"model_type", "architectures", "text_config", "llm_config", "language_config", "thinker_config"} {
		if _, ok := m[name]; ok {
			return true
		}
	}
	return false
}

// Config reads the shape of a model from its config.json alone, under a name of the caller's or that of its family. Without
// the weights nothing is compared with them. Faults: Invalid, with the reason.
func Config(text []byte, name string) (perf.Shape, error) {
	if len(text) > maxMeta {
		return perf.Shape{}, fault.Newf(fault.TooLarge, "config.json has %d bytes; at most %d are read.", len(text), maxMeta)
	}
	top, err := parseFields(text)
	if err != nil {
		return perf.Shape{}, damaged("config.json", err)
	}
	f := inner(top)
	s, why := transformer(f)
	if s == nil {
		return perf.Shape{}, fault.New(fault.Invalid, "Its shape is not known here: "+why+".", fault.Field("shape"), fault.Fix("Give its sizes: layers, width, heads, kv_heads, head, inner, vocab"))
	}
	s.Name = cmp.Or(name, clip(f.text("model_type")))
	if r := s.Check(); r != nil {
		return perf.Shape{}, fault.InvalidField(r.Field, "%s", r.Detail)
	}
	return *s, nil
}
