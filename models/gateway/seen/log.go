package seen

import (
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/obs"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/gateway"
	"github.com/triarch-ai/triarch/tenancy/meter"
)

// Row is one request in the log. It holds nothing of what was asked or answered, and no secret.
type Row struct {
	Request    string    `json:"request"` // req_...
	At         time.Time `json:"at"`      // of its arrival
	Project    string    `json:"-"`
	Key        string    `json:"key"`
	Model      string    `json:"model"` // as the caller named it
	Route      string    `json:"route,omitempty"`
	Backend    string    `json:"backend,omitempty"` // what was asked last
	Dialect    string    `json:"dialect"`
	Kind       string    `json:"kind"`
	Stream     bool      `json:"stream,omitempty"`
	Outcome    string    `json:"outcome"`
	Status     int       `json:"status"`
	Code       string    `json:"code,omitempty"` // of the refusal or failure
	Input      int64     `json:"input,omitempty"`
	Cached     int64     `json:"cached,omitempty"`
	Output     int64     `json:"output,omitempty"`
	Reasoning  int64     `json:"reasoning,omitempty"`
	Embedding  int64     `json:"embedding,omitempty"`
	CostMicros int64     `json:"cost_micros,omitempty"`
	FirstByte  float64   `json:"first_byte,omitempty"` // seconds until the first byte of the answer
	Took       float64   `json:"took"`                 // seconds
	Tries      int       `json:"tries,omitempty"`
	Tag        string    `json:"tag,omitempty"`
}

// Block is rows of one project that ended at about the same time, as they are stored.
type Block struct {
	ID          string // rlb_...
	Project     string
	First, Last string // the least and the greatest id of its requests
	Rows        int
	Data        []byte // rows as lines of JSON, deflated
}

// LogStore keeps blocks.
type LogStore interface {
	AddBlocks(ctx context.Context, list []Block) error
	// Blocks lists the project's blocks that have requests from least up to, and without, below (empty: no bound), those
	// with the greatest Last first, and beyond the block of the key (Last and ID) after; at most limit.
	Blocks(ctx context.Context, project, least, below string, after page.Key, limit int) ([]Block, error)
	// DropBlocks deletes those whose last request is before an id.
	DropBlocks(ctx context.Context, before string) error
}

// Filter says which rows are meant; zero fields mean all.
type Filter struct {
	Since, Until   time.Time // arrival, from and before
	Model, Outcome string
	Key            string
	Status         int
}

func (f *Filter) takes(r *Row) bool {
	return (f.Model == "" || r.Model == f.Model) && (f.Outcome == "" || r.Outcome == f.Outcome) && (f.Key == "" || r.Key == f.Key) &&
		(f.Status == 0 || r.Status == f.Status) && !r.At.Before(f.Since) && (f.Until.IsZero() || r.At.Before(f.Until))
}

// Log keeps a row of each request for a time. Rows wait in memory for a second at most; what comes faster than it is stored,
// or cannot be stored, is dropped and counted: the log is no book. A nil Log keeps nothing.
type Log struct {
	Store LogStore
	IDs   *id.Maker
	Now   func() time.Time
	Keep  time.Duration // how long rows stay
	Log   *slog.Logger

	shards  [logShards]logShard
	flushes sync.Mutex // one at a time
	dropped atomic.Int64
	failing bool
}

const (
	logShards = 16
	shardRows = 2048 // rows of a shard that wait
	logEvery  = time.Second
	blockRows = 4096
	blockMost = 16 << 20 // bytes of a block when it is unpacked
	scanMost  = 20_000   // blocks that one question looks at
	scanBatch = 64
)

type logShard struct {
	mu   sync.Mutex
	rows []Row
	_    [64]byte
}

func (l *Log) end(s *gateway.Sight) {
	if l == nil {
		return
	}
	r := Row{Request: s.Call.RequestID, At: s.Began, Project: s.Call.Who.ProjectID, Key: s.Call.Who.KeyID, Model: s.Model, Dialect: string(s.Dialect),
		Kind: s.Kind.String(), Stream: s.Stream, Outcome: Outcome(s), Status: s.Status, Input: s.Used.Input, Cached: s.Used.Cached, Output: s.Used.Output,
		Reasoning: s.Used.Reasoning, Embedding: s.Used.Embedding, CostMicros: s.Cost, FirstByte: s.First.Seconds(), Took: s.Took.Seconds(), Tries: s.Attempts()}
	if s.Target != nil {
		r.Route = s.Target.Route.ID
	}
	if s.Backend != nil {
		r.Backend = s.Backend.ID
	}
	if s.Err != nil {
		f := fault.As(s.Err)
		r.Code = cmp.Or(f.Code, string(f.Kind))
	}
	if s.Call.Tag != "" {
		r.Tag = strings.Clone(meter.CleanTag(s.Call.Tag))
	}
	x := &l.shards[spread(s)%logShards]
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.rows) >= shardRows {
		l.dropped.Add(1)
		return
	}
	x.rows = append(x.rows, r)
}

// Loop stores rows, and drops old ones, until ctx ends.
func (l *Log) Loop(ctx context.Context) {
	tick, tidy := time.NewTicker(logEvery), time.NewTicker(10*time.Minute)
	defer tick.Stop()
	defer tidy.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			l.flush(last)
			cancel()
			return
		case <-tidy.C:
			if err := l.Store.DropBlocks(ctx, FirstID(l.Now().Add(-l.Keep))); err != nil && ctx.Err() == nil {
				l.Log.Warn("old rows of the request log cannot be dropped", "error", err)
			}
		case <-tick.C:
			l.flush(ctx)
		}
	}
}

