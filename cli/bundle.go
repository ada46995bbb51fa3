package cli

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/hub"
)

func (a *app) bundleCommand() *cobra.Command {
	var to string
	c := a.verb("bundle MODEL", "Write a version with its checksums as one file, for where no network leads; model pull --from takes it in", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		return a.bundleModel(ctx, c, args[0], to)
	})
	c.Flags().StringVar(&to, "to", "", "file to make (default: the model's name with .bundle)")
	return c
}

// bundleModel writes beside the target first and renames at the end, so that nothing half written stays.
func (a *app) bundleModel(ctx context.Context, c *api.Client, name, to string) error {
	v, err := c.ModelVersion(ctx, name)
	if err != nil {
		return err
	}
	if to == "" {
		to = v.Model + ".bundle"
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Conflict, to+" exists already.", fault.Field("to"), fault.Fix("Choose another name with --to"))
	}
	w, err := os.CreateTemp(filepath.Dir(to), ".bundle-*")
	if err != nil {
		return fault.New(fault.Invalid, "The folder of "+to+" cannot be written.", fault.Field("to"), fault.Cause(err))
	}
	defer os.Remove(w.Name())
	defer w.Close()
	m := hub.Manifest{Model: v.Model, Number: v.Number, Origin: v.Lineage.Origin, Revision: v.Lineage.Revision, Card: v.Card, Made: v.CreatedAt}
	for _, f := range v.Files {
		m.Files = append(m.Files, hub.Entry{Path: f.Name, Size: f.Size, SHA256: f.SHA256})
	}
	bar := a.Bar("bundling")
	counted := &countingWriter{w: w, seen: func(n int64) { bar.Set(min(n, v.Bytes), v.Bytes, ui.Bytes(n)) }}
	if err := a.copyBundle(ctx, c, v.ID, m, counted); err != nil {
		return err
	}
	if err := errors.Join(w.Chmod(0o644), w.Sync(), w.Close()); err != nil {
		return fault.Wrap(err, "writing "+to)
	}
	if err := os.Rename(w.Name(), to); err != nil {
		return fault.Wrap(err, "writing "+to)
	}
	return a.Value(map[string]any{"model": v.Model, "number": v.Number, "path": to, "bytes": v.Bytes, "hash": m.Hash()}, func() {
		bar.Done(ui.Bytes(v.Bytes))
		a.Printf("wrote %s\n", to)
		a.Next("%s", a.command("model pull --from %s", shellQuote(to)))
	})
}

// copyBundle turns the server's export into a bundle: both have the files by name, and each is checked on its way.
func (a *app) copyBundle(ctx context.Context, c *api.Client, id string, m hub.Manifest, w io.Writer) error {
	r, pw := io.Pipe()
	go func() { pw.CloseWithError(c.ExportModel(ctx, id, "hf", pw)) }()
	defer r.Close()
	b, err := hub.NewBundle(w, m)
	if err != nil {
		return err
	}
	tr := tar.NewReader(r)
	for _, f := range m.Files {
		h, err := tr.Next()
		if refused, ok := errors.AsType[*fault.Error](err); ok {
			return refused
		}
		if err != nil || h.Name != f.Path {
			return fault.New(fault.Unavailable, "The transfer broke off.", fault.Fix("Try again"), fault.Cause(err))
		}
		if err := b.Add(f.Path, tr); err != nil {
			return err
		}
	}
	return b.Close()
}

// countingWriter tells how much went through it.
type countingWriter struct {
	w    io.Writer
	n    int64
	seen func(int64)
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	c.seen(c.n)
	return n, err
}

// takeBundle checks a bundle here, where it can be told soon, and sends it to the server, which checks it again.
func (a *app) takeBundle(ctx context.Context, c *api.Client, from, name string) error {
	f, err := os.Open(from)
	if err != nil {
		return fault.New(fault.Invalid, from+" cannot be read.", fault.Field("from"), fault.Cause(err))
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return fault.New(fault.Invalid, from+" is no file.", fault.Field("from"), fault.Cause(err))
	}
	look := a.Bar("checking")
	if _, err := hub.ReadBundle(ctx, &countingReader{r: f, seen: func(n int64) { look.Set(n, st.Size(), ui.Bytes(n)) }}, "", 0); err != nil {
		return err
	}
	look.Done("every file fits its checksum")
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fault.Wrap(err, "reading "+from)
	}
	bar := a.Bar("importing")
	v, err := c.ImportBundle(ctx, name, &countingReader{r: f, seen: func(n int64) { bar.Set(n, st.Size(), ui.Bytes(n)) }})
	if err != nil {
		return err
	}
	return a.Value(v, func() {
		bar.Done("done")
		a.showModel(v)
		a.nextOf(v)
	})
}
