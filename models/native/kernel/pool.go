package kernel

import (
	"sync"
	"sync/atomic"
)

// Pool is a fixed set of worker goroutines that share out loops. A nil Pool runs everything on the caller.
// Waiting workers are parked, not spinning; Close ends them. A Pool may be used by several goroutines at once, and f may itself call Run.
type Pool struct {
	threads int
	wake    chan *job
	quit    chan struct{}
	closed  sync.Once
	mu      sync.Mutex
	free    []*job
}

// job is one Run in progress. It is recycled once nobody holds it, so a steady loop allocates nothing.
type job struct {
	f      func(int)
	n      int64
	next   atomic.Int64  // next index to hand out
	done   atomic.Int64  // indexes finished
	refs   atomic.Int64  // caller plus wake-ups still on their way
	finish chan struct{} // capacity 1: sent once by whoever finishes the last index
	caught atomic.Pointer[panicked]
}

// panicked carries the first panic of a worker to the caller of Run.
type panicked struct{ value any }

// NewPool starts threads-1 workers; the caller of Run is the remaining one. Values below 1 count as 1.
func NewPool(threads int) *Pool {
	threads = max(threads, 1)
	p := &Pool{threads: threads, wake: make(chan *job, 4*threads), quit: make(chan struct{})}
	for range threads - 1 {
		go p.work()
	}
	return p
}

// Threads is the number of goroutines that may run f at the same time; 1 for a nil Pool.
func (p *Pool) Threads() int {
	if p == nil {
		return 1
	}
	return p.threads
}

// Close ends the workers. Run still works afterwards, on the caller alone.
func (p *Pool) Close() {
	if p != nil {
		p.closed.Do(func() { close(p.quit) })
	}
}

// Run calls f(0) to f(n-1), each once, in no particular order, and returns when all have returned. The calls must write
// disjoint outputs. A panic in f is raised again on the caller after the other calls have ended.
func (p *Pool) Run(n int, f func(i int)) {
	if p == nil || p.threads == 1 || n <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	j := p.take(n, f)
	p.invite(j, min(p.threads-1, n-1))
	if !j.help() {
		<-j.finish
	}
	caught := j.caught.Load()
	p.release(j)
	if caught != nil {
		panic(caught.value)
	}
}

// invite wakes up to count workers; a full queue means that all are busy, and the caller does the work alone.
func (p *Pool) invite(j *job, count int) {
	for range count {
		j.refs.Add(1)
		select {
		case p.wake <- j:
		default:
			j.refs.Add(-1)
			return
		}
	}
}

func (p *Pool) work() {
	for {
		select {
		case <-p.quit:
			return
		case j := <-p.wake:
			if j.help() {
				j.finish <- struct{}{}
			}
			p.release(j)
		}
	}
}

// help runs indexes until none is left and reports whether it finished the last one to finish.
func (j *job) help() bool {
	last := false
	for {
		i := j.next.Add(1) - 1
		if i >= j.n {
			return last
		}
		j.call(int(i))
		last = j.done.Add(1) == j.n
	}
}

func (j *job) call(i int) {
	defer func() {
		if v := recover(); v != nil {
			j.caught.CompareAndSwap(nil, &panicked{v})
		}
	}()
	j.f(i)
}

func (p *Pool) take(n int, f func(int)) *job {
	p.mu.Lock()
	var j *job
	if l := len(p.free); l > 0 {
		j, p.free = p.free[l-1], p.free[:l-1]
	}
	p.mu.Unlock()
	if j == nil {
		j = &job{finish: make(chan struct{}, 1)}
	}
	j.f, j.n = f, int64(n)
	j.next.Store(0)
	j.done.Store(0)
	j.caught.Store(nil)
	j.refs.Store(1)
	return j
}

// release drops one reference. A wake-up that comes late, after the caller has gone on, finds no index left and only
// hands the job back here.
func (p *Pool) release(j *job) {
	if j.refs.Add(-1) > 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	j.f = nil
	p.free = append(p.free, j)
}
