// Package kept holds what callers of the model API leave behind: responses to go on from, and files.
//
// Rules for callers: everything belongs to a project, and another project's is not found. Both are bounded: of responses
// the oldest go when a project has too many or too much, and all go when their time is over; files stay until they are
// removed, and a file beyond the bounds is refused. A conversation is a chain: each response names the one that it goes
// on from, and without all of them it cannot go on. Bytes of files are blobs, which System.Collect deletes once no file
// names them.
package kept

import (
	"context"
	"io"
	"time"

	"github.com/tidwall/gjson"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/internal/page"
	"github.com/triarch-ai/triarch/models/dialect"
	"github.com/triarch-ai/triarch/storage/blob"
)

// Response is an answer of the responses API that can be read again and gone on from.
type Response struct {
	ID        string // resp_...
	Project   string
	Previous  string // the response that it goes on from, or empty
	Input     []byte // the items of its request alone, a JSON array
	Answer    []byte // as the caller got it, a JSON object
	CreatedAt time.Time
	ExpiresAt time.Time
}

// File is a file that a caller left.
type File struct {
	ID        string // file_...
	Project   string
	Name      string
	Purpose   string
	Bytes     int64
	Ref       blob.Ref
	CreatedBy string // key
	CreatedAt time.Time
}

// Bounds are how much a project may have.
type Bounds struct {
	Count int
	Bytes int64
}

// Store keeps both. What is not of the project is fault.NotFound.
type Store interface {
	// AddResponse stores a response and removes the project's oldest ones beyond the bounds.
	AddResponse(ctx context.Context, r Response, within Bounds) error
	Response(ctx context.Context, project, id string) (Response, error)
	RemoveResponse(ctx context.Context, project, id string) error
	// ExpireResponses removes those whose time is over and says how many.
	ExpireResponses(ctx context.Context, now time.Time) (int64, error)

	// AddFile stores a file; fault.Conflict with the code "files_full" when the project has no room for it.
	AddFile(ctx context.Context, f File, within Bounds) error
	File(ctx context.Context, project, id string) (File, error)
	// Files lists a project's files, newest first, by (created_at, id); an empty purpose is any.
	Files(ctx context.Context, project, purpose string, p page.Page) ([]File, error)
	RemoveFile(ctx context.Context, project, id string) error
	// FileRefs yields the blobs that files name.
	FileRefs(ctx context.Context, yield func(blob.Ref) bool) error
}

// Service is what the model API asks. Store, Blobs, IDs and Now are needed; zero bounds take the defaults beside them.
type Service struct {
	Store Store
	Blobs blob.Store
	IDs   *id.Maker
	Now   func() time.Time

	Responses Bounds        // of a project; 10,000 of together 256 MiB
	Retention time.Duration // of responses; 30 days
	Files     Bounds        // of a project; 1,000 of together 1 GiB
	FileBytes int64         // of one file; 128 MiB
}

// Bounds of a conversation that is gone on from.
const (
	maxTurns   = 256
	maxEarlier = 16 << 20 // bytes
)

