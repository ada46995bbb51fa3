package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/compute/chip"
)

func (a *app) chipCommand() *cobra.Command {
	var file string
	load := func() (*chip.Catalogue, error) {
		if file != "" {
			if _, err := os.Stat(file); err != nil { // a file that was asked for must be there
				return nil, &usageError{fmt.Errorf("the chip file cannot be read: %w", err)}
			}
			return chip.Load(file)
		}
		return chip.Load(filepath.Join(a.data, chip.OverlayName))
	}
	c := noun("chip", "Look up what is known of chips, without a server", a.chipLs(load), a.chipShow(load))
	c.PersistentFlags().StringVar(&file, "chips", "", "your own file of chips and figures over the catalogue (default: "+chip.OverlayName+" in the data directory)")
	return c
}

func (a *app) chipLs(load func() (*chip.Catalogue, error)) *cobra.Command {
	var maker string
	c := &cobra.Command{Use: "ls", Short: "List the chips of the catalogue; - is a figure that nobody knows", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			all, err := load()
			if err != nil {
				return err
			}
			chips := all.All()
			if maker != "" {
				if chips, err = all.OfMake(maker); err != nil {
					return err
				}
			}
			return a.Value(chips, func() {
				var rows [][]string
				for i := range chips {
					row := chipRow(&chips[i])
					for j := range row {
						if a.CSV && row[j] == "-" { // for spreadsheets an unknown figure is an empty cell
							row[j] = ""
						}
					}
					rows = append(rows, row)
				}
				a.Table([]string{"chip", "make", "memory", "bandwidth", "bf16", "fp16", "fp8", "int8", "link each way", "power"}, rows)
			})
		}}
	tabular(c)
	c.Flags().StringVar(&maker, "make", "", "only the chips of this make")
	return c
}

func chipRow(c *chip.Chip) []string {
	link := "-"
	if c.Link != nil {
		link = chip.FormatQuantity(c.Link.EachWay(), chip.BytesPerSecond)
	}
	return []string{c.ID, c.Make, figureText(c.Memory), figureText(c.Bandwidth), figureText(c.Flops[chip.BF16]), figureText(c.Flops[chip.FP16]),
		figureText(c.Flops[chip.FP8]), operations(figureText(c.Flops[chip.INT8])), link, figureText(c.Power)}
}

func figureText(f *chip.Figure) string {
	if f == nil {
		return "-"
	}
	return chip.FormatQuantity(f.Value, f.Unit)
}

// operations names integer throughput by what it counts.
func operations(s string) string { return strings.Replace(s, "FLOP/s", "OP/s", 1) }

func (a *app) chipShow(load func() (*chip.Catalogue, error)) *cobra.Command {
	return &cobra.Command{Use: "show NAME", Short: "Show a chip: each figure with who says so, and what is unknown", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := load()
			if err != nil {
				return err
			}
			c, err := all.Find(args[0])
			if err != nil {
				return err
			}
			return a.Value(c, func() { a.printChip(&c) })
		}}
}

func (a *app) printChip(c *chip.Chip) {
	a.Printf("%s  %s (%s)\n", c.ID, c.Name, c.Make)
	if len(c.Aliases) > 0 {
		a.Printf("also called  %s\n", strings.Join(c.Aliases, ", "))
	}
	if c.Note != "" {
		a.Printf("%s\n", c.Note)
	}
	a.Printf("\n")
	a.Table([]string{"figure", "is", "confidence", "source", "note"}, figureRows(c))
	a.Printf("\n")
	named := func(what string, names []string) {
		if len(names) > 0 {
			a.Printf("%-11s %s\n", what, strings.Join(names, ", "))
		}
	}
	var resources, variables, engines []string
	for _, r := range c.Resources {
		resources = append(resources, strings.Join(slices.DeleteFunc([]string{r.Name, r.Memory, r.Cores}, func(s string) bool { return s == "" }), " with "))
	}
	for _, v := range c.Isolation {
		variables = append(variables, v.Name)
	}
	for _, e := range c.Engines {
		engines = append(engines, strings.TrimSpace(e.Name+" "+e.Image))
	}
	named("kubernetes", resources)
	named("isolation", variables)
	named("engines", engines)
	named("unknown", c.Unknown())
}

func figureRows(c *chip.Chip) (rows [][]string) {
	add := func(name string, f *chip.Figure, suffix string) {
		if f == nil {
			return
		}
		text := figureText(f)
		if name == string(chip.INT8) {
			text = operations(text)
		}
		rows = append(rows, []string{name, text + suffix, string(f.Confidence), f.Source, f.Note})
	}
	add("memory", c.Memory, "")
	add("bandwidth", c.Bandwidth, "")
	for _, p := range chip.Precisions() {
		add(string(p), c.Flops[p], "")
	}
	if l := c.Link; l != nil {
		ways := map[chip.Direction]string{chip.EachWay: " each way", chip.BothWays: " both ways together"}[l.Counts]
		add(strings.TrimSpace("link "+l.Name), &l.Figure, ways)
	}
	add("power", c.Power, "")
	return rows
}
