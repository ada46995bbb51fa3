package system

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
)

// Format is the number of the data directory's layout. A directory of a higher number was written by a newer
// Triarch and is refused untouched; one of a lower number is brought forward by the migrations of its parts.
const Format = 1

// DataDir is an opened, locked data directory. One process holds it at a time.
type DataDir struct {
	Path   string
	lock   *os.File
	folder bool // OpenDataDir made the folder
	fresh  bool // OpenDataDir laid it out
}

// OpenDataDir makes path if need be, checks that it is on a local file system, of a known format and not in
// use, and locks it until Close. Supervisors and workers do not hold the lock.
func OpenDataDir(path string) (*DataDir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fault.Wrap(err, "finding the data directory")
	}
	if err := checkFormat(abs); err != nil {
		return nil, err
	}
	_, missing := os.Stat(abs)
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, fault.New(fault.Invalid, "The data directory "+abs+" cannot be made: "+reason(err)+".", fault.Field("data"),
			fault.Fix("Choose another with --data"), fault.Cause(err))
	}
	if name := networkFileSystem(abs); name != "" {
		return nil, fault.New(fault.Invalid, fmt.Sprintf("The data directory %s is on a network file system (%s), where neither the database nor the ledger is safe.", abs, name),
			fault.Field("data"), fault.Fix("Choose a folder on a local disk with --data"))
	}
	d := &DataDir{Path: abs, folder: errors.Is(missing, fs.ErrNotExist)}
	if err := d.acquire(); err != nil {
		return nil, err
	}
	if err := d.layOut(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func checkFormat(path string) error {
	text, err := os.ReadFile(filepath.Join(path, "format"))
	if errors.Is(err, fs.ErrNotExist) {
		return foreignFolder(path)
	}
	if err != nil {
		return fault.New(fault.Invalid, "The data directory "+path+" cannot be read: "+reason(err)+".", fault.Field("data"), fault.Cause(err))
	}
	var f struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(text, &f); err != nil || f.Format < 1 {
		return fault.New(fault.Conflict, "The file format in "+path+" is damaged.", fault.Field("data"),
			fault.Fix("Restore it from a backup; it holds "+strings.TrimSpace(string(formatText()))))
	}
	if f.Format > Format {
		return fault.New(fault.Conflict, fmt.Sprintf("The data directory %s has format %d; this Triarch knows up to %d.", path, f.Format, Format),
			fault.Field("data"), fault.Fix("Install a newer Triarch, or choose another folder with --data"))
	}
	return nil
}

// foreignFolder refuses a folder that holds something which is not Triarch's, such as a mistyped home.
func foreignFolder(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil // it will be made
	}
	for _, e := range entries {
		switch e.Name() {
		case "config.yaml", "lost+found", "lock":
		default:
			if strings.HasPrefix(e.Name(), durable.Leftover) {
				continue // a write that a full disk or a kill cut short
			}
			return fault.New(fault.Conflict, fmt.Sprintf("The folder %s holds %s and is not a data directory of Triarch.", path, e.Name()),
				fault.Field("data"), fault.Fix("Choose an empty folder with --data"))
		}
	}
	return nil
}

func (d *DataDir) acquire() error {
	f, err := os.OpenFile(d.File("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fault.New(fault.Invalid, "The data directory "+d.Path+" cannot be written: "+reason(err)+".", fault.Field("data"),
			fault.Fix("Make it writable or choose another with --data"), fault.Cause(err))
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		pid, _ := Holder(d.Path)
		return AlreadyRuns(d.Path, pid)
	}
	d.lock = f
	if !d.owns() { // a start that failed removed the file in between: it guards nothing any more
		d.Close()
		return fault.New(fault.Conflict, "Another start on the data directory "+d.Path+" has just ended.", fault.Field("data"), fault.Fix("Try again"))
	}
	// Whoever finds the lock taken reads here by whom: the holder lives, so the pid is its.
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
		return diskFault(err, "locking the data directory")
	}
	return nil
}

// owns says whether the file that is locked is the one that others find.
func (d *DataDir) owns() bool {
	mine, err := d.lock.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(d.File("lock"))
	return err == nil && os.SameFile(mine, there)
}

// parts are the folders of a data directory.
var parts = []string{"blobs", "ledger", "work", "models", "logs"}

func (d *DataDir) layOut() error {
	// The format comes first: whatever is cut short after it is a data directory that the next start completes.
	if _, err := os.Stat(d.File("format")); err != nil {
		d.fresh = true
		if err := durable.WriteFile(d.File("format"), formatText(), 0o600); err != nil {
			return diskFault(err, "writing the data directory's format")
		}
	}
	for _, sub := range parts {
		if err := os.MkdirAll(d.File(sub), 0o700); err != nil {
			return diskFault(err, "making the data directory")
		}
	}
	return nil
}

// undo removes what OpenDataDir made, for a start that could not open its database: nothing was kept yet, and what is
// left must not look like a data directory. A directory that was there before, or that holds a database, stays.
func (d *DataDir) undo() error {
	if _, err := os.Stat(d.File("state.db")); err == nil || !d.fresh {
		return nil
	}
	for _, sub := range parts {
		os.Remove(d.File(sub)) // only if it is empty
	}
	for _, name := range []string{"node", "format"} {
		if err := os.Remove(d.File(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return diskFault(err, "removing the half-made data directory")
		}
	}
	if d.folder {
		os.Remove(d.File("lock"))
		os.Remove(d.Path)
	}
	return nil
}

// LogFile is where an `up` in the background writes what it says, older parts beside it under the same name with a
// number; data is the path of the data directory.
func LogFile(data string) string { return filepath.Join(data, "logs", "up.log") }

func formatText() []byte { return fmt.Appendf(nil, "{\"format\":%d}\n", Format) }

// File is the path of a name inside the directory.
func (d *DataDir) File(name ...string) string {
	return filepath.Join(append([]string{d.Path}, name...)...)
}

// Close lets another process have the directory.
func (d *DataDir) Close() error {
	if d.lock == nil {
		return nil
	}
	err := d.lock.Close()
	d.lock = nil
	return err
}

// diskFault turns a failed write into a sentence; a full disk is named.
func diskFault(err error, doing string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.New(fault.Unavailable, "The disk is full: "+doing+" failed.", fault.Fix("Free some space and try again"), fault.Cause(err))
	}
	return fault.Wrap(err, doing)
}

func reason(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}
