package decode

import (
	"io"
	"runtime"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/native/grammar"
)

// sequence is one choice of one prompt. The fields below input are set when it is admitted.
type sequence struct {
	stream  *Stream
	request *Request
	index   int // prompt index * N + choice
	choice  int
	seed    uint64
	most    int // tokens to generate
	input   []int32
	stops   []stopPattern
	stopIDs []int32

	tokens    []int32 // prompt, then output; capacity for all of it
	pos       int     // positions whose keys and values are in the cache
	blocks    []int32
	key       blockKey // of the last published block
	published int      // blocks published or taken over
	sampler   sampler
	text      textState
	form      *grammar.State // nil without Request.Form
	pool      *pooled        // of an embedding, which generates nothing
	followers []*sequence    // other choices of the prompt, which start once it has been read
	following bool           // waits for its leader
	finished  bool
}

// group is the choices of one prompt that are admitted together; the first reads the prompt for all.
type group []*sequence

// draw is a token being drawn: for whom, from which row of logits, and what came out.
type draw struct {
	seq     *sequence
	row     int
	token   int32
	logprob float32
	top     []TokenLogprob
}

// generated is the number of tokens drawn so far.
func (s *sequence) generated() int { return len(s.tokens) - len(s.input) }

// groups makes the sequences of a request. They share what does not change.
func (e *Engine) groups(st *Stream, r *Request) []group {
	seed := uint64(0)
	if r.Seed != nil {
		seed = *r.Seed
	} else {
		seed = e.opt.Seed()
	}
	stops := make([]stopPattern, 0, len(r.Stop))
	for _, s := range r.Stop {
		stops = append(stops, newStopPattern(s))
	}
	stopIDs := append([]int32(nil), r.StopIDs...)
	if !r.IgnoreEOS {
		stopIDs = append(stopIDs, e.opt.EndIDs...)
	}
	var all []group
	for i, p := range r.Prompts {
		most := e.opt.MaxContext - len(p)
		if r.MaxTokens > 0 {
			most = min(most, r.MaxTokens)
		}
		size := e.groupSize(len(p), most)
		for j := range r.choices() {
			if j%size == 0 {
				all = append(all, make(group, 0, size))
			}
			s := &sequence{stream: st, request: r, index: i*r.choices() + j, choice: j, seed: seed, most: most, input: p, stops: stops, stopIDs: stopIDs}
			if r.pools != nil {
				s.pool = r.pools[i]
			}
			all[len(all)-1] = append(all[len(all)-1], s)
		}
	}
	return all
}

// groupSize is how many choices of a prompt the empty engine could run together, at least 1.
func (e *Engine) groupSize(prompt, most int) int {
	whole := blocksFor(prompt + most - 1)
	more := whole - prompt/blockTokens
	if more == 0 {
		return e.opt.MaxSeqs
	}
	return min(e.opt.MaxSeqs, 1+(e.cache.total()-whole)/more)
}

// loop runs steps until the engine is closed.
func (e *Engine) loop() {
	defer close(e.done)
	defer e.pool.Close()
	for {
		// 1. Let go of what was cancelled, and stop when told to.
		if e.sweep() {
			return
		}
		// 2. Take in who fits, in order of arrival.
		e.admit()
		// 3. One row for each sequence that generates, the rest of the step for prompts.
		e.plan()
		if len(e.batch.tokens) == 0 {
			<-e.wake
			continue
		}
		// 4. Through the weights once.
		begin := e.opt.Now()
		e.batch.forward()
		// 5. Draw a token for each sequence that has logits.
		e.batch.share(len(e.chosen)*e.cfg.VocabSize).Run(len(e.chosen), e.draw1)
		// 6. Hand the tokens out.
		e.stats.cycles.Add(1)
		e.publish()
		e.account(e.opt.Now().Sub(begin)) // before anybody hears that it is done
		e.deliver()
		runtime.Gosched() // readers get their events before the next step, also on one processor
	}
}

// account counts the step that was just done, if it was of one sort.
func (e *Engine) account(took time.Duration) {
	rows, seen := len(e.batch.tokens), e.batch.seen
	switch {
	case e.pooled:
	case e.drawing == rows:
		e.stats.decode.add(took, rows, seen)
	case e.drawing == 0:
		e.stats.prefill.add(took, rows, seen)
	}
}

// sweep removes cancelled sequences, running and waiting, and reports whether the engine is to end.
func (e *Engine) sweep() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	kept := e.waiting[:0]
	for _, g := range e.waiting {
		if g[0].stream.cancelled.Load() || e.closing {
			e.queued -= len(g)
			e.abandon(g[0].stream)
			continue
		}
		kept = append(kept, g)
	}
	clear(e.waiting[len(kept):])
	e.waiting = kept
	for _, s := range e.running {
		if s.stream.cancelled.Load() || e.closing {
			e.abandon(s.stream)
			e.retire(s)
		}
	}
	e.compact()
	return e.closing
}

