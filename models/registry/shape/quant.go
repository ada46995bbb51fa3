package shape

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/triarch-ai/triarch/models/safetensors"
)

// quantisation is how a configuration says that weights are stored.
type quantisation struct {
	name string // for people; empty: not at all
	bits int    // of a weight in packed tensors; 0: not told
}

// quantised reads quantization_config, which lies at the top or with the text model.
func quantised(of ...*fields) quantisation {
	for _, f := range of {
		c := f.sub("quantization_config", "compression_config")
		if c == nil {
			continue
		}
		q := quantisation{name: clip(c.text("quant_method"))}
		if q.name == "" {
			q.name = clip(c.text("quant_algo"))
		}
		q.bits, _ = c.number("bits", "w_bit")
		switch {
		case c.flag(false, "load_in_4bit", "_load_in_4bit"):
			q.bits = 4
		case c.flag(false, "load_in_8bit", "_load_in_8bit"):
			q.bits = 8
		case q.bits == 0:
			q.bits = groupBits(c)
		}
		if q.bits < 0 || q.bits > 32 {
			q.bits = 0
		}
		if q.bits > 0 {
			q.name = fmt.Sprintf("%s, %d bits", q.name, q.bits)
		}
		return q
	}
	return quantisation{}
}

// groupBits is the one width that the groups of compressed-tensors have; 0: none, or several.
func groupBits(c *fields) int {
	raw, _ := c.get("config_groups")
	var groups map[string]struct {
		Weights struct {
			Bits int `json:"num_bits"`
		} `json:"weights"`
	}
	if json.Unmarshal(raw, &groups) != nil {
		return 0
	}
	bits := 0
	for _, g := range groups {
		if bits != 0 && bits != g.Weights.Bits {
			return 0
		}
		bits = g.Weights.Bits
	}
	return bits
}

// scales are the ends of the names of what quantised weights carry beside them.
var scales = []string{"_scale", "_scale_inv", "_scale_2", "_scales", ".scales", ".qzeros", ".g_idx", "_zero_point", "_shape", "_global_scale", ".absmax", ".quant_map",
	".nested_absmax", ".nested_quant_map", ".SCB", ".weight_format", "_g_idx"}

// numbers is how many parameters a tensor holds, none for scales; false where it is packed in a way that is not known.
// The names are those that the methods' libraries write: qweight of GPTQ and AWQ, weight_packed of compressed-tensors,
// blocks of gpt-oss, and bitsandbytes' weights with a state beside them.
func (q quantisation) numbers(name string, t tensor, all map[string]tensor) (int64, bool) {
	if strings.Contains(name, ".quant_state.") {
		return 0, true
	}
	for _, end := range scales {
		if strings.HasSuffix(name, end) {
			return 0, true
		}
	}
	width := int64(0)
	_, absmax := all[name+".absmax"]
	_, second := all[name+"_scale_2"]
	switch {
	case strings.HasSuffix(name, ".qweight"), strings.HasSuffix(name, ".weight_packed"):
		if width = int64(q.bits); width == 0 {
			return 0, false
		}
	case strings.HasSuffix(name, "_blocks"), absmax, second && t.dtype == "U8":
		width = 4
	case t.dtype == "F4":
		return t.numbers, true
	case q.name != "" && (t.dtype == "I32" || t.dtype == "U8") && !buffer(name, t):
		return 0, false
	default:
		return t.numbers, true
	}
	return t.numbers * safetensors.Bits(t.dtype) / width, true
}
