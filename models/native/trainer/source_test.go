package trainer

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native"
	"pgregory.net/rapid"
)

// numbered makes documents whose tokens say where they come from: document i, token j is 1000*i+j.
func numbered(lengths []int) [][]int32 {
	docs := make([][]int32, len(lengths))
	for i, n := range lengths {
		for j := range n {
			docs[i] = append(docs[i], int32(1000*i+j))
		}
	}
	return docs
}

// Property: an epoch of pre-training shows every token once as input, and every token but each document's first once
// as a target of the token before it, within one segment.
func TestPretrainStreamCoversEveryToken(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		docs := numbered(rapid.SliceOfN(rapid.IntRange(2, 40), 1, 12).Draw(rt, "lengths"))
		across := rapid.Bool().Draw(rt, "across")
		b := native.NewBatch(rapid.IntRange(1, 3).Draw(rt, "b"), rapid.IntRange(2, 17).Draw(rt, "t"))
		s, err := NewPretrainSource(docs, rapid.Uint64().Draw(rt, "seed"), across)
		if err != nil {
			rt.Fatal(err)
		}
		total := 0
		for _, d := range docs {
			total += len(d)
		}
		seen := map[int32]int{}
		for left := total; left > 0; {
			if err := s.Next(b); err != nil {
				rt.Fatal(err)
			}
			for i := range min(left, len(b.Tokens)) {
				seen[b.Tokens[i]]++
				checkTarget(rt, b, docs, i, across)
			}
			left -= len(b.Tokens)
		}
		if len(seen) != total {
			rt.Fatalf("%d of %d tokens were seen in one epoch", len(seen), total)
		}
		if want := (total + b.B*b.T - 1) / (b.B * b.T); s.EpochBatches(b.B, b.T) != want {
			rt.Fatalf("EpochBatches says %d, want %d", s.EpochBatches(b.B, b.T), want)
		}
	})
}

func checkTarget(rt *rapid.T, b *native.Batch, docs [][]int32, i int, across bool) {
	tok, target := b.Tokens[i], b.Targets[i]
	last := int(tok%1000) == len(docs[tok/1000])-1
	switch {
	case !last && target != tok+1:
		rt.Fatalf("token %d has target %d", tok, target)
	case last && across && target%1000 != 0:
		rt.Fatalf("the last token %d leads to %d, not to a document's begin", tok, target)
	case last && !across && target != native.Ignore:
		rt.Fatalf("the last token %d has target %d", tok, target)
	}
	if i%b.T > 0 {
		begins := b.Tokens[i]%1000 == 0
		if same := b.Segments[i] == b.Segments[i-1]; same == (begins && !across) {
			rt.Fatalf("token %d after %d: same segment %v", b.Tokens[i], b.Tokens[i-1], same)
		}
	}
}

// Property: chat rows hold each example whole, in one segment of its own, with exactly the masked tokens as targets,
// and each epoch holds every example once.
func TestChatRowsHoldWholeExamples(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seqLen := rapid.IntRange(4, 30).Draw(rt, "seqLen")
		docs := numbered(rapid.SliceOfN(rapid.IntRange(2, seqLen+1), 1, 20).Draw(rt, "lengths"))
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "masks"), 0))
		examples := make([]Example, len(docs))
		for i, d := range docs {
			examples[i] = Example{IDs: d, Mask: make([]bool, len(d))}
			for j := range d {
				examples[i].Mask[j] = r.IntN(2) == 0
			}
			examples[i].Mask[len(d)-1] = true
		}
		s, err := NewChatSource(examples, seqLen, r.Uint64())
		if err != nil {
			rt.Fatal(err)
		}
		b := native.NewBatch(rapid.IntRange(1, 3).Draw(rt, "b"), seqLen)
		var order []int32
		batches := 0
		for ; len(order) < len(docs); batches++ {
			if err := s.Next(b); err != nil {
				rt.Fatal(err)
			}
			order = append(order, chatExamples(rt, b, examples)...)
		}
		if n := s.EpochBatches(b.B); n != batches {
			rt.Errorf("EpochBatches says %d, it took %d", n, batches)
		}
		// Rows are filled first fit, so sort within what is surely the first epoch.
		counts := map[int32]int{}
		for _, d := range order {
			counts[d]++
		}
		if len(counts) != len(docs) {
			rt.Errorf("the first %d batches show %d of %d examples", batches, len(counts), len(docs))
		}
	})
}

