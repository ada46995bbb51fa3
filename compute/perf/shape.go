package perf

import "math"

// Experts is the part of a model whose layers choose among feed-forward networks for each token.
type Experts struct {
	Count  int  `json:"count"`
	Active int  `json:"active"`           // chosen for a token
	Shared int  `json:"shared,omitempty"` // used by every token, of the same width
	Width  int  `json:"width"`            // of one expert's feed-forward network
	Dense  int  `json:"dense,omitempty"`  // layers at the beginning without experts
	Bias   bool `json:"bias,omitempty"`   // the router has a bias for each expert
}

// Latent is attention whose keys and values are kept as one short vector (MLA of DeepSeek-V2, arXiv 2405.04434).
type Latent struct {
	Query int `json:"query"` // rank of the queries; 0: they are not compressed
	Keys  int `json:"keys"`  // rank of keys and values together
	Plain int `json:"plain"` // width of a head without rotation
	Rotor int `json:"rotor"` // width of the rotated part, shared by the heads in keys
	Value int `json:"value"` // width of a head's values
}

// Shape is what of a decoder-only transformer counts for size and speed. Counts of parameters are exact for the
// families that Shapes lists.
type Shape struct {
	Name      string   `json:"name"`
	Layers    int      `json:"layers"`
	Width     int      `json:"width"`
	Heads     int      `json:"heads"`
	KVHeads   int      `json:"kv_heads"`
	Head      int      `json:"head"`  // width of one head
	Inner     int      `json:"inner"` // width of the feed-forward network
	Vocab     int      `json:"vocab"`
	Positions int      `json:"positions,omitempty"` // learnt positions
	Tied      bool     `json:"tied,omitempty"`      // one table for input and output
	Plain     bool     `json:"plain,omitempty"`     // two matrices in the feed-forward network instead of three
	Biases    bool     `json:"biases,omitempty"`    // every product and norm has a bias, as in GPT
	QKVBias   bool     `json:"qkv_bias,omitempty"`
	QKNorm    bool     `json:"qk_norm,omitempty"`
	Window    int      `json:"window,omitempty"`  // tokens that a local layer's attention sees
	Local     int      `json:"local,omitempty"`   // layers whose attention sees a window alone
	Encoder   bool     `json:"encoder,omitempty"` // attention sees the whole sequence; nothing is generated, and no cache is kept
	More      int64    `json:"more,omitempty"`    // parameters beyond those that the other fields count, such as more norms in a layer; less than zero: fewer
	Experts   *Experts `json:"experts,omitempty"`
	Latent    *Latent  `json:"latent,omitempty"`
}

// limit keeps products of sizes within int64: no model of today comes near it.
const limit = 1 << 24

// Check refuses a shape that no model has, naming the field.
func (s Shape) Check() *Refusal {
	for _, f := range []struct {
		name string
		n    int
		zero bool
	}{{"layers", s.Layers, false}, {"width", s.Width, false}, {"heads", s.Heads, false}, {"kv_heads", s.KVHeads, false},
		{"head", s.Head, false}, {"inner", s.Inner, s.Experts != nil}, {"vocab", s.Vocab, false}, {"positions", s.Positions, true}} {
		if f.n < 0 || f.n > limit || f.n == 0 && !f.zero {
			return invalid("shape."+f.name, "%d is no size of a model", f.n)
		}
	}
	if s.Layers > 100_000 {
		return invalid("shape.layers", "%d is no size of a model", s.Layers)
	}
	if s.KVHeads > s.Heads || s.Heads%s.KVHeads != 0 {
		return invalid("shape.kv_heads", "%d heads cannot share %d", s.Heads, s.KVHeads)
	}
	if e := s.Experts; e != nil && (e.Count < 1 || e.Count > limit || e.Active < 1 || e.Active > e.Count || e.Shared < 0 || e.Shared > limit || e.Width < 1 || e.Width > limit ||
		e.Dense < 0 || e.Dense > s.Layers || e.Dense > 0 && s.Inner == 0) {
		return invalid("shape.experts", "%+v is not possible", *e)
	}
	if s.Window < 0 || s.Window > limit || s.Local < 0 || s.Local > s.Layers || s.Local > 0 && s.Window == 0 {
		return invalid("shape.window", "%d layers cannot see %d tokens", s.Local, s.Window)
	}
	if l := s.Latent; l != nil && (l.Query < 0 || min(l.Keys, l.Plain, l.Rotor, l.Value) < 1 || max(l.Query, l.Keys, l.Plain, l.Rotor, l.Value) > limit) {
		return invalid("shape.latent", "%+v is not possible", *l)
	}
	if n := s.rough(); n > most {
		return invalid("shape", "%.0g parameters are no size of a model", n)
	}
	if s.More < -limit*limit || s.More > limit*limit || s.count(0) < 1 {
		return invalid("shape.more", "%d parameters more are not possible", s.More)
	}
	return nil
}

// most keeps counts of parameters, operations and bytes within int64.
const most = 1e15

// rough is no fewer than the parameters, in a form that cannot overflow.
func (s Shape) rough() float64 {
	d, wide := float64(s.Width), float64(s.Inner)
	if e := s.Experts; e != nil {
		wide += float64(e.Width) * (float64(e.Count) + float64(e.Shared))
	}
	heads := 2 * (float64(s.Heads) + float64(s.KVHeads)) * float64(s.Head)
	if l := s.Latent; l != nil {
		h := float64(s.Heads)
		parts := float64(l.Plain) + float64(l.Rotor) + float64(l.Value)
		heads += h*parts + float64(l.Query) + float64(l.Keys) + float64(l.Rotor)
		wide += h * parts * (float64(l.Query) + float64(l.Keys)) / d
	}
	return (d+2)*(float64(s.Layers)*(heads+3*wide+8)+2*float64(s.Vocab)+float64(s.Positions)+1) + math.Abs(float64(s.More))
}

