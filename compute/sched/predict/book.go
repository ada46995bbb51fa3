package predict

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/triarch-ai/triarch/internal/fault"
)

// Options turn what is remembered and how. The zero value stands for the defaults beside the fields.
type Options struct {
	Gap      int64 // jobs alike that arrive within so many milliseconds of one another are a run; default 60 s
	HalfLife int64 // in days: after it an observation counts half; default 30
	Contexts int   // histories kept at most; the least used go first; default 4096
}

func (o Options) withDefaults() Options {
	if o.Gap <= 0 {
		o.Gap = minute
	}
	if o.HalfLife <= 0 {
		o.HalfLife = 30
	}
	o.Gap, o.HalfLife, o.Contexts = min(o.Gap, latest), min(o.HalfLife, longestHalfLife), min(o.Contexts, 1<<30)
	if o.Contexts <= 0 {
		o.Contexts = 4096
	}
	return o
}

const (
	second = int64(1000)
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
)

// refresh is how often the histories are looked at anew: their tables hold until then.
const refresh = hour

// Features is what is known of a job when it arrives. Empty fields are not known.
type Features struct {
	Site, Queue, User, Name string
	Chips                   int // 0 is CPU only
}

// longestHalfLife bounds Options.HalfLife, in days.
const longestHalfLife = 1 << 20

// longestFeature bounds one field of Features and an id, in bytes; mostChips bounds the size of a job.
const (
	longestFeature = 256
	mostChips      = 1 << 20
)

// Prior weights of the levels of history, in sixteenths of an observation: how many jobs of its own a history needs
// until they outweigh what the level above it says.
const (
	rootWeight  = 80
	levelWeight = 32
	runWeight   = 16
)

// runFade is the part, in 65536ths, that the jobs of a run lose in weight when another of them ends: half after twenty.
const runFade = 2232

// history counts the jobs that have something in common.
type history struct {
	key  string
	done counts
	open [buckets]uint32 // the jobs that had started and not ended when the histories were last looked at, by age
	used int64           // when it last had a job
}

// kind is all that jobs with the same features share: their histories from the widest to the narrowest and what follows
// from them.
type kind struct {
	key     string
	chain   []*history
	table   table
	version int64  // counts the changes of the table
	prior   counts // the table's weights for its runs
	fresh   shape  // of a run of which no job has started
	madeOf  int64  // the version that the two were made of
	jobs    int    // live ones
	last    *run   // the run that the next job may join
	chips   int
}

// run is a row of jobs of one kind that came shortly after one another: a sweep, a script in a loop.
type run struct {
	kind   *kind
	number int64
	last   int64 // arrival of its latest job
	jobs   []*job
	done   counts
	ended  int64

	version int64 // counts starts, stops and ends
	shape   shape
	of      stamp // what the shape was made of
	asked   stamp // when that was found to be so last
}

// shape is a run's table and the answer that it gave last.
type shape struct {
	table  table
	index  memo
	answer answer
}

// memo remembers the index of the age that was asked for last: of a run, most that wait have had no service.
type memo struct {
	age, index int64
	known      bool
}

// answer remembers the estimate that was asked for last.
type answer struct {
	age    int64
	levels [3]uint64
	e      Estimate // for one chip
	known  bool
}

// stamp is what a run's table depends on.
type stamp struct{ run, kind, at int64 }

// job is a job that has not ended.
type job struct {
	id       string
	number   int64 // of arrival
	run      *run
	chips    int
	started  bool
	running  bool
	gone     bool
	attained int64 // at since
	since    int64
	marks    []mark
}

// age is the service a job has had at a time.
func (j *job) age(now int64) int64 {
	if !j.running {
		return j.attained
	}
	return j.attained + max(now-j.since, 0)
}

// Book is what is known of the jobs that ran and those that have not ended. It is not safe for concurrent use.
type Book struct {
	opt       Options
	now       int64
	refreshed int64 // the hour of which the histories' tables are
	numbers   int64 // jobs and runs so far
	histories map[string]*history
	kinds     map[string]*kind
	jobs      map[string]*job
	order     []*job // by arrival; those gone are taken out when the histories are looked at
	trust     trust
}

// New makes an empty book.
func New(o Options) *Book {
	return &Book{
		opt: o.withDefaults(), refreshed: -refresh,
		histories: map[string]*history{}, kinds: map[string]*kind{}, jobs: map[string]*job{},
		trust: newTrust(),
	}
}

