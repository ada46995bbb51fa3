package queue

import (
	"encoding/json"
	"log/slog"
	"maps"
	"time"

	"github.com/triarch-ai/triarch/compute/job"
	"github.com/triarch-ai/triarch/compute/sched"
	"github.com/triarch-ai/triarch/compute/sched/predict"
	"github.com/triarch-ai/triarch/internal/durable"
)

// history is the core's memory of durations: a book that outlives cores and, through a Memory, processes.
type history struct {
	sched.History
	book     *predict.Book
	keep     Memory
	log      *slog.Logger
	used     map[string]int64 // as saved last: what the first core begins with
	state    sched.State      // likewise
	jobs     map[string]bool  // the book's open jobs -> whether it believes that they run
	paces    map[string]pace  // of jobs that ran at another than the reference speed
	services map[string]bool  // replicas: the book is not told of them
	now      int64
	adopt    bool // what the core starts now runs already
	changed  bool // something is worth saving
	saved    time.Time
}

// kept is the stored form of what was learnt.
type kept struct {
	Format int              `json:"format"`
	Used   map[string]int64 `json:"used"` // by project, micro-units
	Jobs   map[string]bool  `json:"jobs"`
	Book   []byte           `json:"book"` // in predict's form
	State  sched.State      `json:"state,omitzero"`
	Paces  map[string]pace  `json:"paces,omitempty"`
}

const keptFormat = 1

// recall begins with what was saved last, or anew where that cannot be read: it is worth something, and not needed.
func recall(keep Memory, log *slog.Logger) *history {
	h := &history{keep: keep, log: log, jobs: map[string]bool{}, paces: map[string]pace{}, services: map[string]bool{}, used: map[string]int64{}}
	h.book = predict.New(predict.Options{})
	defer func() { h.History = sched.Learned(h.book) }()
	if keep == nil {
		return h
	}
	var k kept
	text, err := keep.Load()
	if err == nil && text == nil {
		return h
	}
	if err == nil {
		err = json.Unmarshal(text, &k)
	}
	if err == nil && k.Format == keptFormat {
		var b *predict.Book
		if b, err = predict.Read(k.Book); err == nil {
			h.book, h.used, h.state = b, k.Used, k.State
			maps.Copy(h.jobs, k.Jobs)
			maps.Copy(h.paces, k.Paces)
		}
	}
	if err != nil {
		log.Warn("what was learnt of durations cannot be read; learning begins anew", "error", err)
	}
	return h
}

// blank is a history that knows nothing.
func (h *history) blank() sched.History { return sched.Learned(predict.New(predict.Options{})) }

// catchUp tells the book of the jobs that ended while nobody looked.
func (h *history) catchUp(v job.View) error {
	h.now = ms(v.Now)
	open := map[string]bool{}
	for i := range v.Jobs {
		open[v.Jobs[i].ID] = !v.Jobs[i].State.Final()
	}
	gone, last, err := ended(v, h.jobs, open)
	if err != nil {
		return err
	}
	for _, id := range gone {
		if j, ok := last[id]; ok && j.State == job.Succeeded && j.Standing.Ran > 0 {
			h.Finish(id, h.reference(&j), h.now)
		} else {
			h.Forget(id, h.now)
		}
	}
	h.forgetPaces(open)
	return nil
}

// adopting runs f, which has the core take a job that runs already. The book that knows it keeps its own word.
func (h *history) adopting(j *job.Job, now int64, f func() error) error {
	h.adopt, h.now = true, now
	defer func() { h.adopt = false }()
	return f()
}

// stopped tells the book that a job waits which it believes to run.
func (h *history) stopped(j *job.Job, now int64) {
	if h.jobs[j.ID] {
		h.Stop(j.ID, h.waiting(j, now), now)
	}
}

// Arrive implements sched.History.
func (h *history) Arrive(j *sched.Job, chips int, now int64) {
	if j.Kind == sched.Service {
		h.services[j.ID] = true
		return
	}
	if _, known := h.jobs[j.ID]; !known {
		h.jobs[j.ID] = false
		h.History.Arrive(j, chips, now)
	}
}

// Start implements sched.History.
func (h *history) Start(id string, attained, overhead, now int64) {
	switch {
	case h.services[id], h.adopt && h.jobs[id]:
		return
	case h.adopt:
		attained, overhead = attained+max(0, h.now-now-overhead), 0
	}
	h.jobs[id] = true
	h.History.Start(id, attained, overhead, now)
}

// Stop implements sched.History.
func (h *history) Stop(id string, attained, now int64) {
	if !h.services[id] {
		h.jobs[id] = false
		h.History.Stop(id, attained, now)
	}
}

// Finish implements sched.History.
func (h *history) Finish(id string, ran, now int64) {
	if !h.dropped(id) {
		h.History.Finish(id, ran, now)
	}
}

// Forget implements sched.History.
func (h *history) Forget(id string, now int64) {
	if !h.dropped(id) {
		h.History.Forget(id, now)
	}
}

// dropped takes a job off the lists, and says whether the book never knew it.
func (h *history) dropped(id string) bool {
	service := h.services[id]
	delete(h.services, id)
	delete(h.jobs, id)
	return service
}

// endless is how long a replica is taken to run on, in milliseconds: some thousand years.
const endless = int64(1) << 45

// Estimate implements sched.History.
func (h *history) Estimate(id string, attained, now int64) sched.Estimate {
	if h.services[id] {
		return sched.Estimate{P10: endless, P50: endless, P90: endless, Index: endless, Rank: endless}
	}
	return h.History.Estimate(id, attained, now)
}

// How often what was learnt is written: soon after something happened, and now and then while usage grows.
const (
	saveSoon = 5 * time.Second
	saveLate = time.Minute
)

// save writes what was learnt, if it is time to.
func (h *history) save(now time.Time, used map[string]int64, state func() sched.State) {
	age := now.Sub(h.saved)
	if age < 0 || age >= saveLate || h.changed && age >= saveSoon {
		if err := h.write(now, used, state()); err != nil {
			h.log.Warn("what was learnt of durations cannot be saved; it is tried again", "error", err)
		}
	}
}

func (h *history) write(now time.Time, used map[string]int64, state sched.State) error {
	h.saved, h.changed = now, false
	if h.keep == nil {
		return nil
	}
	book, err := h.book.MarshalBinary()
	if err != nil {
		return err
	}
	text, err := json.Marshal(kept{keptFormat, used, h.jobs, book, state, h.paces})
	if err != nil {
		return err
	}
	return h.keep.Save(text)
}

// File is a Memory that is a file.
type File string

// largestFile bounds what is read of it, in bytes.
const largestFile = 512 << 20

// Load implements Memory.
func (f File) Load() ([]byte, error) {
	text, err := durable.ReadSmall(string(f), largestFile)
	if missing(err) {
		return nil, nil
	}
	return text, err
}

// Save implements Memory.
func (f File) Save(b []byte) error { return durable.WriteFile(string(f), b, 0o600) }
