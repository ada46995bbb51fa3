package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Measured is what was measured of work on a chip: one batch and context of a model's shape, up to a factor of two.
type Measured struct {
	ID        string    `json:"id"`
	Model     string    `json:"model,omitempty" doc:"name of the shape: of a project's own measurements as it called it, else as it is published, or width and layers"`
	Task      string    `json:"task"`
	Engine    string    `json:"engine,omitempty"`
	Chip      string    `json:"chip"`
	Chips     int       `json:"chips" doc:"of the layout"`
	Precision string    `json:"precision"`
	Batch     int       `json:"batch"`
	Context   int       `json:"context,omitempty"`
	Prompt    int       `json:"prompt,omitempty"`
	Output    int       `json:"output,omitempty"`
	Own       bool      `json:"own,omitempty" doc:"the project's own programs told it, and it answers this project alone"`
	Rate      float64   `json:"rate" doc:"tokens a second, the newest"`
	Predicted float64   `json:"predicted,omitempty" doc:"tokens a second by the roofline; missing where a figure of the chip is unknown"`
	Ratio     float64   `json:"ratio,omitempty" doc:"measured over predicted, in the mean"`
	Count     float64   `json:"count" doc:"measurements, older ones counting less"`
	Apart     []Apart   `json:"apart,omitempty" doc:"measurements more than ten times off the prediction"`
	Last      time.Time `json:"last"`
}

// Apart is a measurement more than ten times off the prediction.
type Apart struct {
	Ratio  float64   `json:"ratio" doc:"measured over predicted"`
	Counts bool      `json:"counts" doc:"another source told nearly the same"`
	At     time.Time `json:"at"`
}

// MeasuredLayout is how work lies on chips; what is missing is one.
type MeasuredLayout struct {
	Tensor   int `json:"tensor,omitempty" minimum:"0" maximum:"100000"`
	Pipeline int `json:"pipeline,omitempty" minimum:"0" maximum:"100000"`
	Data     int `json:"data,omitempty" minimum:"0" maximum:"100000"`
	Sequence int `json:"sequence,omitempty" minimum:"0" maximum:"100000"`
	Expert   int `json:"expert,omitempty" minimum:"0" maximum:"100000"`
	Shard    int `json:"shard,omitempty" minimum:"0" maximum:"3" doc:"what data-parallel ranks split: 1 the optimiser's state, 2 gradients too, 3 weights too"`
}

// NewMeasurement tells of work that a program did, and how fast.
type NewMeasurement struct {
	Report    string          `json:"report" minLength:"1" maxLength:"120" doc:"name of the report, such as a run and its attempt: the same again is taken once"`
	Model     string          `json:"model,omitempty" maxLength:"120" doc:"name of a known shape, such as llama-3-8b; else give shape"`
	Shape     json.RawMessage `json:"shape,omitempty" doc:"the model's shape as estimates take it: layers, width, heads, kv_heads, head, inner, vocab and what more it has"`
	Task      string          `json:"task" enum:"train,post-train,prefill,decode,serve,embed"`
	Engine    string          `json:"engine" minLength:"1" maxLength:"64"`
	Chip      string          `json:"chip" minLength:"1" maxLength:"64"`
	Precision string          `json:"precision" maxLength:"8" doc:"of the matrix products, such as bf16"`
	Weights   float64         `json:"weight_bytes,omitempty" minimum:"0" maximum:"8" doc:"bytes of a weight; default: of the precision"`
	Layout    MeasuredLayout  `json:"layout,omitzero"`
	Batch     int             `json:"batch" minimum:"1" maximum:"16777216" doc:"sequences at once; in training of a step over all chips"`
	Micro     int             `json:"micro,omitempty" minimum:"0" maximum:"16777216"`
	Context   int             `json:"context,omitempty" minimum:"0" maximum:"16777216"`
	Prompt    int             `json:"prompt,omitempty" minimum:"0" maximum:"16777216"`
	Output    int             `json:"output,omitempty" minimum:"0" maximum:"16777216"`
	Rate      float64         `json:"rate" doc:"tokens a second of all chips; of serve those of answers"`
	Count     int             `json:"count,omitempty" minimum:"0" maximum:"1000000" doc:"of how many measurements it is the mean"`
	Spread    float64         `json:"spread,omitempty" minimum:"0" maximum:"9" doc:"standard deviation of their logarithms"`
}

// ReportedMeasurement says what became of a report.
type ReportedMeasurement struct {
	First bool `json:"first" doc:"false: it had been taken before and changed nothing"`
}

// Measured lists what was measured of work on chips.
func (c *Client) Measured(ctx context.Context) ([]Measured, error) {
	return items[Measured](ctx, c, path("measurements"))
}

// MeasuredOf is one of them by its id.
func (c *Client) MeasuredOf(ctx context.Context, id string) (Measured, error) {
	return call[Measured](ctx, c, http.MethodGet, path("measurements", id), nil)
}

// Report tells of work that a program of the project did; it says whether this was the first time.
func (c *Client) Report(ctx context.Context, m NewMeasurement) (bool, error) {
	r, err := call[ReportedMeasurement](ctx, c, http.MethodPost, path("measurements"), m)
	return r.First, err
}
