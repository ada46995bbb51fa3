package measured

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/compute/perf/effects"
)

var today = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func newBook() *Book { return &Book{Now: func() time.Time { return today }} }

func h100(t testing.TB) chip.Chip {
	c, err := chip.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	x, err := c.Find("nvidia-h100-sxm")
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func question(t testing.TB, shape string, batch, context int) perf.Question {
	s, ok := perf.Named(shape)
	if !ok {
		t.Fatal(shape)
	}
	return perf.Question{Shape: s, Chip: h100(t), Work: perf.Work{Task: perf.Decode, Engine: "vllm", Precision: chip.BF16, Batch: batch, Context: context}}
}

func answer(t testing.TB, q perf.Question) perf.Answer {
	a, r := perf.Predict(q)
	if r != nil {
		t.Fatal(r)
	}
	return a
}

// told is a measurement so many times its prior.
func told(t testing.TB, q perf.Question, ratio float64, by string, at time.Time) Measurement {
	return Measurement{Question: q, Rate: answer(t, q).Rate * ratio, At: at, By: by}
}

func factor(t testing.TB, b *Book, q perf.Question) float64 {
	a := answer(t, q)
	return b.Correct(q, a).Rate / a.Rate
}

func add(t testing.TB, b *Book, ms ...Measurement) {
	t.Helper()
	for _, m := range ms {
		if err := b.Add(m); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNearerWorkCountsMore(t *testing.T) {
	b := newBook()
	q := question(t, "llama-3-8b", 8, 1024)
	if a := answer(t, q); b.Correct(q, a).Known != perf.Prior || b.Correct(q, a).Rate != a.Rate {
		t.Error("an empty book corrected")
	}
	for range 8 {
		add(t, b, told(t, q, 1.6, "run", today))
	}
	same := factor(t, b, q)
	bucket := factor(t, b, question(t, "llama-3-8b", 64, 1024))
	cell := factor(t, b, question(t, "llama-2-13b", 8, 1024))
	other := question(t, "llama-3-8b", 8, 1024)
	other.Work.Engine = "sglang"
	if !(same > 1.55 && same <= 1.6 && bucket > 1.2 && bucket < same && cell > 1.05 && cell < bucket) || factor(t, b, other) != 1 {
		t.Errorf("same %.3f, other batch %.3f, other shape %.3f, other engine %.3f", same, bucket, cell, factor(t, b, other))
	}
	a := b.Correct(q, answer(t, q))
	if a.Known != perf.Measured || a.Evidence == nil || a.Evidence.Count != 8 || a.Evidence.Cells != 1 || !a.Evidence.Last.Equal(today) {
		t.Errorf("%+v", a)
	}
	if far := b.Correct(question(t, "llama-2-13b", 8, 1024), answer(t, question(t, "llama-2-13b", 8, 1024))); far.Known != perf.Corrected {
		t.Errorf("%+v", far)
	}
	named := q
	named.Shape.Name = "my-own-name"
	if factor(t, b, named) != same {
		t.Error("a shape of another name is another cell")
	}
}

func TestIntervalsNarrowAndEvidenceFades(t *testing.T) {
	q := question(t, "llama-3-8b", 8, 1024)
	width := func(n int, at time.Time) float64 {
		b := newBook()
		for range n {
			add(t, b, told(t, q, 1.3, "run", at))
		}
		a := b.Correct(q, answer(t, q))
		if !(a.Low < a.Rate && a.Rate < a.High) || math.Abs(a.Terms.Memory+a.Terms.Overhead-a.Step) > 0.3*a.Step {
			t.Errorf("%+v", a)
		}
		return a.High / a.Low
	}
	prior := answer(t, q).High / answer(t, q).Low
	if one, many := width(1, today), width(30, today); !(many < one && one < prior) {
		t.Errorf("prior %.3f, one %.3f, many %.3f", prior, one, many)
	}
	if fresh, old := width(2, today), width(2, today.Add(-4*HalfLife)); !(fresh < old) {
		t.Errorf("fresh %.3f, old %.3f", fresh, old)
	}
	b := newBook()
	for range 4 {
		add(t, b, told(t, q, 1.2, "a", today.Add(-6*HalfLife)), told(t, q, 1.8, "b", today))
	}
	if f := factor(t, b, q); f < 1.7 {
		t.Errorf("what is old still counts: %.3f", f)
	}
	ancient := newBook()
	add(t, ancient, told(t, q, 1.5, "a", today.Add(-20*HalfLife)))
	if f := factor(t, ancient, q); f != 1 {
		t.Errorf("what has faded counts: %.3f", f)
	}
}

func TestOneThatIsFarOffWaitsForASecond(t *testing.T) {
	q := question(t, "llama-3-8b", 8, 1024)
	b := newBook()
	add(t, b, told(t, q, 1.1, "honest", today))
	before := factor(t, b, q)
	for range 20 {
		add(t, b, told(t, q, 40, "liar", today))
	}
	a := b.Correct(q, answer(t, q))
	if factor(t, b, q) != before || a.Evidence.Apart != 1 || len(b.Rows()[0].Apart) > effects.KeptApart {
		t.Errorf("the word of one: %.3f, before %.3f, %+v", factor(t, b, q), before, a.Evidence)
	}
	add(t, b, told(t, q, 90, "other", today))
	if factor(t, b, q) != before {
		t.Error("two that do not agree counted")
	}
	add(t, b, told(t, q, 42, "third", today))
	if f := factor(t, b, q); f <= before {
		t.Errorf("two that agree do not count: %.3f", f)
	}
	alone := newBook()
	add(t, alone, told(t, q, 0.01, "liar", today))
	if a := alone.Correct(q, answer(t, q)); a.Known != perf.Prior || a.Evidence == nil || a.Evidence.Apart != 1 {
		t.Errorf("it is not shown: %+v", a)
	}
}

func TestProjectsHaveTheirOwn(t *testing.T) {
	q := question(t, "llama-3-8b", 8, 1024)
	b := newBook()
	m := told(t, q, 2, "prj_a", today)
	m.Scope, m.Count = "prj_a", 20
	add(t, b, m)
	a := answer(t, q)
	if f := b.Scoped("prj_a").Correct(q, a).Rate / a.Rate; f < 1.8 {
		t.Errorf("its own: %.3f", f)
	}
	if b.Correct(q, a).Rate != a.Rate || b.Scoped("prj_b").Correct(q, a).Rate != a.Rate {
		t.Error("others are answered by what a project told")
	}
}

// TestTruth: what is measured again and again is what is answered, whatever the noise, and no answer is outside of what
// prior and measurements span.
func TestTruth(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		q := question(t, "llama-3-8b", rapid.IntRange(1, 40).Draw(r, "batch"), rapid.IntRange(100, 3000).Draw(r, "context"))
		truth := math.Exp(rapid.Float64Range(-1.8, 1.8).Draw(r, "truth"))
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 1))
		b := newBook()
		low, high := 1.0, 1.0
		for i := range 400 {
			ratio := truth * math.Exp(0.05*rng.NormFloat64())
			low, high = min(low, ratio), max(high, ratio)
			add(t, b, told(t, q, ratio, "run", today))
			if i%80 == 0 {
				if f := factor(t, b, q); f < low*(1-1e-9) || f > high*(1+1e-9) {
					r.Fatalf("after %d: %.4f is outside of %.4f to %.4f", i, f, low, high)
				}
			}
		}
		if f := factor(t, b, q); math.Abs(math.Log(f/truth)) > 0.3*math.Abs(math.Log(truth))+0.02 {
			r.Fatalf("%.4f, the truth is %.4f", f, truth)
		}
	})
}

