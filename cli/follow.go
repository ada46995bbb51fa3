package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
)

// follow looks again and again until look is done or fails. A server that goes away meanwhile, as when the control
// plane restarts, is waited for; it may come back at another address, which the data directory tells. When the person
// ends the waiting, resume is the command line printed to take it up again; empty prints none.
func follow[T any](ctx context.Context, a *app, c *api.Client, resume string, look func(*api.Client) (T, bool, error)) (T, error) {
	var away time.Time
	for {
		v, done, err := sought(a, &c, !away.IsZero(), look)
		switch {
		case err == nil && done:
			return v, nil
		case err == nil:
			away = time.Time{}
		case ctx.Err() != nil: // the look was cut short, see below
		case !fault.Is(err, fault.Unavailable):
			return v, err
		case away.IsZero():
			away = a.Now()
			fmt.Fprintf(a.Err, "%s does not answer; waiting up to %s for it to come back\n", c.URL(), a.patience)
		case a.Now().Sub(away) > a.patience:
			return v, a.reachable(err)
		}
		select {
		case <-ctx.Done():
			if resume != "" {
				a.Printf("\nit goes on; `%s` looks again\n", a.command("%s", resume))
			}
			return v, ctx.Err()
		case <-time.After(a.again):
		}
	}
}

// sought is one look. At a server that was away the address is read anew, and while the data directory is nobody's, no key
// is sent to whoever listens there now.
func sought[T any](a *app, c **api.Client, away bool, look func(*api.Client) (T, bool, error)) (v T, done bool, err error) {
	if away {
		moved, err := a.client()
		if err != nil {
			return v, false, err
		}
		*c = moved
	}
	return look(*c)
}
