package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// event is one server-sent event.
type event struct {
	id, name string
	data     []byte
}

// maxEvent bounds one line of an event stream.
const maxEvent = 8 << 20

// readEvents calls f with each event until the stream ends or f fails. Comments and unknown fields are skipped, as
// the standard of event streams asks.
func readEvents(r io.Reader, f func(event) error) error {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 64<<10), maxEvent)
	var e event
	for in.Scan() {
		line := bytes.TrimSuffix(in.Bytes(), []byte("\r"))
		if len(line) == 0 {
			if e.data != nil {
				if err := f(e); err != nil {
					return err
				}
			}
			e = event{}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			e.id = string(value)
		case "event":
			e.name = string(value)
		case "data":
			if e.data == nil {
				e.data = []byte{} // an empty line of data is data, too
			} else {
				e.data = append(e.data, '\n')
			}
			e.data = append(e.data, value...)
		}
	}
	return in.Err()
}

// Between attempts to take up a broken stream of progress again.
const (
	watchAgain = 200 * time.Millisecond
	watchMost  = 10 * time.Second
)

// WatchRun calls f with each progress line of a run, from the beginning, and returns the run when it has ended. A
// broken stream, as when the server restarts, is taken up where it was; steps may then come twice. It gives up when
// the server stays away longer than patience (0: at once), when f fails, and with ctx.
func (c *Client) WatchRun(ctx context.Context, id string, patience time.Duration, f func(ProgressLine) error) (Run, error) {
	from, away, wait := "", time.Time{}, watchAgain
	for {
		r, err := c.watch(ctx, id, &from, func(l ProgressLine) error { away, wait = time.Time{}, watchAgain; return f(l) })
		if err == nil {
			return r, nil
		}
		if !fault.Is(err, fault.Unavailable) || ctx.Err() != nil {
			return Run{}, err
		}
		if away.IsZero() {
			away = time.Now()
		}
		if time.Since(away)+wait > patience {
			return Run{}, err
		}
		select {
		case <-ctx.Done():
			return Run{}, fault.Wrap(ctx.Err(), "watching the run")
		case <-time.After(wait):
		}
		wait = min(2*wait, watchMost)
	}
}

// watch follows one stream; from moves on with it.
func (c *Client) watch(ctx context.Context, id string, from *string, f func(ProgressLine) error) (Run, error) {
	resp, err := c.open(ctx, http.MethodGet, path("runs", id, "progress")+params("from", *from), "", nil)
	if err != nil {
		return Run{}, err
	}
	defer resp.Body.Close()
	var run Run
	ended := false
	var mine error // of f, not of the stream
	err = readEvents(resp.Body, func(e event) error {
		switch e.name {
		case "progress":
			var l ProgressLine
			if err := json.Unmarshal(e.data, &l); err != nil {
				return err
			}
			if mine = f(l); mine != nil {
				return mine
			}
			if e.id != "" {
				*from = e.id
			}
		case "end":
			ended = true
			return json.Unmarshal(e.data, &run)
		}
		return nil
	})
	switch {
	case mine != nil:
		return Run{}, mine
	case err == nil && ended:
		return run, nil
	case ctx.Err() != nil:
		return Run{}, fault.Wrap(ctx.Err(), "watching the run")
	}
	return Run{}, fault.New(fault.Unavailable, "The stream of the run's progress broke off.", fault.Cause(err))
}
