// Package durable writes files so that they survive: whole or not at all, and on the disk when the call returns. It
// also reads small files back without trusting their size.
//
// Rules for callers: after files of a folder were made, renamed or removed by other means, SyncDir has the folder
// itself reach the disk, or a power loss takes the names away again. A crash in the middle of a write may leave a file
// whose name begins with Leftover; it may be deleted.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Leftover begins the names of files that are being written.
const Leftover = ".new-"

// SyncDir has the entries of a folder reach the disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// WriteFile makes b the content of the file at path: after a crash the old or the new content is there, never a
// mixture.
func WriteFile(path string, b []byte, mode fs.FileMode) error {
	return Write(path, mode, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// Write is WriteFile with the content that write writes; when write fails, nothing has happened.
func Write(path string, mode fs.FileMode, write func(io.Writer) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, Leftover+"*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err = write(f); err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// ReadSmall reads a regular file of at most the given number of bytes. What is larger, or no regular file, is an error
// and is not waited for: the file may be another program's.
func ReadSmall(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > most {
		return nil, fmt.Errorf("%s is no regular file of at most %d bytes", path, most)
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		return nil, fmt.Errorf("%s has grown beyond %d bytes", path, most)
	}
	return b, err
}
