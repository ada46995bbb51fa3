package plan

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/internal/fault"
)

// record4 is four weeks of two clusters: b asks for more than its two nodes have by day, a for little.
func record4() []trace.Job {
	r := rand.New(rand.NewPCG(7, 7))
	var jobs []trace.Job
	for h := range 28 * 24 {
		if hour := h % 24; hour < 8 || hour > 19 || h/24%7 > 4 {
			continue
		}
		for k := range 2 {
			chips := int32(1) << r.IntN(4)
			s := trace.Spec{ID: fmt.Sprint("j", len(jobs)), Cluster: string(rune('a' + k)), Submit: time.Duration(h)*time.Hour + time.Duration(r.IntN(3600))*time.Second,
				Chips: chips, Share: 1000, MinChips: chips, MaxChips: chips, Preemptible: true}
			jobs = append(jobs, trace.Job{Spec: s, Duration: time.Duration(1800+r.IntN(int(3600*(1+5*k)))) * time.Second})
		}
	}
	return sorted(jobs)
}

func sorted(jobs []trace.Job) []trace.Job {
	for i := 1; i < len(jobs); i++ {
		for k := i; k > 0 && jobs[k].Submit < jobs[k-1].Submit; k-- {
			jobs[k], jobs[k-1] = jobs[k-1], jobs[k]
		}
	}
	return jobs
}

// sized is a fleet of x chips at the sites a and b.
func sizedFleet(t testing.TB, name string, a, b int) Fleet {
	t.Helper()
	f, err := fleet.Isolated([]string{"a", "b"}, []int{a, b}, 8)
	if err != nil {
		t.Fatal(err)
	}
	f.Chips[0].Name = "x"
	return Fleet{name, f}
}

const ownText = `name: own
currency: USD
electricity: {price: 0.2, pue: 1.5}
staff: 10000
chips:
  x: {buy: {price: 20000, years: 5, residual: 0.1, financing: 0.05}, power: 1000, idle_power: 200, space: 100}
`

const rentText = "name: rent\ncurrency: USD\nchips: {x: {rent: 2.5}}\n"