// Arrive tells of a job that was submitted. The id is the caller's.
func (b *Book) Arrive(id string, f Features, now int64) error {
	b.Advance(now)
	if err := check(id, f); err != nil {
		return err
	}
	if b.jobs[id] != nil {
		return fault.New(fault.Conflict, "the job "+id+" has arrived before")
	}
	k := b.kind(f)
	r := k.last
	if r == nil || b.now-r.last > b.opt.Gap {
		b.numbers++
		r = &run{kind: k, number: b.numbers}
		k.last = r
	}
	b.numbers++
	j := &job{id: id, number: b.numbers, run: r, chips: f.Chips}
	r.last = b.now
	k.jobs++
	b.jobs[id] = j
	b.order = append(b.order, j)
	b.note(j, b.now)
	return nil
}

func check(id string, f Features) error {
	for _, s := range []struct{ field, value string }{
		{"id", id}, {"site", f.Site}, {"queue", f.Queue}, {"user", f.User}, {"name", f.Name},
	} {
		if len(s.value) > longestFeature {
			return fault.InvalidField(s.field, "is %d bytes long; at most %d are kept", len(s.value), longestFeature)
		}
	}
	if f.Chips < 0 || f.Chips > mostChips {
		return fault.InvalidField("chips", "%d is not between 0 and %d", f.Chips, mostChips)
	}
	return nil
}

// known finds a job that has not ended.
func (b *Book) known(id string) (*job, error) {
	if j := b.jobs[id]; j != nil {
		return j, nil
	}
	return nil, fault.New(fault.NotFound, "no job "+id+" is waiting or running")
}

// Start tells that a job runs from now on, with the service it has had. Where a restart costs time before work goes on,
// pass it as overhead: the age stands still so long.
func (b *Book) Start(id string, attained, overhead, now int64) error {
	b.Advance(now)
	j, err := b.known(id)
	if err != nil {
		return err
	}
	j.attained, j.since, j.running = service(attained), b.now+service(overhead), true
	if !j.started {
		j.started = true
		j.run.jobs = append(j.run.jobs, j)
	}
	j.run.version++
	b.note(j, b.now)
	return nil
}

// Stop tells that a job was preempted with the service it has had, and waits again.
func (b *Book) Stop(id string, attained, now int64) error {
	b.Advance(now)
	j, err := b.known(id)
	if err != nil {
		return err
	}
	j.attained, j.running = service(attained), false
	j.run.version++
	return nil
}

// Finish tells that a job ended, well or not, after the given service in all; the book learns from it.
func (b *Book) Finish(id string, duration, now int64) error {
	b.Advance(now)
	j, err := b.known(id)
	if err != nil {
		return err
	}
	duration = service(duration)
	b.settle(j, duration, true)
	j.run.ended++
	j.run.kind.learn(duration, j.run.ended, b.now)
	j.run.done.fade(runFade)
	j.run.done.add(duration, 1)
	b.drop(j)
	return nil
}

// Observe tells of a job that ended before the book was begun, from the accounts for instance.
func (b *Book) Observe(f Features, duration, now int64) error {
	b.Advance(now)
	if err := check("", f); err != nil {
		return err
	}
	b.kind(f).learn(service(duration), 1, b.now)
	return nil
}

// learn counts a duration in all histories of the kind, of the n-th job of a run as the n-th part of an observation:
// what the histories tell is how the next run will be, and a sweep of a thousand says little more of that than one of
// ten.
func (k *kind) learn(duration, n, now int64) {
	for _, h := range k.chain {
		h.done.add(duration, n)
		h.used = now
	}
}

// Forget tells that a job is gone and teaches nothing: it was cancelled before it started, or by its owner's mistake.
func (b *Book) Forget(id string, now int64) error {
	b.Advance(now)
	j, err := b.known(id)
	if err != nil {
		return err
	}
	b.drop(j)
	return nil
}

// drop takes a job out of everything but the order.
func (b *Book) drop(j *job) {
	r := j.run
	if i := slices.Index(r.jobs, j); i >= 0 {
		r.jobs[i] = r.jobs[len(r.jobs)-1]
		r.jobs = r.jobs[:len(r.jobs)-1]
	}
	r.version++
	r.kind.jobs--
	j.gone = true
	delete(b.jobs, j.id)
}

// Jobs is how many jobs have arrived and not ended.
func (b *Book) Jobs() int { return len(b.jobs) }

