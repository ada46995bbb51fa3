package sched

// Speeds change while jobs wait and run, for they are learnt: what is told here of one job is what the core knew of it at
// Submit, but for the figures.

// SetSpeeds tells that a job is now thought to run at other speeds: the classes and numbers of chips of its menu as they
// were, in the same order. One that waits keeps its place and time; one that runs keeps what it has attained at the
// speed that was thought right until now, and goes on at the new one. The error is a *Problem, and then nothing has changed.
func (c *Core) SetSpeeds(now int64, id string, anyOf []Choice) error {
	w := c.jobs[id]
	if w == nil {
		return problem("id", "job %s is not known", id)
	}
	same, err := w.alike(anyOf)
	if same || err != nil {
		return err
	}
	j := w.Job
	j.Need.AnyOf = append([]Choice(nil), anyOf...)
	_, m, err := c.admit(&j)
	if err != nil {
		return err
	}
	if w.status == waiting {
		return c.rewait(now, id, func(w *work) { w.Job, w.menu = j, m })
	}
	o := m.where(w.opt)
	if o == nil { // the fleet has not changed since it was submitted: what it runs on is still an entry
		return problem("any_of", "what job %s runs on is no entry of its menu any more", id)
	}
	c.settle(now)
	w.Attained, w.counted = c.attained(w), c.now
	w.Need.AnyOf, w.menu, w.opt = j.Need.AnyOf, m, o
	c.begin(w)
	return nil
}

// alike says whether the choices are those of the job with the same speeds; an error if they differ in more.
func (w *work) alike(anyOf []Choice) (same bool, err error) {
	have := w.Need.AnyOf
	if len(have) != len(anyOf) {
		return false, problem("any_of", "%d classes of chips, and job %s names %d", len(anyOf), w.ID, len(have))
	}
	same = true
	for i := range have {
		if have[i].Chip != anyOf[i].Chip || have[i].Chips != anyOf[i].Chips {
			return false, problem("any_of", "job %s has %s there, not %s", w.ID, have[i].Chip, anyOf[i].Chip)
		}
		same = same && have[i].Speed == anyOf[i].Speed
	}
	return same, nil
}

// where is the entry of a menu that is the same chips as one of another.
func (m *menu) where(o *option) *option {
	for i := range m.options {
		if x := &m.options[i]; x.pool == o.pool && x.size == o.size {
			return x
		}
	}
	return nil
}

// Attained is how long a job has run by now, at the reference speed, by the speeds that were thought right while it ran;
// 0 for one that is not known.
func (c *Core) Attained(now int64, id string) int64 {
	w := c.jobs[id]
	if w == nil {
		return 0
	}
	c.settle(now)
	return c.attained(w)
}

// Pace is how much reference time passes for a running job in some time, in Micro; Micro for one that does not run.
func (c *Core) Pace(id string) int64 {
	if w := c.jobs[id]; w != nil && w.status == running {
		return c.progress(w, Micro)
	}
	return Micro
}

// Attain tells how long a running job has run by now at the reference speed, where whoever adopts it knows better than its start and its
// speed of today tell.
func (c *Core) Attain(now int64, id string, attained int64) {
	w := c.jobs[id]
	if w == nil || w.status != running {
		return
	}
	c.settle(now)
	w.Attained, w.counted = max(0, attained), c.now
	c.begin(w)
}