// abandon ends a stream before its time; the caller holds mu.
func (e *Engine) abandon(st *Stream) {
	if e.closing {
		st.end(fault.New(fault.Unavailable, "This replica has stopped.", fault.Code("stopping"), fault.Fix("Ask another one.")))
		return
	}
	st.end(fault.New(fault.Canceled, "The request was cancelled."))
}

// retire gives a sequence's blocks back, the last first: the beginning of a prompt is what others share, so it is to
// stay in the cache longest.
func (e *Engine) retire(s *sequence) {
	if s.finished {
		return
	}
	s.finished = true
	for _, v := range slices.Backward(s.blocks) {
		e.cache.release(v)
	}
	s.blocks = nil
}

// compact drops retired sequences and updates the gauges; the caller holds mu.
func (e *Engine) compact() {
	kept := e.running[:0]
	for _, s := range e.running {
		if !s.finished {
			kept = append(kept, s)
		}
	}
	clear(e.running[len(kept):])
	e.running = kept
	e.gauge()
	if e.empty() {
		e.idle.Broadcast()
	}
}

// gauge shows what runs; the memory first, so that whoever sees nothing running sees nothing held.
func (e *Engine) gauge() {
	e.stats.used.Store(int64(e.cache.total() - e.cache.available()))
	e.stats.running.Store(int64(len(e.running)))
}

// admit moves groups from the queue while the first of it fits: nobody overtakes.
func (e *Engine) admit() {
	e.mu.Lock()
	defer e.mu.Unlock()
	taken := 0
	for _, g := range e.waiting {
		if len(e.running)+len(g) > e.opt.MaxSeqs || !e.place(g) {
			break
		}
		e.running = append(e.running, g...)
		e.queued -= len(g)
		taken++
	}
	if taken == 0 {
		return
	}
	n := copy(e.waiting, e.waiting[taken:])
	clear(e.waiting[n:])
	e.waiting = e.waiting[:n]
	e.gauge()
}

// place gives a group the blocks it may come to need, or nothing when they are not there. The leader takes over the
// published blocks of its prompt; the others take over those that the leader's prompt fills.
func (e *Engine) place(g group) bool {
	lead := g[0]
	found, key := make([]int32, 0, blocksFor(len(lead.input)+lead.most)), rootOf(lead.request.Scope)
	if lead.pool == nil || !lead.pool.mean { // a mean needs every position's last hidden state, which the cache has not
		found, key = e.cache.match(found, lead.input, key)
	}
	whole := blocksFor(len(lead.input) + lead.most - 1) // the last token is never read
	shared := len(lead.input) / blockTokens
	if whole-len(found)+(len(g)-1)*(whole-shared) > e.cache.available() {
		for _, f := range slices.Backward(found) {
			e.cache.release(f)
		}
		return false
	}
	e.start(lead)
	lead.published, lead.key, lead.pos = len(found), key, len(found)*blockTokens
	lead.blocks = e.cache.take(found, whole-len(found))
	lead.followers = g[1:]
	for _, s := range lead.followers {
		e.start(s)
		s.following = true
		s.blocks = append(make([]int32, 0, whole), lead.blocks[:shared]...)
		for _, b := range s.blocks {
			e.cache.retain(b)
		}
		s.blocks = e.cache.take(s.blocks, whole-shared)
	}
	if lead.choice == 0 { // the prompt counts once, however many choices and groups it has
		e.stats.prompt.Add(uint64(len(lead.input)))
		e.stats.cached.Add(uint64(lead.pos))
		lead.stream.cachedTokens.Add(int64(lead.pos))
	}
	return true
}

// start allocates what a running sequence needs; from here on it allocates nothing.
func (e *Engine) start(s *sequence) {
	s.tokens = append(make([]int32, 0, len(s.input)+s.most), s.input...)
	s.sampler = newSampler(s.request.Sampling, e.cfg.VocabSize, s.seed, uint64(s.choice), s.input)
	s.sampler.ends = s.stopIDs
	s.text = newTextState(s.stops)
	if s.request.Form != nil {
		s.form = s.request.Form.Begin(s.most)
	}
}

