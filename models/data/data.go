// Package data turns files from outside into immutable, content-addressed versions of data sets that training can
// name.
//
// Rules for callers: a version never changes once made, and the same records imported again under the same name
// give the same version; training pins a version by its id. Records are read back one by one with Service.Records,
// so memory stays constant whatever the size. Every call takes the project, and another project's version does not
// exist for it.
//
// The stored form of a version is JSON lines, one record each: {"text": ...} for text and jsonl,
// {"messages": [{"role": ..., "content": ...}, ...]} for chat. Its SHA-256 is the version's Ref.
package data

import (
	"context"
	"fmt"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/ref"
	"github.com/triarch-ai/triarch/storage/blob"
)

// Format says how a file is read into records.
type Format string

// The formats.
const (
	// Text is plain UTF-8 text. A document ends at a blank line; line breaks inside it are kept. A document that
	// would grow past Limits.Record is cut at a line end.
	Text Format = "text"
	// JSONL is one JSON object a line with a string field "text", a document each; other fields are dropped.
	JSONL Format = "jsonl"
	// Chat is one JSON object a line with a field "messages": a list of {"role", "content"}, roles system (first
	// only), user and assistant, with at least one assistant message; other fields are dropped.
	Chat Format = "chat"
)

// ParseFormat reads a format's name.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case Text, JSONL, Chat:
		return f, nil
	}
	return "", fault.New(fault.Invalid, "The format "+ref.Quote(s)+" is not known.", fault.Field("format"),
		fault.Fix("Use text, jsonl or chat."))
}

// Version is one immutable state of a data set.
type Version struct {
	ID        string    // dv_...
	Project   string    // prj_...
	DataSet   string    // name of the data set, unique in the project
	Number    int       // 1, 2, ... within the data set
	Format    Format    // how it was imported; the kind of its records
	Ref       blob.Ref  // the records as JSON lines
	Bytes     int64     // size of the stored form
	Records   int64     // documents or conversations
	Chars     int64     // Unicode characters of text or message contents
	Bad       int64     // broken lines that were skipped
	BadLines  []BadLine // the first of them, at most KeepBad
	CreatedBy string    // who imported it: key id, may be empty
	CreatedAt time.Time // UTC
	RemovedAt time.Time // UTC; zero: it was not removed. What was has no records any more, and stays for lineage to name
}

// Present returns fault.NotFound for a version that was removed.
func (v Version) Present() error {
	if v.RemovedAt.IsZero() {
		return nil
	}
	return fault.New(fault.NotFound, fmt.Sprintf("The data version %s@%d was removed on %s.", v.DataSet, v.Number, v.RemovedAt.Format(time.DateOnly)),
		fault.Code("removed"), fault.Fix("Import the same file again to have it back."))
}

// Set is a data set: a name and its newest version.
type Set struct {
	Name     string
	Versions int
	Latest   Version
}

// BadLine is a line of an imported file that could not be read.
type BadLine struct {
	Line   int64  `json:"line"`   // from 1
	Reason string `json:"reason"` // a short sentence without the line's content
}

// Record is one document (Text) or one conversation (Messages).
type Record struct {
	Text     string    `json:"text,omitempty"`
	Messages []Message `json:"messages,omitempty"`
}

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"` // system, user or assistant
	Content string `json:"content"`
}

// Store keeps versions. Every method stays within the project it is given.
type Store interface {
	// Add inserts the version with the next number of its data set and returns it. When the data set already has a
	// version with the same Ref and Format, that version is returned; if it was removed, it is there again.
	Add(ctx context.Context, v Version) (Version, error)
	// Get returns a version by id, also a removed one; fault.NotFound.
	Get(ctx context.Context, project, id string) (Version, error)
	// Find returns a data set's version by number, also a removed one; for 0 the newest that is there; fault.NotFound.
	Find(ctx context.Context, project, name string, number int) (Version, error)
	// Sets lists the project's data sets by name, which is the key of a page.
	Sets(ctx context.Context, project string, p page.Page) ([]Set, error)
	// Versions lists a data set's versions, newest first; the key of a page is the number.
	Versions(ctx context.Context, project, name string, p page.Page) ([]Version, error)
	// Remove deletes a version; fault.Conflict while a run that has not ended uses it.
	Remove(ctx context.Context, project, id string, at time.Time) error
	// Refs calls yield with the Ref of every version of every project until it returns false.
	Refs(ctx context.Context, yield func(blob.Ref) bool) error
}

// Limits bound what one import may take. The zero value of a field is its default.
type Limits struct {
	Line   int   // longest line in bytes; default 4 MiB
	Record int   // longest text document in bytes before it is cut; default 1 MiB
	Bytes  int64 // most bytes read in one import; default 64 GiB
}

// Options of one import.
type Options struct {
	SkipBad   bool   // leave broken lines out and count them instead of failing
	CreatedBy string // key id, kept with the version
}

// Service imports, lists and opens data sets.
type Service struct {
	Store  Store
	Blobs  blob.Store
	IDs    *id.Maker
	Now    func() time.Time
	Limits Limits
}

// Get returns a version by id, by "name" (the newest) or by "name@number".
func (s *Service) Get(ctx context.Context, project, name string) (Version, error) {
	return ref.Resolve(ctx, s.Store, project, "dv", "data", name)
}

// Sets lists the project's data sets by name.
func (s *Service) Sets(ctx context.Context, project string, p page.Page) ([]Set, error) {
	return s.Store.Sets(ctx, project, p)
}

// Versions lists a data set's versions, newest first; fault.NotFound when there is none.
func (s *Service) Versions(ctx context.Context, project, name string, p page.Page) ([]Version, error) {
	vs, err := s.Store.Versions(ctx, project, name, p)
	if err == nil && len(vs) == 0 && len(p.After) == 0 {
		return nil, fault.Newf(fault.NotFound, "There is no data set %s.", ref.Quote(name))
	}
	return vs, err
}

// Remove deletes a version, named as in Get. Its records go when nothing else names them (blob.Collect). It is
// refused while a run that has not ended uses the version. Of a version that an ended run used, name, number, hash and
// counts stay, with the time of removal, for the run's and its model version's lineage.
func (s *Service) Remove(ctx context.Context, project, name string) error {
	v, err := s.Get(ctx, project, name)
	if err == nil {
		err = v.Present()
	}
	if err != nil {
		return err
	}
	return s.Store.Remove(ctx, project, v.ID, s.Now().UTC().Truncate(time.Microsecond))
}

// Refs names every blob that data versions need, for blob.Collect.
func (s *Service) Refs(ctx context.Context, yield func(blob.Ref) bool) error {
	return s.Store.Refs(ctx, yield)
}
