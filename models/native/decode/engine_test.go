package decode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
	"github.com/triarch-ai/triarch/models/native/kernel"
	"pgregory.net/rapid"
)

// toy is a small shape with grouped heads. Its weights are scaled up so that logits differ clearly.
func toy(tied bool, seed uint64) *native.Weights {
	c := native.Config{VocabSize: 97, Dim: 48, Layers: 3, Heads: 4, KVHeads: 2, HeadDim: 16, FFN: 80, MaxContext: 160,
		RopeTheta: 10000, NormEps: 1e-5, TieEmbeddings: tied, BOS: 1, EOS: 3, PAD: 0, Arch: "llama"}
	w := native.NewWeights(c, seed)
	for _, t := range w.Tensors() {
		if len(t.Shape) == 2 {
			for i := range t.Data {
				t.Data[i] *= 6
			}
		}
	}
	return w
}

// letters gives every token a text: ids below 4 are special, the others a character or a piece of one.
func letters(id int32) []byte {
	if id < 4 {
		return nil
	}
	return []byte(string(rune('0' + id)))
}

func newEngine(t testing.TB, w *native.Weights, opt Options) *Engine {
	t.Helper()
	if opt.TokenBytes == nil {
		opt.TokenBytes = letters
	}
	if opt.Threads == 0 {
		opt.Threads = 1
	}
	e, err := New(w, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// result is what one choice gave.
type result struct {
	Tokens []int32
	Text   string
	Finish FinishReason
	Probs  []float32
}

// collect reads a stream to its end.
func collect(s *Stream, choices int) ([]result, error) {
	out := make([]result, choices)
	var ev Event
	for {
		switch err := s.Next(&ev); {
		case err == nil:
		case errors.Is(err, io.EOF):
			return out, nil
		default:
			return out, err
		}
		r := &out[ev.Index]
		if r.Finish != "" {
			return nil, fmt.Errorf("an event after the last of choice %d", ev.Index)
		}
		r.Tokens, r.Text, r.Finish = append(r.Tokens, ev.Token), r.Text+string(ev.Text), ev.Finish
		if len(ev.Top) > 0 {
			r.Probs = append(r.Probs, ev.Logprob)
		}
	}
}

func generate(t testing.TB, e *Engine, r *Request) []result {
	t.Helper()
	s, err := e.Submit(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	out, err := collect(s, len(r.Prompts)*r.choices())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func prompt(rng *rand.Rand, n int) []int32 {
	p := make([]int32, n)
	for i := range p {
		p[i] = 4 + rng.Int32N(93)
	}
	return p
}

func TestGreedyEqualsFullForward(t *testing.T) {
	for _, tied := range []bool{true, false} {
		w := toy(tied, 7)
		e := newEngine(t, w, Options{StepTokens: 33}) // prompts come in several chunks
		p := prompt(rand.New(rand.NewPCG(1, 2)), 88)  // the output crosses into another block
		got := generate(t, e, &Request{Prompts: [][]int32{p}, MaxTokens: 14, IgnoreEOS: true, Logprobs: true, TopLogprobs: 3})[0]
		tokens := p
		for i, id := range got.Tokens {
			ref := referenceLogits(w, tokens)
			best, norm := 0, 0.0
			for j, v := range ref {
				norm += math.Exp(v)
				if v > ref[best] {
					best = j
				}
			}
			if int(id) != best {
				t.Fatalf("tied %v, step %d: got token %d, the reference takes %d", tied, i, id, best)
			}
			if want := ref[best] - math.Log(norm); math.Abs(want-float64(got.Probs[i])) > 2e-4 {
				t.Fatalf("tied %v, step %d: log probability %v, want %v", tied, i, got.Probs[i], want)
			}
			tokens = append(tokens, id)
		}
		if len(got.Tokens) != 14 || got.Finish != FinishLength {
			t.Fatalf("%d tokens, finish %q", len(got.Tokens), got.Finish)
		}
	}
}

// requests draws a mixed load; every request has a seed.
func requests(rt *rapid.T) []*Request {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "rng"), 1))
	shared := prompt(rng, 80)
	all := make([]*Request, rapid.IntRange(1, 6).Draw(rt, "requests"))
	for i := range all {
		seed := rng.Uint64()
		r := &Request{N: 1 + rng.IntN(3), MaxTokens: 1 + rng.IntN(30), Sampling: Sampling{Seed: &seed}, Logprobs: true, TopLogprobs: 1}
		for range 1 + rng.IntN(2) {
			r.Prompts = append(r.Prompts, append(shared[:rng.IntN(80):80][:], prompt(rng, 1+rng.IntN(40))...))
		}
		if rng.IntN(3) > 0 {
			r.Temperature, r.TopP, r.TopK = 0.5+rng.Float64(), rng.Float64(), rng.IntN(50)
			r.PresencePenalty, r.RepetitionPenalty = rng.Float64(), 1+rng.Float64()
		}
		all[i] = r
	}
	return all
}

func TestBatchGivesWhatEachAloneGives(t *testing.T) {
	w := toy(true, 3)
	alone := newEngine(t, w, Options{MaxSeqs: 1, StepTokens: 40})
	rapid.Check(t, func(rt *rapid.T) {
		all := requests(rt)
		opt := Options{MaxSeqs: rapid.IntRange(2, 12).Draw(rt, "seqs"), StepTokens: rapid.IntRange(13, 200).Draw(rt, "step"),
			Threads: rapid.IntRange(1, 3).Draw(rt, "threads"), Buffer: rapid.IntRange(1, 8).Draw(rt, "buffer"), TokenBytes: letters,
			KVBytes: blockBytes(3, 2, 16) * int64(rapid.IntRange(5, 40).Draw(rt, "blocks"))}
		e, err := New(w, opt)
		if err != nil {
			rt.Fatal(err)
		}
		defer e.Close()
		type answer struct {
			i    int
			got  []result
			fail error
		}
		answers := make(chan answer)
		for i, r := range all {
			s, err := e.Submit(context.Background(), r)
			if err != nil {
				rt.Fatal(err)
			}
			go func() {
				got, err := collect(s, len(r.Prompts)*r.choices())
				answers <- answer{i, got, err}
			}()
		}
		for range all {
			a := <-answers
			if a.fail != nil {
				rt.Fatal(a.fail)
			}
			var want []result
			for _, p := range all[a.i].Prompts {
				one := *all[a.i]
				one.Prompts = [][]int32{p}
				want = append(want, generate(t, alone, &one)...)
			}
			if d := cmp.Diff(want, a.got); d != "" {
				rt.Fatalf("request %d, alone and in the batch: %s", a.i, d)
			}
		}
		if err := e.Drain(context.Background()); err != nil {
			rt.Fatal(err)
		}
		checkIdle(rt, e)
	})
}

// checkIdle sees to it that nothing is held once all streams have ended.
func checkIdle(t rapid.TB, e *Engine) {
	if s := e.Stats(); s.Running != 0 || s.Waiting != 0 || s.KVUsed != 0 {
		t.Fatalf("idle, but %+v", s)
	}
}

func TestSubmitRefusesWhatCannotRun(t *testing.T) {
	e := newEngine(t, toy(true, 1), Options{})
	ok := []int32{5}
	for name, c := range map[string]struct {
		r     Request
		field string
		code  string
	}{
		"no prompt":          {Request{}, "prompt", ""},
		"empty prompt":       {Request{Prompts: [][]int32{{}}}, "prompt", ""},
		"unknown token":      {Request{Prompts: [][]int32{{97}}}, "prompt", ""},
		"negative token":     {Request{Prompts: [][]int32{{-1}}}, "prompt", ""},
		"full context":       {Request{Prompts: [][]int32{make([]int32, 160)}, PromptsField: "messages"}, "messages", CodeContextLength},
		"too many choices":   {Request{Prompts: [][]int32{ok, ok}, N: 65}, "n", ""},
		"negative choices":   {Request{Prompts: [][]int32{ok}, N: -1}, "n", ""},
		"huge choices":       {Request{Prompts: [][]int32{ok, ok}, N: math.MaxInt/2 + 1}, "n", ""},
		"negative tokens":    {Request{Prompts: [][]int32{ok}, MaxTokens: -1}, "max_tokens", ""},
		"temperature":        {Request{Prompts: [][]int32{ok}, Sampling: Sampling{Temperature: 2.1}}, "temperature", ""},
		"NaN":                {Request{Prompts: [][]int32{ok}, Sampling: Sampling{Temperature: math.NaN()}}, "temperature", ""},
		"bias id":            {Request{Prompts: [][]int32{ok}, Sampling: Sampling{LogitBias: map[int32]float64{97: 1}}}, "logit_bias", ""},
		"bias":               {Request{Prompts: [][]int32{ok}, Sampling: Sampling{LogitBias: map[int32]float64{5: 101}}}, "logit_bias", ""},
		"empty stop":         {Request{Prompts: [][]int32{ok}, Stop: []string{""}}, "stop", ""},
		"long stop":          {Request{Prompts: [][]int32{ok}, Stop: []string{string(make([]byte, 5000))}}, "stop", ""},
		"stop id":            {Request{Prompts: [][]int32{ok}, StopIDs: []int32{97}}, "stop_token_ids", ""},
		"top without":        {Request{Prompts: [][]int32{ok}, TopLogprobs: 1}, "top_logprobs", ""},
		"too many top":       {Request{Prompts: [][]int32{ok}, Logprobs: true, TopLogprobs: 21}, "top_logprobs", ""},
		"repetition penalty": {Request{Prompts: [][]int32{ok}, Sampling: Sampling{RepetitionPenalty: -1}}, "repetition_penalty", ""},
	} {
		_, err := e.Submit(t.Context(), &c.r)
		if f := fault.As(err); err == nil || f.Kind != fault.Invalid || f.Field != c.field || f.Code != c.code {
			t.Errorf("%s: %v (field %q, code %q)", name, err, f.Field, f.Code)
		}
	}
	if got := generate(t, e, &Request{Prompts: [][]int32{make([]int32, 159)}, MaxTokens: 50})[0]; len(got.Tokens) != 1 || got.Finish != FinishLength {
		t.Errorf("a prompt one short of the context gave %+v", got)
	}
}

func TestAllKernelsGiveOneAnswerAloneAndTogether(t *testing.T) {
	before := kernel.Name()
	t.Cleanup(func() { kernel.Select(before) })
	for _, name := range kernel.Names() {
		if err := kernel.Select(name); err != nil {
			t.Fatal(err)
		}
		w := toy(false, 11)
		rng := rand.New(rand.NewPCG(9, 9))
		prompts := make([][]int32, 20) // more rows than any tile has
		for i := range prompts {
			prompts[i] = prompt(rng, 1+rng.IntN(90))
		}
		together := generate(t, newEngine(t, w, Options{Threads: 3, StepTokens: 77}), &Request{Prompts: prompts, MaxTokens: 25, Logprobs: true, TopLogprobs: 1})
		alone := newEngine(t, w, Options{MaxSeqs: 1, StepTokens: 2}) // prompts token by token
		for i, p := range prompts {
			if d := cmp.Diff(generate(t, alone, &Request{Prompts: [][]int32{p}, MaxTokens: 25, Logprobs: true, TopLogprobs: 1})[0], together[i]); d != "" {
				t.Fatalf("%s, prompt %d, alone and together: %s", name, i, d)
			}
		}
	}
}

func TestSeedsAndChoices(t *testing.T) {
	e := newEngine(t, toy(true, 2), Options{})
	seed, p := uint64(42), []int32{5, 6, 7}
	r := func() *Request {
		return &Request{Prompts: [][]int32{p}, N: 4, MaxTokens: 30, IgnoreEOS: true, Sampling: Sampling{Temperature: 1.5, Seed: &seed}}
	}
	a, b := generate(t, e, r()), generate(t, e, r())
	if d := cmp.Diff(a, b); d != "" {
		t.Errorf("the same seed: %s", d)
	}
	if cmp.Equal(a[0], a[1]) || cmp.Equal(a[2], a[3]) {
		t.Error("choices of one request are alike")
	}
	seed++
	if cmp.Equal(a, generate(t, e, r())) {
		t.Error("another seed gave the same")
	}
}

func TestEndOfSequence(t *testing.T) {
	e := newEngine(t, toy(true, 2), Options{})
	bias := Sampling{LogitBias: map[int32]float64{3: 100}}
	end := generate(t, e, &Request{Prompts: [][]int32{{5}}, MaxTokens: 9, Sampling: bias})[0]
	if d := cmp.Diff(result{Tokens: []int32{3}, Finish: FinishStop}, end); d != "" {
		t.Errorf("end of sequence: %s", d)
	}
	if got := generate(t, e, &Request{Prompts: [][]int32{{5}}, MaxTokens: 9, Sampling: bias, IgnoreEOS: true})[0]; len(got.Tokens) != 9 || got.Finish != FinishLength {
		t.Errorf("ignoring it: %+v", got)
	}
	bias.LogitBias = map[int32]float64{9: 100}
	if got := generate(t, e, &Request{Prompts: [][]int32{{5}}, MaxTokens: 9, Sampling: bias, StopIDs: []int32{9}})[0]; len(got.Tokens) != 1 || got.Text != "" || got.Finish != FinishStop {
		t.Errorf("a stop id: %+v", got)
	}
	if got := generate(t, e, &Request{Prompts: [][]int32{{5}}, MaxTokens: 9, Sampling: bias, Stop: []string{"999"}})[0]; len(got.Tokens) != 3 || got.Text != "" || got.Finish != FinishStop {
		t.Errorf("a stop string of three tokens: %+v", got)
	}
	if got := generate(t, e, &Request{Prompts: [][]int32{{5}}, MaxTokens: 2, Sampling: bias, Stop: []string{"999"}})[0]; got.Text != "99" || got.Finish != FinishLength {
		t.Errorf("a stop string never completed: %+v", got)
	}
}

func TestPromptsDoNotHoldUpGeneration(t *testing.T) {
	e := newEngine(t, toy(true, 2), Options{StepTokens: 33})
	generate(t, e, &Request{Prompts: [][]int32{{5}, prompt(rand.New(rand.NewPCG(1, 1)), 150)}, MaxTokens: 60, IgnoreEOS: true})
	if s := e.Stats(); s.Steps != 60 { // the first sequence has a token in every step, those that read the long prompt included
		t.Errorf("%d steps for 60 tokens", s.Steps)
	}
}

func TestPrefixesAreFoundAgain(t *testing.T) {
	e := newEngine(t, toy(true, 2), Options{})
	p := prompt(rand.New(rand.NewPCG(1, 1)), 100)
	first := generate(t, e, &Request{Prompts: [][]int32{p}, MaxTokens: 20, IgnoreEOS: true})
	again := generate(t, e, &Request{Prompts: [][]int32{p}, MaxTokens: 20, IgnoreEOS: true})
	if d := cmp.Diff(first, again); d != "" {
		t.Errorf("computed and found: %s", d)
	}
	generate(t, e, &Request{Prompts: [][]int32{append(p[:40:40], 9)}, MaxTokens: 1})
	generate(t, e, &Request{Prompts: [][]int32{append([]int32{9}, p...)}, MaxTokens: 1})
	before := e.Stats()
	elsewhere := generate(t, e, &Request{Prompts: [][]int32{p}, MaxTokens: 20, IgnoreEOS: true, Scope: "another"})
	if d := cmp.Diff(first, elsewhere); d != "" || e.Stats().CachedTokens != before.CachedTokens {
		t.Errorf("another scope found %d tokens; %s", e.Stats().CachedTokens-before.CachedTokens, d)
	}
	if s := before; s.CachedTokens != 96+32 || s.PromptTokens != 100+100+41+101 || s.GeneratedTokens != 42 {
		t.Errorf("%+v", s)
	}
}

// blocked submits a request whose reader does not read: it holds its place until its stream is closed.
func blocked(t *testing.T, e *Engine, ctx context.Context) *Stream {
	t.Helper()
	s, err := e.Submit(ctx, &Request{Prompts: [][]int32{{5}}, MaxTokens: 100, IgnoreEOS: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheQueueIsBoundedAndFair(t *testing.T) {
	e := newEngine(t, toy(true, 2), Options{MaxSeqs: 1, MaxWaiting: 3, Buffer: 1})
	first := blocked(t, e, t.Context())
	var ev Event
	if err := first.Next(&ev); err != nil { // it runs
		t.Fatal(err)
	}
	var queue []*Stream
	for range 3 {
		queue = append(queue, blocked(t, e, t.Context()))
	}
	if s := e.Stats(); s.Waiting != 3 || s.Running != 1 {
		t.Errorf("%+v", s)
	}
	if _, err := e.Submit(t.Context(), &Request{Prompts: [][]int32{{5}}}); !fault.Is(err, fault.Unavailable) || fault.As(err).Code != "overloaded" {
		t.Errorf("a fourth in a queue of three: %v", err)
	}
	first.Close()
	for _, s := range queue { // any other order would stall: a sequence with an absent reader keeps the only slot
		if _, err := collect(s, 1); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCancelFreesSlotAndCache(t *testing.T) {
	e := newEngine(t, toy(true, 2), Options{MaxSeqs: 2, Buffer: 1})
	ctx, cancel := context.WithCancel(t.Context())
	a, b := blocked(t, e, ctx), blocked(t, e, t.Context())
	waiting, stop := context.WithCancel(t.Context())
	c := blocked(t, e, waiting)
	stop() // from the queue
	var ev Event
	if err := c.Next(&ev); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while waiting: %v", err)
	}
	cancel()
	for err := error(nil); !errors.Is(err, context.Canceled); err = a.Next(&ev) {
		if err != nil {
			t.Fatalf("cancelled while running: %v", err)
		}
	}
	b.Close()
	for err := error(nil); !fault.Is(err, fault.Canceled); err = b.Next(&ev) {
		if err != nil {
			t.Fatalf("closed while running: %v", err)
		}
	}
	if err := e.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkIdle(t, e)
	if got := e.Stats().GeneratedTokens; got > 10 { // of 200; a step may be under way while a reader leaves
		t.Errorf("%d tokens for readers that were gone", got)
	}
}

func TestDrainAndClose(t *testing.T) {
	e := newEngine(t, toy(true, 2), Options{MaxSeqs: 1, Buffer: 1})
	running, queued := blocked(t, e, t.Context()), blocked(t, e, t.Context())
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Drain(short); !errors.Is(err, context.Canceled) {
		t.Errorf("a grace period that is over: %v", err)
	}
	if _, err := e.Submit(t.Context(), &Request{Prompts: [][]int32{{5}}}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("while draining: %v", err)
	}
	drained := make(chan error)
	go func() { drained <- e.Drain(t.Context()) }()
	if got, err := collect(running, 1); err != nil || len(got[0].Tokens) != 100 {
		t.Errorf("a stream while draining: %v", err)
	}
	e.Close()
	<-drained
	if _, err := collect(queued, 1); !fault.Is(err, fault.Unavailable) {
		t.Errorf("after the end: %v", err)
	}
	e.Close()
}

func TestABrokenModelEndsTheStream(t *testing.T) {
	w := toy(true, 2)
	w.Norm[3] = float32(math.NaN())
	e := newEngine(t, w, Options{})
	s, err := e.Submit(t.Context(), &Request{Prompts: [][]int32{{5}}, N: 3, Sampling: Sampling{Temperature: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := collect(s, 3); !fault.Is(err, fault.Internal) || fault.As(err).Code != "not_a_number" {
		t.Errorf("%v", err)
	}
	if err := e.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkIdle(t, e)
}

func TestOptions(t *testing.T) {
	for name, opt := range map[string]Options{
		"kv_bytes":    {KVBytes: 1000, MaxContext: 160},
		"max_context": {MaxContext: 161},
		"step_tokens": {StepTokens: 32},
		"max_seqs":    {MaxSeqs: -1},
		"threads":     {Threads: 5000},
	} {
		opt.TokenBytes = letters
		if _, err := New(toy(true, 1), opt); !fault.Is(err, fault.Invalid) || fault.As(err).Field != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestContextAndMemoryFitEachOther(t *testing.T) {
	block := blockBytes(3, 2, 16)
	for _, c := range []struct {
		opt     Options
		context int
	}{
		{Options{}, 160}, {Options{MaxContext: 50}, 50}, {Options{KVBytes: 3*block + 7}, 96}, {Options{KVBytes: 3 * block, MaxContext: 96}, 96},
		{Options{KVBytes: 3 * block, MaxContext: 97}, 0}, {Options{KVBytes: block - 1}, 0},
	} {
		c.opt.TokenBytes = letters
		e, err := New(toy(true, 1), c.opt)
		if c.context == 0 {
			if fault.As(err).Field != "kv_bytes" {
				t.Errorf("%+v: %v", c.opt, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.MaxContext() != c.context {
			t.Errorf("%d bytes, %d asked for: a context of %d, want %d", c.opt.KVBytes, c.opt.MaxContext, e.MaxContext(), c.context)
		}
		if got := generate(t, e, &Request{Prompts: [][]int32{{5}}, IgnoreEOS: true})[0]; len(got.Tokens) != c.context-1 {
			t.Errorf("a context of %d gave %d tokens", c.context, len(got.Tokens))
		}
		e.Close()
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	e := newEngine(t, toy(true, 2), Options{})
	s, err := e.Submit(t.Context(), &Request{Prompts: [][]int32{{5}}, N: 3, IgnoreEOS: true, Logprobs: true, TopLogprobs: 5,
		Sampling: Sampling{Temperature: 1, TopP: 0.9, PresencePenalty: 0.1}, Stop: []string{"stop"}})
	if err != nil {
		t.Fatal(err)
	}
	var ev Event
	next := func() {
		if err := s.Next(&ev); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 { // all buffers of the ring have grown
		next()
	}
	if n := testing.AllocsPerRun(100, next); n > 0 {
		t.Errorf("%v allocations for a token", n)
	}
}

// TestReadersComeAndGo cancels and reads at random and sees that nothing is left over and nobody waits for ever.
func TestReadersComeAndGo(t *testing.T) {
	w := toy(true, 3)
	rapid.Check(t, func(rt *rapid.T) {
		e, err := New(w, Options{Threads: 2, MaxSeqs: rapid.IntRange(1, 6).Draw(rt, "seqs"), MaxWaiting: 1000, Buffer: 2, TokenBytes: letters,
			KVBytes: blockBytes(3, 2, 16) * int64(rapid.IntRange(5, 12).Draw(rt, "blocks"))})
		if err != nil {
			rt.Fatal(err)
		}
		defer e.Close()
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "rng"), 5))
		var readers sync.WaitGroup
		for range 12 {
			r := &Request{Prompts: [][]int32{prompt(rng, 1+rng.IntN(100))}, N: 1 + rng.IntN(3), MaxTokens: 1 + rng.IntN(20)}
			ctx, cancel := context.WithCancel(context.Background())
			s, err := e.Submit(ctx, r)
			if err != nil {
				rt.Fatal(err)
			}
			patience, how := rng.IntN(40), rng.IntN(3)
			readers.Go(func() {
				defer cancel()
				var ev Event
				for range patience {
					if s.Next(&ev) != nil {
						return
					}
				}
				switch how {
				case 0:
					cancel()
				case 1:
					s.Close()
				default:
					for s.Next(&ev) == nil {
					}
				}
			})
		}
		readers.Wait()
		if err := e.Drain(context.Background()); err != nil {
			rt.Fatal(err)
		}
		checkIdle(rt, e)
	})
}

// Answers are the same to the last bit whether the beginning of a prompt was computed, found, or thrown out in between.
func TestAnswersDoNotDependOnWhatTheCacheKnew(t *testing.T) {
	w := toy(true, 2)
	ask := func(e *Engine, kind, seed uint64) []result {
		p := append(prompt(rand.New(rand.NewPCG(kind, 1)), 64+int(kind)), 7) // several share each beginning
		p = append(p, prompt(rand.New(rand.NewPCG(seed, 2)), 5)...)
		return generate(t, e, &Request{Prompts: [][]int32{p}, N: 2, MaxTokens: 12, IgnoreEOS: true, Logprobs: true, TopLogprobs: 5,
			Sampling: Sampling{Temperature: 1, Seed: &seed}})
	}
	small := int64(0)
	for kv := range 2 { // room for all, and room for little more than one
		e := newEngine(t, w, Options{KVBytes: small, MaxSeqs: 2})
		for round := range uint64(3) {
			for kind := range uint64(4) {
				seed := round*10 + kind
				fresh := newEngine(t, w, Options{})
				if d := cmp.Diff(ask(fresh, kind, seed), ask(e, kind, seed)); d != "" {
					t.Fatalf("cache %d, round %d, prompt %d: %s", kv, round, kind, d)
				}
				fresh.Close()
			}
		}
		if s := e.Stats(); s.CachedTokens == 0 && kv == 0 {
			t.Error("nothing was found in the cache")
		}
		small = blockBytes(w.Config.Layers, w.Config.KVHeads, w.Config.HeadDim) * 7
	}
}
