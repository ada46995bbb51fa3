// Package logfile keeps the output of a long-lived process in files of bounded size.
//
// A File appends to PATH; when that would grow beyond its limit it becomes PATH.1, what was PATH.1 becomes PATH.2 and
// so on, and the oldest goes. One process writes to a path at a time; what it finds there it goes on from. Crashes of
// the process (panics, fatal errors of the runtime) are written to the same place by Crashes.
package logfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
)

// File is an output that starts a new file when the present one is full. It is safe for concurrent use.
type File struct {
	path    string
	limit   int64
	keep    int
	crashes bool

	mu   sync.Mutex
	file *os.File
	size int64
}

// Open appends to path, whose folder must exist. No file grows beyond limit bytes, but for a single Write that is
// larger; keep older ones stay beside it.
func Open(path string, limit int64, keep int) (*File, error) {
	f := &File{path: path, limit: limit, keep: keep}
	return f, f.open()
}

// Path is where the newest output is.
func (f *File) Path() string { return f.path }

// Crashes has the runtime write to the file too when the process dies by a panic or a fatal error.
func (f *File) Crashes() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashes = true
	return debug.SetCrashOutput(f.file, debug.CrashOptions{})
}

// Write implements io.Writer. A file that cannot be replaced when it is full is written on: a line too many is better
// than one lost.
func (f *File) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return 0, fs.ErrClosed
	}
	var turned error
	if f.size > 0 && f.size+int64(len(p)) > f.limit {
		turned = f.turn()
	}
	n, err := f.file.Write(p)
	f.size += int64(n)
	return n, errors.Join(err, turned)
}

// Close ends the writing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

func (f *File) open() error {
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	st, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	if f.file != nil {
		f.file.Close()
	}
	f.file, f.size = file, st.Size()
	if f.crashes {
		return debug.SetCrashOutput(file, debug.CrashOptions{})
	}
	return nil
}

// turn moves the files one place on and opens a new one.
func (f *File) turn() error {
	for n := f.keep; n > 0; n-- {
		from := f.older(n - 1)
		if err := os.Rename(from, f.older(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if f.keep == 0 {
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return f.open()
}

// older is the name of the n-th file before the newest.
func (f *File) older(n int) string {
	if n == 0 {
		return f.path
	}
	return fmt.Sprintf("%s.%d", f.path, n)
}