// TestOrder: the order in which measurements come does not matter, nor does a detour through the store.
func TestOrder(t *testing.T) {
	shapes := []string{"llama-3-8b", "llama-2-13b", "mistral-7b"}
	rapid.Check(t, func(r *rapid.T) {
		var ms []Measurement
		for i := range rapid.IntRange(1, 14).Draw(r, "n") {
			q := question(t, shapes[rapid.IntRange(0, 2).Draw(r, "shape")], 1<<rapid.IntRange(0, 4).Draw(r, "batch"), 1024)
			ratio := math.Exp(rapid.Float64Range(-3.4, 3.4).Draw(r, "ratio"))
			m := told(t, q, ratio, string(rune('a'+rapid.IntRange(0, 3).Draw(r, "by"))), today.Add(-time.Duration(i)*24*time.Hour))
			m.Count = rapid.IntRange(0, 9).Draw(r, "count")
			ms = append(ms, m)
		}
		one, two := newBook(), newBook()
		add(t, one, ms...)
		for _, i := range rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 1)).Perm(len(ms)) {
			add(t, two, ms[i])
		}
		three := newBook()
		for _, row := range two.Rows() {
			text, err := row.Encode()
			if err != nil {
				r.Fatal(err)
			}
			back, err := Decode(text)
			if err != nil {
				r.Fatal(err)
			}
			three.Put(back)
		}
		q := question(t, "llama-3-8b", 4, 1024)
		a, b, c := factor(t, one, q), factor(t, two, q), factor(t, three, q)
		if math.Abs(a-b) > 1e-9*a || math.Abs(b-c) > 1e-9*a {
			r.Fatalf("%v in order, %v shuffled, %v from the store", a, b, c)
		}
	})
}

