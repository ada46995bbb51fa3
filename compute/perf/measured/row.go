package measured

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/effects"
	"github.com/triarch-ai/triarch/internal/fault"
)

// Row is what is kept of a bucket of a cell.
type Row struct {
	Key      string        `json:"key"`
	Cell     string        `json:"cell"`
	Bucket   Bucket        `json:"bucket"`
	Scope    string        `json:"scope,omitempty"`
	Question perf.Question `json:"question"` // the first one of the bucket, its chip with only the figures that count
	Prior    float64       `json:"prior"`    // tokens a second predicted for it; 0: nothing was, and the row corrects nothing
	Rate     float64       `json:"rate"`     // the newest
	effects.Tally
}

// Bucket is batch and context in powers of two.
type Bucket struct {
	Batch   int `json:"batch"`
	Context int `json:"context"`
	Output  int `json:"output,omitempty"`
}

// Apart is a measurement more than ten times off the prior.
type Apart = effects.Single

func power2(n int) int {
	if n < 1 {
		return 0
	}
	return int(math.Round(math.Log2(float64(n))))
}

func bucketOf(w *perf.Work) Bucket {
	if w.Task == perf.Serve {
		return Bucket{power2(w.Batch), power2(w.Prompt), power2(w.Output)}
	}
	return Bucket{Batch: power2(w.Batch), Context: power2(w.Context)}
}

// kinOf names what may tell of each other at all.
func kinOf(q *perf.Question) string { return string(q.Work.Task) + "\x00" + q.Work.Engine }

// keysOf are what a row shares with others, by the levels of levelsOf: its chip, its shape on any chip, its cell, its bucket.
func keysOf(q *perf.Question) []string {
	s := q.Shape
	s.Name = ""
	cell, u := cellOf(q), bucketOf(&q.Work)
	return []string{q.Chip.ID, digest(s), cell, fmt.Sprintf("%s %d %d %d", cell, u.Batch, u.Context, u.Output)}
}

// cellOf names a cell: two shapes that differ in name alone are one.
func cellOf(q *perf.Question) string {
	s, w := q.Shape, q.Work
	s.Name = ""
	w.Batch, w.AtMost, w.Context, w.Prompt, w.Output = 0, 0, 0, 0, 0
	return digest(struct {
		Shape  perf.Shape
		Work   perf.Work
		Chip   string
		Cores  float64 // a processor's cores make it another chip of the same class
		Layout perf.Layout
	}{s, w, q.Chip.ID, cores(&q.Chip), q.Layout.Filled()})
}

// cores tells processors of one class apart: by what their arithmetic is measured at, in powers of the root of two.
func cores(c *chip.Chip) float64 {
	if f, ok := c.Peak(chip.FP32); ok && c.Kind == chip.CPU && f.Value > 0 {
		return math.Round(2 * math.Log2(f.Value))
	}
	return 0
}

func keyOf(m Measurement) string {
	return digest(struct {
		Cell   string
		Bucket Bucket
		Scope  string
	}{cellOf(&m.Question), bucketOf(&m.Question.Work), m.Scope})
}

func digest(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("measured: a key does not marshal: " + err.Error()) // checked numbers always do
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

func newRow(key string, m Measurement) *Row {
	q := m.Question
	q.Chip = slim(&q.Chip)
	r := &Row{Key: key, Cell: cellOf(&m.Question), Bucket: bucketOf(&m.Question.Work), Scope: m.Scope, Question: q, Tally: effects.Tally{Last: m.At}}
	r.Prior = predicted(q)
	return r
}

func predicted(q perf.Question) float64 {
	a, refused := perf.Predict(q)
	if refused != nil {
		return 0
	}
	return a.Rate
}

// slim is a chip with the figures that predictions use and without their sources.
func slim(c *chip.Chip) chip.Chip {
	bare := func(f *chip.Figure) *chip.Figure {
		if f == nil {
			return nil
		}
		return &chip.Figure{Value: f.Value, Unit: f.Unit, Confidence: f.Confidence}
	}
	n := chip.Chip{ID: c.ID, Kind: c.Kind, Levels: slices.Clone(c.Levels), Memory: bare(c.Memory), Bandwidth: bare(c.Bandwidth), Flops: map[chip.Precision]*chip.Figure{}}
	for p, f := range c.Flops {
		if f != nil {
			n.Flops[p] = bare(f)
		}
	}
	if c.Link != nil {
		n.Link = &chip.Link{Figure: *bare(&c.Link.Figure), Counts: c.Link.Counts}
	}
	return n
}

func (r *Row) clone() *Row {
	n := *r
	n.Apart = slices.Clone(r.Apart)
	return &n
}

// renew computes the prior by today's formulas, so that what was measured stays what it was.
func (r *Row) renew() {
	now := predicted(r.Question)
	if r.Prior > 0 && now > 0 && now != r.Prior {
		shift := math.Log(r.Prior / now)
		r.Mean += shift
		for i := range r.Apart {
			r.Apart[i].Ratio += shift
		}
	}
	if r.Prior > 0 && now > 0 {
		r.Prior = now
	}
}

// add takes a measurement of the row's bucket in.
func (r *Row) add(m Measurement) error {
	prior := predicted(m.Question)
	if r.Prior == 0 && prior > 0 { // it can be compared from now on
		*r = *newRow(r.Key, m)
	}
	n := float64(max(1, m.Count))
	x := Apart{Count: n, Squares: n * m.Spread * m.Spread, At: m.At, By: m.By}
	if prior == 0 || r.Prior == 0 { // there is nothing to compare it with: it is shown
		if !m.At.Before(r.Last) {
			r.Rate, r.Last, r.Count = m.Rate, m.At, r.Count+n
		}
		return nil
	}
	x.Ratio = math.Log(m.Rate / prior)
	if math.IsNaN(x.Ratio) || math.IsInf(x.Ratio, 0) {
		return fault.InvalidField("rate", "rate is %g, which no work reaches.", m.Rate)
	}
	if !m.At.Before(r.Last) {
		r.Rate = m.Rate
	}
	r.Tally.Add(x, math.Abs(x.Ratio) > math.Log(effects.Outlier))
	return nil
}

// Ratio is measured over predicted in the mean; 0: nothing counts.
func (r *Row) Ratio() float64 {
	if r.Prior == 0 || r.Count == 0 {
		return 0
	}
	return math.Exp(r.Mean)
}

// Encode is the row as it is stored.
func (r *Row) Encode() ([]byte, error) { return json.Marshal(r) }

// Decode reads a stored row; the error says that it is none.
func Decode(b []byte) (Row, error) {
	var r Row
	if len(b) > 1<<16 {
		return r, fault.New(fault.TooLarge, "The row is too large to be one.")
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fault.Wrap(err, "reading a row of measurements")
	}
	bad := func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }
	if r.Key == "" || bad(r.Mean) || math.Abs(r.Mean) > 100 || !(r.Count >= 0 && r.Count < 1e15) || !(r.Squares >= 0 && r.Squares < 1e15) || !(r.Prior >= 0 && r.Prior < 1e15) ||
		len(r.Apart) > effects.KeptApart {
		return r, fault.New(fault.Invalid, "The row of measurements has numbers that cannot be.")
	}
	if _, refused := perf.Hold(r.Question); refused != nil {
		return r, fault.New(fault.Invalid, "The row of measurements has a question that cannot be.")
	}
	return r, nil
}
