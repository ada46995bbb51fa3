package plan

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/internal/fault"
)

const good = `name: own
currency: USD
electricity: {price: 0.15, pue: 1.5}
staff: 1000
chips:
  x:
    buy: {price: 30000, years: 4, residual: 0.1, financing: 0.06}
    power: 1000
    idle_power: 300
    space: 50
  nvidia-l40s:
    spot: {price: 0.6, interruptions: 0.02, back_hours: 1}
  nvidia-a100-80gb-sxm:
    rent: 1.4
`

func prices(t testing.TB, text string) *Prices {
	t.Helper()
	p, err := ReadPrices(strings.NewReader(text), "own.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestReadPricesKnowsEveryField(t *testing.T) {
	work, idle := 1000.0, 300.0
	want := &Prices{Name: "own", File: "own.yaml", Currency: "USD", Electricity: &Electricity{0.15, 1.5}, Staff: 1000, Chips: map[string]ChipPrice{
		"x":                    {Buy: &Buy{30000, 4, 0.1, 0.06}, Power: &work, Idle: &idle, Space: 50, line: 7},
		"nvidia-l40s":          {Spot: &Spot{0.6, 0.02, 1}, line: 12},
		"nvidia-a100-80gb-sxm": {Rent: 1.4, line: 14}}}
	if diff := cmp.Diff(want, prices(t, good), cmp.AllowUnexported(ChipPrice{})); diff != "" {
		t.Error(diff)
	}
}

// Each line of the good file is broken in one way; the message names line and field.
func TestBadPricesNameLineAndField(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"price: 30000, ", "", "line 7, chips.x.buy.price: it is missing"},
		{"residual: 0.1, ", "", "line 7, chips.x.buy.residual: it is missing"},
		{"price: 30000", "price: -30000", "line 7, chips.x.buy.price: -30000 is negative"},
		{"price: 30000", "price: 0", "line 7, chips.x.buy.price: 0 is not above 0"},
		{"price: 30000", "price: .nan", `line 7, chips.x.buy.price: ".nan" is not a number`},
		{"price: 30000", "price: nan", `line 7, chips.x.buy.price: "nan" is not a number`},
		{"price: 30000", "price: 1e400", "line 7, chips.x.buy.price: 1e400 is above 1e+09"},
		{"price: 30000", "price: 1e10", "line 7, chips.x.buy.price: 1e10 is above 1e+09"},
		{"price: 30000", "price: 30 000", `line 7, chips.x.buy.price: "30 000" is not a number`},
		{"price: 30000", "price: ", `line 7, chips.x.buy.price: it is missing or empty`},
		{"price: 30000", "price: ~", `line 7, chips.x.buy.price: it is missing or empty`},
		{"price: 30000", "price: [1]", `line 7, chips.x.buy.price: it must be a single value`},
		{"years: 4", "years: 0", "line 7, chips.x.buy.years: 0 is below 0.1"},
		{"residual: 0.1", "residual: 10", "line 7, chips.x.buy.residual: 10 is above 1"},
		{"financing: 0.06", "financing: 6", "line 7, chips.x.buy.financing: 6 is above 1"},
		{"financing", "interest", "line 7, chips.x.buy.interest: there is no such field"},
		{"pue: 1.5", "pue: 0.5", "line 3, electricity.pue: 0.5 is below 1"},
		{"electricity: {price: 0.15, pue: 1.5}\n", "", "electricity: it is missing, and x is bought"},
		{"staff: 1000\n", "", "staff: it is missing, and x is bought"},
		{"currency: USD\n", "", "currency: it is missing"},
		{"idle_power: 300", "idle_power: 3000", "line 9, chips.x.idle_power: 3000 is above the power at work, 1000"},
		{"    rent: 1.4", "    rent: 1.4\n    spot: {price: 1, interruptions: 0, back_hours: 1}", "line 14, chips.nvidia-a100-80gb-sxm: it must have exactly one of buy, rent and spot, and has 2"},
		{"    rent: 1.4", "    space: 1", "chips.nvidia-a100-80gb-sxm: it must have exactly one of buy, rent and spot, and has 0"},
		{"rent: 1.4", "rent: -1", "line 14, chips.nvidia-a100-80gb-sxm.rent: -1 is negative"},
		{"interruptions: 0.02, ", "", "chips.nvidia-l40s.spot.interruptions: it is missing"},
		{"space: 50", "space: 1e99", "line 10, chips.x.space: 1e99 is above 1e+09"},
		{"name: own", "name: own\nname: other", "given twice|already defined"},
		{"name: own", "nome: own", `line 1, nome: there is no such field; the nearest is "name"`},
		{"currency: USD", "currency: &a USD", "without anchors"},
		{"name: own", "name: [", "is not YAML"},
		{"name: own\n", "---\na: 1\n---\nname: own\n", "more than one document"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if text == good {
			t.Fatalf("%q is not in the good file", c.old)
		}
		_, err := ReadPrices(strings.NewReader(text), "own.yaml")
		found := false
		for want := range strings.SplitSeq(c.want, "|") {
			found = found || err != nil && strings.Contains(err.Error(), want)
		}
		if !found || !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v\nwant %s", c.new, err, c.want)
		}
	}
}