// TestOneLiarCannotMoveIt: where others have measured, a single word however far off moves the answer little.
func TestOneLiarCannotMoveIt(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		q := question(t, "llama-3-8b", 8, 1024)
		b := newBook()
		for range rapid.IntRange(10, 30).Draw(r, "honest") {
			add(t, b, told(t, q, 1.2, "honest", today))
		}
		before := factor(t, b, q)
		lie := math.Exp(rapid.Float64Range(-9, 9).Draw(r, "lie"))
		add(t, b, told(t, q, lie, "liar", today))
		if f := factor(t, b, q); math.Abs(math.Log(f/before)) > 0.25 {
			r.Fatalf("a lie of %.4f moved %.4f to %.4f", lie, before, f)
		}
	})
}

func TestARowKeepsWhatWasMeasuredWhenThePriorChanges(t *testing.T) {
	q := question(t, "llama-3-8b", 8, 1024)
	b := newBook()
	for range 40 {
		add(t, b, told(t, q, 1.3, "run", today))
	}
	row := b.Rows()[0]
	row.Prior /= 2 // as an older formula had it
	row.Mean += math.Log(2)
	again := newBook()
	again.Put(row)
	if diff := cmp.Diff(b.Rows()[0].Mean, again.Rows()[0].Mean); math.Abs(b.Rows()[0].Mean-again.Rows()[0].Mean) > 1e-9 {
		t.Error(diff)
	}
}

func TestWhatCannotBe(t *testing.T) {
	q := question(t, "llama-3-8b", 8, 1024)
	good := told(t, q, 1, "x", today)
	for name, spoil := range map[string]func(*Measurement){
		"rate": func(m *Measurement) { m.Rate = math.NaN() }, "zero": func(m *Measurement) { m.Rate = 0 }, "count": func(m *Measurement) { m.Count = -1 },
		"batch": func(m *Measurement) { m.Question.Work.Batch = 0 }, "chip": func(m *Measurement) { m.Question.Chip.ID = "" }, "time": func(m *Measurement) { m.At = time.Time{} },
		"task": func(m *Measurement) { m.Question.Work.Task = "sing" }, "shape": func(m *Measurement) { m.Question.Shape.Layers = -3 }, "spread": func(m *Measurement) { m.Spread = math.Inf(1) },
	} {
		m := good
		spoil(&m)
		b := newBook()
		if err := b.Add(m); err == nil || len(b.Rows()) != 0 {
			t.Errorf("%s was taken", name)
		}
	}
	for _, text := range []string{"", "{}", "[]", `{"key":"x","mean":1e300}`, `{"key":"x","count":-1}`} {
		if _, err := Decode([]byte(text)); err == nil {
			t.Errorf("%s is a row", text)
		}
	}
	unknown := good // a chip without figures: shown, and corrects nothing
	unknown.Question.Chip = chip.Chip{ID: "acme-one"}
	b := newBook()
	add(t, b, unknown)
	if rows := b.Rows(); len(rows) != 1 || rows[0].Ratio() != 0 || rows[0].Rate != good.Rate {
		t.Errorf("%+v", rows)
	}
}

func TestABookIsBounded(t *testing.T) {
	b := newBook()
	row := func(i int) Row {
		return Row{Key: string(rune(i)), Cell: "c", Question: question(t, "llama-3-8b", 1, 100), Prior: 1, Tally: effects.Tally{Count: 1, Last: today.Add(time.Duration(i) * time.Second)}}
	}
	first := row(1)
	b.mu.Lock()
	for i := 1; i <= Most+5; i++ {
		r := first
		r.Key, r.Last = time.Duration(i).String(), today.Add(time.Duration(i)*time.Second)
		b.put(&r)
	}
	b.mu.Unlock()
	if rows := b.Rows(); len(rows) != Most || b.rows[time.Duration(5).String()] != nil || b.rows[time.Duration(6).String()] == nil {
		t.Errorf("%d rows", len(rows))
	}
}

