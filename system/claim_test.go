package system

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// lostClaim is a claim whose database goes away and comes back, and which another process may take meanwhile.
type lostClaim struct {
	away, held, taken bool // held: its connection stands
	checks, retakes   int
	hang              bool // the database does not even refuse
}

func (c *lostClaim) Check(ctx context.Context) error {
	c.checks++
	switch {
	case c.hang:
		<-ctx.Done()
		return ctx.Err()
	case c.away:
		c.held = false
		return fault.New(fault.Unavailable, "away")
	case c.taken:
		return fault.New(fault.Conflict, "taken")
	case !c.held:
		return fault.New(fault.Unavailable, "lost")
	}
	return nil
}

func (c *lostClaim) Retake(context.Context) error {
	c.retakes++
	switch {
	case c.away:
		return fault.New(fault.Unavailable, "away")
	case c.taken:
		return fault.New(fault.Conflict, "taken")
	}
	c.held = true
	return nil
}

// Through an outage the control plane goes on, and takes its claim again when the database is back; when another has it by
// then, it ends, at once and not before.
func TestTheClaimThroughAnOutage(t *testing.T) {
	for name, c := range map[string]struct {
		taken, hang bool
	}{"back": {}, "taken by another": {taken: true}, "nothing answers, then back": {hang: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				claimed := &lostClaim{held: true}
				s := &System{Log: slog.New(slog.DiscardHandler), claims: []claim{claimed}, broken: make(chan error, 1)}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); s.claimLoop(ctx) }()
				after := func(d time.Duration) {
					time.Sleep(d)
					synctest.Wait()
				}
				after(10*claimEvery + 1)
				if claimed.checks != 10 || claimed.retakes != 0 {
					t.Errorf("in peace: %+v", claimed)
				}
				claimed.away, claimed.hang = true, c.hang
				after(time.Minute)
				if len(s.broken) > 0 || claimed.held && !c.hang {
					t.Errorf("while the database was away: %+v, broken %d", claimed, len(s.broken))
				}
				claimed.away, claimed.hang, claimed.taken = false, false, c.taken
				after(claimTime + claimEvery)
				if got := len(s.broken) > 0; got != c.taken {
					t.Errorf("taken: %v, ended: %v", c.taken, got)
				}
				if !c.taken && !claimed.held {
					t.Error("the claim was not taken again")
				}
				if c.taken {
					if err := <-s.broken; !fault.Is(err, fault.Conflict) {
						t.Error(err)
					}
				}
				cancel()
				<-done
			})
		})
	}
}
