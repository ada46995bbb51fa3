// Package plan is what the programs beside it share: the cases that they are to ask, and how they tell what they saw.
package plan

import (
	"encoding/json"
	"fmt"
	"os"
)

// Case is one thing to ask.
type Case struct {
	ID       int
	API      string
	Scenario string
	Model    string
	Stream   bool
	Key      string
	Headers  map[string]string
}

// Plan is all of them.
type Plan struct {
	Media struct{ PNG, PDF, URL string }
	Cases []Case
}

// Obj is JSON.
type Obj = map[string]any

// Arr is JSON.
type Arr = []any

// Failed is what a client's error says.
type Failed struct {
	Class   string `json:"class"`
	Status  int    `json:"status"`
	Message string `json:"message"`
	Kind    string `json:"kind"`
	ID      bool   `json:"id"`
}

// Results are what the tools give.
var Results = map[string]string{"weather": "18 degrees", "clock": "12:00"}

// The schemas of an answer and of a tool's arguments.
var (
	Schema = Obj{"type": "object", "properties": Obj{"city": Obj{"type": "string"}}, "required": Arr{"city"}, "additionalProperties": false}
	City   = Obj{"type": "object", "properties": Obj{"city": Obj{"type": "string"}, "days": Obj{"type": "integer"}}}
)

// Key is the case's own, or the one that most use.
func (c Case) KeyOr() string {
	if c.Key != "" {
		return c.Key
	}
	return os.Getenv("TRIARCH_KEY")
}

// Run asks all cases and prints a line for each; failed reads the client's errors.
func Run(ask func(Plan, Case) (Obj, error), failed func(error) *Failed) {
	text, err := os.ReadFile(os.Getenv("TRIARCH_CASES"))
	if err != nil {
		panic(err)
	}
	var p Plan
	if err := json.Unmarshal(text, &p); err != nil {
		panic(err)
	}
	for _, c := range p.Cases {
		line := Obj{"case": c.ID}
		if seen, err := ask(p, c); err == nil {
			line["seen"] = seen
		} else if f := failed(err); f != nil {
			line["error"] = f
		} else {
			line["error"] = Failed{Class: fmt.Sprintf("%T", err), Message: err.Error()}
		}
		out, err := json.Marshal(line)
		if err != nil {
			panic(err)
		}
		fmt.Println(string(out))
	}
}

// Parsed is a text of JSON.
func Parsed(text string) (v any) {
	_ = json.Unmarshal([]byte(text), &v)
	return v
}

// As makes a client's own value of JSON.
func As[T any](v any) (out T) {
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		panic(err)
	}
	return out
}
