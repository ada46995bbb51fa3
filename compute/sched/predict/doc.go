// Package predict learns from the past how long a job will still run, and ranks jobs by it.
//
// A Book is told what happens to jobs: they arrive with what is known of them, start, stop, finish. It keeps a history of
// durations for each level that a job belongs to (all jobs, its size, its queue, its user, its name, user and name
// together, and the run of jobs alike that arrived shortly before and after it), and mixes them from the widest to the
// narrowest: at each level the mean of the posterior of a Dirichlet process whose prior is the level before. Jobs that
// still run count as well: what is known of them is that they last longer than their age (Efron 1967; Susarla and Van
// Ryzin 1976). Of a sweep of which nothing has ended yet, the oldest member speaks for those that wait.
//
// The rank of a job is its Gittins index times its chips: the least, over all bounds, of the expected service up to the
// bound divided by the chance to end before it (Gittins 1989; Aalto, Ayesta and Righter 2009). Where durations are not
// known but their distribution is, and preemption is free, no order has a smaller mean completion on one server; for
// many servers and coarse levels see Scully, Harchol-Balter and Scheller-Wolf 2018. Rule says what to do about the price
// of preemption and about jobs that wait long.
//
// The quantiles are read at levels that are corrected by how often earlier answers held, for each band of size, of age
// and of knowledge (Gibbs and Candes 2021).
//
// Rules for callers: times are milliseconds of one clock that the caller passes in; call Advance, or any method with a
// time, before asking; durations and ages are service at one reference speed. Every answer follows from the calls before
// it and nothing else: equal calls give equal bytes on every machine, and asking changes nothing. A Book is not safe for
// concurrent use.
package predict