// chatExamples checks one batch and lists the examples in it.
func chatExamples(rt *rapid.T, b *native.Batch, examples []Example) (found []int32) {
	for i := 0; i < len(b.Tokens); i++ {
		if b.Segments[i] == native.Padding {
			if b.Targets[i] != native.Ignore {
				rt.Fatal("padding has a target")
			}
			continue
		}
		if i%b.T > 0 && b.Segments[i] == b.Segments[i-1] {
			rt.Fatalf("two examples share a segment")
		}
		e := b.Tokens[i] / 1000
		ids, mask := examples[e].IDs, examples[e].Mask
		for j, id := range ids[:len(ids)-1] {
			want := native.Ignore
			if mask[j+1] {
				want = ids[j+1]
			}
			if b.Tokens[i+j] != id || b.Targets[i+j] != want || b.Segments[i+j] != b.Segments[i] {
				rt.Fatalf("example %d, token %d: %d with target %d", e, j, b.Tokens[i+j], b.Targets[i+j])
			}
		}
		found = append(found, e)
		i += len(ids) - 2
	}
	return found
}

// Property: a source restored at any point goes on exactly as the one that was not interrupted.
func TestSourcesRestoreAnywhere(t *testing.T) {
	docs := numbered([]int{5, 9, 2, 14, 7, 3, 8})
	var examples []Example
	for _, d := range docs {
		m := make([]bool, len(d))
		m[len(d)-1] = true
		examples = append(examples, Example{IDs: d, Mask: m})
	}
	kinds := map[string]func() (Source, error){
		"pretrain": func() (Source, error) { return NewPretrainSource(docs, 9, false) },
		"chat":     func() (Source, error) { return NewChatSource(examples, 13, 9) },
	}
	rapid.Check(t, func(rt *rapid.T) {
		for name, open := range kinds {
			a, err := open()
			if err != nil {
				rt.Fatal(err)
			}
			want, got := native.NewBatch(2, 13), native.NewBatch(2, 13)
			for range rapid.IntRange(0, 20).Draw(rt, "batches") {
				if err := a.Next(want); err != nil {
					rt.Fatal(err)
				}
			}
			b, _ := open()
			if err := b.Restore(a.State()); err != nil {
				rt.Fatal(err)
			}
			for range 3 {
				if err := a.Next(want); err != nil {
					rt.Fatal(err)
				}
				if err := b.Next(got); err != nil {
					rt.Fatal(err)
				}
				if d := cmp.Diff(want, got); d != "" {
					rt.Fatalf("%s after Restore:\n%s", name, d)
				}
			}
		}
	})
}

func TestEpochsAreShuffledDifferently(t *testing.T) {
	w := newWalk(50, 3, "")
	first := slices.Clone(w.order)
	for w.Epoch == 0 {
		w.advance()
	}
	if slices.Equal(first, w.order) || slices.IsSorted(first) {
		t.Error("the order is not shuffled anew")
	}
	other := newWalk(50, 4, "")
	if slices.Equal(first, other.order) {
		t.Error("the seed does not change the order")
	}
}

func TestBadDataIsRefused(t *testing.T) {
	check := func(what string, err error) {
		t.Helper()
		if !fault.Is(err, fault.Invalid) || fault.As(err).Field == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := NewPretrainSource(nil, 1, false)
	check("no documents", err)
	_, err = NewPretrainSource([][]int32{{1, 2}, {3}}, 1, false)
	check("a document of one token", err)
	_, err = NewChatSource([]Example{{IDs: []int32{1, 2}, Mask: []bool{true}}}, 8, 1)
	check("a short mask", err)
	_, err = NewChatSource([]Example{{IDs: []int32{1, 2}, Mask: []bool{true, false}}}, 8, 1)
	check("nothing to learn", err)
	s, err := NewChatSource([]Example{
		{IDs: []int32{1, 2, 3, 4, 5}, Mask: []bool{false, false, false, false, true}}, // cut before its only target
		{IDs: []int32{1, 2}, Mask: []bool{false, true}},
	}, 3, 1)
	if err != nil || s.Dropped() != 1 {
		t.Errorf("dropped %v, %v", s, err)
	}
	check("rows of another length", s.Next(native.NewBatch(1, 4)))
	check("a batch without segments", s.Next(&native.Batch{B: 1, T: 3}))
}

// States come from files: whatever they hold, Restore refuses or goes to a place within the data.
func FuzzRestore(f *testing.F) {
	docs := numbered([]int{5, 9, 2})
	s, err := NewPretrainSource(docs, 9, false)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.State())
	f.Add([]byte(`{"data":"` + s.walk.Data + `","epoch":-1,"index":2,"at":9000}`))
	f.Fuzz(func(t *testing.T, state []byte) {
		b := native.NewBatch(1, 4)
		before := s.State()
		if err := s.Restore(state); err != nil && string(s.State()) != string(before) {
			t.Fatalf("a refused state moved the source from %s to %s", before, s.State())
		}
		if err := s.Next(b); err != nil {
			t.Fatal(err)
		}
	})
}
