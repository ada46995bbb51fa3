package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
	"github.com/triarch-ai/triarch/storage/blob"
)

// Materialise gives a folder with the version's files, made once and checked against their hashes, at Dir/<version
// id>. Engines read it and must not write it: the files may be the blob store's own, linked.
func (s *Service) Materialise(ctx context.Context, v Version) (string, error) {
	if !id.Valid("mv", v.ID) {
		return "", fault.Newf(fault.Internal, "%q is not the id of a model version.", v.ID)
	}
	dir := filepath.Join(s.Dir, v.ID)
	if complete(dir, v) {
		return dir, nil
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return "", fault.Wrap(err, "making the folder of models")
	}
	tmp, err := os.MkdirTemp(s.Dir, ".tmp-"+v.ID+"-")
	if err != nil {
		return "", fault.Wrap(err, "making the model's folder")
	}
	defer os.RemoveAll(tmp)
	if err := s.fillDir(ctx, v, tmp, s.link); err != nil {
		return "", err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", fault.Wrap(err, "making the model's folder")
	}
	// A folder that is there but not complete was damaged from outside: it gives way.
	if err := os.RemoveAll(dir); err != nil {
		return "", fault.Wrap(err, "replacing the model's folder")
	}
	if err := os.Rename(tmp, dir); err != nil && !complete(dir, v) { // another caller may have been first
		return "", fault.Wrap(err, "making the model's folder")
	}
	return dir, nil
}

// complete says whether the folder holds every file of the version with its size.
func complete(dir string, v Version) bool {
	for name, f := range v.Files {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !st.Mode().IsRegular() || st.Size() != f.Size {
			return false
		}
	}
	return len(v.Files) > 0
}

// fillDir puts every file of a version into an empty folder by put.
func (s *Service) fillDir(ctx context.Context, v Version, dir string, put func(context.Context, File, string) error) error {
	for name, f := range v.Files {
		if !known(name) {
			return fault.Newf(fault.Internal, "Version %s has a file %q, which no version may have.", v.ID, name)
		}
		if err := put(ctx, f, filepath.Join(dir, name)); err != nil {
			return fault.Wrap(err, "writing "+name+" of "+v.ID)
		}
	}
	return nil
}

// link makes a hard link to the blob where the store keeps files on the same file system, else a copy; either way
// the bytes are checked.
func (s *Service) link(ctx context.Context, f File, path string) error {
	p, ok := s.Blobs.(blob.Pather)
	if !ok {
		return s.copy(ctx, f, path)
	}
	src, err := p.Path(f.Ref)
	if err != nil {
		return err
	}
	if err := os.Link(src, path); err != nil {
		return s.copy(ctx, f, path)
	}
	return check(ctx, path, f)
}

// check reads a file and compares it with its hash and size.
func check(ctx context.Context, path string, want File) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, reader{ctx, f})
	if err != nil {
		return err
	}
	if got := blob.RefOf([32]byte(h.Sum(nil))); got != want.Ref || n != want.Size {
		return fault.New(fault.Internal, "A stored model file is damaged: its content is not what its name says.",
			fault.Fix("Restore %s from a backup, or train or import the model again.", want.Ref))
	}
	return nil
}

// copy writes the blob to a new file; the store checks the bytes.
func (s *Service) copy(ctx context.Context, f File, path string) error {
	r, _, err := s.Blobs.Open(ctx, f.Ref)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, reader{ctx, r})
	if err == nil {
		err = w.Sync()
	}
	return errors.Join(err, w.Close())
}

// reader makes a long read end with its context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// halfMade is how old a temporary folder is before Sweep takes it for one that a killed process left.
const halfMade = 24 * time.Hour

// Sweep deletes materialised folders of versions that no longer exist, and half-made ones of more than a day ago.
func (s *Service) Sweep(ctx context.Context) error {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.Wrap(err, "reading the folder of models")
	}
	var ids []string
	var errs []error
	for _, e := range entries {
		st, err := e.Info()
		switch {
		case id.Valid("mv", e.Name()):
			ids = append(ids, e.Name())
		case err == nil && strings.HasPrefix(e.Name(), ".tmp-") && s.Now().Sub(st.ModTime()) > halfMade:
			errs = append(errs, os.RemoveAll(filepath.Join(s.Dir, e.Name())))
		}
	}
	have, err := s.Store.Exists(ctx, ids)
	if err != nil {
		return err
	}
	for _, name := range ids {
		if !have[name] {
			errs = append(errs, os.RemoveAll(filepath.Join(s.Dir, name)))
		}
	}
	return errors.Join(errs...)
}
