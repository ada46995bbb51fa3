package system

import (
	"context"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/chip/cpu"
	"github.com/triarch-ai/triarch/compute/perf/measured"
)

// openMeasured reads the catalogue and what was measured so far.
func (s *System) openMeasured(ctx context.Context) (err error) {
	if s.Chips, err = chip.Load(s.dir.File(chip.OverlayName)); err != nil {
		return err
	}
	s.Measured = &measured.Service{Book: &measured.Book{Now: time.Now}, Store: s.control.Measured(), Now: time.Now, Log: s.Log}
	return s.Measured.Load(ctx)
}

// processors keeps what is known of this machine's processor.
type processors struct {
	mu  sync.Mutex
	dev *chip.Device
}

// processor is so many of this machine's cores as a chip; what was not measured yet is unknown.
func (s *System) processor(cores int) (chip.Chip, error) {
	base, err := s.Chips.Find(chip.ProcessorID)
	if err != nil {
		return chip.Chip{}, err
	}
	s.cpu.mu.Lock()
	defer s.cpu.mu.Unlock()
	if s.cpu.dev == nil {
		d := processor(s.Config.Data, false, false)
		s.cpu.dev = &d
	}
	return chip.Processor(base, s.cpu.dev, cores), nil
}

// When the processor is measured: not while the first work of a new installation begins, and on a busy machine later, but
// not for ever later. What a busy machine told is measured anew once it is idle.
const (
	measureAfter = time.Minute
	measureBy    = 20 * time.Minute
	idle         = 0.5 // threads that want a core, for each core
)

// measureLoop measures the processor once in the life of a data directory, or twice where the machine was busy.
func (s *System) measureLoop(ctx context.Context) {
	start, cores := time.Now(), float64(s.cores())
	for {
		if _, err := s.processor(0); err != nil {
			return
		}
		s.cpu.mu.Lock()
		known, load := s.cpu.dev.Bandwidth != nil, s.cpu.dev.Load
		s.cpu.mu.Unlock()
		if known && load <= idle*cores {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(measureAfter):
		}
		d := processor(s.Config.Data, false, false) // `chip scan` may have measured it meanwhile
		if now := cpu.Load(); d.Bandwidth == nil && now > idle*cores && time.Since(start) < measureBy {
			continue
		} else if now <= idle*cores || d.Bandwidth == nil {
			d = processor(s.Config.Data, d.Bandwidth != nil, true)
		}
		s.cpu.mu.Lock()
		s.cpu.dev = &d
		s.cpu.mu.Unlock()
		if d.Bandwidth == nil {
			s.Log.Warn("what the processor reaches cannot be measured; predictions for it are refused", "notes", d.Notes)
			return
		}
		if known && d.Load > idle*cores {
			continue
		}
		s.Log.Info("the processor was measured", "operations", d.FP32.Value, "bytes", d.Bandwidth.Value, "load", d.Load)
	}
}
