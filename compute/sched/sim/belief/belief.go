// Package belief is what a replay's policy knows of a table of throughputs of which entries are hidden: at first what the
// other entries tell of them, later what attempts showed. The table stays the truth of the replay.
//
// An entry is a type of job on a chip. What is known is steps a second, in the unit of the type; what policies are told
// is how fast a chip is beside the reference chip. Neighbours are, by package effects, the same type on other chips,
// types of the same family on the same chip, and all types on that chip; a family is what stands before " (" in a
// type's name, as ResNet-50 in "ResNet-50 (batch size 32)".
//
// Rules for callers: one Beliefs serves one replay. The same table, options and observations give the same beliefs.
package belief

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/triarch-ai/triarch/compute/perf/effects"
	"github.com/triarch-ai/triarch/compute/sched/sim/trace"
	"github.com/triarch-ai/triarch/internal/fault"
)

// Kind is what becomes of what is hidden.
type Kind string

// The kinds.
const (
	Learn Kind = "learn" // thought to be what neighbours tell, and learnt from every attempt
	Prior Kind = "prior" // thought to be what neighbours tell, for ever
	Alike Kind = "alike" // nothing is known, and all chips are thought alike
)

// Kinds lists them.
func Kinds() []Kind { return []Kind{Learn, Prior, Alike} }

// Options of beliefs.
type Options struct {
	Kind Kind
	Hide float64 // part of the entries that is hidden, drawn by Seed
	Seed uint64
	// Optimism tells, of an entry, so many standard deviations above what it is thought to be: chips that are not known
	// are tried.
	Optimism float64
}

// Levels is how throughputs are taken to differ: types by any factor, for their steps are of different work; chips by about three; and
// what a family and a type make of a chip beside that.
func Levels() []effects.Level {
	return []effects.Level{{Name: "type", SD: 3}, {Name: "chip", SD: 1}, {Name: "family on chip", SD: 0.5}, {Name: "type on chip", SD: 0.3}}
}

// Beliefs is the knowledge of a replay: sim.Knowledge.
type Beliefs struct {
	opt     Options
	table   *trace.Throughputs
	ref     int
	chip    []int // the fleet's chip -> the table's
	keys    [][][]string
	book    *effects.Book
	looks   map[string]int  // at attempts, by entry
	speed   [][]int64       // by type, then by the table's chip
	hidden  map[[2]int]bool // by type and the table's chip
	version int64
	stale   bool          // something was observed since speeds were worked out
	at      time.Duration // of that
	out     Learning
}

// Learning is how beliefs fared. Errors are mean absolute natural logs of believed over true, of a chip beside the mean
// of its type's.
type Learning struct {
	Entries      int     `json:"entries"` // pairs of type and chip that run
	Hidden       int     `json:"hidden"`
	Observations int     `json:"observations"`
	Doubted      int     `json:"doubted,omitempty"` // that were kept apart
	Seen         int     `json:"seen"`              // entries hidden at first and observed since
	Error        []Error `json:"error"`             // at the beginning, then each time it halved, and at the end
}

// Error is the error of beliefs at a time.
type Error struct {
	AtS    float64 `json:"at_s"` // since the start of the replay
	Mean   float64 `json:"mean"`
	Hidden float64 `json:"hidden"` // of the entries that were hidden alone
}

// New hides entries of a table. chips are the fleet's, reference is the chip that durations are of.
func New(t *trace.Throughputs, reference string, chips []string, o Options) (*Beliefs, error) {
	if !slices.Contains(Kinds(), o.Kind) {
		return nil, fault.New(fault.Invalid, fmt.Sprintf("There is no knowledge of the kind %q.", o.Kind), fault.Field("policy"), fault.Fix("There are learn, prior and alike"))
	}
	if !(o.Hide >= 0 && o.Hide <= 1) {
		return nil, fault.InvalidField("hide", "hide is %g; it is a part of the table, 0 to 1", o.Hide)
	}
	if !(o.Optimism >= 0 && o.Optimism <= 10) {
		return nil, fault.InvalidField("optimism", "optimism is %g; it must be 0 to 10 standard deviations", o.Optimism)
	}
	b := &Beliefs{opt: o, table: t, ref: slices.Index(t.Chips, reference), book: effects.New(Levels()...), looks: map[string]int{}}
	for _, name := range chips {
		b.chip = append(b.chip, slices.Index(t.Chips, name))
	}
	if b.ref < 0 || slices.Contains(b.chip, -1) {
		return nil, fault.New(fault.Internal, "beliefs are of chips that the table does not have")
	}
	b.layKeys()
	b.hide()
	b.speed = make([][]int64, len(t.Types))
	for i := range b.speed {
		b.speed[i] = make([]int64, len(t.Chips))
	}
	b.renew()
	b.note(0)
	return b, nil
}

// layKeys names what each entry has in common with others.
func (b *Beliefs) layKeys() {
	for _, name := range b.table.Types {
		family, _, _ := strings.Cut(name, " (")
		var row [][]string
		for _, chip := range b.table.Chips {
			row = append(row, []string{name, chip, family + "|" + chip, name + "|" + chip})
		}
		b.keys = append(b.keys, row)
	}
}

