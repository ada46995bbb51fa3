package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/id"
)

func (a *app) dataCommand() *cobra.Command {
	var format string
	var skipBad bool
	imp := a.verb("import NAME FILE", "Import text, JSONL or chat JSONL as a new version; - reads standard input", cobra.ExactArgs(2), func(ctx context.Context, c *api.Client, args []string) error {
		return a.importData(ctx, c, args[0], args[1], format, skipBad)
	})
	imp.Long = `Imports records as a new version of a data set, which is made when there is none of that name. The same records again
give the version that is there. Formats:

  chat    a conversation a line: {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
          roles: system (first only), user and assistant, with at least one assistant message; trains a model to answer
  jsonl   a text a line: {"text": "..."}; trains a model to go on writing
  text    the file is one text, or several with empty lines between them`
	imp.Flags().StringVar(&format, "format", "", "text, jsonl or chat (default: by the file's ending and first line)")
	imp.Flags().BoolVar(&skipBad, "skip-bad", false, "leave broken lines out and count them")
	ls := a.verb("ls [NAME]", "List data sets, or one's versions", cobra.MaximumNArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if len(args) == 1 {
			return a.dataVersions(ctx, c, args[0])
		}
		list, err := c.DataSets(ctx)
		if err != nil {
			return err
		}
		return a.Value(list, func() {
			a.Table([]string{"name", "versions", "format", "records", "size", "age"}, rows(list, func(d api.DataSet) []string {
				return []string{d.Name, fmt.Sprint(d.Versions), d.Latest.Format, num(d.Latest.Records), ui.Bytes(d.Latest.Bytes), a.ago(d.Latest.CreatedAt)}
			}))
		})
	})
	show := a.verb("show DATA", "Show a version: name, name@number or id", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		v, err := c.DataVersion(ctx, args[0])
		if err != nil {
			return err
		}
		return a.Value(v, func() { a.showData(v) })
	})
	rm := a.verb("rm DATA", "Remove a version: name@number or id", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		if err := c.RemoveData(ctx, args[0]); err != nil {
			return err
		}
		return a.Value(map[string]string{"removed": args[0]}, func() { a.Printf("%s is removed\n", args[0]) })
	})
	return noun("data", "Data sets: named collections of records with versions", imp, ls, show, rm)
}

func (a *app) importData(ctx context.Context, c *api.Client, name, file, format string, skipBad bool) error {
	var in io.Reader = a.In
	var size int64
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return fault.New(fault.Invalid, "The file "+file+" cannot be read.", fault.Field("FILE"), fault.Cause(err))
		}
		defer f.Close()
		if st, err := f.Stat(); err == nil {
			size = st.Size()
		}
		in = f
	}
	if format == "" {
		var err error
		if format, in, err = guessFormat(file, in); err != nil {
			return err
		}
	}
	bar := a.Bar("importing")
	counted := &countingReader{r: in, seen: func(n int64) { bar.Set(n, size, ui.Bytes(n)) }}
	v, err := c.ImportData(ctx, api.Import{Name: name, Format: format, SkipBad: skipBad}, counted)
	if err != nil {
		return err
	}
	return a.Value(v, func() {
		bar.Done("done")
		a.showData(v)
		a.Next("%s", a.command("train %s", shellQuote(v.DataSet)))
	})
}

// guessFormat looks at the file's ending and its first bytes.
func guessFormat(file string, in io.Reader) (string, io.Reader, error) {
	if e := strings.ToLower(filepath.Ext(file)); e == ".txt" || e == ".md" {
		return "text", in, nil
	}
	head := make([]byte, 64<<10)
	n, err := io.ReadFull(in, head)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return "", nil, fault.Wrap(err, "reading the file")
	}
	rest := io.MultiReader(strings.NewReader(string(head[:n])), in)
	line, _, _ := strings.Cut(string(head[:n]), "\n")
	switch {
	case !strings.HasPrefix(strings.TrimSpace(line), "{"):
		return "text", rest, nil
	case strings.Contains(line, `"messages"`):
		return "chat", rest, nil
	}
	return "jsonl", rest, nil
}

type countingReader struct {
	r    io.Reader
	n    int64
	seen func(int64)
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.seen(c.n)
	return n, err
}

