package system

import (
	"context"
	"os"
	"time"

	"github.com/triarch-ai/triarch/compute/queue"
	"github.com/triarch-ai/triarch/compute/sched"
)

// openQueue makes the planner of this machine's work. What it learns is a file of the data directory: losing it loses
// predictions and no promise.
func (s *System) openQueue() error {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	there, err := s.Config.capacity(host, s.cores())
	if err != nil {
		return err
	}
	conf := sched.Config{Round: s.Config.Compute.Round.Milliseconds(), MinRun: max(1, s.Config.Compute.MinRun.Milliseconds())}
	s.Queue = queue.New(queue.Options{Conf: conf, Capacity: there, Store: s.control.Queue(), Memory: queue.File(s.dir.File("schedule.learnt")),
		Now: time.Now, Log: s.Log, Changed: func() { s.Keeper.Wake() }})
	s.onStop("the queue", func(context.Context) error { return s.Queue.Close() })
	return nil
}
