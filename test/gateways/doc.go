// Package gateways holds what several gateway processes on one PostgreSQL promise together: budgets and rates hold over
// all of them, at every moment and whoever is killed. The processes are the real program with one engine more, the rig of
// test/kill.
//
// By default a gateway is killed a few times and a database is away for seconds: TRIARCH_KILLS=20 and TRIARCH_OUTAGE=1m make it
// that, and TRIARCH_RATE_MINUTES has rates counted for so many real minutes.
package gateways
