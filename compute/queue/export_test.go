package queue

import "time"

// Attained is how long the core takes a job to have run at the reference speed.
func (p *Planner) Attained(now time.Time, id string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Duration(p.core.Attained(ms(now), id)) * time.Millisecond
}
