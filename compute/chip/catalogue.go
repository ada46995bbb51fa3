package chip

import (
	"embed"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
)

//go:embed catalogue/*.yaml
var embedded embed.FS

// OverlayName is the operator's file in the data directory: of the same form as the embedded ones, merged over them
// figure by figure.
const OverlayName = "chips.yaml"

// Catalogue is a set of chips that are found by id and alias.
type Catalogue struct {
	chips []*Chip          // by make in the order of the files, then in the order of the file
	names map[string]*Chip // by plain id and alias
}

// builtin reads the embedded files once.
var builtin = sync.OnceValues(func() (*Catalogue, error) {
	c := &Catalogue{names: map[string]*Chip{}}
	files, err := fs.Glob(embedded, "catalogue/*.yaml")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		text, err := embedded.ReadFile(f)
		if err != nil {
			return nil, err
		}
		if err := c.add(path.Base(f), text, false); err != nil {
			return nil, err
		}
	}
	return c, nil
})

// Builtin is the catalogue that is part of the program.
func Builtin() (*Catalogue, error) { return builtin() }

// Load is the embedded catalogue with an operator's file over it. "" and a file that is not there change nothing; a
// file with anything wrong in it is refused whole, with file, line, chip, field and reason.
func Load(file string) (*Catalogue, error) {
	c, err := builtin()
	if err != nil || file == "" {
		return c, err
	}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, nil
	case err != nil:
		return nil, fault.New(fault.Invalid, "The chip file "+file+" cannot be read.", fault.Cause(err))
	case !info.Mode().IsRegular():
		return nil, fault.Newf(fault.Invalid, "The chip file %s is no regular file.", file)
	case info.Size() > maxFile:
		return nil, fault.Newf(fault.TooLarge, "%s has %d bytes; at most %d are read.", file, info.Size(), maxFile)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.New(fault.Invalid, "The chip file "+file+" cannot be read.", fault.Cause(err))
	}
	return c.With(file, text)
}

// With is a catalogue with the text of a file over it; the one it is called on stays as it was. The file's name is for
// errors alone.
func (c *Catalogue) With(file string, text []byte) (*Catalogue, error) {
	n := &Catalogue{names: map[string]*Chip{}}
	for _, old := range c.chips {
		chip := old.clone()
		n.chips = append(n.chips, &chip)
	}
	if err := n.add(file, text, true); err != nil {
		return nil, err
	}
	return n, nil
}

// add reads one file. Over says that chips may be there already.
func (c *Catalogue) add(file string, text []byte, over bool) error {
	top, err := document(file, text)
	if err != nil {
		return err
	}
	r := &reader{file: file}
	e := r.entry(top, "", "", "make", "sources", "defaults", "chips")
	if r.err == nil {
		r.readSources(e.fields["sources"])
	}
	base := Chip{Make: e.text("make"), Aliases: []string{}, Resources: []Resource{}, Isolation: []Variable{}, Engines: []Engine{}, Flops: map[Precision]*Figure{}}
	for _, p := range Precisions() {
		base.Flops[p] = nil
	}
	if n := e.fields["defaults"]; n != nil && r.err == nil {
		r.over(&base, r.entry(n, "", "defaults", "kind", "resources", "isolation", "engines"))
	}
	here := map[string]bool{}
	e.list("chips", maxChips, func(n *yaml.Node, where string) {
		if r.err == nil {
			c.one(r, n, where, base, over, here)
		}
	})
	if r.err == nil && len(here) == 0 {
		r.bad(top, "", "chips", "it names no chip")
	}
	if r.err == nil {
		c.index(r, here)
	}
	return r.err
}

