package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/ref"
)

// standing is how a mirror stands to one file.
type standing struct {
	refused *fault.Error // it cannot give this file
	whole   bool         // it ignores ranges
	at      *url.URL     // where it led to
	etag    string       // state of its file, as it said last
	states  int          // how often that became another one
	strikes int          // answers that made no sense
}

// fetching is one file on its way.
type fetching struct {
	c       *Client
	spec    Spec // with the plan's revision
	file    Entry
	b       *blocks
	sources []*source
	count   func(n int64) // bytes that came, or went
	room    func() error  // whether the disk may take more; nil: not looked at
	note    func(string)

	mu      sync.Mutex
	cond    *sync.Cond
	stand   []standing
	pending []int // blocks that nobody fetches, ascending
	first   int   // the mirror that is asked first
	busy    int
	stop    func() // ends what is on its way
	dry     int    // failures since a block came
	err     error

	moved  func(context.Context) bool // whether the hub lists other files now; nil: it cannot
	wholes int                        // how often every block was fetched again
	votes  map[int][]sum              // of blocks that were fetched again: every sum that was seen
}

// States of a file, after which its ETag is told apart no more where a checksum decides, and strikes after which a mirror is
// asked no more.
const (
	maxStates  = 3
	maxStrikes = 3
)

// maxRounds is how often a file whose checksum does not fit is mended.
const maxRounds = 10

// run brings every missing block in, has the whole checked, and mends it until it is right.
func (f *fetching) run(ctx context.Context) (string, error) {
	f.cond = sync.NewCond(&f.mu)
	f.stand = make([]standing, len(f.sources))
	f.votes = map[int][]sum{}
	for round := 0; ; round++ {
		if err := f.fill(ctx, f.b.missing()); err != nil {
			return "", err
		}
		got, ok, err := f.b.check(f.file, ctx.Err)
		if ok && err == nil && !f.file.Checked() { // nothing tells of what a power loss took but the journal
			var lost []int
			lost, err = f.b.damaged(ctx.Err)
			ok = len(lost) == 0
		}
		if ok || err != nil {
			return got, err
		}
		if round == maxRounds || f.wholes > len(f.sources)+2 {
			return "", f.corrupt()
		}
		if err := f.mend(ctx); err != nil {
			return "", err
		}
	}
}

// corrupt says that a file cannot be had as it is listed.
func (f *fetching) corrupt() error {
	return fault.New(fault.Unavailable, ref.Quote(f.file.Path)+" does not come as the hub's list says it is, however often it is fetched.", fault.Code("corrupt"),
		fault.Fix("Name another mirror with --mirror, or remove the pull and begin anew."))
}

// mend gets again what is wrong in a file whose checksum does not fit. Blocks that the disk has lost are known by their sums.
// Where there are none, some mirror gave wrong bytes: all blocks are fetched once more, from another mirror where there is one,
// and of what came for a block the commonest is taken; then those that two fetches disagree about, until one leads.
func (f *fetching) mend(ctx context.Context) error {
	lost, err := f.b.damaged(ctx.Err)
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		f.note(fmt.Sprintf("%d blocks of %s were lost on the disk and are fetched again.", len(lost), f.file.Path))
		for _, i := range lost {
			_, n := f.b.span(i)
			f.count(-n)
		}
		return f.b.drop(lost)
	}
	if f.wholes == 0 && f.moved != nil && f.moved(ctx) {
		return f.corrupt() // by another list it is not
	}
	again := f.disputed()
	if len(again) == 0 {
		f.wholes++
		for i := range f.b.have {
			again = append(again, i)
			if len(f.votes[i]) == 0 {
				f.votes[i] = []sum{f.b.sums[i]}
			}
		}
	}
	f.note(fmt.Sprintf("%s does not fit its checksum: %d of %d blocks are fetched again.", f.file.Path, len(again), len(f.b.have)))
	f.mu.Lock()
	f.first = (f.first + 1) % len(f.sources)
	f.mu.Unlock()
	return f.fill(ctx, again)
}

