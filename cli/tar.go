package cli

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/triarch-ai/triarch/internal/fault"
)

// pack writes the regular files of a folder, not of those below it, as a tar.
func pack(dir string, w io.Writer) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			continue
		}
		if err := packFile(tw, filepath.Join(dir, e.Name()), e.Name(), info.Size()); err != nil {
			return err
		}
	}
	return tw.Close()
}

func packFile(tw *tar.Writer, path, name string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}); err != nil {
		return err
	}
	_, err = io.CopyN(tw, f, size)
	return err
}

// unpack writes the regular files of a tar into dir. A name that leads out of it is refused: the server is not
// trusted with the caller's disk.
func unpack(r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fault.Wrap(err, "opening the folder to write to")
	}
	defer root.Close()
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if refused, ok := errors.AsType[*fault.Error](err); ok { // by the server, before it sent anything
			return refused
		}
		if err != nil {
			return fault.New(fault.Unavailable, "The transfer broke off.", fault.Fix("Try again"), fault.Cause(err))
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if filepath.Base(h.Name) != h.Name || h.Name == "." || h.Name == ".." {
			return fault.Newf(fault.Invalid, "The transfer holds the file name %q, which is refused.", h.Name)
		}
		if err := unpackFile(root, h.Name, tr); err != nil {
			return err
		}
	}
}

func unpackFile(root *os.Root, name string, r io.Reader) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fault.Wrap(err, "writing "+name)
	}
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		return fault.New(fault.Unavailable, "Writing "+name+" broke off.", fault.Cause(err))
	}
	return fault.Wrap(f.Sync(), "writing "+name)
}
