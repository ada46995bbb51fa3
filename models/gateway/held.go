package gateway

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/models/guard"
)

// heldBack is a sink that lets nothing of an answer out that was not judged. It stands between the flow and the client,
// and reads the caller's dialect, so that it sees just what would leave, whichever way it was made.
//
// A whole answer waits until all of it was judged. A stream waits by pieces: its events are held until they say so many
// characters, or half as many and a sentence ends, or the stream does. Each piece is judged together with the end of the
// one before. What is refused never leaves; the stream gets the ending that its dialect has for a filter. What the engine
// made is billed all the same: the sink stands behind the book.
type heldBack struct {
	Sink
	g      *guarded
	ctx    context.Context
	kind   dialect.Kind
	stream bool
	status int

	begun  bool  // something left
	over   bool  // nothing more may
	failed error // why nothing could be judged, or what the client's end broke with

	body   []byte // of a whole answer that comes in pieces
	kept   []byte // of a whole answer that was judged already
	keptIs error

	part  []byte // of an event whose end has not come
	held  []byte // events that wait
	said  []*speech
	chars int // of what they say
	parts int // judged
	seen  strings.Builder

	track track
}

// speech is what one choice says.
type speech struct {
	choice int
	text   strings.Builder // that waits
	tail   string          // of what was judged before
}

const (
	maxHeld    = 1 << 20 // bytes of events that wait
	maxSeen    = 8 << 20 // bytes of a response that are remembered
	maxOverlap = 1 << 10 // bytes of a piece that are judged again with the next
)

// errStopped has the flow stop: the caller is given nothing more.
var errStopped = errors.New("gateway: the answer was stopped by its guard")

func newHeldBack(ctx context.Context, g *guarded, to Sink) *heldBack {
	w := &heldBack{Sink: to, g: g, ctx: ctx, kind: g.f.caller(), stream: g.f.fields.stream}
	w.track = newTrack(g.f)
	return w
}

// WriteHeader implements Sink. Refusals of engines are not answers and pass.
func (w *heldBack) WriteHeader(status int) {
	if w.status = status; status != http.StatusOK {
		w.Sink.WriteHeader(status)
	}
}

// Flush implements Sink: what may leave was flushed.
func (w *heldBack) Flush() error {
	if w.over {
		return errStopped
	}
	return nil
}