func orDefault[T int | int64 | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// MaxFile is the size of the largest file, in bytes.
func (s *Service) MaxFile() int64 { return orDefault(s.FileBytes, 128<<20) }

// KeepResponse stores an answer.
func (s *Service) KeepResponse(ctx context.Context, r Response) error {
	r.CreatedAt = s.Now()
	r.ExpiresAt = r.CreatedAt.Add(orDefault(s.Retention, 30*24*time.Hour))
	return s.Store.AddResponse(ctx, r, Bounds{orDefault(s.Responses.Count, 10_000), orDefault(s.Responses.Bytes, 256<<20)})
}

// Response is one that is kept.
func (s *Service) Response(ctx context.Context, project, id string) (Response, error) {
	r, err := s.Store.Response(ctx, project, id)
	if err == nil && !s.Now().Before(r.ExpiresAt) {
		err = fault.New(fault.NotFound, "The response is kept no longer.")
	}
	if fault.Is(err, fault.NotFound) {
		return r, fault.New(fault.NotFound, "There is no response "+clip(id)+" here.", fault.Code("response_not_found"), fault.Field("response_id"))
	}
	return r, err
}

// Earlier are the items of a conversation up to a response, its answer included: what the next request goes on from.
func (s *Service) Earlier(ctx context.Context, project, id string) ([]byte, error) {
	var turns [][]byte
	size := 0
	for at := id; at != ""; {
		r, err := s.Response(ctx, project, at)
		if fault.Is(err, fault.NotFound) {
			return nil, fault.New(fault.Invalid, "The previous response "+clip(at)+" is not kept here, or no longer.", fault.Code("previous_response_not_found"),
				fault.Field("previous_response_id"), fault.Fix("Send the earlier items in input."))
		}
		if err != nil {
			return nil, err
		}
		turns = append(turns, dialect.JoinItems(r.Input, []byte(gjson.GetBytes(r.Answer, "output").Raw)))
		if size += len(turns[len(turns)-1]); len(turns) > maxTurns || size > maxEarlier {
			return nil, fault.New(fault.TooLarge, "The conversation before this request is too long.", fault.Field("previous_response_id"), fault.Fix("Begin a new one with what matters of it."))
		}
		at = r.Previous
	}
	for i, j := 0, len(turns)-1; i < j; i, j = i+1, j-1 {
		turns[i], turns[j] = turns[j], turns[i]
	}
	return dialect.JoinItems(turns...), nil
}

// RemoveResponse forgets a response; conversations that go on from it cannot go on.
func (s *Service) RemoveResponse(ctx context.Context, project, id string) error {
	if _, err := s.Response(ctx, project, id); err != nil {
		return err
	}
	return s.Store.RemoveResponse(ctx, project, id)
}

// Expire forgets the responses whose time is over.
func (s *Service) Expire(ctx context.Context) (int64, error) {
	return s.Store.ExpireResponses(ctx, s.Now())
}

// Purposes that a file may have, as OpenAI's API names them.
var Purposes = []string{"assistants", "batch", "fine-tune", "vision", "user_data", "evals"}

// Put stores the bytes of a file that AddFile then names.
func (s *Service) Put(ctx context.Context, f File, r io.Reader) (File, error) {
	limit := s.MaxFile()
	var err error
	f.Ref, f.Bytes, err = s.Blobs.Put(ctx, &limited{r: r, left: limit, limit: limit})
	return f, err
}

// AddFile keeps a file whose bytes were Put; Project, Name, Purpose and CreatedBy of f are the caller's.
func (s *Service) AddFile(ctx context.Context, f File) (File, error) {
	f.ID, f.CreatedAt = s.IDs.New("file"), s.Now()
	return f, s.Store.AddFile(ctx, f, Bounds{orDefault(s.Files.Count, 1000), orDefault(s.Files.Bytes, 1<<30)})
}

// limited fails behind its limit.
type limited struct {
	r           io.Reader
	left, limit int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, fault.Newf(fault.TooLarge, "A file has at most %d bytes.", l.limit)
	}
	return n, err
}

// File is one of the project's files.
func (s *Service) File(ctx context.Context, project, id string) (File, error) {
	f, err := s.Store.File(ctx, project, id)
	if fault.Is(err, fault.NotFound) {
		err = fault.New(fault.NotFound, "There is no file "+clip(id)+" here.", fault.Code("file_not_found"), fault.Field("file_id"))
	}
	return f, err
}

// Open reads a file; the caller closes it.
func (s *Service) Open(ctx context.Context, project, id string) (File, io.ReadCloser, error) {
	f, err := s.File(ctx, project, id)
	if err != nil {
		return f, nil, err
	}
	r, _, err := s.Blobs.Open(ctx, f.Ref)
	return f, r, err
}

// List are the project's files, newest first.
func (s *Service) List(ctx context.Context, project, purpose string, p page.Page) ([]File, error) {
	return s.Store.Files(ctx, project, purpose, p)
}

// RemoveFile forgets a file.
func (s *Service) RemoveFile(ctx context.Context, project, id string) error {
	if _, err := s.File(ctx, project, id); err != nil {
		return err
	}
	return s.Store.RemoveFile(ctx, project, id)
}

func clip(s string) string {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return s
}