func (a *app) showData(v api.DataVersion) {
	a.Printf("%s@%d  %s\n  format   %s\n  records  %d\n  letters  %d\n  size     %s\n  sha256   %s\n", v.DataSet, v.Number, v.ID, v.Format, v.Records, v.Chars, ui.Bytes(v.Bytes), v.SHA256)
	if v.RemovedAt != nil {
		a.Printf("  removed  %s; its records are gone\n", v.RemovedAt.Format(time.DateTime))
	}
	if v.Bad > 0 {
		a.Printf("  broken   %d lines left out, the first:\n", v.Bad)
		for _, b := range v.BadLines {
			a.Printf("    line %d: %s\n", b.Line, b.Reason)
		}
	}
}

func (a *app) dataVersions(ctx context.Context, c *api.Client, name string) error {
	list, err := c.DataVersions(ctx, name)
	if err != nil {
		return err
	}
	return a.Value(list, func() {
		a.Table([]string{"version", "id", "format", "records", "size", "age"}, rows(list, func(v api.DataVersion) []string {
			return []string{fmt.Sprintf("%s@%d", v.DataSet, v.Number), v.ID, v.Format, num(v.Records), ui.Bytes(v.Bytes), a.ago(v.CreatedAt)}
		}))
	})
}

// trainOptions are the flags of train.
type trainOptions struct {
	run    api.NewRun
	place  placingFlags
	recipe string
	set    []string
	array  string
	detach bool
	dry    bool
}

func (a *app) trainCommand() *cobra.Command {
	o := &trainOptions{}
	c := a.verb("train DATA", "Train a model version from a data version (name, name@number or id) and a recipe", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		o.run.Data = args[0]
		if o.run.Model == "" {
			name, _, _ := strings.Cut(args[0], "@")
			o.run.Model = name
		}
		return a.train(ctx, c, o)
	})
	f := c.Flags()
	f.StringVar(&o.run.Model, "model", "", "name of the model that the result becomes a version of (default: the data set's)")
	f.StringVar(&o.run.Name, "name", "", "name of the run (default: the model's)")
	f.StringVar(&o.run.Base, "base", "", "model version to go on from")
	f.StringVar(&o.run.Recipe.Preset, "preset", "", "size of a fresh model: nano, tiny, small, medium")
	f.StringVar(&o.run.Recipe.Method, "method", "", "pretrain or sft (default by the data)")
	f.IntVar(&o.run.Recipe.Steps, "steps", 0, "optimiser steps")
	f.Float64Var(&o.run.Recipe.Epochs, "epochs", 0, "passes over the data")
	f.Float64Var(&o.run.Recipe.LR, "lr", 0, "highest learning rate")
	f.IntVar(&o.run.Recipe.Batch, "batch", 0, "packed rows in one pass")
	f.IntVar(&o.run.Recipe.Context, "context", 0, "longest sequence, tokens")
	f.Uint64Var(&o.run.Recipe.Seed, "seed", 0, "seed of weights and order")
	f.IntVar(&o.run.CPUs, "cpus", 0, "cores (default 1)")
	f.IntVar(&o.run.Priority, "priority", 0, "higher goes first")
	o.place.add(f, &o.run.Placing)
	f.StringVar(&o.recipe, "recipe", "", "JSON file with a recipe; flags overrule it")
	f.StringArrayVar(&o.set, "set", nil, "a recipe field, such as --set warmup=50; repeatable")
	f.StringVar(&o.array, "array", "", "submit so many runs NAME-1, NAME-2, ... that differ in their seed, each one higher, as one array, and return at once; also numbers such as 0-9, and 8%2 for at most two at once")
	f.BoolVar(&o.detach, "detach", false, "return at once instead of watching")
	f.BoolVar(&o.run.Force, "force", false, "go on where it does not fit; what it was refused for is kept")
	f.BoolVar(&o.dry, "estimate", false, "only say what it would take")
	return c
}

func (a *app) train(ctx context.Context, c *api.Client, o *trainOptions) error {
	if err := o.fill(); err != nil {
		return err
	}
	if err := o.place.fill(&o.run.Placing, time.Now()); err != nil {
		return err
	}
	if o.dry {
		r, err := c.EstimateRun(ctx, o.run)
		if err != nil {
			return err
		}
		return a.Value(r, func() { a.showEstimate(r.Estimate) })
	}
	if o.array != "" {
		return a.trainArray(ctx, c, o)
	}
	r, err := c.CreateRun(ctx, o.run)
	if err != nil {
		return err
	}
	if o.detach || a.JSON {
		return a.Value(r, func() {
			a.Printf("run %s is %s\n", r.ID, r.State)
			a.Next("%s", a.command("run watch %s", r.ID))
		})
	}
	a.Printf("run %s\n", r.ID)
	a.showEstimate(r.Estimate)
	return a.watch(ctx, c, r.ID)
}

