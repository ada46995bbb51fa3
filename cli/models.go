package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/internal/fault"
)

func (a *app) modelCommand() *cobra.Command {
	var fits bool
	ls := a.verb("ls [MODEL]", "List models, or one's versions", cobra.MaximumNArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if len(args) == 1 && fits {
			return a.modelFits(ctx, c, []api.Model{{Name: args[0]}})
		}
		if len(args) == 1 {
			return a.modelVersions(ctx, c, args[0])
		}
		list, err := c.Models(ctx)
		if err != nil {
			return err
		}
		if fits {
			return a.modelFits(ctx, c, list)
		}
		return a.Value(list, func() {
			a.Table([]string{"name", "versions", "newest", "age"}, rows(list, func(m api.Model) []string {
				return []string{m.Name, fmt.Sprint(m.Versions), fmt.Sprintf("%s@%d", m.Name, m.Latest), a.ago(m.CreatedAt)}
			}))
		})
	})
	ls.Flags().BoolVar(&fits, "fit", false, "for the newest version of each model, or for one: on which chips of the fleet it fits, and how fast it is there")
	tabular(ls)
	show := a.verb("show MODEL", "Show a version: shape, what it needs, engines, card, lineage, loss curve; name, name@number or id", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		v, err := c.ModelVersion(ctx, args[0])
		if err != nil {
			return err
		}
		return a.Value(v, func() { a.showModel(v) })
	})
	var format, to string
	export := a.verb("export MODEL", "Write a version as a Hugging Face folder or a GGUF file", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		return a.exportModel(ctx, c, args[0], format, to)
	})
	export.Flags().StringVar(&format, "format", "hf", "hf (a folder) or gguf (one file)")
	export.Flags().StringVar(&to, "to", "", "folder or file to make (default: the model's name)")
	imp := a.verb("import NAME DIR", "Import a Hugging Face folder, or a tar of one, as a new version", cobra.ExactArgs(2), func(ctx context.Context, c *api.Client, args []string) error {
		return a.importModel(ctx, c, args[0], args[1])
	})
	rm := a.verb("rm MODEL", "Remove a version: name@number or id; refused while it is deployed", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if err := c.RemoveModel(ctx, args[0]); err != nil {
			return err
		}
		return a.Value(map[string]string{"removed": args[0]}, func() { a.Printf("%s is removed\n", args[0]) })
	})
	return noun("model", "Models: named entries of the registry, with versions", ls, show, a.pullCommand(), a.pullsCommand(), a.bundleCommand(), export, imp, rm)
}

func (a *app) modelVersions(ctx context.Context, c *api.Client, name string) error {
	list, err := c.ModelVersions(ctx, name)
	if err != nil {
		return err
	}
	return a.Value(list, func() {
		a.Table([]string{"version", "id", "parameters", "size", "run", "age"}, rows(list, func(v api.ModelVersion) []string {
			return []string{fmt.Sprintf("%s@%d", v.Model, v.Number), v.ID, fmt.Sprintf("%.1f M", float64(v.Shape.Params)/1e6), ui.Bytes(v.Bytes), first(v.Lineage.RunID, v.Lineage.Source), a.ago(v.CreatedAt)}
		}))
	})
}

func (a *app) showModel(v api.ModelVersion) {
	a.Printf("%s@%d  %s\n", v.Model, v.Number, v.ID)
	a.Printf("  shape    %s\n", shapeLine(v.Shape))
	a.showNeeds(v)
	for _, note := range v.Shape.Notes {
		a.Printf("  note     %s\n", note)
	}
	for _, l := range [][2]string{{"unknown", v.Shape.Unknown}, {"foreign", v.Shape.Foreign}, {"run", v.Lineage.RunID}, {"data", dataOrigin(v)}, {"base", v.Lineage.Base}, {"code", v.Lineage.CodeVersion}, {"source", v.Lineage.Source}, {"origin", originOf(v)}} {
		if l[1] != "" {
			a.Printf("  %-7s  %s\n", l[0], l[1])
		}
	}
	if n := len(v.LossCurve); n > 0 {
		losses := make([]float64, n)
		for i, p := range v.LossCurve {
			losses[i] = p.Loss
		}
		a.Printf("  loss     %s  %.3f -> %.3f over %d steps\n", ui.Spark(losses, 40), losses[0], losses[n-1], v.LossCurve[n-1].Step)
	}
	for _, f := range v.Files {
		a.Printf("  file     %-24s %s\n", f.Name, ui.Bytes(f.Size))
	}
	if v.Card != "" {
		a.Printf("\n%s\n", strings.TrimSpace(v.Card))
	}
}

