package hub

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/ref"
)

// manifestName is the first entry of a bundle.
const manifestName = "triarch-bundle.json"

const bundleFormat = "triarch-bundle/1"

// maxCard bounds the Markdown that a bundle brings into the database.
const maxCard = 1 << 20

// Manifest says what a bundle holds: a tar stream whose first entry is the manifest, and whose others are its files, each once.
type Manifest struct {
	Format   string    `json:"format"`
	Model    string    `json:"model"`            // name that it had
	Number   int       `json:"number,omitempty"` // of the version
	Origin   string    `json:"origin,omitempty"` // where that was pulled from, and the revision there
	Revision string    `json:"revision,omitempty"`
	Card     string    `json:"card,omitempty"`
	Made     time.Time `json:"made"`
	Files    []Entry   `json:"files"` // flat names, all with their SHA-256
}

// Hash names the files of a bundle, as Result.Hash does those of a pull.
func (m Manifest) Hash() string { return hashOf(m.Files) }

// Bytes is the size of the files together.
func (m Manifest) Bytes() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

func (m Manifest) check() error {
	if m.Format != bundleFormat {
		return badBundle("is of another form: " + ref.Quote(clip(m.Format)))
	}
	if err := ref.Check("model", m.Model); err != nil {
		return badBundle("names no model")
	}
	if len(m.Card) > maxCard || !utf8.ValidString(m.Card) || len(m.Origin) > 400 || strings.ContainsFunc(m.Origin, func(r rune) bool { return r <= ' ' || r > '~' }) ||
		m.Revision != "" && !revision(m.Revision) {
		return badBundle("says where it is from in a way that cannot be, or has a card of more than 1 MiB")
	}
	if len(m.Files) == 0 || len(m.Files) > maxFiles {
		return badBundle("names no files, or too many")
	}
	for _, f := range m.Files {
		if strings.Contains(f.Path, "/") || f.Size < 0 || f.Size > maxSize || !hexDigits(f.SHA256, 64) || f.Path == manifestName {
			return badBundle("names the file " + ref.Quote(clip(f.Path)) + " in a way that cannot be")
		}
	}
	return checkPaths(m.Files)
}

func badBundle(why string) *fault.Error {
	return fault.New(fault.Invalid, "The bundle "+why+".", fault.Code("bad_bundle"), fault.Field("from"), fault.Fix("Make it anew with: triarch model bundle MODEL --to FILE"))
}

// BundleWriter writes a bundle: its manifest first, then the files in the order of the manifest. What differs from the manifest
// is refused, so that a bundle that was closed is right.
type BundleWriter struct {
	m    Manifest
	tw   *tar.Writer
	next int
}

// NewBundle begins a bundle with its manifest.
func NewBundle(w io.Writer, m Manifest) (*BundleWriter, error) {
	m.Format = bundleFormat
	if err := m.check(); err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, err
	}
	out := &BundleWriter{m: m, tw: tar.NewWriter(w)}
	if err := out.head(manifestName, int64(len(b))); err != nil {
		return nil, err
	}
	_, err = out.tw.Write(b)
	return out, err
}

func (b *BundleWriter) head(name string, size int64) error {
	return b.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: b.m.Made, Format: tar.FormatPAX})
}

// Add writes the next file.
func (b *BundleWriter) Add(name string, r io.Reader) error {
	if b.next == len(b.m.Files) || b.m.Files[b.next].Path != name {
		return fault.Newf(fault.Internal, "%q is not the next file of the bundle.", name)
	}
	want := b.m.Files[b.next]
	b.next++
	if err := b.head(name, want.Size); err != nil {
		return err
	}
	return copySum(b.tw, r, want)
}

// Close ends the bundle; it fails where files are missing.
func (b *BundleWriter) Close() error {
	if b.next != len(b.m.Files) {
		return fault.Newf(fault.Internal, "The bundle lacks %q.", b.m.Files[b.next].Path)
	}
	return b.tw.Close()
}

// copySum copies exactly a file, and fails where it is not the one that it should be.
func copySum(w io.Writer, r io.Reader, want Entry) error {
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(r, want.Size+1))
	if err != nil {
		return err
	}
	if n != want.Size || hex.EncodeToString(h.Sum(nil)) != want.SHA256 {
		return badBundle("has a file " + ref.Quote(want.Path) + " that does not fit its checksum")
	}
	return nil
}

// ReadBundle reads a bundle to its end and checks every file; where dir is not empty it writes them there, into an empty folder.
// most bounds the bytes of the files; 0: none. What it returns without an error is whole and right.
//
// Faults: Invalid with the code bad_bundle for anything that is not such a bundle, TooLarge above most.
func ReadBundle(ctx context.Context, r io.Reader, dir string, most int64) (Manifest, error) {
	tr := tar.NewReader(&stopping{r, ctx.Err})
	m, err := readManifest(tr)
	if err != nil {
		return Manifest{}, err
	}
	if most > 0 && m.Bytes() > most {
		return Manifest{}, fault.New(fault.TooLarge, "The bundle is larger than a model may be.", fault.Field("from"))
	}
	left := map[string]Entry{}
	for _, f := range m.Files {
		left[f.Path] = f
	}
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Manifest{}, broken(ctx, err)
		}
		want, ok := left[h.Name]
		if !ok || h.Typeflag != tar.TypeReg || h.Size != want.Size || sparse(h) {
			return Manifest{}, badBundle("has an entry " + ref.Quote(clip(h.Name)) + " that its manifest does not name, or names otherwise")
		}
		delete(left, h.Name)
		if err := takeFile(ctx, tr, dir, want); err != nil {
			return Manifest{}, err
		}
	}
	for name := range left {
		return Manifest{}, badBundle("was cut short: it lacks " + ref.Quote(name))
	}
	return m, nil
}

func readManifest(tr *tar.Reader) (m Manifest, err error) {
	h, err := tr.Next()
	if err != nil || h.Name != manifestName || h.Typeflag != tar.TypeReg || h.Size > maxList || sparse(h) {
		return m, badBundle("does not begin with a manifest")
	}
	b, err := io.ReadAll(tr)
	if err != nil || json.NewDecoder(bytes.NewReader(b)).Decode(&m) != nil {
		return m, badBundle("has a manifest that cannot be read")
	}
	return m, m.check()
}

// sparse says whether a few bytes of the stream stand for any number of zeros.
func sparse(h *tar.Header) bool {
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

func takeFile(ctx context.Context, r io.Reader, dir string, want Entry) error {
	if dir == "" {
		return broken(ctx, copySum(io.Discard, r, want))
	}
	w, err := os.OpenFile(filepath.Join(dir, want.Path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return diskFault(err, "unpacking the bundle")
	}
	err = copySum(w, r, want)
	if cerr := w.Close(); err == nil {
		err = diskFault(cerr, "unpacking the bundle")
	}
	return broken(ctx, err)
}

// broken tells a stream that ends too early from a broken disk and from a caller that went away.
func broken(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	if _, ok := errors.AsType[*os.PathError](err); ok {
		return diskFault(err, "unpacking the bundle")
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	f := badBundle("is no whole tar stream")
	f.Cause = err
	return f
}
