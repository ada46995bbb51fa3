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
		v, done, err := look(c)
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
		if !away.IsZero() {
			if moved, err := a.client(); err == nil {
				c = moved
			}
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
