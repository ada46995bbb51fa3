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
	s, l := j.run.at(now), b.trust.cell(j, age).levels
	a := &s.answer
	if !a.known || a.age != age || a.levels != l {
		i := s.indexAt(age)
		*a = answer{age, l, Estimate{Index: i, Rank: i, P10: s.table.quantile(age, l[0]), P50: s.table.quantile(age, l[1]), P90: s.table.quantile(age, l[2])}, true}
	}
	e := a.e
	e.Rank *= int64(max(j.chips, 1))
	return e
}

// Rank answers as Estimate does, without the quantiles.
func (b *Book) Rank(id string, attained int64) (int64, bool) {
	j := b.jobs[id]
	if j == nil {
		return 0, false
	}
	return j.run.at(b.now).indexAt(service(attained)) * int64(max(j.chips, 1)), true
}

// indexAt is the index of the table at an age.
func (s *shape) indexAt(age int64) int64 {
	if m := &s.index; !m.known || m.age != age {
		*m = memo{age: age, index: s.table.index(age), known: true}
	}
	return s.index.index
}

// at is the shape of a run. It depends on what happened and on the time, to the step, and on nothing else: not on how
// often it was asked.
func (r *run) at(now int64) *shape {
	if len(r.jobs) == 0 && r.ended == 0 {
		return r.kind.unstarted()
	}
	want := stamp{run: r.version, kind: r.kind.version, at: now}
	if r.asked == want {
		return &r.shape
	}
	r.asked = want
	want.at = 0
	if len(r.jobs) > 0 {
		want.at = r.step(now)
	}
	if r.of == want {
		return &r.shape
	}
	var open *[buckets]uint32
	if len(r.jobs) > 0 {
		var ages [buckets]uint32
		for _, j := range r.jobs {
			ages[bucketOf(j.age(want.at))]++
		}
		open = &ages
	}
	var done *counts
	if r.ended > 0 {
		done = &r.done
	}
	r.shape.table.mix(done, open, r.kind.weights())
	r.of, r.shape.index, r.shape.answer = want, memo{}, answer{}
	return &r.shape
}

// unstarted is the shape of the runs of a kind of which no job has started yet: they have nothing of their own to tell, so
// it is the same one.
func (k *kind) unstarted() *shape {
	k.weights()
	return &k.fresh
}

// weights are those of a kind's table as the prior of its runs.
func (k *kind) weights() *counts {
	if k.madeOf != k.version {
		k.table.weigh(&k.prior, runWeight*unit/16)
		k.fresh.table.mix(nil, nil, &k.prior)
		k.madeOf, k.fresh.index, k.fresh.answer = k.version, memo{}, answer{}
	}
	return &k.prior
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
