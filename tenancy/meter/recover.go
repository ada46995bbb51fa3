package meter

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
)

// recover maps the segments that earlier processes left, settles what is open and queues everything for shipping:
// the key of a record makes shipping twice harmless.
func (l *Ledger) recover() error {
	files, err := os.ReadDir(l.dir) // sorted by name, hence by number
	if err != nil {
		return fault.Wrap(err, "reading the ledger folder")
	}
	for _, f := range files {
		path := filepath.Join(l.dir, f.Name())
		if strings.HasSuffix(f.Name(), segmentSuffix+".new") {
			os.Remove(path)
			continue
		}
		number, ok := segmentNumber(f.Name())
		if !ok {
			continue
		}
		l.last = max(l.last, number)
		if err := l.recoverFile(path, number); err != nil {
			return err
		}
	}
	if r := l.recovered; r.Cut+r.Torn > 0 {
		l.opt.Log.Warn("ledger: settled what an earlier process left open",
			slog.Int("cut", r.Cut), slog.Int("torn", r.Torn), slog.Int("settled", r.Settled))
	}
	return nil
}

func (l *Ledger) recoverFile(path string, number int64) error {
	s, err := openSegment(path, number)
	if errors.Is(err, errNoSegment) {
		l.opt.Log.Error("ledger: a segment too short to hold records is set aside", slog.String("file", path))
		return os.Rename(path, path+".bad")
	}
	if err != nil {
		return fault.Wrap(err, "opening ledger segment "+path)
	}
	switch v := headerVersion(s.data); {
	case v > version:
		s.unmap()
		return fault.New(fault.Conflict, "The ledger was written by a newer version of Triarch.", fault.Fix("Start that version."))
	case v == 0:
		l.opt.Log.Error("ledger: a segment's header is damaged, its records are read all the same", slog.String("file", path))
	case headerNode(s.data) != l.node: // its records may be in the database under that name already
		name := headerNode(s.data)
		s.unmap()
		return fault.New(fault.Conflict, "The ledger's file "+path+" was written under the name "+strconv.Quote(name)+", not "+l.node+".",
			fault.Fix("Give the data directory its name back: write it into the file node."))
	}
	l.recoverSlots(s)
	s.doubt = true
	if err := s.sync(nil); err != nil {
		return fault.Wrap(err, "syncing ledger segment "+path)
	}
	if s.used == 0 {
		s.unmap()
		return os.Remove(path)
	}
	l.segments = append(l.segments, s)
	return nil
}

// recoverSlots settles the open slots of a segment and seals it. used counts its records, so that the segment is
// finished when they are shipped.
func (l *Ledger) recoverSlots(s *segment) {
	s.used = 0
	for i := range s.slots {
		b := s.slot(i)
		var r Record
		switch readSlot(b, &r) {
		case slotEmpty:
			continue
		case slotTorn:
			l.recovered.Torn++
			continue
		case slotOpen:
			l.recovered.Cut++
			cutSlot(b, l.opt.Now())
			s.dirty.Store(true)
		case slotDone:
			if r.Outcome == voided {
				continue
			}
			l.recovered.Settled++
		}
		s.used++
		l.queue = append(l.queue, ref{s, i})
	}
	s.next.Store(s.slots)
	s.closed.Store(s.slots)
}