// FirstID is the least id of a request of a time.
func FirstID(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	ms := uint64(max(t.UnixMilli(), 0))
	var r id.Raw
	for i := range 6 {
		r[i] = byte(ms >> (40 - 8*i))
	}
	return "req_" + r.String()
}

// flush stores what waits.
func (l *Log) flush(ctx context.Context) {
	l.flushes.Lock()
	defer l.flushes.Unlock()
	var rows []Row
	for i := range l.shards {
		x := &l.shards[i]
		x.mu.Lock()
		rows = append(rows, x.rows...)
		clear(x.rows)
		x.rows = x.rows[:0]
		x.mu.Unlock()
	}
	if len(rows) == 0 {
		return
	}
	err := l.store(ctx, rows)
	if err != nil {
		l.dropped.Add(int64(len(rows)))
		if !l.failing {
			l.Log.Warn("the request log cannot be stored; rows are dropped until it can", "error", err)
		}
	}
	l.failing = err != nil
}

func (l *Log) store(ctx context.Context, rows []Row) error {
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Request, b.Request))
	})
	var blocks []Block
	for len(rows) > 0 {
		n := 1
		for n < min(len(rows), blockRows) && rows[n].Project == rows[0].Project {
			n++
		}
		data, err := pack(rows[:n])
		if err != nil {
			return err
		}
		blocks = append(blocks, Block{ID: l.IDs.New("rlb"), Project: rows[0].Project, First: rows[0].Request, Last: rows[n-1].Request, Rows: n, Data: data})
		rows = rows[n:]
	}
	return l.Store.AddBlocks(ctx, blocks)
}

// pack writes rows as a block has them.
func pack(rows []Row) ([]byte, error) {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		return nil, err
	}
	e := json.NewEncoder(w)
	for i := range rows {
		if err := e.Encode(&rows[i]); err != nil {
			return nil, err
		}
	}
	err = w.Close()
	return b.Bytes(), err
}

// unpack reads them.
func unpack(b *Block) (rows []Row, err error) {
	d := json.NewDecoder(io.LimitReader(flate.NewReader(bytes.NewReader(b.Data)), blockMost))
	for {
		r := Row{Project: b.Project}
		switch err := d.Decode(&r); {
		case errors.Is(err, io.EOF):
			return rows, nil
		case err != nil:
			return rows, fault.Wrap(err, "reading a block of the request log")
		}
		rows = append(rows, r)
	}
}

// List lists a project's requests, newest first; the key of a page is the request's id.
func (l *Log) List(ctx context.Context, project string, f Filter, p page.Page) (rows []Row, err error) {
	least, below := FirstID(f.Since), FirstID(f.Until)
	if len(p.After) > 0 && (below == "" || p.After[0] < below) {
		below = p.After[0]
	}
	l.flush(ctx)
	err = l.scan(ctx, project, least, below, func(b *Block, more []Row) bool {
		if b != nil && p.Limit > 0 && len(rows) >= p.Limit && rows[p.Limit-1].Request > b.Last {
			return false // nothing of this block or a later one comes before these
		}
		for i := range more {
			if r := &more[i]; f.takes(r) && (below == "" || r.Request < below) {
				rows = append(rows, *r)
			}
		}
		slices.SortFunc(rows, func(a, b Row) int { return cmp.Compare(b.Request, a.Request) })
		if p.Limit > 0 && len(rows) > p.Limit {
			rows = rows[:p.Limit]
		}
		return true
	})
	return rows, err
}

// Get is one request of a project.
func (l *Log) Get(ctx context.Context, project, request string) (row Row, err error) {
	if id.Valid("req", request) {
		l.flush(ctx)
		err = l.scan(ctx, project, request, request+"0", func(_ *Block, rows []Row) bool {
			for _, r := range rows {
				if r.Request == request {
					row = r
				}
			}
			return row.Request == ""
		})
	}
	if err == nil && row.Request == "" {
		err = fault.New(fault.NotFound, "There is no such request in the log.", fault.Fix("Rows are kept for "+l.Keep.String()+"; `triarch request ls` lists them."))
	}
	return row, err
}

// scan reads blocks, those with the newest requests first, until each has had enough.
func (l *Log) scan(ctx context.Context, project, least, below string, each func(*Block, []Row) bool) error {
	var after page.Key
	for range scanMost / scanBatch {
		blocks, err := l.Store.Blocks(ctx, project, least, below, after, scanBatch)
		if err != nil {
			return err
		}
		for i := range blocks {
			rows, err := unpack(&blocks[i])
			if err != nil {
				return err
			}
			if !each(&blocks[i], rows) {
				return nil
			}
		}
		if len(blocks) < scanBatch {
			return nil
		}
		last := &blocks[len(blocks)-1]
		after = page.Key{last.Last, last.ID}
	}
	return fault.New(fault.TooLarge, "The request log of that time is too long to be searched at once.", fault.Field("since"), fault.Fix("Name a shorter time with --since."))
}

// Write writes how many rows were dropped.
func (l *Log) Write(w *obs.Writer) {
	w.One("triarch_requestlog_rows_dropped_total", obs.Counter, "Rows of the request log that were not stored.", float64(l.dropped.Load()))
}