// attention counts the parameters of one layer's attention without its norm.
func (s Shape) attention() int64 {
	d := int64(s.Width)
	if l := s.Latent; l != nil {
		h, q, k := int64(s.Heads), int64(l.Query), int64(l.Keys)
		plain, rotor, value := int64(l.Plain), int64(l.Rotor), int64(l.Value)
		queries := d*q + q + q*h*(plain+rotor)
		if q == 0 {
			queries = d * h * (plain + rotor)
		}
		return queries + d*(k+rotor) + k + k*h*(plain+value) + h*value*d
	}
	q, kv := int64(s.Heads)*int64(s.Head), int64(s.KVHeads)*int64(s.Head)
	n := d*(q+2*kv) + q*d
	if s.Biases {
		n += q + 2*kv + d
	} else if s.QKVBias {
		n += q + 2*kv
	}
	if s.QKNorm {
		n += 2 * int64(s.Head)
	}
	return n
}

// forward counts the parameters of one feed-forward network of a width.
func (s Shape) forward(width int) int64 {
	d, f := int64(s.Width), int64(width)
	matrices := int64(3)
	if s.Plain {
		matrices = 2
	}
	n := matrices * d * f
	if s.Biases {
		n += (matrices-1)*f + d
	}
	return n
}

func (s Shape) norm() int64 {
	if s.Biases {
		return 2 * int64(s.Width)
	}
	return int64(s.Width)
}

// experts counts the layers with experts, and the parameters of one expert.
func (s Shape) experts() (layers, each int64) {
	if s.Experts == nil {
		return 0, 0
	}
	return int64(s.Layers - s.Experts.Dense), s.forward(s.Experts.Width)
}

func (s Shape) table() int64 { return int64(s.Vocab) * int64(s.Width) }

// count adds up the parameters with so many experts in each layer that has some.
func (s Shape) count(experts int) int64 {
	n := s.More + s.table() + int64(s.Positions)*int64(s.Width) + s.norm()
	if !s.Tied {
		n += s.table()
	}
	n += int64(s.Layers) * (s.attention() + 2*s.norm())
	sparse, each := s.experts()
	n += (int64(s.Layers) - sparse) * s.forward(s.Inner)
	if e := s.Experts; e != nil {
		router := int64(s.Width) * int64(e.Count)
		if e.Bias {
			router += int64(e.Count)
		}
		n += sparse * (each*int64(experts+e.Shared) + router)
	}
	return n
}

// Parameters is the number of the model's parameters.
func (s Shape) Parameters() int64 {
	if s.Experts == nil {
		return s.count(0)
	}
	return s.count(s.Experts.Count)
}

// Active is the number of parameters that one token uses, both tables among them.
func (s Shape) Active() int64 {
	if s.Experts == nil {
		return s.count(0)
	}
	return s.count(s.Experts.Active)
}

// multiplied is the number of parameters that a token is multiplied with: the active ones without the table of inputs,
// which is looked up.
func (s Shape) multiplied() float64 {
	n := s.Active() - int64(s.Positions)*int64(s.Width)
	if !s.Tied || s.Encoder {
		n -= s.table()
	}
	return float64(n)
}

// Flops is what the forward pass takes for one token that attends to so many: two for each parameter it meets, and
// four for each number of queries and values in attention (arXiv 2001.08361 counts 2N and 6N with the backward pass;
// mosaicml/llm-foundry scripts/train/benchmarking/README.md writes the attention's part).
func (s Shape) Flops(attended float64) float64 {
	width := 2 * float64(s.Heads*s.Head)
	if l := s.Latent; l != nil {
		width = float64(s.Heads * (l.Plain + l.Rotor + l.Value))
	}
	return 2*s.multiplied() + 2*width*s.seen(attended)
}

// seen adds up over the layers how many tokens attention sees where there are so many.
func (s Shape) seen(tokens float64) float64 {
	return float64(s.Layers-s.Local)*tokens + float64(s.Local)*min(tokens, float64(s.Window))
}

// CacheNumbers is how many numbers of one token the KV cache holds in all layers: keys and values of each KV head, or
// the latent vector and the rotated part. Layers with a window hold no more than its tokens, see Cached.
func (s Shape) CacheNumbers() float64 {
	return float64(s.Layers) * s.layerCache()
}

// Cached is how many numbers the KV cache holds for a sequence of so many tokens.
func (s Shape) Cached(tokens float64) float64 { return s.seen(tokens) * s.layerCache() }

func (s Shape) layerCache() float64 {
	switch l := s.Latent; {
	case s.Encoder:
		return 0
	case l != nil:
		return float64(l.Keys + l.Rotor)
	}
	return 2 * float64(s.KVHeads) * float64(s.Head)
}

// met is how many parameters a batch of tokens meets in the mean when each chooses its experts evenly: all that are
// not experts, and of the experts those that at least one token chose.
func (s Shape) met(tokens float64) float64 {
	sparse, each := s.experts()
	if sparse == 0 {
		return float64(s.Parameters())
	}
	e := s.Experts
	hit := float64(e.Count) * (1 - power(1-float64(e.Active)/float64(e.Count), tokens))
	return float64(s.count(0)) + float64(sparse*each)*hit
}