// plan fills the batch: first a row for each sequence that generates, then prompts in order of arrival. A sequence
// whose reader is behind rests.
func (e *Engine) plan() {
	b := e.batch
	b.reset()
	e.chosen = e.chosen[:0]
	for _, s := range e.running {
		if s.generated() > 0 && s.stream.reserve(1) {
			e.choose(s, b.wanted)
			b.add(s.tokens[s.pos], s.pos, s.blocks, false, true, nil)
			s.pos++
		}
	}
	e.drawing, e.pooled = len(b.tokens), false
	for _, s := range e.running {
		space := e.opt.StepTokens - len(b.tokens)
		if s.generated() > 0 || s.following || space == 0 {
			continue
		}
		end := min(len(s.input), s.pos+space)
		whole := end == len(s.input)
		if s.pool != nil {
			e.pooled = true
			e.planPooled(s, end)
			continue
		}
		if whole && !s.stream.reserve(1+len(s.followers)) {
			continue
		}
		for first := s.pos; s.pos < end; s.pos++ {
			b.add(s.tokens[s.pos], s.pos, s.blocks, s.pos > first, s.pos == len(s.input)-1, nil)
		}
		if whole {
			e.choose(s, b.wanted-1)
			for _, f := range s.followers {
				e.choose(f, b.wanted-1)
			}
		}
	}
}

func (e *Engine) choose(s *sequence, row int) {
	n := len(e.chosen)
	e.chosen = e.chosen[:n+1]
	e.chosen[n].seq, e.chosen[n].row = s, row
}

// draw picks the token of chosen[i]; it works on a copy of the logits, which other choices may share.
func (e *Engine) draw(i int) {
	d := &e.chosen[i]
	s, v := d.seq, e.cfg.VocabSize
	logits, work, order := e.batch.logitsOf(d.row), e.work[i*v:(i+1)*v], e.order[i*v:(i+1)*v]
	copy(work, logits)
	if s.form != nil {
		s.sampler.allowed = s.form.Allowed()
	}
	d.token, d.top = s.sampler.pick(work, order), d.top[:0]
	if s.request.Logprobs && d.token >= 0 {
		d.top = d.top[:min(s.request.TopLogprobs, v)]
		d.logprob = logprobs(logits, work, d.token, d.top)
	}
}

// publish names the blocks that the step has filled and starts the choices that waited for their prompt.
func (e *Engine) publish() {
	for _, s := range e.running {
		for (s.published+1)*blockTokens <= s.pos {
			at := s.published * blockTokens
			s.key = e.cache.publish(s.blocks[s.published], s.key, s.tokens[at:at+blockTokens])
			s.published++
		}
		if len(s.followers) == 0 || s.pos < len(s.input) {
			continue
		}
		for _, f := range s.followers {
			f.following, f.pos, f.published, f.key = false, s.pos, s.published, s.key
			if s.pos%blockTokens > 0 {
				e.cache.copyBlock(f.blocks[s.published], s.blocks[s.published])
			}
		}
		s.followers = nil
	}
}

// deliver appends the drawn tokens to their sequences, hands out the events and retires what has ended.
func (e *Engine) deliver() {
	e.ended = e.ended[:0]
	e.finishPooled()
	for i := range e.chosen {
		d := &e.chosen[i]
		s := d.seq
		if d.token < 0 {
			s.stream.end(fault.New(fault.Internal, "The model computed a value that is not a number.", fault.Code("not_a_number"),
				fault.Fix("The weights are damaged, or the training diverged: serve another version.")))
			s.stream.cancelled.Store(true)
			s.stream.due--
			continue
		}
		s.tokens = append(s.tokens, d.token)
		ev := s.stream.slot()
		ev.Index, ev.Token, ev.Logprob = s.index, d.token, d.logprob
		ev.Top = append(ev.Top[:0], d.top...)
		ev.Text, ev.Finish = e.advance(s, ev.Text[:0], d.token)
		e.stats.generated.Add(1)
		if ev.Finish != "" {
			e.retire(s)
			if s.stream.live--; s.stream.live == 0 {
				e.ended = append(e.ended, s.stream)
			}
		}
		s.stream.commit()
	}
	if len(e.ended) == 0 {
		return
	}
	e.mu.Lock()
	e.compact()
	e.mu.Unlock()
	for _, st := range e.ended {
		st.end(io.EOF)
	}
	clear(e.ended)
}

// advance appends to dst the text that a token sets free and says whether the choice ends with it.
func (e *Engine) advance(s *sequence, dst []byte, token int32) ([]byte, FinishReason) {
	if slices.Contains(s.stopIDs, token) {
		return s.text.flush(dst), FinishStop
	}
	dst, stopped := s.text.push(dst, e.bytes[token])
	if stopped {
		return dst, FinishStop
	}
	if s.form != nil {
		whole, err := s.form.Accept(token, e.bytes[token])
		if err != nil {
			s.stream.end(err)
			s.stream.cancelled.Store(true)
		}
		if whole {
			return s.text.flush(dst), FinishStop
		}
	}
	if s.generated() == s.most {
		return s.text.flush(dst), FinishLength
	}
	return dst, ""
}