func TestPricesThatDoNotGoTogether(t *testing.T) {
	known, err := chip.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	f, err := fleet.Uniform(1, 8)
	if err != nil {
		t.Fatal(err)
	}
	f.Chips[0].Name, f.Currency = "x", "USD"
	fleets := []Fleet{{"now", f}}
	other := func(old, new string) *Prices {
		p := prices(t, strings.Replace(good, old, new, 1))
		p.File = "other.yaml"
		if p.Name == "own" {
			p.Name = "other"
		}
		return p
	}
	if err := checkPrices([]*Prices{prices(t, good), other("x", "x")}, fleets, known); err != nil {
		t.Error(err)
	}
	for want, p := range map[string]*Prices{
		"other.yaml, currency: it is EUR, and that of own.yaml is USD":                              other("USD", "EUR"),
		"other.yaml line 12, chips.nvidia-l4s: neither a fleet nor the catalogue knows such a chip": other("nvidia-l40s", "nvidia-l4s"),
	} {
		if err := checkPrices([]*Prices{prices(t, good), p}, fleets, known); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	if err := checkPrices([]*Prices{prices(t, good), prices(t, good)}, fleets, known); err == nil {
		t.Error("two price sets of one name")
	}
	f.Currency = "EUR"
	if err := checkPrices([]*Prices{prices(t, good)}, fleets, known); err == nil || !strings.Contains(err.Error(), "fleet now, currency: it is EUR") {
		t.Error(err)
	}
	f.Chips[0].Name = "y"
	if _, err := prices(t, good).fit(f, known, func(string) {}); err == nil || !strings.Contains(err.Error(), `has chips "y", and no price`) {
		t.Error(err)
	}
}

// What nobody tells of power is refused where a chip is bought and told where it is rented; what the catalogue tells is said to be its.
func TestWattsAreNeverGuessed(t *testing.T) {
	known, err := chip.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	f, err := fleet.Uniform(1, 8)
	if err != nil {
		t.Fatal(err)
	}
	f.Chips[0].Name = "x"
	var said []string
	assume := func(s string) { said = append(said, s) }
	bare := strings.Replace(good, "    power: 1000\n    idle_power: 300\n", "", 1)
	if _, err := prices(t, bare).fit(f, known, assume); err == nil || !strings.Contains(err.Error(), "own.yaml line 7, chips.x.power: it is missing") {
		t.Error(err)
	}
	rent := "currency: USD\nchips: {x: {rent: 1}, nvidia-h100-sxm: {rent: 2}}"
	fit, err := prices(t, rent).fit(f, known, assume)
	if err != nil || fit.watts[0].known || len(said) != 1 {
		t.Errorf("%+v, %v, %q", fit, err, said)
	}
	f.Chips[0].Name, said = "nvidia-h100-sxm", nil
	fit, err = prices(t, rent).fit(f, known, assume)
	if err != nil || fit.watts[0] != (watts{700, 700, true}) || len(said) != 1 || !strings.Contains(said[0], "of the catalogue") {
		t.Errorf("%+v, %v, %q", fit, err, said)
	}
}

func FuzzReadPrices(f *testing.F) {
	f.Add(good)
	f.Add("currency: USD\nchips: {x: {rent: 1}}")
	f.Add("chips: {x: {buy: {price: .inf, years: 1e-300}}}")
	f.Add("{a: &b [*b]}")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ReadPrices(strings.NewReader(text), "f")
		if err != nil {
			if fault.KindOf(err) == fault.Internal {
				t.Error(err)
			}
			return
		}
		if p.Currency == "" || len(p.Chips) == 0 {
			t.Errorf("%+v", p)
		}
		for name, c := range p.Chips {
			if b := c.Buy; b != nil {
				if a := b.annual(); !(a >= 0) || math.IsInf(a, 0) || p.Electricity == nil {
					t.Errorf("%s costs %v a year: %+v", name, a, b)
				}
			}
			if (c.Buy != nil) == (c.Rent > 0 || c.Spot != nil) {
				t.Errorf("%s: %+v", name, c)
			}
		}
	})
}
