package predict

// Estimate is what is expected of a job that has had a certain service. Times are milliseconds of further service.
type Estimate struct {
	P10, P50, P90 int64
	// Index is the Gittins index as a time: the least expected service per completion. It does not know the size.
	Index int64
	// Rank is Index times chips (CPU only counts as one): lower goes first.
	Rank int64
}

// Estimate answers for a job that has not ended, as if it had had the given service by the time last told.
func (b *Book) Estimate(id string, attained int64) (Estimate, bool) {
	j := b.jobs[id]
	if j == nil {
		return Estimate{}, false
	}
	return b.estimate(j, service(attained), b.now), true
}

func (b *Book) estimate(j *job, age, now int64) Estimate {
	t := j.run.at(now)
	e := Estimate{Index: j.run.index(t, age)}
	e.Rank = e.Index * int64(max(j.chips, 1))
	l := b.trust.cell(j, age).levels
	e.P10 = t.quantile(age, l[0])
	e.P50 = t.quantile(age, l[1])
	e.P90 = t.quantile(age, l[2])
	return e
}

// Rank answers as Estimate does, without the quantiles.
func (b *Book) Rank(id string, attained int64) (int64, bool) {
	j := b.jobs[id]
	if j == nil {
		return 0, false
	}
	return j.run.index(j.run.at(b.now), service(attained)) * int64(max(j.chips, 1)), true
}

// index is the index of the run's table t at an age.
func (r *run) index(t *table, age int64) int64 {
	if m := &r.indexed; !m.known || m.age != age {
		*m = memo{age: age, index: t.index(age), known: true}
	}
	return r.indexed.index
}

// at is the table of a run. It depends on what happened and on the time, to the step, and on nothing else: not on how
// often it was asked.
func (r *run) at(now int64) *table {
	want := stamp{run: r.version, kind: r.kind.version, at: now}
	if r.asked == want {
		return &r.table
	}
	r.asked = want
	want.at = 0
	if len(r.jobs) > 0 {
		want.at = r.step(now)
	}
	if r.of == want {
		return &r.table
	}
	var open *[buckets]uint32
	if len(r.jobs) > 0 {
		open = new([buckets]uint32)
		for _, j := range r.jobs {
			open[bucketOf(j.age(want.at))]++
		}
	}
	r.table.fold(&r.done, open, &r.kind.table, runWeight*unit/16)
	r.of, r.indexed = want, memo{}
	return &r.table
}

// step is the time at which the ages of a run are taken: whole minutes, and the older its oldest job the more of them,
// because ages are counted by ratio.
func (r *run) step(now int64) int64 {
	oldest := int64(0)
	for _, j := range r.jobs {
		oldest = max(oldest, j.age(now))
	}
	step := minute
	for step < hour && step*64 < oldest {
		step *= 2
	}
	return now / step * step
}