// disputed lists blocks that came in different ways, none of which leads.
func (f *fetching) disputed() (out []int) {
	for i, v := range f.votes {
		count := map[sum]int{}
		for _, s := range v {
			count[s]++
		}
		most := slices.Sorted(maps.Values(count))
		if n := len(most); n > 1 && most[n-1] == most[n-2] {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return out
}

// fill fetches the given blocks by several connections.
func (f *fetching) fill(ctx context.Context, want []int) error {
	if len(want) == 0 {
		return ctx.Err()
	}
	f.pending, f.busy, f.dry, f.err = want, 0, 0, nil
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.stop = cancel
	defer context.AfterFunc(ctx, func() { f.mu.Lock(); f.cond.Broadcast(); f.mu.Unlock() })()
	var w sync.WaitGroup
	for range min(or(f.c.Workers, 4), len(want)) {
		w.Go(func() {
			for {
				run, m, ok := f.next(ctx)
				if !ok {
					return
				}
				left, err := f.fetch(ctx, m, run)
				f.back(ctx, m, left, len(left) < len(run), err)
			}
		})
	}
	w.Wait()
	if f.err != nil {
		return f.err
	}
	return ctx.Err()
}

// next gives a run of blocks and the mirror to fetch it from, when there is one to ask; false at the end.
func (f *fetching) next(ctx context.Context) ([]int, int, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if f.err != nil || ctx.Err() != nil || len(f.pending) == 0 && f.busy == 0 {
			f.cond.Broadcast()
			return nil, 0, false
		}
		if len(f.pending) == 0 {
			f.cond.Wait()
			continue
		}
		m, wait, err := f.pick()
		if err != nil {
			f.err = err
			continue
		}
		if wait > 0 {
			f.mu.Unlock()
			f.note(fmt.Sprintf("%s rests for %s.", f.sources[m].url.Host, wait.Round(time.Second)))
			_ = f.c.Sleep(ctx, wait) // its only error is that ctx ended
			f.mu.Lock()
			continue
		}
		if f.stand[m].whole && f.busy > 0 {
			f.cond.Wait()
			continue
		}
		f.busy++
		return f.take(f.stand[m].whole), m, true
	}
}

// take takes blocks that follow each other, or all of them.
func (f *fetching) take(all bool) []int {
	n := 1
	most := or(f.c.Span, 64)
	for n < len(f.pending) && (all || n < most && f.pending[n] == f.pending[n-1]+1) {
		n++
	}
	run := slices.Clone(f.pending[:n])
	f.pending = f.pending[n:]
	return run
}

// pick chooses the first mirror in order that can give the file and does not rest; those that give ranges first. Where all
// rest it says how long the first of them does.
func (f *fetching) pick() (m int, wait time.Duration, err error) {
	now, best, bestScore := f.c.Now(), -1, time.Duration(0)
	for k := range f.sources {
		i := (f.first + k) % len(f.sources)
		if f.stand[i].refused != nil {
			continue
		}
		score := max(0, f.sources[i].rest.Sub(now))
		if f.stand[i].whole && score == 0 {
			score = 1 // after one that gives ranges
		}
		if best < 0 || score < bestScore {
			best, bestScore = i, score
		}
	}
	if best < 0 {
		return 0, 0, f.nobody()
	}
	wait = max(0, f.sources[best].rest.Sub(now))
	if wait > maxAfter {
		return 0, 0, fault.New(fault.RateLimited, fmt.Sprintf("%s asks to be left alone for %s.", f.sources[best].url.Host, wait.Round(time.Second)),
			fault.After(wait), fault.Fix("Give the same command again later, with a token where you have one, or name a mirror with --mirror"))
	}
	return best, wait, nil
}

// nobody says why no mirror is left: what the first in order said, and that others did no better.
func (f *fetching) nobody() error {
	e := *f.stand[0].refused
	if len(f.sources) > 1 {
		e.Message = fmt.Sprintf("None of %d mirrors can give %s: %s", len(f.sources), ref.Quote(f.file.Path), e.Message)
	} else {
		e.Message = ref.Quote(f.file.Path) + ": " + e.Message
	}
	return &e
}

// back takes what a fetch left, and its failure. Who gave something before it broke off is asked again soon.
func (f *fetching) back(ctx context.Context, m int, left []int, some bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() {
		if f.err != nil {
			f.stop()
		}
		f.cond.Broadcast()
	}()
	f.busy--
	if some {
		f.sources[m].failed = 0
	}
	if len(left) > 0 {
		f.pending = append(f.pending, left...)
		slices.Sort(f.pending)
		f.pending = slices.Compact(f.pending)
	}
	var t *trouble
	switch s := f.sources[m]; {
	case err == nil:
		s.failed = 0
	case ctx.Err() != nil:
	case !errors.As(err, &t):
		if f.err == nil {
			f.err = err
		}
	case t.reject:
		f.stand[m].refused = t.err
		f.note(t.err.Message)
	default:
		s.failed++
		f.dry++
		s.rest = f.c.Now().Add(max(t.after, backoff(s.failed)))
		f.note(t.err.Message)
		if f.dry >= or(f.c.Failures, 10) && f.err == nil {
			f.err = &fault.Error{Kind: t.err.Kind, Code: t.err.Code, After: t.after, Cause: t.err, Fix: "Give the same command again: it continues where it was.",
				Message: fmt.Sprintf("%s did not come after %d tries: %s", ref.Quote(f.file.Path), f.dry, t.err.Message)}
		}
	}
}

// backoff doubles from one second to one minute.
func backoff(failed int) time.Duration {
	return min(time.Minute, time.Second<<min(max(failed-1, 0), 6))
}

// fetch asks a mirror for a run of blocks and returns those that did not come.
func (f *fetching) fetch(ctx context.Context, m int, run []int) (left []int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from, _ := f.b.span(run[0])
	lastAt, n := f.b.span(run[len(run)-1])
	a, cached, err := f.ask(ctx, m, from, lastAt+n-1)
	if err != nil {
		return run, err
	}
	defer a.Body.Close()
	at, err := f.judge(m, a, from, lastAt+n-1, cached)
	if err != nil {
		return run, err
	}
	tag, err := f.state(m, a)
	if err != nil {
		return run, err
	}
	g := f.c.guard(a.Body, cancel)
	defer g.timer.Stop()
	return f.read(g, m, at, run, tag)
}

// ask sends the request, to where the mirror led to before if that is known.
func (f *fetching) ask(ctx context.Context, m int, from, to int64) (a *answer, cached bool, err error) {
	s := f.sources[m]
	f.mu.Lock()
	u, whole := f.stand[m].at, f.stand[m].whole
	f.mu.Unlock()
	cached = u != nil
	if !cached {
		u = f.spec.fileURL(s.url, f.spec.Revision, f.file.Path)
	}
	rng := fmt.Sprintf("bytes=%d-%d", from, to)
	if whole {
		rng = ""
	}
	a, err = f.c.get(ctx, f.spec.Source, s, u, rng)
	if err != nil {
		f.forget(m)
	}
	return a, cached, err
}

func (f *fetching) forget(m int) {
	f.mu.Lock()
	f.stand[m].at = nil
	f.mu.Unlock()
}

// judge says at which byte the answer's body begins, or what is wrong with it.
func (f *fetching) judge(m int, a *answer, from, to int64, cached bool) (at int64, err error) {
	s := f.sources[m]
	switch a.StatusCode {
	case http.StatusPartialContent:
		first, last, total, ok := parseRange(a.Header.Get("Content-Range"))
		if !ok || first != from || last > to || a.ContentLength >= 0 && a.ContentLength != last-first+1 {
			return 0, f.strike(m, "%s answers with another range than was asked for.", a.at.Host)
		}
		if total >= 0 && total != f.file.Size {
			return 0, f.other(m, a, total)
		}
		at = from
	case http.StatusOK:
		if a.ContentLength >= 0 && a.ContentLength != f.file.Size {
			return 0, f.other(m, a, a.ContentLength)
		}
		f.mu.Lock()
		already := f.stand[m].whole
		f.stand[m].whole = true
		f.mu.Unlock()
		if !already && (from > 0 || to < f.file.Size-1) {
			return 0, again("%s ignores ranges: the file comes from it as a whole.", a.at.Host)
		}
	case http.StatusRequestedRangeNotSatisfiable:
		f.forget(m)
		f.c.drain(a.Body)
		return 0, f.strike(m, "%s says that %s is shorter than the list says.", a.at.Host, ref.Quote(f.file.Path))
	default:
		f.forget(m)
		if cached && a.StatusCode >= 400 && a.StatusCode < 500 && a.StatusCode != 429 {
			f.c.drain(a.Body)
			return 0, again("%s does not serve an address any more that %s led to.", a.at.Host, s.url.Host)
		}
		return 0, f.c.refusal(f.spec, s, a)
	}
	if e := a.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return 0, f.strike(m, "%s packs the file as %s though it was asked not to.", a.at.Host, ref.Quote(clip(e)))
	}
	if a.sum != "" && f.file.SHA256 != "" && a.sum != f.file.SHA256 || a.size >= 0 && a.size != f.file.Size {
		return 0, f.other(m, a, a.size)
	}
	if a.commit != "" && hexDigits(f.spec.Revision, 40) && a.commit != f.spec.Revision {
		return 0, rejected(fault.Unavailable, "%s serves the revision %s instead of %s.", s.url.Host, a.commit[:12], f.spec.Revision[:12])
	}
	f.mu.Lock()
	f.stand[m].at = a.at
	f.mu.Unlock()
	return at, nil
}

