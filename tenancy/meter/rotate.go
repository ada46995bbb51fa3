package meter

import (
	"log/slog"
	"os"
	"time"

	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
)

// make creates the next segment. Numbers come from the clock and never repeat, even when every file is gone.
func (l *Ledger) make() (*segment, error) {
	number := max(l.last+1, l.opt.Now().UnixMicro())
	s, err := createSegment(l.dir, l.node, number, l.opt.Slots)
	if err != nil {
		return nil, err
	}
	l.last, s.woken = number, l.dirty
	return s, nil
}

// roll puts the next segment in the place of a full one, unless somebody else has.
func (l *Ledger) roll(full *segment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.active.Load() != full {
		return nil
	}
	if len(l.segments) >= l.opt.MaxSegments {
		return fault.New(fault.Unavailable, "The database has not taken usage records for too long and the ledger is full.",
			fault.Fix("Bring the database back; requests are served again as soon as it is."))
	}
	next := l.spare
	l.spare = nil
	if next == nil {
		var err error
		if next, err = l.make(); err != nil {
			l.failed = err
			return noRoom(err)
		}
	}
	l.failed = nil
	l.segments = append(l.segments, next)
	l.active.Store(next)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

func noRoom(err error) error {
	return fault.New(fault.Unavailable, "Requests cannot be booked because the ledger cannot be written.",
		fault.Fix("Free some space on the disk of the data directory."), fault.Cause(err))
}

// spareLoop keeps one segment ready, once the active one is in use.
func (l *Ledger) spareLoop() {
	retry := time.NewTicker(time.Second)
	defer retry.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-l.wake:
		case <-retry.C:
		}
		if s := l.active.Load(); s.next.Load() > s.slots/2 {
			l.prepare()
		}
	}
}

func (l *Ledger) prepare() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spare != nil || len(l.segments) >= l.opt.MaxSegments {
		return
	}
	s, err := l.make()
	if err != nil {
		if l.failed == nil {
			l.opt.Log.Error("ledger: no room for another segment", slog.Any("error", err))
		}
		l.failed = err
		return
	}
	l.spare = s
}

// syncLoop is the group commit: whatever changed in one period reaches the disk with one call. A period begins with a
// change, so that an idle ledger wakes nobody.
func (l *Ledger) syncLoop() {
	period := time.NewTimer(l.opt.SyncEvery)
	defer period.Stop()
	failing := false
	for {
		select {
		case <-l.stop:
			return
		case <-l.dirty:
		}
		period.Reset(l.opt.SyncEvery)
		select {
		case <-l.stop:
			return
		case <-period.C:
		}
		err := l.Sync()
		if err != nil && !failing {
			l.opt.Log.Error("ledger: cannot reach the disk", slog.Any("error", err))
		}
		failing = err != nil
	}
}

// oldest is the number of the oldest file, after the removal of older ones is on the disk.
func (l *Ledger) oldest() (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.removed {
		if err := durable.SyncDir(l.dir); err != nil {
			return 0, fault.Wrap(err, "syncing the ledger folder")
		}
		l.removed = false
	}
	oldest := l.segments[0].number
	for _, s := range l.segments {
		oldest = min(oldest, s.number)
	}
	return min(oldest, l.stuck), nil
}

// drop removes the files of segments that are full, settled and shipped.
func (l *Ledger) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	keep := l.segments[:0]
	for _, s := range l.segments {
		if s == l.active.Load() || !s.finished() {
			keep = append(keep, s)
			continue
		}
		s.unmap()
		l.removed = true
		if err := os.Remove(s.path); err != nil {
			l.stuck = min(l.stuck, s.number) // it is read again at the next start
			l.opt.Log.Warn("ledger: a shipped segment could not be removed", slog.String("file", s.path), slog.Any("error", err))
		}
	}
	clear(l.segments[len(keep):])
	l.segments = keep
}
