// Package file keeps blobs as files of one folder: the driver for a single machine.
//
// A blob is DIR/ab/cdef..., its digits split after two. It is written to DIR/tmp, synced, and renamed, so that a name
// never holds half a blob, whatever is killed or unplugged. One process at a time may own a folder: the grace between
// Put and Expire is kept by a lock in memory.
package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/storage/blob"
)

// Store is a blob.Store, a blob.Pather and a blob.Expirer on a folder.
type Store struct {
	dir   string
	now   func() time.Time
	links atomic.Uint64 // names of links on their way
	mu    sync.Mutex    // held while a blob's presence is decided: Put's naming against Expire
}

var (
	_ blob.Store   = (*Store)(nil)
	_ blob.Pather  = (*Store)(nil)
	_ blob.Expirer = (*Store)(nil)
	_ blob.Linker  = (*Store)(nil)
)

// staleTemp is how old a temporary file must be to count as left behind by a killed process.
const staleTemp = time.Hour

// Open makes the folder if needed and clears what killed writers left. now is the clock that dates blobs.
func Open(dir string, now func() time.Time) (*Store, error) {
	s := &Store{dir: dir, now: now}
	if err := os.MkdirAll(s.temp(), 0o700); err != nil {
		return nil, mapErr(err, "making the folder of blobs")
	}
	left, err := os.ReadDir(s.temp())
	if err != nil {
		return nil, mapErr(err, "reading the folder of blobs")
	}
	for _, e := range left {
		if i, err := e.Info(); err == nil && now().Sub(i.ModTime()) > staleTemp {
			if err := os.Remove(filepath.Join(s.temp(), e.Name())); err != nil {
				return nil, mapErr(err, "clearing the folder of blobs")
			}
		}
	}
	return s, nil
}

func (s *Store) temp() string { return filepath.Join(s.dir, "tmp") }

// Path is where the blob's file is, whether or not it exists.
func (s *Store) Path(ref blob.Ref) (string, error) {
	if _, err := blob.ParseRef(string(ref)); err != nil {
		return "", err
	}
	h := ref.Hex()
	return filepath.Join(s.dir, h[:2], h[2:]), nil
}

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, r io.Reader) (blob.Ref, int64, error) {
	f, err := os.CreateTemp(s.temp(), "put-*")
	if err != nil {
		return "", 0, mapErr(err, "making a blob")
	}
	defer os.Remove(f.Name())
	sum, n, err := fill(ctx, f, r)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return "", 0, mapErr(err, "writing a blob")
	}
	ref := blob.RefOf(sum)
	return ref, n, mapErr(s.name(f.Name(), ref), "naming a blob")
}

// Link implements blob.Linker.
func (s *Store) Link(ctx context.Context, path string) (blob.Ref, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, mapErr(err, "reading a file for a blob")
	}
	defer f.Close()
	temp := filepath.Join(s.temp(), fmt.Sprintf("link-%d", s.links.Add(1)))
	if os.Remove(temp); os.Link(path, temp) != nil { // another file system, or one without links
		return s.Put(ctx, f)
	}
	defer os.Remove(temp)
	h := sha256.New()
	n, err := io.Copy(h, &stopping{ctx, f})
	if err == nil {
		err = f.Chmod(0o400)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return "", 0, mapErr(err, "reading a file for a blob")
	}
	ref := blob.RefOf([32]byte(h.Sum(nil)))
	return ref, n, mapErr(s.name(temp, ref), "naming a blob")
}

// fill copies, hashes and syncs, and leaves the file read-only: engines may hard-link it and must not change it.
func fill(ctx context.Context, f *os.File, r io.Reader) (sum [32]byte, n int64, err error) {
	h := sha256.New()
	n, err = io.Copy(io.MultiWriter(f, h), &stopping{ctx, r})
	if err == nil {
		err = f.Chmod(0o400)
	}
	if err == nil {
		err = f.Sync()
	}
	h.Sum(sum[:0])
	return sum, n, err
}

// stopping ends a copy when its context does.
type stopping struct {
	ctx context.Context
	r   io.Reader
}

