package sched

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/triarch-ai/triarch/compute/sched/predict"
	"github.com/triarch-ai/triarch/internal/nearest"
)

// Config holds what an operator may turn. Times are milliseconds; New fills in the defaults beside the fields.
type Config struct {
	Round    int64        // between two rounds of prices, ranks and holds; default 60 s
	HalfLife int64        // after which usage counts half; default 7 days
	Horizon  int64        // running work counts as if it had run so long already, so that a burst is shared; default 1 h
	MinRun   int64        // no job is preempted earlier in an attempt; default 10 min
	Reserve  int          // blocked gangs of a queue that may hold a start; default 1
	Starved  int64        // a job that waited so long in all goes before all others of its priority; default 14 days
	Fast     int64        // longest time limit of a job in the fast lane; default 15 min
	FastPart int64        // how much of what a queue holds the fast lane may have, in Micro, beyond one job; default a quarter
	Rule     predict.Rule // turns what history says into the order of jobs; default predict.DefaultRule
	Restart  [3]int64     // lost by a preemption besides work since the last checkpoint: 1 chip, up to 8, more; default 7, 30, 60 s
	Slack    int64        // a job whose deadline leaves less slack than this goes first; default 30 min
}

func (c Config) withDefaults() Config {
	set := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	const minute = 60_000
	set(&c.Round, minute)
	set(&c.HalfLife, 7*24*60*minute)
	set(&c.Horizon, 60*minute)
	set(&c.MinRun, 10*minute)
	set(&c.Starved, 14*24*60*minute)
	set(&c.Fast, 15*minute)
	set(&c.FastPart, Micro/4)
	set(&c.Slack, 30*minute)
	if c.Reserve <= 0 {
		c.Reserve = 1
	}
	if c.Rule == (predict.Rule{}) {
		c.Rule = predict.DefaultRule()
	}
	if c.Restart == [3]int64{} {
		c.Restart = [3]int64{7_000, 30_000, 60_000}
	}
	return c
}

// restart is what a preemption costs a job of this size besides the work since its last checkpoint, in time.
func (c *Config) restart(chips int) int64 {
	switch {
	case chips <= 1:
		return c.Restart[0]
	case chips <= 8:
		return c.Restart[1]
	}
	return c.Restart[2]
}

// Estimate is what history says of the time a job will still run at the reference speed, in milliseconds, and its rank.
type Estimate = predict.Estimate

// History learns how long jobs run. Its answers depend on nothing but the calls before. Running times are at the
// reference speed.
type History interface {
	Arrive(j *Job, chips int, now int64)
	Start(id string, attained, overhead, now int64) // overhead: it holds its chips so long before it goes on
	Stop(id string, attained, now int64)
	Finish(id string, ran, now int64)
	Forget(id string, now int64) // it ended and teaches nothing
	Estimate(id string, attained, now int64) Estimate
	Rank(id string, attained, now int64) int64 // of the Estimate
}

// Learned is a History that begins with what a book knows.
func Learned(b *predict.Book) History { return learned{b} }

type learned struct{ book *predict.Book }

func (l learned) Arrive(j *Job, chips int, now int64) {
	f := predict.Features{Queue: j.Queue, User: j.User, Name: j.Name, Chips: chips}
	if len(j.Need.Sites) == 1 {
		f.Site = j.Need.Sites[0]
	}
	_ = l.book.Arrive(j.ID, f, now) // a job whose features are refused is one without history
}
func (l learned) Start(id string, attained, overhead, now int64) {
	_ = l.book.Start(id, attained, overhead, now)
}
func (l learned) Stop(id string, attained, now int64) { _ = l.book.Stop(id, attained, now) }
func (l learned) Finish(id string, ran, now int64)    { _ = l.book.Finish(id, ran, now) }
func (l learned) Forget(id string, now int64)         { _ = l.book.Forget(id, now) }
func (l learned) Rank(id string, attained, now int64) int64 {
	l.book.Advance(now)
	rank, _ := l.book.Rank(id, attained)
	return rank
}
func (l learned) Estimate(id string, attained, now int64) Estimate {
	l.book.Advance(now)
	e, _ := l.book.Estimate(id, attained)
	return e
}

// stage of a work in the core.
type status uint8

const (
	waiting status = iota
	running
	gone
)

