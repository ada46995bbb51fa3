package api

import "encoding/json"

// ChipQuestion asks on which chips a piece of work fits, and how fast and dear it is there. What is left out is filled in
// by the task, and the answer's notes say with what.
type ChipQuestion struct {
	Model     string          `json:"model,omitempty" maxLength:"200" doc:"name of a shape that is known, or of a model of the registry"`
	Shape     json.RawMessage `json:"shape,omitempty" doc:"the shape itself, instead of a name: layers, width, heads and so on, or a model's config.json"`
	Task      string          `json:"task" maxLength:"32" doc:"train, post-train, serve, prefill, decode or embed"`
	Engine    string          `json:"engine,omitempty" maxLength:"64" doc:"whose speed is meant; default: the mean of all"`
	Precision []string        `json:"precision,omitempty" maxItems:"8" doc:"of the products, in the order of preference; default bf16, else fp16, on processors fp32"`
	Weights   string          `json:"weights,omitempty" maxLength:"16" doc:"how weights are kept: a precision, int4, or bits such as 4.5b; default: as the products"`
	Cache     string          `json:"cache,omitempty" maxLength:"16" doc:"the same for the numbers of the KV cache; default bf16"`
	Batch     int             `json:"batch,omitempty" minimum:"0" maximum:"16777216" doc:"training: sequences of a step; else sequences at once in a replica, default: as many as fit"`
	Micro     int             `json:"micro,omitempty" minimum:"0" maximum:"16777216" doc:"training: sequences at once in a rank; default: the best"`
	Context   int             `json:"context,omitempty" minimum:"0" maximum:"16777216" doc:"tokens of a sequence; decode: in the cache"`
	Prompt    int             `json:"prompt,omitempty" minimum:"0" maximum:"16777216" doc:"serve: tokens of a prompt"`
	Output    int             `json:"output,omitempty" minimum:"0" maximum:"16777216" doc:"serve: tokens of an answer"`
	Recompute string          `json:"recompute,omitempty" maxLength:"8" doc:"training: none, fused or full; default: the best"`
	LoRA      int             `json:"lora,omitempty" minimum:"0" maximum:"65536" doc:"post-train: rank of the adapters; 0: all weights are trained"`

	Tokens   float64 `json:"tokens,omitempty" doc:"of the whole job"`
	Requests float64 `json:"requests,omitempty" doc:"serve: requests a second wanted"`
	Rate     float64 `json:"rate,omitempty" doc:"tokens a second wanted"`
	UserRate float64 `json:"user_rate,omitempty" doc:"serve, decode: least tokens a second of one sequence"`
	Within   float64 `json:"within_s,omitempty" doc:"seconds that the job may take"`
	Sure     bool    `json:"sure,omitempty" doc:"rate and within_s must hold at the low end of the interval"`

	Chips  []string         `json:"chips,omitempty" maxItems:"256" doc:"ids or aliases; default: the whole catalogue"`
	Make   string           `json:"make,omitempty" maxLength:"64" doc:"only chips of this make"`
	Fleet  bool             `json:"fleet,omitempty" doc:"only chips of this installation's nodes, as many as there are"`
	Count  []int            `json:"count,omitempty" maxItems:"16" doc:"numbers of chips; default: the one with the most tokens a second of each chip, of a node and of what fits, or where rate, requests or within_s are wanted the smallest that does it"`
	Least  bool             `json:"least,omitempty" doc:"the smallest number that does it, instead"`
	Best   bool             `json:"best,omitempty" doc:"the number with the most tokens a second of each chip even where rate, requests or within_s are wanted"`
	Most   int              `json:"most,omitempty" minimum:"0" maximum:"65536" doc:"chips at the most where count is left out"`
	Node   int              `json:"node,omitempty" minimum:"0" maximum:"65536" doc:"chips of a node; default: what the chip's link joins, or eight"`
	Net    float64          `json:"net,omitempty" doc:"bytes a second of one chip to other nodes, each way"`
	Link   float64          `json:"link,omitempty" doc:"bytes a second each way between chips of a node where the catalogue has none"`
	Prices map[string]int64 `json:"prices,omitempty" doc:"micro-units for an hour of one chip, by id or alias; over those of the installation, which only its operator sees"`
	PUE    float64          `json:"pue,omitempty" doc:"energy of the site for each joule of a chip"`
	By     string           `json:"by,omitempty" maxLength:"16" doc:"cost, time, energy or chip-hours; default: cost where a price is known, else chip-hours"`
}

// Span is a number with the interval in which nine of ten are expected.
type Span struct {
	Low  float64 `json:"low"`
	Is   float64 `json:"is"`
	High float64 `json:"high"`
}

// ChipRanking is the answer: rows that do the work in their order, then refused ones.
type ChipRanking struct {
	Model      string    `json:"model"`
	Parameters int64     `json:"parameters"`
	Task       string    `json:"task"`
	By         string    `json:"by"`
	Tokens     float64   `json:"tokens,omitempty" doc:"of the job that times and costs are of; absent: of none"`
	Notes      []string  `json:"notes" nullable:"false" doc:"what was filled in"`
	Rows       []ChipRow `json:"rows" nullable:"false"`
}

