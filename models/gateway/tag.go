package gateway

import (
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// CheckTag says whether a tag is one: at most meter.MaxTag letters, digits and characters of ._:/@-, the first of them a
// letter or digit, so that it means the same in every file and spreadsheet. The empty one is none.
func CheckTag(tag string) error {
	ok := len(tag) <= meter.MaxTag
	for i := range len(tag) {
		switch c := tag[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == ':' || c == '/' || c == '@' || c == '-'):
		default:
			ok = false
		}
	}
	if !ok {
		return fault.New(fault.Invalid, "The tag of the request is not one.", fault.Field("X-Triarch-Tag"), fault.Code("invalid_tag"),
			fault.Fix("Write at most 64 letters, digits and characters of ._:/@- and begin with a letter or digit."))
	}
	return nil
}