// fill merges recipe file, flags and --set, the later over the earlier.
func (o *trainOptions) fill() error {
	flags, err := json.Marshal(o.run.Recipe)
	if err != nil {
		return fault.Wrap(err, "reading the flags")
	}
	var merged api.Recipe
	if o.recipe != "" {
		text, err := os.ReadFile(o.recipe)
		if err == nil {
			err = strictJSON(text, &merged)
		}
		if err != nil {
			return fault.New(fault.Invalid, "The recipe "+o.recipe+" cannot be read: "+err.Error()+".", fault.Field("recipe"))
		}
	}
	if err := json.Unmarshal(flags, &merged); err != nil {
		return fault.Wrap(err, "reading the flags")
	}
	for _, kv := range o.set {
		k, v, ok := strings.Cut(kv, "=")
		if !ok {
			return fault.InvalidField("set", "--set %s is not field=value", kv)
		}
		if !json.Valid([]byte(v)) {
			v = fmt.Sprintf("%q", v)
		}
		if err := strictJSON(fmt.Appendf(nil, "{%q:%s}", k, v), &merged); err != nil {
			return fault.InvalidField("recipe."+k, "--set %s: %s", kv, err)
		}
	}
	o.run.Recipe = merged
	return nil
}

func strictJSON(text []byte, into any) error {
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

func (a *app) showEstimate(e api.Estimate) {
	a.Printf("  %.1f M parameters, %d steps, %.2f M tokens, about %s of memory and %s at %s tokens a second\n", float64(e.Params)/1e6, e.Steps,
		float64(e.Tokens)/1e6, ui.Bytes(e.MemoryBytes), time.Duration(e.Seconds*float64(time.Second)).Round(time.Second), thousands(e.TokensPerSecond))
}

func (a *app) runCommand() *cobra.Command {
	ls := a.verb("ls [NAME]", "List runs, or those of a name or an array", cobra.MaximumNArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		list, err := c.Runs(ctx)
		if err != nil {
			return err
		}
		if len(args) == 1 {
			list = slices.DeleteFunc(list, func(r api.Run) bool { return r.Name != args[0] && !inArray(r.Name, args[0]) })
		}
		return a.Value(list, func() { a.runTable(list) })
	})
	show := a.verb("show RUN", "Show a run by id, or the newest of a name", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		r, err := a.findRun(ctx, c, args[0])
		if err != nil {
			return err
		}
		return a.Value(r, func() { a.showRun(r) })
	})
	watch := a.verb("watch RUN", "Watch a run to its end", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		r, err := a.findRun(ctx, c, args[0])
		if err != nil {
			return err
		}
		return a.watch(ctx, c, r.ID)
	})
	var attempt int
	var goOn bool
	logs := a.verb("logs RUN", "Print a run's output", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		r, err := a.findRun(ctx, c, args[0])
		if err != nil {
			return err
		}
		return a.copyLogs(ctx, c, goOn, func(c *api.Client, offset int64) (api.Logs, error) {
			return c.RunLogs(ctx, r.ID, api.LogQuery{Attempt: attempt, Offset: offset})
		})
	})
	logs.Flags().IntVar(&attempt, "attempt", 0, "which attempt (default: the newest)")
	logs.Flags().BoolVarP(&goOn, "follow", "f", false, "go on as more comes")
	stop := a.verb("stop RUN", "Stop a run; it saves a checkpoint and ends as cancelled", cobra.ExactArgs(1), func(ctx context.Context, c *api.Client, args []string) error {
		r, err := a.findRun(ctx, c, args[0])
		if err != nil {
			return err
		}
		if r, err = c.StopRun(ctx, r.ID); err != nil {
			return err
		}
		return a.Value(r, func() { a.Printf("%s is %s\n", r.ID, r.State) })
	})
	return noun("run", "Runs: training jobs with metrics and checkpoints", ls, show, watch, logs, stop)
}

