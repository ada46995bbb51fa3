package quota

import "time"

// State is how a book stands, for those who watch it.
type State struct {
	Held    int64 // micro-units reserved for what runs; the largest int64 where that is not enough
	Open    int   // requests that hold some
	Waiting int   // requests that wait for money that others hold
	// Of a book that spends leases:
	Leased bool
	Fenced bool          // another process has taken the node's place
	Failed bool          // the authority did not answer the last question
	Silent time.Duration // since the last question that it answered; 0: it never did
}

// State tells how the book stands now. It goes through all accounts under the book's lock: a thing for every few seconds.
func (b *Book) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := State{Held: b.held.value(), Open: b.open}
	for _, a := range b.accounts {
		s.Waiting += a.waiting
	}
	if l := b.lessor; l != nil {
		s.Leased, s.Fenced, s.Failed = true, l.fenced, !l.failed.IsZero()
		if !l.alive.IsZero() {
			s.Silent = max(b.now().Sub(l.alive), 0)
		}
	}
	return s
}
