// Package plan answers what to buy: it replays the demand to come on fleets that need not exist, by the scheduler that runs
// live ones, and sets money beside it. Demand, fleets and price sets go in; use, waiting, cost, energy, pay-back and the
// next purchase come out, each with its uncertainty.
//
// Rules for callers: use and waiting come from replays alone (compute/sched/sim), never from formulas; arithmetic only
// turns chip-hours into money. Uncertainty comes from replaying demand drawn anew from the record, the same draws for every fleet, so
// that differences are of fleets and not of luck. What is not known is named in Output.Assumed or refused, never taken as
// zero. Money is in units of the currency that all files agree on, a year has 8760 hours. The same Options give the same
// figures. Run is one goroutine.
package plan

import (
	"context"
	"fmt"
	"time"

	"github.com/triarch-ai/triarch/compute/chip"
	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/fleet"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
)

// Fleet is one that is asked about.
type Fleet struct {
	Name string
	*fleet.Fleet
}

// Options of a plan.
type Options struct {
	Jobs   []trace.Job // the record, in the order of submission
	From   time.Duration
	To     time.Duration // the record lies in [From, To); To 0: up to its last submission
	Fleets []Fleet       // the first is what the others are compared with
	Prices []*Prices

	Forecast string        // a name of Forecasters, or "auto": the best on the second half of the record
	Window   time.Duration // how much of the time to come is replayed; 0: as long as the record, at most 30 days
	Warm     time.Duration // replayed before the window, so that it begins in the middle of work; 0: two weeks, or the record where it is shorter
	Replicas int           // demands drawn; 0: 8
	Seed     uint64
	Growth   Growth // zero: demand stays as it is
	Policy   func() (sim.Policy, error)
	Speeds   func(*fleet.Fleet) (*sim.Speeds, error) // of job types on a fleet's chips; nil: all chips are equally fast

	Catalogue *chip.Catalogue    // nil: the embedded one
	WaitPrice float64            // of an hour that a job waits; 0: waiting has no price
	Tokens    map[string]float64 // tokens a second of one chip, by chip; nil: no price of tokens
	Next      int                // how many purchases to look for, one after the other
	Backtest  bool               // try all forecasters on the second half of the record

	Progress func(done, all int, what string) // may be nil
}

// Bounds on a plan, so that it ends.
const (
	MaxReplicas  = 200
	MaxFleets    = 32
	MaxPrices    = 8
	MaxNext      = 20
	MaxOffers    = 64
	MaxDemand    = 1_000_000 // jobs of one replay
	MaxLoad      = 2.0       // of a fleet's chips; beyond it waiting has no end, and nothing is replayed
	MaxWaitPrice = 1e9
)

const (
	defaultReplicas = 8
	day             = 24 * time.Hour
	week            = 7 * day
	hoursOfYear     = 8760.0
	year            = 8760 * time.Hour
)

// Output is a plan.
type Output struct {
	About     string     `json:"about"`
	Currency  string     `json:"currency,omitempty"`
	Forecast  string     `json:"forecast"`
	WindowS   float64    `json:"window_s"`
	WarmS     float64    `json:"warm_s"`
	Replicas  int        `json:"replicas"`
	Replays   int        `json:"replays"`
	WaitPrice float64    `json:"wait_price"`
	Growth    string     `json:"growth,omitempty"`
	Scenarios []Scenario `json:"scenarios"`
	PayBacks  []PayBack  `json:"pay_backs"`
	Next      []Purchase `json:"next"`
	Backtest  []Trial    `json:"backtest,omitempty"`
	Assumed   []string   `json:"assumed"` // what stands in for what no file says, and what limits the figures
}

// Scenario is one fleet under one set of prices.
type Scenario struct {
	Name   string  `json:"name"`
	Fleet  string  `json:"fleet"`
	Prices string  `json:"prices"`
	Nodes  int     `json:"nodes"`
	Chips  int64   `json:"chips"`
	Outlay float64 `json:"outlay"` // paid at the beginning for what is bought
	Points []Point `json:"points"` // by time; one where demand stays as it is

	fleet, prices  int     // in Options
	life, interest float64 // of what is bought
}

// Point is a scenario at one time to come.
type Point struct {
	Years  float64 `json:"years"`
	Factor float64 `json:"factor"` // demand, as a multiple of what the forecaster expects without growth

	Load     float64 `json:"load"`               // chip-hours asked for, as a multiple of those there are
	Overload bool    `json:"overload,omitempty"` // Load is above MaxLoad: not replayed, all chips taken as used, nothing said of waiting

	Jobs       Spread `json:"jobs"`
	Refused    Spread `json:"refused"`
	Unfinished Spread `json:"unfinished"` // when the replay ended, long after the window; they count as having waited until then

	UsePercent    Spread  `json:"use_percent"` // chips held by jobs, of those that were up
	UsefulPercent Spread  `json:"useful_percent"`
	MeanWaitS     Spread  `json:"mean_wait_s"` // completion minus submission minus duration
	P50WaitS      Spread  `json:"p50_wait_s"`
	P90WaitS      Spread  `json:"p90_wait_s"`
	P99WaitS      Spread  `json:"p99_wait_s"`
	WaitYear      Spread  `json:"wait_hours_year"` // of all jobs together
	EnergyKWh     *Spread `json:"energy_kwh_year"` // null: the watts of some chip are unknown
	Cost          Spread  `json:"cost_year"`
	Parts         Bill    `json:"cost_parts_year"` // of Cost, in the mean
	WaitCost      Spread  `json:"wait_cost_year"`
	ChipHour      Spread  `json:"cost_chip_hour"`
	UsefulHour    Spread  `json:"cost_useful_chip_hour"`
	MillionTokens *Spread `json:"cost_million_tokens"` // null: no throughput is known
	Sites         []Site  `json:"sites"`

	runs     []*measured // by replica
	bills    []Bill
	waitCost []float64
}

// Site is one site of a Point, in the mean.
type Site struct {
	Name       string  `json:"name"`
	Chips      int64   `json:"chips"`
	Jobs       float64 `json:"jobs"`
	UsePercent float64 `json:"use_percent"`
	MeanWaitS  float64 `json:"mean_wait_s"`
	P90WaitS   float64 `json:"p90_wait_s"`
}

// Run makes a plan.
func Run(ctx context.Context, o Options) (*Output, error) {
	p, err := newPlanner(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := p.choose(); err != nil {
		return nil, err
	}
	for f := range p.o.Fleets {
		for s := range p.o.Prices {
			if err := p.scenario(f, s); err != nil {
				return nil, fmt.Errorf("fleet %s: %w", p.o.Fleets[f].Name, err)
			}
		}
	}
	p.payBacks()
	if err := p.next(); err != nil {
		return nil, err
	}
	p.finish()
	return p.out, nil
}
