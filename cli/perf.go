package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/internal/fault"
)

func (a *app) perfCommand() *cobra.Command {
	return noun("perf", "See what was measured of work on chips, and tell what your own programs measured", a.perfLs(), a.perfShow(), a.perfReport())
}

func (a *app) perfLs() *cobra.Command {
	c := a.verb("ls", "List what was measured: of each piece of work the newest, and how far the prediction was off", cobra.NoArgs,
		func(ctx context.Context, c *api.Client, _ []string) error {
			list, err := c.Measured(ctx)
			if err != nil {
				return err
			}
			return a.Value(list, func() {
				a.Table([]string{"id", "model", "task", "engine", "chip", "batch", "context", "tokens/s", "predicted", "ratio", "count", "apart"}, rows(list, measuredRow))
			})
		})
	tabular(c)
	return c
}

func measuredRow(m api.Measured) []string {
	return []string{m.ID[:min(8, len(m.ID))], m.Model, m.Task, m.Engine, chipsText(m), strconv.Itoa(m.Batch), lengthText(m), compact(m.Rate), compact(m.Predicted), ratioText(m.Ratio),
		fmt.Sprintf("%.0f", m.Count), strconv.Itoa(len(m.Apart))}
}

func chipsText(m api.Measured) string {
	if m.Chips > 1 {
		return fmt.Sprintf("%d %s", m.Chips, m.Chip)
	}
	return m.Chip
}

func lengthText(m api.Measured) string {
	if m.Context > 0 {
		return strconv.Itoa(m.Context)
	}
	return fmt.Sprintf("%d+%d", m.Prompt, m.Output)
}

func compact(v float64) string {
	if v == 0 {
		return "-"
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

func ratioText(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", v)
}

func (a *app) perfShow() *cobra.Command {
	return a.verb("show ID", "Show what was measured of one piece of work; the beginning of an id is enough", cobra.ExactArgs(1),
		func(ctx context.Context, c *api.Client, args []string) error {
			list, err := c.Measured(ctx)
			if err != nil {
				return err
			}
			var found []api.Measured
			for _, m := range list {
				if len(args[0]) >= 4 && len(m.ID) >= len(args[0]) && m.ID[:len(args[0])] == args[0] {
					found = append(found, m)
				}
			}
			if len(found) != 1 {
				return fault.New(fault.NotFound, fmt.Sprintf("%s measured pieces of work have an id that begins with %.40q.", num(int64(len(found))), args[0]), fault.Fix("See `%s`", a.command("perf ls")))
			}
			return a.Value(found[0], func() { a.printMeasured(found[0]) })
		})
}

func (a *app) printMeasured(m api.Measured) {
	a.Printf("%s of %s by %s on %s, %s, batch %d, %s tokens\n", m.Task, m.Model, m.Engine, chipsText(m), m.Precision, m.Batch, lengthText(m))
	a.Printf("measured    %s tokens/s, the newest on %s; %.1f measurements count\n", compact(m.Rate), m.Last.Local().Format("2006-01-02 15:04"), m.Count)
	if m.Ratio > 0 {
		a.Printf("predicted   %s tokens/s; measured is %.2f times that in the mean\n", compact(m.Predicted), m.Ratio)
	} else {
		a.Printf("predicted   nothing yet: a figure of the chip is unknown, or all that was measured is more than ten times off\n")
	}
	if m.Own {
		a.Printf("told by this project's programs; it corrects what is predicted for this project alone\n")
	}
	for _, x := range m.Apart {
		says := "waits for a second source that agrees"
		if x.Counts {
			says = "counts, for another source agrees"
		}
		a.Printf("apart       %.3g times the prediction on %s: %s\n", x.Ratio, x.At.Local().Format("2006-01-02 15:04"), says)
	}
}

func (a *app) perfReport() *cobra.Command {
	var m api.NewMeasurement
	var file string
	c := a.verb("report NAME TOKENS_PER_SECOND", "Tell how fast a program's work was; the same NAME is taken once", cobra.ExactArgs(2),
		func(ctx context.Context, c *api.Client, args []string) error {
			rate, err := strconv.ParseFloat(args[1], 64)
			if err != nil {
				return fault.New(fault.Invalid, fmt.Sprintf("%.40q is no number of tokens a second.", args[1]), fault.Field("TOKENS_PER_SECOND"))
			}
			m.Report, m.Rate = args[0], rate
			if file != "" {
				b, err := os.ReadFile(file)
				if err != nil || !json.Valid(b) {
					return fault.New(fault.Invalid, "The shape cannot be read as JSON.", fault.Field("shape"), fault.Cause(err))
				}
				m.Shape = b
			}
			first, err := c.Report(ctx, m)
			if err != nil {
				return err
			}
			return a.Value(api.ReportedMeasurement{First: first}, func() {
				if first {
					a.Printf("taken\n")
				} else {
					a.Printf("%s was told before; nothing changed\n", args[0])
				}
			})
		})
	f := c.Flags()
	f.StringVar(&m.Model, "model", "", "known shape, such as llama-3-8b")
	f.StringVar(&file, "shape", "", "file with the model's shape in JSON, where it is not known by name")
	f.StringVar(&m.Task, "task", "train", "train, post-train, prefill, decode, serve or embed")
	f.StringVar(&m.Engine, "engine", "", "what did the work, such as vllm or torchtitan")
	f.StringVar(&m.Chip, "chip", "", "chip of the catalogue, such as nvidia-h100-sxm")
	f.StringVar(&m.Precision, "precision", "bf16", "of the matrix products")
	f.IntVar(&m.Batch, "batch", 1, "sequences at once; in training of a step over all chips")
	f.IntVar(&m.Micro, "micro", 0, "training: sequences at once in a data-parallel rank")
	f.IntVar(&m.Context, "context", 0, "tokens of a sequence")
	f.IntVar(&m.Prompt, "prompt", 0, "serve: tokens of a prompt")
	f.IntVar(&m.Output, "answer", 0, "serve: tokens of an answer")
	f.IntVar(&m.Layout.Tensor, "tensor", 0, "chips that share each layer")
	f.IntVar(&m.Layout.Pipeline, "pipeline", 0, "stages of layers")
	f.IntVar(&m.Layout.Data, "data-ranks", 0, "data-parallel ranks, or replicas")
	f.IntVar(&m.Layout.Shard, "shard", 0, "what data-parallel ranks split, in ZeRO's stages")
	f.IntVar(&m.Count, "count", 0, "of how many measurements it is the mean")
	return c
}