func planned(t testing.TB, o Options) *Output {
	t.Helper()
	if o.Replicas == 0 {
		o.Replicas = 3
	}
	out, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPlanComparesFleetsUnderPrices(t *testing.T) {
	var last, all int
	o := Options{Jobs: record4(), Fleets: []Fleet{sizedFleet(t, "now", 2, 2), sizedFleet(t, "more", 2, 4), sizedFleet(t, "again", 2, 2)}, Prices: []*Prices{prices(t, ownText), prices(t, rentText)}, Seed: 3, WaitPrice: 50, Next: 2,
		Progress: func(done, of int, _ string) {
			if done < last {
				t.Errorf("progress %d after %d", done, last)
			}
			last, all = done, of
		}}
	out := planned(t, o)
	if len(out.Scenarios) != 6 || last != all || last != out.Replays {
		t.Fatalf("%d scenarios, %d of %d replays, %d told", len(out.Scenarios), last, all, out.Replays)
	}
	by := map[string]*Point{}
	for i := range out.Scenarios {
		by[out.Scenarios[i].Name] = &out.Scenarios[i].Points[0]
	}
	now, more := by["now, own"], by["more, own"]
	if more.MeanWaitS.Mean >= now.MeanWaitS.Mean || now.MeanWaitS.Mean <= 0 || more.UsePercent.Mean >= now.UsePercent.Mean || more.Cost.Mean <= now.Cost.Mean {
		t.Errorf("more chips: %+v after %+v", more, now)
	}
	if r := by["now, rent"]; r.MeanWaitS != now.MeanWaitS || math.Abs(r.Cost.Mean-32*2.5*8760) > 1e-3 || r.EnergyKWh == nil {
		t.Errorf("rented: %+v", r)
	}
	if out.Currency != "USD" || now.Jobs.P10 >= now.Jobs.P90 && now.MeanWaitS.P10 >= now.MeanWaitS.P90 {
		t.Errorf("no spread in %+v", now)
	}
	if len(out.Next) == 0 || !out.Next[0].Chosen || out.Next[0].Site != "b" {
		t.Errorf("next: %+v", out.Next)
	}
	for _, b := range out.PayBacks {
		if strings.HasPrefix(b.Scenario, "again") && strings.HasPrefix(b.Against, "now") && (b.P10 != nil || b.P50 != nil || b.P90 != nil || b.Within != 0 || b.Saving != (Spread{})) {
			t.Errorf("the same fleet pays back: %+v", b)
		}
		if b.Scenario == "more, own" && b.Against == "more, rent" && (b.P50 == nil || *b.P50 <= 0 || *b.P50 > b.Life) {
			t.Errorf("buying against renting: %+v", b)
		}
	}
	o.Progress = nil
	if diff := cmp.Diff(out, planned(t, o), cmpopts.IgnoreUnexported(Scenario{}, Point{}, Purchase{})); diff != "" {
		t.Errorf("the same options gave other figures: %s", diff)
	}
	if _, err := json.Marshal(out); err != nil {
		t.Error(err)
	}
}

// In every scenario the parts of the bill add up to the cost, and chip-hours at their cost to it, too.
func TestTotalsAddUp(t *testing.T) {
	o := Options{Jobs: record4(), Fleets: []Fleet{sizedFleet(t, "now", 2, 3)}, Prices: []*Prices{prices(t, ownText), prices(t, rentText)}, Tokens: map[string]float64{"x": 500}, Growth: Growth{2, year}}
	for _, s := range planned(t, o).Scenarios {
		if len(s.Points) != 3 || s.Points[1].Factor <= 1 || s.Points[2].Factor != 2 {
			t.Fatalf("%+v", s.Points)
		}
		for _, p := range s.Points {
			if d := p.Parts.Total() - p.Cost.Mean; math.Abs(d) > 1e-6*p.Cost.Mean {
				t.Errorf("%s: parts of %v, cost %v", s.Name, p.Parts.Total(), p.Cost.Mean)
			}
			if d := p.ChipHour.Mean*float64(s.Chips)*hoursOfYear - p.Cost.Mean; math.Abs(d) > 1e-6*p.Cost.Mean {
				t.Errorf("%s: %v a chip-hour does not make %v a year", s.Name, p.ChipHour.Mean, p.Cost.Mean)
			}
			if d := p.UsefulHour.Mean - p.MillionTokens.Mean*500*3600/1e6; math.Abs(d) > 1e-6*p.UsefulHour.Mean || p.UsefulHour.Mean < p.ChipHour.Mean {
				t.Errorf("%s: a useful hour is %v, a million tokens %v", s.Name, p.UsefulHour.Mean, p.MillionTokens.Mean)
			}
			if p.UsefulPercent.Mean > p.UsePercent.Mean || p.UsePercent.Mean > 100 {
				t.Errorf("%s: used %v, useful %v", s.Name, p.UsePercent, p.UsefulPercent)
			}
		}
		if s.Points[2].UsePercent.Mean <= s.Points[0].UsePercent.Mean {
			t.Errorf("%s: twice the demand uses %v after %v", s.Name, s.Points[2].UsePercent.Mean, s.Points[0].UsePercent.Mean)
		}
	}
}

func TestAnnuityByHand(t *testing.T) {
	// A loan of 1000 at 10 % over two years: 576.19 a year; with 210 in the end 173.55 less are to be paid off.
	for _, c := range []struct {
		b    Buy
		want float64
	}{{Buy{1000, 2, 0, 0.1}, 1000 * 0.1 / (1 - 1/1.21)}, {Buy{1000, 2, 0.21, 0.1}, 826.446281 * 0.1 / (1 - 1/1.21)}, {Buy{1000, 4, 0.2, 0}, 200}, {Buy{1000, 4, 1, 0}, 0}, {Buy{1000, 4, 1, 0.05}, 50}} {
		if got := c.b.annual(); math.Abs(got-c.want) > 1e-4 {
			t.Errorf("%+v costs %v a year, want %v", c.b, got, c.want)
		}
	}
}

// priceText draws a price file's figures.
func drawSet(t *rapid.T) *Prices {
	f := func(name string, least, most float64) float64 { return rapid.Float64Range(least, most).Draw(t, name) }
	work := f("power", 1, 2000)
	idle := work * f("idle", 0, 1)
	return &Prices{Electricity: &Electricity{f("kwh", 0, 2), f("pue", 1, 3)}, Staff: f("staff", 0, 1e6), Chips: map[string]ChipPrice{"x": {
		Buy: &Buy{f("price", 1, 1e5), f("years", 1, 10), f("residual", 0, 1), f("financing", 0, 0.3)}, Power: &work, Idle: &idle, Space: f("space", 0, 1e4)}}}
}

// Whatever the figures: dearer energy, more watts or a worse building never make a fleet cheaper, nor does a dearer chip, nor more of them.
func TestDearerIsNeverCheaper(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := drawSet(t)
		total := rapid.Float64Range(1, 1e6).Draw(t, "total")
		up := total * rapid.Float64Range(0, 1).Draw(t, "up")
		m := &measured{window: 24 * time.Hour * time.Duration(rapid.IntRange(1, 60).Draw(t, "days")), chips: []used{{busy: up * rapid.Float64Range(0, 1).Draw(t, "busy"), up: up, total: total}}}
		cost := func(change func(*Prices, *ChipPrice)) float64 {
			p := *set
			e := *set.Electricity
			x := set.Chips["x"]
			b := *x.Buy
			w, i := *x.Power, *x.Idle
			x.Buy, x.Power, x.Idle, p.Electricity = &b, &w, &i, &e
			change(&p, &x)
			bill, kwh := (&priced{set: &p, chip: []ChipPrice{x}, watts: []watts{{*x.Power, *x.Idle, true}}}).bill(m)
			if kwh == nil || math.Abs(bill.Capital+bill.Energy+bill.Staff+bill.Space+bill.Rent-bill.Total()) > 1e-9*bill.Total() || math.Abs(*kwh*e.Price-bill.Energy) > 1e-9*bill.Energy+1e-9 {
				t.Fatalf("%+v with %v kWh does not add up", bill, kwh)
			}
			return bill.Total()
		}
		was := cost(func(*Prices, *ChipPrice) {}) * (1 - 1e-12)
		for name, change := range map[string]func(*Prices, *ChipPrice){
			"energy":   func(p *Prices, _ *ChipPrice) { p.Electricity.Price *= 1.5 },
			"building": func(p *Prices, _ *ChipPrice) { p.Electricity.PUE *= 1.1 },
			"watts":    func(_ *Prices, x *ChipPrice) { *x.Power *= 1.2 },
			"idle":     func(_ *Prices, x *ChipPrice) { *x.Idle *= 1.2 },
			"staff":    func(p *Prices, _ *ChipPrice) { p.Staff += 1 },
			"chip":     func(_ *Prices, x *ChipPrice) { x.Buy.Price *= 1.01 },
			"interest": func(_ *Prices, x *ChipPrice) { x.Buy.Financing += 0.01 },
			"residual": func(_ *Prices, x *ChipPrice) { x.Buy.Residual *= 0.9 },
			"space":    func(_ *Prices, x *ChipPrice) { x.Space += 1 },
		} {
			if got := cost(change); got < was {
				t.Fatalf("with dearer %s it costs %v after %v", name, got, was)
			}
		}
	})
}

