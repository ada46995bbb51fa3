package measured

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/triarch-ai/triarch/compute/perf"
	"github.com/triarch-ai/triarch/internal/fault"
)

// Store keeps rows and the names of the reports they came from.
type Store interface {
	// Merge stores what merge makes of the row of a key, which is nil where there is none, and the report's name, in one
	// transaction; unless a report of that name was taken before, then it does nothing and says false.
	Merge(ctx context.Context, report, project string, at time.Time, key string, merge func(old []byte) (Row, error)) (bool, error)
	// Rows lists all rows as they were stored.
	Rows(ctx context.Context) ([][]byte, error)
	// Expire forgets the names of reports from before a time and a project's oldest above the keep's, and the longest unused rows above them.
	Expire(ctx context.Context, before time.Time, k Keep) error
	// Reported counts a project's reports since a time.
	Reported(ctx context.Context, project string, since time.Time) (int, error)
}

// Keep is how much a Store keeps.
type Keep struct {
	Rows    int // of this installation, and of all projects together; then projects that have most give way
	Project int // rows of a project
	Names   int // of reports of a project, and of this installation
}

// kept is what a Service keeps: names of reports are there for those who report again soon, so the newest do.
var kept = Keep{Most, MostOfProject, 20_000}

// Remembered is how long a report's name is: who reports the same again later than that is counted twice.
const Remembered = 60 * 24 * time.Hour

// MostReports is how many a project may make in an hour.
const MostReports = 1000

// Service keeps a Book and its store together. Its methods may be called from any goroutine.
type Service struct {
	Book  *Book
	Store Store
	Now   func() time.Time
	Log   *slog.Logger

	taking  sync.Mutex // so that the book is told of rows in the order in which they were stored
	mu      sync.Mutex
	expired time.Time
}

// Load fills the book from the store. Rows that cannot be read are told of and left out.
func (s *Service) Load(ctx context.Context) error {
	all, err := s.Store.Rows(ctx)
	if err != nil {
		return err
	}
	for _, text := range all {
		r, err := Decode(text)
		if err != nil {
			s.Log.WarnContext(ctx, "a row of measurements was left out", "error", err)
			continue
		}
		if r.Scope == "" {
			r.Question.Shape = nameless(r.Question.Shape)
		}
		s.Book.Put(r)
	}
	return nil
}

// Report takes a measurement in, durably before it returns, once for each name of a report; it says whether this was the
// first time. A name says what was measured, such as a run and its attempt, so that whoever does not know whether it came
// through may report it again. What answers everybody is kept without the name that a project gave its model: it has that of a published
// model of the same shape, or none.
func (s *Service) Report(ctx context.Context, report string, m Measurement) (bool, error) {
	if err := m.Check(); err != nil {
		return false, err
	}
	if report == "" || len(report) > 200 {
		return false, fault.InvalidField("report", "A report has a name of up to 200 characters.")
	}
	if m.Scope == "" {
		m.Question.Shape = nameless(m.Question.Shape)
	}
	s.tidy(ctx)
	s.taking.Lock()
	defer s.taking.Unlock()
	var row Row
	first, err := s.Store.Merge(ctx, report, m.Scope, s.Now().UTC(), keyOf(m), func(old []byte) (Row, error) {
		r := newRow(keyOf(m), m)
		if old != nil {
			if have, err := Decode(old); err == nil {
				have.renew()
				have.Question.Shape.Name = m.Question.Shape.Name
				r = &have
			} else {
				s.Log.WarnContext(ctx, "a row of measurements could not be read and begins anew", "error", err)
			}
		}
		err := r.add(m)
		row = *r
		return row, err
	})
	if err == nil && first {
		s.Book.Put(row)
	}
	return first, err
}

// nameless is a shape by the name that is published for it, or by none.
func nameless(s perf.Shape) perf.Shape {
	s.Name = ""
	for _, k := range perf.Shapes() {
		name := k.Name
		if k.Name = ""; digest(k) == digest(s) {
			s.Name = name
			break
		}
	}
	return s
}

// ReportOf is Report of a project's own program: its measurement answers that project alone. Engines of this
// installation measure themselves and are refused, and so is who reports too often.
func (s *Service) ReportOf(ctx context.Context, project, report string, m Measurement) (bool, error) {
	m.Scope, m.By = project, project
	if m.Question.Work.Engine == perf.Native {
		return false, fault.InvalidField("work.engine", "The engine %s measures itself.", perf.Native)
	}
	n, err := s.Store.Reported(ctx, project, s.Now().Add(-time.Hour))
	if err != nil {
		return false, err
	}
	if n >= MostReports {
		return false, fault.Newf(fault.RateLimited, "A project may report %d measurements in an hour.", MostReports)
	}
	return s.Report(ctx, fmt.Sprintf("%s/%s", project, report), m)
}

// Seen are the rows that a project may see: the installation's and its own.
func (s *Service) Seen(project string) []Row {
	var out []Row
	for _, r := range s.Book.Rows() {
		if r.Scope == "" || r.Scope == project {
			out = append(out, r)
		}
	}
	return out
}

// For corrects predictions for a project.
func (s *Service) For(project string) Scoped { return s.Book.Scoped(project) }

// tidy forgets what is old, once an hour.
func (s *Service) tidy(ctx context.Context) {
	now := s.Now()
	s.mu.Lock()
	due := now.Sub(s.expired) > time.Hour
	if due {
		s.expired = now
	}
	s.mu.Unlock()
	if !due {
		return
	}
	if err := s.Store.Expire(ctx, now.Add(-Remembered), kept); err != nil {
		s.Log.WarnContext(ctx, "old measurements could not be forgotten", "error", err)
	}
}
