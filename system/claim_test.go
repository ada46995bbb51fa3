package system

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/storage/sql"
	"github.com/triarch-ai/triarch/storage/sql/sqltest"
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

// Two control planes on one database, the second on a copy of the first one's data directory: whoever took the claim last
// writes, the other writes nothing from that moment on, and ends.
func TestTwoControlPlanes(t *testing.T) {
	sqltest.EachDSN(t, func(t *testing.T, dsn string) {
		one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
		a, err := startOn(t, one, dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Stop(context.WithoutCancel(t.Context()))
		if err := os.Mkdir(two, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"node", "installation", "secret.key", "owner.key", "format"} {
			text, err := os.ReadFile(filepath.Join(one, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(two, name), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if a.db.Dialect() == sql.Postgres {
			if b, err := startOn(t, two, dsn); !fault.Is(err, fault.Conflict) {
				t.Fatalf("a second one started: %v %v", b, err)
			}
			err := a.db.Write(t.Context(), func(tx *sql.Tx) error { // the server ends what the first holds its claim by
				_, err := tx.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()")
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		b, err := startOn(t, two, dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Stop(context.WithoutCancel(t.Context()))
		// The first does not know it yet: nothing of what it does has an effect.
		late := map[string]error{
			"publishing": a.control.Publish(t.Context(), "late"),
			"retention":  a.control.Meter().Retain(t.Context(), "2020-01-01"),
		}
		_, late["a project"] = a.Tenancy.CreateProject(t.Context(), a.Org.ID, "late")
		for what, err := range late {
			if !fault.Is(err, fault.Conflict) || fault.As(err).Code != "claim_lost" {
				t.Errorf("%s by the first: %v", what, err)
			}
		}
		if err := b.control.Publish(t.Context(), "b"); err != nil {
			t.Error(err)
		}
		if err := <-a.Broken(); !fault.Is(err, fault.Conflict) {
			t.Errorf("the first ends with %v", err)
		}
		select {
		case err := <-b.Broken():
			t.Errorf("the second ends as well: %v", err)
		default:
		}
	})
}
