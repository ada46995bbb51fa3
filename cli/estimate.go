package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/triarch-ai/triarch/api"
	"github.com/triarch-ai/triarch/cli/ui"
	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/perf/estimate"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/models/registry/shape"
	"github.com/triarch-ai/triarch/system"
)

// estimateOptions are the flags of `estimate` that are no field of the question.
type estimateOptions struct {
	q                                 api.ChipQuestion
	shape, catalogue, prices, explain string
	tokens, within, net, link         string
	count, price                      []string
	wide, local                       bool
}

func (a *app) estimateCommand() *cobra.Command {
	var o estimateOptions
	c := &cobra.Command{Use: "estimate [MODEL]", Short: "Rank chips for a piece of work: where it fits, how fast, how dear, and why not elsewhere", Args: cobra.MaximumNArgs(1),
		Long: `Ranks every chip of the catalogue, or of the fleet, for a piece of work on a model: in how many chips it fits and in which
layout, tokens a second with the interval in which nine of ten are expected, cost, energy, and for chips that cannot do
it the reason.

MODEL is the name of a known shape such as llama-3-70b or of a model of the registry; --shape FILE is any other one. A server that
runs answers with its prices and with what it measured; without one, or with --local, this program answers by itself from
the catalogue, the operator's file over it, and the prices given.

Prices are of an hour of one chip. A price or a power that nobody told leaves cost or energy open: such rows stand behind.`,
		Example: `  triarch estimate llama-3-70b --task serve --price h100=2.50 --price mi300x=2
  triarch estimate llama-3-70b --task train --tokens 15T --within 60d --net '50 GB/s' --by time
  triarch estimate llama-3-70b --task post-train --lora 16 --count 4,8
  triarch estimate llama-3-70b --task serve --precision bf16,fp16 --explain v100`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.q.Model = args[0]
			}
			return a.estimate(cmd.Context(), &o)
		}}
	o.flags(c)
	return c
}

func (o *estimateOptions) flags(c *cobra.Command) {
	f, q := c.Flags(), &o.q
	f.StringVar(&q.Task, "task", "serve", "train, post-train, serve, prefill, decode or embed")
	f.StringVar(&o.shape, "shape", "", "file with the model's shape, instead of a name: its config.json, or the sizes as JSON")
	f.StringVar(&q.Engine, "engine", "", "whose speed is meant, such as vllm (default: the mean of all)")
	f.StringSliceVar(&q.Precision, "precision", nil, "of the products, in the order of preference (default bf16, else fp16, on processors fp32)")
	f.StringVar(&q.Weights, "weights", "", "how weights are kept: fp8, int4, or bits such as 4.5b (default: as the products)")
	f.StringVar(&q.Cache, "cache", "", "how the KV cache is kept (default bf16)")
	f.IntVar(&q.Batch, "batch", 0, "training: sequences of a step; else sequences at once in a replica (default: as many as fit)")
	f.IntVar(&q.Micro, "micro", 0, "training: sequences at once in a rank (default: the best)")
	f.IntVar(&q.Context, "context", 0, "tokens of a sequence; decode: in the cache")
	f.IntVar(&q.Prompt, "prompt", 0, "serve: tokens of a prompt (default 1024)")
	f.IntVar(&q.Output, "answer", 0, "serve: tokens of an answer (default 256)")
	f.StringVar(&q.Recompute, "recompute", "", "training: what is computed again: none, fused or full (default: the best)")
	f.IntVar(&q.LoRA, "lora", 0, "post-train: rank of the adapters (default: all weights are trained)")
	f.StringVar(&o.tokens, "tokens", "", "tokens of the whole job, such as 300M or 15T")
	f.StringVar(&o.within, "within", "", "time that the job may take, such as 12h or 30d")
	f.Float64Var(&q.Rate, "rate", 0, "tokens a second wanted")
	f.Float64Var(&q.Requests, "requests", 0, "serve: requests a second wanted")
	f.Float64Var(&q.UserRate, "user-rate", 0, "serve, decode: least tokens a second of one sequence")
	f.BoolVar(&q.Sure, "sure", false, "what is wanted must hold at the low end of the interval")
	f.StringSliceVar(&q.Chips, "chips", nil, "only these chips")
	f.StringVar(&q.Make, "make", "", "only chips of this make")
	f.BoolVar(&q.Fleet, "fleet", false, "only chips of the running installation's nodes, as many as there are")
	f.StringSliceVar(&o.count, "count", nil, "numbers of chips, or best: that of which each does most, or least: the smallest that does it (default: best, or where --rate, --requests or --within is given least)")
	f.IntVar(&q.Most, "most", 0, "chips at the most where no number is given")
	f.IntVar(&q.Node, "node", 0, "chips of a node (default: what the chip's link joins, or eight)")
	f.StringVar(&o.net, "net", "", "bandwidth of one chip to other nodes each way, such as '50 GB/s' or '400 Gb/s'")
	f.StringVar(&o.link, "link", "", "bandwidth each way between chips of a node where the catalogue has none")
	f.StringArrayVar(&o.price, "price", nil, "price of an hour of one chip, CHIP=AMOUNT")
	f.StringVar(&o.prices, "prices", "", "file of such prices (YAML), CHIP: AMOUNT")
	f.Float64Var(&q.PUE, "pue", 0, "energy of the site for each joule of a chip, such as 1.3 (default: the chips alone)")
	f.StringVar(&q.By, "by", "", "cost, time, energy or chip-hours (default: cost where a price is known, else chip-hours)")
	f.StringVar(&o.catalogue, "catalogue", "", "your own file of chips over the catalogue, for answers without a server (default: "+chip.OverlayName+" in the data directory)")
	f.StringVar(&o.explain, "explain", "", "tell one chip's row in sentences")
	f.BoolVar(&o.wide, "wide", false, "more columns")
	f.BoolVar(&o.local, "local", false, "ask no server")
	tabular(c)
}