// shapeLine is a model's shape in one line, without what is not known.
func shapeLine(s api.Shape) string {
	parts := []string{first(s.Arch, "no family")}
	if s.Params > 0 {
		parts = append(parts, fmt.Sprintf("%.2f M parameters", float64(s.Params)/1e6))
	}
	if s.Vocab > 0 {
		parts = append(parts, fmt.Sprintf("vocabulary %d", s.Vocab))
	}
	if s.Context > 0 {
		parts = append(parts, fmt.Sprintf("context %d", s.Context))
	}
	if s.DType != "" {
		parts = append(parts, s.DType)
	}
	if s.Quantisation != "" {
		parts = append(parts, "quantised: "+s.Quantisation)
	}
	return strings.Join(parts, ", ")
}

// originOf is where a pulled version comes from, with its revision.
func originOf(v api.ModelVersion) string {
	if v.Lineage.Origin == "" {
		return ""
	}
	return v.Lineage.Origin + " at " + v.Lineage.Revision
}

// dataOrigin is the data version that a model version comes from, by id and, where it is known, by name.
func dataOrigin(v api.ModelVersion) string {
	d := v.Data
	switch {
	case d == nil:
		return v.Lineage.DataVersion
	case d.RemovedAt != nil:
		return fmt.Sprintf("%s  %s@%d, removed %s, sha256 %s", v.Lineage.DataVersion, d.DataSet, d.Number, d.RemovedAt.Format(time.DateOnly), d.SHA256)
	}
	return fmt.Sprintf("%s  %s@%d", v.Lineage.DataVersion, d.DataSet, d.Number)
}

// exportModel writes beside the target first and renames at the end, so that nothing half written stays.
func (a *app) exportModel(ctx context.Context, c *api.Client, name, format, to string) error {
	if format != "hf" && format != "gguf" {
		return fault.InvalidField("format", "--format is %q; it must be hf or gguf", format)
	}
	if to == "" {
		to = strings.NewReplacer("@", "-", "/", "-").Replace(name)
		if format == "gguf" {
			to += ".gguf"
		}
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Conflict, to+" exists already.", fault.Field("to"), fault.Fix("Choose another name with --to"))
	}
	temp, err := os.MkdirTemp(filepath.Dir(to), ".export-*")
	if err != nil {
		return fault.New(fault.Invalid, "The folder of "+to+" cannot be written.", fault.Field("to"), fault.Cause(err))
	}
	defer os.RemoveAll(temp)
	r, w := io.Pipe()
	go func() { w.CloseWithError(c.ExportModel(ctx, name, format, w)) }()
	defer r.Close()
	if err := unpack(r, temp); err != nil {
		return err
	}
	from := temp
	if format == "gguf" {
		files, err := filepath.Glob(filepath.Join(temp, "*.gguf"))
		if err != nil || len(files) != 1 {
			return fault.Newf(fault.Internal, "The export holds %d GGUF files instead of one.", len(files))
		}
		from = files[0]
	} else if err := os.Chmod(temp, 0o755); err != nil {
		return fault.Wrap(err, "finishing the export")
	}
	if err := os.Rename(from, to); err != nil {
		return fault.Wrap(err, "finishing the export")
	}
	return a.Value(map[string]string{"model": name, "format": format, "path": to}, func() { a.Printf("wrote %s\n", to) })
}

func (a *app) importModel(ctx context.Context, c *api.Client, name, dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return fault.New(fault.Invalid, dir+" cannot be read.", fault.Field("DIR"), fault.Cause(err))
	}
	var in io.Reader
	if st.IsDir() {
		r, w := io.Pipe()
		go func() { w.CloseWithError(pack(dir, w)) }()
		defer r.Close()
		in = r
	} else {
		f, err := os.Open(dir)
		if err != nil {
			return fault.New(fault.Invalid, dir+" cannot be read.", fault.Field("DIR"), fault.Cause(err))
		}
		defer f.Close()
		in = f
	}
	bar := a.Bar("importing")
	v, err := c.ImportModel(ctx, name, &countingReader{r: in, seen: func(n int64) { bar.Set(n, treeSize(dir, st), ui.Bytes(n)) }})
	if err != nil {
		return err
	}
	return a.Value(v, func() {
		bar.Done("done")
		a.showModel(v)
		next := "deploy %s"
		if v.Shape.Foreign != "" {
			next = "model ls %s --fit"
		}
		a.Next("%s", a.command(next, shellQuote(v.Model)))
	})
}

func treeSize(dir string, st fs.FileInfo) int64 {
	if !st.IsDir() {
		return st.Size()
	}
	var n int64
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, e := range entries {
		if i, err := e.Info(); err == nil && i.Mode().IsRegular() {
			n += i.Size()
		}
	}
	return n
}
