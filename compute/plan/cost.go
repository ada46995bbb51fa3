package plan

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/internal/fault"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// Bill is what a fleet costs in a year, by what for.
type Bill struct {
	Capital float64 `json:"capital"` // what is bought, as an annuity with its interest
	Energy  float64 `json:"energy"`
	Staff   float64 `json:"staff"`
	Space   float64 `json:"space"`
	Rent    float64 `json:"rent"`
}

// Total is the sum of the parts.
func (b Bill) Total() float64 { return b.Capital + b.running() }

// running is what is paid on the way, without what was paid at the beginning.
func (b Bill) running() float64 { return b.Energy + b.Staff + b.Space + b.Rent }

func (b Bill) plus(c Bill, times float64) Bill {
	return Bill{b.Capital + times*c.Capital, b.Energy + times*c.Energy, b.Staff + times*c.Staff, b.Space + times*c.Space, b.Rent + times*c.Rent}
}

// annual is the equal payment at the end of each year that a purchase comes to: what is tied up bears interest, and the
// residual comes back at the end. It is the annuity of the price less the present value of the residual.
func (b *Buy) annual() float64 {
	i, n := b.Financing, b.Years
	if i == 0 {
		return b.Price * (1 - b.Residual) / n
	}
	back := math.Expm1(-n * math.Log1p(i)) // the present value of 1 in the end, less 1; exact for little interest, too
	return b.Price * (1 - b.Residual*(1+back)) * i / -back
}

// watts is what a chip takes, and whether it is known.
type watts struct {
	work, idle float64
	known      bool
}

// priced is a price set fitted to a fleet: by chip of the fleet.
type priced struct {
	set   *Prices
	chip  []ChipPrice
	watts []watts
}

// fit finds the prices of the fleet's chips, or says which is missing.
func (p *Prices) fit(f *fleet.Fleet, known *chip.Catalogue, assume func(string)) (*priced, error) {
	out := &priced{set: p, chip: make([]ChipPrice, len(f.Chips)), watts: make([]watts, len(f.Chips))}
	has := make([]bool, len(f.Chips))
	power := make([]int64, len(f.Chips))
	var bare int
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Chip < 0 {
			bare++
			continue
		}
		has[n.Chip], power[n.Chip] = true, max(power[n.Chip], n.Power)
	}
	if bare > 0 {
		assume(fmt.Sprintf("%d machines without chips cost nothing here: prices are of chips.", bare))
	}
	for c := range f.Chips {
		name := f.Chips[c].Name
		if !has[c] {
			continue
		}
		x, ok := p.Chips[name]
		if !ok {
			return nil, fault.New(fault.Invalid, fmt.Sprintf("%s, chips: the fleet has chips %q, and no price is given for them.", p.File, name), fault.Field("chips."+name),
				fault.Fix("The nearest name there is %q", nearest.Name(name, slices.Sorted(maps.Keys(p.Chips)))))
		}
		out.chip[c] = x
		w, err := p.wattsOf(name, x, power[c], known, assume)
		if err != nil {
			return nil, err
		}
		out.watts[c] = w
	}
	return out, nil
}

// borrowed are the price sets, each with the watts that only another tells of a chip: they are the chip's, whoever owns it.
func borrowed(sets []*Prices, assume func(string)) []*Prices {
	out := make([]*Prices, len(sets))
	for i, p := range sets {
		copied := *p
		copied.Chips = maps.Clone(p.Chips)
		for _, name := range slices.Sorted(maps.Keys(p.Chips)) {
			x := p.Chips[name]
			for _, q := range sets {
				if y := q.Chips[name]; x.Power == nil && y.Power != nil {
					x.Power, x.Idle = y.Power, y.Idle
					copied.Chips[name] = x
					assume(fmt.Sprintf("%s under %s takes the watts that %s tells.", name, p.Name, q.Name))
				}
			}
		}
		if p.Electricity == nil {
			assume(fmt.Sprintf("Energy under %s is without what the building takes: it gives no PUE.", p.Name))
		}
		out[i] = &copied
	}
	return out
}

// wattsOf takes the power of the price file, else of the fleet file, else of the catalogue.
func (p *Prices) wattsOf(name string, x ChipPrice, fleet int64, known *chip.Catalogue, assume func(string)) (watts, error) {
	w := watts{known: true}
	switch {
	case x.Power != nil:
		w.work = *x.Power
	case fleet > 0:
		w.work = float64(fleet)
	default:
		c, err := known.Find(name)
		if err != nil || c.Power == nil {
			if x.Buy != nil {
				return w, fault.New(fault.Invalid, fmt.Sprintf("%s line %d, chips.%s.power: it is missing, and neither the fleet file nor the catalogue tells the watts.", p.File, x.line, name),
					fault.Field("chips."+name+".power"), fault.Fix("Give the watts of one chip with its part of the node"))
			}
			assume(fmt.Sprintf("Energy is not told where %s is: nobody tells its watts.", name))
			return watts{}, nil
		}
		w.work = c.Power.Value
		assume(fmt.Sprintf("%s takes %g W, of the catalogue (%s): the chip alone, without its part of the node.", name, w.work, c.Power.Source))
	}
	w.idle = w.work
	if x.Idle != nil {
		w.idle = *x.Idle
	} else if p.Electricity != nil && x.Buy != nil {
		assume(fmt.Sprintf("%s takes as much with nothing to do as at work: %s gives no idle_power.", name, p.File))
	}
	if w.idle > w.work {
		return w, fault.New(fault.Invalid, fmt.Sprintf("%s line %d, chips.%s.idle_power: %g is above the power at work, %g.", p.File, x.line, name, w.idle, w.work), fault.Field("chips."+name+".idle_power"))
	}
	return w, nil
}

