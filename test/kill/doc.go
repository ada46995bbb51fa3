// Package kill holds the tests that kill the real program in the middle of real work: the control plane, workers,
// supervisors and replicas, each by SIGKILL, and look at what is left.
//
// Rules: everything listens on a free port of the loopback interface, every test ends what it started. By default a
// test kills a few times; TRIARCH_KILLS=20 in the environment makes it that many. The moments are random; the seed is in
// the log, though the machine's own timing decides as well.
package kill
