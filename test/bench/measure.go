//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// engine is a process that answers rounds.
type engine struct {
	name string
	cmd  *exec.Cmd
	in   *json.Encoder
	out  *json.Decoder
}

// open starts an engine on one thread and waits until it is ready. dir holds the inputs.
func open(ctx context.Context, name string, argv ...string) (*engine, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "MKL_NUM_THREADS=1", "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	e := &engine{name: name, cmd: cmd, in: json.NewEncoder(in), out: json.NewDecoder(bufio.NewReader(out))}
	var r reply
	if err := e.out.Decode(&r); err != nil {
		e.close()
		return nil, fmt.Errorf("%s did not start: %w", name, err)
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", name, r.Ready)
	return e, nil
}

func (e *engine) close() {
	_ = e.cmd.Process.Kill() // it holds nothing worth saving
	_ = e.cmd.Wait()
}

func (e *engine) round(j job) (reply, error) {
	var r reply
	err := e.in.Encode(j)
	if err == nil {
		err = e.out.Decode(&r)
	}
	if err == nil && (r.Seconds <= 0 || r.Tokens <= 0) {
		err = fmt.Errorf("it took %g CPU-s for %d tokens", r.Seconds, r.Tokens)
	}
	if err != nil {
		return r, fmt.Errorf("%s: %w", e.name, err)
	}
	return r, nil
}

// side is one of the things compared: an engine and how it does a round's work.
type side struct {
	name   string
	engine *engine
	alter  func(job) job // nil for the work as it is
}

// contest lets every side do each round's work, in an order that turns round by round, after a round to warm up.
func contest(rounds int, sides []side, work func() job) (rates map[string][]float64, err error) {
	rates = map[string][]float64{}
	for round := range rounds + 1 {
		j, losses := work(), map[string][]float64{}
		for i := range sides {
			s := sides[(i+round)%len(sides)]
			mine := j
			if s.alter != nil {
				mine = s.alter(j)
			}
			r, err := s.engine.round(mine)
			if err != nil {
				return nil, err
			}
			losses[s.name] = r.Losses
			if round > 0 {
				rates[s.name] = append(rates[s.name], float64(r.Tokens)/r.Seconds)
			}
		}
		if err := agree(round, losses, sides[0].name); err != nil {
			return nil, err
		}
	}
	return rates, nil
}

// agree makes sure that the trainers do the same work: their losses stay close in the first rounds.
func agree(round int, losses map[string][]float64, ours string) error {
	if round > 1 {
		return nil
	}
	for name, theirs := range losses {
		for i, x := range theirs {
			if d := math.Abs(x - losses[ours][i]); d > 2e-3 {
				return fmt.Errorf("%s has a loss of %.4f where %s has %.4f: this is not the same work", name, x, ours, losses[ours][i])
			}
		}
	}
	return nil
}

// figure is a line of the table.
type figure struct {
	What   string  `json:"what"`
	Unit   string  `json:"unit"`
	Ours   float64 `json:"ours"`
	Peer   string  `json:"peer,omitempty"`
	Theirs float64 `json:"theirs,omitempty"`
	Ratio  float64 `json:"ratio,omitempty"`
	Low    float64 `json:"ratio_quartile_low,omitempty"`
	High   float64 `json:"ratio_quartile_high,omitempty"`
	Target string  `json:"target,omitempty"`
	Met    *bool   `json:"met,omitempty"`
}

// against makes a figure of two sides' rounds; atLeast is the target, 0 for none.
func against(what string, ours, theirs []float64, peer string, atLeast float64) figure {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / theirs[i]
	}
	f := figure{What: what, Unit: "tok/CPU-s", Ours: quantile(ours, 0.5), Peer: peer, Theirs: quantile(theirs, 0.5),
		Ratio: quantile(ratios, 0.5), Low: quantile(ratios, 0.25), High: quantile(ratios, 0.75)}
	if atLeast > 0 {
		met := f.Ratio >= atLeast
		f.Target, f.Met = fmt.Sprintf(">= %.1f", atLeast), &met
	}
	return f
}

// quantile interpolates between the values around q of the way.
func quantile(v []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(v))
	at := q * float64(len(s)-1)
	lo := int(at)
	hi := min(lo+1, len(s)-1)
	return s[lo] + (at-float64(lo))*(s[hi]-s[lo])
}

func measureTraining(ctx context.Context, s settings, dir string) ([]figure, error) {
	ours, err := open(ctx, "native", os.Args[0], "native", dir)
	if err != nil {
		return nil, err
	}
	defer ours.close()
	sides := []side{{name: "native", engine: ours}}
	peers := []struct {
		name, python string
		target       float64
	}{{"Debian's PyTorch, eager", s.debian, 1}, {"newest PyTorch, eager", s.python, 0}}
	for _, p := range peers {
		e, err := open(ctx, p.name, p.python, filepath.Join(s.root, "test/bench/pytorch.py"), dir)
		if err != nil {
			return nil, err
		}
		defer e.close()
		sides = append(sides, side{name: p.name, engine: e})
	}
	rates, err := contest(s.rounds, sides, func() job { return job{What: "train", N: 2} })
	if err != nil {
		return nil, err
	}
	var out []figure
	for _, p := range peers {
		out = append(out, against("training, 8 x 256 tokens", rates["native"], rates[p.name], p.name, p.target))
	}
	return out, nil
}

