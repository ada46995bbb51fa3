package meter

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Options tune a ledger; the zero value is right for production.
type Options struct {
	Slots       int           // records per segment file; 0 = 16384 (8 MiB)
	MaxSegments int           // segments that may wait for shipping before requests are refused; 0 = 256 (2 GiB)
	SyncEvery   time.Duration // from the first change to its group commit; 0 = 15 ms, which with the commit itself stays below 20; negative = only at Sync
	Now         func() time.Time
	Log         *slog.Logger
}

const (
	defaultSlots = 16384
	maxSlots     = 1 << 22
)

var errNoSegment = errors.New("meter: not a ledger segment")

// Ledger is the crash-safe list of requests of one node: mapped segment files in one folder. The folder must be on a
// local file system that writes in place; on a full one that copies on write, a store into a mapping can end the process.
// All methods are safe for concurrent use.
type Ledger struct {
	dir, node string
	opt       Options
	lock      *os.File

	active atomic.Pointer[segment]

	mu       sync.Mutex
	segments []*segment // all mapped ones, oldest first, active among them
	spare    *segment   // made ahead, so that Begin does not wait for the disk
	last     int64      // highest segment number
	failed   error      // why there is no spare
	removed  bool       // files were, and the folder is not synced since
	stuck    int64      // lowest number of a file that could not be removed; else the largest int64

	queueMu sync.Mutex
	queue   []ref // settled, not yet shipped

	recovered Recovery
	wake      chan struct{}
	dirty     chan struct{} // a segment became dirty
	flusher   *flusher      // nil where there is none
	stop      chan struct{}
	done      sync.WaitGroup
}

type ref struct {
	seg  *segment
	slot int64
}

// Recovery is what Open found left by an earlier process.
type Recovery struct {
	Settled int // settled, perhaps not yet shipped
	Cut     int // open when the process died; settled from the live word
	Torn    int // not whole: begun in the instant of death, nothing was delivered
}

// Stats are counts for status pages and metrics.
type Stats struct {
	Segments  int   // mapped files
	Open      int64 // requests running
	Unshipped int   // settled records waiting for the database
}

// Open opens the ledger in dir, which it creates, for one process at a time, and settles what an earlier process
// left open with outcome Cut. node names this ledger for ever in the keys of shipped records.
func Open(dir, node string, opt Options) (*Ledger, error) {
	opt.fill()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Wrap(err, "making the ledger folder")
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	l := &Ledger{dir: dir, node: node, opt: opt, lock: lock, stuck: math.MaxInt64, wake: make(chan struct{}, 1), dirty: make(chan struct{}, 1), stop: make(chan struct{})}
	if err := l.recover(); err != nil {
		l.release()
		return nil, err
	}
	first, err := l.make()
	if err != nil {
		l.release()
		return nil, noRoom(err)
	}
	l.segments = append(l.segments, first)
	l.active.Store(first)
	l.done.Go(l.spareLoop)
	if opt.SyncEvery > 0 {
		l.flusher = newFlusher()
		l.done.Go(l.syncLoop)
	}
	return l, nil
}

func (o *Options) fill() {
	if o.Slots <= 0 || o.Slots > maxSlots {
		o.Slots = defaultSlots
	}
	if o.MaxSegments <= 0 {
		o.MaxSegments = 256
	}
	if o.SyncEvery == 0 {
		o.SyncEvery = 15 * time.Millisecond
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fault.Wrap(err, "locking the ledger")
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fault.New(fault.Conflict, "The ledger "+dir+" is in use by another process.",
			fault.Fix("End it first, or use another data directory."), fault.Cause(err))
	}
	return f, nil
}

// Recovered says what Open found.
func (l *Ledger) Recovered() Recovery { return l.recovered }

// Node is the name given to Open.
func (l *Ledger) Node() string { return l.node }

// Stats counts what is there now.
func (l *Ledger) Stats() Stats {
	l.mu.Lock()
	st := Stats{Segments: len(l.segments)}
	for _, s := range l.segments {
		st.Open += min(s.next.Load(), s.slots) - s.closed.Load()
	}
	l.mu.Unlock()
	l.queueMu.Lock()
	st.Unshipped = len(l.queue)
	l.queueMu.Unlock()
	return st
}

// Entry is one running request. It belongs to one goroutine.
type Entry struct {
	l    *Ledger
	seg  *segment
	slot int64
}

// Begin writes the identity of a request before it is served. It fails with a fault of kind Unavailable when the
// disk has no room for another segment; nothing must be served then.
func (l *Ledger) Begin(i *Identity) (Entry, error) {
	for {
		s := l.active.Load()
		if n := s.next.Add(1) - 1; n < s.slots {
			putIdentity(s.slot(n), i)
			s.touch()
			return Entry{l: l, seg: s, slot: n}, nil
		}
		if err := l.roll(s); err != nil {
			return Entry{}, err
		}
	}
}

// Asked notes which deployment (dep_...) or which provider's model (prv_.../MODEL) is asked now; the last one stays.
func (e *Entry) Asked(backend string) {
	putBackend(e.seg.slot(e.slot), backend)
	e.seg.touch()
}

// Live replaces the counts of what the client has, by two atomic stores. Call it before each write to the client
// with the totals that include the write.
func (e *Entry) Live(u Usage) {
	putLive(e.seg.slot(e.slot), u)
	e.seg.touch()
}

// Settle ends the request with its final counts and returns the cost in micro-units. Only the first Settle or Void
// of an entry counts; later ones return 0.
func (e *Entry) Settle(o Outcome, u Usage, w Work) int64 {
	if e.seg == nil {
		return 0
	}
	b := e.seg.slot(e.slot)
	putLive(b, u)
	cost := putSettled(b, o, u, w, e.l.opt.Now())
	e.close(true)
	return cost
}

// Void ends the request as if it had not been: no row, no bill. For requests that were refused or failed before
// anything was delivered.
func (e *Entry) Void() {
	if e.seg == nil {
		return
	}
	b := e.seg.slot(e.slot)
	putLive(b, Usage{})
	putSettled(b, voided, Usage{}, Work{}, e.l.opt.Now())
	e.close(false)
}

func (e *Entry) close(ship bool) {
	s, l := e.seg, e.l
	e.seg = nil
	s.touch()
	if ship {
		l.queueMu.Lock()
		l.queue = append(l.queue, ref{s, e.slot})
		l.queueMu.Unlock()
	} else {
		s.shipped.Add(1)
	}
	s.closed.Add(1)
}

// Sync writes everything that changed to the disk now.
func (l *Ledger) Sync() error {
	var errs []error
	for _, s := range l.mapped() {
		errs = append(errs, s.sync(l.flusher))
	}
	return errors.Join(errs...)
}

func (l *Ledger) mapped() []*segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.segments)
}

// Close syncs and lets another process open the ledger. Requests must have ended: a segment that still has an open
// request stays mapped until the process exits, and its requests are settled as Cut by the next Open.
func (l *Ledger) Close() error {
	close(l.stop)
	l.done.Wait()
	err := l.Sync()
	l.release()
	return err
}

func (l *Ledger) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		if min(s.next.Load(), s.slots) == s.closed.Load() {
			s.unmap()
		}
	}
	if l.spare != nil {
		l.spare.unmap()
	}
	l.flusher.close()
	l.lock.Close()
}
