package sim

import "time"

// Kind says what an event is.
type Kind uint8

// The kinds of events, in the order in which those of one instant are told.
const (
	Ended     Kind = iota + 1 // Job has done all its work; its chips are free
	NodeUp                    // Node is repaired and empty
	NodeDown                  // Node has failed; each job it ran is told Failed right after
	Failed                    // Job lost its chips to a failure; it waits again, from its last checkpoint
	Submitted                 // Job is new and waits
	Woken                     // a time asked for by World.WakeAt has come
	Tick                      // the quantum of a Ticker
	Seen                      // the speed of Job's attempt was seen, and the Knowledge told
)

// Event is one thing that happened. Job and Node are -1 where they do not apply.
type Event struct {
	Kind Kind
	Job  int32
	Node int32
}

// coming is an entry of the queue of what is to come: a plain value of 24 bytes.
type coming struct {
	at   time.Duration
	seq  uint32 // breaks ties in the order of making, so that a replay is one sequence
	id   int32  // job or node
	gen  uint32 // an end whose job was stopped meanwhile has another generation and is passed over
	kind Kind
}

func (a *coming) before(b *coming) bool {
	if a.at != b.at {
		return a.at < b.at
	}
	if a.kind != b.kind {
		return a.kind < b.kind
	}
	return a.seq < b.seq
}

// future is a heap of four children a node: fewer levels and cache misses than two.
type future struct {
	heap []coming
	seq  uint32
}

func (f *future) push(c coming) {
	c.seq = f.seq
	f.seq++
	f.heap = append(f.heap, c)
	h, i := f.heap, len(f.heap)-1
	for i > 0 {
		up := (i - 1) / 4
		if !h[i].before(&h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

func (f *future) pop() coming {
	h := f.heap
	top, last := h[0], len(h)-1
	h[0] = h[last]
	f.heap = h[:last]
	h = f.heap
	for i := 0; ; {
		least, first := i, 4*i+1
		for c := first; c < min(first+4, len(h)); c++ {
			if h[c].before(&h[least]) {
				least = c
			}
		}
		if least == i {
			return top
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
