package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/system"
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
	c := noun("chip", "Look up what is known of chips, without a server", a.chipLs(load), a.chipShow(load), a.chipScan(load))
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
	var lacks []string
	for _, l := range c.Lacks {
		lacks = append(lacks, string(l.Precision)+" ("+l.Source+")")
	}
	named("lacks", lacks)
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

func (a *app) chipScan(load func() (*chip.Catalogue, error)) *cobra.Command {
	var anew bool
	c := &cobra.Command{Use: "scan", Short: "Look for the chips of this machine, their state and their faults", Args: cobra.NoArgs,
		Long: `Asks the vendors' own tools which chips this machine has and how they are, and counts the processor's cores under
the control group's quota. The first time it measures what the processor's memory and arithmetic reach, which takes two
seconds of every core, and keeps it in the data directory if there is one. On a busy machine it measures what was left
over: --measure measures anew.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := load()
			if err != nil {
				return err
			}
			s, err := system.Chips(cmd.Context(), all, a.data, anew)
			if err != nil {
				return err
			}
			return a.Value(s, func() { a.printScan(s) })
		}}
	c.Flags().BoolVar(&anew, "measure", false, "measure the processor again")
	return c
}

func (a *app) printScan(s *system.ChipScan) {
	var rows [][]string
	for i := range s.Devices {
		rows = append(rows, deviceRow(&s.Devices[i]))
	}
	a.Table([]string{"chip", "name", "cores", "memory", "used", "busy", "heat", "power", "bandwidth", "faults"}, rows)
	for _, d := range s.Devices {
		if len(d.Vector) > 0 {
			a.Printf("\n%s has %s\n", d.Name, strings.Join(d.Vector, ", "))
		}
		if d.Bandwidth != nil {
			a.Printf("bandwidth: %s, %s\n", d.Bandwidth.Source, d.Bandwidth.Note)
		}
		if d.FP32 != nil {
			a.Printf("fp32: %s, %s, %s\n", figureText(d.FP32), d.FP32.Source, d.FP32.Note)
		}
		for _, n := range d.Notes {
			a.Printf("%s: %s\n", d.Name, n)
		}
	}
	var missing []string
	for _, t := range s.Tools {
		if t.Missing {
			missing = append(missing, t.Tool+" ("+t.Make+")")
		}
		for _, p := range t.Problems {
			a.Printf("%s: %s\n", t.Make, p)
		}
		if !t.Missing {
			a.Printf("%s: the driver was tried on %s\n", t.Make, t.Tried)
		}
	}
	if len(missing) > 0 {
		a.Printf("not installed: %s\n", strings.Join(missing, ", "))
	}
	if len(s.Undriven) > 0 {
		a.Printf("no driver, declare with `triarch node declare`: %s\n", strings.Join(s.Undriven, ", "))
	}
	if len(s.Unread) > 0 {
		a.Printf("on the bus, and nothing tells of them: devices of %s\n", strings.Join(s.Unread, ", "))
	}
}

func deviceRow(d *chip.Device) []string {
	cores := "-"
	if d.Cores > 0 {
		cores = fmt.Sprint(d.Cores)
	}
	told := func(v *float64, form string, factor float64) string {
		if v == nil {
			return "-"
		}
		return fmt.Sprintf(form, *v*factor)
	}
	size := func(v *float64) string {
		if v == nil {
			return "-"
		}
		return chip.FormatQuantity(*v, chip.Bytes)
	}
	var faults []string
	for _, f := range d.Faults {
		faults = append(faults, f.Says+" ("+f.Level.String()+")")
	}
	name := d.Chip
	if name == "" {
		name = "?"
	}
	return []string{name, d.Name, cores, size(d.Memory), size(d.Used), told(d.Busy, "%.0f%%", 100), told(d.Temperature, "%.0f C", 1), told(d.Power, "%.0f W", 1),
		figureText(d.Bandwidth), strings.Join(faults, "; ")}
}