// check refuses price sets that do not go with one another or with the fleets, and names that nobody knows.
func checkPrices(sets []*Prices, fleets []Fleet, known *chip.Catalogue) error {
	currency, from := "", ""
	same := func(c, file string) error {
		switch {
		case c == "":
		case currency == "":
			currency, from = c, file
		case c != currency:
			return fault.New(fault.Invalid, fmt.Sprintf("%s, currency: it is %s, and that of %s is %s.", file, c, from, currency), fault.Field("currency"),
				fault.Fix("Write all figures in one currency; no rate of exchange is guessed"))
		}
		return nil
	}
	var names []string
	for _, c := range known.All() {
		names = append(names, c.ID)
	}
	for _, f := range fleets {
		for _, c := range f.Chips {
			names = append(names, c.Name)
		}
	}
	seen := map[string]bool{}
	for _, p := range sets {
		if err := same(p.Currency, p.File); err != nil {
			return err
		}
		if seen[p.Name] {
			return fault.New(fault.Invalid, fmt.Sprintf("%s, name: another price file is named %q, too.", p.File, p.Name), fault.Field("name"))
		}
		seen[p.Name] = true
		for _, name := range slices.Sorted(maps.Keys(p.Chips)) {
			if !slices.Contains(names, name) {
				return fault.New(fault.Invalid, fmt.Sprintf("%s line %d, chips.%s: neither a fleet nor the catalogue knows such a chip.", p.File, p.Chips[name].line, name), fault.Field("chips."+name),
					fault.Fix("The nearest is %q", nearest.Name(name, names)))
			}
		}
	}
	for _, f := range fleets {
		if err := same(f.Currency, "fleet "+f.Name); err != nil {
			return err
		}
	}
	return nil
}

// bill is what the fleet costs in a year that goes like the window, and the energy; nil where some watts are unknown.
func (p *priced) bill(m *measured) (Bill, *float64) {
	b := Bill{Staff: p.set.Staff}
	scale := hoursOfYear / m.window.Hours()
	kwh, all, pue, price := 0.0, true, 1.0, 0.0
	if e := p.set.Electricity; e != nil {
		pue, price = e.PUE, e.Price
	}
	for c, u := range m.chips {
		x, w := &p.chip[c], p.watts[c]
		if u.total == 0 {
			continue
		}
		n := u.total / m.window.Hours() // chips
		used := pue * scale * (u.busy*w.work + max(0, u.up-u.busy)*w.idle) / 1000
		kwh += used
		all = all && w.known
		b.Space += n * x.Space
		switch {
		case x.Buy != nil:
			b.Capital += n * x.Buy.annual()
			b.Energy += used * price
		case x.Spot != nil:
			b.Rent += scale * u.up * x.Spot.Price
		default:
			b.Rent += scale * u.total * x.Rent
		}
	}
	if !all {
		return b, nil
	}
	return b, &kwh
}

// outlay is what buying the fleet takes at the beginning, its shortest life in years and the interest; zeros where nothing is bought.
func (p *priced) outlay(f *fleet.Fleet) (price, years, interest float64) {
	for i := range f.Nodes {
		n := &f.Nodes[i]
		if n.Chip < 0 {
			continue
		}
		if b := p.chip[n.Chip].Buy; b != nil {
			paid := float64(n.Chips) * b.Price
			price += paid
			interest += paid * b.Financing
			if years == 0 || b.Years < years {
				years = b.Years
			}
		}
	}
	if price > 0 {
		interest /= price
	}
	return price, years, interest
}

// interrupted is the fleet with the interruptions of what is rented by the spot as failures of its nodes; the same where
// nothing is.
func (p *priced) interrupted(f *fleet.Fleet) *fleet.Fleet {
	var out *fleet.Fleet
	for i := range f.Nodes {
		c := f.Nodes[i].Chip
		if c < 0 || p.chip[c].Spot == nil || p.chip[c].Spot.Interruptions == 0 {
			continue
		}
		if out == nil {
			copied := *f
			copied.Nodes = slices.Clone(f.Nodes)
			out = &copied
		}
		s, n := p.chip[c].Spot, &out.Nodes[i]
		back := time.Duration(s.Back * float64(time.Hour))
		often := s.Interruptions
		if n.MTBF > 0 { // both take it away: the rates add, and the time until it is back is the mean of both
			own := 1 / n.MTBF.Hours()
			back = time.Duration((often*float64(back) + own*float64(n.Repair)) / (often + own))
			often += own
		}
		n.MTBF, n.Repair = time.Duration(float64(time.Hour)/often), max(back, time.Second)
	}
	if out == nil {
		return f
	}
	return out
}
