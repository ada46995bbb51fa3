package plan

import (
	"io"
	"math"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/triarch-ai/triarch/internal/fields"
)

// Prices is a set of prices, by class of chip.
type Prices struct {
	Name        string
	File        string
	Currency    string
	Electricity *Electricity // nil: not given
	Staff       float64      // a year, for the whole fleet
	Chips       map[string]ChipPrice
}

// Electricity is what energy costs.
type Electricity struct {
	Price float64 // of a kWh
	PUE   float64 // what the building takes for each unit that the machines take
}

// ChipPrice is what one chip of a class costs, with its part of the node and the network. Exactly one of Buy, Rent and Spot is given.
type ChipPrice struct {
	Buy   *Buy
	Rent  float64 // an hour, used or not
	Spot  *Spot
	Power *float64 // watts at work; nil: the fleet file's, else the catalogue's
	Idle  *float64 // watts with nothing to do; nil: as at work
	Space float64  // a year
	line  int
}

// Buy is a purchase.
type Buy struct {
	Price     float64
	Years     float64 // it is kept so long
	Residual  float64 // part of the price that it is sold for then
	Financing float64 // interest of a year on what is tied up
}

// Spot is renting what can be taken away.
type Spot struct {
	Price         float64 // of an hour that it is there
	Interruptions float64 // of a node, an hour
	Back          float64 // hours until it is there again, in the mean
}

// MaxPriceFile is how long a price file may be, in bytes.
const MaxPriceFile = 1 << 20

// ReadPrices reads a price file. Nothing has a default but space (left out: not counted), power (the fleet file's or the catalogue's)
// and idle_power (as at work): a gap is refused, a zero that is meant is written.
//
//	name: own                            # default: the file's name
//	currency: USD
//	electricity: {price: 0.15, pue: 1.58}    # of a kWh; needed where a chip is bought
//	staff: 250000                        # a year for the whole fleet; needed where a chip is bought
//	chips:
//	  nvidia-h100-sxm:                   # one of buy, rent and spot
//	    buy: {price: 38750, years: 4, residual: 0.1, financing: 0.06}   # of one chip with its part of node and network
//	    power: 1275                      # watts of one chip with its part of the node
//	    idle_power: 400
//	    space: 900                       # a year of one chip
//	  nvidia-a100-80gb-sxm:
//	    rent: 1.40                       # an hour of one chip, used or not
//	  nvidia-l40s:
//	    spot: {price: 0.60, interruptions: 0.02, back_hours: 1}   # interruptions of a node in an hour
func ReadPrices(in io.Reader, file string) (*Prices, error) {
	f, top, err := fields.Read(in, file, MaxPriceFile)
	if err != nil {
		return nil, err
	}
	r := &reader{f}
	p := r.prices(top)
	if r.Err != nil {
		return nil, r.Err
	}
	return p, nil
}

func (r *reader) prices(root *yaml.Node) *Prices {
	e := r.entry(root, "", "name", "currency", "electricity", "staff", "chips")
	p := &Prices{Name: e.Text("name"), File: r.File, Currency: e.Text("currency"), Chips: map[string]ChipPrice{}}
	if p.Currency == "" {
		r.Bad(root, "currency", "it is missing; say in which money the figures are")
	}
	if n := e.Fields["electricity"]; n != nil {
		x := r.entry(n, "electricity", "price", "pue")
		p.Electricity = &Electricity{Price: x.need("price", 0, 1000), PUE: x.need("pue", 1, 10)}
	}
	p.Staff = e.maybe("staff", 0, 1e12, 0)
	chips := r.entry(e.Fields["chips"], "chips")
	bought := ""
	for _, name := range chips.Order {
		c := r.chip(chips.Fields[name], "chips."+name)
		if c.Buy != nil && bought == "" {
			bought = name
		}
		p.Chips[name] = c
	}
	switch {
	case len(p.Chips) == 0:
		r.Bad(root, "chips", "no chip has a price")
	case bought != "" && p.Electricity == nil:
		r.Bad(root, "electricity", "it is missing, and %s is bought: give the price of a kWh and the PUE", bought)
	case bought != "" && e.Fields["staff"] == nil:
		r.Bad(root, "staff", "it is missing, and %s is bought: give what the people cost in a year, 0 if nothing", bought)
	}
	return p
}

func (r *reader) chip(n *yaml.Node, path string) ChipPrice {
	e := r.entry(n, path, "buy", "rent", "spot", "power", "idle_power", "space")
	c := ChipPrice{Rent: e.maybe("rent", tiny, 1e6, 0), Space: e.maybe("space", 0, 1e9, 0)}
	if n != nil {
		c.line = n.Line
	}
	ways := 0
	for _, f := range []string{"buy", "rent", "spot"} {
		if e.Fields[f] != nil {
			ways++
		}
	}
	if ways != 1 {
		r.Bad(n, path, "it must have exactly one of buy, rent and spot, and has %d", ways)
	}
	if b := e.Fields["buy"]; b != nil {
		x := r.entry(b, path+".buy", "price", "years", "residual", "financing")
		c.Buy = &Buy{Price: x.need("price", tiny, 1e9), Years: x.need("years", 0.1, 50), Residual: x.need("residual", 0, 1), Financing: x.need("financing", 0, 1)}
	}
	if s := e.Fields["spot"]; s != nil {
		x := r.entry(s, path+".spot", "price", "interruptions", "back_hours")
		c.Spot = &Spot{Price: x.need("price", tiny, 1e6), Interruptions: x.need("interruptions", 0, 60), Back: x.need("back_hours", 0.01, hoursOfYear)}
	}
	if e.Fields["power"] != nil {
		v := e.need("power", tiny, 1e6)
		c.Power = &v
	}
	if e.Fields["idle_power"] != nil {
		v := e.need("idle_power", 0, 1e6)
		c.Idle = &v
	}
	if c.Power != nil && c.Idle != nil && *c.Idle > *c.Power {
		r.Bad(e.Fields["idle_power"], path+".idle_power", "%g is above the power at work, %g", *c.Idle, *c.Power)
	}
	return c
}

// tiny is the least price that is one.
const tiny = 1e-6

// reader reads a price file.
type reader struct{ *fields.Reader }

// entry is a mapping of one.
type entry struct{ *fields.Entry }

func (r *reader) entry(n *yaml.Node, path string, known ...string) entry {
	return entry{r.Entry(n, path, known...)}
}

// need is a figure that must be there.
func (e *entry) need(field string, least, most float64) float64 {
	if e.Fields[field] == nil {
		e.Bad(e.Node, e.At(field), "it is missing")
		return least
	}
	return e.maybe(field, least, most, least)
}

// maybe is a figure from least to most; def where it is missing.
func (e *entry) maybe(field string, least, most, def float64) float64 {
	s := e.Text(field)
	if s == "" {
		return def
	}
	v, err := strconv.ParseFloat(s, 64)
	n := e.Fields[field]
	switch {
	case err != nil && math.IsInf(v, 0):
		e.Bad(n, e.At(field), "%s is above %g", s, most)
	case err != nil || math.IsNaN(v):
		e.Bad(n, e.At(field), "%q is not a number", s)
	case v < 0:
		e.Bad(n, e.At(field), "%s is negative", s)
	case v < least && least == tiny:
		e.Bad(n, e.At(field), "%s is not above 0", s)
	case v < least:
		e.Bad(n, e.At(field), "%s is below %g", s, least)
	case v > most:
		e.Bad(n, e.At(field), "%s is above %g", s, most)
	default:
		return v
	}
	return def
}
