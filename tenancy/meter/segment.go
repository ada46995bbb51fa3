package meter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/triarch-ai/triarch/internal/durable"
)

// segment is one mapped file. Slots are handed out by an atomic counter and written by their request alone.
type segment struct {
	number int64
	path   string
	data   []byte // header page, then slots
	slots  int64
	size   int64 // of a slot

	next    atomic.Int64 // slots handed out; may run past slots
	closed  atomic.Int64 // slots settled or voided
	shipped atomic.Int64 // slots that need no more shipping
	used    int64        // slots that will ever be used: slots, or fewer in a recovered segment
	dirty   atomic.Bool
	sent    []int64 // slots that the store acknowledged; guarded by the shipper's lock
	doubt   bool    // the store may have slots that it did not acknowledge; likewise

	file  *os.File      // for asynchronous flushes; nil of segments that were found
	woken chan struct{} // told when the segment becomes dirty; nil if nobody listens

	gate sync.RWMutex // held for reading while data is used by anybody but a slot's request
	gone bool
}

const segmentSuffix = ".seg"

func segmentName(number int64) string { return fmt.Sprintf("%020d%s", number, segmentSuffix) }

// segmentNumber reads the number from a file name; false for other files.
func segmentNumber(name string) (int64, bool) {
	stem, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(stem) != 20 {
		return 0, false
	}
	n, err := strconv.ParseInt(stem, 10, 64)
	return n, err == nil && n > 0
}

func (s *segment) slot(i int64) []byte {
	off := headerSize + i*s.size
	return s.data[off : off+s.size : off+s.size]
}

func (s *segment) touch() {
	if s.dirty.Load() || s.dirty.Swap(true) {
		return
	}
	select {
	case s.woken <- struct{}{}:
	default: // it was told already, or nobody listens
	}
}

// createSegment makes a file with all its blocks allocated, durable under its final name, and maps it. Zeros are
// written rather than reserved, so that a later store into the mapping cannot meet a full disk.
func createSegment(dir, node string, number int64, slots int) (*segment, error) {
	tmp := filepath.Join(dir, segmentName(number)) + ".new"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	s, err := nameSegment(f, dir, node, number, slots)
	if err != nil {
		f.Close()
		return nil, err
	}
	s.file = f
	return s, nil
}

// nameSegment fills the new file, gives it its name and maps it.
func nameSegment(f *os.File, dir, node string, number int64, slots int) (*segment, error) {
	path := filepath.Join(dir, segmentName(number))
	err := fillSegment(f, node, number, slots)
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return nil, err
	}
	if err := durable.SyncDir(dir); err != nil {
		return nil, err
	}
	return mapSegment(f, path, number, headerSize+int64(slots)*recordSize)
}

func fillSegment(f *os.File, node string, number int64, slots int) error {
	block := make([]byte, 64<<10)
	putHeader(block, node, number, slots)
	for left := headerSize + slots*recordSize; left > 0; {
		n, err := f.Write(block[:min(left, len(block))])
		if err != nil {
			return err
		}
		left -= n
		clear(block[:headerSize])
	}
	return f.Sync()
}

// mapSegment maps the first length bytes of a file, at least a header.
func mapSegment(f *os.File, path string, number, length int64) (*segment, error) {
	data, err := unix.Mmap(int(f.Fd()), 0, int(length), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	size := slotSize(data)
	slots := (length - headerSize) / size
	return &segment{number: number, path: path, data: data, slots: slots, size: size, used: slots}, nil
}

// openSegment maps an existing file. A file cut short gives the slots it still has.
func openSegment(path string, number int64) (*segment, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() < headerSize+recordSize1 || st.Size() > headerSize+maxSlots*recordSize {
		return nil, errNoSegment
	}
	s, err := mapSegment(f, path, number, st.Size())
	if err == nil && s.slots == 0 {
		return nil, errors.Join(errNoSegment, s.unmap())
	}
	return s, err
}

// sync writes what changed to the disk, by way of with where that can.
func (s *segment) sync(with *flusher) error {
	if !s.dirty.Swap(false) {
		return nil
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.gone {
		return nil
	}
	done, err := with.flush(s.file)
	if !done {
		err = os.NewSyscallError("msync", unix.Msync(s.data, unix.MS_SYNC))
	}
	if err != nil {
		s.touch()
	}
	return err
}

// finished says whether every slot is settled and shipped, so that the file is no longer needed.
func (s *segment) finished() bool {
	return s.shipped.Load() >= s.used
}

// unmap gives the memory back; the caller makes sure that no request still holds a slot.
func (s *segment) unmap() error {
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.gone {
		return nil
	}
	s.gone = true
	data := s.data
	s.data = nil
	if s.file != nil {
		s.file.Close()
	}
	return unix.Munmap(data)
}

// read copies the record in slot i.
func (s *segment) read(node string, i int64) (Record, slotState) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	r := Record{Node: node, Segment: s.number, Slot: i}
	if s.gone {
		return r, slotEmpty
	}
	state := readSlot(s.slot(i), &r)
	return r, state
}
