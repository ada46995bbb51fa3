package tenancy

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Bounds of a key's list of models.
const (
	maxModels    = 256
	maxModelName = 256 // bytes
)

// planModels checks a list of the names of models, and gives each once.
func planModels(want []string) ([]string, error) {
	if len(want) > maxModels {
		return nil, fault.InvalidField("models", "A key's list has at most %d models, got %d.", maxModels, len(want))
	}
	var out []string
	for _, name := range want {
		if name == "" || len(name) > maxModelName || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == ' ' }) {
			return nil, fault.InvalidField("models", "%s is no name of a model.", quote(name))
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out, nil
}

// withinModels keeps the models of a new key among its maker's: without a list of its own it has the maker's.
func withinModels(maker Key, k *Key) error {
	if len(maker.Models) == 0 {
		return nil
	}
	if len(k.Models) == 0 {
		k.Models = slices.Clone(maker.Models)
		return nil
	}
	for _, name := range k.Models {
		if !slices.Contains(maker.Models, name) {
			return fault.New(fault.Forbidden, "A key can call only its maker's models, and "+quote(name)+" is none of them.", fault.Field("models"))
		}
	}
	return nil
}