// hide draws what is hidden and puts the rest into the book.
func (b *Beliefs) hide() {
	var all [][2]int
	for i := range b.table.Types {
		for c, r := range b.table.Rate[i] {
			if r > 0 {
				all = append(all, [2]int{i, c})
			}
		}
	}
	r := rand.New(rand.NewPCG(b.opt.Seed, 0x68696465))
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	b.out.Entries, b.out.Hidden = len(all), int(math.Round(b.opt.Hide*float64(len(all))))
	if b.opt.Kind == Alike {
		b.out.Hidden = len(all)
	}
	b.hidden = map[[2]int]bool{}
	for _, e := range all[:b.out.Hidden] {
		b.hidden[e] = true
	}
	for _, e := range all[b.out.Hidden:] {
		b.book.Add(b.keys[e[0]][e[1]], effects.Single{Ratio: math.Log(b.table.Rate[e[0]][e[1]]), Count: few, At: start, By: "table"})
	}
}

// Report is how the beliefs fared by a time.
func (b *Beliefs) Report(at time.Duration) Learning {
	b.Version()
	out := b.out
	out.Error = append(slices.Clone(out.Error), b.errorAt(at))
	for e := range b.hidden {
		if b.looks[b.keys[e[0]][e[1]][entry]] > 0 {
			out.Seen++
		}
	}
	return out
}

// Speed implements sim.Knowledge.
func (b *Beliefs) Speed(row, chip int32) int64 {
	b.Version()
	return b.speed[row][b.chip[chip]]
}

// Version implements sim.Knowledge: what was observed up to now is taken together first.
func (b *Beliefs) Version() int64 {
	if b.stale {
		b.stale = false
		b.renew()
		b.note(b.at)
	}
	return b.version
}

// Observe implements sim.Knowledge: the attempt tells its steps a second. A job is one source: what it alone says is doubted if it is far off.
func (b *Beliefs) Observe(job, row, chip int32, speed int64, at time.Duration) {
	if b.opt.Kind != Learn || speed <= 0 {
		return
	}
	b.out.Observations++
	keys := b.keys[row][b.chip[chip]]
	x := effects.Single{Ratio: math.Log(float64(speed) / 1e6 * b.table.Rate[row][b.ref]), Count: 1, At: start.Add(at), By: strconv.Itoa(int(job))}
	if b.book.Add(keys, x) == effects.Doubted {
		b.out.Doubted++
		return
	}
	b.looks[keys[entry]]++
	if n := b.looks[keys[entry]]; n > few && n%few != 0 { // it hardly moves any more
		return
	}
	b.stale, b.at = true, at
}

const (
	few   = 8 // from so many measurements of an entry on, beliefs are worked out at every so many; and what the table's word counts as
	entry = 3 // the level that is an entry's own
)

// start is the time at which a replay begins, which is none in particular.
var start = time.Unix(0, 0)

// grain is the step in which beliefs move, in natural logs: what differs by less is one menu for the scheduler.
const grain = 0.01

// renew works out what is told of every entry.
func (b *Beliefs) renew() {
	moved := false
	for i := range b.table.Types {
		means, cov := b.book.Joint(b.keys[i])
		for c := range means {
			told := int64(1_000_000)
			if b.opt.Kind != Alike {
				x := means[c] - means[b.ref] + b.opt.Optimism*apart(cov, c)
				told = int64(math.Round(1e6 * math.Exp(grain*math.Round(min(max(x, -9), 9)/grain))))
			}
			moved = moved || b.speed[i][c] != told
			b.speed[i][c] = told
		}
	}
	if moved {
		b.version++
	}
}

// apart is the standard deviation of an entry beside the mean of its type's.
func apart(cov [][]float64, c int) float64 {
	n := float64(len(cov))
	v := cov[c][c]
	for i := range cov {
		v -= 2 * cov[c][i] / n
		for j := range cov {
			v += cov[i][j] / n / n
		}
	}
	return math.Sqrt(max(0, v))
}

// note keeps the error of now where it halved.
func (b *Beliefs) note(at time.Duration) {
	e := b.errorAt(at)
	if n := len(b.out.Error); n == 0 || e.Mean <= b.out.Error[n-1].Mean/2 {
		b.out.Error = append(b.out.Error, e)
	}
}

// errorAt is the error of what is told, by the truth, which only the report sees.
func (b *Beliefs) errorAt(at time.Duration) Error {
	e := Error{AtS: at.Seconds()}
	n, hidden := 0, 0
	for i, rates := range b.table.Rate {
		var diff []float64
		mean := 0.0
		var cells []int
		for c, r := range rates {
			if r > 0 {
				d := math.Log(float64(b.speed[i][c])/1e6) - math.Log(r/rates[b.ref])
				diff, mean, cells = append(diff, d), mean+d, append(cells, c)
			}
		}
		mean /= float64(max(1, len(diff)))
		for k, d := range diff {
			off := math.Abs(d - mean)
			e.Mean, n = e.Mean+off, n+1
			if b.hidden[[2]int{i, cells[k]}] {
				e.Hidden, hidden = e.Hidden+off, hidden+1
			}
		}
	}
	e.Mean /= float64(max(1, n))
	e.Hidden /= float64(max(1, hidden))
	return e
}