// work is a job inside the core.
type work struct {
	Job
	q        *queue
	menu     *menu
	number   int64 // of arrival: the last word in every order
	status   status
	est      Estimate
	key      int64 // of the order by rank, lower first
	since    int64 // when it began to wait
	waited   int64 // in all, up to since
	goneBy   int64 // its end by P90 as of the last look
	looks    int
	lookAt   int64 // when it is worth asking history again
	promised bool  // it was said when it will start
	first    int64 // its first start
	urgent   int
	doomed   string // a job it waits for that did not succeed
	heapAt   int    // in its lane
	ahead    int    // how many of its queue come before it, as of queue.sorted

	opt      *option
	seats    []Seat
	ran      bool  // it has been started before
	started  int64 // of this attempt
	runSince int64 // since when it runs but for moves
	overhead int64 // time that this attempt takes to get where the last one was
	counted  int64 // up to when Attained counts this attempt, where its speed changed
	saved    int64 // attained time at the last checkpoint
	fast     bool  // it counts against the fast lane
	runAt    int   // in core.running
}

// Core is the scheduling core between two plans. It is not safe for concurrent use, and reads no clock.
type Core struct {
	conf    Config
	history History
	chips   []Chip
	chipAt  map[string]int
	sites   []string
	nodes   []Node
	nodeAt  map[string]int32
	pools   []*pool
	room    *room
	seating *seating // nil: by the tightest node
	queues  []*queue
	queueAt map[string]*queue
	orgs    []*org

	menus    map[string]*menu
	menuList []*menu
	needs    map[needKey]*menu
	jobs     map[string]*work
	running  []*work
	onNode   [][]*work // what runs on each node, in order of start
	moves    []int64   // by pool: counts starts, ends and rounds; what could not displace anything may when it has moved on
	version  []int64   // by node: counts what started and ended there
	worst    []int64   // by node: the last key of what ran there when the round began
	memo     evictions
	holds    []*hold
	windows  []window
	edge     int64              // when the next of them begins or ends, as of the last plan
	ripe     int64              // when a minimum run ends that somebody waits for, as of the last plan; see ripens
	young    []claim            // what runs and is protected, in order of start, while follows
	follows  bool               // young is kept up
	children map[string][]*work // those that wait for a job to succeed

	price    []int64 // by chip: how scarce it is, in Micro
	count    []int64 // by chip: how many there are
	still    bool    // nothing new is learned: this core looks ahead
	copied   bool    // menus are shared with another core
	frees    []freeing
	scratch  []*option
	offered  []offer
	ending   []*work
	victims  []victim
	barred   []*queue // that must not give any more in the displacement at hand
	trust    *correction
	promises []promise
	idle     bool // fill gives out what would stand idle
	shares   bool // a share of a chip was given out
	renewed  bool // this plan began a round
	ranked   bool // and in it ranks are compared

	now     int64
	round   int64 // time of the next round
	arrived int64
	stats   Stats
	acts    []Action
}

// Stats counts what a core did.
type Stats struct{ Started, Refused, Preempted, Rounds int64 }