func (a *app) estimate(ctx context.Context, o *estimateOptions) error {
	if err := o.read(); err != nil {
		return err
	}
	r, err := a.askEstimate(ctx, o)
	if err != nil {
		return err
	}
	if o.explain != "" {
		return a.explainEstimate(r, o)
	}
	if err := a.Value(r, func() { a.printEstimate(r, o.wide) }); err != nil {
		return err
	}
	for _, row := range r.Rows {
		if row.Refused == nil {
			return nil
		}
	}
	return fault.New(fault.NotFound, "No chip does it.", fault.Fix("The rows say what each of them would need"))
}

// askEstimate asks the server where one runs, else this program itself.
func (a *app) askEstimate(ctx context.Context, o *estimateOptions) (api.ChipRanking, error) {
	named := first(a.url, os.Getenv("TRIARCH_URL")) != ""
	if !o.local && o.catalogue == "" {
		c, err := a.client()
		if err == nil {
			r, err := c.EstimateChips(ctx, o.q)
			return r, a.reachable(err)
		}
		if named || o.q.Fleet {
			return api.ChipRanking{}, err
		}
	}
	m, err := system.Market(a.data)
	if o.catalogue != "" && err == nil {
		if _, err := os.Stat(o.catalogue); err != nil {
			return api.ChipRanking{}, &usageError{fmt.Errorf("the chip file cannot be read: %w", err)}
		}
		m.Catalogue, err = chip.Load(o.catalogue)
	}
	if err != nil {
		return api.ChipRanking{}, err
	}
	if shape.IsConfig(o.q.Shape) {
		s, err := shape.Config(o.q.Shape, o.q.Model)
		if err != nil {
			return api.ChipRanking{}, err
		}
		return estimate.Answer(o.q, &estimate.Model{Shape: s}, m)
	}
	return estimate.Answer(o.q, nil, m)
}