// one reads a chip, new or over one that is there.
func (c *Catalogue) one(r *reader, n *yaml.Node, where string, base Chip, over bool, here map[string]bool) {
	if id := peek(n, "id"); idForm.MatchString(id) {
		where = id // so that what is wrong with its other fields is told by its name
	}
	e := r.entry(n, where, "", chipFields...)
	id := e.text("id")
	switch {
	case id == "":
		r.bad(n, where, "id", "a chip needs an id")
	case !idForm.MatchString(id) || len(id) > 64:
		r.bad(n, where, "id", "%q is not maker-model in small letters, digits, dots and dashes", id)
	case here[id]:
		r.bad(n, id, "id", "the chip is given twice")
	}
	if r.err != nil {
		return
	}
	here[id], e.chip = true, id
	at := slices.IndexFunc(c.chips, func(x *Chip) bool { return x.ID == id })
	if at >= 0 && !over {
		r.bad(n, id, "id", "another file of the catalogue has it too")
		return
	}
	if at < 0 {
		chip := base.clone()
		chip.ID = id
		c.chips, at = append(c.chips, &chip), len(c.chips)
	}
	chip := c.chips[at]
	r.over(chip, e)
	for field, value := range map[string]string{"make": chip.Make, "name": chip.Name, "kind": string(chip.Kind)} {
		if value == "" {
			r.bad(n, id, field, "a new chip needs it")
		}
	}
}

// index finds chips by id, by the id without its maker, by name and by alias, and refuses names of two chips. Here
// are the chips of the file that was read last.
func (c *Catalogue) index(r *reader, here map[string]bool) {
	clear(c.names)
	for _, chip := range c.chips { // what is given wins over what is made
		for _, name := range append([]string{chip.ID, chip.Name}, chip.Aliases...) {
			key := plain(name)
			if old := c.names[key]; old != nil && old != chip {
				if here[old.ID] && !here[chip.ID] { // it is the file's chip that took the name
					chip, old = old, chip
				}
				r.bad(nil, chip.ID, "aliases", "%q is a name of %s too", name, old.ID)
				return
			}
			c.names[key] = chip
		}
	}
	for _, chip := range c.chips {
		_, model, _ := strings.Cut(chip.ID, "-")
		if key := plain(model); key != "" && c.names[key] == nil {
			c.names[key] = chip
		}
	}
}

// plain is a name without case and punctuation, so that "NVIDIA H100 80GB HBM3" and "h100-80gb" are found as typed.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
}

// All lists the chips by make.
func (c *Catalogue) All() []Chip {
	all := make([]Chip, 0, len(c.chips))
	for _, chip := range c.chips {
		all = append(all, chip.clone())
	}
	return all
}

// Makes lists the makes.
func (c *Catalogue) Makes() []string {
	var makes []string
	for _, chip := range c.chips {
		if !slices.Contains(makes, chip.Make) {
			makes = append(makes, chip.Make)
		}
	}
	return makes
}

// Find is the chip of a name or alias; where there is none, the error names the nearest.
func (c *Catalogue) Find(name string) (Chip, error) {
	if chip := c.names[plain(name)]; chip != nil {
		return chip.clone(), nil
	}
	short := strings.ToValidUTF8(name[:min(len(name), 64)], "")
	ids := make([]string, 0, 2*len(c.chips))
	for _, chip := range c.chips {
		_, model, _ := strings.Cut(chip.ID, "-")
		ids = append(ids, chip.ID, model)
	}
	return Chip{}, fault.New(fault.NotFound, "The catalogue has no chip "+quoted(short)+".",
		fault.Fix("The nearest name is %s; `triarch chip ls` lists all, and a file %s in the data directory adds others", near(short, ids), OverlayName))
}

// near is the shortest id that holds the word, else the nearest one.
func near(word string, ids []string) string {
	best := ""
	for _, id := range ids {
		if w := plain(word); len(w) > 1 && strings.Contains(plain(id), w) && (best == "" || len(id) < len(best)) {
			best = id
		}
	}
	if best == "" {
		best = nearest.Name(word, ids)
	}
	return best
}

// OfMake lists the chips of a make, in any case of letters; where there is none, the error names the nearest.
func (c *Catalogue) OfMake(name string) ([]Chip, error) {
	var found []Chip
	for _, chip := range c.chips {
		if plain(chip.Make) == plain(name) {
			found = append(found, chip.clone())
		}
	}
	if len(found) == 0 {
		return nil, fault.New(fault.NotFound, "The catalogue has no make "+quoted(name)+".", fault.Fix("The nearest is %s; there are %s", nearest.Name(name, c.Makes()), strings.Join(c.Makes(), ", ")))
	}
	return found, nil
}

func quoted(s string) string { return `"` + s + `"` }