// New makes a core for a fleet at a time. The error is a *Problem.
func New(conf Config, f Fleet, h History, now int64) (*Core, error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	c := &Core{conf: conf.withDefaults(), history: h, chipAt: map[string]int{}, nodeAt: map[string]int32{}, queueAt: map[string]*queue{},
		menus: map[string]*menu{}, needs: map[needKey]*menu{}, jobs: map[string]*work{}, children: map[string][]*work{}, now: now}
	c.round, c.ripe = now+c.conf.Round, maxInt
	c.chips = slices.SortedFunc(slices.Values(f.Chips), func(a, b Chip) int { return cmp.Compare(a.Name, b.Name) })
	for i, ch := range c.chips {
		c.chipAt[ch.Name] = i
	}
	c.nodes = slices.SortedFunc(slices.Values(f.Nodes), func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	c.trust = newCorrection()
	c.layPools()
	c.room = newRoom(c.nodes, c.pools)
	c.laySeating()
	c.onNode = make([][]*work, len(c.nodes))
	c.moves = make([]int64, len(c.pools))
	c.version = make([]int64, len(c.nodes))
	c.worst = make([]int64, len(c.nodes))
	c.price, c.count = make([]int64, len(c.chips)), make([]int64, len(c.chips))
	for i := range c.price {
		c.price[i] = Micro
	}
	for _, n := range c.nodes {
		if n.Chips > 0 {
			c.count[c.chipAt[n.Chip]] += int64(n.Chips)
		}
	}
	c.layQueues(f.Queues)
	return c, nil
}

// layPools groups the nodes by site and class of chips.
func (c *Core) layPools() {
	for _, n := range c.nodes {
		c.sites = append(c.sites, n.Site)
	}
	slices.Sort(c.sites)
	c.sites = slices.Compact(c.sites)
	type key struct{ site, chip int }
	at := map[key]*pool{}
	for i := range c.nodes {
		n := &c.nodes[i]
		c.nodeAt[n.Name] = int32(i)
		site, _ := slices.BinarySearch(c.sites, n.Site)
		chip := -1
		if n.Chips > 0 {
			chip = c.chipAt[n.Chip]
		}
		p := at[key{site, chip}]
		if p == nil {
			p = &pool{site: site, chip: chip}
			at[key{site, chip}] = p
			c.pools = append(c.pools, p)
		}
		p.nodes = append(p.nodes, int32(i))
		p.perNode = max(p.perNode, n.Chips)
	}
	slices.SortFunc(c.pools, func(a, b *pool) int { return cmp.Or(cmp.Compare(a.site, b.site), cmp.Compare(a.chip, b.chip)) })
	for i, p := range c.pools {
		p.at = int32(i)
	}
}

// needKey is a need without lists, whose menu is looked up instead of made.
type needKey struct {
	queue             string
	site, chip        string
	chips, share, min int
	speed             int64
	within            Level
	cpu, memo         int64
}

func keyOf(j *Job) (needKey, bool) {
	n := &j.Need
	if len(n.Sites) > 1 || len(n.AnyOf) > 1 {
		return needKey{}, false
	}
	k := needKey{queue: j.Queue, chips: n.Chips, share: n.Share, min: n.Min, within: n.Within, cpu: n.CPUMilli, memo: n.MemoryMiB}
	if len(n.Sites) == 1 {
		if k.site = n.Sites[0]; k.site == "" { // which is not anywhere
			return k, false
		}
	}
	if len(n.AnyOf) == 1 {
		if n.AnyOf[0].Chips != 0 {
			return k, false
		}
		k.chip, k.speed = n.AnyOf[0].Chip, n.AnyOf[0].Speed
	}
	return k, true
}

// admit finds a job's queue and menu: stage 1.
func (c *Core) admit(j *Job) (*queue, *menu, error) {
	if err := j.Check(); err != nil {
		return nil, nil, err
	}
	q := c.queueAt[j.Queue]
	if q == nil {
		names := make([]string, 0, len(c.queues))
		for _, q := range c.queues {
			names = append(names, q.Name)
		}
		return nil, nil, problem("queue", "queue %q is not known; the nearest is %q", j.Queue, nearest.Name(j.Queue, names))
	}
	key, plain := keyOf(j)
	m := c.needs[key]
	if plain && m != nil {
		return q, m, nil
	}
	m, err := c.menuOf(j, q)
	if err == nil && plain {
		c.needs[key] = m
	}
	return q, m, err
}

// Submit adds a waiting job. The error is a *Problem for what cannot be true or is not known, and a *Nearby for a job
// that this fleet could never run; then nothing has changed.
func (c *Core) Submit(now int64, j Job) error {
	if _, twice := c.jobs[j.ID]; twice {
		return problem("id", "job %s is there already", j.ID)
	}
	q, m, err := c.admit(&j)
	if err != nil {
		return err
	}
	for i, id := range j.After {
		if c.jobs[id] == nil {
			return problem(fmt.Sprintf("after[%d]", i), "job %s is neither waiting nor running", id)
		}
	}
	j.After = slices.Clone(j.After)
	w := &work{Job: j, q: q, menu: m, number: c.arrived, saved: j.Attained, heapAt: -1, runAt: -1}
	c.arrived++
	c.jobs[j.ID] = w
	for _, id := range j.After {
		c.children[id] = append(c.children[id], w)
	}
	c.settle(now)
	c.history.Arrive(&w.Job, m.largest, c.now)
	c.seating.expect(c, m)
	c.enqueue(w)
	return nil
}

// End tells that a job has ended and will not run again. ran is its whole running time at the reference speed.
func (c *Core) End(now int64, id string, ran int64, succeeded bool) error {
	w := c.jobs[id]
	if w == nil {
		return fmt.Errorf("sched: job %s is not known", id)
	}
	c.settle(now)
	if w.status == running {
		c.vacate(w)
	} else {
		c.dequeue(w)
	}
	w.status = gone
	delete(c.jobs, id)
	if ran > 0 {
		c.history.Finish(id, ran, c.now)
	} else {
		c.history.Forget(id, c.now)
	}
	for _, child := range c.children[id] { // the next plan looks at what is parked
		if succeeded {
			child.After = slices.DeleteFunc(child.After, func(x string) bool { return x == id })
		} else {
			child.doomed = id
		}
	}
	delete(c.children, id)
	return nil
}

// Requeue tells that a running job lost its attempt, after so much work in all as its last checkpoint holds: it waits again.
func (c *Core) Requeue(now int64, id string, attained int64) error {
	w := c.jobs[id]
	if w == nil || w.status != running {
		return fmt.Errorf("sched: job %s does not run", id)
	}
	c.settle(now)
	c.vacate(w)
	w.Attained, w.saved = attained, attained
	c.enqueue(w)
	return nil
}

// Checkpoint tells how much work of a running job is safe.
func (c *Core) Checkpoint(id string, attained int64) {
	if w := c.jobs[id]; w != nil {
		w.saved = max(w.saved, attained)
	}
}

// SetNode changes whether a node takes work. Jobs that a Down node ran must be told of by Requeue or End.
func (c *Core) SetNode(now int64, name string, s NodeState) error {
	n, ok := c.nodeAt[name]
	if !ok {
		return problem("node", "node %q is not known", name)
	}
	c.settle(now)
	c.nodes[n].State = s
	c.room.setOpen(n, s == Up)
	if c.seating != nil {
		c.seating.index.Drain(c.seating.number[n], s != Up)
	}
	return nil
}

// attained is how long a job has run at the reference speed by now.
func (c *Core) attained(w *work) int64 {
	if w.status != running {
		return w.Attained
	}
	return w.Attained + c.progress(w, max(0, c.now-w.goes()))
}

// goes is since when a running job makes the progress that Attained does not count.
func (w *work) goes() int64 { return max(w.started+w.overhead, w.counted) }

// progress is how much reference time passes for a job while it runs for a time on its chips. A job that has fewer chips than it asked for
// goes on more slowly, in proportion.
func (c *Core) progress(w *work, time int64) int64 {
	if w.menu.largest <= 0 || w.opt.speed == int64(w.menu.largest)*Micro {
		return time
	}
	return muldiv(time, w.opt.speed, int64(w.menu.largest)*Micro)
}

// wall is the reverse: how long a job takes on an option for some reference time.
func (c *Core) wall(w *work, o *option, reference int64) int64 {
	if w.menu.largest <= 0 || o.speed == int64(w.menu.largest)*Micro || o.speed <= 0 {
		return reference
	}
	return muldiv(reference, int64(w.menu.largest)*Micro, o.speed)
}

// occupy starts a job on seats.
func (c *Core) occupy(w *work, o *option, seats []Seat) {
	overhead := int64(0)
	if w.ran {
		overhead = c.conf.restart(o.size)
	} else {
		w.first = c.now
	}
	w.status, w.opt, w.seats, w.started, w.ran, w.overhead, w.counted = running, o, seats, c.now, true, overhead, 0
	c.shares = c.shares || o.shares()
	w.waited += c.now - w.since
	w.fast = w.urgent == urgentFast && w.Kind == Evaluation
	c.history.Start(w.ID, w.Attained, overhead, c.now)
	c.begin(w)
	w.runAt = len(c.running)
	c.running = append(c.running, w)
	w.q.add(w, 1)
	w.runSince = c.now
	if c.follows {
		c.young = append(c.young, claim{w, c.now})
	}
	c.moves[c.room.pool[seats[0].Node]]++
	for i := range seats {
		c.version[seats[i].Node]++
		if n := seats[i].Node; len(c.onNode[n]) == 0 || c.onNode[n][len(c.onNode[n])-1] != w {
			c.onNode[n] = append(c.onNode[n], w)
		}
	}
	c.stats.Started++
}

// stand gives back the seats of a running job, and only them.
func (c *Core) stand(w *work) {
	for k := range w.seats {
		a := w.opt.askOf(&w.seats[k])
		c.leave(&w.seats[k], &a)
	}
}

// sitAgain takes them again.
func (c *Core) sitAgain(w *work) {
	for k := range w.seats {
		a := w.opt.askOf(&w.seats[k])
		c.sit(&w.seats[k], &a)
	}
}

// vacate ends the attempt of a running job and keeps what it attained.
func (c *Core) vacate(w *work) {
	c.stand(w)
	c.retire(w)
}

// retire is vacate for a job whose seats were given back already.
func (c *Core) retire(w *work) {
	w.Attained = c.attained(w)
	c.history.Stop(w.ID, w.Attained, c.now)
	for i := range w.seats {
		n := w.seats[i].Node
		c.version[n]++
		if k := slices.Index(c.onNode[n], w); k >= 0 {
			c.onNode[n] = slices.Delete(c.onNode[n], k, k+1)
		}
	}
	c.moves[c.room.pool[w.seats[0].Node]]++
	last := c.running[len(c.running)-1]
	c.running[w.runAt] = last
	last.runAt = w.runAt
	c.running = c.running[:len(c.running)-1]
	w.q.add(w, -1)
	w.fast = false
	w.status, w.opt, w.seats, w.runAt = waiting, nil, nil, -1
}

// Nodes are the nodes in the order in which seats number them: by name.
func (c *Core) Nodes() []Node { return c.nodes }