// What is earned back lies where the discounted savings cross the outlay, never comes for nothing saved, and comes later for
// a dearer purchase.
func TestPayBackTime(t *testing.T) {
	for _, c := range []struct {
		outlay   float64
		at, save []float64
		interest float64
		life     float64
		want     float64
	}{
		{1000, []float64{0}, []float64{500}, 0, 5, 2},
		{1000, []float64{0}, []float64{200}, 0, 5, 5},
		{1000, []float64{0}, []float64{199}, 0, 5, math.Inf(1)},
		{1000, []float64{0}, []float64{0}, 0, 5, math.Inf(1)},
		{1000, []float64{0}, []float64{-5}, 0, 5, math.Inf(1)},
		{0, []float64{0}, []float64{0}, 0, 5, math.Inf(1)},
		{0, []float64{0}, []float64{1}, 0, 5, 0},
		{0, []float64{0, 1}, []float64{-100, 300}, 0, 1, 0.5},        // what was lost at first has to come back
		{0, []float64{0, 1}, []float64{-100, 50}, 0, 1, math.Inf(1)}, // and does not
		{-50, []float64{0}, []float64{-1}, 0, 5, math.Inf(1)},
		{1000, []float64{0, 2}, []float64{0, 1000}, 0, 5, 2},                                              // grows to 1000 a year in two
		{1000, []float64{0}, []float64{500}, 0.1, 5, -math.Log(1-1000*math.Log(1.1)/500) / math.Log(1.1)}, // continuous discounting
	} {
		if got := earned(c.outlay, c.at, c.save, c.interest, c.life); !(math.Abs(got-c.want) < 0.001) && got != c.want {
			t.Errorf("%v: earned after %v, want %v", c, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		outlay, save := rapid.Float64Range(1, 1e9).Draw(t, "outlay"), rapid.Float64Range(-1e9, 1e9).Draw(t, "save")
		i := rapid.Float64Range(0, 0.3).Draw(t, "interest")
		a, b := earned(outlay, []float64{0}, []float64{save}, i, 10), earned(outlay*1.1, []float64{0}, []float64{save}, i, 10)
		if b < a || save <= 0 && !math.IsInf(a, 1) || a <= 0 {
			t.Fatalf("%v and %v", a, b)
		}
	})
}

// Spot machines go and come back: less is useful than of rented ones that stay, and what they cost is for the hours they were there.
func TestInterruptionsAreReplayed(t *testing.T) {
	spot := prices(t, "name: spot\ncurrency: USD\nchips: {x: {spot: {price: 1, interruptions: 0.2, back_hours: 2}}}\n")
	out := planned(t, Options{Jobs: record4(), Fleets: []Fleet{sizedFleet(t, "now", 2, 2)}, Prices: []*Prices{prices(t, rentText), spot}})
	stays, goes := &out.Scenarios[0].Points[0], &out.Scenarios[1].Points[0]
	if goes.UsefulPercent.Mean/goes.UsePercent.Mean >= stays.UsefulPercent.Mean/stays.UsePercent.Mean || goes.MeanWaitS.Mean <= stays.MeanWaitS.Mean {
		t.Errorf("%+v after %+v", goes, stays)
	}
	if up := goes.Cost.Mean / (32 * hoursOfYear); up < 0.6 || up > 0.8 { // there 5 hours of 7
		t.Errorf("paid for %v of the hours", up)
	}
	if goes.EnergyKWh != nil {
		t.Error("energy of a chip whose watts nobody knows")
	}
}

func TestBadOptionsSayWhatToDo(t *testing.T) {
	jobs, now, own := record4(), sizedFleet(t, "now", 2, 2), prices(t, ownText)
	fine := Options{Jobs: jobs, Fleets: []Fleet{now}, Prices: []*Prices{own}}
	for want, change := range map[string]func(*Options){
		"No fleet is given":          func(o *Options) { o.Fleets = nil },
		"No price set is given":      func(o *Options) { o.Prices = nil },
		"two fleets are named":       func(o *Options) { o.Fleets = []Fleet{now, now} },
		"replicas is -1":             func(o *Options) { o.Replicas = -1 },
		"replicas is 9999":           func(o *Options) { o.Replicas = 9999 },
		"wait-price is NaN":          func(o *Options) { o.WaitPrice = math.NaN() },
		"wait-price is -1":           func(o *Options) { o.WaitPrice = -1 },
		"next is 99":                 func(o *Options) { o.Next = 99 },
		`The nearest is "weeks"`:     func(o *Options) { o.Forecast = "week" },
		"no job to learn from":       func(o *Options) { o.Jobs = nil },
		"shorter than a second":      func(o *Options) { o.Jobs = jobs[:1] },
		`"y", which no fleet has`:    func(o *Options) { o.Tokens = map[string]float64{"y": 5} },
		"x has +Inf tokens":          func(o *Options) { o.Tokens = map[string]float64{"x": math.Inf(1)} },
		"window is 1s":               func(o *Options) { o.Window = time.Second },
		"No site of the fleet takes": func(o *Options) { o.Fleets = []Fleet{{"now", isolated(t, "a", "z")}} },
	} {
		o := fine
		change(&o)
		if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), want) || fault.KindOf(err) == fault.Internal {
			t.Errorf("want %s: %v", want, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, fine); !fault.Is(err, fault.Canceled) {
		t.Error(err)
	}
}

func isolated(t *testing.T, names ...string) *fleet.Fleet {
	f, err := fleet.Isolated(names, make1(len(names)), 8)
	if err != nil {
		t.Fatal(err)
	}
	f.Chips[0].Name = "x"
	return f
}

func make1(n int) []int {
	v := make([]int, n)
	for i := range v {
		v[i] = 1
	}
	return v
}

// heavier are the jobs with ten times the duration.
func heavier(jobs []trace.Job) []trace.Job {
	out := append([]trace.Job(nil), jobs...)
	for i := range out {
		out[i].Duration *= 10
	}
	return out
}

// A fleet asked for many times its chips is not replayed, says so, and pays nothing back from then on.
func TestOverloadIsNamed(t *testing.T) {
	out := planned(t, Options{Jobs: record4(), Fleets: []Fleet{sizedFleet(t, "now", 2, 2), sizedFleet(t, "more", 4, 8)}, Prices: []*Prices{prices(t, ownText)}, Growth: Growth{30, year}, WaitPrice: 1})
	p := out.Scenarios[0].Points
	if p[0].Overload || !p[2].Overload || p[2].UsePercent.Mean != 100 || p[2].MeanWaitS != (Spread{}) || p[2].Load <= MaxLoad || math.Abs(p[2].Load/p[0].Load-30) > 1e-9 {
		t.Errorf("%+v", p)
	}
	text := ""
	for _, x := range out.Tables() {
		text += fmt.Sprint(x.Rows)
	}
	if !strings.Contains(text, "without end") || !strings.Contains(strings.Join(out.Assumed, ""), "not replayed") {
		t.Error(text)
	}
}