func (a *app) runTable(list []api.Run) {
	a.Table([]string{"run", "name", "state", "step", "loss", "restarts", "model", "age"}, rows(list, func(r api.Run) []string {
		return []string{r.ID, r.Name, r.State, fmt.Sprintf("%d/%d", r.Progress.Step, r.Estimate.Steps), fmt.Sprintf("%.3f", r.Progress.Loss), fmt.Sprint(r.Restarts), r.ModelVersion, a.ago(r.CreatedAt)}
	}))
}

// findRun takes an id, or a name, which means the newest run of that name.
func (a *app) findRun(ctx context.Context, c *api.Client, name string) (api.Run, error) {
	if id.Valid("run", name) {
		return c.Run(ctx, name)
	}
	list, err := c.Runs(ctx)
	if err != nil {
		return api.Run{}, err
	}
	for _, r := range list {
		if r.Name == name {
			return c.Run(ctx, r.ID)
		}
	}
	return api.Run{}, fault.New(fault.NotFound, fmt.Sprintf("There is no run %q.", name), fault.Fix("See `%s`", a.command("run ls")))
}

func (a *app) showRun(r api.Run) {
	a.Printf("%s  %s\n  state       %s\n", r.ID, r.Name, r.State)
	for _, line := range [][2]string{{"reason", r.Reason}, {"who acts", r.Fault}, {"forced", r.Forced}, {"model", r.Model}, {"version", r.ModelVersion}, {"data", r.DataVersion}, {"base", r.Base}, {"limits", r.Limits}} {
		if line[1] != "" {
			a.Printf("  %-10s  %s\n", line[0], line[1])
		}
	}
	a.Printf("  step        %d of %d, loss %.4f, %s tokens a second\n  attempt     %d, restarted %d times\n  checkpoint  %s\n", r.Progress.Step, r.Estimate.Steps,
		r.Progress.Loss, thousands(r.Progress.TokensPerSecond), r.Attempt, r.Restarts, first(r.Progress.Checkpoint, "-"))
}

// watch shows a run's progress until it ends; a run that did not succeed is an error.
func (a *app) watch(ctx context.Context, c *api.Client, id string) error {
	bar := a.Bar(id)
	var losses []float64
	r, err := follow(ctx, a, c, "run watch "+id, func(c *api.Client) (api.Run, bool, error) {
		r, err := c.Run(ctx, id)
		if p := r.Progress; err == nil && p.Step > 0 {
			losses = append(losses, p.Loss)
			bar.Set(int64(p.Step), int64(max(p.Steps, 1)), fmt.Sprintf("loss %.3f %s %s tok/s %s", p.Loss, ui.Spark(losses, 12), thousands(p.TokensPerSecond), first(r.Reason, r.State)))
		}
		return r, r.Ended(), err
	})
	if err != nil {
		return err
	}
	bar.Done(r.State)
	return a.runEnded(r)
}

func (a *app) runEnded(r api.Run) error {
	if r.State != "succeeded" {
		if err := a.Value(r, func() {}); err != nil {
			return err
		}
		return fault.New(fault.Conflict, fmt.Sprintf("The run %s ended as %s: %s", r.ID, r.State, r.Reason), fault.Fix("See `%s`", a.command("run logs %s", r.ID)))
	}
	return a.Value(r, func() {
		a.Printf("model %s, version %s, loss %.4f\n", r.Model, r.ModelVersion, r.Progress.Loss)
		a.Next("%s", a.command("deploy %s", shellQuote(r.Model)))
	})
}

// copyLogs prints output from its beginning, and goes on with it when asked to.
func (a *app) copyLogs(ctx context.Context, c *api.Client, goOn bool, read func(*api.Client, int64) (api.Logs, error)) error {
	var offset int64
	piece := func(c *api.Client) (bool, error) {
		for {
			l, err := read(c, offset)
			if err != nil {
				return false, err
			}
			if _, err := a.Out.Write(l.Data); err != nil {
				return true, nil // the pipe's reader has gone
			}
			if offset = l.Next; offset >= l.End {
				return l.Ended, nil
			}
		}
	}
	if !goOn {
		_, err := piece(c)
		return err
	}
	_, err := follow(ctx, a, c, "", func(c *api.Client) (struct{}, bool, error) {
		ended, err := piece(c)
		return struct{}{}, ended, err
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}
