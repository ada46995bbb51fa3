package baseline

import (
	"cmp"
	"slices"
	"time"

	"github.com/triarch-ai/triarch/compute/sched/sim"
	"github.com/triarch-ai/triarch/compute/sched/sim/lp"
)

// Round is how long a round of Gavel lasts.
const Round = 6 * time.Minute

// Rounds is heterogeneity-aware least attained service in rounds (Gavel: Narayanan et al., OSDI 2020). At the start of
// a round in which the set of jobs has changed, a linear program divides time on each chip among the jobs so that the
// least of their speeds, each relative to what an equal division of all chips would give it, is as high as it can be;
// among such divisions that of the highest total speed is taken. Every round then runs the jobs that are furthest below
// what the program gives them, and what is left idle runs any job that fits. A job that stays on its chips is not
// restarted. Jobs of one type and size count as one in the program, so that it stays small. CPU, memory and shares are
// not weighed; elastic jobs get what they asked for.
type Rounds struct {
	jobs  []int32 // that wait or run, in the order of submission
	stale bool    // the jobs, or what is known of their speeds, changed since the program was solved
	known int64   // version of the speeds that it was solved for
	group []rivals
	of    []int32     // by job: its group
	got   [][]float32 // by job, then chip: seconds run there
	since []time.Duration
	x     [][]float64 // by group, then chip: how many of its jobs run there on average
	wish  []wish
	put   []int32 // by job: pool given this round, -1 none
	left  []int64 // by pool: chips not given this round
	pools [][]int32
}

// rivals are jobs that the program cannot tell apart.
type rivals struct {
	class int32
	typ   string
	first int32
	n     int
}

type wish struct {
	priority float64
	job      int32
	chip     int32
}

// Gavel is the policy Rounds.
func Gavel() sim.Policy { return &Rounds{} }

// Every is the length of a round.
func (r *Rounds) Every() time.Duration { return Round }

// Begin sets up the books.
func (r *Rounds) Begin(w *sim.World) {
	n := w.Jobs()
	r.of, r.got, r.since, r.put = make([]int32, n), make([][]float32, n), make([]time.Duration, n), make([]int32, n)
	r.left = make([]int64, w.Pools())
	r.pools = make([][]int32, len(w.Fleet().Chips))
	for p := range int32(w.Pools()) {
		if c := w.Pool(p).Chip; c >= 0 {
			r.pools[c] = append(r.pools[c], p)
		}
	}
}

// Step lets new jobs use what is idle at once and divides anew at every tick.
func (r *Rounds) Step(w *sim.World, events []sim.Event) {
	tick, filled := false, false
	for _, e := range events {
		switch e.Kind {
		case sim.Submitted:
			r.admit(w, e.Job)
			filled = true
		case sim.Ended:
			r.group[r.of[e.Job]].n--
			r.stale, filled = true, true
		case sim.NodeDown, sim.NodeUp, sim.Failed:
			filled = true
		case sim.Tick:
			tick = true
		}
	}
	if v := w.Version(); v != r.known {
		r.known, r.stale = v, true
	}
	if r.stale || tick {
		r.jobs = slices.DeleteFunc(r.jobs, func(j int32) bool { return w.State(j) == sim.Done })
	}
	if tick {
		r.round(w)
	} else if filled {
		r.fill(w)
	}
}

func (r *Rounds) admit(w *sim.World, j int32) {
	g := slices.IndexFunc(r.group, func(v rivals) bool { return v.class == w.Class(j) && v.typ == w.Spec(j).Type })
	if g < 0 {
		g = len(r.group)
		r.group = append(r.group, rivals{class: w.Class(j), typ: w.Spec(j).Type, first: j})
	}
	r.group[g].n++
	r.of[j], r.since[j], r.put[j] = int32(g), w.Now(), -1
	r.got[j] = make([]float32, len(w.Fleet().Chips))
	r.jobs = append(r.jobs, j)
	r.stale = true
}

// round books the last one, solves the program where it must, and swaps jobs.
func (r *Rounds) round(w *sim.World) {
	for _, j := range r.jobs {
		if parts := w.Parts(j); len(parts) > 0 {
			r.got[j][w.Fleet().Nodes[parts[0].Node].Chip] += float32(min(Round, w.Now()-w.Since(j)).Seconds())
		}
	}
	if r.stale {
		r.solve(w)
		r.stale = false
	}
	r.rank(w)
	r.choose(w)
	for _, j := range r.jobs {
		if w.State(j) == sim.Running && r.put[j] != w.PoolOf(w.Parts(j)[0].Node) && w.Spec(j).Preemptible && w.Preempt(j) != nil {
			return
		}
	}
	for _, j := range r.jobs {
		if w.State(j) == sim.Waiting && r.put[j] >= 0 {
			if parts, ok := w.FitIn(j, r.put[j], w.Spec(j).Chips); ok && w.Start(j, parts) != nil {
				return
			}
		}
	}
	r.fill(w)
}

