package hf

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/triarch-ai/triarch/internal/durable"
	"github.com/triarch-ai/triarch/internal/fault"
)

const maxMeta = 8 << 20 // bytes of a JSON file beside the weights

func join(dir, name string) string { return filepath.Join(dir, name) }

// openRegular opens a file of the folder and refuses anything that is not a plain file, before opening it: a pipe
// would block.
func openRegular(dir, name string) (*os.File, error) {
	path := join(dir, name)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.New(fault.NotFound, "The model's folder has no "+name+".", fault.Field(name),
			fault.Fix("Point at a folder in Hugging Face layout."), fault.Cause(err))
	case err != nil:
		return nil, fault.Wrap(err, "reading "+name)
	case !info.Mode().IsRegular():
		return nil, damaged(name, errors.New("not a plain file"))
	}
	f, err := os.Open(path)
	return f, fault.Wrap(err, "reading "+name)
}

func readLimited(dir, name string, limit int64) ([]byte, error) {
	f, err := openRegular(dir, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fault.Wrap(err, "reading "+name)
	}
	if int64(len(raw)) > limit {
		return nil, fault.Newf(fault.TooLarge, "The model's %s is larger than %d bytes.", name, limit)
	}
	return raw, nil
}

// readJSON reads a file into v; a missing one leaves v as it is unless must.
func readJSON(dir, name string, must bool, v any) error {
	raw, err := readLimited(dir, name, maxMeta)
	if err != nil {
		if !must && fault.Is(err, fault.NotFound) {
			return nil
		}
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return damaged(name, err)
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// writeFile writes one file and syncs it to disk.
func writeFile(path string, write func(*os.File) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := write(f); err != nil {
		return err
	}
	return f.Sync()
}

// writeDir lets fill write into a fresh folder beside dir and renames it to dir when all of it is on disk. On an
// error nothing of it is left.
func writeDir(dir string, fill func(tmp string) error) (err error) {
	dir = filepath.Clean(dir)
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fault.Wrap(err, "making the model's folder")
	}
	tmp, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+".tmp-*")
	if err != nil {
		return fault.Wrap(err, "making the model's folder")
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	if err := fill(tmp); err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(tmp, 0o755), durable.SyncDir(tmp)); err != nil {
		return fault.Wrap(err, "writing the model's folder")
	}
	if err := os.Rename(tmp, dir); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fault.New(fault.Conflict, "The folder of the model exists already.", fault.Field("dir"), fault.Cause(err))
		}
		return fault.Wrap(err, "naming the model's folder")
	}
	return fault.Wrap(durable.SyncDir(parent), "naming the model's folder")
}