// kind finds or makes what jobs of these features share.
func (b *Book) kind(f Features) *kind {
	size := strconv.Itoa(f.Chips)
	key := join("k", size, f.Site, f.Queue, f.User, f.Name)
	k := b.kinds[key]
	if k == nil {
		k = &kind{key: key, chips: f.Chips}
		levels := []string{join("all"), join("size", size), join("queue", size, f.Site, f.Queue)}
		if f.User != "" {
			levels = append(levels, join("user", f.User))
		}
		if f.Name != "" {
			levels = append(levels, join("name", f.Name))
		}
		if f.User != "" && f.Name != "" {
			levels = append(levels, join("both", f.User, f.Name))
		}
		for _, l := range levels {
			k.chain = append(k.chain, b.history(l))
		}
		b.kinds[key] = k
	}
	if k.jobs == 0 {
		k.fold()
	}
	return k
}

func (b *Book) history(key string) *history {
	h := b.histories[key]
	if h == nil {
		h = &history{key: key, used: b.now}
		b.histories[key] = h
	}
	return h
}

// join makes one key of parts, so that different parts never make the same key.
func join(parts ...string) string {
	var out []byte
	for _, p := range parts {
		out = strconv.AppendInt(out, int64(len(p)), 10)
		out = append(out, ':')
		out = append(out, p...)
	}
	return string(out)
}

// fold makes the table of a kind: every level of its history corrects the one before it.
func (k *kind) fold() {
	prior := &flat
	for i, h := range k.chain {
		weight := uint64(levelWeight)
		if i == 0 {
			weight = rootWeight
		}
		k.table.fold(&h.done, &h.open, prior, weight*unit/16)
		prior = &k.table
	}
	k.version++
}

// latest bounds the times and services that are believed, in milliseconds: far beyond any, and safe to add.
const latest = int64(1) << 60

// service is a time of service within what is believed.
func service(ms int64) int64 { return min(max(ms, 0), latest) }

// Advance tells the time. It never goes back: an earlier time counts as the latest told. What follows from it does not
// depend on how often it is called, as long as it is called once a week.
func (b *Book) Advance(now int64) {
	b.now = max(b.now, min(now, latest))
	if b.refreshed >= 0 && b.now-b.refreshed < refresh {
		return
	}
	last := b.now / refresh * refresh
	first := max(b.refreshed+refresh, last-longestGap)
	if b.refreshed < 0 {
		first = last
	}
	for at := first; at <= last; at += refresh {
		b.lookAnew(at)
	}
}

// longestGap is how much time is caught up with in steps when nobody told the time for long; what lies before is skipped.
const longestGap = 7 * day

// lookAnew brings the histories, their tables and the corrections up to an hour.
func (b *Book) lookAnew(at int64) {
	days := at/day - max(b.refreshed, 0)/day
	b.refreshed = at
	b.order = slices.DeleteFunc(b.order, func(j *job) bool { return j.gone })
	b.trim(at)
	b.fade(days)
	b.recount(at)
	for _, k := range b.kinds {
		if k.jobs > 0 {
			k.fold()
		}
	}
	for _, j := range b.order {
		b.settle(j, j.age(at), false)
		b.note(j, at)
	}
}

// fade lets the weights of all histories lose what so many days take.
func (b *Book) fade(days int64) {
	part := uint64(45426 / b.opt.HalfLife) // 65536 ln 2 / half life
	for range min(days, 10*b.opt.HalfLife) {
		for _, h := range b.histories {
			h.done.fade(min(part, 65536))
		}
	}
}

// recount counts the started jobs by age in all histories.
func (b *Book) recount(at int64) {
	for _, h := range b.histories {
		h.open = [buckets]uint32{}
	}
	for _, j := range b.order {
		if !j.started {
			continue
		}
		i := bucketOf(j.age(at))
		for _, h := range j.run.kind.chain {
			h.open[i]++
			h.used = at
		}
	}
}

// trim forgets the kinds that have no jobs and can get none into their last run, and then the histories that are used
// least, down to what the options allow.
func (b *Book) trim(at int64) {
	held := map[*history]bool{}
	for key, k := range b.kinds {
		if k.jobs == 0 && (k.last == nil || at-k.last.last > b.opt.Gap) {
			delete(b.kinds, key)
			continue
		}
		for _, h := range k.chain {
			held[h] = true
		}
	}
	over := len(b.histories) - b.opt.Contexts
	if over <= 0 {
		return
	}
	var idle []*history
	for _, h := range b.histories {
		if !held[h] {
			idle = append(idle, h)
		}
	}
	slices.SortFunc(idle, func(x, y *history) int { return cmp.Or(cmp.Compare(x.used, y.used), cmp.Compare(x.key, y.key)) })
	for _, h := range idle[:min(over, len(idle))] {
		delete(b.histories, h.key)
	}
}