func measureServing(ctx context.Context, s settings, dir string) ([]figure, error) {
	ours, err := open(ctx, "native", os.Args[0], "native", dir)
	if err != nil {
		return nil, err
	}
	defer ours.close()
	llama, err := open(ctx, "llama.cpp", s.python, filepath.Join(s.root, "test/parity/llamacpp.py"), filepath.Join(dir, "model.gguf"))
	if err != nil {
		return nil, err
	}
	defer llama.close()
	flash := func(j job) job { j.Flash = true; return j }
	sides := []side{{name: "native", engine: ours}, {name: "llama.cpp", engine: llama}, {name: "llama.cpp, flash attention", engine: llama, alter: flash}}
	r := rand.New(rand.NewPCG(2, 2))
	decode, err := contest(s.rounds, sides, func() job { return job{What: "decode", N: 239, Prompts: prompts(r, 2, 1)} })
	if err != nil {
		return nil, err
	}
	prefill, err := contest(s.rounds, sides, func() job { return job{What: "prefill", Prompts: prompts(r, 8, 240)} })
	if err != nil {
		return nil, err
	}
	// The same eight prompts one after the other and all at once.
	one := func(j job) job { j.What, j.Prompts = "decode", j.Prompts[:2]; return j }
	batch, err := contest(s.rounds, []side{{name: "eight", engine: ours}, {name: "one", engine: ours, alter: one}},
		func() job { return job{What: "together", N: 239, Prompts: prompts(r, 8, 1)} })
	if err != nil {
		return nil, err
	}
	return []figure{
		faster("decode, one sequence", decode, 1), faster("prefill, 240 tokens", prefill, 0.8),
		against("decode, eight sequences together", batch["eight"], batch["one"], "native, one sequence", 4),
	}, nil
}

// measureForms compares decoding kept to a form with free decoding, by the token.
func measureForms(ctx context.Context, s settings, dir string) ([]figure, error) {
	ours, err := open(ctx, "native", os.Args[0], "native", dir)
	if err != nil {
		return nil, err
	}
	defer ours.close()
	free := func(j job) job { j.What = "free"; return j }
	r := rand.New(rand.NewPCG(3, 3))
	var out []figure
	for _, together := range []int{1, 8} {
		rates, err := contest(s.rounds, []side{{name: "form", engine: ours}, {name: "free", engine: ours, alter: free}},
			func() job { return job{What: "form", N: 240, Prompts: prompts(r, together, 1)} })
		if err != nil {
			return nil, err
		}
		out = append(out, against(fmt.Sprintf("decode kept to a grammar, batch %d", together), rates["form"], rates["free"], "native, any text", 0.9))
	}
	return out, nil
}

// faster compares with the faster of llama.cpp's two ways of attention.
func faster(what string, rates map[string][]float64, atLeast float64) figure {
	peer := "llama.cpp"
	if name := "llama.cpp, flash attention"; quantile(rates[name], 0.5) > quantile(rates[peer], 0.5) {
		peer = name
	}
	return against(what, rates["native"], rates[peer], peer+", F32 GGUF and K/V", atLeast)
}

// measureGateway runs the gateway's own rig.
func measureGateway(ctx context.Context, s settings) ([]figure, error) {
	cmd := exec.CommandContext(ctx, s.gateway, "run", "-json", "-c", "64", "-held", "0", "-rounds", fmt.Sprint(s.rounds))
	cmd.Stderr = os.Stderr
	raw, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("the gateway's rig: %w", err)
	}
	var out []figure
	for line := range slices.Values(splitLines(raw)) {
		var g struct {
			What    string
			Gateway float64 `json:"gateway_cpu_seconds_per_1000"`
			Proxy   float64 `json:"proxy_cpu_seconds_per_1000"`
			Ratio   float64
			Target  float64
			Met     bool
		}
		if err := json.Unmarshal(line, &g); err != nil {
			return nil, err
		}
		f := figure{What: "gateway, " + g.What, Unit: "CPU-ms/1,000", Ours: g.Gateway * 1000, Peer: "httputil.ReverseProxy, tuned", Theirs: g.Proxy * 1000, Ratio: g.Ratio}
		f.Target, f.Met = "the control's spread", &g.Met
		if g.Target > 0 {
			f.Target = fmt.Sprintf("<= %.1f", g.Target)
		}
		out = append(out, f)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the gateway's rig printed nothing")
	}
	return out, nil
}
