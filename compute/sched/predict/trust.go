package predict

// The levels at which the quantiles are read are corrected by how often earlier answers held (adaptive conformal
// inference, Gibbs and Candes 2021): a quantile that held too seldom is read further out from then on.

// aims are the levels that the answers shall hold at, in 65536ths.
var aims = [3]uint64{6554, 32768, 58982}

// The step of the correction, in 65536ths, falls from gain+eager to gain as answers are seen.
const (
	gain  = 200
	eager = 1800
)

// bands of service so far: not started yet, and started with less than these.
var bandEnds = [...]int64{1 * hour, 4 * hour, 8 * hour, 16 * hour, 32 * hour}

const (
	bandCount = len(bandEnds) + 2
	sizeCount = 3
	knowCount = 2
)

// cell is the correction for jobs of one band of age, one band of size, with or without a mate in the run that has ended.
type cell struct {
	levels [3]uint64
	seen   int64
}

type trust [bandCount * sizeCount * knowCount]cell

func newTrust() (t trust) {
	for i := range t {
		t[i].levels = aims
	}
	return t
}

// mark is an answer that was given: it holds if the job ends at a service of at most the bound.
type mark struct {
	cell   int
	band   int
	bounds [3]int64
	open   [3]bool
}

func bandOf(j *job, age int64) int {
	if !j.started {
		return 0
	}
	for i, end := range bandEnds {
		if age < end {
			return i + 1
		}
	}
	return bandCount - 1
}

func (t *trust) index(j *job, age int64) int {
	size := 0
	if j.chips > 8 {
		size = 2
	} else if j.chips > 1 {
		size = 1
	}
	know := 0
	if j.run.ended > 0 {
		know = 1
	}
	return (bandOf(j, age)*sizeCount+size)*knowCount + know
}

func (t *trust) cell(j *job, age int64) *cell { return &t[t.index(j, age)] }

// note keeps the answer for a job that has come into a new band, to be compared with what happens.
func (b *Book) note(j *job, at int64) {
	age := j.age(at)
	band := bandOf(j, age)
	if n := len(j.marks); n > 0 && j.marks[n-1].band >= band {
		return
	}
	e := b.estimate(j, age, at)
	j.marks = append(j.marks, mark{
		cell: b.trust.index(j, age), band: band,
		bounds: [3]int64{age + e.P10, age + e.P50, age + e.P90},
		open:   [3]bool{true, true, true},
	})
}

// settle compares the answers with the service a job has had, or with its duration if it has ended.
func (b *Book) settle(j *job, age int64, ended bool) {
	for m := range j.marks {
		k := &j.marks[m]
		for i, open := range k.open {
			if !open || !ended && age <= k.bounds[i] {
				continue
			}
			k.open[i] = false
			b.trust[k.cell].learn(i, age <= k.bounds[i])
		}
	}
}

// learn moves a level after an answer that held or did not.
func (c *cell) learn(i int, held bool) {
	step := gain + eager*32/uint64(32+c.seen)
	c.seen++
	if held {
		c.levels[i] -= step * (65536 - aims[i]) >> 16
	} else {
		c.levels[i] += step * aims[i] >> 16
	}
	c.levels[i] = min(max(c.levels[i], aims[i]/8), 65536-(65536-aims[i])/8)
}
