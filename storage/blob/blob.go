// Package blob is the contract for content-addressed storage: bytes go in once, get their SHA-256 as a name, and
// never change.
//
// Rules for callers: a Ref that Put returned is durable; putting the same bytes again gives the same Ref and stores
// them once. Delete only through Collect, which keeps what is named or young: between Put and the database row that
// names the blob there is no lock, the grace of Collect stands in for it. Data read with Open is checked against its
// Ref while it is read, and a difference is an error at the end of the stream.
//
// Drivers live in folders beside this one and pass the suite in blobtest.
package blob

import (
	"context"
	"encoding/hex"
	"io"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Ref names a blob: "sha256:" and 64 lower-case hexadecimal digits.
type Ref string

const prefix = "sha256:"

// RefOf makes the Ref of a SHA-256 sum.
func RefOf(sum [32]byte) Ref { return Ref(prefix + hex.EncodeToString(sum[:])) }

// ParseRef checks that s is a well-formed Ref.
func ParseRef(s string) (Ref, error) {
	r := Ref(s)
	if !r.Valid() {
		return "", fault.InvalidField("ref", "%q is not a blob reference (sha256: and 64 hexadecimal digits)", clip(s))
	}
	return r, nil
}

// Valid says whether r is well formed. Everything from outside is checked with it before it names a file.
func (r Ref) Valid() bool {
	digits, ok := strings.CutPrefix(string(r), prefix)
	if !ok || len(digits) != 64 {
		return false
	}
	for i := range len(digits) {
		c := digits[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Hex is the 64 digits alone; the Ref must be valid.
func (r Ref) Hex() string { return strings.TrimPrefix(string(r), prefix) }

// Info is what Stat and List know of a blob.
type Info struct {
	Ref  Ref
	Size int64     // bytes
	At   time.Time // when it was last put
}

// Store keeps blobs. An invalid Ref is fault.Invalid, an absent one fault.NotFound.
type Store interface {
	// Put stores what r gives until io.EOF and returns its Ref and size in bytes. On an error of r, or a cancelled
	// context, nothing is stored. Putting known bytes refreshes their Info.At.
	Put(ctx context.Context, r io.Reader) (Ref, int64, error)
	// Open returns the bytes and their size. The reader fails at the end if they do not match the Ref.
	Open(ctx context.Context, ref Ref) (io.ReadCloser, int64, error)
	// Stat says whether the blob is there, how large and how old.
	Stat(ctx context.Context, ref Ref) (Info, error)
	// Delete removes the blob; removing an absent one is no error.
	Delete(ctx context.Context, ref Ref) error
	// List calls yield with every blob, in no order, until it returns false.
	List(ctx context.Context, yield func(Info) bool) error
}

// Pather is what a Store that keeps blobs as local files also offers: the path of a blob, to be read or hard-linked
// and never written.
type Pather interface {
	Path(ref Ref) (string, error)
}

// Linker is what a Store that keeps blobs as local files also offers: it takes a file in by a hard link where the file system
// can, instead of a copy. The file must not be written any more, and becomes read-only.
type Linker interface {
	// Link stores the file's bytes as Put does.
	Link(ctx context.Context, path string) (Ref, int64, error)
}

// Expirer is what a Store offers that can delete a blob only if nobody has put it again since: Collect uses it so
// that a Put running beside it keeps its blob.
type Expirer interface {
	// Expire deletes the blob if it was last put before t and says whether it did.
	Expire(ctx context.Context, ref Ref, t time.Time) (bool, error)
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