// Write implements Sink.
func (w *heldBack) Write(b []byte) (int, error) {
	var err error
	switch {
	case w.over:
		return 0, errStopped
	case w.status != 0 && w.status != http.StatusOK:
		return w.Sink.Write(b)
	case w.stream:
		err = w.take(b)
	case len(w.body) == 0 && w.Header().Get("Content-Length") == strconv.Itoa(len(b)):
		err = w.whole(b)
	default:
		w.body = append(w.body, b...)
	}
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// end lets the rest out when the flow is done, which ended with err.
func (w *heldBack) end(err error) error {
	switch {
	case w.over && !w.begun && w.failed != nil:
		return w.failed
	case err != nil || w.over:
		return err
	case w.stream:
		if len(w.part) > 0 {
			_ = w.event(w.part)
		}
		if !w.over && w.judge() == nil {
			_ = w.release()
		}
	case len(w.body) > 0:
		_ = w.whole(w.body)
	}
	if !w.begun {
		return w.failed
	}
	return nil
}

// whole has a whole answer judged, and lets it or what stands for it out.
func (w *heldBack) whole(b []byte) error {
	err := w.keptIs
	if !bytes.Equal(b, w.kept) {
		text, readable := guard.Answer(b)
		err = w.g.whole(w.ctx, guard.After, text, readable && gjson.ValidBytes(b))
	}
	switch {
	case errors.Is(err, errRefused):
		w.g.stopped = true
		b = w.track.filtered(b)
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	case err != nil:
		w.over, w.failed = true, err
		return errStopped
	}
	w.begun, w.over = true, true
	w.Sink.WriteHeader(http.StatusOK)
	_, err = w.Sink.Write(b)
	return err
}

// keeping has a response that somebody keeps judged before that. What is refused is not kept, and no failure of the flow.
func (w *heldBack) keeping(keep func([]byte) error) func([]byte) error {
	return func(answer []byte) error {
		if w.over {
			return nil
		}
		if w.stream {
			if w.judge() != nil || w.fresh(answer) != nil {
				return nil
			}
			return keep(answer)
		}
		text, readable := guard.Answer(answer)
		w.kept, w.keptIs = answer, w.g.whole(w.ctx, guard.After, text, readable)
		if w.keptIs != nil {
			return nil
		}
		return keep(answer)
	}
}

// fresh has judged what an answer says that its stream has not said yet.
func (w *heldBack) fresh(answer []byte) error {
	list, readable := guard.Pieces(answer)
	if !readable {
		return w.unreadable()
	}
	for _, s := range list {
		w.hear(0, s, false)
	}
	return w.judge()
}

// take takes a piece of a stream.
func (w *heldBack) take(b []byte) error {
	if w.g.f.call.Array { // our own codec's, event by event
		return w.event(b)
	}
	w.part = append(w.part, b...)
	at := 0
	for {
		n := eventEnd(w.part[at:])
		if n == 0 {
			break
		}
		if err := w.event(w.part[at : at+n]); err != nil {
			return err
		}
		at += n
	}
	w.part = append(w.part[:0], w.part[at:]...)
	if len(w.part) > maxEvent {
		return w.fail(brokeOff(errors.New("gateway: an event is too long")))
	}
	return nil
}

// eventEnd is the length of the first whole event; 0 if there is none.
func eventEnd(b []byte) int {
	best := 0
	for _, gap := range [...]string{"\n\n", "\r\n\r\n", "\n\r\n", "\r\r"} {
		if i := bytes.Index(b, []byte(gap)); i >= 0 && (best == 0 || i+len(gap) < best) {
			best = i + len(gap)
		}
	}
	return best
}

// event takes a whole event. Once something has left, one that says nothing while nothing waits leaves at once; before, it
// waits for the first words, so that an answer of which nothing leaves can still be refused with a status of its own.
func (w *heldBack) event(e []byte) error {
	readable := true
	for _, data := range w.datas(e) {
		readable = w.listen(data) && readable
	}
	if !readable {
		if err := w.unreadable(); err != nil {
			return err
		}
	}
	w.held = append(w.held, e...)
	most := w.g.p.Held()
	if (w.chars > 0 || !w.begun) && w.chars < most && len(w.held) < maxHeld && !(w.chars >= most/2 && w.sentence()) {
		return nil
	}
	if err := w.judge(); err != nil {
		return err
	}
	return w.release()
}

// datas are the JSON values of an event.
func (w *heldBack) datas(e []byte) (list [][]byte) {
	if w.g.f.call.Array {
		body := bytes.TrimLeft(e, "[, \r\n\t")
		body = bytes.TrimRight(body, "] \r\n\t")
		if len(body) > 0 {
			list = append(list, append(append([]byte("["), body...), ']'))
		}
		return list
	}
	var data []byte
	for line := range bytes.SplitSeq(e, []byte("\n")) {
		if x, ok := bytes.CutPrefix(bytes.TrimRight(line, "\r"), []byte("data:")); ok {
			data = append(append(data, bytes.TrimPrefix(x, []byte(" "))...), '\n')
		}
	}
	if data = bytes.TrimSpace(data); len(data) > 0 && string(data) != "[DONE]" {
		list = append(list, data)
	}
	return list
}

// listen hears what one value says; false if it cannot be read.
func (w *heldBack) listen(data []byte) bool {
	if !gjson.ValidBytes(data) {
		return false
	}
	if w.kind == dialect.Responses {
		again := !strings.HasSuffix(gjson.GetBytes(data, "type").Str, ".delta")
		list, readable := guard.Pieces(data)
		for _, s := range list {
			w.hear(0, s, !again)
		}
		return readable
	}
	readable := true
	each := func(v []byte) {
		readable = guard.Delta(v, func(choice int, text string) { w.hear(choice, text, true) }) && readable
	}
	if x := gjson.ParseBytes(data); x.IsArray() {
		x.ForEach(func(_, v gjson.Result) bool {
			each([]byte(v.Raw))
			return true
		})
		return readable
	}
	each(data)
	return readable
}

// hear adds a text to what a choice says, but for one that was said before where it may be said again.
func (w *heldBack) hear(choice int, text string, first bool) {
	if !first && strings.Contains(w.seen.String(), text) {
		return
	}
	if w.kind == dialect.Responses && w.seen.Len()+len(text) <= maxSeen {
		w.seen.WriteString(text)
	}
	choice = min(max(choice, 0), maxChoices*maxPrompts)
	for i := range w.said {
		if w.said[i].choice == choice {
			w.said[i].text.WriteString(text)
			w.chars += utf8.RuneCountInString(text)
			return
		}
	}
	w.said = append(w.said, &speech{choice: choice})
	w.said[len(w.said)-1].text.WriteString(text)
	w.chars += utf8.RuneCountInString(text)
}

// sentence says whether what waits ends with one.
func (w *heldBack) sentence() bool {
	for _, s := range w.said {
		if text := strings.TrimRight(guard.Tail(s.text.String(), 8), " "); text != "" && !strings.ContainsAny(text[len(text)-1:], ".!?\n") && !strings.HasSuffix(text, "。") {
			return false
		}
	}
	return true
}

// judge has judged what waits; an error has stopped the answer.
func (w *heldBack) judge() error {
	if w.over {
		return errStopped
	}
	for _, s := range w.said {
		if s.text.Len() == 0 {
			continue
		}
		text := s.text.String()
		for _, part := range guard.Parts(s.tail + text) {
			if err := w.g.judge(w.ctx, &guard.Ask{When: guard.After, Text: part, Part: w.parts}); err != nil {
				return w.stop(err)
			}
			w.parts++
		}
		s.tail = guard.Tail(s.tail+text, min(maxOverlap, w.g.p.Held()))
		s.text.Reset()
	}
	w.chars = 0
	return nil
}

// unreadable is what becomes of an event that cannot be read.
func (w *heldBack) unreadable() error {
	err := w.g.unjudged(guard.After, fault.New(fault.Unavailable, "The engine sent an answer that cannot be judged.", fault.Code(guardCode)))
	if err != nil {
		return w.fail(err)
	}
	return nil
}

// release lets out what waits.
func (w *heldBack) release() error {
	if len(w.held) == 0 {
		return nil
	}
	w.track.follow(w)
	return w.out(w.held)
}

// out writes to the client.
func (w *heldBack) out(b []byte) error {
	if f := w.g.f; !w.begun && !f.settled {
		f.first = f.Now().Sub(f.began)
	}
	w.begun = true
	_, err := w.Sink.Write(b)
	if err == nil {
		err = w.Sink.Flush()
	}
	w.held = w.held[:0]
	if err != nil {
		w.over, w.failed = true, err
	}
	return err
}

// stop ends a stream over what judge says.
func (w *heldBack) stop(err error) error {
	switch {
	case w.ctx.Err() != nil: // nobody is there
		w.over, w.failed = true, err
		return err
	case !errors.Is(err, errRefused):
		return w.fail(err)
	}
	w.g.stopped = true
	_ = w.out(w.track.ending())
	w.over = true
	return errStopped
}

// fail ends a stream that cannot be judged: with an error of its own if nothing has left.
func (w *heldBack) fail(err error) error {
	w.failed = err
	if w.begun {
		w.g.failed = true
		_ = w.out(w.track.failure(err))
	}
	w.over = true
	return errStopped
}
