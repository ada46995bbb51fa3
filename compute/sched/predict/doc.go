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
// Measured on the ITP trace (44,910 jobs, seven clusters of 8, 16, 25, 88, 2, 16 and 46 nodes of 8 GPUs, no users, no
// names; restarts cost 7, 30 or 60 s for 1, up to 8 or more GPUs): with the keys of DefaultRule asked each minute, the
// waiting job of the lowest key taking the place of the running ones of the highest, mean completion is 30,936 s and the
// 99th percentile of queueing 203,000 s; by rank alone, without ageing, 30,772 s and 214,000 s. Perfect knowledge gives
// 28,734 s and 180,000 s with preemption (SRSF), 32,244 s and 207,000 s without (shortest first); first come with
// backfill 47,737 s and 338,000 s. Not counting jobs that still run costs some 1,500 s; not knowing runs, 2,400 s; never
// preempting by rank, 5,000 s. P10, P50 and P90 of further service cover 10.9, 49.7 and 88.7 % at the start of a job,
// 8.9, 46.8 and 89.4 % at the age of an hour, 13.2, 50.4 and 89.6 % at four.
//
// Rules for callers: times are milliseconds of one clock that the caller passes in; call Advance, or any method with a
// time, before asking; durations and ages are service at one reference speed. Every answer follows from the calls before
// it and nothing else: equal calls give equal bytes on every machine, and asking changes nothing. A Book is not safe for
// concurrent use.
package predict
