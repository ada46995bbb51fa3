package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/ref"
)

// ImportDir makes a version from a Hugging Face folder of this machine. Links, folders inside and files that are no
// part of a model are left out. Faults: as AddDir.
func (s *Service) ImportDir(ctx context.Context, project, dir string, n NewVersion) (Version, error) {
	n.Lineage.RunID, n.Lineage.Pull, n.Lineage.Source = "", "", "import"
	return s.AddDir(ctx, project, dir, n)
}

// ImportTar makes a version from a tar stream of a Hugging Face folder, its files at the top or all in one folder.
// Nothing of the stream decides where a byte is written: names that lead elsewhere, links and devices are refused,
// files that are no part of a model are left out. Faults: Invalid for a bad stream, TooLarge above MaxImport, else
// as AddDir.
func (s *Service) ImportTar(ctx context.Context, project string, r io.Reader, n NewVersion) (Version, error) {
	if err := ref.Check("model", n.Model); err != nil {
		return Version{}, err
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return Version{}, fault.Wrap(err, "making the folder of models")
	}
	tmp, err := os.MkdirTemp(s.Dir, ".tmp-import-")
	if err != nil {
		return Version{}, fault.Wrap(err, "making a folder for the import")
	}
	defer os.RemoveAll(tmp)
	if err := unpack(reader{ctx, r}, tmp, s.maxImport()); err != nil {
		return Version{}, err
	}
	return s.ImportDir(ctx, project, tmp, n)
}

func (s *Service) maxImport() int64 {
	if s.MaxImport > 0 {
		return s.MaxImport
	}
	return maxImport
}

// unpack writes the model files of a tar stream into an empty folder, flat.
func unpack(r io.Reader, dir string, left int64) error {
	end := &zeros{r: r}
	tr := tar.NewReader(end)
	top, entries := "", 0
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			if end.n < 1024 { // two empty blocks end an archive; without them it was cut between two entries
				return badTar(io.ErrUnexpectedEOF)
			}
			return nil
		}
		if err != nil {
			return badTar(err)
		}
		if entries++; entries > maxFiles {
			return fault.Newf(fault.TooLarge, "The archive has more than %d entries.", maxFiles)
		}
		name, ok, err := place(h, &top)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if left -= h.Size; left < 0 {
			return fault.New(fault.TooLarge, "The archive is larger than a model may be.", fault.Field("file"))
		}
		if err := writeNew(filepath.Join(dir, name), tr); err != nil {
			return err
		}
	}
}

// zeros counts the zero bytes at the end of what was read.
type zeros struct {
	r io.Reader
	n int
}

func (z *zeros) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	rest := bytes.TrimRight(p[:n], "\x00")
	if len(rest) > 0 {
		z.n = 0
	}
	z.n = min(z.n+n-len(rest), 1<<20)
	return n, err
}

// place says under which name an entry is to be written, or that it is left out. top becomes the one folder that
// all files lie in.
func place(h *tar.Header, top *string) (name string, ok bool, err error) {
	hostile := func(what string) error {
		return fault.New(fault.Invalid, "The archive's entry "+ref.Quote(h.Name)+" "+what+".", fault.Field("file"), fault.Code("hostile_archive"))
	}
	clean := path.Clean(h.Name)
	switch {
	case strings.ContainsAny(h.Name, "\\\x00") || path.IsAbs(h.Name):
		return "", false, hostile("has a path that archives of models cannot have")
	case clean == ".." || strings.HasPrefix(clean, "../") || slices.Contains(strings.Split(h.Name, "/"), ".."):
		return "", false, hostile("leads out of its folder")
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") { // a few bytes of it stand for any number of zeros
			return "", false, hostile("is sparse")
		}
	}
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeXGlobalHeader:
		return "", false, nil
	case tar.TypeReg:
	default:
		return "", false, hostile("is a link or a device")
	}
	folder, base := path.Split(clean)
	if strings.Count(folder, "/") > 1 || !known(base) {
		return "", false, nil
	}
	if *top == "" {
		*top = "/" + folder
	}
	if *top != "/"+folder {
		return "", false, hostile("lies in another folder than the files before it; an archive holds one model")
	}
	return base, true, nil
}

func writeNew(path string, r io.Reader) error {
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return fault.New(fault.Invalid, "The archive has the file "+ref.Quote(filepath.Base(path))+" twice.", fault.Field("file"))
	}
	if err != nil {
		return fault.Wrap(err, "unpacking the archive")
	}
	_, err = io.Copy(w, r)
	cerr := w.Close()
	if err != nil {
		return badTar(err)
	}
	return cerr
}

// badTar tells a broken stream from a broken disk.
func badTar(err error) error {
	if _, ok := errors.AsType[*os.PathError](err); ok {
		return fault.Wrap(err, "unpacking the archive")
	}
	if k := fault.KindOf(err); k != fault.Internal {
		return err
	}
	return fault.New(fault.Invalid, "The archive is not a complete tar stream.", fault.Field("file"), fault.Cause(err),
		fault.Fix("Pack the folder with: tar -cf model.tar -C FOLDER ."))
}