// other says that a mirror has another file under the name: once may be a node of it that is behind, more often is not.
func (f *fetching) other(m int, a *answer, size int64) error {
	f.forget(m)
	return f.strike(m, "%s has another %s than the list says (%d bytes instead of %d).", a.at.Host, ref.Quote(f.file.Path), size, f.file.Size)
}

func (f *fetching) strike(m int, format string, args ...any) error {
	f.mu.Lock()
	f.stand[m].strikes++
	out := f.stand[m].strikes >= maxStrikes
	f.mu.Unlock()
	if out {
		return rejected(fault.Unavailable, format, args...)
	}
	return again(format, args...)
}

// state sees whether the mirror's file is still the one that earlier blocks came from. If it became another, those are
// dropped. A mirror that says so again and again is not believed where a checksum decides, and left where none does.
func (f *fetching) state(m int, a *answer) (string, error) {
	if a.etag == "" {
		return tagOf(f.sources[m], ""), nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &f.stand[m]
	tag := tagOf(f.sources[m], a.etag)
	stale := f.b.older(tag)
	if s.etag != "" && s.etag != a.etag || s.etag == "" && len(stale) > 0 {
		s.states++
	}
	s.etag = a.etag
	if len(stale) == 0 {
		return tag, nil
	}
	if s.states >= maxStates {
		if f.file.Checked() {
			return tag, nil
		}
		return "", rejected(fault.Unavailable, "%s changes %s while it is fetched, again and again.", f.sources[m].url.Host, ref.Quote(f.file.Path))
	}
	var n int64
	for _, i := range stale {
		_, k := f.b.span(i)
		n -= k
	}
	f.count(n)
	f.note(fmt.Sprintf("%s has another %s than before: %d blocks are fetched again.", f.sources[m].url.Host, f.file.Path, len(stale)))
	f.pending = append(f.pending, stale...)
	slices.Sort(f.pending)
	f.pending = slices.Compact(f.pending)
	f.cond.Broadcast()
	return tag, f.b.drop(stale)
}

// read takes the blocks of a run out of a body that begins at a byte of the file, and returns those that did not come.
func (f *fetching) read(body io.Reader, m int, at int64, run []int, tag string) ([]int, error) {
	buf := make([]byte, min(f.b.block, f.b.size))
	for k, i := range run {
		begin, n := f.b.span(i)
		if at < begin {
			skipped, err := io.CopyN(io.Discard, body, begin-at)
			if at += skipped; err != nil {
				return run[k:], again("%s broke off.", f.sources[m].url.Host)
			}
		}
		if err := f.one(body, i, buf[:n]); err != nil {
			return run[k:], again("%s broke off.", f.sources[m].url.Host)
		}
		at += n
		if err := f.keep(i, buf[:n], tag); err != nil {
			return run[k:], err
		}
	}
	return nil, nil
}

// one reads a block and counts its bytes as they come; those of a block that does not come whole are not there after all.
func (f *fetching) one(body io.Reader, i int, buf []byte) error {
	f.b.mu.Lock()
	had := f.b.have[i]
	f.b.mu.Unlock()
	for got := 0; got < len(buf); {
		n, err := io.ReadFull(body, buf[got:min(got+64<<10, len(buf))])
		if got += n; !had {
			f.count(int64(n))
		}
		if err != nil {
			if !had {
				f.count(int64(-got))
			}
			return err
		}
	}
	return nil
}

// keep takes a block. One that is there already was fetched again because the whole is wrong: what came counts as a vote, and
// takes the place of what was there unless that has more of them.
func (f *fetching) keep(i int, content []byte, tag string) error {
	f.b.mu.Lock()
	had, old := f.b.have[i], f.b.sums[i]
	f.b.mu.Unlock()
	s, wins := sumOf(content), true
	f.mu.Lock()
	f.dry = 0
	if v, ok := f.votes[i]; ok {
		f.votes[i] = append(v, s)
		wins = votesFor(f.votes[i], s) >= votesFor(f.votes[i], old)
	}
	f.mu.Unlock()
	if had && (s == old || !wins) {
		return nil
	}
	if f.room != nil && !had {
		if err := f.room(); err != nil {
			return err
		}
	}
	_, err := f.b.put(i, content, tag)
	return err
}

func votesFor(votes []sum, s sum) (n int) {
	for _, v := range votes {
		if v == s {
			n++
		}
	}
	return n
}
