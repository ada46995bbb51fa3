// Package ref says what a name of a thing in the models tier looks like and how a version is referred to by name.
//
// Rules for callers: every name from outside passes Check before it is stored, so that stored names can be shown,
// put into URLs and typed into a shell without quoting.
package ref

import (
	"context"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
)

// MaxName is the most bytes a name has.
const MaxName = 128

// Check says whether s may name a data set, model, run, deployment or route: 1 to MaxName bytes of letters, digits,
// and . _ - (and / and : inside), beginning and ending with a letter or digit, and not of the form of an id, so that no
// name is taken for the id of something else. The error names the field.
func Check(field, s string) error {
	if err := spelt(field, s); err != nil {
		return err
	}
	if noun, _, has := strings.Cut(s, "_"); has && id.Valid(noun, s) {
		return fault.New(fault.Invalid, "The name "+Quote(s)+" has the form of an id, which could be something else's.", fault.Field(field),
			fault.Fix("Choose a name that is not %s_ and 26 letters and digits.", noun))
	}
	return nil
}

// spelt says whether s is written as names are.
func spelt(field, s string) error {
	bad := func(why string) error {
		return fault.New(fault.Invalid, "The name "+Quote(s)+" "+why+".", fault.Field(field),
			fault.Fix("Use letters, digits and . _ - / : with a letter or digit at both ends, at most %d in all.", MaxName))
	}
	switch {
	case s == "":
		return fault.InvalidField(field, "The %s is missing.", field)
	case len(s) > MaxName:
		return bad("is too long")
	case !alnum(s[0]) || !alnum(s[len(s)-1]):
		return bad("does not begin and end with a letter or digit")
	}
	for i := range len(s) {
		if !alnum(s[i]) && !strings.ContainsRune("._-/:", rune(s[i])) {
			return bad("has a character that names cannot have")
		}
		if i > 0 && s[i] == '/' && s[i-1] == '/' || s[i] == '.' && s[i-1] == '.' {
			return bad("has two marks in a row")
		}
	}
	return nil
}

func alnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// Split reads "name" (number 0: the newest) or "name@number".
func Split(field, s string) (name string, number int, err error) {
	name, num, has := strings.Cut(s, "@")
	if has {
		number, err = strconv.Atoi(num)
		if err != nil || number < 1 || number > 1<<30 {
			return "", 0, fault.New(fault.Invalid, "The version in "+Quote(s)+" is not a number from 1.", fault.Field(field),
				fault.Fix("Write name@3, or the name alone for the newest."))
		}
	}
	return name, number, spelt(field, name)
}

// Finder is a store that finds versions, of data sets or of models.
type Finder[V any] interface {
	// Get returns a version by id; fault.NotFound.
	Get(ctx context.Context, project, id string) (V, error)
	// Find returns a version by name and number, 0 being the newest; fault.NotFound.
	Find(ctx context.Context, project, name string, number int) (V, error)
}

// Resolve returns the version that s names: an id of the given kind (see id.Valid), "name" or "name@number". Errors
// name the field.
func Resolve[V any](ctx context.Context, f Finder[V], project, kind, field, s string) (V, error) {
	if id.Valid(kind, s) {
		return f.Get(ctx, project, s)
	}
	name, number, err := Split(field, s)
	if err != nil {
		var none V
		return none, err
	}
	return f.Find(ctx, project, name, number)
}

// Quote quotes text from outside for a sentence and keeps it short.
func Quote(s string) string {
	const most = 60
	if len(s) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return strconv.Quote(s)
}
