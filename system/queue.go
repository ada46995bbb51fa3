package system

import (
	"context"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/compute/queue"
	"github.com/triarch-ai/triarch/compute/sched"
)

// openQueue makes the planner of this machine's work. What it learns is a file of the data directory: losing it loses
// predictions and no promise.
func (s *System) openQueue(ctx context.Context) error {
	host := hostName()
	there, err := s.Config.capacity(host, s.cores())
	if err != nil {
		return err
	}
	conf := sched.Config{Round: s.Config.Compute.Round.Milliseconds(), MinRun: max(1, s.Config.Compute.MinRun.Milliseconds())}
	menu := &queue.Menu{Catalogue: s.Chips, Processor: func() (chip.Chip, error) { return s.processor(0) }, Price: s.chipPrices.Of, Now: time.Now,
		Corrector: func(project string) estimate.Corrector { return s.Measured.For(project) }}
	s.Queue = queue.New(queue.Options{Speeds: menu.Speeds, Tell: menu.Tell, Worth: s.worth, Conf: conf, Capacity: there, Store: s.control.Queue(), Memory: queue.File(s.dir.File("schedule.learnt")),
		Now: time.Now, Log: s.Log, Changed: func() {
			if s.Keeper != nil {
				s.Keeper.Wake()
			}
		}, Declared: s.control.Devices(), Recompose: func(ctx context.Context) error { return s.devices.recompose(ctx) }, Resumed: s.resumed})
	s.onStop("the queue", func(context.Context) error { return s.Queue.Close() })
	return s.openDevices(ctx, there.Nodes[0].Name, there)
}

// worth is what an hour of a chip costs and what it draws, as far as anybody told.
func (s *System) worth(class string) (micros, watts int64) {
	micros, _ = s.chipPrices.Of(class)
	if c, err := s.Chips.Find(class); err == nil && c.Power != nil {
		watts = int64(c.Power.Value)
	}
	return micros, watts
}
