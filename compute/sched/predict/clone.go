package predict

import "maps"

// Clone is a book of the same state that goes its own way: for looking ahead.
func (b *Book) Clone() *Book {
	c := *b
	c.histories = make(map[string]*history, len(b.histories))
	for key, h := range b.histories {
		copied := *h
		c.histories[key] = &copied
	}
	runs := map[*run]*run{}
	c.kinds = make(map[string]*kind, len(b.kinds))
	for key, k := range b.kinds {
		copied := *k
		copied.chain = make([]*history, len(k.chain))
		for i, h := range k.chain {
			copied.chain[i] = c.histories[h.key]
		}
		c.kinds[key] = &copied
		copied.last = c.adopt(k.last, runs)
	}
	c.jobs = make(map[string]*job, len(b.jobs))
	c.order = make([]*job, 0, len(b.jobs))
	for _, j := range b.order {
		if j.gone {
			continue
		}
		copied := *j
		copied.marks = append([]mark(nil), j.marks...)
		copied.run = c.adopt(j.run, runs)
		if j.started {
			copied.run.jobs = append(copied.run.jobs, &copied)
		}
		c.jobs[j.id] = &copied
		c.order = append(c.order, &copied)
	}
	return &c
}

// adopt copies a run once; its jobs join it as they are copied.
func (b *Book) adopt(r *run, done map[*run]*run) *run {
	if r == nil {
		return nil
	}
	if known := done[r]; known != nil {
		return known
	}
	copied := *r
	copied.kind = b.kinds[r.kind.key]
	copied.jobs = make([]*job, 0, len(r.jobs))
	done[r] = &copied
	return &copied
}

// runs lists the runs that can still matter, by number.
func (b *Book) runs() []*run {
	all := map[int64]*run{}
	for _, k := range b.kinds {
		if k.last != nil {
			all[k.last.number] = k.last
		}
	}
	for _, j := range b.jobs {
		all[j.run.number] = j.run
	}
	out := make([]*run, 0, len(all))
	for _, n := range sorted(maps.Keys(all)) {
		out = append(out, all[n])
	}
	return out
}
