package meter

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Shipper moves settled records from a ledger to a store and drops the files that are no longer needed.
type Shipper struct {
	Ledger *Ledger
	Store  Store
	Every  time.Duration // pause between batches; 0 = a second
	Log    *slog.Logger

	mu      sync.Mutex // one batch at a time
	records []Record   // of the batch, kept for the next one
	told    int64      // the oldest file that the store knows of
}

const batch = 2000 // records of one transaction

// Loop ships until ctx ends, then once more. A store that fails is asked again after the pause; nothing is lost,
// the ledger keeps what was not taken.
func (s *Shipper) Loop(ctx context.Context) {
	every := s.Every
	if every <= 0 {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			s.report(s.Flush(last), &failing)
			return
		case <-tick.C:
			s.report(s.Flush(ctx), &failing)
		}
	}
}

func (s *Shipper) report(err error, failing *bool) {
	if s.Log != nil && err != nil && !*failing {
		s.Log.Error("ledger: the database does not take usage records; they wait in the ledger", slog.Any("error", err))
	}
	if s.Log != nil && err == nil && *failing {
		s.Log.Info("ledger: the database takes usage records again")
	}
	*failing = err != nil
}

// Flush ships everything that is settled when it is called, and returns when the store has it.
func (s *Shipper) Flush(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.Ledger
	l.queueMu.Lock()
	todo := l.queue
	l.queue = nil
	l.queueMu.Unlock()
	for len(todo) > 0 {
		n := min(batch, len(todo))
		if err := s.ship(ctx, todo[:n]); err != nil {
			l.queueMu.Lock()
			l.queue = append(todo, l.queue...)
			l.queueMu.Unlock()
			return err
		}
		todo = todo[n:]
	}
	l.drop()
	return s.tell(ctx)
}

// tell has the store know which files are gone, so that it need not remember what was in them.
func (s *Shipper) tell(ctx context.Context) error {
	oldest, err := s.Ledger.oldest()
	if err != nil || oldest <= s.told {
		return err
	}
	if err := s.Store.Oldest(ctx, s.Ledger.node, oldest); err != nil {
		return err
	}
	s.told = oldest
	return nil
}

func (s *Shipper) ship(ctx context.Context, refs []ref) error {
	records := s.records[:0]
	defer func() { s.records = records }()
	fresh := true
	for _, r := range refs {
		fresh = fresh && !r.seg.doubt
		rec, state := r.seg.read(s.Ledger.node, r.slot)
		if state != slotDone {
			return fmt.Errorf("meter: record %d of segment %d changed under the shipper", r.slot, r.seg.number)
		}
		records = append(records, rec)
	}
	put := s.Store.Ship
	if f, ok := s.Store.(FreshStore); ok && fresh {
		put = f.ShipFresh
	}
	if err := put(ctx, records); err != nil {
		for _, r := range refs { // what failed may have been stored all the same
			r.seg.doubt = true
		}
		return err
	}
	for _, r := range refs {
		r.seg.sent = append(r.seg.sent, r.slot)
		r.seg.shipped.Add(1)
	}
	return nil
}

// Verify proves that the books agree: it ships what is settled, compares every record still in the ledger with its
// row, and asks the store to compare rows with their prices and roll-ups with rows.
func (s *Shipper) Verify(ctx context.Context) (Books, error) {
	if err := s.Flush(ctx); err != nil {
		return Books{}, err
	}
	books, err := s.Store.Check(ctx)
	if err != nil {
		return Books{}, err
	}
	for number, records := range s.shipped() {
		rows, err := s.Store.Records(ctx, s.Ledger.node, number)
		if err != nil {
			return Books{}, err
		}
		records = slices.DeleteFunc(records, func(r Record) bool { return r.Day() < books.Floor })
		books.Ledger += int64(len(records))
		compare(&books, records, rows)
	}
	return books, nil
}

// shipped copies the records of all mapped segments that the store has acknowledged.
func (s *Shipper) shipped() map[int64][]Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[int64][]Record{}
	for _, seg := range s.Ledger.mapped() {
		for _, slot := range seg.sent {
			if r, state := seg.read(s.Ledger.node, slot); state == slotDone {
				all[seg.number] = append(all[seg.number], r)
			}
		}
	}
	return all
}

func compare(books *Books, ledger, rows []Record) {
	bySlot := make(map[int64]Record, len(rows))
	for _, r := range rows {
		bySlot[r.Slot] = r
	}
	for _, want := range ledger {
		got, ok := bySlot[want.Slot]
		switch {
		case !ok:
			books.fault("Record %d of segment %d is in the ledger but not in the database.", want.Slot, want.Segment)
		case got != want:
			books.fault("Record %d of segment %d differs between ledger and database.", want.Slot, want.Segment)
		}
	}
}

func (b *Books) fault(format string, args ...any) {
	if len(b.Faults) < 20 {
		b.Faults = append(b.Faults, fmt.Sprintf(format, args...))
	}
}