// read takes over the flags that are written for people.
func (o *estimateOptions) read() (err error) {
	q := &o.q
	if o.shape != "" {
		text, err := readSome(o.shape, 1<<20)
		if err != nil {
			return fault.New(fault.Invalid, "The shape cannot be read.", fault.Field("--shape"), fault.Cause(err), fault.Fix("%s", err))
		}
		if !json.Valid(text) {
			return fault.InvalidField("--shape", "%s is not JSON", o.shape)
		}
		q.Shape = text
	} else if q.Model == "" {
		return fault.New(fault.Invalid, "No model is named.", fault.Field("MODEL"), fault.Fix("Name one, such as llama-3-70b, or give --shape FILE"))
	}
	for _, x := range []struct {
		flag, text string
		to         *float64
		parse      func(string) (float64, bool)
		such       string
	}{{"--tokens", o.tokens, &q.Tokens, parseCount, "300M or 15T"}, {"--within", o.within, &q.Within, parseSpan, "12h or 30d"},
		{"--net", o.net, &q.Net, parseBandwidth, "'50 GB/s' or '400 Gb/s'"}, {"--link", o.link, &q.Link, parseBandwidth, "'25 GB/s'"}} {
		var ok bool
		if *x.to, ok = x.parse(x.text); !ok && x.text != "" {
			return fault.InvalidField(x.flag, "%q cannot be read; write it as in %s", x.text, x.such)
		}
	}
	for _, n := range o.count {
		i, err := strconv.Atoi(n)
		switch {
		case n == "best" && len(o.count) == 1:
			q.Best = true
		case n == "least" && len(o.count) == 1:
			q.Least = true
		case err != nil || i < 1 || i > 65536:
			return fault.InvalidField("--count", "%q is no number of chips; write 8, or 4,8,16, or best, or least", n)
		default:
			q.Count = append(q.Count, i)
		}
	}
	return o.readPrices()
}

func (o *estimateOptions) readPrices() error {
	set := func(field, name, amount string) error {
		micros, err := ui.ParseMoney(amount)
		if err != nil || name == "" {
			return fault.InvalidField(field, "%q for %q is no price of a chip-hour; write it as in h100=2.50", amount, name)
		}
		if _, twice := o.q.Prices[name]; twice {
			return fault.InvalidField(field, "%q has two prices", name)
		}
		if o.q.Prices == nil {
			o.q.Prices = map[string]int64{}
		}
		o.q.Prices[name] = micros
		return nil
	}
	if o.prices != "" {
		text, err := readSome(o.prices, 1<<20)
		if err != nil {
			return fault.New(fault.Invalid, "The prices cannot be read.", fault.Field("--prices"), fault.Cause(err), fault.Fix("%s", err))
		}
		var doc yaml.Node
		if err := yaml.Unmarshal(text, &doc); err != nil || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
			return fault.InvalidField("--prices", "%s is not a YAML file of lines such as nvidia-h100-sxm: 2.50", o.prices)
		}
		for pairs := doc.Content[0].Content; len(pairs) > 1; pairs = pairs[2:] {
			if pairs[1].Kind != yaml.ScalarNode {
				return fault.InvalidField("--prices", "%s line %d: the price of %q must be an amount", o.prices, pairs[1].Line, pairs[0].Value)
			}
			if err := set(fmt.Sprintf("--prices, line %d", pairs[1].Line), pairs[0].Value, pairs[1].Value); err != nil {
				return err
			}
		}
	}
	for _, p := range o.price {
		name, amount, ok := strings.Cut(p, "=")
		if !ok {
			return fault.InvalidField("--price", "%q is no price; write CHIP=AMOUNT, such as h100=2.50", p)
		}
		if err := set("--price", name, amount); err != nil {
			return err
		}
	}
	return nil
}

// readSome reads a regular file of at most so many bytes.
func readSome(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return text, err
}

// parseCount reads a number with K, M, B or G, or T behind it.
func parseCount(s string) (float64, bool) {
	factor := 1.0
	if n := len(s); n > 0 {
		if f, ok := map[byte]float64{'k': 1e3, 'K': 1e3, 'M': 1e6, 'B': 1e9, 'G': 1e9, 'T': 1e12}[s[n-1]]; ok {
			s, factor = s[:n-1], f
		}
	}
	v, err := strconv.ParseFloat(s, 64)
	return v * factor, err == nil && v > 0 && v*factor <= 1e18 && !strings.ContainsAny(s, "xXpPiI_")
}

// parseSpan reads a time in seconds; d is a day.
func parseSpan(s string) (float64, bool) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		v, err := strconv.ParseFloat(days, 64)
		return v * 86400, err == nil && v > 0 && v <= 1e5
	}
	d, err := time.ParseDuration(s)
	return d.Seconds(), err == nil && d > 0
}

// parseBandwidth reads bytes a second; networks are told in bits, which a small b says.
func parseBandwidth(s string) (float64, bool) {
	if bits, ok := strings.CutSuffix(s, "b/s"); ok {
		v, err := chip.ParseQuantity(bits+"B/s", chip.BytesPerSecond)
		return v / 8, err == nil
	}
	v, err := chip.ParseQuantity(s, chip.BytesPerSecond)
	return v, err == nil && !math.IsNaN(v)
}
