package system

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

func (s *System) startLoops(context.Context) error {
	s.loop(func(ctx context.Context) { s.Shipper.Loop(ctx) })
	s.loop(s.chipPriceLoop)
	s.loop(func(ctx context.Context) { s.Keyring.Loop(ctx, time.Second, s.Log) })
	s.loop(s.Book.Keep)
	if s.Follower != nil {
		s.loop(s.followLoop)
	}
	if s.Config.has("control") && s.Config.postgres() {
		s.loop(s.publishLoop)
	}
	if s.Config.has("control") {
		s.loop(func(ctx context.Context) { _ = s.Keeper.Loop(ctx) }) // its only error is that ctx ended
		s.loop(s.healthLoop)
		s.loop(s.collectLoop)
		s.loop(s.measureLoop)
		s.loop(s.Webhooks.Loop)
		s.loop(s.Pulls.Loop)
		s.loop(s.retainLoop)
		s.loop(func(ctx context.Context) { s.each(ctx, time.Second, "canaries", s.Serve.JudgeCanaries) })
	}
	if s.Config.has("control") {
		s.loop(func(ctx context.Context) { s.reconcileLoop(ctx, s.wake[0], "runs", s.Train.Reconcile) })
		s.loop(func(ctx context.Context) { s.reconcileLoop(ctx, s.wake[1], "deployments", s.Serve.Reconcile) })
	}
	if s.Config.has("gateway") {
		s.loop(func(ctx context.Context) { s.Explain.Loop(ctx, time.Now) })
		life := s.ids.New("life") // of this start: what it counts is told as a whole
		s.loop(func(ctx context.Context) {
			s.each(ctx, time.Second, "counts of canaries", func(ctx context.Context) error { return s.trials.Tell(ctx, s.db.Serve(), life) })
		})
	}
	s.loop(s.claimLoop)
	s.onStop("the loops", func(context.Context) error {
		s.cancel()
		s.tasks.Wait()
		return nil
	})
	return nil
}

func (s *System) loop(f func(context.Context)) { s.tasks.Go(func() { f(s.loops) }) }

// nudge has the reconcile loops look again soon.
func (s *System) nudge() {
	for _, w := range s.wake {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// reconcileLoop brings runs or deployments forward when a job changed and at least every half second. The same
// failure is told once, not at every pass.
func (s *System) reconcileLoop(ctx context.Context, wake <-chan struct{}, what string, pass func(context.Context) error) {
	t := time.NewTicker(500 * time.Millisecond)
	defer t.Stop()
	told := ""
	for ctx.Err() == nil {
		err := pass(ctx)
		switch {
		case err != nil && ctx.Err() == nil && err.Error() != told:
			s.Log.Error(what+" could not all be brought forward", "error", err)
			told = err.Error()
		case err == nil && told != "":
			s.Log.Info(what + " are brought forward again")
			told = ""
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-t.C:
		}
	}
}

// each does something again and again; the same failure is told once.
func (s *System) each(ctx context.Context, every time.Duration, what string, do func(context.Context) error) {
	t := time.NewTicker(every)
	defer t.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		err := do(ctx)
		if err != nil && !failing {
			s.complain(ctx, what+" cannot be brought forward; the next pass tries again", err)
		}
		failing = err != nil
	}
}

// retainLoop drops the records of requests that are older than they are kept.
func (s *System) retainLoop(ctx context.Context) {
	days := s.Config.Retention.Records
	if days == 0 {
		return
	}
	t := time.NewTicker(time.Hour)
	defer t.Stop()
	for {
		floor := time.Now().UTC().AddDate(0, 0, -days).Format(time.DateOnly)
		s.complain(ctx, "old usage records cannot be dropped; the next hour tries again", s.control.Meter().Retain(ctx, floor))
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// chipPriceLoop has the gateway know what chips cost within seconds, whichever process was told.
func (s *System) chipPriceLoop(ctx context.Context) {
	t := time.NewTicker(3 * time.Second)
	defer t.Stop()
	failing := false
	for {
		prices, err := s.db.Meter().ChipPrices(ctx)
		if err == nil {
			if s.chipPrices.Set(prices) && s.Queue != nil {
				s.Queue.Reprice()
			}
		} else if !failing {
			s.complain(ctx, "prices of chips cannot be read; those known before hold", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// claim is the right to be the control plane of a database, as claimLoop looks after it.
type claim interface {
	// Check says whether it still stands; fault.Conflict when another process has it.
	Check(ctx context.Context) error
	// Retake takes it again after it was lost; fault.Conflict when another process has or had it.
	Retake(ctx context.Context) error
}

// How often claims are looked after, and how long one look may take.
const (
	claimEvery = 2 * time.Second
	claimTime  = 5 * time.Second
)

// claimLoop ends the process when another one has become the control plane of this database. While the database is away
// nobody can, and streams go on; the claim is taken again as soon as it is back. In between nothing depends on this loop:
// what is written through s.control proves the claim by itself, so a control plane that is none any more writes nothing.
func (s *System) claimLoop(ctx context.Context) {
	t := time.NewTicker(claimEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, c := range s.claims {
			err := s.holds(ctx, c)
			if fault.Is(err, fault.Conflict) {
				s.broken <- err
				return
			}
			s.complain(ctx, "the claim on the database is lost, and taken again when the database is back", err)
		}
	}
}

// holds says whether the claim stands, after it took it again where it was lost.
func (s *System) holds(ctx context.Context, c claim) error {
	ctx, cancel := context.WithTimeout(ctx, claimTime)
	defer cancel()
	err := c.Check(ctx)
	if err == nil || ctx.Err() != nil || fault.Is(err, fault.Conflict) {
		return err
	}
	return c.Retake(ctx)
}

func (s *System) complain(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		s.Log.Error(what, "error", err)
	}
}
