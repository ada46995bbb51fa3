package system

import "github.com/triarch-ai/triarch/models/engine"

// Extra is what a rig outside the product adds to the system, such as an engine made for tests. Several may be given to
// Start; the product gives none.
type Extra struct {
	Engines []engine.Engine // added to the product's by their names; one of the same name takes its place
}

// withEngines are the product's engines and those of the extras, by name.
func withEngines(extras []Extra) map[string]engine.Engine {
	all := engines()
	for _, x := range extras {
		for _, e := range x.Engines {
			all[e.Name()] = e
		}
	}
	return all
}