// Rows that projects told push out neither those of the installation nor those of projects that told fewer.
func TestProjectsMakeRoomOnlyForThemselves(t *testing.T) {
	b := newBook()
	first := Row{Cell: "c", Question: question(t, "llama-3-8b", 1, 100), Prior: 1, Tally: effects.Tally{Count: 1, Last: today}}
	put := func(scope string, n int, at time.Time) {
		b.mu.Lock()
		defer b.mu.Unlock()
		for i := range n {
			r := first
			r.Scope, r.Key, r.Last = scope, scope+time.Duration(i).String(), at.Add(time.Duration(i)*time.Second)
			b.put(&r)
		}
	}
	put("", 3, today)
	put("prj_small", 2, today)
	for i := range 20 {
		put("prj_"+string(rune('a'+i)), MostOfProject+7, today.Add(time.Hour))
	}
	held := map[string]int{}
	for _, r := range b.Rows() {
		held[r.Scope]++
	}
	if held[""] != 3 || held["prj_small"] != 2 || len(b.Rows()) != Most+3 || b.told != Most || b.held[""] != 3 {
		t.Errorf("%v", held)
	}
	for i := range 20 {
		if n := held["prj_"+string(rune('a'+i))]; n > MostOfProject || n < Most/20-1 {
			t.Errorf("project %d has %d rows", i, n)
		}
	}
}

func FuzzDecode(f *testing.F) {
	b := newBook()
	q := question(f, "llama-3-8b", 8, 1024)
	add(f, b, told(f, q, 1.3, "run", today), told(f, q, 33, "run", today))
	text, err := b.Rows()[0].Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	a := answer(f, q)
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Decode(text)
		if err != nil {
			return
		}
		b := newBook()
		b.Put(r)
		if c := b.Correct(q, a); !(c.Rate > 0) || math.IsInf(c.Rate, 0) || !(c.Low <= c.Rate && c.Rate <= c.High) {
			t.Fatalf("%+v", c)
		}
	})
}

// A shape that is slow on one chip is expected to be slow on another, though less surely, and other shapes there are not.
func TestAShapeTellsOfItselfOnOtherChips(t *testing.T) {
	b := newBook()
	for range 8 {
		add(t, b, told(t, question(t, "llama-3-8b", 8, 1024), 0.5, "run", today))
	}
	c, err := chip.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	other := question(t, "llama-3-8b", 8, 1024)
	if other.Chip, err = c.Find("nvidia-a100-80gb-sxm"); err != nil {
		t.Fatal(err)
	}
	a := b.Correct(other, answer(t, other))
	if f := factor(t, b, other); !(f < 0.95 && f > factor(t, b, question(t, "llama-3-8b", 8, 1024))) || a.Known != perf.Corrected {
		t.Errorf("on another chip: %.3f, %s", f, a.Known)
	}
	stranger := question(t, "llama-2-13b", 8, 1024)
	stranger.Chip = other.Chip
	if f := factor(t, b, stranger); f != 1 {
		t.Errorf("another shape on another chip: %.3f", f)
	}
}

// Of many rows the nearest make the answer: its own is among them whatever else there is.
func TestOfManyRowsTheNearestCount(t *testing.T) {
	b := newBook()
	q := question(t, "llama-3-8b", 8, 1024)
	for i := range near + 20 {
		far := question(t, "mistral-7b", 1<<(i%8), 1<<(i/8))
		add(t, b, told(t, far, 0.8, "run", today))
	}
	for range 8 {
		add(t, b, told(t, q, 1.6, "run", today))
	}
	if f := factor(t, b, q); f < 1.4 || f > 1.6 {
		t.Errorf("%.3f", f)
	}
	if n := b.Correct(q, answer(t, q)).Evidence.Cells; n <= near {
		t.Errorf("only %d cells are counted", n)
	}
}

// A row's own prediction is the one that its measurements were compared with: of a processor, with what its caches reach.
func TestARowIsComparedWithItsOwnPrediction(t *testing.T) {
	f := func(v float64) *chip.Figure { return &chip.Figure{Value: v, Confidence: chip.Measured} }
	c := chip.Chip{ID: chip.ProcessorID, Kind: chip.CPU, Memory: f(64e9), Bandwidth: f(3e9), Flops: map[chip.Precision]*chip.Figure{chip.FP32: f(1e11)},
		Levels: []chip.CacheLevel{{Bytes: 1 << 20, Bandwidth: 5e10}, {Bytes: 1 << 28, Bandwidth: 3e9}}}
	q := perf.Question{Chip: c, Shape: perf.Shape{Layers: 4, Width: 128, Heads: 4, KVHeads: 4, Head: 32, Inner: 352, Vocab: 1024, Tied: true},
		Work: perf.Work{Task: perf.Decode, Engine: perf.Native, Precision: chip.FP32, Batch: 4, Context: 100}}
	b := newBook()
	add(t, b, told(t, q, 1.25, "run", today))
	if r := b.Rows()[0]; math.Abs(r.Rate/r.Prior-1.25) > 1e-9 || math.Abs(r.Ratio()-1.25) > 1e-9 {
		t.Errorf("measured %g, predicted %g, ratio %g", r.Rate, r.Prior, r.Ratio())
	}
}