// ChipRow is one chip in one number, or why not.
type ChipRow struct {
	Chip      string       `json:"chip"`
	Name      string       `json:"name,omitempty"`
	Make      string       `json:"make,omitempty"`
	Count     int          `json:"count" doc:"chips; 0: none was found"`
	Node      int          `json:"node,omitempty" doc:"chips of a node"`
	Precision string       `json:"precision,omitempty"`
	Layout    *ChipLayout  `json:"layout,omitempty"`
	Memory    *ChipMemory  `json:"memory,omitempty" doc:"bytes on the fullest chip"`
	Rate      *Span        `json:"tokens_per_second,omitempty" doc:"of all chips; for serve tokens of answers"`
	UserRate  float64      `json:"user_tokens_per_second,omitempty" doc:"of one sequence"`
	Seconds   *Span        `json:"seconds" doc:"of the job; null: none is meant"`
	Hourly    *float64     `json:"hour_micros" doc:"of all chips; null: the price is unknown"`
	Cost      *Span        `json:"cost_micros" doc:"of the job; null: none is meant, or the price is unknown"`
	Million   *Span        `json:"million_micros" doc:"cost of a million tokens; null: the price is unknown"`
	Energy    *Span        `json:"energy_joules" doc:"of the job; null: none is meant, or the power is unknown"`
	Joules    *Span        `json:"token_joules" doc:"of a token; null: the power is unknown"`
	Watts     *float64     `json:"watts" doc:"of all chips at full load; null: unknown"`
	Terms     *ChipTerms   `json:"terms,omitempty" doc:"where the seconds of a step go"`
	Step      float64      `json:"step_seconds,omitempty"`
	Bound     string       `json:"bound,omitempty" doc:"the largest term"`
	Known     string       `json:"known,omitempty" doc:"measured, corrected or prior"`
	Assumed   []string     `json:"assumed,omitempty" doc:"what stands in for what is not known"`
	Figures   []ChipFigure `json:"figures,omitempty" doc:"of the chip that the answer is made of"`
	Least     int          `json:"least,omitempty" doc:"the smallest number that does it, where each of count does more; absent: count itself"`
	Open      bool         `json:"open,omitempty" doc:"true only if a link or network that nobody told the speed of is fast enough, as assumed says; such rows stand behind"`
	Better    *ChipBetter  `json:"better,omitempty" doc:"a number of chips each of which does more"`
	Refused   *ChipRefusal `json:"refused,omitempty" doc:"why it has no answer; absent: it has one"`
	Others    []ChipOther  `json:"others,omitempty" doc:"the next best layouts"`
}

// ChipLayout is how the work lies on the chips.
type ChipLayout struct {
	Tensor    int    `json:"tensor"`
	Pipeline  int    `json:"pipeline"`
	Data      int    `json:"data" doc:"ranks that train on different sequences, or replicas"`
	Expert    int    `json:"expert,omitempty"`
	Shard     int    `json:"shard,omitempty" doc:"ZeRO stage that data ranks split their states by"`
	Batch     int    `json:"batch"`
	Micro     int    `json:"micro,omitempty"`
	Recompute string `json:"recompute,omitempty"`
}

// ChipMemory is what the fullest chip holds.
type ChipMemory struct {
	Weights     float64 `json:"weights"`
	Gradients   float64 `json:"gradients"`
	Optimizer   float64 `json:"optimizer"`
	Activations float64 `json:"activations"`
	Cache       float64 `json:"cache"`
	Total       float64 `json:"total"`
	Room        float64 `json:"room" doc:"bytes of a chip that can be filled"`
}

// ChipTerms are seconds of a step.
type ChipTerms struct {
	Arithmetic float64 `json:"arithmetic"`
	Memory     float64 `json:"memory"`
	Link       float64 `json:"link"`
	Bubble     float64 `json:"bubble"`
	Overhead   float64 `json:"overhead"`
}

// ChipFigure is a figure of a chip with who says so.
type ChipFigure struct {
	Name       string `json:"name"`
	Is         string `json:"is"`
	Source     string `json:"source"`
	Confidence string `json:"confidence,omitempty"`
}

// ChipBetter is a number of chips of which each does more than in the row.
type ChipBetter struct {
	Count  int     `json:"count"`
	Factor float64 `json:"factor" doc:"tokens a second of one chip, against the row's"`
}

// ChipRefusal is why a chip has no answer.
type ChipRefusal struct {
	Reason   string   `json:"reason"`
	Says     string   `json:"says" doc:"the sentence for people"`
	Needs    float64  `json:"needs,omitempty" doc:"bytes on the fullest chip"`
	Has      float64  `json:"has,omitempty" doc:"bytes of it that can be filled"`
	Smallest int      `json:"smallest,omitempty" doc:"chips that would do"`
	Fleet    int      `json:"fleet,omitempty" doc:"chips that there are"`
	Missing  []string `json:"missing,omitempty" doc:"figures that nobody told"`
	Lacks    []string `json:"lacks,omitempty" doc:"precisions that the chip does not have, each with who says so"`
	Offers   []string `json:"offers,omitempty" doc:"precisions whose speed is known"`
}

// ChipOther is another layout of as many chips.
type ChipOther struct {
	Layout ChipLayout `json:"layout"`
	Rate   float64    `json:"tokens_per_second,omitempty" doc:"absent: refused"`
	Says   string     `json:"refused,omitempty"`
}