func (s *stopping) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// name gives a finished file its place and makes that durable. It takes the place of what is stored already: bytes
// that went bad on the disk are good again afterwards.
func (s *Store) name(temp string, ref blob.Ref) error {
	path, err := s.Path(ref)
	if err != nil {
		return err
	}
	folder := filepath.Dir(path)
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	at := s.now()
	if err := os.Chtimes(temp, at, at); err != nil {
		return err
	}
	if err := s.place(temp, path); err != nil {
		return err
	}
	if err := durable.SyncDir(folder); err != nil {
		return err
	}
	return durable.SyncDir(s.dir)
}

func (s *Store) place(temp, path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return os.Rename(temp, path)
}

// Open implements blob.Store.
func (s *Store) Open(ctx context.Context, ref blob.Ref) (io.ReadCloser, int64, error) {
	path, err := s.Path(ref)
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, mapErr(err, "opening a blob")
	}
	i, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(mapErr(err, "opening a blob"), f.Close())
	}
	return &checked{f: f, in: &stopping{ctx, f}, h: sha256.New(), ref: ref}, i.Size(), nil
}

// checked compares what was read with the blob's name when the end is reached.
type checked struct {
	f   *os.File
	in  io.Reader
	h   hash.Hash
	ref blob.Ref
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.h.Write(p[:n])
	if err == io.EOF {
		var sum [32]byte
		c.h.Sum(sum[:0])
		if blob.RefOf(sum) != c.ref {
			return n, fault.New(fault.Internal, "The stored file "+string(c.ref)+" is damaged.", fault.Code("damaged"),
				fault.Fix("Restore it from a copy, or import it again."))
		}
	}
	return n, err
}

func (c *checked) Close() error { return c.f.Close() }

// Stat implements blob.Store.
func (s *Store) Stat(_ context.Context, ref blob.Ref) (blob.Info, error) {
	path, err := s.Path(ref)
	if err != nil {
		return blob.Info{}, err
	}
	i, err := os.Stat(path)
	if err != nil {
		return blob.Info{}, mapErr(err, "looking at a blob")
	}
	return blob.Info{Ref: ref, Size: i.Size(), At: i.ModTime()}, nil
}

// Delete implements blob.Store.
func (s *Store) Delete(_ context.Context, ref blob.Ref) error {
	path, err := s.Path(ref)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return mapErr(err, "deleting a blob")
	}
	return nil
}

// Expire implements blob.Expirer.
func (s *Store) Expire(ctx context.Context, ref blob.Ref, t time.Time) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.Stat(ctx, ref)
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	if err != nil || !i.At.Before(t) {
		return false, err
	}
	return true, s.Delete(ctx, ref)
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, yield func(blob.Info) bool) error {
	folders, err := os.ReadDir(s.dir)
	if err != nil {
		return mapErr(err, "listing blobs")
	}
	for _, d := range folders {
		if len(d.Name()) != 2 || !d.IsDir() {
			continue
		}
		files, err := os.ReadDir(filepath.Join(s.dir, d.Name()))
		if err != nil {
			return mapErr(err, "listing blobs")
		}
		for _, f := range files {
			ref := blob.Ref("sha256:" + d.Name() + f.Name())
			if !ref.Valid() {
				continue
			}
			if err := ctx.Err(); err != nil {
				return fault.Wrap(err, "listing blobs")
			}
			i, err := f.Info()
			if errors.Is(err, fs.ErrNotExist) { // deleted since
				continue
			}
			if err != nil {
				return mapErr(err, "listing blobs")
			}
			if !yield(blob.Info{Ref: ref, Size: i.Size(), At: i.ModTime()}) {
				return nil
			}
		}
	}
	return nil
}

func mapErr(err error, doing string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.NotFound, "There is no such stored file.", fault.Cause(err))
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.New(fault.Unavailable, "The disk is full.", fault.Fix("Free some space and try again."), fault.Cause(err))
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fault.New(fault.Unavailable, "The folder of stored files cannot be written.",
			fault.Fix("Check that it belongs to you and that the disk is writable."), fault.Cause(err))
	}
	return fault.Wrap(err, doing)
}