// ParseFormat reads an export format's name; empty is HF.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case "":
		return HF, nil
	case HF, GGUF:
		return f, nil
	}
	return "", fault.New(fault.Invalid, "The export format "+ref.Quote(s)+" is not known.", fault.Field("format"), fault.Fix("Use hf or gguf."))
}

// Export writes a version, named as in Get, to dir, which must not exist: a Hugging Face folder with a README.md
// (the card), or for GGUF a folder with model.gguf and the card. The folder appears whole or not at all.
func (s *Service) Export(ctx context.Context, project, name string, f Format, dir string) (Version, error) {
	v, err := s.Get(ctx, project, name)
	if err != nil {
		return Version{}, err
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		return Version{}, fault.New(fault.Conflict, "The folder "+ref.Quote(dir)+" is there already.", fault.Field("dir"), fault.Fix("Name a new folder."))
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".tmp-export-")
	if err != nil {
		return Version{}, fault.Wrap(err, "making the folder "+dir)
	}
	defer os.RemoveAll(tmp)
	if err := s.export(ctx, v, f, tmp); err != nil {
		return Version{}, err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return Version{}, fault.Wrap(err, "making the folder "+dir)
	}
	return v, fault.Wrap(os.Rename(tmp, dir), "making the folder "+dir)
}

func (s *Service) export(ctx context.Context, v Version, f Format, dir string) error {
	if f == GGUF {
		if err := s.exportGGUF(ctx, v, filepath.Join(dir, "model.gguf")); err != nil {
			return err
		}
	} else if err := s.fillDir(ctx, v, dir, s.copy); err != nil {
		return err
	}
	if _, has := v.Files["README.md"]; has && f != GGUF {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, "README.md"), []byte(v.Card), 0o644)
}

func (s *Service) exportGGUF(ctx context.Context, v Version, path string) error {
	f, err := s.gguf(ctx, v)
	if err != nil {
		return err
	}
	defer f.Close()
	w, err := os.Create(path)
	if err != nil {
		return fault.Wrap(err, "writing the GGUF file")
	}
	return errors.Join(f.Write(writer{ctx, w}), w.Close())
}

// gguf gives a version as a GGUF file. Reading the vocabulary of a large model takes some hundred megabytes for a moment:
// one caller does at a time, the others wait for their turn or the end of their context.
func (s *Service) gguf(ctx context.Context, v Version) (GGUFFile, error) {
	codec, ok := s.Codec.(GGUFWriter)
	if !ok {
		return nil, fault.New(fault.Unsupported, "This installation cannot write GGUF.", fault.Field("format"))
	}
	turn := s.turn()
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-turn }()
	src, err := s.Materialise(ctx, v)
	if err != nil {
		return nil, err
	}
	return codec.GGUF(ctx, src)
}

// turn holds a token while somebody prepares an export.
func (s *Service) turn() chan struct{} {
	s.once.Do(func() { s.turns = make(chan struct{}, 1) })
	return s.turns
}

// writer makes a long write end with its context.
type writer struct {
	ctx context.Context
	w   io.Writer
}

func (w writer) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

// ExportTar writes a version, named as in Get, as a tar stream of what Export makes, without a copy of it in memory or on
// the disk.
func (s *Service) ExportTar(ctx context.Context, project, name string, f Format, w io.Writer) error {
	v, err := s.Get(ctx, project, name)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	if f == GGUF {
		err = s.tarGGUF(ctx, v, tw)
	} else {
		err = s.tarFiles(ctx, v, tw)
	}
	if err != nil {
		return err // the stream stays without its end, so that a reader sees that it is not whole
	}
	if _, has := v.Files["README.md"]; !has || f == GGUF {
		if err := tarEntry(tw, "README.md", int64(len(v.Card)), strings.NewReader(v.Card), v); err != nil {
			return err
		}
	}
	return tw.Close()
}

func (s *Service) tarFiles(ctx context.Context, v Version, tw *tar.Writer) error {
	for _, name := range slices.Sorted(maps.Keys(v.Files)) {
		r, size, err := s.Blobs.Open(ctx, v.Files[name].Ref)
		if err != nil {
			return err
		}
		err = tarEntry(tw, name, size, reader{ctx, r}, v)
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) tarGGUF(ctx context.Context, v Version, tw *tar.Writer) error {
	f, err := s.gguf(ctx, v)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := tarHead(tw, "model.gguf", f.Size(), v); err != nil {
		return err
	}
	return f.Write(writer{ctx, tw})
}

func tarEntry(tw *tar.Writer, name string, size int64, r io.Reader, v Version) error {
	if err := tarHead(tw, name, size, v); err != nil {
		return err
	}
	_, err := io.Copy(tw, r)
	return err
}

func tarHead(tw *tar.Writer, name string, size int64, v Version) error {
	return tw.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o644, ModTime: v.CreatedAt, Format: tar.FormatPAX, Typeflag: tar.TypeReg})
}