// solve writes the program and keeps its answer: variable 0 is the least relative speed, the others are, for each group
// and chip, how many of its jobs run there.
func (r *Rounds) solve(w *sim.World) {
	capacity, all := capacities(w)
	chips := len(capacity)
	p := program{c: make([]float64, 1+len(r.group)*chips)}
	p.c[0] = 1
	for g, v := range r.group {
		if v.n > 0 {
			p.group(1+g*chips, v.n, r.speeds(w, v.first), capacity, all)
		}
	}
	for k := range chips {
		row := p.row(capacity[k])
		for g, v := range r.group {
			row[1+g*chips+k] = float64(w.Spec(v.first).Chips)
		}
	}
	p.row(1e9)[0] = 1 // the speed is bounded even with no job left
	x, _, err := lp.Maximize(p.c, p.a, p.b)
	if err != nil {
		return // keep the last division; the fill keeps chips busy
	}
	r.x = make([][]float64, len(r.group))
	for g := range r.group {
		r.x[g] = x[1+g*chips : 1+(g+1)*chips]
	}
}

// capacities counts the chips of each model on nodes that are up, and all of them.
func capacities(w *sim.World) (each []float64, all float64) {
	each = make([]float64, len(w.Fleet().Chips))
	for p := range int32(w.Pools()) {
		if pl := w.Pool(p); pl.Chip >= 0 {
			n := float64(w.PoolUp(p)) * float64(pl.Size)
			each[pl.Chip] += n
			all += n
		}
	}
	return each, max(1, all)
}

func (r *Rounds) speeds(w *sim.World, j int32) []float64 {
	out := make([]float64, len(w.Fleet().Chips))
	for k := range out {
		out[k] = float64(w.Speed(j, int32(k))) / 1e6
	}
	return out
}

// program is maximise c.x where a x <= b.
type program struct {
	c []float64
	a [][]float64
	b []float64
}

// row adds an empty bound.
func (p *program) row(bound float64) []float64 {
	row := make([]float64, len(p.c))
	p.a, p.b = append(p.a, row), append(p.b, bound)
	return row
}

// group adds the bounds of n jobs whose variables begin at at: their speed is at least the least relative one, and they
// run on n chips' worth of time at most.
func (p *program) group(at, n int, speeds, capacity []float64, all float64) {
	equal := 0.0
	for k, s := range speeds {
		equal += s * capacity[k] / all
	}
	fast, most := p.row(0), p.row(float64(n))
	fast[0] = float64(n) * equal
	for k, s := range speeds {
		fast[at+k], most[at+k] = -s, 1
		p.c[at+k] = 1e-4 * s / all / max(equal, 1e-9) // among the best, that of the highest total speed
		if s == 0 {
			most[at+k] = 1e6 // cannot run there
		}
	}
}

// rank lists what each job is due on each chip: its part by the program over its part so far.
func (r *Rounds) rank(w *sim.World) {
	r.wish = r.wish[:0]
	for _, j := range r.jobs {
		g := r.of[j]
		if int(g) >= len(r.x) || r.group[g].n == 0 {
			continue
		}
		life := max(Round, w.Now()-r.since[j]).Seconds()
		for k, x := range r.x[g] {
			if part := x / float64(r.group[g].n); part > 1e-9 {
				r.wish = append(r.wish, wish{part / (float64(r.got[j][k])/life + 1e-6), j, int32(k)})
			}
		}
	}
	slices.SortFunc(r.wish, func(a, b wish) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.job, b.job), cmp.Compare(a.chip, b.chip))
	})
}

// choose gives pools to jobs by rank, then to those that run already where chips are left.
func (r *Rounds) choose(w *sim.World) {
	for p := range r.left {
		r.left[p] = int64(w.PoolUp(int32(p))) * int64(w.Pool(int32(p)).Size)
	}
	for _, j := range r.jobs {
		r.put[j] = -1
	}
	for _, v := range r.wish {
		if r.put[v.job] >= 0 {
			continue
		}
		for _, p := range r.pools[v.chip] {
			if n := int64(w.Spec(v.job).Chips); n <= r.left[p] && slices.Contains(w.PoolsOf(v.job), p) {
				r.put[v.job] = p
				r.left[p] -= n
				break
			}
		}
	}
	for _, j := range r.jobs {
		if parts := w.Parts(j); r.put[j] < 0 && len(parts) > 0 {
			p := w.PoolOf(parts[0].Node)
			if n := int64(w.Chips(j)); n <= r.left[p] {
				r.put[j] = p
				r.left[p] -= n
			}
		}
	}
}

// fill starts waiting jobs where chips are idle, each on the fastest of them.
func (r *Rounds) fill(w *sim.World) {
	for _, j := range r.jobs {
		if w.State(j) != sim.Waiting {
			continue
		}
		best, fastest := int32(-1), int64(0)
		for _, p := range w.PoolsOf(j) {
			if s := w.Speed(j, w.Pool(p).Chip); s > fastest && w.PoolFree(p) >= int64(w.Spec(j).Chips) {
				best, fastest = p, s
			}
		}
		if best >= 0 {
			if parts, ok := w.FitIn(j, best, w.Spec(j).Chips); ok && w.Start(j, parts) != nil {
				return
			}
		}
	}
}
