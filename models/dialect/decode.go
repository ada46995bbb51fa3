package dialect

import (
	"errors"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/dialect/wire"
)

// decoding is what the decoders share: cutting the stream, the events so far, and how it ended.
type decoding struct {
	split   wire.Splitter
	take    wire.Emit // one event of the wire; appends to events
	events  []Event
	started bool
	stopped bool // every choice that began has stopped: a stream may end here without saying so
	over    bool // Ended or Failed was given
	err     error
}

// maxCalls bounds the tool calls of one answer.
const maxCalls = 1024

func (d *decoding) Feed(p []byte) ([]Event, error) {
	d.events = d.events[:0]
	if d.err != nil {
		return nil, d.err
	}
	return d.result(d.split.Feed(p, d.guard))
}

func (d *decoding) End() ([]Event, error) {
	d.events = d.events[:0]
	if d.err != nil {
		return nil, d.err
	}
	err := d.split.End(d.guard)
	if err == nil && !d.over && d.stopped {
		d.give(Event{Kind: Ended})
	}
	if err == nil && !d.over {
		err = fault.New(fault.Unavailable, "The engine broke off its answer.", fault.Code("engine_failed"),
			fault.Fix("Try again in a moment."), fault.Cause(errors.New("dialect: the stream ends without its end")))
	}
	return d.result(err)
}

func (d *decoding) result(err error) ([]Event, error) {
	if err != nil {
		d.err = garbled(err)
	}
	return d.events, d.err
}

// guard ignores what follows the end.
func (d *decoding) guard(event string, data []byte) error {
	if d.over {
		return nil
	}
	return d.take(event, data)
}

func (d *decoding) give(e Event) {
	d.over = d.over || e.Kind == Ended || e.Kind == Failed
	d.events = append(d.events, e)
}

func (d *decoding) start(id, model string, created int64) {
	if !d.started {
		d.started = true
		d.give(Event{Kind: Started, ID: id, Model: model, Created: created})
	}
}

// calls numbers the tool calls of one choice in the order in which they appear.
type calls struct {
	by   map[int64]int
	last int64
}

// at gives the number of the call with a wire index; fresh when it is new. Too many are an error.
func (c *calls) at(index int64) (n int, fresh bool, err error) {
	c.last = index
	if n, ok := c.by[index]; ok {
		return n, false, nil
	}
	if c.by == nil {
		c.by = map[int64]int{}
	}
	if len(c.by) >= maxCalls {
		return 0, false, errors.New("dialect: too many tool calls")
	}
	n = len(c.by)
	c.by[index] = n
	return n, true, nil
}
